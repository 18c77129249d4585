#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "serve/dev_priv.h"

#define START_LIMIT_MS 300000 /* InnoDB may have much to recover */
#define SAY_AFTER_MS 10000
#define STOP_LIMIT_MS 5000
#define POLL_MS 20

void till_dev_say(const char *what, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "  %-12s ", what);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

void till_dev_pause_ms(unsigned ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
}

bool till_dev_is_told_to_stop(void)
{
    sigset_t pending;

    return sigpending(&pending) == 0 && (sigismember(&pending, SIGTERM) || sigismember(&pending, SIGINT));
}

bool till_dev_mkdir(const char *path, mode_t mode, uid_t uid, gid_t gid)
{
    struct stat st;

    if (mkdir(path, mode) == 0) {
        chmod(path, mode); /* whatever the umask took away */
    } else if (errno != EEXIST) {
        till_dev_say("folder", "%s cannot be made: %s", path, strerror(errno));
        return false;
    }
    if (stat(path, &st) == 0 && st.st_uid != uid && geteuid() == 0 && chown(path, uid, gid) == -1)
        till_dev_say("folder", "%s cannot be given away: %s", path, strerror(errno));
    return true;
}

static void become(const till_dev_server_t *server)
{
    if (geteuid() != 0 || server->uid == 0)
        return;
    if (setgroups(0, NULL) == -1 || setgid(server->gid) == -1 || setuid(server->uid) == -1)
        _exit(126);
}

/* Can the account that the server will run as reach its folder at all? A clone
 * under /root cannot be reached by anybody else. */
static bool can_reach(const till_dev_server_t *server)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        become(server);
        _exit(access(server->dir, R_OK | W_OK | X_OK) == 0 ? 0 : 1);
    }
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Root hands its servers to the package's account, or stays root where that one cannot reach the folder. */
static bool choose_account(till_dev_server_t *server, const char *account)
{
    struct passwd *pw = geteuid() == 0 ? getpwnam(account) : NULL;

    server->uid = pw != NULL ? pw->pw_uid : geteuid();
    server->gid = pw != NULL ? pw->pw_gid : getegid();
    if (!till_dev_mkdir(server->dir, 0700, server->uid, server->gid))
        return false;
    if (pw == NULL || can_reach(server))
        return true;
    till_dev_say(server->name, "runs as root, for %s cannot reach %s", account, server->dir);
    server->uid = 0;
    server->gid = 0;
    return chown(server->dir, 0, 0) == 0;
}

/* A Unix socket's path holds 107 bytes: a deep DIR gets its sockets in a short folder of their own. */
static bool choose_socket(till_dev_server_t *server)
{
    char dir[64] = "/tmp/moontill-XXXXXX";

    if (strlen(server->dir) <= 80) {
        snprintf(server->socket, sizeof(server->socket), "%.80s/%s.sock", server->dir, server->name);
        return true;
    }
    if (mkdtemp(dir) == NULL || (geteuid() == 0 && chown(dir, server->uid, server->gid) == -1)) {
        till_dev_say(server->name, "no folder for its socket: %s", strerror(errno));
        return false;
    }
    snprintf(server->socket, sizeof(server->socket), "%s/%s.sock", dir, server->name);
    return true;
}

static bool prepare(till_dev_server_t *server, const char *var_dir, const char *name, const char *account)
{
    *server = (till_dev_server_t){.name = name};
    snprintf(server->dir, sizeof(server->dir), "%s/%s", var_dir, name);
    return choose_account(server, account) && choose_socket(server);
}

/* dev itself blocks what it waits for, and a mask outlives exec: Redis would never hear TERM. */
static void take_all_signals(void)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* In a process group of its own: a terminal's Ctrl-C is for dev alone, which stops its servers in order. */
static pid_t spawn(const till_dev_server_t *server, char *const argv[])
{
    char log[512];
    pid_t parent = getpid(), pid = fork();

    if (pid != 0)
        return pid;
    setpgid(0, 0);
    become(server);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(0);
    take_all_signals();
    snprintf(log, sizeof(log), "%s/%s.log", server->dir, server->name);
    int null = open("/dev/null", O_RDONLY), out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0640);
    if (null == -1 || out == -1)
        _exit(125);
    dup2(null, 0);
    dup2(out, 1);
    dup2(out, 2);
    setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
    setenv("TMPDIR", server->dir, 1); /* in a shared one a mariadbd that starts takes the files of others away */
    execvp(argv[0], argv);
    dprintf(2, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static int connect_to(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    if (fd != -1 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == -1) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Both servers say something as soon as they serve: MariaDB its greeting, Redis the answer to PING. */
static bool answers(const till_dev_server_t *server, const char *ask)
{
    char first;
    int fd = connect_to(server->socket);

    if (fd == -1)
        return false;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 2}, sizeof(struct timeval));
    bool ok = (ask == NULL || write(fd, ask, strlen(ask)) > 0) && read(fd, &first, 1) == 1 && first != '-';
    close(fd);
    return ok;
}

static bool start(till_dev_server_t *server, char *const argv[], const char *ask)
{
    int status;

    unlink(server->socket);
    if ((server->pid = spawn(server, argv)) == -1)
        return false;
    for (unsigned waited = 0; waited < START_LIMIT_MS && !till_dev_is_told_to_stop(); waited += POLL_MS) {
        if (answers(server, ask))
            return true;
        if (waited == SAY_AFTER_MS)
            till_dev_say(server->name, "takes its time; %s/%s.log says why", server->dir, server->name);
        if (waitpid(server->pid, &status, WNOHANG) == server->pid) {
            server->pid = 0;
            break;
        }
        till_dev_pause_ms(POLL_MS);
    }
    if (!till_dev_is_told_to_stop())
        till_dev_say(server->name, "did not start; its log %s/%s.log says why", server->dir, server->name);
    till_dev_server_stop(server, STOP_LIMIT_MS);
    return false;
}

static bool run_to_end(const till_dev_server_t *server, char *const argv[])
{
    int status;
    pid_t pid = spawn(server, argv);

    if (waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    till_dev_say(server->name, "%s failed; %s/%s.log says why", argv[0], server->dir, server->name);
    return false;
}

/* Accounts without a password: the socket lies in a folder that nobody else may enter. */
static bool write_init_sql(const till_dev_server_t *server)
{
    char path[512];
    const struct passwd *me = getpwuid(geteuid());

    snprintf(path, sizeof(path), "%s/init.sql", server->dir);
    FILE *file = fopen(path, "w");
    if (file == NULL)
        return false;
    fputs("CREATE DATABASE IF NOT EXISTS moontill CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;\n"
          "CREATE USER IF NOT EXISTS moontill@localhost;\n"
          "GRANT ALL ON moontill.* TO moontill@localhost;\n",
          file);
    if (me != NULL && me->pw_uid != 0)
        fprintf(file, "CREATE USER IF NOT EXISTS `%s`@localhost;\nGRANT ALL ON *.* TO `%s`@localhost;\n", me->pw_name,
                me->pw_name);
    bool ok = fclose(file) == 0;
    if (geteuid() == 0 && chown(path, server->uid, server->gid) == -1)
        ok = false;
    return ok;
}

bool till_dev_mysql_prepare(till_dev_server_t *server, const char *var_dir)
{
    char data[512], datadir[600], mark[600];

    if (!prepare(server, var_dir, "mysql", "mysql"))
        return false;
    snprintf(data, sizeof(data), "%s/data", server->dir);
    snprintf(mark, sizeof(mark), "%s/installed", server->dir);
    if (!till_dev_mkdir(data, 0700, server->uid, server->gid) || !write_init_sql(server))
        return false;
    if (access(mark, F_OK) == 0)
        return true;
    till_dev_say("database", "is set up, once");
    snprintf(datadir, sizeof(datadir), "--datadir=%s", data);
    char *user = server->uid == 0 ? "--user=root" : "--skip-name-resolve";
    char *const argv[] = {"mariadb-install-db",
                          "--no-defaults",
                          datadir,
                          user,
                          "--skip-test-db",
                          "--force", /* a machine without /etc/hosts will do */
                          "--auth-root-authentication-method=normal",
                          NULL};
    if (!run_to_end(server, argv))
        return false;
    int fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    return fd != -1 && close(fd) == 0;
}

bool till_dev_mysql_start(till_dev_server_t *server)
{
    char data[512], sock[128], init[512];

    snprintf(data, sizeof(data), "--datadir=%s/data", server->dir);
    snprintf(sock, sizeof(sock), "--socket=%s", server->socket);
    snprintf(init, sizeof(init), "--init-file=%s/init.sql", server->dir);
    char *user = server->uid == 0 ? "--user=root" : "--skip-name-resolve";
    /* Every commit is on the disk before it is answered, as in a real shop. */
    char *const argv[] = {"mariadbd",
                          "--no-defaults",
                          data,
                          sock,
                          init,
                          user,
                          "--skip-networking",
                          "--skip-log-bin",
                          "--performance-schema=OFF",
                          "--max-connections=500",
                          "--innodb-buffer-pool-size=256M",
                          "--innodb-log-file-size=256M",
                          "--innodb-flush-log-at-trx-commit=1",
                          "--innodb-lock-wait-timeout=5",
                          "--character-set-server=utf8mb4",
                          "--default-time-zone=+00:00",
                          "--max-allowed-packet=64M",
                          NULL};
    return start(server, argv, NULL);
}

bool till_dev_redis_prepare(till_dev_server_t *server, const char *var_dir)
{
    return prepare(server, var_dir, "redis", "redis");
}

bool till_dev_redis_start(till_dev_server_t *server)
{
    char *const argv[] = {"redis-server",
                          "--port",
                          "0",
                          "--unixsocket",
                          server->socket,
                          "--unixsocketperm",
                          "700",
                          "--dir",
                          server->dir,
                          "--save",
                          "",
                          "--appendonly",
                          "no",
                          "--maxmemory",
                          "256mb",
                          "--maxmemory-policy",
                          "noeviction",
                          NULL};
    return start(server, argv, "PING\r\n");
}

void till_dev_server_stop(till_dev_server_t *server, unsigned limit_ms)
{
    int status;

    if (server->pid <= 0)
        return;
    kill(server->pid, SIGTERM);
    for (unsigned waited = 0; waitpid(server->pid, &status, WNOHANG) == 0; waited += POLL_MS) {
        if (waited >= limit_ms)
            kill(server->pid, SIGKILL);
        till_dev_pause_ms(POLL_MS);
    }
    server->pid = 0;
    unlink(server->socket);
    if (strncmp(server->socket, "/tmp/moontill-", 14) == 0) {
        *strrchr(server->socket, '/') = '\0';
        rmdir(server->socket);
    }
}
