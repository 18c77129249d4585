/* test_admit.c - see core/serve/admit.h; the clock and the queue are pretended. */
#include <check.h>
#include <string.h>
#include "serve/admit.h"

enum { TARGET_MS = 100, TIMEOUT_MS = 2000, QUEUE_MAX = 200000 };

/* A queue that is served in order, `rate` of each `per` arrivals of a millisecond. */
static struct {
    uint64_t now_ms, came_ms[QUEUE_MAX], shortest_ms;
    size_t first, last, served;
    till_admit_t admit;
    unsigned asked[TILL_PRIORITY_COUNT], refused[TILL_PRIORITY_COUNT];
} world;

static void begin(void)
{
    memset(&world, 0, sizeof(world));
    world.admit.target_ms = TARGET_MS;
    world.shortest_ms = UINT64_MAX;
}

static void arrive(till_priority_t priority)
{
    ++world.asked[priority];
    if (till_admit_refuses(&world.admit, TILL_ADMIT_SQL, priority)) {
        ++world.refused[priority];
        return;
    }
    ck_assert_uint_lt(world.last, QUEUE_MAX);
    world.came_ms[world.last++] = world.now_ms;
}

static void serve_one(void)
{
    uint64_t wait;

    while (world.first != world.last && world.now_ms - world.came_ms[world.first] > TIMEOUT_MS)
        ++world.first; /* refused by the queue itself */
    if (world.first == world.last)
        return;
    ++world.served;
    wait = world.now_ms - world.came_ms[world.first++];
    world.shortest_ms = wait < world.shortest_ms ? wait : world.shortest_ms;
}

static void end_interval(void)
{
    till_admit_step(&world.admit, TILL_ADMIT_SQL, world.shortest_ms == UINT64_MAX ? 0 : world.shortest_ms,
                    world.last - world.first);
    world.shortest_ms = UINT64_MAX;
}

/* `load` requests arrive each ms, of ten six reads, one of the staff, two at carts, one checkout; two are served. */
static void run(unsigned ms, unsigned load)
{
    static const till_priority_t mix[] = {
        TILL_PRIORITY_READ, TILL_PRIORITY_CART, TILL_PRIORITY_READ, TILL_PRIORITY_READ, TILL_PRIORITY_STAFF,
        TILL_PRIORITY_READ, TILL_PRIORITY_CART, TILL_PRIORITY_READ, TILL_PRIORITY_READ, TILL_PRIORITY_CHECKOUT};
    static unsigned next;

    for (uint64_t end = world.now_ms + ms; world.now_ms != end;) {
        for (unsigned i = 0; i != load; ++i)
            arrive(mix[next++ % 10]);
        serve_one();
        serve_one();
        if (++world.now_ms % TILL_ADMIT_MS == 0)
            end_interval();
    }
}

static uint64_t queue_ms(void) { return (world.last - world.first) / 2; }

static double share(till_priority_t priority) { return till_admit_share(&world.admit, TILL_ADMIT_SQL, priority); }

START_TEST(what_can_be_served_is_let_in)
{
    begin();
    run(20000, 2);
    for (int i = 0; i != TILL_PRIORITY_COUNT; ++i)
        ck_assert_uint_eq(world.refused[i], 0);
    ck_assert(!till_admit_is_shedding(&world.admit));
}
END_TEST

START_TEST(a_burst_is_no_overload)
{
    begin();
    run(300, 4); /* 300 ms of queue, and gone before a whole interval had it */
    run(5000, 1);
    ck_assert_uint_eq(world.refused[TILL_PRIORITY_READ], 0);
}
END_TEST

START_TEST(twice_the_load_is_cut_to_what_can_be_done_and_checkout_goes_on)
{
    begin();
    run(60000, 4);
    ck_assert_uint_lt(queue_ms(), 20 * TARGET_MS);
    ck_assert_uint_gt(world.refused[TILL_PRIORITY_READ], world.asked[TILL_PRIORITY_READ] / 2);
    ck_assert_uint_eq(world.refused[TILL_PRIORITY_CHECKOUT], 0);
    ck_assert_uint_eq(world.refused[TILL_PRIORITY_CART], 0);
    ck_assert_uint_gt(world.served, 60000 * 2 * 9 / 10); /* and the machine is not left idle */
}
END_TEST

START_TEST(five_times_the_load_spares_most_of_checkout)
{
    begin();
    run(60000, 10);
    ck_assert_uint_gt(world.refused[TILL_PRIORITY_READ], world.asked[TILL_PRIORITY_READ] * 8 / 10);
    ck_assert_uint_lt(world.refused[TILL_PRIORITY_CHECKOUT], world.asked[TILL_PRIORITY_CHECKOUT] / 4);
}
END_TEST

START_TEST(it_ends_by_itself)
{
    begin();
    run(30000, 10);
    ck_assert(till_admit_is_shedding(&world.admit));
    run(30000, 1);
    ck_assert(!till_admit_is_shedding(&world.admit));
    memset(world.refused, 0, sizeof(world.refused));
    run(10000, 2);
    ck_assert_uint_eq(world.refused[TILL_PRIORITY_READ], 0);
}
END_TEST

START_TEST(the_less_important_go_first)
{
    double before[TILL_PRIORITY_COUNT] = {0};

    begin();
    for (int i = 0; i != 40; ++i) {
        till_admit_step(&world.admit, TILL_ADMIT_SQL, TARGET_MS + 1, 1);
        for (int p = 0; p != TILL_PRIORITY_COUNT; ++p) {
            ck_assert(share((till_priority_t)p) >= before[p]);
            ck_assert(p == 0 || share((till_priority_t)p) == 0 || share((till_priority_t)(p - 1)) == 1);
            before[p] = share((till_priority_t)p);
        }
    }
    ck_assert(before[TILL_PRIORITY_CART] == 1);
    ck_assert(before[TILL_PRIORITY_CHECKOUT] > 0.8 && before[TILL_PRIORITY_CHECKOUT] < 1);
}
END_TEST

START_TEST(a_share_is_spread_evenly)
{
    unsigned in_a_row = 0, refused = 0;

    begin();
    world.admit.levels[TILL_ADMIT_LOOP].level = 0.4;
    for (int i = 0; i != 1000; ++i) {
        bool no = till_admit_refuses(&world.admit, TILL_ADMIT_LOOP, TILL_PRIORITY_READ);
        refused += no;
        in_a_row = no ? in_a_row + 1 : 0;
        ck_assert_uint_le(in_a_row, 1);
        ck_assert(!till_admit_refuses(&world.admit, TILL_ADMIT_LOOP, TILL_PRIORITY_STAFF));
        ck_assert(!till_admit_refuses(&world.admit, TILL_ADMIT_LOOP, TILL_PRIORITY_NONE));
        ck_assert(!till_admit_refuses(&world.admit, TILL_ADMIT_SQL, TILL_PRIORITY_READ));
    }
    ck_assert_uint_ge(refused, 399);
    ck_assert_uint_le(refused, 401);
}
END_TEST

START_TEST(the_target_itself_is_no_overload_and_none_is_no_limit)
{
    begin();
    for (int i = 0; i != 20; ++i)
        till_admit_step(&world.admit, TILL_ADMIT_LOOP, TARGET_MS, 1);
    ck_assert(!till_admit_is_shedding(&world.admit));
    world.admit.target_ms = 0;
    for (int i = 0; i != 20; ++i)
        till_admit_step(&world.admit, TILL_ADMIT_LOOP, 100000, 1);
    ck_assert(!till_admit_is_shedding(&world.admit));
}
END_TEST

START_TEST(room_is_kept_for_the_more_important)
{
    static const struct {
        unsigned max, read, staff, cart, checkout;
    } rows[] = {{512, 384, 448, 448, 512}, {8, 6, 7, 7, 8}, {1, 1, 1, 1, 1}};

    for (size_t i = 0; i != sizeof(rows) / sizeof(rows[0]); ++i) {
        ck_assert_uint_eq(till_admit_room(rows[i].max, TILL_PRIORITY_READ), rows[i].read);
        ck_assert_uint_eq(till_admit_room(rows[i].max, TILL_PRIORITY_STAFF), rows[i].staff);
        ck_assert_uint_eq(till_admit_room(rows[i].max, TILL_PRIORITY_CART), rows[i].cart);
        ck_assert_uint_eq(till_admit_room(rows[i].max, TILL_PRIORITY_CHECKOUT), rows[i].checkout);
        ck_assert_uint_eq(till_admit_room(rows[i].max, TILL_PRIORITY_NONE), rows[i].max);
    }
}
END_TEST

START_TEST(they_are_told_to_come_back_at_different_times)
{
    unsigned seen[16] = {0};

    begin();
    for (int i = 0; i != 200; ++i)
        ++seen[till_admit_retry_after(&world.admit)];
    ck_assert(seen[0] == 0 && seen[1] != 0 && seen[2] != 0 && seen[3] == 0);
    world.admit.levels[TILL_ADMIT_SQL].level = 3.5;
    memset(seen, 0, sizeof(seen));
    for (int i = 0; i != 400; ++i)
        ++seen[till_admit_retry_after(&world.admit)];
    ck_assert(seen[3] == 0 && seen[4] != 0 && seen[8] != 0 && seen[9] == 0);
}
END_TEST

Suite *admit_suite(void)
{
    Suite *suite = suite_create("serve/admit");
    TCase *tc = tcase_create("admit");

    tcase_add_test(tc, what_can_be_served_is_let_in);
    tcase_add_test(tc, a_burst_is_no_overload);
    tcase_add_test(tc, twice_the_load_is_cut_to_what_can_be_done_and_checkout_goes_on);
    tcase_add_test(tc, five_times_the_load_spares_most_of_checkout);
    tcase_add_test(tc, it_ends_by_itself);
    tcase_add_test(tc, the_less_important_go_first);
    tcase_add_test(tc, a_share_is_spread_evenly);
    tcase_add_test(tc, the_target_itself_is_no_overload_and_none_is_no_limit);
    tcase_add_test(tc, room_is_kept_for_the_more_important);
    tcase_add_test(tc, they_are_told_to_come_back_at_different_times);
    suite_add_tcase(suite, tc);
    return suite;
}
