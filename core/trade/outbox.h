/* outbox.h - events written in the transaction that they tell of, delivered at least once.
 *
 *   PENDING --claim--> CLAIMED --done--> DONE
 *      ^                  |---retry--> PENDING, later (backoff with jitter)
 *      +-- lease over ----+---bury---> DEAD (seen, replayed or discarded by staff)
 *      +-- release -------+
 *
 * Invariants
 *  1. append happens inside the caller's transaction, or there is no event.
 *  2. Of one aggregate only the oldest undelivered event can be claimed: order
 *     per aggregate holds, also across workers and retries. What is behind one
 *     whose transaction is open still is left out until that ends. A dead event holds
 *     its aggregate back no longer. One that is replayed is older than what
 *     somebody may be at meanwhile: it has the claim TILL_OUTBOX_REPLAYED, and
 *     is had when that one is settled.
 *  3. done, retry, extend and release name the claim; an event that was taken over
 *     is not changed by them.
 *
 * A claim says of which kinds it wants how many: so what must wait for its turn
 * (a kind with a limit, lua/till/flow/kinds.lua) is not even looked at.
 */
#ifndef TILL_TRADE_OUTBOX_H
#define TILL_TRADE_OUTBOX_H

#include "io/sql.h"

enum { TILL_OUTBOX_REPLAYED = 1 }; /* instead of a claim; lua/till/store/dead.lua writes it */

typedef struct till_event {
    uint64_t id;              /* position in the outbox; 0 when appending */
    till_slice_t aggregate;   /* "order:ord_01…": order is kept within it */
    till_slice_t type;        /* dotted, "order.placed" */
    till_slice_t payload;     /* JSON */
    till_slice_t traceparent; /* may be empty */
    uint64_t delay_ms;        /* append: not before this */
    unsigned attempts;        /* claim: with this one, from 1 */
    bool is_taken_over;       /* claim: whoever had it before never said what became of it */
    uint64_t claim;
} till_event_t;

typedef void (*till_outbox_cb)(void *data, till_status_t status);
till_op_t *till_outbox_append(till_sql_conn_t *conn, const till_event_t *events, size_t n, uint64_t timeout_ms,
                              till_outbox_cb cb, void *data);
enum { TILL_OUTBOX_CLAIM_MOST = 100, TILL_OUTBOX_KINDS_MOST = 32 };
typedef struct till_outbox_kind {
    till_slice_t type;
    unsigned leave; /* so many places to the kinds after it; one is taken all the same, if there is any */
} till_outbox_kind_t;

/** `events` live until the callback returns. */
typedef void (*till_outbox_claim_cb)(void *data, till_status_t status, const till_event_t *events, size_t n);
/** Up to `max` events (at most TILL_OUTBOX_CLAIM_MOST) of `n` kinds, those of the first one first, with SKIP LOCKED,
 * leased for `lease_ms`; it waits for nobody's lock. `kinds` is copied, but not what its slices show: that must live
 * until the callback. */
till_op_t *till_outbox_claim(till_sql_pool_t *pool, const till_outbox_kind_t *kinds, size_t n, unsigned max,
                             uint64_t lease_ms, uint64_t timeout_ms, till_outbox_claim_cb cb, void *data);
enum { TILL_OUTBOX_DONE_MOST = 1000 };
/** `n` different events of one claim, at least one; TILL_CONFLICT: some were taken over, the others are done. */
till_op_t *till_outbox_done(till_sql_pool_t *pool, const uint64_t *ids, size_t n, uint64_t claim, uint64_t timeout_ms,
                            till_outbox_cb cb, void *data);
/** Leases them anew, for `lease_ms` from now; as till_outbox_done otherwise. */
till_op_t *till_outbox_extend(till_sql_pool_t *pool, const uint64_t *ids, size_t n, uint64_t claim, uint64_t lease_ms,
                              uint64_t timeout_ms, till_outbox_cb cb, void *data);
/** Nothing was tried with them: they are due again at once, and the attempt is not counted. `reason` says why, for
 * those who look at what waits; it may be empty, and is cut at 500 bytes. Where `is_suspect` whoever claims them next
 * is told that they were taken over, as we were. As till_outbox_done otherwise. */
till_op_t *till_outbox_release(till_sql_pool_t *pool, const uint64_t *ids, size_t n, uint64_t claim, bool is_suspect,
                               till_slice_t reason, uint64_t timeout_ms, till_outbox_cb cb, void *data);
/** Again after backoff (2^attempts s up to 1 h, half of it jitter), or DEAD from the `max_attempts`th on. `reason` is
 * cut at 500 bytes. */
till_op_t *till_outbox_retry(till_sql_pool_t *pool, uint64_t id, uint64_t claim, unsigned max_attempts,
                             till_slice_t reason, uint64_t timeout_ms, till_outbox_cb cb, void *data);

#endif
