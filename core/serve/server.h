/* server.h - the HTTP server of one worker: libh2o's HTTP/1.1 and HTTP/2 over TLS, and who answers.
 *
 * One till_server_t has two faces over one libh2o context: the public one
 * (TLS, everything goes to the backend but /static/) and the ops one (plain:
 * /livez, /readyz, /metrics). Listening descriptors are shared by all workers.
 *
 * We accept ourselves and hand the socket to libh2o after the handshake, so
 * that every connection is ours to see: it is counted, stands in a list, and
 * its state hangs on `sock->on_close`. There, too, serve/guard.h stands between
 * libh2o and hostile frames.
 *
 * Limits. Bodies over `max_body` are 413, headers over `max_headers` 431, longer
 * targets 414, packed bodies 415, as problem documents. Over HTTP/1.1 all are
 * said as soon as they are seen; over HTTP/2 no handler runs before the body is
 * complete, and libh2o resets a stream whose body goes a little beyond ours.
 *
 * Overload. A request that cannot be begun (too many in flight for its
 * priority, or the loop is behind: see serve/admit.h) is answered 503 with
 * Retry-After before anything is done for it. Such answers are counted in
 * till_shed_total and not logged one by one. Beyond max_connections the
 * connection that has been idle for longest gives way to the new one; where
 * none is idle the new one is closed.
 *
 * Over HTTP/2 a request's headers must fit in one frame, 16 KB compressed: who
 * sends more is hung up on (see serve/guard.h).
 *
 * Client gone. A call whose client went away is cancelled: over HTTP/2 when
 * libh2o disposes of the stream, over HTTP/1.1 by a peek at the parked socket.
 *
 * Compression. libh2o's gzip filter, for compressible types from
 * `compress_min` on; such answers carry `vary: accept-encoding` whether
 * compressed or not. ETags name the version of a resource and not its bytes:
 * they are the same for both codings, so that If-None-Match and If-Match work
 * with whatever a client has. Caches are told apart by Vary.
 *
 * Thread: the worker's. Owns: its connections and requests.
 */
#ifndef TILL_SERVE_SERVER_H
#define TILL_SERVE_SERVER_H

#include "io/lag.h"
#include "serve/admit.h"
#include "serve/metrics.h"
#include "serve/options.h"
#include "vm/vm.h"

typedef struct till_server till_server_t;

/* Who answers. The worker puts its live VM behind it; tests something smaller. */
typedef struct till_backend {
    /** As till_vm_http; NULL without having called `done` where nobody can answer just now (503). */
    till_call_t *(*http)(void *data, const till_request_t *request, uint64_t timeout_ms, till_http_done_cb done,
                         void *done_data);
    void (*cancel)(till_call_t *call);
    /** The name of what answers now, for the log; NULL is allowed. */
    const char *(*generation)(void *data);
    /** Appends reasons as JSON members ("database":"does not answer") and returns false where it is not ready. */
    bool (*is_ready)(void *data, till_buf_t *reasons);
    /** Just before the numbers are read: brings the gauges of this process up to date. */
    void (*refresh)(void *data);
    /** How important a request is; asked only while some are refused. NULL: all are alike. */
    till_priority_t (*priority)(void *data, till_slice_t method, till_slice_t path);
    void *data;
} till_backend_t;

typedef struct till_server_opts {
    till_loop_t *loop;
    const till_serve_opts_t *limits; /* borrowed */
    till_metrics_t *metrics;
    SSL_CTX *ssl;           /* borrowed; NULL: plain HTTP */
    const char *static_dir; /* served below /static/; NULL: none */
    till_admit_t *admit;    /* borrowed; NULL: nobody is refused for a queue */
    till_lag_t *lag;        /* borrowed; poked by each request. NULL is allowed */
    till_backend_t backend;
} till_server_opts_t;

typedef enum till_face { TILL_FACE_PUBLIC, TILL_FACE_OPS, TILL_FACE_COUNT } till_face_t;

till_server_t *till_server_create(const till_server_opts_t *opts);
/** For connections that begin from now on; borrowed. */
void till_server_use_tls(till_server_t *server, SSL_CTX *ssl);
/** Begins to accept from `fd`, a listening socket; it is duplicated. */
void till_server_listen(till_server_t *server, till_face_t face, int fd);
/**
 * Stops accepting, says GOAWAY, lets requests in flight finish and closes the
 * rest at the deadline; then calls `drained` from the loop. Once.
 */
void till_server_drain(till_server_t *server, uint64_t deadline_ms, void (*drained)(void *data), void *data);
/** After it has drained (or never listened). */
void till_server_destroy(till_server_t *server);
/** Its streams, for the VMs of this process; borrowed. */
const till_live_face_t *till_server_live(const till_server_t *server);
/** The version of libh2o. */
const char *till_server_library(void);
unsigned till_server_connections(const till_server_t *server);
unsigned till_server_in_flight(const till_server_t *server);

/* ---- made by the master before it forks ---- */

#define TILL_TLS_PEM_MAX 30000 /* bytes of a chain and its key: they travel in one message */

/** The chain and the key as one text, for the two below: workers may not be allowed to read the files. Wipe it after
 * use. @return false and a sentence in `error` */
bool till_tls_read(const char *cert_file, const char *key_file, till_buf_t *pem, char *error, size_t error_size);
/** TLS 1.2 and up, h2 and http/1.1 by ALPN. Always a context of its own: one that is in use would keep the old
 * certificate beside a new one of another kind of key. Tickets that `before` (or NULL) gave are honoured.
 * @return NULL and a sentence in `error` */
SSL_CTX *till_tls_create(const till_buf_t *pem, SSL_CTX *before, char *error, size_t error_size);

/**
 * A listening socket on "host:port" or "[v6]:port"; port 0 is any free one.
 * `port_offset` is added to the port.
 * @return -1 and a sentence in `error`
 */
int till_listen(const char *address, unsigned port_offset, unsigned backlog, char *error, size_t error_size);
/** The port that it got. */
unsigned till_listen_port(int fd);

#endif
