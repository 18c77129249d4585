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
    const struct passwd *user = master->limits.user != NULL ? getpwnam(master->limits.user) : NULL;
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

bool till_change_make_bundle(till_master_t *master, char name[TILL_GENERATION_NAME + 1], char *error, size_t size)
{
    const till_master_opts_t *opts = master->opts;
    till_conf_t *fresh = NULL;

    if (opts->reread_conf != NULL && (fresh = opts->reread_conf(opts->data, error, size)) == NULL)
        return false;
    till_bundle_source_t source = {.lua_dir = opts->lua_dir,
                                   .plugin_dirs = opts->plugin_dirs,
                                   .plugin_dir_count = opts->plugin_dir_count,
                                   .conf = fresh != NULL ? fresh : opts->conf};
    till_bundle_t *bundle = till_bundle_read(&source, error, size);
    if (fresh != NULL)
        till_conf_destroy(fresh);
    return bundle != NULL && save(master, bundle, name, error, size);
}

/* ---- answers ---------------------------------------------------------------- */

static void progress(till_master_t *master, const char *text)
{
    till_buf_t line;

    till_buf_init(&line, 0);
    till_buf_puts(&line, "{\"progress\":");
    till_json_write_string(&line, text, strlen(text));
    till_buf_putc(&line, '}');
    till_control_say(master->control, master->change.client, line.base, line.len);
    till_buf_dispose(&line);
}

static void refuse(till_master_t *master, uint64_t client, const char *reason)
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

static void succeed(till_master_t *master, uint64_t client, bool is_unchanged, uint64_t ms)
{
    till_buf_t line;

    till_buf_init(&line, 0);
    till_buf_printf(&line, "{\"ok\":true,\"generation\":\"%s\",\"unchanged\":%s,\"ms\":%llu}", master->live,
                    is_unchanged ? "true" : "false", (unsigned long long)ms);
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
    for (size_t i = 0; i != master->child_count; ++i) {
        if (master->children[i].vote == vote)
            return true;
    }
    return false;
}

void till_change_give_up(till_master_t *master, const char *reason)
{
    till_change_t *change = &master->change;

    if (change->phase != PHASE_PREPARING)
        return;
    for (size_t i = 0; i != master->child_count; ++i) {
        till_child_t *child = &master->children[i];
        if (child->vote != VOTE_NONE && child->channel != -1)
            tell(child, "abort", change->name);
        child->vote = VOTE_NONE;
    }
    change->phase = PHASE_IDLE;
    refuse(master, change->client, reason);
}

static void finish(till_master_t *master)
{
    till_change_t *change = &master->change;
    uint64_t ms = till_master_now() - change->begun_ms;

    change->phase = PHASE_IDLE;
    till_log_msg(TILL_LOG_INFO, "generation.changed", "%s in %llu ms", master->live, (unsigned long long)ms);
    succeed(master, change->client, false, ms);
}

static uint64_t wall_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* From here on there is no way back: a worker that dies is started with the new one. */
static void decide(till_master_t *master)
{
    till_change_t *change = &master->change;
    const char *const keep[] = {master->live, master->previous};

    memcpy(master->previous, master->live, sizeof(master->previous));
    memcpy(master->live, change->name, sizeof(master->live));
    till_bundle_prune(master->opts->var_dir, keep, 2);
    master->previous_since_ms = master->live_since_ms;
    master->live_since_ms = wall_ms();
    change->phase = PHASE_COMMITTING;
    change->deadline_ms = till_master_now() + COMMIT_TIMEOUT_MS;
    for (size_t i = 0; i != master->child_count; ++i) {
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
    for (size_t i = 0; i != master->child_count; ++i) {
        till_child_t *child = &master->children[i];
        if (child->state == CHILD_DOWN)
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
        refuse(master, client, "another change of the generation is under way");
        return;
    }
    if (strcmp(name, master->live) == 0) {
        succeed(master, client, true, 0);
        return;
    }
    *change = (till_change_t){
        .phase = PHASE_PREPARING, .client = client, .begun_ms = now, .deadline_ms = now + PREPARE_TIMEOUT_MS};
    memcpy(change->name, name, strlen(name) + 1);
    progress(master, "every worker loads it");
    begin_voting(master);
}

/* Whether or not the code has changed: who renews a certificate reloads for its sake alone. Ours is what workers that
 * start later inherit. */
static void renew_certificate(till_master_t *master)
{
    const till_serve_opts_t *limits = &master->limits;
    char error[512];

    if (master->ssl == NULL)
        return;
    if (!till_tls_reload(master->ssl, limits->cert_file, limits->key_file, error, sizeof(error))) {
        till_log_msg(TILL_LOG_ERROR, "tls.reload", "%s; the old one stays", error);
        return;
    }
    till_master_tell_certificate(master);
    for (size_t i = 0; i != master->child_count; ++i) {
        if (master->children[i].is_web && master->children[i].state != CHILD_DOWN)
            tell(&master->children[i], "certificate", "-");
    }
}

void till_change_reload(till_master_t *master, uint64_t client)
{
    char name[TILL_GENERATION_NAME + 1], error[2048];

    renew_certificate(master);
    if (master->is_stopping)
        refuse(master, client, "the server is being stopped");
    else if (master->change.phase == PHASE_IDLE && !till_change_make_bundle(master, name, error, sizeof(error)))
        refuse(master, client, error);
    else
        till_change_begin(master, master->change.phase == PHASE_IDLE ? name : "", client);
}

static void on_ready(till_master_t *master, till_child_t *child)
{
    child->state = CHILD_READY;
    if (child->vote == VOTE_ASKED)
        tell(child, "prepare", master->change.name);
    till_master_on_child_ready(master);
}

static void on_failed(till_master_t *master, till_child_t *child, const till_message_t *message)
{
    if (child->vote == VOTE_ASKED && strcmp(message->name, master->change.name) == 0) {
        till_change_give_up(master, message->text);
    } else if (child->state == CHILD_STARTING && !master->is_announced && !master->is_stopping) {
        fprintf(stderr, "moontill: %s\n", message->text);
        till_master_begin_stop(master, 1);
    }
}

void till_change_on_message(till_master_t *master, till_child_t *child, const till_message_t *message)
{
    bool is_change = strcmp(message->name, master->change.name) == 0;

    if (strcmp(message->verb, "ready") == 0)
        on_ready(master, child);
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
    advance(master);
}

void till_change_check_deadline(till_master_t *master)
{
    till_change_t *change = &master->change;

    if (change->phase == PHASE_IDLE || till_master_now() < change->deadline_ms)
        return;
    if (change->phase == PHASE_PREPARING) {
        till_change_give_up(master, "not every worker had loaded it within 60 s");
        return;
    }
    for (size_t i = 0; i != master->child_count; ++i) {
        if (master->children[i].vote == VOTE_COMMITTING && master->children[i].pid != 0)
            kill(master->children[i].pid, SIGKILL); /* its end is its vote */
    }
}
