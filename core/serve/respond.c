#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "base/json.h"
#include "base/log.h"
#include "serve/server_priv.h"

/* ---- answers ----------------------------------------------------------- */

static const char *reason_of(int status)
{
    /* clang-format off */
    static const struct { int status; const char *reason; } known[] = {
        {101, "Switching Protocols"}, {200, "OK"}, {201, "Created"}, {202, "Accepted"}, {204, "No Content"}, {301, "Moved Permanently"},
        {302, "Found"}, {303, "See Other"}, {304, "Not Modified"}, {307, "Temporary Redirect"},
        {308, "Permanent Redirect"}, {400, "Bad Request"}, {401, "Unauthorized"}, {402, "Payment Required"},
        {403, "Forbidden"}, {404, "Not Found"}, {405, "Method Not Allowed"}, {409, "Conflict"},
        {412, "Precondition Failed"}, {413, "Content Too Large"}, {415, "Unsupported Media Type"},
        {422, "Unprocessable Content"}, {426, "Upgrade Required"}, {428, "Precondition Required"}, {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"}, {500, "Internal Server Error"}, {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
    };
    /* clang-format on */

    for (size_t i = 0; i != sizeof(known) / sizeof(known[0]); ++i) {
        if (known[i].status == status)
            return known[i].reason;
    }
    return "Status";
}

/* Until it has been read, the answer is in memory. */
static void owe(till_note_t *note, size_t len)
{
    if (note == NULL)
        return;
    note->owed = len;
    note->server->owed += len;
    till_sweep_relieve(note->server);
}

/* 204 and 304 have no body and announce none; a HEAD announces the one that a GET would get. */
static void send_body(h2o_req_t *req, int status, const void *body, size_t len)
{
    bool is_bare = status == 204 || status == 304;

    req->res.status = status;
    req->res.reason = reason_of(status);
    req->res.content_length = is_bare ? SIZE_MAX : len;
    owe(till_note_of(req), len);
    till_connection_t *connection = req->version >= 0x200 ? till_connection_of(req) : NULL;
    h2o_send_inline(req, body != NULL ? body : "", is_bare ? 0 : len);
    if (connection != NULL)
        till_guard_note_answer(connection);
}

static void add_type(h2o_req_t *req, const char *type)
{
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, type, strlen(type));
}

/* What belongs to the connection or is computed here is not the handler's to say. */
static bool is_ours(h2o_iovec_t name)
{
    static const char *const ours[] = {"connection", "content-length", "transfer-encoding", "keep-alive", "upgrade",
                                       "date",       "server",         "x-request-id"};

    for (size_t i = 0; i != sizeof(ours) / sizeof(ours[0]); ++i) {
        if (h2o_memis(name.base, name.len, ours[i], strlen(ours[i])))
            return true;
    }
    return name.len == 0;
}

/* A line break in a value would be a header of somebody else's choice. */
static bool is_value(till_slice_t text)
{
    const unsigned char *p = text.base;

    for (size_t i = 0; i != text.len; ++i) {
        if ((p[i] < 0x20 && p[i] != '\t') || p[i] == 0x7f)
            return false;
    }
    return true;
}

static bool is_name(till_slice_t text)
{
    const unsigned char *p = text.base;

    for (size_t i = 0; i != text.len; ++i) {
        if (!isalnum(p[i]) && (p[i] == '\0' || strchr("!#$%&'*+-.^_`|~", p[i]) == NULL))
            return false;
    }
    return true;
}

static void copy_headers(h2o_req_t *req, const till_response_t *response)
{
    bool has_type = response->status == 204 || response->status == 304;

    for (size_t i = 0; i != response->header_count; ++i) {
        const till_header_t *header = &response->headers[i];
        if (!is_name(header->name) || !is_value(header->value))
            continue;
        /* HTTP/2 has no upper case in names: a client takes it for a broken answer */
        h2o_iovec_t name = h2o_strdup(&req->pool, header->name.base, header->name.len);
        h2o_strtolower(name.base, name.len);
        if (is_ours(name))
            continue;
        has_type = has_type || h2o_memis(name.base, name.len, H2O_STRLIT("content-type"));
        h2o_iovec_t value = h2o_strdup(&req->pool, header->value.base, header->value.len);
        h2o_add_header_by_str(&req->pool, &req->res.headers, name.base, name.len, 1, NULL, value.base, value.len);
    }
    if (!has_type)
        add_type(req, "application/json");
}

static void write_member(till_buf_t *out, const char *name, const char *value)
{
    till_buf_printf(out, "%s\"%s\":", out->len > 1 ? "," : "", name);
    till_json_write_string(out, value, strlen(value));
}

/* The path alone, as in the log. */
static void write_instance(till_buf_t *out, const h2o_req_t *req)
{
    size_t len = req->input.query_at != SIZE_MAX ? req->input.query_at : req->input.path.len;

    till_buf_puts(out, ",\"instance\":");
    till_json_write_string(out, req->input.path.base, len < 1024 ? len : 1024);
}

void till_respond_problem(h2o_req_t *req, till_status_t status, const char *detail, unsigned retry_after)
{
    till_note_t *note = till_note_of(req);
    till_buf_t body;
    char type[64];

    snprintf(type, sizeof(type), "/docs/problems#%s", till_status_code(status));
    till_buf_init(&body, 0);
    till_buf_putc(&body, '{');
    write_member(&body, "type", type);
    write_member(&body, "title", till_status_title(status));
    till_buf_printf(&body, ",\"status\":%d", till_status_http(status));
    write_member(&body, "detail", detail != NULL ? detail : till_status_title(status));
    write_instance(&body, req);
    write_member(&body, "code", till_status_code(status));
    if (note != NULL)
        write_member(&body, "trace_id", note->trace.trace_id);
    till_buf_putc(&body, '}');
    if (retry_after != 0) {
        char *seconds = h2o_mem_alloc_pool(&req->pool, 12);
        int len = snprintf(seconds, 12, "%u", retry_after);
        h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("retry-after"), 1, NULL, seconds, (size_t)len);
    }
    add_type(req, "application/problem+json");
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CACHE_CONTROL, NULL, H2O_STRLIT("no-store"));
    send_body(req, till_status_http(status), body.base, body.len);
    till_buf_dispose(&body);
}

void till_respond(h2o_req_t *req, const till_response_t *response)
{
    till_note_t *note = till_note_of(req);
    int status = response->status >= 200 && response->status <= 599 ? response->status : 500;

    const char *route = response->route != NULL ? response->route : "none";
    size_t len = strlen(route);

    len = len < sizeof(note->route) ? len : sizeof(note->route) - 1;
    memcpy(note->route, route, len);
    note->route[len] = '\0';
    if (response->error != NULL) { /* the handler broke, and nobody in Lua has made an answer of it */
        note->error = h2o_strdup(&req->pool, response->error, SIZE_MAX).base;
        till_respond_problem(req, TILL_INTERNAL, NULL, 0);
        return;
    }
    if (response->live != NULL && status == 200 && !h2o_memis(req->method.base, req->method.len, H2O_STRLIT("HEAD"))) {
        till_live_answer(req, response->live);
        return;
    }
    copy_headers(req, response);
    send_body(req, status, response->body.base, response->body.len);
}

void till_note_stream(till_note_t *note)
{
    note->is_stream = true;
    note->stream_us = till_clock_us() - note->begun_us;
}

void till_respond_text(h2o_req_t *req, int status, const char *type, const char *body, size_t len)
{
    add_type(req, type);
    send_body(req, status, body, len);
}

/* ---- what every answer carries ----------------------------------------- */

struct filter {
    h2o_filter_t super;
    till_server_t *server;
};

static bool is_compressible(h2o_req_t *req)
{
    if (req->res.mime_attr == NULL)
        h2o_req_fill_mime_attributes(req);
    return req->res.mime_attr->is_compressible;
}

/* On "localhost" it would bind every other server of a developer's machine too. */
static bool wants_hsts(till_server_t *server, h2o_req_t *req, const till_note_t *note)
{
    return server->opts.ssl != NULL && note != NULL && note->connection->face == TILL_FACE_PUBLIC &&
           !(req->authority.len >= 9 && strncasecmp(req->authority.base, "localhost", 9) == 0);
}

/* A filter, so that answers which libh2o makes by itself carry them too. */
static void on_setup_ostream(h2o_filter_t *super, h2o_req_t *req, h2o_ostream_t **slot)
{
    till_server_t *server = ((struct filter *)super)->server;
    till_note_t *note = till_note_of(req);
    h2o_headers_t *headers = &req->res.headers;

    h2o_set_header_by_str(&req->pool, headers, H2O_STRLIT("x-content-type-options"), 1, H2O_STRLIT("nosniff"), 1);
    if (wants_hsts(server, req, note))
        h2o_set_header_by_str(&req->pool, headers, H2O_STRLIT("strict-transport-security"), 1,
                              H2O_STRLIT("max-age=31536000"), 0);
    if (note != NULL)
        h2o_add_header_by_str(&req->pool, headers, H2O_STRLIT("x-request-id"), 0, NULL, note->request_id,
                              TILL_REQUEST_ID_LEN);
    if (server->opts.limits->compress_min != 0 && req->res.status == 200 && is_compressible(req))
        h2o_set_header_token(&req->pool, headers, H2O_TOKEN_VARY, H2O_STRLIT("accept-encoding"));
    if (note != NULL && note->answered_ms == 0 && !note->is_stream) {
        ++note->connection->answers;
        note->answered_ms = till_loop_now(server->opts.loop);
        note->answer_len = req->res.content_length != SIZE_MAX ? req->res.content_length : note->owed;
    }
    if (server->draining)
        req->http1_is_persistent = 0;
    h2o_setup_next_ostream(req, slot);
}

/* ---- one line and the counters ----------------------------------------- */

struct logger {
    h2o_logger_t super;
    till_server_t *server;
};

/* The path alone: a query may hold an e-mail address, a fragment of a name, a token. */
static void log_line(h2o_req_t *req, const till_note_t *note, int status, uint64_t us)
{
    size_t path_len = req->input.query_at != SIZE_MAX ? req->input.query_at : req->input.path.len;
    char protocol[sizeof("HTTP/1.1") + 8];
    till_log_t line;

    protocol[h2o_stringify_protocol_version(protocol, req->version)] = '\0';
    till_log_begin(&line, status >= 500 ? TILL_LOG_ERROR : TILL_LOG_INFO, "http.request");
    till_log_str(&line, "request_id", note->request_id);
    till_log_str(&line, "trace_id", note->trace.trace_id);
    till_log_strn(&line, "method", req->input.method.base, req->input.method.len);
    till_log_strn(&line, "path", req->input.path.base, path_len < 1024 ? path_len : 1024);
    till_log_str(&line, "route", note->route);
    till_log_int(&line, "status", status);
    till_log_int(&line, "bytes", (int64_t)req->bytes_sent);
    till_log_int(&line, "ms", (int64_t)(us / 1000));
    till_log_str(&line, "peer", note->peer);
    till_log_str(&line, "protocol", protocol);
    till_log_str(&line, "generation", note->generation);
    if (note->error != NULL)
        till_log_str(&line, "error", note->error);
    till_log_end(&line);
}

/* Whoever has been without a request for the longest time stands first in the list. */
static void end_request(till_connection_t *connection)
{
    till_server_t *server = connection->server;

    if (--connection->requests != 0)
        return;
    connection->idle_since_ms = till_loop_now(server->opts.loop);
    h2o_linklist_unlink(&connection->link);
    h2o_linklist_insert(&server->connections, &connection->link);
}

/* libh2o calls it when the request ends, answered or not. */
static void log_access(h2o_logger_t *super, h2o_req_t *req)
{
    till_server_t *server = ((struct logger *)super)->server;
    till_note_t *note = till_note_of(req);

    if (note == NULL)
        return;
    note->gone = note->gone || note->exchange != NULL;
    int status = note->gone || req->res.status == 0 ? 499 : req->res.status;
    uint64_t us = till_clock_us() - note->begun_us;
    server->owed -= note->owed;
    note->connection->answers -= note->answered_ms != 0;
    end_request(note->connection);
    if (req->version < 0x200)
        till_h1_ended(note->connection);
    else if (note->gone)
        till_guard_note_gone(note->connection);
    if (note->connection->face == TILL_FACE_OPS || note->connection->is_hostile)
        return; /* asked every few seconds by machines; thousands in a moment */
    till_http_metrics_count(server->metrics, note->route, req->input.method.base, req->input.method.len, status,
                            (double)(note->is_stream ? note->stream_us : us) / 1e6);
    if (note->gone)
        till_metrics_add(server->opts.metrics, "till_http_client_gone_total", NULL, 1);
    if (note->shed)
        return; /* the worker says when it begins to refuse and when it ends */
    log_line(req, note, status, us);
}

void till_respond_register(till_server_t *server, h2o_pathconf_t *path)
{
    struct filter *filter = (struct filter *)h2o_create_filter(path, sizeof(*filter));
    struct logger *logger = (struct logger *)h2o_create_logger(path, sizeof(*logger));
    size_t min = server->opts.limits->compress_min;

    filter->super.on_setup_ostream = on_setup_ostream;
    filter->server = server;
    logger->super.log_access = log_access;
    logger->server = server;
    if (min != 0) {
        h2o_compress_args_t compress = {.min_size = min, .gzip = {.quality = 4}, .brotli = {.quality = -1}};
        h2o_compress_register(path, &compress);
    }
}
