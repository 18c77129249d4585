/* jail.c - see jail.h */
#include "vm/box/jail.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "the numbers of this machine's system calls are not known here"
#endif

#if defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED 0
#endif

#define MEMORY_MAX ((rlim_t)96 << 20)
#define CPU_MAX 900 /* seconds; the worker has it replaced long before */

bool till_jail_close_all_but(int keep)
{
    for (int fd = 0; fd != keep; ++fd) {
        if (!IS_SANITIZED || fd != STDERR_FILENO)
            close(fd);
    }
    return close_range((unsigned)keep + 1, ~0u, 0) == 0;
}

void till_jail_die_with_parent(void) { prctl(PR_SET_PDEATHSIG, SIGKILL); }

static void limit(int what, rlim_t most)
{
    struct rlimit now;

    if (getrlimit(what, &now) == 0 && now.rlim_max != RLIM_INFINITY && now.rlim_max < most)
        most = now.rlim_max;
    setrlimit(what, &(struct rlimit){most, most});
}

static void set_limits(void)
{
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_FSIZE, 0);
    limit(RLIMIT_NPROC, 0);
    limit(RLIMIT_NOFILE, 0);
    limit(RLIMIT_CPU, CPU_MAX);
    if (!IS_SANITIZED) { /* their shadow alone is terabytes */
        limit(RLIMIT_AS, MEMORY_MAX);
        limit(RLIMIT_DATA, MEMORY_MAX);
    }
}

/* ---- the filter ------------------------------------------------------------------------ */

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
#define LOAD_ARGUMENT(n) LOAD(args[n]) /* its lower half: what we compare with is small */
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)
#define SKIP_UNLESS(value, n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), 0, n)
#define SKIP_IF_ANY(bits, n) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (uint32_t)(bits), n, 0)
#define ALLOW(name) SKIP_UNLESS(__NR_##name, 1), RETURN(SECCOMP_RET_ALLOW)
/* The first argument is `fd`. The number is loaded again for the next rule. */
#define ALLOW_ON(name, fd)                                                                                             \
    SKIP_UNLESS(__NR_##name, 4), LOAD_ARGUMENT(0), SKIP_UNLESS(fd, 1), RETURN(SECCOMP_RET_ALLOW),                      \
        RETURN(SECCOMP_RET_KILL_PROCESS)
/* Neither executable nor of a file. */
#define ALLOW_MEMORY(name)                                                                                             \
    SKIP_UNLESS(__NR_##name, 6), LOAD_ARGUMENT(2), SKIP_IF_ANY(PROT_EXEC, 3), LOAD_ARGUMENT(4),                        \
        SKIP_UNLESS((uint32_t)-1, 1), RETURN(SECCOMP_RET_ALLOW), RETURN(SECCOMP_RET_KILL_PROCESS)

static bool filter(int fd)
{
    struct sock_filter list[] = {
        LOAD(arch),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
        RETURN(SECCOMP_RET_KILL_PROCESS),
        LOAD(nr),
        ALLOW_ON(recvfrom, fd),
        ALLOW_ON(sendto, fd),
        ALLOW(clock_gettime),
        ALLOW(brk),
        ALLOW(munmap),
        ALLOW(mremap),
        ALLOW(madvise),
        ALLOW_MEMORY(mmap),
        ALLOW(rt_sigreturn),
        ALLOW(restart_syscall),
        ALLOW(exit_group),
        ALLOW(sched_yield),
        ALLOW(futex), /* of what is done once, in the C library's parts: it waits for nobody here */
#if IS_SANITIZED
        ALLOW_ON(write, STDERR_FILENO),
        ALLOW(sigaltstack),
        ALLOW(getpid),
        ALLOW(gettid),
        ALLOW(rt_sigprocmask),
        ALLOW(rt_sigaction),
#endif
        RETURN(SECCOMP_RET_KILL_PROCESS),
    };
    const struct sock_fprog program = {sizeof(list) / sizeof(list[0]), list};

    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

bool till_jail_lock(int fd)
{
    set_limits();
    return prctl(PR_SET_DUMPABLE, 0) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && filter(fd);
}
