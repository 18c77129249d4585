/* test_metrics.c - see core/serve/metrics.h */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "serve/metrics_http.h"

static till_metrics_t *metrics;
static till_buf_t text;

static void setup(void)
{
    metrics = till_metrics_create();
    till_buf_init(&text, 0);
}

static void teardown(void)
{
    till_buf_dispose(&text);
    till_metrics_destroy(metrics);
}

static const char *render(void)
{
    till_buf_clear(&text);
    till_metrics_render(metrics, TILL_METRICS_OPENMETRICS, &text);
    return text.base;
}

#define PROCESSES 4
#define ROUNDS 5000

/* Each process registers the same series and some of its own, all at once. */
static void count_in_process(unsigned slot)
{
    char name[64];

    till_metrics_use_slot(metrics, slot);
    for (int i = 0; i != ROUNDS; ++i) {
        till_metrics_add(metrics, "a_total", "k=\"v\"", 1);
        till_metrics_observe(metrics, "b_seconds", NULL, 0.003);
        snprintf(name, sizeof(name), "n=\"%d\"", i % 100);
        till_metrics_add(metrics, "c_total", name, 2);
    }
    till_metrics_set(metrics, TILL_METRIC_GAUGE, "d", NULL, slot);
    till_metrics_set(metrics, TILL_METRIC_PEAK, "e", NULL, slot);
}

START_TEST(nothing_is_lost_between_processes)
{
    int status;

    for (unsigned slot = 1; slot <= PROCESSES; ++slot) {
        if (fork() == 0) {
            count_in_process(slot);
            _exit(0);
        }
    }
    for (int i = 0; i != PROCESSES; ++i) {
        ck_assert_int_ne(wait(&status), -1);
        ck_assert_int_eq(status, 0);
    }
    ck_assert_double_eq(till_metrics_read(metrics, "a_total", "k=\"v\""), PROCESSES * ROUNDS);
    ck_assert_double_eq(till_metrics_read(metrics, "b_seconds", NULL), PROCESSES * ROUNDS);
    ck_assert_double_eq(till_metrics_read(metrics, "c_total", "n=\"99\""), PROCESSES * ROUNDS / 100 * 2);
    ck_assert_double_eq(till_metrics_read(metrics, "d", NULL), 1 + 2 + 3 + 4);
    ck_assert_double_eq(till_metrics_read(metrics, "e", NULL), 4);
}
END_TEST

START_TEST(a_process_that_died_leaves_its_counters_and_takes_its_gauges)
{
    till_metrics_use_slot(metrics, 3);
    till_metrics_add(metrics, "a_total", NULL, 5);
    till_metrics_set(metrics, TILL_METRIC_GAUGE, "d", NULL, 7);
    till_metrics_clear_gauges(metrics, 3);
    ck_assert_double_eq(till_metrics_read(metrics, "a_total", NULL), 5);
    ck_assert_double_eq(till_metrics_read(metrics, "d", NULL), 0);
}
END_TEST

START_TEST(the_last_one_set_is_shown)
{
    till_metrics_use_slot(metrics, 2);
    till_metrics_set(metrics, TILL_METRIC_LAST, "f", NULL, 9);
    till_metrics_use_slot(metrics, 1);
    till_metrics_set(metrics, TILL_METRIC_LAST, "f", NULL, 4);
    ck_assert_double_eq(till_metrics_read(metrics, "f", NULL), 4);
}
END_TEST

START_TEST(the_text_is_openmetrics)
{
    till_metrics_observe(metrics, "b_seconds", "route=\"/x\"", 0.003);
    till_metrics_observe(metrics, "b_seconds", "route=\"/x\"", 100);
    till_metrics_add(metrics, "a_total", NULL, 1);
    till_metrics_observe(metrics, "b_seconds", "route=\"/y\"", 1);
    till_metrics_add(metrics, "a_total", "z=\"q\\\"\"", 2);
    const char *expected = "# HELP a Told by the shop's code.\n"
                           "# TYPE a counter\n"
                           "a_total 1\n"
                           "a_total{z=\"q\\\"\"} 2\n"
                           "# HELP b_seconds Told by the shop's code.\n"
                           "# TYPE b_seconds histogram\n";
    ck_assert_int_eq(strncmp(render(), expected, strlen(expected)), 0);
    ck_assert_ptr_nonnull(strstr(text.base, "b_seconds_bucket{route=\"/x\",le=\"0.0025\"} 0\n"));
    ck_assert_ptr_nonnull(strstr(text.base, "b_seconds_bucket{route=\"/x\",le=\"0.005\"} 1\n"));
    ck_assert_ptr_nonnull(strstr(text.base, "b_seconds_bucket{route=\"/x\",le=\"30.0\"} 1\n"));
    ck_assert_ptr_nonnull(strstr(text.base, "b_seconds_bucket{route=\"/x\",le=\"+Inf\"} 2\n"));
    ck_assert_ptr_nonnull(strstr(text.base, "b_seconds_sum{route=\"/x\"} 100.003\n"));
    ck_assert_str_eq(text.base + text.len - 6, "# EOF\n");
}
END_TEST

/* clang-format off */
static const struct { const char *why, *name, *labels; } refused[] = {
    {"a counter without _total",     "plain",       NULL},
    {"capitals",                     "Loud_total",  NULL},
    {"a line break in a name",       "a\nb_total",  NULL},
    {"a digit first",                "1a_total",    NULL},
    {"labels without quotes",        "a_total",     "k=v"},
    {"a quote that ends too early",  "a_total",     "k=\"v\"} 1\n#\""},
    {"a line break in a value",      "a_total",     "k=\"a\nb\""},
    {"an escape that is none",       "a_total",     "k=\"\\x\""},
    {"an open quote",                "a_total",     "k=\"v"},
    {"a comma at the end",           "a_total",     "k=\"v\","},
};
/* clang-format on */

START_TEST(what_would_break_the_text_is_dropped)
{
    till_metrics_add(metrics, refused[_i].name, refused[_i].labels, 1);
    ck_assert_msg(strstr(render(), "till_metrics_dropped_total 1\n") != NULL, "%s", refused[_i].why);
    ck_assert_msg(till_metrics_read(metrics, refused[_i].name, refused[_i].labels) == 0, "%s", refused[_i].why);
}
END_TEST

START_TEST(a_name_keeps_its_kind)
{
    till_metrics_observe(metrics, "x_total", NULL, 1);
    till_metrics_add(metrics, "x_total", "a=\"b\"", 1);
    ck_assert_double_eq(till_metrics_read(metrics, "x_total", "a=\"b\""), 0);
}
END_TEST

START_TEST(a_full_table_drops_and_counts)
{
    char labels[32];

    for (int i = 0; i != 5000; ++i) {
        snprintf(labels, sizeof(labels), "i=\"%d\"", i);
        till_metrics_add(metrics, "many_total", labels, 1);
    }
    ck_assert_double_eq(till_metrics_read(metrics, "many_total", "i=\"0\""), 1);
    ck_assert_double_eq(till_metrics_read(metrics, "many_total", "i=\"4999\""), 0);
    ck_assert_ptr_nonnull(strstr(render(), "till_metrics_dropped_total 904\n"));
}
END_TEST

START_TEST(labels_are_escaped)
{
    till_buf_t out;

    till_buf_init(&out, 0);
    till_metrics_label(&out, "a", "x\"\\\ny", 5);
    till_metrics_label(&out, "b", "", 0);
    ck_assert_str_eq(out.base, "a=\"x\\\"\\\\\\ny\",b=\"\"");
    till_metrics_add(metrics, "a_total", out.base, 3);
    ck_assert_double_eq(till_metrics_read(metrics, "a_total", out.base), 3);
    till_buf_dispose(&out);
}
END_TEST

START_TEST(a_counter_keeps_its_last_name_for_prometheus)
{
    till_metrics_add(metrics, "a_total", NULL, 1);
    till_buf_clear(&text);
    till_metrics_render(metrics, TILL_METRICS_PROMETHEUS, &text);
    ck_assert_ptr_nonnull(
        strstr(text.base, "# HELP a_total Told by the shop's code.\n# TYPE a_total counter\na_total 1\n"));
    ck_assert_ptr_null(strstr(text.base, "# TYPE a counter"));
}
END_TEST

/* Ten thousand reloads must not fill the table. */
START_TEST(a_generation_that_is_gone_leaves_nothing)
{
    char name[TILL_METRICS_GENERATION];

    for (int i = 0; i != 10000; ++i) {
        snprintf(name, sizeof(name), "g%d", i);
        for (unsigned slot = 1; slot != 4; ++slot) {
            till_metrics_use_slot(metrics, slot);
            till_metrics_set_generation(metrics, name);
        }
    }
    till_metrics_set_generation(metrics, "of-slot-3");
    ck_assert_ptr_nonnull(strstr(render(), "till_generation_info{generation=\"g9999\"} 2\n"
                                           "till_generation_info{generation=\"of-slot-3\"} 1\n"));
    ck_assert_ptr_null(strstr(text.base, "g9998"));
    ck_assert_ptr_nonnull(strstr(text.base, "till_metrics_series 0\n"));
    till_metrics_clear_gauges(metrics, 3);
    ck_assert_ptr_null(strstr(render(), "of-slot-3"));
}
END_TEST

START_TEST(a_histogram_of_another_is_published_once)
{
    till_hist_t now = {.sum = 0}, told = {.sum = 0};

    till_hist_add(&now, 0.00007);
    till_hist_add(&now, 0.02);
    till_hist_add(&now, 60);
    till_metrics_publish(metrics, "b_seconds", NULL, &now, &told);
    till_metrics_publish(metrics, "b_seconds", NULL, &now, &told);
    ck_assert_double_eq(till_metrics_read(metrics, "b_seconds", NULL), 3);
    ck_assert_ptr_nonnull(strstr(render(), "b_seconds_bucket{le=\"0.0001\"} 1\n"));
    ck_assert_ptr_nonnull(strstr(text.base, "b_seconds_bucket{le=\"0.025\"} 2\n"));
    ck_assert_ptr_nonnull(
        strstr(text.base, "b_seconds_bucket{le=\"+Inf\"} 3\nb_seconds_count 3\nb_seconds_sum 60.02007\n"));
}
END_TEST

START_TEST(requests_are_counted_by_route_method_and_class)
{
    till_http_metrics_t *http = till_http_metrics_create(metrics, 512, 10000);

    till_http_metrics_count(http, "/x/{id}", "GET", 3, 200, 0.004);
    till_http_metrics_count(http, "/x/{id}", "GET", 3, 204, 0.004);
    till_http_metrics_count(http, "/x/{id}", "POST", 4, 503, 0.004);
    till_http_metrics_count(http, "none", "BREW", 4, 405, 0.004);
    ck_assert_double_eq(
        till_metrics_read(metrics, "till_http_requests_total", "route=\"/x/{id}\",method=\"GET\",status=\"2xx\""), 2);
    ck_assert_double_eq(
        till_metrics_read(metrics, "till_http_requests_total", "route=\"/x/{id}\",method=\"POST\",status=\"5xx\""), 1);
    ck_assert_double_eq(
        till_metrics_read(metrics, "till_http_requests_total", "route=\"none\",method=\"OTHER\",status=\"4xx\""), 1);
    ck_assert_double_eq(till_metrics_read(metrics, "till_http_responses_total", "status=\"204\""), 1);
    ck_assert_double_eq(
        till_metrics_read(metrics, "till_http_request_duration_seconds", "route=\"/x/{id}\",method=\"GET\""), 2);
    till_http_metrics_destroy(http);
}
END_TEST

/* What no table of ours names must not fill the one that all share. */
START_TEST(routes_without_number_share_one_name)
{
    till_http_metrics_t *http = till_http_metrics_create(metrics, 512, 10000);
    char name[160];

    for (int i = 0; i != 3000; ++i) {
        snprintf(name, sizeof(name), "/r%d", i);
        till_http_metrics_count(http, name, "GET", 3, 200, 0.004);
    }
    memset(name, 'r', 150);
    name[150] = '\0';
    till_http_metrics_count(http, name, "GET", 3, 200, 0.004);
    ck_assert_double_eq(
        till_metrics_read(metrics, "till_http_requests_total", "route=\"other\",method=\"GET\",status=\"2xx\""),
        3000 - 512 + 1);
    ck_assert_double_eq(
        till_metrics_read(metrics, "till_http_requests_total", "route=\"/r0\",method=\"GET\",status=\"2xx\""), 1);
    ck_assert_ptr_nonnull(strstr(render(), "till_metrics_dropped_total 0\n"));
    till_http_metrics_destroy(http);
}
END_TEST

Suite *metrics_suite(void)
{
    Suite *suite = suite_create("serve/metrics");
    TCase *tc = tcase_create("metrics");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, nothing_is_lost_between_processes);
    tcase_add_test(tc, a_process_that_died_leaves_its_counters_and_takes_its_gauges);
    tcase_add_test(tc, the_last_one_set_is_shown);
    tcase_add_test(tc, the_text_is_openmetrics);
    tcase_add_loop_test(tc, what_would_break_the_text_is_dropped, 0, sizeof(refused) / sizeof(refused[0]));
    tcase_add_test(tc, a_name_keeps_its_kind);
    tcase_add_test(tc, a_full_table_drops_and_counts);
    tcase_add_test(tc, labels_are_escaped);
    tcase_add_test(tc, a_counter_keeps_its_last_name_for_prometheus);
    tcase_add_test(tc, a_generation_that_is_gone_leaves_nothing);
    tcase_add_test(tc, a_histogram_of_another_is_published_once);
    tcase_add_test(tc, requests_are_counted_by_route_method_and_class);
    tcase_add_test(tc, routes_without_number_share_one_name);
    suite_add_tcase(suite, tc);
    return suite;
}
