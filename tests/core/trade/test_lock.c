/* test_lock.c - see core/trade/lock.h; against a Redis of its own. */
#include <check.h>
#include <signal.h>
#include <string.h>
#include "support/child.h"
#include "trade/lock.h"

#define TEXT(text) ((till_slice_t){text, strlen(text)})

static test_redis_t server;
static till_loop_t *loop;
static till_redis_t *redis;

struct grant {
    int calls;
    till_status_t status;
    till_lock_t *lock;
};

static void on_lock(void *data, till_status_t status, till_lock_t *lock)
{
    struct grant *grant = data;

    ++grant->calls;
    grant->status = status;
    grant->lock = lock;
    ck_assert_int_eq(lock != NULL, status == TILL_OK);
}

static till_op_t *ask(const char *name, uint64_t lease_ms, uint64_t wait_ms, struct grant *grant)
{
    const till_lock_opts_t opts = {.lease_ms = lease_ms, .wait_ms = wait_ms};

    return till_lock_acquire(redis, loop, TEXT(name), &opts, on_lock, grant);
}

static struct grant acquire(const char *name, uint64_t lease_ms, uint64_t wait_ms)
{
    struct grant grant = {0};

    ask(name, lease_ms, wait_ms, &grant);
    ck_assert_int_eq(grant.calls, 0);
    TEST_UNTIL(loop, grant.calls != 0);
    return grant;
}

static void on_reply(void *data, till_status_t status, const till_reply_t *reply)
{
    (void)status;
    *(int64_t *)data = reply != NULL && reply->type == TILL_REPLY_INT ? reply->integer : 0;
}

static int64_t command(const char *verb, const char *argument)
{
    const till_slice_t argv[] = {TEXT(verb), TEXT(argument)};
    int64_t number = -1;

    till_redis_command(redis, 2, argv, 5000, on_reply, &number);
    TEST_UNTIL(loop, number != -1);
    return number;
}

static void set_up(void)
{
    signal(SIGPIPE, SIG_IGN);
    test_redis_start(&server, NULL);
    loop = till_loop_create();
    redis = till_redis_create(loop, &(till_redis_opts_t){.socket = server.socket});
}

static void tear_down(void)
{
    till_redis_destroy(redis);
    till_loop_turn(loop, 0);
    till_loop_turn(loop, 0);
    till_loop_destroy(loop);
    test_redis_stop(&server);
}

START_TEST(one_has_it_until_he_gives_it_back)
{
    struct grant first = acquire("pay", 10000, 0);

    ck_assert_int_eq(first.status, TILL_OK);
    ck_assert_int_eq(acquire("pay", 10000, 0).status, TILL_BUSY);
    struct grant other = acquire("another", 10000, 0);
    ck_assert_int_eq(other.status, TILL_OK);
    till_lock_release(first.lock);
    struct grant second = acquire("pay", 10000, 0);
    ck_assert_int_eq(second.status, TILL_OK);
    till_lock_release(second.lock);
    till_lock_release(other.lock);
    till_lock_release(NULL);
}
END_TEST

START_TEST(fences_grow_and_are_no_less_than_the_clock)
{
    uint64_t last = till_wall_ms() * 1000;

    for (int i = 0; i != 200; ++i) {
        struct grant grant = acquire("pay", 10000, 0);
        ck_assert_uint_gt(till_lock_fence(grant.lock), last);
        ck_assert_uint_lt(till_lock_fence(grant.lock), (uint64_t)1 << 53);
        last = till_lock_fence(grant.lock);
        till_lock_release(grant.lock);
    }
}
END_TEST

START_TEST(fences_grow_over_a_flush)
{
    uint64_t last = 0;

    for (int i = 0; i != 50; ++i) {
        struct grant grant = acquire("pay", 10000, 0);
        ck_assert_uint_gt(till_lock_fence(grant.lock), last);
        last = till_lock_fence(grant.lock);
        command("FLUSHALL", "SYNC");
        till_lock_release(grant.lock);
    }
}
END_TEST

/* A fence that lies ahead of the clock, as after the clock was set back, still grows. */
START_TEST(fences_grow_when_the_clock_goes_back)
{
    const till_slice_t argv[] = {TEXT("SET"), TEXT("till:fence"), TEXT("8000000000000000")};
    int64_t set = -1;

    till_redis_command(redis, 3, argv, 5000, on_reply, &set);
    TEST_UNTIL(loop, set != -1);
    struct grant grant = acquire("pay", 10000, 0);
    ck_assert_uint_eq(till_lock_fence(grant.lock), 8000000000000001);
    till_lock_release(grant.lock);
}
END_TEST

START_TEST(a_lease_lapses_and_the_late_release_harms_nobody)
{
    struct grant first = acquire("pay", 30, 0), second = acquire("pay", 10000, 5000);

    ck_assert_int_eq(second.status, TILL_OK);
    ck_assert_uint_gt(till_lock_fence(second.lock), till_lock_fence(first.lock));
    till_lock_release(first.lock);
    ck_assert_int_eq(acquire("pay", 10000, 0).status, TILL_BUSY);
    till_lock_release(second.lock);
}
END_TEST

START_TEST(those_who_wait_get_it_one_after_the_other)
{
    enum { N = 20 };
    static struct grant grants[N];
    uint64_t last = 0;

    for (int i = 0; i != N; ++i)
        ask("pay", 60000, 30000, &grants[i]);
    for (int given = 0; given != N; ++given) {
        struct grant *now = NULL;
        TEST_UNTIL(loop, ({
                       int held = 0;
                       for (int i = 0; i != N; ++i) {
                           if (grants[i].lock != NULL)
                               ++held, now = &grants[i];
                       }
                       ck_assert_int_le(held, 1);
                       held == 1;
                   }));
        ck_assert_uint_gt(till_lock_fence(now->lock), last);
        last = till_lock_fence(now->lock);
        till_lock_release(now->lock);
        now->lock = NULL;
    }
}
END_TEST

START_TEST(waiting_ends)
{
    struct grant first = acquire("pay", 60000, 0);

    ck_assert_int_eq(acquire("pay", 60000, 100).status, TILL_BUSY);
    till_lock_release(first.lock);
}
END_TEST

START_TEST(cancelled_while_it_waits)
{
    struct grant first = acquire("pay", 60000, 0), second = {0};
    till_op_t *op = ask("pay", 60000, 60000, &second);

    for (int i = 0; i != 5; ++i)
        till_loop_turn(loop, 5);
    till_op_cancel(op);
    ck_assert_int_eq(second.calls, 0);
    TEST_UNTIL(loop, second.calls == 1);
    ck_assert_int_eq(second.status, TILL_CANCELLED);
    till_lock_release(first.lock);
    ck_assert_int_eq(command("EXISTS", "till:lock:pay"), 0);
}
END_TEST

/* The grant is on its way when its asker gives up: it must not stay taken for the whole lease. */
START_TEST(cancelled_while_it_is_being_granted)
{
    struct grant first = {0};
    till_op_t *op = ask("pay", 600000, 0, &first);

    till_op_cancel(op);
    TEST_UNTIL(loop, first.calls == 1);
    ck_assert_int_eq(first.status, TILL_CANCELLED);
    struct grant second = acquire("pay", 600000, 0);
    ck_assert_int_eq(second.status, TILL_OK);
    till_lock_release(second.lock);
}
END_TEST

START_TEST(no_answer_is_a_timeout_and_is_taken_back)
{
    const till_slice_t argv[] = {TEXT("DEBUG"), TEXT("SLEEP"), TEXT("1.5")};
    int64_t slept = -1;

    till_redis_command(redis, 3, argv, 5000, on_reply, &slept);
    ck_assert_int_eq(acquire("pay", 600000, 0).status, TILL_TIMEOUT);
    TEST_UNTIL(loop, slept != -1);
    struct grant second = acquire("pay", 600000, 0);
    ck_assert_int_eq(second.status, TILL_OK);
    till_lock_release(second.lock);
}
END_TEST

START_TEST(redis_away_is_told_at_once)
{
    struct grant first = acquire("pay", 60000, 0);

    test_redis_kill(&server);
    TEST_UNTIL(loop, !till_redis_is_up(redis));
    ck_assert_int_eq(acquire("pay", 60000, 60000).status, TILL_CONN_LOST);
    till_lock_release(first.lock);
    test_redis_restart(&server);
    TEST_UNTIL(loop, till_redis_is_up(redis));
    struct grant second = acquire("pay", 60000, 0);
    ck_assert_uint_gt(till_lock_fence(second.lock), 0);
    till_lock_release(second.lock);
}
END_TEST

Suite *lock_suite(void)
{
    Suite *suite = suite_create("trade/lock");
    TCase *tc = tcase_create("lock");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, one_has_it_until_he_gives_it_back);
    tcase_add_test(tc, fences_grow_and_are_no_less_than_the_clock);
    tcase_add_test(tc, fences_grow_over_a_flush);
    tcase_add_test(tc, fences_grow_when_the_clock_goes_back);
    tcase_add_test(tc, a_lease_lapses_and_the_late_release_harms_nobody);
    tcase_add_test(tc, those_who_wait_get_it_one_after_the_other);
    tcase_add_test(tc, waiting_ends);
    tcase_add_test(tc, cancelled_while_it_waits);
    tcase_add_test(tc, cancelled_while_it_is_being_granted);
    tcase_add_test(tc, no_answer_is_a_timeout_and_is_taken_back);
    tcase_add_test(tc, redis_away_is_told_at_once);
    suite_add_tcase(suite, tc);
    return suite;
}
