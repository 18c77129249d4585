#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fault.h"
#include "io/sql_kit.h"

enum { MANY = 200 };

static till_op_t *start_with(answer_t *a, const char *text, const till_sql_value_t *params, size_t n,
                             uint64_t timeout_ms)
{
    memset(a, 0, sizeof(*a));
    return till_sql_query(pool, slice(text), params, n, timeout_ms, on_answer, a);
}

static till_op_t *start(answer_t *a, const char *text) { return start_with(a, text, NULL, 0, LIMIT_MS); }

static void wait_idle(void) { ck_assert(till_test_until(loop, is_all_idle, NULL, LIMIT_MS)); }

/* ---- waiting ---- */

START_TEST(two_hundred_at_once_get_their_own_answers)
{
    static answer_t a[MANY];

    open_pool(4, MANY);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++) {
            till_sql_value_t value = int_of(round * MANY + i);
            start_with(&a[i], i % 2 == 0 ? "SELECT ? AS v" : "SELECT ? AS v FROM DUAL", &value, 1, LIMIT_MS);
        }
        for (int i = 0; i < MANY; i++) {
            wait_for(&a[i]);
            ck_assert_msg(a[i].status == TILL_OK, "%s", a[i].message);
            ck_assert_int_eq(a[i].integer, round * MANY + i);
        }
    }
    ck_assert_uint_le(stats().open, 4);
    ck_assert_uint_eq(stats().statements, 3 * MANY);
    wait_idle();
    close_pool();
}
END_TEST

START_TEST(waiters_are_served_in_their_order)
{
    static answer_t a[20];
    static holder_t h;
    till_sql_conn_t *conn;

    open_pool(1, 100);
    conn = lease();
    for (int i = 0; i < 10; i++)
        start(&a[i], "SELECT 1");
    till_sql_acquire(pool, LIMIT_MS, on_lease, &h);
    for (int i = 10; i < 20; i++)
        start(&a[i], "SELECT 1");
    ck_assert_uint_eq(stats().waiting, 21);
    till_sql_release(conn);
    ck_assert(till_test_until(loop, is_told, &h, LIMIT_MS));
    for (int i = 0; i < 10; i++)
        ck_assert_uint_lt(a[i].number, h.number);
    ck_assert_uint_eq(a[10].calls, 0);
    till_sql_release(h.conn);
    for (int i = 0; i < 20; i++) {
        wait_for(&a[i]);
        ck_assert(i == 0 || a[i - 1].number < a[i].number);
    }
    close_pool();
}
END_TEST

START_TEST(too_many_waiters_are_refused)
{
    answer_t a, b, c;
    till_sql_conn_t *conn;

    open_pool(1, 2);
    conn = lease();
    start(&a, "SELECT 1");
    start(&b, "SELECT 1");
    start(&c, "SELECT 1");
    ck_assert_uint_eq(c.calls, 0);
    wait_for(&c);
    ck_assert_int_eq(c.status, TILL_OVERLOADED);
    till_sql_release(conn);
    wait_for(&a);
    wait_for(&b);
    ck_assert_int_eq(b.status, TILL_OK);
    close_pool();
}
END_TEST

START_TEST(a_waiter_that_gives_up_never_gets_a_connection)
{
    holder_t h = {0}, late = {0};
    answer_t a;
    till_sql_conn_t *conn;
    till_op_t *op;

    open_pool(1, 10);
    conn = lease();
    op = till_sql_acquire(pool, LIMIT_MS, on_lease, &h);
    till_sql_acquire(pool, 20, on_lease, &late);
    till_op_cancel(op);
    ck_assert_uint_eq(h.calls, 0);
    ck_assert(till_test_until(loop, is_told, &h, LIMIT_MS));
    ck_assert_int_eq(h.status, TILL_CANCELLED);
    ck_assert(till_test_until(loop, is_told, &late, LIMIT_MS));
    ck_assert_int_eq(late.status, TILL_TIMEOUT);
    till_sql_release(conn);
    query(&a, "SELECT 1");
    ck_assert_int_eq(a.status, TILL_OK);
    close_pool();
}
END_TEST

START_TEST(a_waiter_has_a_deadline)
{
    holder_t h = {0};
    till_sql_conn_t *conn;

    open_pool(1, 10);
    conn = lease();
    till_sql_acquire(pool, 30, on_lease, &h);
    ck_assert(till_test_until(loop, is_told, &h, LIMIT_MS));
    ck_assert_int_eq(h.status, TILL_TIMEOUT);
    ck_assert_uint_eq(stats().waiting, 0);
    ck_assert_uint_eq(stats().timeouts, 1);
    till_sql_release(conn);
    close_pool();
}
END_TEST

/* ---- losing ---- */

START_TEST(a_timeout_breaks_the_connection_and_its_answer_is_never_seen)
{
    till_sql_value_t value = int_of(42);
    answer_t a, b;

    open_pool(1, 10);
    ck_assert_int_eq(number("SELECT 1"), 1);
    start_with(&a, "SELECT SLEEP(0.2), 'old'", NULL, 0, 50);
    start_with(&b, "SELECT ? AS v", &value, 1, LIMIT_MS);
    wait_for(&a);
    ck_assert_int_eq(a.status, TILL_TIMEOUT);
    wait_for(&b);
    ck_assert_msg(b.status == TILL_OK, "%s", b.message);
    ck_assert_int_eq(b.integer, 42);
    ck_assert_uint_eq(stats().reconnects, 1);
    for (int i = 0; i < 20; i++) {
        char sql[40];
        snprintf(sql, sizeof(sql), "SELECT %d AS v", i);
        ck_assert_int_eq(number(sql), i);
    }
    close_pool();
}
END_TEST

START_TEST(a_cancel_on_a_lease_breaks_it_for_its_holder_only)
{
    answer_t a = {0}, b;
    till_sql_conn_t *conn;
    till_op_t *op;

    open_pool(1, 10);
    conn = lease();
    op = till_sql_run(conn, slice("SELECT SLEEP(10)"), NULL, 0, LIMIT_MS, on_answer, &a);
    till_loop_turn(loop, 20);
    till_op_cancel(op);
    ck_assert_uint_eq(a.calls, 0);
    wait_for(&a);
    ck_assert_int_eq(a.status, TILL_CANCELLED);
    ck_assert_int_eq(run_on(conn, "SELECT 1", &b), TILL_CONN_LOST);
    till_sql_release(conn);
    ck_assert_int_eq(number("SELECT 5"), 5);
    close_pool();
}
END_TEST

START_TEST(a_release_with_a_statement_in_flight_cancels_it)
{
    answer_t a = {0};
    till_sql_conn_t *conn;

    open_pool(1, 10);
    conn = lease();
    till_sql_run(conn, slice("SELECT SLEEP(10)"), NULL, 0, LIMIT_MS, on_answer, &a);
    till_sql_release(conn);
    ck_assert_uint_eq(a.calls, 0);
    wait_for(&a);
    ck_assert_int_eq(a.status, TILL_CANCELLED);
    ck_assert_int_eq(number("SELECT 6"), 6);
    close_pool();
}
END_TEST

static bool is_sleeping(void *data)
{
    /* asked through the same pool, by its second connection */
    (void)data;
    return number("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT SLEEP(20)%'") == 1;
}

START_TEST(a_connection_killed_in_a_statement_is_lost)
{
    char sql[60];
    answer_t a;
    int64_t id;
    till_sql_conn_t *conn;

    open_pool(2, 10);
    conn = lease();
    run_on(conn, "SELECT CONNECTION_ID()", &a);
    id = a.integer;
    memset(&a, 0, sizeof(a));
    till_sql_run(conn, slice("SELECT SLEEP(20) AS killed"), NULL, 0, LIMIT_MS, on_answer, &a);
    ck_assert(till_test_until(loop, is_sleeping, NULL, LIMIT_MS));
    snprintf(sql, sizeof(sql), "KILL CONNECTION %" PRId64, id);
    must(sql);
    wait_for(&a);
    ck_assert_msg(a.status == TILL_CONN_LOST, "%d %u %s", a.status, a.errcode, a.message);
    ck_assert_uint_eq(a.rows, 0);
    till_sql_release(conn);
    ck_assert_int_eq(number("SELECT 7"), 7);
    close_pool();
}
END_TEST

static bool has_reconnected(void *data) { return stats().reconnects == *(uint64_t *)data; }

START_TEST(a_connection_killed_while_idle_is_replaced_unseen)
{
    uint64_t reconnects = 1;
    char sql[60];
    answer_t a;
    int64_t id;
    till_sql_conn_t *conn, *other;

    open_pool(2, 10);
    conn = lease();
    other = lease();
    run_on(conn, "SELECT CONNECTION_ID()", &a);
    id = a.integer;
    till_sql_release(conn);
    snprintf(sql, sizeof(sql), "KILL CONNECTION %" PRId64, id);
    must_run(other, sql);
    ck_assert(till_test_until(loop, has_reconnected, &reconnects, LIMIT_MS));
    ck_assert_int_ne(number("SELECT CONNECTION_ID()"), id); /* `other` is leased: this is the new one */
    till_sql_release(other);
    close_pool();
}
END_TEST

static bool is_refused(void *data)
{
    answer_t a;

    (void)data;
    query(&a, "SELECT 1");
    return a.status == TILL_CONN_LOST;
}

static bool is_served(void *data)
{
    answer_t a;

    (void)data;
    query(&a, "SELECT 1 AS prepared_before_and_after");
    ck_assert(a.status == TILL_OK || a.status == TILL_CONN_LOST);
    ck_assert(a.status != TILL_OK || a.integer == 1);
    return a.status == TILL_OK;
}

START_TEST(the_pool_recovers_when_the_database_comes_back)
{
    static answer_t a[40];
    till_sql_conn_t *conns[3];

    open_pool(3, 100);
    for (int i = 0; i < 3; i++)
        conns[i] = lease();
    for (int i = 0; i < 3; i++)
        till_sql_release(conns[i]); /* all were open: whichever comes back is one that was lost */
    for (int i = 0; i < 40; i++)
        start(&a[i], "SELECT 1 AS prepared_before_and_after");
    for (int i = 0; i < 40; i++)
        wait_for(&a[i]);
    till_test_mysql_stop();
    ck_assert(till_test_until(loop, is_refused, NULL, LIMIT_MS));
    till_test_mysql_start();
    ck_assert(till_test_until(loop, is_served, NULL, LIMIT_MS));
    ck_assert_uint_ge(stats().reconnects, 1);
    close_pool();
}
END_TEST

START_TEST(without_a_database_statements_fail_and_nothing_hangs)
{
    till_sql_opts_t o = opts(2, 10);
    holder_t h = {0};
    answer_t a;

    o.socket = "/nowhere/at/all";
    loop = till_loop_create();
    pool = till_sql_pool_create(loop, &o);
    start(&a, "SELECT 1");
    ck_assert_uint_eq(a.calls, 0);
    wait_for(&a);
    ck_assert_int_eq(a.status, TILL_CONN_LOST);
    ck_assert_uint_eq(a.errcode, 2002);
    ck_assert_str_ne(a.message, "");
    till_sql_acquire(pool, LIMIT_MS, on_lease, &h);
    ck_assert(till_test_until(loop, is_told, &h, LIMIT_MS));
    ck_assert_int_eq(h.status, TILL_CONN_LOST);
    close_pool();
}
END_TEST

START_TEST(a_server_that_says_nothing_is_given_up)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    till_sql_opts_t o = {.host = "127.0.0.1", .user = "root", .connections = 1, .max_waiters = 9};
    answer_t a;

    ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, len), 0);
    ck_assert_int_eq(listen(listener, 5), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    o.port = ntohs(address.sin_port);
    o.connect_timeout_ms = 100;
    loop = till_loop_create();
    pool = till_sql_pool_create(loop, &o);
    start(&a, "SELECT 1"); /* connects, and never hears a greeting */
    wait_for(&a);
    ck_assert_int_eq(a.status, TILL_CONN_LOST);
    close(listener);
    close_pool();
}
END_TEST

START_TEST(a_port_where_nobody_listens_is_lost)
{
    till_sql_opts_t o = {.host = "127.0.0.1", .port = 1, .user = "root", .connections = 1, .max_waiters = 9};
    answer_t a;

    o.connect_timeout_ms = 10000;
    loop = till_loop_create();
    pool = till_sql_pool_create(loop, &o);
    start(&a, "SELECT 1");
    wait_for(&a);
    ck_assert_int_eq(a.status, TILL_CONN_LOST);
    ck_assert_uint_ne(a.errcode, 0);
    close_pool();
}
END_TEST

START_TEST(a_destroy_with_everything_in_flight_tells_everybody)
{
    static answer_t a[30];
    static holder_t h[3];

    for (unsigned turns = 0; turns < 12; turns++) { /* in each stage of connecting, preparing, executing */
        memset(h, 0, sizeof(h));
        open_pool(3, 100);
        for (int i = 0; i < 30; i++)
            start(&a[i], i == 0 ? "SELECT SLEEP(20)" : "SELECT seq, REPEAT('x', 1000) FROM seq_1_to_1000");
        till_sql_acquire(pool, LIMIT_MS, on_lease, &h[0]);
        for (unsigned turn = 0; turn < turns; turn++)
            till_loop_turn(loop, 5);
        if (h[0].conn != NULL)
            till_sql_release(h[0].conn);
        till_sql_acquire(pool, LIMIT_MS, on_lease, &h[1]);
        till_sql_pool_destroy(pool);
        ck_assert(till_test_until(loop, is_told, &h[1], LIMIT_MS));
        till_loop_turn(loop, 0);
        ck_assert_int_eq(h[1].status, TILL_CANCELLED);
        for (int i = 0; i < 30; i++) {
            ck_assert_uint_eq(a[i].calls, 1);
            ck_assert(a[i].status == TILL_OK || a[i].status == TILL_CANCELLED);
            forget(&a[i]);
        }
        till_loop_turn(loop, 0);
        till_loop_destroy(loop);
    }
}
END_TEST

START_TEST(a_pool_that_goes_between_grant_and_callback_gives_nothing)
{
    holder_t h = {0};

    open_pool(1, 10);
    ck_assert_int_eq(number("SELECT 1"), 1);
    till_sql_acquire(pool, LIMIT_MS, on_lease, &h); /* idle: granted at once, told later */
    till_sql_pool_destroy(pool);
    ck_assert(till_test_until(loop, is_told, &h, LIMIT_MS));
    ck_assert_int_eq(h.status, TILL_CANCELLED);
    ck_assert_ptr_null(h.conn);
    till_loop_turn(loop, 0);
    till_loop_destroy(loop);
}
END_TEST

static void arm(const char *faults)
{
    setenv("TILL_FAULTS", faults, 1);
    ck_assert_ptr_null(till_fault_arm_from_env());
}

static bool has_row(void *data)
{
    (void)data;
    return number("SELECT COUNT(*) FROM faulty") == 1;
}

START_TEST(named_faults_happen_where_they_say)
{
    answer_t a;

    open_pool(1, 10);
    must("DROP TABLE IF EXISTS faulty");
    must("CREATE TABLE faulty (v INT)");
    arm("sql.lost_before_send=1");
    query(&a, "INSERT INTO faulty VALUES (1)");
    ck_assert_int_eq(a.status, TILL_CONN_LOST);
    ck_assert_int_eq(number("SELECT COUNT(*) FROM faulty"), 0);
    arm("sql.deadlock=1");
    query(&a, "INSERT INTO faulty VALUES (1)");
    ck_assert_int_eq(a.status, TILL_DEADLOCK);
    arm("sql.slow=1");
    start_with(&a, "SELECT COUNT(*) FROM faulty", NULL, 0, 200);
    wait_for(&a);
    ck_assert_int_eq(a.status, TILL_TIMEOUT);
    ck_assert_int_eq(number("SELECT COUNT(*) FROM faulty"), 0);
    arm("sql.lost_after_send=1");
    query(&a, "INSERT INTO faulty VALUES (1)");
    ck_assert_int_eq(a.status, TILL_CONN_LOST);
    ck_assert(till_test_until(loop, has_row, NULL, LIMIT_MS)); /* it was done all the same */
    close_pool();
}
END_TEST

Suite *sql_pool_suite(void)
{
    Suite *suite = suite_create("sql_pool");
    TCase *tc = tcase_create("pool");

    tcase_set_timeout(tc, 150);
    tcase_add_test(tc, two_hundred_at_once_get_their_own_answers);
    tcase_add_test(tc, waiters_are_served_in_their_order);
    tcase_add_test(tc, too_many_waiters_are_refused);
    tcase_add_test(tc, a_waiter_that_gives_up_never_gets_a_connection);
    tcase_add_test(tc, a_waiter_has_a_deadline);
    tcase_add_test(tc, a_timeout_breaks_the_connection_and_its_answer_is_never_seen);
    tcase_add_test(tc, a_cancel_on_a_lease_breaks_it_for_its_holder_only);
    tcase_add_test(tc, a_release_with_a_statement_in_flight_cancels_it);
    tcase_add_test(tc, a_connection_killed_in_a_statement_is_lost);
    tcase_add_test(tc, a_connection_killed_while_idle_is_replaced_unseen);
    tcase_add_test(tc, the_pool_recovers_when_the_database_comes_back);
    tcase_add_test(tc, without_a_database_statements_fail_and_nothing_hangs);
    tcase_add_test(tc, a_server_that_says_nothing_is_given_up);
    tcase_add_test(tc, a_port_where_nobody_listens_is_lost);
    tcase_add_test(tc, a_destroy_with_everything_in_flight_tells_everybody);
    tcase_add_test(tc, a_pool_that_goes_between_grant_and_callback_gives_nothing);
    tcase_add_test(tc, named_faults_happen_where_they_say);
    suite_add_tcase(suite, tc);
    return suite;
}
