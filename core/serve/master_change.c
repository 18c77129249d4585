#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/log.h"
#include "serve/master_priv.h"
#include "serve/pools.h"
#include "serve/server.h"
#include "vm/bundle.h"
#include "vm/code.h"

#define PREPARE_TIMEOUT_MS 60000
#define COMMIT_TIMEOUT_MS 10000

/* ---- bundles --------------------------------------------------------------- */

/* Workers that run as somebody else must be able to read what root has written. */
void till_change_give_to_user(const till_master_t *master, const char *name)
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
        till_change_give_to_user(master, name);
    return failure == 0;
}

/* Rules are in no folder. Those of what is live in the database, where we could not follow it, rather than ours. */
static till_bundle_t *bundle_with_rules(const till_master_t *master)
{
    char error[512];
    till_bundle_t *bundle = till_bundle_load(master->opts->var_dir, master->truth.name, error, sizeof(error));

    return bundle != NULL ? bundle : till_bundle_load(master->opts->var_dir, master->live, error, sizeof(error));
}

struct making {
    till_master_t *master;
    const till_conf_t *conf;
    char *name, *error;
    size_t size;
    bool ok;
};

static void make_bundle(void *arg)
{
    struct making *making = arg;
    till_master_t *master = making->master;
    till_bundle_t *rules = bundle_with_rules(master);
    const till_bundle_source_t source = {.lua_dir = master->opts->lua_dir,
                                         .plugin_dirs = master->opts->plugin_dirs,
                                         .plugin_dir_count = master->opts->plugin_dir_count,
                                         .conf = making->conf,
                                         .rules = rules};
    till_bundle_t *bundle = till_bundle_read(&source, making->error, making->size);

    till_bundle_destroy(rules);
    making->ok = bundle != NULL && save(master, bundle, making->name, making->error, making->size);
}

/* Some 400 files are read and hashed: workers who serve meanwhile come first. */
bool till_change_make_bundle(till_master_t *master, const till_conf_t *conf, char name[TILL_GENERATION_NAME + 1],
                             char *error, size_t size)
{
    struct making making = {.master = master, .conf = conf, .name = name, .error = error, .size = size};

    till_offload_wait(TILL_LOADER_NICENESS, make_bundle, &making);
    return making.ok;
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

static void abort_votes(till_master_t *master)
{
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        till_child_t *child = &master->children[i];
        if (child->vote != VOTE_NONE && child->channel != -1)
            tell(child, "abort", master->change.name);
        child->vote = VOTE_NONE;
    }
}

/* What was live already when we started is live still, whatever the database says of it; we follow it then. */
static void go_on_starting(till_master_t *master, const char *reason)
{
    till_log_msg(TILL_LOG_ERROR, "generation.refused", "%s", reason);
    master->change.phase = PHASE_IDLE;
    till_master_on_child_ready(master);
}

void till_change_refuse(till_master_t *master, const char *reason)
{
    till_change_t *change = &master->change;

    change->phase = PHASE_IDLE;
    till_answer_refuse(master, change->wish.client, reason);
    if (!master->is_stopping)
        till_record_refusal(master, change, reason);
    if (strcmp(change->wish.kind, "follow") == 0)
        till_follow_failed(master, reason);
}

void till_change_give_up(till_master_t *master, const char *reason)
{
    till_change_t *change = &master->change;

    if (change->phase == PHASE_TRYING) {
        till_trial_give_up(master, reason);
    } else if (change->phase == PHASE_ROLLING) {
        till_roll_give_up(master, reason);
    } else if (change->phase == PHASE_FETCHING) {
        change->phase = PHASE_IDLE;
        till_answer_refuse(master, change->wish.client, reason);
    } else if (change->phase == PHASE_PREPARING && strcmp(change->wish.kind, "start") == 0) {
        go_on_starting(master, reason);
    } else if (change->phase == PHASE_PREPARING) {
        abort_votes(master);
        till_change_refuse(master, reason);
    }
}

/* A worker that came into being meanwhile, with what was live before. */
static void replace_if_stale(const till_master_t *master, const till_child_t *child)
{
    if (child->set != SET_NOW || child->state != CHILD_READY || child->vote != VOTE_NONE || child->pid == 0 ||
        strcmp(child->loaded, master->live) == 0)
        return;
    till_log_msg(TILL_LOG_INFO, "worker.stale", "%s has the generation before, and is replaced", child->name);
    kill(child->pid, SIGTERM);
}

void till_change_warm(const till_master_t *master, const char *prefix)
{
    char error[256];
    till_bundle_t *bundle = till_bundle_load(master->opts->var_dir, master->live, error, sizeof(error));

    if (bundle != NULL)
        till_code_warm(bundle, prefix);
    till_bundle_destroy(bundle);
}

/* Workers have it, so its text crashes nobody. */
static void warm_all(const till_master_t *master)
{
    till_code_next();
    till_change_warm(master, "lua/till/");
    till_change_warm(master, "plugins/");
}

static void finish(till_master_t *master)
{
    till_change_t *change = &master->change;
    uint64_t ms = till_master_now() - change->begun_ms;

    change->phase = PHASE_IDLE;
    till_log_msg(TILL_LOG_INFO, "generation.changed", "%s in %llu ms: %s by %s", master->live, (unsigned long long)ms,
                 change->wish.kind, change->wish.author);
    till_answer_succeed(master, change->wish.client, "\"unchanged\":false,\"replaced\":false", ms);
    for (size_t i = 0; i != TILL_CHILDREN; ++i)
        replace_if_stale(master, &master->children[i]);
    warm_all(master);
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

/* Of a change that is under way, and of a successor, the files are not known here. */
void till_change_prune(const till_master_t *master)
{
    const char *const keep[] = {master->live, master->previous, master->truth.name};

    if (master->change.phase == PHASE_IDLE && till_upgrade_is_idle(master) && !master->is_stopping)
        till_bundle_prune(master->opts->var_dir, keep, 3);
}

/* From here on there is no way back: a worker that dies is started with the new one. */
void till_change_commit(till_master_t *master)
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
        TILL_CRASH("generation.master_while_commit");
    }
    if (strcmp(change->wish.kind, "start") == 0) { /* they run it already */
        change->phase = PHASE_IDLE;
        till_master_on_child_ready(master);
    }
}

/* Where another server has made it live nothing is to be recorded. */
static void decide(till_master_t *master)
{
    if (strcmp(master->change.wish.kind, "follow") != 0) {
        till_record_begin(master);
        return;
    }
    till_follow_arrived(master, master->truth.sequence);
    till_change_commit(master);
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

void till_change_open(till_master_t *master, till_phase_t phase, const char *name, const till_wish_t *wish)
{
    till_change_t *change = &master->change;
    uint64_t now = till_master_now(), begun = wish->begun_ms != 0 ? wish->begun_ms : now;
    uint8_t id[TILL_ULID_LEN];

    *change =
        (till_change_t){.phase = phase, .wish = *wish, .begun_ms = begun, .deadline_ms = now + PREPARE_TIMEOUT_MS};
    change->wish.begun_ms = begun;
    snprintf(change->name, sizeof(change->name), "%s", name);
    till_ulid_make(id, wall_ms());
    till_ulid_format(change->id, id);
}

/* A reload of what runs here already is for a certificate or the like: it takes nothing back from other servers. */
static bool is_unchanged(const till_master_t *master, const char *name, const till_wish_t *wish)
{
    return strcmp(name, master->live) == 0 &&
           (strcmp(wish->kind, "reload") == 0 || strcmp(name, master->truth.name) == 0);
}

void till_change_begin(till_master_t *master, const char *name, const till_wish_t *wish)
{
    char text[96];

    if (master->change.phase != PHASE_IDLE) {
        till_answer_busy(master, wish->client);
        return;
    }
    if (is_unchanged(master, name, wish)) {
        till_answer_succeed(master, wish->client, "\"unchanged\":true,\"replaced\":false", 0);
        return;
    }
    till_change_open(master, PHASE_PREPARING, name, wish);
    snprintf(text, sizeof(text), "every worker loads %.12s", name);
    till_answer_step(master, "load", NULL, text);
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

void till_change_take(till_master_t *master, till_setup_t *next, const char *name, const till_wish_t *wish)
{
    till_buf_t changed;

    till_buf_init(&changed, 0);
    till_setup_diff(&master->now, next, &changed);
    if (changed.len != 0) {
        till_roll_begin(master, next, name, changed.base, wish);
    } else {
        take(master, next);
        till_change_begin(master, name, wish);
    }
    till_buf_dispose(&changed);
}

/* What is live already was tried. */
static void begin_reload(till_master_t *master, const till_wish_t *asked)
{
    char name[TILL_GENERATION_NAME + 1], error[2048];
    till_wish_t wish = *asked;
    till_setup_t next;

    wish.begun_ms = till_master_now();
    if (!read_all(master, &next, name, error, sizeof(error))) {
        till_change_open(master, PHASE_IDLE, "", &wish);
        till_change_refuse(master, error);
    } else if (strcmp(name, master->live) == 0 || master->opts->root == NULL) {
        till_change_take(master, &next, name, &wish);
    } else {
        till_trial_begin(master, &next, name, &wish);
    }
}

/* A signal that comes too early is kept: whoever sent it believes that what he has written will be read. */
void till_change_reload(till_master_t *master, const till_wish_t *wish)
{
    bool is_busy = master->change.phase != PHASE_IDLE || !till_upgrade_is_idle(master);

    if (master->is_stopping)
        till_answer_refuse(master, wish->client, "the server is being stopped");
    else if (is_busy && wish->client == 0)
        master->wants_reload = true;
    else if (is_busy)
        till_answer_busy(master, wish->client);
    else
        begin_reload(master, wish);
}

void till_change_catch_up(till_master_t *master)
{
    static const till_wish_t wish = {.kind = "reload", .author = "signal HUP"};

    if (!master->wants_reload || master->change.phase != PHASE_IDLE || !till_upgrade_is_idle(master))
        return;
    master->wants_reload = false;
    till_change_reload(master, &wish);
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
    if (master->change.phase == PHASE_IDLE)
        replace_if_stale(master, child);
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

/* It has no say any more: what replaces it is started with what is live then. */
static void on_draining(till_master_t *master, till_child_t *child)
{
    child->vote = VOTE_NONE;
    till_roll_on_draining(master, child);
}

/* A worker lists what finishes in it, for people; what is too many is not shown. */
static void on_cooling(till_child_t *child, const char *name, bool is_closed)
{
    for (size_t i = 0; i != TILL_COOLING_KEPT; ++i) {
        if (strcmp(child->cooling[i], is_closed ? name : "") != 0)
            continue;
        snprintf(child->cooling[i], sizeof(child->cooling[i]), "%s", is_closed ? "" : name);
        return;
    }
}

static void on_vote(till_master_t *master, till_child_t *child, const till_message_t *message)
{
    if (strcmp(message->name, master->change.name) != 0)
        return;
    if (strcmp(message->verb, "prepared") == 0 && child->vote == VOTE_ASKED) {
        child->vote = VOTE_PREPARED;
        till_answer_step(master, "prepared", child, "has loaded it");
    } else if (strcmp(message->verb, "committed") == 0 && child->vote == VOTE_COMMITTING) {
        child->vote = VOTE_NONE;
        snprintf(child->loaded, sizeof(child->loaded), "%s", message->name);
        till_answer_step(master, "live", child, "serves it");
    }
}

void till_change_on_message(till_master_t *master, till_child_t *child, const till_message_t *message)
{
    if (strcmp(message->verb, "ready") == 0)
        on_ready(master, child);
    else if (strcmp(message->verb, "draining") == 0)
        on_draining(master, child);
    else if (strcmp(message->verb, "failed") == 0)
        on_failed(master, child, message);
    else if (strcmp(message->verb, "ran") == 0)
        till_errand_on_ran(master, child, message);
    else if (strcmp(message->verb, "ask") == 0)
        till_answer_on_ask(master, child, message);
    else if (strcmp(message->verb, "cooling") == 0 || strcmp(message->verb, "closed") == 0)
        on_cooling(child, message->name, message->verb[1] == 'l');
    else
        on_vote(master, child, message);
    advance(master);
}

/* While it prepared: the new code may be what killed it. While it committed: its
 * successor loads what is live now. */
void till_change_on_death(till_master_t *master, till_child_t *child)
{
    till_vote_t vote = child->vote;
    char reason[128];

    child->vote = VOTE_NONE;
    memset(child->cooling, 0, sizeof(child->cooling));
    till_errand_on_death(master, child);
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

    if (change->phase == PHASE_IDLE || change->phase == PHASE_RECORDING || till_master_now() < change->deadline_ms)
        return;
    if (change->phase == PHASE_FETCHING) {
        till_change_give_up(master, "the database does not answer; nothing was changed");
        return;
    }
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
