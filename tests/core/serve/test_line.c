/* test_line.c - see core/serve/line.h */
#include <check.h>
#include <string.h>
#include "serve/line.h"

static const char LINE[] =
    "{\"inner\":{\"name\":\"not this\"},\"list\":[{\"name\":\"nor this\"}],\"name\":\"a\\u00e9\\n\","
    "\"n\":42,\"minus\":-1,\"half\":0.5,\"yes\":true,\"no\":false}";

START_TEST(texts_are_those_of_the_object_itself)
{
    char out[8];

    ck_assert(till_line_text(LINE, sizeof(LINE) - 1, "name", out, sizeof(out)));
    ck_assert_str_eq(out, "a\xc3\xa9\n");
    ck_assert(!till_line_text(LINE, sizeof(LINE) - 1, "nothing", out, sizeof(out)));
    ck_assert_str_eq(out, "");
    ck_assert(!till_line_text(LINE, sizeof(LINE) - 1, "n", out, sizeof(out)));
}
END_TEST

START_TEST(what_does_not_fit_is_not_there)
{
    char out[4];

    ck_assert(!till_line_text(LINE, sizeof(LINE) - 1, "name", out, sizeof(out)));
    ck_assert_str_eq(out, "");
}
END_TEST

START_TEST(numbers_are_whole_and_not_below_nothing)
{
    ck_assert_uint_eq(till_line_int(LINE, sizeof(LINE) - 1, "n", 7), 42);
    ck_assert_uint_eq(till_line_int(LINE, sizeof(LINE) - 1, "minus", 7), 7);
    ck_assert_uint_eq(till_line_int(LINE, sizeof(LINE) - 1, "half", 7), 7);
    ck_assert_uint_eq(till_line_int(LINE, sizeof(LINE) - 1, "name", 7), 7);
}
END_TEST

START_TEST(only_true_is_true)
{
    ck_assert(till_line_true(LINE, sizeof(LINE) - 1, "yes"));
    ck_assert(!till_line_true(LINE, sizeof(LINE) - 1, "no"));
    ck_assert(!till_line_true(LINE, sizeof(LINE) - 1, "n"));
    ck_assert(!till_line_true("{\"yes\":", 7, "yes"));
}
END_TEST

START_TEST(a_member_is_there_whatever_it_is)
{
    ck_assert(till_line_has(LINE, sizeof(LINE) - 1, "n"));
    ck_assert(till_line_has(LINE, sizeof(LINE) - 1, "no"));
    ck_assert(!till_line_has(LINE, sizeof(LINE) - 1, "nothing"));
}
END_TEST

START_TEST(an_object_is_whole_and_alone)
{
    ck_assert(till_line_is_object(LINE, sizeof(LINE) - 1));
    ck_assert(!till_line_is_object(LINE, sizeof(LINE) - 2));
    ck_assert(!till_line_is_object("{} {}", 5));
    ck_assert(!till_line_is_object("[]", 2));
    ck_assert(!till_line_is_object("", 0));
}
END_TEST

START_TEST(members_are_written_one_after_the_other)
{
    till_buf_t out;

    till_buf_init(&out, 0);
    till_buf_putc(&out, '{');
    till_line_put(&out, "a", "x\"y");
    till_line_put_int(&out, "b", 3);
    till_buf_putc(&out, '}');
    ck_assert_str_eq(out.base, "{\"a\":\"x\\\"y\",\"b\":3}");
    till_buf_dispose(&out);
}
END_TEST

Suite *line_suite(void)
{
    Suite *suite = suite_create("serve/line");
    TCase *tc = tcase_create("line");

    tcase_add_test(tc, texts_are_those_of_the_object_itself);
    tcase_add_test(tc, what_does_not_fit_is_not_there);
    tcase_add_test(tc, numbers_are_whole_and_not_below_nothing);
    tcase_add_test(tc, only_true_is_true);
    tcase_add_test(tc, a_member_is_there_whatever_it_is);
    tcase_add_test(tc, an_object_is_whole_and_alone);
    tcase_add_test(tc, members_are_written_one_after_the_other);
    suite_add_tcase(suite, tc);
    return suite;
}
