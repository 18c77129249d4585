#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "serve/live_priv.h"

static char *copy_text(till_slice_t text)
{
    char *out = till_alloc(text.len + 1);

    h2o_memcpy(out, text.base, text.len); /* NULL and 0 are allowed */
    out[text.len] = '\0';
    return out;
}

static void replace(char **at, till_slice_t text)
{
    free(*at);
    *at = copy_text(text);
}

static bool is_same(const char *text, till_slice_t other)
{
    return strlen(text) == other.len && (other.len == 0 || memcmp(text, other.base, other.len) == 0);
}

uint64_t till_live_hash(const char *text, size_t len)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (size_t i = 0; i != len; ++i)
        hash = (hash ^ (uint8_t)text[i]) * 0x100000001b3u;
    return hash ^ hash >> 29;
}

static uint64_t hash_of(till_slice_t text) { return till_live_hash(text.base, text.len); }

/* ---- topics --------------------------------------------------------------- */

static till_topic_t **place_of(till_live_t *live, till_slice_t name, uint64_t hash)
{
    till_topic_t **at = &live->buckets[hash % TILL_LIVE_BUCKETS];

    while (*at != NULL &&
           ((*at)->hash != hash || (*at)->name_len != name.len || memcmp((*at)->name, name.base, name.len) != 0))
        at = &(*at)->next;
    return at;
}

static till_topic_t *find(till_live_t *live, till_slice_t name) { return *place_of(live, name, hash_of(name)); }

static till_topic_t *topic_of(till_live_t *live, const till_live_state_t *state)
{
    till_topic_t **at = place_of(live, state->topic, hash_of(state->topic));

    if (*at != NULL)
        return *at;
    till_topic_t *topic = till_alloc(sizeof(*topic) + state->topic.len + 1);
    *topic = (till_topic_t){.hash = hash_of(state->topic), .name_len = state->topic.len};
    memcpy(topic->name, state->topic.base, state->topic.len);
    topic->name[state->topic.len] = '\0';
    topic->tag = copy_text(state->tag);
    topic->owner = copy_text(state->owner);
    h2o_linklist_init_anchor(&topic->watches);
    *at = topic;
    return topic;
}

static void drop_if_unwatched(till_live_t *live, till_topic_t *topic)
{
    if (!h2o_linklist_is_empty(&topic->watches))
        return;
    till_topic_t **at = place_of(live, (till_slice_t){topic->name, topic->name_len}, topic->hash);
    *at = topic->next;
    free(topic->tag);
    free(topic->json);
    free(topic->owner);
    free(topic);
}

static void mark(till_watch_t *watch, bool is_dirty)
{
    till_topic_t *topic = watch->topic;

    topic->dirty += (unsigned)is_dirty - (unsigned)watch->is_dirty;
    watch->is_dirty = is_dirty;
    if (topic->dirty != 0)
        return;
    free(topic->json);
    topic->json = NULL;
}

static void forget_first(till_watch_t *watch)
{
    free(watch->first);
    free(watch->first_tag);
    watch->first = watch->first_tag = NULL;
}

void till_live_watch(till_live_t *live, till_watch_t *watch, const till_live_state_t *state)
{
    till_topic_t *topic = topic_of(live, state);

    watch->topic = topic;
    watch->owner = hash_of(state->owner);
    watch->told = hash_of(state->tag);
    watch->first = copy_text(state->json);
    watch->first_tag = copy_text(state->tag);
    h2o_linklist_insert(&topic->watches, &watch->link);
    if (!is_same(topic->tag, state->tag) || !is_same(topic->owner, state->owner))
        topic->tag[0] =
            '\0'; /* which of the two is newer nobody knows: it has to be looked at, and then one is ended */
}

void till_live_unwatch(till_live_t *live, till_watch_t *watch)
{
    mark(watch, false);
    forget_first(watch);
    h2o_linklist_unlink(&watch->link);
    drop_if_unwatched(live, watch->topic);
}

void till_live_told(till_watch_t *watch)
{
    forget_first(watch);
    mark(watch, false);
    watch->changes = 0;
}

void till_live_write_json(till_buf_t *out, const till_watch_t *watch, const char *json, size_t len)
{
    static const char *const names[] = {
#define NAME(id, name) name,
        TILL_LIVE_CHANGES(NAME)
#undef NAME
    };
    const char *comma = "";

    till_buf_puts(out, "{\"changed\":[");
    for (unsigned i = 0; i != TILL_LIVE_CHANGE_COUNT; ++i) {
        if ((watch->changes & 1u << i) == 0)
            continue;
        till_buf_printf(out, "%s\"%s\"", comma, names[i]);
        comma = ",";
    }
    till_buf_puts(out, "],");
    till_buf_append(out, json + 1, len - 1);
}

/* ---- the face to Lua ------------------------------------------------------ */

static size_t face_streams(void *data) { return ((till_live_t *)data)->stream_count; }

static void face_each(void *data, void (*cb)(void *cb_data, till_slice_t topic, till_slice_t tag), void *cb_data)
{
    till_live_t *live = data;

    for (size_t i = 0; i != TILL_LIVE_BUCKETS; ++i) {
        for (till_topic_t *topic = live->buckets[i]; topic != NULL; topic = topic->next)
            cb(cb_data, (till_slice_t){topic->name, topic->name_len}, (till_slice_t){topic->tag, strlen(topic->tag)});
    }
}

static const char *face_tag(void *data, till_slice_t topic)
{
    const till_topic_t *found = find(data, topic);

    return found != NULL ? found->tag : NULL;
}

/* A stream that ends meanwhile leaves the list at the end of the turn. */
static void for_each_watch(till_topic_t *topic, void (*act)(till_watch_t *watch, const till_live_state_t *state),
                           const till_live_state_t *state)
{
    for (h2o_linklist_t *node = topic->watches.next; node != &topic->watches; node = node->next)
        act(H2O_STRUCT_FROM_MEMBER(till_watch_t, link, node), state);
}

static void end_watch(till_watch_t *watch, const till_live_state_t *state)
{
    (void)state;
    till_stream_end(watch->stream, STREAM_END_NOT_FOUND);
}

/* Who has begun for the new owner stays, and nobody else, whichever of them came first. */
static void end_if_strange(till_watch_t *watch, const till_live_state_t *state)
{
    if (watch->owner != hash_of(state->owner))
        end_watch(watch, state);
}

static void tell_watch(till_watch_t *watch, const till_live_state_t *state)
{
    uint64_t hash = hash_of(state->tag);

    if (watch->told == hash)
        return;
    forget_first(watch);
    watch->told = hash;
    watch->changes |= state->changes;
    mark(watch, true);
}

static void flush_watch(till_watch_t *watch, const till_live_state_t *state)
{
    (void)state;
    till_stream_flush(watch->stream);
}

static void face_set(void *data, const till_live_state_t *state)
{
    till_topic_t *topic = find(data, state->topic);

    if (topic == NULL)
        return;
    if (!is_same(topic->owner, state->owner))
        replace(&topic->owner, state->owner);
    for_each_watch(topic, end_if_strange, state); /* always: one let in for the old owner may join after the change */
    if (is_same(topic->tag, state->tag))
        return;
    replace(&topic->tag, state->tag);
    replace(&topic->json, state->json);
    ++topic->dirty; /* held until all were marked */
    for_each_watch(topic, tell_watch, state);
    for_each_watch(topic, flush_watch, state);
    if (--topic->dirty == 0) {
        free(topic->json);
        topic->json = NULL;
    }
}

static void face_end(void *data, till_slice_t topic)
{
    till_topic_t *found = find(data, topic);

    if (found != NULL)
        for_each_watch(found, end_watch, NULL);
}

/* ---- life ----------------------------------------------------------------- */

till_live_t *till_live_create(till_server_t *server)
{
    till_live_t *live = till_calloc(1, sizeof(*live));

    live->server = server;
    live->face = (till_live_face_t){live, face_streams, face_each, face_tag, face_set, face_end};
    live->random = till_clock_us() * 0x9e3779b97f4a7c15u | 1;
    live->gauges[0] =
        till_metrics_find(server->opts.metrics, TILL_METRIC_GAUGE, "till_live_streams", "protocol=\"sse\"");
    live->gauges[1] =
        till_metrics_find(server->opts.metrics, TILL_METRIC_GAUGE, "till_live_streams", "protocol=\"websocket\"");
    till_metrics_set(server->opts.metrics, TILL_METRIC_GAUGE, "till_live_streams_limit", NULL,
                     server->opts.limits->max_streams);
    h2o_linklist_init_anchor(&live->streams);
    h2o_linklist_init_anchor(&live->dead);
    return live;
}

void till_live_destroy(till_live_t *live)
{
    if (live == NULL)
        return;
    till_timer_stop(&live->timer);
    till_turn_hook_cancel(live->server->opts.loop, &live->burial);
    till_stream_bury(live);
    free(live);
}

const till_live_face_t *till_live_face(till_live_t *live) { return &live->face; }

size_t till_live_streams(const till_live_t *live) { return live->stream_count; }

void till_live_drain(till_live_t *live)
{
    h2o_linklist_t *node, *next;

    live->is_draining = true;
    for (node = live->streams.next; node != &live->streams; node = next) {
        next = node->next;
        till_stream_end(H2O_STRUCT_FROM_MEMBER(till_stream_t, link, node), STREAM_END_RESTART);
    }
}
