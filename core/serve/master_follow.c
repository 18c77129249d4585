/* master_follow.c - going where the database is: other machines change the generation too.
 *
 * A look every 400 ms, by one of the workers, is the promise; Redis only makes
 * it come at once (the workers hear it, and say "woken"). What is live there and
 * not here is loaded like any other change, but not recorded: it is done
 * already. Where it cannot be loaded this server keeps its own, says so in its
 * log and by till_generation_behind, and tries again, ever more rarely.
 *
 * What another version of the program made is not even tried: its library
 * belongs to that program (docs/decisions/0009).
 */
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "base/version.h"
#include "serve/master_priv.h"

#define LOOK_MS 400
#define BACKOFF_MIN_MS 1000
#define BACKOFF_MAX_MS 60000

static void tell_behind(till_master_t *master)
{
    till_metrics_set(master->metrics, TILL_METRIC_LAST, "till_generation_behind", NULL,
                     master->truth.is_behind || master->truth.is_foreign ? 1 : 0);
}

void till_follow_hurry(till_master_t *master) { master->truth.look_ms = 0; }

void till_follow_arrived(till_master_t *master, uint64_t sequence)
{
    till_truth_t *truth = &master->truth;

    truth->sequence = sequence;
    truth->is_behind = truth->is_foreign = false;
    truth->backoff_ms = 0;
    tell_behind(master);
}

static bool is_there(const till_master_t *master) { return strcmp(master->truth.name, master->live) == 0; }

static void go_there(till_master_t *master)
{
    till_wish_t wish = {.kind = "follow", .author = "another server"};

    snprintf(wish.reason, sizeof(wish.reason), "change %llu", (unsigned long long)master->truth.sequence);
    till_change_begin(master, master->truth.name, &wish);
}

void till_follow_failed(till_master_t *master, const char *reason)
{
    till_truth_t *truth = &master->truth;

    truth->backoff_ms = truth->backoff_ms == 0 ? BACKOFF_MIN_MS : truth->backoff_ms * 2;
    if (truth->backoff_ms > BACKOFF_MAX_MS)
        truth->backoff_ms = BACKOFF_MAX_MS;
    truth->again_ms = till_master_now() + truth->backoff_ms;
    truth->is_behind = true;
    tell_behind(master);
    till_log_msg(TILL_LOG_ERROR, "generation.behind",
                 "%.12s is live in the database and cannot be loaded here, so %.12s goes on; it is tried again in "
                 "%llu s. %s",
                 truth->name, master->live, (unsigned long long)truth->backoff_ms / 1000, reason);
}

static void say_foreign(till_master_t *master, const char *program)
{
    if (!master->truth.is_foreign)
        till_log_msg(TILL_LOG_WARN, "generation.foreign",
                     "%.12s is live in the database; it belongs to version %s and this is %s, so %.12s goes on until "
                     "this server is upgraded (`moontill rollback %.12s` here would make that live for all)",
                     master->truth.name, program, till_version(), master->live, master->live);
    master->truth.is_foreign = true;
    tell_behind(master);
}

static void take_news(till_truth_t *truth, const char *line, size_t len)
{
    uint64_t sequence = till_line_int(line, len, "sequence", truth->sequence);

    if (sequence != truth->sequence) {
        truth->is_behind = truth->is_foreign = false;
        truth->backoff_ms = 0;
    }
    truth->sequence = sequence;
    till_line_text(line, len, "generation", truth->name, sizeof(truth->name));
}

static void on_news(till_master_t *master, const char *line, size_t len)
{
    till_truth_t *truth = &master->truth;
    char program[48], reason[1024];

    take_news(truth, line, len);
    if (is_there(master))
        till_follow_arrived(master, truth->sequence);
    else if (till_line_text(line, len, "unusable", reason, sizeof(reason)))
        till_follow_failed(master, reason);
    else if (till_line_text(line, len, "program", program, sizeof(program)) && strcmp(program, till_version()) != 0)
        say_foreign(master, program);
    else
        go_there(master);
}

static bool may_go(const till_master_t *master)
{
    return master->change.phase == PHASE_IDLE && master->is_announced && !master->is_stopping &&
           till_upgrade_is_idle(master);
}

static void on_looked(till_master_t *master, const char *line, size_t len)
{
    if (may_go(master) && till_line_true(line, len, "ok") && !till_line_true(line, len, "same"))
        on_news(master, line, len);
}

/* What is behind looks as one that knows nothing: its copy of the generation may be what is missing. */
static void look(till_master_t *master, uint64_t now, bool is_again)
{
    till_buf_t text;

    master->truth.look_ms = now + LOOK_MS;
    till_buf_init(&text, 0);
    till_buf_putc(&text, '{');
    till_line_put(&text, "verb", "look");
    till_line_put_int(&text, "sequence", is_again ? 0 : master->truth.sequence);
    till_buf_putc(&text, '}');
    till_errand_begin(master, ERRAND_LOOK, &text, on_looked);
}

void till_follow_turn(till_master_t *master)
{
    uint64_t now = till_master_now();

    if (!may_go(master))
        return;
    if (now >= master->truth.look_ms && till_errand_is_idle(master, ERRAND_LOOK))
        look(master, now, master->truth.is_behind && now >= master->truth.again_ms && !is_there(master));
}
