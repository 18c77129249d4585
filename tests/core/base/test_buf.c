/* test_buf.c - see core/base/buf.h */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"

START_TEST(text_is_terminated_and_counted)
{
    till_buf_t buf;

    till_buf_init(&buf, 0);
    ck_assert(till_buf_puts(&buf, "ab"));
    ck_assert(till_buf_putc(&buf, 'c'));
    ck_assert(till_buf_append(&buf, "d\0e", 3));
    ck_assert(till_buf_printf(&buf, "%d-%s", 42, "x"));
    ck_assert_uint_eq(buf.len, 10);
    ck_assert_int_eq(memcmp(buf.base, "abcd\0e42-x", 11), 0);
    till_buf_dispose(&buf);
    ck_assert_ptr_null(buf.base);
}
END_TEST

START_TEST(it_grows_past_any_first_guess)
{
    till_buf_t buf;

    till_buf_init(&buf, 0);
    for (int i = 0; i != 10000; ++i)
        till_buf_printf(&buf, "%d,", i % 10);
    ck_assert_uint_eq(buf.len, 20000);
    ck_assert_str_eq(buf.base + 19990, "5,6,7,8,9,");
    till_buf_dispose(&buf);
}
END_TEST

START_TEST(an_append_past_the_maximum_frees_all_and_refuses_the_rest)
{
    till_buf_t buf;

    till_buf_init(&buf, 4);
    ck_assert(till_buf_puts(&buf, "1234"));
    ck_assert(till_buf_puts(&buf, ""));
    ck_assert(!till_buf_putc(&buf, '5'));
    ck_assert(buf.overflowed);
    ck_assert_ptr_null(buf.base);
    ck_assert_uint_eq(buf.len, 0);
    ck_assert(!till_buf_puts(&buf, ""));
    ck_assert(!till_buf_printf(&buf, "%d", 1));
    till_buf_clear(&buf);
    ck_assert(till_buf_printf(&buf, "%d", 1234));
    ck_assert(!till_buf_printf(&buf, "%s", "5"));
    till_buf_dispose(&buf);
}
END_TEST

START_TEST(a_length_that_would_wrap_is_refused)
{
    till_buf_t buf;

    till_buf_init(&buf, 0);
    till_buf_puts(&buf, "abc");
    ck_assert(!till_buf_append(&buf, "", SIZE_MAX - 2));
    ck_assert(buf.overflowed);
    till_buf_dispose(&buf);
}
END_TEST

START_TEST(take_is_never_null_and_leaves_it_empty)
{
    till_buf_t buf;

    till_buf_init(&buf, 0);
    char *nothing = till_buf_take(&buf);
    ck_assert_str_eq(nothing, "");
    till_buf_puts(&buf, "abc");
    char *abc = till_buf_take(&buf);
    ck_assert_str_eq(abc, "abc");
    ck_assert_uint_eq(buf.len, 0);
    till_buf_puts(&buf, "d");
    ck_assert_str_eq(buf.base, "d");
    till_buf_dispose(&buf);
    free(nothing);
    free(abc);
}
END_TEST

START_TEST(clear_keeps_the_memory)
{
    till_buf_t buf;

    till_buf_init(&buf, 0);
    till_buf_clear(&buf);
    till_buf_puts(&buf, "abc");
    char *base = buf.base;
    till_buf_clear(&buf);
    ck_assert_str_eq(buf.base, "");
    till_buf_puts(&buf, "d");
    ck_assert_ptr_eq(buf.base, base);
    till_buf_dispose(&buf);
}
END_TEST

Suite *buf_suite(void)
{
    Suite *suite = suite_create("base/buf");
    TCase *tc = tcase_create("buf");

    tcase_add_test(tc, text_is_terminated_and_counted);
    tcase_add_test(tc, it_grows_past_any_first_guess);
    tcase_add_test(tc, an_append_past_the_maximum_frees_all_and_refuses_the_rest);
    tcase_add_test(tc, a_length_that_would_wrap_is_refused);
    tcase_add_test(tc, take_is_never_null_and_leaves_it_empty);
    tcase_add_test(tc, clear_keeps_the_memory);
    suite_add_tcase(suite, tc);
    return suite;
}
