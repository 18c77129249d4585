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
#include "serve/notify.h"
#include "serve/server.h"
#include "vm/box/client.h"

#define TURN_MS 100 /* a worker that stands still has to be seen in time */
#define SOON_MS 10
#define MAX_FDS (2 + TILL_CONTROL_FDS + TILL_METRICS_SLOTS)

uint64_t till_master_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- the start -------------------------------------------------------------- */

static bool say(till_master_t *master, const char *error)
{
    till_upgrade_tell_old(master, "failed", error);
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

static bool open_control(till_master_t *master)
{
    const till_inherited_t *inherited = master->opts->inherited;
    char error[512];
    till_buf_t path;

    till_buf_init(&path, 0);
    if (master->now.limits.control_socket != NULL)
        till_buf_puts(&path, master->now.limits.control_socket);
    else
        till_buf_printf(&path, "%s/control.sock", master->opts->var_dir);
    if (inherited != NULL && inherited->control_fd != -1)
        master->control = till_control_adopt(inherited->control_fd, path.base, till_commands_on_line, master);
    else
        master->control = till_control_create(path.base, till_commands_on_line, master, error, sizeof(error));
    till_buf_dispose(&path);
    return master->control != NULL || say(master, error);
}

static bool first_generation(till_master_t *master)
{
    const till_first_t *first = master->opts->first;
    char error[2048];

    master->live_since_ms = master->previous_since_ms = (uint64_t)time(NULL) * 1000;
    if (first == NULL) {
        if (!till_change_make_bundle(master, master->now.conf, master->live, error, sizeof(error)))
            return say(master, error);
        memcpy(master->truth.name, master->live, sizeof(master->truth.name));
        return true;
    }
    memcpy(master->live, first->generation, sizeof(master->live));
    memcpy(master->previous, first->previous, sizeof(master->previous));
    till_follow_arrived(master, first->sequence);
    if (!first->is_release)
        memcpy(master->truth.name, first->generation, sizeof(master->truth.name));
    master->is_to_record = first->is_release;
    till_change_give_to_user(master, master->live);
    till_log_msg(TILL_LOG_INFO, "generation.first", "%.12s: %s", master->live, first->reason);
    return true;
}

static void take_signals(till_master_t *master, sigset_t *old)
{
    sigset_t mask;

    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGHUP);
    sigaddset(&mask, SIGUSR2);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_BLOCK, &mask, old);
    master->signal_fd = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
}

static bool read_setup(till_master_t *master)
{
    char error[1024];

    if (!till_setup_make(&master->now, master->opts->conf, NULL, master->opts->inherited, error, sizeof(error)))
        return say(master, error);
    if (master->now.ssl == NULL)
        till_log_msg(TILL_LOG_WARN, "tls.off", "no server.cert_file: plain HTTP/1.1, for a balancer in front");
    till_master_tell_certificate(master);
    return true;
}

/* The control socket before the listeners: it tells best that another server has this folder. */
static bool set_up(till_master_t *master)
{
    raise_descriptor_limit();
    if (!till_rulebox_find_program())
        till_log_msg(TILL_LOG_WARN, "box.missing", "moontill-box is not beside moontill: no merchant's rule can run");
    till_serve_opts_read(&master->now.limits, master->opts->conf);
    master->metrics = till_metrics_create();
    master->watch = till_watch_create();
    if (master->metrics == NULL || master->watch == NULL)
        return say(master, "there is no memory for what the processes share");
    master->gauges = till_gauges_create(master->metrics, NULL, "master");
    till_children_init(master);
    if (!open_control(master) || !read_setup(master) || !first_generation(master))
        return false;
    till_change_warm(master, "lua/till/");
    return till_children_plan(master, &master->now, SET_NOW);
}

/* ---- running ------------------------------------------------------------------ */

void till_master_begin_stop(till_master_t *master, int exit_code)
{
    if (exit_code != 0)
        master->exit_code = exit_code;
    if (master->is_stopping)
        return;
    till_change_give_up(master, "the server is being stopped");
    till_upgrade_give_up(master, "the server is being stopped");
    if (!master->is_succeeded)
        till_notify("STOPPING=1");
    master->is_stopping = true;
    master->kill_at_ms = till_master_now() + master->now.limits.drain_timeout_ms + TILL_KILL_AFTER_DRAIN_MS;
    till_log_msg(TILL_LOG_INFO, "server.stopping", "requests in flight have %llu ms",
                 (unsigned long long)master->now.limits.drain_timeout_ms);
    till_setup_stop_listening(&master->now); /* clients would wait at a door that nobody opens any more */
    till_children_signal(master, SIGTERM);
}

/* A successor says it to the server before, which hands over; see master_upgrade.c. */
void till_master_announce(till_master_t *master)
{
    master->is_announced = true;
    till_log_msg(TILL_LOG_INFO, "server.ready", "%s", master->now.limits.listen);
    if (master->old_channel != -1) {
        till_upgrade_tell_old(master, "ready", NULL);
        return;
    }
    till_live_write_pid(master);
    till_live_remember(master);
    till_notify("MAINPID=%d\nREADY=1", (int)getpid());
    if (master->opts->on_ready != NULL)
        master->opts->on_ready(master->opts->data, till_listen_port(master->now.listen_fd));
}

/* They run it, but it is not live before the database says so. */
static void record_first(till_master_t *master)
{
    till_wish_t wish = {.kind = "start", .author = "start"};

    snprintf(wish.reason, sizeof(wish.reason), "%s", master->opts->first->reason);
    master->is_to_record = false;
    till_change_open(master, PHASE_PREPARING, master->live, &wish);
    till_record_begin(master);
}

void till_master_on_child_ready(till_master_t *master)
{
    if (master->is_announced || master->is_stopping || !till_children_are_ready(master, SET_NOW) ||
        master->change.phase != PHASE_IDLE)
        return;
    if (master->is_to_record) {
        record_first(master);
        return;
    }
    till_master_announce(master);
}

static void on_signals(till_master_t *master)
{
    static const till_wish_t of_signal = {.kind = "reload", .author = "signal HUP"};
    struct signalfd_siginfo info;

    while (read(master->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGHUP)
            till_change_reload(master, &of_signal);
        else if (info.ssi_signo == SIGUSR2)
            till_upgrade_begin(master, 0);
        else if (info.ssi_signo != SIGCHLD)
            till_master_begin_stop(master, 0);
    }
    till_upgrade_reap(master);
    till_trial_reap(master);
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
    if (master->is_stopping || master->is_asking || master->change.phase != PHASE_IDLE || !till_upgrade_is_idle(master))
        return SOON_MS;
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        if (master->children[i].set == SET_NOW && master->children[i].pid == 0)
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
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
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
    size_t control_count = till_control_poll(master->old_channel == -1 ? master->control : NULL, fds + n);
    n += control_count;
    for (size_t i = 0; i != TILL_CHILDREN; ++i) { /* poll ignores -1 */
        const till_child_t *child = &master->children[i];
        fds[n++] = (struct pollfd){.fd = child->state != CHILD_DOWN ? child->channel : -1, .events = POLLIN};
    }
    if (poll(fds, n, poll_timeout(master)) > 0)
        handle(master, fds, control_count);
    till_change_check_deadline(master);
    till_upgrade_turn(master);
    till_change_catch_up(master);
    till_master_on_child_ready(master); /* a reload may have come while it started */
    till_errand_turn(master);
    till_follow_turn(master);
    till_children_check_leaving(master);
    master->is_asking = till_children_check_beats(master);
    till_children_start_due(master);
    till_master_tell(master);
    if (master->is_stopping && till_master_now() >= master->kill_at_ms)
        till_children_signal(master, SIGKILL);
}

static void dispose(till_master_t *master)
{
    if (!master->is_succeeded && master->old_channel == -1 && master->control != NULL)
        till_live_forget(master);
    till_upgrade_forget(master);
    till_control_destroy(master->control, master->old_channel == -1);
    till_children_dispose(master);
    till_errand_dispose(master);
    till_gauges_destroy(master->gauges);
    till_metrics_destroy(master->metrics);
    till_watch_destroy(master->watch);
    till_setup_dispose(&master->now);
    close(master->signal_fd);
}

int till_master_run(const till_master_opts_t *opts)
{
    till_master_t *master = till_calloc(1, sizeof(*master));
    sigset_t old;

    *master = (till_master_t){.opts = opts,
                              .now = {.listen_fd = -1, .ops_fd = -1},
                              .next = {.listen_fd = -1, .ops_fd = -1},
                              .handed_channel = -1,
                              .old_channel = opts->inherited != NULL ? opts->inherited->handover_fd : -1};
    master->old_pid = master->old_channel != -1 ? getppid() : 0;
    till_log_set_process("master");
    signal(SIGPIPE, SIG_IGN);
    take_signals(master, &old);
    if (set_up(master)) {
        till_children_start_due(master);
        while (!master->is_stopping || till_children_any(master) || master->handed_channel != -1)
            turn(master);
    } else {
        master->exit_code = 1;
    }
    int code = master->exit_code;
    dispose(master);
    free(master);
    sigprocmask(SIG_SETMASK, &old, NULL);
    return code;
}
