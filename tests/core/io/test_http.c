/* test_http.c - see core/io/http.h; against http_server.mjs beside this file. Run from the project's folder. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <unistd.h>
#include "io/http.h"
#include "support/child.h"

#define TEXT(text) ((till_slice_t){text, strlen(text)})

static till_loop_t *loop;
static till_http_t *http;
static char dir[64], cert[96], key[96];
static pid_t server;
static int plain_port, tls_port;

struct answer {
    int calls, status, version, connection, cookies;
    till_status_t outcome;
    bool sent, repeated;
    size_t len;
    char body[2048], mixed[32], message[256];
};

static void on_answer(void *data, till_status_t status, const till_http_response_t *response)
{
    struct answer *answer = data;

    ++answer->calls;
    answer->outcome = status;
    answer->status = response->status;
    answer->version = response->version;
    answer->sent = response->sent;
    answer->repeated = response->repeated;
    answer->len = response->body.len;
    snprintf(answer->message, sizeof(answer->message), "%s", response->message);
    snprintf(answer->body, sizeof(answer->body), "%.*s", (int)response->body.len, (const char *)response->body.base);
    for (size_t i = 0; i != response->header_count; ++i) {
        const till_header_t *header = &response->headers[i];
        if (header->name.len == 12 && memcmp(header->name.base, "x-mixed-case", 12) == 0)
            snprintf(answer->mixed, sizeof(answer->mixed), "%.*s", (int)header->value.len,
                     (const char *)header->value.base);
        if (header->name.len == 12 && memcmp(header->name.base, "x-connection", 12) == 0)
            answer->connection = (int)strtol(header->value.base, NULL, 10);
        answer->cookies += header->name.len == 10 && memcmp(header->name.base, "set-cookie", 10) == 0;
    }
}

static till_op_t *start(struct answer *answer, till_http_request_t request, int port, const char *path)
{
    char url[200];

    snprintf(url, sizeof(url), "%s://localhost:%d%s", port == tls_port ? "https" : "http", port, path);
    request.url = url;
    if (request.method == NULL)
        request.method = "GET";
    if (request.timeout_ms == 0)
        request.timeout_ms = 15000;
    return till_http_send(http, &request, on_answer, answer);
}

static struct answer get(till_http_request_t request, int port, const char *path)
{
    struct answer answer = {0};

    start(&answer, request, port, path);
    ck_assert_int_eq(answer.calls, 0);
    TEST_UNTIL(loop, answer.calls != 0);
    return answer;
}

static void make_certificate(void)
{
    const char *argv[] = {"openssl",
                          "req",
                          "-x509",
                          "-newkey",
                          "ec",
                          "-pkeyopt",
                          "ec_paramgen_curve:P-256",
                          "-nodes",
                          "-keyout",
                          key,
                          "-out",
                          cert,
                          "-days",
                          "2",
                          "-subj",
                          "/CN=localhost",
                          "-addext",
                          "subjectAltName=DNS:localhost",
                          NULL};
    pid_t pid;
    int status = 0;

    snprintf(cert, sizeof(cert), "%s/cert.pem", dir);
    snprintf(key, sizeof(key), "%s/key.pem", dir);
    pid = test_spawn(argv, -1);
    waitpid(pid, &status, 0);
    ck_assert_int_eq(status, 0);
}

static void start_server(void)
{
    const char *argv[] = {"node", "tests/core/io/http_server.mjs", key, cert, NULL};
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    server = test_spawn(argv, ends[1]);
    close(ends[1]);
    FILE *out = fdopen(ends[0], "r");
    ck_assert_msg(fscanf(out, "%d %d", &plain_port, &tls_port) == 2, "node or its script did not start");
    fclose(out);
}

static void set_up(void)
{
    signal(SIGPIPE, SIG_IGN);
    test_make_dir(dir);
    make_certificate();
    start_server();
}

static void tear_down(void)
{
    test_end(server, SIGKILL);
    test_remove_dir(dir);
}

static void open_client(void)
{
    loop = till_loop_create();
    http = till_http_create(loop, &(till_http_opts_t){.max_connections = 16, .max_per_host = 4, .ca_file = cert});
}

static void close_client(void)
{
    till_http_destroy(http);
    till_loop_turn(loop, 0);
    till_loop_turn(loop, 0);
    till_loop_destroy(loop);
}

START_TEST(a_request_and_its_answer)
{
    const till_header_t headers[] = {{TEXT("X-Mine"), TEXT("yes")}, {TEXT("X-Empty"), TEXT("")}};
    const till_http_request_t request = {
        .method = "POST", .headers = headers, .header_count = 2, .body = TEXT("hello")};

    for (int i = 0; i != 2; ++i) {
        struct answer answer = get(request, i == 0 ? plain_port : tls_port, "/echo?a=1");
        ck_assert_msg(answer.outcome == TILL_OK, "%s", answer.message);
        ck_assert_int_eq(answer.status, 201);
        ck_assert_int_eq(answer.version, i == 0 ? 11 : 20);
        ck_assert(answer.sent);
        ck_assert_int_eq(strncmp(answer.body, "POST /echo?a=1\n", 15), 0);
        ck_assert_ptr_nonnull(strstr(answer.body, "\nx-mine=yes\n"));
        ck_assert_ptr_nonnull(strstr(answer.body, "\nx-empty=\n"));
        ck_assert_ptr_nonnull(strstr(answer.body, "\n\nhello"));
        ck_assert_ptr_null(strstr(answer.body, "content-type="));
        ck_assert_ptr_null(strstr(answer.body, "expect="));
        ck_assert_str_eq(answer.mixed, "Value");
        ck_assert_int_eq(answer.cookies, 2);
    }
}
END_TEST

START_TEST(methods_and_empty_bodies)
{
    static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};

    for (size_t i = 0; i != sizeof(methods) / sizeof(methods[0]); ++i) {
        struct answer answer = get((till_http_request_t){.method = methods[i]}, plain_port, "/echo");
        ck_assert_int_eq(answer.outcome, TILL_OK);
        ck_assert_int_eq(strncmp(answer.body, methods[i], strlen(methods[i])), 0);
    }
    struct answer head = get((till_http_request_t){.method = "HEAD"}, plain_port, "/echo");
    ck_assert_int_eq(head.status, 201);
    ck_assert_uint_eq(head.len, 0);
}
END_TEST

START_TEST(redirects_are_answers)
{
    ck_assert_int_eq(get((till_http_request_t){0}, plain_port, "/redirect").status, 302);
}
END_TEST

START_TEST(connections_are_kept)
{
    for (int i = 0; i != 2; ++i) {
        int port = i == 0 ? plain_port : tls_port;
        struct answer first = get((till_http_request_t){0}, port, "/echo");
        struct answer second = get((till_http_request_t){0}, port, "/echo");
        ck_assert_int_ne(first.connection, 0);
        ck_assert_int_eq(first.connection, second.connection);
    }
}
END_TEST

START_TEST(fifty_at_once)
{
    static struct answer answers[50];
    int most = 0;

    for (int round = 0; round != 2; ++round) {
        memset(answers, 0, sizeof(answers));
        for (int i = 0; i != 50; ++i)
            start(&answers[i], (till_http_request_t){.method = "POST", .body = TEXT("x")},
                  round == 0 ? plain_port : tls_port, "/echo");
        for (int i = 0; i != 50; ++i) {
            TEST_UNTIL(loop, answers[i].calls == 1);
            ck_assert_msg(answers[i].outcome == TILL_OK, "%s", answers[i].message);
            most = answers[i].connection > most ? answers[i].connection : most;
        }
        if (round == 1) /* one for all: streams */
            ck_assert_int_eq(answers[0].connection, answers[49].connection);
    }
    ck_assert_int_gt(most, 0);
}
END_TEST

static void open_narrow(unsigned max_waiters, uint64_t queue_ms)
{
    till_http_destroy(http);
    http = till_http_create(loop, &(till_http_opts_t){.max_connections = 16,
                                                      .max_per_host = 1,
                                                      .max_waiters = max_waiters,
                                                      .queue_timeout_ms = queue_ms,
                                                      .ca_file = cert});
}

static till_http_stats_t stats(void)
{
    till_http_stats_t now;

    till_http_stats(http, &now);
    return now;
}

/* Transfers that got a connection. */
static uint64_t connected(void)
{
    till_http_stats_t now = stats();
    uint64_t sum = 0;

    for (int i = 0; i <= TILL_HIST_BUCKETS; ++i)
        sum += now.waits.counts[i];
    return sum;
}

START_TEST(a_full_queue_refuses)
{
    struct answer slow = {0}, waits = {0}, refused = {0};
    till_op_t *op;

    open_narrow(1, 0);
    op = start(&slow, (till_http_request_t){0}, plain_port, "/slow");
    TEST_UNTIL(loop, connected() == 1);
    start(&waits, (till_http_request_t){0}, plain_port, "/echo");
    start(&refused, (till_http_request_t){0}, plain_port, "/echo");
    ck_assert_int_eq(refused.calls, 0);
    TEST_UNTIL(loop, refused.calls == 1);
    ck_assert_int_eq(refused.outcome, TILL_OVERLOADED);
    ck_assert(!refused.sent);
    ck_assert_uint_eq(stats().refused_full, 1);
    till_op_cancel(op);
    TEST_UNTIL(loop, waits.calls == 1 && slow.calls == 1);
    ck_assert_int_eq(waits.outcome, TILL_OK);
    ck_assert_uint_eq(connected(), 2);
    ck_assert_uint_eq(stats().waiting, 0);
}
END_TEST

START_TEST(who_waits_too_long_for_a_connection_is_refused)
{
    struct answer slow = {0}, waits = {0};
    till_op_t *op;

    open_narrow(0, 50);
    op = start(&slow, (till_http_request_t){0}, plain_port, "/slow");
    TEST_UNTIL(loop, connected() == 1);
    start(&waits, (till_http_request_t){.method = "POST"}, plain_port, "/echo");
    TEST_UNTIL(loop, waits.calls == 1);
    ck_assert_int_eq(waits.outcome, TILL_OVERLOADED);
    ck_assert(!waits.sent);
    ck_assert_str_eq(waits.message, "it waited too long for a connection");
    ck_assert_uint_eq(stats().refused_late, 1);
    ck_assert_int_eq(slow.calls, 0); /* it has its connection, and its own deadline */
    till_op_cancel(op);
    TEST_UNTIL(loop, slow.calls == 1);
}
END_TEST

START_TEST(no_answer_in_time)
{
    for (int i = 0; i != 2; ++i) {
        struct answer answer = get((till_http_request_t){.timeout_ms = 400}, i == 0 ? plain_port : tls_port, "/slow");
        ck_assert_int_eq(answer.outcome, TILL_TIMEOUT);
        ck_assert(answer.sent);
        ck_assert_int_eq(get((till_http_request_t){0}, i == 0 ? plain_port : tls_port, "/echo").status, 201);
    }
}
END_TEST

/* A port that is bound and not listened to refuses. */
static int bind_port(int *fd, bool listening)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);

    *fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(*fd, (struct sockaddr *)&address, len), 0);
    if (listening)
        listen(*fd, 8);
    getsockname(*fd, (struct sockaddr *)&address, &len);
    return ntohs(address.sin_port);
}

START_TEST(nobody_listens)
{
    int fd, port = bind_port(&fd, false);
    struct answer answer = get((till_http_request_t){.method = "POST", .body = TEXT("x")}, port, "/");

    ck_assert_int_eq(answer.outcome, TILL_CONN_LOST);
    ck_assert(!answer.sent);
    ck_assert_int_ne(answer.message[0], '\0');
    close(fd);
}
END_TEST

/* It takes the connection and never says a word of TLS: nothing was sent yet. */
START_TEST(no_handshake_in_time)
{
    int fd, port = bind_port(&fd, true), saved = tls_port;

    tls_port = port; /* speak TLS to it */
    struct answer answer = get((till_http_request_t){.method = "POST", .timeout_ms = 400}, port, "/");
    tls_port = saved;
    ck_assert_int_eq(answer.outcome, TILL_TIMEOUT);
    ck_assert(!answer.sent);
    close(fd);
}
END_TEST

START_TEST(broken_after_the_request)
{
    for (int i = 0; i != 2; ++i) {
        struct answer answer =
            get((till_http_request_t){.method = "POST", .body = TEXT("x")}, i == 0 ? plain_port : tls_port, "/reset");
        ck_assert_int_eq(answer.outcome, TILL_CONN_LOST);
        ck_assert(answer.sent);
    }
}
END_TEST

START_TEST(broken_within_the_body)
{
    for (int i = 0; i != 2; ++i) {
        struct answer answer = get((till_http_request_t){0}, i == 0 ? plain_port : tls_port, "/half");
        ck_assert_int_eq(answer.outcome, TILL_CONN_LOST);
        ck_assert(answer.sent);
        ck_assert_uint_eq(answer.len, 0);
    }
}
END_TEST

/* libcurl would send it again on a new connection; a payment must not be. */
START_TEST(what_may_not_be_repeated_is_not)
{
    const till_header_t idem = {TEXT("Idempotency-Key"), TEXT("k")};
    till_http_request_t post = {.method = "POST", .body = TEXT("x")};

    ck_assert_str_eq(get(post, plain_port, "/once").body, "first");
    struct answer second = get(post, plain_port, "/once");
    ck_assert_int_eq(second.outcome, TILL_CONN_LOST);
    ck_assert(second.sent);
    ck_assert_str_eq(get((till_http_request_t){0}, plain_port, "/hits").body, "2");
    close_client();
    open_client();
    post.headers = &idem;
    post.header_count = 1;
    struct answer once = get(post, plain_port, "/once"), twice = get(post, plain_port, "/once");
    ck_assert_str_eq(once.body, "first");
    ck_assert(!once.repeated);
    ck_assert_str_eq(twice.body, "first"); /* on a second connection */
    ck_assert(twice.repeated);
    ck_assert_str_eq(get((till_http_request_t){0}, plain_port, "/hits").body, "5");
}
END_TEST

START_TEST(bodies_have_a_limit)
{
    for (int i = 0; i != 2; ++i) {
        int port = i == 0 ? plain_port : tls_port;
        struct answer most = get((till_http_request_t){.max_body = 100000}, port, "/big?n=100000");
        ck_assert_int_eq(most.outcome, TILL_OK);
        ck_assert_uint_eq(most.len, 100000);
        struct answer more = get((till_http_request_t){.max_body = 100000}, port, "/big?n=100001");
        ck_assert_int_eq(more.outcome, TILL_TOO_LARGE);
        ck_assert(more.sent);
    }
}
END_TEST

START_TEST(cancelled_at_every_turn)
{
    for (int turns = 0; turns != 12; ++turns) {
        struct answer answer = {0};
        till_op_t *op = start(&answer, (till_http_request_t){0}, turns % 2 == 0 ? plain_port : tls_port, "/slow");
        for (int i = 0; i != turns; ++i)
            till_loop_turn(loop, 2);
        till_op_cancel(op);
        ck_assert_int_eq(answer.calls, 0);
        TEST_UNTIL(loop, answer.calls == 1);
        ck_assert_int_eq(answer.outcome, TILL_CANCELLED);
    }
    ck_assert_int_eq(get((till_http_request_t){0}, tls_port, "/echo").status, 201);
}
END_TEST

START_TEST(destroy_tells_those_in_flight)
{
    struct answer answers[3] = {0};

    for (int i = 0; i != 3; ++i)
        start(&answers[i], (till_http_request_t){0}, plain_port, "/slow");
    for (int i = 0; i != 5; ++i)
        till_loop_turn(loop, 5);
    till_http_destroy(http);
    for (int i = 0; i != 3; ++i) {
        TEST_UNTIL(loop, answers[i].calls == 1);
        ck_assert_int_eq(answers[i].outcome, TILL_CANCELLED);
    }
    http = till_http_create(loop, &(till_http_opts_t){0});
}
END_TEST

START_TEST(a_certificate_nobody_vouches_for)
{
    till_http_destroy(http);
    http = till_http_create(loop, &(till_http_opts_t){.max_connections = 4, .max_per_host = 4});
    struct answer answer = get((till_http_request_t){.method = "POST"}, tls_port, "/echo");
    ck_assert_int_eq(answer.outcome, TILL_REJECTED);
    ck_assert(!answer.sent);
    ck_assert_int_eq(get((till_http_request_t){.ca_file = cert}, tls_port, "/echo").status, 201);
}
END_TEST

START_TEST(public_only_keeps_out_of_the_house)
{
    get((till_http_request_t){0}, plain_port, "/echo"); /* a kept connection is no way around it */
    struct answer answer = get((till_http_request_t){.public_only = true}, plain_port, "/echo");
    ck_assert_int_eq(answer.outcome, TILL_FORBIDDEN);
    ck_assert(!answer.sent);
}
END_TEST

/* clang-format off */
static const struct { const char *why, *method, *url, *name, *value; } refused[] = {
    {"no URL at all",            "GET",    "",                 "X-A", "a"},
    {"another protocol",         "GET",    "file:///etc/hosts", "X-A", "a"},
    {"a method with a blank",    "GET X",  "http://localhost/", "X-A", "a"},
    {"an empty method",          "",       "http://localhost/", "X-A", "a"},
    {"a header with a newline",  "GET",    "http://localhost/", "X-A", "a\r\nX-B: b"},
    {"a name with a colon",      "GET",    "http://localhost/", "X:A", "a"},
    {"a name with a newline",    "GET",    "http://localhost/", "X\nA", "a"},
    {"an empty name",            "GET",    "http://localhost/", "", "a"},
    {"a length of one's own",    "POST",   "http://localhost/", "Content-Length", "3"},
    {"an encoding of one's own", "POST",   "http://localhost/", "transfer-encoding", "chunked"},
};
/* clang-format on */

START_TEST(what_cannot_be_sent_is_refused)
{
    const till_header_t header = {TEXT(refused[_i].name), TEXT(refused[_i].value)};
    const till_http_request_t request = {.method = refused[_i].method,
                                         .url = refused[_i].url,
                                         .headers = &header,
                                         .header_count = 1,
                                         .timeout_ms = 5000};
    struct answer answer = {0};

    till_http_send(http, &request, on_answer, &answer);
    TEST_UNTIL(loop, answer.calls == 1);
    ck_assert_msg(answer.outcome == TILL_REJECTED, "%s: %d", refused[_i].why, answer.outcome);
    ck_assert(!answer.sent);
}
END_TEST

Suite *http_suite(void)
{
    Suite *suite = suite_create("io/http");
    TCase *tc = tcase_create("http"), *requests = tcase_create("requests");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_checked_fixture(tc, open_client, close_client);
    tcase_add_test(tc, a_request_and_its_answer);
    tcase_add_test(tc, methods_and_empty_bodies);
    tcase_add_test(tc, redirects_are_answers);
    tcase_add_test(tc, connections_are_kept);
    tcase_add_test(tc, fifty_at_once);
    tcase_add_test(tc, a_full_queue_refuses);
    tcase_add_test(tc, who_waits_too_long_for_a_connection_is_refused);
    tcase_add_test(tc, no_answer_in_time);
    tcase_add_test(tc, nobody_listens);
    tcase_add_test(tc, no_handshake_in_time);
    tcase_add_test(tc, broken_after_the_request);
    tcase_add_test(tc, broken_within_the_body);
    tcase_add_test(tc, what_may_not_be_repeated_is_not);
    tcase_add_test(tc, bodies_have_a_limit);
    tcase_add_test(tc, cancelled_at_every_turn);
    tcase_add_test(tc, destroy_tells_those_in_flight);
    tcase_add_test(tc, a_certificate_nobody_vouches_for);
    tcase_add_test(tc, public_only_keeps_out_of_the_house);
    suite_add_tcase(suite, tc);
    tcase_add_checked_fixture(requests, open_client, close_client);
    tcase_add_loop_test(requests, what_cannot_be_sent_is_refused, 0, sizeof(refused) / sizeof(refused[0]));
    suite_add_tcase(suite, requests);
    return suite;
}
