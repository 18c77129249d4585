/* loop.h - the one place that knows libh2o's event loop.
 *
 * A worker is one thread with one loop. libh2o keeps time in lists of one fixed
 * interval, so deadlines stand in a heap of our own (io/timer.h) and the
 * nearest of them is the longest the loop may sleep. Work that wants to see all
 * that one turn has gathered (Redis' pipeline, the loader of keys) hangs a hook
 * at the turn's end.
 *
 * Thread: everything here belongs to the thread that runs the loop; other
 *         threads talk to it through io/mailbox.h only.
 */
#ifndef TILL_IO_LOOP_H
#define TILL_IO_LOOP_H

#include <h2o.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/hist.h"

typedef struct till_loop till_loop_t;

/* Embedded in its owner; fields are private. */
typedef struct till_turn_hook {
    struct till_turn_hook *_next;
    void (*_cb)(struct till_turn_hook *hook);
    bool _on;
} till_turn_hook_t;

till_loop_t *till_loop_create(void);
/** Everything that uses the loop must be gone; a timer still running is a bug and aborts. What was cancelled is told so
 * in a turn: make one with max_wait_ms 0 before this. */
void till_loop_destroy(till_loop_t *loop);
/** For h2o_context_init and h2o_evloop_socket_create; borrowed. */
h2o_loop_t *till_loop_h2o(till_loop_t *loop);
/** Milliseconds of a clock that never steps (CLOCK_MONOTONIC), read once a turn. */
uint64_t till_loop_now(const till_loop_t *loop);
/** Wall clock in milliseconds since 1970, for what is stored and shown. */
uint64_t till_wall_ms(void);
/** One turn: sleep until an event or the nearest deadline (at most `max_wait_ms`), events, due timers, turn hooks until
 * none is left. */
void till_loop_turn(till_loop_t *loop, int32_t max_wait_ms);
/** Turns until till_loop_stop. */
void till_loop_run(till_loop_t *loop);
void till_loop_stop(till_loop_t *loop);
/** Calls `cb` once at the end of this turn (also a turn that has not begun); asking again before that does nothing. */
void till_loop_at_turn_end(till_loop_t *loop, till_turn_hook_t *hook, void (*cb)(till_turn_hook_t *hook));
/** How long each turn kept all others waiting, from the first event to the last hook. The worst since the last call of
 * this goes to `worst`, in seconds. */
const till_hist_t *till_loop_turns(till_loop_t *loop, double *worst);
void till_turn_hook_cancel(till_loop_t *loop, till_turn_hook_t *hook);

#endif
