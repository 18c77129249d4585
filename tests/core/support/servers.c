#include "support/servers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { START_LIMIT_MS = 120000, POLL_MS = 20 };

typedef struct server {
    const char *name;
    void (*install)(const char *dir); /* once, in a process of its own; NULL where there is nothing to do */
    void (*run)(const char *dir);     /* becomes the server */
    char dir[96], socket[108];        /* as long as an address may be */
} server_t;

static pid_t owner; /* the run's own process, not a test's that Check forked off */

__attribute__((constructor)) static void remember_owner(void) { owner = getpid(); }

static void die(const char *what)
{
    fprintf(stderr, "tests' servers: %s: %s\n", what, strerror(errno));
    _exit(70);
}

static void nap(void) { poll(NULL, 0, POLL_MS); }

static uint64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void path_in(char *out, size_t size, const char *dir, const char *name)
{
    snprintf(out, size, "%s/%s", dir, name);
}

/* ---- MariaDB ---- */

/* mariadbd refuses to be root. */
static bool drop_to_mysql(void) { return geteuid() == 0 && getpwnam("mysql") != NULL; }

/* In a shared TMPDIR a mariadbd that starts takes the files of others away. */
static void use_own_temp(const char *dir) { setenv("TMPDIR", dir, 1); }

static void install_mysql(const char *dir)
{
    char data[200], init[200], datadir[220];
    FILE *file;

    path_in(data, sizeof(data), dir, "data");
    path_in(init, sizeof(init), dir, "init.sql");
    snprintf(datadir, sizeof(datadir), "--datadir=%s", data);
    if (mkdir(data, 0755) != 0 || (file = fopen(init, "w")) == NULL)
        die("mkdir");
    fputs("CREATE DATABASE IF NOT EXISTS till_test CHARACTER SET utf8mb4;\n", file);
    fclose(file);
    if (drop_to_mysql()) {
        struct passwd *mysql = getpwnam("mysql");
        if (chown(dir, mysql->pw_uid, mysql->pw_gid) != 0 || chown(data, mysql->pw_uid, mysql->pw_gid) != 0)
            die("chown");
    }
    use_own_temp(dir);
    execlp("mariadb-install-db", "mariadb-install-db", "--no-defaults", datadir, "--skip-test-db", "--force",
           "--auth-root-authentication-method=normal", drop_to_mysql() ? "--user=mysql" : (char *)NULL, (char *)NULL);
    die("mariadb-install-db");
}

static void run_mysql(const char *dir)
{
    char data[220], sock[220], init[220], pid[220];

    snprintf(data, sizeof(data), "--datadir=%s/data", dir);
    snprintf(sock, sizeof(sock), "--socket=%s/socket", dir);
    snprintf(init, sizeof(init), "--init-file=%s/init.sql", dir);
    snprintf(pid, sizeof(pid), "--pid-file=%s/mysqld.pid", dir);
    use_own_temp(dir);
    execlp("mariadbd", "mariadbd", "--no-defaults", data, sock, init, pid, "--skip-networking",
           "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M", "--innodb-flush-log-at-trx-commit=2",
           "--performance-schema=OFF", "--max-connections=400", "--innodb-lock-wait-timeout=1",
           "--max-allowed-packet=64M", drop_to_mysql() ? "--user=mysql" : (char *)NULL, (char *)NULL);
    die("mariadbd");
}

/* ---- Redis ---- */

static void run_redis(const char *dir)
{
    char sock[200];

    path_in(sock, sizeof(sock), dir, "socket");
    execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", sock, "--dir", dir, "--save", "",
           "--appendonly", "no", (char *)NULL);
    die("redis-server");
}

static server_t mysql_server = {.name = "mysql", .install = install_mysql, .run = run_mysql};
static server_t redis_server = {.name = "redis", .run = run_redis};

/* ---- the guard: a process beside the server that outlives the tests by a moment ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static pid_t spawn(void (*what)(const char *dir), const char *dir)
{
    pid_t pid = fork();

    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        what(dir);
    }
    return pid;
}

static bool is_held(const server_t *server)
{
    char hold[200];

    path_in(hold, sizeof(hold), server->dir, "hold");
    return access(hold, F_OK) == 0;
}

/* Keeps the server running, unless a test holds it, until the owner is gone. */
static void guard(const server_t *server, int owner_fd)
{
    struct pollfd gone = {.fd = owner_fd, .events = POLLIN};
    pid_t pid = -1;

    for (;;) {
        if (pid > 0 && waitpid(pid, NULL, WNOHANG) == pid)
            pid = -1;
        if (pid < 0 && !is_held(server))
            pid = spawn(server->run, server->dir);
        else if (pid > 0 && is_held(server))
            kill(pid, SIGTERM);
        if (poll(&gone, 1, POLL_MS * 2) == 1)
            break;
    }
    if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
}

/* Nothing of the tests' may stay open in the guard: pipes would keep their readers waiting. */
static void detach(const server_t *server, int owner_fd)
{
    char log[200];
    int fd;

    path_in(log, sizeof(log), server->dir, "log");
    fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    dup2(open("/dev/null", O_RDONLY), 0);
    dup2(fd, 1);
    dup2(fd, 2);
    if (owner_fd != 3)
        dup3(owner_fd, 3, O_CLOEXEC);
    syscall(SYS_close_range, 4, ~0u, 0);
}

static void run_guard(server_t *server)
{
    char parent[96];
    int owner_fd = (int)syscall(SYS_pidfd_open, owner, 0), status;
    pid_t pid;

    if (owner_fd < 0)
        die("pidfd_open");
    setsid();
    detach(server, owner_fd);
    if (server->install != NULL) {
        pid = spawn(server->install, server->dir);
        if (waitpid(pid, &status, 0) != pid || status != 0)
            die("install");
    }
    guard(server, 3);
    nftw(server->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    snprintf(parent, sizeof(parent), "%s", server->dir);
    *strrchr(parent, '/') = '\0';
    rmdir(parent); /* when it was the last */
    _exit(0);
}

static bool is_up(const server_t *server)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool up;

    memcpy(address.sun_path, server->socket, sizeof(server->socket));
    up = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    close(fd);
    return up;
}

static void wait_up(const server_t *server, bool up)
{
    uint64_t limit = now_ms() + START_LIMIT_MS;

    while (is_up(server) != up) {
        if (now_ms() > limit) {
            fprintf(stderr, "tests' servers: %s is not %s in time\n", server->name, up ? "up" : "down");
            abort();
        }
        nap();
    }
}

static void start(server_t *server)
{
    pid_t pid = fork();

    if (pid < 0)
        die("fork");
    if (pid == 0) {
        if (fork() == 0) /* a child of nobody: no test's waitpid sees it */
            run_guard(server);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
}

static const char *ensure(server_t *server)
{
    char base[80], started[200];
    const char *tmp = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
    int lock;

    snprintf(base, sizeof(base), "%s/till-test-%d", tmp, (int)owner);
    mkdir(base, 0755);
    snprintf(server->dir, sizeof(server->dir), "%s/%s", base, server->name);
    mkdir(server->dir, 0755);
    path_in(server->socket, sizeof(server->socket), server->dir, "socket");
    path_in(started, sizeof(started), server->dir, "started");
    /* Tests in processes of their own may ask at the same time. */
    if ((lock = open(started, O_RDWR | O_CREAT | O_CLOEXEC, 0644)) < 0 || flock(lock, LOCK_EX) != 0)
        die(started);
    if (lseek(lock, 0, SEEK_END) == 0) {
        start(server);
        wait_up(server, true);
        if (write(lock, "1", 1) != 1)
            die(started);
    }
    close(lock);
    return server->socket;
}

static void hold(server_t *server, bool on)
{
    char path[200];

    ensure(server);
    path_in(path, sizeof(path), server->dir, "hold");
    if (on)
        close(open(path, O_WRONLY | O_CREAT, 0644));
    else
        unlink(path);
    wait_up(server, !on);
}

const char *till_test_mysql(void) { return ensure(&mysql_server); }

const char *till_test_redis(void) { return ensure(&redis_server); }

void till_test_mysql_stop(void) { hold(&mysql_server, true); }

void till_test_mysql_start(void) { hold(&mysql_server, false); }

void till_test_redis_stop(void) { hold(&redis_server, true); }

void till_test_redis_start(void) { hold(&redis_server, false); }

bool till_test_until(till_loop_t *loop, bool (*cond)(void *data), void *data, unsigned limit_ms)
{
    uint64_t limit = now_ms() + limit_ms;

    while (!cond(data)) {
        if (now_ms() > limit)
            return false;
        till_loop_turn(loop, 50);
    }
    return true;
}
