/* bind_ulid.c - ids, and what is UTF-8; see lua/till/prim/ulid.lua and utf8.lua. */
#include <string.h>
#include "base/ulid.h"
#include "base/utf8.h"
#include "vm/vm_priv.h"

#define MOST_HEAD 16

static int l_new(lua_State *L)
{
    uint8_t id[TILL_ULID_LEN];

    till_ulid_make(id, till_wall_ms());
    lua_pushlstring(L, (const char *)id, sizeof(id));
    return 1;
}

/* text(bin [, head]): after the head, "cart_". */
static int l_text(lua_State *L)
{
    till_slice_t id = till_check_slice(L, 1);
    size_t len = 0;
    const char *head = luaL_optlstring(L, 2, "", &len);
    char text[MOST_HEAD + TILL_ULID_TEXT + 1];

    luaL_argcheck(L, id.len == TILL_ULID_LEN, 1, "an id has 16 bytes");
    luaL_argcheck(L, len <= MOST_HEAD, 2, "is too long");
    memcpy(text, head, len);
    till_ulid_format(text + len, id.base);
    lua_pushlstring(L, text, len + TILL_ULID_TEXT);
    return 1;
}

/* Is it the head and a ULID in its canonical form, which is in capitals? Of several forms of one id only one may be
 * found where texts are compared. */
static bool read_public(uint8_t id[TILL_ULID_LEN], till_slice_t text, till_slice_t head)
{
    const char *at = text.base;

    if (text.len != head.len + TILL_ULID_TEXT || memcmp(at, head.base, head.len) != 0)
        return false;
    for (size_t i = head.len; i != text.len; ++i)
        if (at[i] >= 'a' && at[i] <= 'z')
            return false;
    return till_ulid_parse(id, at + head.len, TILL_ULID_TEXT);
}

/* bin(text [, head]): with a head the canonical form alone. */
static int l_bin(lua_State *L)
{
    till_slice_t text = till_check_slice(L, 1);
    uint8_t id[TILL_ULID_LEN];
    bool is_good = lua_isnoneornil(L, 2) ? till_ulid_parse(id, text.base, text.len)
                                         : read_public(id, text, till_check_slice(L, 2));

    if (!is_good)
        return 0;
    lua_pushlstring(L, (const char *)id, sizeof(id));
    return 1;
}

static int l_is(lua_State *L)
{
    uint8_t id[TILL_ULID_LEN];

    lua_pushboolean(L, read_public(id, till_check_slice(L, 1), till_check_slice(L, 2)));
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

static const luaL_Reg ulid[] = {{"new", l_new}, {"text", l_text}, {"bin", l_bin}, {"is", l_is}, {NULL, NULL}};
static const luaL_Reg utf8[] = {{"valid", l_valid}, {"clean", l_clean}, {NULL, NULL}};

int till_bind_ulid(lua_State *L) { return till_bind(L, ulid); }

int till_bind_utf8(lua_State *L) { return till_bind(L, utf8); }
