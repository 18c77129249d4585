/* test_guard.c - see core/serve/guard.h: what no honest client sends, frame by frame */
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "serve/guard.h"
#include "support/shop.h"

#define BULK 8008 /* the length of /bulk */

enum { DATA, HEADERS, RST_STREAM = 3, SETTINGS, PING = 6, WINDOW_UPDATE = 8, CONTINUATION };

static test_shop_t shop;
static SSL_CTX *context;

static void start(void)
{
    signal(SIGPIPE, SIG_IGN); /* of a server that hangs up on us */
    test_shop_init(&shop, true);
    shop.limits.max_in_flight = 10000;
    shop.send_buffer = 4096; /* so that a write stays in flight until its reader reads */
    test_shop_start(&shop);
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_alpn_protos(context, (const unsigned char *)"\x02h2", 3);
}

static void stop(void)
{
    SSL_CTX_free(context);
    test_shop_stop(&shop);
}

static SSL *dial_socket(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)shop.port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), small = 4096;
    struct timeval patience = {.tv_sec = 1};
    SSL *ssl = SSL_new(context);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    SSL_set_fd(ssl, fd);
    SSL_set_connect_state(ssl);
    return ssl;
}

static SSL *dial(void)
{
    SSL *ssl = dial_socket();

    ck_assert_int_eq(SSL_do_handshake(ssl), 1);
    return ssl;
}

static void hang_up(SSL *ssl)
{
    int fd = SSL_get_fd(ssl);

    SSL_free(ssl);
    close(fd);
}

static void put_u32(till_buf_t *out, uint32_t n)
{
    const uint8_t bytes[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

    till_buf_append(out, bytes, 4);
}

static void put_frame(till_buf_t *out, uint8_t type, uint8_t flags, uint32_t stream, const void *payload, size_t len)
{
    const uint8_t head[5] = {0, (uint8_t)(len >> 8), (uint8_t)len, type, flags};

    till_buf_append(out, head, sizeof(head));
    put_u32(out, stream);
    till_buf_append(out, payload, len);
}

static void put_number(till_buf_t *out, uint8_t type, uint32_t stream, uint32_t n)
{
    const uint8_t bytes[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

    put_frame(out, type, 0, stream, bytes, sizeof(bytes));
}

static void put_window(till_buf_t *out, uint32_t n)
{
    const uint8_t bytes[6] = {0, 4, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

    put_frame(out, SETTINGS, 0, 0, bytes, sizeof(bytes));
}

/* GET over https from "a" */
static void put_request(till_buf_t *out, uint32_t stream, const char *path)
{
    char block[64] = "\x82\x87\x41\x01"
                     "a\x04";
    size_t len = strlen(path);

    block[6] = (char)len;
    memcpy(block + 7, path, len);
    put_frame(out, HEADERS, 5, stream, block, 7 + len);
}

static bool send_all(SSL *ssl, till_buf_t *out)
{
    bool ok = SSL_write(ssl, out->base, (int)out->len) == (int)out->len;

    till_buf_clear(out);
    return ok;
}

static void put_preface(till_buf_t *out, uint32_t window)
{
    till_buf_init(out, 0);
    till_buf_puts(out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    put_window(out, window);
    put_number(out, WINDOW_UPDATE, 0, 1 << 30);
}

/* libh2o alone fails an assertion here, nearly every time. */
START_TEST(windows_that_change_under_a_write_are_survived)
{
    test_answer_t answer;
    char bytes[1024];

    for (int round = 0; round != 4; ++round) {
        SSL *ssl = dial();
        till_buf_t out;
        int got = 0, n;
        put_preface(&out, BULK);
        put_request(&out, 1, "/bulk");
        ck_assert(send_all(ssl, &out));
        test_metric_reaches(shop.metrics, "test_bulk_total", NULL, round + 1);
        put_number(&out, WINDOW_UPDATE, 1, 1);
        ck_assert(send_all(ssl, &out));
        usleep(20000); /* nothing is waited for: the two are to arrive one after the other */
        put_window(&out, BULK + 10);
        ck_assert(send_all(ssl, &out));
        while (got < BULK && (n = SSL_read(ssl, bytes, sizeof(bytes))) > 0)
            got += n;
        ck_assert_int_ge(got, BULK);
        till_buf_dispose(&out);
        hang_up(ssl);
    }
    ck_assert_int_eq(test_shop_ask(&shop, NULL, &(test_ask_t){.path = "/small", .h2 = true}, &answer), 0);
    ck_assert_int_eq(answer.status, 200);
}
END_TEST

START_TEST(headers_in_many_frames_are_not_decoded)
{
    SSL *ssl = dial();
    till_buf_t out;
    char bytes[1024];
    int n;

    put_preface(&out, BULK);
    put_frame(&out, HEADERS, 1, 1,
              "\x82\x87\x41\x01"
              "a\x04\x05/bulk",
              12);
    ck_assert(send_all(ssl, &out));
    put_frame(&out, CONTINUATION, 4, 1, "\x00\x01x\x01y", 5);
    send_all(ssl, &out);
    while ((n = SSL_read(ssl, bytes, sizeof(bytes))) > 0)
        ;
    ck_assert_int_ne(SSL_get_error(ssl, n), SSL_ERROR_WANT_READ);
    test_metric_reaches(shop.metrics, "till_http_hostile_total", "reason=\"continuation\"", 1);
    ck_assert_double_eq(till_metrics_read(shop.metrics, "test_bulk_total", NULL), 0);
    till_buf_dispose(&out);
    hang_up(ssl);
}
END_TEST

START_TEST(who_takes_requests_back_by_the_hundred_is_hung_up_on)
{
    SSL *ssl = dial();
    till_buf_t out;
    char bytes[1024];
    int n;

    put_preface(&out, BULK);
    for (uint32_t i = 0; i != 3000; ++i) {
        put_request(&out, 2 * i + 1, "/slow");
        put_number(&out, RST_STREAM, 2 * i + 1, 8);
        if (i % 50 == 49 && !send_all(ssl, &out))
            break;
    }
    while ((n = SSL_read(ssl, bytes, sizeof(bytes))) > 0)
        ;
    ck_assert_int_ne(SSL_get_error(ssl, n), SSL_ERROR_WANT_READ); /* it is the end, and not our patience's */
    test_metric_reaches(shop.metrics, "till_http_hostile_total", "reason=\"resets\"", 1);
    ck_assert_double_lt(till_metrics_read(shop.metrics, "test_started_total", NULL), 500);
    till_buf_dispose(&out);
    hang_up(ssl);
}
END_TEST

static void assert_is_hung_up_on(SSL *ssl, const char *reason)
{
    char bytes[16384], label[64];
    int n;

    while ((n = SSL_read(ssl, bytes, sizeof(bytes))) > 0)
        ;
    ck_assert_int_ne(SSL_get_error(ssl, n), SSL_ERROR_WANT_READ); /* it is the end, and not our patience's */
    snprintf(label, sizeof(label), "reason=\"%s\"", reason);
    test_metric_reaches(shop.metrics, "till_http_hostile_total", label, 1);
}

/* Half a request's headers. */
static void put_half(till_buf_t *out, uint32_t stream) { put_frame(out, HEADERS, 1, stream, "\x82\x87", 2); }

/* Past 512 KB of unsent headers libh2o stops to read; when it starts again, its own callback is in our place. */
START_TEST(the_seam_holds_when_libh2o_stops_to_read)
{
    SSL *ssl = dial();
    till_buf_t out;
    char bytes[16384];
    int got = 0, n;

    put_preface(&out, BULK);
    for (uint32_t i = 0; i != 100; ++i)
        put_request(&out, 2 * i + 1, "/heads");
    ck_assert(send_all(ssl, &out));
    while (got < 100 * 7000 && (n = SSL_read(ssl, bytes, sizeof(bytes))) > 0)
        got += n;
    ck_assert_int_ge(got, 100 * 7000);
    put_half(&out, 1001);
    ck_assert(send_all(ssl, &out));
    assert_is_hung_up_on(ssl, "continuation");
    till_buf_dispose(&out);
    hang_up(ssl);
}
END_TEST

/* Holds back what a handshake writes until there is more to send with it. */
static SSL *dial_in_one_flight(const till_buf_t *more)
{
    SSL *ssl = dial_socket();
    int fd = SSL_get_fd(ssl), step;
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    char bytes[16384];

    SSL_set_bio(ssl, in, out);
    while ((step = SSL_do_handshake(ssl)) != 1) {
        long len = BIO_get_mem_data(out, NULL);
        ck_assert_int_eq(SSL_get_error(ssl, step), SSL_ERROR_WANT_READ);
        ck_assert_int_eq(BIO_read(out, bytes, (int)len), len);
        ck_assert_int_eq(send(fd, bytes, (size_t)len, 0), len);
        ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
        ck_assert_int_gt(n, 0);
        ck_assert_int_eq(BIO_write(in, bytes, (int)n), n);
    }
    ck_assert_int_eq(SSL_write(ssl, more->base, (int)more->len), (int)more->len);
    long len = BIO_get_mem_data(out, NULL);
    ck_assert_int_eq(BIO_read(out, bytes, sizeof(bytes)), len);
    ck_assert_int_eq(send(fd, bytes, (size_t)len, 0), len);
    SSL_set_fd(ssl, fd);
    return ssl;
}

START_TEST(what_comes_with_the_end_of_the_handshake_is_looked_at)
{
    till_buf_t out;

    put_preface(&out, BULK);
    put_half(&out, 1);
    SSL *ssl = dial_in_one_flight(&out);
    assert_is_hung_up_on(ssl, "continuation");
    till_buf_dispose(&out);
    hang_up(ssl);
}
END_TEST

/* Each is sent for as long as the server takes it, `limit` times at most. */
static void assert_budget(void (*put)(till_buf_t *out, unsigned i), unsigned limit, const char *reason)
{
    SSL *ssl = dial();
    till_buf_t out;

    put_preface(&out, BULK);
    put_frame(&out, HEADERS, 4, 1,
              "\x83\x87\x41\x01"
              "a\x04\x05/echo",
              12);
    for (unsigned i = 0; i != limit; ++i)
        put(&out, i);
    send_all(ssl, &out);
    assert_is_hung_up_on(ssl, reason);
    till_buf_dispose(&out);
    hang_up(ssl);
}

static void put_ping(till_buf_t *out, unsigned i)
{
    (void)i;
    put_frame(out, PING, 0, 0, "12345678", 8);
}

static void put_empty(till_buf_t *out, unsigned i)
{
    (void)i;
    put_frame(out, DATA, 0, 1, "", 0);
}

static void put_one(till_buf_t *out, unsigned i)
{
    (void)i;
    put_number(out, WINDOW_UPDATE, 0, 1);
}

static void put_wide(till_buf_t *out, unsigned i)
{
    (void)i;
    put_number(out, WINDOW_UPDATE, 1, 1 << 28);
}

static void put_body(till_buf_t *out, unsigned i)
{
    put_frame(out, HEADERS, 4, 2 * i + 3,
              "\x83\x87\x41\x01"
              "a\x04\x05/echo",
              12);
}

static void put_late_data(till_buf_t *out, unsigned i)
{
    (void)i;
    put_frame(out, DATA, 1, 1, "x", 1); /* the second one has no body to go to */
}

START_TEST(each_budget_ends)
{
    const unsigned *limits = till_guard_limits.per_second;

    assert_budget(put_ping, limits[TILL_BUDGET_CONTROL] + 1, "control");
    assert_budget(put_one, limits[TILL_BUDGET_WINDOWS] + 1, "windows");
    assert_budget(put_body, till_guard_limits.open_bodies, "bodies");
    assert_budget(put_late_data, 2, "data");
}
END_TEST

START_TEST(data_without_data_is_control)
{
    assert_budget(put_empty, till_guard_limits.per_second[TILL_BUDGET_CONTROL] + 1, "control");
}
END_TEST

START_TEST(wide_steps_of_a_window_are_few)
{
    assert_budget(put_wide, till_guard_limits.per_second[TILL_BUDGET_WIDE_WINDOWS] + 1, "windows");
}
END_TEST

/* The frames behind them are read as though they were not there, and they cost no budget. */
START_TEST(frames_of_unknown_types_are_cut_out)
{
    test_answer_t answer;
    SSL *ssl = dial();
    till_buf_t out;
    char bytes[1024];
    int n;

    put_preface(&out, BULK);
    for (unsigned i = 0; i != 2 * till_guard_limits.per_second[TILL_BUDGET_CONTROL]; ++i)
        put_frame(&out, (uint8_t)(16 + i % 200), 255, i, "grease", i % 7);
    put_request(&out, 1, "/small");
    put_frame(&out, 99, 0, 0, "the end", 7);
    ck_assert(send_all(ssl, &out));
    bool is_answered = false;
    while (!is_answered && (n = SSL_read(ssl, bytes, sizeof(bytes))) > 0)
        is_answered = memmem(bytes, (size_t)n, "\x00\x00\x02\x00\x01\x00\x00\x00\x01{}", 11) != NULL;
    ck_assert(is_answered);
    till_buf_dispose(&out);
    hang_up(ssl);
    ck_assert_int_eq(test_shop_ask(&shop, NULL, &(test_ask_t){.path = "/small", .h2 = true}, &answer), 0);
    ck_assert_int_eq(answer.status, 200);
}
END_TEST

Suite *guard_suite(void)
{
    Suite *suite = suite_create("serve/guard");
    TCase *tc = tcase_create("guard");

    tcase_add_checked_fixture(tc, start, stop);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, windows_that_change_under_a_write_are_survived);
    tcase_add_test(tc, headers_in_many_frames_are_not_decoded);
    tcase_add_test(tc, who_takes_requests_back_by_the_hundred_is_hung_up_on);
    tcase_add_test(tc, the_seam_holds_when_libh2o_stops_to_read);
    tcase_add_test(tc, what_comes_with_the_end_of_the_handshake_is_looked_at);
    tcase_add_test(tc, each_budget_ends);
    tcase_add_test(tc, data_without_data_is_control);
    tcase_add_test(tc, wide_steps_of_a_window_are_few);
    tcase_add_test(tc, frames_of_unknown_types_are_cut_out);
    suite_add_tcase(suite, tc);
    return suite;
}
