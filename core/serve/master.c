#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "serve/master_priv.h"
#include "serve/server.h"

#define TURN_MS 100 /* a worker that stands still has to be seen in time */
#define SOON_MS 10
#define KILL_AFTER_DRAIN_MS 5000
#define MAX_FDS (2 + TILL_CONTROL_FDS + TILL_METRICS_SLOTS)

uint64_t till_master_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- the start -------------------------------------------------------------- */

static bool say(const char *error)
{
    fprintf(stderr, "moontill: %s\n", error);
    return false;
}

/* A connection is a descriptor, and a shell's usual limit is 1,024. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static bool open_listeners(till_master_t *master)
{
    const till_serve_opts_t *limits = &master->limits;
    char error[512];

    master->listen_fd = till_listen(limits->listen, 0, limits->backlog, error, sizeof(error));
    if (master->listen_fd == -1)
        return say(error);
    if (limits->ops_listen != NULL)
        master->ops_fd = till_listen(limits->ops_listen, 0, limits->backlog, error, sizeof(error));
    else
        master->ops_fd = till_listen(limits->listen, 1, limits->backlog, error, sizeof(error));
    return master->ops_fd != -1 || say(error);
}

static bool open_tls(till_master_t *master)
{
    const till_serve_opts_t *limits = &master->limits;
    char error[512];

    if (limits->cert_file == NULL && limits->key_file == NULL) {
        till_log_msg(TILL_LOG_WARN, "tls.off", "no server.cert_file: plain HTTP/1.1, for a balancer in front");
        return true;
    }
    if (limits->cert_file == NULL || limits->key_file == NULL)
        return say("server.cert_file and server.key_file belong together");
    master->ssl = till_tls_create(limits->cert_file, limits->key_file, error, sizeof(error));
    return master->ssl != NULL || say(error);
}

static bool open_control(till_master_t *master)
{
    char error[512];
    till_buf_t path;

    till_buf_init(&path, 0);
    if (master->limits.control_socket != NULL)
        till_buf_puts(&path, master->limits.control_socket);
    else
        till_buf_printf(&path, "%s/control.sock", master->opts->var_dir);
    master->control = till_control_create(path.base, till_commands_on_line, master, error, sizeof(error));
    till_buf_dispose(&path);
    return master->control != NULL || say(error);
}

static bool first_generation(till_master_t *master)
{
    char error[2048];

    if (!till_change_make_bundle(master, master->live, error, sizeof(error)))
        return say(error);
    master->live_since_ms = (uint64_t)time(NULL) * 1000;
    return true;
}

static void take_signals(till_master_t *master, sigset_t *old)
{
    sigset_t mask;

    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGHUP);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_BLOCK, &mask, old);
    master->signal_fd = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* The control socket first: it tells best that another server has this folder. */
static bool set_up(till_master_t *master)
{
    raise_descriptor_limit();
    master->metrics = till_metrics_create();
    master->watch = till_watch_create();
    if (master->metrics == NULL || master->watch == NULL)
        return say("there is no memory for what the processes share");
    master->gauges = till_gauges_create(master->metrics, NULL, "master");
    return open_control(master) && open_tls(master) && open_listeners(master) && first_generation(master);
}

/* ---- running ------------------------------------------------------------------ */

void till_master_begin_stop(till_master_t *master, int exit_code)
{
    if (exit_code != 0)
        master->exit_code = exit_code;
    if (master->is_stopping)
        return;
    till_change_give_up(master, "the server is being stopped");
    master->is_stopping = true;
    master->kill_at_ms = till_master_now() + master->limits.drain_timeout_ms + KILL_AFTER_DRAIN_MS;
    till_log_msg(TILL_LOG_INFO, "server.stopping", "requests in flight have %llu ms",
                 (unsigned long long)master->limits.drain_timeout_ms);
    till_children_signal(master, SIGTERM);
}

void till_master_on_child_ready(till_master_t *master)
{
    for (size_t i = 0; i != master->child_count; ++i) {
        if (master->children[i].is_web && master->children[i].state != CHILD_READY)
            return;
    }
    if (master->is_announced)
        return;
    master->is_announced = true;
    till_log_msg(TILL_LOG_INFO, "server.ready", "%s", master->limits.listen);
    if (master->opts->on_ready != NULL)
        master->opts->on_ready(master->opts->data, till_listen_port(master->listen_fd));
}

static void on_signals(till_master_t *master)
{
    struct signalfd_siginfo info;

    while (read(master->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGHUP)
            till_change_reload(master, 0);
        else if (info.ssi_signo != SIGCHLD)
            till_master_begin_stop(master, 0);
    }
    till_children_reap(master);
}

static void on_channel(till_master_t *master, till_child_t *child)
{
    till_message_t message;
    int got;

    while ((got = till_channel_receive(child->channel, &message)) == 1)
        till_change_on_message(master, child, &message);
    if (got == -1)
        child->state = CHILD_DOWN; /* on its way out: SIGCHLD tells the rest */
}

static int poll_timeout(const till_master_t *master)
{
    if (master->is_stopping || master->is_asking || master->change.phase != PHASE_IDLE)
        return SOON_MS;
    for (size_t i = 0; i != master->child_count; ++i) {
        if (master->children[i].pid == 0)
            return SOON_MS;
    }
    return TURN_MS;
}

static void handle(till_master_t *master, struct pollfd *fds, size_t control_count)
{
    struct pollfd *channels = fds + 1 + control_count;

    if (fds[0].revents != 0)
        on_signals(master);
    till_control_turn(master->control, fds + 1, control_count);
    for (size_t i = 0; i != master->child_count; ++i) {
        till_child_t *child = &master->children[i];
        if (channels[i].revents != 0 && child->channel == channels[i].fd)
            on_channel(master, child);
    }
}

static void turn(till_master_t *master)
{
    struct pollfd fds[MAX_FDS];
    size_t n = 0;

    fds[n++] = (struct pollfd){.fd = master->signal_fd, .events = POLLIN};
    size_t control_count = till_control_poll(master->control, fds + n);
    n += control_count;
    for (size_t i = 0; i != master->child_count; ++i) { /* poll ignores -1 */
        const till_child_t *child = &master->children[i];
        fds[n++] = (struct pollfd){.fd = child->state != CHILD_DOWN ? child->channel : -1, .events = POLLIN};
    }
    if (poll(fds, n, poll_timeout(master)) > 0)
        handle(master, fds, control_count);
    till_change_check_deadline(master);
    master->is_asking = till_children_check_beats(master);
    till_children_start_due(master);
    till_master_tell(master);
    if (master->is_stopping && till_master_now() >= master->kill_at_ms)
        till_children_signal(master, SIGKILL);
}

static void dispose(till_master_t *master)
{
    till_control_destroy(master->control, true);
    till_children_dispose(master);
    till_gauges_destroy(master->gauges);
    till_metrics_destroy(master->metrics);
    till_watch_destroy(master->watch);
    SSL_CTX_free(master->ssl);
    if (master->listen_fd != -1)
        close(master->listen_fd);
    if (master->ops_fd != -1)
        close(master->ops_fd);
    close(master->signal_fd);
}

int till_master_run(const till_master_opts_t *opts)
{
    till_master_t master = {.opts = opts, .listen_fd = -1, .ops_fd = -1};
    sigset_t old;

    till_log_set_process("master");
    signal(SIGPIPE, SIG_IGN);
    till_serve_opts_read(&master.limits, opts->conf);
    take_signals(&master, &old);
    if (set_up(&master)) {
        till_children_init(&master);
        till_master_tell_certificate(&master);
        till_children_start_due(&master);
        while (!master.is_stopping || till_children_any(&master))
            turn(&master);
    } else {
        master.exit_code = 1;
    }
    dispose(&master);
    sigprocmask(SIG_SETMASK, &old, NULL);
    return master.exit_code;
}
