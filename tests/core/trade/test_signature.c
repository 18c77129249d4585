/* test_signature.c - see core/trade/signature.h. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include "trade/signature.h"

#define TEXT(text) ((till_slice_t){text, strlen(text)})

enum { NOW = 1700000000, TOLERANCE = 300 };

static const char body[] = "{\"id\":\"evt_1\"}";

static void put_hmac(char out[65], const char *secret, const char *text)
{
    uint8_t mac[TILL_SHA256_LEN];

    till_hmac_sha256(mac, secret, strlen(secret), text, strlen(text));
    till_hex(out, mac, sizeof(mac));
}

static const till_slice_t live[] = {{"whsec_new", 9}, {"whsec_old", 9}};

static till_signature_t stripe(const char *header)
{
    return till_signature_stripe(TEXT(header), TEXT(body), live, 2, NOW, TOLERANCE);
}

/* The vector: printf '1492774577.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_test */
START_TEST(stripe_knows_what_openssl_signs)
{
    const till_slice_t secret = TEXT("whsec_test");
    const char *header = "t=1492774577,v1=7656fc2882a7ca0a651666b36bf2f2f22ee204f54f608f227498a2419f2890b2";

    ck_assert_int_eq(till_signature_stripe(TEXT(header), TEXT(body), &secret, 1, 1492774577, 0), TILL_SIGNATURE_VALID);
}
END_TEST

/* In `format` T is the time, N the signature by the new secret, O by the old, X by another; U is N in upper case. */
static void put_header(char *out, size_t size, const char *format, int64_t time)
{
    char text[128], mac[65], *end = out + size;

    snprintf(text, sizeof(text), "%lld.%s", (long long)time, body);
    for (; *format != '\0'; ++format) {
        put_hmac(mac, *format == 'O' ? "whsec_old" : *format == 'X' ? "other" : "whsec_new", text);
        for (int i = 0; *format == 'U' && i != 64; ++i)
            mac[i] = (char)(mac[i] >= 'a' ? mac[i] - 32 : mac[i]);
        size_t room = (size_t)(end - out);
        out += *format == 'T'                    ? snprintf(out, room, "%lld", (long long)time)
               : strchr("NOXU", *format) != NULL ? snprintf(out, room, "%s", mac)
                                                 : snprintf(out, room, "%c", *format);
    }
}

/* clang-format off */
static const struct {
    const char *why, *format;
    till_signature_t expected;
} headers[] = {
    {"one secret",                    "t=T,v1=N",                TILL_SIGNATURE_VALID},
    {"the secret that goes",          "t=T,v1=O",                TILL_SIGNATURE_VALID},
    {"both while rotating",           "t=T,v1=N,v1=O",           TILL_SIGNATURE_VALID},
    {"any of several",                "t=T,v1=X,v1=X,v1=O",      TILL_SIGNATURE_VALID},
    {"any order",                     "v1=N,t=T",                TILL_SIGNATURE_VALID},
    {"upper case",                    "t=T,v1=U",                TILL_SIGNATURE_VALID},
    {"schemes that we do not know",   "t=T,v0=abc,v1=N,v2=,x=y", TILL_SIGNATURE_VALID},
    {"another secret",                "t=T,v1=X",                TILL_SIGNATURE_NO_MATCH},
    {"another time than was signed",  "t=1700000001,v1=N",       TILL_SIGNATURE_NO_MATCH},
    {"a zero before the time",        "t=0T,v1=N",               TILL_SIGNATURE_NO_MATCH},
    {"v0 is not v1",                  "t=T,v0=N",                TILL_SIGNATURE_MALFORMED},
    {"nothing",                       "",                        TILL_SIGNATURE_MALFORMED},
    {"no time",                       "v1=N",                    TILL_SIGNATURE_MALFORMED},
    {"no signature",                  "t=T",                     TILL_SIGNATURE_MALFORMED},
    {"two times",                     "t=T,t=T,v1=N",            TILL_SIGNATURE_MALFORMED},
    {"an empty time",                 "t=,v1=N",                 TILL_SIGNATURE_MALFORMED},
    {"a time with a sign",            "t=-T,v1=N",               TILL_SIGNATURE_MALFORMED},
    {"a time past all tolerance",     "t=9999999999999,v1=N",    TILL_SIGNATURE_MALFORMED},
    {"a signature cut short",         "t=T,v1=abcd",             TILL_SIGNATURE_MALFORMED},
    {"a signature with more behind",  "t=T,v1=N0",               TILL_SIGNATURE_MALFORMED},
    {"a blank before it",             "t=T,v1= N",               TILL_SIGNATURE_MALFORMED},
    {"an item without a value",       "t=T,v1=N,x",              TILL_SIGNATURE_MALFORMED},
    {"a comma at the end",            "t=T,v1=N,",               TILL_SIGNATURE_MALFORMED},
};
/* clang-format on */

START_TEST(stripe_headers_match_table)
{
    char header[1024];

    put_header(header, sizeof(header), headers[_i].format, NOW);
    till_signature_t got = stripe(header);
    ck_assert_msg(got == headers[_i].expected, "%s: %s", headers[_i].why, till_signature_name(got));
}
END_TEST

START_TEST(stripe_tolerates_a_clock_on_both_sides)
{
    static const struct {
        int64_t age;
        till_signature_t expected;
    } ages[] = {{TOLERANCE, TILL_SIGNATURE_VALID},
                {TOLERANCE + 1, TILL_SIGNATURE_STALE},
                {-TOLERANCE, TILL_SIGNATURE_VALID},
                {-TOLERANCE - 1, TILL_SIGNATURE_STALE},
                {NOW /* 1970 */, TILL_SIGNATURE_STALE}};
    char header[256];

    for (size_t i = 0; i != sizeof(ages) / sizeof(ages[0]); ++i) {
        put_header(header, sizeof(header), "t=T,v1=O", NOW - ages[i].age);
        ck_assert_int_eq(stripe(header), ages[i].expected);
    }
    /* whoever cannot sign learns nothing of our clock */
    put_header(header, sizeof(header), "t=T,v1=X", NOW - TOLERANCE - 1);
    ck_assert_int_eq(stripe(header), TILL_SIGNATURE_NO_MATCH);
}
END_TEST

START_TEST(stripe_signs_every_byte_of_the_body)
{
    char header[256], other[sizeof(body)];

    put_header(header, sizeof(header), "t=T,v1=N", NOW);
    for (size_t i = 0; i != strlen(body); ++i) {
        memcpy(other, body, sizeof(body));
        other[i] ^= 1;
        ck_assert_int_eq(till_signature_stripe(TEXT(header), TEXT(other), live, 2, NOW, TOLERANCE),
                         TILL_SIGNATURE_NO_MATCH);
    }
}
END_TEST

START_TEST(stripe_reads_sixteen_signatures_and_no_more)
{
    char header[2048], format[256] = "t=T";

    for (int i = 0; i != TILL_SIGNATURE_MOST - 1; ++i)
        strcat(format, ",v1=X");
    strcat(format, ",v1=N");
    put_header(header, sizeof(header), format, NOW);
    ck_assert_int_eq(stripe(header), TILL_SIGNATURE_VALID);
    strcat(format, ",v1=N");
    put_header(header, sizeof(header), format, NOW);
    ck_assert_int_eq(stripe(header), TILL_SIGNATURE_MALFORMED);
}
END_TEST

START_TEST(stripe_reads_headers_up_to_a_length)
{
    char header[TILL_SIGNATURE_HEADER_MAX + 2];

    put_header(header, sizeof(header), "t=T,v1=N,x=", NOW);
    size_t len = strlen(header);
    memset(header + len, 'x', sizeof(header) - len);
    ck_assert_int_eq(
        till_signature_stripe((till_slice_t){header, TILL_SIGNATURE_HEADER_MAX}, TEXT(body), live, 2, NOW, TOLERANCE),
        TILL_SIGNATURE_VALID);
    ck_assert_int_eq(till_signature_stripe((till_slice_t){header, TILL_SIGNATURE_HEADER_MAX + 1}, TEXT(body), live, 2,
                                           NOW, TOLERANCE),
                     TILL_SIGNATURE_MALFORMED);
}
END_TEST

/* Whoever forgot the secret must not be open to those who sign with none. */
START_TEST(an_empty_secret_matches_nothing)
{
    const till_slice_t empty[] = {{"", 0}, {NULL, 0}};
    char text[128], mac[65], header[128];

    snprintf(text, sizeof(text), "%d.%s", NOW, body);
    put_hmac(mac, "", text);
    snprintf(header, sizeof(header), "t=%d,v1=%s", NOW, mac);
    for (size_t n = 0; n != 3; ++n)
        ck_assert_int_eq(till_signature_stripe(TEXT(header), TEXT(body), empty, n, NOW, TOLERANCE),
                         TILL_SIGNATURE_NO_MATCH);
    put_hmac(mac, "", body);
    ck_assert_int_eq(till_signature_hmac(TEXT(mac), TILL_SIGNATURE_HEX, TEXT(body), empty, 2), TILL_SIGNATURE_NO_MATCH);
}
END_TEST

/* RFC 4231, case 2 */
START_TEST(hmac_in_both_spellings)
{
    static const char hex[] = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
                      base64[] = "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=",
                      *const wrong[] = {"", "5bdc", "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM",
                                        "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEN=",
                                        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec384g"};
    const till_slice_t secrets[] = {TEXT("another"), TEXT("Jefe")}, text = TEXT("what do ya want for nothing?");

    ck_assert_int_eq(till_signature_hmac(TEXT(hex), TILL_SIGNATURE_HEX, text, secrets, 2), TILL_SIGNATURE_VALID);
    ck_assert_int_eq(till_signature_hmac(TEXT(base64), TILL_SIGNATURE_BASE64, text, secrets, 2), TILL_SIGNATURE_VALID);
    ck_assert_int_eq(till_signature_hmac(TEXT(hex), TILL_SIGNATURE_HEX, text, secrets, 1), TILL_SIGNATURE_NO_MATCH);
    ck_assert_int_eq(till_signature_hmac(TEXT(hex), TILL_SIGNATURE_BASE64, text, secrets, 2), TILL_SIGNATURE_MALFORMED);
    ck_assert_int_eq(till_signature_hmac(TEXT(base64), TILL_SIGNATURE_HEX, text, secrets, 2), TILL_SIGNATURE_MALFORMED);
    for (size_t i = 0; i != sizeof(wrong) / sizeof(wrong[0]); ++i)
        for (int spelling = 0; spelling != 2; ++spelling)
            ck_assert_int_eq(till_signature_hmac(TEXT(wrong[i]), (till_signature_spelling_t)spelling, text, secrets, 2),
                             TILL_SIGNATURE_MALFORMED);
}
END_TEST

/* ---- public keys ---- */

static char *of_bio(BIO *bio)
{
    char *bytes, *out;
    long len = BIO_get_mem_data(bio, &bytes);

    out = strndup(bytes, (size_t)len);
    BIO_free(bio);
    return out;
}

static char *pem_of(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());

    ck_assert_int_eq(PEM_write_bio_PUBKEY(bio, key), 1);
    return of_bio(bio);
}

static char *base64_of(const uint8_t *bytes, size_t len)
{
    char *out = malloc((len + 2) / 3 * 4 + 1);

    EVP_EncodeBlock((unsigned char *)out, bytes, (int)len);
    return out;
}

static char *der_of(EVP_PKEY *key)
{
    uint8_t *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    char *out = base64_of(der, (size_t)len);

    OPENSSL_free(der);
    return out;
}

static char *certificate_of(EVP_PKEY *key, int64_t from, int64_t to)
{
    X509 *x = X509_new();
    BIO *bio = BIO_new(BIO_s_mem());

    ASN1_TIME_set(X509_getm_notBefore(x), from);
    ASN1_TIME_set(X509_getm_notAfter(x), to);
    X509_set_pubkey(x, key);
    ck_assert_int_ne(X509_sign(x, key, EVP_sha256()), 0);
    ck_assert_int_eq(PEM_write_bio_X509(bio, x), 1);
    X509_free(x);
    return of_bio(bio);
}

static char *sign(EVP_PKEY *key, const char *text)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint8_t out[1024];
    size_t len = sizeof(out);

    ck_assert_int_eq(EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, key), 1);
    ck_assert_int_eq(EVP_DigestSign(md, out, &len, (const uint8_t *)text, strlen(text)), 1);
    EVP_MD_CTX_free(md);
    return base64_of(out, len);
}

static const char signed_text[] = "69cd13f0|2026-11-30T02:00:00Z|1JE4291016473214C|3734921183";

static till_signature_t verify(till_signature_algorithm_t algorithm, const char *key, const char *given)
{
    till_signature_t verdict = till_signature_public(algorithm, TEXT(key), TEXT(given), TEXT(signed_text), NOW);

    ck_assert_uint_eq(ERR_peek_error(), 0); /* invariant 5 */
    return verdict;
}

static void check_algorithm(till_signature_algorithm_t algorithm, EVP_PKEY *key, EVP_PKEY *other)
{
    char *forms[] = {pem_of(key), der_of(key), certificate_of(key, NOW - 10, NOW + 10)};
    char *early = certificate_of(key, NOW + 1, NOW + 10), *late = certificate_of(key, NOW - 10, NOW - 1);
    char *given = sign(key, signed_text), *foreign = sign(other, signed_text), *of_more = sign(key, "another text");
    till_signature_algorithm_t wrong = algorithm == TILL_SIGNATURE_RSA ? TILL_SIGNATURE_ECDSA : TILL_SIGNATURE_RSA;

    for (int i = 0; i != 3; ++i) {
        ck_assert_int_eq(verify(algorithm, forms[i], given), TILL_SIGNATURE_VALID);
        ck_assert_int_eq(verify(algorithm, forms[i], foreign), TILL_SIGNATURE_NO_MATCH);
        ck_assert_int_eq(verify(algorithm, forms[i], of_more), TILL_SIGNATURE_NO_MATCH);
        ck_assert_int_eq(verify(algorithm, forms[i], "AAAA"), TILL_SIGNATURE_NO_MATCH);
        ck_assert_int_eq(verify(algorithm, forms[i], ""), TILL_SIGNATURE_MALFORMED);
        ck_assert_int_eq(verify(algorithm, forms[i], "no base64"), TILL_SIGNATURE_MALFORMED);
        ck_assert_int_eq(verify(wrong, forms[i], given), TILL_SIGNATURE_BAD_KEY);
        free(forms[i]);
    }
    ck_assert_int_eq(verify(algorithm, early, given), TILL_SIGNATURE_STALE);
    ck_assert_int_eq(verify(algorithm, late, given), TILL_SIGNATURE_STALE);
    ck_assert_int_eq(verify(algorithm, late, foreign), TILL_SIGNATURE_NO_MATCH);
    free(early), free(late), free(given), free(foreign), free(of_more);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

START_TEST(rsa_verifies) { check_algorithm(TILL_SIGNATURE_RSA, EVP_RSA_gen(2048), EVP_RSA_gen(2048)); }
END_TEST

START_TEST(ecdsa_verifies) { check_algorithm(TILL_SIGNATURE_ECDSA, EVP_EC_gen("P-256"), EVP_EC_gen("P-256")); }
END_TEST

/* A private key that is encrypted would have OpenSSL ask the terminal for its password. */
START_TEST(keys_that_are_none)
{
    EVP_PKEY *weak = EVP_RSA_gen(1024), *curve = EVP_EC_gen("P-192"),
             *edwards = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    BIO *bio = BIO_new(BIO_s_mem());
    ck_assert_int_eq(PEM_write_bio_PKCS8PrivateKey(bio, curve, EVP_aes_256_cbc(), "secret", 6, NULL, NULL), 1);
    char *texts[] = {pem_of(weak),
                     pem_of(curve),
                     pem_of(edwards),
                     of_bio(bio),
                     strdup("AAAA"),
                     strdup("words"),
                     strdup(""),
                     strdup("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
                     strdup("-----BEGIN PUBLIC KEY-----\n")};

    for (size_t i = 0; i != sizeof(texts) / sizeof(texts[0]); ++i) {
        ck_assert_int_eq(verify(TILL_SIGNATURE_RSA, texts[i], "AAAA"), TILL_SIGNATURE_BAD_KEY);
        ck_assert_int_eq(verify(TILL_SIGNATURE_ECDSA, texts[i], "AAAA"), TILL_SIGNATURE_BAD_KEY);
        free(texts[i]);
    }
    EVP_PKEY_free(weak), EVP_PKEY_free(curve), EVP_PKEY_free(edwards);
}
END_TEST

Suite *signature_suite(void)
{
    Suite *suite = suite_create("trade/signature");
    TCase *tc = tcase_create("secrets"), *keys = tcase_create("keys");

    tcase_add_test(tc, stripe_knows_what_openssl_signs);
    tcase_add_loop_test(tc, stripe_headers_match_table, 0, sizeof(headers) / sizeof(headers[0]));
    tcase_add_test(tc, stripe_tolerates_a_clock_on_both_sides);
    tcase_add_test(tc, stripe_signs_every_byte_of_the_body);
    tcase_add_test(tc, stripe_reads_sixteen_signatures_and_no_more);
    tcase_add_test(tc, stripe_reads_headers_up_to_a_length);
    tcase_add_test(tc, an_empty_secret_matches_nothing);
    tcase_add_test(tc, hmac_in_both_spellings);
    suite_add_tcase(suite, tc);
    tcase_set_timeout(keys, 90);
    tcase_add_test(keys, rsa_verifies);
    tcase_add_test(keys, ecdsa_verifies);
    tcase_add_test(keys, keys_that_are_none);
    suite_add_tcase(suite, keys);
    return suite;
}
