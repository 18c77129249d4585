/* fuzz_vault.c - what a table may hold instead of a sealed record, and rings as anybody writes them; see
 * core/trade/vault.h. The first byte chooses. */
#include <stdlib.h>
#include <string.h>
#include "trade/vault.h"

static void check(int holds)
{
    if (!holds)
        abort();
}

static void check_sealed(till_slice_t bytes)
{
    static const char ring[] = "b:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const till_vault_place_t place = {{"t", 1}, {"r", 1}, {"c", 1}};
    char why[200];
    till_vault_t *vault = till_vault_create((till_slice_t){ring, sizeof(ring) - 1}, why, sizeof(why));
    uint8_t *out = malloc(bytes.len + 1), *sealed = malloc(bytes.len + TILL_VAULT_OVERHEAD);
    size_t len, sealed_len;

    /* nobody can make one without the key */
    check(till_vault_open(vault, &place, bytes, out, &len) != TILL_VAULT_OPENED && len == 0);
    till_vault_is_current(vault, bytes);
    if (bytes.len <= TILL_VAULT_TEXT_MAX) {
        sealed_len = till_vault_seal(vault, &place, bytes, sealed);
        uint8_t *again = malloc(sealed_len);
        check(till_vault_open(vault, &place, (till_slice_t){sealed, sealed_len}, again, &len) == TILL_VAULT_OPENED);
        check(len == bytes.len && memcmp(again, bytes.base, len) == 0);
        free(again);
    }
    free(out), free(sealed);
    till_vault_destroy(vault);
}

static void check_ring(till_slice_t ring)
{
    char why[200] = "";
    till_vault_t *vault = till_vault_create(ring, why, sizeof(why));

    check(vault != NULL ? till_vault_keys(vault) >= 1 : strncmp(why, "vault.keys: ", 12) == 0);
    till_vault_destroy(vault);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size == 0)
        return 0;
    if (*bytes % 2 == 0)
        check_sealed((till_slice_t){bytes + 1, size - 1});
    else
        check_ring((till_slice_t){bytes + 1, size - 1});
    return 0;
}
