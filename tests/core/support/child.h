/* child.h - servers that a test starts for itself, and waiting for what must come to pass.
 *
 * Everything lives in a directory of its own under /tmp and dies with the test's process.
 */
#ifndef TEST_SUPPORT_CHILD_H
#define TEST_SUPPORT_CHILD_H

#include <check.h>
#include <sys/types.h>
#include "io/loop.h"

/** Turns `loop` until `condition` holds; the test fails when it does not within twenty seconds. */
#define TEST_UNTIL(loop, condition)                                                                                    \
    do {                                                                                                               \
        uint64_t until_ = till_wall_ms() + 20000;                                                                      \
        while (!(condition)) {                                                                                         \
            ck_assert_msg(till_wall_ms() < until_, "waited in vain for: %s", #condition);                              \
            till_loop_turn(loop, 20);                                                                                  \
        }                                                                                                              \
    } while (0)

/** Makes a directory only we can read; `out` holds 64 bytes. */
void test_make_dir(char out[64]);
void test_remove_dir(const char *dir);
/** Starts argv[0] (looked up in PATH) with stdout in `stdout_fd`, or with both outputs nowhere if that is -1. */
pid_t test_spawn(const char *const *argv, int stdout_fd);
/** Sends the signal and waits for the end. */
void test_end(pid_t pid, int signal);

typedef struct test_redis {
    char dir[64], socket[96];
    const char *password; /* NULL: none */
    pid_t pid;
} test_redis_t;

/** Returns when it answers. */
void test_redis_start(test_redis_t *redis, const char *password);
/** Again after test_redis_kill, in the same place, empty. */
void test_redis_restart(test_redis_t *redis);
void test_redis_kill(test_redis_t *redis);
/** Also removes its directory. */
void test_redis_stop(test_redis_t *redis);

#endif
