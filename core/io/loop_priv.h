/* loop_priv.h - what loop.c and timer.c share: the loop's clock and its heap of deadlines. */
#ifndef TILL_IO_LOOP_PRIV_H
#define TILL_IO_LOOP_PRIV_H

#include "io/timer.h"

struct till_loop {
    h2o_evloop_t *h2o;
    uint64_t now;          /* of this turn */
    uint64_t wall, steady; /* libh2o's clock and one that never steps, when they were last looked at */
    h2o_timeout_t step_timeout;
    h2o_timeout_entry_t step_entry;
    bool stopped;
    till_hist_t turns;
    double worst_turn;
    till_turn_hook_t *hooks, **hooks_tail; /* in the order they were asked for */
    till_timer_t **heap;                   /* binary, the nearest deadline first */
    size_t heap_len, heap_cap;
    uint64_t next_order; /* of the next timer that is started */
};

/** Milliseconds to the nearest deadline, at most `limit`, as of `now`. */
int32_t till_timer_wait(const till_loop_t *loop, uint64_t now, int32_t limit);
/** Fires what is due and was started before this call. */
void till_timer_run_due(till_loop_t *loop);

#endif
