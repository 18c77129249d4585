/* bench_sql.c - point reads through the SQL pool, and the CPU that each costs on this side; by a bare blocking client
 * for comparison, and with the keys of a loop's turn gathered into one statement, as lua/till/loader.lua does.
 *
 *     bench_sql [seconds] [connections]        16 statements in flight, a MariaDB of its own
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <mysql.h>
#include "io/sql.h"
#include "support/servers.h"

enum { IN_FLIGHT = 16, ROWS = 10000, GATHERED = 24 };

static till_sql_pool_t *pool;
static uint64_t reads, wrong, flying;
static bool over;

static const char read_text[] = "SELECT id, sku, title, price FROM bench WHERE id = ?";

static uint64_t clock_us(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void on_row(void *data, till_status_t status, const till_sql_result_t *result);

static void read_one(void *data)
{
    int64_t *id = data;
    till_sql_value_t param = {.type = TILL_SQL_INT};

    *id = rand() % ROWS + 1;
    param.integer = *id;
    flying++;
    till_sql_query(pool, (till_slice_t){read_text, sizeof(read_text) - 1}, &param, 1, 10000, on_row, id);
}

static void on_row(void *data, till_status_t status, const till_sql_result_t *result)
{
    flying--;
    reads++;
    wrong += status != TILL_OK || result->rows != 1 || result->cells[0].integer != *(int64_t *)data;
    if (!over)
        read_one(data);
}

static void on_made(void *data, till_status_t status, const till_sql_result_t *result)
{
    if (status != TILL_OK) {
        fprintf(stderr, "%s\n", result->message);
        exit(1);
    }
    *(bool *)data = true;
}

static bool is_true(void *data) { return *(bool *)data; }

static bool is_landed(void *data)
{
    (void)data;
    return flying == 0;
}

static void make(till_loop_t *loop, const char *text)
{
    bool made = false;

    till_sql_query(pool, (till_slice_t){text, strlen(text)}, NULL, 0, 60000, on_made, &made);
    if (!till_test_until(loop, is_true, &made, 60000))
        exit(1);
}

static void report(const char *name, uint64_t count, uint64_t begin, uint64_t cpu)
{
    static double base;
    double each = (double)(clock_us(CLOCK_PROCESS_CPUTIME_ID) - cpu) / (double)count;

    if (base == 0)
        base = each;
    printf("%-30s %8.0f rows/s %7.2f us of CPU each, %.2f of a bare client\n", name,
           (double)count * 1e6 / (double)(clock_us(CLOCK_MONOTONIC) - begin), each, each / base);
}

/* One blocking connection, one prepared statement. */
static void run_bare(const char *socket, uint64_t seconds)
{
    MYSQL *mysql = mysql_init(NULL);
    int64_t id, row_id = 0;
    MYSQL_BIND in = {.buffer_type = MYSQL_TYPE_LONGLONG, .buffer = &id};
    MYSQL_BIND out[4] = {{.buffer_type = MYSQL_TYPE_LONGLONG, .buffer = &row_id}};
    uint64_t count = 0, begin = clock_us(CLOCK_MONOTONIC), cpu = clock_us(CLOCK_PROCESS_CPUTIME_ID);

    if (mysql_real_connect(mysql, NULL, "root", "", "till_test", 0, socket, 0) == NULL)
        exit(1);
    MYSQL_STMT *stmt = mysql_stmt_init(mysql);
    char text[2][128];
    for (int i = 1; i != 4; i++)
        out[i] =
            (MYSQL_BIND){.buffer_type = MYSQL_TYPE_STRING, .buffer = text[i % 2], .buffer_length = sizeof(text[0])};
    wrong += mysql_stmt_prepare(stmt, read_text, sizeof(read_text) - 1) != 0 || mysql_stmt_bind_param(stmt, &in) != 0 ||
             mysql_stmt_bind_result(stmt, out) != 0;
    for (; clock_us(CLOCK_MONOTONIC) < begin + seconds * 1000000; count++) {
        id = rand() % ROWS + 1;
        wrong += mysql_stmt_execute(stmt) != 0 || mysql_stmt_fetch(stmt) != 0 || row_id != id;
        mysql_stmt_free_result(stmt);
    }
    report("bare client, one connection", count, begin, cpu);
    mysql_stmt_close(stmt);
    mysql_close(mysql);
}

static void run(till_loop_t *loop, uint64_t seconds)
{
    static int64_t ids[IN_FLIGHT];
    uint64_t begin = clock_us(CLOCK_MONOTONIC), cpu = clock_us(CLOCK_PROCESS_CPUTIME_ID),
             end = begin + seconds * 1000000;

    for (int i = 0; i < IN_FLIGHT; i++)
        read_one(&ids[i]);
    while (clock_us(CLOCK_MONOTONIC) < end)
        till_loop_turn(loop, 100);
    over = true;
    till_test_until(loop, is_landed, NULL, 10000);
    report("pool, 16 in flight", reads, begin, cpu);
}

static void on_gathered(void *data, till_status_t status, const till_sql_result_t *result)
{
    wrong += status != TILL_OK || result->rows == 0;
    *(uint64_t *)data += GATHERED;
    flying--;
}

static void run_gathered(till_loop_t *loop, uint64_t seconds)
{
    char text[256] = "SELECT id, sku, title, price FROM bench WHERE id IN (?";
    till_sql_value_t params[GATHERED];
    uint64_t rows = 0, begin = clock_us(CLOCK_MONOTONIC), cpu = clock_us(CLOCK_PROCESS_CPUTIME_ID);

    for (int i = 1; i != GATHERED; i++)
        strncat(text, ", ?", sizeof(text) - strlen(text) - 1);
    strncat(text, ")", sizeof(text) - strlen(text) - 1);
    while (clock_us(CLOCK_MONOTONIC) < begin + seconds * 1000000) {
        for (int i = 0; i != GATHERED; i++)
            params[i] = (till_sql_value_t){.type = TILL_SQL_INT, .integer = rand() % ROWS + 1};
        flying = 1;
        till_sql_query(pool, (till_slice_t){text, strlen(text)}, params, GATHERED, 10000, on_gathered, &rows);
        till_test_until(loop, is_landed, NULL, 10000);
    }
    report("pool, 24 keys gathered", rows, begin, cpu);
}

int main(int argc, char **argv)
{
    till_sql_opts_t opts = {.socket = till_test_mysql(),
                            .user = "root",
                            .password = "",
                            .database = "till_test",
                            .connections = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 8,
                            .max_waiters = 1000,
                            .connect_timeout_ms = 5000};
    till_loop_t *loop = till_loop_create();

    pool = till_sql_pool_create(loop, &opts);
    make(loop, "CREATE TABLE bench (id INT PRIMARY KEY, sku VARCHAR(32), title VARCHAR(100), price BIGINT)");
    make(loop, "INSERT INTO bench SELECT seq, CONCAT('SKU-', seq), CONCAT('A thing called ', seq), seq * 100 "
               "FROM seq_1_to_10000");
    uint64_t seconds = argc > 1 ? strtoul(argv[1], NULL, 10) : 3;
    run_bare(till_test_mysql(), seconds);
    run(loop, seconds);
    run_gathered(loop, seconds);
    till_sql_pool_destroy(pool);
    till_loop_turn(loop, 0);
    till_loop_destroy(loop);
    return wrong != 0;
}
