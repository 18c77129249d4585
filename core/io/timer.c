#include "io/loop_priv.h"

#include <assert.h>
#include "base/mem.h"

static bool is_before(const till_timer_t *a, const till_timer_t *b)
{
    return a->_due != b->_due ? a->_due < b->_due : a->_order < b->_order;
}

static void place(till_loop_t *loop, size_t at, till_timer_t *timer)
{
    loop->heap[at] = timer;
    timer->_at_heap = at;
}

static void sift_up(till_loop_t *loop, size_t at, till_timer_t *timer)
{
    while (at > 0 && is_before(timer, loop->heap[(at - 1) / 2])) {
        place(loop, at, loop->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    place(loop, at, timer);
}

static void sift_down(till_loop_t *loop, size_t at, till_timer_t *timer)
{
    size_t child;

    while ((child = at * 2 + 1) < loop->heap_len) {
        if (child + 1 < loop->heap_len && is_before(loop->heap[child + 1], loop->heap[child]))
            child++;
        if (!is_before(loop->heap[child], timer))
            break;
        place(loop, at, loop->heap[child]);
        at = child;
    }
    place(loop, at, timer);
}

/* Puts `timer` where it belongs, seen from the hole `at`. */
static void settle(till_loop_t *loop, size_t at, till_timer_t *timer)
{
    if (at > 0 && is_before(timer, loop->heap[(at - 1) / 2]))
        sift_up(loop, at, timer);
    else
        sift_down(loop, at, timer);
}

static size_t make_room(till_loop_t *loop)
{
    if (loop->heap_len == loop->heap_cap) {
        loop->heap_cap = loop->heap_cap == 0 ? 64 : loop->heap_cap * 2;
        loop->heap = till_realloc(loop->heap, loop->heap_cap * sizeof(loop->heap[0]));
    }
    return loop->heap_len++;
}

void till_timer_start(till_loop_t *loop, till_timer_t *timer, uint64_t delay_ms, void (*cb)(till_timer_t *timer))
{
    size_t at = timer->_loop != NULL ? timer->_at_heap : make_room(loop);

    assert(timer->_loop == NULL || timer->_loop == loop);
    timer->_loop = loop;
    timer->_due = delay_ms < UINT64_MAX - loop->now ? loop->now + delay_ms : UINT64_MAX;
    timer->_order = loop->next_order++;
    timer->_cb = cb;
    settle(loop, at, timer);
}

void till_timer_stop(till_timer_t *timer)
{
    till_loop_t *loop = timer->_loop;
    till_timer_t *last;

    if (loop == NULL)
        return;
    timer->_loop = NULL;
    last = loop->heap[--loop->heap_len];
    if (last != timer)
        settle(loop, timer->_at_heap, last);
}

bool till_timer_is_running(const till_timer_t *timer) { return timer->_loop != NULL; }

int32_t till_timer_wait(const till_loop_t *loop, uint64_t now, int32_t limit)
{
    uint64_t due;

    if (loop->heap_len == 0)
        return limit;
    due = loop->heap[0]->_due;
    if (due <= now)
        return 0;
    return due - now < (uint64_t)limit ? (int32_t)(due - now) : limit;
}

void till_timer_run_due(till_loop_t *loop)
{
    /* A timer started from here on belongs to the next turn, also with a delay
     * of 0: or one that restarts itself would keep the sockets from their turn.
     * It is never in front of an older one that is due, for it is due now at
     * the earliest and its order is higher. */
    uint64_t newest = loop->next_order;

    while (loop->heap_len != 0) {
        till_timer_t *timer = loop->heap[0];
        if (timer->_due > loop->now || timer->_order >= newest)
            break;
        till_timer_stop(timer);
        timer->_cb(timer);
    }
}
