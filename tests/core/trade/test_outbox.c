/* test_outbox.c - see core/trade/outbox.h; against a MariaDB of its own. */
#include "support/outbox.h"

START_TEST(an_event_from_append_to_done)
{
    const till_event_t events[] = {
        {.aggregate = TEXT("order:1"),
         .type = TEXT("order.placed"),
         .payload = TEXT("{\"a\": 1}"),
         .traceparent = TEXT("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")},
        {.aggregate = TEXT("order:2"), .type = TEXT("order.paid"), .payload = TEXT("[]")},
    };
    append_and("COMMIT", events, 2);
    struct batch batch = claim(10, LEASE_MS);

    ck_assert_uint_eq(batch.n, 2);
    ck_assert_str_eq(batch.seen[0].aggregate, "order:1");
    ck_assert_str_eq(batch.seen[0].type, "order.placed");
    ck_assert_str_eq(batch.seen[0].payload, "{\"a\": 1}");
    ck_assert_str_eq(batch.seen[0].traceparent, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    ck_assert_str_eq(batch.seen[1].traceparent, "");
    ck_assert_uint_eq(batch.seen[0].attempts, 1);
    ck_assert_uint_eq(claim(10, LEASE_MS).n, 0);
    ck_assert_int_eq(done(&batch.seen[0]), TILL_OK);
    ck_assert_int_eq(done(&batch.seen[0]), TILL_CONFLICT);
    ck_assert_int_eq(retry(&batch.seen[0], 5, "late"), TILL_CONFLICT);
    ck_assert_int_eq(test_kernel_number(pool, "SELECT COUNT(*) FROM outbox WHERE state = 'done'"), 1);
}
END_TEST

START_TEST(a_rolled_back_transaction_tells_nothing)
{
    const till_event_t event = {.aggregate = TEXT("order:1"), .type = TEXT("order.placed"), .payload = TEXT("{}")};

    append_and("ROLLBACK", &event, 1);
    ck_assert_uint_eq(claim(10, LEASE_MS).n, 0);
}
END_TEST

START_TEST(not_before_its_time)
{
    const till_event_t event = {
        .aggregate = TEXT("order:1"), .type = TEXT("later"), .payload = TEXT("{}"), .delay_ms = 3600000};

    append_and("COMMIT", &event, 1);
    ck_assert_uint_eq(claim(10, LEASE_MS).n, 0);
    make_due();
    ck_assert_uint_eq(claim(10, LEASE_MS).n, 1);
}
END_TEST

START_TEST(only_the_oldest_of_an_aggregate)
{
    append("order:1", "first");
    append("order:1", "second");
    append("order:2", "other");
    struct batch batch = claim(10, LEASE_MS);

    ck_assert_uint_eq(batch.n, 2);
    ck_assert_str_eq(batch.seen[0].type, "first");
    ck_assert_str_eq(batch.seen[1].type, "other");
    ck_assert_int_eq(retry(&batch.seen[0], 5, "no answer"), TILL_OK);
    ck_assert_uint_eq(claim(10, LEASE_MS).n, 0); /* the second waits for the first also through its backoff */
    make_due();
    batch = claim(1, LEASE_MS);
    ck_assert_str_eq(batch.seen[0].type, "first");
    ck_assert_uint_eq(batch.seen[0].attempts, 2);
    ck_assert_int_eq(done(&batch.seen[0]), TILL_OK);
    batch = claim(10, LEASE_MS);
    ck_assert_str_eq(batch.seen[0].type, "second");
}
END_TEST

START_TEST(the_last_attempt_buries_and_frees_the_rest)
{
    append("order:1", "first");
    append("order:1", "second");
    for (unsigned attempt = 1; attempt <= 3; ++attempt) {
        struct batch batch = claim(10, LEASE_MS);
        ck_assert_uint_eq(batch.n, 1);
        ck_assert_str_eq(batch.seen[0].type, "first");
        ck_assert_uint_eq(batch.seen[0].attempts, attempt);
        ck_assert_int_eq(retry(&batch.seen[0], 3, "refused"), TILL_OK);
        if (attempt != 3)
            make_due();
    }
    char text[201];
    test_kernel_text(pool, "SELECT CONCAT(state, ' ', last_error) FROM outbox ORDER BY id LIMIT 1", text);
    ck_assert_str_eq(text, "dead refused");
    ck_assert_str_eq(claim(10, LEASE_MS).seen[0].type, "second");
}
END_TEST

/* clang-format off */
static const struct { unsigned attempts; int64_t least_s, most_s; } waits[] = {
    {1, 1, 2}, {2, 2, 4}, {5, 16, 32}, {11, 1024, 2048}, {12, 1800, 3600}, {13, 1800, 3600}, {60, 1800, 3600},
};
/* clang-format on */

START_TEST(backoff_doubles_up_to_an_hour)
{
    char text[120];

    append("order:1", "x");
    snprintf(text, sizeof(text), "UPDATE outbox SET attempts = %u", waits[_i].attempts - 1);
    test_kernel_number(pool, text);
    struct batch batch = claim(1, LEASE_MS);
    ck_assert_int_eq(retry(&batch.seen[0], 1000, "x"), TILL_OK);
    int64_t wait = test_kernel_number(pool, "SELECT CEIL(TIMESTAMPDIFF(MICROSECOND, NOW(6), available_at) / 1e6)"
                                            " DIV 1 FROM outbox");
    ck_assert_int_ge(wait, waits[_i].least_s - 5); /* what the two statements took */
    ck_assert_int_le(wait, waits[_i].most_s + 1);
}
END_TEST

START_TEST(a_lease_that_is_over_is_taken_over)
{
    append("order:1", "x");
    struct batch first = claim(1, LEASE_MS);
    make_due();
    struct batch second = claim(1, LEASE_MS);

    ck_assert_uint_eq(second.n, 1);
    ck_assert_uint_eq(second.seen[0].attempts, 2);
    ck_assert_uint_ne(second.seen[0].claim, first.seen[0].claim);
    ck_assert_int_eq(done(&first.seen[0]), TILL_CONFLICT);
    ck_assert_int_eq(retry(&first.seen[0], 1, "late"), TILL_CONFLICT);
    ck_assert_int_eq(done(&second.seen[0]), TILL_OK);
}
END_TEST

/* Many of them fall into one millisecond, in which nothing of the row would change. */
START_TEST(a_lease_is_extended_as_often_as_one_likes)
{
    append("order:1", "x");
    struct batch first = claim(1, LEASE_MS);

    for (int i = 0; i != 300; i++)
        ck_assert_int_eq(extend(&first.seen[0], LEASE_MS), TILL_OK);
}
END_TEST

START_TEST(a_lease_is_extended_by_who_has_it)
{
    append("order:1", "x");
    struct batch first = claim(1, LEASE_MS);

    make_due();
    ck_assert_int_eq(extend(&first.seen[0], LEASE_MS), TILL_OK); /* it was over, but nobody had taken it over */
    ck_assert_uint_eq(claim(1, LEASE_MS).n, 0);
    make_due();
    ck_assert_uint_eq(claim(1, LEASE_MS).n, 1);
    ck_assert_int_eq(extend(&first.seen[0], LEASE_MS), TILL_CONFLICT);
    ck_assert_int_eq(release(&first.seen[0]), TILL_CONFLICT);
}
END_TEST

START_TEST(what_is_released_was_not_tried)
{
    append("order:1", "first");
    append("order:1", "second");
    struct batch batch = claim(10, LEASE_MS);
    ck_assert_int_eq(release(&batch.seen[0]), TILL_OK);
    ck_assert_int_eq(done(&batch.seen[0]), TILL_CONFLICT);
    batch = claim(10, LEASE_MS);
    ck_assert_uint_eq(batch.n, 1);
    ck_assert_str_eq(batch.seen[0].type, "first");
    ck_assert_uint_eq(batch.seen[0].attempts, 1);
}
END_TEST

START_TEST(kinds_in_the_order_that_is_asked_for)
{
    static const char *const late_first[] = {"y", "x", NULL}, *const one[] = {"x", NULL};

    for (int i = 0; i != 3; ++i) {
        char name[16];
        snprintf(name, sizeof(name), "a:%d", i);
        append(name, "x");
        snprintf(name, sizeof(name), "b:%d", i);
        append(name, "y");
    }
    append("a:0", "y"); /* behind an x: no kind overtakes within its aggregate */
    struct batch batch = claim_kinds(late_first, 2, 4);
    ck_assert_uint_eq(batch.n, 4);
    ck_assert_str_eq(batch.seen[0].type, "y");
    ck_assert_str_eq(batch.seen[1].type, "y");
    ck_assert_str_eq(batch.seen[2].type, "x");
    ck_assert_str_eq(batch.seen[3].aggregate, "a:1");
    ck_assert_uint_eq(batch.seen[3].claim, batch.seen[0].claim);
    batch = claim_kinds(one, 0, 100);
    ck_assert_uint_eq(batch.n, 1);
    ck_assert_str_eq(batch.seen[0].aggregate, "a:2");
    batch = claim_kinds(late_first, 1, 100);
    ck_assert_uint_eq(batch.n, 1); /* the third y; the fourth waits for a:0's x */
    ck_assert_str_eq(batch.seen[0].aggregate, "b:2");
}
END_TEST

START_TEST(as_many_as_a_claim_takes)
{
    static const char *const types[] = {"x", "y", NULL};

    test_kernel_number(pool, "INSERT INTO outbox (aggregate, type, payload)"
                             " SELECT CONCAT('a:', seq), IF(seq % 2, 'x', 'y'), '{}' FROM seq_1_to_140");
    struct batch batch = claim_kinds(types, 10, 1000);
    ck_assert_uint_eq(batch.n, TILL_OUTBOX_CLAIM_MOST);
    ck_assert_str_eq(batch.seen[69].type, "x");
    ck_assert_str_eq(batch.seen[70].type, "y");
    ck_assert_uint_eq(claim_kinds(types, 10, 1000).n, 40);
}
END_TEST

START_TEST(reasons_are_cut_between_characters)
{
    char reason[600] = "", text[201];

    append("order:1", "x");
    memset(reason, 'a', 550);
    memcpy(reason + 499, "\xc3\xa9", 2); /* its second byte is the 501st */
    struct batch batch = claim(1, LEASE_MS);
    ck_assert_int_eq(retry(&batch.seen[0], 9, reason), TILL_OK);
    ck_assert_int_eq(test_kernel_number(pool, "SELECT LENGTH(last_error) FROM outbox"), 499);
    make_due();
    batch = claim(1, LEASE_MS);
    ck_assert_int_eq(retry(&batch.seen[0], 9, "bad \xff byte"), TILL_OK);
    test_kernel_text(pool, "SELECT last_error FROM outbox", text);
    ck_assert_str_eq(text, "bad ? byte");
}
END_TEST

/* Claimers on several connections at once: each event is given once, and in order within its aggregate. */
START_TEST(claimers_at_once)
{
    enum { AGGREGATES = 12, EACH = 5, CLAIMERS = 6 };
    static struct batch batches[CLAIMERS];
    static uint64_t last[AGGREGATES];
    const till_outbox_kind_t x = {.type = TEXT("x")};
    int delivered = 0;

    for (int i = 0; i != EACH; ++i) {
        till_event_t events[AGGREGATES];
        static char names[AGGREGATES][16];
        for (int k = 0; k != AGGREGATES; ++k) {
            snprintf(names[k], sizeof(names[k]), "order:%d", k);
            events[k] = (till_event_t){.aggregate = TEXT(names[k]), .type = TEXT("x"), .payload = TEXT("{}")};
        }
        append_and("COMMIT", events, AGGREGATES);
    }
    memset(last, 0, sizeof(last));
    for (int round = 0; delivered != AGGREGATES * EACH; ++round) {
        ck_assert_int_lt(round, 500);
        memset(batches, 0, sizeof(batches));
        for (int c = 0; c != CLAIMERS; ++c)
            till_outbox_claim(pool, &x, 1, 4, LEASE_MS, TIMEOUT_MS, on_claim, &batches[c]);
        for (int c = 0; c != CLAIMERS; ++c)
            TEST_UNTIL(loop, batches[c].calls == 1);
        for (int c = 0; c != CLAIMERS; ++c) {
            ck_assert_int_eq(batches[c].status, TILL_OK);
            for (size_t i = 0; i != batches[c].n; ++i) {
                struct seen *seen = &batches[c].seen[i];
                int k = (int)strtol(seen->aggregate + 6, NULL, 10);
                ck_assert_uint_eq(seen->attempts, 1); /* nobody had it before */
                ck_assert_uint_gt(seen->id, last[k]);
                last[k] = seen->id;
                ck_assert_int_eq(done(seen), TILL_OK);
                ++delivered;
            }
        }
    }
    ck_assert_int_eq(test_kernel_number(pool, "SELECT COUNT(*) FROM outbox WHERE state <> 'done'"), 0);
}
END_TEST

static void on_slept(void *data, till_status_t status, const till_sql_result_t *result)
{
    struct change *change = data;

    (void)result;
    ck_assert_int_eq(status, TILL_OK);
    till_sql_run(change->conn, TEXT(TILL_SQL_COMMIT), NULL, 0, TIMEOUT_MS, on_ran, change);
}

/* In a transaction that is open still. */
static void append_two(struct change *change, int round)
{
    char aggregate[16];

    snprintf(aggregate, sizeof(aggregate), "order:%d", round);
    const till_event_t events[] = {{.aggregate = TEXT(aggregate), .type = TEXT("first"), .payload = TEXT("{}")},
                                   {.aggregate = TEXT(aggregate), .type = TEXT("second"), .payload = TEXT("{}")}};
    till_sql_acquire(pool, TIMEOUT_MS, on_conn, change);
    TEST_UNTIL(loop, change->conn != NULL);
    run(change, "BEGIN");
    change->done = false;
    till_outbox_append(change->conn, events, 2, TIMEOUT_MS, on_change, change);
    TEST_UNTIL(loop, change->done);
    ck_assert_int_eq(change->status, TILL_OK);
}

/* A claim looks through a backlog, and sooner or later meanwhile two events of one aggregate are committed: the later
 * one is not to be had while the other one waits, whenever it was. */
START_TEST(what_is_committed_while_a_claim_looks_comes_in_order)
{
    const till_outbox_kind_t second = {.type = TEXT("second")};

    append("big:1", "first");
    test_kernel_number(pool, "INSERT INTO outbox (aggregate, type, payload, available_at)"
                             " SELECT 'big:1', 'second', '{}', NOW(3) - INTERVAL 1 DAY FROM seq_1_to_4000");
    for (int round = 0; round != 20; ++round) {
        struct change change = {0};
        struct batch batch = {0};
        char sleep[32];
        append_two(&change, round);
        change.done = false;
        snprintf(sleep, sizeof(sleep), "DO SLEEP(0.0%02d)", round % 20);
        till_sql_run(change.conn, TEXT(sleep), NULL, 0, TIMEOUT_MS, on_slept, &change);
        till_outbox_claim(pool, &second, 1, 10, LEASE_MS, TIMEOUT_MS, on_claim, &batch);
        TEST_UNTIL(loop, change.done && batch.calls == 1);
        ck_assert_int_eq(batch.status, TILL_OK);
        ck_assert_uint_eq(batch.n, 0);
        till_sql_release(change.conn);
    }
    ck_assert_int_eq(test_kernel_number(pool, "SELECT COUNT(*) FROM outbox WHERE attempts <> 0"), 0);
}
END_TEST

START_TEST(cancelled_at_every_turn)
{
    const till_outbox_kind_t x = {.type = TEXT("x")};

    append("order:1", "x");
    for (int turns = 0; turns != 30; ++turns) {
        struct batch batch = {0};
        till_op_t *op = till_outbox_claim(pool, &x, 1, 1, LEASE_MS, TIMEOUT_MS, on_claim, &batch);
        for (int i = 0; i != turns && batch.calls == 0; ++i)
            till_loop_turn(loop, 1);
        if (batch.calls == 0)
            till_op_cancel(op);
        TEST_UNTIL(loop, batch.calls == 1);
        ck_assert(batch.status == TILL_CANCELLED || batch.status == TILL_OK);
        till_loop_turn(loop, 0);
        make_due();
    }
    ck_assert_uint_eq(claim(1, LEASE_MS).n, 1);
}
END_TEST

/* What was delivered is never met: the price of a claim does not grow with the history. */
START_TEST(history_costs_nothing)
{
    test_kernel_number(pool, "INSERT INTO outbox (aggregate, type, payload, state, done_at)"
                             " SELECT CONCAT('order:', seq % 1000), 'x', '{}', 'done', NOW(3) FROM seq_1_to_100000");
    test_kernel_number(pool, "INSERT INTO outbox (aggregate, type, payload)" /* due, but not asked for */
                             " SELECT CONCAT('product:', seq), 'no slot', '{}' FROM seq_1_to_10000");
    for (int i = 0; i != 20; ++i)
        append("order:7", "y");
    int64_t before = rows_read(), own = rows_read() - before;
    ck_assert_uint_eq(claim(10, LEASE_MS).n, 1);
    int64_t read = rows_read() - before - 2 * own;
    ck_assert_msg(read < 500, "a claim read %lld rows", (long long)read);
}
END_TEST

Suite *outbox_suite(void)
{
    Suite *suite = suite_create("trade/outbox");
    TCase *tc = tcase_create("outbox");

    tcase_set_timeout(tc, 90);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, an_event_from_append_to_done);
    tcase_add_test(tc, a_rolled_back_transaction_tells_nothing);
    tcase_add_test(tc, not_before_its_time);
    tcase_add_test(tc, only_the_oldest_of_an_aggregate);
    tcase_add_test(tc, the_last_attempt_buries_and_frees_the_rest);
    tcase_add_loop_test(tc, backoff_doubles_up_to_an_hour, 0, sizeof(waits) / sizeof(waits[0]));
    tcase_add_test(tc, a_lease_that_is_over_is_taken_over);
    tcase_add_test(tc, a_lease_is_extended_as_often_as_one_likes);
    tcase_add_test(tc, a_lease_is_extended_by_who_has_it);
    tcase_add_test(tc, what_is_released_was_not_tried);
    tcase_add_test(tc, kinds_in_the_order_that_is_asked_for);
    tcase_add_test(tc, as_many_as_a_claim_takes);
    tcase_add_test(tc, reasons_are_cut_between_characters);
    tcase_add_test(tc, claimers_at_once);
    tcase_add_test(tc, what_is_committed_while_a_claim_looks_comes_in_order);
    tcase_add_test(tc, cancelled_at_every_turn);
    tcase_add_test(tc, history_costs_nothing);
    suite_add_tcase(suite, tc);
    return suite;
}
