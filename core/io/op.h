/* op.h - an operation in flight: it has a deadline and can be cancelled.
 *
 * The law for whoever makes operations:
 *   1. The callback runs exactly once, from the loop, never inside the call
 *      that asked nor inside till_op_cancel, and as the last thing done.
 *   2. It runs with TILL_TIMEOUT when the deadline passes and with
 *      TILL_CANCELLED after a cancel; both lead through the same finish.
 *   3. The operation is freed when the callback returns; a pointer to it is
 *      borrowed until then.
 *
 * A till_op_t is the first member of the operation's own struct. The maker
 * calls till_op_init, and till_op_finish exactly once; `abort` is called when
 * the deadline passes or the owner cancels and must let go of the outer
 * resource at once (break the connection, leave the queue) and NOT call back:
 * till_op does so on the next turn with the right status.
 */
#ifndef TILL_IO_OP_H
#define TILL_IO_OP_H

#include "base/status.h"
#include "io/timer.h"

typedef struct till_op till_op_t;

struct till_op {
    till_loop_t *_loop;
    till_timer_t _timer; /* the deadline, then the finish */
    void (*_abort)(till_op_t *op, till_status_t why);
    void (*_done)(till_op_t *op, till_status_t status); /* calls the user's callback, frees the op */
    till_status_t _status, _kept;                       /* what came while it was held */
    bool _finishing, _held;
};

/**
 * @param timeout_ms  from now; 0 means without deadline (only where another operation bounds it)
 * @param abort       lets go of the resource; NULL where nothing is held
 * @param done        delivers `status` and frees; called from the loop exactly once
 */
void till_op_init(till_op_t *op, till_loop_t *loop, uint64_t timeout_ms, void (*abort)(till_op_t *, till_status_t),
                  void (*done)(till_op_t *, till_status_t));
/** The work is over: `done` runs on the next turn. Later finishes and cancels do nothing. */
void till_op_finish(till_op_t *op, till_status_t status);
/** As till_op_finish, but calls `done` before it returns: only from an event callback of the loop, never from the
 * asking call. */
void till_op_finish_now(till_op_t *op, till_status_t status);
/** Gives up: abort(TILL_CANCELLED), then `done` on the next turn. NULL and finishing ones are allowed. */
void till_op_cancel(till_op_t *op);

/** What it waits for has begun, and its outcome counts: its deadline and cancels are kept and not heard, until it is
 * finished or let go. */
void till_op_hold(till_op_t *op);
/** It waits again: what was kept is heard now. */
void till_op_unhold(till_op_t *op);

#endif
