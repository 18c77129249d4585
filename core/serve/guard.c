/* guard.c - what keeps hostile clients from harming libh2o 2.2.5, or others through it.
 *
 * Deferral. A WINDOW_UPDATE or SETTINGS that libh2o reads while the last write
 * of a stream is in flight fails an assertion of its own and ends the process:
 * anybody could do so from afar. So its read callback is ours, and while a
 * write is in flight what comes is left where it is and looked at again a
 * moment later.
 *
 * One frame of headers. Spread over CONTINUATION frames, a few kilobytes that
 * refer back to the compression's table become gigabytes here. Headers within
 * our limit fit in one frame, and no browser sends more.
 *
 * Resets. Requests that their client takes back cost it nothing and us a
 * handler each (CVE-2023-44487, not mended there). Who does so more than
 * MAX_RESETS times a second is hung up on; what of his is still in the buffer
 * is answered without work.
 *
 * Heads of HTTP/1.1. libh2o takes two lengths, or a length beside a coding, for
 * one of them; a proxy in front may take the other, and what it holds for a
 * body is then a request here. Only the raw head still shows that.
 */
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <h2o.h> /* before its parts, which do not include it */
#include <h2o/http2.h>
#include "base/log.h"
#include "serve/server_priv.h"

#define MAX_RESETS 200
#define RESETS_PER_MS 1000
#define MAX_DEFERRED (1024 * 1024 + 64 * 1024)
#define LOOK_AGAIN_MS 1

#define PREFACE_LEN 24
#define FRAME_HEAD_LEN 9
#define HEADERS 1
#define CONTINUATION 9
#define END_HEADERS 4

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

static void hang_up(till_connection_t *connection, const char *reason)
{
    if (connection->is_hostile)
        return;
    connection->is_hostile = true;
    till_metrics_add(connection->server->opts.metrics, "till_http_hostile_total", NULL, 1);
    till_log_msg(TILL_LOG_WARN, "http.hostile", "%s", reason);
    shutdown(h2o_socket_get_fd(connection->sock), SHUT_RDWR);
}

/* libh2o takes frames out of the buffer whole, so it begins with a frame, after the preface. @return false: one that
 * libh2o must not see */
static bool are_frames_sound(till_connection_t *connection, const h2o_buffer_t *input)
{
    const uint8_t *at = (const uint8_t *)input->bytes, *end = at + input->size;

    if (!connection->has_preface) {
        if (input->size < PREFACE_LEN)
            return true;
        at += PREFACE_LEN;
    }
    while (end - at >= FRAME_HEAD_LEN) {
        size_t len = (size_t)at[0] << 16 | (size_t)at[1] << 8 | at[2];
        if (at[3] == CONTINUATION || (at[3] == HEADERS && (at[4] & END_HEADERS) == 0))
            return false;
        if ((size_t)(end - at) < FRAME_HEAD_LEN + len)
            break;
        at += FRAME_HEAD_LEN + len;
    }
    return true;
}

static void on_read(h2o_socket_t *sock, const char *err)
{
    till_connection_t *connection = sock->on_close.data;

    if (err == NULL && !are_frames_sound(connection, sock->input))
        hang_up(connection, "spreads a request's headers over many frames");
    if (connection->is_hostile) {
        h2o_buffer_consume(&sock->input, sock->input->size);
        err = h2o_socket_error_closed;
    }
    if (err == NULL && h2o_socket_is_writing(sock)) {
        if (sock->input->size > MAX_DEFERRED)
            hang_up(connection, "sends much and reads nothing");
        else
            till_timer_start(connection->server->opts.loop, &connection->defer_timer, LOOK_AGAIN_MS, on_look_again);
        return;
    }
    till_timer_stop(&connection->defer_timer);
    connection->has_preface = connection->has_preface || sock->input->size >= PREFACE_LEN;
    let(connection, read_frames, err);
}

void till_guard_accept(till_connection_t *connection) { let(connection, take_over, NULL); }

void till_guard_end(till_connection_t *connection)
{
    till_timer_stop(&connection->defer_timer);
    if (connection->is_gone != NULL)
        *connection->is_gone = true;
}

/* ---- HTTP/1.1 ------------------------------------------------------------- */

/* The length of the line at `at` without its line end. @return -1: it does not end in CR LF */
static long line_len(const char *at, const char *end)
{
    const char *stop = memchr(at, '\n', (size_t)(end - at));

    return stop != NULL && stop != at && stop[-1] == '\r' ? stop - 1 - at : -1;
}

static bool is_field(const char *line, long len, const char *name)
{
    long n = (long)strlen(name);

    return len > n && line[n] == ':' && strncasecmp(line, name, (size_t)n) == 0;
}

bool till_guard_is_head_sound(h2o_req_t *req)
{
    const h2o_buffer_t *input = req->conn->callbacks->get_socket(req->conn)->input;
    const char *at = input->bytes, *end = at + input->size;
    unsigned hosts = 0, lengths = 0, codings = 0;
    long len;

    while (end - at >= 2 && at[0] == '\r' && at[1] == '\n')
        at += 2; /* libh2o skips an empty line in front */
    if ((len = line_len(at, end)) < 0)
        return false;
    for (at += len + 2; (len = line_len(at, end)) > 0; at += len + 2) {
        if (*at == ' ' || *at == '\t') /* a folded line */
            return false;
        hosts += is_field(at, len, "host");
        lengths += is_field(at, len, "content-length");
        codings += is_field(at, len, "transfer-encoding");
    }
    if (codings != 0)
        req->http1_is_persistent = 0; /* what follows such a body is nobody's request */
    return len == 0 && lengths + codings <= 1 && (codings == 0 || req->version >= 0x101) &&
           (hosts == 1 || (hosts == 0 && req->version < 0x101));
}

void till_guard_note_reset(till_connection_t *connection)
{
    uint64_t now = till_loop_now(connection->server->opts.loop);

    if (now - connection->resets_since_ms >= RESETS_PER_MS) {
        connection->resets_since_ms = now;
        connection->resets = 0;
    }
    if (++connection->resets > MAX_RESETS)
        hang_up(connection, "takes its requests back by the hundred");
}
