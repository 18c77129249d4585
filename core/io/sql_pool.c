/* sql_pool.c - who gets which connection.
 *
 * A slot for each connection. Idle ones form a stack (the last used is the
 * warmest), waiters two queues: who goes on with something comes before who
 * begins. A server beside us may answer so fast that a
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
#include <strings.h>
#include "base/log.h"
#include "base/mem.h"

enum { BACKOFF_FIRST_MS = 50, BACKOFF_MOST_MS = 2000, UNDO_MS = 5000, KILL_MS = 5000, MAX_DEPTH = 8 };

struct queue {
    till_sql_waiter_t *first, *last;
};

struct till_sql_pool {
    till_loop_t *loop;
    till_sql_opts_t opts;
    till_sql_conn_t *idle;
    struct queue queues[2]; /* of those who go on with something, of those who begin */
    unsigned waiting, connecting, open, leased;
    unsigned failures; /* to connect, one after the other */
    till_timer_t retry;
    till_timer_t serve;     /* running while there are both idle connections and waiters */
    till_timer_t sweep;     /* running while somebody waits who may be refused for it */
    uint64_t shortest_wait; /* see till_sql_pool_delay; UINT64_MAX: nobody got a connection */
    unsigned depth;         /* of calls that ended inside push_idle */
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

static till_sql_waiter_t *first_waiter(const till_sql_pool_t *pool)
{
    return pool->queues[false].first != NULL ? pool->queues[false].first : pool->queues[true].first;
}

static void enqueue(till_sql_pool_t *pool, till_sql_waiter_t *waiter)
{
    struct queue *queue = &pool->queues[waiter->is_new];

    waiter->prev = queue->last;
    *(queue->last != NULL ? &queue->last->next : &queue->first) = waiter;
    queue->last = waiter;
    waiter->queued = true;
    waiter->since = till_loop_now(pool->loop);
    pool->waiting++;
}

static void dequeue(till_sql_pool_t *pool, till_sql_waiter_t *waiter)
{
    struct queue *queue = &pool->queues[waiter->is_new];

    *(waiter->prev != NULL ? &waiter->prev->next : &queue->first) = waiter->next;
    *(waiter->next != NULL ? &waiter->next->prev : &queue->last) = waiter->prev;
    waiter->next = waiter->prev = NULL;
    waiter->queued = false;
    pool->waiting--;
    pool->stats.wait_ms_total += till_loop_now(pool->loop) - waiter->since;
}

/* Of what never went to a connection. */
static void fail_unsent(till_sql_call_t *call, unsigned errcode, const char *message)
{
    till_sql_call_fail(call, errcode, message);
    call->result.unsent = true;
}

static void refuse(till_sql_waiter_t *waiter, till_status_t status, unsigned errcode, const char *message)
{
    if (waiter->is_call)
        fail_unsent((till_sql_call_t *)waiter, errcode, message);
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

static void note_wait(till_sql_pool_t *pool, uint64_t wait_ms)
{
    if (wait_ms < pool->shortest_wait)
        pool->shortest_wait = wait_ms;
}

static void grant_first(till_sql_conn_t *conn)
{
    till_sql_pool_t *pool = conn->pool;
    till_sql_waiter_t *waiter = first_waiter(pool);
    uint64_t wait_ms = till_loop_now(pool->loop) - waiter->since;

    if (waiter->is_new)
        note_wait(pool, wait_ms);
    till_hist_add(&pool->stats.waits, (double)wait_ms / 1000);
    dequeue(pool, waiter);
    conn->pool->depth++;
    grant(conn, waiter);
    conn->pool->depth--;
}

static void on_serve(till_timer_t *timer)
{
    till_sql_pool_t *pool = H2O_STRUCT_FROM_MEMBER(till_sql_pool_t, serve, timer);

    while (pool->waiting != 0 && pool->idle != NULL && !till_timer_is_running(timer))
        grant_first(pop_idle(pool));
}

static void push_idle(till_sql_conn_t *conn)
{
    till_sql_pool_t *pool = conn->pool;

    if (pool->waiting != 0 && pool->depth < MAX_DEPTH) {
        grant_first(conn);
        return;
    }
    conn->next_idle = pool->idle;
    pool->idle = conn;
    pool->stats.idle++;
    if (pool->waiting != 0)
        till_timer_start(pool->loop, &pool->serve, 0, on_serve);
}

/* A waiter gets an idle connection at once, or joins the queue, or is refused. */
static void ask(till_sql_pool_t *pool, till_sql_waiter_t *waiter)
{
    till_sql_conn_t *conn = pool->waiting == 0 ? pop_idle(pool) : NULL; /* nobody overtakes here */

    if (conn != NULL) {
        note_wait(pool, 0);
        grant(conn, waiter);
    } else if (pool->open == 0 && till_timer_is_running(&pool->retry)) {
        refuse(waiter, TILL_CONN_LOST, pool->errcode, pool->message);
    } else if (pool->waiting >= pool->opts.max_waiters) {
        pool->stats.refused_full++;
        refuse(waiter, TILL_OVERLOADED, 0, "too many wait for a connection");
    } else {
        enqueue(pool, waiter);
        open_more(pool);
    }
}

/* Whoever is new and has waited for too long is told so; then the next of them decides when to look again. */
static void on_sweep(till_timer_t *timer)
{
    till_sql_pool_t *pool = H2O_STRUCT_FROM_MEMBER(till_sql_pool_t, sweep, timer);
    uint64_t now = till_loop_now(pool->loop), limit = pool->opts.queue_timeout_ms;

    for (till_sql_waiter_t *waiter = pool->queues[true].first, *next; waiter != NULL; waiter = next) {
        next = waiter->next;
        if (now - waiter->since < limit) {
            till_timer_start(pool->loop, timer, limit - (now - waiter->since), on_sweep);
            return;
        }
        dequeue(pool, waiter);
        pool->stats.refused_late++;
        refuse(waiter, TILL_OVERLOADED, 0, "it waited too long for a connection");
    }
}

void till_sql_op_is_new(till_op_t *op)
{
    till_sql_waiter_t *waiter = (till_sql_waiter_t *)op;
    till_sql_pool_t *pool = waiter->pool;

    if (!waiter->queued)
        return;
    dequeue(pool, waiter);
    waiter->is_new = true;
    enqueue(pool, waiter);
    if (pool->opts.queue_timeout_ms != 0 && !till_timer_is_running(&pool->sweep))
        till_timer_start(pool->loop, &pool->sweep, pool->opts.queue_timeout_ms, on_sweep);
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

    while ((waiter = first_waiter(pool)) != NULL) {
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
    conn->pool->stats.timeouts += status == TILL_TIMEOUT; /* the server's; ours goes through on_abort */
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

/* A COMMIT that nobody waits for any more ends as it may: killed, it might be neither. */
static bool is_commit(till_slice_t text)
{
    static const till_slice_t words[] = {{"COMMIT", 6}, {TILL_SQL_COMMIT, sizeof(TILL_SQL_COMMIT) - 1}};

    for (size_t i = 0; i < 2; i++) {
        if (text.len == words[i].len && strncasecmp(text.base, words[i].base, text.len) == 0)
            return true;
    }
    return false;
}

/* What the server should stop to work on when `call` is given up; 0: nothing. */
static unsigned long victim_of(const till_sql_conn_t *conn, const till_sql_call_t *call)
{
    const till_sql_pool_t *pool = conn->pool;

    if (!pool->opts.kill || pool->closing || conn->call != call || conn->mysql == NULL)
        return 0;
    return call->kind == TILL_SQL_KILL || is_commit(call->text) ? 0 : mysql_thread_id(conn->mysql);
}

/* Before everybody else: until then it takes from them what they wait for. */
static void enqueue_first(till_sql_pool_t *pool, till_sql_waiter_t *waiter)
{
    struct queue *queue = &pool->queues[false];

    waiter->since = till_loop_now(pool->loop);
    waiter->queued = true;
    waiter->next = queue->first;
    *(queue->first != NULL ? &queue->first->prev : &queue->last) = waiter;
    queue->first = waiter;
    pool->waiting++;
}

static void begin_kill(till_sql_pool_t *pool, unsigned long victim)
{
    char text[64];
    int len = snprintf(text, sizeof(text), "KILL CONNECTION %lu", victim);
    till_sql_call_t *call = new_call(pool, TILL_SQL_KILL, (till_slice_t){text, (size_t)len}, NULL, 0);
    till_sql_conn_t *conn = pop_idle(pool);

    pool->stats.kills++;
    call->cb = on_undone;
    if (conn != NULL) {
        grant(conn, &call->wait);
        return;
    }
    enqueue_first(pool, &call->wait);
    open_more(pool);
}

static void on_abort(till_op_t *op, till_status_t why)
{
    unsigned long victim;
    till_sql_waiter_t *waiter = (till_sql_waiter_t *)op;
    till_sql_conn_t *conn = waiter->conn;
    till_sql_pool_t *pool = waiter->pool;
    till_sql_call_t *call = (till_sql_call_t *)waiter;

    pool->stats.timeouts += why == TILL_TIMEOUT;
    if (waiter->is_call)
        (waiter->queued ? fail_unsent : till_sql_call_fail)(
            call, 0, why == TILL_TIMEOUT ? "it did not end before its deadline" : "it was cancelled");
    if (waiter->queued)
        dequeue(pool, waiter);
    if (conn == NULL)
        return;
    waiter->conn = NULL;
    note_duration(pool, call);
    victim = victim_of(conn, call); /* only a call has a connection here: a lease is over with its grant */
    break_leased(conn);
    if (call->kind != TILL_SQL_ON_LEASE)
        give_back(conn);
    if (victim != 0)
        begin_kill(pool, victim);
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
    if (kind == TILL_SQL_UNDO || kind == TILL_SQL_KILL)
        till_op_init(&call->wait.op, pool->loop, kind == TILL_SQL_UNDO ? UNDO_MS : KILL_MS, on_abort, on_call_done);
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
    pool->shortest_wait = UINT64_MAX;
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
    till_timer_stop(&pool->sweep);
    while (pool->waiting != 0)
        till_op_cancel(&first_waiter(pool)->op);
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

uint64_t till_sql_pool_delay(till_sql_pool_t *pool)
{
    const till_sql_waiter_t *fresh = pool->queues[true].first;
    uint64_t delay = pool->shortest_wait;

    pool->shortest_wait = UINT64_MAX;
    if (delay != UINT64_MAX)
        return delay;
    return fresh != NULL ? till_loop_now(pool->loop) - fresh->since : 0;
}
