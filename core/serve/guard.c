/* guard.c - the seam in front of libh2o's HTTP/2, and the end of hostile connections; see guard.h */
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <h2o.h> /* before its parts, which do not include it */
#include <h2o/http2.h>
#include "base/log.h"
#include "serve/server_priv.h"

static const struct {
    const char *name, *text;
} reasons[] = {
#define REASON(id, name, text) {name, text},
    TILL_HOSTILE_MAP(REASON)
#undef REASON
};

/* ---- the seam ----------------------------------------------------------- */

static void on_read(h2o_socket_t *sock, const char *err);
static void on_written(h2o_socket_t *sock, const char *err);

/* libh2o puts its own callback back when it starts to read again; after its end the socket has others, not ours to
 * touch. */
static void hook(till_connection_t *connection)
{
    h2o_socket_t *sock = connection->sock;

    if (connection->h2o_read == NULL)
        connection->h2o_read = sock->_cb.read;
    if (sock->_cb.read != NULL && sock->_cb.read == connection->h2o_read)
        sock->_cb.read = on_read;
}

static void hook_write(till_connection_t *connection)
{
    h2o_socket_t *sock = connection->sock;

    if (sock->_cb.write == NULL || sock->_cb.write == on_written)
        return;
    connection->h2o_write = sock->_cb.write;
    sock->_cb.write = on_written;
}

/* libh2o also uses the write callback to wait for room; nothing is in flight then. */
static bool is_in_flight(const till_connection_t *connection)
{
    h2o_socket_cb cb = connection->sock->_cb.write;

    return cb != NULL && (cb == on_written ? connection->h2o_write : cb) == connection->h2o_written;
}

/* Whatever libh2o does may end the connection. @return false: it did */
static bool let(till_connection_t *connection, void (*act)(till_connection_t *, const char *), const char *err)
{
    h2o_socket_t *sock = connection->sock;
    bool is_gone = false, was_writing = sock->_cb.write != NULL;

    connection->is_gone = &is_gone;
    act(connection, err);
    if (is_gone)
        return false;
    connection->is_gone = NULL;
    if (connection->h2o_written == NULL && !was_writing)
        connection->h2o_written = sock->_cb.write; /* of its SETTINGS, the first that it writes */
    hook(connection);
    if (sock->_cb.read == NULL)
        hook_write(connection);
    return true;
}

static void read_frames(till_connection_t *connection, const char *err) { connection->h2o_read(connection->sock, err); }

static void take_over(till_connection_t *connection, const char *err)
{
    (void)err;
    h2o_http2_accept(&connection->server->accept[connection->face], connection->sock, connection->at);
}

static void end_write(till_connection_t *connection, const char *err) { connection->h2o_write(connection->sock, err); }

/* What comes meanwhile stays with the kernel when there is much of it. */
static void defer(till_connection_t *connection)
{
    h2o_socket_t *sock = connection->sock;

    connection->is_deferred = true;
    hook_write(connection);
    if (sock->input->size > till_guard_limits.deferred)
        h2o_socket_read_stop(sock);
}

static void on_read(h2o_socket_t *sock, const char *err)
{
    till_connection_t *connection = sock->on_close.data;

    if (err == NULL && !connection->is_hostile)
        till_frames_check(connection, sock->input);
    if (connection->is_hostile) {
        h2o_buffer_consume(&sock->input, sock->input->size);
        err = h2o_socket_error_closed;
    }
    if (err == NULL && is_in_flight(connection)) {
        defer(connection);
        return;
    }
    till_frames_let(connection);
    size_t size = sock->input->size;
    if (let(connection, read_frames, err))
        till_frames_taken(connection, size - sock->input->size);
}

static void on_written(h2o_socket_t *sock, const char *err)
{
    till_connection_t *connection = sock->on_close.data;
    bool was_deferred = connection->is_deferred;

    connection->is_deferred = false;
    if (!let(connection, end_write, err) || !was_deferred)
        return;
    if (sock->_cb.read == on_read)
        on_read(sock, NULL);
    else if (sock->_cb.read == NULL && sock->_cb.write != NULL) /* libh2o has much to write still, or closes */
        defer(connection);
}

/* What came with the end of the handshake is read by libh2o inside the accept. */
void till_guard_accept(till_connection_t *connection)
{
    h2o_socket_t *sock = connection->sock;

    till_frames_check(connection, sock->input);
    if (connection->is_hostile) {
        h2o_socket_close(sock);
        return;
    }
    till_frames_let(connection);
    size_t size = sock->input->size;
    if (let(connection, take_over, NULL))
        till_frames_taken(connection, size - sock->input->size);
}

void till_guard_note_answer(till_connection_t *connection)
{
    h2o_socket_t *sock = connection->sock;

    if (connection->is_gone != NULL || sock->_cb.read != NULL)
        return; /* `let` looks; or there is nothing to see */
    if (sock->_cb.write != NULL)
        hook_write(connection);
    else
        till_guard_hang_up(connection, TILL_HOSTILE_ANSWERS);
}

/* ---- the end ------------------------------------------------------------ */

void till_guard_hang_up(till_connection_t *connection, till_hostile_t why)
{
    char label[64], peer[NI_MAXHOST] = "";
    struct sockaddr_storage address;
    till_log_t line;

    if (connection->is_hostile)
        return;
    connection->is_hostile = true;
    socklen_t len = h2o_socket_getpeername(connection->sock, (struct sockaddr *)&address);
    if (len != 0)
        h2o_socket_getnumerichost((struct sockaddr *)&address, len, peer);
    snprintf(label, sizeof(label), "reason=\"%s\"", reasons[why].name);
    till_metrics_add(connection->server->opts.metrics, "till_http_hostile_total", label, 1);
    till_log_begin(&line, TILL_LOG_WARN, "http.hostile");
    till_log_str(&line, "reason", reasons[why].name);
    till_log_str(&line, "message", reasons[why].text);
    till_log_str(&line, "peer", peer);
    till_log_end(&line);
    shutdown(h2o_socket_get_fd(connection->sock), SHUT_RDWR);
}

void till_guard_end(till_connection_t *connection)
{
    till_frames_end(connection);
    if (connection->is_gone != NULL)
        *connection->is_gone = true;
}
