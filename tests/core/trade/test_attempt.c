/* test_attempt.c - see core/trade/attempt.h.
 *
 * The oracle is written the other way round: it keeps no state but the list, and asks for each event what the sums and
 * the last words of the list allow.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "trade/attempt.h"

#define ON(kind, amount) ((till_attempt_event_t){TILL_ATTEMPT_ON_##kind, amount})

/* As ck_assert, without its note to a file each time: this is asked by the million. */
#define MUST(holds)                                                                                                    \
    do {                                                                                                               \
        if (!(holds))                                                                                                  \
            ck_abort_msg("%s", #holds);                                                                                \
    } while (0)

enum { MOST = 64 };

typedef struct list {
    till_attempt_event_t events[MOST];
    size_t n;
} list_t;

/* ---- the oracle: sums over a list ---- */

static int64_t sum(const list_t *list, till_attempt_kind_t kind)
{
    int64_t total = 0;

    for (size_t i = 0; i != list->n; ++i)
        total += list->events[i].kind == kind ? list->events[i].amount : 0;
    return total;
}

static size_t count(const list_t *list, till_attempt_kind_t kind)
{
    size_t n = 0;

    for (size_t i = 0; i != list->n; ++i)
        n += list->events[i].kind == kind;
    return n;
}

/* What the disputes with that end came to; with neither, of those that go on. */
static int64_t disputed_with(const list_t *list, till_attempt_kind_t end)
{
    int64_t total = 0, open = 0;

    for (size_t i = 0; i != list->n; ++i) {
        const till_attempt_event_t *event = &list->events[i];
        open += event->kind == TILL_ATTEMPT_ON_DISPUTED ? event->amount : 0;
        if (event->kind != TILL_ATTEMPT_ON_WON && event->kind != TILL_ATTEMPT_ON_LOST)
            continue;
        int64_t ended = event->amount != 0 ? event->amount : open;
        total += event->kind == end ? ended : 0;
        open -= ended;
    }
    return end == TILL_ATTEMPT_KINDS ? open : total;
}

static int64_t authorized_in(const list_t *list)
{
    for (size_t i = 0; i != list->n; ++i) {
        till_attempt_kind_t kind = list->events[i].kind;
        if (kind == TILL_ATTEMPT_ON_AUTHORIZED || kind == TILL_ATTEMPT_ON_CAPTURED)
            return list->events[i].amount;
    }
    return 0;
}

/* Everything that the header promises of an attempt whose list was taken as a whole. */
static void check_promises(const list_t *list, const till_attempt_t *a)
{
    int64_t asked = sum(list, TILL_ATTEMPT_ON_CREATED);

    MUST(a->amount == asked);
    MUST(a->authorized == authorized_in(list));
    MUST(a->captured == sum(list, TILL_ATTEMPT_ON_CAPTURED));
    MUST(a->voided == sum(list, TILL_ATTEMPT_ON_VOIDED));
    MUST(a->refunded == sum(list, TILL_ATTEMPT_ON_REFUNDED) - sum(list, TILL_ATTEMPT_ON_REFUND_FAILED));
    MUST(a->refunded >= 0);
    MUST(a->lost == disputed_with(list, TILL_ATTEMPT_ON_LOST));
    MUST(a->disputed == disputed_with(list, TILL_ATTEMPT_KINDS));
    MUST(a->authorized <= asked);
    MUST(a->captured + a->voided <= a->authorized);
    MUST(a->refunded <= a->captured);
    MUST(a->disputed + a->lost <= a->captured);
    MUST(till_attempt_held(a) >= 0 && till_attempt_held(a) <= a->captured - a->refunded);
    MUST((a->disputed != 0 || (asked == 0 && a->state == TILL_ATTEMPT_DISPUTED)) ==
         (a->state == TILL_ATTEMPT_DISPUTED));
    MUST(count(list, TILL_ATTEMPT_ON_AUTHORIZED) <= 1);
    if (a->state == TILL_ATTEMPT_REFUNDED)
        MUST(a->refunded == a->captured && a->disputed == 0 && a->lost == 0);
    if (a->state == TILL_ATTEMPT_CAPTURED ||
        a->state == TILL_ATTEMPT_WON) /* who looks at it may ask for all that is left */
        MUST(a->lost == 0);
    if (a->state == TILL_ATTEMPT_LOST && asked != 0)
        MUST(a->lost != 0);
    if (a->state == TILL_ATTEMPT_VOIDED || a->state == TILL_ATTEMPT_DECLINED || a->state == TILL_ATTEMPT_FAILED)
        MUST(a->captured == 0);
    if (a->captured != 0)
        MUST(a->state >= TILL_ATTEMPT_CAPTURED);
}

/* What has gone back, and what came back of that, is told of, whatever a bank has meanwhile: then it is no refusal that
 * helps. */
static bool must_fit(const till_attempt_t *a, till_attempt_event_t event)
{
    bool is_paid = a->state == TILL_ATTEMPT_CAPTURED || a->state == TILL_ATTEMPT_DISPUTED ||
                   a->state == TILL_ATTEMPT_WON || a->state == TILL_ATTEMPT_LOST;
    bool is_back = event.kind == TILL_ATTEMPT_ON_REFUND_FAILED;
    int64_t room = is_back ? a->refunded : a->captured - a->refunded;

    if (is_back ? !is_paid && a->state != TILL_ATTEMPT_REFUNDED : event.kind != TILL_ATTEMPT_ON_REFUNDED || !is_paid)
        return false;
    return event.amount <= room && (a->amount == 0 ? event.amount == 0 : event.amount > 0);
}

static bool is_same(const till_attempt_t *a, const till_attempt_t *b)
{
    return a->state == b->state && a->amount == b->amount && a->authorized == b->authorized &&
           a->captured == b->captured && a->voided == b->voided && a->refunded == b->refunded &&
           a->disputed == b->disputed && a->lost == b->lost;
}

/* One more event, with all that must hold of taking it or not. @return was it taken? */
static bool try_event(list_t *list, till_attempt_t *a, till_attempt_event_t event)
{
    till_attempt_t before = *a, folded;
    size_t at;
    till_attempt_refusal_t refusal = till_attempt_apply(a, event);

    if (refusal != TILL_ATTEMPT_TAKEN) {
        MUST(!must_fit(&before, event));
        MUST(is_same(a, &before));
        return false;
    }
    MUST(!till_attempt_is_final(before.state));
    if (before.state == TILL_ATTEMPT_UNKNOWN) /* invariant 4 */
        MUST(event.kind != TILL_ATTEMPT_ON_SEND);
    if (before.state == TILL_ATTEMPT_REFUNDED)
        MUST(event.kind == TILL_ATTEMPT_ON_DISPUTED || event.kind == TILL_ATTEMPT_ON_REFUND_FAILED);
    list->events[list->n++] = event;
    MUST(till_attempt_fold(&folded, list->events, list->n, &at) == TILL_ATTEMPT_TAKEN);
    MUST(at == list->n);
    MUST(is_same(&folded, a));
    check_promises(list, a);
    return true;
}

/* ---- the table of edges, written anew ---- */

/* clang-format off */
static const struct {
    const char *from, *event, *to;
} edges[] = { /* with the amount of all that there is */
    {"none", "created", "created"},
    {"created", "send", "sending"}, {"created", "voided", "voided"},
    {"sending", "authorized", "authorized"}, {"sending", "captured", "captured"}, {"sending", "declined", "declined"},
    {"sending", "requires_action", "requires_action"}, {"sending", "unknown", "unknown"}, {"sending", "not_found", "failed"},
    {"sending", "failed", "failed"}, {"sending", "voided", "voided"},
    {"unknown", "authorized", "authorized"}, {"unknown", "captured", "captured"}, {"unknown", "declined", "declined"},
    {"unknown", "requires_action", "requires_action"}, {"unknown", "not_found", "failed"}, {"unknown", "voided", "voided"},
    {"requires_action", "send", "sending"}, {"requires_action", "authorized", "authorized"},
    {"requires_action", "captured", "captured"}, {"requires_action", "declined", "declined"},
    {"requires_action", "voided", "voided"}, {"requires_action", "not_found", "failed"},
    {"authorized", "captured", "captured"}, {"authorized", "voided", "voided"},
    {"captured", "refunded", "refunded"}, {"captured", "disputed", "disputed"},
    {"disputed", "won", "won"}, {"disputed", "lost", "lost"},
    {"won", "refunded", "refunded"}, {"won", "disputed", "disputed"},
    {"refunded", "disputed", "disputed"}, {"disputed", "won", "refunded"}, /* of what went back */
    {"disputed", "refunded", "disputed"}, {"lost", "refunded", "lost"}, /* told after the dispute */
    {"refunded", "refund_failed", "captured"}, {"disputed", "refund_failed", "disputed"}, {"lost", "refund_failed", "lost"},
};
/* clang-format on */

enum { ALL = 7, EDGES = sizeof(edges) / sizeof(edges[0]) };

static int64_t amount_of(const till_attempt_t *a, till_attempt_kind_t kind)
{
    switch (kind) {
    case TILL_ATTEMPT_ON_CREATED:
    case TILL_ATTEMPT_ON_AUTHORIZED:
    case TILL_ATTEMPT_ON_CAPTURED:
    case TILL_ATTEMPT_ON_REFUNDED:
    case TILL_ATTEMPT_ON_REFUND_FAILED:
    case TILL_ATTEMPT_ON_DISPUTED:
        return ALL;
    case TILL_ATTEMPT_ON_VOIDED:
        return a->state == TILL_ATTEMPT_AUTHORIZED ? ALL : 0;
    default:
        return 0;
    }
}

/* Walks from `a` to every state that whole amounts reach, and marks what was taken. */
static void walk(till_attempt_t a, bool seen[EDGES], int depth)
{
    for (int kind = 0; depth != 0 && kind != TILL_ATTEMPT_KINDS; ++kind) {
        till_attempt_t next = a;
        till_attempt_event_t event = {(till_attempt_kind_t)kind, amount_of(&a, (till_attempt_kind_t)kind)};
        if (till_attempt_apply(&next, event) != TILL_ATTEMPT_TAKEN)
            continue;
        bool is_listed = false;
        for (size_t i = 0; i != EDGES; ++i) {
            bool is_it = strcmp(edges[i].from, till_attempt_state_name(a.state)) == 0 &&
                         strcmp(edges[i].event, till_attempt_kind_name(event.kind)) == 0 &&
                         strcmp(edges[i].to, till_attempt_state_name(next.state)) == 0;
            is_listed |= is_it;
            seen[i] |= is_it;
        }
        ck_assert_msg(is_listed, "%s --%s--> %s", till_attempt_state_name(a.state), till_attempt_kind_name(event.kind),
                      till_attempt_state_name(next.state));
        walk(next, seen, depth - 1);
    }
}

START_TEST(the_edges_are_those_of_the_table)
{
    bool seen[EDGES] = {false};

    walk((till_attempt_t){.state = TILL_ATTEMPT_NONE}, seen, 9);
    for (size_t i = 0; i != EDGES; ++i)
        ck_assert_msg(seen[i], "%s --%s--> %s", edges[i].from, edges[i].event, edges[i].to);
}
END_TEST

/* ---- all sequences ---- */

static unsigned long visited;

/* Every event with every amount up to one more than there is. */
static void explore(list_t *list, till_attempt_t a, int64_t asked, int depth)
{
    ++visited;
    for (int kind = 0; depth != 0 && kind != TILL_ATTEMPT_KINDS; ++kind) {
        for (int64_t amount = -1; amount <= asked + 1; ++amount) {
            till_attempt_t next = a;
            if (kind == TILL_ATTEMPT_ON_CREATED && amount != asked)
                continue;
            if (try_event(list, &next, (till_attempt_event_t){(till_attempt_kind_t)kind, amount})) {
                explore(list, next, asked, depth - 1);
                --list->n;
            }
        }
    }
}

START_TEST(all_sequences_to_a_depth)
{
    static const struct {
        int64_t asked;
        int depth;
    } of[] = {{0, 9}, {1, 12}, {2, 11}, {3, 10}};
    list_t list = {.n = 0};

    explore(&list, (till_attempt_t){.state = TILL_ATTEMPT_NONE}, of[_i].asked, of[_i].depth);
    ck_assert_uint_gt(visited, 300);
}
END_TEST

/* ---- long random ones ---- */

static uint64_t random_state = 20261130;

static uint64_t draw(uint64_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % below;
}

/* Amounts that fit, that nearly fit, and the edges of the type. */
static int64_t draw_amount(const till_attempt_t *a, till_attempt_kind_t kind)
{
    static const int64_t odd[] = {INT64_MIN,        INT64_MIN + 1,        -1,       0, 1,
                                  TILL_ATTEMPT_MAX, TILL_ATTEMPT_MAX + 1, INT64_MAX};
    int64_t room = a->state >= TILL_ATTEMPT_AUTHORIZED ? till_attempt_left(a) + a->captured - a->refunded : a->amount;

    if (draw(2) == 0 && amount_of(a, kind) == 0)
        return 0;
    switch (draw(6)) {
    case 0:
        return odd[draw(8)];
    case 1:
        return room + 1;
    case 2:
        return room;
    case 3:
        return room != 0 ? 1 + (int64_t)draw((uint64_t)room) : 0;
    default:
        return 0;
    }
}

START_TEST(a_million_random_events)
{
    unsigned long taken = 0, finished = 0;
    bool met[TILL_ATTEMPT_STATES] = {false};

    for (unsigned long tried = 0; tried < 1000000;) {
        list_t list = {.n = 0};
        till_attempt_t a = {.state = TILL_ATTEMPT_NONE};
        int64_t asked = draw(4) == 0 ? TILL_ATTEMPT_MAX : (int64_t)draw(1000);
        try_event(&list, &a, ON(CREATED, asked));
        for (int i = 0; i != 60 && list.n != MOST; ++i, ++tried) {
            till_attempt_kind_t kind = (till_attempt_kind_t)draw(TILL_ATTEMPT_KINDS);
            taken += try_event(&list, &a, (till_attempt_event_t){kind, draw_amount(&a, kind)});
            met[a.state] = true;
        }
        finished += till_attempt_is_final(a.state);
    }
    ck_assert_uint_gt(taken, 30000);
    ck_assert_uint_gt(finished, 5000);
    for (int state = TILL_ATTEMPT_CREATED; state != TILL_ATTEMPT_STATES; ++state)
        ck_assert_msg(met[state], "%s was never met", till_attempt_state_name((till_attempt_state_t)state));
}
END_TEST

/* ---- stories ---- */

START_TEST(captured_and_refunded_in_parts)
{
    const till_attempt_event_t events[] = {ON(CREATED, 1000), ON(SEND, 0),       ON(AUTHORIZED, 1000),
                                           ON(CAPTURED, 300), ON(REFUNDED, 100), ON(CAPTURED, 200),
                                           ON(REFUNDED, 400)};
    till_attempt_t a;
    size_t at;

    ck_assert_int_eq(till_attempt_fold(&a, events, 7, &at), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(a.state, TILL_ATTEMPT_CAPTURED); /* 500 may still be captured */
    ck_assert_int_eq(till_attempt_left(&a), 500);
    ck_assert_int_eq(till_attempt_held(&a), 0);
    ck_assert_int_eq(till_attempt_apply(&a, ON(REFUNDED, 1)), TILL_ATTEMPT_TOO_MUCH);
    ck_assert_int_eq(till_attempt_apply(&a, ON(VOIDED, 501)), TILL_ATTEMPT_TOO_MUCH);
    ck_assert_int_eq(till_attempt_apply(&a, ON(VOIDED, 500)), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(a.state, TILL_ATTEMPT_REFUNDED);
}
END_TEST

START_TEST(an_answer_that_comes_twice_counts_once)
{
    const till_attempt_event_t events[] = {ON(CREATED, 500), ON(SEND, 0), ON(UNKNOWN, 0), ON(CAPTURED, 500)};
    till_attempt_t a;
    size_t at;

    ck_assert_int_eq(till_attempt_fold(&a, events, 4, &at), TILL_ATTEMPT_TAKEN);
    for (int i = 0; i != 3; ++i)
        ck_assert_int_eq(till_attempt_apply(&a, ON(CAPTURED, 500)), TILL_ATTEMPT_TOO_MUCH);
    ck_assert_int_eq(till_attempt_apply(&a, ON(DECLINED, 0)), TILL_ATTEMPT_IMPOSSIBLE);
    ck_assert_int_eq(a.captured, 500);
}
END_TEST

START_TEST(a_dispute_holds_what_it_is_about)
{
    const till_attempt_event_t events[] = {ON(CREATED, 500), ON(SEND, 0), ON(CAPTURED, 500), ON(REFUNDED, 100),
                                           ON(DISPUTED, 300)};
    till_attempt_t a, won, lost;
    size_t at;

    ck_assert_int_eq(till_attempt_fold(&a, events, 5, &at), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(till_attempt_apply(&a, ON(DISPUTED, 201)), TILL_ATTEMPT_TOO_MUCH);
    ck_assert_int_eq(till_attempt_held(&a), 100);
    won = lost = a;
    ck_assert_int_eq(till_attempt_apply(&won, ON(WON, 0)), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(till_attempt_held(&won), 400);
    ck_assert_int_eq(till_attempt_apply(&won, ON(LOST, 0)), TILL_ATTEMPT_IMPOSSIBLE);
    ck_assert_int_eq(till_attempt_apply(&won, ON(REFUNDED, 400)), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(won.state, TILL_ATTEMPT_REFUNDED);
    ck_assert_int_eq(till_attempt_apply(&lost, ON(LOST, 0)), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(till_attempt_held(&lost), 100);
    ck_assert_int_eq(till_attempt_apply(&lost, ON(REFUNDED, 100)), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(lost.state, TILL_ATTEMPT_LOST);
    ck_assert_int_eq(till_attempt_held(&lost), 0);
}
END_TEST

/* One that was asked for before the dispute, or made at the provider, and is told of after it. */
START_TEST(a_refund_may_be_told_after_a_dispute_of_all)
{
    const till_attempt_event_t events[] = {ON(CREATED, 500), ON(SEND, 0), ON(CAPTURED, 500), ON(DISPUTED, 500),
                                           ON(REFUNDED, 100)};
    till_attempt_t a, won, lost;
    size_t at;

    ck_assert_int_eq(till_attempt_fold(&a, events, 5, &at), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(a.state, TILL_ATTEMPT_DISPUTED);
    ck_assert_int_eq(till_attempt_held(&a), 0);
    ck_assert_int_eq(till_attempt_apply(&a, ON(REFUNDED, 401)), TILL_ATTEMPT_TOO_MUCH);
    won = lost = a;
    ck_assert_int_eq(till_attempt_apply(&won, ON(REFUNDED, 400)), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(won.state, TILL_ATTEMPT_DISPUTED);
    ck_assert_int_eq(till_attempt_apply(&won, ON(WON, 0)), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(won.state, TILL_ATTEMPT_REFUNDED);
    ck_assert_int_eq(till_attempt_apply(&lost, ON(LOST, 0)), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(till_attempt_apply(&lost, ON(REFUNDED, 400)), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(lost.state, TILL_ATTEMPT_LOST);
    ck_assert_int_eq(lost.refunded, 500);
    ck_assert_int_eq(lost.lost, 500);
    ck_assert_int_eq(till_attempt_apply(&lost, ON(REFUNDED, 1)), TILL_ATTEMPT_TOO_MUCH);
}
END_TEST

/* The shop gave 100 of it back, and the bank takes all of it. */
START_TEST(a_dispute_may_be_of_what_went_back)
{
    const till_attempt_event_t events[] = {ON(CREATED, 500), ON(SEND, 0), ON(CAPTURED, 500), ON(REFUNDED, 100),
                                           ON(DISPUTED, 500)};
    till_attempt_t a, won, lost;
    size_t at;

    ck_assert_int_eq(till_attempt_fold(&a, events, 5, &at), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(a.disputed, 500);
    ck_assert_int_eq(till_attempt_held(&a), 0);
    won = lost = a;
    ck_assert_int_eq(till_attempt_apply(&won, ON(WON, 0)), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(till_attempt_held(&won), 400);
    ck_assert_int_eq(till_attempt_apply(&lost, ON(LOST, 0)), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(lost.lost, 500);
    ck_assert_int_eq(till_attempt_apply(&lost, ON(DISPUTED, 1)), TILL_ATTEMPT_TOO_MUCH);
    ck_assert_int_eq(till_attempt_held(&lost), 0);
}
END_TEST

START_TEST(a_dispute_of_what_went_back_as_a_whole_ends_where_it_began)
{
    const till_attempt_event_t events[] = {ON(CREATED, 500), ON(SEND, 0), ON(CAPTURED, 500), ON(REFUNDED, 500)};
    till_attempt_t a, lost;
    size_t at;

    ck_assert_int_eq(till_attempt_fold(&a, events, 4, &at), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(till_attempt_apply(&a, ON(DISPUTED, 501)), TILL_ATTEMPT_TOO_MUCH);
    ck_assert_int_eq(till_attempt_apply(&a, ON(DISPUTED, 500)), TILL_ATTEMPT_TAKEN);
    lost = a;
    ck_assert_int_eq(till_attempt_apply(&a, ON(WON, 0)), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(a.state, TILL_ATTEMPT_REFUNDED);
    ck_assert_int_eq(till_attempt_apply(&lost, ON(LOST, 0)), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(lost.state, TILL_ATTEMPT_LOST);
}
END_TEST

START_TEST(what_was_on_its_way_when_a_dispute_came_is_counted)
{
    const till_attempt_event_t events[] = {ON(CREATED, 900), ON(SEND, 0), ON(AUTHORIZED, 900), ON(CAPTURED, 300),
                                           ON(DISPUTED, 300)};
    const till_attempt_kind_t ends[] = {TILL_ATTEMPT_KINDS, TILL_ATTEMPT_ON_WON, TILL_ATTEMPT_ON_LOST};

    for (size_t i = 0; i != 3; ++i) {
        till_attempt_t a;
        size_t at;
        ck_assert_int_eq(till_attempt_fold(&a, events, 5, &at), TILL_ATTEMPT_TAKEN);
        if (ends[i] != TILL_ATTEMPT_KINDS)
            ck_assert_int_eq(till_attempt_apply(&a, (till_attempt_event_t){ends[i], 0}), TILL_ATTEMPT_TAKEN);
        till_attempt_state_t state = a.state;
        ck_assert_int_eq(till_attempt_apply(&a, ON(CAPTURED, 601)), TILL_ATTEMPT_TOO_MUCH);
        ck_assert_int_eq(till_attempt_apply(&a, ON(CAPTURED, 400)), TILL_ATTEMPT_TAKEN);
        ck_assert_int_eq(till_attempt_apply(&a, ON(VOIDED, 201)), TILL_ATTEMPT_TOO_MUCH);
        ck_assert_int_eq(till_attempt_apply(&a, ON(VOIDED, 150)), TILL_ATTEMPT_TAKEN);
        ck_assert_int_eq(a.state, state);
        ck_assert_int_eq(a.captured, 700);
        ck_assert_int_eq(till_attempt_left(&a), 50);
        ck_assert_int_eq(till_attempt_held(&a), state == TILL_ATTEMPT_WON ? 700 : 400);
    }
}
END_TEST

START_TEST(what_was_won_is_given_back_when_nothing_is_held_besides)
{
    const till_attempt_event_t events[] = {ON(CREATED, 900),  ON(SEND, 0), ON(AUTHORIZED, 900), ON(CAPTURED, 300),
                                           ON(DISPUTED, 300), ON(WON, 0),  ON(REFUNDED, 300)};
    till_attempt_t a;
    size_t at;

    ck_assert_int_eq(till_attempt_fold(&a, events, 7, &at), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(a.state, TILL_ATTEMPT_WON); /* 600 may be on their way */
    ck_assert_int_eq(till_attempt_apply(&a, ON(VOIDED, 600)), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(a.state, TILL_ATTEMPT_REFUNDED);
}
END_TEST

/* Of 900: 200 and 300 and 100; what is open is disputed, and what came of each is not a question of which ended first.
 */
START_TEST(disputes_that_are_open_at_once_end_each_by_itself)
{
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    const till_attempt_event_t events[] = {ON(CREATED, 900),  ON(SEND, 0),       ON(CAPTURED, 900),
                                           ON(DISPUTED, 200), ON(DISPUTED, 300), ON(DISPUTED, 100)};
    const till_attempt_event_t ends[] = {ON(LOST, 200), ON(WON, 300), ON(WON, 100)};
    till_attempt_t a;
    size_t at;

    ck_assert_int_eq(till_attempt_fold(&a, events, 6, &at), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(a.disputed, 600);
    ck_assert_int_eq(till_attempt_held(&a), 300);
    ck_assert_int_eq(till_attempt_apply(&a, ON(DISPUTED, 301)), TILL_ATTEMPT_TOO_MUCH);
    ck_assert_int_eq(till_attempt_apply(&a, ON(WON, 601)), TILL_ATTEMPT_TOO_MUCH);
    ck_assert_int_eq(a.state, TILL_ATTEMPT_DISPUTED);
    for (size_t i = 0; i != 6; ++i) {
        till_attempt_t b = a;
        for (int j = 0; j != 3; ++j) {
            ck_assert_int_eq(b.state, TILL_ATTEMPT_DISPUTED);
            ck_assert_int_eq(till_attempt_apply(&b, ends[orders[i][j]]), TILL_ATTEMPT_TAKEN);
        }
        ck_assert_int_eq(b.state, TILL_ATTEMPT_LOST);
        ck_assert_int_eq(b.lost, 200);
        ck_assert_int_eq(till_attempt_held(&b), 700);
        ck_assert_int_eq(till_attempt_apply(&b, ON(LOST, 1)), TILL_ATTEMPT_IMPOSSIBLE);
    }
    ck_assert_int_eq(till_attempt_apply(&a, ON(WON, 0)), TILL_ATTEMPT_TAKEN); /* of all */
    ck_assert_int_eq(a.state, TILL_ATTEMPT_WON);
    ck_assert_int_eq(till_attempt_held(&a), 900);
}
END_TEST

/* Ends of no amount: a server from when there was but one dispute wrote so, and called the last list won. */
START_TEST(an_old_list_with_a_dispute_that_was_lost_is_lost)
{
    const till_attempt_event_t events[] = {ON(CREATED, 500), ON(SEND, 0),       ON(CAPTURED, 500), ON(DISPUTED, 300),
                                           ON(LOST, 0),      ON(DISPUTED, 100), ON(WON, 0)};
    till_attempt_t a, first;
    size_t at;

    ck_assert_int_eq(till_attempt_fold(&first, events, 5, &at), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(till_attempt_fold(&a, events, 7, &at), TILL_ATTEMPT_TAKEN);
    ck_assert(is_same(&a, &first));
    ck_assert_int_eq(a.state, TILL_ATTEMPT_LOST);
    ck_assert_int_eq(a.lost, 300);
    ck_assert_int_eq(till_attempt_held(&a), 200);
    ck_assert_int_eq(till_attempt_apply(&a, ON(REFUNDED, 200)), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(a.state, TILL_ATTEMPT_LOST);
}
END_TEST

START_TEST(a_refund_that_failed_is_held_again)
{
    const till_attempt_event_t events[] = {ON(CREATED, 500), ON(SEND, 0), ON(CAPTURED, 500), ON(REFUNDED, 200),
                                           ON(REFUNDED, 300)};
    till_attempt_t a;
    size_t at;

    ck_assert_int_eq(till_attempt_fold(&a, events, 5, &at), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(a.state, TILL_ATTEMPT_REFUNDED);
    ck_assert_int_eq(till_attempt_apply(&a, ON(REFUND_FAILED, 501)), TILL_ATTEMPT_TOO_MUCH);
    ck_assert_int_eq(till_attempt_apply(&a, ON(REFUND_FAILED, 0)), TILL_ATTEMPT_NO_AMOUNT);
    ck_assert_int_eq(till_attempt_apply(&a, ON(REFUND_FAILED, 300)), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(a.state, TILL_ATTEMPT_CAPTURED);
    ck_assert_int_eq(a.refunded, 200);
    ck_assert_int_eq(till_attempt_held(&a), 300);
    ck_assert_int_eq(till_attempt_apply(&a, ON(REFUND_FAILED, 201)), TILL_ATTEMPT_TOO_MUCH);
    ck_assert_int_eq(till_attempt_apply(&a, ON(REFUNDED, 301)), TILL_ATTEMPT_TOO_MUCH);
    ck_assert_int_eq(till_attempt_apply(&a, ON(REFUNDED, 300)), TILL_ATTEMPT_TAKEN); /* given again */
    ck_assert_int_eq(a.state, TILL_ATTEMPT_REFUNDED);
}
END_TEST

/* A bank has taken what the shop had given back, and then that fails: it is the bank's word that stays. */
START_TEST(a_refund_may_fail_beside_a_dispute)
{
    const till_attempt_event_t events[] = {ON(CREATED, 500), ON(SEND, 0), ON(CAPTURED, 500), ON(REFUNDED, 500),
                                           ON(DISPUTED, 400)};
    till_attempt_t a, won, lost;
    size_t at;

    ck_assert_int_eq(till_attempt_fold(&a, events, 5, &at), TILL_ATTEMPT_TAKEN);
    won = lost = a;
    ck_assert_int_eq(till_attempt_apply(&a, ON(REFUND_FAILED, 500)), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(a.state, TILL_ATTEMPT_DISPUTED);
    ck_assert_int_eq(till_attempt_held(&a), 100);
    ck_assert_int_eq(till_attempt_apply(&a, ON(WON, 400)), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(a.state, TILL_ATTEMPT_WON);
    ck_assert_int_eq(till_attempt_apply(&won, ON(WON, 400)), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(won.state, TILL_ATTEMPT_REFUNDED);
    ck_assert_int_eq(till_attempt_apply(&won, ON(REFUND_FAILED, 500)), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(won.state, TILL_ATTEMPT_CAPTURED);
    ck_assert_int_eq(till_attempt_apply(&lost, ON(LOST, 400)), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(till_attempt_apply(&lost, ON(REFUND_FAILED, 500)), TILL_ATTEMPT_TAKEN);
    ck_assert_int_eq(lost.state, TILL_ATTEMPT_LOST);
    ck_assert_int_eq(till_attempt_held(&lost), 100);
}
END_TEST

START_TEST(a_list_is_taken_up_to_the_event_that_does_not_fit)
{
    const till_attempt_event_t events[] = {ON(CREATED, 500), ON(SEND, 0), ON(REFUNDED, 1), ON(CAPTURED, 500)};
    till_attempt_t a;
    size_t at;

    ck_assert_int_eq(till_attempt_fold(&a, events, 4, &at), TILL_ATTEMPT_IMPOSSIBLE);
    ck_assert_uint_eq(at, 2);
    ck_assert_int_eq(a.state, TILL_ATTEMPT_SENDING);
    ck_assert_int_eq(till_attempt_fold(&a, events + 1, 1, &at), TILL_ATTEMPT_IMPOSSIBLE);
    ck_assert_uint_eq(at, 0);
    ck_assert_int_eq(a.state, TILL_ATTEMPT_NONE);
    ck_assert_int_eq(till_attempt_fold(&a, NULL, 0, &at), TILL_ATTEMPT_TAKEN);
}
END_TEST

START_TEST(what_is_no_event_is_refused)
{
    till_attempt_t a = {.state = TILL_ATTEMPT_NONE};

    ck_assert_int_eq(till_attempt_apply(&a, (till_attempt_event_t){TILL_ATTEMPT_KINDS, 0}), TILL_ATTEMPT_IMPOSSIBLE);
    ck_assert_int_eq(till_attempt_apply(&a, (till_attempt_event_t){(till_attempt_kind_t)-1, 0}),
                     TILL_ATTEMPT_IMPOSSIBLE);
    ck_assert_ptr_null(till_attempt_kind_name(TILL_ATTEMPT_KINDS));
    ck_assert_ptr_null(till_attempt_state_name(TILL_ATTEMPT_STATES));
}
END_TEST

Suite *attempt_suite(void)
{
    Suite *suite = suite_create("trade/attempt");
    TCase *tc = tcase_create("stories"), *all = tcase_create("all");

    tcase_add_test(tc, the_edges_are_those_of_the_table);
    tcase_add_test(tc, captured_and_refunded_in_parts);
    tcase_add_test(tc, an_answer_that_comes_twice_counts_once);
    tcase_add_test(tc, a_dispute_holds_what_it_is_about);
    tcase_add_test(tc, a_refund_may_be_told_after_a_dispute_of_all);
    tcase_add_test(tc, a_dispute_may_be_of_what_went_back);
    tcase_add_test(tc, a_dispute_of_what_went_back_as_a_whole_ends_where_it_began);
    tcase_add_test(tc, what_was_on_its_way_when_a_dispute_came_is_counted);
    tcase_add_test(tc, what_was_won_is_given_back_when_nothing_is_held_besides);
    tcase_add_test(tc, disputes_that_are_open_at_once_end_each_by_itself);
    tcase_add_test(tc, an_old_list_with_a_dispute_that_was_lost_is_lost);
    tcase_add_test(tc, a_refund_that_failed_is_held_again);
    tcase_add_test(tc, a_refund_may_fail_beside_a_dispute);
    tcase_add_test(tc, a_list_is_taken_up_to_the_event_that_does_not_fit);
    tcase_add_test(tc, what_is_no_event_is_refused);
    suite_add_tcase(suite, tc);
    tcase_set_timeout(all, 170);
    tcase_add_loop_test(all, all_sequences_to_a_depth, 0, 4);
    tcase_add_test(all, a_million_random_events);
    suite_add_tcase(suite, all);
    return suite;
}
