/* fuzz_signature.c - signatures and keys as anybody may send them; see core/trade/signature.h.
 *
 * The first byte chooses what is asked; up to the first NUL stands the header, or the key in front of a second NUL,
 * behind it the text. Nobody who lacks the secret may be believed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/err.h>
#include "trade/signature.h"

static const till_slice_t secrets[] = {{"whsec_0123456789", 16}, {"whsec_abcdefghij", 16}};

static void check(int holds)
{
    if (!holds)
        abort();
}

/* What stands before the next NUL. */
static till_slice_t take(const uint8_t **at, const uint8_t *end)
{
    const uint8_t *from = *at, *nul = from != end ? memchr(from, '\0', (size_t)(end - from)) : NULL;

    *at = nul != NULL ? nul + 1 : end;
    return (till_slice_t){from, (size_t)((nul != NULL ? nul : end) - from)};
}

/* The very same body, signed by us, is valid, and with one more byte it is not. */
static void check_signed(till_slice_t body)
{
    char header[128] = "t=1700000000,v1=", *text = malloc(body.len + 12);
    uint8_t mac[TILL_SHA256_LEN];

    memcpy(text, "1700000000.", 11);
    memcpy(text + 11, body.base, body.len);
    text[11 + body.len] = 'x';
    till_hmac_sha256(mac, secrets[1].base, secrets[1].len, text, 11 + body.len);
    till_hex(header + 16, mac, sizeof(mac));
    till_slice_t given = {header, strlen(header)}, more = {text + 11, body.len + 1};
    check(till_signature_stripe(given, body, secrets, 2, 1700000000, 0) == TILL_SIGNATURE_VALID);
    check(till_signature_stripe(given, body, secrets, 2, 1700000001, 0) == TILL_SIGNATURE_STALE);
    check(till_signature_stripe(given, body, secrets, 1, 1700000000, 0) == TILL_SIGNATURE_NO_MATCH);
    check(till_signature_stripe(given, more, secrets, 2, 1700000000, 0) == TILL_SIGNATURE_NO_MATCH);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size == 0)
        return 0;
    unsigned what = *bytes % 5;
    const uint8_t *at = bytes + 1, *end = bytes + size;
    till_slice_t given = take(&at, end), key = what >= 3 ? take(&at, end) : given, text = {at, (size_t)(end - at)};

    if (what == 0)
        check(till_signature_stripe(given, text, secrets, 2, 1700000000, INT64_MAX / 2) != TILL_SIGNATURE_VALID);
    else if (what == 1)
        check(till_signature_hmac(given, TILL_SIGNATURE_HEX, text, secrets, 2) != TILL_SIGNATURE_VALID);
    else if (what == 2)
        check(till_signature_hmac(given, TILL_SIGNATURE_BASE64, text, secrets, 2) != TILL_SIGNATURE_VALID);
    else
        till_signature_public(what == 3 ? TILL_SIGNATURE_RSA : TILL_SIGNATURE_ECDSA, key, given, text, 1700000000);
    check(ERR_peek_error() == 0);
    check_signed(text);
    return 0;
}
