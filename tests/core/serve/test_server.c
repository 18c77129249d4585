/* test_server.c - see core/serve/server.h */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>
#include "support/child.h"
#include "support/shop.h"

static test_shop_t shop;
static test_answer_t answer;

static void start_tls(void)
{
    test_shop_init(&shop, true);
    test_shop_start(&shop);
}

static void start_plain(void)
{
    test_shop_init(&shop, false);
    shop.limits.max_in_flight = 1;
    test_shop_start(&shop);
}

static void stop(void) { test_shop_stop(&shop); }

static void ask(const test_ask_t *what) { ck_assert_int_eq(test_shop_ask(&shop, NULL, what, &answer), CURLE_OK); }

static const char *header(const char *name) { return test_answer_header(&answer, name); }

/* _i: HTTP/1.1, HTTP/2 */
START_TEST(the_backend_sees_the_request)
{
    ask(&(test_ask_t){.path = "/echo/%20x?a=1&b", .h2 = _i, .body = "hello", .body_len = 5, .headers = {"X-Mark: m"}});
    ck_assert_int_eq(answer.status, 200);
    ck_assert_int_eq(answer.http, _i ? CURL_HTTP_VERSION_2_0 : CURL_HTTP_VERSION_1_1);
    ck_assert_ptr_nonnull(strstr(answer.body, "POST /echo/%20x ?a=1&b body=hello peer=127.0.0.1 tls=1"));
    ck_assert_ptr_nonnull(strstr(answer.body, "mark=m"));
    ck_assert_str_eq(header("content-type"), "application/json");
}
END_TEST

START_TEST(a_trace_is_continued)
{
    ask(&(test_ask_t){.path = "/echo",
                      .h2 = _i,
                      .headers = {"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}});
    ck_assert_ptr_nonnull(strstr(answer.body, "trace=0af7651916cd43dd8448eb211c80319c"));
}
END_TEST

START_TEST(every_answer_carries_the_common_headers)
{
    static const char *const paths[] = {"/echo", "/static/hello.txt", "/static/nothing", "/none"};

    for (size_t i = 0; i != 4; ++i) {
        ask(&(test_ask_t){.path = paths[i], .h2 = _i});
        ck_assert_uint_eq(strlen(header("x-request-id")), 26);
        ck_assert_str_eq(header("x-content-type-options"), "nosniff");
        ck_assert_str_eq(header("strict-transport-security"), "max-age=31536000");
    }
}
END_TEST

START_TEST(a_head_announces_the_body_and_has_none)
{
    ask(&(test_ask_t){.path = "/big", .h2 = _i, .head = true});
    ck_assert_int_eq(answer.status, 200);
    ck_assert_str_eq(header("content-length"), "5000");
    ck_assert_uint_eq(answer.body_len, 0);
}
END_TEST

START_TEST(no_content_and_not_modified_have_no_body)
{
    CURL *curl = curl_easy_init();
    static const struct {
        const char *path;
        long status;
    } rows[] = {{"/empty", 204}, {"/same", 304}, {"/small", 200}};

    for (int i = 0; i != 3; ++i) {
        ck_assert_int_eq(test_shop_ask(&shop, curl, &(test_ask_t){.path = rows[i].path, .h2 = _i}, &answer), CURLE_OK);
        ck_assert_int_eq(answer.status, rows[i].status);
        ck_assert_int_eq(answer.connects, i == 0); /* the connection is fit for the next */
    }
    ck_assert_str_eq(answer.body, "{}");
    curl_easy_cleanup(curl);
}
END_TEST

START_TEST(a_value_cannot_bring_a_header_of_its_own)
{
    ask(&(test_ask_t){.path = "/bad", .h2 = _i});
    ck_assert_str_eq(answer.body, "fine");
    ck_assert_str_eq(header("x-evil"), "");
    ck_assert_str_eq(header("content-length"), "4");
}
END_TEST

/* Over HTTP/2 a client takes such a name for a broken answer. */
START_TEST(names_of_headers_are_lower_case_tokens)
{
    ask(&(test_ask_t){.path = "/names", .h2 = _i});
    ck_assert_str_eq(answer.body, "fine");
    ck_assert_str_eq(header("x-mixed"), "kept");
    ck_assert_str_eq(header("x blank"), "");
}
END_TEST

START_TEST(a_broken_handler_is_a_problem)
{
    ask(&(test_ask_t){.path = "/broken", .h2 = _i});
    ck_assert_int_eq(answer.status, 500);
    ck_assert_str_eq(header("content-type"), "application/problem+json");
    ck_assert_ptr_nonnull(strstr(answer.body, "\"code\":\"internal\""));
    ck_assert_ptr_null(strstr(answer.body, "main.lua"));
}
END_TEST

static void gunzip(char *out, size_t size)
{
    z_stream z = {.next_in = (unsigned char *)answer.body,
                  .avail_in = (unsigned)answer.body_len,
                  .next_out = (unsigned char *)out,
                  .avail_out = (unsigned)size};

    ck_assert_int_eq(inflateInit2(&z, 31), Z_OK);
    ck_assert_int_eq(inflate(&z, Z_FINISH), Z_STREAM_END);
    ck_assert_uint_eq(z.total_out, 5000);
    inflateEnd(&z);
}

START_TEST(long_answers_are_compressed_for_who_accepts_it)
{
    char plain[5001];

    ask(&(test_ask_t){.path = "/big", .h2 = _i, .headers = {"Accept-Encoding: gzip"}});
    ck_assert_str_eq(header("content-encoding"), "gzip");
    ck_assert_str_eq(header("vary"), "accept-encoding");
    ck_assert_str_eq(header("etag"), "\"v7\"");
    ck_assert_uint_lt(answer.body_len, 1000);
    gunzip(plain, sizeof(plain));
    ck_assert_int_eq(plain[4999], 'a');

    ask(&(test_ask_t){.path = "/big", .h2 = _i});
    ck_assert_str_eq(header("content-encoding"), "");
    ck_assert_str_eq(header("vary"), "accept-encoding");
    ck_assert_str_eq(header("etag"), "\"v7\"");
    ck_assert_uint_eq(answer.body_len, 5000);

    ask(&(test_ask_t){.path = "/small", .h2 = _i, .headers = {"Accept-Encoding: gzip"}});
    ck_assert_str_eq(header("content-encoding"), "");
}
END_TEST

START_TEST(large_bodies_are_refused_as_problems)
{
    char *body = calloc(1, 2000);

    ask(&(test_ask_t){.path = "/echo", .h2 = _i, .body = body, .body_len = 2000});
    ck_assert_int_eq(answer.status, 413);
    ck_assert_str_eq(header("content-type"), "application/problem+json");
    ck_assert_ptr_nonnull(strstr(answer.body, "\"code\":\"body_too_large\""));
    ask(&(test_ask_t){.path = "/echo", .h2 = _i, .body = body, .body_len = 1000});
    ck_assert_int_eq(answer.status, 200);
    free(body);
}
END_TEST

START_TEST(large_headers_are_refused)
{
    char line[9000] = "X-Long: ";

    memset(line + 8, 'x', 8500);
    ask(&(test_ask_t){.path = "/echo", .h2 = _i, .headers = {line}});
    ck_assert_int_eq(answer.status, 431);
}
END_TEST

START_TEST(time_up_and_nobody_there_are_problems)
{
    ask(&(test_ask_t){.path = "/late", .h2 = _i});
    ck_assert_int_eq(answer.status, 504);
    ck_assert_ptr_nonnull(strstr(answer.body, "\"code\":\"timeout\""));
    ask(&(test_ask_t){.path = "/in-vain", .h2 = _i});
    ck_assert_int_eq(answer.status, 503);
    ck_assert_ptr_nonnull(strstr(answer.body, "\"code\":\"overloaded\""));
    ck_assert_int_ge(atoi(header("retry-after")), 1);
    ask(&(test_ask_t){.path = "/none", .h2 = _i});
    ck_assert_int_eq(answer.status, 503);
    ck_assert_str_eq(header("retry-after"), "1");
}
END_TEST

START_TEST(a_client_that_gives_up_cancels_its_call)
{
    ck_assert_int_eq(test_shop_ask(&shop, NULL, &(test_ask_t){.path = "/slow", .h2 = _i, .timeout_ms = 400}, &answer),
                     CURLE_OPERATION_TIMEDOUT);
    test_metric_reaches(shop.metrics, "test_cancelled_total", NULL, 1);
    test_metric_reaches(shop.metrics, "till_http_client_gone_total", NULL, 1);
    test_metric_reaches(shop.metrics, "till_http_in_flight", NULL, 0);
}
END_TEST

/* ---- files -------------------------------------------------------------------- */

START_TEST(files_have_validators)
{
    char line[256];

    ask(&(test_ask_t){.path = "/static/hello.txt", .h2 = _i});
    ck_assert_int_eq(answer.status, 200);
    ck_assert_str_eq(answer.body, "hello\n");
    ck_assert_int_eq(strncmp(header("content-type"), "text/plain", 10), 0);
    ck_assert_str_ne(header("last-modified"), "");
    ck_assert_str_eq(header("cache-control"), "public, max-age=300");
    snprintf(line, sizeof(line), "If-None-Match: %s", header("etag"));
    ask(&(test_ask_t){.path = "/static/hello.txt", .h2 = _i, .headers = {line}});
    ck_assert_int_eq(answer.status, 304);
    ask(&(test_ask_t){.path = "/static/hello.txt", .h2 = _i, .head = true});
    ck_assert_int_eq(answer.status, 200);
    ck_assert_uint_eq(answer.body_len, 0);
}
END_TEST

START_TEST(files_end_at_their_folder)
{
    static const char *const paths[] = {"/static/../secret.txt",   "/static/%2e%2e/secret.txt",
                                        "/static/..%2fsecret.txt", "/static/%2e%2e%2fsecret.txt",
                                        "/static//../secret.txt",  "/static/x/../../secret.txt"};

    for (size_t i = 0; i != sizeof(paths) / sizeof(paths[0]); ++i) {
        ask(&(test_ask_t){.path = paths[i], .h2 = _i});
        ck_assert_msg(strstr(answer.body, "secret\n") == NULL, "%s leads out", paths[i]);
    }
}
END_TEST

/* ---- ops ------------------------------------------------------------------------ */

START_TEST(ops_tell_how_it_is)
{
    ask(&(test_ask_t){.path = "/echo"});
    ask(&(test_ask_t){.path = "/livez", .ops = true});
    ck_assert_int_eq(answer.status, 200);
    ask(&(test_ask_t){.path = "/readyz", .ops = true});
    ck_assert_int_eq(answer.status, 503);
    ck_assert_str_eq(answer.body, "{\"status\":\"not ready\",\"reasons\":{\"database\":\"does not answer\"}}\n");
    ask(&(test_ask_t){.path = "/metrics", .ops = true});
    ck_assert_int_eq(strncmp(header("content-type"), "text/plain; version=0.0.4", 25), 0);
    ck_assert_ptr_nonnull(strstr(answer.body, "# TYPE till_http_requests_total counter\n"));
    ck_assert_ptr_nonnull(
        strstr(answer.body, "till_http_requests_total{route=\"/fake\",method=\"GET\",status=\"2xx\"} 1\n"));
    ck_assert_str_eq(answer.body + answer.body_len - 6, "# EOF\n");
    ask(&(test_ask_t){.path = "/metrics",
                      .ops = true,
                      .headers = {"accept: application/openmetrics-text; version=1.0.0, text/plain;q=0.5"}});
    ck_assert_int_eq(strncmp(header("content-type"), "application/openmetrics-text", 28), 0);
    ck_assert_ptr_nonnull(strstr(answer.body, "# TYPE till_http_requests counter\n"));
    ask(&(test_ask_t){.path = "/echo", .ops = true});
    ck_assert_int_eq(answer.status, 404);
}
END_TEST

/* ---- over a bare socket ----------------------------------------------------------- */

static int dial(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)shop.port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Until the other side closes, or what was read ends in `until`. */
static char *hear(int fd, const char *until)
{
    static char text[16384];
    size_t len = 0;
    ssize_t n;

    while ((n = recv(fd, text + len, sizeof(text) - 1 - len, 0)) > 0) {
        len += (size_t)n;
        text[len] = '\0';
        if (until != NULL && strstr(text, until) != NULL)
            break;
    }
    text[len] = '\0';
    return text;
}

START_TEST(too_many_at_once_are_turned_away)
{
    int fd = dial();

    say(fd, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    test_metric_reaches(shop.metrics, "test_started_total", NULL, 1);
    ask(&(test_ask_t){.path = "/echo"});
    ck_assert_int_eq(answer.status, 503);
    ck_assert_int_ge(strtol(header("retry-after"), NULL, 10), 1);
    ck_assert_ptr_nonnull(strstr(answer.body, "\"code\":\"overloaded\""));
    test_metric_reaches(shop.metrics, "till_shed_total", "class=\"read\",why=\"in_flight\"", 1);
    close(fd);
    test_metric_reaches(shop.metrics, "till_http_in_flight", NULL, 0);
    ask(&(test_ask_t){.path = "/echo"});
    ck_assert_int_eq(answer.status, 200);
}
END_TEST

static void start_full(void)
{
    test_shop_init(&shop, true);
    shop.admit.levels[TILL_ADMIT_LOOP].level = 1.5; /* nobody lets it fall: there is no worker */
    test_shop_start(&shop);
}

START_TEST(under_overload_the_important_are_let_in)
{
    for (int i = 0; i != 5; ++i) {
        ask(&(test_ask_t){.path = "/echo?a=1", .h2 = _i});
        ck_assert_int_eq(answer.status, 503);
        ck_assert_int_ge(strtol(header("retry-after"), NULL, 10), 2);
        ck_assert_str_eq(header("content-type"), "application/problem+json");
        ck_assert_ptr_nonnull(strstr(answer.body, "\"code\":\"overloaded\""));
        ask(&(test_ask_t){.path = "/vip?a=1", .h2 = _i});
        ck_assert_int_eq(answer.status, 200);
        ask(&(test_ask_t){.path = "/readyz", .ops = true});
        ck_assert_int_eq(answer.status, 503); /* of its own reason: it was asked */
        ck_assert_ptr_nonnull(strstr(answer.body, "does not answer"));
    }
    test_metric_reaches(shop.metrics, "till_shed_total", "class=\"read\",why=\"loop\"", 5);
}
END_TEST

START_TEST(pipelined_requests_are_answered_in_turn)
{
    int fd = dial();

    say(fd, "GET /slow?brief HTTP/1.1\r\nHost: x\r\n\r\nGET /small HTTP/1.1\r\nHost: x\r\n\r\n");
    char *text = hear(fd, "{}");
    ck_assert_ptr_nonnull(strstr(text, "slow"));
    ck_assert_ptr_nonnull(strstr(text, "{}"));
    close(fd);
}
END_TEST

START_TEST(pipelined_requests_that_need_no_wait_are_answered)
{
    int fd = dial();

    say(fd, "GET /echo?1 HTTP/1.1\r\nHost: x\r\n\r\nGET /late HTTP/1.1\r\nHost: x\r\n\r\n"
            "GET /echo?3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    char *text = hear(fd, NULL);
    ck_assert_ptr_nonnull(strstr(text, "?1 "));
    ck_assert_ptr_nonnull(strstr(text, "HTTP/1.1 504"));
    ck_assert_ptr_nonnull(strstr(text, "?3 "));
    close(fd);
}
END_TEST

START_TEST(a_client_that_goes_with_bytes_in_the_way_is_seen_too)
{
    int fd = dial();

    say(fd, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    test_metric_reaches(shop.metrics, "test_started_total", NULL, 1);
    say(fd, "GET /small");
    close(fd);
    test_metric_reaches(shop.metrics, "test_cancelled_total", NULL, 1);
}
END_TEST

START_TEST(a_target_that_is_no_path_is_refused)
{
    int fd = dial();

    say(fd, "GET *x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    ck_assert_ptr_nonnull(strstr(hear(fd, NULL), "HTTP/1.1 400"));
    close(fd);
}
END_TEST

/* What follows would be a second request, of somebody else's making: it must never be answered. */
START_TEST(a_head_that_can_be_read_in_two_ways_is_refused)
{
    static const char *const heads[] = {
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 0\r\n\r\n",
        "POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /echo HTTP/1.1\nHost: x\r\n\r\n",
        "GET /echo HTTP/1.1\r\nHost: x\r\nX-A: 1\r\n b\r\n\r\n",
        "GET /echo HTTP/1.1\r\n\r\n",
        "GET /echo HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    };

    for (size_t i = 0; i != sizeof(heads) / sizeof(heads[0]); ++i) {
        char both[512];
        int fd = dial();
        snprintf(both, sizeof(both), "%sGET /small HTTP/1.1\r\nHost: x\r\n\r\n", heads[i]);
        say(fd, both);
        char *text = hear(fd, NULL);
        ck_assert_msg(strncmp(text, "HTTP/1.1 400", 12) == 0, "%s: %s", heads[i], text);
        ck_assert_ptr_null(strstr(text + 1, "HTTP/1.1 "));
        close(fd);
    }
}
END_TEST

START_TEST(h2c_upgrades_are_not_taken)
{
    int fd = dial();

    say(fd, "GET /small HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n");
    ck_assert_ptr_nonnull(strstr(hear(fd, NULL), "HTTP/1.1 200"));
    close(fd);
}
END_TEST

START_TEST(draining_lets_requests_finish_and_closes_the_idle)
{
    int idle = dial(), busy = dial();

    say(idle, "GET /small HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(idle, "{}");
    say(busy, "GET /slow?brief HTTP/1.1\r\nHost: x\r\n\r\n");
    test_metric_reaches(shop.metrics, "test_started_total", NULL, 1);
    close(shop.leash);
    shop.leash = dup(2); /* stop closes it again */
    ck_assert_str_eq(hear(idle, NULL), "");
    char *text = hear(busy, NULL);
    ck_assert_ptr_nonnull(strstr(text, "slow"));
    ck_assert_ptr_nonnull(strstr(text, "onnection: close"));
    close(idle);
    close(busy);
}
END_TEST

START_TEST(draining_ends_at_its_deadline)
{
    int busy = dial();

    say(busy, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"); /* for a minute */
    test_metric_reaches(shop.metrics, "test_started_total", NULL, 1);
    close(shop.leash);
    shop.leash = dup(2);
    ck_assert_ptr_nonnull(strstr(hear(busy, NULL), "HTTP/1.1 503"));
    close(busy);
}
END_TEST

static void start_tiny(void)
{
    test_shop_init(&shop, false);
    shop.limits.max_connections = 2;
    test_shop_start(&shop);
}

START_TEST(the_longest_idle_gives_way_to_the_newest)
{
    int first = dial(), second = dial();

    say(first, "GET /small HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(first, "{}");
    say(second, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    test_metric_reaches(shop.metrics, "test_started_total", NULL, 1);
    ask(&(test_ask_t){.path = "/small"});
    ck_assert_int_eq(answer.status, 200);
    ck_assert_str_eq(hear(first, NULL), "");
    close(first);
    close(second);
}
END_TEST

/* The list is not in the order of arrival. */
START_TEST(who_asked_last_stays)
{
    int first = dial(), second = dial();

    say(second, "GET /small HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(second, "{}");
    say(first, "GET /small HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(first, "{}");
    ask(&(test_ask_t){.path = "/small"});
    ck_assert_int_eq(answer.status, 200);
    ck_assert_str_eq(hear(second, NULL), "");
    say(first, "GET /small HTTP/1.1\r\nHost: x\r\n\r\n");
    ck_assert_ptr_nonnull(strstr(hear(first, "{}"), "HTTP/1.1 200"));
    close(first);
    close(second);
}
END_TEST

static void start_tiny_tls(void)
{
    test_shop_init(&shop, true);
    shop.limits.max_connections = 2;
    test_shop_start(&shop);
}

START_TEST(handshakes_that_do_not_come_give_way)
{
    int first = dial(), second = dial();

    test_metric_reaches(shop.metrics, "till_http_connections", NULL, 2);
    ask(&(test_ask_t){.path = "/small"});
    ck_assert_int_eq(answer.status, 200);
    ck_assert_str_eq(hear(first, NULL), "");
    close(first);
    close(second);
}
END_TEST

static void start_capped(void)
{
    test_shop_init(&shop, false);
    shop.limits.max_per_address = 2;
    test_shop_start(&shop);
}

START_TEST(one_address_has_so_many_connections_and_no_more)
{
    int first = dial(), second = dial();

    test_metric_reaches(shop.metrics, "till_http_connections", NULL, 2);
    int third = dial();
    ck_assert_str_eq(hear(third, NULL), "");
    ask(&(test_ask_t){.path = "/livez", .ops = true}); /* not of those who look after it */
    ck_assert_int_eq(answer.status, 200);
    say(second, "GET /small HTTP/1.1\r\nHost: x\r\n\r\n");
    ck_assert_ptr_nonnull(strstr(hear(second, "{}"), "HTTP/1.1 200"));
    close(first);
    close(third);
    test_metric_reaches(shop.metrics, "till_http_connections", NULL, 1);
    ask(&(test_ask_t){.path = "/small"});
    ck_assert_int_eq(answer.status, 200);
    close(second);
}
END_TEST

/* ---- when the clock steps ------------------------------------------------------------ */

#define HOUR_MS (3600 * 1000)

START_TEST(a_step_of_the_clock_ends_nobody)
{
    int idle = dial(), half = dial(), waiting = dial();

    say(idle, "GET /small HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(idle, "{}");
    say(half, "GET /small HTTP/1.1\r\nHo");
    say(waiting, "GET /slow?brief HTTP/1.1\r\nHost: x\r\n\r\n");
    test_metric_reaches(shop.metrics, "test_started_total", NULL, 1);
    shop.clock->offset_ms = _i ? -HOUR_MS : HOUR_MS;
    ck_assert_ptr_nonnull(strstr(hear(waiting, "slow"), "HTTP/1.1 200"));
    say(idle, "GET /small HTTP/1.1\r\nHost: x\r\n\r\n");
    ck_assert_ptr_nonnull(strstr(hear(idle, "{}"), "HTTP/1.1 200"));
    say(half, "st: x\r\n\r\n");
    ck_assert_ptr_nonnull(strstr(hear(half, "{}"), "HTTP/1.1 200"));
    close(idle);
    close(half);
    close(waiting);
}
END_TEST

/* Anywhere in a turn, also between the wish to write and the writing; and no connection that idles meanwhile ends. */
START_TEST(http2_goes_on_wherever_the_clock_steps)
{
    CURL *curl = curl_easy_init();
    test_ask_t what = {.path = "/late", .h2 = true, .timeout_ms = 5000}; /* answered after libh2o's part of the turn */
    int64_t step = _i ? -HOUR_MS : HOUR_MS;
    long connects;

    ck_assert_int_eq(test_shop_ask(&shop, curl, &what, &answer), CURLE_OK);
    for (int looks = 1; looks != 40; ++looks) {
        shop.clock->step_ms = step * looks;
        shop.clock->steps_at = looks;
        for (int i = 0; i != 3; ++i) {
            ck_assert_msg(test_shop_ask(&shop, curl, &what, &answer) == CURLE_OK, "a step at look %d", looks);
            ck_assert_int_eq(answer.status, 504);
            curl_easy_getinfo(curl, CURLINFO_NUM_CONNECTS, &connects);
            ck_assert_msg(connects == 0, "a step at look %d closed the connection", looks);
        }
    }
    curl_easy_cleanup(curl);
}
END_TEST

Suite *server_suite(void)
{
    Suite *suite = suite_create("serve/server");
    TCase *tls = tcase_create("tls"), *plain = tcase_create("plain"), *tiny = tcase_create("tiny"),
          *full = tcase_create("full");

    tcase_add_checked_fixture(tls, start_tls, stop);
    tcase_add_checked_fixture(plain, start_plain, stop);
    tcase_add_checked_fixture(tiny, start_tiny, stop);
    tcase_add_checked_fixture(full, start_full, stop);
    tcase_set_timeout(full, 60);
    tcase_set_timeout(tls, 60);
    tcase_set_timeout(plain, 60);
    tcase_set_timeout(tiny, 60);
    tcase_add_loop_test(tls, the_backend_sees_the_request, 0, 2);
    tcase_add_loop_test(tls, a_trace_is_continued, 0, 2);
    tcase_add_loop_test(tls, every_answer_carries_the_common_headers, 0, 2);
    tcase_add_loop_test(tls, a_head_announces_the_body_and_has_none, 0, 2);
    tcase_add_loop_test(tls, no_content_and_not_modified_have_no_body, 0, 2);
    tcase_add_loop_test(tls, a_value_cannot_bring_a_header_of_its_own, 0, 2);
    tcase_add_loop_test(tls, names_of_headers_are_lower_case_tokens, 0, 2);
    tcase_add_loop_test(tls, a_broken_handler_is_a_problem, 0, 2);
    tcase_add_loop_test(tls, long_answers_are_compressed_for_who_accepts_it, 0, 2);
    tcase_add_loop_test(tls, large_bodies_are_refused_as_problems, 0, 2);
    tcase_add_loop_test(tls, large_headers_are_refused, 0, 2);
    tcase_add_loop_test(tls, time_up_and_nobody_there_are_problems, 0, 2);
    tcase_add_loop_test(tls, a_client_that_gives_up_cancels_its_call, 0, 2);
    tcase_add_loop_test(tls, files_have_validators, 0, 2);
    tcase_add_loop_test(tls, files_end_at_their_folder, 0, 2);
    tcase_add_test(tls, ops_tell_how_it_is);
    tcase_add_test(plain, too_many_at_once_are_turned_away);
    tcase_add_test(plain, pipelined_requests_are_answered_in_turn);
    tcase_add_test(plain, pipelined_requests_that_need_no_wait_are_answered);
    tcase_add_test(plain, a_client_that_goes_with_bytes_in_the_way_is_seen_too);
    tcase_add_test(plain, a_target_that_is_no_path_is_refused);
    tcase_add_test(plain, a_head_that_can_be_read_in_two_ways_is_refused);
    tcase_add_test(plain, h2c_upgrades_are_not_taken);
    tcase_add_test(plain, draining_lets_requests_finish_and_closes_the_idle);
    tcase_add_loop_test(plain, a_step_of_the_clock_ends_nobody, 0, 2);
    tcase_add_loop_test(tls, http2_goes_on_wherever_the_clock_steps, 0, 2);
    tcase_add_test(plain, draining_ends_at_its_deadline);
    tcase_add_loop_test(full, under_overload_the_important_are_let_in, 0, 2);
    tcase_add_test(tiny, the_longest_idle_gives_way_to_the_newest);
    tcase_add_test(tiny, who_asked_last_stays);
    TCase *tiny_tls = tcase_create("tiny_tls"), *capped = tcase_create("capped");
    tcase_add_checked_fixture(tiny_tls, start_tiny_tls, stop);
    tcase_add_checked_fixture(capped, start_capped, stop);
    tcase_add_test(tiny_tls, handshakes_that_do_not_come_give_way);
    tcase_add_test(capped, one_address_has_so_many_connections_and_no_more);
    suite_add_tcase(suite, tiny_tls);
    suite_add_tcase(suite, capped);
    suite_add_tcase(suite, tls);
    suite_add_tcase(suite, plain);
    suite_add_tcase(suite, tiny);
    suite_add_tcase(suite, full);
    return suite;
}
