/* vault_ring.c - the keys of a vault; see vault.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include "base/mem.h"
#include "trade/vault_priv.h"

enum { KEY_TEXT_LEN = 44 };

/* RFC 5869 with an empty salt, for one block of output, which is all that is needed. */
static void hkdf(uint8_t out[TILL_SHA256_LEN], const uint8_t key[KEY_LEN], const char *label, till_slice_t purpose)
{
    static const uint8_t no_salt[TILL_SHA256_LEN] = {0};
    uint8_t extracted[TILL_SHA256_LEN];
    size_t label_len = strlen(label);
    uint8_t *info = till_alloc(label_len + purpose.len + 1);

    memcpy(info, label, label_len);
    if (purpose.len != 0)
        memcpy(info + label_len, purpose.base, purpose.len);
    info[label_len + purpose.len] = 1;
    till_hmac_sha256(extracted, no_salt, sizeof(no_salt), key, KEY_LEN);
    till_hmac_sha256(out, extracted, sizeof(extracted), info, label_len + purpose.len + 1);
    OPENSSL_cleanse(extracted, sizeof(extracted));
    free(info);
}

/* ---- what is configured ---- */

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ','; }

static bool is_id(const char *id, size_t len)
{
    if (len == 0 || len > TILL_VAULT_ID_MAX)
        return false;
    for (size_t i = 0; i != len; ++i) {
        if (!((id[i] >= 'a' && id[i] <= 'z') || (id[i] >= '0' && id[i] <= '9') || id[i] == '-' || id[i] == '_'))
            return false;
    }
    return true;
}

/** @return NULL, or what is wrong with the entry */
static const char *add(till_vault_t *vault, const char *entry, size_t len)
{
    const char *colon = memchr(entry, ':', len);
    struct till_vault_key *key = &vault->keys[vault->count];
    uint8_t bytes[KEY_TEXT_LEN / 4 * 3 + 3];
    size_t id_len = colon != NULL ? (size_t)(colon - entry) : 0;

    if (!is_id(entry, id_len))
        return "is no id:key with an id of up to 16 of a-z, 0-9, - and _";
    if (vault->count == TILL_VAULT_MOST_KEYS)
        return "is one too many: there may be 16";
    for (size_t i = 0; i != vault->count; ++i) {
        if (vault->keys[i].id_len == id_len && memcmp(vault->keys[i].id, entry, id_len) == 0)
            return "has an id that another one has";
    }
    bool good = len - id_len - 1 == KEY_TEXT_LEN && till_base64_decode(bytes, colon + 1, KEY_TEXT_LEN) == KEY_LEN;
    if (good) {
        memcpy(key->id, entry, id_len);
        key->id_len = (uint8_t)id_len;
        memcpy(key->root, bytes, KEY_LEN);
        hkdf(key->wrap, key->root, "moontill vault v1 wrap", (till_slice_t){NULL, 0});
        ++vault->count;
    }
    OPENSSL_cleanse(bytes, sizeof(bytes));
    return good ? NULL : "is not the base64 of 32 bytes (openssl rand -base64 32)";
}

till_vault_t *till_vault_create(till_slice_t ring, char *why, size_t why_size)
{
    till_vault_t *vault = till_calloc(1, sizeof(*vault));
    const char *at = ring.base, *end = at + ring.len, *wrong = NULL;

    for (unsigned number = 1; wrong == NULL && at != end;) {
        const char *from = at;
        if (*at == '#') {
            const char *line_end = memchr(at, '\n', (size_t)(end - at));
            at = line_end != NULL ? line_end : end;
        } else if (is_blank(*at)) {
            ++at;
        } else {
            while (at != end && !is_blank(*at))
                ++at;
            if ((wrong = add(vault, from, (size_t)(at - from))) != NULL)
                snprintf(why, why_size, "vault.keys: entry %u %s", number, wrong);
            ++number;
        }
    }
    if (wrong == NULL && vault->count == 0)
        snprintf(why, why_size, "vault.keys: there is no key in it");
    if (wrong == NULL && vault->count != 0)
        return vault;
    till_vault_destroy(vault);
    return NULL;
}

void till_vault_destroy(till_vault_t *vault)
{
    if (vault == NULL)
        return;
    OPENSSL_cleanse(vault, sizeof(*vault));
    free(vault);
}

size_t till_vault_keys(const till_vault_t *vault) { return vault->count; }

const struct till_vault_key *till_vault_key(const till_vault_t *vault, const uint8_t *id, size_t len)
{
    for (size_t i = 0; i != vault->count; ++i) {
        if (vault->keys[i].id_len == len && memcmp(vault->keys[i].id, id, len) == 0)
            return &vault->keys[i];
    }
    return NULL;
}

void till_vault_index(const till_vault_t *vault, size_t key, till_slice_t purpose, till_slice_t text,
                      uint8_t out[TILL_SHA256_LEN])
{
    uint8_t derived[TILL_SHA256_LEN];

    hkdf(derived, vault->keys[key].root, "moontill vault v1 index ", purpose);
    till_hmac_sha256(out, derived, sizeof(derived), text.base, text.len);
    OPENSSL_cleanse(derived, sizeof(derived));
}
