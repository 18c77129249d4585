#include "io/loop_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include "base/log.h"
#include "base/mem.h"

#define MAX_TURN_MS 60000
#define STEP_MS 500 /* what the wall clock may gain in one turn and be no step */

static uint64_t read_clock(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- libh2o's clock ---------------------------------------------------- */

static uint64_t libh2o_clock(void)
{
    struct timeval now;

    gettimeofday(&now, NULL); /* the very one that libh2o reads */
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_usec / 1000;
}

static void bring_along(const till_loop_t *loop, h2o_timeout_t *timeout, uint64_t ahead)
{
    for (h2o_linklist_t *node = timeout->_entries.next; node != &timeout->_entries; node = node->next) {
        h2o_timeout_entry_t *entry = H2O_STRUCT_FROM_MEMBER(h2o_timeout_entry_t, _link, node);
        entry->registered_at += ahead;
        if (entry->registered_at > loop->wall)
            entry->registered_at = loop->wall;
    }
}

/* libh2o counts by the wall clock. After a step forward all that waits would be
 * due: connections that are idle for a moment would be closed. And it stops at
 * the first entry of a list that is not due: after a step back one that was
 * begun before it would stand in front of all others for as long, also in the
 * list by which HTTP/2 writes. */
static void mend_clock(till_loop_t *loop)
{
    uint64_t wall = libh2o_clock(), steady = read_clock(CLOCK_MONOTONIC);
    int64_t step = (int64_t)(wall - loop->wall) - (int64_t)(steady - loop->steady);
    bool is_back = wall < loop->wall;

    loop->wall = wall;
    loop->steady = steady;
    if (!is_back && step < STEP_MS)
        return;
    for (h2o_linklist_t *node = loop->h2o->_timeouts.next; node != &loop->h2o->_timeouts; node = node->next)
        bring_along(loop, H2O_STRUCT_FROM_MEMBER(h2o_timeout_t, _link, node), is_back ? 0 : (uint64_t)step);
}

/* The first of libh2o's lists, and so before any other that a step in mid-turn makes due. */
static void on_step(h2o_timeout_entry_t *entry) { mend_clock(H2O_STRUCT_FROM_MEMBER(till_loop_t, step_entry, entry)); }

static void watch_clock(till_loop_t *loop)
{
    h2o_timeout_unlink(&loop->step_entry);
    mend_clock(loop);
    loop->step_entry = (h2o_timeout_entry_t){.registered_at = loop->wall, .cb = on_step};
    h2o_linklist_insert(&loop->step_timeout._entries, &loop->step_entry._link);
}

/* ---- the loop ------------------------------------------------------------ */

till_loop_t *till_loop_create(void)
{
    till_loop_t *loop = till_calloc(1, sizeof(*loop));

    loop->h2o = h2o_evloop_create();
    loop->now = read_clock(CLOCK_MONOTONIC);
    loop->hooks_tail = &loop->hooks;
    loop->wall = libh2o_clock();
    loop->steady = loop->now;
    h2o_timeout_init(loop->h2o, &loop->step_timeout, STEP_MS);
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
    h2o_timeout_unlink(&loop->step_entry);
    h2o_timeout_dispose(loop->h2o, &loop->step_timeout);
    h2o_evloop_destroy(loop->h2o);
    free(loop->heap);
    free(loop);
}

h2o_loop_t *till_loop_h2o(till_loop_t *loop) { return loop->h2o; }

uint64_t till_loop_now(const till_loop_t *loop) { return loop->now; }

uint64_t till_wall_ms(void) { return read_clock(CLOCK_REALTIME); }

/* ---- a turn ------------------------------------------------------------ */

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
    watch_clock(loop);
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
