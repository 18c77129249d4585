/* program.c - see program.h */
#include "vm/box/program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ABOVE 10 /* descriptors below may be put in the child's place of something else */

static int program = -1;

/* Beside our own file, wherever that was moved to. */
static int open_program(const char *name)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - NAME_MAX);

    if (n <= 0)
        return -1;
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    if (slash == NULL)
        return -1;
    snprintf(slash + 1, NAME_MAX, "%s", name);
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd == -1)
        return -1;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, ABOVE);
    close(fd);
    return high;
}

int till_box_program(void)
{
    if (program == -1)
        program = open_program("moontill-box");
    return program;
}

static int spawn(int file, pid_t *pid, int socket)
{
    char path[40];
    char *const argv[] = {"moontill-box", NULL}, *const env[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t all, none;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, socket, TILL_BOX_FD);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setsigmask(&attributes, &none);
    int failure = posix_spawn(pid, path, &actions, &attributes, argv, env);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return failure;
}

static int spawn_file(int file, pid_t *pid)
{
    int ends[2];

    if (file == -1 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return -1;
    int failure = spawn(file, pid, ends[1]);
    close(ends[1]);
    if (failure == 0 && fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0)
        return ends[0];
    close(ends[0]);
    errno = failure != 0 ? failure : errno;
    return -1;
}

int till_box_spawn(pid_t *pid) { return spawn_file(till_box_program(), pid); }

int till_box_spawn_named(const char *name, pid_t *pid)
{
    int file = open_program(name);
    int control = spawn_file(file, pid);

    if (file != -1)
        close(file);
    return control;
}

void till_box_end(pid_t pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) == -1 && errno == EINTR)
        ;
}

/* The page is mapped for reading: what the box writes there is looked at, never trusted as a length. */
static bool take_descriptors(struct msghdr *message, till_box_ends_t *out)
{
    const struct cmsghdr *head = CMSG_FIRSTHDR(message);
    int fds[2];

    if (head == NULL || head->cmsg_type != SCM_RIGHTS || head->cmsg_len != CMSG_LEN(sizeof(fds)))
        return false;
    memcpy(fds, CMSG_DATA(head), sizeof(fds));
    void *page = mmap(NULL, sizeof(*out->page), PROT_READ, MAP_SHARED, fds[1], 0);
    close(fds[1]);
    if (page == MAP_FAILED) {
        close(fds[0]);
        return false;
    }
    out->fd = fds[0];
    out->page = page;
    return true;
}

int till_box_hear(int control, till_box_ends_t *out)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } space;
    struct iovec part = {&out->news, sizeof(out->news)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &space, .msg_controllen = sizeof(space)};
    ssize_t n = recvmsg(control, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n == -1 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return n == (ssize_t)sizeof(out->news) && take_descriptors(&message, out) ? 1 : -1;
}

bool till_box_want(int control) { return send(control, "n", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1; }
