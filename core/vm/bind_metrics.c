/* bind_metrics.c - counters, gauges and histograms from Lua; see lua/till/prim/metrics.lua. */
#include <string.h>
#include "vm/vm_priv.h"

static int report(lua_State *L, char kind)
{
    till_vm_t *vm = till_vm_of(L);
    const char *name = luaL_checkstring(L, 1), *labels = luaL_optstring(L, 2, "");
    lua_Number value = luaL_checknumber(L, 3);

    luaL_argcheck(L, kind != 'c' || value >= 0, 3, "a counter never goes back");
    if (vm->attached && vm->env.on_metrics != NULL)
        vm->env.on_metrics(vm->env.data, name, labels, value, kind);
    return 0;
}

static int l_add(lua_State *L) { return report(L, 'c'); }

static int l_set(lua_State *L) { return report(L, 'g'); }

static int l_observe(lua_State *L) { return report(L, 'h'); }

static const luaL_Reg functions[] = {{"add", l_add}, {"set", l_set}, {"observe", l_observe}, {NULL, NULL}};

int till_bind_metrics(lua_State *L) { return till_bind(L, functions); }
