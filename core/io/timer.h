/* timer.h - deadlines: a heap of embedded timers per loop, O(log n) to start and stop.
 *
 * A timer fires once, from the loop, never inside the call that started it,
 * also with a delay of 0. It may be started again, or its owner freed, from
 * its own callback.
 */
#ifndef TILL_IO_TIMER_H
#define TILL_IO_TIMER_H

#include "io/loop.h"

typedef struct till_timer {
    till_loop_t *_loop; /* NULL while it is not running */
    size_t _at_heap;
    uint64_t _due, _order; /* equal deadlines fire in the order of their start */
    void (*_cb)(struct till_timer *timer);
} till_timer_t;

/** Starts it, or moves a running one. The storage must be zeroed before the first use. */
void till_timer_start(till_loop_t *loop, till_timer_t *timer, uint64_t delay_ms, void (*cb)(till_timer_t *timer));
/** A timer that does not run is allowed. */
void till_timer_stop(till_timer_t *timer);
bool till_timer_is_running(const till_timer_t *timer);

#endif
