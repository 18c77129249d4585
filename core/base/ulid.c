/* ulid.c - see ulid.h
 *
 * The state is one a thread: a worker is one thread, and offload threads make
 * ids that need no order against its own.
 */
#include <string.h>
#include "base/hash.h"
#include "base/ulid.h"

#define TIME_LEN 6

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static _Thread_local uint64_t last_ms;
static _Thread_local uint8_t last_random[TILL_ULID_LEN - TIME_LEN];

/* @return false when it went over */
static bool add(uint8_t *bytes, size_t len, uint64_t n)
{
    unsigned carry = 0;

    while (len-- != 0) {
        unsigned sum = bytes[len] + (unsigned)(n & 255) + carry;
        bytes[len] = (uint8_t)sum;
        carry = sum >> 8;
        n >>= 8;
    }
    return carry == 0;
}

/* By 64 random bits, never by one: whoever is given an id must not know the next one, for there are things that are
 * shown to anybody who knows theirs. */
static bool count_up(uint8_t *bytes, size_t len)
{
    uint64_t n;

    till_random(&n, sizeof(n));
    return add(bytes, len, n != 0 ? n : 1);
}

/* A clock that steps back does not take the ids back: they go on from the last
 * millisecond. An exhausted millisecond borrows the next. */
static void advance(uint64_t now_ms)
{
    if (now_ms > last_ms)
        last_ms = now_ms;
    else if (count_up(last_random, sizeof(last_random)))
        return;
    else
        ++last_ms;
    till_random(last_random, sizeof(last_random));
}

void till_ulid_make(uint8_t out[TILL_ULID_LEN], uint64_t now_ms)
{
    advance(now_ms);
    for (size_t i = 0; i != TIME_LEN; ++i)
        out[i] = (uint8_t)(last_ms >> (40 - 8 * i));
    memcpy(out + TIME_LEN, last_random, sizeof(last_random));
}

/* 26 characters are 130 bits: two of zero stand before the 128. */
void till_ulid_format(char out[TILL_ULID_TEXT + 1], const uint8_t id[TILL_ULID_LEN])
{
    uint32_t bits = 0;
    unsigned held = 2;
    char *at = out;

    for (size_t i = 0; i != TILL_ULID_LEN; ++i) {
        bits = bits << 8 | id[i];
        for (held += 8; held >= 5; held -= 5)
            *at++ = alphabet[bits >> (held - 5) & 31];
    }
    *at = '\0';
}

/* From '0' to 'Z'. */
static const signed char values[] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  -1, -1, -1, -1, -1,
                                     -1, -1, 10, 11, 12, 13, 14, 15, 16, 17, -1, 18, 19, -1, 20,
                                     21, -1, 22, 23, 24, 25, 26, -1, 27, 28, 29, 30, 31};

static int value_of(char c)
{
    size_t at =
        (size_t)(unsigned char)(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c) - '0'; /* below '0' it is far beyond */

    return at < sizeof(values) ? values[at] : -1;
}

bool till_ulid_parse(uint8_t out[TILL_ULID_LEN], const char *text, size_t len)
{
    uint8_t id[TILL_ULID_LEN];
    uint32_t bits = 0;
    unsigned held = 0;
    size_t n = 0;

    if (len != TILL_ULID_TEXT || value_of(text[0]) > 7)
        return false;
    for (size_t i = 0; i != len; ++i) {
        int value = value_of(text[i]);
        if (value < 0)
            return false;
        bits = bits << 5 | (uint32_t)value;
        held += i == 0 ? 3 : 5; /* the two bits before the 128 fall away */
        if (held >= 8) {
            held -= 8;
            id[n++] = (uint8_t)(bits >> held);
        }
    }
    memcpy(out, id, sizeof(id));
    return true;
}
