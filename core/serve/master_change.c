#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/json.h"
#include "base/log.h"
#include "serve/master_priv.h"
#include "serve/server.h"
#include "vm/bundle.h"

#define PREPARE_TIMEOUT_MS 60000
#define COMMIT_TIMEOUT_MS 10000

/* ---- bundles --------------------------------------------------------------- */

/* Workers that run as somebody else must be able to read what root has written. */
static void give_to_user(const till_master_t *master, const char *name)
{
    const struct passwd *user = master->now.limits.user != NULL ? getpwnam(master->now.limits.user) : NULL;
    till_buf_t path;

    if (user == NULL || geteuid() != 0)
        return;
    till_buf_init(&path, 0);
    till_buf_printf(&path, "%s/generations", master->opts->var_dir);
    int failed = chown(path.base, user->pw_uid, user->pw_gid);
    till_buf_printf(&path, "/%s", name);
    failed |= chown(path.base, user->pw_uid, user->pw_gid);
    if (failed != 0)
        till_log_msg(TILL_LOG_WARN, "generation.chown", "%s: %s", path.base, strerror(errno));
    till_buf_dispose(&path);
}

static bool save(till_master_t *master, till_bundle_t *bundle, char *name, char *error, size_t size)
{
    int failure = till_bundle_save(bundle, master->opts->var_dir);

    snprintf(name, TILL_GENERATION_NAME + 1, "%s", till_bundle_name(bundle));
    till_bundle_destroy(bundle);
    if (failure != 0)
        snprintf(error, size, "%s/generations: cannot be written: %s", master->opts->var_dir, strerror(failure));
    else
        give_to_user(master, name);
    return failure == 0;
}

bool till_change_make_bundle(till_master_t *master, const till_conf_t *conf, char name[TILL_GENERATION_NAME + 1],
                             char *error, size_t size)
{
    const till_master_opts_t *opts = master->opts;
    const till_bundle_source_t source = {.lua_dir = opts->lua_dir,
                                         .plugin_dirs = opts->plugin_dirs,
                                         .plugin_dir_count = opts->plugin_dir_count,
                                         .conf = conf};
    till_bundle_t *bundle = till_bundle_read(&source, error, size);

    return bundle != NULL && save(master, bundle, name, error, size);
}

/* ---- answers ---------------------------------------------------------------- */

void till_change_progress(till_master_t *master, const char *text)
{
    till_buf_t line;

    till_buf_init(&line, 0);
    till_buf_puts(&line, "{\"progress\":");
    till_json_write_string(&line, text, strlen(text));
    till_buf_putc(&line, '}');
    till_control_say(master->control, master->change.client, line.base, line.len);
    till_buf_dispose(&line);
}

void till_change_refuse(till_master_t *master, uint64_t client, const char *reason)
{
    till_buf_t line;

    till_log_msg(TILL_LOG_ERROR, "generation.refused", "%s", reason);
    till_buf_init(&line, 0);
    till_buf_puts(&line, "{\"ok\":false,\"error\":");
    till_json_write_string(&line, reason, strlen(reason));
    till_buf_putc(&line, '}');
    till_control_end(master->control, client, line.base, line.len);
    till_buf_dispose(&line);
}

void till_change_succeed(till_master_t *master, uint64_t client, const char *what, uint64_t ms)
{
    till_buf_t line;

    till_buf_init(&line, 0);
    till_buf_printf(&line, "{\"ok\":true,\"generation\":\"%s\",%s,\"ms\":%llu,", master->live, what,
                    (unsigned long long)ms);
    till_commands_write_workers(master, &line);
    till_buf_putc(&line, '}');
    till_control_end(master->control, client, line.base, line.len);
    till_buf_dispose(&line);
}

/* ---- two phases --------------------------------------------------------------- */

static void tell(const till_child_t *child, const char *verb, const char *name)
{
    if (!till_channel_send(child->channel, verb, name, NULL))
        till_log_msg(TILL_LOG_WARN, "master.channel", "%s was not told: %s", child->name, verb);
}

static bool any_vote(const till_master_t *master, till_vote_t vote)
{
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        if (master->children[i].vote == vote)
            return true;
    }
    return false;
}

void till_change_give_up(till_master_t *master, const char *reason)
{
    till_change_t *change = &master->change;

    if (change->phase == PHASE_TRYING)
        till_trial_give_up(master, reason);
    if (change->phase == PHASE_ROLLING)
        till_roll_give_up(master, reason);
    if (change->phase != PHASE_PREPARING)
        return;
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        till_child_t *child = &master->children[i];
        if (child->vote != VOTE_NONE && child->channel != -1)
            tell(child, "abort", change->name);
        child->vote = VOTE_NONE;
    }
    change->phase = PHASE_IDLE;
    till_change_refuse(master, change->client, reason);
}

static void finish(till_master_t *master)
{
    till_change_t *change = &master->change;
    uint64_t ms = till_master_now() - change->begun_ms;

    change->phase = PHASE_IDLE;
    till_log_msg(TILL_LOG_INFO, "generation.changed", "%s in %llu ms", master->live, (unsigned long long)ms);
    till_change_succeed(master, change->client, "\"unchanged\":false,\"replaced\":false", ms);
}

static uint64_t wall_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void till_change_go_live(till_master_t *master, const char *name)
{
    const char *const keep[] = {name, master->live}; /* what is live now is kept as the one before */

    if (strcmp(name, master->live) == 0)
        return;
    till_bundle_prune(master->opts->var_dir, keep, 2);
    memcpy(master->previous, master->live, sizeof(master->previous));
    snprintf(master->live, sizeof(master->live), "%s", name);
    master->previous_since_ms = master->live_since_ms;
    master->live_since_ms = wall_ms();
    till_live_remember(master);
}

/* From here on there is no way back: a worker that dies is started with the new one. */
static void decide(till_master_t *master)
{
    till_change_t *change = &master->change;

    till_change_go_live(master, change->name);
    change->phase = PHASE_COMMITTING;
    change->deadline_ms = till_master_now() + COMMIT_TIMEOUT_MS;
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        till_child_t *child = &master->children[i];
        if (child->vote != VOTE_PREPARED)
            continue;
        child->vote = VOTE_COMMITTING;
        tell(child, "commit", change->name);
    }
}

static void advance(till_master_t *master)
{
    till_change_t *change = &master->change;

    if (change->phase == PHASE_PREPARING && !any_vote(master, VOTE_ASKED)) {
        if (any_vote(master, VOTE_PREPARED))
            decide(master);
        else
            till_change_give_up(master, "no worker runs that could try it");
    }
    if (change->phase == PHASE_COMMITTING && !any_vote(master, VOTE_COMMITTING))
        finish(master);
}

static void begin_voting(till_master_t *master)
{
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        till_child_t *child = &master->children[i];
        if (child->set != SET_NOW || child->state == CHILD_DOWN)
            continue;
        child->vote = VOTE_ASKED;
        if (child->state == CHILD_READY) /* one that still starts is asked when it is ready */
            tell(child, "prepare", master->change.name);
    }
    advance(master);
}

void till_change_begin(till_master_t *master, const char *name, uint64_t client)
{
    till_change_t *change = &master->change;
    uint64_t now = till_master_now();

    if (change->phase != PHASE_IDLE) {
        till_change_refuse(master, client, "another change of the generation is under way");
        return;
    }
    if (strcmp(name, master->live) == 0) {
        till_change_succeed(master, client, "\"unchanged\":true,\"replaced\":false", 0);
        return;
    }
    *change = (till_change_t){
        .phase = PHASE_PREPARING, .client = client, .begun_ms = now, .deadline_ms = now + PREPARE_TIMEOUT_MS};
    memcpy(change->name, name, strlen(name) + 1);
    till_change_progress(master, "every worker loads it");
    begin_voting(master);
}

/* ---- a reload ------------------------------------------------------------------- */

static void tell_all(till_master_t *master, const char *verb, const char *text)
{
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        const till_child_t *child = &master->children[i];
        if (child->set == SET_NOW && child->state != CHILD_DOWN && !till_channel_send(child->channel, verb, "-", text))
            till_log_msg(TILL_LOG_WARN, "master.channel", "%s was not told: %s", child->name, verb);
    }
}

static bool is_renewed(const till_setup_t *now, const till_setup_t *next)
{
    return now->ssl != NULL &&
           (next->pem.len != now->pem.len || memcmp(next->pem.base, now->pem.base, now->pem.len) != 0);
}

/* What running workers take as it is. */
static void take(till_master_t *master, till_setup_t *next)
{
    till_setup_t *now = &master->now;

    if (is_renewed(now, next)) {
        tell_all(master, "certificate", next->pem.base);
        till_log_msg(TILL_LOG_INFO, "tls.renewed", "%s", next->limits.cert_file);
    }
    if (now->limits.log_level != next->limits.log_level)
        tell_all(master, "level", till_conf_str(next->conf, "log.level"));
    till_log_set_level(next->limits.log_level);
    till_setup_dispose(now);
    *now = *next;
    till_master_tell_certificate(master);
}

/* All that a reload reads: the configuration, the certificate, the folders. */
static bool read_all(till_master_t *master, till_setup_t *next, char *name, char *error, size_t size)
{
    const till_master_opts_t *opts = master->opts;
    till_conf_t *fresh = opts->reread_conf != NULL ? opts->reread_conf(opts->data, error, size) : NULL;

    *next = (till_setup_t){.listen_fd = -1, .ops_fd = -1};
    if (fresh == NULL && opts->reread_conf != NULL)
        return false;
    bool ok = till_setup_make(next, fresh != NULL ? fresh : master->now.conf, &master->now, NULL, error, size);
    next->owned_conf = fresh;
    if (fresh == NULL) { /* it goes on to be whose it is */
        next->owned_conf = master->now.owned_conf;
        master->now.owned_conf = NULL;
    }
    if (ok && till_change_make_bundle(master, next->conf, name, error, size))
        return true;
    if (fresh == NULL) {
        master->now.owned_conf = next->owned_conf;
        next->owned_conf = NULL;
    }
    till_setup_dispose(next);
    return false;
}

void till_change_take(till_master_t *master, till_setup_t *next, const char *name, uint64_t client)
{
    char generation[TILL_GENERATION_NAME + 1];
    till_buf_t changed;

    snprintf(generation, sizeof(generation), "%s", name);
    till_buf_init(&changed, 0);
    till_setup_diff(&master->now, next, &changed);
    if (changed.len != 0) {
        till_roll_begin(master, next, generation, changed.base, client);
    } else {
        take(master, next);
        till_change_begin(master, generation, client);
    }
    till_buf_dispose(&changed);
}

/* What is live already was tried. */
static void begin_reload(till_master_t *master, uint64_t client)
{
    char name[TILL_GENERATION_NAME + 1], error[2048];
    till_setup_t next;

    if (!read_all(master, &next, name, error, sizeof(error)))
        till_change_refuse(master, client, error);
    else if (strcmp(name, master->live) == 0 || master->opts->root == NULL)
        till_change_take(master, &next, name, client);
    else
        till_trial_begin(master, &next, name, client);
}

/* A signal that comes too early is kept: whoever sent it believes that what he has written will be read. */
void till_change_reload(till_master_t *master, uint64_t client)
{
    bool is_busy = master->change.phase != PHASE_IDLE || !till_upgrade_is_idle(master);

    if (master->is_stopping)
        till_change_refuse(master, client, "the server is being stopped");
    else if (is_busy && client == 0)
        master->wants_reload = true;
    else if (is_busy)
        till_change_refuse(master, client, "another change is under way; try again in a moment");
    else
        begin_reload(master, client);
}

void till_change_catch_up(till_master_t *master)
{
    if (!master->wants_reload || master->change.phase != PHASE_IDLE || !till_upgrade_is_idle(master))
        return;
    master->wants_reload = false;
    till_change_reload(master, 0);
}

/* ---- what workers say ------------------------------------------------------------- */

static void on_ready(till_master_t *master, till_child_t *child)
{
    child->state = CHILD_READY;
    if (child->set == SET_NEXT) {
        till_roll_on_ready(master, child);
        return;
    }
    if (child->vote == VOTE_ASKED)
        tell(child, "prepare", master->change.name);
    till_master_on_child_ready(master);
}

static void on_failed(till_master_t *master, till_child_t *child, const till_message_t *message)
{
    if (child->vote == VOTE_ASKED && strcmp(message->name, master->change.name) == 0) {
        till_change_give_up(master, message->text);
    } else if (child->set == SET_NEXT) {
        till_roll_give_up(master, message->text);
    } else if (child->state == CHILD_STARTING && !master->is_announced && !master->is_stopping) {
        fprintf(stderr, "moontill: %s\n", message->text);
        till_upgrade_tell_old(master, "failed", message->text);
        till_master_begin_stop(master, 1);
    }
}

void till_change_on_message(till_master_t *master, till_child_t *child, const till_message_t *message)
{
    bool is_change = strcmp(message->name, master->change.name) == 0;

    if (strcmp(message->verb, "ready") == 0)
        on_ready(master, child);
    else if (strcmp(message->verb, "draining") == 0)
        till_roll_on_draining(master, child);
    else if (strcmp(message->verb, "failed") == 0)
        on_failed(master, child, message);
    else if (strcmp(message->verb, "prepared") == 0 && is_change && child->vote == VOTE_ASKED)
        child->vote = VOTE_PREPARED;
    else if (strcmp(message->verb, "committed") == 0 && is_change && child->vote == VOTE_COMMITTING)
        child->vote = VOTE_NONE;
    advance(master);
}

/* While it prepared: the new code may be what killed it. While it committed: its
 * successor loads what is live now. */
void till_change_on_death(till_master_t *master, till_child_t *child)
{
    till_vote_t vote = child->vote;
    char reason[128];

    child->vote = VOTE_NONE;
    if (master->change.phase == PHASE_PREPARING && vote != VOTE_NONE) {
        snprintf(reason, sizeof(reason), "%s died while it loaded the new generation", child->name);
        till_change_give_up(master, reason);
    }
    if (child->set == SET_NEXT) {
        snprintf(reason, sizeof(reason), "%s died while it started; the log says how", child->name);
        till_roll_give_up(master, reason);
    }
    advance(master);
}

void till_change_check_deadline(till_master_t *master)
{
    till_change_t *change = &master->change;

    if (change->phase == PHASE_IDLE || till_master_now() < change->deadline_ms)
        return;
    if (change->phase == PHASE_CLOSING) {
        till_roll_finish(master);
        return;
    }
    if (change->phase == PHASE_TRYING) {
        till_trial_give_up(master, "it was not tried to its end within 90 s");
        return;
    }
    if (change->phase == PHASE_PREPARING || change->phase == PHASE_ROLLING) {
        till_change_give_up(master, "not every worker had loaded it within 60 s");
        return;
    }
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        if (master->children[i].vote == VOTE_COMMITTING && master->children[i].pid != 0)
            kill(master->children[i].pid, SIGKILL); /* its end is its vote */
    }
}
