/* master_stuck.c - workers that stand still: which plugin it was, in log and metric, and the kill. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "serve/master_priv.h"

#define WINDOW_MS 600000
#define MANY_KILLS 3

/* The plugin's place in the list, its own or the oldest one's. */
static till_culprit_t *culprit_of(till_master_t *master, const char *plugin)
{
    till_culprit_t *oldest = &master->culprits[0];

    for (size_t i = 0; i != TILL_CULPRITS; ++i) {
        till_culprit_t *one = &master->culprits[i];
        if (strcmp(one->plugin, plugin) == 0)
            return one;
        if (one->since_ms < oldest->since_ms)
            oldest = one;
    }
    *oldest = (till_culprit_t){.since_ms = till_master_now()};
    snprintf(oldest->plugin, sizeof(oldest->plugin), "%s", plugin);
    return oldest;
}

/* One kill may be an accident; this is a plugin that has to go. */
static void count(till_master_t *master, const char *plugin)
{
    till_culprit_t *culprit = culprit_of(master, plugin);
    uint64_t now = till_master_now();

    if (now - culprit->since_ms > WINDOW_MS)
        *culprit = (till_culprit_t){.plugin = "", .since_ms = now};
    snprintf(culprit->plugin, sizeof(culprit->plugin), "%s", plugin);
    if (++culprit->kills >= MANY_KILLS)
        till_log_msg(TILL_LOG_ERROR, "plugin.hangs",
                     "the plugin %s has hung %u workers within ten minutes: set plugins.%s.enabled = false and reload, "
                     "or mend its loop and reload",
                     plugin, culprit->kills, plugin);
}

static void measure(till_master_t *master, const char *plugin)
{
    till_buf_t labels;

    till_buf_init(&labels, 0);
    till_metrics_label(&labels, "plugin", plugin, strlen(plugin));
    till_metrics_add(master->metrics, "till_worker_stuck_total", labels.base, 1);
    till_buf_dispose(&labels);
}

static void tell(const till_child_t *child, uint64_t silent_ms, const till_running_t *at)
{
    till_log_t line;

    till_log_begin(&line, TILL_LOG_ERROR, "worker.stuck");
    till_log_str(&line, "worker", child->name);
    till_log_int(&line, "pid", child->pid);
    till_log_int(&line, "silent_ms", (int64_t)silent_ms);
    till_log_str(&line, "plugin", at->plugin[0] != '\0' ? at->plugin : "none");
    till_log_str(&line, "in", at->what);
    till_log_str(&line, "request_id", at->request_id);
    till_log_str(&line, "trace_id", at->trace_id);
    till_log_str(&line, "generation", at->generation);
    till_log_end(&line);
}

static bool look_at(till_master_t *master, till_child_t *child)
{
    till_running_t at;
    uint64_t silent_ms;
    till_pulse_t pulse = till_watch_look(master->watch, child->slot, child->pid,
                                         master->now.limits.heartbeat_timeout_ms, &silent_ms, &at);

    if (pulse == TILL_PULSE_STUCK && !child->was_stuck) {
        tell(child, silent_ms, &at);
        child->was_stuck = true;
        kill(child->pid, SIGKILL);
        measure(master, at.plugin[0] != '\0' ? at.plugin : "none");
        if (at.plugin[0] != '\0')
            count(master, at.plugin);
    }
    return pulse == TILL_PULSE_ASKED;
}

/* Where the master itself was stopped (a debugger, Ctrl-Z, a sleeping laptop),
 * its children were so too: they get time before they are judged. */
bool till_children_check_beats(till_master_t *master)
{
    uint64_t now = till_master_now(), limit = master->now.limits.heartbeat_timeout_ms;
    bool is_asking = false;

    if (master->last_turn_ms != 0 && now - master->last_turn_ms > limit / 2)
        master->grace_until_ms = now + limit;
    master->last_turn_ms = now;
    if (now < master->grace_until_ms || master->is_stopping)
        return false;
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        if (master->children[i].pid != 0 && master->children[i].set != SET_LEAVING)
            is_asking |= look_at(master, &master->children[i]);
    }
    return is_asking;
}
