/* bind_ulid.c - ids, and what is UTF-8; see lua/till/prim/ulid.lua and utf8.lua. */
#include <string.h>
#include "base/ulid.h"
#include "base/utf8.h"
#include "vm/vm_priv.h"

static int l_new(lua_State *L)
{
    uint8_t id[TILL_ULID_LEN];

    till_ulid_make(id, till_wall_ms());
    lua_pushlstring(L, (const char *)id, sizeof(id));
    return 1;
}

static int l_text(lua_State *L)
{
    till_slice_t id = till_check_slice(L, 1);
    char text[TILL_ULID_TEXT + 1];

    luaL_argcheck(L, id.len == TILL_ULID_LEN, 1, "is not 16 bytes");
    till_ulid_format(text, id.base);
    lua_pushlstring(L, text, TILL_ULID_TEXT);
    return 1;
}

static int l_bin(lua_State *L)
{
    till_slice_t text = till_check_slice(L, 1);
    uint8_t id[TILL_ULID_LEN];

    if (!till_ulid_parse(id, text.base, text.len))
        return 0;
    lua_pushlstring(L, (const char *)id, sizeof(id));
    return 1;
}

static int l_valid(lua_State *L)
{
    till_slice_t text = till_check_slice(L, 1);

    lua_pushboolean(L, till_utf8_is_valid(text.base, text.len));
    return 1;
}

static int l_clean(lua_State *L)
{
    till_slice_t text = till_check_slice(L, 1);

    lua_pushboolean(L, memchr(text.base, '\0', text.len) == NULL && till_utf8_is_valid(text.base, text.len));
    return 1;
}

static const luaL_Reg ulid[] = {{"new", l_new}, {"text", l_text}, {"bin", l_bin}, {NULL, NULL}};
static const luaL_Reg utf8[] = {{"valid", l_valid}, {"clean", l_clean}, {NULL, NULL}};

int till_bind_ulid(lua_State *L) { return till_bind(L, ulid); }

int till_bind_utf8(lua_State *L) { return till_bind(L, utf8); }
