/* attempt.c - see attempt.h; one function for each event, one row for where it may come from. */
#include <stdlib.h>
#include "trade/attempt.h"

typedef till_attempt_refusal_t edge_fn(till_attempt_t *attempt, int64_t amount);

int64_t till_attempt_left(const till_attempt_t *a) { return a->authorized - a->captured - a->voided; }

/* A bank may take back what went back already: nothing is held then, and no less. */
int64_t till_attempt_held(const till_attempt_t *a)
{
    int64_t held = a->captured - a->refunded - a->disputed - a->lost;

    return held > 0 ? held : 0;
}

/* ---- amounts ---- */

/* Invariant 5: nothing is an amount only where nothing was asked for. */
static till_attempt_refusal_t check_part(const till_attempt_t *a, int64_t amount, int64_t room)
{
    if (amount == 0 && a->amount != 0)
        return TILL_ATTEMPT_NO_AMOUNT;
    return amount > room ? TILL_ATTEMPT_TOO_MUCH : TILL_ATTEMPT_TAKEN;
}

static till_attempt_refusal_t move(till_attempt_t *a, int64_t amount, till_attempt_state_t to)
{
    if (amount != 0)
        return TILL_ATTEMPT_NO_AMOUNT;
    a->state = to;
    return TILL_ATTEMPT_TAKEN;
}

static bool is_disputed_once(const till_attempt_t *a)
{
    return a->state == TILL_ATTEMPT_DISPUTED || a->state == TILL_ATTEMPT_WON || a->state == TILL_ATTEMPT_LOST;
}

static bool is_authorized(const till_attempt_t *a)
{
    return a->state == TILL_ATTEMPT_AUTHORIZED || a->state == TILL_ATTEMPT_CAPTURED || is_disputed_once(a);
}

/* What has not been given back: a bank's is among it, for who gives back need not know of a dispute. */
static int64_t not_refunded(const till_attempt_t *a) { return a->captured - a->refunded; }

/* Is all that was captured back with the shopper, and nothing left to be captured? */
static bool is_all_refunded(const till_attempt_t *a) { return till_attempt_left(a) == 0 && not_refunded(a) == 0; }

/* ---- one function for each edge of the diagram ---- */

static till_attempt_refusal_t on_created(till_attempt_t *a, int64_t amount)
{
    a->amount = amount;
    a->state = TILL_ATTEMPT_CREATED;
    return TILL_ATTEMPT_TAKEN;
}

static till_attempt_refusal_t on_send(till_attempt_t *a, int64_t amount)
{
    return move(a, amount, TILL_ATTEMPT_SENDING);
}

static till_attempt_refusal_t on_authorized(till_attempt_t *a, int64_t amount)
{
    till_attempt_refusal_t refusal = check_part(a, amount, a->amount);

    if (refusal != TILL_ATTEMPT_TAKEN)
        return refusal;
    a->authorized = amount;
    a->state = TILL_ATTEMPT_AUTHORIZED;
    return TILL_ATTEMPT_TAKEN;
}

/* Before any authorization it is that as well: the provider has done both in one. A part that was on its way when a
 * dispute came is money like any other: it is counted, and the dispute stays what is told. */
static till_attempt_refusal_t on_captured(till_attempt_t *a, int64_t amount)
{
    bool is_first = !is_authorized(a);
    till_attempt_refusal_t refusal = check_part(a, amount, is_first ? a->amount : till_attempt_left(a));

    if (refusal != TILL_ATTEMPT_TAKEN)
        return refusal;
    if (is_first)
        a->authorized = amount;
    a->captured += amount;
    if (!is_disputed_once(a))
        a->state = TILL_ATTEMPT_CAPTURED;
    return TILL_ATTEMPT_TAKEN;
}

static till_attempt_refusal_t on_declined(till_attempt_t *a, int64_t amount)
{
    return move(a, amount, TILL_ATTEMPT_DECLINED);
}

static till_attempt_refusal_t on_requires_action(till_attempt_t *a, int64_t amount)
{
    return move(a, amount, TILL_ATTEMPT_REQUIRES_ACTION);
}

static till_attempt_refusal_t on_unknown(till_attempt_t *a, int64_t amount)
{
    return move(a, amount, TILL_ATTEMPT_UNKNOWN);
}

/* Also on_not_found: there is nothing at the provider. */
static till_attempt_refusal_t on_failed(till_attempt_t *a, int64_t amount)
{
    return move(a, amount, TILL_ATTEMPT_FAILED);
}

static till_attempt_refusal_t on_voided(till_attempt_t *a, int64_t amount)
{
    if (!is_authorized(a))
        return move(a, amount, TILL_ATTEMPT_VOIDED);
    till_attempt_refusal_t refusal = check_part(a, amount, till_attempt_left(a));
    if (refusal != TILL_ATTEMPT_TAKEN)
        return refusal;
    a->voided += amount;
    if (a->state == TILL_ATTEMPT_AUTHORIZED && till_attempt_left(a) == 0)
        a->state = TILL_ATTEMPT_VOIDED;
    else if (a->refunded != 0 && is_all_refunded(a) && a->disputed == 0 && a->lost == 0)
        a->state = TILL_ATTEMPT_REFUNDED;
    return TILL_ATTEMPT_TAKEN;
}

/* It has happened, before a dispute was told of or beside it: so what a bank has is no limit. Whoever decides to give
 * back asks till_attempt_held. A dispute that goes on, or was lost, stays what is told of the attempt. */
static till_attempt_refusal_t on_refunded(till_attempt_t *a, int64_t amount)
{
    till_attempt_refusal_t refusal = check_part(a, amount, not_refunded(a));

    if (refusal != TILL_ATTEMPT_TAKEN)
        return refusal;
    a->refunded += amount;
    if (is_all_refunded(a) && a->disputed == 0 && a->lost == 0)
        a->state = TILL_ATTEMPT_REFUNDED;
    return TILL_ATTEMPT_TAKEN;
}

/* It did not get there, and is held again. What had been won before is as what was captured. */
static till_attempt_refusal_t on_refund_failed(till_attempt_t *a, int64_t amount)
{
    till_attempt_refusal_t refusal = check_part(a, amount, a->refunded);

    if (refusal != TILL_ATTEMPT_TAKEN)
        return refusal;
    a->refunded -= amount;
    if (a->state == TILL_ATTEMPT_REFUNDED)
        a->state = TILL_ATTEMPT_CAPTURED;
    return TILL_ATTEMPT_TAKEN;
}

/* The bank takes what it is told was paid, whether or not some of it went back; also besides what it has. */
static till_attempt_refusal_t on_disputed(till_attempt_t *a, int64_t amount)
{
    till_attempt_refusal_t refusal = check_part(a, amount, a->captured - a->disputed - a->lost);

    if (refusal != TILL_ATTEMPT_TAKEN)
        return refusal;
    a->disputed += amount;
    a->state = TILL_ATTEMPT_DISPUTED;
    return TILL_ATTEMPT_TAKEN;
}

static till_attempt_state_t after_disputes(const till_attempt_t *a)
{
    if (a->disputed != 0)
        return TILL_ATTEMPT_DISPUTED;
    if (a->lost != 0)
        return TILL_ATTEMPT_LOST;
    return a->refunded != 0 && is_all_refunded(a) ? TILL_ATTEMPT_REFUNDED : TILL_ATTEMPT_WON;
}

/* Nothing: of all that are open. */
static till_attempt_refusal_t end_dispute(till_attempt_t *a, int64_t *amount)
{
    if (*amount > a->disputed)
        return TILL_ATTEMPT_TOO_MUCH;
    if (*amount == 0)
        *amount = a->disputed;
    a->disputed -= *amount;
    return TILL_ATTEMPT_TAKEN;
}

static till_attempt_refusal_t on_won(till_attempt_t *a, int64_t amount)
{
    till_attempt_refusal_t refusal = end_dispute(a, &amount);

    a->state = after_disputes(a);
    return refusal;
}

static till_attempt_refusal_t on_lost(till_attempt_t *a, int64_t amount)
{
    till_attempt_refusal_t refusal = end_dispute(a, &amount);

    a->lost += amount;
    a->state = a->amount == 0 ? TILL_ATTEMPT_LOST : after_disputes(a); /* of nothing no sum tells */
    return refusal;
}

/* ---- the table ---- */

#define IN(state) (1U << TILL_ATTEMPT_##state)
#define WITH_PROVIDER (IN(SENDING) | IN(UNKNOWN) | IN(REQUIRES_ACTION))
#define PAID (IN(CAPTURED) | IN(WON) | IN(LOST))

/* clang-format off */
static const struct edge {
    const char *name;
    edge_fn *go;
    uint32_t from;
} edges[TILL_ATTEMPT_KINDS] = {
    [TILL_ATTEMPT_ON_CREATED] =         {"created",         on_created,         IN(NONE)},
    [TILL_ATTEMPT_ON_SEND] =            {"send",            on_send,            IN(CREATED) | IN(REQUIRES_ACTION)},
    [TILL_ATTEMPT_ON_AUTHORIZED] =      {"authorized",      on_authorized,      WITH_PROVIDER},
    [TILL_ATTEMPT_ON_CAPTURED] =        {"captured",        on_captured,        WITH_PROVIDER | IN(AUTHORIZED) | PAID | IN(DISPUTED)},
    [TILL_ATTEMPT_ON_DECLINED] =        {"declined",        on_declined,        WITH_PROVIDER},
    [TILL_ATTEMPT_ON_REQUIRES_ACTION] = {"requires_action", on_requires_action, IN(SENDING) | IN(UNKNOWN)},
    [TILL_ATTEMPT_ON_UNKNOWN] =         {"unknown",         on_unknown,         IN(SENDING)},
    [TILL_ATTEMPT_ON_NOT_FOUND] =       {"not_found",       on_failed,          WITH_PROVIDER},
    [TILL_ATTEMPT_ON_FAILED] =          {"failed",          on_failed,          IN(SENDING)},
    [TILL_ATTEMPT_ON_VOIDED] =          {"voided",          on_voided,          WITH_PROVIDER | IN(CREATED) | IN(AUTHORIZED) | PAID | IN(DISPUTED)},
    [TILL_ATTEMPT_ON_REFUNDED] =        {"refunded",        on_refunded,        PAID | IN(DISPUTED)},
    [TILL_ATTEMPT_ON_DISPUTED] =        {"disputed",        on_disputed,        PAID | IN(REFUNDED) | IN(DISPUTED)},
    [TILL_ATTEMPT_ON_WON] =             {"won",             on_won,             IN(DISPUTED)},
    [TILL_ATTEMPT_ON_LOST] =            {"lost",            on_lost,            IN(DISPUTED)},
    [TILL_ATTEMPT_ON_REFUND_FAILED] =   {"refund_failed",   on_refund_failed,   PAID | IN(REFUNDED) | IN(DISPUTED)},
};
/* clang-format on */

static bool is_sound(const till_attempt_t *a)
{
    return a->amount >= 0 && a->authorized >= 0 && a->captured >= 0 && a->voided >= 0 && a->refunded >= 0 &&
           a->disputed >= 0 && a->lost >= 0 && a->authorized <= a->amount && till_attempt_left(a) >= 0 &&
           a->refunded <= a->captured && a->disputed + a->lost <= a->captured;
}

till_attempt_refusal_t till_attempt_apply(till_attempt_t *attempt, till_attempt_event_t event)
{
    till_attempt_t next = *attempt;

    if ((unsigned)event.kind >= TILL_ATTEMPT_KINDS || (edges[event.kind].from & 1U << attempt->state) == 0)
        return TILL_ATTEMPT_IMPOSSIBLE;
    if (event.amount < 0 || event.amount > TILL_ATTEMPT_MAX)
        return TILL_ATTEMPT_NO_AMOUNT;
    till_attempt_refusal_t refusal = edges[event.kind].go(&next, event.amount);
    if (refusal != TILL_ATTEMPT_TAKEN)
        return refusal;
    if (!is_sound(&next))
        abort(); /* invariant 1, in every build: with wrong books nothing goes on */
    *attempt = next;
    return TILL_ATTEMPT_TAKEN;
}

till_attempt_refusal_t till_attempt_fold(till_attempt_t *out, const till_attempt_event_t *events, size_t n, size_t *at)
{
    till_attempt_refusal_t refusal = TILL_ATTEMPT_TAKEN;

    *out = (till_attempt_t){.state = TILL_ATTEMPT_NONE};
    for (*at = 0; *at != n && refusal == TILL_ATTEMPT_TAKEN;) {
        refusal = till_attempt_apply(out, events[*at]);
        *at += refusal == TILL_ATTEMPT_TAKEN;
    }
    return refusal;
}

/* ---- names ---- */

const char *till_attempt_state_name(till_attempt_state_t state)
{
    static const char *const names[TILL_ATTEMPT_STATES] = {
        "none",     "created", "sending", "unknown",  "requires_action", "authorized", "captured",
        "disputed", "won",     "lost",    "declined", "failed",          "voided",     "refunded"};

    return (unsigned)state < TILL_ATTEMPT_STATES ? names[state] : NULL;
}

const char *till_attempt_kind_name(till_attempt_kind_t kind)
{
    return (unsigned)kind < TILL_ATTEMPT_KINDS ? edges[kind].name : NULL;
}

const char *till_attempt_refusal_name(till_attempt_refusal_t refusal)
{
    static const char *const names[] = {"taken", "impossible", "no_amount", "too_much"};

    return names[refusal];
}

bool till_attempt_is_final(till_attempt_state_t state)
{
    return state >= TILL_ATTEMPT_DECLINED && state != TILL_ATTEMPT_REFUNDED;
}
