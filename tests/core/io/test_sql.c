#include "io/sql_kit.h"

/* ---- values ---- */

START_TEST(each_type_comes_as_the_header_says)
{
    static const struct {
        const char *expression;
        till_sql_type_t type;
        const char *text;
        int64_t integer;
    } rows[] = {
        {"NULL", TILL_SQL_NULL, NULL, 0},
        {"CAST(-5 AS SIGNED)", TILL_SQL_INT, NULL, -5},
        {"9223372036854775807", TILL_SQL_INT, NULL, INT64_MAX},
        {"CAST(-9223372036854775808 AS SIGNED)", TILL_SQL_INT, NULL, INT64_MIN},
        {"CAST(9223372036854775807 AS UNSIGNED)", TILL_SQL_INT, NULL, INT64_MAX},
        {"CAST(18446744073709551615 AS UNSIGNED)", TILL_SQL_TEXT, "18446744073709551615", 0},
        {"CAST(12.50 AS DECIMAL(10,2))", TILL_SQL_TEXT, "12.50", 0},
        {"CAST('2024-02-29' AS DATE)", TILL_SQL_TEXT, "2024-02-29", 0},
        {"CAST('2024-02-29 12:34:56.789' AS DATETIME(3))", TILL_SQL_TEXT, "2024-02-29T12:34:56.789Z", 0},
        {"CAST('2024-02-29 12:34:56' AS DATETIME)", TILL_SQL_TEXT, "2024-02-29T12:34:56.000Z", 0},
        {"CAST('-26:03:04' AS TIME)", TILL_SQL_TEXT, "-26:03:04", 0},
        {"CAST('01:02:03.25' AS TIME(6))", TILL_SQL_TEXT, "01:02:03.250000", 0},
        {"''", TILL_SQL_TEXT, "", 0},
        {"'\xf0\x9f\x8d\x8f caf\xc3\xa9'", TILL_SQL_TEXT, "\xf0\x9f\x8d\x8f caf\xc3\xa9", 0},
        {"CAST('' AS BINARY)", TILL_SQL_BYTES, "", 0},
        {"x'ff41'", TILL_SQL_BYTES, "\xff\x41", 0},
        {"JSON_OBJECT('a', 1)", TILL_SQL_TEXT, "{\"a\": 1}", 0},
    };

    open_pool(1, 10);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (int text_protocol = 0; text_protocol < 2; text_protocol++) {
            char sql[200];
            answer_t a;
            /* A block without parameters goes as text: both protocols decode alike. */
            snprintf(sql, sizeof(sql), text_protocol ? "BEGIN NOT ATOMIC SELECT %s AS v; END" : "SELECT %s AS v",
                     rows[i].expression);
            query(&a, sql);
            ck_assert_msg(a.status == TILL_OK, "%s: %s", sql, a.message);
            ck_assert_uint_eq(a.rows, 1);
            ck_assert_str_eq(a.name, "v");
            ck_assert_msg(a.type == rows[i].type, "%s: type %d", sql, a.type);
            ck_assert_int_eq(a.integer, rows[i].integer);
            if (rows[i].text != NULL) {
                ck_assert_uint_eq(a.len, strlen(rows[i].text));
                ck_assert_str_eq(a.bytes, rows[i].text);
            }
            forget(&a);
        }
    close_pool();
}
END_TEST

START_TEST(each_column_type_of_a_table_round_trips)
{
    static const struct {
        const char *column;
        till_sql_value_t in;
        till_sql_type_t type;
        const char *text;
    } rows[] = {
        {"TINYINT", {.type = TILL_SQL_INT, .integer = -128}, TILL_SQL_INT, NULL},
        {"SMALLINT UNSIGNED", {.type = TILL_SQL_INT, .integer = 65535}, TILL_SQL_INT, NULL},
        {"MEDIUMINT", {.type = TILL_SQL_INT, .integer = -8388608}, TILL_SQL_INT, NULL},
        {"INT UNSIGNED", {.type = TILL_SQL_INT, .integer = 4294967295}, TILL_SQL_INT, NULL},
        {"BIGINT", {.type = TILL_SQL_INT, .integer = INT64_MIN}, TILL_SQL_INT, NULL},
        {"BOOLEAN", {.type = TILL_SQL_INT, .integer = 1}, TILL_SQL_INT, NULL},
        {"YEAR", {.type = TILL_SQL_INT, .integer = 2024}, TILL_SQL_INT, NULL},
        {"DOUBLE", {.type = TILL_SQL_DOUBLE, .real = 0.1}, TILL_SQL_DOUBLE, NULL},
        {"FLOAT", {.type = TILL_SQL_DOUBLE, .real = 0.25}, TILL_SQL_DOUBLE, NULL},
        {"DECIMAL(20,4)", {.type = TILL_SQL_TEXT, .base = "-1234567890.1234", .len = 16}, TILL_SQL_TEXT, NULL},
        {"TIMESTAMP(3) NULL",
         {.type = TILL_SQL_TEXT, .base = "2024-02-29 12:34:56.789", .len = 23},
         TILL_SQL_TEXT,
         "2024-02-29T12:34:56.789Z"},
        {"ENUM('a','b')", {.type = TILL_SQL_TEXT, .base = "b", .len = 1}, TILL_SQL_TEXT, NULL},
        {"SET('a','b')", {.type = TILL_SQL_TEXT, .base = "a,b", .len = 3}, TILL_SQL_TEXT, NULL},
        {"BIT(12)", {.type = TILL_SQL_INT, .integer = 2748}, TILL_SQL_TEXT, "2748"},
        {"JSON", {.type = TILL_SQL_TEXT, .base = "[1, 2]", .len = 6}, TILL_SQL_TEXT, NULL},
        {"VARCHAR(20)", {.type = TILL_SQL_TEXT, .base = "", .len = 0}, TILL_SQL_TEXT, NULL},
        {"CHAR(4)", {.type = TILL_SQL_TEXT, .base = "\xf0\x9f\x8d\x8f", .len = 4}, TILL_SQL_TEXT, NULL},
        {"BINARY(4)", {.type = TILL_SQL_BYTES, .base = "\0\1\377\2", .len = 4}, TILL_SQL_BYTES, NULL},
        {"BLOB", {.type = TILL_SQL_BYTES, .base = "", .len = 0}, TILL_SQL_BYTES, NULL},
        {"INT", {.type = TILL_SQL_NULL}, TILL_SQL_NULL, NULL},
    };

    open_pool(1, 10);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char sql[200];
        answer_t a;
        must("DROP TABLE IF EXISTS types");
        snprintf(sql, sizeof(sql), "CREATE TABLE types (v %s)", rows[i].column);
        must(sql);
        query_with(&a, "INSERT INTO types VALUES (?)", &rows[i].in, 1);
        ck_assert_msg(a.status == TILL_OK, "%s: %s", rows[i].column, a.message);
        ck_assert_uint_eq(a.affected, 1);
        query(&a, "SELECT v FROM types");
        ck_assert_msg(a.type == rows[i].type, "%s: type %d", rows[i].column, a.type);
        if (a.type == TILL_SQL_INT)
            ck_assert_int_eq(a.integer, rows[i].in.integer);
        else if (a.type == TILL_SQL_DOUBLE)
            ck_assert_double_eq(a.real, rows[i].in.real);
        else if (rows[i].text != NULL)
            ck_assert_str_eq(a.bytes, rows[i].text);
        else if (a.type != TILL_SQL_NULL) {
            ck_assert_uint_eq(a.len, rows[i].in.len);
            ck_assert_mem_eq(a.bytes, rows[i].in.base, a.len);
        }
        forget(&a);
    }
    close_pool();
}
END_TEST

START_TEST(long_values_are_whole)
{
    static const size_t sizes[] = {250, 251, 65535, 65536, 70000, 20 * 1024 * 1024};

    open_pool(1, 10);
    must("DROP TABLE IF EXISTS longs");
    must("CREATE TABLE longs (v LONGBLOB)");
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char *bytes = till_alloc(sizes[i]);
        till_sql_value_t value = {.type = TILL_SQL_BYTES, .base = bytes, .len = sizes[i]};
        answer_t a;
        for (size_t at = 0; at < sizes[i]; at++)
            bytes[at] = (char)(at * 31 + at / 251);
        must("DELETE FROM longs");
        query_with(&a, "INSERT INTO longs VALUES (?)", &value, 1);
        ck_assert_msg(a.status == TILL_OK, "%s", a.message);
        query(&a, "SELECT v FROM longs");
        ck_assert_uint_eq(a.len, sizes[i]);
        ck_assert_int_eq(memcmp(a.bytes, bytes, sizes[i]), 0);
        forget(&a);
        free(bytes);
    }
    close_pool();
}
END_TEST

static size_t seen_rows;

static void on_rows(void *data, till_status_t status, const till_sql_result_t *result)
{
    ck_assert_int_eq(status, TILL_OK);
    ck_assert_uint_eq(result->columns, 3);
    for (size_t row = 0; row < result->rows; row++) {
        const till_sql_value_t *cells = &result->cells[row * 3];
        char text[40];
        snprintf(text, sizeof(text), "row %" PRId64, cells[0].integer);
        ck_assert_int_eq(cells[0].integer, (int64_t)row + 1);
        ck_assert_str_eq(cells[1].base, text);
        ck_assert_int_eq(cells[2].type, row % 2 == 0 ? TILL_SQL_NULL : TILL_SQL_INT);
    }
    seen_rows = result->rows;
    ((answer_t *)data)->calls++;
}

START_TEST(many_rows_keep_their_order_and_nulls)
{
    answer_t a = {0};

    open_pool(1, 10);
    till_sql_query(pool, slice("SELECT seq, CONCAT('row ', seq), IF(seq % 2 = 1, NULL, seq) FROM seq_1_to_20000"), NULL,
                   0, LIMIT_MS, on_rows, &a);
    wait_for(&a);
    ck_assert_uint_eq(seen_rows, 20000);
    close_pool();
}
END_TEST

START_TEST(the_session_is_utc_strict_and_read_committed)
{
    answer_t a;

    open_pool(1, 10);
    query(&a, "SELECT CONCAT(@@time_zone, ' ', @@tx_isolation, ' ', @@character_set_client, ' ', "
              "LOCATE('STRICT_ALL_TABLES', @@sql_mode) > 0)");
    ck_assert_str_eq(a.bytes, "+00:00 READ-COMMITTED utf8mb4 1");
    forget(&a);
    close_pool();
}
END_TEST

/* ---- refusals ---- */

START_TEST(refusals_say_why_and_keep_the_connection)
{
    till_sql_value_t one = int_of(1);
    answer_t a;

    open_pool(1, 10);
    must("DROP TABLE IF EXISTS uniq");
    must("CREATE TABLE uniq (id INT PRIMARY KEY AUTO_INCREMENT, v INT UNIQUE)");
    query_with(&a, "INSERT INTO uniq (v) VALUES (?)", &one, 1);
    ck_assert_uint_eq(a.insert_id, 1);
    query_with(&a, "INSERT INTO uniq (v) VALUES (?)", &one, 1);
    ck_assert_int_eq(a.status, TILL_DUPLICATE);
    ck_assert_uint_eq(a.errcode, 1062);
    query(&a, "SELEKT 1");
    ck_assert_int_eq(a.status, TILL_REJECTED);
    ck_assert_uint_eq(a.errcode, 1064);
    ck_assert_str_ne(a.message, "");
    query(&a, "INSERT INTO uniq (v) VALUES (?)");
    ck_assert_int_eq(a.status, TILL_REJECTED);
    query(&a, "DROP TABLE nowhere");
    ck_assert_uint_eq(a.errcode, 1051);
    query(&a, "UPDATE uniq SET v = v");
    ck_assert_uint_eq(a.affected, 0); /* changed, not found */
    ck_assert_int_eq(number("SELECT COUNT(*) FROM uniq"), 1);
    ck_assert_uint_eq(stats().open, 1);
    ck_assert_uint_eq(stats().reconnects, 0);
    close_pool();
}
END_TEST

static void assert_told(unsigned errcode, till_status_t expected)
{
    char text[160];
    answer_t a;

    snprintf(text, sizeof(text), "BEGIN NOT ATOMIC SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = %u; END", errcode);
    query(&a, text);
    ck_assert_uint_eq(a.errcode, errcode);
    ck_assert_msg(a.status == expected, "%u is %s", errcode, till_status_code(a.status));
}

/* By their numbers: to fill the tests' disk would end other tests as well. */
START_TEST(what_cannot_be_written_for_want_of_room_is_unavailable)
{
    static const unsigned codes[] = {3, 20, 1021, 1026, 1030, 1114, 1878};

    open_pool(1, 10);
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        assert_told(codes[i], TILL_UNAVAILABLE);
    assert_told(1615, TILL_DEADLOCK);         /* a table was changed under it: it may be asked again */
    ck_assert_uint_eq(stats().reconnects, 0); /* and the connection is good */
    close_pool();
}
END_TEST

START_TEST(an_error_among_the_rows_leaves_the_statement_usable)
{
    static const char text[] = "SELECT seq, (SELECT s2.seq FROM seq_1_to_3 s2 WHERE s1.seq < 3 OR s2.seq = 1) AS v "
                               "FROM seq_1_to_5 s1 WHERE s1.seq >= ?";
    till_sql_value_t bad = int_of(1), good = int_of(3);
    answer_t a;

    open_pool(1, 10);
    for (int round = 0; round < 3; round++) {
        query_with(&a, text, &bad, 1);
        ck_assert_int_eq(a.status, TILL_REJECTED);
        ck_assert_uint_eq(a.errcode, 1242);
        ck_assert_uint_eq(a.rows, 0);
        query_with(&a, text, &good, 1);
        ck_assert_msg(a.status == TILL_OK, "%s", a.message);
        ck_assert_uint_eq(a.rows, 3);
    }
    ck_assert_uint_eq(stats().reconnects, 0);
    close_pool();
}
END_TEST

START_TEST(a_procedure_gives_its_first_rows_and_all_changes)
{
    till_sql_value_t p = int_of(7);
    answer_t a;

    open_pool(1, 10);
    must("DROP PROCEDURE IF EXISTS proc");
    must("DROP TABLE IF EXISTS changed");
    must("CREATE TABLE changed (v INT)");
    must("CREATE PROCEDURE proc(n INT) BEGIN INSERT INTO changed VALUES (n); SELECT n * 2 AS twice; SELECT 'x', 'y'; "
         "UPDATE changed SET v = v + 1; END");
    for (int round = 1; round <= 3; round++) {
        query_with(&a, "CALL proc(?)", &p, 1);
        ck_assert_msg(a.status == TILL_OK, "%s", a.message);
        ck_assert_uint_eq(a.rows, 1);
        ck_assert_uint_eq(a.columns, 1);
        ck_assert_str_eq(a.name, "twice");
        ck_assert_int_eq(a.integer, 14);
    }
    ck_assert_int_eq(number("SELECT COUNT(*) FROM changed"), 3);
    close_pool();
}
END_TEST

START_TEST(a_changed_table_is_read_with_its_new_columns)
{
    answer_t a;

    open_pool(1, 10);
    must("DROP TABLE IF EXISTS altered");
    must("CREATE TABLE altered (a INT)");
    must("INSERT INTO altered VALUES (1)");
    query(&a, "SELECT * FROM altered");
    ck_assert_uint_eq(a.columns, 1);
    must("ALTER TABLE altered ADD COLUMN b VARCHAR(9) DEFAULT 'new'");
    query(&a, "SELECT * FROM altered");
    if (a.status == TILL_CONN_LOST) /* the library cannot follow: a fresh connection can */
        query(&a, "SELECT * FROM altered");
    ck_assert_int_eq(a.status, TILL_OK);
    ck_assert_uint_eq(a.columns, 2);
    must("ALTER TABLE altered MODIFY COLUMN a VARCHAR(9)");
    query(&a, "SELECT * FROM altered");
    ck_assert_int_eq(a.type, TILL_SQL_TEXT);
    ck_assert_str_eq(a.bytes, "1");
    forget(&a);
    close_pool();
}
END_TEST

START_TEST(more_statements_than_the_cache_keeps_all_work)
{
    open_pool(1, 10);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 300; i++) {
            char sql[64];
            snprintf(sql, sizeof(sql), "SELECT %d AS v", i);
            ck_assert_int_eq(number(sql), i);
        }
    /* prepared ones that were pushed out are closed on the server as well */
    ck_assert_int_lt(number("SELECT CAST(VARIABLE_VALUE AS SIGNED) FROM information_schema.GLOBAL_STATUS "
                            "WHERE VARIABLE_NAME = 'Prepared_stmt_count'"),
                     300); /* other tests' connections may still have a few */
    close_pool();
}
END_TEST

/* The server's limit is everybody's: whoever has some gives up half of them, and goes on. */
START_TEST(a_server_that_takes_no_more_statements_is_given_room)
{
    till_sql_value_t n = {.type = TILL_SQL_INT, .integer = 1};
    answer_t a;

    open_pool(1, 10);
    for (int i = 0; i < 20; i++) {
        char sql[64];
        snprintf(sql, sizeof(sql), "SELECT %d AS v", i);
        ck_assert_int_eq(number(sql), i);
    }
    must("SET GLOBAL max_prepared_stmt_count = 1");
    for (int i = 20; i < 60; i++) {
        char sql[64];
        snprintf(sql, sizeof(sql), "SELECT ? + %d AS v", i);
        query_with(&a, sql, &n, 1);
        ck_assert_int_eq(a.status, TILL_OK);
        ck_assert_int_eq(a.integer, i + 1);
        forget(&a);
    }
    must("SET GLOBAL max_prepared_stmt_count = 0");
    query_with(&a, "SELECT ? AS one_more", &n, 1);
    ck_assert_int_eq(a.status, TILL_UNAVAILABLE);
    must("SET GLOBAL max_prepared_stmt_count = 16382");
    query_with(&a, "SELECT ? AS one_more", &n, 1);
    ck_assert_int_eq(a.status, TILL_OK);
    forget(&a);
    close_pool();
}
END_TEST

START_TEST(values_never_become_sql)
{
    till_sql_value_t evil = text_of("'; DROP TABLE uniq; -- ");
    answer_t a;

    open_pool(1, 10);
    query_with(&a, "SELECT ? AS v", &evil, 1);
    ck_assert_str_eq(a.bytes, "'; DROP TABLE uniq; -- ");
    forget(&a);
    query(&a, "SELECT 1; SELECT 2");
    ck_assert_int_eq(a.status, TILL_REJECTED);
    close_pool();
}
END_TEST

/* ---- transactions ---- */

/* A row that grows too long is to an UPDATE what a full disk is: fatal, so the handler does not run. */
START_TEST(a_compound_statement_that_fails_leaves_no_transaction_to_whoever_comes_next)
{
    static const char text[] = "BEGIN NOT ATOMIC DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END; "
                               "START TRANSACTION; INSERT INTO kept VALUES (1); UPDATE wide SET ";
    char create[2400] = "CREATE TABLE wide (id INT PRIMARY KEY", update[2400], part[64];
    answer_t a;

    snprintf(update, sizeof(update), "%s", text);
    for (int i = 0; i < 40; i++) {
        snprintf(part, sizeof(part), ", c%d VARCHAR(255) CHARACTER SET latin1", i);
        strcat(create, part);
        snprintf(part, sizeof(part), "c%d = REPEAT('x', 255), ", i);
        strcat(update, part);
    }
    strcat(create, ")");
    strcat(update, "id = id; COMMIT; END");
    open_pool(1, 10);
    must("DROP TABLE IF EXISTS wide, kept");
    must("CREATE TABLE kept (v INT)");
    must("SET SESSION innodb_strict_mode = OFF");
    must(create);
    must("INSERT INTO wide (id) VALUES (1)");
    query(&a, update);
    ck_assert_uint_eq(a.errcode, 1118);
    must("INSERT INTO kept VALUES (2)"); /* somebody else's, who is told that it is there */
    ck_assert_int_eq(number("SELECT CAST(COALESCE(SUM(v), 0) AS SIGNED) FROM kept"), 2);
    ck_assert_uint_eq(stats().reconnects, 0);
    close_pool();
}
END_TEST

START_TEST(a_release_in_a_transaction_rolls_back)
{
    till_sql_conn_t *conn;

    open_pool(1, 10);
    must("DROP TABLE IF EXISTS undone");
    must("CREATE TABLE undone (v INT)");
    conn = lease();
    must_run(conn, "BEGIN");
    must_run(conn, "INSERT INTO undone VALUES (1)");
    till_sql_release(conn);
    ck_assert_int_eq(number("SELECT COUNT(*) FROM undone"), 0);
    ck_assert_int_eq(number("SELECT @@in_transaction"), 0);
    ck_assert_uint_eq(stats().reconnects, 0);
    conn = lease();
    must_run(conn, "START TRANSACTION");
    must_run(conn, "INSERT INTO undone VALUES (1)");
    must_run(conn, "COMMIT");
    till_sql_release(conn);
    ck_assert_int_eq(number("SELECT COUNT(*) FROM undone"), 1);
    close_pool();
}
END_TEST

START_TEST(a_lock_that_is_not_had_in_time_undoes_the_transaction)
{
    till_sql_conn_t *one, *two;
    answer_t a;

    open_pool(2, 10);
    must("DROP TABLE IF EXISTS locked");
    must("CREATE TABLE locked (id INT PRIMARY KEY, v INT)");
    must("INSERT INTO locked VALUES (1, 0), (2, 0)");
    one = lease();
    two = lease();
    must_run(one, "BEGIN");
    must_run(one, "UPDATE locked SET v = 1 WHERE id = 1");
    must_run(two, "BEGIN");
    must_run(two, "UPDATE locked SET v = 2 WHERE id = 2");
    ck_assert_int_eq(run_on(two, "UPDATE locked SET v = 2 WHERE id = 1", &a), TILL_DEADLOCK);
    ck_assert_uint_eq(a.errcode, 1205);
    /* the server keeps it open for 1205; the header promises that nothing stands */
    ck_assert_int_eq(run_on(two, "SELECT @@in_transaction", &a), TILL_OK);
    ck_assert_int_eq(a.integer, 0);
    must_run(one, "UPDATE locked SET v = 1 WHERE id = 2");
    must_run(one, "COMMIT");
    till_sql_release(one);
    till_sql_release(two);
    close_pool();
}
END_TEST

START_TEST(one_of_two_in_a_deadlock_is_told_so)
{
    till_sql_conn_t *one, *two;
    answer_t a = {0}, b = {0};

    open_pool(2, 10);
    must("DROP TABLE IF EXISTS locked");
    must("CREATE TABLE locked (id INT PRIMARY KEY, v INT)");
    must("INSERT INTO locked VALUES (1, 0), (2, 0)");
    one = lease();
    two = lease();
    must_run(one, "BEGIN");
    must_run(two, "BEGIN");
    must_run(one, "UPDATE locked SET v = 1 WHERE id = 1");
    must_run(two, "UPDATE locked SET v = 2 WHERE id = 2");
    till_sql_run(one, slice("UPDATE locked SET v = 1 WHERE id = 2"), NULL, 0, LIMIT_MS, on_answer, &a);
    till_sql_run(two, slice("UPDATE locked SET v = 2 WHERE id = 1"), NULL, 0, LIMIT_MS, on_answer, &b);
    wait_for(&a);
    wait_for(&b);
    ck_assert((a.status == TILL_DEADLOCK) != (b.status == TILL_DEADLOCK));
    ck_assert_uint_eq(a.status == TILL_DEADLOCK ? a.errcode : b.errcode, 1213);
    till_sql_release(one);
    till_sql_release(two);
    close_pool();
}
END_TEST

Suite *sql_suite(void)
{
    Suite *suite = suite_create("sql");
    TCase *tc = tcase_create("values");

    tcase_set_timeout(tc, 150);
    tcase_add_test(tc, each_type_comes_as_the_header_says);
    tcase_add_test(tc, each_column_type_of_a_table_round_trips);
    tcase_add_test(tc, long_values_are_whole);
    tcase_add_test(tc, many_rows_keep_their_order_and_nulls);
    tcase_add_test(tc, the_session_is_utc_strict_and_read_committed);
    tcase_add_test(tc, refusals_say_why_and_keep_the_connection);
    tcase_add_test(tc, what_cannot_be_written_for_want_of_room_is_unavailable);
    tcase_add_test(tc, an_error_among_the_rows_leaves_the_statement_usable);
    tcase_add_test(tc, a_procedure_gives_its_first_rows_and_all_changes);
    tcase_add_test(tc, a_changed_table_is_read_with_its_new_columns);
    tcase_add_test(tc, more_statements_than_the_cache_keeps_all_work);
    tcase_add_test(tc, a_server_that_takes_no_more_statements_is_given_room);
    tcase_add_test(tc, values_never_become_sql);
    tcase_add_test(tc, a_compound_statement_that_fails_leaves_no_transaction_to_whoever_comes_next);
    tcase_add_test(tc, a_release_in_a_transaction_rolls_back);
    tcase_add_test(tc, a_lock_that_is_not_had_in_time_undoes_the_transaction);
    tcase_add_test(tc, one_of_two_in_a_deadlock_is_told_so);
    suite_add_tcase(suite, tc);
    return suite;
}
