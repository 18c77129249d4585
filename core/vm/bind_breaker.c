/* bind_breaker.c - circuit breakers, bulkheads and waits before a retry; see lua/till/prim/breaker.lua. */
#include "trade/breaker.h"
#include "vm/vm_priv.h"

static const char breaker_type[] = "till.breaker", bulkhead_type[] = "till.bulkhead";

typedef struct box {
    till_breaker_terms_t terms;
    till_breaker_t breaker;
} box_t;

/** A whole number within what the primitive takes. [-0, +0] */
static uint32_t check_field(lua_State *L, const char *name, uint32_t least, uint32_t most)
{
    lua_getfield(L, 1, name);
    lua_Number n = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
    lua_pop(L, 1);
    if (!(n >= least && n <= most))
        luaL_error(L, "breaker: %s is a whole number of at least %d", name, (int)least);
    return (uint32_t)n;
}

static uint64_t check_now(lua_State *L, int index)
{
    lua_Number now = luaL_checknumber(L, index);

    luaL_argcheck(L, now >= 0 && now < 9007199254740992.0, index, "no time");
    return (uint64_t)now;
}

static int l_new(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    till_breaker_terms_t terms = {
        .window_ms = check_field(L, "window_ms", TILL_BREAKER_SLICES, INT32_MAX),
        .min_calls = check_field(L, "min_calls", 1, INT32_MAX),
        .failure_percent = check_field(L, "failure_percent", 1, 100),
        .cooldown_ms = check_field(L, "cooldown_ms", 1, INT32_MAX),
        .probes = check_field(L, "probes", 1, INT32_MAX),
        .lease_ms = check_field(L, "lease_ms", 1, INT32_MAX),
    };
    box_t *box = lua_newuserdata(L, sizeof(*box));
    *box = (box_t){.terms = terms};
    luaL_getmetatable(L, breaker_type);
    lua_setmetatable(L, -2);
    return 1;
}

static int l_ask(lua_State *L)
{
    box_t *box = luaL_checkudata(L, 1, breaker_type);
    uint32_t ticket;

    lua_pushboolean(L, till_breaker_ask(&ticket, &box->breaker, &box->terms, check_now(L, 2)));
    lua_pushnumber(L, ticket);
    return 2;
}

static int l_tell(lua_State *L)
{
    box_t *box = luaL_checkudata(L, 1, breaker_type);
    lua_Number ticket = luaL_checknumber(L, 2);

    luaL_argcheck(L, ticket >= 0 && ticket <= UINT32_MAX, 2, "no ticket");
    luaL_checktype(L, 3, LUA_TBOOLEAN);
    till_breaker_tell(&box->breaker, &box->terms, (uint32_t)ticket, lua_toboolean(L, 3), check_now(L, 4));
    return 0;
}

static int l_drop(lua_State *L)
{
    box_t *box = luaL_checkudata(L, 1, breaker_type);
    lua_Number ticket = luaL_checknumber(L, 2);

    luaL_argcheck(L, ticket >= 0 && ticket <= UINT32_MAX, 2, "no ticket");
    till_breaker_drop(&box->breaker, (uint32_t)ticket);
    return 0;
}

static int l_state(lua_State *L)
{
    box_t *box = luaL_checkudata(L, 1, breaker_type);

    lua_pushstring(L, till_breaker_state_name(box->breaker.state));
    lua_pushnumber(L, (lua_Number)till_breaker_wait(&box->breaker, &box->terms, check_now(L, 2)));
    return 2;
}

static int l_bulkhead(lua_State *L)
{
    lua_Number limit = luaL_checknumber(L, 1);

    luaL_argcheck(L, limit >= 0 && limit <= INT32_MAX, 1, "no number of calls");
    till_bulkhead_t *bulkhead = lua_newuserdata(L, sizeof(*bulkhead));
    *bulkhead = (till_bulkhead_t){.limit = (uint32_t)limit};
    luaL_getmetatable(L, bulkhead_type);
    lua_setmetatable(L, -2);
    return 1;
}

static int l_enter(lua_State *L)
{
    lua_pushboolean(L, till_bulkhead_enter(luaL_checkudata(L, 1, bulkhead_type)));
    return 1;
}

static int l_leave(lua_State *L)
{
    till_bulkhead_leave(luaL_checkudata(L, 1, bulkhead_type));
    return 0;
}

static int l_inside(lua_State *L)
{
    till_bulkhead_t *bulkhead = luaL_checkudata(L, 1, bulkhead_type);

    lua_pushnumber(L, bulkhead->inside);
    return 1;
}

/* 53 random bits are enough to draw a wait of ms from. */
static int l_retry_wait(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    till_retry_t policy = {
        .max_attempts = check_field(L, "max_attempts", 1, INT32_MAX),
        .base_ms = check_field(L, "base_ms", 0, INT32_MAX),
        .cap_ms = check_field(L, "cap_ms", 0, INT32_MAX),
        .total_ms = check_field(L, "total_ms", 0, INT32_MAX),
    };
    lua_Number made = luaL_checknumber(L, 2);
    luaL_argcheck(L, made >= 0 && made <= INT32_MAX, 2, "no number of attempts");
    int64_t wait = till_retry_wait(&policy, true, (uint32_t)made, check_now(L, 3), check_now(L, 4));
    if (wait < 0)
        return 0;
    lua_pushnumber(L, (lua_Number)wait);
    return 1;
}

static const luaL_Reg breaker_methods[] = {
    {"ask", l_ask}, {"tell", l_tell}, {"drop", l_drop}, {"state", l_state}, {NULL, NULL}};
static const luaL_Reg bulkhead_methods[] = {{"enter", l_enter}, {"leave", l_leave}, {"inside", l_inside}, {NULL, NULL}};
static const luaL_Reg functions[] = {
    {"new", l_new}, {"bulkhead", l_bulkhead}, {"retry_wait", l_retry_wait}, {NULL, NULL}};

/** [-0, +0] */
static void make_type(lua_State *L, const char *name, const luaL_Reg *methods)
{
    luaL_newmetatable(L, name);
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

int till_bind_breaker(lua_State *L)
{
    make_type(L, breaker_type, breaker_methods);
    make_type(L, bulkhead_type, bulkhead_methods);
    return till_bind(L, functions);
}
