/* redis.h - one pipelined connection to Redis (and a second one for subscriptions).
 *
 * Commands of one loop turn go out in one write. While Redis is away commands
 * fail at once with TILL_CONN_LOST: Redis is speed, never truth, so nobody
 * waits for it; reconnecting is done in the background with backoff, and
 * subscriptions are made again (the callback is then told so, because what was
 * published meanwhile is lost: drop what you cached).
 *
 * The queue of commands without an answer is bounded, by count (max_unanswered)
 * and by time (max_silence_ms: nothing came for so long although answers are
 * due). Beyond, commands are refused with TILL_OVERLOADED and not sent: each
 * would only wait for its own time limit behind those that wait already.
 */
#ifndef TILL_IO_REDIS_H
#define TILL_IO_REDIS_H

#include "base/hash.h"
#include "base/hist.h"
#include "io/op.h"

typedef struct till_redis till_redis_t;

typedef struct till_redis_opts {
    const char *socket; /* NULL: host and port */
    const char *host;
    unsigned port;
    const char *password;        /* NULL: none. All borrowed until destroy */
    uint64_t connect_timeout_ms; /* 0: 3000 */
    unsigned max_unanswered;     /* 0: 65536 */
    uint64_t max_silence_ms;     /* 0: no limit but the 10 s after which the connection is taken for dead */
} till_redis_opts_t;

typedef enum till_reply_type {
    TILL_REPLY_NIL,
    TILL_REPLY_INT,
    TILL_REPLY_TEXT, /* bulk or simple string */
    TILL_REPLY_ARRAY,
    TILL_REPLY_ERROR, /* Redis refused the command: `text` says why; the status is TILL_REJECTED */
} till_reply_type_t;

typedef struct till_reply {
    till_reply_type_t type;
    int64_t integer;
    const char *text;
    size_t len;
    const struct till_reply *items; /* ARRAY: `count` of them */
    size_t count;
} till_reply_t;

till_redis_t *till_redis_create(till_loop_t *loop, const till_redis_opts_t *opts);
/** Commands in flight are told TILL_CANCELLED. */
void till_redis_destroy(till_redis_t *redis);

/** `reply` lives until the callback returns; NULL unless the status is OK or TILL_REJECTED. */
typedef void (*till_redis_cb)(void *data, till_status_t status, const till_reply_t *reply);
/** `argv` is copied. A timeout or cancel drops the answer when it comes; the connection stays. */
till_op_t *till_redis_command(till_redis_t *redis, size_t argc, const till_slice_t *argv, uint64_t timeout_ms,
                              till_redis_cb cb, void *data);

/** A message; `text` NULL says that the subscription was (re)made and messages may have been missed. */
typedef void (*till_redis_message_cb)(void *data, const char *text, size_t len);
typedef struct till_subscription till_subscription_t;
/** `channel` is copied. Several subscriptions of one channel are allowed. */
till_subscription_t *till_redis_subscribe(till_redis_t *redis, till_slice_t channel, till_redis_message_cb cb,
                                          void *data);
void till_redis_unsubscribe(till_subscription_t *subscription); /* no callback afterwards */
bool till_redis_is_up(const till_redis_t *redis);

/** The version of the client library. */
const char *till_redis_library(void);

typedef struct till_redis_stats {
    unsigned in_flight; /* sent and not over */
    uint64_t commands;
    uint64_t refused;      /* of the failures: TILL_OVERLOADED */
    uint64_t failures;     /* not sent, out of time, or lost with the connection; a refusal is an answer */
    till_hist_t durations; /* of commands that were sent */
} till_redis_stats_t;
void till_redis_get_stats(const till_redis_t *redis, till_redis_stats_t *out);

#endif
