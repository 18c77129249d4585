/* sql_conn.c - one MariaDB connection, driven by the worker's event loop.
 *
 * The client library can begin a call and say which event it waits for. We
 * park on that event and continue the same call when it comes. Each state is
 * one such call; after_step() decides what follows when it is through:
 *
 *   CLOSED --open--> CONNECTING --> READY
 *   READY --start--> PREPARING --> EXECUTING --> STORING --> NEXT --> READY
 *             |  (known: skipped)                  ^----------+
 *             +----> TEXT_SENDING --> TEXT_STORING --> TEXT_NEXT --> READY
 *                                          ^---------------+
 *   any of these --fail--> READY, or CLOSED where the connection is lost,
 *                          or UNDOING --> READY after a deadlock
 *   any state --close--> CLOSED
 *
 * What always holds
 *  1. At most one call is on the connection, and only between start and ended.
 *  2. till_sql_pool_opened, _lost_idle and _ended are the last thing that a
 *     function here does: by then the connection is READY or CLOSED.
 *  3. A call that is given up closes the connection. Its answer may be on the
 *     wire still and must not be read as the answer to the next one.
 *  4. A library call is never dropped while it is suspended, for its memory
 *     stands on a stack of its own: close wakes it with an error first.
 *  5. The socket is read for as long as the connection is open, which saves two
 *     epoll calls a statement; readable while READY means that the server went.
 */
#include "io/sql_priv.h"

#include <assert.h>
#include <errmsg.h>
#include <errno.h>
#include <fcntl.h>
#include <mysqld_error.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include "base/fault.h"
#include "base/trace.h"

#define SESSION                                                                                                        \
    "SET NAMES utf8mb4, time_zone = '+00:00', tx_isolation = 'READ-COMMITTED', sql_mode = 'STRICT_ALL_TABLES,"         \
    "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_ENGINE_SUBSTITUTION',"             \
    "max_statement_time = "

enum { CLIENT_ERROR_FIRST = 2000, CLIENT_ERROR_END = 3000, CLIENT_ERROR2_FIRST = 5000, CLIENT_ERROR2_END = 6000 };

static bool watch(till_sql_conn_t *conn);
static void on_event(till_sql_conn_t *conn, int event);

/* The only place where the state changes, so that one trace tells it all. */
static void set_state(till_sql_conn_t *conn, till_sql_state_t next)
{
    TILL_TRACE("sql", conn, "%d -> %d", conn->state, next);
    conn->state = next;
}

bool till_sql_conn_in_transaction(const till_sql_conn_t *conn)
{
    return conn->mysql != NULL && (conn->mysql->server_status & SERVER_STATUS_IN_TRANS) != 0;
}

/* Begins the library call of CONNECTING, or continues it. */
static int step_connect(till_sql_conn_t *conn, int event)
{
    const till_sql_opts_t *opts = conn->opts;

    if (event != 0)
        return mysql_real_connect_cont(&conn->connected, conn->mysql, event);
    return mysql_real_connect_start(&conn->connected, conn->mysql, opts->socket != NULL ? NULL : opts->host, opts->user,
                                    opts->password, opts->database, opts->port, opts->socket, CLIENT_MULTI_RESULTS);
}

static int step_text(till_sql_conn_t *conn, int event, const char *text, size_t len)
{
    return event == 0 ? mysql_real_query_start(&conn->failed, conn->mysql, text, len)
                      : mysql_real_query_cont(&conn->failed, conn->mysql, event);
}

/* Runs the library call of this state; `event` is 0 to begin it, else what it
 * waited for. @return what it waits for now, or 0 when it is through */
static int step(till_sql_conn_t *conn, int event)
{
    till_slice_t text = conn->call != NULL ? conn->call->text : (till_slice_t){0};
    MYSQL_STMT *stmt = conn->stmt != NULL ? conn->stmt->mysql : NULL;
    int *failed = &conn->failed;

    switch (conn->state) {
    case TILL_SQL_CONNECTING:
        return step_connect(conn, event);
    case TILL_SQL_PREPARING:
        return event == 0 ? mysql_stmt_prepare_start(failed, stmt, text.base, text.len)
                          : mysql_stmt_prepare_cont(failed, stmt, event);
    case TILL_SQL_EXECUTING:
        return event == 0 ? mysql_stmt_execute_start(failed, stmt) : mysql_stmt_execute_cont(failed, stmt, event);
    case TILL_SQL_STORING:
        return event == 0 ? mysql_stmt_store_result_start(failed, stmt)
                          : mysql_stmt_store_result_cont(failed, stmt, event);
    case TILL_SQL_NEXT:
        return event == 0 ? mysql_stmt_next_result_start(failed, stmt)
                          : mysql_stmt_next_result_cont(failed, stmt, event);
    case TILL_SQL_TEXT_SENDING:
        return step_text(conn, event, text.base, text.len);
    case TILL_SQL_TEXT_STORING:
        return event == 0 ? mysql_store_result_start(&conn->rows, conn->mysql)
                          : mysql_store_result_cont(&conn->rows, conn->mysql, event);
    case TILL_SQL_TEXT_NEXT:
        return event == 0 ? mysql_next_result_start(failed, conn->mysql)
                          : mysql_next_result_cont(failed, conn->mysql, event);
    case TILL_SQL_UNDOING:
        return step_text(conn, event, "ROLLBACK", 8);
    case TILL_SQL_CLOSED:
    case TILL_SQL_READY:
        break;
    }
    assert(!"no library call in this state");
    return 0;
}

/* The library must come back from where it is suspended before its handle may
 * go: see (4). Without a socket and with its time over, each wait fails at once. */
static void wake_with_error(till_sql_conn_t *conn)
{
    my_socket fd = mysql_get_socket(conn->mysql);

    if (fd != MARIADB_INVALID_SOCKET)
        shutdown(fd, SHUT_RDWR);
    for (int i = 0; conn->waits_for != 0 && i < 1000; i++)
        conn->waits_for = step(conn, MYSQL_WAIT_TIMEOUT);
    conn->waits_for = 0;
    if (conn->state == TILL_SQL_TEXT_STORING)
        mysql_free_result(conn->rows); /* NULL is allowed */
    conn->rows = NULL;
}

void till_sql_conn_close(till_sql_conn_t *conn)
{
    if (conn->state == TILL_SQL_CLOSED)
        return;
    till_timer_stop(&conn->deadline);
    if (conn->waits_for != 0)
        wake_with_error(conn);
    mysql_close(conn->mysql);
    conn->mysql = NULL;
    till_sql_stmts_dispose(&conn->stmts); /* ids of a connection that is gone */
    if (conn->sock != NULL)
        h2o_socket_close(conn->sock);
    conn->sock = NULL;
    conn->call = NULL;
    conn->stmt = NULL;
    set_state(conn, TILL_SQL_CLOSED);
}

static bool is_lost(unsigned errcode)
{
    switch (errcode) {
    case ER_SERVER_SHUTDOWN:
    case ER_ABORTING_CONNECTION:
    case ER_NEW_ABORTING_CONNECTION:
    case ER_NET_READ_ERROR:
    case ER_NET_READ_INTERRUPTED:
    case ER_NET_ERROR_ON_WRITE:
    case ER_NET_WRITE_INTERRUPTED:
    case ER_CONNECTION_KILLED:
    case ER_ERROR_DURING_COMMIT: /* done or not: a node that is cut off from its cluster cannot say */
    case 4031:                   /* ER_CLIENT_INTERACTION_TIMEOUT */
        return true;
    default: /* the library's own: it does not know any more where on the wire it is */
        return (errcode >= CLIENT_ERROR_FIRST && errcode < CLIENT_ERROR_END) ||
               (errcode >= CLIENT_ERROR2_FIRST && errcode < CLIENT_ERROR2_END);
    }
}

/* Of mysys, which names none for clients: what a sort, or a temporary table, could not write. */
enum { EE_WRITE = 3, EE_DISK_FULL = 20 };

static till_status_t status_of(unsigned errcode)
{
    if (is_lost(errcode))
        return TILL_CONN_LOST;
    switch (errcode) {
    case ER_LOCK_DEADLOCK:
    case ER_LOCK_WAIT_TIMEOUT:
    case ER_CHECKREAD:
    case ER_NEED_REPREPARE: /* its tables were changed meanwhile, again and again: nothing was done */
        return TILL_DEADLOCK;
    case ER_DUP_ENTRY:
        return TILL_DUPLICATE;
    case ER_OPTION_PREVENTS_STATEMENT: /* read_only */
    case EE_WRITE:
    case EE_DISK_FULL:
    case ER_DISK_FULL:
    case ER_ERROR_ON_WRITE:
    case ER_GET_ERRNO: /* an engine's own number, as 28: no room */
    case ER_RECORD_FILE_FULL:
    case ER_TEMP_FILE_WRITE_FAILURE:
    case ER_UNKNOWN_COM_ERROR: /* a node that is not in its cluster */
    case ER_MAX_PREPARED_STMT_COUNT_REACHED:
        return TILL_UNAVAILABLE;
    case ER_STATEMENT_TIMEOUT:
    case ER_QUERY_INTERRUPTED: /* by somebody's KILL QUERY */
        return TILL_TIMEOUT;
    default:
        return TILL_REJECTED;
    }
}

/* The server ends statements by the wall clock: when that steps forward, all that run are over at once. One that has
 * not had half its time is undone, as by a deadlock, and may be asked again. */
static bool is_ended_early(const till_sql_conn_t *conn, unsigned errcode)
{
    return errcode == ER_STATEMENT_TIMEOUT &&
           (till_hist_now() - conn->call->begun) * 2000 < (double)conn->opts->statement_ms;
}

static void end_call(till_sql_conn_t *conn, till_status_t status, bool broken)
{
    till_sql_call_t *call = conn->call;

    if (broken)
        till_sql_conn_close(conn);
    else
        set_state(conn, TILL_SQL_READY);
    conn->call = NULL;
    conn->stmt = NULL;
    till_sql_pool_ended(conn, call, status);
}

/* Where an UPDATE cannot be written (1114, 1118) MariaDB calls it fatal: a compound statement ends there without any of
 * its handlers, in an open transaction. No error says whether one is open. Whoever has the connection next would commit
 * the half of it with his START TRANSACTION, or be undone with it after he was answered. */
static bool may_have_begun(const till_sql_call_t *call)
{
    static const till_slice_t compound = {"BEGIN NOT ATOMIC", 16};

    return call->text.len >= compound.len && strncasecmp(call->text.base, compound.base, compound.len) == 0;
}

/* @return whether there is another step: after a deadlock that leaves the transaction open (the server rolls back for
 * 1213 only), and after a compound statement that failed, the rest is undone. */
static bool fail_with(till_sql_conn_t *conn, unsigned errcode, const char *message)
{
    till_status_t status = is_ended_early(conn, errcode) ? TILL_DEADLOCK : status_of(errcode);

    till_sql_call_fail(conn->call, errcode, message);
    if (status != TILL_CONN_LOST &&
        (may_have_begun(conn->call) || (status == TILL_DEADLOCK && till_sql_conn_in_transaction(conn)))) {
        conn->undoing = status;
        set_state(conn, TILL_SQL_UNDOING);
        return true;
    }
    end_call(conn, status, status == TILL_CONN_LOST);
    return false;
}

static bool fail_stmt(till_sql_conn_t *conn)
{
    return fail_with(conn, mysql_stmt_errno(conn->stmt->mysql), mysql_stmt_error(conn->stmt->mysql));
}

static bool fail_text(till_sql_conn_t *conn)
{
    return fail_with(conn, mysql_errno(conn->mysql), mysql_error(conn->mysql));
}

/* The numbers of an answer without rows; `next` fetches the further answers of a CALL. */
static bool after_answer(till_sql_conn_t *conn, till_sql_state_t next)
{
    till_sql_result_t *result = &conn->call->result;

    result->warnings = mysql_warning_count(conn->mysql);
    if (mysql_field_count(conn->mysql) == 0) {
        result->affected += mysql_affected_rows(conn->mysql);
        if (mysql_insert_id(conn->mysql) != 0)
            result->insert_id = mysql_insert_id(conn->mysql);
    }
    if (mysql_more_results(conn->mysql)) {
        set_state(conn, next);
        return true;
    }
    end_call(conn, TILL_OK, false);
    return false;
}

static bool bind_and_execute(till_sql_conn_t *conn)
{
    till_sql_call_t *call = conn->call;

    if (mysql_stmt_param_count(conn->stmt->mysql) != call->n) {
        till_sql_call_fail(call, CR_INVALID_PARAMETER_NO, "the statement has another number of parameters");
        end_call(conn, TILL_REJECTED, false);
        return false;
    }
    if (call->n != 0 && mysql_stmt_bind_param(conn->stmt->mysql, call->binds) != 0)
        return fail_stmt(conn);
    set_state(conn, TILL_SQL_EXECUTING);
    return true;
}

/* max_prepared_stmt_count bounds those of all clients together: half of ours make room. @return whether there were any
 */
static bool prepare_again(till_sql_conn_t *conn)
{
    unsigned left = conn->stmts.count / 2;

    if (conn->stmts.count == 0)
        return false;
    while (conn->stmts.count > left)
        till_sql_stmts_remove(&conn->stmts, conn->stmts.oldest);
    conn->stmt = till_sql_stmts_add(&conn->stmts, conn->mysql, conn->call->text);
    set_state(conn, TILL_SQL_PREPARING);
    return true;
}

static bool after_prepare(till_sql_conn_t *conn)
{
    unsigned errcode;

    if (!conn->failed)
        return bind_and_execute(conn);
    errcode = mysql_stmt_errno(conn->stmt->mysql);
    if (errcode == ER_UNSUPPORTED_PS && conn->call->n == 0) {
        till_sql_stmts_remove(&conn->stmts, conn->stmt);
        conn->stmt = NULL;
        set_state(conn, TILL_SQL_TEXT_SENDING);
        return true;
    }
    till_sql_call_fail(conn->call, errcode, mysql_stmt_error(conn->stmt->mysql));
    till_sql_stmts_remove(&conn->stmts, conn->stmt);
    conn->stmt = NULL;
    if (errcode == ER_MAX_PREPARED_STMT_COUNT_REACHED && prepare_again(conn))
        return true;
    return fail_with(conn, errcode, conn->call->result.message);
}

static bool after_execute(till_sql_conn_t *conn)
{
    if (conn->failed)
        return fail_stmt(conn);
    if (mysql_field_count(conn->mysql) == 0)
        return after_answer(conn, TILL_SQL_NEXT);
    set_state(conn, TILL_SQL_STORING);
    return true;
}

static bool after_store(till_sql_conn_t *conn)
{
    if (conn->failed)
        return fail_stmt(conn);
    if (!conn->call->has_rows && !till_sql_take_binary(conn->call, conn->stmt))
        return fail_stmt(conn);
    return after_answer(conn, TILL_SQL_NEXT);
}

static bool after_text(till_sql_conn_t *conn)
{
    if (conn->failed)
        return fail_text(conn);
    if (mysql_field_count(conn->mysql) == 0)
        return after_answer(conn, TILL_SQL_TEXT_NEXT);
    set_state(conn, TILL_SQL_TEXT_STORING);
    return true;
}

static bool after_text_store(till_sql_conn_t *conn)
{
    MYSQL_RES *rows = conn->rows;

    conn->rows = NULL;
    if (rows == NULL)
        return fail_text(conn);
    if (!conn->call->has_rows)
        till_sql_take_text(conn->call, rows);
    mysql_free_result(rows);
    return after_answer(conn, TILL_SQL_TEXT_NEXT);
}

static bool after_undo(till_sql_conn_t *conn)
{
    /* Where the ROLLBACK failed, the connection goes, and with it the transaction. */
    end_call(conn, conn->undoing, conn->failed != 0);
    return false;
}

static bool after_connect(till_sql_conn_t *conn)
{
    unsigned errcode = mysql_errno(conn->mysql);
    char message[256];

    till_timer_stop(&conn->deadline);
    if (conn->connected != NULL && watch(conn)) { /* it may have come through without a wait, or by another socket */
        set_state(conn, TILL_SQL_READY);
        till_sql_pool_opened(conn, 0, NULL);
        return false;
    }
    snprintf(message, sizeof(message), "%s", mysql_error(conn->mysql));
    till_sql_conn_close(conn);
    till_sql_pool_opened(conn, errcode != 0 ? errcode : CR_UNKNOWN_ERROR, message);
    return false;
}

/* The library call of this state is through. @return whether there is another */
static bool after_step(till_sql_conn_t *conn)
{
    switch (conn->state) {
    case TILL_SQL_CONNECTING:
        return after_connect(conn);
    case TILL_SQL_PREPARING:
        return after_prepare(conn);
    case TILL_SQL_EXECUTING:
        return after_execute(conn);
    case TILL_SQL_STORING:
        return after_store(conn);
    case TILL_SQL_NEXT: /* as after execute: an answer with rows or without */
        return after_execute(conn);
    case TILL_SQL_TEXT_SENDING:
    case TILL_SQL_TEXT_NEXT:
        return after_text(conn);
    case TILL_SQL_TEXT_STORING:
        return after_text_store(conn);
    case TILL_SQL_UNDOING:
        return after_undo(conn);
    case TILL_SQL_CLOSED:
    case TILL_SQL_READY:
        break;
    }
    assert(!"nothing to do in this state");
    return false;
}

/* The socket went without anything that the library could say about it. */
static void lose(till_sql_conn_t *conn)
{
    if (conn->state == TILL_SQL_READY) {
        till_sql_conn_close(conn);
        till_sql_pool_lost_idle(conn);
    } else if (conn->state == TILL_SQL_CONNECTING) {
        till_sql_conn_close(conn);
        till_sql_pool_opened(conn, CR_CONN_HOST_ERROR, "the connection was not made in time");
    } else {
        till_sql_call_fail(conn->call, CR_SERVER_LOST, "the connection was lost");
        end_call(conn, TILL_CONN_LOST, true);
    }
}

static void on_readable(h2o_socket_t *sock, const char *err)
{
    till_sql_conn_t *conn = sock->data;
    char byte;

    (void)err; /* the library reads, and finds out */
    if (conn->state != TILL_SQL_READY)
        on_event(conn, MYSQL_WAIT_READ);
    else if (recv(mysql_get_socket(conn->mysql), &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN)
        lose(conn); /* nobody asked: it is a farewell or the end */
}

static void on_writable(h2o_socket_t *sock, const char *err)
{
    (void)err;
    on_event(sock->data, MYSQL_WAIT_WRITE);
}

/* The library may try several sockets until one connects: watch the present one. */
static bool watch(till_sql_conn_t *conn)
{
    int fd = fcntl(mysql_get_socket(conn->mysql), F_DUPFD_CLOEXEC, 3); /* its own is closed by the library */

    if (conn->sock != NULL)
        h2o_socket_close(conn->sock);
    conn->sock = NULL;
    if (fd < 0)
        return false;
    conn->sock = h2o_evloop_socket_create(till_loop_h2o(conn->loop), fd, H2O_SOCKET_FLAG_DONT_READ);
    conn->sock->data = conn;
    h2o_socket_read_start(conn->sock, on_readable);
    return true;
}

static void park(till_sql_conn_t *conn, int waits)
{
    conn->waits_for = waits;
    if (conn->state == TILL_SQL_CONNECTING && !watch(conn)) {
        lose(conn);
        return;
    }
    /* Cannot be cancelled: on_event drops the notice that outlives its wait. */
    if ((waits & MYSQL_WAIT_WRITE) != 0 && !h2o_socket_is_writing(conn->sock))
        h2o_socket_notify_write(conn->sock, on_writable);
}

/* The statement has left. @return whether a fault took the place of its answer */
static bool fault_after(till_sql_conn_t *conn, int waits)
{
    if (conn->state != TILL_SQL_EXECUTING && conn->state != TILL_SQL_TEXT_SENDING)
        return false;
    TILL_CRASH("sql.crash_after_send");
    if (TILL_FAULT("sql.lost_after_send")) {
        conn->waits_for = waits;
        lose(conn);
        return true;
    }
    if (TILL_FAULT("sql.slow")) {
        conn->waits_for = waits;
        h2o_socket_read_stop(conn->sock); /* now only the deadline ends it */
        return true;
    }
    return false;
}

/* Nothing may touch `conn` once after_step() has said false: see (2). */
static void advance(till_sql_conn_t *conn, int event)
{
    int waits = step(conn, event);

    while (!fault_after(conn, waits)) {
        if (waits != 0) {
            park(conn, waits);
            return;
        }
        if (!after_step(conn))
            return;
        waits = step(conn, 0);
    }
}

static void on_event(till_sql_conn_t *conn, int event)
{
    if ((conn->waits_for & event) == 0)
        return;
    conn->waits_for = 0;
    advance(conn, event);
}

static void on_connect_deadline(till_timer_t *timer) { lose(H2O_STRUCT_FROM_MEMBER(till_sql_conn_t, deadline, timer)); }

static void set_options(till_sql_conn_t *conn)
{
    char session[sizeof(SESSION) + 32];
    my_bool off = 0;
    unsigned no_files = 0; /* a server may not ask for ours */
    unsigned protocol = conn->opts->socket != NULL ? MYSQL_PROTOCOL_SOCKET : MYSQL_PROTOCOL_TCP;

    mysql_options(conn->mysql, MYSQL_OPT_NONBLOCK, 0);
    mysql_options(conn->mysql, MYSQL_OPT_PROTOCOL, &protocol);
    mysql_options(conn->mysql, MYSQL_OPT_SSL_ENFORCE, &off);
    mysql_options(conn->mysql, MYSQL_OPT_LOCAL_INFILE, &no_files);
    mysql_options(conn->mysql, MYSQL_REPORT_DATA_TRUNCATION, &off);
    mysql_options(conn->mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    snprintf(session, sizeof(session), SESSION "%.3f", (double)conn->opts->statement_ms / 1000);
    mysql_options(conn->mysql, MYSQL_INIT_COMMAND, session);
}

void till_sql_conn_open(till_sql_conn_t *conn)
{
    assert(conn->state == TILL_SQL_CLOSED);
    if (TILL_FAULT("sql.connect_refused")) {
        till_sql_pool_opened(conn, CR_CONNECTION_ERROR, "fault: refused");
        return;
    }
    conn->mysql = mysql_init(NULL);
    conn->connected = NULL;
    conn->failed = 0;
    set_options(conn);
    set_state(conn, TILL_SQL_CONNECTING);
    till_timer_start(conn->loop, &conn->deadline, conn->opts->connect_timeout_ms, on_connect_deadline);
    advance(conn, 0);
}

/* @return whether a fault happened in place of the statement */
static bool fault_before(till_sql_conn_t *conn)
{
    if (TILL_FAULT("sql.lost_before_send")) {
        lose(conn);
        return true;
    }
    if (TILL_FAULT("sql.deadlock")) {
        if (fail_with(conn, ER_LOCK_DEADLOCK, "fault: deadlock"))
            advance(conn, 0);
        return true;
    }
    return false;
}

static void begin(till_sql_conn_t *conn)
{
    till_sql_call_t *call = conn->call;

    if (call->n == 0 && till_sql_is_text_only(call->text)) {
        set_state(conn, TILL_SQL_TEXT_SENDING);
    } else if ((conn->stmt = till_sql_stmts_find(&conn->stmts, call->text)) == NULL) {
        conn->stmt = till_sql_stmts_add(&conn->stmts, conn->mysql, call->text);
        set_state(conn, TILL_SQL_PREPARING);
    } else if (!bind_and_execute(conn)) {
        return;
    }
    advance(conn, 0);
}

/* For tests that say what happens between two statements: this one leaves when they let it. */
static void on_held(till_timer_t *timer)
{
    till_sql_conn_t *conn = H2O_STRUCT_FROM_MEMBER(till_sql_conn_t, deadline, timer);

    if (TILL_FAULT("sql.gate"))
        till_timer_start(conn->loop, timer, 1, on_held);
    else
        begin(conn);
}

void till_sql_conn_start(till_sql_conn_t *conn, till_sql_call_t *call)
{
    assert(conn->state == TILL_SQL_READY && conn->call == NULL);
    conn->call = call;
    conn->failed = 0;
    conn->asking = true;
    set_state(conn, TILL_SQL_EXECUTING); /* a fault finds it busy */
    if (TILL_FAULT("sql.held"))
        till_timer_start(conn->loop, &conn->deadline, 0, on_held);
    else if (!fault_before(conn))
        begin(conn);
    conn->asking = false;
}
