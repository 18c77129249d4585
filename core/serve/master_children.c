#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "serve/master_priv.h"
#include "serve/worker.h"

#define QUICK_MS 5000 /* who dies sooner is started with a delay that doubles */
#define MIN_DELAY_MS 100
#define MAX_DELAY_MS 10000
#define MAX_FIRST_DEATHS 5 /* before it ever served: then there is no use in going on */

/* ---- places ----------------------------------------------------------------- */

void till_children_init(till_master_t *master)
{
    for (unsigned i = 0; i != TILL_CHILDREN; ++i)
        master->children[i] = (till_child_t){.slot = i + 1, .channel = -1};
}

void till_children_dispose(till_master_t *master)
{
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        if (master->children[i].set != SET_FREE && master->children[i].channel != -1)
            close(master->children[i].channel);
    }
}

static bool is_name_taken(const till_master_t *master, const char *name)
{
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        if (master->children[i].set != SET_FREE && strcmp(master->children[i].name, name) == 0)
            return true;
    }
    return false;
}

/* The lowest number that nobody has: a worker and its successor are told apart in the log. */
static void take_place(till_master_t *master, till_child_t *child, till_child_set_t set, bool is_web)
{
    char name[sizeof(child->name)];

    for (unsigned n = 0; n != TILL_CHILDREN; ++n) {
        snprintf(name, sizeof(name), "%s-%u", is_web ? "web" : "jobs", n);
        if (!is_name_taken(master, name))
            break;
    }
    *child = (till_child_t){.set = set, .is_web = is_web, .slot = child->slot, .channel = -1};
    memcpy(child->name, name, sizeof(name));
}

bool till_children_plan(till_master_t *master, const till_setup_t *setup, till_child_set_t set)
{
    unsigned web = setup->limits.web_workers, jobs = setup->limits.jobs_workers, free_places = 0, taken = 0;

    web = web > TILL_CHILDREN_MAX ? TILL_CHILDREN_MAX : web;
    jobs = jobs > TILL_CHILDREN_MAX - web ? TILL_CHILDREN_MAX - web : jobs;
    for (size_t i = 0; i != TILL_CHILDREN; ++i)
        free_places += master->children[i].set == SET_FREE;
    for (size_t i = 0; i != TILL_CHILDREN && taken != web + jobs && free_places >= web + jobs; ++i) {
        if (master->children[i].set == SET_FREE)
            take_place(master, &master->children[i], set, taken++ < web);
    }
    return taken == web + jobs;
}

void till_children_move(till_master_t *master, till_child_set_t from, till_child_set_t to)
{
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        if (master->children[i].set == from)
            master->children[i].set = to;
    }
}

bool till_children_are_ready(const till_master_t *master, till_child_set_t set)
{
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        if (master->children[i].set == set && master->children[i].state != CHILD_READY)
            return false;
    }
    return true;
}

static void dismiss(till_master_t *master, till_child_t *child)
{
    child->set = child->pid != 0 ? SET_LEAVING : SET_FREE;
    child->vote = VOTE_NONE;
    child->accepts = child->is_web && child->state == CHILD_READY;
    child->kill_at_ms = till_master_now() + master->now.limits.drain_timeout_ms + TILL_KILL_AFTER_DRAIN_MS;
    if (child->pid != 0)
        kill(child->pid, SIGTERM);
}

void till_children_dismiss(till_master_t *master, till_child_set_t set)
{
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        if (master->children[i].set == set)
            dismiss(master, &master->children[i]);
    }
}

void till_children_check_leaving(till_master_t *master)
{
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        till_child_t *child = &master->children[i];
        if (child->set != SET_LEAVING || child->pid == 0 || till_master_now() < child->kill_at_ms)
            continue;
        till_log_msg(TILL_LOG_WARN, "worker.killed", "%s had not ended when its time to drain was over", child->name);
        child->kill_at_ms = UINT64_MAX;
        kill(child->pid, SIGKILL);
    }
}

/* ---- the start ------------------------------------------------------------- */

/* What is the master's alone: a copy left open would keep its other end from
 * ever seeing the end of file. */
static void close_what_is_not_ours(till_master_t *master)
{
    close(master->signal_fd);
    till_control_destroy(master->control, false);
    master->control = NULL;
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        if (master->children[i].channel != -1)
            close(master->children[i].channel);
    }
    till_upgrade_forget(master);
}

/* A listener that nobody accepts from keeps its clients waiting. */
static void close_foreign_listeners(till_master_t *master, const till_child_t *child)
{
    if (child->set != SET_NOW || !child->is_web)
        till_setup_stop_listening(&master->now);
    if (child->set != SET_NEXT || !child->is_web)
        till_setup_stop_listening(&master->next);
}

static bool open_log(const till_setup_t *setup)
{
    const char *file = till_conf_str(setup->conf, "log.file");
    int failure = file[0] != '\0' ? till_log_open(file) : 0;

    if (failure != 0)
        till_log_msg(TILL_LOG_ERROR, "log.open", "%s: %s", file, strerror(failure));
    return failure == 0;
}

static bool become_user(const char *name)
{
    const struct passwd *user;

    if (name == NULL || geteuid() != 0)
        return true;
    user = getpwnam(name);
    if (user != NULL && initgroups(name, user->pw_gid) == 0 && setgid(user->pw_gid) == 0 && setuid(user->pw_uid) == 0)
        return true;
    till_log_msg(TILL_LOG_ERROR, "worker.user", "cannot become %s: %s", name,
                 user == NULL ? "there is no such user" : strerror(errno));
    return false;
}

bool till_children_settle(till_master_t *master, const till_setup_t *setup)
{
    close_what_is_not_ours(master);
    till_setup_stop_listening(&master->now);
    return open_log(setup) && become_user(setup->limits.user);
}

static int run_child(till_master_t *master, const till_child_t *child, int channel)
{
    const till_setup_t *setup = child->set == SET_NEXT ? &master->next : &master->now;
    const till_worker_opts_t opts = {
        .name = child->name,
        .is_web = child->is_web,
        .conf = setup->conf,
        .limits = &setup->limits,
        .var_dir = master->opts->var_dir,
        .generation = child->set == SET_NEXT ? master->change.name : master->live,
        .static_dir = master->opts->static_dir,
        .channel = channel,
        .listen_fd = child->is_web ? setup->listen_fd : -1,
        .ops_fd = child->is_web ? setup->ops_fd : -1,
        .ssl = setup->ssl,
        .metrics = master->metrics,
        .watch = master->watch,
        .slot = child->slot,
    };

    close_what_is_not_ours(master);
    close_foreign_listeners(master, child);
    till_metrics_use_slot(master->metrics, child->slot);
    till_log_set_level(setup->limits.log_level);
    return open_log(setup) && become_user(setup->limits.user) ? till_worker_run(&opts) : 1;
}

static void start(till_master_t *master, till_child_t *child)
{
    int ends[2];

    child->started_ms = till_master_now();
    if (till_channel_create(ends) != 0) {
        child->restart_ms = child->started_ms + MAX_DELAY_MS;
        return;
    }
    till_watch_expect(master->watch, child->slot);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        exit(run_child(master, child, ends[1]));
    }
    close(ends[1]);
    if (pid == -1) {
        till_log_msg(TILL_LOG_ERROR, "master.fork", "%s: %s", child->name, strerror(errno));
        close(ends[0]);
        child->restart_ms = child->started_ms + MAX_DELAY_MS;
        return;
    }
    memcpy(child->loaded, child->set == SET_NEXT ? master->change.name : master->live, sizeof(child->loaded));
    child->pid = pid;
    child->channel = ends[0];
    child->state = CHILD_STARTING;
}

void till_children_start(till_master_t *master, till_child_set_t set)
{
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        if (master->children[i].set == set && master->children[i].pid == 0)
            start(master, &master->children[i]);
    }
}

void till_children_start_due(till_master_t *master)
{
    uint64_t now = till_master_now();

    if (master->is_stopping || master->change.phase == PHASE_PREPARING || master->change.phase == PHASE_ROLLING)
        return;
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        till_child_t *child = &master->children[i];
        if (child->set == SET_NOW && child->pid == 0 && now >= child->restart_ms)
            start(master, child);
    }
}

/* ---- the end --------------------------------------------------------------- */

static void set_restart(till_child_t *child)
{
    uint64_t now = till_master_now();
    uint64_t delay = MIN_DELAY_MS;

    if (child->was_stuck) { /* for what somebody asked of it; it is able to start */
        child->was_stuck = false;
        child->restart_ms = now;
        return;
    }
    child->quick_deaths = now - child->started_ms < QUICK_MS ? child->quick_deaths + 1 : 0;
    for (unsigned i = 1; i < child->quick_deaths && delay < MAX_DELAY_MS; ++i)
        delay *= 2;
    child->restart_ms = now + (delay < MAX_DELAY_MS ? delay : MAX_DELAY_MS);
}

/* What it said before it died: why it could not load, for one. */
static void hear_last_words(till_master_t *master, till_child_t *child)
{
    till_message_t message;

    while (till_channel_receive(child->channel, &message) == 1)
        till_change_on_message(master, child, &message);
}

static void log_death(const till_master_t *master, const till_child_t *child, int status)
{
    till_log_t line;
    bool is_expected =
        (master->is_stopping || child->set == SET_LEAVING) && WIFEXITED(status) && WEXITSTATUS(status) == 0;

    till_log_begin(&line, is_expected ? TILL_LOG_INFO : TILL_LOG_ERROR, "worker.ended");
    till_log_str(&line, "worker", child->name);
    till_log_int(&line, "pid", child->pid);
    if (WIFSIGNALED(status))
        till_log_int(&line, "signal", WTERMSIG(status));
    else
        till_log_int(&line, "exit", WEXITSTATUS(status));
    till_log_end(&line);
}

static void bury(till_master_t *master, till_child_t *child, int status)
{
    till_buf_t labels;

    log_death(master, child, status);
    hear_last_words(master, child);
    close(child->channel);
    child->channel = -1;
    child->pid = 0;
    child->state = CHILD_DOWN;
    till_metrics_clear_gauges(master->metrics, child->slot);
    till_change_on_death(master, child);
    if (child->set == SET_LEAVING) {
        till_roll_on_draining(master, child);
        child->set = SET_FREE;
    }
    if (master->is_stopping || child->set != SET_NOW)
        return;
    ++child->restarts;
    till_buf_init(&labels, 0);
    till_metrics_label(&labels, "process", child->name, strlen(child->name));
    till_metrics_add(master->metrics, "till_process_restarts_total", labels.base, 1);
    till_buf_dispose(&labels);
    set_restart(child);
    if (!master->is_announced && child->quick_deaths >= MAX_FIRST_DEATHS) {
        fprintf(stderr, "moontill: %s dies again and again; the log says how\n", child->name);
        till_master_begin_stop(master, 1);
    }
}

/* Each by its number: other children of this process are not ours to wait for. */
void till_children_reap(till_master_t *master)
{
    int status;

    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        till_child_t *child = &master->children[i];
        if (child->pid != 0 && waitpid(child->pid, &status, WNOHANG) == child->pid)
            bury(master, child, status);
    }
}

void till_children_signal(till_master_t *master, int signal)
{
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        if (master->children[i].pid != 0)
            kill(master->children[i].pid, signal);
    }
}

bool till_children_any(const till_master_t *master)
{
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        if (master->children[i].pid != 0)
            return true;
    }
    return false;
}
