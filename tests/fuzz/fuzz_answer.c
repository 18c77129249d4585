/* fuzz_answer.c - what a box may send as an answer: read without a fault, as plain data or not at all. */
#include <lauxlib.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "vm/box/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static lua_State *L;

/* A list may hold nothing where a rule's may not: that is all that an answer read back may be refused for. */
static void check(void)
{
    till_buf_t again;

    till_buf_init(&again, 0);
    const char *fault = till_wire_put_answer(L, 1, &again);
    if (fault != NULL && strstr(fault, "gaps") == NULL && strstr(fault, "keys") == NULL)
        abort();
    till_buf_dispose(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    const char *text = (const char *)bytes;
    till_wire_t wire = {text, text + len, false};

    if (L == NULL)
        L = luaL_newstate();
    if (till_wire_push(L, &wire, true))
        check();
    if (lua_gettop(L) != 1)
        abort();
    lua_settop(L, 0);
    lua_gc(L, LUA_GCSTEP, 1);
    return 0;
}
