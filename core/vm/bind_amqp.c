/* bind_amqp.c - messages to RabbitMQ; see lua/till/prim/amqp.lua. */
#include <string.h>
#include "vm/vm_priv.h"

#define TIME_MS 20000
#define SHORT_MOST 255 /* bytes of what AMQP calls a short string */

/** A string field of the table on top, "" where it is nil; it stays there. */
static till_slice_t text_field(lua_State *L, const char *name)
{
    till_slice_t slice = {"", 0};

    lua_getfield(L, -1, name);
    if (lua_type(L, -1) == LUA_TSTRING)
        slice.base = lua_tolstring(L, -1, &slice.len);
    else if (!lua_isnil(L, -1))
        luaL_error(L, "amqp.publish: %s is no string", name);
    lua_pop(L, 1);
    return slice;
}

static till_slice_t short_field(lua_State *L, const char *name)
{
    till_slice_t slice = text_field(L, name);

    if (slice.len > SHORT_MOST)
        luaL_error(L, "amqp.publish: %s has more than 255 bytes", name);
    return slice;
}

static const char *name_field(lua_State *L, const char *name)
{
    till_slice_t slice = short_field(L, name);

    if (memchr(slice.base, '\0', slice.len) != NULL)
        luaL_error(L, "amqp.publish: %s holds a NUL", name);
    return slice.base;
}

static lua_Number number_field(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    lua_Number n = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return n;
}

static bool is_set(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    bool set = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return set;
}

static till_amqp_target_t check_target(lua_State *L)
{
    lua_pushvalue(L, 1);
    const till_amqp_target_t target = {
        .host = name_field(L, "host"),
        .port = (unsigned)number_field(L, "port"),
        .vhost = name_field(L, "vhost"),
        .user = name_field(L, "user"),
        .password = name_field(L, "password"),
        .exchange = name_field(L, "exchange"),
        .is_declared = is_set(L, "declare"),
        .tls = is_set(L, "tls"),
        .ca_file = name_field(L, "ca_file"),
    };
    lua_pop(L, 1);
    if (target.host[0] == '\0' || target.port == 0 || target.port > 65535)
        luaL_error(L, "amqp.publish: host and port are needed");
    return target;
}

/** [-0, +1] the list at 2, in memory that Lua owns */
static const till_amqp_message_t *check_messages(lua_State *L, size_t *n)
{
    luaL_checktype(L, 2, LUA_TTABLE);
    *n = lua_objlen(L, 2);
    luaL_argcheck(L, *n >= 1 && *n <= TILL_AMQP_MOST, 2, "1 to 1000 messages are expected");
    till_amqp_message_t *messages = lua_newuserdata(L, *n * sizeof(*messages));
    for (size_t i = 0; i != *n; ++i) {
        lua_rawgeti(L, 2, (int)i + 1);
        luaL_argcheck(L, lua_istable(L, -1), 2, "holds something that is no message");
        messages[i] = (till_amqp_message_t){
            .routing_key = short_field(L, "routing_key"),
            .id = short_field(L, "id"),
            .type = short_field(L, "type"),
            .body = text_field(L, "body"),
            .aggregate = short_field(L, "aggregate"),
            .traceparent = short_field(L, "traceparent"),
            .timestamp = (uint64_t)number_field(L, "timestamp"),
        };
        lua_pop(L, 1);
    }
    return messages;
}

static void on_published(void *data, till_status_t status, const till_amqp_outcome_t *outcomes, size_t n,
                         const char *error)
{
    static const char *const names[] = {"unknown", "confirmed", "unroutable", "refused", "closed"};
    till_co_t *co = data;
    lua_State *L = till_co_stack(co);

    if (status != TILL_OK) {
        till_co_fail(co, status, error);
        return;
    }
    lua_createtable(L, (int)n, 0);
    lua_newtable(L);
    for (size_t i = 0; i != n; ++i) {
        lua_pushstring(L, names[outcomes[i].verdict]);
        lua_rawseti(L, -3, (int)i + 1);
        if (outcomes[i].reason != NULL) {
            lua_pushstring(L, outcomes[i].reason);
            lua_rawseti(L, -2, (int)i + 1);
        }
    }
    till_co_resume(co, 2);
}

static int l_publish(lua_State *L)
{
    till_amqp_t *amqp = till_vm_env_of(L)->amqp;
    size_t n;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    if (amqp == NULL)
        luaL_error(L, "there is no AMQP client in this process");
    const till_amqp_target_t target = check_target(L);
    const till_amqp_message_t *messages = check_messages(L, &n);
    uint64_t time_ms = till_co_time_left(L, till_opt_ms(L, 1, "timeout_ms", TIME_MS));
    till_co_check_yieldable(L, "amqp.publish");
    till_co_t *co = till_co_of(L);
    if (till_co_refused(L, co))
        return 2;
    till_co_changes(co);
    return till_co_park(co, L, till_amqp_publish(amqp, &target, messages, n, time_ms, on_published, co), 0);
}

static const luaL_Reg functions[] = {{"publish", l_publish}, {NULL, NULL}};

int till_bind_amqp(lua_State *L) { return till_bind(L, functions); }
