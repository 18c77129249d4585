/* test_heap.c - see core/vm/heap.h. Under a sanitizer the heap leaves all to malloc: this one, of the same source, does
 * not. */
#define TILL_HEAP_REGIONS 1
#define till_heap_resize regions_resize
#define till_heap_dispose regions_dispose
#include "vm/heap.c"

#include <check.h>

static till_heap_t heap;

static void start(void) { memset(&heap, 0, sizeof(heap)); }

static void stop(void) { till_heap_dispose(&heap); }

static unsigned count_regions(void)
{
    unsigned n = 0;

    for (till_region_t *region = heap._regions; region != NULL; region = region->next)
        ++n;
    return n;
}

START_TEST(each_size_has_the_smallest_class_that_holds_it)
{
    size_t size = 1;
    unsigned class = class_of(size);

    while (size <= TILL_HEAP_SMALL && class < TILL_HEAP_CLASSES && size_of(class) >= size &&
           (class == 0 || size_of(class - 1) < size) && size_of(class) % TILL_HEAP_STEP == 0)
        class = class_of(++size);
    ck_assert_uint_eq(size, TILL_HEAP_SMALL + 1);
}
END_TEST

START_TEST(a_block_that_was_dropped_is_the_next_of_its_class)
{
    char *first = till_heap_resize(&heap, NULL, 0, 600), *second = till_heap_resize(&heap, NULL, 0, 600);

    ck_assert_ptr_ne(first, second);
    ck_assert_ptr_null(till_heap_resize(&heap, first, 600, 0));
    ck_assert_ptr_eq(till_heap_resize(&heap, NULL, 0, 640), first);
    ck_assert_ptr_eq(till_heap_resize(&heap, first, 640, 513), first);
    ck_assert_uint_eq(count_regions(), 1);
}
END_TEST

/* A region holds 63 blocks of 32 KB and some; what is left of it is given out before another is asked for. */
START_TEST(what_is_left_of_a_region_is_used)
{
    for (int i = 0; i != 64; ++i)
        ck_assert_ptr_nonnull(till_heap_resize(&heap, NULL, 0, TILL_HEAP_SMALL));
    ck_assert_uint_eq(count_regions(), 2);
    size_t room = REGION_SIZE - sizeof(till_region_t) - (size_t)63 * TILL_HEAP_SMALL;
    char *old = till_heap_resize(&heap, NULL, 0, size_of(class_of(room) - 1)), *in = (char *)heap._regions->next;
    ck_assert(old > in && old < in + REGION_SIZE);
}
END_TEST

struct block {
    char *at;
    size_t size;
    char mark;
};

static void check_block(const struct block *block, size_t size)
{
    size_t i = 0;

    while (i < size && block->at[i] == block->mark)
        ++i;
    ck_assert_msg(i == size, "byte %zu of %zu is another's", i, block->size);
    ck_assert_uint_eq((uintptr_t)block->at % TILL_HEAP_STEP, 0);
}

/* xorshift: the same run each time */
static unsigned next_number(void)
{
    static unsigned state = 2463534242U;

    state ^= state << 13;
    state ^= state >> 17;
    return state ^= state << 5;
}

/* One size after the other: what is kept for the former ones is of no use to the next. */
START_TEST(regions_of_which_nothing_is_used_are_given_back)
{
    enum { BYTES = 24 * 1024 * 1024, MOST = BYTES / 2048 };
    static void *blocks[MOST];
    char *kept = till_heap_resize(&heap, NULL, 0, 2100);

    memset(kept, 'k', 2100);
    for (size_t size = 2048; size <= TILL_HEAP_SMALL; size += size / 4) {
        size_t n = BYTES / size;
        for (size_t i = 0; i != n; ++i)
            memset(blocks[i] = till_heap_resize(&heap, NULL, 0, size), 'x', size);
        for (size_t i = 0; i != n; ++i)
            till_heap_resize(&heap, blocks[i], size, 0);
    }
    ck_assert_uint_eq(count_regions(), heap._count);
    ck_assert_uint_le(heap._count, 4 * BYTES / REGION_SIZE); /* it would be twelve times as much */
    for (size_t i = 0; i != 2100; ++i)
        ck_assert_int_eq(kept[i], 'k');
}
END_TEST

START_TEST(blocks_keep_what_was_written_through_any_change_of_size)
{
    static struct block blocks[500];

    for (int round = 0; round != 4000; ++round) {
        struct block *block = &blocks[next_number() % 500];
        size_t size = next_number() % (next_number() % 8 == 0 ? 40000 : 900);
        check_block(block, block->size);
        block->at = till_heap_resize(&heap, block->at, block->size, size);
        check_block(block, size < block->size ? size : block->size);
        block->size = size;
        block->mark = (char)next_number();
        if (size != 0)
            memset(block->at, block->mark, size);
    }
    for (int i = 0; i != 500; ++i)
        till_heap_resize(&heap, blocks[i].at, blocks[i].size, 0);
}
END_TEST

Suite *heap_suite(void)
{
    Suite *suite = suite_create("vm/heap");
    TCase *tc = tcase_create("heap");

    tcase_add_checked_fixture(tc, start, stop);
    tcase_add_test(tc, each_size_has_the_smallest_class_that_holds_it);
    tcase_add_test(tc, a_block_that_was_dropped_is_the_next_of_its_class);
    tcase_add_test(tc, what_is_left_of_a_region_is_used);
    tcase_add_test(tc, regions_of_which_nothing_is_used_are_given_back);
    tcase_add_test(tc, blocks_keep_what_was_written_through_any_change_of_size);
    suite_add_tcase(suite, tc);
    return suite;
}
