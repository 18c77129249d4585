#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <check.h>
#include "serve/control.h"

#define PLACES (TILL_CONTROL_FDS - 1)

static char dir[64], path[80];
static till_control_t *control;
static uint64_t asked_by[PLACES * 2];
static size_t asked;

static void on_line(void *data, uint64_t client, const char *line, size_t len)
{
    (void)data;
    ck_assert_str_eq(line, "{\"command\":\"status\"}");
    ck_assert_uint_eq(len, strlen(line));
    asked_by[asked++] = client;
}

static void start(void)
{
    char error[256];

    snprintf(dir, sizeof(dir), "/tmp/moontill-control-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/control.sock", dir);
    asked = 0;
    control = till_control_create(path, on_line, NULL, error, sizeof(error));
    ck_assert_msg(control != NULL, "%s", error);
}

static void stop(void)
{
    till_control_destroy(control, true);
    ck_assert_int_eq(rmdir(dir), 0);
}

/* Until it has nothing more to do. */
static void turn(void)
{
    struct pollfd fds[TILL_CONTROL_FDS];
    size_t n;

    while (n = till_control_poll(control, fds), poll(fds, n, 0) > 0)
        till_control_turn(control, fds, n);
}

static int dial(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(address.sun_path, path, strlen(path) + 1);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    turn();
    return fd;
}

static void ask(int fd)
{
    static const char line[] = "{\"command\":\"status\"}\n";

    ck_assert_int_eq(write(fd, line, sizeof(line) - 1), sizeof(line) - 1);
    turn();
}

START_TEST(who_does_not_ask_gives_way)
{
    int silent[PLACES], first, answered;
    char answer[16];

    first = dial();
    ask(first); /* waits for its answer, and keeps its place */
    for (size_t i = 0; i != PLACES; ++i)
        silent[i] = dial();
    answered = dial();
    ask(answered);
    ck_assert_uint_eq(asked, 2);
    till_control_end(control, asked_by[1], "{\"ok\":true}", 11);
    ck_assert_int_eq(read(answered, answer, sizeof(answer)), 12);
    till_control_end(control, asked_by[0], "{\"ok\":true}", 11);
    ck_assert_int_eq(read(first, answer, sizeof(answer)), 12);
    ck_assert_int_eq(read(silent[0], answer, sizeof(answer)), 0); /* the longest there */
    for (size_t i = 0; i != PLACES; ++i)
        close(silent[i]);
    close(first);
    close(answered);
    turn();
}
END_TEST

START_TEST(who_waits_for_an_answer_keeps_his_place)
{
    int waiting[PLACES], late;
    char answer[16];

    for (size_t i = 0; i != PLACES; ++i) {
        waiting[i] = dial();
        ask(waiting[i]);
    }
    late = dial();
    ck_assert_int_eq(read(late, answer, sizeof(answer)), 0);
    for (size_t i = 0; i != PLACES; ++i) {
        till_control_end(control, asked_by[i], "{\"ok\":true}", 11);
        ck_assert_int_eq(read(waiting[i], answer, sizeof(answer)), 12);
        close(waiting[i]);
    }
    close(late);
}
END_TEST

Suite *control_suite(void)
{
    Suite *suite = suite_create("serve/control");
    TCase *tc = tcase_create("places");

    tcase_add_checked_fixture(tc, start, stop);
    tcase_add_test(tc, who_does_not_ask_gives_way);
    tcase_add_test(tc, who_waits_for_an_answer_keeps_his_place);
    suite_add_tcase(suite, tc);
    return suite;
}
