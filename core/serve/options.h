/* options.h - what serve/ takes from the configuration, read once.
 *
 * The one place in serve/ that knows the names of the options; everything
 * behind it works with this struct, and tests fill it in by hand.
 *
 * Thread: read-only after the read.
 */
#ifndef TILL_SERVE_OPTIONS_H
#define TILL_SERVE_OPTIONS_H

#include <stdint.h>
#include "base/conf.h"
#include "base/log.h"

/* Strings are borrowed from the configuration; NULL where the option is empty. */
typedef struct till_serve_opts {
    const char *listen;               /* "127.0.0.1:8443", "[::1]:8443" */
    const char *ops_listen;           /* NULL: the next port, on the same host */
    const char *control_socket;       /* NULL: DIR/control.sock */
    const char *cert_file, *key_file; /* PEM; both NULL: plain HTTP/1.1, behind a balancer */
    const char *user;                 /* whom workers become; NULL: nobody else */
    unsigned backlog;
    unsigned web_workers; /* at least 1 */
    unsigned jobs_workers;
    size_t max_body;                 /* bytes; more is 413 */
    size_t max_headers;              /* bytes of names, values and the path; more is 431 */
    unsigned max_in_flight;          /* requests in Lua per worker; more is 503 with Retry-After */
    unsigned max_connections;        /* per worker; then the longest idle one is closed for a new one */
    unsigned max_per_address;        /* connections per worker from one address; 0: any number */
    bool trust_forwarded;            /* the peer is what X-Forwarded-For says last */
    uint64_t header_timeout_ms;      /* headers and body, and the handshake */
    uint64_t send_timeout_ms;        /* for an answer to be read, and more for a long one */
    uint64_t idle_timeout_ms;        /* of a connection without a request */
    uint64_t request_timeout_ms;     /* of one request; then 504 */
    uint64_t queue_target_ms;        /* the wait that may last; 0: nobody is refused for more */
    uint64_t drain_timeout_ms;       /* at the end: for requests in flight */
    uint64_t retire_timeout_ms;      /* an old generation may take so long to finish what it began */
    uint64_t heartbeat_timeout_ms;   /* a worker whose loop stood still for so long is killed; see watch.h */
    unsigned max_streams;            /* open streams of changes per worker; more are 503 */
    unsigned max_streams_per_client; /* likewise; more are 429 */
    uint64_t live_heartbeat_ms;
    uint64_t live_max_age_ms; /* a stream ends after half of it at least */
    till_log_level_t log_level;
    size_t compress_min; /* bytes; shorter answers go out as they are; 0: none is compressed */
} till_serve_opts_t;

/** Of "debug", "info", "warn" and "error". */
till_log_level_t till_log_level_named(const char *name);
void till_serve_opts_read(till_serve_opts_t *out, const till_conf_t *conf);

#endif
