/* vault_priv.h - what vault.c and vault_ring.c share. */
#ifndef TILL_TRADE_VAULT_PRIV_H
#define TILL_TRADE_VAULT_PRIV_H

#include "trade/vault.h"

enum { KEY_LEN = 32 };

struct till_vault_key {
    uint8_t root[KEY_LEN], wrap[KEY_LEN];
    uint8_t id[TILL_VAULT_ID_MAX], id_len;
};

struct till_vault {
    struct till_vault_key keys[TILL_VAULT_MOST_KEYS];
    size_t count;
};

/** @return NULL where there is none of this id */
const struct till_vault_key *till_vault_key(const till_vault_t *vault, const uint8_t *id, size_t len);

#endif
