/* outbox.h - a pool on a MariaDB of its own, and claims and changes that are waited for. */
#ifndef TEST_SUPPORT_OUTBOX_H
#define TEST_SUPPORT_OUTBOX_H

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "support/kernel_db.h"
#include "trade/outbox.h"

#define TEXT(text) ((till_slice_t){text, strlen(text)})

enum { CONNECTIONS = 8, LEASE_MS = 60000, TIMEOUT_MS = 8000, MOST = 128 };

static till_loop_t *loop;
static till_sql_pool_t *pool;

struct seen {
    uint64_t id, claim;
    unsigned attempts;
    bool is_taken_over;
    char aggregate[32], type[32], payload[64], traceparent[64];
};

struct batch {
    int calls;
    till_status_t status;
    size_t n;
    struct seen seen[MOST];
};

struct change {
    till_sql_conn_t *conn;
    till_status_t status;
    bool done;
};

static inline void copy(char *out, size_t size, till_slice_t text)
{
    snprintf(out, size, "%.*s", (int)text.len, (const char *)text.base);
}

static inline void on_claim(void *data, till_status_t status, const till_event_t *events, size_t n)
{
    struct batch *batch = data;

    ++batch->calls;
    batch->status = status;
    batch->n = n;
    for (size_t i = 0; i != n; ++i) {
        struct seen *seen = &batch->seen[i];
        seen->id = events[i].id;
        seen->claim = events[i].claim;
        seen->attempts = events[i].attempts;
        seen->is_taken_over = events[i].is_taken_over;
        copy(seen->aggregate, sizeof(seen->aggregate), events[i].aggregate);
        copy(seen->type, sizeof(seen->type), events[i].type);
        copy(seen->payload, sizeof(seen->payload), events[i].payload);
        copy(seen->traceparent, sizeof(seen->traceparent), events[i].traceparent);
    }
}

/* Of these kinds, in this order; the types end with a NULL. */
static inline struct batch claim_kinds(const char *const *types, unsigned leave, unsigned max)
{
    till_outbox_kind_t kinds[TILL_OUTBOX_KINDS_MOST];
    struct batch batch = {0};
    size_t n = 0;

    for (; types[n] != NULL; ++n)
        kinds[n] = (till_outbox_kind_t){.type = TEXT(types[n]), .leave = types[n + 1] != NULL ? leave : 0};
    till_outbox_claim(pool, kinds, n, max, LEASE_MS, TIMEOUT_MS, on_claim, &batch);
    TEST_UNTIL(loop, batch.calls != 0);
    ck_assert_int_eq(batch.status, TILL_OK);
    return batch;
}

/* All that the tests append, as one who has no kinds to prefer. */
static inline const till_outbox_kind_t *every_kind(size_t *n)
{
    static const char *const types[] = {"order.placed", "first", "second", "other", "order.paid", "later", "x", "y"};
    static till_outbox_kind_t kinds[sizeof(types) / sizeof(types[0])];

    *n = sizeof(types) / sizeof(types[0]);
    for (size_t i = 0; i != *n; ++i)
        kinds[i] = (till_outbox_kind_t){.type = TEXT(types[i])};
    return kinds;
}

static inline struct batch claim(unsigned max, uint64_t lease_ms)
{
    struct batch batch = {0};
    size_t n;
    const till_outbox_kind_t *kinds = every_kind(&n);

    till_outbox_claim(pool, kinds, n, max, lease_ms, TIMEOUT_MS, on_claim, &batch);
    ck_assert_int_eq(batch.calls, 0);
    TEST_UNTIL(loop, batch.calls != 0);
    ck_assert_int_eq(batch.status, TILL_OK);
    return batch;
}

static inline void on_change(void *data, till_status_t status)
{
    struct change *change = data;

    change->status = status;
    change->done = true;
}

static inline void on_conn(void *data, till_status_t status, till_sql_conn_t *conn)
{
    ck_assert_int_eq(status, TILL_OK);
    ((struct change *)data)->conn = conn;
}

static inline void on_ran(void *data, till_status_t status, const till_sql_result_t *result)
{
    (void)result;
    on_change(data, status);
}

static inline void run(struct change *change, const char *text)
{
    change->done = false;
    till_sql_run(change->conn, TEXT(text), NULL, 0, TIMEOUT_MS, on_ran, change);
    TEST_UNTIL(loop, change->done);
    ck_assert_int_eq(change->status, TILL_OK);
}

static inline void append_and(const char *end, const till_event_t *events, size_t n)
{
    struct change change = {0};

    till_sql_acquire(pool, TIMEOUT_MS, on_conn, &change);
    TEST_UNTIL(loop, change.conn != NULL);
    run(&change, "BEGIN");
    change.done = false;
    till_outbox_append(change.conn, events, n, TIMEOUT_MS, on_change, &change);
    TEST_UNTIL(loop, change.done);
    ck_assert_int_eq(change.status, TILL_OK);
    run(&change, end);
    till_sql_release(change.conn);
}

static inline void append(const char *aggregate, const char *type)
{
    const till_event_t event = {.aggregate = TEXT(aggregate), .type = TEXT(type), .payload = TEXT("{}")};

    append_and("COMMIT", &event, 1);
}

static inline till_status_t done(const struct seen *seen)
{
    struct change change = {0};

    till_outbox_done(pool, &seen->id, 1, seen->claim, TIMEOUT_MS, on_change, &change);
    TEST_UNTIL(loop, change.done);
    return change.status;
}

static inline till_status_t extend(const struct seen *seen, uint64_t lease_ms)
{
    struct change change = {0};

    till_outbox_extend(pool, &seen->id, 1, seen->claim, lease_ms, TIMEOUT_MS, on_change, &change);
    TEST_UNTIL(loop, change.done);
    return change.status;
}

static inline till_status_t release(const struct seen *seen)
{
    struct change change = {0};

    till_outbox_release(pool, &seen->id, 1, seen->claim, false, (till_slice_t){"", 0}, TIMEOUT_MS, on_change, &change);
    TEST_UNTIL(loop, change.done);
    return change.status;
}

static inline till_status_t retry(const struct seen *seen, unsigned max_attempts, const char *reason)
{
    struct change change = {0};

    till_outbox_retry(pool, seen->id, seen->claim, max_attempts, TEXT(reason), TIMEOUT_MS, on_change, &change);
    TEST_UNTIL(loop, change.done);
    return change.status;
}

static inline void make_due(void)
{
    test_kernel_number(pool, "UPDATE outbox SET available_at = NOW(3) - INTERVAL 1 SECOND WHERE state = 'pending'");
}

static inline int64_t rows_read(void)
{
    return test_kernel_number(pool, "SELECT CAST(SUM(VARIABLE_VALUE) AS SIGNED) FROM information_schema.GLOBAL_STATUS"
                                    " WHERE VARIABLE_NAME IN ('HANDLER_READ_NEXT', 'HANDLER_READ_RND_NEXT',"
                                    " 'HANDLER_READ_KEY', 'HANDLER_READ_RND')");
}

static inline void set_up(void)
{
    signal(SIGPIPE, SIG_IGN);
    loop = till_loop_create();
    pool = test_kernel_open(loop, CONNECTIONS);
}

static inline void tear_down(void)
{
    till_sql_pool_destroy(pool);
    till_loop_turn(loop, 0);
    till_loop_turn(loop, 0);
    till_loop_destroy(loop);
}

#endif
