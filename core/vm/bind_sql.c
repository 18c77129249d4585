/* bind_sql.c - statements and transactions; see lua/till/prim/sql.lua for the manual.
 *
 * A transaction is a box that owns a leased connection. However the call ends
 * (return, error, cancel, the VM itself), the box is released with it, and the
 * pool rolls back what was open. COMMIT alone is not cancelled: a commit whose
 * answer we do not wait for is an unknown outcome made by ourselves.
 *
 * What was done in a transaction counts as done (till_co_changes) when its COMMIT
 * is sent, and not at all where it only read.
 */
#include <math.h>
#include <string.h>
#include <strings.h>
#include "vm/vm_priv.h"

#define DEFAULT_MS 5000
#define PARAMS_MAX 2000
#define EXACT 9007199254740992.0 /* 2^53 */

static const char bytes_mark; /* its address keys the metatable of sql.bytes */

struct tx {
    till_box_t box;
    till_sql_conn_t *conn; /* NULL before the grant and after the end */
    uint64_t due;          /* of the loop's clock; 0: as the call */
    till_status_t failed;  /* the transaction is gone although nobody ended it */
    bool busy;
    bool changes; /* something, if it commits */
};

/* ---- parameters ---------------------------------------------------------------- */

static void from_number(till_sql_value_t *out, lua_Number n)
{
    if (n == floor(n) && fabs(n) <= EXACT) {
        out->type = TILL_SQL_INT;
        out->integer = (int64_t)n;
    } else {
        out->type = TILL_SQL_DOUBLE;
        out->real = n;
    }
}

static bool is_bytes(lua_State *L, int index)
{
    bool is;

    if (!lua_getmetatable(L, index))
        return false;
    lua_pushlightuserdata(L, (void *)&bytes_mark);
    lua_rawget(L, LUA_REGISTRYINDEX);
    is = lua_rawequal(L, -1, -2) != 0;
    lua_pop(L, 2);
    return is;
}

/* The string stays in its table, and that on the stack, until the statement was copied. */
static void from_bytes(till_sql_value_t *out, lua_State *L, int index)
{
    luaL_argcheck(L, is_bytes(L, index), index, "a table is no parameter");
    lua_rawgeti(L, index, 1);
    out->type = TILL_SQL_BYTES;
    out->base = lua_tolstring(L, -1, &out->len);
    lua_pop(L, 1);
}

static void from_lua(till_sql_value_t *out, lua_State *L, int index)
{
    memset(out, 0, sizeof(*out));
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        break;
    case LUA_TLIGHTUSERDATA:
        luaL_argcheck(L, lua_touserdata(L, index) == NULL, index, "is no parameter");
        break;
    case LUA_TBOOLEAN:
        out->type = TILL_SQL_INT;
        out->integer = lua_toboolean(L, index);
        break;
    case LUA_TNUMBER:
        from_number(out, lua_tonumber(L, index));
        break;
    case LUA_TSTRING:
        out->type = TILL_SQL_TEXT;
        out->base = lua_tolstring(L, index, &out->len);
        break;
    case LUA_TTABLE:
        from_bytes(out, L, index);
        break;
    default:
        luaL_argerror(L, index, "is no parameter");
    }
}

/** The values from `first` up, in a buffer that Lua owns. [-0, +1] */
static const till_sql_value_t *check_params(lua_State *L, int first, size_t *n)
{
    int top = lua_gettop(L);
    till_sql_value_t *params;

    *n = top < first ? 0 : (size_t)(top - first + 1);
    if (*n > PARAMS_MAX)
        luaL_error(L, "more than %d parameters", PARAMS_MAX);
    params = lua_newuserdata(L, (*n + 1) * sizeof(*params));
    for (size_t i = 0; i != *n; ++i)
        from_lua(&params[i], L, first + (int)i);
    return params;
}

/* ---- results --------------------------------------------------------------------- */

static bool push_cell(lua_State *L, const till_sql_value_t *cell)
{
    if (cell->type == TILL_SQL_INT) {
        if (cell->integer > (int64_t)EXACT || cell->integer < -(int64_t)EXACT)
            return false;
        lua_pushnumber(L, (lua_Number)cell->integer);
    } else if (cell->type == TILL_SQL_DOUBLE) {
        lua_pushnumber(L, cell->real);
    } else {
        lua_pushlstring(L, cell->base != NULL ? cell->base : "", cell->len);
    }
    return true;
}

/** The column names are on the stack from `names` up. [-0, +1] unless it returns false */
static bool push_row(lua_State *L, const till_sql_result_t *result, size_t row, int names)
{
    const till_sql_value_t *cells = result->cells + row * result->columns;

    lua_createtable(L, 0, (int)result->columns);
    for (size_t i = 0; i != result->columns; ++i) {
        if (cells[i].type == TILL_SQL_NULL)
            continue;
        lua_pushvalue(L, names + (int)i);
        if (!push_cell(L, &cells[i]))
            return false;
        lua_rawset(L, -3);
    }
    return true;
}

static int out_of_range(lua_State *L)
{
    return till_push_failure(L, TILL_RANGE, "a whole number in the result is beyond 2^53");
}

static int push_rows(lua_State *L, const till_sql_result_t *result, bool only_one)
{
    int names = lua_gettop(L) + 1;

    if (only_one && result->rows == 0) {
        lua_pushboolean(L, 0);
        return 1;
    }
    if (!lua_checkstack(L, (int)result->columns + 8))
        return till_push_failure(L, TILL_RANGE, "the result has too many columns");
    for (size_t i = 0; i != result->columns; ++i)
        lua_pushstring(L, result->names[i]);
    if (only_one)
        return push_row(L, result, 0, names) ? 1 : out_of_range(L);
    lua_createtable(L, (int)result->rows, 0);
    for (size_t row = 0; row != result->rows; ++row) {
        if (!push_row(L, result, row, names))
            return out_of_range(L);
        lua_rawseti(L, -2, (int)row + 1);
    }
    return 1;
}

static int push_exec(lua_State *L, const till_sql_result_t *result)
{
    lua_createtable(L, 0, 2);
    lua_pushnumber(L, (lua_Number)result->affected);
    lua_setfield(L, -2, "affected");
    lua_pushnumber(L, (lua_Number)result->insert_id);
    lua_setfield(L, -2, "insert_id");
    return 1;
}

/* What the server says may hold values: it stands in `log` for the log, the message stays general. */
static int push_sql_failure(lua_State *L, till_co_t *co, till_status_t status, const till_sql_result_t *result)
{
    bool is_unsent = result == NULL || result->unsent;

    if (is_unsent)
        status = till_co_only_waited(co, status);
    else if (status == TILL_CANCELLED && co->over)
        status = co->why;
    if (result != NULL && result->errcode != 0)
        till_push_failuref(L, status, "the database answered %u", result->errcode);
    else
        till_push_failure(L, status, NULL);
    if (result != NULL && result->errcode != 0) {
        lua_pushinteger(L, (lua_Integer)result->errcode);
        lua_setfield(L, -2, "errcode");
    }
    if (result != NULL && result->message != NULL) {
        lua_pushstring(L, result->message);
        lua_setfield(L, -2, "log");
    }
    if (is_unsent) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "unsent");
    }
    return 2;
}

enum shape { ROWS, ONE, EXEC };

static void resume_with(till_co_t *co, till_status_t status, const till_sql_result_t *result, enum shape shape)
{
    lua_State *L = till_co_stack(co);
    int n;

    if (status != TILL_OK)
        n = push_sql_failure(L, co, status, result);
    else
        n = shape == EXEC ? push_exec(L, result) : push_rows(L, result, shape == ONE);
    till_co_resume(co, n);
}

/* ---- statements by themselves -------------------------------------------------------- */

static bool is_select(till_slice_t text) { return text.len >= 6 && strncasecmp(text.base, "SELECT", 6) == 0; }

static void resume_alone(till_co_t *co, till_status_t status, const till_sql_result_t *result, enum shape shape)
{
    if (!result->unsent && !co->selects)
        till_co_changes(co);
    resume_with(co, status, result, shape);
}

static void on_rows(void *data, till_status_t status, const till_sql_result_t *result)
{
    resume_alone(data, status, result, ROWS);
}

static void on_one(void *data, till_status_t status, const till_sql_result_t *result)
{
    resume_alone(data, status, result, ONE);
}

static void on_exec(void *data, till_status_t status, const till_sql_result_t *result)
{
    resume_alone(data, status, result, EXEC);
}

/* Of one statement, its wait for a connection included. */
static uint64_t limit_ms(lua_State *L)
{
    uint64_t ms = till_vm_env_of(L)->sql_ms;

    return ms != 0 ? ms : DEFAULT_MS;
}

static till_sql_pool_t *pool_of(lua_State *L)
{
    till_sql_pool_t *pool = till_vm_env_of(L)->sql;

    if (pool == NULL)
        luaL_error(L, "there is no database in this process");
    return pool;
}

static int query(lua_State *L, const char *what, till_sql_cb cb)
{
    till_slice_t text = till_check_slice(L, 1);
    till_sql_pool_t *pool = pool_of(L);
    size_t n;

    till_co_check_yieldable(L, what);
    till_co_t *co = till_co_of(L);
    if (till_co_refused_sql(L, co))
        return 2;
    const till_sql_value_t *params = check_params(L, 2, &n);
    co->selects = is_select(text);
    till_op_t *op = till_sql_query(pool, text, params, n, till_co_time_left(L, limit_ms(L)), cb, co);
    return till_co_park(co, L, till_co_asks_sql(co, op), 0);
}

static int l_query(lua_State *L) { return query(L, "sql.query", on_rows); }

static int l_one(lua_State *L) { return query(L, "sql.one", on_one); }

static int l_exec(lua_State *L) { return query(L, "sql.exec", on_exec); }

static void set_unknown_outcome(lua_State *L, till_status_t status, const till_sql_result_t *result)
{
    if (result->unsent)
        return;
    if (status != TILL_CONN_LOST && status != TILL_TIMEOUT && status != TILL_CANCELLED)
        return;
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "unknown_outcome");
}

static void on_whole(void *data, till_status_t status, const till_sql_result_t *result)
{
    till_co_t *co = data;
    lua_State *L = till_co_stack(co);
    int n;

    if (!result->unsent)
        till_co_changes(co);
    if (status == TILL_OK) {
        n = push_rows(L, result, true);
    } else {
        n = push_sql_failure(L, co, status, result);
        set_unknown_outcome(L, status, result);
    }
    till_co_resume(co, n);
}

/* A statement that commits by itself: once it was begun its answer is waited for, as that of a COMMIT. */
static int l_whole(lua_State *L)
{
    till_slice_t text = till_check_slice(L, 1);
    till_sql_pool_t *pool = pool_of(L);
    size_t n;

    till_co_check_yieldable(L, "sql.whole");
    till_co_t *co = till_co_of(L);
    if (till_co_refused_sql(L, co))
        return 2;
    const till_sql_value_t *params = check_params(L, 2, &n);
    till_co_asks_sql(co, till_sql_query(pool, text, params, n, DEFAULT_MS, on_whole, co));
    return till_co_park_firmly(co, L, 0);
}

static int l_bytes(lua_State *L)
{
    luaL_checkstring(L, 1);
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    lua_pushlightuserdata(L, (void *)&bytes_mark);
    lua_rawget(L, LUA_REGISTRYINDEX);
    lua_setmetatable(L, -2);
    return 1;
}

/* ---- transactions ----------------------------------------------------------------------- */

static void release_tx(till_box_t *box)
{
    struct tx *tx = (struct tx *)box;

    if (tx->conn != NULL)
        till_sql_release(tx->conn);
    tx->conn = NULL;
}

static const luaL_Reg tx_methods[6];
static const till_box_type_t tx_type = {"transaction", release_tx, tx_methods, TILL_BOX_TX};

static struct tx *open_tx(lua_State *L, int index)
{
    struct tx *tx = till_box_check(L, index, &tx_type);

    luaL_argcheck(L, tx->conn != NULL || tx->failed != TILL_OK, index, "the transaction is over");
    luaL_argcheck(L, !tx->busy, index, "the transaction is busy with another statement");
    return tx;
}

static uint64_t tx_time(lua_State *L, const struct tx *tx, uint64_t wanted)
{
    uint64_t now = till_loop_now(till_vm_env_of(L)->loop);

    if (tx->due != 0 && tx->due < now + wanted)
        wanted = tx->due > now ? tx->due - now : 1;
    return till_co_time_left(L, wanted);
}

/* A deadlock or a lost connection has ended the transaction on the server: nothing more may run in it as though it had
 * not. */
static void settle(struct tx *tx, till_status_t status)
{
    tx->busy = false;
    if (status == TILL_OK || status == TILL_DUPLICATE || status == TILL_REJECTED || status == TILL_CONFLICT)
        return;
    tx->failed = status;
    release_tx(&tx->box);
}

static void on_begun(void *data, till_status_t status, const till_sql_result_t *result)
{
    till_co_t *co = data;
    lua_State *L = till_co_stack(co);
    struct tx *tx = lua_touserdata(L, -1);

    tx->busy = false;
    if (status == TILL_OK) {
        till_co_resume(co, 1);
        return;
    }
    till_box_release(&tx->box);
    till_co_resume(co, push_sql_failure(L, co, till_co_only_waited(co, status), result));
}

static void on_acquired(void *data, till_status_t status, till_sql_conn_t *conn)
{
    till_co_t *co = data;
    lua_State *L = till_co_stack(co);
    struct tx *tx = lua_touserdata(L, -1);

    if (status != TILL_OK) {
        till_box_release(&tx->box);
        till_co_resume(co, push_sql_failure(L, co, status, NULL));
        return;
    }
    tx->conn = conn;
    till_slice_t text = {"START TRANSACTION", 17};
    till_co_wait_on(co, till_sql_run(conn, text, NULL, 0, tx_time(L, tx, limit_ms(L)), on_begun, co));
}

/* tx, err = begin([timeout_ms]) */
static int l_begin(lua_State *L)
{
    uint64_t limit = till_arg_ms(L, 1, 0);
    till_sql_pool_t *pool = pool_of(L);

    till_co_check_yieldable(L, "sql.transaction");
    till_co_t *co = till_co_of(L);
    if (till_co_refused_sql(L, co))
        return 2;
    struct tx *tx = till_box_new(L, &tx_type, sizeof(*tx), co);
    tx->due = limit == 0 ? 0 : till_loop_now(till_vm_env_of(L)->loop) + limit;
    tx->busy = true;
    till_op_t *op = till_sql_acquire(pool, tx_time(L, tx, limit_ms(L)), on_acquired, co);
    return till_co_park(co, L, till_co_asks_sql(co, op), 1);
}

static void resume_tx(till_co_t *co, till_status_t status, const till_sql_result_t *result, enum shape shape)
{
    settle(lua_touserdata(till_co_stack(co), 1), status);
    resume_with(co, status, result, shape);
}

static void on_tx_rows(void *data, till_status_t status, const till_sql_result_t *result)
{
    resume_tx(data, status, result, ROWS);
}

static void on_tx_one(void *data, till_status_t status, const till_sql_result_t *result)
{
    resume_tx(data, status, result, ONE);
}

static void on_tx_exec(void *data, till_status_t status, const till_sql_result_t *result)
{
    resume_tx(data, status, result, EXEC);
}

static int push_ended(lua_State *L, const struct tx *tx)
{
    return till_push_failure(L, tx->failed, "the transaction has ended already");
}

static int tx_query(lua_State *L, const char *what, till_sql_cb cb)
{
    struct tx *tx = open_tx(L, 1);
    till_slice_t text = till_check_slice(L, 2);
    size_t n;

    till_co_check_yieldable(L, what);
    till_co_t *co = till_co_of(L);
    if (till_co_refused(L, co))
        return 2;
    if (tx->failed != TILL_OK)
        return push_ended(L, tx);
    const till_sql_value_t *params = check_params(L, 3, &n);
    tx->busy = true;
    tx->changes = tx->changes || !is_select(text);
    till_op_t *op = till_sql_run(tx->conn, text, params, n, tx_time(L, tx, limit_ms(L)), cb, co);
    lua_settop(L, 1);
    return till_co_park(co, L, op, 1);
}

static int l_tx_query(lua_State *L) { return tx_query(L, "tx:query", on_tx_rows); }

static int l_tx_one(lua_State *L) { return tx_query(L, "tx:one", on_tx_one); }

static int l_tx_exec(lua_State *L) { return tx_query(L, "tx:exec", on_tx_exec); }

static void on_committed(void *data, till_status_t status, const till_sql_result_t *result)
{
    till_co_t *co = data;
    lua_State *L = till_co_stack(co);
    struct tx *tx = lua_touserdata(L, 1);

    tx->busy = false;
    till_box_release(&tx->box);
    if (status == TILL_OK) {
        lua_pushboolean(L, 1);
        till_co_resume(co, 1);
        return;
    }
    push_sql_failure(L, co, status, result);
    set_unknown_outcome(L, status, result);
    till_co_resume(co, 2);
}

/* true | nil, err. The call may end meanwhile: the commit is waited for all the same, at most DEFAULT_MS. */
static int l_tx_commit(lua_State *L)
{
    struct tx *tx = open_tx(L, 1);
    till_slice_t text = {TILL_SQL_COMMIT, sizeof(TILL_SQL_COMMIT) - 1};

    till_co_check_yieldable(L, "tx:commit");
    till_co_t *co = till_co_of(L);
    if (till_co_refused(L, co))
        return 2;
    if (tx->failed != TILL_OK)
        return push_ended(L, tx);
    tx->busy = true;
    if (tx->changes)
        till_co_changes(co);
    till_sql_run(tx->conn, text, NULL, 0, DEFAULT_MS, on_committed, co);
    lua_settop(L, 1);
    return till_co_park_firmly(co, L, 1);
}

/* Gives the connection back, rolled back by the pool. Twice is allowed. */
static int l_tx_rollback(lua_State *L)
{
    struct tx *tx = till_box_check(L, 1, &tx_type);

    luaL_argcheck(L, !tx->busy, 1, "the transaction is busy with a statement");
    till_box_release(&tx->box);
    tx->failed = TILL_OK;
    return 0;
}

till_sql_conn_t *till_tx_use(lua_State *L, int index)
{
    struct tx *tx = open_tx(L, index);

    if (tx->failed != TILL_OK) {
        push_ended(L, tx);
        return NULL;
    }
    tx->busy = tx->changes = true;
    return tx->conn;
}

void till_tx_unuse(lua_State *L, int index, till_status_t status) { settle(lua_touserdata(L, index), status); }

uint64_t till_tx_time(lua_State *L, int index, uint64_t wanted_ms)
{
    return tx_time(L, lua_touserdata(L, index), wanted_ms);
}

static const luaL_Reg tx_methods[6] = {
    {"query", l_tx_query},   {"one", l_tx_one},           {"exec", l_tx_exec},
    {"commit", l_tx_commit}, {"rollback", l_tx_rollback}, {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"query", l_query}, {"one", l_one},     {"exec", l_exec}, {"whole", l_whole},
    {"bytes", l_bytes}, {"begin", l_begin}, {NULL, NULL},
};

int till_bind_sql(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)&bytes_mark);
    lua_newtable(L);
    lua_rawset(L, LUA_REGISTRYINDEX);
    return till_bind(L, functions);
}
