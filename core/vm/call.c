/* call.c - the calls that C makes, and what becomes of their results. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "vm/vm_priv.h"

#define MAX_KEEP_MS 10000

/* ---- the request as a table ------------------------------------------------------ */

static void push_slice(lua_State *L, till_slice_t slice)
{
    lua_pushlstring(L, slice.base != NULL ? slice.base : "", slice.len);
}

/* A name that comes twice has its values joined, as RFC 9110 5.3 allows; cookies by RFC 9113 8.2.3. */
void till_push_headers(lua_State *L, const till_header_t *headers, size_t n)
{
    lua_createtable(L, 0, (int)n);
    for (size_t i = 0; i != n; ++i) {
        const till_header_t *header = &headers[i];
        bool is_cookie = header->name.len == 6 && memcmp(header->name.base, "cookie", 6) == 0;
        lua_pushlstring(L, header->name.base, header->name.len);
        lua_pushvalue(L, -1);
        lua_rawget(L, -3);
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            lua_pushlstring(L, header->value.base, header->value.len);
        } else {
            lua_pushstring(L, is_cookie ? "; " : ", ");
            lua_pushlstring(L, header->value.base, header->value.len);
            lua_concat(L, 3);
        }
        lua_rawset(L, -3);
    }
}

/* In the order of keep_http's parameters. */
static int push_request(lua_State *L, const till_request_t *request)
{
    const char *request_id = request->request_id != NULL ? request->request_id : "";

    push_slice(L, request->method);
    push_slice(L, request->path);
    push_slice(L, request->query);
    push_slice(L, request->authority);
    push_slice(L, request->peer);
    push_slice(L, request->body);
    lua_pushstring(L, request_id);
    lua_pushstring(L, request->trace.trace_id);
    lua_pushboolean(L, request->tls);
    till_push_headers(L, request->headers, request->header_count);
    return 10;
}

static bool answer_with_page(till_vm_t *vm, const till_request_t *request, till_http_done_cb done, void *data)
{
    const till_response_t *page = till_pages_find(vm->pages, request, till_loop_now(vm->env.loop));

    if (page == NULL)
        return false;
    if (vm->env.on_metrics != NULL)
        vm->env.on_metrics(vm->env.data, "till_cache_reads_total", "kind=\"page\",result=\"hit\"", 1, 'c');
    done(data, TILL_OK, page);
    return true;
}

till_call_t *till_vm_http(till_vm_t *vm, const till_request_t *request, uint64_t timeout_ms, till_http_done_cb done,
                          void *data)
{
    ++vm->served;
    if (answer_with_page(vm, request, done, data))
        return NULL;
    till_co_t *co = till_co_begin(vm, TILL_CO_HTTP, timeout_ms, &request->trace);

    co->request = request;
    co->page_epoch = till_pages_epoch(vm->pages);
    co->http_done = done;
    co->data = data;
    lua_rawgeti(co->L, LUA_REGISTRYINDEX, vm->http_ref);
    return till_co_start(co, push_request(co->L, request)) ? (till_call_t *)co : NULL;
}

till_call_t *till_vm_run(till_vm_t *vm, const char *entry, const char *const *arguments, size_t n, uint64_t timeout_ms,
                         till_run_done_cb done, void *data)
{
    till_co_t *co = till_co_begin(vm, TILL_CO_RUN, timeout_ms, NULL);

    co->run_done = done;
    co->data = data;
    co->entry = entry;
    co->background = strcmp(entry, "jobs") == 0 || strcmp(entry, "background") == 0;
    lua_checkstack(co->L, (int)n + 4);
    lua_rawgeti(co->L, LUA_REGISTRYINDEX, vm->main_ref);
    lua_pushstring(co->L, entry);
    lua_rawget(co->L, -2);
    lua_remove(co->L, -2);
    for (size_t i = 0; i != n; ++i)
        lua_pushstring(co->L, arguments[i]);
    return till_co_start(co, (int)n) ? (till_call_t *)co : NULL;
}

/* ---- its priority -------------------------------------------------------------------- */

const char *till_priority_name(till_priority_t priority)
{
    static const char *const names[] = {"read", "staff", "cart", "checkout"};

    return priority < TILL_PRIORITY_COUNT ? names[priority] : "none";
}

struct asking {
    till_vm_t *vm;
    till_slice_t method, path;
    till_priority_t answer;
};

static int ask_priority(lua_State *L)
{
    struct asking *asking = lua_touserdata(L, 1);
    const char *name;

    lua_rawgeti(L, LUA_REGISTRYINDEX, asking->vm->main_ref);
    lua_pushliteral(L, "priority");
    lua_rawget(L, -2);
    if (lua_isnil(L, -1))
        return 0;
    lua_pushlstring(L, asking->method.base, asking->method.len);
    lua_pushlstring(L, asking->path.base, asking->path.len);
    lua_call(L, 2, 1);
    name = lua_tostring(L, -1);
    for (int i = 0; name != NULL && i != TILL_PRIORITY_COUNT; ++i) {
        if (strcmp(name, till_priority_name((till_priority_t)i)) == 0)
            asking->answer = (till_priority_t)i;
    }
    return 0;
}

/* What it throws is as good as no answer: whoever handles the request will meet it again. */
till_priority_t till_vm_priority(till_vm_t *vm, till_slice_t method, till_slice_t path)
{
    struct asking asking = {vm, method, path, TILL_PRIORITY_READ};

    ++vm->running;
    lua_cpcall(vm->L, ask_priority, &asking);
    --vm->running;
    lua_settop(vm->L, 0);
    return asking.answer;
}

/* ---- the response ------------------------------------------------------------------ */

static void add_header(till_vm_t *vm, till_response_t *out, lua_State *L, int key)
{
    till_header_t *header;

    if (out->header_count == vm->header_room) {
        vm->header_room = vm->header_room == 0 ? 32 : vm->header_room * 2;
        vm->headers = till_realloc(vm->headers, vm->header_room * sizeof(*vm->headers));
    }
    header = &vm->headers[out->header_count++];
    header->name.base = lua_tolstring(L, key, &header->name.len);
    header->value.base = lua_tolstring(L, -1, &header->value.len);
}

/* Strings live in the table below; what is made from a number stays on the stack, below the key, until the response is
 * sent. */
static const char *take_number(till_vm_t *vm, till_response_t *out, lua_State *L, int key)
{
    if (!lua_checkstack(L, 4))
        return "main.http returned too many headers";
    lua_pushvalue(L, -1);
    lua_tostring(L, -1);
    add_header(vm, out, L, key);
    lua_insert(L, key);
    return NULL;
}

static const char *take_list(till_vm_t *vm, till_response_t *out, lua_State *L, int key)
{
    int list = lua_gettop(L);

    for (int i = 1;; ++i) {
        lua_rawgeti(L, list, i);
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            return NULL;
        }
        if (lua_type(L, -1) != LUA_TSTRING)
            return "main.http returned a list of headers that are no strings";
        add_header(vm, out, L, key);
        lua_pop(L, 1);
    }
}

static const char *take_value(till_vm_t *vm, till_response_t *out, lua_State *L, int key)
{
    switch (lua_type(L, -1)) {
    case LUA_TSTRING:
        add_header(vm, out, L, key);
        return NULL;
    case LUA_TNUMBER:
        return take_number(vm, out, L, key);
    case LUA_TTABLE:
        return take_list(vm, out, L, key);
    default:
        return "main.http returned a header that is no string";
    }
}

static const char *take_headers(till_vm_t *vm, till_response_t *out, lua_State *L)
{
    const char *fault = NULL;

    lua_pushnil(L);
    while (fault == NULL && lua_next(L, 2) != 0) {
        if (lua_type(L, -2) != LUA_TSTRING)
            return "main.http returned a header without a name";
        fault = take_value(vm, out, L, lua_gettop(L) - 1);
        lua_pop(L, 1);
    }
    out->headers = vm->headers;
    return fault;
}

#define LIVE_FIELDS 4

/* The list on top keeps the string. @return false: it is none */
static bool take_text(lua_State *L, size_t at, till_slice_t *out)
{
    lua_rawgeti(L, -1, (int)at);
    bool is_text = lua_type(L, -1) == LUA_TSTRING;
    if (is_text)
        out->base = lua_tolstring(L, -1, &out->len);
    lua_pop(L, 1);
    return is_text;
}

static bool take_state(lua_State *L, size_t at, till_live_state_t *out)
{
    out->changes = 0;
    return take_text(L, at, &out->topic) && take_text(L, at + 1, &out->owner) && take_text(L, at + 2, &out->tag) &&
           take_text(L, at + 3, &out->json);
}

/* A list of texts: the client, then topic, owner, tag and state of each thing that is watched. */
static const char *take_live(till_vm_t *vm, till_response_t *out, lua_State *L)
{
    size_t n = lua_objlen(L, 6), count = n / LIVE_FIELDS;

    if (lua_type(L, 6) != LUA_TTABLE || count == 0 || n != 1 + count * LIVE_FIELDS)
        return "main.http returned a stream that is no list of topics";
    if (count > vm->live_room) {
        vm->live_room = count;
        vm->live_states = till_realloc(vm->live_states, count * sizeof(*vm->live_states));
    }
    lua_pushvalue(L, 6);
    bool is_good = take_text(L, 1, &vm->live.client);
    for (size_t i = 0; is_good && i != count; ++i)
        is_good = take_state(L, 2 + i * LIVE_FIELDS, &vm->live_states[i]);
    lua_pop(L, 1);
    vm->live.states = vm->live_states;
    vm->live.count = count;
    out->live = &vm->live;
    return is_good ? NULL : "main.http returned a stream with something that is no string";
}

/** @return NULL, or what is wrong with the results 1..6 on the stack */
static const char *take_response(till_vm_t *vm, till_response_t *out, lua_State *L)
{
    lua_Number status = lua_tonumber(L, 1);

    lua_settop(L, 6);
    if (lua_type(L, 1) != LUA_TNUMBER || !(status >= 100 && status <= 599))
        return "main.http returned no status";
    out->status = (int)status;
    if (lua_type(L, 3) == LUA_TSTRING)
        out->body.base = lua_tolstring(L, 3, &out->body.len);
    else if (!lua_isnil(L, 3))
        return "main.http returned a body that is no string";
    out->route = lua_type(L, 4) == LUA_TSTRING ? lua_tostring(L, 4) : "(none)";
    lua_Number keep_ms = lua_tonumber(L, 5); /* 0 where it is nil */
    out->keep_ms = keep_ms > 0 && keep_ms <= MAX_KEEP_MS ? (uint64_t)keep_ms : 0;
    const char *fault = lua_isnil(L, 6) ? NULL : take_live(vm, out, L);
    if (fault != NULL || lua_isnil(L, 2))
        return fault;
    return lua_type(L, 2) == LUA_TTABLE ? take_headers(vm, out, L) : "main.http returned headers that are no table";
}

/* The thread that threw still has its stack: the trace is read from it. */
static const char *traceback(till_co_t *co, size_t *len)
{
    lua_State *M = co->vm->L;
    const char *text = till_tostring(co->L, -1, NULL);

    luaL_traceback(M, co->L, text, 0);
    lua_remove(co->L, -1);
    return lua_tolstring(M, -1, len);
}

static void deliver_http(till_co_t *co, int rc)
{
    till_response_t response = {.route = "(error)"};

    if (co->over) {
        co->http_done(co->data, co->why, NULL);
        return;
    }
    response.error = rc != 0 ? traceback(co, NULL) : take_response(co->vm, &response, co->L);
    if (response.error != NULL) {
        response.status = 500;
        response.header_count = 0;
        response.body = (till_slice_t){"", 0};
        response.route = "(error)";
        response.keep_ms = 0;
        response.live = NULL;
    }
    if (response.keep_ms != 0)
        till_pages_keep(co->vm->pages, co->request, &response, co->page_epoch,
                        till_loop_now(co->vm->env.loop) + response.keep_ms);
    co->http_done(co->data, TILL_OK, &response);
}

static void deliver_run(till_co_t *co, int rc)
{
    size_t len = 0;
    const char *text = "";

    if (co->over) {
        co->run_done(co->data, co->why, "", 0);
    } else if (rc != 0) {
        text = traceback(co, &len);
        co->run_done(co->data, TILL_INTERNAL, text, len);
    } else if (lua_gettop(co->L) >= 2 && lua_isnil(co->L, 1)) { /* nil, err */
        text = till_tostring(co->L, 2, &len);
        co->run_done(co->data, TILL_INTERNAL, text, len);
    } else {
        if (lua_gettop(co->L) != 0 && !lua_isnil(co->L, 1))
            text = till_tostring(co->L, 1, &len);
        co->run_done(co->data, TILL_OK, text, len);
    }
}

static void log_spawn(till_co_t *co, int rc)
{
    till_log_t line;
    size_t len = 0;

    if (rc == 0 || co->over)
        return;
    const char *text = traceback(co, &len);
    till_log_begin(&line, TILL_LOG_ERROR, "lua.error");
    till_log_strn(&line, "error", text, len);
    till_log_str(&line, "trace_id", co->trace.trace_id);
    till_log_end(&line);
}

void till_call_deliver(till_co_t *co, int rc)
{
    if (co->kind == TILL_CO_HTTP)
        deliver_http(co, rc);
    else if (co->kind == TILL_CO_RUN)
        deliver_run(co, rc);
    else
        log_spawn(co, rc);
    lua_settop(co->vm->L, 0);
}
