/* vm.c - the life of a VM: memory, loading, retiring, the end.
 *
 *   create --attach--> OPEN --retire--> RETIRED --last call gone--> CLOSING --next turn--> freed
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <luajit.h>
#include <lualib.h>
#include "base/log.h"
#include "base/mem.h"
#include "trade/combine.h"
#include "vm/code.h"
#include "vm/vm_priv.h"

#define LOAD_MS 2000     /* of CPU; a whole shop takes some 20 */
#define HOOKS_A_LOOK 100 /* at the clock, which is a system call */
#define DEEP 1000        /* calls in one another: more than a load has, and less than the stack holds */

static void *refuse_memory(till_vm_t *vm)
{
    char text[80];

    if (vm->load_until != 0 && !vm->out_of_time) {
        vm->overrun[0] = '\0'; /* of a recursion that came back */
        snprintf(text, sizeof(text), "it takes more than %zu MB of memory while it loads", vm->env.memory_cap >> 20);
        till_place_overrun(vm, vm->L, text);
    }
    return NULL;
}

/*
 * The cap refuses only while Lua runs protected: then "not enough memory" ends
 * that call. Outside, where an operation's results are pushed, throwing would
 * end the process, so they may pass the cap; the next allocation in Lua stops it.
 */
static void *vm_alloc(void *data, void *old, size_t old_size, size_t size)
{
    till_vm_t *vm = data;

    if (old == NULL)
        old_size = 0;
    if (size == 0) {
        vm->used -= old_size;
        return till_heap_resize(&vm->heap, old, old_size, 0);
    }
    if (size > old_size && vm->env.memory_cap != 0 && vm->running != 0 &&
        (size > vm->env.memory_cap || vm->used - old_size > vm->env.memory_cap - size))
        return refuse_memory(vm);
    void *new = till_heap_resize(&vm->heap, old, old_size, size);
    vm->used = vm->used - old_size + size;
    return new;
}

till_vm_t *till_vm_of(lua_State *L)
{
    void *data;

    (void)lua_getallocf(L, &data);
    return data;
}

const till_vm_env_t *till_vm_env_of(lua_State *L) { return &till_vm_of(L)->env; }

const till_bundle_t *till_vm_bundle_of(lua_State *L) { return till_vm_of(L)->bundle; }

/* Only an error outside of every protected call comes here, which is a bug of vm/. */
static int panic(lua_State *L)
{
    till_log_msg(TILL_LOG_ERROR, "lua.panic", "%s", lua_tostring(L, -1));
    abort();
}

static void keep_err_meta(lua_State *L, till_vm_t *vm)
{
    till_slice_t content;

    vm->err_meta_ref = LUA_NOREF;
    if (!till_bundle_file(vm->bundle, "lua/till/util/err.lua", &content))
        return;
    till_vm_require(L, "till.util.err");
    lua_getfield(L, -1, "meta");
    vm->err_meta_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pop(L, 1);
}

/* main.http behind a maker of its table: a table with the very same keys each time is made from a template, and its
 * keys are no strings to be found first. call.c pushes the values in this order. */
static void keep_http(lua_State *L, till_vm_t *vm)
{
    static const char maker[] =
        "local http = ...\n"
        "return function(method, path, query, authority, peer, body, request_id, trace_id, tls, headers)\n"
        "  return http({ method = method, path = path, query = query, authority = authority, peer = peer,\n"
        "    body = body, request_id = request_id, trace_id = trace_id, tls = tls, headers = headers })\n"
        "end\n";

    if (luaL_loadbufferx(L, maker, sizeof(maker) - 1, "=request", "t") != 0)
        lua_error(L);
    lua_getfield(L, -2, "http");
    lua_call(L, 1, 1);
    vm->http_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

static int load_all(lua_State *L)
{
    till_vm_t *vm = till_vm_of(L);

    for (int i = 0; i != TILL_BOX_COUNT; ++i)
        vm->box_refs[i] = LUA_NOREF;
    till_vm_open(L);
    till_gc_open(L);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF); /* see load_in_time; opening "jit" turns it on */
    keep_err_meta(L, vm);
    till_vm_require(L, "till.main");
    if (!lua_istable(L, -1))
        return luaL_error(L, "lua/till/main.lua: returns no table");
    keep_http(L, vm);
    vm->main_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static void release_boxes(till_vm_t *vm)
{
    while (vm->boxes != NULL)
        till_box_release(vm->boxes);
}

/* Any thread: nothing of it is in use, and its boxes have let go of what they had. */
static void free_vm(till_vm_t *vm)
{
    vm->is_freed = true;
    lua_close(vm->L);
    till_heap_dispose(&vm->heap);
    if (vm->reader_open)
        till_json_reader_dispose(&vm->reader);
    while (vm->pool != NULL) {
        till_co_t *co = vm->pool;
        vm->pool = co->next;
        free(co);
    }
    till_buf_dispose(&vm->scratch);
    till_bundle_destroy(vm->bundle);
    till_combiner_destroy(vm->combiner);
    till_pages_destroy(vm->pages);
    free(vm->headers);
    free(vm->live_states);
    free(vm);
}

static till_vm_t *make_vm(till_bundle_t *bundle, const till_vm_env_t *env)
{
    till_vm_t *vm = till_calloc(1, sizeof(*vm));

    vm->bundle = bundle;
    vm->env = *env;
    vm->sweep_at = env->memory_cap / 4 * 3;
    vm->spawns_end = &vm->spawns;
    vm->pages = till_pages_create();
    till_buf_init(&vm->scratch, 0);
    vm->L = lua_newstate(vm_alloc, vm);
    if (vm->L == NULL)
        abort();
    lua_atpanic(vm->L, panic);
    lua_gc(vm->L, LUA_GCSETPAUSE, TILL_VM_PAUSE_ROOMY);
    return vm;
}

static uint64_t thread_ms(void)
{
    struct timespec used;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000 + (uint64_t)used.tv_nsec / 1000000;
}

/* Raised again at each instruction: a pcall must not swallow it. */
static void on_count(lua_State *L, lua_Debug *at)
{
    till_vm_t *vm = till_vm_of(L);

    (void)at;
    if (!vm->out_of_time) {
        if (lua_getstack(L, DEEP, at))
            till_place_overrun(vm, L, "stack overflow: a function calls itself without end");
        if (++vm->load_hooks % HOOKS_A_LOOK != 0 || thread_ms() < vm->load_until)
            return;
    }
    if (!vm->out_of_time)
        vm->overrun[0] = '\0';
    vm->out_of_time = true;
    till_place_overrun(vm, L, "it computes without end while it loads");
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    luaL_error(L, "%s", vm->overrun);
}

/* A loop without end would hold its thread, and with it every later reload, for ever. Compiled code looks at no hook,
 * so nothing is compiled until all is loaded. */
static int load_in_time(till_vm_t *vm)
{
    till_place_begin(vm, thread_ms() + LOAD_MS);
    lua_sethook(vm->L, on_count, LUA_MASKCOUNT, 1000);
    lua_pushcfunction(vm->L, load_all);
    vm->running = 1;
    int rc = lua_pcall(vm->L, 0, 0, 0);
    vm->running = 0;
    lua_sethook(vm->L, NULL, 0, 0);
    luaJIT_setmode(vm->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_ON);
    till_place_end(vm);
    return vm->out_of_time && rc == 0 ? LUA_ERRRUN : rc;
}

/* Out of memory there is no better sentence, and out of time nobody may have another. */
static void tell_why(till_vm_t *vm, char *error, size_t error_size)
{
    const char *text = till_tostring(vm->L, -1, NULL);
    bool is_placeless = strcmp(text, "not enough memory") == 0 || strcmp(text, "stack overflow") == 0;
    bool overran = vm->out_of_time || (is_placeless && vm->overrun[0] != '\0');

    snprintf(error, error_size, "%s", overran ? vm->overrun : text);
}

till_vm_t *till_vm_create(till_bundle_t *bundle, const till_vm_env_t *env, char *error, size_t error_size)
{
    till_vm_t *vm = make_vm(bundle, env);

    till_code_next();
    int rc = load_in_time(vm);
    if (rc != 0) {
        tell_why(vm, error, error_size);
        release_boxes(vm);
        free_vm(vm);
        return NULL;
    }
    return vm;
}

/* LuaJIT begins with the same numbers in each VM: workers that met once would step back equally long. */
static int seed_vm(lua_State *L)
{
    uint32_t number;

    till_random(&number, sizeof(number));
    lua_getglobal(L, LUA_MATHLIBNAME);
    lua_getfield(L, -1, "randomseed");
    lua_pushnumber(L, number);
    lua_call(L, 1, 0);
    return 0;
}

void till_vm_attach(till_vm_t *vm)
{
    vm->attached = true;
    if (lua_cpcall(vm->L, seed_vm, NULL) != 0)
        lua_pop(vm->L, 1); /* out of memory: the first call will say so */
}

const char *till_vm_generation(const till_vm_t *vm) { return till_bundle_name(vm->bundle); }

const char *till_vm_library(void) { return LUAJIT_VERSION; }

size_t till_vm_memory(const till_vm_t *vm) { return vm->used; }

unsigned till_vm_calls(const till_vm_t *vm) { return vm->call_count; }

/* ---- the end ---------------------------------------------------------------- */

struct farewell {
    void (*closed)(void *data);
    void *data;
};

/* `arg` is where the VM stands, until it is freed: one that was cancelled may have been freed all the same. */
static void bury(void *arg)
{
    till_vm_t **vm = arg;

    if (*vm != NULL)
        free_vm(*vm);
    *vm = NULL;
}

static void drop_grave(void *arg)
{
    bury(arg);
    free(arg);
}

static void on_buried(void *data, till_status_t status, void *arg)
{
    struct farewell farewell = *(struct farewell *)data;

    (void)status;
    free(arg);
    free(data);
    if (farewell.closed != NULL)
        farewell.closed(farewell.data);
}

/* One that was busy for long is of a hundred thousand pieces: nobody is to wait while they are freed. */
static void close_now(till_vm_t *vm)
{
    struct farewell *farewell = till_alloc(sizeof(*farewell));
    till_vm_t **grave = till_alloc(sizeof(*grave));
    till_job_t job = {.work = bury, .done = on_buried, .drop = drop_grave, .arg = grave, .data = farewell};
    till_offload_t *loader = vm->env.loader;

    *farewell = (struct farewell){vm->closed, vm->closed_data};
    *grave = vm;
    if (vm->env.loop != NULL) {
        till_timer_stop(&vm->retire_timer);
        till_turn_hook_cancel(vm->env.loop, &vm->turn);
    }
    release_boxes(vm);
    if (loader != NULL) {
        till_offload_run(loader, &job, 0);
    } else {
        bury(grave);
        on_buried(farewell, TILL_OK, grave);
    }
}

static void on_close(till_timer_t *timer)
{
    close_now((till_vm_t *)((char *)timer - offsetof(till_vm_t, close_timer)));
}

/* The last call may have ended deep inside an operation's callback: the VM goes on the next turn. */
void till_vm_maybe_close(till_vm_t *vm)
{
    if (!vm->retired || vm->closing || vm->call_count != 0 || vm->spawns != NULL)
        return;
    vm->closing = true;
    till_timer_start(vm->env.loop, &vm->close_timer, 0, on_close);
}

static void on_retire_deadline(till_timer_t *timer)
{
    till_vm_t *vm = (till_vm_t *)((char *)timer - offsetof(till_vm_t, retire_timer));

    vm->is_cut = true;
    till_log_t line;
    till_log_begin(&line, TILL_LOG_WARN, "generation.cut");
    till_log_str(&line, "generation", till_vm_generation(vm));
    till_log_int(&line, "calls", vm->call_count);
    till_log_end(&line);
    for (till_co_t *co = vm->calls; co != NULL; co = co->next)
        till_co_cancel(co, TILL_CANCELLED);
}

void till_vm_retire(till_vm_t *vm, uint64_t deadline_ms, void (*closed)(void *data), void *data)
{
    if (vm->retired)
        return;
    vm->retired = true;
    vm->closed = closed;
    vm->closed_data = data;
    if (vm->env.loop == NULL) {
        close_now(vm);
        return;
    }
    for (till_co_t *co = vm->calls; co != NULL; co = co->next) {
        if (co->background && co->wakeable)
            till_op_cancel(co->op);
    }
    if (vm->call_count != 0)
        till_timer_start(vm->env.loop, &vm->retire_timer, deadline_ms, on_retire_deadline);
    till_vm_maybe_close(vm);
}

/* ---- boxes -------------------------------------------------------------------- */

static int l_gc(lua_State *L)
{
    till_box_release(lua_touserdata(L, 1));
    return 0;
}

static void push_box_meta(lua_State *L, till_vm_t *vm, const till_box_type_t *type)
{
    int *ref = &vm->box_refs[type->slot];

    lua_rawgeti(L, LUA_REGISTRYINDEX, *ref);
    if (*ref != LUA_NOREF)
        return;
    lua_pop(L, 1);
    lua_createtable(L, 0, 3);
    lua_newtable(L);
    if (type->methods != NULL)
        luaL_register(L, NULL, type->methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushstring(L, type->name);
    lua_setfield(L, -2, "__metatable");
    lua_pushvalue(L, -1);
    *ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

void *till_box_new(lua_State *L, const till_box_type_t *type, size_t size, till_co_t *co)
{
    till_vm_t *vm = till_vm_of(L);
    till_box_t *box;
    till_box_t **head = co != NULL ? &co->boxes : &vm->boxes;

    push_box_meta(L, vm, type);
    box = lua_newuserdata(L, size);
    memset(box, 0, size);
    box->type = type;
    box->vm = vm;
    box->next = *head;
    box->at = head;
    if (*head != NULL)
        (*head)->at = &box->next;
    *head = box;
    lua_insert(L, -2);
    lua_setmetatable(L, -2);
    return box;
}

void *till_box_check(lua_State *L, int index, const till_box_type_t *type)
{
    till_box_t *box = lua_type(L, index) == LUA_TUSERDATA ? lua_touserdata(L, index) : NULL;

    if (box == NULL || box->type != type)
        luaL_typerror(L, index, type->name);
    return box;
}

void till_box_release(till_box_t *box)
{
    if (box->at == NULL)
        return;
    *box->at = box->next;
    if (box->next != NULL)
        box->next->at = box->at;
    box->at = NULL;
    box->next = NULL;
    box->type->release(box);
}
