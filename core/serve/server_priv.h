/* server_priv.h - what the parts of the server share: connections, requests, the way of an answer.
 *
 * A request has two lives. Its `till_note_t` lives in libh2o's request pool and
 * ends with it: the access log is written from it. Its `till_exchange_t` lives
 * on the heap from the call into the backend until the backend is done: the
 * client may be gone long before, and the backend still reads the request.
 *
 *     on_request ── exchange_start ── backend.http ──► on_done ──► till_respond
 *                        ▲                                ▲
 *     client gone ── exchange_abandon ── backend.cancel ──┘ (no request any more: nothing to answer)
 */
#ifndef TILL_SERVE_SERVER_PRIV_H
#define TILL_SERVE_SERVER_PRIV_H

#include "serve/guard.h"
#include "serve/live.h"
#include "serve/metrics_http.h"
#include "serve/server.h"

#define TILL_REQUEST_ID_LEN 26

typedef struct till_exchange till_exchange_t;

struct till_server {
    till_server_opts_t opts;
    h2o_globalconf_t globalconf;
    h2o_context_t context;
    h2o_hostconf_t *hosts[TILL_FACE_COUNT][2]; /* a NULL-terminated list for each face */
    h2o_accept_ctx_t accept[TILL_FACE_COUNT];
    h2o_socket_t *listeners[TILL_FACE_COUNT];
    h2o_linklist_t connections; /* the one longest without a request first */
    till_http_metrics_t *metrics;
    unsigned connection_count, in_flight;
    size_t body_bytes; /* HTTP/2: of unfinished bodies */
    bool draining;
    till_timer_t drain_timer, accept_timer, sweep_timer;
    size_t held;              /* bytes of requests over HTTP/1.1 */
    size_t owed;              /* bytes of answers that have not been read */
    till_live_t *live;        /* streams to clients */
    bool has_late_h2;         /* came while it was draining, and has not been told so */
    h2o_linklist_t farewells; /* drain.c */
    uint64_t drain_until;
    void (*drained)(void *data);
    void *drained_data;
};

/* One accepted socket; hangs on sock->on_close.data. */
struct till_connection {
    h2o_linklist_t link;
    till_server_t *server;
    h2o_socket_t *sock;
    till_face_t face;
    bool is_doomed;    /* told to go, for a newer one */
    unsigned requests; /* between their arrival and their end */
    till_timer_t handshake_timer;
    struct timeval at;
    char peer[64];             /* as text; "" until the first request */
    uint8_t address[16];       /* of IPv4 the first four */
    h2o_socket_cb h2o_read;    /* what ours stands before */
    h2o_socket_cb h2o_written; /* HTTP/2: the end of a write, and not only of the wait for room */
    h2o_socket_cb h2o_write;   /* HTTP/2: what ours stands before just now */
    bool is_deferred;          /* HTTP/2: what came waits for the end of a write */
    till_frames_t frames;      /* HTTP/2 */
    bool is_h1;
    till_h1_t h1;             /* HTTP/1.1 */
    unsigned answers;         /* begun and not yet out */
    uint64_t taken_since_ms;  /* 0: nothing has to be read */
    uint64_t taken;           /* bytes by then */
    uint64_t idle_since_ms;   /* where requests is 0 */
    bool *is_gone;            /* set when it is closed inside a call into libh2o */
    bool is_hostile;          /* hung up on; nothing more is done for it */
    till_exchange_t *watched; /* HTTP/1.1: parked, and we look whether the client is there still */
};

/* What the access log says about a request. In the request's pool. */
typedef struct till_note {
    till_server_t *server;
    till_connection_t *connection; /* outlives its requests */
    uint64_t begun_us;
    uint64_t answered_ms; /* when its answer began; 0: it has not */
    size_t answer_len;
    size_t owed; /* bytes of the answer in memory */
    char request_id[TILL_REQUEST_ID_LEN + 1];
    char peer[64];
    char route[128];
    char generation[13]; /* the beginning of it */
    till_trace_t trace;
    const char *error;  /* in the pool; of a 500 */
    bool gone;          /* answered by nobody: the client went first */
    bool shed;          /* refused at the door: counted, not logged */
    bool is_stream;     /* its answer takes no end: serve/live.h looks after it */
    uint64_t stream_us; /* from its last byte to the stream's begin */
    till_exchange_t *exchange;
} till_note_t;

/* server.c */
uint64_t till_clock_us(void); /* CLOCK_MONOTONIC: the loop's own clock stands still within a turn */
till_connection_t *till_connection_of(h2o_req_t *req);
void till_server_stop_listening(till_server_t *server);

/* drain.c */
/** At the server's end. */
void till_drain_dispose(till_server_t *server);

/* request.c */
void till_request_register(till_server_t *server, h2o_pathconf_t *path);
/** The first handler of every path: gives the request its note, checks the limits, and leaves the rest to the next. */
void till_gate_register(till_server_t *server, h2o_pathconf_t *path);
/** The note, or NULL where the gate has not run. */
till_note_t *till_note_of(h2o_req_t *req);
/** Ends the calls of all requests. */
void till_exchange_close_all(till_server_t *server);

/* respond.c */
/** The filter and the logger of every path: common headers, one line and the counters. */
void till_respond_register(till_server_t *server, h2o_pathconf_t *path);
void till_respond(h2o_req_t *req, const till_response_t *response);
/** A problem document (RFC 9457) of `status`; `retry_after` in seconds, 0: none. */
void till_respond_problem(h2o_req_t *req, till_status_t status, const char *detail, unsigned retry_after);
void till_respond_text(h2o_req_t *req, int status, const char *type, const char *body, size_t len);

/** The answer goes on as a stream: limits on answers do not hold for it. */
void till_note_stream(till_note_t *note);

/* live_stream.c */
/** Answers with a stream, or refuses it. */
void till_live_answer(h2o_req_t *req, const till_live_begin_t *begin);

/* ops.c, files.c */
void till_ops_register(till_server_t *server, h2o_hostconf_t *host);
/** Serves `dir` below `url` by libh2o's file handler: ETag, Last-Modified, 304, HEAD, types. */
void till_files_register(till_server_t *server, h2o_hostconf_t *host, const char *url, const char *dir);

#endif
