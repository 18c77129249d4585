/* ulid.h - 128-bit ids that sort by time (https://github.com/ulid/spec).
 *
 * 48 bits of milliseconds, 80 of randomness; within one millisecond of one
 * process the random part is counted up by a random number of 64 bits: ids of
 * one worker never go back, and none tells its neighbours.
 * As text 26 characters of Crockford's base32, upper case; parsing accepts
 * lower case and refuses everything past 2^128-1.
 */
#ifndef TILL_BASE_ULID_H
#define TILL_BASE_ULID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TILL_ULID_LEN 16
#define TILL_ULID_TEXT 26

/** `now_ms` since 1970. */
void till_ulid_make(uint8_t out[TILL_ULID_LEN], uint64_t now_ms);
void till_ulid_format(char out[TILL_ULID_TEXT + 1], const uint8_t id[TILL_ULID_LEN]);
bool till_ulid_parse(uint8_t out[TILL_ULID_LEN], const char *text, size_t len);

#endif
