/* test_combine.c - see core/trade/combine.h; the callers are these structs, a flight is what the test does with it. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "support/child.h"
#include "trade/combine.h"

#define TEXT(text) ((till_slice_t){text, strlen(text)})

enum { CALLERS = 26 }; /* a to z */

struct caller {
    char name;
    unsigned told;
    till_status_t status;
    bool leads;                /* now */
    till_combine_seat_t *seat; /* while he leads or waits */
};

static till_loop_t *loop;
static till_combiner_t *combiner;
static struct caller callers[CALLERS];

static void set_up(void)
{
    loop = till_loop_create();
    combiner = till_combiner_create(loop);
    memset(callers, 0, sizeof(callers));
    for (int i = 0; i != CALLERS; ++i)
        callers[i].name = (char)('a' + i);
}

static void turns(void)
{
    for (int i = 0; i != 4; ++i)
        till_loop_turn(loop, 0);
}

static void tear_down(void)
{
    turns();
    till_combiner_destroy(combiner); /* aborts where a seat was left behind */
    till_loop_destroy(loop);
}

static void on_told(void *data, till_status_t status, till_combine_seat_t *seat)
{
    struct caller *caller = data;

    ++caller->told;
    caller->status = status;
    caller->leads = status == TILL_OK && till_combine_leads(seat);
    caller->seat = caller->leads ? seat : NULL;
}

static void join_keys(struct caller *caller, const char *keys, unsigned most, uint64_t timeout_ms)
{
    till_slice_t list[32];
    size_t n = strlen(keys);

    for (size_t i = 0; i != n; ++i)
        list[i] = (till_slice_t){&keys[i], 1};
    const till_combine_opts_t opts = {.keys = list, .key_count = n, .most = most, .timeout_ms = timeout_ms};
    caller->seat = till_combine_join(combiner, &opts, on_told, caller);
    caller->leads = till_combine_leads(caller->seat);
    ck_assert_int_eq(caller->leads, till_combine_op(caller->seat) == NULL);
    ck_assert_uint_eq(caller->told, 0);
}

/* `names` come one after the other, for the key K, four in a batch. */
static void join(const char *names)
{
    for (; *names != '\0'; ++names)
        join_keys(&callers[*names - 'a'], "K", 4, 0);
}

static struct caller *who(char name) { return &callers[name - 'a']; }

static const char *flight_of(char name)
{
    static char names[CALLERS + 1];
    const struct caller *leader = who(name);

    ck_assert_msg(leader->leads, "%c does not lead", name);
    unsigned n = till_combine_count(leader->seat);
    for (unsigned i = 0; i != n; ++i)
        names[i] = ((struct caller *)till_combine_data(leader->seat, i))->name;
    names[n] = '\0';
    return names;
}

static void end(char name, void (*how)(till_combine_seat_t *))
{
    struct caller *leader = who(name);
    till_combine_seat_t *seat = leader->seat;

    ck_assert(leader->leads);
    leader->leads = false;
    leader->seat = NULL;
    how(seat);
    turns();
}

static void answer(char name) { end(name, till_combine_answer); }

static void split(char name, unsigned at)
{
    till_combine_split(who(name)->seat, at);
    turns();
}

static void cancel(char name)
{
    till_op_cancel(till_combine_op(who(name)->seat));
    turns();
}

#define ck_assert_flight(name, names) ck_assert_str_eq(flight_of(name), names)

static void expect_told(const char *names, till_status_t status)
{
    for (; *names != '\0'; ++names) {
        ck_assert_msg(who(*names)->told == 1, "%c was told %u times", *names, who(*names)->told);
        ck_assert_int_eq(who(*names)->status, status);
    }
}

static void expect_waiting(const char *names)
{
    for (; *names != '\0'; ++names)
        ck_assert_msg(who(*names)->told == 0 && !who(*names)->leads, "%c does not wait", *names);
}

/* ---- adapting ------------------------------------------------------------------- */

START_TEST(a_lone_caller_leads_at_once_and_alone)
{
    join("a");
    ck_assert_flight('a', "a");
    answer('a');
    ck_assert_uint_eq(who('a')->told, 0);
    join("b"); /* cold again */
    ck_assert_flight('b', "b");
    answer('b');
}
END_TEST

START_TEST(who_comes_meanwhile_is_in_the_next_flight)
{
    join("abcd");
    turns();
    expect_waiting("bcd");
    answer('a');
    ck_assert_flight('b', "bcd");
    join("e"); /* too late for that one */
    turns();
    ck_assert_flight('b', "bcd");
    expect_waiting("cde");
    answer('b');
    expect_told("bcd", TILL_OK);
    ck_assert_flight('e', "e");
    answer('e');
}
END_TEST

START_TEST(nobody_is_told_inside_of_a_call)
{
    join("abc");
    till_combine_answer(who('a')->seat);
    ck_assert_uint_eq(who('b')->told, 0);
    turns();
    till_combine_answer(who('b')->seat);
    ck_assert_uint_eq(who('c')->told, 0);
    turns();
    expect_told("bc", TILL_OK);
}
END_TEST

START_TEST(a_flight_has_no_more_than_most)
{
    till_combine_stats_t stats;

    join("abcdefghij");
    answer('a');
    ck_assert_flight('b', "bcde");
    answer('b');
    ck_assert_flight('f', "fghi");
    answer('f');
    ck_assert_flight('j', "j");
    answer('j');
    till_combiner_stats(combiner, &stats);
    ck_assert_uint_eq(stats.alone, 2);
    ck_assert_uint_eq(stats.together, 2);
    ck_assert_uint_eq(stats.combined, 8);
    ck_assert_uint_eq(stats.waiting, 0);
}
END_TEST

START_TEST(other_keys_are_not_waited_for)
{
    join("a");
    join_keys(who('b'), "L", 4, 0);
    ck_assert_flight('b', "b");
    answer('a');
    answer('b');
}
END_TEST

START_TEST(one_of_several_keys_is_enough)
{
    join_keys(who('a'), "KL", 4, 0);
    join_keys(who('b'), "ML", 4, 0); /* waits for L */
    join_keys(who('c'), "LK", 4, 0); /* for L as well, the first that flies */
    join_keys(who('d'), "M", 4, 0);  /* nobody flies with M: b only waits */
    ck_assert_flight('d', "d");
    answer('a');
    ck_assert_flight('b', "bc");
    join_keys(who('e'), "M", 4, 0);
    answer('d'); /* a flight with M is over: e goes, although b flies with M */
    ck_assert_flight('e', "e");
    answer('e');
    answer('b');
    expect_told("bc", TILL_OK);
}
END_TEST

/* ---- parts ---------------------------------------------------------------------- */

START_TEST(halves_fly_in_the_order_of_arrival_before_who_came_later)
{
    join("abcdef");
    answer('a');
    ck_assert_flight('b', "bcde");
    split('b', TILL_COMBINE_HALVES);
    ck_assert_flight('b', "bc");
    expect_waiting("def");
    split('b', TILL_COMBINE_HALVES);
    ck_assert_flight('b', "b");
    answer('b');
    ck_assert_flight('c', "c");
    answer('c');
    ck_assert_flight('d', "de");
    answer('d');
    ck_assert_flight('f', "f");
    answer('f');
    expect_told("bcdef", TILL_OK);
}
END_TEST

START_TEST(whose_fault_it_was_flies_alone_between_the_others)
{
    static const struct {
        unsigned at;
        const char *flights[4];
    } rows[] = {{1, {"b", "cde"}}, {2, {"b", "c", "de"}}, {3, {"bc", "d", "e"}}, {4, {"bcd", "e"}}};

    for (size_t i = 0; i != 4; ++i) {
        for (int c = 0; c != CALLERS; ++c)
            callers[c] = (struct caller){.name = callers[c].name};
        join("abcde");
        answer('a');
        split('b', rows[i].at);
        for (int f = 0; f != 4 && rows[i].flights[f] != NULL; ++f) {
            ck_assert_flight(rows[i].flights[f][0], rows[i].flights[f]);
            answer(rows[i].flights[f][0]);
        }
        expect_told("bcde", TILL_OK);
    }
}
END_TEST

START_TEST(nobody_joins_a_part)
{
    join("abcd");
    answer('a');
    split('b', TILL_COMBINE_HALVES); /* bc and d */
    join("e");
    answer('b');
    ck_assert_flight('d', "d");
    answer('d');
    ck_assert_flight('e', "e");
    answer('e');
}
END_TEST

START_TEST(a_split_lets_those_go_who_waited_for_the_other_part)
{
    join("a");
    join_keys(who('b'), "K", 4, 0);
    join_keys(who('c'), "KM", 4, 0);
    answer('a');
    ck_assert_flight('b', "bc");
    join_keys(who('d'), "M", 4, 0); /* waits for c */
    expect_waiting("d");
    split('b', TILL_COMBINE_HALVES);
    ck_assert_flight('d', "d"); /* c waits itself now */
    answer('d');
    answer('b');
    ck_assert_flight('c', "c");
    answer('c');
}
END_TEST

/* ---- leaving -------------------------------------------------------------------- */

START_TEST(who_is_cancelled_while_he_waits_is_in_no_flight)
{
    join("abcd");
    cancel('c');
    expect_told("c", TILL_CANCELLED);
    answer('a');
    ck_assert_flight('b', "bd");
    answer('b');
}
END_TEST

START_TEST(a_group_that_all_have_left_is_none)
{
    join("abc");
    cancel('b');
    cancel('c');
    join("d");
    answer('a');
    ck_assert_flight('d', "d");
    answer('d');
    join("e");
    ck_assert_flight('e', "e");
    answer('e');
}
END_TEST

START_TEST(waiting_has_a_deadline)
{
    join("a");
    join_keys(who('b'), "K", 4, 5);
    join("c");
    TEST_UNTIL(loop, who('b')->told != 0);
    expect_told("b", TILL_TIMEOUT);
    answer('a');
    ck_assert_flight('c', "c");
    answer('c');
}
END_TEST

START_TEST(in_the_air_nobody_is_cancelled)
{
    join("abc");
    answer('a');
    cancel('c');
    expect_waiting("c");
    answer('b');
    expect_told("bc", TILL_OK);
}
END_TEST

START_TEST(a_split_hears_who_was_cancelled_in_the_air)
{
    join("abcde");
    answer('a');
    cancel('d');
    cancel('e');
    split('b', TILL_COMBINE_HALVES);
    expect_told("de", TILL_CANCELLED);
    ck_assert_flight('b', "bc");
    answer('b');
    expect_told("bc", TILL_OK);
    join("f"); /* nothing was left behind at the key */
    ck_assert_flight('f', "f");
    answer('f');
}
END_TEST

START_TEST(a_leader_who_steps_down_leaves_the_others_to_the_next)
{
    join("abcde");
    answer('a');
    join("f");
    end('b', till_combine_step_down);
    expect_told("b", TILL_OK); /* that he led; no more */
    ck_assert_flight('c', "cde");
    answer('c');
    ck_assert_flight('f', "f");
    end('f', till_combine_step_down);
    join("g");
    ck_assert_flight('g', "g");
    answer('g');
}
END_TEST

START_TEST(a_leader_who_dies_leaves_nobody_waiting)
{
    join("abcd");
    answer('a');
    join("e");
    end('b', till_combine_abandon);
    expect_told("cd", TILL_INTERNAL);
    ck_assert_flight('e', "e");
    answer('e');
}
END_TEST

/* ---- everything at once ------------------------------------------------------------ */

static unsigned dice(unsigned n) { return (unsigned)rand() % n; }

static void do_something(struct caller *caller, unsigned *came, unsigned *ended)
{
    static const char *const keys[] = {"K", "L", "KL", "LMK", "MM", "M"};
    unsigned what = dice(8);

    if (caller->told == 0 && caller->seat == NULL && !caller->leads) {
        join_keys(caller, keys[dice(6)], 1 + dice(6), dice(4) == 0 ? 1 : 0);
        ++*came;
    } else if (caller->leads && what < 2 && till_combine_count(caller->seat) > 1) {
        till_combine_split(caller->seat, dice(till_combine_count(caller->seat) + 1));
    } else if (caller->leads) {
        till_combine_seat_t *seat = caller->seat;
        caller->leads = false;
        caller->seat = NULL;
        caller->told = 1;
        ++*ended;
        (what < 5 ? till_combine_answer : what < 7 ? till_combine_step_down : till_combine_abandon)(seat);
    } else if (caller->seat != NULL && what == 0) {
        till_op_cancel(till_combine_op(caller->seat));
    }
}

START_TEST(whatever_they_do_each_is_told_once_and_none_is_forgotten)
{
    unsigned came = 0, ended = 0;

    srand((unsigned)_i + 1);
    for (unsigned step = 0; came != CALLERS || step < 200; ++step) {
        do_something(&callers[dice(CALLERS)], &came, &ended);
        if (dice(3) == 0)
            till_loop_turn(loop, 0);
    }
    for (unsigned step = 0; step != 400; ++step) { /* now those who lead end it, until nobody is left */
        for (int i = 0; i != CALLERS; ++i) {
            if (!callers[i].leads)
                continue;
            answer(callers[i].name);
            callers[i].told = 1;
        }
        till_loop_turn(loop, 0);
    }
    for (int i = 0; i != CALLERS; ++i)
        ck_assert_msg(callers[i].seat == NULL && callers[i].told == 1, "%c of seed %d", callers[i].name, _i + 1);
}
END_TEST

Suite *combine_suite(void)
{
    Suite *suite = suite_create("trade/combine");
    TCase *tc = tcase_create("combine");

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_lone_caller_leads_at_once_and_alone);
    tcase_add_test(tc, who_comes_meanwhile_is_in_the_next_flight);
    tcase_add_test(tc, nobody_is_told_inside_of_a_call);
    tcase_add_test(tc, a_flight_has_no_more_than_most);
    tcase_add_test(tc, other_keys_are_not_waited_for);
    tcase_add_test(tc, one_of_several_keys_is_enough);
    tcase_add_test(tc, halves_fly_in_the_order_of_arrival_before_who_came_later);
    tcase_add_test(tc, whose_fault_it_was_flies_alone_between_the_others);
    tcase_add_test(tc, nobody_joins_a_part);
    tcase_add_test(tc, a_split_lets_those_go_who_waited_for_the_other_part);
    tcase_add_test(tc, who_is_cancelled_while_he_waits_is_in_no_flight);
    tcase_add_test(tc, a_group_that_all_have_left_is_none);
    tcase_add_test(tc, waiting_has_a_deadline);
    tcase_add_test(tc, in_the_air_nobody_is_cancelled);
    tcase_add_test(tc, a_split_hears_who_was_cancelled_in_the_air);
    tcase_add_test(tc, a_leader_who_steps_down_leaves_the_others_to_the_next);
    tcase_add_test(tc, a_leader_who_dies_leaves_nobody_waiting);
    tcase_add_loop_test(tc, whatever_they_do_each_is_told_once_and_none_is_forgotten, 0, 200);
    suite_add_tcase(suite, tc);
    return suite;
}
