/* drain.c - the end of a server, such that no request is lost that could have been answered.
 *
 * HTTP/2 has words for it: a GOAWAY that lets everything through which is on its
 * way, a second later one that names the last stream, and the close after it.
 * HTTP/1.1 has none but `connection: close` on an answer. So each answer from
 * now on carries it, and a connection without a request gets IDLE_GRACE_MS to
 * send its next one: a client that is busy is never cut between two requests.
 * Then it is closed as the protocols want it: TLS' close_notify, FIN, and our
 * end stays open for LINGER_MS more, for to close a socket into which a client
 * has just written is to reset it, and a reset may swallow what was answered
 * before. What a client sends into that second is answered by nobody: it sees
 * the end of an idle connection and asks anew (RFC 9112, 9.3.1), which it has to
 * know how to do with any server.
 *
 * A handshake under way is let through; it ends by its own limit.
 */
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <fcntl.h>
#include <unistd.h>
#include <h2o.h> /* before its parts, which do not include it */
#include <h2o/http1.h>
#include <h2o/http2.h>
#include "base/mem.h"
#include "serve/server_priv.h"

#define DRAIN_STEP_MS 50
#define IDLE_GRACE_MS 1000
#define LINGER_MS 500
#define LAST_WORDS_MS 500 /* from the cancel at the deadline to the end of the connections */

/* The copy of a closed connection's descriptor. */
struct farewell {
    h2o_linklist_t link;
    till_timer_t timer;
    int fd;
};

static void end_farewell(struct farewell *farewell)
{
    char heap[4096];

    while (recv(farewell->fd, heap, sizeof(heap), MSG_DONTWAIT) > 0)
        ; /* unread bytes would make a reset of the close */
    close(farewell->fd);
    till_timer_stop(&farewell->timer);
    h2o_linklist_unlink(&farewell->link);
    free(farewell);
}

static void on_lingered(till_timer_t *timer) { end_farewell(H2O_STRUCT_FROM_MEMBER(struct farewell, timer, timer)); }

/* libh2o takes the end of what it reads for the client's, and closes in good manners: close_notify and FIN. */
static void take_leave(till_connection_t *connection)
{
    till_server_t *server = connection->server;
    int fd = h2o_socket_get_fd(connection->sock), copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    struct farewell *farewell;

    connection->is_doomed = true;
    shutdown(fd, SHUT_RD);
    if (copy == -1)
        return;
    farewell = till_calloc(1, sizeof(*farewell));
    farewell->fd = copy;
    h2o_linklist_insert(&server->farewells, &farewell->link);
    till_timer_start(server->opts.loop, &farewell->timer, LINGER_MS, on_lingered);
}

/* While the copy is open a close alone sends no FIN. */
static void say_fin(till_server_t *server)
{
    for (h2o_linklist_t *node = server->farewells.next; node != &server->farewells; node = node->next)
        shutdown(H2O_STRUCT_FROM_MEMBER(struct farewell, link, node)->fd, SHUT_WR);
}

static bool has_unread(const till_connection_t *connection)
{
    int n = 0;

    return connection->h1.begun_ms != 0 || connection->h1.later.len != 0 || connection->sock->input->size != 0 ||
           (ioctl(h2o_socket_get_fd(connection->sock), FIONREAD, &n) == 0 && n != 0);
}

static bool is_idle(const till_connection_t *connection)
{
    uint64_t now = till_loop_now(connection->server->opts.loop);
    uint64_t grace = connection->face == TILL_FACE_PUBLIC ? IDLE_GRACE_MS : 0;

    return connection->is_h1 && connection->requests == 0 && !connection->is_doomed &&
           now - connection->idle_since_ms >= grace && !h2o_socket_is_writing(connection->sock) &&
           !has_unread(connection);
}

/* `all` ends those with requests as well. */
static void hang_up(till_server_t *server, bool all)
{
    for (h2o_linklist_t *node = server->connections.next; node != &server->connections; node = node->next) {
        till_connection_t *connection = H2O_STRUCT_FROM_MEMBER(till_connection_t, link, node);
        if (all)
            shutdown(h2o_socket_get_fd(connection->sock), SHUT_RDWR);
        else if (is_idle(connection))
            take_leave(connection);
    }
}

/* libh2o says it once, to those who are there: who came since is told by saying it again. */
static void say_goaway(till_server_t *server)
{
    h2o_timeout_entry_t *second = &server->context.http2._graceful_shutdown_timeout;

    server->has_late_h2 = false;
    if (h2o_timeout_is_linked(second))
        h2o_timeout_unlink(second);
    second->cb = NULL;
    h2o_context_request_shutdown(&server->context);
}

static void on_drain_step(till_timer_t *timer)
{
    till_server_t *server = H2O_STRUCT_FROM_MEMBER(till_server_t, drain_timer, timer);
    uint64_t now = till_loop_now(server->opts.loop);

    say_fin(server);
    if (server->connection_count == 0 && server->in_flight == 0 && h2o_linklist_is_empty(&server->farewells)) {
        server->drained(server->drained_data);
        return;
    }
    if (server->has_late_h2)
        say_goaway(server);
    if (now >= server->drain_until)
        till_exchange_close_all(server);
    hang_up(server, now >= server->drain_until + LAST_WORDS_MS);
    till_timer_start(server->opts.loop, timer, DRAIN_STEP_MS, on_drain_step);
}

void till_server_drain(till_server_t *server, uint64_t deadline_ms, void (*drained)(void *data), void *data)
{
    server->draining = true;
    server->drained = drained;
    server->drained_data = data;
    server->drain_until = till_loop_now(server->opts.loop) + deadline_ms;
    till_server_stop_listening(server);
    till_live_drain(server->live);
    say_goaway(server);
    till_timer_start(server->opts.loop, &server->drain_timer, 0, on_drain_step);
}

void till_drain_dispose(till_server_t *server)
{
    h2o_timeout_entry_t *second = &server->context.http2._graceful_shutdown_timeout;

    till_timer_stop(&server->drain_timer);
    for (h2o_linklist_t *link = server->farewells.next, *next; link != &server->farewells; link = next) {
        next = link->next;
        end_farewell(H2O_STRUCT_FROM_MEMBER(struct farewell, link, link));
    }
    if (h2o_timeout_is_linked(second)) /* the second GOAWAY; libh2o asserts at its end that there is none */
        h2o_timeout_unlink(second);
}
