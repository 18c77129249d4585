/* http.h - outbound HTTP by libcurl: HTTP/2 where offered, keep-alive, limits, deadlines.
 *
 * Redirects are not followed. A body larger than max_body ends the transfer
 * with TILL_TOO_LARGE. TILL_TIMEOUT and TILL_CONN_LOST after anything may have
 * been sent mean that the outcome is unknown: `sent` says so, and whoever moves
 * money reads it.
 *
 * libcurl sends a request again by itself when a kept connection turns out to
 * be dead. Here it may do so only where that is safe: GET, HEAD, PUT, DELETE,
 * OPTIONS, or an Idempotency-Key among the headers. Else it is TILL_CONN_LOST.
 * `repeated` says that it did.
 *
 * A transfer that finds no free connection waits, in the order of libcurl. The
 * queue is bounded: by count (max_waiters: more are refused at once) and by time
 * (queue_timeout_ms, where all connections are taken). Either is TILL_OVERLOADED
 * and nothing was sent.
 *
 * Statuses: OK is any answer, whatever its HTTP status; TILL_TIMEOUT,
 * TILL_CANCELLED, TILL_CONN_LOST (no connection, no answer, half an answer),
 * TILL_TOO_LARGE, TILL_FORBIDDEN (public_only), TILL_OVERLOADED, and TILL_REJECTED for a request
 * that cannot be sent as it is (URL, method, header) and a certificate that
 * does not convince.
 */
#ifndef TILL_IO_HTTP_H
#define TILL_IO_HTTP_H

#include "base/hash.h"
#include "base/hist.h"
#include "io/op.h"

typedef struct till_http till_http_t;

typedef struct till_header {
    till_slice_t name, value; /* names lower case in answers */
} till_header_t;

typedef struct till_http_opts {
    unsigned max_connections;  /* in all, and */
    unsigned max_per_host;     /* per host; more transfers wait */
    unsigned max_waiters;      /* at most so many, new ones included; 0: no limit */
    uint64_t queue_timeout_ms; /* 0: until their deadline */
    const char *ca_file;       /* NULL: the system's. Borrowed */
} till_http_opts_t;

typedef struct till_http_request {
    const char *method, *url;
    const till_header_t *headers;
    size_t header_count;
    till_slice_t body;
    uint64_t timeout_ms;         /* of the whole transfer */
    uint64_t connect_timeout_ms; /* 0: 3000 */
    size_t max_body;             /* 0: 8 MB */
    const char *ca_file;         /* NULL: as the client's */
    bool public_only;            /* refuse private, loopback and link-local addresses, after the name is resolved */
} till_http_request_t;

typedef struct till_http_response {
    int status;
    int version; /* 10, 11 or 20 */
    const till_header_t *headers;
    size_t header_count;
    till_slice_t body;
    bool sent;           /* the request may have reached the server */
    bool repeated;       /* and once before: what is refused now may have been done then */
    const char *message; /* of a failure, for the log */
} till_http_response_t;

till_http_t *till_http_create(till_loop_t *loop, const till_http_opts_t *opts);
void till_http_destroy(till_http_t *http); /* transfers in flight are told TILL_CANCELLED */

/** `response` lives until the callback returns; never NULL (`sent` and `message` matter in failures). */
typedef void (*till_http_cb)(void *data, till_status_t status, const till_http_response_t *response);
/** Everything in `request` is copied. */
till_op_t *till_http_send(till_http_t *http, const till_http_request_t *request, till_http_cb cb, void *data);
/** The version of libcurl. */
const char *till_http_library(void);
/** Transfers that have no outcome yet. */
unsigned till_http_in_flight(const till_http_t *http);

typedef struct till_http_stats {
    unsigned waiting;
    uint64_t refused_full, refused_late; /* by max_waiters, by queue_timeout_ms */
    till_hist_t waits;                   /* until a connection was its own, or was begun for it */
} till_http_stats_t;
void till_http_stats(const till_http_t *http, till_http_stats_t *out);

#endif
