/* guard.h - what keeps hostile clients from harming libh2o 2.2.5, or others through it.
 *
 *     guard.c         the seam: our read callback before libh2o's; hanging up
 *     guard_frames.c  HTTP/2: what frames cost, and who sends too many
 *     guard_h1.c      HTTP/1.1: the seam; whole and sound requests only
 *     guard_head.c    where a request of HTTP/1.1 ends, by its head
 *     guard_chunks.c  and by its chunks
 *     guard_sweep.c   what takes too long, on both
 *
 * Deferral. A WINDOW_UPDATE or SETTINGS that libh2o reads while the last write
 * of a stream is in flight fails an assertion of its own and ends the process:
 * anybody could do so from afar. So its read callback is ours, and while a
 * write is in flight what comes is left where it is and looked at again a
 * moment later.
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
    X(CONTINUATION, "continuation", "spreads a request's headers over many frames")                                    \
    X(DEFERRED, "deferred", "sends much and reads nothing")                                                            \
    X(FRAMING, "framing", "sends a request that ends in two places")                                                   \
    X(SLOW_BODY, "slow_body", "takes too long over the body of a request")                                             \
    X(UNREAD, "unread", "does not read its answers")                                                                   \
    X(RESETS, "resets", "takes its requests back by the hundred")

typedef enum till_hostile {
#define TILL_HOSTILE_ENUM(id, name, text) TILL_HOSTILE_##id,
    TILL_HOSTILE_MAP(TILL_HOSTILE_ENUM)
#undef TILL_HOSTILE_ENUM
} till_hostile_t;

/* What is known of a connection's frames. */
typedef struct till_frames {
    bool has_preface;
    unsigned resets; /* requests taken back since */
    uint64_t resets_since_ms;
} till_frames_t;

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

/* ---- guard_frames.c */
/** Looks at what has come. @return false: it was hung up on, libh2o must not see it */
bool till_frames_check(till_connection_t *connection, const h2o_buffer_t *input);
/** libh2o is about to read `input`. */
void till_frames_let(till_connection_t *connection, const h2o_buffer_t *input);
/** A client took a request back: a stream that it reset, answered or not. */
void till_guard_note_reset(till_connection_t *connection);

/* ---- guard_h1.c */
/** Hands an HTTP/1 connection to libh2o. It may be gone when this returns. */
void till_h1_accept(till_connection_t *connection);
/** Its request has ended, answered or not. */
void till_h1_ended(till_connection_t *connection);
/** The connection is being closed. */
void till_h1_close(till_connection_t *connection);
/** Closes it, or refuses its request, where its time is up. It may be gone when this returns. */
void till_h1_sweep(till_connection_t *connection, uint64_t now);

/* ---- guard_sweep.c */
/** Begins to look at all connections of `server` again and again. */
void till_sweep_start(till_server_t *server);
void till_sweep_stop(till_server_t *server);
/** Answers in memory are too many: hangs up on who has not read his for the longest time. */
void till_sweep_relieve(till_server_t *server);

#endif
