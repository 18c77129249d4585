/* test_mem.c - see core/base/mem.h */
#include <check.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

START_TEST(nothing_is_a_block_too)
{
    void *a = till_alloc(0), *b = till_calloc(0, 8), *c = till_realloc(NULL, 0);

    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_nonnull(b);
    ck_assert_ptr_nonnull(c);
    free(a);
    free(b);
    free(c);
}
END_TEST

START_TEST(copies_are_terminated)
{
    char *whole = till_strdup("abc"), *part = till_strndup("abc", 2), *empty = till_strndup(NULL, 0);

    ck_assert_str_eq(whole, "abc");
    ck_assert_str_eq(part, "ab");
    ck_assert_str_eq(empty, "");
    free(whole);
    free(part);
    free(empty);
}
END_TEST

START_TEST(calloc_is_zeroed)
{
    int *numbers = till_calloc(100, sizeof(*numbers));

    for (int i = 0; i != 100; ++i)
        ck_assert_int_eq(numbers[i], 0);
    free(numbers);
}
END_TEST

#ifndef __SANITIZE_ADDRESS__
START_TEST(out_of_memory_aborts)
{
    volatile size_t too_much = SIZE_MAX / 2;

    free(till_alloc(too_much));
}
END_TEST
#endif

Suite *mem_suite(void)
{
    Suite *suite = suite_create("base/mem");
    TCase *tc = tcase_create("mem");

    tcase_add_test(tc, nothing_is_a_block_too);
    tcase_add_test(tc, copies_are_terminated);
    tcase_add_test(tc, calloc_is_zeroed);
#ifndef __SANITIZE_ADDRESS__ /* which stops such a request itself */
    tcase_add_test_raise_signal(tc, out_of_memory_aborts, SIGABRT);
#endif
    suite_add_tcase(suite, tc);
    return suite;
}
