#include "support/child.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void test_make_dir(char out[64])
{
    snprintf(out, 64, "/tmp/till-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(out));
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

void test_remove_dir(const char *dir) { nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

pid_t test_spawn(const char *const *argv, int stdout_fd)
{
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid != 0)
        return pid;
    int nowhere = open("/dev/null", O_RDWR);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(nowhere, 0);
    dup2(stdout_fd >= 0 ? stdout_fd : nowhere, 1);
    if (stdout_fd < 0)
        dup2(nowhere, 2);
    unsetenv("ASAN_OPTIONS");
    execvp(argv[0], (char *const *)argv);
    _exit(127);
}

void test_end(pid_t pid, int signal)
{
    kill(pid, signal);
    waitpid(pid, NULL, 0);
}

/* Speaks the protocol by hand: the client under test has no part in this. */
static bool redis_answers(const test_redis_t *redis)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    char answer[64];

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", redis->socket);
    bool ok = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && write(fd, "PING\r\n", 6) == 6 &&
              read(fd, answer, sizeof(answer)) > 0 &&
              (memcmp(answer, "+PONG", 5) == 0 || memcmp(answer, "-NOAUTH", 7) == 0);
    close(fd);
    return ok;
}

void test_redis_restart(test_redis_t *redis)
{
    const char *argv[] = {"redis-server",
                          "--port",
                          "0",
                          "--unixsocket",
                          redis->socket,
                          "--save",
                          "",
                          "--dir",
                          redis->dir,
                          "--requirepass",
                          redis->password != NULL ? redis->password : "",
                          "--enable-debug-command",
                          "local",
                          NULL};

    redis->pid = test_spawn(argv, -1);
    for (int i = 0; !redis_answers(redis); ++i) {
        ck_assert_msg(i < 2000, "redis-server does not answer");
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
}

void test_redis_start(test_redis_t *redis, const char *password)
{
    redis->password = password;
    test_make_dir(redis->dir);
    snprintf(redis->socket, sizeof(redis->socket), "%s/redis.sock", redis->dir);
    test_redis_restart(redis);
}

void test_redis_kill(test_redis_t *redis) { test_end(redis->pid, SIGKILL); }

void test_redis_stop(test_redis_t *redis)
{
    test_redis_kill(redis);
    test_remove_dir(redis->dir);
}
