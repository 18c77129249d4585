/* test_lag.c - see core/io/lag.h */
#include <check.h>
#include <unistd.h>
#include "io/lag.h"

static till_loop_t *loop;
static till_lag_t *lag;

static void set_up(void)
{
    loop = till_loop_create();
    lag = till_lag_create(loop);
    ck_assert_ptr_nonnull(lag);
}

static void tear_down(void)
{
    till_lag_destroy(lag);
    till_loop_turn(loop, 0);
    till_loop_destroy(loop);
}

/* Keeps the loop from turning, as a long slice of Lua would. */
static void be_busy(unsigned ms) { usleep(ms * 1000); }

START_TEST(a_loop_that_is_busy_shows_by_how_much)
{
    till_lag_poke(lag);
    be_busy(60);
    till_loop_turn(loop, 1000);
    ck_assert_uint_ge(till_lag_take(lag), 60);
    ck_assert_uint_eq(till_lag_take(lag), 0); /* nothing was sent since */
}
END_TEST

START_TEST(a_probe_that_is_not_back_counts_by_its_age)
{
    till_lag_poke(lag);
    be_busy(60);
    ck_assert_uint_ge(till_lag_take(lag), 60);
    be_busy(20);
    ck_assert_uint_ge(till_lag_take(lag), 80);
    till_loop_turn(loop, 1000);
}
END_TEST

/* Nobody pokes: the loop sleeps on. */
START_TEST(without_work_there_are_no_probes)
{
    uint64_t before = till_loop_now(loop);

    till_loop_turn(loop, 40);
    ck_assert_uint_ge(till_loop_now(loop) - before, 39);
    ck_assert_uint_eq(till_lag_take(lag), 0);
}
END_TEST

START_TEST(none_is_allowed)
{
    till_lag_poke(NULL);
    ck_assert_uint_eq(till_lag_take(NULL), 0);
    till_lag_destroy(NULL);
}
END_TEST

Suite *lag_suite(void)
{
    Suite *suite = suite_create("io/lag");
    TCase *tc = tcase_create("lag");

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_loop_that_is_busy_shows_by_how_much);
    tcase_add_test(tc, a_probe_that_is_not_back_counts_by_its_age);
    tcase_add_test(tc, without_work_there_are_no_probes);
    tcase_add_test(tc, none_is_allowed);
    suite_add_tcase(suite, tc);
    return suite;
}
