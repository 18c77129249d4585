/* guard.c - the seam in front of libh2o's HTTP/2, and the end of hostile connections; see guard.h */
#include <stdio.h>
#include <sys/socket.h>
#include <h2o.h> /* before its parts, which do not include it */
#include <h2o/http2.h>
#include "base/log.h"
#include "serve/server_priv.h"

#define MAX_DEFERRED (1024 * 1024 + 64 * 1024)
#define LOOK_AGAIN_MS 1

static const struct {
    const char *name, *text;
} reasons[] = {
#define REASON(id, name, text) {name, text},
    TILL_HOSTILE_MAP(REASON)
#undef REASON
};

static void on_read(h2o_socket_t *sock, const char *err);

static void on_look_again(till_timer_t *timer)
{
    till_connection_t *connection = H2O_STRUCT_FROM_MEMBER(till_connection_t, defer_timer, timer);

    if (connection->sock->_cb.read == on_read) /* else libh2o does not want to read any more */
        on_read(connection->sock, NULL);
}

static void hook(till_connection_t *connection)
{
    h2o_socket_t *sock = connection->sock;

    if (sock->_cb.read == NULL || sock->_cb.read == on_read)
        return;
    connection->h2o_read = sock->_cb.read;
    sock->_cb.read = on_read;
}

/* Whatever libh2o does may end the connection, and it puts its own callback back when it starts to read again. */
static void let(till_connection_t *connection, void (*act)(till_connection_t *, const char *), const char *err)
{
    bool is_gone = false;

    connection->is_gone = &is_gone;
    act(connection, err);
    if (is_gone)
        return;
    connection->is_gone = NULL;
    hook(connection);
}

static void read_frames(till_connection_t *connection, const char *err) { connection->h2o_read(connection->sock, err); }

static void take_over(till_connection_t *connection, const char *err)
{
    (void)err;
    h2o_http2_accept(&connection->server->accept[connection->face], connection->sock, connection->at);
}

void till_guard_hang_up(till_connection_t *connection, till_hostile_t why)
{
    char label[64];
    till_log_t line;

    if (connection->is_hostile)
        return;
    connection->is_hostile = true;
    snprintf(label, sizeof(label), "reason=\"%s\"", reasons[why].name);
    till_metrics_add(connection->server->opts.metrics, "till_http_hostile_total", label, 1);
    till_log_begin(&line, TILL_LOG_WARN, "http.hostile");
    till_log_str(&line, "reason", reasons[why].name);
    till_log_str(&line, "message", reasons[why].text);
    till_log_end(&line);
    shutdown(h2o_socket_get_fd(connection->sock), SHUT_RDWR);
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
    if (err == NULL && h2o_socket_is_writing(sock)) {
        if (sock->input->size > MAX_DEFERRED)
            till_guard_hang_up(connection, TILL_HOSTILE_DEFERRED);
        else
            till_timer_start(connection->server->opts.loop, &connection->defer_timer, LOOK_AGAIN_MS, on_look_again);
        return;
    }
    till_timer_stop(&connection->defer_timer);
    till_frames_let(connection, sock->input);
    let(connection, read_frames, err);
}

void till_guard_accept(till_connection_t *connection) { let(connection, take_over, NULL); }

void till_guard_end(till_connection_t *connection)
{
    till_timer_stop(&connection->defer_timer);
    if (connection->is_gone != NULL)
        *connection->is_gone = true;
}
