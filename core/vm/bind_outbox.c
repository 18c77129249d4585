/* bind_outbox.c - events; see lua/till/prim/outbox.lua. */
#include <string.h>
#include "trade/outbox.h"
#include "vm/vm_priv.h"

#define TIME_MS 5000
#define EVENTS_MAX 1000

static till_sql_pool_t *pool_of(lua_State *L)
{
    till_sql_pool_t *pool = till_vm_env_of(L)->sql;

    if (pool == NULL)
        luaL_error(L, "there is no database in this process");
    return pool;
}

/** A string field of the table on top; it stays there. */
static till_slice_t field(lua_State *L, const char *name)
{
    till_slice_t slice = {0};

    lua_getfield(L, -1, name);
    if (lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "outbox: the %s of an entry is no string", name);
    slice.base = lua_tolstring(L, -1, &slice.len);
    lua_pop(L, 1);
    return slice;
}

/** [-0, +1] the events of the list at 2, in memory that Lua owns */
static const till_event_t *check_events(lua_State *L, const char *traceparent, size_t *n)
{
    luaL_checktype(L, 2, LUA_TTABLE);
    *n = lua_objlen(L, 2);
    luaL_argcheck(L, *n >= 1 && *n <= EVENTS_MAX, 2, "1 to 1000 events are expected");
    till_event_t *events = lua_newuserdata(L, *n * sizeof(*events));
    memset(events, 0, *n * sizeof(*events));
    for (size_t i = 0; i != *n; ++i) {
        lua_rawgeti(L, 2, (int)i + 1);
        luaL_argcheck(L, lua_istable(L, -1), 2, "holds something that is no event");
        events[i].aggregate = field(L, "aggregate");
        events[i].type = field(L, "type");
        events[i].payload = field(L, "payload");
        events[i].traceparent = (till_slice_t){traceparent, strlen(traceparent)};
        events[i].delay_ms = till_opt_ms(L, lua_gettop(L), "delay_ms", 0);
        lua_pop(L, 1);
    }
    return events;
}

static void on_appended(void *data, till_status_t status)
{
    till_co_t *co = data;

    till_tx_unuse(till_co_stack(co), 1, status);
    till_co_done(co, status, "outbox.append");
}

/* true | nil, err = append(tx, events): payloads are strings here, prim/outbox.lua encodes */
static int l_append(lua_State *L)
{
    char traceparent[TILL_TRACEPARENT_LEN + 1];
    size_t n;

    till_co_check_yieldable(L, "outbox.append");
    till_co_t *co = till_co_of(L);
    till_trace_format(&co->trace, traceparent);
    const till_event_t *events = check_events(L, traceparent, &n);
    if (till_co_refused(L, co))
        return 2;
    till_sql_conn_t *conn = till_tx_use(L, 1);
    if (conn == NULL)
        return 2;
    till_op_t *op = till_outbox_append(conn, events, n, till_tx_time(L, 1, TIME_MS), on_appended, co);
    lua_settop(L, 1);
    return till_co_park(co, L, op, 1);
}

static void set_number(lua_State *L, const char *key, lua_Number n)
{
    lua_pushnumber(L, n);
    lua_setfield(L, -2, key);
}

static void set_slice(lua_State *L, const char *key, till_slice_t slice)
{
    lua_pushlstring(L, slice.base != NULL ? slice.base : "", slice.len);
    lua_setfield(L, -2, key);
}

static void push_event(lua_State *L, const till_event_t *event)
{
    lua_createtable(L, 0, 8);
    set_number(L, "id", (lua_Number)event->id);
    set_slice(L, "aggregate", event->aggregate);
    set_slice(L, "type", event->type);
    set_slice(L, "payload", event->payload);
    set_slice(L, "traceparent", event->traceparent);
    set_number(L, "attempts", event->attempts);
    set_number(L, "claim", (lua_Number)event->claim);
    lua_pushboolean(L, event->is_taken_over);
    lua_setfield(L, -2, "is_taken_over");
}

static void on_claimed(void *data, till_status_t status, const till_event_t *events, size_t n)
{
    till_co_t *co = data;
    lua_State *L = till_co_stack(co);

    if (status != TILL_OK) {
        till_co_fail(co, status, "outbox.claim");
        return;
    }
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i != n; ++i) {
        push_event(L, &events[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    till_co_resume(co, 1);
}

/** [-0, +1] the list of { type, leave } at 1, in memory that Lua owns; its strings stay in their tables */
static const till_outbox_kind_t *check_kinds(lua_State *L, size_t *n)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    *n = lua_objlen(L, 1);
    luaL_argcheck(L, *n >= 1 && *n <= TILL_OUTBOX_KINDS_MOST, 1, "1 to 32 kinds are expected");
    till_outbox_kind_t *kinds = lua_newuserdata(L, *n * sizeof(*kinds));
    for (size_t i = 0; i != *n; ++i) {
        lua_rawgeti(L, 1, (int)i + 1);
        luaL_argcheck(L, lua_istable(L, -1), 1, "holds something that is no kind");
        kinds[i].type = field(L, "type");
        lua_getfield(L, -1, "leave");
        lua_Integer leave = lua_tointeger(L, -1);
        luaL_argcheck(L, leave >= 0 && leave <= EVENTS_MAX, 1, "`leave` is between 0 and 1000");
        kinds[i].leave = (unsigned)leave;
        lua_pop(L, 2);
    }
    return kinds;
}

static int l_claim(lua_State *L)
{
    int max = luaL_checkint(L, 2);
    uint64_t lease_ms = till_arg_ms(L, 3, 30000);
    till_sql_pool_t *pool = pool_of(L);
    size_t n;

    luaL_argcheck(L, max >= 1 && max <= EVENTS_MAX, 2, "is not between 1 and 1000");
    till_co_check_yieldable(L, "outbox.claim");
    till_co_t *co = till_co_of(L);
    const till_outbox_kind_t *kinds = check_kinds(L, &n);
    if (till_co_refused(L, co))
        return 2;
    till_op_t *op =
        till_outbox_claim(pool, kinds, n, (unsigned)max, lease_ms, till_co_time_left(L, TIME_MS), on_claimed, co);
    lua_settop(L, 1); /* the kinds' names live in it */
    return till_co_park(co, L, op, 1);
}

static void on_done(void *data, till_status_t status) { till_co_done(data, status, "outbox"); }

/** [-0, +1] the ids of the list at 1, in memory that Lua owns */
static const uint64_t *check_ids(lua_State *L, size_t *n)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    *n = lua_objlen(L, 1);
    luaL_argcheck(L, *n >= 1 && *n <= TILL_OUTBOX_DONE_MOST, 1, "1 to 1000 ids are expected");
    uint64_t *ids = lua_newuserdata(L, *n * sizeof(*ids));
    for (size_t i = 0; i != *n; ++i) {
        lua_rawgeti(L, 1, (int)i + 1);
        luaL_argcheck(L, lua_isnumber(L, -1), 1, "holds something that is no id");
        ids[i] = (uint64_t)lua_tonumber(L, -1);
        lua_pop(L, 1);
    }
    return ids;
}

static int l_done(lua_State *L)
{
    uint64_t claim = (uint64_t)luaL_checknumber(L, 2);
    till_sql_pool_t *pool = pool_of(L);
    size_t n;

    till_co_check_yieldable(L, "outbox.done");
    till_co_t *co = till_co_of(L);
    if (till_co_refused(L, co))
        return 2;
    const uint64_t *ids = check_ids(L, &n);
    return till_co_park(co, L, till_outbox_done(pool, ids, n, claim, till_co_time_left(L, TIME_MS), on_done, co), 0);
}

static int l_extend(lua_State *L)
{
    uint64_t claim = (uint64_t)luaL_checknumber(L, 2), lease_ms = till_arg_ms(L, 3, 30000);
    till_sql_pool_t *pool = pool_of(L);
    size_t n;

    till_co_check_yieldable(L, "outbox.extend");
    till_co_t *co = till_co_of(L);
    if (till_co_refused(L, co))
        return 2;
    const uint64_t *ids = check_ids(L, &n);
    till_op_t *op = till_outbox_extend(pool, ids, n, claim, lease_ms, till_co_time_left(L, TIME_MS), on_done, co);
    return till_co_park(co, L, op, 0);
}

static int l_release(lua_State *L)
{
    uint64_t claim = (uint64_t)luaL_checknumber(L, 2);
    till_slice_t reason = {"", 0};
    till_sql_pool_t *pool = pool_of(L);
    size_t n;

    if (!lua_isnoneornil(L, 3))
        reason = till_check_slice(L, 3);
    bool is_suspect = lua_toboolean(L, 4);
    till_co_check_yieldable(L, "outbox.release");
    till_co_t *co = till_co_of(L);
    if (till_co_refused(L, co))
        return 2;
    const uint64_t *ids = check_ids(L, &n);
    till_op_t *op =
        till_outbox_release(pool, ids, n, claim, is_suspect, reason, till_co_time_left(L, TIME_MS), on_done, co);
    return till_co_park(co, L, op, 0);
}

static int l_retry(lua_State *L)
{
    uint64_t id = (uint64_t)luaL_checknumber(L, 1), claim = (uint64_t)luaL_checknumber(L, 2);
    unsigned max_attempts = (unsigned)luaL_checkint(L, 3);
    till_slice_t reason = till_check_slice(L, 4);
    till_sql_pool_t *pool = pool_of(L);

    till_co_check_yieldable(L, "outbox.retry");
    till_co_t *co = till_co_of(L);
    if (till_co_refused(L, co))
        return 2;
    till_op_t *op =
        till_outbox_retry(pool, id, claim, max_attempts, reason, till_co_time_left(L, TIME_MS), on_done, co);
    return till_co_park(co, L, op, 0);
}

static const luaL_Reg functions[] = {
    {"append", l_append}, {"claim", l_claim},     {"done", l_done}, {"extend", l_extend},
    {"retry", l_retry},   {"release", l_release}, {NULL, NULL},
};

int till_bind_outbox(lua_State *L) { return till_bind(L, functions); }
