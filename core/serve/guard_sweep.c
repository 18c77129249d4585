/* guard_sweep.c - what takes too long, looked for four times a second on both protocols.
 *
 *     headers and body that do not come    header_timeout_ms    h1: 408; h2: hung up on
 *     an answer of which nothing is read   send_timeout_ms
 *     one that is read too slowly          the same, and a second more for each SLOWEST bytes
 *     nothing at all                       idle_timeout_ms      (over HTTP/2 libh2o says GOAWAY first)
 *
 * libh2o itself holds slow readers and slow posters of HTTP/2 for ever, and
 * counts by the wall clock, which steps. Everything here is counted by the
 * loop's clock, which does not.
 */
#include <linux/tcp.h> /* <netinet/tcp.h> does not know tcpi_bytes_acked */
#include <netinet/in.h>
#include <sys/socket.h>
#include "serve/server_priv.h"

#define SWEEP_MS 250
#define SLOWEST 16384 /* bytes a second that an answer must be read at, */
#define LEAST 16384   /* and bytes within send_timeout_ms by somebody who reads at all */
#define GRACE_MS 1000
#define MAX_OWED (64 * 1024 * 1024)
#define SEEN_KEY "till.seen"

struct oldest {
    till_note_t *note;
};

static uint64_t now_of(const till_server_t *server) { return till_loop_now(server->opts.loop); }

/* No handler runs before a body is complete; so the first look at it is what counts. */
static void look_at_body(till_server_t *server, h2o_req_t *req, uint64_t now)
{
    h2o_iovec_t *seen = h2o_req_getenv(req, H2O_STRLIT(SEEN_KEY), 1);
    till_connection_t *connection = till_connection_of(req);

    if (seen->len == 0)
        *seen = (h2o_iovec_t){NULL, now};
    else if (now - seen->len > server->opts.limits->header_timeout_ms)
        till_guard_hang_up(connection, TILL_HOSTILE_SLOW_BODY);
}

static void look_at_answer(till_server_t *server, till_note_t *note, uint64_t now)
{
    uint64_t limit = server->opts.limits->send_timeout_ms + note->answer_len * 1000 / SLOWEST;

    if (note->answered_ms != 0 && now - note->answered_ms > limit)
        till_guard_hang_up(note->connection, TILL_HOSTILE_UNREAD);
}

/* Bytes that have arrived on the other side. */
static uint64_t taken_by(const till_connection_t *connection)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);

    getsockopt(h2o_socket_get_fd(connection->sock), IPPROTO_TCP, TCP_INFO, &info, &len);
    return info.tcpi_bytes_acked;
}

/* One answer may wait behind others; but something must be read. */
static void look_at_reader(till_connection_t *connection, uint64_t now)
{
    if (connection->answers == 0) {
        connection->taken_since_ms = 0;
        return;
    }
    if (connection->taken_since_ms != 0 &&
        now - connection->taken_since_ms < connection->server->opts.limits->send_timeout_ms)
        return;
    uint64_t taken = taken_by(connection);
    if (connection->taken_since_ms != 0 && taken - connection->taken < LEAST)
        till_guard_hang_up(connection, TILL_HOSTILE_UNREAD);
    connection->taken = taken;
    connection->taken_since_ms = now;
}

static int on_request(h2o_req_t *req, void *data)
{
    till_server_t *server = data;
    till_note_t *note = till_note_of(req);

    if (note != NULL)
        look_at_answer(server, note, now_of(server));
    else if (req->version >= 0x200 && req->input.method.base != NULL)
        look_at_body(server, req, now_of(server));
    return 0;
}

static void for_each_request(till_server_t *server, int (*cb)(h2o_req_t *, void *), void *data)
{
    server->globalconf.http1.callbacks.foreach_request(&server->context, cb, data);
    server->globalconf.http2.callbacks.foreach_request(&server->context, cb, data);
}

static void sweep_connection(till_connection_t *connection, uint64_t now)
{
    const till_serve_opts_t *limits = connection->server->opts.limits;
    uint64_t idle = now - connection->idle_since_ms;

    /* what was to close by itself and does not: its client takes nothing any more */
    if (connection->requests == 0 && idle > limits->idle_timeout_ms + limits->header_timeout_ms + GRACE_MS)
        shutdown(h2o_socket_get_fd(connection->sock), SHUT_RDWR);
    look_at_reader(connection, now);
    if (connection->is_h1)
        till_h1_sweep(connection, now);
}

static void on_sweep(till_timer_t *timer)
{
    till_server_t *server = H2O_STRUCT_FROM_MEMBER(till_server_t, sweep_timer, timer);
    h2o_linklist_t *node, *next;

    for_each_request(server, on_request, server);
    for (node = server->connections.next; node != &server->connections; node = next) {
        next = node->next;
        sweep_connection(H2O_STRUCT_FROM_MEMBER(till_connection_t, link, node), now_of(server));
    }
    till_timer_start(server->opts.loop, timer, SWEEP_MS, on_sweep);
}

void till_sweep_start(till_server_t *server)
{
    if (!till_timer_is_running(&server->sweep_timer))
        till_timer_start(server->opts.loop, &server->sweep_timer, SWEEP_MS, on_sweep);
}

void till_sweep_stop(till_server_t *server) { till_timer_stop(&server->sweep_timer); }

static int on_candidate(h2o_req_t *req, void *data)
{
    struct oldest *oldest = data;
    till_note_t *note = till_note_of(req);

    if (note != NULL && note->answered_ms != 0 && note->owed != 0 && !note->connection->is_hostile &&
        (oldest->note == NULL || note->answered_ms < oldest->note->answered_ms))
        oldest->note = note;
    return 0;
}

void till_sweep_relieve(till_server_t *server)
{
    struct oldest oldest = {NULL};

    if (server->owed <= MAX_OWED)
        return;
    for_each_request(server, on_candidate, &oldest);
    if (oldest.note != NULL)
        till_guard_hang_up(oldest.note->connection, TILL_HOSTILE_UNREAD);
}
