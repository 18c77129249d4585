#include "io/op.h"

#include <assert.h>

static void on_finish(till_timer_t *timer)
{
    till_op_t *op = H2O_STRUCT_FROM_MEMBER(till_op_t, _timer, timer);

    op->_done(op, op->_status); /* frees the op */
}

/* From here on every other finish and cancel is late and does nothing. */
static void begin_finish(till_op_t *op, till_status_t status)
{
    op->_finishing = true;
    op->_status = status;
    till_timer_start(op->_loop, &op->_timer, 0, on_finish);
}

static void give_up(till_op_t *op, till_status_t why)
{
    if (op->_held) {
        op->_kept = why;
        return;
    }
    begin_finish(op, why);
    if (op->_abort != NULL)
        op->_abort(op, why);
}

static void on_deadline(till_timer_t *timer)
{
    give_up(H2O_STRUCT_FROM_MEMBER(till_op_t, _timer, timer), TILL_TIMEOUT);
}

void till_op_init(till_op_t *op, till_loop_t *loop, uint64_t timeout_ms, void (*abort)(till_op_t *, till_status_t),
                  void (*done)(till_op_t *, till_status_t))
{
    assert(done != NULL);
    *op = (till_op_t){._loop = loop, ._abort = abort, ._done = done};
    if (timeout_ms != 0)
        till_timer_start(loop, &op->_timer, timeout_ms, on_deadline);
}

void till_op_finish(till_op_t *op, till_status_t status)
{
    if (!op->_finishing)
        begin_finish(op, status);
}

void till_op_finish_now(till_op_t *op, till_status_t status)
{
    if (op->_finishing)
        return;
    op->_finishing = true;
    op->_status = status;
    till_timer_stop(&op->_timer);
    op->_done(op, status);
}

void till_op_cancel(till_op_t *op)
{
    if (op != NULL && !op->_finishing)
        give_up(op, TILL_CANCELLED);
}

void till_op_hold(till_op_t *op) { op->_held = true; }

void till_op_unhold(till_op_t *op)
{
    op->_held = false;
    if (op->_kept != TILL_OK && !op->_finishing)
        give_up(op, op->_kept);
}
