/* master_answer.c - who is told what: clients of the control socket, and workers that ask for a request of theirs.
 *
 * A worker's ask is a client too: its number has the highest bit, the worker's
 * slot, and the number that the worker gave.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "base/log.h"
#include "serve/master_priv.h"

#define OF_WORKER ((uint64_t)1 << 63)
#define SLOT_SHIFT 48

static till_child_t *worker_of(till_master_t *master, uint64_t client)
{
    unsigned slot = client >> SLOT_SHIFT & 0x7fff;

    return (client & OF_WORKER) != 0 && slot < TILL_CHILDREN ? &master->children[slot] : NULL;
}

/* What Lua has a reason to ask for; the rest is the operator's. */
static bool may_ask(const till_message_t *message)
{
    static const char *const allowed[] = {"reload", "rollback", "activate", "generations", "hurry"};
    char command[32];
    bool may = false;

    till_line_text(message->text, strlen(message->text), "command", command, sizeof(command));
    for (size_t i = 0; i != sizeof(allowed) / sizeof(allowed[0]); ++i)
        may |= strcmp(command, allowed[i]) == 0;
    return may;
}

void till_answer_on_ask(till_master_t *master, till_child_t *child, const till_message_t *message)
{
    uint64_t id = strtoull(message->name, NULL, 10) & (((uint64_t)1 << SLOT_SHIFT) - 1);
    uint64_t slot = (uint64_t)(child - master->children);

    uint64_t client = OF_WORKER | slot << SLOT_SHIFT | id;

    if (may_ask(message))
        till_commands_on_line(master, client, message->text, strlen(message->text));
    else
        till_answer_refuse(master, client, "a worker may not ask for this");
}

/* A worker waits for the last line only. */
void till_answer_say(till_master_t *master, uint64_t client, const char *line, size_t len)
{
    if (client != 0 && worker_of(master, client) == NULL)
        till_control_say(master->control, client, line, len);
}

void till_answer_end(till_master_t *master, uint64_t client, const char *line, size_t len)
{
    const till_child_t *child = worker_of(master, client);
    char id[24];

    if (child == NULL) {
        if (client != 0)
            till_control_end(master->control, client, line, len);
        return;
    }
    snprintf(id, sizeof(id), "%llu", (unsigned long long)(client & (((uint64_t)1 << SLOT_SHIFT) - 1)));
    if (child->channel != -1 && !till_channel_send(child->channel, "answer", id, line))
        till_log_msg(TILL_LOG_WARN, "master.channel", "%s was not told: answer", child->name);
}

void till_answer_step(till_master_t *master, const char *step, const till_child_t *child, const char *text)
{
    uint64_t ms = till_master_now() - master->change.begun_ms;
    char sentence[1200];
    till_buf_t line;

    if (child != NULL)
        snprintf(sentence, sizeof(sentence), "%s (pid %d) %s, %llu ms", child->name, (int)child->pid, text,
                 (unsigned long long)ms);
    else
        snprintf(sentence, sizeof(sentence), "%s, %llu ms", text, (unsigned long long)ms);
    till_buf_init(&line, 0);
    till_buf_putc(&line, '{');
    till_line_put(&line, "progress", sentence);
    till_line_put(&line, "step", step);
    if (child != NULL) {
        till_line_put(&line, "worker", child->name);
        till_line_put_int(&line, "pid", (uint64_t)child->pid);
    }
    till_line_put_int(&line, "ms", ms);
    till_buf_putc(&line, '}');
    till_answer_say(master, master->change.wish.client, line.base, line.len);
    till_buf_dispose(&line);
}

void till_answer_refuse(till_master_t *master, uint64_t client, const char *reason)
{
    till_buf_t line;

    till_log_msg(TILL_LOG_ERROR, "generation.refused", "%s", reason);
    till_buf_init(&line, 0);
    till_buf_puts(&line, "{\"ok\":false");
    till_line_put(&line, "error", reason);
    till_buf_putc(&line, '}');
    till_answer_end(master, client, line.base, line.len);
    till_buf_dispose(&line);
}

void till_answer_busy(till_master_t *master, uint64_t client)
{
    static const char text[] =
        "{\"ok\":false,\"busy\":true,\"error\":\"another change is under way; try again in a moment\"}";

    till_answer_end(master, client, text, sizeof(text) - 1);
}

void till_answer_succeed(till_master_t *master, uint64_t client, const char *what, uint64_t ms)
{
    till_buf_t line;

    till_buf_init(&line, 0);
    till_buf_printf(&line, "{\"ok\":true,\"generation\":\"%s\",\"sequence\":%llu,%s,\"ms\":%llu,", master->live,
                    (unsigned long long)master->truth.sequence, what, (unsigned long long)ms);
    till_commands_write_workers(master, &line);
    till_buf_putc(&line, '}');
    till_answer_end(master, client, line.base, line.len);
    till_buf_dispose(&line);
}
