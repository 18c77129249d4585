/* test_bodies.c - what bodies that do not end may take of a worker: core/serve/guard_h1.c */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <curl/curl.h>
#include "support/child.h"
#include "support/shop.h"

#define BODY (4 * 1024 * 1024)
#define BODIES 20
#define BODIES_HELD 16 /* 48 MB and four bodies */

static test_shop_t shop;

static void start(void)
{
    test_shop_init(&shop, false);
    shop.limits.max_body = BODY;
    test_shop_start(&shop);
}

static void stop(void) { test_shop_stop(&shop); }

static int begin_body(void)
{
    static const char head[] = "POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 4194304\r\n\r\n";
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)shop.port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    ck_assert_int_eq(send(fd, head, sizeof(head) - 1, MSG_NOSIGNAL), sizeof(head) - 1);
    return fd;
}

/* Sends what it takes just now; closes it when an answer is there. @return whether it was refused */
static bool go_on(struct pollfd *polled, size_t *left)
{
    static char text[65536];
    ssize_t n;

    if (polled->revents & POLLIN) {
        n = recv(polled->fd, text, sizeof(text) - 1, 0);
        text[n > 0 ? n : 0] = '\0';
        ck_assert_msg(strstr(text, "HTTP/1.1 503 ") == text, "%s", text);
        close(polled->fd);
        polled->fd = -1;
        return true;
    }
    n = send(polled->fd, text, *left < sizeof(text) ? *left : sizeof(text), MSG_NOSIGNAL | MSG_DONTWAIT);
    *left -= n > 0 ? (size_t)n : 0;
    if (*left == 0)
        polled->events = POLLIN;
    return false;
}

/* Each of them all but its last byte, side by side. */
START_TEST(unfinished_bodies_have_so_much_room_and_no_more)
{
    size_t left[BODIES];
    struct pollfd polled[BODIES];
    unsigned refused = 0;
    test_answer_t answer;

    for (size_t i = 0; i != BODIES; ++i) {
        polled[i] = (struct pollfd){.fd = begin_body(), .events = POLLIN | POLLOUT};
        left[i] = BODY - 1;
    }
    while (refused < BODIES - BODIES_HELD) {
        ck_assert_int_gt(poll(polled, BODIES, 5000), 0);
        for (size_t i = 0; i != BODIES; ++i)
            refused += polled[i].fd != -1 && polled[i].revents != 0 && go_on(&polled[i], &left[i]);
    }
    for (size_t i = 0; i != BODIES; ++i) {
        if (polled[i].fd != -1)
            close(polled[i].fd);
    }
    test_metric_reaches(shop.metrics, "till_http_connections", NULL, 0);
    ck_assert_int_eq(test_shop_ask(&shop, NULL, &(test_ask_t){.path = "/small"}, &answer), CURLE_OK);
    ck_assert_int_eq(answer.status, 200);
}
END_TEST

Suite *bodies_suite(void)
{
    Suite *suite = suite_create("serve/bodies");
    TCase *tc = tcase_create("room");

    tcase_add_checked_fixture(tc, start, stop);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, unfinished_bodies_have_so_much_room_and_no_more);
    suite_add_tcase(suite, tc);
    return suite;
}
