/* bind_co.c - calls that Lua starts, and waiting for one another; see lua/till/prim/co.lua.
 *
 * A waiter is a meeting point: any number of calls wait at it, one signal wakes
 * them all. A signal that meets nobody is kept for the next wait. The value is
 * Lua's business (prim/co.lua); here is only the waking.
 */
#include <stdlib.h>
#include "base/mem.h"
#include "vm/vm_priv.h"

struct wait {
    till_op_t op;
    till_co_t *co;
    struct wait *next, **at; /* at is NULL once it left the waiter */
};

struct waiter {
    till_box_t box;
    struct wait *waits;
    bool signalled;
};

static void leave(struct wait *wait)
{
    if (wait->at == NULL)
        return;
    *wait->at = wait->next;
    if (wait->next != NULL)
        wait->next->at = wait->at;
    wait->at = NULL;
}

static void on_abort(till_op_t *op, till_status_t why)
{
    (void)why;
    leave((struct wait *)op);
}

static void on_woken(till_op_t *op, till_status_t status)
{
    struct wait *wait = (struct wait *)op;
    till_co_t *co = wait->co;

    leave(wait);
    free(wait);
    if (status != TILL_OK) {
        till_co_fail(co, status, "nobody signalled");
        return;
    }
    lua_pushboolean(till_co_stack(co), 1);
    till_co_resume(co, 1);
}

static void wake_all(struct waiter *waiter, till_status_t status)
{
    while (waiter->waits != NULL) {
        struct wait *wait = waiter->waits;
        leave(wait);
        till_op_finish(&wait->op, status);
    }
}

static void release_waiter(till_box_t *box) { wake_all((struct waiter *)box, TILL_CANCELLED); }

/* true | nil, err */
static int l_wait(lua_State *L);

static int l_signal(lua_State *L);

static const luaL_Reg waiter_methods[] = {{"wait", l_wait}, {"signal", l_signal}, {NULL, NULL}};
static const till_box_type_t waiter_type = {"waiter", release_waiter, waiter_methods, TILL_BOX_WAITER};

static int l_wait(lua_State *L)
{
    struct waiter *waiter = till_box_check(L, 1, &waiter_type);
    uint64_t ms = till_arg_ms(L, 2, 5000);
    struct wait *wait;

    till_co_check_yieldable(L, "waiter:wait");
    till_co_t *co = till_co_of(L);
    if (till_co_refused(L, co))
        return 2;
    if (waiter->signalled) {
        waiter->signalled = false;
        lua_pushboolean(L, 1);
        return 1;
    }
    wait = till_calloc(1, sizeof(*wait));
    wait->co = co;
    wait->next = waiter->waits;
    wait->at = &waiter->waits;
    if (wait->next != NULL)
        wait->next->at = &wait->next;
    waiter->waits = wait;
    till_op_init(&wait->op, till_vm_env_of(L)->loop, ms != 0 ? ms : 1, on_abort, on_woken);
    bool is_work = lua_toboolean(L, 3);
    lua_settop(L, 1); /* the waiter stays alive with the one who waits */
    return is_work ? till_co_park(co, L, &wait->op, 1) : till_co_park_wakeable(co, L, &wait->op, 1);
}

static int l_signal(lua_State *L)
{
    struct waiter *waiter = till_box_check(L, 1, &waiter_type);

    if (waiter->waits == NULL)
        waiter->signalled = true;
    wake_all(waiter, TILL_OK);
    return 0;
}

static int l_waiter(lua_State *L)
{
    till_box_new(L, &waiter_type, sizeof(struct waiter), NULL);
    return 1;
}

/* ---- starting ----------------------------------------------------------------------- */

static int start(lua_State *L, bool background)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    (void)till_co_of(L);
    till_vm_spawn(L, 1, background);
    return 0;
}

static int l_spawn(lua_State *L) { return start(L, true); }

static int l_turn_end(lua_State *L) { return start(L, false); }

/* spawn_within(ms, fn, ...) */
static int l_spawn_within(lua_State *L)
{
    uint64_t ms = till_arg_ms(L, 1, 0);

    luaL_checktype(L, 2, LUA_TFUNCTION);
    (void)till_co_of(L);
    till_vm_spawn(L, 2, true)->timeout_ms = ms;
    return 0;
}

static void release_task(till_box_t *box)
{
    till_task_t *task = (till_task_t *)box;

    if (task->spawn != NULL)
        task->spawn->is_dropped = true;
    if (task->co != NULL) {
        till_co_changes(task->owner); /* nobody waits for what it has just asked for */
        task->co->task = NULL;
        till_co_cancel(task->co, TILL_CANCELLED);
    }
    task->spawn = NULL;
    task->co = NULL;
}

static int l_cancel_task(lua_State *L);
static const luaL_Reg task_methods[] = {{"cancel", l_cancel_task}, {NULL, NULL}};
static const till_box_type_t task_type = {"task", release_task, task_methods, TILL_BOX_TASK};

static int l_cancel_task(lua_State *L)
{
    till_box_release(till_box_check(L, 1, &task_type));
    return 0;
}

/* task = task(ms, fn, ...) */
static int l_task(lua_State *L)
{
    uint64_t ms = till_arg_ms(L, 1, 0);
    till_task_t *task;

    luaL_checktype(L, 2, LUA_TFUNCTION);
    task = till_box_new(L, &task_type, sizeof(*task), till_co_of(L));
    task->owner = till_co_of(L);
    lua_insert(L, 1); /* below fn and its arguments */
    lua_remove(L, 2);
    till_spawn_t *spawn = till_vm_spawn(L, 2, false);
    spawn->timeout_ms = ms;
    spawn->task = task;
    task->spawn = spawn;
    lua_settop(L, 1);
    return 1;
}

/* results... = no_wait(fn, ...): nothing below may wait; an error comes through. */
static int l_no_wait(lua_State *L)
{
    till_vm_t *vm = till_vm_of(L);

    luaL_checktype(L, 1, LUA_TFUNCTION);
    ++vm->held;
    int rc = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
    --vm->held;
    if (rc != 0)
        return lua_error(L);
    return lua_gettop(L);
}

/* ---- asking ------------------------------------------------------------------------- */

static int l_closing(lua_State *L)
{
    lua_pushboolean(L, till_vm_of(L)->retired);
    return 1;
}

static int l_time_left(lua_State *L)
{
    const till_co_t *co = till_co_of(L);

    if (co->due == 0)
        return 0;
    lua_pushnumber(L, co->over ? 0 : (lua_Number)till_co_time_left(L, UINT32_MAX));
    return 1;
}

static int l_cancelled(lua_State *L)
{
    lua_pushboolean(L, till_co_of(L)->over);
    return 1;
}

static int l_generation(lua_State *L)
{
    lua_pushstring(L, till_bundle_name(till_vm_bundle_of(L)));
    return 1;
}

static int l_process(lua_State *L)
{
    const char *name = till_vm_env_of(L)->process;

    lua_pushstring(L, name != NULL ? name : "");
    return 1;
}

static int l_traceparent(lua_State *L)
{
    const till_trace_t *trace = till_co_trace(L);
    char text[TILL_TRACEPARENT_LEN + 1];

    if (trace == NULL)
        return 0;
    till_trace_format(trace, text);
    lua_pushstring(L, text);
    return 1;
}

/* adopt(traceparent): the call goes on in the trace that an event carried. @return whether it was one */
static int l_adopt(lua_State *L)
{
    till_slice_t header = till_check_slice(L, 1);

    lua_pushboolean(L, till_trace_continue(&till_co_of(L)->trace, header.base, header.len));
    return 1;
}

/* enter(plugin, what), leave(): whose code runs, for the log of a worker that stands still. The strings are not copied:
 * the VM's tables hold names of plugins, hooks and routes for as long as it lives. */
static int l_enter(lua_State *L)
{
    till_co_t *co = till_vm_of(L)->current;

    if (co != NULL)
        till_co_enter(co, luaL_checkstring(L, 1), luaL_checkstring(L, 2));
    return 0;
}

static int l_leave(lua_State *L)
{
    if (till_vm_of(L)->current != NULL)
        till_co_leave(till_vm_of(L)->current);
    return 0;
}

static const luaL_Reg functions[] = {
    {"spawn_within", l_spawn_within},
    {"task", l_task},
    {"waiter", l_waiter},
    {"spawn", l_spawn},
    {"turn_end", l_turn_end},
    {"no_wait", l_no_wait},
    {"closing", l_closing},
    {"time_left", l_time_left},
    {"cancelled", l_cancelled},
    {"generation", l_generation},
    {"process", l_process},
    {"traceparent", l_traceparent},
    {"adopt", l_adopt},
    {"enter", l_enter},
    {"leave", l_leave},
    {NULL, NULL},
};

int till_bind_co(lua_State *L) { return till_bind(L, functions); }
