#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "io/timer.h"

enum { COUNT = 2000 };

static till_loop_t *loop;
static unsigned fired;

static void setup(void)
{
    loop = till_loop_create();
    fired = 0;
}

static void teardown(void) { till_loop_destroy(loop); }

typedef struct item {
    till_timer_t timer; /* first */
    uint64_t delay;
    unsigned number; /* the how many-th to fire, from 1 */
} item_t;

static void on_item(till_timer_t *timer) { ((item_t *)timer)->number = ++fired; }

START_TEST(a_delay_of_0_fires_in_the_next_pass_and_not_inside_start)
{
    item_t item = {0};

    till_timer_start(loop, &item.timer, 0, on_item);
    ck_assert_uint_eq(fired, 0);
    ck_assert(till_timer_is_running(&item.timer));
    till_loop_turn(loop, 1000);
    ck_assert_uint_eq(fired, 1);
    ck_assert(!till_timer_is_running(&item.timer));
}
END_TEST

static void on_again(till_timer_t *timer)
{
    fired++;
    till_timer_start(loop, timer, 0, on_again);
}

START_TEST(a_timer_that_restarts_itself_fires_once_a_turn)
{
    item_t item = {0}, other = {0};

    till_timer_start(loop, &item.timer, 0, on_again);
    for (unsigned turn = 1; turn <= 5; turn++) {
        till_loop_turn(loop, 1000);
        ck_assert_uint_eq(fired, turn);
    }
    till_timer_start(loop, &other.timer, 0, on_item);
    till_loop_turn(loop, 1000);
    ck_assert_uint_ne(other.number, 0); /* it does not starve the others */
    till_timer_stop(&item.timer);
}
END_TEST

static void on_readable(h2o_socket_t *sock, const char *err)
{
    (void)err;
    *(bool *)sock->data = true;
    h2o_socket_read_stop(sock);
}

START_TEST(a_timer_that_restarts_itself_lets_sockets_have_their_turn)
{
    item_t item = {0};
    bool readable = false;
    h2o_socket_t *sock;
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    sock = h2o_evloop_socket_create(till_loop_h2o(loop), fds[0], H2O_SOCKET_FLAG_DONT_READ);
    sock->data = &readable;
    h2o_socket_read_start(sock, on_readable);
    till_timer_start(loop, &item.timer, 0, on_again);
    ck_assert_int_eq(write(fds[1], "x", 1), 1);
    for (int turn = 0; turn < 3 && !readable; turn++)
        till_loop_turn(loop, 1000);
    ck_assert(readable);
    till_timer_stop(&item.timer);
    h2o_socket_close(sock);
    close(fds[1]);
}
END_TEST

START_TEST(equal_deadlines_fire_in_the_order_of_their_start)
{
    static item_t items[COUNT];

    memset(items, 0, sizeof(items));
    for (int i = 0; i < COUNT; i++)
        till_timer_start(loop, &items[i].timer, 1, on_item);
    while (fired < COUNT)
        till_loop_turn(loop, 1000);
    for (unsigned i = 0; i < COUNT; i++)
        ck_assert_uint_eq(items[i].number, i + 1);
}
END_TEST

/* Against a model: started, moved and stopped at random, they fire by deadline and none is lost. */
START_TEST(any_mixture_fires_by_deadline)
{
    static item_t items[COUNT];
    unsigned running = 0;

    memset(items, 0, sizeof(items));
    srand(7);
    for (int i = 0; i < COUNT * 5; i++) {
        item_t *item = &items[rand() % COUNT];
        if (rand() % 3 == 0) {
            till_timer_stop(&item->timer);
            continue;
        }
        item->delay = (uint64_t)(rand() % 40);
        till_timer_start(loop, &item->timer, item->delay, on_item);
    }
    for (int i = 0; i < COUNT; i++)
        running += till_timer_is_running(&items[i].timer);
    while (fired < running)
        till_loop_turn(loop, 1000);
    for (int i = 0; i < COUNT; i++)
        for (int j = i + 1; j < COUNT; j += 97)
            if (items[i].number != 0 && items[j].number != 0 && items[i].delay != items[j].delay)
                ck_assert((items[i].delay < items[j].delay) == (items[i].number < items[j].number));
    till_loop_turn(loop, 0);
    ck_assert_uint_eq(fired, running);
}
END_TEST

static item_t *victim;

static void on_stop_other(till_timer_t *timer)
{
    on_item(timer);
    till_timer_stop(&victim->timer);
}

START_TEST(a_timer_may_stop_another_that_is_due)
{
    item_t first = {0}, second = {0};

    victim = &second;
    till_timer_start(loop, &first.timer, 0, on_stop_other);
    till_timer_start(loop, &second.timer, 0, on_item);
    till_loop_turn(loop, 0);
    till_loop_turn(loop, 0);
    ck_assert_uint_eq(second.number, 0);
    till_timer_stop(&second.timer); /* twice is allowed */
}
END_TEST

static void on_free(till_timer_t *timer)
{
    fired++;
    free(timer);
}

START_TEST(its_owner_may_be_freed_in_the_callback)
{
    item_t *item = calloc(1, sizeof(*item));

    till_timer_start(loop, &item->timer, 0, on_free);
    till_loop_turn(loop, 1000);
    ck_assert_uint_eq(fired, 1);
}
END_TEST

START_TEST(a_deadline_too_far_to_count_never_comes)
{
    item_t item = {0};

    till_timer_start(loop, &item.timer, UINT64_MAX, on_item);
    till_loop_turn(loop, 5);
    ck_assert_uint_eq(fired, 0);
    till_timer_stop(&item.timer);
}
END_TEST

typedef struct hook {
    till_turn_hook_t hook; /* first */
    unsigned calls;
    struct hook *next;
} hook_t;

static void on_hook(till_turn_hook_t *turn_hook)
{
    hook_t *hook = (hook_t *)turn_hook;

    hook->calls++;
    if (hook->next != NULL)
        till_loop_at_turn_end(loop, &hook->next->hook, on_hook);
}

START_TEST(hooks_run_once_at_the_end_and_until_none_is_left)
{
    hook_t last = {.calls = 0}, first = {.next = &last}, gone = {.calls = 0};

    till_loop_at_turn_end(loop, &gone.hook, on_hook);
    till_loop_at_turn_end(loop, &first.hook, on_hook);
    till_loop_at_turn_end(loop, &first.hook, on_hook);
    till_turn_hook_cancel(loop, &gone.hook);
    till_turn_hook_cancel(loop, &gone.hook);
    till_loop_turn(loop, 60000); /* does not sleep: there is a hook to run */
    ck_assert_uint_eq(first.calls, 1);
    ck_assert_uint_eq(last.calls, 1); /* asked for by a hook, in the same turn */
    ck_assert_uint_eq(gone.calls, 0);
    till_loop_turn(loop, 0);
    ck_assert_uint_eq(first.calls, 1);
}
END_TEST

static void on_stop(till_timer_t *timer)
{
    (void)timer;
    till_loop_stop(loop);
}

START_TEST(run_goes_on_until_it_is_stopped)
{
    item_t item = {0}, stop = {0};

    till_timer_start(loop, &item.timer, 1, on_item);
    till_timer_start(loop, &stop.timer, 3, on_stop);
    till_loop_run(loop);
    ck_assert_uint_eq(fired, 1);
}
END_TEST

START_TEST(a_loop_with_a_running_timer_must_not_go)
{
    static item_t item;

    till_timer_start(loop, &item.timer, 1000, on_item);
    till_loop_destroy(loop);
}
END_TEST

Suite *timer_suite(void)
{
    Suite *suite = suite_create("timer");
    TCase *tc = tcase_create("timer");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_delay_of_0_fires_in_the_next_pass_and_not_inside_start);
    tcase_add_test(tc, a_timer_that_restarts_itself_fires_once_a_turn);
    tcase_add_test(tc, a_timer_that_restarts_itself_lets_sockets_have_their_turn);
    tcase_add_test(tc, equal_deadlines_fire_in_the_order_of_their_start);
    tcase_add_test(tc, any_mixture_fires_by_deadline);
    tcase_add_test(tc, a_timer_may_stop_another_that_is_due);
    tcase_add_test(tc, its_owner_may_be_freed_in_the_callback);
    tcase_add_test(tc, a_deadline_too_far_to_count_never_comes);
    tcase_add_test(tc, hooks_run_once_at_the_end_and_until_none_is_left);
    tcase_add_test(tc, run_goes_on_until_it_is_stopped);
    tcase_add_test_raise_signal(tc, a_loop_with_a_running_timer_must_not_go, SIGABRT);
    suite_add_tcase(suite, tc);
    return suite;
}
