/* test_outbox_order.c - claims where something of the aggregate is at work, or is tried again later. */
#include "support/outbox.h"

/* The first is given up, the second is at work when staff replay the first; the third waits. */
static struct batch replay_while_the_next_is_at_work(void)
{
    append("job:1", "first");
    append("job:1", "second");
    append("job:1", "x");
    struct batch batch = claim(10, LEASE_MS);
    ck_assert_int_eq(retry(&batch.seen[0], 1, "refused"), TILL_OK);
    return claim(10, LEASE_MS);
}

static const char replay_first[] = "UPDATE outbox SET state = 'pending', attempts = 0, claim = 1,"
                                   " available_at = NOW(3) WHERE state = 'dead'";

START_TEST(a_replayed_event_waits_for_what_is_at_work)
{
    struct batch second = replay_while_the_next_is_at_work();

    ck_assert_str_eq(second.seen[0].type, "second");
    test_kernel_number(pool, replay_first);
    ck_assert_uint_eq(claim(10, LEASE_MS).n, 0);
    ck_assert_int_eq(done(&second.seen[0]), TILL_OK);
    struct batch first = claim(10, LEASE_MS);
    ck_assert_uint_eq(first.n, 1);
    ck_assert_str_eq(first.seen[0].type, "first");
    ck_assert_uint_eq(first.seen[0].attempts, 1);
    ck_assert(!first.seen[0].is_taken_over);
    ck_assert_uint_eq(claim(10, LEASE_MS).n, 0);
    ck_assert_int_eq(done(&first.seen[0]), TILL_OK);
    ck_assert_str_eq(claim(10, LEASE_MS).seen[0].type, "x");
}
END_TEST

/* So too where others that are replayed stand between them; a lease that is over keeps nobody back. */
START_TEST(many_replayed_events_wait_for_what_is_at_work)
{
    test_kernel_number(pool, "INSERT INTO outbox (aggregate, type, payload, state)"
                             " SELECT 'job:1', 'first', '{}', 'dead' FROM seq_1_to_5");
    append("job:1", "second");
    struct batch second = claim(10, LEASE_MS);
    ck_assert_str_eq(second.seen[0].type, "second");
    test_kernel_number(pool, replay_first);
    ck_assert_uint_eq(claim(10, LEASE_MS).n, 0);
    make_due();
    struct batch first = claim(10, LEASE_MS);
    ck_assert_uint_eq(first.n, 1);
    ck_assert_str_eq(first.seen[0].type, "first");
}
END_TEST

static int64_t lock_waits(void)
{
    return test_kernel_number(pool, "SELECT CAST(VARIABLE_VALUE AS SIGNED) FROM information_schema.GLOBAL_STATUS"
                                    " WHERE VARIABLE_NAME = 'INNODB_ROW_LOCK_WAITS'");
}

/* @return a claim, made while something is locked that it must not wait for */
static struct batch claim_at_once(const till_outbox_kind_t *kinds, size_t n)
{
    struct batch batch = {0};
    int64_t waits = lock_waits();

    till_outbox_claim(pool, kinds, n, 10, LEASE_MS, TIMEOUT_MS, on_claim, &batch);
    while (batch.calls == 0)
        ck_assert_msg(lock_waits() == waits, "it waits for the lock");
    ck_assert_int_eq(batch.status, TILL_OK);
    return batch;
}

/* Whoever claims the next one has not committed yet. */
START_TEST(a_replayed_event_comes_after_a_claim_that_is_under_way)
{
    struct change other = {0};
    const till_outbox_kind_t first = {.type = TEXT("first")};

    replay_while_the_next_is_at_work();
    test_kernel_number(pool, "UPDATE outbox SET claim = 0, available_at = NOW(3) WHERE state = 'pending'");
    till_sql_acquire(pool, TIMEOUT_MS, on_conn, &other);
    TEST_UNTIL(loop, other.conn != NULL);
    run(&other, "BEGIN");
    run(&other, "UPDATE outbox SET claim = 77, available_at = NOW(3) + INTERVAL 1 MINUTE WHERE type = 'second'");
    test_kernel_number(pool, replay_first);
    ck_assert_uint_eq(claim_at_once(&first, 1).n, 0);
    run(&other, TILL_SQL_COMMIT);
    ck_assert_uint_eq(claim(10, LEASE_MS).n, 0);
    till_sql_release(other.conn);
}
END_TEST

/* An event whose transaction is open still. */
static void append_open(struct change *change, const char *aggregate, const char *type)
{
    const till_event_t event = {.aggregate = TEXT(aggregate), .type = TEXT(type), .payload = TEXT("{}")};

    till_sql_acquire(pool, TIMEOUT_MS, on_conn, change);
    TEST_UNTIL(loop, change->conn != NULL);
    run(change, "BEGIN");
    change->done = false;
    till_outbox_append(change->conn, &event, 1, TIMEOUT_MS, on_change, change);
    TEST_UNTIL(loop, change->done);
    ck_assert_int_eq(change->status, TILL_OK);
}

/* Two transactions append to one aggregate, and the later one commits first: its event is in nobody's way, and comes
 * after the older one. */
START_TEST(what_is_behind_an_open_transaction_keeps_nobody_back)
{
    struct change older = {0};
    size_t n;
    const till_outbox_kind_t *kinds = every_kind(&n);

    append_open(&older, "job:1", "first");
    append("job:1", "second");
    append("free:1", "x");
    struct batch batch = claim_at_once(kinds, n);
    ck_assert_uint_eq(batch.n, 1);
    ck_assert_str_eq(batch.seen[0].type, "x");
    ck_assert_uint_eq(claim_at_once(kinds, n).n, 0);
    run(&older, TILL_SQL_COMMIT);
    till_sql_release(older.conn);
    batch = claim(10, LEASE_MS);
    ck_assert_uint_eq(batch.n, 1);
    ck_assert_str_eq(batch.seen[0].type, "first");
    ck_assert_int_eq(done(&batch.seen[0]), TILL_OK);
    batch = claim(10, LEASE_MS);
    ck_assert_str_eq(batch.seen[0].type, "second");
    ck_assert_uint_eq(batch.seen[0].attempts, 1);
}
END_TEST

/* It is rolled back after all. */
START_TEST(what_is_behind_what_never_was_is_had)
{
    struct change older = {0};
    const till_outbox_kind_t second = {.type = TEXT("second")};

    append_open(&older, "job:1", "first");
    append("job:1", "second");
    ck_assert_uint_eq(claim_at_once(&second, 1).n, 0);
    run(&older, "ROLLBACK");
    till_sql_release(older.conn);
    ck_assert_uint_eq(claim_at_once(&second, 1).n, 1);
}
END_TEST

/* The oldest of an aggregate is being settled, and that may be undone: what is written is not enough. */
START_TEST(what_is_behind_one_that_is_being_settled_waits_for_it)
{
    struct change other = {0};
    const till_outbox_kind_t second = {.type = TEXT("second")};

    append("job:1", "first");
    append("job:1", "second");
    append_open(&other, "job:2", "first");
    append("job:2", "second");
    run(&other, "UPDATE outbox SET state = 'done' WHERE aggregate = 'job:1' AND type = 'first'");
    ck_assert_uint_eq(claim_at_once(&second, 1).n, 0);
    run(&other, "ROLLBACK");
    till_sql_release(other.conn);
    struct batch batch = claim_at_once(&second, 1);
    ck_assert_uint_eq(batch.n, 1);
    ck_assert_str_eq(batch.seen[0].aggregate, "job:2");
}
END_TEST

/* @return how many claims it took until one of the aggregate `name` was there */
static int claims_until(const char *name, struct batch *batch)
{
    for (int i = 1; i != 50; ++i) {
        *batch = claim(10, LEASE_MS);
        ck_assert_uint_le(batch->n, 1);
        if (batch->n == 1 && strcmp(batch->seen[0].aggregate, name) == 0)
            return i;
    }
    ck_abort_msg("%s is not found", name);
    return 0;
}

static void put_many_behind(void)
{
    test_kernel_number(pool, "INSERT INTO outbox (aggregate, type, payload, available_at)"
                             " SELECT 'job:1', 'x', '{}', NOW(3) - INTERVAL 1 HOUR FROM seq_1_to_12000");
}

/* A head that is tried again later: what waits for it is not met until then, and is in order all the same. */
START_TEST(what_waits_behind_a_retry_costs_nothing)
{
    struct batch batch;

    append("job:1", "x");
    test_kernel_number(pool, "UPDATE outbox SET available_at = NOW(3) - INTERVAL 2 HOUR");
    put_many_behind();
    batch = claim(1, LEASE_MS);
    ck_assert_int_eq(retry(&batch.seen[0], 20, "away"), TILL_OK);
    test_kernel_number(pool, "UPDATE outbox SET available_at = NOW(3) + INTERVAL 1 HOUR WHERE attempts = 1");
    append("free:1", "x");
    ck_assert_int_le(claims_until("free:1", &batch), 10);
    ck_assert_int_eq(done(&batch.seen[0]), TILL_OK);
    append("free:2", "x");
    int64_t before = rows_read(), own = rows_read() - before;
    batch = claim(10, LEASE_MS);
    int64_t read = rows_read() - before - 2 * own;
    ck_assert_uint_eq(batch.n, 1);
    ck_assert_str_eq(batch.seen[0].aggregate, "free:2");
    ck_assert_msg(read < 500, "a claim read %lld rows", (long long)read);
    ck_assert_int_lt(test_kernel_number(pool, "SELECT COUNT(*) FROM outbox WHERE available_at <= NOW(3)"), 1500);
    make_due();
    for (uint64_t last = 0, i = 0; i != 3; ++i) {
        batch = claim(10, LEASE_MS);
        ck_assert_uint_eq(batch.n, 1);
        ck_assert_msg(last == 0 || batch.seen[0].id == last + 1, "%lu", (unsigned long)i);
        last = batch.seen[0].id;
        ck_assert_int_eq(done(&batch.seen[0]), TILL_OK);
    }
}
END_TEST

/* A head that somebody is at: others have their turn, and the next ones are there when it is settled. */
START_TEST(what_waits_behind_work_keeps_nobody_back)
{
    struct batch head, batch;

    append("job:1", "x");
    test_kernel_number(pool, "UPDATE outbox SET available_at = NOW(3) - INTERVAL 2 HOUR");
    put_many_behind();
    head = claim(1, LEASE_MS);
    append("free:1", "x");
    ck_assert_int_le(claims_until("free:1", &batch), 10);
    ck_assert_int_eq(done(&batch.seen[0]), TILL_OK);
    for (int i = 0; i != 40; ++i) {
        uint64_t last = head.seen[0].id;
        ck_assert_int_eq(done(&head.seen[0]), TILL_OK);
        ck_assert_int_le(claims_until("job:1", &head), 10);
        ck_assert_uint_eq(head.seen[0].id,
                          test_kernel_number(pool, "SELECT MIN(id) FROM outbox WHERE state = 'pending'"));
        ck_assert_uint_gt(head.seen[0].id, last);
    }
}
END_TEST

/* Nothing can be put behind a head that is locked; what else there is has its turn. */
START_TEST(what_waits_behind_an_open_transaction_keeps_no_kind_back)
{
    struct change older = {0};
    const till_outbox_kind_t kinds[] = {{.type = TEXT("x"), .leave = 1}, {.type = TEXT("y")}};

    append_open(&older, "job:1", "x");
    put_many_behind();
    append("free:1", "y");
    struct batch batch = claim_at_once(kinds, 2);
    ck_assert_uint_eq(batch.n, 1);
    ck_assert_str_eq(batch.seen[0].type, "y");
    run(&older, TILL_SQL_COMMIT);
    till_sql_release(older.conn);
}
END_TEST

Suite *outbox_order_suite(void)
{
    Suite *suite = suite_create("trade/outbox_order");
    TCase *tc = tcase_create("outbox_order");

    tcase_set_timeout(tc, 90);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_replayed_event_waits_for_what_is_at_work);
    tcase_add_test(tc, many_replayed_events_wait_for_what_is_at_work);
    tcase_add_test(tc, a_replayed_event_comes_after_a_claim_that_is_under_way);
    tcase_add_test(tc, what_is_behind_an_open_transaction_keeps_nobody_back);
    tcase_add_test(tc, what_is_behind_what_never_was_is_had);
    tcase_add_test(tc, what_is_behind_one_that_is_being_settled_waits_for_it);
    tcase_add_test(tc, what_waits_behind_a_retry_costs_nothing);
    tcase_add_test(tc, what_waits_behind_work_keeps_nobody_back);
    tcase_add_test(tc, what_waits_behind_an_open_transaction_keeps_no_kind_back);
    suite_add_tcase(suite, tc);
    return suite;
}
