/* co.c - parking and resuming; see vm_priv.h for the states of a call. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "vm/vm_priv.h"

/* ---- threads and calls, reused ------------------------------------------------ */

static int make_thread(lua_State *L)
{
    till_co_t *co = lua_touserdata(L, 1);

    co->L = lua_newthread(L);
    co->thread_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static void link_call(till_vm_t *vm, till_co_t *co)
{
    co->next = vm->calls;
    co->at = &vm->calls;
    if (vm->calls != NULL)
        vm->calls->at = &co->next;
    vm->calls = co;
    ++vm->call_count;
}

static void unlink_call(till_vm_t *vm, till_co_t *co)
{
    *co->at = co->next;
    if (co->next != NULL)
        co->next->at = co->at;
    --vm->call_count;
}

static till_co_t *take_pooled(till_vm_t *vm)
{
    till_co_t *co = vm->pool;

    if (co != NULL) {
        vm->pool = co->next;
        --vm->pool_count;
        return co;
    }
    co = till_calloc(1, sizeof(struct till_call));
    co->vm = vm;
    co->stash_ref = LUA_NOREF;
    /* `running` is 0 or its caller is protected: this cannot fail for want of memory */
    unsigned running = vm->running;
    vm->running = 0;
    if (lua_cpcall(vm->L, make_thread, co) != 0)
        abort();
    vm->running = running;
    return co;
}

/* Lua that fills three quarters of its memory is collected at once rather than refused a moment later. */
static void sweep(till_vm_t *vm)
{
    size_t cap = vm->env.memory_cap;

    if (cap != 0 && vm->used > cap / 2 && !vm->is_tight) {
        vm->is_tight = true;
        lua_gc(vm->L, LUA_GCSETPAUSE, TILL_VM_PAUSE_TIGHT);
    }
    if (cap == 0 || vm->used < vm->sweep_at)
        return;
    till_gc_full(vm);
    vm->sweep_at = cap / 4 * 3;
    if (vm->used < cap && vm->sweep_at < vm->used + (cap - vm->used) / 2)
        vm->sweep_at = vm->used + (cap - vm->used) / 2;
}

static void on_deadline(till_timer_t *timer)
{
    till_co_cancel((till_co_t *)((char *)timer - offsetof(till_co_t, timer)), TILL_TIMEOUT);
}

till_co_t *till_co_begin(till_vm_t *vm, enum till_co_kind kind, uint64_t timeout_ms, const till_trace_t *trace)
{
    sweep(vm);
    till_co_t *co = take_pooled(vm);

    co->kind = kind;
    co->parked_on = NULL;
    co->op = NULL;
    co->wakeable = co->background = co->over = co->asked = co->changed = false;
    co->refusals = 0;
    co->boxes = NULL;
    co->task = NULL;
    co->request = NULL;
    co->entry = NULL;
    co->depth = 0;
    co->due = 0;
    if (trace != NULL)
        co->trace = *trace;
    else
        till_trace_begin(&co->trace);
    link_call(vm, co);
    co->over = vm->is_cut;
    co->why = TILL_CANCELLED;
    if (timeout_ms != 0) {
        co->due = till_loop_now(vm->env.loop) + timeout_ms;
        till_timer_start(vm->env.loop, &co->timer, timeout_ms, on_deadline);
    }
    return co;
}

static void recycle(till_co_t *co, bool reusable)
{
    till_vm_t *vm = co->vm;

    if (reusable && vm->pool_count < TILL_VM_POOLED) {
        lua_settop(co->L, 0);
        co->next = vm->pool;
        vm->pool = co;
        ++vm->pool_count;
        return;
    }
    luaL_unref(vm->L, LUA_REGISTRYINDEX, co->thread_ref);
    luaL_unref(vm->L, LUA_REGISTRYINDEX, co->stash_ref);
    free(co);
}

static void finish(till_co_t *co, int rc)
{
    till_vm_t *vm = co->vm;

    till_timer_stop(&co->timer);
    if (co->task != NULL)
        co->task->co = NULL;
    while (co->boxes != NULL)
        till_box_release(co->boxes);
    if (rc == LUA_YIELD) {
        lua_settop(co->L, 0);
        lua_pushliteral(co->L, "coroutine.yield outside of a coroutine");
    }
    till_call_deliver(co, rc);
    unlink_call(vm, co);
    recycle(co, rc == 0);
    if (rc == LUA_ERRMEM)
        till_gc_full(vm);
    till_vm_maybe_close(vm);
}

/** @return whether the call is still there, parked */
static bool run(till_co_t *co, int n)
{
    till_vm_t *vm = co->vm;
    till_co_t *before = vm->current, *outer = till_co_running;
    unsigned held = vm->held;

    vm->current = till_co_running = co;
    vm->held = 0;
    ++vm->running;
    int rc = lua_resume(co->L, n);
    if (co->refusals > 2 * TILL_VM_REFUSALS) /* its hook is every coroutine's */
        lua_sethook(co->L, NULL, 0, 0);
    --vm->running;
    vm->held = held;
    vm->current = before;
    till_co_running = outer;
    if (rc == LUA_YIELD && co->parked_on != NULL)
        return true;
    finish(co, rc);
    return false;
}

bool till_co_start(till_co_t *co, int n) { return run(co, n); }

void till_co_cancel(till_co_t *co, till_status_t why)
{
    if (co->over)
        return;
    co->over = true;
    co->why = why;
    till_timer_stop(&co->timer);
    if (co->op != NULL)
        till_op_cancel(co->op);
}

void till_call_cancel(till_call_t *call) { till_co_cancel(&call->co, TILL_CANCELLED); }

/* ---- what bindings ask --------------------------------------------------------- */

till_co_t *till_co_of(lua_State *L)
{
    till_co_t *co = till_vm_of(L)->current;

    if (co == NULL)
        luaL_error(L, "this is for running calls: a generation loads without waiting");
    return co;
}

const till_trace_t *till_co_trace(lua_State *L)
{
    const till_co_t *co = till_vm_of(L)->current;

    return co == NULL ? NULL : &co->trace;
}

static void make_stash(lua_State *L, till_co_t *co)
{
    if (co->stash_ref != LUA_NOREF)
        return;
    co->stash = lua_newthread(L);
    co->stash_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

void till_co_check_yieldable(lua_State *L, const char *what)
{
    till_vm_t *vm = till_vm_of(L);

    if (vm->current == NULL)
        luaL_error(L, "%s cannot wait here: a generation loads without waiting", what);
    if (vm->held != 0 || !lua_isyieldable(L))
        luaL_error(L,
                   "%s cannot wait here: inside a comparator, a gsub callback, a require or a hook that may not wait",
                   what);
    luaL_checkstack(L, 20, what);
    if (L != vm->current->L)
        make_stash(L, vm->current);
}

uint64_t till_co_time_left(lua_State *L, uint64_t wanted_ms)
{
    const till_vm_t *vm = till_vm_of(L);
    const till_co_t *co = vm->current;
    uint64_t now;

    if (co == NULL || co->due == 0)
        return wanted_ms != 0 ? wanted_ms : 1;
    now = till_loop_now(vm->env.loop);
    if (co->due <= now)
        return 1;
    return co->due - now < wanted_ms ? co->due - now : (wanted_ms != 0 ? wanted_ms : 1);
}

/* Raised at each instruction: whatever catches it once, the next instruction raises it again. */
static void on_dead_instruction(lua_State *L, lua_Debug *at)
{
    (void)at;
    luaL_error(L, "the call is over (%s) and does not end", till_status_code(till_vm_of(L)->current->why));
}

/* A loop that catches what is thrown at it would wait in vain for ever, and its worker with it. */
int till_co_refused(lua_State *L, till_co_t *co)
{
    if (!co->over)
        return 0;
    if (++co->refusals > 2 * TILL_VM_REFUSALS)
        lua_sethook(L, on_dead_instruction, LUA_MASKCOUNT, 1);
    if (co->refusals > TILL_VM_REFUSALS)
        return luaL_error(L, "the call is over (%s) and waits again and again", till_status_code(co->why));
    return till_push_failure(L, co->why, "the call is over");
}

int till_co_refused_sql(lua_State *L, till_co_t *co)
{
    const till_vm_env_t *env = &co->vm->env;
    unsigned away_ms;

    if (till_co_refused(L, co))
        return 2;
    if (co->asked || co->request == NULL || env->refuse == NULL)
        return 0;
    away_ms = env->refuse(env->refuse_data, co->request->priority);
    if (away_ms == 0)
        return 0;
    till_push_failure(L, TILL_OVERLOADED, "the database is asked too much");
    lua_pushinteger(L, (lua_Integer)away_ms);
    lua_setfield(L, -2, "retry_after_ms");
    return 2;
}

till_op_t *till_co_asks_sql(till_co_t *co, till_op_t *op)
{
    if (!co->asked && co->request != NULL && co->request->priority != TILL_PRIORITY_CHECKOUT)
        till_sql_op_is_new(op);
    co->asked = true;
    return op;
}

/* ---- what has happened for it -------------------------------------------------- */

/* Whoever waits for it in the end. */
static till_co_t *first_of(till_co_t *co)
{
    while (co->task != NULL)
        co = co->task->owner;
    return co;
}

void till_co_changes(till_co_t *co)
{
    for (co->changed = true; co->task != NULL; co->changed = true)
        co = co->task->owner;
}

static bool is_out_of_time(const till_co_t *co)
{
    return co->over || (co->due != 0 && co->due <= till_loop_now(co->vm->env.loop));
}

till_status_t till_co_only_waited(till_co_t *co, till_status_t status)
{
    const till_co_t *first = first_of(co);

    if (status == TILL_CANCELLED && co->over)
        status = co->why;
    if (status != TILL_TIMEOUT || first->request == NULL || first->changed)
        return status;
    if (is_out_of_time(co)) { /* its own timer may come a moment after that of what it waited for */
        co->op = NULL;        /* it is through, whose callback this is */
        till_co_cancel(co, TILL_OVERLOADED);
        co->why = TILL_OVERLOADED;
    }
    return TILL_OVERLOADED;
}

/* ---- park and resume ------------------------------------------------------------ */

static int park(till_co_t *co, lua_State *L, int keep)
{
    if (L == co->L) {
        co->parked_on = L;
        return lua_yield(L, keep);
    }
    lua_settop(co->stash, 0);
    lua_xmove(L, co->stash, keep);
    co->parked_on = co->stash;
    lua_pushlightuserdata(L, (void *)till_park_mark());
    return lua_yield(L, 1);
}

int till_co_park(till_co_t *co, lua_State *L, till_op_t *op, int keep)
{
    co->op = op;
    co->wakeable = false;
    if (co->over)
        till_op_cancel(op);
    return park(co, L, keep);
}

int till_co_park_firmly(till_co_t *co, lua_State *L, int keep)
{
    co->op = NULL;
    co->wakeable = false;
    return park(co, L, keep);
}

int till_co_park_wakeable(till_co_t *co, lua_State *L, till_op_t *op, int keep)
{
    co->op = op;
    co->wakeable = true;
    if (co->over || (co->background && co->vm->retired))
        till_op_cancel(op);
    return park(co, L, keep);
}

void till_co_wait_on(till_co_t *co, till_op_t *op)
{
    co->op = op;
    if (co->over)
        till_op_cancel(op);
}

lua_State *till_co_stack(till_co_t *co) { return co->parked_on; }

void till_co_resume(till_co_t *co, int n)
{
    lua_State *stack = co->parked_on;

    co->op = NULL;
    co->wakeable = false;
    co->parked_on = NULL;
    if (stack != co->L) {
        lua_checkstack(co->L, n);
        lua_xmove(stack, co->L, n);
        lua_settop(stack, 0);
    }
    run(co, n);
}

void till_co_fail(till_co_t *co, till_status_t status, const char *message)
{
    if (status == TILL_CANCELLED && co->over)
        status = co->why;
    till_co_resume(co, till_push_failure(co->parked_on, status, message));
}

void till_co_done(till_co_t *co, till_status_t status, const char *what)
{
    if (status != TILL_OK) {
        till_co_fail(co, status, what);
        return;
    }
    lua_pushboolean(till_co_stack(co), 1);
    till_co_resume(co, 1);
}

/* ---- failures -------------------------------------------------------------------- */

static void set_string(lua_State *L, const char *key, const char *text)
{
    lua_pushstring(L, text);
    lua_setfield(L, -2, key);
}

int till_push_failure(lua_State *L, till_status_t status, const char *message)
{
    const till_vm_t *vm = till_vm_of(L);

    lua_checkstack(L, 6);
    lua_pushnil(L);
    lua_createtable(L, 0, 6);
    set_string(L, "code", till_status_code(status));
    set_string(L, "message", message != NULL && message[0] != '\0' ? message : till_status_title(status));
    set_string(L, "title", till_status_title(status));
    lua_pushboolean(L, till_status_is_retryable(status));
    lua_setfield(L, -2, "retryable");
    lua_pushinteger(L, till_status_http(status));
    lua_setfield(L, -2, "http");
    if (vm->err_meta_ref != LUA_NOREF) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, vm->err_meta_ref);
        lua_setmetatable(L, -2);
    }
    return 2;
}

int till_push_failuref(lua_State *L, till_status_t status, const char *format, ...)
{
    char message[512];
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    return till_push_failure(L, status, message);
}

uint64_t till_arg_ms(lua_State *L, int index, uint64_t fallback)
{
    lua_Number n;

    if (lua_isnoneornil(L, index))
        return fallback;
    n = luaL_checknumber(L, index);
    luaL_argcheck(L, n >= 0 && n <= 1e12, index, "is no length of time in milliseconds");
    return (uint64_t)n;
}

uint64_t till_opt_ms(lua_State *L, int index, const char *field, uint64_t fallback)
{
    uint64_t ms = fallback;

    if (lua_isnoneornil(L, index))
        return fallback;
    luaL_checktype(L, index, LUA_TTABLE);
    lua_getfield(L, index, field);
    if (!lua_isnil(L, -1)) {
        lua_Number n = lua_tonumber(L, -1);
        if (lua_type(L, -1) != LUA_TNUMBER || !(n >= 0 && n <= 1e12) || n != (lua_Number)(uint64_t)n)
            luaL_error(L, "%s is no whole number of milliseconds", field);
        ms = (uint64_t)n;
    }
    lua_pop(L, 1);
    return ms;
}

/* ---- calls that Lua starts ---------------------------------------------------------- */

static void drop_spawn(till_vm_t *vm, till_spawn_t *spawn)
{
    luaL_unref(vm->L, LUA_REGISTRYINDEX, spawn->ref);
    free(spawn);
}

static void start_spawn(till_vm_t *vm, till_spawn_t *spawn)
{
    till_co_t *co = till_co_begin(vm, TILL_CO_SPAWN, spawn->timeout_ms, &spawn->trace);
    lua_State *L = co->L;

    co->task = spawn->task;
    if (co->task != NULL) {
        co->task->co = co;
        co->task->spawn = NULL;
    }
    co->background = spawn->background;
    if (spawn->inside.plugin != NULL)
        till_co_enter(co, spawn->inside.plugin, spawn->inside.what);
    lua_checkstack(L, spawn->arguments + 3);
    lua_rawgeti(L, LUA_REGISTRYINDEX, spawn->ref);
    for (int i = 1; i <= spawn->arguments + 1; ++i)
        lua_rawgeti(L, 1, i);
    lua_remove(L, 1);
    luaL_unref(L, LUA_REGISTRYINDEX, spawn->ref);
    int n = spawn->arguments;
    free(spawn);
    till_co_start(co, n);
}

/* One that begins the next one would keep its generation for ever. A task has an owner who waits for its end. */
static bool is_in_vain(const till_vm_t *vm, const till_spawn_t *spawn) { return vm->is_cut && spawn->task == NULL; }

static void on_turn_end(till_turn_hook_t *hook)
{
    till_vm_t *vm = (till_vm_t *)((char *)hook - offsetof(till_vm_t, turn));
    till_spawn_t *spawns = vm->spawns;

    vm->spawns = NULL;
    vm->spawns_end = &vm->spawns;
    ++vm->call_count; /* keeps the VM until all have begun */
    while (spawns != NULL) {
        till_spawn_t *spawn = spawns;
        spawns = spawn->next;
        if (spawn->is_dropped || is_in_vain(vm, spawn))
            drop_spawn(vm, spawn);
        else
            start_spawn(vm, spawn);
    }
    --vm->call_count;
    till_vm_maybe_close(vm);
}

till_spawn_t *till_vm_spawn(lua_State *L, int index, bool background)
{
    till_vm_t *vm = till_vm_of(L);
    int top = lua_gettop(L);
    till_spawn_t *spawn;

    lua_createtable(L, top - index + 1, 0);
    for (int i = index; i <= top; ++i) {
        lua_pushvalue(L, i);
        lua_rawseti(L, -2, i - index + 1);
    }
    int ref = luaL_ref(L, LUA_REGISTRYINDEX);
    spawn = till_calloc(1, sizeof(*spawn));
    spawn->ref = ref;
    spawn->arguments = top - index;
    spawn->background = background;
    if (vm->current != NULL) {
        spawn->trace = vm->current->trace;
        spawn->inside = till_co_inside(vm->current);
    } else {
        till_trace_begin(&spawn->trace);
    }
    *vm->spawns_end = spawn;
    vm->spawns_end = &spawn->next;
    till_loop_at_turn_end(vm->env.loop, &vm->turn, on_turn_end);
    return spawn;
}
