/* test_live.c - see core/serve/live.h; how streams follow the shop is told by tests/flow/live.test.mjs */
#include <curl/curl.h>
#include <string.h>
#include "support/shop.h"

Suite *live_suite(void);

static test_shop_t shop;
static test_answer_t answer;

static void start(unsigned of_worker, unsigned of_client)
{
    test_shop_init(&shop, true);
    shop.limits.max_streams = of_worker;
    shop.limits.max_streams_per_client = of_client;
    shop.limits.live_heartbeat_ms = 1000;
    shop.limits.live_max_age_ms = 1;
    test_shop_start(&shop);
}

static void start_open(void) { start(10, 10); }

static void start_full(void) { start(0, 10); }

static void start_strict(void) { start(10, 0); }

static void stop(void) { test_shop_stop(&shop); }

static void ask(const test_ask_t *what) { ck_assert_int_eq(test_shop_ask(&shop, NULL, what, &answer), CURLE_OK); }

/* Of one line, behind `text`. */
static const char *behind(const char *from, const char *text)
{
    const char *at = strstr(from, text);

    ck_assert_msg(at != NULL, "%s is not in %s", text, from);
    return at + strlen(text);
}

/* _i: HTTP/1.1, HTTP/2 */
START_TEST(a_stream_tells_all_that_it_watches_and_says_when_it_ends)
{
    ask(&(test_ask_t){.path = "/live", .h2 = _i, .headers = {"accept-encoding: gzip"}});
    ck_assert_int_eq(answer.status, 200);
    ck_assert_str_eq(test_answer_header(&answer, "content-type"), "text/event-stream");
    ck_assert_str_eq(test_answer_header(&answer, "content-encoding"), "");
    const char *at = behind(answer.body, "retry: ");
    at = behind(at, "\n\nevent: cart\nid: t1\ndata: {\"changed\":[],\"cart\":1}\n\n");
    at = behind(at, "event: stock\nid: t2\ndata: {\"changed\":[],\"stock\":2}\n\n");
    at = behind(at, "event: stock\nid: t2\n");
    at = behind(at, "event: end\nretry: ");
    at = behind(at, "\ndata: {\"reason\":\"age\"}\n\n");
    ck_assert_str_eq(at, "");
    test_metric_reaches(shop.metrics, "till_live_ended_total", "why=\"age\"", 1);
    test_metric_reaches(shop.metrics, "till_live_streams", "protocol=\"sse\"", 0);
    test_metric_reaches(shop.metrics, "till_http_in_flight", NULL, 0);
}
END_TEST

START_TEST(a_head_of_one_is_a_head)
{
    ask(&(test_ask_t){.path = "/live", .h2 = _i, .head = true});
    ck_assert_int_eq(answer.status, 200);
    ck_assert_uint_eq(answer.body_len, 0);
}
END_TEST

START_TEST(a_worker_that_is_full_says_when_to_come_back)
{
    ask(&(test_ask_t){.path = "/live", .h2 = _i});
    ck_assert_int_eq(answer.status, 503);
    ck_assert_ptr_nonnull(strstr(answer.body, "\"code\":\"overloaded\""));
    ck_assert_str_ne(test_answer_header(&answer, "retry-after"), "");
    test_metric_reaches(shop.metrics, "till_live_refused_total", "why=\"worker\"", 1);
}
END_TEST

START_TEST(a_client_that_has_too_many_is_told_so)
{
    ask(&(test_ask_t){.path = "/live", .h2 = _i});
    ck_assert_int_eq(answer.status, 429);
    ck_assert_ptr_nonnull(strstr(answer.body, "\"code\":\"quota_exceeded\""));
    ck_assert_str_ne(test_answer_header(&answer, "retry-after"), "");
    test_metric_reaches(shop.metrics, "till_live_refused_total", "why=\"client\"", 1);
}
END_TEST

static void add_case(Suite *suite, const char *name, void (*setup)(void))
{
    TCase *tcase = tcase_create(name);

    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, stop);
    if (setup == start_full)
        tcase_add_loop_test(tcase, a_worker_that_is_full_says_when_to_come_back, 0, 2);
    else if (setup == start_strict)
        tcase_add_loop_test(tcase, a_client_that_has_too_many_is_told_so, 0, 2);
    else {
        tcase_add_loop_test(tcase, a_stream_tells_all_that_it_watches_and_says_when_it_ends, 0, 2);
        tcase_add_loop_test(tcase, a_head_of_one_is_a_head, 0, 2);
    }
    suite_add_tcase(suite, tcase);
}

Suite *live_suite(void)
{
    Suite *suite = suite_create("serve/live");

    add_case(suite, "open", start_open);
    add_case(suite, "full", start_full);
    add_case(suite, "strict", start_strict);
    return suite;
}
