/* live_priv.h - what the streams' files share.
 *
 *     live.c         topics: who watches what, and what is to be told
 *     live_stream.c  one stream: its limits, what it writes next, its end
 *     live_sse.c     as server-sent events: libh2o's answer that takes no end
 *     live_ws.c      as WebSocket: a socket that libh2o has given away
 */
#ifndef TILL_SERVE_LIVE_PRIV_H
#define TILL_SERVE_LIVE_PRIV_H

#include "serve/live.h"
#include "serve/server_priv.h"

#define TILL_LIVE_BUCKETS 4096

typedef struct till_stream till_stream_t;

typedef struct till_topic {
    struct till_topic *next; /* in its bucket */
    h2o_linklist_t watches;
    uint64_t hash;
    unsigned dirty;   /* watches that have to be told its state */
    char *tag, *json; /* json is NULL where nobody has to be told */
    char *owner;
    size_t name_len;
    char name[];
} till_topic_t;

typedef struct till_watch {
    h2o_linklist_t link; /* of the topic's watches */
    till_topic_t *topic;
    till_stream_t *stream;
    uint64_t owner;          /* hash of whom it was begun for */
    uint64_t told;           /* hash of the tag that is, or will be, known to the client */
    unsigned changes;        /* since what it was told */
    bool is_dirty;           /* the topic's state is to be told */
    char *first, *first_tag; /* what it began with, until that was told */
} till_watch_t;

typedef enum till_stream_state { STREAM_OPEN, STREAM_ENDING, STREAM_ENDED } till_stream_state_t;

/* Why a stream ends: label of the metric, and what a WebSocket is closed with. */
#define TILL_STREAM_ENDS(X)                                                                                            \
    X(AGE, "age", 1001)                                                                                                \
    X(RESTART, "restart", 1012)                                                                                        \
    X(NOT_FOUND, "not_found", 4404)                                                                                    \
    X(SLOW, "slow", 1008)                                                                                              \
    X(PROTOCOL, "protocol", 1002)                                                                                      \
    X(FLOOD, "flood", 1008)                                                                                            \
    X(SILENT, "silent", 1001)                                                                                          \
    X(CLIENT, "client", 1000)

typedef enum till_stream_end {
#define TILL_STREAM_END_ENUM(id, name, code) STREAM_END_##id,
    TILL_STREAM_ENDS(TILL_STREAM_END_ENUM)
#undef TILL_STREAM_END_ENUM
} till_stream_end_t;

typedef struct till_stream_kind {
    unsigned gauge; /* of till_live's */
    void (*write_event)(till_buf_t *out, const till_watch_t *watch, const char *tag, const char *json, size_t len);
    void (*write_beat)(till_stream_t *stream, till_buf_t *out);
    /** More than events: answers to the client. May do nothing. */
    void (*write_more)(till_stream_t *stream, till_buf_t *out);
    void (*write_end)(till_stream_t *stream, till_buf_t *out);
    /** Writes stream->out; till_stream_written follows from the loop. `is_last`: nothing will come after it. */
    void (*send)(till_stream_t *stream, bool is_last);
    /** Once a second. It may end the stream. @return false: it is gone */
    bool (*tick)(till_stream_t *stream, uint64_t now);
} till_stream_kind_t;

struct till_stream {
    h2o_linklist_t link;
    till_live_t *live;
    const till_stream_kind_t *kind; /* NULL: gone */
    unsigned gauge;
    void *data;                    /* the kind's; freed by free_data, or the request's */
    void (*free_data)(void *data); /* may be NULL */
    till_connection_t *connection;
    till_stream_state_t state;
    till_stream_end_t end;
    unsigned code;   /* WebSocket: what it is closed with; 0: as `end` says */
    uint64_t client; /* hash */
    till_buf_t out;  /* being written */
    bool is_writing, wants_beat;
    uint64_t writing_since, beat_at, ends_at;
    size_t count; /* of `watches` */
    till_watch_t watches[];
};

struct till_live {
    till_server_t *server;
    till_live_face_t face;
    h2o_linklist_t streams, dead; /* dead: freed at the end of the turn */
    size_t stream_count;
    till_turn_hook_t burial;
    unsigned ticks;
    bool is_draining;
    uint64_t random;
    till_timer_t timer;
    till_series_t gauges[2]; /* SSE, WebSocket */
    unsigned counts[2];      /* likewise */
    till_topic_t *buckets[TILL_LIVE_BUCKETS];
};

/* live.c */
uint64_t till_live_hash(const char *text, size_t len);
/** The stream watches it from now on and has to be told what it begins with. */
void till_live_watch(till_live_t *live, till_watch_t *watch, const till_live_state_t *state);
void till_live_unwatch(till_live_t *live, till_watch_t *watch);
/** It was written. */
void till_live_told(till_watch_t *watch);
/** Appends a state's object, with what has changed since the client was told before; nothing in the first event. */
void till_live_write_json(till_buf_t *out, const till_watch_t *watch, const char *json, size_t len);

/* live_stream.c */
/** Watches what `begin` says, and counts; nothing is written before the first flush. */
till_stream_t *till_stream_create(till_live_t *live, const till_stream_kind_t *kind, till_connection_t *connection,
                                  const till_live_begin_t *begin);
/** Its client is gone, or has been told the last words: nothing more is written. It is freed at the end of the turn, so
 * that whoever goes through a list finds it there still. Twice is allowed within a turn. */
void till_stream_gone(till_stream_t *stream, till_stream_end_t why);
/** Frees those. */
void till_stream_bury(till_live_t *live);
/** Writes what there is to be told, where nothing is under way. */
void till_stream_flush(till_stream_t *stream);
/** The write has ended, and so has its claim on the bytes. */
void till_stream_written(till_stream_t *stream);
/** Says why, and ends it. */
void till_stream_end(till_stream_t *stream, till_stream_end_t why);
const char *till_stream_end_name(till_stream_end_t why);
unsigned till_stream_end_code(till_stream_end_t why);
/** Different for each: clients must not come back together. 1 to 5 s. */
unsigned till_live_retry_ms(till_live_t *live);

/* live_sse.c, live_ws.c */
void till_sse_begin(till_live_t *live, h2o_req_t *req, const till_live_begin_t *begin);
/** @return whether `req` asks for WebSocket */
bool till_ws_is_wanted(h2o_req_t *req);
void till_ws_begin(till_live_t *live, h2o_req_t *req, const till_live_begin_t *begin);

#endif
