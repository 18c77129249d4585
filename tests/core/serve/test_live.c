/* test_live.c - see core/serve/live.h; how streams follow the shop is told by tests/flow/live.test.mjs */
#include <curl/curl.h>
#include <string.h>
#include "serve/live_priv.h"
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

/* ---- who may see a topic, with streams that go nowhere --------------------- */

#define TEXT(text) ((till_slice_t){text, sizeof(text) - 1})

static void write_event(till_buf_t *out, const till_watch_t *watch, const char *tag, const char *json, size_t len)
{
    (void)watch, (void)tag;
    till_buf_append(out, json, len);
}

static void write_nothing(till_stream_t *stream, till_buf_t *out) { (void)stream, (void)out; }

static void write_end(till_stream_t *stream, till_buf_t *out) { till_buf_puts(out, till_stream_end_name(stream->end)); }

/* What it was told last is in `data`. */
static void send_it(till_stream_t *stream, bool is_last)
{
    snprintf(stream->data, 32, "%.*s", (int)stream->out.len, stream->out.base);
    if (is_last)
        till_stream_gone(stream, STREAM_END_CLIENT);
    else
        till_stream_written(stream);
}

static bool tick(till_stream_t *stream, uint64_t now) { return (void)now, stream->kind != NULL; }

static const till_stream_kind_t nowhere = {0, write_event, write_nothing, write_nothing, write_end, send_it, tick};

static till_stream_t *begin(till_live_t *live, const till_live_state_t *state, char told[static 32])
{
    till_live_begin_t what = {TEXT("somebody"), state, 1};
    till_stream_t *stream = till_stream_create(live, &nowhere, NULL, &what);

    stream->data = told;
    till_stream_flush(stream);
    return stream;
}

static const till_live_state_t as_guest = {TEXT("cart:one"), TEXT("key"), TEXT("t1"), TEXT("{1}"), 0},
                               as_customer = {TEXT("cart:one"), TEXT("cus"), TEXT("t2"), TEXT("{2}"), 0},
                               secret = {TEXT("cart:one"), TEXT("cus"), TEXT("t3"), TEXT("{3}"), 0};

/* _i: 0 the guest's stream begins first, 1 the customer's. The guest was let in before the cart became the customer's;
 * either way he is told no more of it, once what it is now is known. */
START_TEST(a_stream_of_who_may_not_see_it_any_more_ends)
{
    till_serve_opts_t limits = {.max_streams = 10, .live_heartbeat_ms = 1000, .live_max_age_ms = 60000};
    till_server_t *server = calloc(1, sizeof(*server));
    till_loop_t *loop = till_loop_create();
    till_metrics_t *metrics = till_metrics_create();
    char guest[32] = "", customer[32] = "";

    server->opts.limits = &limits;
    server->opts.metrics = metrics;
    server->opts.loop = loop;
    till_live_t *live = till_live_create(server);
    const till_live_face_t *face = till_live_face(live);
    for (int i = 0; i != 2; ++i)
        begin(live, i == _i ? &as_guest : &as_customer, i == _i ? guest : customer);
    ck_assert_str_eq(guest, "{1}");
    ck_assert_str_eq(customer, "{2}");
    ck_assert_str_eq(face->tag(face->data, as_guest.topic), ""); /* to be looked at */
    face->set(face->data, &as_customer);
    ck_assert_str_eq(guest, "not_found");
    face->set(face->data, &secret);
    ck_assert_str_eq(guest, "not_found");
    ck_assert_ptr_nonnull(strstr(customer, "3}"));
    ck_assert_uint_eq(till_live_streams(live), 1);
    till_live_drain(live);
    till_live_destroy(live);
    till_loop_destroy(loop);
    till_metrics_destroy(metrics);
    free(server);
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
    TCase *owners = tcase_create("owners");
    tcase_add_loop_test(owners, a_stream_of_who_may_not_see_it_any_more_ends, 0, 2);
    suite_add_tcase(suite, owners);
    return suite;
}
