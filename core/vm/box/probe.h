/* probe.h - what a rule would try that has broken out of the VM: calls of the kernel, one by one.
 *
 * Compiled into moontill-box-probed alone, which tests run (tests/core/vm/test_box.c). Each has to end the
 * process; a call that comes back writes to the socket what it came back with.
 */
#ifndef TILL_VM_BOX_PROBE_H
#define TILL_VM_BOX_PROBE_H

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TILL_BOX_PROBES_TABLE(row)                                                                                     \
    row(OPEN, "open a file", syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY)) row(                              \
        OPEN_OLD, "open a file, the old way", syscall(SYS_OLD_OPEN, "/etc/passwd", O_RDONLY))                          \
        row(UNLINK, "remove a file", syscall(SYS_unlinkat, AT_FDCWD, "/tmp/till-box-probe", 0)) row(                   \
            MKDIR, "make a folder",                                                                                    \
            syscall(SYS_mkdirat, AT_FDCWD, "/tmp/till-box-probe", 0700)) row(SOCKET, "make a socket",                  \
                                                                             socket(AF_INET, SOCK_STREAM, 0))          \
            row(PAIR, "make a pair of sockets", syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, 0)) row(              \
                CONNECT, "connect what it has", connect(fd, NULL, 0)) row(MESSAGE, "receive a descriptor",             \
                                                                          syscall(SYS_recvmsg, fd, 0, 0))              \
                row(PASS, "pass a descriptor on", syscall(SYS_sendmsg, fd, 0, 0)) row(                                 \
                    FORK, "fork",                                                                                      \
                    syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)) row(THREAD, "start a thread", syscall(SYS_clone3, 0, 0))  \
                    row(EXEC, "execute a program", syscall(SYS_execve, "/bin/true", 0, 0)) row(                        \
                        KILL, "send a signal to its parent",                                                           \
                        syscall(SYS_kill, 1, SIGTERM)) row(TGKILL, "send a signal to a thread",                        \
                                                           syscall(SYS_tgkill, 1, 1, SIGTERM))                         \
                        row(PTRACE, "trace a process", syscall(SYS_ptrace, PTRACE_ATTACH, 1, 0, 0)) row(               \
                            READ_VM, "read another's memory",                                                          \
                            syscall(SYS_process_vm_readv, 1, 0, 0, 0, 0,                                               \
                                    0)) row(WRITE_OTHER, "send on another descriptor", send(fd + 1, "x", 1, 0))        \
                            row(READ_OTHER, "receive from another descriptor", recv(fd + 1, NULL, 0, 0))               \
                                row(WRITE, "write", write(fd, "x", 1)) row(DUP, "duplicate its socket", dup(fd)) row(  \
                                    EXECUTABLE,                                                                        \
                                    "map executable memory",                                                           \
                                    (long)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) \
                                    row(PROTECT, "make memory executable", syscall(SYS_mprotect, 0, 4096, PROT_EXEC))  \
                                        row(MAP_FILE, "map its socket",                                                \
                                            (long)mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd,                          \
                                                       0)) row(LIMIT, "raise a limit",                                 \
                                                               syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, 0))         \
                                            row(PRCTL, "change what it is", prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))        \
                                                row(SECCOMP, "put up a filter", syscall(SYS_seccomp, 0, 0, 0)) row(    \
                                                    USER, "become root", syscall(SYS_setuid, 0))                       \
                                                    row(NAMESPACE, "make a namespace", syscall(SYS_unshare, 0)) row(   \
                                                        MEMFD, "make a file in memory",                                \
                                                        syscall(SYS_memfd_create, "x", 0))                             \
                                                        row(RING, "open a ring of requests",                           \
                                                            syscall(SYS_io_uring_setup, 1, 0))                         \
                                                            row(BPF, "load a program into the kernel",                 \
                                                                syscall(SYS_bpf, 0, 0, 0))                             \
                                                                row(SLEEP, "sleep", syscall(SYS_nanosleep, 0, 0))      \
                                                                    row(ABI32,                                         \
                                                                        "call the kernel as another machine would",    \
                                                                        call_as_32_bits())

#ifdef SYS_open
#define SYS_OLD_OPEN SYS_open
#else
#define SYS_OLD_OPEN SYS_openat
#endif

enum {
#define TILL_PROBE_ENUM(symbol, what, call) TILL_PROBE_##symbol,
    TILL_BOX_PROBES_TABLE(TILL_PROBE_ENUM)
#undef TILL_PROBE_ENUM
        TILL_PROBE_COUNT
};

#if TILL_BOX_PROBES
/* Another architecture's numbers mean other calls: 5 is open there. */
static long call_as_32_bits(void)
{
#ifdef __x86_64__
    long out;

    __asm__ volatile("int $0x80" : "=a"(out) : "a"(5L), "b"(0L), "c"(0L) : "memory");
    return out;
#else
    return syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY);
#endif
}

static void till_box_probe(int fd, uint8_t which)
{
    long got = 0;

    switch (which) {
#define TILL_PROBE_CASE(symbol, what, call)                                                                            \
    case TILL_PROBE_##symbol:                                                                                          \
        got = call;                                                                                                    \
        break;
        TILL_BOX_PROBES_TABLE(TILL_PROBE_CASE)
#undef TILL_PROBE_CASE
    default:
        break;
    }
    send(fd, &got, sizeof(got), 0);
    _exit(0);
}
#endif

#endif
