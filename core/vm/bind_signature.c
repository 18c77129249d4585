/* bind_signature.c - who sent a webhook; see lua/till/prim/signature.lua. */
#include <limits.h>
#include <zlib.h>
#include "trade/signature.h"
#include "vm/vm_priv.h"

#define MOST_SECRETS 8

/** A list of texts, none of them empty: an empty one is a mistake of whoever configured it. @return how many */
static size_t check_secrets(lua_State *L, int index, till_slice_t out[MOST_SECRETS])
{
    luaL_checktype(L, index, LUA_TTABLE);
    size_t n = lua_objlen(L, index);

    luaL_argcheck(L, n >= 1 && n <= MOST_SECRETS, index, "is not a list of 1 to 8 secrets");
    for (size_t i = 0; i != n; ++i) {
        lua_rawgeti(L, index, (int)i + 1);
        luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, index, "holds a secret that is no text");
        out[i].base = lua_tolstring(L, -1, &out[i].len); /* the list keeps it */
        lua_pop(L, 1);
        luaL_argcheck(L, out[i].len != 0, index, "holds an empty secret");
    }
    return n;
}

static int64_t check_seconds(lua_State *L, int index)
{
    lua_Number n = luaL_checknumber(L, index);

    luaL_argcheck(L, n >= 0 && n <= 9007199254740992.0, index, "is no count of seconds");
    return (int64_t)n;
}

/** true, or false and why. [-0, +1 or +2] */
static int push_verdict(lua_State *L, till_signature_t verdict)
{
    lua_pushboolean(L, verdict == TILL_SIGNATURE_VALID);
    if (verdict == TILL_SIGNATURE_VALID)
        return 1;
    lua_pushstring(L, till_signature_name(verdict));
    return 2;
}

static int l_stripe(lua_State *L)
{
    till_slice_t header = till_check_slice(L, 1), body = till_check_slice(L, 2), secrets[MOST_SECRETS];
    size_t n = check_secrets(L, 3, secrets);

    return push_verdict(L, till_signature_stripe(header, body, secrets, n, check_seconds(L, 4), check_seconds(L, 5)));
}

static int l_hmac(lua_State *L)
{
    static const char *const spellings[] = {"hex", "base64", NULL};
    till_slice_t given = till_check_slice(L, 1), text = till_check_slice(L, 2), secrets[MOST_SECRETS];
    size_t n = check_secrets(L, 3, secrets);
    till_signature_spelling_t spelling =
        luaL_checkoption(L, 4, NULL, spellings) == 0 ? TILL_SIGNATURE_HEX : TILL_SIGNATURE_BASE64;

    return push_verdict(L, till_signature_hmac(given, spelling, text, secrets, n));
}

static int l_public(lua_State *L)
{
    static const char *const algorithms[] = {"rsa", "ecdsa", NULL};
    till_signature_algorithm_t algorithm =
        luaL_checkoption(L, 1, NULL, algorithms) == 0 ? TILL_SIGNATURE_RSA : TILL_SIGNATURE_ECDSA;
    till_slice_t key = till_check_slice(L, 2), given = till_check_slice(L, 3), text = till_check_slice(L, 4);

    return push_verdict(L, till_signature_public(algorithm, key, given, text, check_seconds(L, 5)));
}

static int l_crc32(lua_State *L)
{
    till_slice_t text = till_check_slice(L, 1);

    luaL_argcheck(L, text.len <= UINT_MAX, 1, "is too long");
    lua_pushnumber(L, (lua_Number)crc32(0, text.base, (uInt)text.len));
    return 1;
}

static const luaL_Reg functions[] = {
    {"stripe", l_stripe}, {"hmac", l_hmac}, {"public", l_public}, {"crc32", l_crc32}, {NULL, NULL},
};

int till_bind_signature(lua_State *L) { return till_bind(L, functions); }
