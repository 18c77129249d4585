/* bind_vault.c - what is sealed in tables; see lua/till/prim/vault.lua.
 *
 * A vault is a userdata, cleansed when Lua collects it. That of vault.keys is made when it is first asked for and
 * lives as long as the VM; its keys never are a string of Lua's.
 */
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include "base/mem.h"
#include "trade/vault.h"
#include "vm/vm_priv.h"

static const char meta_slot, own_slot; /* their addresses key the metatable and the configured vault */

static int l_gc(lua_State *L)
{
    till_vault_t **slot = lua_touserdata(L, 1);

    till_vault_destroy(*slot);
    *slot = NULL;
    return 0;
}

static void push_kept(lua_State *L, const char *slot)
{
    lua_pushlightuserdata(L, (void *)slot);
    lua_rawget(L, LUA_REGISTRYINDEX);
}

/** A vault, or nil and why. [-0, +1 or 2] */
static int push_vault(lua_State *L, till_slice_t ring)
{
    till_vault_t **slot = lua_newuserdata(L, sizeof(*slot));
    char why[200];

    *slot = NULL;
    push_kept(L, &meta_slot);
    lua_setmetatable(L, -2);
    *slot = till_vault_create(ring, why, sizeof(why));
    return *slot != NULL ? 1 : till_push_failure(L, TILL_UNAVAILABLE, why);
}

static int l_of(lua_State *L) { return push_vault(L, till_check_slice(L, 1)); }

static int l_configured(lua_State *L)
{
    const till_conf_t *conf = till_vm_env_of(L)->conf;
    const char *ring = conf != NULL ? till_conf_str(conf, "vault.keys") : "";

    push_kept(L, &own_slot);
    if (!lua_isnil(L, -1))
        return 1;
    if (*ring == '\0')
        return till_push_failure(L, TILL_UNAVAILABLE, "no key is configured to seal with: set vault.keys");
    if (push_vault(L, (till_slice_t){ring, strlen(ring)}) != 1)
        return 2;
    lua_pushlightuserdata(L, (void *)&own_slot);
    lua_pushvalue(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
    return 1;
}

static const till_vault_t *check_vault(lua_State *L, int index)
{
    till_vault_t **slot = lua_touserdata(L, index);
    bool is_vault = slot != NULL && lua_getmetatable(L, index) != 0;

    if (is_vault) {
        push_kept(L, &meta_slot);
        is_vault = lua_rawequal(L, -1, -2) != 0;
        lua_pop(L, 2);
    }
    luaL_argcheck(L, is_vault && *slot != NULL, index, "is no vault");
    return *slot;
}

static till_vault_place_t check_place(lua_State *L)
{
    return (till_vault_place_t){till_check_slice(L, 2), till_check_slice(L, 3), till_check_slice(L, 4)};
}

static int push_refusal(lua_State *L, till_vault_verdict_t verdict)
{
    if (verdict == TILL_VAULT_NO_KEY)
        return till_push_failure(L, TILL_UNAVAILABLE,
                                 "it is sealed with a key that vault.keys does not have: put it back until all is "
                                 "sealed anew");
    return till_push_failure(L, TILL_INTERNAL,
                             verdict == TILL_VAULT_TAMPERED
                                 ? "what is sealed was changed, or belongs to another place: restore it from a backup"
                                 : "it is no sealed record");
}

static int l_seal(lua_State *L)
{
    const till_vault_t *vault = check_vault(L, 1);
    till_vault_place_t place = check_place(L);
    till_slice_t text = till_check_slice(L, 5);

    luaL_argcheck(L, text.len <= TILL_VAULT_TEXT_MAX, 5, "is longer than 1 MB");
    uint8_t *out = lua_newuserdata(L, text.len + TILL_VAULT_OVERHEAD);
    lua_pushlstring(L, (const char *)out, till_vault_seal(vault, &place, text, out));
    return 1;
}

static int l_open(lua_State *L)
{
    const till_vault_t *vault = check_vault(L, 1);
    till_vault_place_t place = check_place(L);
    till_slice_t sealed = till_check_slice(L, 5);
    size_t len;

    uint8_t *out = lua_newuserdata(L, sealed.len + 1);
    till_vault_verdict_t verdict = till_vault_open(vault, &place, sealed, out, &len);
    if (verdict != TILL_VAULT_OPENED)
        return push_refusal(L, verdict);
    lua_pushlstring(L, (const char *)out, len);
    OPENSSL_cleanse(out, len);
    return 1;
}

static int l_reseal(lua_State *L)
{
    const till_vault_t *vault = check_vault(L, 1);
    till_vault_place_t place = check_place(L);
    till_slice_t sealed = till_check_slice(L, 5);
    size_t len;

    uint8_t *out = lua_newuserdata(L, sealed.len + TILL_VAULT_OVERHEAD);
    till_vault_verdict_t verdict = till_vault_reseal(vault, &place, sealed, out, &len);
    if (verdict != TILL_VAULT_OPENED)
        return push_refusal(L, verdict);
    lua_pushlstring(L, (const char *)out, len);
    return 1;
}

static int l_is_current(lua_State *L)
{
    lua_pushboolean(L, till_vault_is_current(check_vault(L, 1), till_check_slice(L, 2)));
    return 1;
}

/* One for each key, that of the current one first. */
static int l_indexes(lua_State *L)
{
    const till_vault_t *vault = check_vault(L, 1);
    till_slice_t purpose = till_check_slice(L, 2), text = till_check_slice(L, 3);
    uint8_t out[TILL_SHA256_LEN];

    lua_createtable(L, (int)till_vault_keys(vault), 0);
    for (size_t i = 0; i != till_vault_keys(vault); ++i) {
        till_vault_index(vault, i, purpose, text, out);
        lua_pushlstring(L, (const char *)out, sizeof(out));
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

static const luaL_Reg functions[] = {
    {"of", l_of},         {"configured", l_configured}, {"seal", l_seal},       {"open", l_open},
    {"reseal", l_reseal}, {"is_current", l_is_current}, {"indexes", l_indexes}, {NULL, NULL},
};

int till_bind_vault(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)&meta_slot);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
    lua_rawset(L, LUA_REGISTRYINDEX);
    return till_bind(L, functions);
}
