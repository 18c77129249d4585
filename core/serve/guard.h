/* guard.h - what keeps hostile clients from harming libh2o 2.2.5, or others through it.
 *
 *     guard.c         the seam: our read callback before libh2o's; hanging up
 *     guard_frames.c  HTTP/2: what frames cost, and who sends too many
 *     guard_fields.c  HTTP/2: blocks of headers, gone through without decoding
 *     guard_h1.c      HTTP/1.1: the seam; whole and sound requests only
 *     guard_head.c    where a request of HTTP/1.1 ends, by its head
 *     guard_chunks.c  and by its chunks
 *     guard_sweep.c   what takes too long, on both
 *
 * Deferral. A WINDOW_UPDATE or SETTINGS that libh2o reads while the last write
 * of a stream is in flight fails an assertion of its own and ends the process:
 * anybody could do so from afar. So its read callback is ours, and while a
 * write is in flight what comes is left where it is until the write has ended,
 * whose callback is then ours too.
 *
 * The seam must hold: what libh2o reads unseen is an attack let through. Past
 * 512 KB of headers and control frames unsent it stops to read, and starts
 * again with its own callback at the end of a write. It stops only inside its
 * read callback or inside an answer of ours, so that it is enough to look
 * there: the write in flight gets our callback, which takes the seam up again.
 *
 * Frames. One frame of headers: spread over CONTINUATION frames, a few
 * kilobytes that refer back to the compression's table become gigabytes in
 * libh2o; headers within our limit fit in one frame, and no browser sends more.
 * Everything that costs the client nothing and us something has a budget for
 * each second and connection (`till_guard_limits`), resets above all, its own
 * (CVE-2023-44487) and those that it provokes (CVE-2025-8671).
 *
 * Hanging up. Who is hostile has his socket shut down, is counted in
 * till_http_hostile_total by reason and written in the log, once; what of his
 * is still in the buffer is answered without work.
 *
 * docs/security.md tells the whole story.
 */
#ifndef TILL_SERVE_GUARD_H
#define TILL_SERVE_GUARD_H

#include <stdbool.h>
#include <stdint.h>
#include <h2o.h>
#include "base/buf.h"
#include "io/loop.h"
#include "serve/guard_head.h"

typedef struct till_connection till_connection_t;
typedef struct till_server till_server_t;

/* Why a connection was hung up on: id, label of the metric, sentence of the log. */
#define TILL_HOSTILE_MAP(X)                                                                                            \
    X(ANSWERS, "answers", "lets its answers pile up unread")                                                           \
    X(BODIES, "bodies", "holds too many unfinished bodies")                                                            \
    X(CONTINUATION, "continuation", "spreads a request's headers over many frames")                                    \
    X(CONTROL, "control", "sends control frames by the thousand")                                                      \
    X(DATA, "data", "sends a body that nobody waits for")                                                              \
    X(DIGEST, "cache_digest", "sends a header that grows without bound when it is read")                               \
    X(FIELDS, "fields", "sends more header fields than any client")                                                    \
    X(FRAMING, "framing", "sends a request that ends in two places")                                                   \
    X(RESETS, "resets", "takes its requests back by the hundred")                                                      \
    X(SLOW_BODY, "slow_body", "takes too long over the body of a request")                                             \
    X(UNREAD, "unread", "does not read its answers")                                                                   \
    X(UNSTARTED, "unstarted", "begins requests by the hundred that come to nothing")                                   \
    X(WINDOWS, "windows", "moves its windows for nothing")

typedef enum till_hostile {
#define TILL_HOSTILE_ENUM(id, name, text) TILL_HOSTILE_##id,
    TILL_HOSTILE_MAP(TILL_HOSTILE_ENUM)
#undef TILL_HOSTILE_ENUM
} till_hostile_t;

/* What a connection may spend in a second. */
typedef enum till_budget {
    TILL_BUDGET_CONTROL, /* SETTINGS, PING, PRIORITY, GOAWAY, DATA without data */
    TILL_BUDGET_RESETS,  /* RST_STREAM */
    TILL_BUDGET_GONE,    /* requests disposed of before their answer, however that was brought about */
    TILL_BUDGET_WINDOWS, /* WINDOW_UPDATE, besides one for so many bytes that were written */
    TILL_BUDGET_WIDE_WINDOWS,
    TILL_BUDGET_UNSTARTED, /* requests begun that no handler has seen */
    TILL_BUDGET_COUNT,
} till_budget_t;

typedef struct till_guard_limits {
    unsigned per_second[TILL_BUDGET_COUNT];
    size_t bytes_a_window;
    uint32_t wide_window; /* an increment from here on is one */
    unsigned fields;      /* of a request */
    unsigned open_bodies; /* of a connection */
    size_t connection_bodies,
        all_bodies;  /* bytes of unfinished bodies, of one and in the worker; more where one body may be larger */
    size_t deferred; /* bytes that wait for the end of a write */
} till_guard_limits_t;

extern const till_guard_limits_t till_guard_limits;

/* A body of which the end has not come. */
typedef struct till_open_body {
    uint32_t stream;
    size_t bytes;
    bool is_live; /* while they are counted */
} till_open_body_t;

/* What is known of a connection's frames. */
typedef struct till_frames {
    bool has_preface, has_settings;
    size_t walked;                    /* bytes of the input that were checked */
    uint32_t last_stream, let_stream; /* begun; of those, given to libh2o */
    uint64_t since_ms;                /* this second began */
    unsigned spent[TILL_BUDGET_COUNT];
    size_t written[2];       /* bytes, at the beginning of the last second and of this one */
    uint64_t begun, started; /* requests that came; those that reached a handler */
    uint64_t unstarted;      /* their difference when this second began */
    till_open_body_t *bodies;
    unsigned body_count, body_room;
    size_t body_bytes;
} till_frames_t;

/* What a block of headers holds. */
typedef struct till_fields {
    unsigned count;
    bool has_digest;
} till_fields_t;

/* How far a connection of HTTP/1.1 has got with its request. */
typedef struct till_h1 {
    till_head_t head;
    till_chunks_t chunks;
    bool has_head, lingers;
    unsigned phase;
    till_buf_t later; /* came after the end of the request; given back from later_at on */
    size_t later_at;
    size_t taken;          /* given back for this request */
    size_t held;           /* bytes of it in memory */
    uint64_t begun_ms;     /* when its first byte came; 0: none has */
    till_status_t refusal; /* TILL_OK: none */
    const char *detail;
    till_turn_hook_t turn;
} till_h1_t;

/** Hands an HTTP/2 connection to libh2o. It may be gone when this returns. */
void till_guard_accept(till_connection_t *connection);
/** The connection is being closed. */
void till_guard_end(till_connection_t *connection);
/** Shuts the connection down, whatever it is in the middle of. It is closed later, from the loop. */
void till_guard_hang_up(till_connection_t *connection, till_hostile_t why);

/** A request of HTTP/2 was answered: see whether libh2o stopped to read over it. */
void till_guard_note_answer(till_connection_t *connection);

/* ---- guard_frames.c */
/** Goes over what has come since the last time. It may take frames out, and hang up. */
void till_frames_check(till_connection_t *connection, h2o_buffer_t *input);
/** libh2o is about to read what was checked. */
void till_frames_let(till_connection_t *connection);
/** It has taken `len` bytes off the input. */
void till_frames_taken(till_connection_t *connection, size_t len);
void till_frames_end(till_connection_t *connection);
/** A request has reached a handler. */
void till_guard_note_request(till_connection_t *connection);
/** A request was disposed of before its answer. */
void till_guard_note_gone(till_connection_t *connection);

/* ---- guard_fields.c */
/** `at` is a block of headers; what libh2o could not read either is not counted. */
void till_fields_scan(till_fields_t *out, const uint8_t *at, size_t len);
/** Has a request of HTTP/2 only fields that it may have? What libh2o checks by itself is not asked again. */
bool till_fields_are_sound(const h2o_req_t *req);

/* ---- guard_h1.c */
/** Hands an HTTP/1 connection to libh2o. It may be gone when this returns. */
void till_h1_accept(till_connection_t *connection);
/** Its request has ended, answered or not. */
void till_h1_ended(till_connection_t *connection);
/** The connection is being closed. */
void till_h1_close(till_connection_t *connection);
/** It speaks HTTP no more: what came behind its last request is put back into the socket's input. */
void till_h1_leave(till_connection_t *connection);
/** Closes it, or refuses its request, where its time is up. It may be gone when this returns. */
void till_h1_sweep(till_connection_t *connection, uint64_t now);

/* ---- guard_sweep.c */
/** Begins to look at all connections of `server` again and again. */
void till_sweep_start(till_server_t *server);
void till_sweep_stop(till_server_t *server);
/** Answers in memory are too many: hangs up on who has not read his for the longest time. */
void till_sweep_relieve(till_server_t *server);

#endif
