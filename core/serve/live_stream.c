#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "serve/live_priv.h"

#define TICK_MS 1000
#define MAX_CHUNK 65536 /* no further event is begun in a write that has so much */
#define RETRY_MIN_MS 1000
#define RETRY_SPREAD_MS 4000

static const struct {
    const char *name;
    unsigned code;
} ends[] = {
#define END(id, name, code) {name, code},
    TILL_STREAM_ENDS(END)
#undef END
};

const char *till_stream_end_name(till_stream_end_t why) { return ends[why].name; }

unsigned till_stream_end_code(till_stream_end_t why) { return ends[why].code; }

/* Not for secrets: xorshift. */
static uint64_t random_of(till_live_t *live)
{
    live->random ^= live->random << 13;
    live->random ^= live->random >> 7;
    live->random ^= live->random << 17;
    return live->random;
}

unsigned till_live_retry_ms(till_live_t *live) { return RETRY_MIN_MS + (unsigned)(random_of(live) % RETRY_SPREAD_MS); }

static uint64_t now_of(const till_live_t *live) { return till_loop_now(live->server->opts.loop); }

static const till_serve_opts_t *limits_of(const till_live_t *live) { return live->server->opts.limits; }

static void count(till_live_t *live, const char *name, const char *label, const char *value)
{
    char labels[48];

    snprintf(labels, sizeof(labels), "%s=\"%s\"", label, value);
    till_metrics_add(live->server->opts.metrics, name, labels, 1);
}

static void note_count(till_live_t *live, unsigned gauge, int change)
{
    live->stream_count += (size_t)change;
    live->counts[gauge] += (unsigned)change;
    till_series_set(live->server->opts.metrics, live->gauges[gauge], live->counts[gauge]);
}

/* ---- what it writes ------------------------------------------------------- */

static void write_watches(till_stream_t *stream, till_buf_t *out)
{
    for (size_t i = 0; i != stream->count && out->len < MAX_CHUNK; ++i) {
        till_watch_t *watch = &stream->watches[i];
        const till_topic_t *topic = watch->topic;
        if (watch->first != NULL)
            stream->kind->write_event(out, watch, watch->first_tag, watch->first, strlen(watch->first));
        else if (watch->is_dirty)
            stream->kind->write_event(out, watch, topic->tag, topic->json, strlen(topic->json));
        else
            continue;
        till_live_told(watch);
        till_metrics_add(stream->live->server->opts.metrics, "till_live_events_total", NULL, 1);
    }
}

static void compose(till_stream_t *stream)
{
    till_buf_t *out = &stream->out;

    stream->kind->write_more(stream, out);
    if (stream->state == STREAM_OPEN)
        write_watches(stream, out);
    if (stream->wants_beat && out->len == 0)
        stream->kind->write_beat(stream, out);
    stream->wants_beat = false;
    if (stream->state == STREAM_ENDING)
        stream->kind->write_end(stream, out);
}

void till_stream_flush(till_stream_t *stream)
{
    till_live_t *live = stream->live;
    bool is_last = stream->state == STREAM_ENDING;

    if (stream->is_writing || stream->state == STREAM_ENDED)
        return;
    compose(stream);
    if (stream->out.len == 0)
        return;
    stream->is_writing = true;
    stream->writing_since = now_of(live);
    stream->beat_at = now_of(live) + limits_of(live)->live_heartbeat_ms;
    if (is_last)
        stream->state = STREAM_ENDED;
    stream->kind->send(stream, is_last);
}

void till_stream_written(till_stream_t *stream)
{
    stream->is_writing = false;
    till_buf_dispose(&stream->out);
    till_buf_init(&stream->out, 0);
    till_stream_flush(stream);
}

/* ---- its end -------------------------------------------------------------- */

void till_stream_end(till_stream_t *stream, till_stream_end_t why)
{
    if (stream->state != STREAM_OPEN)
        return;
    stream->state = STREAM_ENDING;
    stream->end = why;
    till_stream_flush(stream);
}

static void on_turn_end(till_turn_hook_t *hook) { till_stream_bury(H2O_STRUCT_FROM_MEMBER(till_live_t, burial, hook)); }

void till_stream_gone(till_stream_t *stream, till_stream_end_t why)
{
    till_live_t *live = stream->live;

    if (stream->kind == NULL)
        return;
    if (stream->state == STREAM_OPEN)
        stream->end = why;
    count(live, "till_live_ended_total", "why", ends[stream->end].name);
    note_count(live, stream->gauge, -1);
    stream->state = STREAM_ENDED;
    stream->kind = NULL;
    h2o_linklist_unlink(&stream->link);
    h2o_linklist_insert(&live->dead, &stream->link);
    till_loop_at_turn_end(live->server->opts.loop, &live->burial, on_turn_end);
}

void till_stream_bury(till_live_t *live)
{
    while (!h2o_linklist_is_empty(&live->dead)) {
        till_stream_t *stream = H2O_STRUCT_FROM_MEMBER(till_stream_t, link, live->dead.next);
        h2o_linklist_unlink(&stream->link);
        for (size_t i = 0; i != stream->count; ++i)
            till_live_unwatch(live, &stream->watches[i]);
        till_buf_dispose(&stream->out);
        if (stream->free_data != NULL)
            stream->free_data(stream->data);
        free(stream);
    }
}

/* ---- once a second -------------------------------------------------------- */

static void look_at(till_stream_t *stream, uint64_t now)
{
    till_live_t *live = stream->live;

    if (stream->is_writing && now - stream->writing_since > limits_of(live)->send_timeout_ms) {
        stream->end = STREAM_END_SLOW;
        stream->state = STREAM_ENDED;
        till_guard_hang_up(stream->connection, TILL_HOSTILE_UNREAD);
        return;
    }
    if (!stream->kind->tick(stream, now) || stream->state != STREAM_OPEN)
        return;
    if (now >= stream->ends_at) {
        till_stream_end(stream, STREAM_END_AGE);
    } else if (now >= stream->beat_at) {
        stream->wants_beat = true;
        till_stream_flush(stream);
    }
}

static void on_tick(till_timer_t *timer)
{
    till_live_t *live = H2O_STRUCT_FROM_MEMBER(till_live_t, timer, timer);
    h2o_linklist_t *node, *next;

    ++live->ticks;
    for (node = live->streams.next; node != &live->streams; node = next) {
        next = node->next;
        look_at(H2O_STRUCT_FROM_MEMBER(till_stream_t, link, node), now_of(live));
    }
    if (live->stream_count != 0)
        till_timer_start(live->server->opts.loop, timer, TICK_MS, on_tick);
}

/* ---- its begin ------------------------------------------------------------ */

till_stream_t *till_stream_create(till_live_t *live, const till_stream_kind_t *kind, till_connection_t *connection,
                                  const till_live_begin_t *begin)
{
    till_stream_t *stream = till_calloc(1, sizeof(*stream) + begin->count * sizeof(stream->watches[0]));
    uint64_t age = limits_of(live)->live_max_age_ms;

    stream->live = live;
    stream->kind = kind;
    stream->gauge = kind->gauge;
    stream->connection = connection;
    stream->client = till_live_hash(begin->client.base, begin->client.len);
    stream->beat_at = now_of(live) + limits_of(live)->live_heartbeat_ms;
    stream->ends_at = now_of(live) + age / 2 + random_of(live) % (age / 2 + 1);
    stream->count = begin->count;
    till_buf_init(&stream->out, 0);
    for (size_t i = 0; i != begin->count; ++i) {
        stream->watches[i].stream = stream;
        till_live_watch(live, &stream->watches[i], &begin->states[i]);
    }
    h2o_linklist_insert(&live->streams, &stream->link);
    note_count(live, kind->gauge, 1);
    if (!till_timer_is_running(&live->timer))
        till_timer_start(live->server->opts.loop, &live->timer, TICK_MS, on_tick);
    return stream;
}

static unsigned streams_of(const till_live_t *live, till_slice_t client)
{
    uint64_t hash = till_live_hash(client.base, client.len);
    unsigned n = 0;

    for (const h2o_linklist_t *node = live->streams.next; node != &live->streams; node = node->next)
        n += H2O_STRUCT_FROM_MEMBER(till_stream_t, link, node)->client == hash;
    return n;
}

/* @return whether it was refused */
static bool refuse(till_live_t *live, h2o_req_t *req, const till_live_begin_t *begin)
{
    const till_serve_opts_t *limits = limits_of(live);

    if (live->is_draining) {
        till_respond_problem(req, TILL_UNAVAILABLE, "The server is being restarted. Please try again.", 1);
    } else if (live->stream_count >= limits->max_streams) {
        count(live, "till_live_refused_total", "why", "worker");
        till_respond_problem(req, TILL_OVERLOADED, "There are as many streams here as there may be. Try again later.",
                             till_live_retry_ms(live) / 1000 + 1);
    } else if (streams_of(live, begin->client) >= limits->max_streams_per_client) {
        count(live, "till_live_refused_total", "why", "client");
        till_respond_problem(req, TILL_QUOTA, "You have as many streams open as you may have. Close one first.", 30);
    } else {
        return false;
    }
    return true;
}

void till_live_answer(h2o_req_t *req, const till_live_begin_t *begin)
{
    till_live_t *live = till_note_of(req)->server->live;

    if (refuse(live, req, begin))
        return;
    if (till_ws_is_wanted(req))
        till_ws_begin(live, req, begin);
    else
        till_sse_begin(live, req, begin);
}
