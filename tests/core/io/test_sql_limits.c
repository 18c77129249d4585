/* test_sql_limits.c - what bounds the queue and the statements; see core/io/sql.h */
#include <inttypes.h>
#include "io/sql_kit.h"

static void open_with(unsigned connections, uint64_t queue_ms, uint64_t statement_ms, bool kill)
{
    till_sql_opts_t o = opts(connections, 100);

    o.queue_timeout_ms = queue_ms;
    o.statement_ms = statement_ms;
    o.kill = kill;
    loop = till_loop_create();
    pool = till_sql_pool_create(loop, &o);
}

/* ---- the queue ---- */

START_TEST(what_is_new_is_refused_when_it_waits_too_long)
{
    answer_t begun = {0}, fresh = {0};
    holder_t lease_of_new = {0};
    till_sql_conn_t *conn;

    open_with(1, 30, 0, false);
    conn = lease();
    till_sql_query(pool, slice("SELECT 1"), NULL, 0, LIMIT_MS, on_answer, &begun);
    till_sql_op_is_new(till_sql_query(pool, slice("SELECT 2"), NULL, 0, LIMIT_MS, on_answer, &fresh));
    till_sql_op_is_new(till_sql_acquire(pool, LIMIT_MS, on_lease, &lease_of_new));
    wait_for(&fresh);
    ck_assert_int_eq(fresh.status, TILL_OVERLOADED);
    ck_assert(till_test_until(loop, is_told, &lease_of_new, LIMIT_MS));
    ck_assert_int_eq(lease_of_new.status, TILL_OVERLOADED);
    ck_assert_uint_eq(stats().refused_late, 2);
    ck_assert_uint_eq(begun.calls, 0); /* it waits on */
    till_sql_release(conn);
    wait_for(&begun);
    ck_assert_int_eq(begun.status, TILL_OK);
    close_pool();
}
END_TEST

START_TEST(what_is_new_and_finds_a_connection_is_served)
{
    answer_t a = {0};

    open_with(1, 1, 0, false);
    ck_assert_int_eq(number("SELECT 1"), 1);
    till_sql_op_is_new(till_sql_query(pool, slice("SELECT SLEEP(0.05)"), NULL, 0, LIMIT_MS, on_answer, &a));
    wait_for(&a);
    ck_assert_int_eq(a.status, TILL_OK);
    close_pool();
}
END_TEST

static bool has_aged(void *data)
{
    answer_t *a = data;

    return till_sql_pool_delay(pool) >= 40 && a->calls == 0;
}

static uint64_t count_waits(void)
{
    till_sql_stats_t now = stats();
    uint64_t sum = 0;

    for (int i = 0; i <= TILL_HIST_BUCKETS; i++)
        sum += now.waits.counts[i];
    return sum;
}

START_TEST(the_delay_is_the_shortest_wait_or_the_age_of_the_oldest)
{
    answer_t a = {0};
    uint64_t waits;
    till_sql_conn_t *conn;

    open_with(1, 0, 0, false);
    ck_assert_uint_eq(till_sql_pool_delay(pool), 0); /* nobody asked */
    conn = lease();
    till_sql_pool_delay(pool);
    waits = count_waits(); /* the first waited until it was connected */
    till_sql_op_is_new(till_sql_query(pool, slice("SELECT 1"), NULL, 0, LIMIT_MS, on_answer, &a));
    ck_assert(till_test_until(loop, has_aged, &a, LIMIT_MS));
    till_sql_release(conn);
    wait_for(&a);
    ck_assert_uint_eq(count_waits(), waits + 1);
    ck_assert(stats().waits.sum >= 0.04);
    ck_assert_uint_ge(till_sql_pool_delay(pool), 40);
    ck_assert_int_eq(number("SELECT 1"), 1); /* at once */
    ck_assert_uint_eq(till_sql_pool_delay(pool), 0);
    close_pool();
}
END_TEST

START_TEST(a_full_queue_is_counted)
{
    till_sql_opts_t o = opts(1, 0);
    answer_t a = {0};
    till_sql_conn_t *conn;

    o.max_waiters = 1;
    loop = till_loop_create();
    pool = till_sql_pool_create(loop, &o);
    conn = lease();
    till_sql_query(pool, slice("SELECT 1"), NULL, 0, LIMIT_MS, on_answer, &a);
    answer_t b = {0};
    till_sql_query(pool, slice("SELECT 1"), NULL, 0, LIMIT_MS, on_answer, &b);
    wait_for(&b);
    ck_assert_int_eq(b.status, TILL_OVERLOADED);
    ck_assert_uint_eq(stats().refused_full, 1);
    till_sql_release(conn);
    wait_for(&a);
    close_pool();
}
END_TEST

/* ---- statements ---- */

static int64_t count_running(const char *mark)
{
    char sql[200];

    snprintf(sql, sizeof(sql),
             "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE '%%%s%%' AND ID <> "
             "CONNECTION_ID()",
             mark);
    return number(sql);
}

static bool is_running(void *mark) { return count_running(mark) == 1; }

static bool is_gone(void *mark) { return count_running(mark) == 0; }

/* _i: on a lease, alone */
START_TEST(what_nobody_waits_for_is_ended_in_the_server)
{
    char mark[] = "abandoned";
    answer_t a = {0};
    till_sql_conn_t *conn = NULL;
    till_op_t *op;

    open_with(2, 0, 0, true);
    if (_i == 0) {
        conn = lease();
        must_run(conn, "START TRANSACTION");
        op = till_sql_run(conn, slice("SELECT SLEEP(20) AS abandoned"), NULL, 0, LIMIT_MS, on_answer, &a);
    } else {
        op = till_sql_query(pool, slice("SELECT SLEEP(20) AS abandoned"), NULL, 0, LIMIT_MS, on_answer, &a);
    }
    ck_assert(till_test_until(loop, is_running, mark, LIMIT_MS));
    till_op_cancel(op);
    wait_for(&a);
    ck_assert_int_eq(a.status, TILL_CANCELLED);
    ck_assert(till_test_until(loop, is_gone, mark, 10000));
    ck_assert_uint_eq(stats().kills, 1);
    if (conn != NULL)
        till_sql_release(conn);
    close_pool();
}
END_TEST

/* The only connection is wanted by three for a second each; it is seen from another pool that the KILL came first. */
START_TEST(the_killer_goes_before_those_who_wait)
{
    char mark[] = "abandoned";
    answer_t slow = {0}, next[3] = {0};
    till_sql_pool_t *one, *other;
    till_sql_opts_t o = opts(1, 100);

    open_with(1, 0, 0, true);
    ck_assert_int_eq(number("SELECT 1"), 1);
    one = pool;
    other = till_sql_pool_create(loop, &o);
    till_sql_query(one, slice("SELECT SLEEP(20) AS abandoned"), NULL, 0, 50, on_answer, &slow);
    for (int i = 0; i < 3; i++)
        till_sql_query(one, slice("SELECT SLEEP(1)"), NULL, 0, LIMIT_MS, on_answer, &next[i]);
    wait_for(&slow);
    ck_assert_int_eq(slow.status, TILL_TIMEOUT);
    pool = other;
    ck_assert(till_test_until(loop, is_gone, mark, LIMIT_MS));
    ck_assert_uint_eq(next[2].calls, 0);
    for (int i = 0; i < 3; i++) {
        wait_for(&next[i]);
        ck_assert_int_eq(next[i].status, TILL_OK);
    }
    till_sql_pool_destroy(other);
    pool = one;
    close_pool();
}
END_TEST

START_TEST(who_goes_on_comes_before_who_begins)
{
    answer_t fresh = {0}, begun = {0};
    till_sql_conn_t *conn;

    open_with(1, 10000, 0, false);
    conn = lease();
    till_sql_op_is_new(till_sql_query(pool, slice("SELECT 1"), NULL, 0, LIMIT_MS, on_answer, &fresh));
    till_sql_query(pool, slice("SELECT 2"), NULL, 0, LIMIT_MS, on_answer, &begun);
    ck_assert_uint_eq(stats().waiting, 2);
    till_sql_release(conn);
    wait_for(&fresh);
    wait_for(&begun);
    ck_assert_uint_lt(begun.number, fresh.number);
    close_pool();
}
END_TEST

/* Without a KILL: the server's own limit, which leaves the connection as it was. */
START_TEST(the_server_ends_a_statement_after_its_time)
{
    answer_t a;
    till_sql_conn_t *conn;

    open_with(1, 0, 200, false);
    conn = lease();
    must_run(conn, "START TRANSACTION");
    ck_assert_int_eq(
        run_on(conn, "SELECT COUNT(*) FROM information_schema.COLUMNS a, information_schema.COLUMNS b", &a),
        TILL_TIMEOUT);
    ck_assert_uint_eq(a.errcode, 1969);
    ck_assert_uint_eq(stats().timeouts, 1);
    must_run(conn, "SELECT 1"); /* the same connection, in the same transaction */
    ck_assert_uint_eq(stats().reconnects, 0);
    till_sql_release(conn);
    close_pool();
}
END_TEST

/* What a step of the server's clock does to all that runs; _i: on a lease, alone. */
START_TEST(a_statement_ended_before_its_time_is_undone_as_by_a_deadlock)
{
    const char *sql = "SET STATEMENT max_statement_time = 0.01 FOR SELECT SLEEP(20)";
    answer_t a = {0};
    till_sql_conn_t *conn;

    open_with(1, 0, 10000, false);
    if (_i == 0) {
        conn = lease();
        must_run(conn, "START TRANSACTION");
        ck_assert_int_eq(run_on(conn, sql, &a), TILL_DEADLOCK);
        till_sql_release(conn);
    } else {
        till_sql_query(pool, slice(sql), NULL, 0, LIMIT_MS, on_answer, &a);
        wait_for(&a);
        ck_assert_int_eq(a.status, TILL_DEADLOCK);
    }
    ck_assert_uint_eq(a.errcode, 1969);
    ck_assert_uint_eq(stats().timeouts, 0);
    ck_assert_int_eq(number("SELECT @@in_transaction"), 0);
    ck_assert_uint_eq(stats().reconnects, 0);
    close_pool();
}
END_TEST

/* Commits wait here behind BACKUP STAGE, for longer than a statement may take. */
START_TEST(a_commit_has_no_limit_in_the_server)
{
    answer_t a = {0};
    till_sql_conn_t *conn, *backup;

    open_with(3, 0, 300, true);
    must("CREATE OR REPLACE TABLE limits (n INT) ENGINE=InnoDB");
    conn = lease();
    backup = lease();
    must_run(conn, "START TRANSACTION");
    must_run(conn, "INSERT INTO limits VALUES (1)");
    must_run(backup, "BACKUP STAGE START");
    must_run(backup, "BACKUP STAGE BLOCK_COMMIT");
    till_sql_run(conn, slice(TILL_SQL_COMMIT), NULL, 0, LIMIT_MS, on_answer, &a);
    must("SELECT SLEEP(0.2)"); /* each below the limit, together above it */
    must("SELECT SLEEP(0.2)");
    must("SELECT SLEEP(0.2)");
    ck_assert_uint_eq(a.calls, 0);
    must_run(backup, "BACKUP STAGE END");
    wait_for(&a);
    ck_assert_msg(a.status == TILL_OK, "%s", a.message);
    till_sql_release(conn);
    till_sql_release(backup);
    ck_assert_int_eq(number("SELECT COUNT(*) FROM limits"), 1);
    close_pool();
}
END_TEST

static bool is_committed(void *data)
{
    (void)data;
    return number("SELECT COUNT(*) FROM limits") == 1;
}

/* Given up here it may happen all the same: unknown. */
START_TEST(a_commit_that_is_given_up_is_not_killed)
{
    answer_t a = {0};
    till_sql_conn_t *conn, *backup;

    open_with(3, 0, 5000, true);
    must("CREATE OR REPLACE TABLE limits (n INT) ENGINE=InnoDB");
    conn = lease();
    backup = lease();
    must_run(conn, "START TRANSACTION");
    must_run(conn, "INSERT INTO limits VALUES (1)");
    must_run(backup, "BACKUP STAGE START");
    must_run(backup, "BACKUP STAGE BLOCK_COMMIT");
    till_sql_run(conn, slice(TILL_SQL_COMMIT), NULL, 0, 100, on_answer, &a);
    wait_for(&a);
    ck_assert_int_eq(a.status, TILL_TIMEOUT);
    ck_assert_uint_eq(stats().kills, 0);
    till_sql_release(conn);
    must_run(backup, "BACKUP STAGE END");
    ck_assert(till_test_until(loop, is_committed, NULL, LIMIT_MS));
    till_sql_release(backup);
    close_pool();
}
END_TEST

Suite *sql_limits_suite(void)
{
    Suite *suite = suite_create("sql_limits");
    TCase *tc = tcase_create("limits");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, what_is_new_is_refused_when_it_waits_too_long);
    tcase_add_test(tc, what_is_new_and_finds_a_connection_is_served);
    tcase_add_test(tc, who_goes_on_comes_before_who_begins);
    tcase_add_test(tc, the_delay_is_the_shortest_wait_or_the_age_of_the_oldest);
    tcase_add_test(tc, a_full_queue_is_counted);
    tcase_add_loop_test(tc, what_nobody_waits_for_is_ended_in_the_server, 0, 2);
    tcase_add_test(tc, the_killer_goes_before_those_who_wait);
    tcase_add_test(tc, the_server_ends_a_statement_after_its_time);
    tcase_add_loop_test(tc, a_statement_ended_before_its_time_is_undone_as_by_a_deadlock, 0, 2);
    tcase_add_test(tc, a_commit_has_no_limit_in_the_server);
    tcase_add_test(tc, a_commit_that_is_given_up_is_not_killed);
    suite_add_tcase(suite, tc);
    return suite;
}
