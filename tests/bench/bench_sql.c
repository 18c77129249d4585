/* bench_sql.c - point reads through the SQL pool, from the table that sysbench made.
 *
 *     bench_sql single|gathered SOCKET USER DATABASE SECONDS
 *
 * single: IN_FLIGHT statements of one key each at a time. gathered: the keys of a loop's turn in one statement, as
 * lua/till/loader.lua does. Says how many rows it read, on standard output.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "io/sql.h"

enum { IN_FLIGHT = 16, ROWS = 10000, GATHERED = 24, GATHERS = 2 };

static till_sql_pool_t *pool;
static uint64_t reads, wrong, flying;
static bool over;

static const char read_text[] = "SELECT id, k, c FROM sbtest1 WHERE id = ?";

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

/* ---- gathered ------------------------------------------------------------ */

static char gather_text[256];

static void on_gathered(void *data, till_status_t status, const till_sql_result_t *result);

static void gather(void *data)
{
    till_sql_value_t params[GATHERED];

    for (int i = 0; i != GATHERED; i++)
        params[i] = (till_sql_value_t){.type = TILL_SQL_INT, .integer = rand() % ROWS + 1};
    flying++;
    till_sql_query(pool, (till_slice_t){gather_text, strlen(gather_text)}, params, GATHERED, 10000, on_gathered, data);
}

/* The same key may be asked for twice: fewer rows than keys. */
static void on_gathered(void *data, till_status_t status, const till_sql_result_t *result)
{
    flying--;
    reads += GATHERED;
    wrong += status != TILL_OK || result->rows == 0;
    if (!over)
        gather(data);
}

static void write_gather_text(void)
{
    size_t len = (size_t)snprintf(gather_text, sizeof(gather_text), "SELECT id, k, c FROM sbtest1 WHERE id IN (?");

    for (int i = 1; i != GATHERED; i++)
        len += (size_t)snprintf(gather_text + len, sizeof(gather_text) - len, ", ?");
    snprintf(gather_text + len, sizeof(gather_text) - len, ")");
}

/* ---- both ------------------------------------------------------------------ */

static uint64_t now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void run(till_loop_t *loop, bool is_gathered, uint64_t seconds)
{
    static int64_t ids[IN_FLIGHT];
    uint64_t begin = now_us(), end = begin + seconds * 1000000;

    for (int i = 0; i != (is_gathered ? GATHERS : IN_FLIGHT); i++)
        (is_gathered ? gather : read_one)(&ids[i]);
    while (now_us() < end)
        till_loop_turn(loop, 100);
    over = true;
    while (flying != 0)
        till_loop_turn(loop, 100);
    printf("{\"count\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"seconds\":%.3f}\n", reads, wrong,
           (double)(now_us() - begin) / 1e6);
}

int main(int argc, char **argv)
{
    till_loop_t *loop = till_loop_create();

    if (argc != 6) {
        fprintf(stderr, "bench_sql single|gathered SOCKET USER DATABASE SECONDS\n");
        return 2;
    }
    till_sql_opts_t opts = {.socket = argv[2],
                            .user = argv[3],
                            .password = "",
                            .database = argv[4],
                            .connections = 8,
                            .max_waiters = 1000,
                            .connect_timeout_ms = 5000};
    pool = till_sql_pool_create(loop, &opts);
    write_gather_text();
    run(loop, strcmp(argv[1], "gathered") == 0, strtoul(argv[5], NULL, 10));
    till_sql_pool_destroy(pool);
    till_loop_turn(loop, 0);
    till_loop_destroy(loop);
    return 0;
}
