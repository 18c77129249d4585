/* master_roll.c - another configuration: every worker is replaced, and no request is lost.
 *
 * The new ones start beside the old, with listeners of the same sockets (or of
 * new ones, where an address has changed). When all of them serve, the change is
 * decided: the old ones are told to drain and stop accepting. Until then a new
 * one that fails ends the change, and the old ones never knew of it.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "serve/master_priv.h"

#define START_LIMIT_MS 60000
#define CLOSE_LIMIT_MS 2000 /* for the old ones to accept no more */

void till_roll_begin(till_master_t *master, till_setup_t *next, const char *name, const char *changed,
                     const till_wish_t *wish)
{
    char text[1024];

    if (!till_children_plan(master, next, SET_NEXT)) {
        till_setup_dispose(next);
        till_answer_refuse(master, wish->client,
                           "the workers of the change before still drain; server.shutdown_timeout_ms says how long");
        return;
    }
    master->next = *next;
    till_change_open(master, PHASE_ROLLING, name, wish);
    master->change.is_roll = true;
    master->change.deadline_ms = till_master_now() + START_LIMIT_MS;
    snprintf(text, sizeof(text), "changed: %s; new workers take over", changed);
    till_log_msg(TILL_LOG_INFO, "conf.changed", "%s", changed);
    till_answer_step(master, "roll", NULL, text);
    till_children_start(master, SET_NEXT);
}

static void forget_next(till_master_t *master)
{
    master->next = (till_setup_t){.listen_fd = -1, .ops_fd = -1};
    master->change.phase = PHASE_IDLE;
}

void till_roll_give_up(till_master_t *master, const char *reason)
{
    if (master->change.phase != PHASE_ROLLING)
        return;
    till_children_dismiss(master, SET_NEXT);
    till_setup_dispose(&master->next);
    forget_next(master);
    till_answer_refuse(master, master->change.wish.client, reason);
    if (!master->is_stopping)
        till_record_refusal(master, &master->change, reason);
}

static void tell_workers(till_master_t *master, till_child_set_t set, const char *step, const char *what)
{
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        const till_child_t *child = &master->children[i];
        if (child->set == set && child->pid != 0)
            till_answer_step(master, step, child, what);
    }
}

void till_roll_finish(till_master_t *master)
{
    uint64_t ms = till_master_now() - master->change.begun_ms;

    master->change.phase = PHASE_IDLE;
    till_log_msg(TILL_LOG_INFO, "workers.replaced", "in %llu ms", (unsigned long long)ms);
    till_answer_succeed(master, master->change.wish.client, "\"unchanged\":false,\"replaced\":true", ms);
}

/* Who is told that it is done must not meet the old ones any more. */
static void finish_if_closed(till_master_t *master)
{
    bool any = false;

    for (size_t i = 0; i != TILL_CHILDREN; ++i)
        any |= master->children[i].set == SET_LEAVING && master->children[i].accepts;
    if (master->change.phase == PHASE_CLOSING && !any)
        till_roll_finish(master);
}

void till_roll_on_draining(till_master_t *master, till_child_t *child)
{
    child->accepts = false;
    finish_if_closed(master);
}

/* The master's own log goes where theirs goes. */
static void follow_log(const till_setup_t *setup)
{
    const char *file = till_conf_str(setup->conf, "log.file");

    till_log_open(file[0] != '\0' ? file : NULL);
    till_log_set_level(setup->limits.log_level);
}

void till_roll_decide(till_master_t *master)
{
    till_change_go_live(master, master->change.name);
    tell_workers(master, SET_NEXT, "live", "serves");
    tell_workers(master, SET_NOW, "drain", "drains");
    till_children_dismiss(master, SET_NOW);
    till_children_move(master, SET_NEXT, SET_NOW);
    till_setup_dispose(&master->now);
    master->now = master->next;
    forget_next(master);
    follow_log(&master->now);
    till_master_tell_certificate(master);
    master->change.phase = PHASE_CLOSING;
    master->change.deadline_ms = till_master_now() + CLOSE_LIMIT_MS;
    finish_if_closed(master);
}

void till_roll_on_ready(till_master_t *master, const till_child_t *child)
{
    (void)child;
    if (master->change.phase != PHASE_ROLLING || !till_children_are_ready(master, SET_NEXT))
        return;
    if (strcmp(master->change.name, master->live) == 0)
        till_roll_decide(master);
    else
        till_record_begin(master);
}
