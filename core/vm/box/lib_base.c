/* lib_base.c - what a rule finds of Lua's base library; the natives that are safe stay as they are.
 *
 * Replaced, because the stock one tells of addresses, of the history of a table, or
 * of nothing that could end it: next and pairs (in the order of the keys),
 * tostring, tonumber, pcall, unpack. The rest is not there.
 */
#include <lualib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "vm/box/sandbox.h"

#define UNPACK_MAX 250
#define NUMBER_TEXT_MAX 100

/* ---- text of a value --------------------------------------------------------------- */

static void push_number_text(lua_State *L, int index)
{
    if (isnan(lua_tonumber(L, index))) { /* its sign is the processor's */
        lua_pushliteral(L, "nan");
        return;
    }
    lua_pushvalue(L, index);
    lua_tostring(L, -1);
}

static bool push_own_text(lua_State *L, int index)
{
    if (!luaL_getmetafield(L, index, "__tostring"))
        return false;
    lua_pushvalue(L, index);
    till_sandbox_call(L, 1, 1);
    if (!lua_isstring(L, -1))
        luaL_error(L, "`__tostring` must return a string");
    return true;
}

void till_sandbox_tostring(lua_State *L, int index)
{
    luaL_checkany(L, index);
    if (lua_type(L, index) == LUA_TTABLE && push_own_text(L, index))
        return;
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
        push_number_text(L, index);
        return;
    case LUA_TSTRING:
        lua_pushvalue(L, index);
        return;
    case LUA_TBOOLEAN:
        lua_pushstring(L, lua_toboolean(L, index) ? "true" : "false");
        return;
    default:
        lua_pushstring(L, luaL_typename(L, index)); /* of a table: "table", never where it is */
    }
}

static int l_tostring(lua_State *L)
{
    till_sandbox_tostring(L, 1);
    return 1;
}

/** [-0, +1] nil where it is none */
static void push_of_base(lua_State *L, int base)
{
    const char *text = luaL_checkstring(L, 1);
    char *end;

    luaL_argcheck(L, base >= 2 && base <= 36, 2, "base out of range");
    unsigned long long n = strtoull(text, &end, base);
    while (*end == ' ')
        ++end;
    if (end == text || *end != '\0')
        lua_pushnil(L);
    else
        lua_pushnumber(L, (lua_Number)n);
}

static int l_tonumber(lua_State *L)
{
    int base = luaL_optint(L, 2, 10);
    bool is_short = lua_type(L, 1) != LUA_TSTRING || lua_objlen(L, 1) <= NUMBER_TEXT_MAX;

    luaL_checkany(L, 1);
    if (is_short && base != 10)
        push_of_base(L, base);
    else if (is_short && lua_isnumber(L, 1))
        lua_pushnumber(L, lua_tonumber(L, 1));
    else
        lua_pushnil(L);
    return 1;
}

/* ---- the order of keys ----------------------------------------------------------------- */

/* Numbers, then texts by their bytes, then false and true. Other keys have no order that would be the same tomorrow. */
static int rank(lua_State *L, int index)
{
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
        return 0;
    case LUA_TSTRING:
        return 1;
    case LUA_TBOOLEAN:
        return 2;
    default:
        return luaL_error(L, "a key that is a %s has no order: keep such things in a list", luaL_typename(L, index));
    }
}

static int by_text(lua_State *L, int a, int b)
{
    size_t a_len, b_len;
    const char *x = lua_tolstring(L, a, &a_len), *y = lua_tolstring(L, b, &b_len);
    int order = memcmp(x, y, a_len < b_len ? a_len : b_len);

    return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

/* <0, 0, >0 */
static int compare(lua_State *L, int a, int b)
{
    int kind = rank(L, a), other = rank(L, b);

    if (kind != other)
        return kind - other;
    if (kind == 1)
        return by_text(L, a, b);
    if (kind == 2)
        return lua_toboolean(L, a) - lua_toboolean(L, b);
    lua_Number x = lua_tonumber(L, a), y = lua_tonumber(L, b);
    return (x > y) - (x < y);
}

/* The key that follows, found by looking at all of them: for the few who ask for one or two. */
static int l_next(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    lua_pushnil(L); /* 3: the best so far */
    for (lua_pushnil(L); lua_next(L, 1) != 0;) {
        till_sandbox_charge(1);
        lua_pop(L, 1);
        if ((lua_isnil(L, 2) || compare(L, 4, 2) > 0) && (lua_isnil(L, 3) || compare(L, 4, 3) < 0)) {
            lua_pushvalue(L, 4);
            lua_replace(L, 3);
        }
    }
    lua_settop(L, 3);
    if (lua_isnil(L, 3))
        return 1;
    lua_pushvalue(L, 3);
    lua_rawget(L, 1);
    return 2;
}

static bool by_order(lua_State *L, int a, int b) { return compare(L, a, b) < 0; }

/* What was taken away meanwhile is passed over; what came is not seen. */
static int l_step(lua_State *L)
{
    int at = (int)lua_tointeger(L, lua_upvalueindex(2));

    for (;; ++at) {
        till_sandbox_charge(1);
        lua_rawgeti(L, lua_upvalueindex(1), at);
        if (lua_isnil(L, -1))
            return 1;
        lua_pushvalue(L, -1);
        lua_rawget(L, lua_upvalueindex(3));
        if (!lua_isnil(L, -1))
            break;
        lua_pop(L, 2);
    }
    lua_pushinteger(L, at + 1);
    lua_replace(L, lua_upvalueindex(2));
    return 2;
}

static int l_pairs(lua_State *L)
{
    int n = 0;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, 1) != 0;) {
        till_sandbox_charge(1);
        lua_pop(L, 1);
        (void)rank(L, 3);
        lua_pushvalue(L, 3);
        lua_rawseti(L, 2, ++n);
    }
    till_sandbox_sort(L, 2, n, by_order);
    lua_pushinteger(L, 1);
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, l_step, 3);
    return 1;
}

/* ---- calls ----------------------------------------------------------------------------------- */

static int l_pcall(lua_State *L)
{
    luaL_checkany(L, 1);
    int rc = till_sandbox_pcall(L, lua_gettop(L) - 1);
    lua_pushboolean(L, rc == 0);
    lua_insert(L, 1);
    return lua_gettop(L);
}

static int l_unpack(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Number from = luaL_optnumber(L, 2, 1);
    lua_Number to = lua_isnoneornil(L, 3) ? (lua_Number)lua_objlen(L, 1) : luaL_checknumber(L, 3);

    if (!(from <= to))
        return 0;
    if (!(to - from < UNPACK_MAX && from > -1e9 && to < 1e9) || !lua_checkstack(L, UNPACK_MAX))
        return luaL_error(L, "too many values to unpack: at most %d", UNPACK_MAX);
    till_sandbox_charge((size_t)(to - from) / 4 + 1);
    for (int i = (int)from; i <= (int)to; ++i)
        lua_rawgeti(L, 1, i);
    return (int)to - (int)from + 1;
}

static const luaL_Reg functions[] = {
    {"next", l_next},   {"pairs", l_pairs}, {"tostring", l_tostring}, {"tonumber", l_tonumber}, {"unpack", l_unpack},
    {"pcall", l_pcall}, {NULL, NULL},
};

void till_sandbox_base(lua_State *L) { luaL_register(L, NULL, functions); }
