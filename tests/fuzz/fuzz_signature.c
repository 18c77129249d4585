/* fuzz_signature.c - signatures and keys as anybody may send them; see core/trade/signature.h.
 *
 * The first byte chooses what is asked; up to the first NUL stands the header, or the key in front of a second NUL,
 * behind it the text. Nobody who lacks the secret, or the private key, may be believed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
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

/* A key that nobody else has, and what providers show of it. */
struct pair {
    EVP_PKEY *key;
    char shown[1024];
};

static const struct pair *pair_of(till_signature_algorithm_t algorithm)
{
    static struct pair pairs[2];
    struct pair *pair = &pairs[algorithm];
    uint8_t *der = NULL;

    if (pair->key != NULL)
        return pair;
    pair->key = algorithm == TILL_SIGNATURE_RSA ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
    int len = i2d_PUBKEY(pair->key, &der);
    check(len > 0 && (size_t)len * 4 / 3 + 4 < sizeof(pair->shown));
    EVP_EncodeBlock((unsigned char *)pair->shown, der, len);
    OPENSSL_free(der);
    return pair;
}

/* Nothing that comes is believed under that key; what it signs is, of this text and no other. */
static void check_public(till_signature_algorithm_t algorithm, till_slice_t given, till_slice_t text)
{
    const struct pair *pair = pair_of(algorithm);
    till_slice_t key = {pair->shown, strlen(pair->shown)};
    uint8_t signature[512];
    char spelt[1024], *more = malloc(text.len + 1);
    size_t len = sizeof(signature);
    EVP_MD_CTX *md = EVP_MD_CTX_new();

    check(till_signature_public(algorithm, key, given, text, 1700000000) != TILL_SIGNATURE_VALID);
    check(EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, pair->key) == 1 &&
          EVP_DigestSign(md, signature, &len, text.base, text.len) == 1);
    EVP_MD_CTX_free(md);
    EVP_EncodeBlock((unsigned char *)spelt, signature, (int)len);
    till_slice_t good = {spelt, strlen(spelt)};
    check(till_signature_public(algorithm, key, good, text, 1700000000) == TILL_SIGNATURE_VALID);
    memcpy(more, text.base, text.len);
    more[text.len] = 'x';
    check(till_signature_public(algorithm, key, good, (till_slice_t){more, text.len + 1}, 1700000000) ==
          TILL_SIGNATURE_NO_MATCH);
    free(more);
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
    if (what >= 3) { /* signing is slow: with every eighth */
        till_signature_algorithm_t algorithm = what == 3 ? TILL_SIGNATURE_RSA : TILL_SIGNATURE_ECDSA;
        till_signature_public(algorithm, key, given, text, 1700000000);
        if (*bytes / 5 % 8 == 0)
            check_public(algorithm, given, text);
    }
    check(ERR_peek_error() == 0);
    check_signed(text);
    return 0;
}
