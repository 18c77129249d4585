/* sql_priv.h - what the files of the SQL module share; nobody else includes it.
 *
 * sql_pool.c    who gets which connection, waiters, reconnecting, the public calls
 * sql_conn.c    one connection and the statement on it, step by step
 * sql_stmt.c    a connection's prepared statements by their text
 * sql_result.c  rows into values
 */
#ifndef TILL_IO_SQL_PRIV_H
#define TILL_IO_SQL_PRIV_H

#include <mysql.h>
#include "io/sql.h"

#define TILL_SQL_STMT_LIMIT 256 /* prepared statements a connection keeps */

/* Where one column of a binary row lands; long ones are fetched from the row itself. */
typedef struct till_sql_column {
    union {
        long long integer;
        double real;
        MYSQL_TIME time;
    } in;
    unsigned long len;
    my_bool is_null, error;
} till_sql_column_t;

typedef struct till_sql_stmt {
    struct till_sql_stmt *chain;         /* of its bucket */
    struct till_sql_stmt *newer, *older; /* by last use */
    MYSQL_STMT *mysql;
    MYSQL_BIND *binds; /* `columns` of them, as of `in` */
    till_sql_column_t *in;
    unsigned columns;
    uint64_t hash;
    size_t len;
    char text[];
} till_sql_stmt_t;

typedef struct till_sql_stmts {
    till_sql_stmt_t *buckets[TILL_SQL_STMT_LIMIT];
    till_sql_stmt_t *newest, *oldest;
    unsigned count;
} till_sql_stmts_t;

typedef struct till_sql_chunk {
    struct till_sql_chunk *next;
    size_t used, size;
    char bytes[];
} till_sql_chunk_t;

/* Somebody who waits for a connection: a lease or a call. */
typedef struct till_sql_waiter {
    till_op_t op; /* first */
    till_sql_pool_t *pool;
    till_sql_conn_t *conn; /* NULL while it waits, and once it is over */
    struct till_sql_waiter *next, *prev;
    bool queued, is_call, is_new;
    uint64_t since;
} till_sql_waiter_t;

typedef enum till_sql_call_kind {
    TILL_SQL_ON_LEASE, /* the connection stays with the caller */
    TILL_SQL_ALONE,    /* the connection goes back when it ends */
    TILL_SQL_UNDO,     /* our own ROLLBACK before a connection goes back */
    TILL_SQL_KILL,     /* our own KILL of what was given up */
} till_sql_call_kind_t;

/* One statement, from the asking call to the callback. */
typedef struct till_sql_call {
    till_sql_waiter_t wait; /* first */
    till_sql_call_kind_t kind;
    till_slice_t text; /* this and the parameters lie behind the struct */
    till_sql_value_t *params;
    MYSQL_BIND *binds;
    size_t n;
    till_sql_cb cb;
    void *data;
    double begun;  /* when it went to the connection; 0: it has not */
    bool has_rows; /* the first result set is taken; further ones are skipped */
    till_sql_result_t result;
    till_sql_chunk_t *arena;
} till_sql_call_t;

typedef enum till_sql_state {
    TILL_SQL_CLOSED,
    TILL_SQL_CONNECTING,
    TILL_SQL_READY,
    TILL_SQL_PREPARING,
    TILL_SQL_EXECUTING,
    TILL_SQL_STORING,
    TILL_SQL_NEXT,
    TILL_SQL_TEXT_SENDING,
    TILL_SQL_TEXT_STORING,
    TILL_SQL_TEXT_NEXT,
    TILL_SQL_UNDOING,
} till_sql_state_t;

struct till_sql_conn {
    till_sql_pool_t *pool;
    const till_sql_opts_t *opts;
    till_loop_t *loop;
    MYSQL *mysql;
    h2o_socket_t *sock; /* watches a dup of the library's descriptor, never reads it */
    till_sql_state_t state;
    int waits_for; /* MYSQL_WAIT_* bits; 0 when no library call is suspended */
    int failed;    /* what the library call of this state returned */
    MYSQL *connected;
    MYSQL_RES *rows;
    bool asking; /* inside the call that asked: the callback has to wait for the loop */
    till_sql_call_t *call;
    till_sql_stmt_t *stmt; /* of `call` */
    till_status_t undoing; /* what to tell after the ROLLBACK of UNDOING */
    till_timer_t deadline; /* of connecting; or of the next look whether a test lets the call go */
    till_sql_stmts_t stmts;
    /* the pool's */
    bool leased;  /* given away, to a lease, a call or our own ROLLBACK */
    bool replace; /* was open and broke: open it again without being asked */
    bool was_open;
    till_sql_waiter_t *granted; /* a lease that is not told yet */
    struct till_sql_conn *next_idle;
};

/* sql_conn.c */
void till_sql_conn_open(till_sql_conn_t *conn); /* ends in till_sql_pool_opened */
/** Begins `call` on a READY connection; ends in till_sql_pool_ended. */
void till_sql_conn_start(till_sql_conn_t *conn, till_sql_call_t *call);
/** Closes it in any state, without a word to anybody; a call on it is let go. */
void till_sql_conn_close(till_sql_conn_t *conn);
bool till_sql_conn_in_transaction(const till_sql_conn_t *conn);

/* sql_pool.c: what a connection reports. The last two may make it begin the next call. */
void till_sql_pool_opened(till_sql_conn_t *conn, unsigned errcode, const char *message); /* errcode 0: it is READY */
void till_sql_pool_lost_idle(till_sql_conn_t *conn);                                     /* it is CLOSED */
void till_sql_pool_ended(till_sql_conn_t *conn, till_sql_call_t *call, till_status_t status);

/* sql_stmt.c */
/** The statement prepared for `text`, now the newest, or NULL. */
till_sql_stmt_t *till_sql_stmts_find(till_sql_stmts_t *stmts, till_slice_t text);
/** A new one, not prepared yet; may close the one that was not used for longest. */
till_sql_stmt_t *till_sql_stmts_add(till_sql_stmts_t *stmts, MYSQL *mysql, till_slice_t text);
void till_sql_stmts_remove(till_sql_stmts_t *stmts, till_sql_stmt_t *stmt);
void till_sql_stmts_dispose(till_sql_stmts_t *stmts); /* after the connection was closed */
/** Statements that the text protocol serves better or alone: no parameters, run once, or session control. */
bool till_sql_is_text_only(till_slice_t text);

/* sql_result.c */
void till_sql_call_bind(till_sql_call_t *call, const till_sql_value_t *params);
/** @return false where the library refused; its error is in `stmt` */
bool till_sql_take_binary(till_sql_call_t *call, till_sql_stmt_t *stmt);
void till_sql_take_text(till_sql_call_t *call, MYSQL_RES *rows);
/** Forgets rows and keeps the number and a copy of the message. */
void till_sql_call_fail(till_sql_call_t *call, unsigned errcode, const char *message);
void till_sql_call_free(till_sql_call_t *call);

#endif
