/* http.c - transfers: a request copied in, an answer gathered, told once.
 *
 *      WAITING --a connection is opened or free--> SENDING --on_over--> OVER --(next turn)--> told and freed
 *         +---- deadline, cancel: taken out of the wire ----^
 *
 * A transfer in the wire is in the client's list; out of it, it does not touch
 * the client any more, which may be destroyed before the callback runs.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/mem.h"
#include "io/http_priv.h"

enum { CONNECT_MS = 3000, MAX_BODY = 8 << 20, MAX_HEAD = 256 << 10, KEEP_IDLE_S = 55 };

struct transfer {
    till_op_t op;      /* first */
    till_http_t *http; /* NULL: not in the wire (any more) */
    struct transfer *prev, *next;
    CURL *easy;
    struct curl_slist *head_out;
    till_buf_t head, body;
    size_t max_body;
    till_header_t *headers;
    unsigned sent; /* how often a request was begun */
    bool waiting;  /* for a connection, since */
    uint64_t since;
    till_timer_t patience;
    bool may_repeat, too_large, not_public, public_only;
    const char *refusal; /* static; of a request that was not even tried */
    char message[CURL_ERROR_SIZE];
    till_http_cb cb;
    void *data;
};

struct till_http {
    till_loop_t *loop;
    till_http_opts_t opts;
    till_http_wire_t *wire;
    struct transfer *first;
    unsigned in_flight; /* in the list */
    till_http_stats_t stats;
};

/* Waiting for a connection. */

static void leave_queue(struct transfer *transfer)
{
    transfer->waiting = false;
    --transfer->http->stats.waiting;
    till_timer_stop(&transfer->patience);
}

/* libcurl opens a connection for it, or has given it one that was there. */
static void has_connection(struct transfer *transfer)
{
    till_http_t *http = transfer->http;

    if (!transfer->waiting)
        return;
    leave_queue(transfer);
    till_hist_add(&http->stats.waits, (double)(till_loop_now(http->loop) - transfer->since) / 1000);
}

/* What libcurl calls while it works; `data` is the transfer. */

static size_t on_body(char *bytes, size_t size, size_t n, void *data)
{
    struct transfer *transfer = data;

    (void)size; /* always 1 */
    if (n > transfer->max_body - transfer->body.len) {
        transfer->too_large = true;
        return 0;
    }
    till_buf_append(&transfer->body, bytes, n);
    return n;
}

static size_t on_head_line(char *bytes, size_t size, size_t n, void *data)
{
    struct transfer *transfer = data;

    (void)size;
    if (n >= 5 && memcmp(bytes, "HTTP/", 5) == 0) {
        till_buf_clear(&transfer->head); /* what came before was an interim answer */
        return n;
    }
    if (!till_buf_append(&transfer->head, bytes, n)) {
        transfer->too_large = true;
        return 0;
    }
    return n;
}

/* The connection stands and the request goes out now; also when libcurl does it all over again. */
static int on_request(void *data, char *their_ip, char *our_ip, int their_port, int our_port)
{
    struct transfer *transfer = data;

    (void)their_ip;
    (void)our_ip;
    (void)their_port;
    (void)our_port;
    has_connection(transfer);
    if (transfer->sent != 0 && !transfer->may_repeat)
        return CURL_PREREQFUNC_ABORT;
    ++transfer->sent;
    return CURL_PREREQFUNC_OK;
}

static curl_socket_t on_open(void *data, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct transfer *transfer = data;

    (void)purpose;
    has_connection(transfer);
    if (transfer->public_only && !till_http_is_public(&address->addr)) {
        transfer->not_public = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* The end of a transfer. */

static void unlink_transfer(struct transfer *transfer)
{
    till_http_t *http = transfer->http;

    if (transfer->prev != NULL)
        transfer->prev->next = transfer->next;
    else
        http->first = transfer->next;
    if (transfer->next != NULL)
        transfer->next->prev = transfer->prev;
    --http->in_flight;
    if (transfer->waiting)
        leave_queue(transfer);
    transfer->http = NULL;
}

static till_status_t outcome(const struct transfer *transfer, CURLcode result)
{
    if (transfer->too_large)
        return TILL_TOO_LARGE;
    switch (result) {
    case CURLE_OK:
        return TILL_OK;
    case CURLE_OPERATION_TIMEDOUT:
        return TILL_TIMEOUT;
    case CURLE_FILESIZE_EXCEEDED:
        return TILL_TOO_LARGE;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return TILL_REJECTED;
    case CURLE_COULDNT_CONNECT:
        return transfer->not_public ? TILL_FORBIDDEN : TILL_CONN_LOST;
    default:
        return TILL_CONN_LOST;
    }
}

static void on_over(CURL *easy, CURLcode result)
{
    struct transfer *transfer;

    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&transfer);
    unlink_transfer(transfer);
    if (result != CURLE_OK && transfer->message[0] == '\0')
        transfer->refusal = curl_easy_strerror(result);
    till_op_finish(&transfer->op, outcome(transfer, result));
}

static void on_abort(till_op_t *op, till_status_t why)
{
    struct transfer *transfer = (struct transfer *)op;

    (void)why;
    if (transfer->http == NULL)
        return;
    till_http_wire_remove(transfer->http->wire, transfer->easy);
    unlink_transfer(transfer);
}

/* It may be waiting for a name to be resolved as well: only where no connection is free it is the queue's fault. */
static void on_impatient(till_timer_t *timer)
{
    struct transfer *transfer = H2O_STRUCT_FROM_MEMBER(struct transfer, patience, timer);
    till_http_t *http = transfer->http;
    unsigned most = http->opts.max_per_host;

    if (most == 0 || (http->opts.max_connections != 0 && http->opts.max_connections < most))
        most = http->opts.max_connections;
    if (most == 0 || http->in_flight <= most)
        return;
    ++http->stats.refused_late;
    transfer->refusal = "it waited too long for a connection";
    till_http_wire_remove(http->wire, transfer->easy);
    unlink_transfer(transfer);
    till_op_finish(&transfer->op, TILL_OVERLOADED);
}

static till_slice_t trimmed(const char *from, const char *to)
{
    while (from != to && (*from == ' ' || *from == '\t'))
        ++from;
    while (from != to && (to[-1] == ' ' || to[-1] == '\t' || to[-1] == '\r'))
        --to;
    return (till_slice_t){from, (size_t)(to - from)};
}

static bool parse_header(till_header_t *out, char *line, const char *end)
{
    char *colon = memchr(line, ':', (size_t)(end - line));

    if (colon == NULL)
        return false; /* the empty line at the end */
    for (char *p = line; p != colon; ++p)
        *p = (char)tolower((unsigned char)*p);
    out->name = trimmed(line, colon);
    out->value = trimmed(colon + 1, end);
    return true;
}

static size_t parse_headers(struct transfer *transfer)
{
    char *at = transfer->head.base, *end = at + transfer->head.len;
    size_t lines = 0, n = 0;

    for (const char *p = at; p != end; ++p)
        lines += *p == '\n';
    transfer->headers = till_calloc(lines + 1, sizeof(transfer->headers[0]));
    while (at != end) {
        char *stop = memchr(at, '\n', (size_t)(end - at));
        if (stop == NULL)
            break;
        n += parse_header(&transfer->headers[n], at, stop);
        at = stop + 1;
    }
    return n;
}

static int http_version(CURL *easy)
{
    long version = 0;

    curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version);
    switch (version) {
    case CURL_HTTP_VERSION_1_0:
        return 10;
    case CURL_HTTP_VERSION_2_0:
        return 20;
    default:
        return 11;
    }
}

static const char *message_of(const struct transfer *transfer, till_status_t status)
{
    if (status == TILL_OK)
        return "";
    if (transfer->not_public)
        return "the address is not a public one";
    if (transfer->sent != 0 && transfer->refusal == NULL && transfer->message[0] == '\0')
        return "given up while waiting for the answer";
    return transfer->refusal != NULL ? transfer->refusal : transfer->message;
}

static void free_transfer(struct transfer *transfer)
{
    if (transfer->easy != NULL)
        curl_easy_cleanup(transfer->easy);
    curl_slist_free_all(transfer->head_out);
    till_buf_dispose(&transfer->head);
    till_buf_dispose(&transfer->body);
    free(transfer->headers);
    free(transfer);
}

static void on_done(till_op_t *op, till_status_t status)
{
    struct transfer *transfer = (struct transfer *)op;
    till_http_response_t response = {
        .sent = transfer->sent != 0, .repeated = transfer->sent > 1, .message = message_of(transfer, status)};
    long http_status = 0;

    if (status == TILL_OK) {
        curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &http_status);
        response.status = (int)http_status;
        response.version = http_version(transfer->easy);
        response.header_count = parse_headers(transfer);
        response.headers = transfer->headers;
        response.body = (till_slice_t){transfer->body.base, transfer->body.len};
    }
    transfer->cb(transfer->data, status, &response);
    free_transfer(transfer);
}

/* The beginning: the request is checked and copied into the handle. */

static bool is_token(const char *text, size_t len)
{
    for (size_t i = 0; i != len; ++i) {
        if (!isalnum((unsigned char)text[i]) && (text[i] == '\0' || strchr("!#$%&'*+-.^_`|~", text[i]) == NULL))
            return false;
    }
    return len != 0;
}

static bool is_name(const till_header_t *header, const char *name)
{
    return header->name.len == strlen(name) && strncasecmp(header->name.base, name, header->name.len) == 0;
}

/* Nothing that could end the line and begin another, and none that say where the body ends. */
static bool is_sendable(const till_header_t *header)
{
    const unsigned char *value = header->value.base;

    if (!is_token(header->name.base, header->name.len))
        return false;
    for (size_t i = 0; i != header->value.len; ++i) {
        if ((value[i] < 0x20 && value[i] != '\t') || value[i] == 0x7f)
            return false;
    }
    return !is_name(header, "content-length") && !is_name(header, "transfer-encoding");
}

static void put_line(struct transfer *transfer, const char *line)
{
    struct curl_slist *list = curl_slist_append(transfer->head_out, line);

    if (list == NULL)
        abort();
    transfer->head_out = list;
}

/* libcurl sends "name;" as a header without a value and takes "name:" as the order to leave it out. */
static void put_header(struct transfer *transfer, const till_header_t *header)
{
    till_buf_t line;

    till_buf_init(&line, 0);
    till_buf_append(&line, header->name.base, header->name.len);
    till_buf_puts(&line, header->value.len == 0 ? ";" : ": ");
    if (header->value.len != 0)
        till_buf_append(&line, header->value.base, header->value.len);
    put_line(transfer, line.base);
    till_buf_dispose(&line);
}

static const char *put_headers(struct transfer *transfer, const till_http_request_t *request)
{
    bool has_type = false;

    for (size_t i = 0; i != request->header_count; ++i) {
        const till_header_t *header = &request->headers[i];

        if (!is_sendable(header))
            return "a header that cannot be sent";
        has_type |= is_name(header, "content-type");
        transfer->may_repeat |= is_name(header, "idempotency-key");
        put_header(transfer, header);
    }
    put_line(transfer, "Expect:"); /* never wait for a 100 */
    if (!has_type)
        put_line(transfer, "Content-Type:");
    curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->head_out);
    return NULL;
}

static bool is_one_of(const char *text, const char *const *list)
{
    for (; *list != NULL; ++list) {
        if (strcmp(text, *list) == 0)
            return true;
    }
    return false;
}

static const char *put_method(struct transfer *transfer, const till_http_request_t *request)
{
    static const char *const idempotent[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", NULL};
    static const char *const with_body[] = {"POST", "PUT", "PATCH", NULL};
    CURL *easy = transfer->easy;

    if (!is_token(request->method, strlen(request->method)))
        return "a method that cannot be sent";
    transfer->may_repeat = is_one_of(request->method, idempotent);
    if (strcmp(request->method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        return NULL;
    }
    if (request->body.len != 0 || is_one_of(request->method, with_body)) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
        curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, request->body.len != 0 ? request->body.base : "");
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
    return NULL;
}

static void put_limits(struct transfer *transfer, const till_http_request_t *request)
{
    uint64_t connect_ms = request->connect_timeout_ms != 0 ? request->connect_timeout_ms : CONNECT_MS;
    const char *ca_file = request->ca_file != NULL ? request->ca_file : transfer->http->opts.ca_file;
    CURL *easy = transfer->easy;

    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* what the environment says is not ours to obey */
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    /* Only TLS says at once whether a connection can be shared; without it the second request would
     * wait for the answer to the first. */
    curl_easy_setopt(easy, CURLOPT_PIPEWAIT, strncasecmp(request->url, "https:", 6) == 0 ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, (long)KEEP_IDLE_S); /* less than what servers keep, mostly */
    curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)transfer->max_body);
    if (ca_file != NULL) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL); /* that one and no other */
    }
    /* A kept connection was checked for whoever opened it, not for us. */
    if (transfer->public_only) {
        curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
        curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    }
}

static void put_callbacks(struct transfer *transfer)
{
    CURL *easy = transfer->easy;

    curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->message);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_head_line);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_request);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
}

/* @return NULL, or what is wrong with the request */
static const char *prepare(struct transfer *transfer, const till_http_request_t *request)
{
    const char *wrong;

    if ((transfer->easy = curl_easy_init()) == NULL)
        abort();
    put_limits(transfer, request);
    put_callbacks(transfer);
    if (curl_easy_setopt(transfer->easy, CURLOPT_URL, request->url) != CURLE_OK)
        return "a URL that cannot be used";
    curl_easy_setopt(transfer->easy, CURLOPT_USERAGENT, "moontill");
    if ((wrong = put_method(transfer, request)) != NULL)
        return wrong;
    return put_headers(transfer, request);
}

static void link_transfer(struct transfer *transfer)
{
    till_http_t *http = transfer->http;

    ++http->in_flight;
    transfer->next = http->first;
    if (http->first != NULL)
        http->first->prev = transfer;
    http->first = transfer;
    ++http->stats.waiting;
    transfer->waiting = true;
    transfer->since = till_loop_now(http->loop);
    if (http->opts.queue_timeout_ms != 0)
        till_timer_start(http->loop, &transfer->patience, http->opts.queue_timeout_ms, on_impatient);
}

static bool is_full(const till_http_t *http)
{
    return http->opts.max_waiters != 0 && http->stats.waiting >= http->opts.max_waiters;
}

/* @return TILL_OK: libcurl has it */
static till_status_t enter(struct transfer *transfer, const till_http_request_t *request)
{
    till_http_t *http = transfer->http;

    if (is_full(http)) {
        ++http->stats.refused_full;
        transfer->refusal = "too many wait for a connection";
        return TILL_OVERLOADED;
    }
    transfer->refusal = prepare(transfer, request);
    if (transfer->refusal == NULL && !till_http_wire_add(http->wire, transfer->easy))
        transfer->refusal = "not taken by libcurl";
    return transfer->refusal == NULL ? TILL_OK : TILL_REJECTED;
}

till_op_t *till_http_send(till_http_t *http, const till_http_request_t *request, till_http_cb cb, void *data)
{
    struct transfer *transfer = till_calloc(1, sizeof(*transfer));
    till_status_t status;

    till_op_init(&transfer->op, http->loop, request->timeout_ms, on_abort, on_done);
    transfer->http = http;
    transfer->max_body = request->max_body != 0 ? request->max_body : MAX_BODY;
    transfer->public_only = request->public_only;
    transfer->cb = cb;
    transfer->data = data;
    till_buf_init(&transfer->head, MAX_HEAD);
    till_buf_init(&transfer->body, 0); /* on_body keeps to max_body */
    if ((status = enter(transfer, request)) == TILL_OK) {
        link_transfer(transfer);
    } else {
        transfer->http = NULL;
        till_op_finish(&transfer->op, status);
    }
    return &transfer->op;
}

till_http_t *till_http_create(till_loop_t *loop, const till_http_opts_t *opts)
{
    till_http_t *http = till_calloc(1, sizeof(*http));

    http->loop = loop;
    http->opts = *opts;
    http->wire = till_http_wire_create(loop, opts, on_over);
    return http;
}

const char *till_http_library(void) { return curl_version_info(CURLVERSION_NOW)->version; }

unsigned till_http_in_flight(const till_http_t *http) { return http->in_flight; }

void till_http_destroy(till_http_t *http)
{
    while (http->first != NULL)
        till_op_cancel(&http->first->op); /* leaves the list */
    till_http_wire_destroy(http->wire);
    free(http);
}

void till_http_stats(const till_http_t *http, till_http_stats_t *out) { *out = http->stats; }
