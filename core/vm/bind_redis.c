/* bind_redis.c - commands and subscriptions; see lua/till/prim/redis.lua. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "vm/vm_priv.h"

#define ARGUMENTS_MAX 1024
#define DEFAULT_MS 2000

static till_redis_t *redis_of(lua_State *L)
{
    till_redis_t *redis = till_vm_env_of(L)->redis;

    if (redis == NULL)
        luaL_error(L, "there is no Redis in this process");
    return redis;
}

static void push_reply(lua_State *L, const till_reply_t *reply)
{
    lua_checkstack(L, 4);
    switch (reply->type) {
    case TILL_REPLY_NIL:
        lua_pushboolean(L, 0);
        return;
    case TILL_REPLY_INT:
        lua_pushnumber(L, (lua_Number)reply->integer);
        return;
    case TILL_REPLY_TEXT:
    case TILL_REPLY_ERROR:
        lua_pushlstring(L, reply->text, reply->len);
        return;
    case TILL_REPLY_ARRAY:
        break;
    }
    lua_createtable(L, (int)reply->count, 0);
    for (size_t i = 0; i != reply->count; ++i) {
        push_reply(L, &reply->items[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

static void on_reply(void *data, till_status_t status, const till_reply_t *reply)
{
    till_co_t *co = data;
    lua_State *L = till_co_stack(co);

    if (status == TILL_OK) {
        push_reply(L, reply);
        till_co_resume(co, 1);
    } else {
        till_co_fail(co, status, reply != NULL && reply->type == TILL_REPLY_ERROR ? reply->text : "redis");
    }
}

/* reply | nil, err = call(command, argument...): strings and numbers */
static int l_call(lua_State *L)
{
    int n = lua_gettop(L);
    till_redis_t *redis = redis_of(L);

    luaL_argcheck(L, n >= 1 && n <= ARGUMENTS_MAX, 1, "1 to 1024 strings are expected");
    till_slice_t *arguments = lua_newuserdata(L, (size_t)n * sizeof(*arguments));
    for (int i = 1; i <= n; ++i)
        arguments[i - 1] = till_check_slice(L, i);
    till_co_check_yieldable(L, "redis.call");
    till_co_t *co = till_co_of(L);
    if (till_co_refused(L, co))
        return 2;
    uint64_t limit = till_vm_env_of(L)->redis_ms;
    limit = till_co_time_left(L, limit != 0 ? limit : DEFAULT_MS);
    return till_co_park(co, L, till_redis_command(redis, (size_t)n, arguments, limit, on_reply, co), 0);
}

/* ---- subscriptions ------------------------------------------------------------------ */

struct subscription {
    till_box_t box;
    till_subscription_t *inner;
    int fn_ref, self_ref; /* it stays subscribed although nobody holds the handle */
};

static void release_subscription(till_box_t *box)
{
    struct subscription *sub = (struct subscription *)box;

    if (sub->inner == NULL) /* memory ran out while it was made */
        return;
    till_redis_unsubscribe(sub->inner);
    luaL_unref(box->vm->L, LUA_REGISTRYINDEX, sub->fn_ref);
    luaL_unref(box->vm->L, LUA_REGISTRYINDEX, sub->self_ref);
}

static int l_close(lua_State *L);

static const luaL_Reg methods[] = {{"close", l_close}, {NULL, NULL}};
static const till_box_type_t subscription_type = {"subscription", release_subscription, methods, TILL_BOX_SUBSCRIPTION};

static int l_close(lua_State *L)
{
    till_box_release(till_box_check(L, 1, &subscription_type));
    return 0;
}

static void on_message(void *data, const char *text, size_t len)
{
    struct subscription *sub = data;
    lua_State *L = sub->box.vm->L;
    int base = lua_gettop(L) + 1;

    if (sub->box.vm->retired)
        return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, sub->fn_ref);
    if (text != NULL)
        lua_pushlstring(L, text, len);
    till_vm_spawn(L, base, true);
    lua_settop(L, base - 1);
}

/* handle = subscribe(channel, fn(text or nil)) */
static int l_subscribe(lua_State *L)
{
    till_slice_t channel = till_check_slice(L, 1);
    till_redis_t *redis = redis_of(L);

    luaL_checktype(L, 2, LUA_TFUNCTION);
    (void)till_co_of(L);
    struct subscription *sub = till_box_new(L, &subscription_type, sizeof(*sub), NULL);
    lua_pushvalue(L, 2);
    sub->fn_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushvalue(L, -1);
    sub->self_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    sub->inner = till_redis_subscribe(redis, channel, on_message, sub);
    return 1;
}

static const luaL_Reg functions[] = {{"call", l_call}, {"subscribe", l_subscribe}, {NULL, NULL}};

int till_bind_redis(lua_State *L) { return till_bind(L, functions); }
