#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/ulid.h"
#include "serve/overload.h"
#include "serve/server_priv.h"

#define NOTE_KEY "till.note"
#define LOOK_AGAIN_MS 1000
#define TCP_IS_ESTABLISHED 1 /* tcpi_state; <netinet/tcp.h> names it TCP_ESTABLISHED */

/* A call into the backend. The copy of the request follows it in the same
 * allocation: over HTTP/2 libh2o frees everything of a request when its client
 * goes away, while the backend may read it until it is done. */
struct till_exchange {
    till_server_t *server;
    h2o_req_t *req; /* NULL once it was answered, or is gone */
    till_note_t *note;
    till_call_t *call;
    till_connection_t *connection;
    h2o_linklist_t link;
    bool is_starting, is_done;
    till_timer_t look_timer; /* HTTP/1.1, when the socket has bytes that we must not read */
    till_request_t request;
    char request_id[TILL_REQUEST_ID_LEN + 1];
    char peer[64];
    till_header_t headers[];
};

/* ---- the note ---------------------------------------------------------- */

till_note_t *till_note_of(h2o_req_t *req)
{
    h2o_iovec_t *slot = h2o_req_getenv(req, H2O_STRLIT(NOTE_KEY), 0);

    return slot != NULL ? (till_note_t *)slot->base : NULL;
}

/* A client may have sent such a line itself; a proxy adds its own behind it. */
static ssize_t last_forwarded(h2o_req_t *req)
{
    ssize_t last = -1, at = -1;

    while ((at = h2o_find_header(&req->headers, H2O_TOKEN_X_FORWARDED_FOR, at)) != -1)
        last = at;
    return last;
}

/* As much of the text as there is room for. */
static void copy_text(char *out, size_t size, const char *text, size_t len)
{
    if (len >= size)
        len = size - 1;
    h2o_memcpy(out, text, len); /* NULL and 0 are allowed */
    out[len] = '\0';
}

static const char *peer_of(till_connection_t *connection, h2o_req_t *req)
{
    struct sockaddr_storage address;
    char host[NI_MAXHOST];

    if (connection->peer[0] != '\0')
        return connection->peer;
    socklen_t len = req->conn->callbacks->get_peername(req->conn, (struct sockaddr *)&address);
    size_t n = len != 0 ? h2o_socket_getnumerichost((struct sockaddr *)&address, len, host) : SIZE_MAX;
    if (n != SIZE_MAX)
        copy_text(connection->peer, sizeof(connection->peer), host, n);
    return connection->peer;
}

static void find_peer(till_server_t *server, h2o_req_t *req, char *out, size_t size)
{
    ssize_t at;

    if (server->opts.limits->trust_forwarded && (at = last_forwarded(req)) != -1) {
        h2o_iovec_t value = req->headers.entries[at].value;
        const char *comma = memrchr(value.base, ',', value.len); /* the last one is what our own proxy saw */
        const char *from = comma != NULL ? comma + 1 : value.base;
        while (from < value.base + value.len && *from == ' ')
            ++from;
        copy_text(out, size, from, (size_t)(value.base + value.len - from));
        return;
    }
    const char *peer = peer_of(till_connection_of(req), req);
    copy_text(out, size, peer, strlen(peer));
}

static void on_note_disposed(void *memory);

static till_note_t *note_create(till_server_t *server, h2o_req_t *req)
{
    till_note_t *note = h2o_mem_alloc_shared(&req->pool, sizeof(*note), on_note_disposed);
    uint8_t id[TILL_ULID_LEN];

    memset(note, 0, sizeof(*note));
    note->server = server;
    note->connection = till_connection_of(req);
    note->begun_us = till_clock_us();
    till_ulid_make(id, till_wall_ms());
    till_ulid_format(note->request_id, id);
    memcpy(note->route, "none", sizeof("none"));
    find_peer(server, req, note->peer, sizeof(note->peer));
    ssize_t at = h2o_find_header_by_str(&req->headers, H2O_STRLIT("traceparent"), -1);
    if (at != -1)
        till_trace_continue(&note->trace, req->headers.entries[at].value.base, req->headers.entries[at].value.len);
    else
        till_trace_begin(&note->trace);
    ++note->connection->requests;
    till_guard_note_request(note->connection);
    *h2o_req_getenv(req, H2O_STRLIT(NOTE_KEY), 1) = h2o_iovec_init(note, sizeof(*note));
    return note;
}

/* ---- is the client there still? (HTTP/1.1) ------------------------------ */

/* libh2o does not read while a handler waits, so it would not see the end of
 * the connection. Until the answer we poll the socket ourselves and only peek:
 * what a pipelining client sent must stay where libh2o will look for it, and
 * the request's headers point into the buffer that a read would move. */
static void unwatch(till_exchange_t *exchange)
{
    till_connection_t *connection = exchange->connection;

    till_timer_stop(&exchange->look_timer);
    if (connection == NULL || connection->watched != exchange)
        return;
    connection->watched = NULL;
    h2o_socket_read_stop(connection->sock);
    h2o_socket_dont_read(connection->sock, 0);
}

static void client_gone(till_exchange_t *exchange)
{
    h2o_req_t *req = exchange->req;

    unwatch(exchange);
    exchange->req = NULL;
    exchange->note->gone = true;
    exchange->note->exchange = NULL;
    req->http1_is_persistent = 0;
    till_call_t *call = exchange->call;
    till_server_t *server = exchange->server;
    till_respond_text(req, 499, "text/plain", "", 0); /* to nobody: it ends libh2o's request */
    server->opts.backend.cancel(call);
}

/* The pipelined bytes (or TLS' goodbye) are in the way of a peek; the kernel
 * knows all the same that the other side has closed. */
static void on_look_again(till_timer_t *timer)
{
    till_exchange_t *exchange = H2O_STRUCT_FROM_MEMBER(till_exchange_t, look_timer, timer);
    struct tcp_info info;
    socklen_t len = sizeof(info);
    int fd = h2o_socket_get_fd(exchange->connection->sock);

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && info.tcpi_state != TCP_IS_ESTABLISHED)
        client_gone(exchange);
    else
        till_timer_start(exchange->server->opts.loop, timer, LOOK_AGAIN_MS, on_look_again);
}

static void on_parked_readable(h2o_socket_t *sock, const char *err)
{
    till_connection_t *connection = sock->on_close.data;
    till_exchange_t *exchange = connection->watched;
    char byte;
    ssize_t n = recv(h2o_socket_get_fd(sock), &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    if (n == -1 && err == NULL && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        client_gone(exchange);
        return;
    }
    unwatch(exchange); /* level-triggered: it would call for ever */
    till_timer_start(exchange->server->opts.loop, &exchange->look_timer, LOOK_AGAIN_MS, on_look_again);
}

static void watch(till_exchange_t *exchange)
{
    till_connection_t *connection = exchange->connection;

    if (exchange->req->version >= 0x200)
        return;
    connection->watched = exchange;
    h2o_socket_dont_read(connection->sock, 1);
    h2o_socket_read_start(connection->sock, on_parked_readable);
}

/* ---- the exchange ------------------------------------------------------- */

static char *put(char **at, h2o_iovec_t text)
{
    char *here = *at;

    h2o_memcpy(here, text.base, text.len);
    *at += text.len;
    return here;
}

static till_slice_t put_slice(char **at, h2o_iovec_t text) { return (till_slice_t){put(at, text), text.len}; }

static size_t sum_of_headers(const h2o_req_t *req)
{
    size_t sum = 0;

    for (size_t i = 0; i != req->headers.size; ++i)
        sum += req->headers.entries[i].name->len + req->headers.entries[i].value.len;
    return sum;
}

/* libh2o takes one of them out of the list; who asks to upgrade is of interest still. */
static size_t count_of_headers(const h2o_req_t *req) { return req->headers.size + (req->upgrade.base != NULL); }

static void fill_request(till_exchange_t *exchange, h2o_req_t *req)
{
    till_request_t *request = &exchange->request;
    char *at = (char *)&exchange->headers[count_of_headers(req)];
    size_t path_len = req->input.query_at != SIZE_MAX ? req->input.query_at : req->input.path.len;
    size_t query_at = path_len + (path_len != req->input.path.len);

    for (size_t i = 0; i != req->headers.size; ++i) {
        const h2o_header_t *header = &req->headers.entries[i];
        exchange->headers[i] = (till_header_t){put_slice(&at, *header->name), put_slice(&at, header->value)};
    }
    if (req->upgrade.base != NULL)
        exchange->headers[req->headers.size] = (till_header_t){{H2O_STRLIT("upgrade")}, put_slice(&at, req->upgrade)};
    *request = (till_request_t){
        .method = put_slice(&at, req->input.method),
        .path = put_slice(&at, h2o_iovec_init(req->input.path.base, path_len)),
        .query = put_slice(&at, h2o_iovec_init(req->input.path.base + query_at, req->input.path.len - query_at)),
        .authority = put_slice(&at, req->input.authority),
        .peer = {exchange->peer, strlen(exchange->peer)},
        .body = put_slice(&at, req->entity),
        .headers = exchange->headers,
        .header_count = count_of_headers(req),
        .trace = exchange->note->trace,
        .request_id = exchange->request_id,
        .tls = exchange->connection->sock->ssl != NULL,
    };
}

static till_exchange_t *exchange_create(till_server_t *server, h2o_req_t *req, till_note_t *note)
{
    size_t text = sum_of_headers(req) + req->upgrade.len + req->input.method.len + req->input.path.len +
                  req->input.authority.len + req->entity.len;
    till_exchange_t *exchange =
        till_alloc(sizeof(*exchange) + count_of_headers(req) * sizeof(exchange->headers[0]) + text);

    memset(exchange, 0, sizeof(*exchange));
    exchange->server = server;
    exchange->req = req;
    exchange->note = note;
    exchange->connection = note->connection;
    memcpy(exchange->request_id, note->request_id, sizeof(exchange->request_id));
    memcpy(exchange->peer, note->peer, sizeof(exchange->peer));
    fill_request(exchange, req);
    note->exchange = exchange;
    ++server->in_flight;
    till_http_metrics_in_flight(server->metrics, server->in_flight);
    return exchange;
}

static void exchange_destroy(till_exchange_t *exchange)
{
    till_server_t *server = exchange->server;

    --server->in_flight;
    till_http_metrics_in_flight(server->metrics, server->in_flight);
    free(exchange);
}

static void answer_too_much(till_server_t *server, h2o_req_t *req, const char *detail)
{
    static const till_admit_t calm = {0};

    till_respond_problem(req, TILL_OVERLOADED, detail,
                         till_admit_retry_after(server->opts.admit != NULL ? server->opts.admit : &calm));
}

static void answer(till_exchange_t *exchange, till_status_t status, const till_response_t *response)
{
    h2o_req_t *req = exchange->req;

    unwatch(exchange);
    exchange->req = NULL;
    exchange->note->exchange = NULL;
    if (response != NULL)
        till_respond(req, response);
    else if (status == TILL_TIMEOUT)
        till_respond_problem(req, TILL_TIMEOUT, "The request ran out of its time.", 0);
    else if (status == TILL_OVERLOADED)
        answer_too_much(exchange->server, req,
                        "Nothing was done: the time was over before its turn came. Try again after the time in"
                        " Retry-After.");
    else /* cancelled though its client waits: the generation or the worker ends */
        till_respond_problem(req, TILL_UNAVAILABLE, "The server is being restarted. Please try again.", 1);
}

static void on_done(void *data, till_status_t status, const till_response_t *response)
{
    till_exchange_t *exchange = data;

    if (exchange->req != NULL)
        answer(exchange, status, response);
    exchange->is_done = true;
    if (!exchange->is_starting)
        exchange_destroy(exchange);
}

/* The pool of the request is being freed: over HTTP/2 also when the client resets the stream or hangs up. */
static void on_note_disposed(void *memory)
{
    till_note_t *note = memory;
    till_exchange_t *exchange = note->exchange;

    if (exchange == NULL)
        return;
    unwatch(exchange);
    exchange->req = NULL;
    exchange->note = NULL;
    exchange->connection = NULL;
    exchange->server->opts.backend.cancel(exchange->call);
}

static void start(till_exchange_t *exchange)
{
    till_server_t *server = exchange->server;
    const till_backend_t *backend = &server->opts.backend;

    exchange->is_starting = true;
    exchange->call =
        backend->http(backend->data, &exchange->request, server->opts.limits->request_timeout_ms, on_done, exchange);
    exchange->is_starting = false;
    if (exchange->is_done) {
        exchange_destroy(exchange);
        return;
    }
    if (exchange->call != NULL) {
        watch(exchange);
        return;
    }
    h2o_req_t *req = exchange->req;
    exchange->note->exchange = NULL;
    exchange_destroy(exchange);
    till_respond_problem(req, TILL_UNAVAILABLE, "The shop is starting.", 1);
}

static void cancel_one(h2o_req_t *req)
{
    till_note_t *note = till_note_of(req);

    if (note != NULL && note->exchange != NULL)
        note->server->opts.backend.cancel(note->exchange->call);
}

static int on_each_request(h2o_req_t *req, void *data)
{
    (void)data;
    cancel_one(req);
    return 0;
}

void till_exchange_close_all(till_server_t *server)
{
    const h2o_globalconf_t *conf = &server->globalconf;

    conf->http1.callbacks.foreach_request(&server->context, on_each_request, NULL);
    conf->http2.callbacks.foreach_request(&server->context, on_each_request, NULL);
}

/* ---- the handlers ------------------------------------------------------- */

struct handler {
    h2o_handler_t super;
    till_server_t *server;
};

static bool is_packed(h2o_req_t *req)
{
    ssize_t at = h2o_find_header(&req->headers, H2O_TOKEN_CONTENT_ENCODING, -1);

    return at != -1 && !h2o_lcstris(req->headers.entries[at].value.base, req->headers.entries[at].value.len,
                                    H2O_STRLIT("identity"));
}

/* @return TILL_OK, or why the request is refused before anybody works on it */
static till_status_t check(till_server_t *server, h2o_req_t *req, const char **detail)
{
    const till_serve_opts_t *limits = server->opts.limits;

    *detail = NULL;
    if (!till_head_is_target(req->input.path.base, req->input.path.len)) {
        *detail = "The request target must be a path, with nothing in it that is unusual.";
        return TILL_BAD_REQUEST;
    }
    if (!till_head_is_token(req->input.method.base, req->input.method.len) ||
        (req->input.authority.len != 0 && !till_head_is_host(req->input.authority.base, req->input.authority.len))) {
        *detail = "The method must be a word, and the host the name of one.";
        return TILL_BAD_REQUEST;
    }
    if (req->version >= 0x200 && !till_fields_are_sound(req)) {
        *detail = "A header field has no name, or is one of HTTP/1.1 that HTTP/2 does not know.";
        return TILL_BAD_REQUEST;
    }
    if (req->input.path.len > limits->max_headers)
        return TILL_TARGET_TOO_LONG;
    if (sum_of_headers(req) + req->input.path.len > limits->max_headers)
        return TILL_HEADERS_TOO_LARGE;
    if (req->entity.len > limits->max_body)
        return TILL_TOO_LARGE;
    if (req->entity.len != 0 && is_packed(req)) {
        *detail = "Bodies are taken as they are: send it without Content-Encoding.";
        return TILL_MEDIA_TYPE;
    }
    return TILL_OK;
}

/* HTTP/1.1: where the next request begins must never be a matter of opinion. */
static void close_after(till_connection_t *connection, h2o_req_t *req)
{
    if (connection->is_h1 && connection->h1.head.codings != 0)
        req->http1_is_persistent = 0;
}

/* Refused before it reached libh2o, which has a stand-in: see serve/guard_h1.c. */
static void answer_refused(till_connection_t *connection, h2o_req_t *req)
{
    const till_h1_t *h1 = &connection->h1;

    req->http1_is_persistent = 0;
    till_respond_problem(req, h1->refusal, h1->detail, h1->refusal == TILL_OVERLOADED ? 1 : 0);
    req->http1_is_persistent = h1->lingers; /* libh2o must not close yet */
}

static int on_gate(h2o_handler_t *super, h2o_req_t *req)
{
    till_server_t *server = ((struct handler *)super)->server;
    const char *detail = NULL;

    note_create(server, req);
    till_connection_t *connection = till_note_of(req)->connection;
    if (connection->h1.refusal != TILL_OK) {
        answer_refused(connection, req);
        return 0;
    }
    till_status_t status = connection->is_hostile ? TILL_OVERLOADED : check(server, req, &detail);
    close_after(connection, req);
    if (status == TILL_OK)
        return -1; /* the next handler's */
    if (status == TILL_HEADERS_TOO_LARGE || status == TILL_TARGET_TOO_LONG)
        req->http1_is_persistent = 0;
    till_respond_problem(req, status, detail, 0);
    return 0;
}

static till_priority_t priority_of(till_server_t *server, h2o_req_t *req)
{
    const till_backend_t *backend = &server->opts.backend;
    size_t len = req->input.query_at != SIZE_MAX ? req->input.query_at : req->input.path.len;

    if (backend->priority == NULL)
        return TILL_PRIORITY_NONE;
    return backend->priority(backend->data, (till_slice_t){req->input.method.base, req->input.method.len},
                             (till_slice_t){req->input.path.base, len});
}

/* The door. @return why nothing is done for this request, or NULL; its priority is found out only where it matters */
static const char *why_not(till_server_t *server, h2o_req_t *req, till_priority_t *priority)
{
    unsigned max = server->opts.limits->max_in_flight;
    till_admit_t *admit = server->opts.admit;
    bool is_shedding = admit != NULL && till_admit_is_shedding(admit);

    *priority = TILL_PRIORITY_NONE;
    if (!is_shedding && server->in_flight < till_admit_room(max, TILL_PRIORITY_READ))
        return NULL;
    *priority = priority_of(server, req);
    if (server->in_flight >= till_admit_room(max, *priority))
        return "in_flight";
    return is_shedding && till_admit_refuses(admit, TILL_ADMIT_LOOP, *priority) ? "loop" : NULL;
}

static void shed(till_server_t *server, h2o_req_t *req, till_priority_t priority, const char *why)
{
    till_note_of(req)->shed = true;
    till_shed_count(server->opts.metrics, priority, why);
    answer_too_much(server, req, "Too much is asked at once. Try again after the time in Retry-After.");
}

static int on_request(h2o_handler_t *super, h2o_req_t *req)
{
    till_server_t *server = ((struct handler *)super)->server;
    const till_backend_t *backend = &server->opts.backend;
    till_note_t *note = till_note_of(req);
    till_priority_t priority;
    const char *why;

    till_lag_poke(server->opts.lag);
    if ((why = why_not(server, req, &priority)) != NULL) {
        shed(server, req, priority, why);
        return 0;
    }
    const char *generation = backend->generation != NULL ? backend->generation(backend->data) : NULL;
    copy_text(note->generation, sizeof(note->generation), generation, generation != NULL ? strlen(generation) : 0);
    till_exchange_t *exchange = exchange_create(server, req, note);
    exchange->request.priority = priority;
    start(exchange);
    return 0;
}

static void register_handler(till_server_t *server, h2o_pathconf_t *path, int (*on_req)(h2o_handler_t *, h2o_req_t *))
{
    struct handler *handler = (struct handler *)h2o_create_handler(path, sizeof(*handler));

    handler->super.on_req = on_req;
    handler->server = server;
}

void till_gate_register(till_server_t *server, h2o_pathconf_t *path) { register_handler(server, path, on_gate); }

void till_request_register(till_server_t *server, h2o_pathconf_t *path) { register_handler(server, path, on_request); }
