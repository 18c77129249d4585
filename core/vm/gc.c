/* gc.c - how often Lua's garbage is collected, and how long a full collection takes.
 *
 * LuaJIT collects in steps of some microseconds at each allocation, which nobody
 * can time. What can be told is how often it gets through: an object that
 * nothing refers to is finalized once a cycle, and makes the next one of its
 * kind. Full collections, which come when the memory's cap is near, are timed:
 * everybody in the worker waits for them.
 */
#include "vm/vm_priv.h"

static const char mark_key;

static void put_mark(lua_State *L)
{
    lua_newuserdata(L, 1);
    lua_pushlightuserdata(L, (void *)&mark_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
}

/* Near the cap the one byte must not be refused: an error here would be thrown into whoever runs. */
static int l_cycle(lua_State *L)
{
    till_vm_t *vm = till_vm_of(L);
    unsigned running = vm->running;

    if (vm->is_freed)
        return 0;
    if (vm->env.gc != NULL && vm->attached)
        ++vm->env.gc->cycles;
    vm->running = 0;
    put_mark(L);
    vm->running = running;
    return 0;
}

void till_gc_open(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)&mark_key);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, l_cycle);
    lua_setfield(L, -2, "__gc");
    lua_rawset(L, LUA_REGISTRYINDEX);
    put_mark(L);
}

void till_gc_full(till_vm_t *vm)
{
    double begun = till_hist_now();

    lua_gc(vm->L, LUA_GCCOLLECT, 0);
    if (vm->env.gc != NULL)
        till_hist_add(&vm->env.gc->full, till_hist_now() - begun);
}
