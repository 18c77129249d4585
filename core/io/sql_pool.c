/* sql_pool.c - who gets which connection.
 *
 * A slot for each connection. Idle ones form a stack (the last used is the
 * warmest), waiters a queue. A server beside us may answer so fast that a
 * statement ends inside the call that began it, and with it the next waiter's:
 * after a few of these the rest is served in the next turn. A slot is opened when
 * somebody waits, or when it was open and broke. While the database is away
 * one slot at a time tries, with backoff, and whoever asks meanwhile is told
 * TILL_CONN_LOST at once: to wait would only pile requests up.
 *
 * What always holds
 *  1. A slot is exactly one of: closed, connecting, idle, leased (a closed slot
 *     may be leased as well: it broke under its holder).
 *  2. No callback of a user runs inside a call of his; see till_op_finish_now
 *     in till_sql_pool_ended, the only place that answers from an event.
 */
#include "io/sql_priv.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"

enum { BACKOFF_FIRST_MS = 50, BACKOFF_MOST_MS = 2000, UNDO_MS = 5000, KILL_MS = 2000, MAX_DEPTH = 8 };

struct till_sql_pool {
    till_loop_t *loop;
    till_sql_opts_t opts;
    till_sql_conn_t *idle;
    till_sql_waiter_t *first, *last;
    unsigned waiting, connecting, open, leased;
    unsigned failures; /* to connect, one after the other */
    till_timer_t retry;
    till_timer_t serve; /* running while there are both idle connections and waiters */
    unsigned depth;     /* of calls that ended inside push_idle */
    bool closing;
    unsigned errcode; /* why the last attempt failed */
    char message[256];
    till_sql_stats_t stats;
    till_sql_conn_t slots[];
};

typedef struct lease {
    till_sql_waiter_t wait; /* first */
    till_sql_acquire_cb cb;
    void *data;
} lease_t;

static void open_more(till_sql_pool_t *pool);

/* ---- the queue of waiters ---- */

static void enqueue(till_sql_pool_t *pool, till_sql_waiter_t *waiter)
{
    waiter->prev = pool->last;
    *(pool->last != NULL ? &pool->last->next : &pool->first) = waiter;
    pool->last = waiter;
    waiter->queued = true;
    waiter->since = till_loop_now(pool->loop);
    pool->waiting++;
}

static void dequeue(till_sql_pool_t *pool, till_sql_waiter_t *waiter)
{
    *(waiter->prev != NULL ? &waiter->prev->next : &pool->first) = waiter->next;
    *(waiter->next != NULL ? &waiter->next->prev : &pool->last) = waiter->prev;
    waiter->next = waiter->prev = NULL;
    waiter->queued = false;
    pool->waiting--;
    pool->stats.wait_ms_total += till_loop_now(pool->loop) - waiter->since;
}

static void refuse(till_sql_waiter_t *waiter, till_status_t status, unsigned errcode, const char *message)
{
    if (waiter->is_call)
        till_sql_call_fail((till_sql_call_t *)waiter, errcode, message);
    till_op_finish(&waiter->op, status);
}

static void begin_call(till_sql_conn_t *conn, till_sql_call_t *call)
{
    conn->pool->stats.statements++;
    call->begun = till_hist_now();
    call->wait.conn = conn;
    till_sql_conn_start(conn, call);
}

/* `conn` is idle no more. */
static void grant(till_sql_conn_t *conn, till_sql_waiter_t *waiter)
{
    conn->leased = true;
    conn->pool->leased++;
    if (waiter->is_call) {
        begin_call(conn, (till_sql_call_t *)waiter);
        return;
    }
    waiter->conn = conn;
    conn->granted = waiter;
    till_op_finish(&waiter->op, TILL_OK);
}

static till_sql_conn_t *pop_idle(till_sql_pool_t *pool)
{
    till_sql_conn_t *conn = pool->idle;

    if (conn != NULL) {
        pool->idle = conn->next_idle;
        pool->stats.idle--;
    }
    return conn;
}

static void grant_first(till_sql_conn_t *conn)
{
    till_sql_waiter_t *waiter = conn->pool->first;

    dequeue(conn->pool, waiter);
    conn->pool->depth++;
    grant(conn, waiter);
    conn->pool->depth--;
}

static void on_serve(till_timer_t *timer)
{
    till_sql_pool_t *pool = H2O_STRUCT_FROM_MEMBER(till_sql_pool_t, serve, timer);

    while (pool->first != NULL && pool->idle != NULL && !till_timer_is_running(timer))
        grant_first(pop_idle(pool));
}

static void push_idle(till_sql_conn_t *conn)
{
    till_sql_pool_t *pool = conn->pool;

    if (pool->first != NULL && pool->depth < MAX_DEPTH) {
        grant_first(conn);
        return;
    }
    conn->next_idle = pool->idle;
    pool->idle = conn;
    pool->stats.idle++;
    if (pool->first != NULL)
        till_timer_start(pool->loop, &pool->serve, 0, on_serve);
}

/* A waiter gets an idle connection at once, or joins the queue, or is refused. */
static void ask(till_sql_pool_t *pool, till_sql_waiter_t *waiter)
{
    till_sql_conn_t *conn = pool->first == NULL ? pop_idle(pool) : NULL; /* nobody overtakes */

    if (conn != NULL) {
        grant(conn, waiter);
    } else if (pool->open == 0 && till_timer_is_running(&pool->retry)) {
        refuse(waiter, TILL_CONN_LOST, pool->errcode, pool->message);
    } else if (pool->waiting >= pool->opts.max_waiters) {
        refuse(waiter, TILL_OVERLOADED, 0, "too many wait for a connection");
    } else {
        enqueue(pool, waiter);
        open_more(pool);
    }
}

/* ---- opening and losing connections ---- */

static void on_retry(till_timer_t *timer) { open_more(H2O_STRUCT_FROM_MEMBER(till_sql_pool_t, retry, timer)); }

/* Between half and all of a time that doubles, so that workers do not come in step. */
static uint64_t backoff_ms(unsigned failures)
{
    uint64_t most = BACKOFF_FIRST_MS, random;

    while (--failures > 0 && most < BACKOFF_MOST_MS)
        most *= 2;
    if (most > BACKOFF_MOST_MS)
        most = BACKOFF_MOST_MS;
    till_random(&random, sizeof(random));
    return most / 2 + random % (most / 2 + 1);
}

static bool wants_slot(const till_sql_pool_t *pool, const till_sql_conn_t *conn)
{
    if (conn->state != TILL_SQL_CLOSED || conn->leased)
        return false;
    if (pool->failures > 0) /* one at a time tries, until one comes through */
        return pool->connecting == 0;
    return conn->replace || pool->waiting > pool->connecting;
}

static void open_more(till_sql_pool_t *pool)
{
    for (unsigned i = 0; i < pool->opts.connections; i++) {
        till_sql_conn_t *conn = &pool->slots[i];
        if (pool->closing || till_timer_is_running(&pool->retry))
            return;
        if (!wants_slot(pool, conn))
            continue;
        conn->replace = false;
        pool->connecting++;
        till_sql_conn_open(conn);
    }
}

static void refuse_all(till_sql_pool_t *pool)
{
    till_sql_waiter_t *waiter;

    while ((waiter = pool->first) != NULL) {
        dequeue(pool, waiter);
        refuse(waiter, TILL_CONN_LOST, pool->errcode, pool->message);
    }
}

static void note_failure(till_sql_pool_t *pool, unsigned errcode, const char *message)
{
    till_log_t line;

    pool->errcode = errcode;
    snprintf(pool->message, sizeof(pool->message), "%s", message);
    till_log_begin(&line, pool->failures == 1 ? TILL_LOG_WARN : TILL_LOG_DEBUG, "sql.connect_failed");
    till_log_int(&line, "errcode", errcode);
    till_log_str(&line, "message", message);
    till_log_int(&line, "attempt", pool->failures);
    till_log_end(&line);
}

static void on_connect_failed(till_sql_conn_t *conn, unsigned errcode, const char *message)
{
    till_sql_pool_t *pool = conn->pool;

    pool->failures++;
    conn->replace = conn->was_open;
    note_failure(pool, errcode, message);
    till_timer_start(pool->loop, &pool->retry, backoff_ms(pool->failures), on_retry);
    if (pool->open == 0)
        refuse_all(pool);
}

void till_sql_pool_opened(till_sql_conn_t *conn, unsigned errcode, const char *message)
{
    till_sql_pool_t *pool = conn->pool;

    pool->connecting--;
    if (errcode != 0) {
        on_connect_failed(conn, errcode, message);
        return;
    }
    pool->open++;
    pool->failures = 0;
    till_timer_stop(&pool->retry);
    if (conn->was_open)
        pool->stats.reconnects++;
    conn->was_open = true;
    push_idle(conn);
    open_more(pool); /* others may have waited for this attempt */
}

static void note_lost(till_sql_conn_t *conn)
{
    conn->pool->open--;
    conn->replace = true;
}

void till_sql_pool_lost_idle(till_sql_conn_t *conn)
{
    till_sql_pool_t *pool = conn->pool;
    till_sql_conn_t **at = &pool->idle;

    note_lost(conn);
    if (!conn->leased) {
        while (*at != conn)
            at = &(*at)->next_idle;
        *at = conn->next_idle;
        pool->stats.idle--;
        open_more(pool);
    } /* else its holder sees it at the next statement, and gives it back */
}

/* ---- calls ---- */

/* Closes the connection under its holder. */
static void break_leased(till_sql_conn_t *conn)
{
    till_sql_conn_close(conn);
    note_lost(conn);
}

static till_sql_call_t *new_call(till_sql_pool_t *pool, till_sql_call_kind_t kind, till_slice_t text,
                                 const till_sql_value_t *params, size_t n);

static void on_undone(void *data, till_status_t status, const till_sql_result_t *result)
{
    (void)data, (void)status, (void)result; /* till_sql_pool_ended looks at the connection itself */
}

static void begin_undo(till_sql_conn_t *conn)
{
    till_sql_call_t *call = new_call(conn->pool, TILL_SQL_UNDO, (till_slice_t){"ROLLBACK", 8}, NULL, 0);

    call->cb = on_undone;
    call->wait.conn = conn;
    till_sql_conn_start(conn, call);
}

static void give_back(till_sql_conn_t *conn)
{
    till_sql_pool_t *pool = conn->pool;

    if (conn->state == TILL_SQL_READY && till_sql_conn_in_transaction(conn)) {
        begin_undo(conn); /* still leased: it comes back here when it is through */
        return;
    }
    conn->leased = false;
    pool->leased--;
    if (conn->state == TILL_SQL_READY)
        push_idle(conn);
    else
        open_more(pool);
}

static void note_duration(till_sql_pool_t *pool, const till_sql_call_t *call)
{
    if (call->begun != 0)
        till_hist_add(&pool->stats.durations, till_hist_now() - call->begun);
}

void till_sql_pool_ended(till_sql_conn_t *conn, till_sql_call_t *call, till_status_t status)
{
    bool asking = conn->asking;

    note_duration(conn->pool, call);
    call->wait.conn = NULL;
    if (conn->state == TILL_SQL_CLOSED)
        note_lost(conn);
    else if (call->kind == TILL_SQL_UNDO && till_sql_conn_in_transaction(conn))
        break_leased(conn); /* the ROLLBACK did not do it */
    if (asking)             /* before the next one may end, so that answers keep their order */
        till_op_finish(&call->wait.op, status);
    if (call->kind != TILL_SQL_ON_LEASE)
        give_back(conn);
    if (!asking)
        till_op_finish_now(&call->wait.op, status);
}

static void on_killed(void *data, till_status_t status, const till_sql_result_t *result)
{
    (void)data, (void)status, (void)result; /* it may have ended by itself */
}

/* The server does not look at the wire while it works: a statement that nobody
 * waits for any more would hold its rows until it ends. */
static void kill_at_server(till_sql_pool_t *pool, unsigned long id)
{
    char text[40];
    int len = snprintf(text, sizeof(text), "KILL %lu", id);

    if (!pool->closing)
        till_sql_query(pool, (till_slice_t){text, (size_t)len}, NULL, 0, KILL_MS, on_killed, NULL);
}

static void on_abort(till_op_t *op, till_status_t why)
{
    till_sql_waiter_t *waiter = (till_sql_waiter_t *)op;
    till_sql_conn_t *conn = waiter->conn;
    till_sql_pool_t *pool = waiter->pool;
    till_sql_call_t *call = (till_sql_call_t *)waiter;

    pool->stats.timeouts += why == TILL_TIMEOUT;
    if (waiter->queued)
        dequeue(pool, waiter);
    if (waiter->is_call)
        till_sql_call_fail(call, 0, why == TILL_TIMEOUT ? "it did not end before its deadline" : "it was cancelled");
    if (conn == NULL)
        return;
    waiter->conn = NULL;
    note_duration(pool, call);
    unsigned long id = conn->mysql != NULL ? mysql_thread_id(conn->mysql) : 0;
    break_leased(conn);
    if (call->kind != TILL_SQL_ON_LEASE)
        give_back(conn);
    if (id != 0 && call->cb != on_killed)
        kill_at_server(pool, id);
}

static void on_call_done(till_op_t *op, till_status_t status)
{
    till_sql_call_t *call = (till_sql_call_t *)op;

    call->cb(call->data, status, &call->result);
    till_sql_call_free(call);
}

static till_sql_call_t *new_call(till_sql_pool_t *pool, till_sql_call_kind_t kind, till_slice_t text,
                                 const till_sql_value_t *params, size_t n)
{
    size_t size = sizeof(till_sql_call_t) + n * (sizeof(till_sql_value_t) + sizeof(MYSQL_BIND)) + text.len;
    till_sql_call_t *call = till_calloc(1, size);
    char *copy;

    call->params = (till_sql_value_t *)(call + 1);
    call->binds = (MYSQL_BIND *)(call->params + n);
    copy = (char *)(call->binds + n);
    memcpy(copy, text.base, text.len);
    call->text = (till_slice_t){copy, text.len};
    call->n = n;
    call->kind = kind;
    call->wait.pool = pool;
    call->wait.is_call = true;
    till_sql_call_bind(call, params);
    if (kind == TILL_SQL_UNDO)
        till_op_init(&call->wait.op, pool->loop, UNDO_MS, on_abort, on_call_done);
    return call;
}

till_op_t *till_sql_run(till_sql_conn_t *conn, till_slice_t text, const till_sql_value_t *params, size_t n,
                        uint64_t timeout_ms, till_sql_cb cb, void *data)
{
    till_sql_call_t *call = new_call(conn->pool, TILL_SQL_ON_LEASE, text, params, n);

    assert(conn->leased && conn->call == NULL);
    call->cb = cb;
    call->data = data;
    till_op_init(&call->wait.op, conn->loop, timeout_ms, on_abort, on_call_done);
    if (conn->state == TILL_SQL_READY)
        begin_call(conn, call);
    else
        refuse(&call->wait, TILL_CONN_LOST, 0, "the connection was lost before");
    return &call->wait.op;
}

till_op_t *till_sql_query(till_sql_pool_t *pool, till_slice_t text, const till_sql_value_t *params, size_t n,
                          uint64_t timeout_ms, till_sql_cb cb, void *data)
{
    till_sql_call_t *call = new_call(pool, TILL_SQL_ALONE, text, params, n);

    call->cb = cb;
    call->data = data;
    till_op_init(&call->wait.op, pool->loop, timeout_ms, on_abort, on_call_done);
    ask(pool, &call->wait);
    return &call->wait.op;
}

/* ---- leases ---- */

static void on_lease_done(till_op_t *op, till_status_t status)
{
    lease_t *lease = (lease_t *)op;
    till_sql_conn_t *conn = lease->wait.conn;

    if (conn != NULL)
        conn->granted = NULL;
    else if (status == TILL_OK)
        status = TILL_CANCELLED; /* the pool went between the grant and now */
    lease->cb(lease->data, status, conn);
    free(lease);
}

till_op_t *till_sql_acquire(till_sql_pool_t *pool, uint64_t timeout_ms, till_sql_acquire_cb cb, void *data)
{
    lease_t *lease = till_calloc(1, sizeof(*lease));

    lease->wait.pool = pool;
    lease->cb = cb;
    lease->data = data;
    till_op_init(&lease->wait.op, pool->loop, timeout_ms, on_abort, on_lease_done);
    ask(pool, &lease->wait);
    return &lease->wait.op;
}

void till_sql_release(till_sql_conn_t *conn)
{
    assert(conn->leased && conn->granted == NULL);
    if (conn->call != NULL)
        till_op_cancel(&conn->call->wait.op);
    give_back(conn);
}

/* ---- the pool ---- */

static void start_library(void) { mysql_library_init(0, NULL, NULL); }

till_sql_pool_t *till_sql_pool_create(till_loop_t *loop, const till_sql_opts_t *opts)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    till_sql_pool_t *pool = till_calloc(1, sizeof(*pool) + opts->connections * sizeof(pool->slots[0]));

    assert(opts->connections > 0);
    pthread_once(&once, start_library);
    pool->loop = loop;
    pool->opts = *opts;
    for (unsigned i = 0; i < opts->connections; i++) {
        pool->slots[i].pool = pool;
        pool->slots[i].opts = &pool->opts;
        pool->slots[i].loop = loop;
    }
    return pool;
}

static void close_slot(till_sql_conn_t *conn)
{
    if (conn->granted != NULL) { /* told TILL_CANCELLED instead of OK */
        conn->granted->conn = NULL;
        conn->granted = NULL;
        conn->leased = false;
        conn->pool->leased--;
    }
    if (conn->call != NULL && conn->call->kind != TILL_SQL_ON_LEASE)
        till_op_cancel(&conn->call->wait.op);
    till_sql_conn_close(conn);
}

till_loop_t *till_sql_pool_loop(const till_sql_pool_t *pool) { return pool->loop; }

void till_sql_pool_destroy(till_sql_pool_t *pool)
{
    pool->closing = true;
    till_timer_stop(&pool->retry);
    till_timer_stop(&pool->serve);
    while (pool->first != NULL)
        till_op_cancel(&pool->first->op);
    for (unsigned i = 0; i < pool->opts.connections; i++)
        close_slot(&pool->slots[i]);
    assert(pool->leased == 0);
    free(pool);
}

const char *till_sql_library(void) { return mysql_get_client_info(); }

void till_sql_pool_stats(const till_sql_pool_t *pool, till_sql_stats_t *out)
{
    *out = pool->stats;
    out->open = pool->open;
    out->limit = pool->opts.connections;
    out->waiting = pool->waiting;
}
