/* idem.h - idempotency records: one effect for one key, whatever the client repeats.
 *
 * IETF idempotency-key-header draft with Stripe's semantics (docs/api.md):
 *
 *   (none) --claim--> RUNNING --finish, in the transaction of the effect--> DONE
 *             ^          |
 *             +- forget -+   (a refusal that changed nothing is not recorded)
 *             +- claim of a RUNNING record whose time ran out: its runner died
 *
 * Invariants
 *  1. A record is unique by (scope, key); scope = who asks and the route, of guests the path.
 *  2. RUNNING is written and committed before anything else is done, or with
 *     the first of it (records.claim in lua/till/store/records.lua); or the
 *     record comes into being DONE, with claim 0, in the transaction of an effect
 *     that begins and ends with it (lua/till/store/records.lua). Whoever comes
 *     second then waits for that transaction and meets DONE.
 *  3. DONE carries status and body and is written in the same transaction as
 *     the effect: there is no effect without its record and no record without
 *     its effect.
 *  4. A finish names the claim that it belongs to: a runner whose claim ran out
 *     and was taken over changes nothing, and its transaction must roll back.
 */
#ifndef TILL_TRADE_IDEM_H
#define TILL_TRADE_IDEM_H

#include "io/sql.h"

#define TILL_IDEM_KEY_MAX 255

typedef enum till_idem_outcome {
    TILL_IDEM_RUN,      /* the claim is ours: go on; `claim` is the token to finish with */
    TILL_IDEM_REPLAY,   /* answer `http_status` and `body` again */
    TILL_IDEM_MISMATCH, /* the key was used for another request: 422 */
    TILL_IDEM_BUSY,     /* the first request runs still: 409, `retry_after_ms` */
} till_idem_outcome_t;

typedef struct till_idem_answer {
    till_idem_outcome_t outcome;
    uint64_t claim; /* of RUN, and of a failure */
    bool resumed;   /* RUN: an earlier runner died; resume its work, do not begin a second */
    int http_status;
    till_slice_t headers; /* as given to finish */
    till_slice_t body;
    uint64_t retry_after_ms;
} till_idem_answer_t;

/** The key itself, from the header's value, quoted (RFC 8941 string) or bare. @return false if it is not well formed */
bool till_idem_parse_key(till_slice_t header, char out[TILL_IDEM_KEY_MAX + 1], size_t *len);
/** What must be equal when a key is used again: method, path, hash of the body. */
void till_idem_fingerprint(uint8_t out[TILL_SHA256_LEN], till_slice_t method, till_slice_t path, till_slice_t body);

typedef void (*till_idem_cb)(void *data, till_status_t status, const till_idem_answer_t *answer);
/** Claims for `lease_ms`, in a transaction of its own. `answer` lives until the callback returns. After a failure
 * nobody knows whether it was claimed; `claim` of the answer is what it would be under, to be forgotten. */
till_op_t *till_idem_claim(till_sql_pool_t *pool, till_slice_t scope, till_slice_t key,
                           const uint8_t fingerprint[TILL_SHA256_LEN], uint64_t lease_ms, uint64_t timeout_ms,
                           till_idem_cb cb, void *data);
/** Inside the transaction on `conn`. TILL_CONFLICT: the claim is no longer ours; roll back. */
typedef void (*till_idem_done_cb)(void *data, till_status_t status);
till_op_t *till_idem_finish(till_sql_conn_t *conn, till_slice_t scope, till_slice_t key, uint64_t claim,
                            int http_status, till_slice_t headers, till_slice_t body, uint64_t timeout_ms,
                            till_idem_done_cb cb, void *data);
/** Takes the claim back: nothing was done under it. */
till_op_t *till_idem_forget(till_sql_pool_t *pool, till_slice_t scope, till_slice_t key, uint64_t claim,
                            uint64_t timeout_ms, till_idem_done_cb cb, void *data);

#endif
