/* attempt.h - one attempt to be paid, as what its events say and nothing else.
 *
 * A stored total can be wrong: written twice, by two workers, before a crash. So an attempt is a
 * list of events that is only added to, and all amounts are summed up from it, each time. This is
 * the pure function that does it: no clock, no database, no memory of its own.
 *
 *        |  on_created
 *        v
 *     CREATED --on_voided------------------------------------------------------------.
 *        |  on_send                                                                   |
 *        v                                                                            |
 *     SENDING ----on_unknown---> UNKNOWN            on_declined   on_failed,          |
 *      |  ^  \                    |   \             --> DECLINED  on_not_found        |
 *      |  |   '-on_requires_action+--. \            (from SENDING, --> FAILED         |
 *      |  |                          v  |            UNKNOWN,      (on_failed from    |
 *      |  '------on_send--- REQUIRES_ACTION          REQUIRES_      SENDING alone)    |
 *      |                             |  |            ACTION)                          |
 *      '-------------+---------------+--'--on_voided, of the three--------------------+
 *                    |                                                                |
 *      on_authorized |  on_captured, which then is the authorization too              |
 *                    v              \                                                 v
 *               AUTHORIZED           \         on_voided, of all that is left      VOIDED
 *                |  \  '--------------+-----------------------------------------------^
 *   on_voided,   |   '-on_captured--->CAPTURED <-- on_captured, on_voided, on_refunded, each of a
 *   of a part: stays                  |  ^  \      part: stays
 *                                     |  |   '- on_refunded of all, or on_voided of what was left
 *                     on_disputed     v  |      when all else went back ---> REFUNDED
 *                   .------------> DISPUTED     (on_refunded of a part: stays)      |
 *        on_disputed,  '--------'    |    |          CAPTURED <---on_refund_failed--'
 *        on_won, on_lost, while      |    | on_won, on_lost of the last that is open
 *        another is open             v    v
 *                                  WON    LOST     both as CAPTURED: on_refunded, on_disputed
 *
 * REFUNDED --on_disputed--> DISPUTED as well: a bank takes back what it is told was paid, though it
 * went back already. on_refunded, of a part or of all, stays in DISPUTED, and in LOST: it may be
 * told after a dispute that it was before.
 *
 * Several disputes may be open at once, each of its own amount. The state is DISPUTED while any is;
 * with the last of them it is LOST where any was lost, now or before, and only else WON, or REFUNDED
 * where all went back: so it is the same in whatever order they end. on_won and on_lost say of how
 * much; 0 is all that is disputed (a list from when there was but one says so).
 *
 * on_refund_failed: what had gone back is at the provider again, as if it had never left. From
 * REFUNDED it leads to CAPTURED, whatever was won before; it stays in CAPTURED, DISPUTED, WON and
 * LOST. Of which refund it is, and that none fails twice, its reference says (till.flow.booking).
 *
 * on_captured and on_voided, each of a part, stay in DISPUTED, WON and LOST: what was on its way when
 * a dispute came is counted, and what is held besides can be let go.
 *
 * Invariants
 *  1. 0 <= captured + voided <= authorized <= amount, 0 <= refunded <= captured and
 *     0 <= disputed + lost <= captured. No order of events, and none that comes twice, makes more
 *     money of what was agreed to. A dispute is taken of what was refunded, and a refund of what is
 *     disputed or lost, for both have happened, whichever is told first: the shop has given that
 *     twice then, and its cash is less than nothing. What it may decide to give is `held`, of which
 *     nothing is disputed or lost. What fails of refunds is no more than they gave back, and what
 *     ends of disputes no more than is open.
 *  2. An event that does not fit is refused with a reason and changes nothing.
 *  3. DECLINED, FAILED and VOIDED are final: every event is refused there. In REFUNDED it is all but
 *     a dispute, and a refund that failed.
 *  4. UNKNOWN is a state and not a failure: nothing but an answer of the provider leads out of it,
 *     and SEND does not. So nobody is charged twice because an answer was lost.
 *  5. Amounts are 0 .. TILL_ATTEMPT_MAX, and every sum is bounded by one: nothing overflows. An
 *     amount of 0 is an event of an attempt for 0, and of no other.
 *  6. The result is a function of the list: the same events give the same amounts, for ever.
 *
 * The names are those of `payments.state` (sql/0007) and of the table in lua/till/flow/payment.lua,
 * whose every edge is one here, to the same state (tests/lua/prim/attempt_spec.lua holds the two
 * together). There the sum of its captures stands in `capture_amount`, what was let go in
 * `released_amount` and parts of a refund in `refunded_amount`, and the row stays `captured`
 * meanwhile, as here. The first event of a list is `created`, which there is the INSERT; `void` of a
 * created one is `voided`.
 *
 * Thread: any. Owns: nothing.
 */
#ifndef TILL_TRADE_ATTEMPT_H
#define TILL_TRADE_ATTEMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TILL_ATTEMPT_MAX ((INT64_C(1) << 53) - 1) /* exact as a number of Lua and of JSON */

typedef enum till_attempt_state {
    TILL_ATTEMPT_NONE, /* before its first event */
    TILL_ATTEMPT_CREATED,
    TILL_ATTEMPT_SENDING,
    TILL_ATTEMPT_UNKNOWN,
    TILL_ATTEMPT_REQUIRES_ACTION,
    TILL_ATTEMPT_AUTHORIZED,
    TILL_ATTEMPT_CAPTURED,
    TILL_ATTEMPT_DISPUTED,
    TILL_ATTEMPT_WON,
    TILL_ATTEMPT_LOST,
    TILL_ATTEMPT_DECLINED,
    TILL_ATTEMPT_FAILED,
    TILL_ATTEMPT_VOIDED,
    TILL_ATTEMPT_REFUNDED,
    TILL_ATTEMPT_STATES
} till_attempt_state_t;

/* Those marked (amount) carry one; the others carry 0. */
typedef enum till_attempt_kind {
    TILL_ATTEMPT_ON_CREATED,    /* (amount) that is asked for */
    TILL_ATTEMPT_ON_SEND,       /* it is about to be sent: committed before it is */
    TILL_ATTEMPT_ON_AUTHORIZED, /* (amount) */
    TILL_ATTEMPT_ON_CAPTURED,   /* (amount) of this part */
    TILL_ATTEMPT_ON_DECLINED,
    TILL_ATTEMPT_ON_REQUIRES_ACTION,
    TILL_ATTEMPT_ON_UNKNOWN,   /* no answer came */
    TILL_ATTEMPT_ON_NOT_FOUND, /* the provider never heard of it */
    TILL_ATTEMPT_ON_FAILED,
    TILL_ATTEMPT_ON_VOIDED,        /* (amount) that is let go of what was authorized; 0 where nothing is yet */
    TILL_ATTEMPT_ON_REFUNDED,      /* (amount) of this part */
    TILL_ATTEMPT_ON_DISPUTED,      /* (amount) that the shopper's bank has taken back for now */
    TILL_ATTEMPT_ON_WON,           /* (amount) of a dispute: it came back; 0 of all that are open */
    TILL_ATTEMPT_ON_LOST,          /* (amount) it did not; 0 as well */
    TILL_ATTEMPT_ON_REFUND_FAILED, /* (amount) of a refund: it did not get there, and is back */
    TILL_ATTEMPT_KINDS
} till_attempt_kind_t;

typedef struct till_attempt_event {
    till_attempt_kind_t kind;
    int64_t amount;
} till_attempt_event_t;

/* All zeros is an attempt before its first event. */
typedef struct till_attempt {
    till_attempt_state_t state;
    int64_t amount, authorized, captured, voided, refunded, disputed, lost;
} till_attempt_t;

typedef enum till_attempt_refusal {
    TILL_ATTEMPT_TAKEN,
    TILL_ATTEMPT_IMPOSSIBLE, /* not in this state */
    TILL_ATTEMPT_NO_AMOUNT,  /* negative, too large for money, 0, or not 0 where none belongs */
    TILL_ATTEMPT_TOO_MUCH,   /* more than is left for it */
} till_attempt_refusal_t;

/** "created", ..., as the database has them; "none" and NULL for what is none. */
const char *till_attempt_state_name(till_attempt_state_t state);
const char *till_attempt_kind_name(till_attempt_kind_t kind);
/** "taken", "impossible", "no_amount", "too_much". */
const char *till_attempt_refusal_name(till_attempt_refusal_t refusal);
bool till_attempt_is_final(till_attempt_state_t state);

/** One more event. A refusal changes nothing. */
till_attempt_refusal_t till_attempt_apply(till_attempt_t *attempt, till_attempt_event_t event);
/** All of the list; `*at` is how many were taken: on a refusal the index of the one that was not, and `out` is what
 * those before it say. */
till_attempt_refusal_t till_attempt_fold(till_attempt_t *out, const till_attempt_event_t *events, size_t n, size_t *at);

/* What may still be done, in money. */
/** What may be captured or voided. */
int64_t till_attempt_left(const till_attempt_t *attempt);
/** What may be asked for as a refund; never less than 0. More than that can have been refunded. */
int64_t till_attempt_held(const till_attempt_t *attempt);

#endif
