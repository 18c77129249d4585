#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "serve/dev.h"
#include "serve/dev_priv.h"
#include "serve/server.h"

#define DEFAULT_LISTEN "127.0.0.1:8443"
#define STOP_LIMIT_MS 20000
#define LEFTOVERS_LIMIT_MS 60000
#define POLL_MS 20

/* Everything that one `moontill dev` runs. */
struct dev {
    till_cli_t *cli;
    char var_dir[PATH_MAX];
    char host[256];
    unsigned port;
    int lock_fd;    /* only ours: two of us in one folder would ruin each other's data */
    int servers_fd; /* the servers inherit it: held as long as any of them lives */
    till_dev_server_t mysql, redis;
    pid_t serve, watch;
    time_t serve_started;
    char *settings[12]; /* "--set", "mysql.socket=…", … for the processes that are this program again */
    size_t setting_count;
    sigset_t signals;
    bool stopping; /* told so while it was starting */
    bool had_terminal;
};

static bool parse_listen(struct dev *dev, const char *listen)
{
    const char *colon = strrchr(listen, ':');
    char *end = NULL;
    unsigned long port = colon != NULL ? strtoul(colon + 1, &end, 10) : 0;

    if (colon == NULL || colon == listen || end == colon + 1 || *end != '\0' || port == 0 || port > 65534 ||
        (size_t)(colon - listen) >= sizeof(dev->host)) {
        fprintf(stderr, "moontill dev: --listen %s: HOST:PORT is needed, with a port from 1 to 65534\n", listen);
        return false;
    }
    snprintf(dev->host, sizeof(dev->host), "%.*s", (int)(colon - listen), listen);
    dev->port = (unsigned)port;
    return true;
}

/* `flags` beside those that make it. */
static int open_lock(const struct dev *dev, const char *name, int flags)
{
    char path[PATH_MAX + 16];

    snprintf(path, sizeof(path), "%s/%s", dev->var_dir, name);
    return open(path, O_RDWR | O_CREAT | flags, 0600);
}

static bool lock_var(struct dev *dev)
{
    if (!till_dev_mkdir(dev->cli->var_dir, geteuid() == 0 ? 0711 : 0700, geteuid(), getegid()) ||
        realpath(dev->cli->var_dir, dev->var_dir) == NULL)
        return false;
    dev->cli->var_dir = dev->var_dir;
    if (strlen(dev->var_dir) > 300) {
        fprintf(stderr, "moontill dev: --var %s: the path is too long (300 bytes at most)\n", dev->var_dir);
        return false;
    }
    if ((dev->lock_fd = open_lock(dev, "dev.lock", O_CLOEXEC)) == -1) {
        fprintf(stderr, "moontill dev: --var %s: %s\n", dev->var_dir, strerror(errno));
        return false;
    }
    if (flock(dev->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return true;
    fprintf(stderr, "moontill dev: another one runs in %s; give this one a --var DIR and --listen of its own\n",
            dev->var_dir);
    return false;
}

/* After a dev that was killed its servers are still on their way out; started
 * beside them, ours would find the data locked and lose their sockets. */
static bool wait_for_leftovers(struct dev *dev)
{
    if ((dev->servers_fd = open_lock(dev, "servers.lock", 0)) == -1)
        return false;
    for (unsigned waited = 0; waited < LEFTOVERS_LIMIT_MS && !till_dev_is_told_to_stop(); waited += POLL_MS) {
        if (flock(dev->servers_fd, LOCK_EX | LOCK_NB) == 0)
            return true;
        if (waited == 0)
            till_dev_say("servers", "of the run before are still stopping");
        till_dev_pause_ms(POLL_MS);
    }
    if (!till_dev_is_told_to_stop())
        till_dev_say("servers", "of the run before still run; end what has %s/servers.lock open", dev->var_dir);
    return false;
}

/* Told before the database is made, not after. */
static bool ports_are_free(const struct dev *dev)
{
    char listen[300], error[512];

    snprintf(listen, sizeof(listen), "%s:%u", dev->host, dev->port);
    for (unsigned offset = 0; offset != 2; ++offset) {
        int fd = till_listen(listen, offset, 1, error, sizeof(error));
        if (fd == -1) {
            fprintf(stderr, "moontill dev: %s\n", error);
            return false;
        }
        close(fd);
    }
    return true;
}

static void add_setting(struct dev *dev, const char *name, const char *value)
{
    till_buf_t text;

    till_buf_init(&text, 0);
    till_buf_printf(&text, "--set=%s=%s", name, value);
    dev->settings[dev->setting_count++] = till_buf_take(&text);
}

static void choose_settings(struct dev *dev)
{
    char path[PATH_MAX + 32], listen[300];

    snprintf(listen, sizeof(listen), "%s:%u", dev->host, dev->port);
    add_setting(dev, "server.listen", listen);
    add_setting(dev, "generations.start", "folders"); /* a developer has just written them */
    snprintf(path, sizeof(path), "%s/tls/cert.pem", dev->var_dir);
    add_setting(dev, "server.cert_file", path);
    snprintf(path, sizeof(path), "%s/tls/key.pem", dev->var_dir);
    add_setting(dev, "server.key_file", path);
    add_setting(dev, "mysql.socket", dev->mysql.socket);
    add_setting(dev, "mysql.user", "moontill");
    add_setting(dev, "mysql.database", "moontill");
    add_setting(dev, "redis.socket", dev->redis.socket);
    snprintf(path, sizeof(path), "%s/moontill.log", dev->var_dir);
    add_setting(dev, "log.file", path);
    add_setting(dev, "plugins.payment-test.enabled", "true");
}

static void fill_argv(const struct dev *dev, const char **argv, size_t max, const char *command, const char *argument)
{
    size_t n = 0;

    argv[n++] = dev->cli->program; /* what USR2 starts */
    argv[n++] = command;
    if (argument != NULL)
        argv[n++] = argument;
    argv[n++] = "--var";
    argv[n++] = dev->var_dir;
    argv[n++] = "--conf";
    argv[n++] = dev->cli->conf_file;
    for (size_t i = 0; i != dev->setting_count && n < max - 1; ++i)
        argv[n++] = dev->settings[i];
    for (size_t i = 1; i < dev->cli->plugin_dir_count && n < max - 2; ++i) {
        argv[n++] = "--plugins";
        argv[n++] = dev->cli->plugin_dirs[i];
    }
    for (size_t i = 0; i != dev->cli->set_count && n < max - 2; ++i) { /* last: they win */
        argv[n++] = "--set";
        argv[n++] = dev->cli->sets[i];
    }
    argv[n] = NULL;
}

/* This program again, with another command; `out` is its standard output. */
static pid_t spawn_self(struct dev *dev, const char *command, const char *argument, int out)
{
    const char *argv[256];
    pid_t parent = getpid(), pid = fork();

    if (pid != 0)
        return pid;
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(0);
    sigprocmask(SIG_UNBLOCK, &dev->signals, NULL);
    dup2(out, 1);
    fill_argv(dev, argv, sizeof(argv) / sizeof(argv[0]), command, argument);
    execv("/proc/self/exe", (char *const *)argv);
    _exit(127);
}

/* Waits for a child, or for being told to stop: then the child is told so too. @return its status, or -1 */
static int wait_or_stop(struct dev *dev, pid_t pid)
{
    int status;

    for (;;) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return dev->stopping ? -1 : status;
        int sig = sigwaitinfo(&dev->signals, NULL);
        if (sig == SIGTERM || sig == SIGINT) {
            dev->stopping = true;
            kill(pid, SIGTERM);
        }
    }
}

static bool run_self(struct dev *dev, const char *command, const char *argument)
{
    pid_t pid = spawn_self(dev, command, argument, 2);
    int status = pid != -1 ? wait_or_stop(dev, pid) : -1;

    if (status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (!dev->stopping)
        till_dev_say(command, "failed; what it said stands above");
    return false;
}

/* Waits for the line `ready …` of `moontill serve`, or for being told to stop. */
static bool wait_ready(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    char line[512];
    size_t len = 0;

    while (len < sizeof(line) - 1 && !till_dev_is_told_to_stop()) {
        if (poll(&wait, 1, POLL_MS) <= 0)
            continue;
        ssize_t n = read(fd, line + len, sizeof(line) - 1 - len);
        if (n <= 0)
            return false;
        len += (size_t)n;
        line[len] = '\0';
        if (strchr(line, '\n') != NULL)
            return strncmp(line, "ready ", 6) == 0;
    }
    return false;
}

static bool start_serve(struct dev *dev)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) == -1)
        return false;
    dev->serve_started = time(NULL);
    dev->serve = spawn_self(dev, "serve", NULL, fds[1]);
    close(fds[1]);
    bool ok = dev->serve != -1 && wait_ready(fds[0]);
    close(fds[0]);
    if (!ok && !till_dev_is_told_to_stop())
        till_dev_say("server", "did not start; what it said stands above, or in %s/moontill.log", dev->var_dir);
    return ok;
}

static void put_field(till_buf_t *out, const char *name, const char *value)
{
    till_buf_puts(out, out->len == 1 ? "\n  " : ",\n  ");
    till_json_write_string(out, name, strlen(name));
    till_buf_puts(out, ": ");
    till_json_write_string(out, value, strlen(value));
}

/* Keys and the first login were made by `moontill setup` and lie beside it. */
static void put_keys(const struct dev *dev, till_buf_t *out)
{
    static const char *const names[] = {"store_key", "admin_key", "admin_email", "admin_password"};
    char path[PATH_MAX + 16], value[256];

    snprintf(path, sizeof(path), "%s/keys.json", dev->var_dir);
    for (size_t i = 0; i != sizeof(names) / sizeof(names[0]); ++i) {
        if (till_cli_json_field(path, names[i], value, sizeof(value)))
            put_field(out, names[i], value);
    }
}

static void compose_dev_json(const struct dev *dev, till_buf_t *out)
{
    char text[PATH_MAX + 32];

    till_buf_puts(out, "{");
    snprintf(text, sizeof(text), "https://%s:%u", dev->host, dev->port);
    put_field(out, "url", text);
    snprintf(text, sizeof(text), "http://%s:%u", dev->host, dev->port + 1);
    put_field(out, "ops_url", text);
    snprintf(text, sizeof(text), "%s/tls/ca.pem", dev->var_dir);
    put_field(out, "ca_file", text);
    put_keys(dev, out);
    put_field(out, "mysql_socket", dev->mysql.socket);
    put_field(out, "redis_socket", dev->redis.socket);
    put_field(out, "database", "moontill");
    till_buf_puts(out, "\n}\n");
}

/* By rename: whoever waits for the file never sees half of it. */
static bool write_dev_json(const struct dev *dev)
{
    char path[PATH_MAX + 16], temp[PATH_MAX + 24];
    till_buf_t text;

    till_buf_init(&text, 0);
    compose_dev_json(dev, &text);
    snprintf(path, sizeof(path), "%s/dev.json", dev->var_dir);
    snprintf(temp, sizeof(temp), "%s.new", path);
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd != -1 && write(fd, text.base, text.len) == (ssize_t)text.len;
    if (fd != -1)
        close(fd);
    ok = ok && rename(temp, path) == 0;
    till_buf_dispose(&text);
    if (!ok)
        till_dev_say("dev.json", "cannot be written in %s: %s", dev->var_dir, strerror(errno));
    return ok;
}

static void announce(const struct dev *dev)
{
    char keys[PATH_MAX + 16], email[256] = "?", password[256] = "?";

    snprintf(keys, sizeof(keys), "%s/keys.json", dev->var_dir);
    till_cli_json_field(keys, "admin_email", email, sizeof(email));
    till_cli_json_field(keys, "admin_password", password, sizeof(password));
    fprintf(stderr,
            "\n  Moontill sells.\n"
            "    shop          https://%s:%u/\n"
            "    API           https://%s:%u/docs\n"
            "    metrics       http://%s:%u/metrics\n"
            "    staff login   %s  %s\n"
            "    keys          %s/dev.json\n"
            "    certificate   %s/tls/ca.pem\n"
            "    log           %s/moontill.log\n"
            "  Ctrl-C stops it; the data stays in %s.\n\n",
            dev->host, dev->port, dev->host, dev->port, dev->host, dev->port + 1, email, password, dev->var_dir,
            dev->var_dir, dev->var_dir, dev->var_dir);
    printf("ready https://%s:%u\n", dev->host, dev->port);
    fflush(stdout);
}

static bool bring_up(struct dev *dev)
{
    if (!till_dev_mysql_prepare(&dev->mysql, dev->var_dir) || !till_dev_redis_prepare(&dev->redis, dev->var_dir) ||
        !till_dev_cert(dev->var_dir, dev->host))
        return false;
    choose_settings(dev);
    if (!till_dev_mysql_start(&dev->mysql) || !till_dev_redis_start(&dev->redis))
        return false;
    till_dev_say("database", "answers");
    if (!run_self(dev, "migrate", NULL) || !run_self(dev, "setup", NULL) ||
        (dev->cli->demo && !run_self(dev, "demo", NULL)))
        return false;
    return start_serve(dev) && write_dev_json(dev);
}

/* After USR2 the server is another process, and has become our child when its parent ended. */
static bool find_successor(struct dev *dev)
{
    char path[PATH_MAX + 16], text[24] = "";

    snprintf(path, sizeof(path), "%s/moontill.pid", dev->var_dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1)
        return false;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    pid_t pid = n > 0 ? (pid_t)strtol(text, NULL, 10) : 0;
    if (pid <= 0 || pid == dev->serve || waitpid(pid, NULL, WNOHANG) != 0) /* no living child of ours */
        return false;
    dev->serve = pid;
    dev->serve_started = time(NULL);
    till_dev_say("server", "was replaced by process %d", (int)pid);
    return true;
}

/* @return false when dev has to stop */
static bool on_child(struct dev *dev, pid_t pid, int status)
{
    if (pid == dev->mysql.pid) {
        dev->mysql.pid = 0;
        till_dev_say("database", "died and is started again");
        return till_dev_mysql_start(&dev->mysql);
    }
    if (pid == dev->redis.pid) {
        dev->redis.pid = 0;
        till_dev_say("redis", "died and is started again");
        return till_dev_redis_start(&dev->redis);
    }
    if (pid == dev->watch && pid > 0)
        till_dev_say("watch", "has ended; files that are saved are not reloaded any more");
    if (pid != dev->serve || find_successor(dev))
        return true;
    dev->serve = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        till_dev_say("server", "was stopped");
        return false;
    }
    if (time(NULL) - dev->serve_started < 2) {
        till_dev_say("server", "died at once; it is not started again");
        return false;
    }
    till_dev_say("server", "died and is started again");
    return start_serve(dev);
}

static bool has_terminal(void)
{
    int fd = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);

    if (fd != -1)
        close(fd);
    return fd != -1;
}

/* By hand it means "reload"; from a terminal that was closed, the end. @return false when dev has to stop */
static bool on_hangup(const struct dev *dev)
{
    if (dev->had_terminal && !has_terminal())
        return false;
    if (dev->serve > 0)
        kill(dev->serve, SIGHUP);
    return true;
}

static bool reap(struct dev *dev)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (!on_child(dev, pid, status))
            return false;
    }
    return true;
}

/* Reaps before it waits: whoever died while dev was starting has sent his signal already. */
static void supervise(struct dev *dev)
{
    while (reap(dev)) {
        int sig = sigwaitinfo(&dev->signals, NULL);
        if (sig == SIGTERM || sig == SIGINT || (sig == SIGHUP && !on_hangup(dev)))
            return;
        if (sig == SIGUSR2 && dev->serve > 0)
            kill(dev->serve, SIGUSR2);
    }
}

static void tear_down(struct dev *dev)
{
    till_dev_server_t serve = {.name = "server", .pid = dev->serve};

    if (dev->watch > 0)
        kill(dev->watch, SIGTERM);
    till_dev_server_stop(&serve, STOP_LIMIT_MS);
    till_dev_server_stop(&dev->redis, STOP_LIMIT_MS);
    till_dev_server_stop(&dev->mysql, STOP_LIMIT_MS);
    for (size_t i = 0; i != dev->setting_count; ++i)
        free(dev->settings[i]);
    if (dev->servers_fd != -1)
        close(dev->servers_fd);
    if (dev->lock_fd != -1)
        close(dev->lock_fd);
}

static void forget_dev_json(const struct dev *dev)
{
    char path[PATH_MAX + 16];

    snprintf(path, sizeof(path), "%s/dev.json", dev->var_dir);
    unlink(path); /* of the last run: whoever waits for it waits for this one */
}

/* Said before a database is set up for nothing. */
static bool conf_is_good(const till_cli_t *cli)
{
    till_conf_t *conf = till_cli_conf(cli);

    if (conf != NULL)
        till_conf_destroy(conf);
    return conf != NULL;
}

int till_dev_run(till_cli_t *cli)
{
    struct dev dev = {.cli = cli, .lock_fd = -1, .servers_fd = -1, .had_terminal = has_terminal()};

    if (cli->rest_count != 0) {
        fprintf(stderr, "moontill dev: %s: not an option; see moontill dev --help\n", cli->rest[0]);
        return 2;
    }
    if (!parse_listen(&dev, cli->listen != NULL ? cli->listen : DEFAULT_LISTEN))
        return 2;
    if (!conf_is_good(cli))
        return 1;
    sigemptyset(&dev.signals);
    sigaddset(&dev.signals, SIGTERM);
    sigaddset(&dev.signals, SIGINT);
    sigaddset(&dev.signals, SIGHUP);
    sigaddset(&dev.signals, SIGUSR2);
    sigaddset(&dev.signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &dev.signals, NULL);
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* a server's successor is our child when it has gone */
    setenv("MOONTILL_DIES_WITH_PARENT", "1", 1);
    if (!lock_var(&dev) || !wait_for_leftovers(&dev) || !ports_are_free(&dev))
        return 1;
    forget_dev_json(&dev);
    bool up = bring_up(&dev);
    dev.stopping |= till_dev_is_told_to_stop();
    if (up) {
        announce(&dev);
        dev.watch = cli->watch ? till_dev_watch(cli) : 0;
        supervise(&dev);
    }
    tear_down(&dev);
    return up || dev.stopping ? 0 : 1;
}
