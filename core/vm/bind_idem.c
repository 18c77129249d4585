/* bind_idem.c - idempotency records; see lua/till/prim/idem.lua. */
#include "trade/idem.h"
#include "vm/vm_priv.h"

#define TIME_MS 5000

static till_sql_pool_t *pool_of(lua_State *L)
{
    till_sql_pool_t *pool = till_vm_env_of(L)->sql;

    if (pool == NULL)
        luaL_error(L, "there is no database in this process");
    return pool;
}

static uint64_t check_id(lua_State *L, int index)
{
    lua_Number n = luaL_checknumber(L, index);

    luaL_argcheck(L, n >= 0 && n <= 9007199254740992.0, index, "is no claim");
    return (uint64_t)n;
}

static int l_parse(lua_State *L)
{
    char key[TILL_IDEM_KEY_MAX + 1];
    size_t len;

    if (!till_idem_parse_key(till_check_slice(L, 1), key, &len))
        return 0;
    lua_pushlstring(L, key, len);
    return 1;
}

static int l_fingerprint(lua_State *L)
{
    uint8_t out[TILL_SHA256_LEN];

    till_idem_fingerprint(out, till_check_slice(L, 1), till_check_slice(L, 2), till_check_slice(L, 3));
    lua_pushlstring(L, (const char *)out, sizeof(out));
    return 1;
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

static void push_answer(lua_State *L, const till_idem_answer_t *answer)
{
    static const char *const OUTCOMES[] = {"run", "replay", "mismatch", "busy"};

    lua_createtable(L, 0, 5);
    lua_pushstring(L, OUTCOMES[answer->outcome]);
    lua_setfield(L, -2, "outcome");
    if (answer->outcome == TILL_IDEM_RUN) {
        set_number(L, "claim", (lua_Number)answer->claim);
        lua_pushboolean(L, answer->resumed);
        lua_setfield(L, -2, "resumed");
    } else if (answer->outcome == TILL_IDEM_REPLAY) {
        set_number(L, "status", answer->http_status);
        set_slice(L, "headers", answer->headers);
        set_slice(L, "body", answer->body);
    } else if (answer->outcome == TILL_IDEM_BUSY) {
        set_number(L, "retry_after_ms", (lua_Number)answer->retry_after_ms);
    }
}

/* Claimed or not: it may be asked again. Where it was only waited for, nothing was sent. */
static void fail_claim(till_co_t *co, till_status_t status, uint64_t claim)
{
    lua_State *L = till_co_stack(co);
    int n = till_push_failure(L, status, "idem.claim");

    if (status != TILL_OVERLOADED)
        set_number(L, "claim", (lua_Number)claim);
    till_co_resume(co, n);
}

static void on_claim(void *data, till_status_t status, const till_idem_answer_t *answer)
{
    till_co_t *co = data;

    if (status != TILL_OK) {
        fail_claim(co, till_co_only_waited(co, status), answer->claim);
        return;
    }
    push_answer(till_co_stack(co), answer);
    till_co_resume(co, 1);
}

static int l_claim(lua_State *L)
{
    till_slice_t scope = till_check_slice(L, 1), key = till_check_slice(L, 2), print = till_check_slice(L, 3);
    uint64_t lease_ms = till_arg_ms(L, 4, 60000);
    till_sql_pool_t *pool = pool_of(L);

    luaL_argcheck(L, print.len == TILL_SHA256_LEN, 3, "is no fingerprint");
    till_co_check_yieldable(L, "idem.claim");
    till_co_t *co = till_co_of(L);
    if (till_co_refused_sql(L, co))
        return 2;
    till_op_t *op =
        till_idem_claim(pool, scope, key, print.base, lease_ms, till_co_time_left(L, TIME_MS), on_claim, co);
    return till_co_park(co, L, till_co_asks_sql(co, op), 0);
}

static void on_finished(void *data, till_status_t status)
{
    till_co_t *co = data;

    till_tx_unuse(till_co_stack(co), 1, status);
    till_co_done(co, status, "idem.finish");
}

/* true | nil, err = finish(tx, scope, key, claim, status, headers, body) */
static int l_finish(lua_State *L)
{
    till_slice_t scope = till_check_slice(L, 2), key = till_check_slice(L, 3);
    uint64_t claim = check_id(L, 4);
    int status = luaL_checkint(L, 5);
    till_slice_t headers = till_check_slice(L, 6), body = till_check_slice(L, 7);

    till_co_check_yieldable(L, "idem.finish");
    till_co_t *co = till_co_of(L);
    if (till_co_refused(L, co))
        return 2;
    till_sql_conn_t *conn = till_tx_use(L, 1);
    if (conn == NULL)
        return 2;
    till_op_t *op =
        till_idem_finish(conn, scope, key, claim, status, headers, body, till_tx_time(L, 1, TIME_MS), on_finished, co);
    lua_settop(L, 1);
    return till_co_park(co, L, op, 1);
}

static void on_forgotten(void *data, till_status_t status) { till_co_done(data, status, "idem.forget"); }

static int l_forget(lua_State *L)
{
    till_slice_t scope = till_check_slice(L, 1), key = till_check_slice(L, 2);
    uint64_t claim = check_id(L, 3);
    till_sql_pool_t *pool = pool_of(L);

    till_co_check_yieldable(L, "idem.forget");
    till_co_t *co = till_co_of(L);
    if (till_co_refused(L, co))
        return 2;
    return till_co_park(co, L,
                        till_idem_forget(pool, scope, key, claim, till_co_time_left(L, TIME_MS), on_forgotten, co), 0);
}

static const luaL_Reg functions[] = {
    {"parse", l_parse},   {"fingerprint", l_fingerprint}, {"claim", l_claim},
    {"finish", l_finish}, {"forget", l_forget},           {NULL, NULL},
};

int till_bind_idem(lua_State *L) { return till_bind(L, functions); }
