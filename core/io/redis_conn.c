/* redis_conn.c - one connection to Redis on the worker's loop; see redis_priv.h.
 *
 *      DOWN --start--> CONNECTING --on_connected--> GREETING --greet--> UP
 *        ^                  |                          |                 |
 *        +------ lose ------+--------------------------+-----------------+
 *
 * What always holds
 *  1. Outside DOWN there are a context and a socket; in DOWN neither, and the
 *     timer runs towards the next try.
 *  2. AUTH and PING are the first two things in the output, and UP means that
 *     the answer to PING came: a Redis that still loads its data is not up.
 *  3. Nothing is written before the connect is known to have succeeded.
 *  4. The queue holds one entry for each answer still to come after the
 *     greeting, in order.
 *
 * While the very first connect is under way it is not known yet whether Redis
 * is away; what is sent then waits for it. Later on nobody waits, but the owner
 * of subscriptions, who asks again for all of them on each new connection.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/trace.h"
#include "io/redis_priv.h"

enum {
    CONNECT_MS = 3000,
    /* unless told */ SILENCE_MS = 10000,
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 5000,
    MAX_UNANSWERED = 65536
};

enum state { DOWN, CONNECTING, GREETING, UP };

struct ring {
    void **base;
    size_t first, count, cap; /* `cap` is a power of two */
    uint64_t taken;           /* for ever: the number of the entry at `first` */
};

struct till_redis_conn {
    till_loop_t *loop;
    const till_redis_opts_t *opts;
    const till_redis_events_t *events;
    void *data;
    enum state state;
    redisContext *context;
    h2o_socket_t *sock; /* watches a dup of the context's descriptor, never reads it */
    struct ring tickets;
    unsigned greetings; /* answers to AUTH and PING still to come */
    unsigned tries;     /* since it was up last */
    bool first_try;     /* never lost yet */
    bool reading, broken;
    till_turn_hook_t flush_hook;
    till_timer_t timer;    /* DOWN: the next try. else: silence while answers are due */
    uint64_t silent_since; /* while answers are due: when the last one came, or the first was asked for */
};

/* The only place where the state changes, so that one trace tells it all. */
static void set_state(till_redis_conn_t *conn, enum state next)
{
    TILL_TRACE("redis", conn, "%d -> %d", conn->state, next);
    conn->state = next;
}

static void ring_push(struct ring *ring, void *ticket)
{
    if (ring->count == ring->cap) {
        size_t cap = ring->cap == 0 ? 64 : ring->cap * 2;
        void **base = till_alloc(cap * sizeof(*base));

        for (size_t i = 0; i != ring->count; ++i)
            base[i] = ring->base[(ring->first + i) & (ring->cap - 1)];
        free(ring->base);
        *ring = (struct ring){.base = base, .count = ring->count, .cap = cap, .taken = ring->taken};
    }
    ring->base[(ring->first + ring->count++) & (ring->cap - 1)] = ticket;
}

static void *ring_shift(struct ring *ring)
{
    if (ring->count == 0)
        return NULL;
    void *ticket = ring->base[ring->first];
    ring->first = (ring->first + 1) & (ring->cap - 1);
    --ring->count;
    ++ring->taken;
    return ticket;
}

static void start(till_redis_conn_t *conn);

static void on_retry(till_timer_t *timer) { start(H2O_STRUCT_FROM_MEMBER(till_redis_conn_t, timer, timer)); }

/* Half of the wait is jitter, so that workers do not come back all at once. */
static uint64_t backoff_ms(unsigned tries)
{
    uint64_t wait = BACKOFF_MIN_MS << (tries < 7 ? tries : 7);
    uint32_t dice;

    till_random(&dice, sizeof(dice));
    wait = wait < BACKOFF_MAX_MS ? wait : BACKOFF_MAX_MS;
    return wait / 2 + dice % (wait / 2 + 1);
}

static void tell_loss(const till_redis_conn_t *conn, const char *why)
{
    till_log_t line;

    if (conn->tries != 0)
        return; /* once for each time it goes away, not for each try */
    till_log_begin(&line, TILL_LOG_WARN, "redis.lost");
    till_log_str(&line, "why", why);
    till_log_end(&line);
}

static void let_go(till_redis_conn_t *conn)
{
    till_turn_hook_cancel(conn->loop, &conn->flush_hook);
    till_timer_stop(&conn->timer);
    if (conn->sock != NULL)
        h2o_socket_close(conn->sock); /* before the context: both name one open file */
    conn->sock = NULL;
    if (conn->context != NULL)
        redisFree(conn->context);
    conn->context = NULL;
    set_state(conn, DOWN);
}

static void drop_tickets(till_redis_conn_t *conn)
{
    while (conn->tickets.count != 0) {
        void *ticket = ring_shift(&conn->tickets);
        if (ticket != NULL)
            conn->events->on_lost(conn->data, ticket);
    }
}

static void lose(till_redis_conn_t *conn, const char *why)
{
    tell_loss(conn, why);
    conn->first_try = false;
    let_go(conn);
    drop_tickets(conn);
    till_timer_start(conn->loop, &conn->timer, backoff_ms(conn->tries++), on_retry);
}

static void on_silence(till_timer_t *timer)
{
    lose(H2O_STRUCT_FROM_MEMBER(till_redis_conn_t, timer, timer), "no answer");
}

static void watch_silence(till_redis_conn_t *conn)
{
    if (conn->greetings == 0 && conn->tickets.count == 0)
        till_timer_stop(&conn->timer);
    else
        till_timer_start(conn->loop, &conn->timer, SILENCE_MS, on_silence);
}

/* AUTH and PING must not be refused. @return false: the connection was lost */
static bool greet(till_redis_conn_t *conn, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR) {
        lose(conn, reply->str);
        return false;
    }
    if (--conn->greetings == 0) {
        set_state(conn, UP);
        if (conn->tries != 0)
            till_log_msg(TILL_LOG_INFO, "redis.up", "connected again after %u tries", conn->tries);
        conn->tries = 0;
    }
    return true;
}

/* @return false: the connection was lost */
static bool take_reply(till_redis_conn_t *conn, redisReply *reply)
{
    bool alive = true;

    if (conn->state == GREETING)
        alive = greet(conn, reply);
    else
        conn->events->on_reply(conn->data, reply);
    freeReplyObject(reply);
    return alive;
}

static void read_replies(till_redis_conn_t *conn)
{
    void *reply;

    conn->silent_since = till_loop_now(conn->loop);
    while (redisGetReplyFromReader(conn->context, &reply) == REDIS_OK) {
        if (reply == NULL) {
            watch_silence(conn);
            return;
        }
        if (!take_reply(conn, reply))
            return;
        if (conn->broken)
            break;
    }
    lose(conn, conn->broken ? "an answer nobody asked for" : conn->context->errstr);
}

static void on_readable(h2o_socket_t *sock, const char *err)
{
    till_redis_conn_t *conn = sock->data;

    if (err != NULL || redisBufferRead(conn->context) != REDIS_OK) {
        lose(conn, err != NULL ? err : conn->context->errstr);
        return;
    }
    conn->reading = true;
    read_replies(conn);
    conn->reading = false;
}

static void flush(till_redis_conn_t *conn);

static void on_writable(h2o_socket_t *sock, const char *err)
{
    (void)err; /* the write itself tells */
    flush(sock->data);
}

static void flush(till_redis_conn_t *conn)
{
    int all_out = 0;

    if (redisBufferWrite(conn->context, &all_out) != REDIS_OK) {
        lose(conn, conn->context->errstr);
        return;
    }
    if (!all_out && !h2o_socket_is_writing(conn->sock))
        h2o_socket_notify_write(conn->sock, on_writable);
    if (!till_timer_is_running(&conn->timer))
        watch_silence(conn);
}

static void on_turn_end(till_turn_hook_t *hook)
{
    till_redis_conn_t *conn = H2O_STRUCT_FROM_MEMBER(till_redis_conn_t, flush_hook, hook);

    if (conn->state >= GREETING && !h2o_socket_is_writing(conn->sock))
        flush(conn);
}

static void on_connected(h2o_socket_t *sock, const char *err)
{
    till_redis_conn_t *conn = sock->data;
    int error = 0;
    socklen_t len = sizeof(error);

    if (err == NULL && getsockopt(conn->context->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (err != NULL || error != 0) {
        lose(conn, err != NULL ? err : strerror(error));
        return;
    }
    set_state(conn, GREETING);
    h2o_socket_read_start(conn->sock, on_readable);
    flush(conn);
}

static void put_greeting(till_redis_conn_t *conn)
{
    const char *auth[] = {"AUTH", conn->opts->password};
    const char *ping[] = {"PING"};

    conn->greetings = 1;
    if (conn->opts->password != NULL) {
        redisAppendCommandArgv(conn->context, 2, auth, NULL);
        ++conn->greetings;
    }
    redisAppendCommandArgv(conn->context, 1, ping, NULL);
}

/* A name in `host` is resolved here and makes the worker wait: configure an address. */
static bool open_context(till_redis_conn_t *conn)
{
    const till_redis_opts_t *opts = conn->opts;

    conn->context = opts->socket != NULL ? redisConnectUnixNonBlock(opts->socket)
                                         : redisConnectNonBlock(opts->host, (int)opts->port);
    if (conn->context == NULL || conn->context->err != 0)
        return false;
    if (opts->socket == NULL)
        redisEnableKeepAlive(conn->context); /* a silent subscription must notice a dead peer */
    int fd = dup(conn->context->fd);
    if (fd < 0)
        return false;
    conn->sock = h2o_evloop_socket_create(till_loop_h2o(conn->loop), fd, H2O_SOCKET_FLAG_DONT_READ);
    conn->sock->data = conn;
    return true;
}

static void start(till_redis_conn_t *conn)
{
    uint64_t connect_ms = conn->opts->connect_timeout_ms;

    conn->broken = false;
    if (!open_context(conn)) {
        lose(conn, conn->context != NULL && conn->context->err != 0 ? conn->context->errstr : "no descriptor");
        return;
    }
    set_state(conn, CONNECTING);
    put_greeting(conn);
    h2o_socket_notify_write(conn->sock, on_connected);
    till_timer_start(conn->loop, &conn->timer, connect_ms != 0 ? connect_ms : CONNECT_MS, on_silence);
    if (conn->events->on_connecting != NULL)
        conn->events->on_connecting(conn->data);
}

till_redis_conn_t *till_redis_conn_create(till_loop_t *loop, const till_redis_opts_t *opts,
                                          const till_redis_events_t *events, void *data)
{
    till_redis_conn_t *conn = till_calloc(1, sizeof(*conn));

    conn->loop = loop;
    conn->opts = opts;
    conn->events = events;
    conn->data = data;
    conn->first_try = true;
    return conn;
}

void till_redis_conn_open(till_redis_conn_t *conn)
{
    assert(conn->state == DOWN && conn->first_try);
    start(conn);
}

void till_redis_conn_destroy(till_redis_conn_t *conn)
{
    assert(!conn->reading && "destroyed from inside a callback of its own");
    let_go(conn);
    drop_tickets(conn);
    free(conn->tickets.base);
    free(conn);
}

bool till_redis_conn_is_up(const till_redis_conn_t *conn) { return conn->state == UP; }

static void append(redisContext *context, size_t argc, const till_slice_t *argv)
{
    const char **bases = till_alloc(argc * sizeof(*bases));
    size_t *lens = till_alloc(argc * sizeof(*lens));

    for (size_t i = 0; i != argc; ++i) {
        bases[i] = argv[i].base != NULL ? argv[i].base : "";
        lens[i] = argv[i].len;
    }
    if (redisAppendCommandArgv(context, (int)argc, bases, lens) != REDIS_OK)
        abort(); /* it fails for want of memory only */
    free(bases);
    free(lens);
}

/* Those who asked for subscriptions are few and must not be turned away. */
static bool is_full(const till_redis_conn_t *conn)
{
    const till_redis_opts_t *opts = conn->opts;
    uint64_t silence = till_loop_now(conn->loop) - conn->silent_since;

    if (conn->events->on_connecting != NULL)
        return conn->tickets.count >= MAX_UNANSWERED;
    if (conn->tickets.count >= (opts->max_unanswered != 0 ? opts->max_unanswered : MAX_UNANSWERED))
        return true;
    return opts->max_silence_ms != 0 && conn->tickets.count != 0 && silence >= opts->max_silence_ms;
}

till_status_t till_redis_conn_send(till_redis_conn_t *conn, size_t argc, const till_slice_t *argv, void *ticket,
                                   uint64_t *number)
{
    if (conn->state == DOWN || (conn->state != UP && !conn->first_try && conn->events->on_connecting == NULL))
        return TILL_CONN_LOST;
    if (is_full(conn))
        return TILL_OVERLOADED;
    if (conn->tickets.count == 0)
        conn->silent_since = till_loop_now(conn->loop);
    append(conn->context, argc, argv);
    *number = conn->tickets.taken + conn->tickets.count;
    ring_push(&conn->tickets, ticket);
    till_loop_at_turn_end(conn->loop, &conn->flush_hook, on_turn_end);
    return TILL_OK;
}

void *till_redis_conn_shift(till_redis_conn_t *conn)
{
    if (conn->tickets.count == 0)
        conn->broken = true; /* lost as soon as the owner returns */
    return ring_shift(&conn->tickets);
}

void till_redis_conn_forget(till_redis_conn_t *conn, uint64_t number)
{
    struct ring *ring = &conn->tickets;

    if (number >= ring->taken && number - ring->taken < ring->count)
        ring->base[(ring->first + (number - ring->taken)) & (ring->cap - 1)] = NULL;
}
