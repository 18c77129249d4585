/* lib_table.c - tables in lists: everything raw, bounded and charged for. */
#include "vm/box/sandbox.h"

/* ---- sort: by merging, so that it ends with any comparator ------------------------------- */

struct sort {
    lua_State *L;
    int from, to; /* tables; each pass merges from one into the other */
    bool (*less)(lua_State *L, int a, int b);
};

static void take(struct sort *sort, int at, int into)
{
    lua_rawgeti(sort->L, sort->from, at);
    lua_rawseti(sort->L, sort->to, into);
}

/* The second run's first comes before the first run's only where it is less: equals keep their order. */
static bool is_second(struct sort *sort, int first, int second)
{
    int top = lua_gettop(sort->L);

    lua_rawgeti(sort->L, sort->from, first);
    lua_rawgeti(sort->L, sort->from, second);
    bool is = sort->less(sort->L, top + 2, top + 1);
    lua_settop(sort->L, top);
    return is;
}

static void merge(struct sort *sort, int first, int middle, int end)
{
    int second = middle;

    for (int into = first, left = first; into != end; ++into) {
        till_sandbox_charge(1);
        if (left < middle && (second >= end || !is_second(sort, left, second)))
            take(sort, left++, into);
        else
            take(sort, second++, into);
    }
}

static int least(int a, int b) { return a < b ? a : b; }

static void pass(struct sort *sort, int n, int width)
{
    for (int first = 1; first <= n; first += 2 * width)
        merge(sort, first, least(first + width, n + 1), least(first + 2 * width, n + 1));
    int from = sort->from;
    sort->from = sort->to;
    sort->to = from;
}

void till_sandbox_sort(lua_State *L, int index, int n, bool (*less)(lua_State *L, int a, int b))
{
    int top = lua_gettop(L);

    if (n < 2)
        return;
    luaL_checkstack(L, 10, "sort");
    lua_createtable(L, n, 0);
    struct sort sort = {L, index, top + 1, less};
    for (int width = 1; width < n; width *= 2)
        pass(&sort, n, width);
    if (sort.from != index) {
        for (int i = 1; i <= n; ++i)
            take(&sort, i, i);
    }
    lua_settop(L, top);
}

/* The comparator is the second argument of table.sort. */
static bool by_function(lua_State *L, int a, int b)
{
    lua_pushvalue(L, 2);
    lua_pushvalue(L, a);
    lua_pushvalue(L, b);
    till_sandbox_call(L, 2, 1);
    return lua_toboolean(L, -1) != 0;
}

static int length(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    return (int)lua_objlen(L, 1);
}

static int l_sort(lua_State *L)
{
    int n = length(L);

    if (!lua_isnoneornil(L, 2))
        luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    till_sandbox_sort(L, 1, n, lua_isnil(L, 2) ? till_sandbox_less : by_function);
    return 0;
}

/* ---- insert, remove, concat -------------------------------------------------------------------- */

static int position(lua_State *L, int index, int last)
{
    lua_Number at = luaL_checknumber(L, index);

    luaL_argcheck(L, at >= 1 && at <= last && at == (int)at, index, "position out of bounds");
    return (int)at;
}

static int l_insert(lua_State *L)
{
    int n = length(L), at = n + 1;

    if (lua_gettop(L) == 3)
        at = position(L, 2, n + 1);
    else if (lua_gettop(L) != 2)
        return luaL_error(L, "wrong number of arguments to 'insert'");
    for (int i = n; i >= at; --i) {
        till_sandbox_charge(1);
        lua_rawgeti(L, 1, i);
        lua_rawseti(L, 1, i + 1);
    }
    lua_settop(L, lua_gettop(L) == 3 ? 3 : 2);
    lua_rawseti(L, 1, at);
    return 0;
}

static int l_remove(lua_State *L)
{
    int n = length(L);

    if (n == 0)
        return 0;
    int at = lua_isnoneornil(L, 2) ? n : position(L, 2, n);
    lua_rawgeti(L, 1, at);
    for (int i = at; i < n; ++i) {
        till_sandbox_charge(1);
        lua_rawgeti(L, 1, i + 1);
        lua_rawseti(L, 1, i);
    }
    lua_pushnil(L);
    lua_rawseti(L, 1, n);
    return 1;
}

static void add_item(lua_State *L, luaL_Buffer *text, int at)
{
    lua_rawgeti(L, 1, at);
    if (!lua_isstring(L, -1))
        luaL_error(L, "invalid value (%s) at index %d in table for 'concat'", luaL_typename(L, -1), at);
    luaL_addvalue(text);
}

static int l_concat(lua_State *L)
{
    int n = length(L);
    size_t len;
    const char *between = luaL_optlstring(L, 2, "", &len);
    lua_Number from = luaL_optnumber(L, 3, 1), to = luaL_optnumber(L, 4, n);
    luaL_Buffer text;

    luaL_argcheck(L, from >= 1 && to <= n, 3, "range out of bounds");
    luaL_buffinit(L, &text);
    for (int i = (int)from; i <= (int)to; ++i) {
        till_sandbox_charge(1 + len / 64);
        add_item(L, &text, i);
        if (i < (int)to)
            luaL_addlstring(&text, between, len);
    }
    luaL_pushresult(&text);
    return 1;
}

static const luaL_Reg functions[] = {
    {"concat", l_concat}, {"insert", l_insert}, {"remove", l_remove}, {"sort", l_sort}, {NULL, NULL},
};

void till_sandbox_table(lua_State *L) { luaL_register(L, NULL, functions); }
