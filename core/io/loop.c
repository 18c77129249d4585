#include "io/loop_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include "base/log.h"
#include "base/log.h"
#include "base/mem.h"

#define MAX_TURN_MS 60000

static uint64_t read_clock(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

till_loop_t *till_loop_create(void)
{
    till_loop_t *loop = till_calloc(1, sizeof(*loop));

    loop->h2o = h2o_evloop_create();
    loop->now = read_clock(CLOCK_MONOTONIC);
    loop->hooks_tail = &loop->hooks;
    return loop;
}

void till_loop_destroy(till_loop_t *loop)
{
    if (loop->heap_len != 0) {
        fprintf(stderr, "till_loop_destroy: %zu timers are still running\n", loop->heap_len);
        abort();
    }
    /* Sockets that were closed since the last turn are freed by the next one. */
    h2o_evloop_run(loop->h2o, 0);
    h2o_evloop_destroy(loop->h2o);
    free(loop->heap);
    free(loop);
}

h2o_loop_t *till_loop_h2o(till_loop_t *loop) { return loop->h2o; }

uint64_t till_loop_now(const till_loop_t *loop) { return loop->now; }

uint64_t till_wall_ms(void) { return read_clock(CLOCK_REALTIME); }

static void bring_forward(h2o_timeout_t *timeout, uint64_t wall)
{
    for (h2o_linklist_t *node = timeout->_entries.next; node != &timeout->_entries; node = node->next) {
        h2o_timeout_entry_t *entry = H2O_STRUCT_FROM_MEMBER(h2o_timeout_entry_t, _link, node);
        if (entry->registered_at > wall)
            entry->registered_at = wall;
    }
}

/* libh2o counts by the wall clock and stops at the first entry of a list that is
 * not due. After a step back of an hour one that was begun before it would stand
 * in front of all others for that hour: also in the list by which HTTP/2 writes. */
static void mend_clock(till_loop_t *loop)
{
    struct timeval now;
    uint64_t before = loop->wall;

    gettimeofday(&now, NULL); /* the very one that libh2o reads */
    loop->wall = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_usec / 1000;
    if (loop->wall >= before)
        return;
    for (h2o_linklist_t *node = loop->h2o->_timeouts.next; node != &loop->h2o->_timeouts; node = node->next)
        bring_forward(H2O_STRUCT_FROM_MEMBER(h2o_timeout_t, _link, node), loop->wall);
}

static void run_hooks(till_loop_t *loop)
{
    till_turn_hook_t *hook;

    while ((hook = loop->hooks) != NULL) {
        till_turn_hook_cancel(loop, hook);
        hook->_cb(hook);
    }
}

/* Of libh2o we have the time of the last wake-up in whole milliseconds: what is shorter than two is blurred, and its
 * sum is right. The clock is the wall's, which may step: no turn takes a minute, such a worker is replaced. */
static void note_turn(till_loop_t *loop)
{
    int64_t ms = (int64_t)read_clock(CLOCK_REALTIME) - (int64_t)h2o_now(loop->h2o);
    double seconds = (double)ms / 1000;

    if (ms < 0 || ms > MAX_TURN_MS)
        return;
    till_hist_add(&loop->turns, seconds);
    if (seconds > loop->worst_turn)
        loop->worst_turn = seconds;
}

const till_hist_t *till_loop_turns(till_loop_t *loop, double *worst)
{
    *worst = loop->worst_turn;
    loop->worst_turn = 0;
    return &loop->turns;
}

void till_loop_turn(till_loop_t *loop, int32_t max_wait_ms)
{
    int32_t wait = 0;

    /* A hook asked for between turns must not wait for an event. */
    if (loop->hooks == NULL)
        wait = till_timer_wait(loop, read_clock(CLOCK_MONOTONIC), max_wait_ms);
    mend_clock(loop);
    /* -1 says EINTR: a signal came, the turn goes on without events. */
    (void)h2o_evloop_run(loop->h2o, wait);
    loop->now = read_clock(CLOCK_MONOTONIC);
    till_timer_run_due(loop);
    run_hooks(loop);
    note_turn(loop);
    till_log_flush();
}

void till_loop_run(till_loop_t *loop)
{
    loop->stopped = false;
    while (!loop->stopped)
        till_loop_turn(loop, INT32_MAX);
}

void till_loop_stop(till_loop_t *loop) { loop->stopped = true; }

void till_loop_at_turn_end(till_loop_t *loop, till_turn_hook_t *hook, void (*cb)(till_turn_hook_t *hook))
{
    if (hook->_on)
        return;
    *hook = (till_turn_hook_t){._cb = cb, ._on = true};
    *loop->hooks_tail = hook;
    loop->hooks_tail = &hook->_next;
}

void till_turn_hook_cancel(till_loop_t *loop, till_turn_hook_t *hook)
{
    till_turn_hook_t **at = &loop->hooks;

    if (!hook->_on)
        return;
    while (*at != hook)
        at = &(*at)->_next;
    *at = hook->_next;
    if (loop->hooks_tail == &hook->_next)
        loop->hooks_tail = at;
    hook->_next = NULL;
    hook->_on = false;
}
