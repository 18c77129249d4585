/* test_notify.c - see core/serve/notify.h */
#include <check.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "serve/notify.h"

START_TEST(a_service_manager_is_told)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char text[64] = "", name[64];
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

    snprintf(name, sizeof(name), "@moontill-notify-%d", (int)getpid());
    memcpy(at.sun_path + 1, name + 1, strlen(name) - 1);
    ck_assert_int_eq(
        bind(fd, (struct sockaddr *)&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))), 0);
    setenv("NOTIFY_SOCKET", name, 1);
    till_notify("MAINPID=%d\nREADY=1", 42);
    ck_assert_int_gt(recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT), 0);
    ck_assert_str_eq(text, "MAINPID=42\nREADY=1");
    unsetenv("NOTIFY_SOCKET");
    till_notify("READY=1");
    ck_assert_int_eq(recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT), -1);
    close(fd);
}
END_TEST

Suite *notify_suite(void)
{
    Suite *suite = suite_create("serve/notify");
    TCase *tc = tcase_create("notify");

    tcase_add_test(tc, a_service_manager_is_told);
    suite_add_tcase(suite, tc);
    return suite;
}
