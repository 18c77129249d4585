/* signature.c - the schemes with a shared secret; see signature.h. Those with a public key are in signature_public.c.
 */
#include <string.h>
#include <openssl/crypto.h>
#include "base/buf.h"
#include "trade/signature.h"

enum { MAX_TIME_DIGITS = 12 };

const char *till_signature_name(till_signature_t verdict)
{
    static const char *const names[] = {"valid", "malformed", "no_match", "stale", "bad_key"};

    return names[verdict];
}

/* Invariants 2 and 4. */
static bool matches(const uint8_t (*given)[TILL_SHA256_LEN], size_t count, till_slice_t text,
                    const till_slice_t *secrets, size_t n)
{
    uint8_t wanted[TILL_SHA256_LEN];
    unsigned matched = 0;

    for (size_t i = 0; i != n; ++i) {
        if (secrets[i].len == 0)
            continue;
        till_hmac_sha256(wanted, secrets[i].base, secrets[i].len, text.base, text.len);
        for (size_t k = 0; k != count; ++k)
            matched |= till_equal_ct(wanted, sizeof(wanted), given[k], sizeof(wanted));
    }
    OPENSSL_cleanse(wanted, sizeof(wanted));
    return matched != 0;
}

static bool decode(uint8_t out[TILL_SHA256_LEN], till_slice_t given, till_signature_spelling_t spelling)
{
    uint8_t bytes[36]; /* what 44 characters of base64 may need */

    if (given.len != (spelling == TILL_SIGNATURE_HEX ? 64 : 44))
        return false;
    bool is_good = spelling == TILL_SIGNATURE_HEX ? till_hex_decode(bytes, given.base, given.len)
                                                  : till_base64_decode(bytes, given.base, given.len) == TILL_SHA256_LEN;
    if (!is_good)
        return false;
    memcpy(out, bytes, TILL_SHA256_LEN);
    return true;
}

till_signature_t till_signature_hmac(till_slice_t given, till_signature_spelling_t spelling, till_slice_t text,
                                     const till_slice_t *secrets, size_t n)
{
    uint8_t bytes[1][TILL_SHA256_LEN];

    if (!decode(bytes[0], given, spelling))
        return TILL_SIGNATURE_MALFORMED;
    return matches(bytes, 1, text, secrets, n) ? TILL_SIGNATURE_VALID : TILL_SIGNATURE_NO_MATCH;
}

/* ---- Stripe's header ---- */

struct header {
    till_slice_t time; /* its digits, as they were signed */
    int64_t seconds;
    uint8_t given[TILL_SIGNATURE_MOST][TILL_SHA256_LEN];
    size_t count;
};

static bool read_time(struct header *out, till_slice_t text)
{
    const char *digits = text.base;

    if (out->time.len != 0 || text.len == 0 || text.len > MAX_TIME_DIGITS)
        return false;
    for (size_t i = 0; i != text.len; ++i) {
        if (digits[i] < '0' || digits[i] > '9')
            return false;
        out->seconds = out->seconds * 10 + (digits[i] - '0');
    }
    out->time = text;
    return true;
}

/* One `name=value`; what has a name that we do not know passes. */
static bool read_item(struct header *out, const char *at, const char *end)
{
    const char *equals = memchr(at, '=', (size_t)(end - at));

    if (equals == NULL)
        return false;
    till_slice_t value = {equals + 1, (size_t)(end - equals - 1)};
    size_t name_len = (size_t)(equals - at);
    if (name_len == 1 && *at == 't')
        return read_time(out, value);
    if (name_len != 2 || memcmp(at, "v1", 2) != 0)
        return true;
    return out->count != TILL_SIGNATURE_MOST && decode(out->given[out->count++], value, TILL_SIGNATURE_HEX);
}

static bool read_header(struct header *out, till_slice_t header)
{
    const char *at = header.base, *end = at + header.len, *comma;

    *out = (struct header){.seconds = 0};
    if (header.len == 0 || header.len > TILL_SIGNATURE_HEADER_MAX)
        return false;
    for (;; at = comma + 1) {
        comma = memchr(at, ',', (size_t)(end - at));
        if (!read_item(out, at, comma != NULL ? comma : end))
            return false;
        if (comma == NULL)
            return out->time.len != 0 && out->count != 0;
    }
}

till_signature_t till_signature_stripe(till_slice_t header, till_slice_t body, const till_slice_t *secrets, size_t n,
                                       int64_t now_s, int64_t tolerance_s)
{
    struct header read;
    till_buf_t text;

    if (!read_header(&read, header))
        return TILL_SIGNATURE_MALFORMED;
    till_buf_init(&text, 0);
    till_buf_append(&text, read.time.base, read.time.len);
    till_buf_putc(&text, '.');
    till_buf_append(&text, body.base, body.len);
    bool matched = matches(read.given, read.count, (till_slice_t){text.base, text.len}, secrets, n);
    till_buf_dispose(&text);
    if (!matched)
        return TILL_SIGNATURE_NO_MATCH;
    int64_t age = now_s - read.seconds;
    return age > tolerance_s || age < -tolerance_s ? TILL_SIGNATURE_STALE : TILL_SIGNATURE_VALID;
}
