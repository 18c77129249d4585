/* redis.c - commands with deadlines and subscriptions, over two connections of redis_conn.c.
 *
 * A command is freed when its callback has returned, but its answer may still
 * be due then (a timeout, a cancel): the connection keeps its place in the
 * order and the answer is dropped when it comes.
 *
 * Subscriptions have a connection of their own, made when the first is asked
 * for. On it only the confirmations of SUBSCRIBE and UNSUBSCRIBE take tickets;
 * a ticket of SUBSCRIBE is the subscription that waits to be told.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "io/redis_priv.h"

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

struct command {
    till_op_t op; /* first */
    double begun;
    till_redis_t *redis;       /* NULL: no answer is due */
    uint64_t number;           /* of its ticket */
    const till_reply_t *reply; /* while it is being delivered */
    till_redis_cb cb;
    void *data;
};

struct till_subscription {
    till_redis_t *redis;
    till_subscription_t *next;
    char *channel;
    size_t len;
    uint64_t number; /* of the ticket of its latest SUBSCRIBE */
    bool gone;       /* unsubscribed while messages are handed out; swept afterwards */
    till_redis_message_cb cb;
    void *data;
};

struct till_redis {
    till_loop_t *loop;
    till_redis_opts_t opts;
    till_redis_conn_t *commands;
    till_redis_conn_t *messages; /* NULL until the first subscription */
    till_subscription_t *subscriptions;
    till_redis_stats_t stats;
    bool handing_out, to_sweep;
    bool destroying;
};

/* Commands */

static size_t count_items(const redisReply *from)
{
    size_t n = from->type == REDIS_REPLY_ARRAY ? from->elements : 0;

    for (size_t i = 0, own = n; i != own; ++i)
        n += count_items(from->element[i]);
    return n;
}

/* Items come from `arena`, of which `*used` are taken; texts stay with hiredis. */
static void convert(till_reply_t *to, const redisReply *from, till_reply_t *arena, size_t *used)
{
    till_reply_t *items;

    *to = (till_reply_t){.type = TILL_REPLY_TEXT, .text = from->str, .len = from->len};
    switch (from->type) {
    case REDIS_REPLY_NIL:
        to->type = TILL_REPLY_NIL;
        break;
    case REDIS_REPLY_INTEGER:
        to->type = TILL_REPLY_INT;
        to->integer = from->integer;
        break;
    case REDIS_REPLY_ERROR:
        to->type = TILL_REPLY_ERROR;
        break;
    case REDIS_REPLY_ARRAY:
        to->type = TILL_REPLY_ARRAY;
        assert(arena != NULL || from->elements == 0);
        to->items = items = arena + *used;
        to->count = from->elements;
        *used += from->elements;
        for (size_t i = 0; i != from->elements; ++i)
            convert(&items[i], from->element[i], arena, used);
        break;
    default:
        break;
    }
}

/* Before its client may be gone. */
static void note_end(till_redis_t *redis, const struct command *command, bool is_answered)
{
    redis->stats.in_flight--;
    redis->stats.failures += !is_answered;
    till_hist_add(&redis->stats.durations, till_hist_now() - command->begun);
}

static void on_reply(void *data, redisReply *raw)
{
    till_redis_t *redis = data;
    struct command *command = till_redis_conn_shift(redis->commands);
    till_reply_t reply;
    size_t used = 0, n;

    if (command == NULL)
        return; /* it timed out or was cancelled */
    n = count_items(raw);
    till_reply_t *arena = n == 0 ? NULL : till_alloc(n * sizeof(*arena));
    convert(&reply, raw, arena, &used);
    command->reply = &reply;
    note_end(redis, command, true);
    till_op_finish_now(&command->op, reply.type == TILL_REPLY_ERROR ? TILL_REJECTED : TILL_OK);
    free(arena);
}

static void on_command_lost(void *data, void *ticket)
{
    till_redis_t *redis = data;
    struct command *command = ticket;

    command->redis = NULL;
    note_end(redis, command, false);
    if (redis->destroying)
        till_op_cancel(&command->op);
    else
        till_op_finish(&command->op, TILL_CONN_LOST);
}

static void on_abort(till_op_t *op, till_status_t why)
{
    struct command *command = (struct command *)op;

    if (command->redis == NULL)
        return;
    note_end(command->redis, command, why == TILL_CANCELLED);
    till_redis_conn_forget(command->redis->commands, command->number);
}

static void on_done(till_op_t *op, till_status_t status)
{
    struct command *command = (struct command *)op;

    command->cb(command->data, status, command->reply);
    free(command);
}

till_op_t *till_redis_command(till_redis_t *redis, size_t argc, const till_slice_t *argv, uint64_t timeout_ms,
                              till_redis_cb cb, void *data)
{
    struct command *command = till_calloc(1, sizeof(*command));
    till_status_t status;

    assert(argc != 0);
    command->cb = cb;
    command->data = data;
    till_op_init(&command->op, redis->loop, timeout_ms, on_abort, on_done);
    status = till_redis_conn_send(redis->commands, argc, argv, command, &command->number);
    redis->stats.commands++;
    redis->stats.refused += status == TILL_OVERLOADED;
    if (status == TILL_OK) {
        command->redis = redis;
        command->begun = till_hist_now();
        redis->stats.in_flight++;
    } else {
        redis->stats.failures++;
        till_op_finish(&command->op, status);
    }
    return &command->op;
}

/* Subscriptions */

/* While the connection is away nothing is sent: the next one begins by asking for all. */
static void send_about(till_subscription_t *sub, const char *verb, void *ticket)
{
    const till_slice_t argv[] = {{verb, strlen(verb)}, {sub->channel, sub->len}};

    (void)till_redis_conn_send(sub->redis->messages, 2, argv, ticket, &sub->number);
}

static void on_messages_connecting(void *data)
{
    till_redis_t *redis = data;

    for (till_subscription_t *sub = redis->subscriptions; sub != NULL; sub = sub->next) {
        if (!sub->gone)
            send_about(sub, "SUBSCRIBE", sub);
    }
}

static void on_ticket_void(void *data, void *ticket)
{
    (void)data;
    (void)ticket; /* every subscription is asked for again on the next connection */
}

static void sweep(till_redis_t *redis)
{
    till_subscription_t **at = &redis->subscriptions;

    redis->to_sweep = false;
    while (*at != NULL) {
        till_subscription_t *sub = *at;
        if (sub->gone) {
            *at = sub->next;
            free(sub->channel);
            free(sub);
        } else {
            at = &sub->next;
        }
    }
}

static bool is_text(const redisReply *reply, const char *text)
{
    return reply->type == REDIS_REPLY_STRING && reply->len == strlen(text) && memcmp(reply->str, text, reply->len) == 0;
}

/* New subscriptions are put in front, so one made by a callback does not get the message that was before it. */
static void hand_out(till_redis_t *redis, const redisReply *channel, const redisReply *text)
{
    for (till_subscription_t *sub = redis->subscriptions; sub != NULL; sub = sub->next) {
        if (!sub->gone && sub->len == channel->len && memcmp(sub->channel, channel->str, sub->len) == 0)
            sub->cb(sub->data, text->str, text->len);
    }
}

static void confirm(till_redis_t *redis)
{
    till_subscription_t *sub = till_redis_conn_shift(redis->messages);

    if (sub != NULL && !sub->gone)
        sub->cb(sub->data, NULL, 0);
}

static void on_message(void *data, redisReply *reply)
{
    till_redis_t *redis = data;

    redis->handing_out = true;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 && is_text(reply->element[0], "message"))
        hand_out(redis, reply->element[1], reply->element[2]);
    else
        confirm(redis);
    redis->handing_out = false;
    if (redis->to_sweep)
        sweep(redis);
}

static const till_redis_events_t command_events = {.on_reply = on_reply, .on_lost = on_command_lost};
static const till_redis_events_t message_events = {
    .on_connecting = on_messages_connecting, .on_reply = on_message, .on_lost = on_ticket_void};

till_subscription_t *till_redis_subscribe(till_redis_t *redis, till_slice_t channel, till_redis_message_cb cb,
                                          void *data)
{
    till_subscription_t *sub = till_calloc(1, sizeof(*sub));

    *sub =
        (till_subscription_t){.redis = redis, .next = redis->subscriptions, .len = channel.len, .cb = cb, .data = data};
    sub->channel = till_strndup(channel.base, channel.len);
    redis->subscriptions = sub;
    if (redis->messages == NULL) {
        redis->messages = till_redis_conn_create(redis->loop, &redis->opts, &message_events, redis);
        till_redis_conn_open(redis->messages); /* asks for all of them */
    } else {
        send_about(sub, "SUBSCRIBE", sub);
    }
    return sub;
}

static bool has_others(const till_subscription_t *one)
{
    for (till_subscription_t *sub = one->redis->subscriptions; sub != NULL; sub = sub->next) {
        if (sub != one && !sub->gone && sub->len == one->len && memcmp(sub->channel, one->channel, one->len) == 0)
            return true;
    }
    return false;
}

void till_redis_unsubscribe(till_subscription_t *sub)
{
    till_redis_t *redis = sub->redis;

    sub->gone = true;
    till_redis_conn_forget(redis->messages, sub->number);
    if (!has_others(sub))
        send_about(sub, "UNSUBSCRIBE", NULL);
    if (redis->handing_out)
        redis->to_sweep = true;
    else
        sweep(redis);
}

/* Both */

till_redis_t *till_redis_create(till_loop_t *loop, const till_redis_opts_t *opts)
{
    till_redis_t *redis = till_calloc(1, sizeof(*redis));

    redis->loop = loop;
    redis->opts = *opts;
    redis->commands = till_redis_conn_create(loop, &redis->opts, &command_events, redis);
    till_redis_conn_open(redis->commands);
    return redis;
}

void till_redis_destroy(till_redis_t *redis)
{
    redis->destroying = true;
    till_redis_conn_destroy(redis->commands);
    if (redis->messages != NULL)
        till_redis_conn_destroy(redis->messages);
    for (till_subscription_t *sub = redis->subscriptions; sub != NULL; sub = sub->next)
        sub->gone = true;
    sweep(redis);
    free(redis);
}

void till_redis_get_stats(const till_redis_t *redis, till_redis_stats_t *out) { *out = redis->stats; }

const char *till_redis_library(void) { return TEXT(HIREDIS_MAJOR) "." TEXT(HIREDIS_MINOR) "." TEXT(HIREDIS_PATCH); }

bool till_redis_is_up(const till_redis_t *redis) { return till_redis_conn_is_up(redis->commands); }
