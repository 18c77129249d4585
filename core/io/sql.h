/* sql.h - values, results and the pool of MariaDB connections; the only SQL interface of core/.
 *
 * A statement's parameters travel apart from its text (prepared statements, one
 * cache per connection); nobody here ever pastes a value into SQL. Connections
 * speak utf8mb4, UTC, strict mode, READ COMMITTED, and found_rows=off.
 *
 * Waiters for a connection are served in the order they came, each with a
 * deadline; those who begin something new (till_sql_op_is_new) after those who
 * go on with something. The queue is bounded: by count (max_waiters), and by
 * time for the new ones (queue_timeout_ms). What was begun may wait until its
 * own deadline, for to refuse it would waste what was done.
 *
 * A statement whose deadline passes, or that is cancelled, breaks its
 * connection, for its answer may still be on the wire: it must never be read as
 * the answer to the next one. The server is told to stop working on it by a KILL
 * over another connection (`kill`), and gives it up by itself after
 * statement_ms. A COMMIT is never killed and has no limit in the server: only
 * its answer is not waited for any more, and its outcome is unknown.
 * A connection given back in an open transaction is rolled back first, and so is one
 * on which a compound statement (BEGIN NOT ATOMIC) failed: whether that left one open
 * is not known. A broken
 * one is replaced in the background, with backoff.
 *
 * Statuses: TILL_CONN_LOST (retryable, outcome of a COMMIT unknown; also 1180, with
 * which a COMMIT fails that may have happened),
 * TILL_TIMEOUT (the deadline here, or 1969 and 1317 from the server, which leave
 * the transaction open), TILL_CANCELLED, TILL_DEADLOCK (1213, 1205, 1020, and a
 * 1969 before half of statement_ms, which is a step of the server's clock: the
 * transaction is rolled back), TILL_UNAVAILABLE (no room for what has to be written:
 * 3, 20, 1021, 1026, 1030, 1114, 1878; read_only; a node without its cluster. MariaDB
 * undoes the statement alone, so the rest must not be committed), TILL_DUPLICATE
 * (1062), TILL_REJECTED (everything
 * else the server refused), TILL_OVERLOADED (too many wait for a connection, or
 * it waited for too long: nothing was begun).
 */
#ifndef TILL_IO_SQL_H
#define TILL_IO_SQL_H

#include "base/hash.h" /* till_slice_t */
#include "base/hist.h"
#include "io/op.h"

typedef struct till_sql_pool till_sql_pool_t;
typedef struct till_sql_conn till_sql_conn_t;

typedef enum till_sql_type {
    TILL_SQL_NULL,
    TILL_SQL_INT,
    TILL_SQL_DOUBLE,
    TILL_SQL_TEXT,
    TILL_SQL_BYTES
} till_sql_type_t;

/* DECIMAL comes as TEXT, DATETIME and TIMESTAMP as TEXT in RFC 3339 with Z and milliseconds, BINARY and BLOB as BYTES.
 */
typedef struct till_sql_value {
    till_sql_type_t type;
    int64_t integer;
    double real;
    const char *base; /* TEXT, BYTES: borrowed */
    size_t len;
} till_sql_value_t;

typedef struct till_sql_result {
    size_t columns, rows;
    const char *const *names;      /* `columns` of them */
    const till_sql_value_t *cells; /* rows * columns, row by row */
    uint64_t affected;             /* rows changed */
    uint64_t insert_id;
    unsigned warnings;   /* of the last statement */
    bool unsent;         /* it failed before it went to a connection: nothing of it was done */
    unsigned errcode;    /* MariaDB's number where the status is not OK */
    const char *message; /* for the log only: it may hold values; never for a client */
} till_sql_result_t;

typedef struct till_sql_opts {
    const char *socket; /* a Unix socket; NULL: host and port */
    const char *host;
    unsigned port;
    const char *user, *password, *database; /* borrowed until the pool is destroyed */
    unsigned connections;                   /* at most */
    unsigned max_waiters;                   /* more are refused with TILL_OVERLOADED */
    uint64_t queue_timeout_ms;              /* of those that are new, see till_sql_op_is_new; 0: none */
    uint64_t statement_ms;                  /* after which the server ends a statement (max_statement_time); 0: never */
    bool kill;                              /* end in the server what was given up here */
    uint64_t connect_timeout_ms;
} till_sql_opts_t;

/** Connects lazily; works while the database is away (statements then fail with TILL_CONN_LOST). */
till_sql_pool_t *till_sql_pool_create(till_loop_t *loop, const till_sql_opts_t *opts);
/** All leases must be back; waiters are told TILL_CANCELLED, in the loop's next turn. */
void till_sql_pool_destroy(till_sql_pool_t *pool);

till_loop_t *till_sql_pool_loop(const till_sql_pool_t *pool);

/** `conn` is NULL unless the status is OK; then it is the callee's until released. */
typedef void (*till_sql_acquire_cb)(void *data, till_status_t status, till_sql_conn_t *conn);
till_op_t *till_sql_acquire(till_sql_pool_t *pool, uint64_t timeout_ms, till_sql_acquire_cb cb, void *data);
/** Never waits. Allowed while a statement is in flight: that one is cancelled. */
void till_sql_release(till_sql_conn_t *conn);

/** `result` lives until the callback returns; never NULL (it carries errcode and message of a failure). */
typedef void (*till_sql_cb)(void *data, till_status_t status, const till_sql_result_t *result);
/**
 * Runs one statement on a leased connection; one at a time. `text` and
 * parameters are copied. BEGIN, COMMIT and ROLLBACK are statements like others.
 */
till_op_t *till_sql_run(till_sql_conn_t *conn, till_slice_t text, const till_sql_value_t *params, size_t n,
                        uint64_t timeout_ms, till_sql_cb cb, void *data);
/** Acquire, run, release in one: for a statement that is a transaction by itself. */
till_op_t *till_sql_query(till_sql_pool_t *pool, till_slice_t text, const till_sql_value_t *params, size_t n,
                          uint64_t timeout_ms, till_sql_cb cb, void *data);

/** Straight after till_sql_query or till_sql_acquire: nothing of what it belongs to is begun yet. It waits behind those
 * who go on with something, and is refused with TILL_OVERLOADED after queue_timeout_ms. */
void till_sql_op_is_new(till_op_t *op);
/* Ends a transaction, as COMMIT does, whatever statement_ms is. */
#define TILL_SQL_COMMIT "SET STATEMENT max_statement_time = 0 FOR COMMIT"

typedef struct till_sql_stats {
    unsigned open, idle, waiting, limit;
    uint64_t statements, reconnects, timeouts, kills, wait_ms_total;
    uint64_t refused_full, refused_late; /* by max_waiters, by queue_timeout_ms */
    till_hist_t durations;               /* of statements, without the wait for a connection */
    till_hist_t waits;                   /* for a connection, of those who did not get one at once */
} till_sql_stats_t;
/** The version of the client library. */
const char *till_sql_library(void);
void till_sql_pool_stats(const till_sql_pool_t *pool, till_sql_stats_t *out);
/**
 * How long the queue of the new ones is, in time: the shortest wait of those who
 * got a connection since the last call of this function. 0 where anybody got one
 * at once, or nobody asked; where none of them got one, the age of the oldest.
 */
uint64_t till_sql_pool_delay(till_sql_pool_t *pool);

#endif
