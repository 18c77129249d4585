#include "serve/admit.h"
#include "base/hash.h"

#define RISE 0.1
#define FALL 0.8
#define FALL_MORE 0.05
#define MOST (TILL_PRIORITY_COUNT - 0.1)

void till_admit_step(till_admit_t *admit, till_admit_queue_t queue, uint64_t delay_ms, uint64_t length)
{
    struct till_admit_level *at = &admit->levels[queue];
    bool is_shrinking = length < at->length;

    at->delay_ms = delay_ms;
    at->length = length;
    if (admit->target_ms != 0 && delay_ms > admit->target_ms) {
        at->bad = is_shrinking ? 0 : at->bad + 1;
        at->level += RISE * at->bad;
        at->level = at->level < MOST ? at->level : MOST;
        return;
    }
    at->bad = 0;
    at->level = at->level * FALL - FALL_MORE;
    at->level = at->level > 0 ? at->level : 0;
}

bool till_admit_is_shedding(const till_admit_t *admit)
{
    for (int queue = 0; queue != TILL_ADMIT_QUEUES; ++queue) {
        if (admit->levels[queue].level > 0)
            return true;
    }
    return false;
}

double till_admit_share(const till_admit_t *admit, till_admit_queue_t queue, till_priority_t priority)
{
    double share = admit->levels[queue].level - priority;

    return share <= 0 ? 0 : share < 1 ? share : 1;
}

bool till_admit_refuses(till_admit_t *admit, till_admit_queue_t queue, till_priority_t priority)
{
    double *owed;

    if (priority >= TILL_PRIORITY_COUNT || admit->levels[queue].level <= priority)
        return false;
    owed = &admit->levels[queue].owed[priority];
    *owed += till_admit_share(admit, queue, priority);
    if (*owed < 1)
        return false;
    *owed -= 1;
    return true;
}

unsigned till_admit_room(unsigned max, till_priority_t priority)
{
    switch (priority) {
    case TILL_PRIORITY_READ:
        return max - max / 4;
    case TILL_PRIORITY_STAFF:
    case TILL_PRIORITY_CART:
        return max - max / 8;
    case TILL_PRIORITY_CHECKOUT:
    case TILL_PRIORITY_NONE:
        break;
    }
    return max;
}

unsigned till_admit_retry_after(const till_admit_t *admit)
{
    double level = 0;
    uint32_t dice;

    for (int queue = 0; queue != TILL_ADMIT_QUEUES; ++queue)
        level = admit->levels[queue].level > level ? admit->levels[queue].level : level;
    till_random(&dice, sizeof(dice));
    return 1 + (unsigned)level + dice % (2 + (unsigned)level);
}

const char *till_admit_queue_name(till_admit_queue_t queue) { return queue == TILL_ADMIT_LOOP ? "loop" : "sql"; }
