/* test_amqp.c - see io/amqp.h; what a broker would have to be there for is in tests/flow/rabbitmq.test.mjs. */
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "io/amqp.h"
#include "support/child.h"

static till_loop_t *loop;
static till_amqp_t *amqp;
static int listener;
static unsigned port;

struct told {
    int calls;
    till_status_t status;
    size_t n;
    char error[300];
};

static void on_told(void *data, till_status_t status, const till_amqp_outcome_t *outcomes, size_t n, const char *error)
{
    struct told *told = data;

    (void)outcomes;
    ++told->calls;
    told->status = status;
    told->n = n;
    snprintf(told->error, sizeof(told->error), "%s", error);
}

/* A server that takes connections and never says a word. */
static void set_up(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);

    signal(SIGPIPE, SIG_IGN);
    loop = till_loop_create();
    amqp = till_amqp_create(loop);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, len), 0);
    ck_assert_int_eq(listen(listener, 16), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    port = ntohs(address.sin_port);
}

static void tear_down(void)
{
    if (amqp != NULL)
        till_amqp_destroy(amqp);
    if (listener >= 0)
        close(listener);
    till_loop_turn(loop, 0);
    till_loop_turn(loop, 0);
    till_loop_destroy(loop);
}

static till_op_t *publish(struct told *told, uint64_t timeout_ms)
{
    const till_amqp_target_t target = {
        .host = "127.0.0.1", .port = port, .vhost = "/", .user = "u", .password = "p", .exchange = "x"};
    const till_slice_t text = {"abc", 3};
    const till_amqp_message_t messages[] = {{.routing_key = text, .id = text, .type = text, .body = text},
                                            {.routing_key = text, .id = text, .type = text}};

    *told = (struct told){0};
    till_op_t *op = till_amqp_publish(amqp, &target, messages, 2, timeout_ms, on_told, told);
    ck_assert_int_eq(told->calls, 0);
    return op;
}

START_TEST(nobody_listens)
{
    struct told told;

    close(listener);
    listener = -1;
    for (int i = 0; i != 2; ++i) {
        publish(&told, 10000);
        TEST_UNTIL(loop, told.calls == 1);
        ck_assert_int_eq(told.status, TILL_UNAVAILABLE);
        ck_assert_ptr_nonnull(strstr(told.error, "connecting to 127.0.0.1:"));
    }
}
END_TEST

START_TEST(one_that_never_answers)
{
    struct told told;

    publish(&told, 600);
    TEST_UNTIL(loop, told.calls == 1);
    ck_assert(told.status == TILL_UNAVAILABLE || told.status == TILL_TIMEOUT);
    ck_assert_ptr_nonnull(strstr(told.error, told.status == TILL_TIMEOUT ? "in time" : "logging in as u"));
}
END_TEST

START_TEST(calls_wait_for_one_another)
{
    struct told first, second;

    publish(&first, 400);
    publish(&second, 800);
    TEST_UNTIL(loop, first.calls == 1 && second.calls == 1);
    ck_assert_int_ne(first.status, TILL_OK);
    ck_assert_int_ne(second.status, TILL_OK);
}
END_TEST

/* The thread waits for the server's word with a minute before it: the cancel wakes it up, or the next call would wait
 * as long. */
START_TEST(cancelled_on_the_wire)
{
    struct told told, next;
    till_op_t *op = publish(&told, 60000);
    int peer = accept(listener, NULL, NULL);
    char head[8];

    ck_assert_int_eq(recv(peer, head, sizeof(head), MSG_WAITALL), 8); /* "AMQP" and the version */
    till_op_cancel(op);
    TEST_UNTIL(loop, told.calls == 1);
    ck_assert_int_eq(told.status, TILL_CANCELLED);
    ck_assert_int_eq(recv(peer, head, 1, 0), 0); /* hung up */
    close(peer);
    publish(&next, 300);
    TEST_UNTIL(loop, next.calls == 1);
}
END_TEST

START_TEST(destroyed_on_the_wire)
{
    struct told told;

    publish(&told, 60000);
    int peer = accept(listener, NULL, NULL);
    till_amqp_destroy(amqp);
    amqp = NULL;
    close(peer);
    TEST_UNTIL(loop, told.calls == 1);
    ck_assert_int_ne(told.status, TILL_OK);
}
END_TEST

Suite *amqp_suite(void)
{
    Suite *suite = suite_create("io/amqp");
    TCase *tc = tcase_create("amqp");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, nobody_listens);
    tcase_add_test(tc, one_that_never_answers);
    tcase_add_test(tc, calls_wait_for_one_another);
    tcase_add_test(tc, cancelled_on_the_wire);
    tcase_add_test(tc, destroyed_on_the_wire);
    suite_add_tcase(suite, tc);
    return suite;
}
