/* bind_pages.c - forgetting pages; see pages.h. What is kept is said by main.http's fifth value. */
#include "vm/vm_priv.h"

static int l_drop(lua_State *L)
{
    till_pages_drop(till_vm_of(L)->pages);
    return 0;
}

static const luaL_Reg functions[] = {{"drop", l_drop}, {NULL, NULL}};

int till_bind_pages(lua_State *L) { return till_bind(L, functions); }
