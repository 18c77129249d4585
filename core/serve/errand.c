#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "serve/errand.h"
#include "serve/line.h"

#define RUN_MS 15000 /* looking up what became of a change takes its time */

struct till_ask {
    till_op_t op;
    struct till_ask *next, **at; /* at is NULL once it left the list */
    uint64_t id;
    char *text; /* the answer */
    void (*done)(void *data, till_status_t status, const char *text, size_t len);
    void *data;
};

/* A number that no process before in this place has used lately. */
void till_errands_init(till_errands_t *errands, till_loop_t *loop, int channel)
{
    *errands = (till_errands_t){.loop = loop, .channel = channel, .last_id = (uint64_t)getpid() << 24};
}

/* ---- asking ------------------------------------------------------------------ */

static void leave(struct till_ask *ask)
{
    if (ask->at == NULL)
        return;
    *ask->at = ask->next;
    if (ask->next != NULL)
        ask->next->at = ask->at;
    ask->at = NULL;
}

static void on_done(till_op_t *op, till_status_t status)
{
    struct till_ask *ask = (struct till_ask *)op;
    struct till_ask own = *ask;

    leave(ask);
    free(ask);
    own.done(own.data, status, own.text, own.text != NULL ? strlen(own.text) : 0);
    free(own.text);
}

till_op_t *till_errands_ask(void *data_of_ask, till_slice_t command, uint64_t timeout_ms,
                            void (*done)(void *data, till_status_t status, const char *text, size_t len), void *data)
{
    till_errands_t *errands = data_of_ask;
    char id[24];

    if (errands->channel == -1 || command.len >= TILL_MESSAGE_MAX - sizeof(id) - 8)
        return NULL;
    snprintf(id, sizeof(id), "%llu", (unsigned long long)++errands->last_id);
    if (!till_channel_send(errands->channel, "ask", id, command.base))
        return NULL;
    struct till_ask *ask = till_calloc(1, sizeof(*ask));
    ask->id = errands->last_id;
    ask->done = done;
    ask->data = data;
    ask->next = errands->asks;
    ask->at = &errands->asks;
    if (ask->next != NULL)
        ask->next->at = &ask->next;
    errands->asks = ask;
    till_op_init(&ask->op, errands->loop, timeout_ms, NULL, on_done);
    return &ask->op;
}

void till_errands_on_answer(till_errands_t *errands, const till_message_t *message)
{
    uint64_t id = strtoull(message->name, NULL, 10);

    for (struct till_ask *ask = errands->asks; ask != NULL; ask = ask->next) {
        if (ask->id != id || ask->text != NULL)
            continue;
        ask->text = till_strdup(message->text);
        till_op_finish(&ask->op, TILL_OK);
        return;
    }
}

/* ---- being asked ---------------------------------------------------------------- */

struct run {
    int channel;
    char id[TILL_GENERATION_NAME + 1];
};

static void tell(const struct run *run, const char *text)
{
    if (!till_channel_send(run->channel, "ran", run->id, text))
        till_log_msg(TILL_LOG_WARN, "worker.channel", "the master was not told: ran %s", run->id);
}

static void on_ran(void *data, till_status_t status, const char *text, size_t len)
{
    struct run *run = data;
    till_buf_t line;

    till_buf_init(&line, 0);
    if (status == TILL_OK && len != 0) {
        till_buf_append(&line, text, len);
    } else {
        till_log_msg(TILL_LOG_ERROR, "generation.errand", "%.*s", (int)len, text != NULL ? text : "");
        till_buf_puts(&line, "{\"ok\":false");
        till_line_put(&line, "error", "a worker could not do what the database was needed for; the log says why");
        if (status == TILL_TIMEOUT || status == TILL_CANCELLED || status == TILL_UNAVAILABLE)
            till_buf_puts(&line, ",\"unknown\":true");
        till_buf_putc(&line, '}');
    }
    tell(run, line.base);
    till_buf_dispose(&line);
    free(run);
}

void till_errands_run(till_errands_t *errands, till_vm_t *vm, const till_message_t *message)
{
    struct run *run = till_calloc(1, sizeof(*run));
    const char *arguments[] = {message->text};

    run->channel = errands->channel;
    memcpy(run->id, message->name, sizeof(run->id));
    if (vm != NULL)
        till_vm_run(vm, "generation", arguments, 1, RUN_MS, on_ran, run);
    else
        on_ran(run, TILL_UNAVAILABLE, NULL, 0);
}
