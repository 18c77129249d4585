/* master_errand.c - what the master has a worker do in the database: "run ID JSON" and "ran ID JSON" (errand.h).
 *
 * The master itself waits for nobody, so it has no connection to the database.
 * Any worker that is ready will do, a jobs worker first: no shopper waits
 * behind it. All errands may be run twice: a worker that dies at one is
 * followed by another, which finds what the first one has done.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "serve/master_priv.h"

static till_child_t *find_worker(till_master_t *master)
{
    till_child_t *web = NULL;

    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        till_child_t *child = &master->children[i];
        if (child->set != SET_NOW || child->state != CHILD_READY)
            continue;
        if (!child->is_web)
            return child;
        web = web != NULL ? web : child;
    }
    return web;
}

static void give_out(till_master_t *master, till_errand_t *errand)
{
    till_child_t *child = find_worker(master);
    till_buf_t text;
    char id[24];

    if (child == NULL)
        return;
    till_buf_init(&text, 0);
    till_buf_append(&text, errand->text, strlen(errand->text) - 1);
    till_buf_puts(&text, errand->is_again ? ",\"again\":true}" : "}");
    snprintf(id, sizeof(id), "%llu", (unsigned long long)errand->id);
    if (till_channel_send(child->channel, "run", id, text.base))
        errand->child = child;
    till_buf_dispose(&text);
}

void till_errand_begin(till_master_t *master, till_errand_kind_t kind, till_buf_t *text, till_errand_cb done)
{
    till_errand_t *errand = &master->errands[kind];

    free(errand->text);
    *errand = (till_errand_t){.id = ++master->last_errand, .text = till_buf_take(text), .done = done};
    give_out(master, errand);
}

void till_errand_again(till_master_t *master, till_errand_kind_t kind, uint64_t delay_ms)
{
    till_errand_t *errand = &master->errands[kind];

    errand->id = ++master->last_errand;
    errand->child = NULL;
    errand->is_again = true;
    errand->not_before_ms = till_master_now() + delay_ms;
}

bool till_errand_is_idle(const till_master_t *master, till_errand_kind_t kind) { return master->errands[kind].id == 0; }

void till_errand_on_ran(till_master_t *master, const till_child_t *child, const till_message_t *message)
{
    uint64_t id = strtoull(message->name, NULL, 10);

    for (int kind = 0; kind != ERRAND_COUNT; ++kind) {
        till_errand_t *errand = &master->errands[kind];
        if (errand->id == 0 || errand->id != id || errand->child != child)
            continue;
        errand->id = 0;
        errand->child = NULL;
        errand->done(master, message->text, strlen(message->text));
    }
}

/* Its number changes: an answer that is still on its way is not taken for another's. */
void till_errand_on_death(till_master_t *master, const till_child_t *child)
{
    for (int kind = 0; kind != ERRAND_COUNT; ++kind) {
        till_errand_t *errand = &master->errands[kind];
        if (errand->id != 0 && errand->child == child)
            till_errand_again(master, kind, 0);
    }
}

void till_errand_turn(till_master_t *master)
{
    for (int kind = 0; kind != ERRAND_COUNT; ++kind) {
        till_errand_t *errand = &master->errands[kind];
        if (errand->id != 0 && errand->child == NULL && till_master_now() >= errand->not_before_ms)
            give_out(master, errand);
    }
}

void till_errand_dispose(till_master_t *master)
{
    for (int kind = 0; kind != ERRAND_COUNT; ++kind)
        free(master->errands[kind].text);
}
