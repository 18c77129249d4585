/* sql_kit.h - what the tests of the SQL module share: a pool on the tests' MariaDB, answers and leases to look at. */
#ifndef TILL_TEST_SQL_KIT_H
#define TILL_TEST_SQL_KIT_H

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "io/sql.h"
#include "support/servers.h"

enum { LIMIT_MS = 30000 };

static till_loop_t *loop;
static till_sql_pool_t *pool;

static till_sql_opts_t opts(unsigned connections, unsigned max_waiters)
{
    return (till_sql_opts_t){.socket = till_test_mysql(),
                             .user = "root",
                             .password = "",
                             .database = "till_test",
                             .connections = connections,
                             .max_waiters = max_waiters,
                             .connect_timeout_ms = 10000};
}

static void open_pool(unsigned connections, unsigned max_waiters)
{
    till_sql_opts_t o = opts(connections, max_waiters);

    loop = till_loop_create();
    pool = till_sql_pool_create(loop, &o);
}

static void close_pool(void)
{
    till_sql_pool_destroy(pool);
    till_loop_turn(loop, 0);
    till_loop_turn(loop, 0);
    till_loop_destroy(loop);
}

/* An answer, copied out of the callback. */
typedef struct answer {
    unsigned calls, number; /* the how many-th answer of the test it was */
    till_status_t status;
    unsigned errcode;
    char message[200];
    size_t rows, columns;
    uint64_t affected, insert_id;
    char name[32];
    till_sql_type_t type;
    int64_t integer;
    double real;
    char *bytes;
    size_t len;
} answer_t;

static unsigned answers;

static void on_answer(void *data, till_status_t status, const till_sql_result_t *result)
{
    answer_t *a = data;

    ck_assert_ptr_nonnull(result);
    a->calls++;
    a->number = ++answers;
    a->status = status;
    a->errcode = result->errcode;
    snprintf(a->message, sizeof(a->message), "%s", result->message != NULL ? result->message : "");
    a->rows = result->rows;
    a->columns = result->columns;
    a->affected = result->affected;
    a->insert_id = result->insert_id;
    if (result->rows == 0)
        return;
    snprintf(a->name, sizeof(a->name), "%s", result->names[0]);
    a->type = result->cells[0].type;
    a->integer = result->cells[0].integer;
    a->real = result->cells[0].real;
    if (a->type == TILL_SQL_TEXT || a->type == TILL_SQL_BYTES) {
        a->len = result->cells[0].len;
        a->bytes = till_strndup(result->cells[0].base, a->len);
    }
}

static void forget(answer_t *a)
{
    free(a->bytes);
    memset(a, 0, sizeof(*a));
}

static bool is_answered(void *data) { return ((answer_t *)data)->calls != 0; }

static void wait_for(answer_t *a)
{
    ck_assert(till_test_until(loop, is_answered, a, LIMIT_MS));
    ck_assert_uint_eq(a->calls, 1);
}

static till_slice_t slice(const char *text) { return (till_slice_t){text, strlen(text)}; }

static till_sql_value_t text_of(const char *text)
{
    return (till_sql_value_t){.type = TILL_SQL_TEXT, .base = text, .len = strlen(text)};
}

static till_sql_value_t int_of(int64_t integer) { return (till_sql_value_t){.type = TILL_SQL_INT, .integer = integer}; }

static void query_with(answer_t *a, const char *text, const till_sql_value_t *params, size_t n)
{
    memset(a, 0, sizeof(*a));
    till_sql_query(pool, slice(text), params, n, LIMIT_MS, on_answer, a);
    ck_assert_uint_eq(a->calls, 0); /* never inside the asking call */
    wait_for(a);
}

static void query(answer_t *a, const char *text) { query_with(a, text, NULL, 0); }

static void must(const char *text)
{
    answer_t a;

    query(&a, text);
    ck_assert_msg(a.status == TILL_OK, "%s: %s", text, a.message);
    forget(&a);
}

static int64_t number(const char *text)
{
    answer_t a;
    int64_t integer;

    query(&a, text);
    ck_assert_msg(a.status == TILL_OK, "%s: %s", text, a.message);
    integer = a.integer;
    ck_assert_int_eq(a.type, TILL_SQL_INT);
    forget(&a);
    return integer;
}

/* ---- leases ---- */

typedef struct holder {
    unsigned calls, number;
    till_status_t status;
    till_sql_conn_t *conn;
} holder_t;

static void on_lease(void *data, till_status_t status, till_sql_conn_t *conn)
{
    holder_t *h = data;

    ck_assert((status == TILL_OK) == (conn != NULL));
    h->calls++;
    h->number = ++answers;
    h->status = status;
    h->conn = conn;
}

static bool is_told(void *data) { return ((holder_t *)data)->calls != 0; }

static till_sql_conn_t *lease(void)
{
    holder_t h = {0};

    till_sql_acquire(pool, LIMIT_MS, on_lease, &h);
    ck_assert_uint_eq(h.calls, 0);
    ck_assert(till_test_until(loop, is_told, &h, LIMIT_MS));
    ck_assert_int_eq(h.status, TILL_OK);
    return h.conn;
}

static till_status_t run_on(till_sql_conn_t *conn, const char *text, answer_t *a)
{
    memset(a, 0, sizeof(*a));
    till_sql_run(conn, slice(text), NULL, 0, LIMIT_MS, on_answer, a);
    ck_assert_uint_eq(a->calls, 0);
    wait_for(a);
    free(a->bytes);
    a->bytes = NULL;
    return a->status;
}

static void must_run(till_sql_conn_t *conn, const char *text)
{
    answer_t a;

    ck_assert_msg(run_on(conn, text, &a) == TILL_OK, "%s: %s", text, a.message);
}

static till_sql_stats_t stats(void)
{
    till_sql_stats_t s;

    till_sql_pool_stats(pool, &s);
    return s;
}

static bool is_all_idle(void *data)
{
    (void)data;
    return stats().open != 0 && stats().idle == stats().open;
}

#pragma GCC diagnostic pop

#endif
