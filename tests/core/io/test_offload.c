#include <check.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include "io/offload.h"
#include "support/servers.h"

enum { LIMIT_MS = 30000 };

static till_loop_t *loop;
static till_offload_t *pool;
static unsigned order;

typedef struct sum {
    sem_t *gate, *begun; /* NULL: does not wait, does not say so */
    int in, out;
    unsigned lane;
    unsigned worked, dropped, told;
    till_status_t status;
    void *arg;
} sum_t;

static void setup(void)
{
    loop = till_loop_create();
    order = 0;
}

static void work(void *arg)
{
    sum_t *sum = arg;

    if (sum->begun != NULL)
        sem_post(sum->begun);
    if (sum->gate != NULL)
        sem_wait(sum->gate);
    sum->out = sum->in * 2;
    sum->worked++;
}

static void done(void *data, till_status_t status, void *arg)
{
    sum_t *sum = data;

    sum->told = ++order;
    sum->status = status;
    sum->arg = arg;
}

static void drop(void *arg) { ((sum_t *)arg)->dropped++; }

static till_op_t *run(sum_t *sum, uint64_t timeout_ms)
{
    till_job_t job = {.work = work, .done = done, .drop = drop, .arg = sum, .data = sum, .lane = sum->lane};
    till_op_t *op = till_offload_run(pool, &job, timeout_ms);

    ck_assert_uint_eq(sum->told, 0);
    return op;
}

static bool is_told(void *data) { return ((sum_t *)data)->told != 0; }

static bool is_dropped(void *data) { return ((sum_t *)data)->dropped != 0; }

static void finish_loop(void)
{
    till_offload_destroy(pool);
    till_loop_turn(loop, 0);
    till_loop_destroy(loop);
}

START_TEST(jobs_run_elsewhere_in_their_order_and_answer_here)
{
    static sum_t sums[100];

    pool = till_offload_create(loop, 1, 0);
    for (int i = 0; i < 100; i++) {
        sums[i] = (sum_t){.in = i};
        run(&sums[i], LIMIT_MS);
    }
    for (int i = 0; i < 100; i++) {
        ck_assert(till_test_until(loop, is_told, &sums[i], LIMIT_MS));
        ck_assert_int_eq(sums[i].status, TILL_OK);
        ck_assert_ptr_eq(sums[i].arg, &sums[i]);
        ck_assert_int_eq(sums[i].out, i * 2);
        ck_assert_uint_eq(sums[i].told, (unsigned)i + 1);
        ck_assert_uint_eq(sums[i].dropped, 0);
    }
    finish_loop();
}
END_TEST

START_TEST(lanes_take_turns_and_tell_how_many_wait)
{
    sem_t gate, begun;
    sum_t held = {.gate = &gate, .begun = &begun}, many[10], few[2];

    sem_init(&gate, 0, 0);
    sem_init(&begun, 0, 0);
    pool = till_offload_create(loop, 1, 0);
    run(&held, LIMIT_MS);
    sem_wait(&begun);
    for (int i = 0; i < 10; i++) {
        many[i] = (sum_t){.lane = 1};
        run(&many[i], LIMIT_MS);
    }
    for (int i = 0; i < 2; i++) {
        few[i] = (sum_t){.lane = 3};
        run(&few[i], LIMIT_MS);
    }
    ck_assert_uint_eq(till_offload_waiting(pool, 0), 0);
    ck_assert_uint_eq(till_offload_waiting(pool, 1), 10);
    ck_assert_uint_eq(till_offload_waiting(pool, 3), 2);
    sem_post(&gate);
    ck_assert(till_test_until(loop, is_told, &many[9], LIMIT_MS));
    ck_assert_uint_eq(many[0].told, 2);
    ck_assert_uint_eq(few[0].told, 3);
    ck_assert_uint_eq(many[1].told, 4);
    ck_assert_uint_eq(few[1].told, 5);
    ck_assert_uint_eq(many[9].told, 13);
    ck_assert_uint_eq(till_offload_waiting(pool, 1), 0);
    finish_loop();
}
END_TEST

START_TEST(a_job_that_is_given_up_leaves_its_place_to_the_next)
{
    sem_t gate, begun;
    sum_t held = {.gate = &gate, .begun = &begun}, first = {.lane = 1}, last = {.lane = 1}, next = {.lane = 1};

    sem_init(&gate, 0, 0);
    sem_init(&begun, 0, 0);
    pool = till_offload_create(loop, 1, 0);
    run(&held, LIMIT_MS);
    sem_wait(&begun);
    run(&first, LIMIT_MS);
    till_op_cancel(run(&last, LIMIT_MS));
    ck_assert(till_test_until(loop, is_told, &last, LIMIT_MS));
    ck_assert_uint_eq(till_offload_waiting(pool, 1), 1);
    run(&next, LIMIT_MS);
    sem_post(&gate);
    ck_assert(till_test_until(loop, is_told, &next, LIMIT_MS));
    ck_assert_int_eq(first.status, TILL_OK);
    ck_assert_int_eq(next.status, TILL_OK);
    finish_loop();
}
END_TEST

START_TEST(a_cancelled_job_that_runs_is_dropped_when_it_ends)
{
    sem_t gate, begun;
    sum_t sum = {.gate = &gate, .begun = &begun};
    till_op_t *op;

    sem_init(&gate, 0, 0);
    sem_init(&begun, 0, 0);
    pool = till_offload_create(loop, 1, 0);
    op = run(&sum, LIMIT_MS);
    sem_wait(&begun);
    till_op_cancel(op);
    ck_assert_uint_eq(sum.told, 0);
    ck_assert(till_test_until(loop, is_told, &sum, LIMIT_MS));
    ck_assert_int_eq(sum.status, TILL_CANCELLED);
    ck_assert_ptr_null(sum.arg);
    ck_assert_uint_eq(sum.dropped, 0); /* the thread has it still */
    sem_post(&gate);
    ck_assert(till_test_until(loop, is_dropped, &sum, LIMIT_MS));
    ck_assert_uint_eq(sum.told, 1);
    finish_loop();
}
END_TEST

START_TEST(a_job_that_is_late_is_told_and_dropped)
{
    sem_t gate;
    sum_t sum = {.gate = &gate}, queued = {.in = 1};

    sem_init(&gate, 0, 0);
    pool = till_offload_create(loop, 1, 0);
    run(&sum, 5);
    run(&queued, 5);
    ck_assert(till_test_until(loop, is_told, &sum, LIMIT_MS));
    ck_assert(till_test_until(loop, is_told, &queued, LIMIT_MS));
    ck_assert_int_eq(sum.status, TILL_TIMEOUT);
    ck_assert_int_eq(queued.status, TILL_TIMEOUT);
    sem_post(&gate);
    ck_assert(till_test_until(loop, is_dropped, &sum, LIMIT_MS));
    finish_loop();
    ck_assert_uint_eq(queued.worked, 0); /* it was still in the queue */
    ck_assert_uint_eq(queued.dropped, 1);
}
END_TEST

static void *open_gate(void *arg)
{
    sem_post(arg);
    return NULL;
}

START_TEST(destroy_waits_for_what_runs_and_cancels_the_rest)
{
    sem_t gate, begun;
    sum_t sum = {.gate = &gate, .begun = &begun, .in = 4}, queued = {.in = 1};
    pthread_t opener;

    sem_init(&gate, 0, 0);
    sem_init(&begun, 0, 0);
    pool = till_offload_create(loop, 1, 0);
    run(&sum, LIMIT_MS);
    run(&queued, LIMIT_MS);
    sem_wait(&begun);
    pthread_create(&opener, NULL, open_gate, &gate);
    till_offload_destroy(pool);
    pthread_join(opener, NULL);
    ck_assert_uint_eq(sum.told + queued.told, 0); /* never inside a call of ours */
    till_loop_turn(loop, 0);
    ck_assert_int_eq(sum.status, TILL_OK);
    ck_assert_int_eq(sum.out, 8);
    ck_assert_int_eq(queued.status, TILL_CANCELLED);
    ck_assert_uint_eq(queued.worked, 0);
    ck_assert_uint_eq(queued.dropped, 1);
    till_loop_destroy(loop);
}
END_TEST

Suite *offload_suite(void)
{
    Suite *suite = suite_create("offload");
    TCase *tc = tcase_create("offload");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, jobs_run_elsewhere_in_their_order_and_answer_here);
    tcase_add_test(tc, lanes_take_turns_and_tell_how_many_wait);
    tcase_add_test(tc, a_job_that_is_given_up_leaves_its_place_to_the_next);
    tcase_add_test(tc, a_cancelled_job_that_runs_is_dropped_when_it_ends);
    tcase_add_test(tc, a_job_that_is_late_is_told_and_dropped);
    tcase_add_test(tc, destroy_waits_for_what_runs_and_cancels_the_rest);
    suite_add_tcase(suite, tc);
    return suite;
}
