/* master_record.c - a change of the generation and the database: docs/decisions/0009.
 *
 *     all workers have loaded it ─► "record": a worker stores it and moves the pointer, if it still
 *                                   stands where we believe it to ─► all are told to commit
 *
 * The moved pointer is the change; everything after it only carries it out.
 * Where the answer is lost the outcome is unknown, and nothing goes on before it
 * is known: the same errand is given out again, which finds the change by its
 * id, or makes it. So a worker, the master or the database may die anywhere: one
 * generation is live, the one that the pointer names.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/log.h"
#include "serve/master_priv.h"
#include "serve/server.h"

#define AGAIN_MS 250
#define PATIENCE_MS 20000 /* of whoever asked, while the database does not answer */

static void put_machine(const till_master_t *master, till_buf_t *out)
{
    char host[128] = "?", text[160];

    gethostname(host, sizeof(host) - 1);
    snprintf(text, sizeof(text), "%s:%u", host, till_listen_port(master->now.listen_fd));
    till_line_put(out, "machine", text);
}

static void begin_errand(till_buf_t *out, const char *verb)
{
    till_buf_init(out, 0);
    till_buf_putc(out, '{');
    till_line_put(out, "verb", verb);
}

static void put_change(const till_master_t *master, const till_change_t *change, till_buf_t *out)
{
    till_line_put(out, "change", change->id);
    till_line_put(out, "kind", change->wish.kind);
    till_line_put(out, "from", master->live);
    till_line_put(out, "to", change->name);
    till_line_put(out, "author", change->wish.author);
    till_line_put(out, "reason", change->wish.reason);
    till_line_put_int(out, "took_ms", till_master_now() - change->begun_ms);
    put_machine(master, out);
}

/* ---- moving the pointer --------------------------------------------------------- */

static void on_moved(till_master_t *master, uint64_t sequence)
{
    char text[64];

    snprintf(text, sizeof(text), "recorded as change %llu", (unsigned long long)sequence);
    till_answer_step(master, "recorded", NULL, text);
    TILL_CRASH("generation.master_after_record");
    till_follow_arrived(master, sequence);
    master->is_to_record = false;
    snprintf(master->truth.name, sizeof(master->truth.name), "%s", master->change.name);
    if (master->change.is_roll)
        till_roll_decide(master);
    else
        till_change_commit(master);
}

/* Nobody is kept waiting for ever; the change itself is. */
static void look_it_up(till_master_t *master)
{
    static const char text[] =
        "{\"ok\":false,\"unknown\":true,\"error\":\"the database does not say whether the change "
        "was made; the server goes on asking, and `moontill generations` tells what became of it\"}";
    till_change_t *change = &master->change;

    if (change->wish.client != 0 && till_master_now() >= change->deadline_ms) {
        till_answer_end(master, change->wish.client, text, sizeof(text) - 1);
        change->wish.client = 0;
    }
    till_log_msg(TILL_LOG_WARN, "generation.unknown",
                 "the database does not say whether %.12s is live now; it is asked again", change->name);
    till_errand_again(master, ERRAND_CHANGE, AGAIN_MS);
    if (!master->is_announced) /* a shop without its database still has a catalogue to show */
        till_master_announce(master);
}

/* Somebody else has made another one live first: whoever asked may build on that, and try again. */
static void on_stale(till_master_t *master, const char *reason)
{
    till_change_t *change = &master->change;
    till_buf_t line;

    till_buf_init(&line, 0);
    till_buf_puts(&line, "{\"ok\":false,\"stale\":true");
    till_line_put(&line, "error", reason);
    till_buf_putc(&line, '}');
    till_answer_end(master, change->wish.client, line.base, line.len);
    till_buf_dispose(&line);
    change->wish.client = 0;
    till_follow_hurry(master);
}

static void on_recorded(till_master_t *master, const char *line, size_t len)
{
    char reason[2048] = "";

    if (master->change.phase != PHASE_RECORDING)
        return;
    if (till_line_true(line, len, "ok")) {
        on_moved(master, till_line_int(line, len, "sequence", 0));
    } else if (till_line_true(line, len, "unknown")) {
        look_it_up(master);
    } else {
        till_line_text(line, len, "error", reason, sizeof(reason));
        if (till_line_true(line, len, "stale"))
            on_stale(master, reason);
        master->change.phase = master->change.is_roll ? PHASE_ROLLING : PHASE_PREPARING; /* nothing was moved */
        till_change_give_up(master, reason);
    }
}

void till_record_begin(till_master_t *master)
{
    till_change_t *change = &master->change;
    till_buf_t text;

    TILL_CRASH("generation.master_before_record");
    change->phase = PHASE_RECORDING;
    change->deadline_ms = till_master_now() + PATIENCE_MS;
    begin_errand(&text, "record");
    put_change(master, change, &text);
    till_line_put_int(&text, "sequence", master->truth.sequence);
    till_line_put(&text, "expect", change->wish.expect);
    till_buf_putc(&text, '}');
    till_errand_begin(master, ERRAND_CHANGE, &text, on_recorded);
}

static void on_noted(till_master_t *master, const char *line, size_t len)
{
    if (!till_line_true(line, len, "ok"))
        till_log_msg(TILL_LOG_WARN, "generation.unrecorded", "the refusal stands only in the log: %.*s", (int)len,
                     line);
    till_change_prune(master);
}

/* Of two that come at once the last is kept: the log has both. */
void till_record_refusal(till_master_t *master, const till_change_t *change, const char *reason)
{
    till_buf_t text;

    begin_errand(&text, "note");
    put_change(master, change, &text);
    till_line_put(&text, "refusal", reason);
    till_buf_putc(&text, '}');
    till_errand_begin(master, ERRAND_NOTE, &text, on_noted);
}

/* ---- getting one from the database ------------------------------------------------- */

static void on_fetched(till_master_t *master, const char *line, size_t len)
{
    const till_wish_t wish = master->change.wish;
    char name[TILL_GENERATION_NAME + 1], reason[1024];

    if (master->change.phase != PHASE_FETCHING)
        return;
    if (till_line_true(line, len, "unknown")) { /* the worker was on its way out; another one will do */
        till_errand_again(master, ERRAND_CHANGE, AGAIN_MS);
        return;
    }
    master->change.phase = PHASE_IDLE;
    if (till_line_true(line, len, "ok") && till_line_text(line, len, "generation", name, sizeof(name))) {
        till_change_begin(master, name, &wish);
        return;
    }
    if (!till_line_text(line, len, "error", reason, sizeof(reason)))
        snprintf(reason, sizeof(reason), "the database does not answer; nothing was changed");
    till_answer_refuse(master, wish.client, reason);
}

void till_record_fetch(till_master_t *master, const char *hash, const till_wish_t *wish)
{
    till_buf_t text;

    till_change_open(master, PHASE_FETCHING, "", wish);
    master->change.deadline_ms = till_master_now() + PATIENCE_MS;
    begin_errand(&text, "fetch");
    till_line_put(&text, "hash", hash);
    till_buf_putc(&text, '}');
    till_errand_begin(master, ERRAND_CHANGE, &text, on_fetched);
}
