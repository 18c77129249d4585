/* signature_public.c - signatures that a public key verifies; see signature.h. */
#include <limits.h>
#include <string.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include "trade/signature.h"

enum { MIN_RSA_BITS = 2048, MIN_CURVE_BITS = 256, MAX_DER = 4096, MAX_SIGNATURE = 2048 };

/* Without one, OpenSSL would ask for the password of an encrypted PEM on the terminal. */
static int no_password(char *out, int size, int writing, void *data)
{
    (void)out, (void)size, (void)writing, (void)data;
    return -1;
}

/** Of a certificate; `*in_time` says whether `now_s` is between its dates. */
static EVP_PKEY *read_certificate(till_slice_t pem, int64_t now_s, bool *in_time)
{
    BIO *bio = BIO_new_mem_buf(pem.base, (int)pem.len);
    X509 *certificate = bio != NULL ? PEM_read_bio_X509(bio, NULL, no_password, NULL) : NULL;
    EVP_PKEY *key = certificate != NULL ? X509_get_pubkey(certificate) : NULL;
    time_t now = (time_t)now_s;

    if (key != NULL) /* the comparisons are 0 where a date cannot be read */
        *in_time = X509_cmp_time(X509_get0_notBefore(certificate), &now) < 0 &&
                   X509_cmp_time(X509_get0_notAfter(certificate), &now) > 0;
    X509_free(certificate);
    BIO_free(bio);
    return key;
}

static EVP_PKEY *read_pem(till_slice_t pem)
{
    BIO *bio = BIO_new_mem_buf(pem.base, (int)pem.len);
    EVP_PKEY *key = bio != NULL ? PEM_read_bio_PUBKEY(bio, NULL, no_password, NULL) : NULL;

    BIO_free(bio);
    return key;
}

static EVP_PKEY *read_der(till_slice_t text)
{
    uint8_t der[MAX_DER / 4 * 3 + 3];
    const uint8_t *at = der;
    long len = text.len <= MAX_DER ? till_base64_decode(der, text.base, text.len) : -1;
    EVP_PKEY *key = len > 0 ? d2i_PUBKEY(NULL, &at, len) : NULL;

    if (key != NULL && at != der + len) { /* something stands behind it */
        EVP_PKEY_free(key);
        return NULL;
    }
    return key;
}

static EVP_PKEY *read_key(till_slice_t text, int64_t now_s, bool *in_time)
{
    static const char certificate[] = "-----BEGIN CERTIFICATE-----", pem[] = "-----BEGIN ";

    *in_time = true;
    if (text.len == 0 || text.len > TILL_SIGNATURE_KEY_MAX)
        return NULL;
    if (memmem(text.base, text.len, certificate, sizeof(certificate) - 1) != NULL)
        return read_certificate(text, now_s, in_time);
    if (memmem(text.base, text.len, pem, sizeof(pem) - 1) != NULL)
        return read_pem(text);
    return read_der(text);
}

static bool is_fit(EVP_PKEY *key, till_signature_algorithm_t algorithm)
{
    if (algorithm == TILL_SIGNATURE_RSA)
        return EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA && EVP_PKEY_get_bits(key) >= MIN_RSA_BITS;
    return EVP_PKEY_get_base_id(key) == EVP_PKEY_EC && EVP_PKEY_get_bits(key) >= MIN_CURVE_BITS;
}

static bool verify(EVP_PKEY *key, const uint8_t *signature, size_t len, till_slice_t text)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool is_valid = md != NULL && EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, key) == 1 &&
                    EVP_DigestVerify(md, signature, len, text.base, text.len) == 1;

    EVP_MD_CTX_free(md);
    return is_valid;
}

static till_signature_t check(till_signature_algorithm_t algorithm, till_slice_t key_text, till_slice_t given,
                              till_slice_t text, int64_t now_s)
{
    uint8_t signature[MAX_SIGNATURE / 4 * 3 + 3];
    long len = given.len <= MAX_SIGNATURE ? till_base64_decode(signature, given.base, given.len) : -1;
    bool in_time;

    if (len <= 0)
        return TILL_SIGNATURE_MALFORMED;
    EVP_PKEY *key = read_key(key_text, now_s, &in_time);
    till_signature_t verdict = TILL_SIGNATURE_BAD_KEY;
    if (key != NULL && is_fit(key, algorithm))
        verdict = !verify(key, signature, (size_t)len, text) ? TILL_SIGNATURE_NO_MATCH
                  : in_time                                  ? TILL_SIGNATURE_VALID
                                                             : TILL_SIGNATURE_STALE;
    EVP_PKEY_free(key);
    return verdict;
}

till_signature_t till_signature_public(till_signature_algorithm_t algorithm, till_slice_t key, till_slice_t given,
                                       till_slice_t text, int64_t now_s)
{
    ERR_set_mark();
    till_signature_t verdict = check(algorithm, key, given, text, now_s);
    ERR_pop_to_mark(); /* invariant 5 */
    return verdict;
}
