/* amqp_wire.c - the thread's side of publishing: connections, messages, the broker's word. See amqp.h.
 *
 *   open -> publish all -> wait: returned and confirmed, one by one or many at a time -> all known
 *     |        ^ |           |
 *     |        | +-----------+-- the channel was closed over a message: opened anew, what is not known
 *     |        +--------------+  goes again, half as many at a time, until that message went alone
 *     +----------+-----------+-- any other failure: the connection is closed, and what it was is told.
 *                                One that was kept and turns out dead is opened anew, once.
 *
 * A message that no queue wants is returned before it is confirmed; it is known by its id. Which one
 * the channel was closed over the broker does not say, and what it took before it does not confirm.
 */
#include <amqp.h>
#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include "base/buf.h"
#include "base/mem.h"
#include "io/amqp_priv.h"

enum { CHANNEL = 1, FRAME_MAX = 131072, CONNECT_MOST_MS = 5000, IDLE_MS = 60000, HEADERS = 2 };

/* What is on the wire at once: messages `from` up to, and without, `to`. */
struct lot {
    size_t from, to;
    uint64_t first_tag;
};

enum step { GONE_ON, FAILED, CLOSED_OVER_ONE };

struct till_amqp_wire {
    till_amqp_wire_t *next;
    char *key; /* what it leads to */
    amqp_connection_state_t state;
    uint64_t used_ms;
    uint64_t tags; /* of the messages sent so far: they count from 1 */
};

static uint64_t mono_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct timeval left_until(uint64_t until_ms)
{
    uint64_t now = mono_ms(), left = until_ms > now ? until_ms - now : 0;

    return (struct timeval){.tv_sec = (time_t)(left / 1000), .tv_usec = (suseconds_t)(left % 1000) * 1000};
}

/* ---- failures ----------------------------------------------------------- */

static void say(till_amqp_work_t *work, const char *what, const char *why, size_t len)
{
    work->status = TILL_UNAVAILABLE;
    snprintf(work->error, sizeof(work->error), "%s: %.*s", what, (int)len, why);
}

static bool fail(till_amqp_work_t *work, const char *what, int code)
{
    const char *why = amqp_error_string2(code);

    say(work, what, why, strlen(why));
    return false;
}

/* The broker's own words where it closed something, say "NOT_FOUND - no exchange 'x' in vhost '/'". */
static bool fail_of_close(till_amqp_work_t *work, const char *what, const amqp_method_t *method)
{
    amqp_bytes_t text = amqp_cstring_bytes("the broker ended it");

    if (method->id == AMQP_CONNECTION_CLOSE_METHOD)
        text = ((amqp_connection_close_t *)method->decoded)->reply_text;
    else if (method->id == AMQP_CHANNEL_CLOSE_METHOD)
        text = ((amqp_channel_close_t *)method->decoded)->reply_text;
    say(work, what, text.bytes, text.len);
    return false;
}

static bool is_good(till_amqp_work_t *work, const char *what, amqp_rpc_reply_t reply)
{
    if (reply.reply_type == AMQP_RESPONSE_NORMAL)
        return true;
    if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION)
        return fail_of_close(work, what, &reply.reply);
    return fail(work, what, reply.library_error);
}

/* ---- connections -------------------------------------------------------- */

static void set_brake(till_amqp_brake_t *brake, int fd)
{
    pthread_mutex_lock(&brake->lock);
    brake->fd = fd;
    if (fd >= 0 && brake->is_closed)
        shutdown(fd, SHUT_RDWR);
    pthread_mutex_unlock(&brake->lock);
}

static void close_wire(till_amqp_wire_t **at, till_amqp_brake_t *brake)
{
    till_amqp_wire_t *wire = *at;

    *at = wire->next;
    set_brake(brake, -1);
    if (wire->state != NULL)
        amqp_destroy_connection(wire->state); /* closes without a word: nothing unconfirmed counts */
    free(wire->key);
    free(wire);
}

void till_amqp_wire_close_all(till_amqp_wire_t **wires, till_amqp_brake_t *brake)
{
    while (*wires != NULL)
        close_wire(wires, brake);
}

static char *key_of(const till_amqp_target_t *target)
{
    till_buf_t key;

    till_buf_init(&key, 0);
    till_buf_printf(&key, "%s\n%u\n%s\n%s\n%s\n%s\n%d%d\n%s", target->host, target->port, target->vhost, target->user,
                    target->password, target->exchange, target->is_declared, target->tls, target->ca_file);
    return till_buf_take(&key);
}

static amqp_socket_t *make_socket(till_amqp_wire_t *wire, till_amqp_work_t *work)
{
    amqp_socket_t *sock;

    if (!work->target.tls)
        return amqp_tcp_socket_new(wire->state);
    sock = amqp_ssl_socket_new(wire->state);
    if (sock == NULL)
        return NULL;
    amqp_ssl_socket_set_verify_peer(sock, 1);
    amqp_ssl_socket_set_verify_hostname(sock, 1);
    return amqp_ssl_socket_set_cacert(sock, work->target.ca_file) == AMQP_STATUS_OK ? sock : NULL;
}

/* A peer that is gone without a word is noticed by the kernel. */
static void watch_peer(int fd)
{
    const int on = 1;
    const unsigned gone_ms = 15000;

    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &gone_ms, sizeof(gone_ms));
}

static bool open_socket(till_amqp_wire_t *wire, till_amqp_brake_t *brake, till_amqp_work_t *work)
{
    amqp_socket_t *sock = make_socket(wire, work);
    uint64_t most = mono_ms() + CONNECT_MOST_MS;
    struct timeval limit = left_until(most < work->until_ms ? most : work->until_ms);
    char what[TILL_AMQP_ERROR_MAX / 2];

    if (sock == NULL) {
        say(work, "TLS: the authorities' file cannot be read", work->target.ca_file, strlen(work->target.ca_file));
        return false;
    }
    snprintf(what, sizeof(what), "connecting to %.60s:%u", work->target.host, work->target.port);
    int code = amqp_socket_open_noblock(sock, work->target.host, (int)work->target.port, &limit);
    if (code != AMQP_STATUS_OK)
        return fail(work, what, code);
    watch_peer(amqp_get_sockfd(wire->state));
    set_brake(brake, amqp_get_sockfd(wire->state));
    amqp_set_handshake_timeout(wire->state, &limit);
    amqp_set_rpc_timeout(wire->state, &limit);
    return true;
}

/* A broker that does not know the name and password tells so, or just hangs up after a second. */
static bool log_in(till_amqp_wire_t *wire, till_amqp_work_t *work)
{
    const till_amqp_target_t *target = &work->target;
    amqp_table_entry_t capability = {
        .key = amqp_cstring_bytes("authentication_failure_close"),
        .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value = {.boolean = 1}},
    };
    amqp_table_entry_t property = {
        .key = amqp_cstring_bytes("capabilities"),
        .value = {.kind = AMQP_FIELD_KIND_TABLE, .value = {.table = {.num_entries = 1, .entries = &capability}}},
    };
    const amqp_table_t properties = {.num_entries = 1, .entries = &property};
    char what[TILL_AMQP_ERROR_MAX / 2];

    snprintf(what, sizeof(what), "logging in as %.40s to vhost %.40s", target->user, target->vhost);
    return is_good(work, what,
                   amqp_login_with_properties(wire->state, target->vhost, 0, FRAME_MAX, 0, &properties,
                                              AMQP_SASL_METHOD_PLAIN, target->user, target->password));
}

static bool prepare_channel(till_amqp_wire_t *wire, till_amqp_work_t *work)
{
    const till_amqp_target_t *target = &work->target;

    amqp_channel_open(wire->state, CHANNEL);
    if (!is_good(work, "opening a channel", amqp_get_rpc_reply(wire->state)))
        return false;
    if (target->is_declared && target->exchange[0] != '\0') {
        amqp_exchange_declare(wire->state, CHANNEL, amqp_cstring_bytes(target->exchange), amqp_cstring_bytes("topic"),
                              0, 1, 0, 0, amqp_empty_table);
        if (!is_good(work, "declaring the exchange", amqp_get_rpc_reply(wire->state)))
            return false;
    }
    amqp_confirm_select(wire->state, CHANNEL);
    return is_good(work, "asking for confirms", amqp_get_rpc_reply(wire->state));
}

static void close_idle(till_amqp_wire_t **wires, till_amqp_brake_t *brake)
{
    uint64_t now = mono_ms();

    while (*wires != NULL)
        if (now - (*wires)->used_ms > IDLE_MS)
            close_wire(wires, brake);
        else
            wires = &(*wires)->next;
}

/* @return where it stands in the list, NULL: `work` says why not */
static till_amqp_wire_t **open_wire(till_amqp_wire_t **wires, till_amqp_brake_t *brake, till_amqp_work_t *work)
{
    till_amqp_wire_t *wire = till_calloc(1, sizeof(*wire));

    wire->key = till_strdup(work->key);
    wire->state = amqp_new_connection();
    wire->next = *wires;
    *wires = wire;
    if (open_socket(wire, brake, work) && log_in(wire, work) && prepare_channel(wire, work))
        return wires;
    close_wire(wires, brake);
    return NULL;
}

static till_amqp_wire_t **find_wire(till_amqp_wire_t **wires, till_amqp_brake_t *brake, const char *key)
{
    for (; *wires != NULL; wires = &(*wires)->next) {
        if (strcmp((*wires)->key, key) == 0) {
            set_brake(brake, amqp_get_sockfd((*wires)->state));
            return wires;
        }
    }
    return NULL;
}

/* ---- messages ----------------------------------------------------------- */

static amqp_bytes_t bytes(till_slice_t slice) { return (amqp_bytes_t){.len = slice.len, .bytes = (void *)slice.base}; }

static void add_header(amqp_table_t *headers, const char *name, till_slice_t text)
{
    if (text.len != 0)
        headers->entries[headers->num_entries++] = (amqp_table_entry_t){
            .key = amqp_cstring_bytes(name),
            .value = {.kind = AMQP_FIELD_KIND_UTF8, .value = {.bytes = bytes(text)}},
        };
}

static bool publish_one(till_amqp_wire_t *wire, till_amqp_work_t *work, const till_amqp_message_t *message)
{
    amqp_table_entry_t entries[HEADERS];
    amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG |
                  AMQP_BASIC_TYPE_FLAG | AMQP_BASIC_TIMESTAMP_FLAG | AMQP_BASIC_APP_ID_FLAG | AMQP_BASIC_HEADERS_FLAG,
        .content_type = amqp_cstring_bytes("application/json"),
        .delivery_mode = AMQP_DELIVERY_PERSISTENT,
        .message_id = bytes(message->id),
        .type = bytes(message->type),
        .timestamp = message->timestamp,
        .app_id = amqp_cstring_bytes("moontill"),
        .headers = {.num_entries = 0, .entries = entries},
    };

    add_header(&properties.headers, "aggregate", message->aggregate);
    add_header(&properties.headers, "traceparent", message->traceparent);
    int code = amqp_basic_publish(wire->state, CHANNEL, amqp_cstring_bytes(work->target.exchange),
                                  bytes(message->routing_key), 1, 0, &properties, bytes(message->body));
    if (code != AMQP_STATUS_OK)
        return fail(work, "publishing", code);
    ++wire->tags;
    return true;
}

static bool is_known(const till_amqp_work_t *work, size_t i) { return work->outcomes[i].verdict != TILL_AMQP_UNKNOWN; }

/* Of one that was returned the confirmation comes after that: the first word counts. */
static void settle(till_amqp_work_t *work, size_t i, till_amqp_verdict_t verdict)
{
    if (!is_known(work, i))
        work->outcomes[i].verdict = verdict;
}

/* Tags before the first of these are of messages that are nobody's any more. */
static void on_word(till_amqp_work_t *work, const struct lot *lot, uint64_t tag, bool multiple,
                    till_amqp_verdict_t verdict)
{
    if (tag < lot->first_tag || tag - lot->first_tag >= lot->to - lot->from)
        return;
    size_t last = lot->from + (size_t)(tag - lot->first_tag);
    for (size_t i = multiple ? lot->from : last; i <= last; ++i)
        settle(work, i, verdict);
}

static enum step on_returned(till_amqp_wire_t *wire, till_amqp_work_t *work, const struct lot *lot)
{
    amqp_message_t message;

    if (!is_good(work, "a message that came back", amqp_read_message(wire->state, CHANNEL, &message, 0)))
        return FAILED;
    for (size_t i = lot->from; i != lot->to; ++i)
        if (work->messages[i].id.len == message.properties.message_id.len &&
            memcmp(work->messages[i].id.base, message.properties.message_id.bytes, work->messages[i].id.len) == 0)
            settle(work, i, TILL_AMQP_UNROUTABLE);
    amqp_destroy_message(&message);
    return GONE_ON;
}

/* That there is no such exchange, or that it is not for us, is the same for every message: the broker "does not let us
 * in". The broker has one code for that and for a topic of an exchange that is not for us; its words tell. */
static bool is_over_message(const amqp_channel_close_t *closed)
{
    static const char topic[] = " topic '";

    if (closed->reply_code == AMQP_ACCESS_REFUSED)
        return memmem(closed->reply_text.bytes, closed->reply_text.len, topic, sizeof(topic) - 1) != NULL;
    return closed->reply_code != AMQP_NOT_FOUND;
}

static enum step on_method(till_amqp_wire_t *wire, till_amqp_work_t *work, const struct lot *lot,
                           const amqp_method_t *method)
{
    if (method->id == AMQP_BASIC_ACK_METHOD) {
        const amqp_basic_ack_t *ack = method->decoded;
        on_word(work, lot, ack->delivery_tag, ack->multiple, TILL_AMQP_CONFIRMED);
    } else if (method->id == AMQP_BASIC_NACK_METHOD) {
        const amqp_basic_nack_t *nack = method->decoded;
        on_word(work, lot, nack->delivery_tag, nack->multiple, TILL_AMQP_REFUSED);
    } else if (method->id == AMQP_BASIC_RETURN_METHOD) {
        return on_returned(wire, work, lot);
    } else if (method->id == AMQP_CHANNEL_CLOSE_METHOD) {
        fail_of_close(work, "the broker closed the channel", method);
        return is_over_message(method->decoded) ? CLOSED_OVER_ONE : FAILED;
    } else if (method->id == AMQP_CONNECTION_CLOSE_METHOD) {
        fail_of_close(work, "publishing", method);
        return FAILED;
    }
    return GONE_ON;
}

static size_t first_unknown(const till_amqp_work_t *work, size_t from, size_t to)
{
    while (from != to && is_known(work, from))
        ++from;
    return from;
}

static enum step await_words(till_amqp_wire_t *wire, till_amqp_work_t *work, const struct lot *lot)
{
    size_t at = lot->from;

    while ((at = first_unknown(work, at, lot->to)) != lot->to) {
        struct timeval limit = left_until(work->until_ms);
        amqp_frame_t frame;

        amqp_maybe_release_buffers(wire->state);
        int code = amqp_simple_wait_frame_noblock(wire->state, &frame, &limit);
        if (code != AMQP_STATUS_OK) {
            fail(work, "waiting for the broker's confirmation", code);
            return FAILED;
        }
        enum step step =
            frame.frame_type == AMQP_FRAME_METHOD ? on_method(wire, work, lot, &frame.payload.method) : GONE_ON;
        if (step != GONE_ON)
            return step;
    }
    return GONE_ON;
}

/* Those of the lot that are known go again with the others where these do: so tags stay in step with them. */
static enum step publish_lot(till_amqp_wire_t *wire, till_amqp_work_t *work, struct lot *lot)
{
    lot->first_tag = wire->tags + 1;
    for (size_t i = lot->from; i != lot->to; ++i)
        if (!publish_one(wire, work, &work->messages[i]))
            return FAILED;
    return await_words(wire, work, lot);
}

static bool reopen_channel(till_amqp_wire_t *wire, till_amqp_work_t *work)
{
    amqp_channel_close_ok_t ok = {0};
    int code = amqp_send_method(wire->state, CHANNEL, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);

    if (code != AMQP_STATUS_OK)
        return fail(work, "opening a channel", code);
    wire->tags = 0;
    return prepare_channel(wire, work);
}

/* Up to `bad` there is one that closes the channel; where nothing is known of such a one `bad` is none of ours, and
 * all go at once. Of halves the first one goes first, so all are in order. */
static bool publish_all(till_amqp_wire_t *wire, till_amqp_work_t *work)
{
    struct lot lot = {.from = first_unknown(work, 0, work->n)};
    size_t bad = 0;

    for (; lot.from != work->n; lot.from = first_unknown(work, lot.from, work->n)) {
        lot.to = lot.from < bad ? lot.from + (bad - lot.from + 1) / 2 : work->n;
        enum step step = publish_lot(wire, work, &lot);
        if (step == FAILED)
            return false;
        if (step == GONE_ON)
            continue;
        bad = lot.to;
        if (lot.to - lot.from == 1)
            work->outcomes[lot.from] = (till_amqp_outcome_t){TILL_AMQP_CLOSED, till_strdup(work->error)};
        if (!reopen_channel(wire, work))
            return false;
    }
    return true;
}

void till_amqp_wire_run(till_amqp_wire_t **wires, till_amqp_brake_t *brake, till_amqp_work_t *work)
{
    close_idle(wires, brake);
    work->key = key_of(&work->target);
    till_amqp_wire_t **at = find_wire(wires, brake, work->key);
    bool was_kept = at != NULL;

    if (at == NULL)
        at = open_wire(wires, brake, work);
    while (at != NULL && !publish_all(*at, work)) {
        close_wire(at, brake);
        at = was_kept ? open_wire(wires, brake, work) : NULL;
        was_kept = false;
    }
    if (at != NULL) {
        work->status = TILL_OK;
        (*at)->used_ms = mono_ms();
        set_brake(brake, -1);
    }
    free(work->key);
    work->key = NULL;
}
