#include "support/kernel_db.h"

#include <stdio.h>
#include <string.h>

struct answer {
    bool done;
    till_status_t status;
    int64_t number;
    char text[201], message[201];
};

static void on_result(void *data, till_status_t status, const till_sql_result_t *result)
{
    struct answer *answer = data;

    answer->done = true;
    answer->status = status;
    if (status != TILL_OK)
        snprintf(answer->message, sizeof(answer->message), "%s", result->message != NULL ? result->message : "");
    if (status != TILL_OK || result->rows == 0)
        return;
    answer->number = result->cells[0].integer;
    if (result->cells[0].base != NULL)
        snprintf(answer->text, sizeof(answer->text), "%.*s", (int)result->cells[0].len, result->cells[0].base);
}

static struct answer run(till_sql_pool_t *pool, const char *text, size_t len)
{
    struct answer answer = {0};

    till_sql_query(pool, (till_slice_t){text, len}, NULL, 0, 20000, on_result, &answer);
    TEST_UNTIL(till_sql_pool_loop(pool), answer.done);
    ck_assert_msg(answer.status == TILL_OK, "%.*s: %s", (int)len, text, answer.message);
    return answer;
}

int64_t test_kernel_number(till_sql_pool_t *pool, const char *text) { return run(pool, text, strlen(text)).number; }

void test_kernel_text(till_sql_pool_t *pool, const char *text, char out[201])
{
    struct answer answer = run(pool, text, strlen(text));

    memcpy(out, answer.text, sizeof(answer.text));
}

static void run_migration(till_sql_pool_t *pool, const char *path)
{
    static char text[65536];
    FILE *file = fopen(path, "r");

    ck_assert_msg(file != NULL, "%s: not here", path);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    for (char *at = text, *end; (end = strstr(at, ";\n")) != NULL; at = end + 2)
        run(pool, at, (size_t)(end - at));
}

till_sql_pool_t *test_kernel_open(till_loop_t *loop, unsigned connections)
{
    const till_sql_opts_t opts = {.socket = till_test_mysql(),
                                  .user = "root",
                                  .password = "",
                                  .database = "till_test",
                                  .connections = connections,
                                  .max_waiters = 1000,
                                  .connect_timeout_ms = 10000};
    till_sql_pool_t *pool = till_sql_pool_create(loop, &opts);

    test_kernel_number(pool, "DROP TABLE IF EXISTS idempotency_records, outbox, job_slots, job_schedules");
    run_migration(pool, "sql/0001_kernel.sql");
    run_migration(pool, "sql/0018_jobs.sql");
    return pool;
}
