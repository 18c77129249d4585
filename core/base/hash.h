/* hash.h - digests, random bytes and their spellings; a thin skin over OpenSSL 3.
 *
 * Sources: FIPS 180-4 (SHA-256), RFC 2104 (HMAC), RFC 4648 (base64, base64url).
 * Everything takes bytes with a length; nothing allocates.
 */
#ifndef TILL_BASE_HASH_H
#define TILL_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TILL_SHA256_LEN 32

typedef struct till_slice {
    const void *base;
    size_t len;
} till_slice_t;

void till_sha256(uint8_t out[TILL_SHA256_LEN], const void *bytes, size_t len);
/** Of the parts one after the other, each preceded by its length, so that parts cannot run into each other. */
void till_sha256_parts(uint8_t out[TILL_SHA256_LEN], const till_slice_t *parts, size_t n);
void till_hmac_sha256(uint8_t out[TILL_SHA256_LEN], const void *key, size_t key_len, const void *bytes, size_t len);
/** From the kernel through OpenSSL; aborts when there is none, for everything else would be unsafe. No two calls are
 * given the same bytes, also not across threads and forks. */
void till_random(void *out, size_t len);
/** In constant time for equal lengths. */
bool till_equal_ct(const void *a, size_t a_len, const void *b, size_t b_len);
/** Writes 2*len+1 bytes. */
void till_hex(char *out, const void *bytes, size_t len);
/** Writes len/2 bytes. @return whether it was that: an even number of hex digits, of either case */
bool till_hex_decode(void *out, const char *text, size_t len);
/** base64url without padding; writes at most (len+2)/3*4+1 bytes. @return length */
size_t till_base64url(char *out, const void *bytes, size_t len);
/** @return decoded length, or -1 if it is not base64url; `out` takes len/4*3+3 bytes */
long till_base64url_decode(void *out, const char *text, size_t len);
/** base64 with its padding, as RFC 4648 has it: one spelling for the same bytes, no line ends. The same results. */
long till_base64_decode(void *out, const char *text, size_t len);
/** scrypt (RFC 7914), N=2^14 r=8 p=1: some 40 ms, belongs on an offload thread. */
void till_scrypt(uint8_t out[32], const char *password, size_t len, const uint8_t salt[16]);

#endif
