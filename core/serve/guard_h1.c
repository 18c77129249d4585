/* guard_h1.c - HTTP/1.1: libh2o is given whole requests only, one at a time, and only sound ones.
 *
 *            ┌─────────── on_turn_end ◄── till_h1_ended ◄────────────┐
 *            ▼                                                       │
 *     H1_READING ──(whole)──► H1_PASSED: libh2o has it ──► answered ─┤
 *            │                    ▲                                  │
 *            └─(refused, late)────┘ as a stand-in                    └─► H1_LINGERING ──► closed
 *
 * Whole: what libh2o would read as the next request must not be in its buffer
 * when it ends one, for it would go on by itself, past us. What came too much
 * is kept in `later` and given back when the answer is out.
 *
 * Stand-in: a request that is refused is replaced by a bare one with the same
 * request line, which the gate answers with the refusal. So it has an id, the
 * common headers, a line in the log and a count like any other.
 *
 * Lingering: who is still sending when we close gets a reset, which may destroy
 * the answer before it was read. So after "too large" his bytes are read and
 * thrown away for a moment.
 */
#include <string.h>
#include <h2o.h> /* before its parts, which do not include it */
#include <h2o/http1.h>
#include "serve/server_priv.h"

#define HEAD_SLACK 1024 /* colons, line ends and the version do not count as headers for the gate */
#define SLICE 16384
#define MAX_HELD (48 * 1024 * 1024)
#define LINGER_MS 1000
#define QUIET_MS 200

enum { H1_READING, H1_PASSED, H1_LINGERING };

static void feed(till_connection_t *connection);
static void on_read(h2o_socket_t *sock, const char *err);

/* ---- bodies in memory --------------------------------------------------------- */

static void hold(till_connection_t *connection, size_t bytes)
{
    connection->server->held += bytes - connection->h1.held;
    connection->h1.held = bytes;
}

static bool is_too_much(const till_server_t *server)
{
    return server->held > MAX_HELD + 4 * server->opts.limits->max_body;
}

/* ---- what came too much --------------------------------------------------------- */

static void forget_later(till_h1_t *h1)
{
    till_buf_dispose(&h1->later);
    h1->later_at = h1->taken = 0;
}

/* Cuts the input at `end`. */
static void put_by(till_connection_t *connection, size_t end)
{
    till_h1_t *h1 = &connection->h1;
    h2o_buffer_t *input = connection->sock->input;
    size_t surplus = input->size - end;

    if (surplus <= h1->taken) /* it stands there still */
        h1->later_at -= surplus;
    else {
        forget_later(h1);
        till_buf_append(&h1->later, input->bytes + end, surplus);
    }
    input->size = end;
}

/* @return false: there is nothing */
static bool take_back(till_connection_t *connection)
{
    till_h1_t *h1 = &connection->h1;
    size_t n = h1->later.len - h1->later_at;

    if (n == 0)
        return false;
    n = n < SLICE ? n : SLICE;
    h2o_iovec_t room = h2o_buffer_reserve(&connection->sock->input, n);
    if (room.base == NULL)
        return false;
    memcpy(room.base, h1->later.base + h1->later_at, n);
    connection->sock->input->size += n;
    h1->later_at += n;
    h1->taken += n;
    return true;
}

/* ---- to libh2o ---------------------------------------------------------------- */

static void pass(till_connection_t *connection, const char *err)
{
    bool is_gone = false;

    connection->h1.phase = H1_PASSED;
    connection->is_gone = &is_gone;
    connection->h2o_read(connection->sock, err);
    if (is_gone)
        return;
    connection->is_gone = NULL;
    if (connection->sock->_cb.read == on_read) /* it waits for more of what was whole to us */
        till_guard_hang_up(connection, TILL_HOSTILE_FRAMING);
}

static void put_stand_in(till_connection_t *connection)
{
    h2o_socket_t *sock = connection->sock;
    const till_head_t *head = &connection->h1.head;
    till_buf_t text;

    till_buf_init(&text, 0);
    if (head->method_len != 0) {
        till_buf_append(&text, sock->input->bytes + head->method_at, head->method_len);
        till_buf_putc(&text, ' ');
        till_buf_append(&text, sock->input->bytes + head->target_at, head->target_len);
    } else
        till_buf_puts(&text, "GET /");
    till_buf_puts(&text, " HTTP/1.1\r\nhost: refused\r\n\r\n");
    h2o_buffer_consume(&sock->input, sock->input->size);
    memcpy(h2o_buffer_reserve(&sock->input, text.len).base, text.base, text.len);
    sock->input->size = text.len;
    till_buf_dispose(&text);
}

static void refuse(till_connection_t *connection, till_status_t status, const char *detail)
{
    till_h1_t *h1 = &connection->h1;

    h1->refusal = status;
    h1->detail = detail;
    h1->lingers = status == TILL_TOO_LARGE || status == TILL_HEADERS_TOO_LARGE || status == TILL_TARGET_TOO_LONG ||
                  status == TILL_OVERLOADED;
    if (h2o_socket_is_writing(connection->sock))
        return; /* on_told comes back */
    forget_later(h1);
    put_stand_in(connection);
    pass(connection, NULL);
}

/* ---- from the client ------------------------------------------------------------ */

static void on_told(h2o_socket_t *sock, const char *err)
{
    till_connection_t *connection = sock->on_close.data;

    if (err != NULL)
        pass(connection, err);
    else if (connection->h1.refusal != TILL_OK)
        refuse(connection, connection->h1.refusal, connection->h1.detail);
    else
        feed(connection);
}

/* libh2o would say it too, and then read on without us: so it gets to see another name. */
static void tell_to_go_on(till_connection_t *connection, bool is_waiting)
{
    static h2o_iovec_t text = {H2O_STRLIT("HTTP/1.1 100 Continue\r\n\r\n")};
    till_head_t *head = &connection->h1.head;

    if (!head->has_expect)
        return;
    head->has_expect = false;
    connection->sock->input->bytes[head->expect_at] = 'x';
    if (is_waiting && !head->is_1_0)
        h2o_socket_write(connection->sock, &text, 1, on_told);
}

static till_reading_t read_body(till_connection_t *connection, size_t *end)
{
    till_h1_t *h1 = &connection->h1;
    const h2o_buffer_t *input = connection->sock->input;
    size_t from = h1->head.at, max = connection->server->opts.limits->max_body;

    *end = from + (h1->head.lengths != 0 ? h1->head.length : 0);
    h1->chunks.status = TILL_TOO_LARGE;
    if (h1->head.lengths != 0 && h1->head.length > max)
        return TILL_READING_REFUSED;
    if (h1->head.codings == 0)
        return input->size >= *end ? TILL_READING_DONE : TILL_READING_MORE;
    till_reading_t reading = till_chunks_read(&h1->chunks, input->bytes + from, input->size - from, max);
    *end = from + h1->chunks.at;
    if (reading == TILL_READING_MORE && input->size - from > 2 * max + SLICE) { /* framing above all */
        h1->chunks.status = TILL_TOO_LARGE;
        return TILL_READING_REFUSED;
    }
    return reading;
}

static till_reading_t read_request(till_connection_t *connection, size_t *end)
{
    till_h1_t *h1 = &connection->h1;
    const h2o_buffer_t *input = connection->sock->input;
    size_t max = connection->server->opts.limits->max_headers + HEAD_SLACK;
    till_reading_t reading;

    if (!h1->has_head) {
        reading = till_head_read(&h1->head, input->bytes, input->size, max);
        if (reading == TILL_READING_REFUSED)
            refuse(connection, h1->head.status, h1->head.detail);
        if (reading != TILL_READING_DONE)
            return reading;
        h1->has_head = true;
    }
    reading = read_body(connection, end);
    if (reading == TILL_READING_REFUSED)
        refuse(connection, h1->chunks.status, h1->chunks.detail);
    else
        tell_to_go_on(connection, reading == TILL_READING_MORE);
    return reading;
}

static void feed(till_connection_t *connection)
{
    till_h1_t *h1 = &connection->h1;
    size_t end;
    till_reading_t reading;

    while ((reading = read_request(connection, &end)) == TILL_READING_MORE && take_back(connection))
        ;
    if (reading == TILL_READING_REFUSED)
        return; /* the connection may be gone */
    size_t size = connection->sock->input->size;
    if (h1->begun_ms == 0 && size != 0)
        h1->begun_ms = till_loop_now(connection->server->opts.loop);
    hold(connection, size);
    if (reading == TILL_READING_MORE && is_too_much(connection->server))
        refuse(connection, TILL_OVERLOADED, NULL);
    else if (reading == TILL_READING_DONE && !h2o_socket_is_writing(connection->sock)) {
        put_by(connection, end);
        pass(connection, NULL);
    }
}

static void on_read(h2o_socket_t *sock, const char *err)
{
    till_connection_t *connection = sock->on_close.data;

    if (err != NULL || connection->is_hostile) {
        pass(connection, err != NULL ? err : h2o_socket_error_closed);
        return;
    }
    if (connection->h1.phase == H1_LINGERING) {
        h2o_buffer_consume(&sock->input, sock->input->size);
        connection->idle_since_ms = till_loop_now(connection->server->opts.loop);
        return;
    }
    if (connection->h1.refusal != TILL_OK) /* on_told answers it */
        return;
    forget_later(&connection->h1); /* it has been taken back, or libh2o would not read */
    feed(connection);
}

/* ---- one after the other ---------------------------------------------------------- */

static void begin(till_connection_t *connection)
{
    till_h1_t *h1 = &connection->h1;

    h1->head = (till_head_t){0};
    h1->chunks = (till_chunks_t){0};
    h1->has_head = false;
    h1->phase = H1_READING;
    h1->begun_ms = 0;
    h1->taken = 0;
    connection->idle_since_ms = till_loop_now(connection->server->opts.loop);
    connection->sock->_cb.read = on_read;
    if (take_back(connection))
        feed(connection);
}

static void on_turn_end(till_turn_hook_t *hook)
{
    till_connection_t *connection = H2O_STRUCT_FROM_MEMBER(till_connection_t, h1.turn, hook);

    if (connection->sock->_cb.read != connection->h2o_read)
        return; /* it is being closed */
    if (connection->h1.refusal == TILL_OK) {
        begin(connection);
        return;
    }
    connection->h1.phase = H1_LINGERING;
    connection->h1.begun_ms = till_loop_now(connection->server->opts.loop);
    connection->idle_since_ms = till_loop_now(connection->server->opts.loop);
    connection->sock->_cb.read = on_read;
}

void till_h1_ended(till_connection_t *connection)
{
    hold(connection, 0);
    till_loop_at_turn_end(connection->server->opts.loop, &connection->h1.turn, on_turn_end);
}

void till_h1_accept(till_connection_t *connection)
{
    till_h1_t *h1 = &connection->h1;
    h2o_socket_t *sock = connection->sock;

    till_buf_init(&h1->later, 0);
    till_buf_append(&h1->later, sock->input->bytes, sock->input->size); /* came with the end of the handshake */
    h2o_buffer_consume(&sock->input, sock->input->size);
    connection->is_h1 = true;
    h2o_http1_accept(&connection->server->accept[connection->face], sock, connection->at);
    connection->h2o_read = sock->_cb.read;
    begin(connection);
}

void till_h1_close(till_connection_t *connection)
{
    hold(connection, 0);
    till_turn_hook_cancel(connection->server->opts.loop, &connection->h1.turn);
    till_buf_dispose(&connection->h1.later);
}

void till_h1_leave(till_connection_t *connection)
{
    while (take_back(connection))
        ;
    connection->h1.later_at = connection->h1.later.len;
}

void till_h1_sweep(till_connection_t *connection, uint64_t now)
{
    const till_serve_opts_t *limits = connection->server->opts.limits;
    till_h1_t *h1 = &connection->h1;

    if (h1->phase == H1_PASSED)
        return;
    uint64_t idle = now - connection->idle_since_ms;
    if (h1->phase == H1_LINGERING ? idle > QUIET_MS || now - h1->begun_ms > LINGER_MS
                                  : h1->begun_ms == 0 && idle > limits->idle_timeout_ms)
        pass(connection, h2o_socket_error_closed);
    else if (h1->begun_ms != 0 && h1->refusal == TILL_OK && now - h1->begun_ms > limits->header_timeout_ms)
        refuse(connection, TILL_REQUEST_TIMEOUT, "Headers and body took too long to arrive.");
}
