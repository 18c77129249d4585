/* test_status.c - see core/base/status.h */
#include <check.h>
#include <string.h>
#include "base/status.h"

START_TEST(every_row_is_whole)
{
    till_status_t status = (till_status_t)_i;

    ck_assert_uint_gt(strlen(till_status_code(status)), 0);
    ck_assert_uint_gt(strlen(till_status_title(status)), 0);
    ck_assert_int_ge(till_status_http(status), 200);
    ck_assert_int_le(till_status_http(status), 599);
    ck_assert_uint_eq(strspn(till_status_code(status), "abcdefghijklmnopqrstuvwxyz_"),
                      strlen(till_status_code(status)));
    for (int other = 0; other != _i; ++other)
        ck_assert_str_ne(till_status_code((till_status_t)other), till_status_code(status));
}
END_TEST

/* clang-format off */
static const struct {
    const char *why, *code;
    till_status_t status;
    int http;
    bool retry;
} rows[] = {
    {"done",                                  "ok",              TILL_OK,       200, false},
    {"a lost statement is not sent again",    "unknown_outcome", TILL_UNKNOWN,  503, false},
    {"a victim of a deadlock tries again",    "deadlock",        TILL_DEADLOCK, 503, true},
    {"too slow is the gateway's 504",         "timeout",         TILL_TIMEOUT,  504, true},
    {"the last row is there",                 "amount_overflow", TILL_AMOUNT_OVERFLOW, 422, false},
};
/* clang-format on */

START_TEST(rows_match_table)
{
    typeof(&rows[0]) t = &rows[_i];

    ck_assert_msg(strcmp(till_status_code(t->status), t->code) == 0, "%s", t->why);
    ck_assert_msg(till_status_http(t->status) == t->http, "%s", t->why);
    ck_assert_msg(till_status_is_retryable(t->status) == t->retry, "%s", t->why);
}
END_TEST

Suite *status_suite(void)
{
    Suite *suite = suite_create("base/status");
    TCase *tc = tcase_create("status");

    tcase_add_loop_test(tc, every_row_is_whole, 0, TILL_STATUS_COUNT);
    tcase_add_loop_test(tc, rows_match_table, 0, sizeof(rows) / sizeof(rows[0]));
    suite_add_tcase(suite, tc);
    return suite;
}
