/* bind_fault.c - named faults in Lua, armed by tests; see base/fault.h and lua/till/prim/fault.lua. */
#include "base/fault.h"
#include "vm/vm_priv.h"

static int l_fires(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);

    lua_pushboolean(L, TILL_FAULT(name));
    return 1;
}

static int l_crash(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);

    TILL_CRASH(name);
    return 0;
}

static const luaL_Reg functions[] = {{"fires", l_fires}, {"crash", l_crash}, {NULL, NULL}};

int till_bind_fault(lua_State *L) { return till_bind(L, functions); }
