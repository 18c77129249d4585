/* breaker.h - whether a provider is asked at all: circuit breaker, bulkhead and pauses between attempts.
 *
 * A provider that fails makes every shopper wait for his time limit, and all workers with them. So whoever is about to
 * ask asks here first. Three small things, each without a clock, memory or thread of its own: time is an argument.
 *
 * The breaker, one for each provider and operation:
 *
 *                  tell: failures are the share of at least min_calls
 *        .-> CLOSED ------------------------------------------------> OPEN <-.
 *        |     ^ |  tell: of fewer, or fewer failures                   |    |
 *        |     '-'                                 ask: cool-down over  |    | tell: a probe failed
 *        |                                                              v    |
 *        '--- tell: as many probes as are wanted went well --------- HALF_OPEN
 *                                                                     |    ^
 *                         ask: a probe never came back, its lease over '----'
 *
 * Invariants
 *  1. CLOSED refuses nobody. It opens only where, within the window, there are at least min_calls answers and
 *     failure_percent of them or more are failures: one failure at night opens nothing.
 *  2. OPEN lets nobody through before cooldown_ms are over. Nothing but time leads out of it.
 *  3. HALF_OPEN lets through at most `probes` that are out at once or have come back, so a provider that rises is not
 *     knocked down again. One failure opens; `probes` good answers close, with an empty window.
 *  4. An answer counts in the state in which it was asked for, and in no other: the ticket names it. So what was sent
 *     before the breaker opened, and comes late, neither closes it nor holds it open.
 *  5. A probe whose caller died does not block for ever: when lease_ms have gone since the last one was let through and
 *     nothing came of it, the probes begin anew.
 *  6. Time that goes back is taken as standing still. Counts saturate; nothing overflows.
 *  7. Dry run is the caller's: the breaker answers the same, and he goes on where it refuses, with the ticket that
 *     came with it, which counts nowhere. So its states are those that it would have if it refused.
 *
 * The window is TILL_BREAKER_SLICES slices of equal length: what is told counts for window_ms, less at most one slice.
 *
 * What is a failure the caller says. A decline is none: the provider is well. Silence and faults are.
 *
 * State is kept by worker, in its memory. To share it would cost a round trip for each payment, and a Redis that fails
 * with the provider would take the breaker along. The price: each worker finds out by itself, so that at most
 * workers * min_calls requests are lost on a dead provider before all are open, and each sends its own probes.
 *
 * The bulkhead: at most `limit` at a time (0: any number), so that a provider that is slow and does not fail takes no
 * more than its share of a worker. Invariant: entered - left = inside <= limit, and leave without enter is ignored.
 *
 * The retry policy: exponential backoff with full jitter, a wait drawn evenly from 0 .. min(cap_ms, base_ms * 2^n).
 * Invariants: never where the call is not idempotent; never more than max_attempts in all; never a wait after which
 * total_ms, counted from the first attempt, would be over.
 *
 * Thread: any, one at a time. Owns: nothing.
 */
#ifndef TILL_TRADE_BREAKER_H
#define TILL_TRADE_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#define TILL_BREAKER_SLICES 10
#define TILL_BREAKER_NO_TICKET 0 /* of who was refused: telling with it counts nowhere */

typedef enum till_breaker_state {
    TILL_BREAKER_CLOSED,
    TILL_BREAKER_HALF_OPEN,
    TILL_BREAKER_OPEN,
    TILL_BREAKER_STATES
} till_breaker_state_t;

/* window_ms is at least TILL_BREAKER_SLICES, the others at least 1, failure_percent at most 100. */
typedef struct till_breaker_terms {
    uint32_t window_ms, min_calls, failure_percent, cooldown_ms, probes, lease_ms;
} till_breaker_terms_t;

/* All zeros is CLOSED with an empty window. Fields with _ are its own. */
typedef struct till_breaker {
    till_breaker_state_t state;
    uint64_t _now, _since, _last_probe;
    uint64_t _slice;        /* number of the newest slice since time 0 */
    uint32_t _epoch;        /* of the state, raised by each change; tickets are epoch + 1 */
    uint32_t _out, _passed; /* probes under way; those that went well */
    uint32_t _good[TILL_BREAKER_SLICES], _bad[TILL_BREAKER_SLICES];
} till_breaker_t;

/** "closed", "half_open", "open"; NULL for what is none. */
const char *till_breaker_state_name(till_breaker_state_t state);
/** May he ask? @return false: refused. `*ticket` is to be told with, or dropped where he never got to ask. */
bool till_breaker_ask(uint32_t *ticket, till_breaker_t *breaker, const till_breaker_terms_t *terms, uint64_t now_ms);
/** What became of it. */
void till_breaker_tell(till_breaker_t *breaker, const till_breaker_terms_t *terms, uint32_t ticket, bool failed,
                       uint64_t now_ms);
/** He was let through and did not ask after all: nothing is known. A probe gives its place to another. */
void till_breaker_drop(till_breaker_t *breaker, uint32_t ticket);
/** Until when OPEN refuses at least, in ms from now; 0 in the other states. */
uint64_t till_breaker_wait(const till_breaker_t *breaker, const till_breaker_terms_t *terms, uint64_t now_ms);

typedef struct till_bulkhead {
    uint32_t limit, inside;
} till_bulkhead_t;

bool till_bulkhead_enter(till_bulkhead_t *bulkhead);
void till_bulkhead_leave(till_bulkhead_t *bulkhead);

typedef struct till_retry {
    uint32_t max_attempts, base_ms, cap_ms, total_ms;
} till_retry_t;

/** How long to wait before the next attempt, in ms; -1: there is none. `made` attempts were made, the first
 * `elapsed_ms` ago; `random` is 64 random bits. */
int64_t till_retry_wait(const till_retry_t *policy, bool is_idempotent, uint32_t made, uint64_t elapsed_ms,
                        uint64_t random);

#endif
