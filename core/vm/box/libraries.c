/* libraries.c - which names a rule finds; everything that is not on a list here is gone. */
#include <lualib.h>
#include "vm/box/sandbox.h"

/* Natives that end, tell nothing and allocate through us. */
static const char *const BASE[] = {"assert", "error",  "getmetatable", "ipairs", "rawequal", "rawget",
                                   "rawset", "select", "setmetatable", "type",   NULL};
static const char *const STRING[] = {"byte", "char", "len", "lower", "reverse", "sub", "upper", NULL};
static const char *const MATH[] = {"abs", "ceil", "floor", "fmod", "huge", "max", "min", "modf", "pi", "sqrt", NULL};

static void open_library(lua_State *L, lua_CFunction library, const char *name)
{
    lua_pushcfunction(L, library);
    lua_pushstring(L, name);
    lua_call(L, 1, 0);
}

/** Copies `names` of the table at `from` into a new one. [-0, +1] */
static void push_some(lua_State *L, int from, const char *const *names)
{
    lua_newtable(L);
    for (; *names != NULL; ++names) {
        lua_getfield(L, from, *names);
        lua_setfield(L, -2, *names);
    }
}

/** The natives of `name` that are listed and what `add` brings, as the field `name` of the table at `into`. */
static void put_library(lua_State *L, int into, const char *name, const char *const *names, void (*add)(lua_State *))
{
    lua_getfield(L, LUA_GLOBALSINDEX, name);
    push_some(L, lua_gettop(L), names);
    if (add != NULL)
        add(L);
    lua_setfield(L, into, name);
    lua_pop(L, 1);
}

static void add_string(lua_State *L)
{
    till_sandbox_string(L);
    till_sandbox_patterns(L);
}

/** Texts find their methods in a table that a rule cannot get at. */
static void lock_strings(lua_State *L, int globals)
{
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    lua_getfield(L, globals, "string");
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, -3) != 0;) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
    lua_setfield(L, -3, "__index");
    lua_pop(L, 1);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
}

static void empty(lua_State *L, int index)
{
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_pushnil(L);
        lua_rawset(L, index);
    }
}

static const char *const NONE[] = {NULL};

void till_sandbox_libraries(lua_State *L)
{
    open_library(L, luaopen_base, "");
    open_library(L, luaopen_string, LUA_STRLIBNAME);
    open_library(L, luaopen_table, LUA_TABLIBNAME);
    open_library(L, luaopen_math, LUA_MATHLIBNAME);
    push_some(L, LUA_GLOBALSINDEX, BASE);
    int globals = lua_gettop(L);
    till_sandbox_base(L);
    put_library(L, globals, LUA_STRLIBNAME, STRING, add_string);
    put_library(L, globals, LUA_TABLIBNAME, NONE, till_sandbox_table);
    put_library(L, globals, LUA_MATHLIBNAME, MATH, NULL);
    lock_strings(L, globals);
    lua_pushvalue(L, LUA_GLOBALSINDEX); /* functions of C's go on to carry this table */
    empty(L, lua_gettop(L));
    lua_pop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
    empty(L, lua_gettop(L)); /* the parser may write to it: see refuse_c_values */
    lua_pop(L, 1);
    lua_replace(L, LUA_GLOBALSINDEX);
}
