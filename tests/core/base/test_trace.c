/* test_trace.c - see core/base/trace.h */
#include <check.h>
#include <stdio.h>
#include <string.h>
#include "base/trace.h"

#define ID "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"

/* clang-format off */
static const struct {
    const char *why, *header;
    bool valid;
} headers[] = {
    {"that of the standard",            "00-" ID "-" SPAN "-01",       true},
    {"not sampled",                     "00-" ID "-" SPAN "-00",       true},
    {"flags of the future",             "00-" ID "-" SPAN "-ff",       true},
    {"a later version",                 "01-" ID "-" SPAN "-01",       true},
    {"a later version with more",       "cc-" ID "-" SPAN "-01-what",  true},
    {"a later version, run together",   "cc-" ID "-" SPAN "-01.what",  false},
    {"version 00 with more",            "00-" ID "-" SPAN "-01-what",  false},
    {"version ff",                      "ff-" ID "-" SPAN "-01",       false},
    {"upper case",                      "00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01", false},
    {"a trace of zeros",                "00-00000000000000000000000000000000-" SPAN "-01", false},
    {"a span of zeros",                 "00-" ID "-0000000000000000-01", false},
    {"no dash",                         "00_" ID "-" SPAN "-01",       false},
    {"no dash before the flags",        "00-" ID "-" SPAN "x01",       false},
    {"one short",                       "00-" ID "-" SPAN "-0",        false},
    {"flags that are no hex",           "00-" ID "-" SPAN "-0g",       false},
    {"version that is no hex",          "0x-" ID "-" SPAN "-01",       false},
    {"a blank in front",                " 00-" ID "-" SPAN "-01",      false},
    {"nothing",                         "",                            false},
};
/* clang-format on */

START_TEST(headers_match_table)
{
    typeof(&headers[0]) t = &headers[_i];
    till_trace_t trace;

    ck_assert_msg(till_trace_continue(&trace, t->header, strlen(t->header)) == t->valid, "%s", t->why);
    ck_assert_uint_eq(strlen(trace.trace_id), 32);
    ck_assert_uint_eq(strlen(trace.span_id), 16);
    ck_assert_str_ne(trace.span_id, SPAN);
    if (t->valid) {
        ck_assert_str_eq(trace.trace_id, ID);
        ck_assert_str_eq(trace.parent_id, SPAN);
    } else {
        ck_assert_str_ne(trace.trace_id, ID);
        ck_assert_str_eq(trace.parent_id, "");
    }
}
END_TEST

START_TEST(a_nul_in_the_header_is_refused)
{
    char header[] = "00-" ID "-" SPAN "-01";
    till_trace_t trace;

    header[40] = '\0';
    ck_assert(!till_trace_continue(&trace, header, TILL_TRACEPARENT_LEN));
}
END_TEST

START_TEST(what_is_sent_on_names_our_span)
{
    char header[TILL_TRACEPARENT_LEN + 1], expected[TILL_TRACEPARENT_LEN + 1];
    till_trace_t trace, next;

    ck_assert(till_trace_continue(&trace, "00-" ID "-" SPAN "-03", TILL_TRACEPARENT_LEN));
    till_trace_format(&trace, header);
    snprintf(expected, sizeof(expected), "00-" ID "-%s-01", trace.span_id);
    ck_assert_str_eq(header, expected);
    ck_assert(till_trace_continue(&next, header, strlen(header)));
    ck_assert_str_eq(next.parent_id, trace.span_id);
}
END_TEST

START_TEST(traces_of_our_own_differ_and_are_valid)
{
    char header[TILL_TRACEPARENT_LEN + 1];
    till_trace_t a, b, next;

    till_trace_begin(&a);
    till_trace_begin(&b);
    ck_assert_str_ne(a.trace_id, b.trace_id);
    till_trace_format(&a, header);
    ck_assert(till_trace_continue(&next, header, strlen(header)));
}
END_TEST

Suite *trace_suite(void)
{
    Suite *suite = suite_create("base/trace");
    TCase *tc = tcase_create("trace");

    tcase_add_loop_test(tc, headers_match_table, 0, sizeof(headers) / sizeof(headers[0]));
    tcase_add_test(tc, a_nul_in_the_header_is_refused);
    tcase_add_test(tc, what_is_sent_on_names_our_span);
    tcase_add_test(tc, traces_of_our_own_differ_and_are_valid);
    suite_add_tcase(suite, tc);
    return suite;
}
