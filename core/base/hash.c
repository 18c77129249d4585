/* hash.c - see hash.h */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include "base/fork.h"
#include "base/hash.h"

enum { STORE = 1024, MAX_SMALL = 64 }; /* bytes of randomness */

/* OpenSSL fails at these only without memory or without a random source; both are the end. */
static void must(bool done)
{
    static const char message[] = "moontill: OpenSSL failed\n";

    if (done)
        return;
    (void)!write(STDERR_FILENO, message, sizeof(message) - 1);
    abort();
}

void till_sha256(uint8_t out[TILL_SHA256_LEN], const void *bytes, size_t len)
{
    must(EVP_Digest(bytes, len, out, NULL, EVP_sha256(), NULL) == 1);
}

/* The length goes in as eight bytes, big end first. */
static void digest_part(EVP_MD_CTX *md, const till_slice_t *part)
{
    uint8_t prefix[8];

    for (size_t i = 0; i != sizeof(prefix); ++i)
        prefix[i] = (uint8_t)((uint64_t)part->len >> (56 - 8 * i));
    must(EVP_DigestUpdate(md, prefix, sizeof(prefix)) == 1);
    must(EVP_DigestUpdate(md, part->base, part->len) == 1);
}

void till_sha256_parts(uint8_t out[TILL_SHA256_LEN], const till_slice_t *parts, size_t n)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();

    must(md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1);
    for (size_t i = 0; i != n; ++i)
        digest_part(md, &parts[i]);
    must(EVP_DigestFinal_ex(md, out, NULL) == 1);
    EVP_MD_CTX_free(md);
}

void till_hmac_sha256(uint8_t out[TILL_SHA256_LEN], const void *key, size_t key_len, const void *bytes, size_t len)
{
    must(key_len <= INT_MAX);
    must(HMAC(EVP_sha256(), key_len != 0 ? key : "", (int)key_len, bytes, len, out, NULL) != NULL);
}

static void random_of_openssl(void *out, size_t len)
{
    uint8_t *p = out;

    for (size_t n; len != 0; p += n, len -= n) {
        n = len < INT_MAX ? len : INT_MAX;
        must(RAND_bytes(p, (int)n) == 1);
    }
}

/* Asking OpenSSL costs a microsecond however little is asked for, and each request wants some: small pieces come out of
 * a store, which a child of a fork must not share and which forgets what it gave. */
void till_random(void *out, size_t len)
{
    static _Thread_local struct {
        uint8_t bytes[STORE];
        size_t left;
        unsigned fork_count;
    } store;

    if (len > MAX_SMALL) {
        random_of_openssl(out, len);
        return;
    }
    if (store.left < len || store.fork_count != till_fork_count()) {
        random_of_openssl(store.bytes, sizeof(store.bytes));
        store.left = sizeof(store.bytes);
        store.fork_count = till_fork_count();
    }
    if (len == 0)
        return;
    store.left -= len;
    memcpy(out, store.bytes + store.left, len);
    OPENSSL_cleanse(store.bytes + store.left, len);
}

bool till_equal_ct(const void *a, size_t a_len, const void *b, size_t b_len)
{
    return a_len == b_len && (a_len == 0 || CRYPTO_memcmp(a, b, a_len) == 0);
}

void till_hex(char *out, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;

    for (size_t i = 0; i != len; ++i) {
        *out++ = "0123456789abcdef"[p[i] >> 4];
        *out++ = "0123456789abcdef"[p[i] & 15];
    }
    *out = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool till_hex_decode(void *out, const char *text, size_t len)
{
    uint8_t *p = out;

    for (size_t i = 0; i + 1 < len; i += 2) {
        int high = hex_value(text[i]), low = hex_value(text[i + 1]);
        if (high < 0 || low < 0)
            return false;
        *p++ = (uint8_t)(high << 4 | low);
    }
    return len % 2 == 0;
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t till_base64url(char *out, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    char *at = out;
    uint32_t bits = 0;
    unsigned held = 0;

    for (size_t i = 0; i != len; ++i) {
        bits = bits << 8 | p[i];
        for (held += 8; held >= 6; held -= 6)
            *at++ = alphabet[bits >> (held - 6) & 63];
    }
    if (held != 0)
        *at++ = alphabet[bits << (6 - held) & 63];
    *at = '\0';
    return (size_t)(at - out);
}

/* `last` are the two characters in which the alphabets differ. */
static int value_of(char c, const char *last)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == last[0] ? 62 : c == last[1] ? 63 : -1;
}

static long decode64(void *out, const char *text, size_t len, const char *last)
{
    uint8_t *at = out;
    uint32_t bits = 0;
    unsigned held = 0;

    if (len % 4 == 1)
        return -1;
    for (size_t i = 0; i != len; ++i) {
        int value = value_of(text[i], last);
        if (value < 0)
            return -1;
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held >= 8) {
            held -= 8;
            *at++ = (uint8_t)(bits >> held);
        }
    }
    /* bits left over that are not zero would be a second spelling of the same bytes */
    if ((bits & ((1U << held) - 1)) != 0)
        return -1;
    return (long)(at - (uint8_t *)out);
}

long till_base64url_decode(void *out, const char *text, size_t len) { return decode64(out, text, len, "-_"); }

long till_base64_decode(void *out, const char *text, size_t len)
{
    if (len % 4 != 0)
        return -1;
    for (int i = 0; i != 2 && len != 0 && text[len - 1] == '='; ++i)
        --len;
    return decode64(out, text, len, "+/");
}

void till_scrypt(uint8_t out[32], const char *password, size_t len, const uint8_t salt[16])
{
    const uint64_t n = 1 << 14, r = 8, p = 1, max_memory = 32 << 20;

    must(EVP_PBE_scrypt(password, len, salt, 16, n, r, p, max_memory, out, 32) == 1);
}
