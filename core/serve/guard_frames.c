/* guard_frames.c - what comes over HTTP/2, frame by frame, before libh2o sees it.
 *
 * Each read is walked from where the last walk ended. A frame is let through,
 * cut out, made a protocol error that libh2o answers with GOAWAY (`refuse`), or
 * ends the connection at once (`till_guard_hang_up`).
 *
 * Bodies. libh2o buffers bodies whole, and a stream may be reset by it without
 * our seeing so: whoever seems to hold too many is counted anew among libh2o's
 * streams before he is judged.
 */
#include <stdlib.h>
#include <string.h>
#include <h2o.h> /* before its parts, which do not include it */
#include <h2o/http2.h>
#include "base/mem.h"
#include "serve/server_priv.h"

#define PREFACE_LEN 24
#define FRAME_HEAD_LEN 9
#define MAX_FRAME_LEN 16384 /* what libh2o announces */

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
enum { END_STREAM = 1, END_HEADERS = 4, PADDED = 8, HAS_PRIORITY = 32 };

typedef struct frame {
    uint8_t *head, *payload;
    size_t len;
    uint8_t type, flags;
    uint32_t stream;
} frame_t;

const till_guard_limits_t till_guard_limits = {
    .per_second =
        {
            [TILL_BUDGET_CONTROL] = 2000, /* a browser sends a few in a minute */
            [TILL_BUDGET_RESETS] = 200,   /* somebody who leaves a page takes back a hundred at most */
            [TILL_BUDGET_GONE] = 200,
            [TILL_BUDGET_WINDOWS] = 500,
            [TILL_BUDGET_WIDE_WINDOWS] = 100, /* no client needs one; eight of them reset a stream */
            [TILL_BUDGET_UNSTARTED] = 500,    /* more than libh2o lets wait, 100, and bodies that are open */
        },
    .bytes_a_window = 256, /* Node tells of its window for each piece that it reads; some have windows of 1 KB */
    .wide_window = 1U << 28,
    .fields = 128,                         /* Chrome makes a field of each cookie */
    .open_bodies = 128,                    /* 100 are allowed; a client may begin more before it knows */
    .connection_bodies = 16 * 1024 * 1024, /* sixteen as large as they may be, where that is 1 MB */
    .all_bodies = 48 * 1024 * 1024,
    .deferred = 256 * 1024, /* then the socket is not read until the write has ended */
};

static uint32_t u32_of(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* ---- budgets ------------------------------------------------------------ */

static void begin_second(till_connection_t *connection, uint64_t now)
{
    till_frames_t *frames = &connection->frames;

    frames->since_ms = now;
    memset(frames->spent, 0, sizeof(frames->spent));
    frames->written[0] = frames->written[1]; /* windows are told of after the bytes, maybe in the next second */
    frames->written[1] = connection->sock->bytes_written;
    frames->unstarted = frames->begun - frames->started;
}

/* @return false: there was nothing left, and the connection is hung up on */
static bool spend(till_connection_t *connection, till_budget_t budget, till_hostile_t why)
{
    till_frames_t *frames = &connection->frames;
    uint64_t now = till_loop_now(connection->server->opts.loop);
    unsigned limit = till_guard_limits.per_second[budget];

    if (now - frames->since_ms >= 1000)
        begin_second(connection, now);
    if (budget == TILL_BUDGET_WINDOWS)
        limit += (unsigned)((connection->sock->bytes_written - frames->written[0]) / till_guard_limits.bytes_a_window);
    if (++frames->spent[budget] <= limit)
        return true;
    till_guard_hang_up(connection, why);
    return false;
}

void till_guard_note_request(till_connection_t *connection) { ++connection->frames.started; }

void till_guard_note_gone(till_connection_t *connection) { spend(connection, TILL_BUDGET_GONE, TILL_HOSTILE_RESETS); }

/* ---- open bodies -------------------------------------------------------- */

static till_open_body_t *find_body(till_frames_t *frames, uint32_t stream)
{
    for (unsigned i = 0; i != frames->body_count; ++i) {
        if (frames->bodies[i].stream == stream)
            return &frames->bodies[i];
    }
    return NULL;
}

static void close_body(till_connection_t *connection, till_open_body_t *body)
{
    till_frames_t *frames = &connection->frames;

    frames->body_bytes -= body->bytes;
    connection->server->body_bytes -= body->bytes;
    *body = frames->bodies[--frames->body_count];
}

/* A request that nobody works on yet, of this connection: its body is coming still. */
static int on_each_request(h2o_req_t *req, void *data)
{
    till_connection_t *connection = data;
    till_open_body_t *body;

    if (till_connection_of(req) != connection || till_note_of(req) != NULL)
        return 0;
    h2o_iovec_t id = req->conn->callbacks->log_.http2.stream_id(req);
    if ((body = find_body(&connection->frames, (uint32_t)strtoul(id.base, NULL, 10))) != NULL)
        body->is_live = true;
    return 0;
}

/* Takes out those that libh2o has reset; what it was not given yet stays. */
static void recount_bodies(till_connection_t *connection)
{
    till_frames_t *frames = &connection->frames;
    till_server_t *server = connection->server;

    for (unsigned i = 0; i != frames->body_count; ++i)
        frames->bodies[i].is_live = frames->bodies[i].stream > frames->let_stream;
    server->globalconf.http2.callbacks.foreach_request(&server->context, on_each_request, connection);
    for (unsigned i = frames->body_count; i-- != 0;) {
        if (!frames->bodies[i].is_live)
            close_body(connection, &frames->bodies[i]);
    }
}

static bool open_body(till_connection_t *connection, uint32_t stream)
{
    till_frames_t *frames = &connection->frames;

    if (frames->body_count == till_guard_limits.open_bodies)
        recount_bodies(connection);
    if (frames->body_count == till_guard_limits.open_bodies) {
        till_guard_hang_up(connection, TILL_HOSTILE_BODIES);
        return false;
    }
    if (frames->body_count == frames->body_room) {
        frames->body_room = frames->body_room != 0 ? 2 * frames->body_room : 4;
        frames->bodies = till_realloc(frames->bodies, frames->body_room * sizeof(frames->bodies[0]));
    }
    frames->bodies[frames->body_count++] = (till_open_body_t){.stream = stream};
    return true;
}

/* All together hold too much: he who holds the most goes. */
static void relieve(till_server_t *server)
{
    till_connection_t *most = NULL;

    for (h2o_linklist_t *node = server->connections.next; node != &server->connections; node = node->next) {
        till_connection_t *connection = H2O_STRUCT_FROM_MEMBER(till_connection_t, link, node);
        if (!connection->is_hostile && (most == NULL || connection->frames.body_bytes > most->frames.body_bytes))
            most = connection;
    }
    if (most != NULL)
        till_guard_hang_up(most, TILL_HOSTILE_BODIES);
}

static bool fill_body(till_connection_t *connection, till_open_body_t *body, size_t len)
{
    till_frames_t *frames = &connection->frames;
    till_server_t *server = connection->server;
    size_t limit = server->globalconf.max_request_entity_size; /* past it libh2o resets the stream, and forgets it */

    body->bytes += len;
    frames->body_bytes += len;
    server->body_bytes += len;
    if (body->bytes > limit) {
        frames->body_bytes -= body->bytes;
        server->body_bytes -= body->bytes;
        body->bytes = 0;
    }
    size_t most = limit > till_guard_limits.connection_bodies ? limit : till_guard_limits.connection_bodies;
    if (frames->body_bytes > most)
        recount_bodies(connection);
    if (frames->body_bytes > most)
        till_guard_hang_up(connection, TILL_HOSTILE_BODIES);
    else if (server->body_bytes > till_guard_limits.all_bodies && server->body_bytes > 4 * limit)
        relieve(server);
    return !connection->is_hostile;
}

void till_frames_end(till_connection_t *connection)
{
    while (connection->frames.body_count != 0)
        close_body(connection, &connection->frames.bodies[0]);
    free(connection->frames.bodies);
}

/* ---- frame by frame ----------------------------------------------------- */

/* What libh2o would overlook, or answer by a reset of one stream only, becomes what it ends the connection for. */
static bool refuse(frame_t *frame)
{
    frame->head[3] = PUSH_PROMISE;
    return true;
}

/* The bytes between padding and priority. @return false: there are none such, and libh2o will say so */
static bool strip(const frame_t *frame, const uint8_t **at, size_t *len)
{
    size_t pad = 0, front = (frame->flags & PADDED) != 0;

    if (front > frame->len)
        return false;
    if (front != 0)
        pad = frame->payload[0];
    if (frame->type == HEADERS && (frame->flags & HAS_PRIORITY) != 0)
        front += 5;
    if (front + pad > frame->len)
        return false;
    *at = frame->payload + front;
    *len = frame->len - front - pad;
    return true;
}

static bool check_fields(till_connection_t *connection, const frame_t *frame)
{
    const uint8_t *block;
    size_t len;
    till_fields_t fields;

    if (!strip(frame, &block, &len))
        return true;
    till_fields_scan(&fields, block, len);
    if (fields.has_digest)
        till_guard_hang_up(connection, TILL_HOSTILE_DIGEST);
    else if (fields.count > till_guard_limits.fields)
        till_guard_hang_up(connection, TILL_HOSTILE_FIELDS);
    return !connection->is_hostile;
}

static bool begin_request(till_connection_t *connection, frame_t *frame)
{
    till_frames_t *frames = &connection->frames;

    ++frames->begun;
    frames->last_stream = frame->stream;
    if (frames->begun - frames->started > frames->unstarted + till_guard_limits.per_second[TILL_BUDGET_UNSTARTED]) {
        uint64_t now = till_loop_now(connection->server->opts.loop);
        if (now - frames->since_ms < 1000) {
            till_guard_hang_up(connection, TILL_HOSTILE_UNSTARTED);
            return false;
        }
        begin_second(connection, now);
    }
    return (frame->flags & END_STREAM) != 0 || open_body(connection, frame->stream);
}

static bool on_headers(till_connection_t *connection, frame_t *frame)
{
    till_open_body_t *body = find_body(&connection->frames, frame->stream);

    if ((frame->flags & END_HEADERS) == 0) {
        till_guard_hang_up(connection, TILL_HOSTILE_CONTINUATION);
        return false;
    }
    if (!check_fields(connection, frame))
        return false;
    if (frame->stream % 2 == 0)
        return true;    /* libh2o ends the connection */
    if (body != NULL) { /* trailers */
        if ((frame->flags & END_STREAM) != 0)
            close_body(connection, body);
        return true;
    }
    if (frame->stream <= connection->frames.last_stream)
        return refuse(frame);
    return begin_request(connection, frame);
}

static bool on_data(till_connection_t *connection, frame_t *frame)
{
    till_open_body_t *body = find_body(&connection->frames, frame->stream);
    const uint8_t *at;
    size_t len;

    if (frame->stream == 0 || frame->stream > connection->frames.last_stream || !strip(frame, &at, &len))
        return true; /* libh2o ends the connection */
    if (body == NULL) {
        till_guard_hang_up(connection, TILL_HOSTILE_DATA);
        return false;
    }
    if ((frame->flags & END_STREAM) != 0) {
        close_body(connection, body);
        return true;
    }
    if (len == 0)
        return spend(connection, TILL_BUDGET_CONTROL, TILL_HOSTILE_CONTROL);
    return fill_body(connection, body, len);
}

static bool on_window(till_connection_t *connection, frame_t *frame)
{
    uint32_t increment = frame->len == 4 ? u32_of(frame->payload) & INT32_MAX : 1;

    if (!spend(connection, TILL_BUDGET_WINDOWS, TILL_HOSTILE_WINDOWS))
        return false;
    if (frame->stream == 0)
        return true;
    if (increment == 0)
        return refuse(frame);
    return increment < till_guard_limits.wide_window ||
           spend(connection, TILL_BUDGET_WIDE_WINDOWS, TILL_HOSTILE_WINDOWS);
}

static bool on_reset(till_connection_t *connection, frame_t *frame)
{
    till_open_body_t *body = find_body(&connection->frames, frame->stream);

    if (body != NULL)
        close_body(connection, body);
    return spend(connection, TILL_BUDGET_RESETS, TILL_HOSTILE_RESETS);
}

/* @return false: the connection was hung up on */
static bool check(till_connection_t *connection, frame_t *frame)
{
    if (!connection->frames.has_settings) {
        connection->frames.has_settings = true;
        if (frame->type != SETTINGS || (frame->flags & 1) != 0)
            return refuse(frame);
    }
    switch (frame->type) {
    case DATA:
        return on_data(connection, frame);
    case HEADERS:
        return on_headers(connection, frame);
    case RST_STREAM:
        return on_reset(connection, frame);
    case WINDOW_UPDATE:
        return on_window(connection, frame);
    case CONTINUATION:
        till_guard_hang_up(connection, TILL_HOSTILE_CONTINUATION);
        return false;
    default:
        return spend(connection, TILL_BUDGET_CONTROL, TILL_HOSTILE_CONTROL);
    }
}

/* @return false: not all of it has come, or it is longer than libh2o takes */
static bool next_frame(uint8_t *at, const uint8_t *end, frame_t *out)
{
    if (end - at < FRAME_HEAD_LEN)
        return false;
    *out = (frame_t){.head = at,
                     .payload = at + FRAME_HEAD_LEN,
                     .len = (size_t)at[0] << 16 | (size_t)at[1] << 8 | at[2],
                     .type = at[3],
                     .flags = at[4],
                     .stream = u32_of(at + 5) & INT32_MAX};
    return out->len <= MAX_FRAME_LEN && (size_t)(end - at) >= FRAME_HEAD_LEN + out->len;
}

/* Frames of types that nobody knows are cut out, by moving up what follows: libh2o would print a line for each. */
static void walk(till_connection_t *connection, h2o_buffer_t *input)
{
    till_frames_t *frames = &connection->frames;
    uint8_t *base = (uint8_t *)input->bytes, *from = base + frames->walked, *to = from;
    const uint8_t *end = base + input->size;
    frame_t frame;

    while (next_frame(from, end, &frame)) {
        size_t size = FRAME_HEAD_LEN + frame.len;
        bool is_known = frame.type <= CONTINUATION || !frames->has_settings;
        if (is_known && !check(connection, &frame))
            return;
        if (is_known && to != from)
            memmove(to, from, size);
        to += is_known ? size : 0;
        from += size;
    }
    frames->walked = (size_t)(to - base);
    if (to != from)
        memmove(to, from, (size_t)(end - from));
    input->size -= (size_t)(from - to);
}

void till_frames_check(till_connection_t *connection, h2o_buffer_t *input)
{
    till_frames_t *frames = &connection->frames;

    if (!frames->has_preface) {
        if (input->size < PREFACE_LEN)
            return;
        frames->has_preface = true; /* or something else, and libh2o closes */
        frames->walked = PREFACE_LEN;
    }
    walk(connection, input);
}

void till_frames_let(till_connection_t *connection) { connection->frames.let_stream = connection->frames.last_stream; }

void till_frames_taken(till_connection_t *connection, size_t len)
{
    till_frames_t *frames = &connection->frames;

    frames->walked -= len < frames->walked ? len : frames->walked;
}
