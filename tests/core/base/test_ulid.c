/* test_ulid.c - see core/base/ulid.h */
#include <check.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include "base/hash.h"
#include "base/ulid.h"

/* clang-format off */
static const struct {
    const char *why, *text;
    const char *bytes; /* NULL: refused */
} texts[] = {
    {"zero",                  "00000000000000000000000000", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"},
    {"one",                   "00000000000000000000000001", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"},
    {"the largest",           "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"},
    {"lower case",            "7zzzzzzzzzzzzzzzzzzzzzzzzz", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"},
    {"that of the standard",  "01ARZ3NDEKTSV4RRFFQ69G5FAV", "\x01\x56\x3e\x3a\xb5\xd3\xd6\x76\x4c\x61\xef\xb9\x93\x02\xbd\x5b"},
    {"past 2^128-1",          "80000000000000000000000000", NULL},
    {"too short",             "0000000000000000000000000",  NULL},
    {"too long",              "000000000000000000000000000", NULL},
    {"empty",                 "",                           NULL},
    {"I is no digit",         "0000000000000000000000000I", NULL},
    {"L is no digit",         "0000000000000000000000000L", NULL},
    {"O is no digit",         "0000000000000000000000000O", NULL},
    {"U is no digit",         "0000000000000000000000000U", NULL},
    {"a blank",               "0000000000000 000000000000", NULL},
    {"not ASCII",             "000000000000\xC3\xA9" "000000000000", NULL},
};
/* clang-format on */

START_TEST(texts_match_table)
{
    typeof(&texts[0]) t = &texts[_i];
    uint8_t id[TILL_ULID_LEN];
    char text[TILL_ULID_TEXT + 1];

    bool parsed = till_ulid_parse(id, t->text, strlen(t->text));
    ck_assert_msg(parsed == (t->bytes != NULL), "%s", t->why);
    if (!parsed)
        return;
    ck_assert_mem_eq(id, t->bytes, TILL_ULID_LEN);
    till_ulid_format(text, id);
    ck_assert_int_eq(strcasecmp(text, t->text), 0);
}
END_TEST

START_TEST(a_nul_inside_is_refused)
{
    uint8_t id[TILL_ULID_LEN];

    ck_assert(!till_ulid_parse(id,
                               "0000000000000\0"
                               "000000000000",
                               TILL_ULID_TEXT));
}
END_TEST

START_TEST(text_and_bytes_are_the_same_id)
{
    uint8_t id[TILL_ULID_LEN], back[TILL_ULID_LEN];
    char text[TILL_ULID_TEXT + 1];

    for (int i = 0; i != 2000; ++i) {
        till_random(id, sizeof(id));
        till_ulid_format(text, id);
        ck_assert(till_ulid_parse(back, text, strlen(text)));
        ck_assert_mem_eq(id, back, sizeof(id));
    }
}
END_TEST

START_TEST(ids_never_go_back)
{
    static const uint64_t clock[] = {1000, 1000, 1001, 1001, 900, 900, 1002};
    uint8_t last[TILL_ULID_LEN] = {0}, id[TILL_ULID_LEN];

    for (size_t i = 0; i != sizeof(clock) / sizeof(clock[0]); ++i) {
        for (int n = 0; n != 300; ++n) {
            till_ulid_make(id, clock[i]);
            ck_assert_int_gt(memcmp(id, last, sizeof(id)), 0);
            memcpy(last, id, sizeof(id));
        }
    }
}
END_TEST

START_TEST(an_id_does_not_tell_the_next_one)
{
    uint8_t id[TILL_ULID_LEN], next[TILL_ULID_LEN];

    for (int i = 0; i != 1000; ++i) {
        till_ulid_make(id, 7000);
        till_ulid_make(next, 7000);
        ck_assert_msg(memcmp(id + 9, next + 9, 6) != 0, "one apart from the last");
    }
}
END_TEST

START_TEST(the_time_stands_in_front)
{
    uint8_t id[TILL_ULID_LEN];
    char text[TILL_ULID_TEXT + 1];

    till_ulid_make(id, 1469918176385);
    till_ulid_format(text, id);
    text[10] = '\0';
    ck_assert_str_eq(text, "01ARYZ6S41");
}
END_TEST

static void *make_one(void *data)
{
    till_ulid_make(data, 5000);
    return NULL;
}

START_TEST(two_threads_make_different_ids)
{
    uint8_t here[TILL_ULID_LEN], there[TILL_ULID_LEN];
    pthread_t thread;

    make_one(here);
    ck_assert_int_eq(pthread_create(&thread, NULL, make_one, there), 0);
    pthread_join(thread, NULL);
    ck_assert_mem_ne(here, there, TILL_ULID_LEN);
}
END_TEST

Suite *ulid_suite(void)
{
    Suite *suite = suite_create("base/ulid");
    TCase *tc = tcase_create("ulid");

    tcase_add_loop_test(tc, texts_match_table, 0, sizeof(texts) / sizeof(texts[0]));
    tcase_add_test(tc, a_nul_inside_is_refused);
    tcase_add_test(tc, text_and_bytes_are_the_same_id);
    tcase_add_test(tc, ids_never_go_back);
    tcase_add_test(tc, an_id_does_not_tell_the_next_one);
    tcase_add_test(tc, the_time_stands_in_front);
    tcase_add_test(tc, two_threads_make_different_ids);
    suite_add_tcase(suite, tc);
    return suite;
}
