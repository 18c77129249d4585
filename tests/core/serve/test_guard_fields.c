/* test_guard_fields.c - see core/serve/guard_fields.c: fields are counted as libh2o would find them */
#include <check.h>
#include <string.h>
#include "serve/guard.h"

static till_fields_t scan(const char *bytes, size_t len)
{
    till_fields_t out;

    till_fields_scan(&out, (const uint8_t *)bytes, len);
    return out;
}

START_TEST(each_form_of_a_field_is_one)
{
    static const struct {
        const char *why, *bytes;
        size_t len;
        unsigned count;
    } rows[] = {
        {"nothing", "", 0, 0},
        {"two of the static table", "\x82\x87", 2, 2},
        {"one of the table with a long number", "\xff\x9a\x0a", 3, 1},
        {"a name of the table and a value",
         "\x41\x01"
         "a\x04\x01/",
         6, 2},
        {"both in full, kept", "\x40\x01x\x01y", 5, 1},
        {"both in full, not kept", "\x00\x01x\x01y", 5, 1},
        {"both in full, never kept", "\x10\x01x\x01y", 5, 1},
        {"a name with a long number", "\x0f\x20\x01y", 4, 1},
        {"empty texts", "\x40\x00\x00", 3, 1},
        {"a size of the table is none", "\x20\x3f\xe1\x1f\x82", 5, 1},
    };

    for (size_t i = 0; i != sizeof(rows) / sizeof(rows[0]); ++i)
        ck_assert_msg(scan(rows[i].bytes, rows[i].len).count == rows[i].count, "%s: %u", rows[i].why,
                      scan(rows[i].bytes, rows[i].len).count);
}
END_TEST

/* libh2o stops there too; what follows is nobody's field. */
START_TEST(what_is_cut_short_ends_the_count)
{
    static const struct {
        const char *why, *bytes;
        size_t len;
    } rows[] = {
        {"a number without its end", "\x82\xff\x80", 3},
        {"a number of five bytes", "\x82\xff\x80\x80\x80\x80\x01\x82\x82", 9},
        {"a text longer than the block", "\x82\x40\x05x\x82\x82", 6},
        {"no value", "\x82\x40\x01x", 4},
        {"no name", "\x82\x40", 2},
        {"a length without its end", "\x82\x41\x7f\xff", 4},
        {"a size without its end", "\x82\x3f\xff", 3},
    };

    for (size_t i = 0; i != sizeof(rows) / sizeof(rows[0]); ++i)
        ck_assert_msg(scan(rows[i].bytes, rows[i].len).count <= 2, "%s: %u", rows[i].why,
                      scan(rows[i].bytes, rows[i].len).count);
}
END_TEST

START_TEST(a_cache_digest_is_known_in_either_coding)
{
    ck_assert(scan("\x40\x0c"
                   "cache-digest\x01y",
                   16)
                  .has_digest);
    ck_assert(scan("\x00\x88\x20\xc9\x39\x56\x90\xd3\x15\x09\x01y", 12).has_digest);
    ck_assert(!scan("\x40\x0c"
                    "cache-digesu\x01y",
                    16)
                   .has_digest);
    ck_assert(!scan("\x40\x01x\x0c"
                    "cache-digest",
                    16)
                   .has_digest);
}
END_TEST

START_TEST(a_bomb_is_counted_to_its_end)
{
    char block[16384];

    memset(block, 0xbe, sizeof(block)); /* the newest of the dynamic table */
    ck_assert_uint_eq(scan(block, sizeof(block)).count, sizeof(block));
    ck_assert_uint_gt(sizeof(block), till_guard_limits.fields);
}
END_TEST

Suite *guard_fields_suite(void)
{
    Suite *suite = suite_create("serve/guard_fields");
    TCase *tc = tcase_create("fields");

    tcase_add_test(tc, each_form_of_a_field_is_one);
    tcase_add_test(tc, what_is_cut_short_ends_the_count);
    tcase_add_test(tc, a_cache_digest_is_known_in_either_coding);
    tcase_add_test(tc, a_bomb_is_counted_to_its_end);
    suite_add_tcase(suite, tc);
    return suite;
}
