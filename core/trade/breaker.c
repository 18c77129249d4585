#include "trade/breaker.h"

#include <string.h>

const char *till_breaker_state_name(till_breaker_state_t state)
{
    static const char *const names[] = {"closed", "half_open", "open"};

    return (unsigned)state < TILL_BREAKER_STATES ? names[state] : NULL;
}

static uint32_t ticket_of(const till_breaker_t *breaker)
{
    return breaker->_epoch == UINT32_MAX ? 1 : breaker->_epoch + 1;
}

static void clear_window(till_breaker_t *breaker)
{
    memset(breaker->_good, 0, sizeof(breaker->_good));
    memset(breaker->_bad, 0, sizeof(breaker->_bad));
}

/* The only one that changes the state. */
static void enter(till_breaker_t *breaker, till_breaker_state_t state)
{
    breaker->state = state;
    breaker->_since = breaker->_now;
    breaker->_out = breaker->_passed = 0;
    breaker->_epoch = ticket_of(breaker);
    clear_window(breaker);
}

/* Empties the slices that time has gone past since the last call. */
static void advance(till_breaker_t *breaker, const till_breaker_terms_t *terms, uint64_t now_ms)
{
    if (now_ms > breaker->_now)
        breaker->_now = now_ms;
    uint64_t slice = breaker->_now / (terms->window_ms / TILL_BREAKER_SLICES);
    if (slice - breaker->_slice >= TILL_BREAKER_SLICES)
        clear_window(breaker);
    else
        for (uint64_t at = breaker->_slice; at != slice;) {
            ++at;
            breaker->_good[at % TILL_BREAKER_SLICES] = breaker->_bad[at % TILL_BREAKER_SLICES] = 0;
        }
    breaker->_slice = slice;
}

static bool ask_half_open(till_breaker_t *breaker, const till_breaker_terms_t *terms)
{
    if (breaker->_out != 0 && breaker->_now - breaker->_last_probe >= terms->lease_ms)
        enter(breaker, TILL_BREAKER_HALF_OPEN); /* those that are out count no more */
    if (breaker->_out + breaker->_passed >= terms->probes)
        return false;
    ++breaker->_out;
    breaker->_last_probe = breaker->_now;
    return true;
}

bool till_breaker_ask(uint32_t *ticket, till_breaker_t *breaker, const till_breaker_terms_t *terms, uint64_t now_ms)
{
    bool may = true;

    advance(breaker, terms, now_ms);
    if (breaker->state == TILL_BREAKER_OPEN && breaker->_now - breaker->_since >= terms->cooldown_ms)
        enter(breaker, TILL_BREAKER_HALF_OPEN);
    if (breaker->state == TILL_BREAKER_OPEN)
        may = false;
    else if (breaker->state == TILL_BREAKER_HALF_OPEN)
        may = ask_half_open(breaker, terms);
    *ticket = may ? ticket_of(breaker) : TILL_BREAKER_NO_TICKET;
    return may;
}

static void count(uint32_t slices[TILL_BREAKER_SLICES], uint64_t slice)
{
    uint32_t *n = &slices[slice % TILL_BREAKER_SLICES];

    *n += *n != UINT32_MAX;
}

static bool is_too_bad(const till_breaker_t *breaker, const till_breaker_terms_t *terms)
{
    uint64_t good = 0, bad = 0;

    for (int i = 0; i != TILL_BREAKER_SLICES; ++i) {
        good += breaker->_good[i];
        bad += breaker->_bad[i];
    }
    return good + bad >= terms->min_calls && bad * 100 >= (good + bad) * terms->failure_percent;
}

static void tell_closed(till_breaker_t *breaker, const till_breaker_terms_t *terms, bool failed)
{
    count(failed ? breaker->_bad : breaker->_good, breaker->_slice);
    if (failed && is_too_bad(breaker, terms))
        enter(breaker, TILL_BREAKER_OPEN);
}

static void tell_half_open(till_breaker_t *breaker, const till_breaker_terms_t *terms, bool failed)
{
    if (breaker->_out == 0) /* told twice */
        return;
    --breaker->_out;
    if (failed)
        enter(breaker, TILL_BREAKER_OPEN);
    else if (++breaker->_passed >= terms->probes)
        enter(breaker, TILL_BREAKER_CLOSED);
}

void till_breaker_tell(till_breaker_t *breaker, const till_breaker_terms_t *terms, uint32_t ticket, bool failed,
                       uint64_t now_ms)
{
    advance(breaker, terms, now_ms);
    if (ticket == TILL_BREAKER_NO_TICKET || ticket != ticket_of(breaker))
        return;
    if (breaker->state == TILL_BREAKER_CLOSED)
        tell_closed(breaker, terms, failed);
    else if (breaker->state == TILL_BREAKER_HALF_OPEN)
        tell_half_open(breaker, terms, failed);
}

void till_breaker_drop(till_breaker_t *breaker, uint32_t ticket)
{
    if (ticket == ticket_of(breaker) && breaker->state == TILL_BREAKER_HALF_OPEN && breaker->_out != 0)
        --breaker->_out;
}

uint64_t till_breaker_wait(const till_breaker_t *breaker, const till_breaker_terms_t *terms, uint64_t now_ms)
{
    uint64_t now = now_ms > breaker->_now ? now_ms : breaker->_now;

    if (breaker->state != TILL_BREAKER_OPEN || now - breaker->_since >= terms->cooldown_ms)
        return 0;
    return terms->cooldown_ms - (now - breaker->_since);
}

bool till_bulkhead_enter(till_bulkhead_t *bulkhead)
{
    if (bulkhead->inside == UINT32_MAX || (bulkhead->limit != 0 && bulkhead->inside >= bulkhead->limit))
        return false;
    ++bulkhead->inside;
    return true;
}

void till_bulkhead_leave(till_bulkhead_t *bulkhead) { bulkhead->inside -= bulkhead->inside != 0; }

int64_t till_retry_wait(const till_retry_t *policy, bool is_idempotent, uint32_t made, uint64_t elapsed_ms,
                        uint64_t random)
{
    if (!is_idempotent || made == 0 || made >= policy->max_attempts || elapsed_ms > policy->total_ms)
        return -1;
    uint64_t most = policy->cap_ms;
    if (made - 1 < 32 && ((uint64_t)policy->base_ms << (made - 1)) < most)
        most = (uint64_t)policy->base_ms << (made - 1);
    uint64_t wait = random % (most + 1);
    return wait <= policy->total_ms - elapsed_ms ? (int64_t)wait : -1;
}
