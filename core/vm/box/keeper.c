/* keeper.c - forks boxes; see box.h. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "vm/box/box.h"
#include "vm/box/jail.h"
#include "vm/box/sandbox.h"

#define BUFFER (1 << 20) /* of its socket, as far as the kernel allows */

#if defined(__SANITIZE_ADDRESS__) || defined(__clang__)
/* A crash of a rule is a crash, no finding; and nobody may trace us, as the search for leaks would. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0:handle_segv=0:handle_sigbus=0:handle_sigill=0:handle_sigfpe=0:handle_abort=0:symbolize=0:"
           "allocator_may_return_null=1";
}
#endif

struct keeper {
    pid_t pid; /* of the box; 0: none */
    uint32_t begun;
};

/* What the worker gets of a box. */
struct ends {
    int ours, theirs, page_fd;
    till_box_page_t *page;
};

static bool make_ends(struct ends *ends)
{
    int pair[2], size = BUFFER;

    ends->page_fd = memfd_create("till-box-page", MFD_CLOEXEC);
    if (ends->page_fd == -1 || ftruncate(ends->page_fd, sizeof(till_box_page_t)) != 0)
        return false;
    ends->page = mmap(NULL, sizeof(*ends->page), PROT_READ | PROT_WRITE, MAP_SHARED, ends->page_fd, 0);
    if (ends->page == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return false;
    ends->ours = pair[0];
    ends->theirs = pair[1];
    for (int i = 0; i != 2; ++i) {
        setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        setsockopt(pair[i], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    }
    return true;
}

static void close_ends(struct ends *ends)
{
    close(ends->ours);
    close(ends->theirs);
    close(ends->page_fd);
    munmap(ends->page, sizeof(*ends->page));
}

static _Noreturn void be_box(const struct ends *ends)
{
    till_jail_die_with_parent();
    prctl(PR_SET_NAME, "moontill-box");
    dup2(ends->ours, TILL_BOX_FD);
    if (getppid() == 1 || !till_jail_close_all_but(TILL_BOX_FD) || !till_jail_lock(TILL_BOX_FD))
        _exit(TILL_BOX_NO_JAIL);
    till_box_serve(TILL_BOX_FD, ends->page);
}

static bool tell(const struct ends *ends, const till_box_news_t *news)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control;
    struct iovec part = {(void *)news, sizeof(*news)};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    const int fds[2] = {ends->theirs, ends->page_fd};

    memset(&control, 0, sizeof(control));
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    *head = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(fds))};
    memcpy(CMSG_DATA(head), fds, sizeof(fds));
    return sendmsg(TILL_BOX_FD, &message, MSG_NOSIGNAL) == (ssize_t)sizeof(*news);
}

/** @return how the box before ended; 0 where there was none */
static int end_last(struct keeper *keeper)
{
    int status = 0;

    if (keeper->pid == 0)
        return 0;
    kill(keeper->pid, SIGKILL);
    while (waitpid(keeper->pid, &status, 0) == -1 && errno == EINTR)
        ;
    keeper->pid = 0;
    return status;
}

static bool begin_another(struct keeper *keeper)
{
    struct ends ends;
    till_box_news_t news = {.last_status = end_last(keeper)};

    if (!make_ends(&ends))
        return false;
    keeper->pid = fork();
    if (keeper->pid == 0)
        be_box(&ends);
    news.pid = keeper->pid;
    news.begun = ++keeper->begun;
    bool is_told = keeper->pid != -1 && tell(&ends, &news);
    close_ends(&ends);
    return is_told;
}

/* A Ctrl-C reaches the whole group of processes, but the worker needs us until it has drained. */
static void leave_signals_to_worker(void)
{
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
}

int till_box_keep(void)
{
    struct keeper keeper = {0};
    char wish;

    leave_signals_to_worker();
    till_jail_die_with_parent();
    prctl(PR_SET_NAME, "box-keeper");
    if (!till_jail_close_all_but(TILL_BOX_FD) || prctl(PR_SET_DUMPABLE, 0) != 0 || !till_sandbox_open())
        return 1;
    while (begin_another(&keeper)) {
        ssize_t n;
        while ((n = recv(TILL_BOX_FD, &wish, 1, 0)) == -1 && errno == EINTR)
            ;
        if (n != 1)
            break;
    }
    end_last(&keeper);
    return 0;
}
