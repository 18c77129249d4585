/* bind_attempt.c - what the events of a payment come to; see lua/till/prim/attempt.lua. */
#include <string.h>
#include "trade/attempt.h"
#include "vm/vm_priv.h"

/* One that does not exist is a slip of the caller's. */
static till_attempt_kind_t check_kind(lua_State *L, const char *name)
{
    for (int kind = 0; kind != TILL_ATTEMPT_KINDS; ++kind) {
        if (strcmp(till_attempt_kind_name((till_attempt_kind_t)kind), name) == 0)
            return (till_attempt_kind_t)kind;
    }
    luaL_error(L, "attempt: there is no event %s", name);
    return TILL_ATTEMPT_KINDS;
}

/** Of the table at the top: {event =, amount =}. What is no whole number is no amount. [-1, +0] */
static till_attempt_event_t take_event(lua_State *L, int number)
{
    if (!lua_istable(L, -1))
        luaL_error(L, "attempt: event %d is no table", number);
    lua_getfield(L, -1, "event");
    lua_getfield(L, -2, "amount");
    if (lua_type(L, -2) != LUA_TSTRING)
        luaL_error(L, "attempt: event %d has no name", number);
    till_attempt_event_t event = {.kind = check_kind(L, lua_tostring(L, -2)), .amount = 0};
    if (!lua_isnil(L, -1)) {
        lua_Number n = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
        bool is_amount = n >= 0 && n <= (lua_Number)TILL_ATTEMPT_MAX && n == (lua_Number)(int64_t)n;
        event.amount = is_amount ? (int64_t)n : -1;
    }
    lua_pop(L, 3);
    return event;
}

static void set_amount(lua_State *L, const char *name, int64_t amount)
{
    lua_pushnumber(L, (lua_Number)amount);
    lua_setfield(L, -2, name);
}

static void push_attempt(lua_State *L, const till_attempt_t *a)
{
    lua_createtable(L, 0, 11);
    lua_pushstring(L, till_attempt_state_name(a->state));
    lua_setfield(L, -2, "state");
    lua_pushboolean(L, till_attempt_is_final(a->state));
    lua_setfield(L, -2, "is_final");
    set_amount(L, "amount", a->amount);
    set_amount(L, "authorized", a->authorized);
    set_amount(L, "captured", a->captured);
    set_amount(L, "voided", a->voided);
    set_amount(L, "refunded", a->refunded);
    set_amount(L, "disputed", a->disputed);
    set_amount(L, "lost", a->lost);
    set_amount(L, "left", till_attempt_left(a));
    set_amount(L, "held", till_attempt_held(a));
}

/* The events one by one: there is no list of them to make, and none to free when one throws. */
static int l_fold(lua_State *L)
{
    till_attempt_t attempt = {.state = TILL_ATTEMPT_NONE};
    till_attempt_refusal_t refusal = TILL_ATTEMPT_TAKEN;
    int n, at = 1;

    luaL_checktype(L, 1, LUA_TTABLE);
    n = (int)lua_objlen(L, 1);
    for (; at <= n && refusal == TILL_ATTEMPT_TAKEN; ++at) {
        lua_rawgeti(L, 1, at);
        refusal = till_attempt_apply(&attempt, take_event(L, at));
    }
    push_attempt(L, &attempt);
    if (refusal == TILL_ATTEMPT_TAKEN)
        return 1;
    lua_createtable(L, 0, 2);
    lua_pushstring(L, till_attempt_refusal_name(refusal));
    lua_setfield(L, -2, "reason");
    set_amount(L, "at", at - 1);
    return 2;
}

static const luaL_Reg functions[] = {{"fold", l_fold}, {NULL, NULL}};

int till_bind_attempt(lua_State *L) { return till_bind(L, functions); }
