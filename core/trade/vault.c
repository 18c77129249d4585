/* vault.c - sealing and opening; see vault.h. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include "base/mem.h"
#include "trade/vault_priv.h"

enum { VERSION = 1, NONCE_LEN = 12, TAG_LEN = 16, WRAPPED_LEN = NONCE_LEN + KEY_LEN + TAG_LEN };

/* OpenSSL fails at these only without memory; opening, besides, where the tag is wrong. */
static void must(bool done)
{
    if (!done)
        abort();
}

static EVP_CIPHER_CTX *begin(const uint8_t key[KEY_LEN], const uint8_t nonce[NONCE_LEN], const till_slice_t *about,
                             size_t n, int seals)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int len;

    must(ctx != NULL && EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce, seals) == 1);
    for (size_t i = 0; i != n; ++i)
        must(about[i].len == 0 || EVP_CipherUpdate(ctx, NULL, &len, about[i].base, (int)about[i].len) == 1);
    return ctx;
}

/* The tag stands behind the text. */
static void seal(const uint8_t key[KEY_LEN], const uint8_t nonce[NONCE_LEN], const till_slice_t *about, size_t n,
                 till_slice_t text, uint8_t *out)
{
    EVP_CIPHER_CTX *ctx = begin(key, nonce, about, n, 1);
    int len;

    must(text.len == 0 || EVP_CipherUpdate(ctx, out, &len, text.base, (int)text.len) == 1);
    must(EVP_CipherFinal_ex(ctx, out + text.len, &len) == 1);
    must(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, out + text.len) == 1);
    EVP_CIPHER_CTX_free(ctx);
}

/** @return false, with `out` zeroed, unless all of it is as it was sealed */
static bool unseal(const uint8_t key[KEY_LEN], const uint8_t nonce[NONCE_LEN], const till_slice_t *about, size_t n,
                   const uint8_t *sealed, size_t text_len, uint8_t *out)
{
    EVP_CIPHER_CTX *ctx = begin(key, nonce, about, n, 0);
    uint8_t tag[TAG_LEN];
    int len;

    memcpy(tag, sealed + text_len, TAG_LEN);
    must(text_len == 0 || EVP_CipherUpdate(ctx, out, &len, sealed, (int)text_len) == 1);
    must(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, tag) == 1);
    bool is_whole = EVP_CipherFinal_ex(ctx, out + text_len, &len) == 1;
    EVP_CIPHER_CTX_free(ctx);
    if (!is_whole)
        OPENSSL_cleanse(out, text_len);
    return is_whole;
}

/* Three lengths and three parts, digested to a fixed length. */
static void digest_place(uint8_t out[TILL_SHA256_LEN], const till_vault_place_t *place)
{
    const till_slice_t parts[] = {place->table, place->row, place->column};

    till_sha256_parts(out, parts, 3);
}

size_t till_vault_seal(const till_vault_t *vault, const till_vault_place_t *place, till_slice_t text, uint8_t *out)
{
    const struct till_vault_key *key = &vault->keys[0];
    uint8_t data_key[KEY_LEN], where[TILL_SHA256_LEN], *at = out;

    assert(text.len <= TILL_VAULT_TEXT_MAX);
    digest_place(where, place);
    till_random(data_key, sizeof(data_key));
    *at++ = VERSION;
    *at++ = key->id_len;
    memcpy(at, key->id, key->id_len);
    at += key->id_len;
    const till_slice_t head = {out, (size_t)(at - out)};
    till_random(at, NONCE_LEN);
    seal(key->wrap, at, &head, 1, (till_slice_t){data_key, KEY_LEN}, at + NONCE_LEN);
    at += WRAPPED_LEN;
    const till_slice_t about[] = {{out, (size_t)(at - out)}, {where, sizeof(where)}};
    till_random(at, NONCE_LEN);
    seal(data_key, at, about, 2, text, at + NONCE_LEN);
    OPENSSL_cleanse(data_key, sizeof(data_key));
    return (size_t)(at - out) + NONCE_LEN + text.len + TAG_LEN;
}

/** Where the wrapped key begins. @return 0 where it is no sealed record */
static size_t read_head(till_slice_t sealed)
{
    const uint8_t *bytes = sealed.base;

    if (sealed.len < 2 || bytes[0] != VERSION || bytes[1] == 0 || bytes[1] > TILL_VAULT_ID_MAX)
        return 0;
    size_t head = 2 + (size_t)bytes[1], least = head + WRAPPED_LEN + NONCE_LEN + TAG_LEN;
    return sealed.len >= least && sealed.len - least <= TILL_VAULT_TEXT_MAX ? head : 0;
}

till_vault_verdict_t till_vault_open(const till_vault_t *vault, const till_vault_place_t *place, till_slice_t sealed,
                                     uint8_t *out, size_t *len)
{
    const uint8_t *bytes = sealed.base;
    size_t head = read_head(sealed);
    uint8_t data_key[KEY_LEN + TAG_LEN], where[TILL_SHA256_LEN];

    *len = 0;
    if (sealed.len != 0)
        memset(out, 0, sealed.len);
    if (head == 0)
        return TILL_VAULT_MALFORMED;
    const struct till_vault_key *key = till_vault_key(vault, bytes + 2, bytes[1]);
    if (key == NULL)
        return TILL_VAULT_NO_KEY;
    const till_slice_t about_key = {bytes, head}, about[] = {{bytes, head + WRAPPED_LEN}, {where, sizeof(where)}};
    if (!unseal(key->wrap, bytes + head, &about_key, 1, bytes + head + NONCE_LEN, KEY_LEN, data_key))
        return TILL_VAULT_TAMPERED;
    digest_place(where, place);
    const uint8_t *nonce = bytes + head + WRAPPED_LEN;
    size_t text_len = sealed.len - head - WRAPPED_LEN - NONCE_LEN - TAG_LEN;
    bool is_whole = unseal(data_key, nonce, about, 2, nonce + NONCE_LEN, text_len, out);
    OPENSSL_cleanse(data_key, sizeof(data_key));
    *len = is_whole ? text_len : 0;
    return is_whole ? TILL_VAULT_OPENED : TILL_VAULT_TAMPERED;
}

till_vault_verdict_t till_vault_reseal(const till_vault_t *vault, const till_vault_place_t *place, till_slice_t sealed,
                                       uint8_t *out, size_t *len)
{
    uint8_t *text = till_alloc(sealed.len + 1);
    till_vault_verdict_t verdict = till_vault_open(vault, place, sealed, text, len);

    if (verdict == TILL_VAULT_OPENED) {
        size_t text_len = *len;
        *len = till_vault_seal(vault, place, (till_slice_t){text, text_len}, out);
        OPENSSL_cleanse(text, text_len);
    }
    free(text);
    return verdict;
}

bool till_vault_is_current(const till_vault_t *vault, till_slice_t sealed)
{
    const uint8_t *bytes = sealed.base;

    return read_head(sealed) != 0 && till_vault_key(vault, bytes + 2, bytes[1]) == &vault->keys[0];
}
