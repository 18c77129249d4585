/* live_sse.c - a stream as server-sent events (the HTML standard, 9.2): an answer without an end.
 *
 * Over HTTP/2 it is one stream beside others, over HTTP/1.1 it has the
 * connection for itself. There libh2o does not read meanwhile: that a client
 * has gone is asked of the kernel.
 */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include "serve/live_priv.h"

#define SEND_BUFFER 32768 /* of the kernel's, HTTP/1.1; it takes twice that */
#define LOOK_TICKS 4
#define TCP_IS_ESTABLISHED 1 /* tcpi_state */

/* In the request's pool. libh2o calls proceed when it wants more, and stop when the request is over before its end. */
struct sse {
    h2o_generator_t super;
    h2o_req_t *req;
    till_stream_t *stream; /* NULL once it has ended */
};

static void write_event(till_buf_t *out, const till_watch_t *watch, const char *tag, const char *json, size_t len)
{
    const char *colon = strchr(watch->topic->name, ':');

    till_buf_printf(out, "event: %.*s\nid: %s\ndata: ", (int)(colon - watch->topic->name), watch->topic->name, tag);
    till_live_write_json(out, watch, json, len);
    till_buf_puts(out, "\n\n");
}

static void write_beat(till_stream_t *stream, till_buf_t *out)
{
    (void)stream;
    till_buf_puts(out, ":\n\n");
}

static void write_more(till_stream_t *stream, till_buf_t *out)
{
    (void)stream;
    (void)out;
}

static void write_end(till_stream_t *stream, till_buf_t *out)
{
    till_buf_printf(out, "event: end\nretry: %u\ndata: {\"reason\":\"%s\"}\n\n", till_live_retry_ms(stream->live),
                    till_stream_end_name(stream->end));
}

/* The last bytes are libh2o's: after them it asks for nothing. */
static void send_last(till_stream_t *stream, struct sse *sse)
{
    h2o_iovec_t bytes = h2o_strdup(&sse->req->pool, stream->out.base, stream->out.len);

    sse->stream = NULL;
    h2o_send(sse->req, &bytes, 1, H2O_SEND_STATE_FINAL);
    till_stream_gone(stream, STREAM_END_CLIENT);
}

static void write_out(till_stream_t *stream, bool is_last)
{
    struct sse *sse = stream->data;
    till_connection_t *connection = stream->connection;
    bool is_h2 = sse->req->version >= 0x200;

    if (is_last) {
        send_last(stream, sse);
    } else {
        h2o_iovec_t bytes = h2o_iovec_init(stream->out.base, stream->out.len);
        h2o_send(sse->req, &bytes, 1, H2O_SEND_STATE_IN_PROGRESS);
    }
    if (is_h2)
        till_guard_note_answer(connection);
}

static bool is_gone(const till_connection_t *connection)
{
    struct tcp_info info;
    socklen_t len = sizeof(info);

    return getsockopt(h2o_socket_get_fd(connection->sock), IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
           info.tcpi_state != TCP_IS_ESTABLISHED;
}

/* Shut down, the next write fails, and libh2o closes. */
static bool tick(till_stream_t *stream, uint64_t now)
{
    till_connection_t *connection = stream->connection;

    (void)now;
    if (!connection->is_h1 || (stream->live->ticks + (unsigned)stream->client) % LOOK_TICKS != 0 ||
        !is_gone(connection))
        return true;
    shutdown(h2o_socket_get_fd(connection->sock), SHUT_RDWR);
    stream->wants_beat = true;
    till_stream_flush(stream);
    return false;
}

static const till_stream_kind_t kind = {
    .gauge = 0,
    .write_event = write_event,
    .write_beat = write_beat,
    .write_more = write_more,
    .write_end = write_end,
    .send = write_out,
    .tick = tick,
};

static void on_proceed(h2o_generator_t *super, h2o_req_t *req)
{
    struct sse *sse = (struct sse *)super;

    (void)req;
    if (sse->stream != NULL)
        till_stream_written(sse->stream);
}

static void on_stop(h2o_generator_t *super, h2o_req_t *req)
{
    struct sse *sse = (struct sse *)super;

    (void)req;
    if (sse->stream != NULL)
        till_stream_gone(sse->stream, STREAM_END_CLIENT);
    sse->stream = NULL;
}

/* What the kernel holds of a reader who does not read is out of date. */
static void keep_short(const till_connection_t *connection)
{
    int size = SEND_BUFFER;

    if (connection->is_h1)
        setsockopt(h2o_socket_get_fd(connection->sock), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static void set_headers(h2o_req_t *req)
{
    h2o_headers_t *headers = &req->res.headers;

    req->res.status = 200;
    req->res.reason = "OK";
    req->res.content_length = SIZE_MAX;
    req->compress_hint = H2O_COMPRESS_HINT_DISABLE; /* it would hold back what is to be told now */
    h2o_set_header(&req->pool, headers, H2O_TOKEN_CONTENT_TYPE, H2O_STRLIT("text/event-stream"), 1);
    h2o_set_header(&req->pool, headers, H2O_TOKEN_CACHE_CONTROL, H2O_STRLIT("no-store"), 1);
    h2o_set_header_by_str(&req->pool, headers, H2O_STRLIT("x-accel-buffering"), 1, H2O_STRLIT("no"), 1);
}

void till_sse_begin(till_live_t *live, h2o_req_t *req, const till_live_begin_t *begin)
{
    till_note_t *note = till_note_of(req);
    struct sse *sse = h2o_mem_alloc_pool(&req->pool, sizeof(*sse));

    *sse = (struct sse){.super = {on_proceed, on_stop}, .req = req};
    sse->stream = till_stream_create(live, &kind, note->connection, begin);
    sse->stream->data = sse;
    till_note_stream(note);
    keep_short(note->connection);
    set_headers(req);
    till_buf_printf(&sse->stream->out, "retry: %u\n\n", till_live_retry_ms(live));
    h2o_start_response(req, &sse->super);
    till_stream_flush(sse->stream);
}
