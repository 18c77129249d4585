/* test_breaker.c - see core/trade/breaker.h.
 *
 * The oracle keeps no counts: it has the list of all answers since the state was entered, and sums it up anew each
 * time.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "trade/breaker.h"

#define MUST(holds)                                                                                                    \
    do {                                                                                                               \
        if (!(holds))                                                                                                  \
            ck_abort_msg("%s", #holds);                                                                                \
    } while (0)

enum { MOST = 1024 };

static const till_breaker_terms_t TERMS = {
    .window_ms = 1000, .min_calls = 4, .failure_percent = 50, .cooldown_ms = 500, .probes = 2, .lease_ms = 300};

static uint64_t random_state = 20261130;

static uint64_t draw(uint64_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % below;
}

/* ---- the oracle ---- */

typedef struct oracle {
    till_breaker_state_t state;
    uint64_t now, since, last_probe;
    uint32_t life; /* how often the state was entered: of what a call was asked in */
    struct {
        uint64_t at;
        bool failed;
    } told[MOST];
    uint32_t n, out, passed;
} oracle_t;

static void oracle_enter(oracle_t *o, till_breaker_state_t state)
{
    o->state = state;
    o->since = o->now;
    ++o->life;
    o->n = o->out = o->passed = 0;
}

static bool oracle_ask(oracle_t *o, const till_breaker_terms_t *t)
{
    if (o->state == TILL_BREAKER_OPEN && o->now >= o->since + t->cooldown_ms)
        oracle_enter(o, TILL_BREAKER_HALF_OPEN);
    if (o->state == TILL_BREAKER_CLOSED)
        return true;
    if (o->state == TILL_BREAKER_OPEN)
        return false;
    if (o->out > 0 && o->now >= o->last_probe + t->lease_ms)
        oracle_enter(o, TILL_BREAKER_HALF_OPEN);
    if (o->out + o->passed >= t->probes)
        return false;
    ++o->out;
    o->last_probe = o->now;
    return true;
}

static bool oracle_opens(const oracle_t *o, const till_breaker_terms_t *t)
{
    uint64_t slice = t->window_ms / TILL_BREAKER_SLICES, all = 0, bad = 0;

    for (uint32_t i = 0; i != o->n; ++i) {
        if (o->told[i].at / slice + TILL_BREAKER_SLICES <= o->now / slice)
            continue;
        ++all;
        bad += o->told[i].failed;
    }
    return all >= t->min_calls && bad * 100 >= all * t->failure_percent;
}

static void oracle_tell(oracle_t *o, const till_breaker_terms_t *t, uint32_t life, bool failed)
{
    if (life != o->life || o->state == TILL_BREAKER_OPEN)
        return;
    if (o->state == TILL_BREAKER_HALF_OPEN) {
        if (o->out == 0)
            return;
        --o->out;
        if (failed)
            oracle_enter(o, TILL_BREAKER_OPEN);
        else if (++o->passed == t->probes)
            oracle_enter(o, TILL_BREAKER_CLOSED);
        return;
    }
    MUST(o->n != MOST);
    o->told[o->n].at = o->now;
    o->told[o->n++].failed = failed;
    if (failed && oracle_opens(o, t))
        oracle_enter(o, TILL_BREAKER_OPEN);
}

/* ---- both side by side ---- */

typedef struct call {
    uint32_t ticket, life;
} call_t;

typedef struct pair {
    till_breaker_t breaker;
    oracle_t oracle;
    call_t calls[64];
    size_t n;
} pair_t;

static bool ask(pair_t *p, const till_breaker_terms_t *t)
{
    uint32_t ticket;
    bool may = till_breaker_ask(&ticket, &p->breaker, t, p->oracle.now);

    MUST(may == oracle_ask(&p->oracle, t));
    MUST(may == (ticket != TILL_BREAKER_NO_TICKET));
    MUST(p->breaker.state == p->oracle.state);
    if (p->oracle.state == TILL_BREAKER_HALF_OPEN) /* invariant 3 */
        MUST(p->oracle.out + p->oracle.passed <= t->probes);
    if (may && p->n != 64)
        p->calls[p->n++] = (call_t){ticket, p->oracle.life};
    return may;
}

static void tell(pair_t *p, const till_breaker_terms_t *t, size_t at, bool failed)
{
    call_t call = p->calls[at];

    till_breaker_tell(&p->breaker, t, call.ticket, failed, p->oracle.now);
    oracle_tell(&p->oracle, t, call.life, failed);
    MUST(p->breaker.state == p->oracle.state);
    p->calls[at] = p->calls[--p->n];
}

/* Every sequence of asking, telling well and badly of the oldest and the newest, and waiting. */
static unsigned long visited;

static void explore(const pair_t *from, const till_breaker_terms_t *t, int depth)
{
    enum { ASK, GOOD, BAD, BAD_NEWEST, SLICE, LEASE, COOL, WINDOW, ACTS };
    static const uint64_t waits[] = {[SLICE] = 100, [LEASE] = 300, [COOL] = 500, [WINDOW] = 1000};

    ++visited;
    for (int act = 0; depth != 0 && act != ACTS; ++act) {
        if ((act == GOOD || act == BAD || act == BAD_NEWEST) && from->n == 0)
            continue;
        pair_t *next = malloc(sizeof(*next));
        *next = *from;
        if (act == ASK)
            ask(next, t);
        else if (act < SLICE)
            tell(next, t, act == BAD_NEWEST ? next->n - 1 : 0, act != GOOD);
        else
            next->oracle.now += waits[act];
        explore(next, t, depth - 1);
        free(next);
    }
}

START_TEST(all_sequences_to_a_depth)
{
    static pair_t pair;
    till_breaker_terms_t terms = TERMS;

    memset(&pair, 0, sizeof(pair));
    terms.min_calls = 1; /* so that all states are within reach */
    explore(&pair, &terms, 6);
    ck_assert_uint_gt(visited, 10000);
}
END_TEST

START_TEST(a_million_random_acts)
{
    static pair_t pair;
    unsigned long met[TILL_BREAKER_STATES] = {0}, refused = 0;

    for (int life = 0; life != 1000; ++life) {
        till_breaker_terms_t terms = {.window_ms = 10 + (uint32_t)draw(2000),
                                      .min_calls = 1 + (uint32_t)draw(8),
                                      .failure_percent = 1 + (uint32_t)draw(100),
                                      .cooldown_ms = 1 + (uint32_t)draw(1000),
                                      .probes = 1 + (uint32_t)draw(4),
                                      .lease_ms = 1 + (uint32_t)draw(1000)};
        memset(&pair, 0, sizeof(pair));
        for (int i = 0; i != 1000; ++i) {
            if (draw(3) == 0)
                pair.oracle.now += draw(draw(8) == 0 ? 1500 : 40);
            if (pair.n == 0 || draw(2) == 0)
                refused += !ask(&pair, &terms);
            else
                tell(&pair, &terms, draw(pair.n), draw(100) < (i / 200 % 2 == 0 ? 80u : 10u));
            ++met[pair.oracle.state];
        }
    }
    for (int state = 0; state != TILL_BREAKER_STATES; ++state)
        ck_assert_uint_gt(met[state], 10000);
    ck_assert_uint_gt(refused, 10000);
}
END_TEST

/* ---- stories ---- */

static uint32_t asked(till_breaker_t *breaker, uint64_t now)
{
    uint32_t ticket;

    ck_assert(till_breaker_ask(&ticket, breaker, &TERMS, now));
    return ticket;
}

static void told(till_breaker_t *breaker, uint64_t now, bool failed)
{
    till_breaker_tell(breaker, &TERMS, asked(breaker, now), failed, now);
}

static bool refuses(till_breaker_t *breaker, uint64_t now)
{
    uint32_t ticket;

    return !till_breaker_ask(&ticket, breaker, &TERMS, now);
}

static till_breaker_t opened(uint64_t now)
{
    till_breaker_t breaker = {.state = TILL_BREAKER_CLOSED};

    for (uint32_t i = 0; i != TERMS.min_calls; ++i)
        told(&breaker, now, true);
    ck_assert_int_eq(breaker.state, TILL_BREAKER_OPEN);
    return breaker;
}

START_TEST(few_failures_open_nothing)
{
    till_breaker_t breaker = {.state = TILL_BREAKER_CLOSED};

    for (uint32_t i = 1; i != TERMS.min_calls; ++i)
        told(&breaker, 0, true);
    ck_assert_int_eq(breaker.state, TILL_BREAKER_CLOSED);
    for (int i = 0; i != 4; ++i)
        told(&breaker, 0, false);
    told(&breaker, 0, true); /* 4 of 8 */
    ck_assert_int_eq(breaker.state, TILL_BREAKER_OPEN);
}
END_TEST

START_TEST(failures_are_forgotten_with_the_window)
{
    till_breaker_t breaker = {.state = TILL_BREAKER_CLOSED};

    for (uint64_t i = 0; i != 100; ++i)
        told(&breaker, i * (TERMS.window_ms / 2), true);
    ck_assert_int_eq(breaker.state, TILL_BREAKER_CLOSED);
}
END_TEST

START_TEST(it_opens_probes_and_closes)
{
    till_breaker_t breaker = opened(1000);

    ck_assert_uint_eq(till_breaker_wait(&breaker, &TERMS, 1400), 100);
    ck_assert(refuses(&breaker, 1499));
    uint32_t first = asked(&breaker, 1500), second = asked(&breaker, 1500);
    ck_assert(refuses(&breaker, 1500));
    ck_assert_uint_eq(till_breaker_wait(&breaker, &TERMS, 1500), 0);
    till_breaker_tell(&breaker, &TERMS, first, false, 1501);
    ck_assert(refuses(&breaker, 1501));
    till_breaker_tell(&breaker, &TERMS, second, false, 1502);
    ck_assert_int_eq(breaker.state, TILL_BREAKER_CLOSED);
    told(&breaker, 1502, true); /* the window is empty */
    ck_assert_int_eq(breaker.state, TILL_BREAKER_CLOSED);
}
END_TEST

START_TEST(a_probe_that_fails_opens_for_another_cool_down)
{
    till_breaker_t breaker = opened(1000);

    told(&breaker, 1600, true);
    ck_assert_int_eq(breaker.state, TILL_BREAKER_OPEN);
    ck_assert(refuses(&breaker, 2099));
    ck_assert(!refuses(&breaker, 2100));
}
END_TEST

START_TEST(late_answers_of_another_state_count_nowhere)
{
    till_breaker_t breaker = {.state = TILL_BREAKER_CLOSED};
    uint32_t early[3];

    for (int i = 0; i != 3; ++i)
        early[i] = asked(&breaker, 1000);
    for (int i = 0; i != 4; ++i)
        told(&breaker, 1000, true);
    uint32_t probe = asked(&breaker, 1500);
    for (int i = 0; i != 3; ++i)
        till_breaker_tell(&breaker, &TERMS, early[i], i == 0, 1500);
    ck_assert_int_eq(breaker.state, TILL_BREAKER_HALF_OPEN);
    till_breaker_tell(&breaker, &TERMS, TILL_BREAKER_NO_TICKET, true, 1500);
    till_breaker_tell(&breaker, &TERMS, probe, false, 1500);
    till_breaker_tell(&breaker, &TERMS, probe, false, 1500); /* twice is once */
    ck_assert_int_eq(breaker.state, TILL_BREAKER_HALF_OPEN);
}
END_TEST

START_TEST(probes_that_never_come_back_block_nobody)
{
    till_breaker_t breaker = opened(1000);
    uint32_t lost = asked(&breaker, 1500);

    asked(&breaker, 1500);
    ck_assert(refuses(&breaker, 1799));
    told(&breaker, 1800, false);
    till_breaker_tell(&breaker, &TERMS, lost, false, 1800);
    ck_assert_int_eq(breaker.state, TILL_BREAKER_HALF_OPEN);
    uint32_t dropped = asked(&breaker, 1800);
    ck_assert(refuses(&breaker, 1800));
    till_breaker_drop(&breaker, dropped);
    told(&breaker, 1800, false);
    ck_assert_int_eq(breaker.state, TILL_BREAKER_CLOSED);
}
END_TEST

START_TEST(time_that_goes_back_stands_still)
{
    till_breaker_t breaker = opened(1000);

    ck_assert(refuses(&breaker, 0));
    ck_assert_uint_eq(till_breaker_wait(&breaker, &TERMS, 0), 500);
    ck_assert(!refuses(&breaker, UINT64_MAX));
}
END_TEST

START_TEST(a_bulkhead_holds_no_more_than_its_limit)
{
    till_bulkhead_t two = {.limit = 2}, any = {.limit = 0};
    uint32_t inside = 0;

    for (int i = 0; i != 100000; ++i) {
        if (draw(2) == 0) {
            bool may = till_bulkhead_enter(&two);
            ck_assert(may == (inside < 2));
            inside += may;
        } else {
            till_bulkhead_leave(&two);
            inside -= inside != 0;
        }
        MUST(two.inside == inside);
    }
    for (int i = 0; i != 1000; ++i)
        ck_assert(till_bulkhead_enter(&any));
}
END_TEST

START_TEST(retries_are_bounded_by_count_and_time)
{
    const till_retry_t policy = {.max_attempts = 4, .base_ms = 100, .cap_ms = 300, .total_ms = 1000};
    static const int64_t most[] = {-1, 100, 200, 300, -1};

    for (uint32_t made = 0; made != 5; ++made) {
        int64_t seen = -1;
        for (int i = 0; i != 20000; ++i) {
            int64_t wait = till_retry_wait(&policy, true, made, 0, draw(UINT64_MAX));
            seen = wait > seen ? wait : seen;
            MUST(wait <= most[made]);
            MUST(most[made] != -1 ? wait >= 0 : wait == -1);
        }
        ck_assert_int_eq(seen, most[made]); /* jitter is full */
    }
    ck_assert_int_eq(till_retry_wait(&policy, false, 1, 0, 0), -1);
    ck_assert_int_eq(till_retry_wait(&policy, true, 1, 1001, 0), -1);
    ck_assert_int_eq(till_retry_wait(&policy, true, 1, 1000, 0), 0);
    ck_assert_int_eq(till_retry_wait(&policy, true, 1, 950, 51), -1);
    ck_assert_int_eq(till_retry_wait(&policy, true, 1, 950, 50), 50);
}
END_TEST

START_TEST(waits_of_any_numbers_overflow_nothing)
{
    static const uint32_t odd[] = {0, 1, 31, 32, 33, 64, UINT32_MAX - 1, UINT32_MAX};

    for (int i = 0; i != 1000000; ++i) {
        till_retry_t policy = {odd[draw(8)], odd[draw(8)], odd[draw(8)], odd[draw(8)]};
        uint64_t elapsed = draw(2) == 0 ? odd[draw(8)] : UINT64_MAX - draw(2);
        int64_t wait = till_retry_wait(&policy, draw(8) != 0, odd[draw(8)], elapsed, draw(UINT64_MAX));
        MUST(wait >= -1);
        MUST(wait <= (int64_t)policy.cap_ms);
        MUST(wait == -1 || (uint64_t)wait + elapsed <= policy.total_ms);
    }
}
END_TEST

Suite *breaker_suite(void)
{
    Suite *suite = suite_create("trade/breaker");
    TCase *tc = tcase_create("stories"), *all = tcase_create("all");

    tcase_add_test(tc, few_failures_open_nothing);
    tcase_add_test(tc, failures_are_forgotten_with_the_window);
    tcase_add_test(tc, it_opens_probes_and_closes);
    tcase_add_test(tc, a_probe_that_fails_opens_for_another_cool_down);
    tcase_add_test(tc, late_answers_of_another_state_count_nowhere);
    tcase_add_test(tc, probes_that_never_come_back_block_nobody);
    tcase_add_test(tc, time_that_goes_back_stands_still);
    tcase_add_test(tc, a_bulkhead_holds_no_more_than_its_limit);
    tcase_add_test(tc, retries_are_bounded_by_count_and_time);
    tcase_add_test(tc, waits_of_any_numbers_overflow_nothing);
    suite_add_tcase(suite, tc);
    tcase_set_timeout(all, 170);
    tcase_add_test(all, all_sequences_to_a_depth);
    tcase_add_test(all, a_million_random_acts);
    suite_add_tcase(suite, all);
    return suite;
}
