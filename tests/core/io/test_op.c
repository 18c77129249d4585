#include <check.h>
#include <stdlib.h>
#include "io/op.h"

static till_loop_t *loop;

/* What happened to an operation; outlives it. */
typedef struct fate {
    unsigned done, aborted;
    till_status_t status, why;
    bool done_at_abort; /* the callback had run when abort was called */
} fate_t;

typedef struct work {
    till_op_t op; /* first */
    fate_t *fate;
    void (*in_callback)(till_op_t *op);
} work_t;

static void setup(void) { loop = till_loop_create(); }

static void teardown(void) { till_loop_destroy(loop); /* aborts where a timer was left behind */ }

static void on_abort(till_op_t *op, till_status_t why)
{
    fate_t *fate = ((work_t *)op)->fate;

    fate->aborted++;
    fate->why = why;
    fate->done_at_abort = fate->done != 0;
    till_op_finish(op, TILL_INTERNAL); /* late: must change nothing */
}

static void on_done(till_op_t *op, till_status_t status)
{
    work_t *work = (work_t *)op;

    work->fate->done++;
    work->fate->status = status;
    if (work->in_callback != NULL)
        work->in_callback(op);
    free(work);
}

static till_op_t *make(fate_t *fate, uint64_t timeout_ms)
{
    work_t *work = calloc(1, sizeof(*work));

    *fate = (fate_t){0};
    work->fate = fate;
    till_op_init(&work->op, loop, timeout_ms, on_abort, on_done);
    return &work->op;
}

static void expect(const fate_t *fate, till_status_t status, unsigned aborted)
{
    ck_assert_uint_eq(fate->done, 0); /* never inside the call */
    till_loop_turn(loop, 1000);
    till_loop_turn(loop, 0);
    ck_assert_uint_eq(fate->done, 1);
    ck_assert_int_eq(fate->status, status);
    ck_assert_uint_eq(fate->aborted, aborted);
    ck_assert(!fate->done_at_abort);
}

START_TEST(a_finish_is_told_on_the_next_turn)
{
    fate_t fate;

    till_op_finish(make(&fate, 0), TILL_OK);
    expect(&fate, TILL_OK, 0);
}
END_TEST

START_TEST(the_first_finish_counts)
{
    fate_t fate;
    till_op_t *op = make(&fate, 1000);

    till_op_finish(op, TILL_DUPLICATE);
    till_op_finish(op, TILL_OK);
    till_op_finish_now(op, TILL_OK);
    till_op_cancel(op);
    expect(&fate, TILL_DUPLICATE, 0);
}
END_TEST

START_TEST(a_cancel_lets_go_first_and_is_told_later)
{
    fate_t fate;
    till_op_t *op = make(&fate, 1000);

    till_op_cancel(op);
    ck_assert_uint_eq(fate.aborted, 1);
    ck_assert_int_eq(fate.why, TILL_CANCELLED);
    till_op_cancel(op);
    till_op_finish(op, TILL_OK);
    expect(&fate, TILL_CANCELLED, 1);
}
END_TEST

START_TEST(a_deadline_lets_go_and_is_told)
{
    fate_t fate;

    make(&fate, 2);
    while (fate.aborted == 0)
        till_loop_turn(loop, 1000);
    ck_assert_int_eq(fate.why, TILL_TIMEOUT);
    expect(&fate, TILL_TIMEOUT, 1);
}
END_TEST

START_TEST(without_a_deadline_it_waits)
{
    fate_t fate;
    till_op_t *op = make(&fate, 0);

    till_loop_turn(loop, 3);
    ck_assert_uint_eq(fate.done, 0);
    till_op_cancel(op);
    expect(&fate, TILL_CANCELLED, 1);
}
END_TEST

START_TEST(a_finish_wins_against_its_deadline)
{
    fate_t fate;
    uint64_t begin = till_wall_ms();
    till_op_t *op = make(&fate, 1);

    while (till_wall_ms() < begin + 3) /* the deadline passes without a turn */
        ;
    till_op_finish(op, TILL_OK);
    expect(&fate, TILL_OK, 0);
}
END_TEST

START_TEST(finish_now_is_told_at_once)
{
    fate_t fate;

    till_op_finish_now(make(&fate, 1000), TILL_OK);
    ck_assert_uint_eq(fate.done, 1);
    ck_assert_int_eq(fate.status, TILL_OK);
    till_loop_turn(loop, 0);
    ck_assert_uint_eq(fate.done, 1);
}
END_TEST

static void meddle(till_op_t *op)
{
    till_op_cancel(op);
    till_op_finish(op, TILL_INTERNAL);
    till_op_finish_now(op, TILL_INTERNAL);
}

START_TEST(in_its_callback_nothing_can_be_changed)
{
    fate_t fate;
    till_op_t *op = make(&fate, 1000);

    ((work_t *)op)->in_callback = meddle;
    till_op_finish(op, TILL_OK);
    expect(&fate, TILL_OK, 0);
    op = make(&fate, 1000);
    ((work_t *)op)->in_callback = meddle;
    till_op_finish_now(op, TILL_OK);
    ck_assert_uint_eq(fate.done, 1);
    ck_assert_uint_eq(fate.aborted, 0);
}
END_TEST

static till_op_t *other;

static void cancel_other(till_op_t *op)
{
    (void)op;
    till_op_cancel(other);
}

START_TEST(a_callback_may_cancel_another_operation)
{
    fate_t fate, second;
    till_op_t *op = make(&fate, 1000);

    other = make(&second, 1000);
    ((work_t *)op)->in_callback = cancel_other;
    till_op_finish(op, TILL_OK);
    expect(&fate, TILL_OK, 0);
    ck_assert_uint_eq(second.done, 1);
    ck_assert_int_eq(second.status, TILL_CANCELLED);
}
END_TEST

START_TEST(held_it_hears_of_cancel_and_deadline_when_it_is_let_go)
{
    fate_t cancelled, late, done;
    till_op_t *first = make(&cancelled, 0), *second = make(&late, 1), *third = make(&done, 1000);
    uint64_t begin = till_wall_ms();

    till_op_hold(first);
    till_op_hold(second);
    till_op_hold(third);
    till_op_cancel(first);
    while (till_wall_ms() < begin + 3)
        till_loop_turn(loop, 3);
    ck_assert_uint_eq(cancelled.aborted + late.aborted, 0);
    till_op_unhold(second);
    ck_assert_int_eq(late.why, TILL_TIMEOUT);
    expect(&late, TILL_TIMEOUT, 1);
    till_op_unhold(first);
    ck_assert_int_eq(cancelled.why, TILL_CANCELLED);
    expect(&cancelled, TILL_CANCELLED, 1);
    till_op_unhold(third); /* nothing came */
    till_op_hold(third);
    till_op_finish(third, TILL_OK);
    expect(&done, TILL_OK, 0);
}
END_TEST

START_TEST(held_its_outcome_counts)
{
    fate_t fate;
    till_op_t *op = make(&fate, 1000);

    till_op_hold(op);
    till_op_cancel(op);
    till_op_finish(op, TILL_OK);
    expect(&fate, TILL_OK, 0);
}
END_TEST

START_TEST(a_cancel_of_nothing_is_allowed) { till_op_cancel(NULL); }
END_TEST

Suite *op_suite(void)
{
    Suite *suite = suite_create("op");
    TCase *tc = tcase_create("op");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_finish_is_told_on_the_next_turn);
    tcase_add_test(tc, the_first_finish_counts);
    tcase_add_test(tc, a_cancel_lets_go_first_and_is_told_later);
    tcase_add_test(tc, a_deadline_lets_go_and_is_told);
    tcase_add_test(tc, without_a_deadline_it_waits);
    tcase_add_test(tc, a_finish_wins_against_its_deadline);
    tcase_add_test(tc, finish_now_is_told_at_once);
    tcase_add_test(tc, in_its_callback_nothing_can_be_changed);
    tcase_add_test(tc, a_callback_may_cancel_another_operation);
    tcase_add_test(tc, held_it_hears_of_cancel_and_deadline_when_it_is_let_go);
    tcase_add_test(tc, held_its_outcome_counts);
    tcase_add_test(tc, a_cancel_of_nothing_is_allowed);
    suite_add_tcase(suite, tc);
    return suite;
}
