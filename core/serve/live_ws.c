/* live_ws.c - a stream as WebSocket (RFC 6455), over HTTP/1.1: after its 101 libh2o gives the socket away.
 *
 *     till_ws_begin ──101──► on_upgraded ──► open ── our close ──► waits for the client's, or CLOSE_MS ─┐
 *                                             └──── client's close, answered ──────────────────────────┴► closed
 *
 * A client has nothing to say here but control frames: messages are read and
 * passed over, as long as there are not too many of them. An event is a text,
 * {"event":…,"id":…,"data":…}.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <h2o.h> /* before its parts, which do not include it */
#include <h2o/http1.h>
#include "base/json.h"
#include "base/mem.h"
#include "serve/live_priv.h"
#include "serve/ws.h"

#define SEND_BUFFER 32768
#define PROTOCOL "moontill.v1"
#define CLOSE_MS 2000
#define FRAMES_A_SECOND 50
#define BEATS_UNHEARD 3

struct ws_stream {
    till_ws_t ws;
    h2o_socket_t *sock; /* NULL: libh2o has it still */
    uint64_t pinged_at; /* the first ping that nothing has come after; 0: none */
    uint64_t closing_at, second;
    unsigned frames; /* of this second */
    bool has_pong;
    bool is_answered; /* the client's close has come, or nothing more is read */
    bool is_cut;      /* closed when the write under way has failed */
    uint8_t pong_len, pong[TILL_WS_MAX_CONTROL];
};

static uint64_t now_of(const till_stream_t *stream) { return till_loop_now(stream->live->server->opts.loop); }

static void free_ws(void *data)
{
    struct ws_stream *ws = data;

    till_buf_dispose(&ws->ws.message);
    free(ws);
}

/* ---- what it writes ------------------------------------------------------- */

static void write_event(till_buf_t *out, const till_watch_t *watch, const char *tag, const char *json, size_t len)
{
    const char *name = watch->topic->name;
    till_buf_t text;

    till_buf_init(&text, 0);
    till_buf_printf(&text, "{\"event\":\"%.*s\",\"id\":", (int)(strchr(name, ':') - name), name);
    till_json_write_string(&text, tag, strlen(tag));
    till_buf_puts(&text, ",\"data\":");
    till_live_write_json(&text, watch, json, len);
    till_buf_putc(&text, '}');
    till_ws_write(out, TILL_WS_TEXT, text.base, text.len);
    till_buf_dispose(&text);
}

static void write_beat(till_stream_t *stream, till_buf_t *out)
{
    struct ws_stream *ws = stream->data;

    if (ws->pinged_at == 0)
        ws->pinged_at = now_of(stream);
    till_ws_write(out, TILL_WS_PING, NULL, 0);
}

/* Of several pings the last is answered (RFC 6455, 5.5.3). */
static void write_more(till_stream_t *stream, till_buf_t *out)
{
    struct ws_stream *ws = stream->data;

    if (ws->has_pong && stream->state == STREAM_OPEN)
        till_ws_write(out, TILL_WS_PONG, ws->pong, ws->pong_len);
    ws->has_pong = false;
}

static void write_end(till_stream_t *stream, till_buf_t *out)
{
    unsigned code = stream->code != 0 ? stream->code : till_stream_end_code(stream->end);

    till_ws_write_close(out, code, till_stream_end_name(stream->end));
}

/* ---- the socket ----------------------------------------------------------- */

/* libh2o does not close a socket that it writes to: the write fails first. */
static void close_socket(till_stream_t *stream, till_stream_end_t why)
{
    struct ws_stream *ws = stream->data;
    h2o_socket_t *sock = ws->sock;

    if (sock == NULL)
        return;
    if (stream->state == STREAM_OPEN)
        stream->end = why;
    stream->state = STREAM_ENDED;
    if (stream->is_writing) {
        ws->is_cut = true;
        h2o_socket_read_stop(sock);
        shutdown(h2o_socket_get_fd(sock), SHUT_RDWR);
        return;
    }
    ws->sock = NULL;
    till_stream_gone(stream, why);
    h2o_socket_close(sock);
}

static void on_written(h2o_socket_t *sock, const char *err)
{
    till_stream_t *stream = sock->data;
    struct ws_stream *ws = stream->data;

    if (err != NULL || ws->is_cut) {
        stream->is_writing = false;
        close_socket(stream, STREAM_END_CLIENT);
        return;
    }
    till_stream_written(stream);
    if (stream->state != STREAM_ENDED || stream->is_writing)
        return;
    ws->closing_at = now_of(stream);
    if (ws->is_answered)
        close_socket(stream, STREAM_END_CLIENT);
}

static void write_out(till_stream_t *stream, bool is_last)
{
    struct ws_stream *ws = stream->data;
    h2o_iovec_t bytes = h2o_iovec_init(stream->out.base, stream->out.len);

    (void)is_last;
    h2o_socket_write(ws->sock, &bytes, 1, on_written);
}

/* Nothing is read of it any more. */
static void give_up(till_stream_t *stream, till_stream_end_t why, unsigned code)
{
    struct ws_stream *ws = stream->data;

    h2o_socket_read_stop(ws->sock);
    h2o_buffer_consume(&ws->sock->input, ws->sock->input->size);
    ws->is_answered = true;
    stream->code = code;
    if (stream->state == STREAM_OPEN)
        till_stream_end(stream, why);
    else if (!stream->is_writing)
        close_socket(stream, why);
}

static void on_ping(till_stream_t *stream)
{
    struct ws_stream *ws = stream->data;

    ws->has_pong = true;
    ws->pong_len = (uint8_t)ws->ws.control_len;
    memcpy(ws->pong, ws->ws.control, ws->pong_len);
}

static bool is_flood(till_stream_t *stream)
{
    struct ws_stream *ws = stream->data;

    if (ws->second != now_of(stream) / 1000) {
        ws->second = now_of(stream) / 1000;
        ws->frames = 0;
    }
    return ++ws->frames > FRAMES_A_SECOND;
}

/* @return whether more may be read */
static bool take(till_stream_t *stream, till_ws_event_t event)
{
    struct ws_stream *ws = stream->data;

    if (event == TILL_WS_FAILED)
        give_up(stream, STREAM_END_PROTOCOL, ws->ws.code);
    else if (event == TILL_WS_CLOSED)
        give_up(stream, STREAM_END_CLIENT, ws->ws.code == 1005 ? 1000 : ws->ws.code);
    else if (is_flood(stream))
        give_up(stream, STREAM_END_FLOOD, 0);
    else if (event == TILL_WS_PINGED)
        on_ping(stream);
    return event != TILL_WS_FAILED && event != TILL_WS_CLOSED && !ws->is_answered;
}

static void read_frames(till_stream_t *stream)
{
    struct ws_stream *ws = stream->data;
    till_ws_event_t event;
    size_t taken;

    ws->pinged_at = 0;
    while ((event = till_ws_read(&ws->ws, (uint8_t *)ws->sock->input->bytes, ws->sock->input->size, &taken)) !=
           TILL_WS_MORE) {
        if (!take(stream, event))
            return;
        h2o_buffer_consume(&ws->sock->input, taken);
    }
    if (ws->has_pong)
        till_stream_flush(stream);
}

static void on_readable(h2o_socket_t *sock, const char *err)
{
    till_stream_t *stream = sock->data;

    if (err != NULL)
        close_socket(stream, STREAM_END_CLIENT);
    else
        read_frames(stream);
}

/* ---- once a second -------------------------------------------------------- */

static bool tick(till_stream_t *stream, uint64_t now)
{
    struct ws_stream *ws = stream->data;
    uint64_t beat = stream->live->server->opts.limits->live_heartbeat_ms;

    if (ws->sock == NULL)
        return true;
    if (stream->state == STREAM_ENDED && !stream->is_writing && now - ws->closing_at > CLOSE_MS) {
        close_socket(stream, STREAM_END_CLIENT);
        return false;
    }
    if (stream->state == STREAM_OPEN && ws->pinged_at != 0 && now - ws->pinged_at > BEATS_UNHEARD * beat)
        till_stream_end(stream, STREAM_END_SILENT);
    return true;
}

static const till_stream_kind_t kind = {
    .gauge = 1,
    .write_event = write_event,
    .write_beat = write_beat,
    .write_more = write_more,
    .write_end = write_end,
    .send = write_out,
    .tick = tick,
};

/* ---- the handshake -------------------------------------------------------- */

static h2o_iovec_t header(h2o_req_t *req, const char *name)
{
    ssize_t at = h2o_find_header_by_str(&req->headers, name, strlen(name), -1);

    return at != -1 ? req->headers.entries[at].value : h2o_iovec_init(NULL, 0);
}

bool till_ws_is_wanted(h2o_req_t *req)
{
    return req->version < 0x200 && req->upgrade.base != NULL &&
           h2o_lcstris(req->upgrade.base, req->upgrade.len, H2O_STRLIT("websocket"));
}

/* libh2o has given it away. NULL: its client was gone before the 101 was out. */
static void on_upgraded(void *data, h2o_socket_t *sock, size_t request_len)
{
    till_stream_t *stream = data;
    struct ws_stream *ws = stream->data;
    int size = SEND_BUFFER;

    stream->is_writing = false;
    if (sock == NULL) {
        till_stream_gone(stream, STREAM_END_CLIENT);
        return;
    }
    ws->sock = sock;
    sock->data = stream;
    setsockopt(h2o_socket_get_fd(sock), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    h2o_buffer_consume(&sock->input, request_len);
    till_h1_leave(stream->connection);
    h2o_socket_read_start(sock, on_readable);
    till_stream_flush(stream);
    if (sock->input->size != 0)
        read_frames(stream);
}

/* The client's offer may be a list, its credential among it: only ours is taken. */
static bool offers_protocol(h2o_req_t *req)
{
    h2o_iovec_t offer = header(req, "sec-websocket-protocol");

    return offer.base != NULL && h2o_contains_token(offer.base, offer.len, H2O_STRLIT(PROTOCOL), ',');
}

static void add(h2o_req_t *req, const char *name, const char *value)
{
    h2o_iovec_t copy = h2o_strdup(&req->pool, value, SIZE_MAX);

    h2o_add_header_by_str(&req->pool, &req->res.headers, name, strlen(name), 1, NULL, copy.base, copy.len);
}

static void upgrade(till_live_t *live, h2o_req_t *req, const char *accept, const till_live_begin_t *begin)
{
    till_note_t *note = till_note_of(req);
    till_stream_t *stream = till_stream_create(live, &kind, note->connection, begin);

    stream->data = till_calloc(1, sizeof(struct ws_stream));
    stream->free_data = free_ws;
    stream->is_writing = true; /* the 101 */
    stream->writing_since = now_of(stream);
    till_note_stream(note);
    ++note->connection->requests; /* never idle again */
    req->res.status = 101;
    req->res.reason = "Switching Protocols";
    add(req, "upgrade", "websocket");
    add(req, "sec-websocket-accept", accept);
    if (offers_protocol(req))
        add(req, "sec-websocket-protocol", PROTOCOL);
    h2o_http1_upgrade(req, NULL, 0, on_upgraded, stream);
}

void till_ws_begin(till_live_t *live, h2o_req_t *req, const till_live_begin_t *begin)
{
    h2o_iovec_t version = header(req, "sec-websocket-version"), key = header(req, "sec-websocket-key");
    char accept[TILL_WS_ACCEPT_LEN + 1];

    if (!h2o_memis(version.base, version.len, H2O_STRLIT("13"))) {
        add(req, "sec-websocket-version", "13");
        till_respond_problem(req, TILL_UPGRADE_REQUIRED, NULL, 0);
    } else if (key.base == NULL || !till_ws_accept(accept, key.base, key.len)) {
        till_respond_problem(req, TILL_BAD_REQUEST, "Sec-WebSocket-Key must be the base64 of 16 bytes.", 0);
    } else {
        upgrade(live, req, accept, begin);
    }
}
