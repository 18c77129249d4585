/* combine.c - callers who wait for the same row go together; see combine.h.
 *
 * A seat is in one group. A group waits in the queue of one key, its home, or
 * flies, led by its first seat.
 *
 *   join, no key in flight ------------------------------------> FLIES (alone)
 *   join, a key in flight --take_place--> WAITS --launch-------> FLIES
 *                                          | ^                     |
 *     on_abort (cancel, deadline) --leave--+ +--split, step_down---+--answer, abandon--> (gone)
 *
 * Invariants
 *  1. A seat is told exactly once, except the one that leads without waiting; seats of a flight are held
 *     (till_op_hold): they neither time out nor are cancelled until it ends or splits.
 *  2. A key's `flying` is the number of flying seats that have it; a key has waiting groups only while it is not 0.
 *     So whenever a flight with a key ends, the first group that waits at this key is launched, and nobody is left.
 *  3. Groups of a key fly in the order in which their callers came, and so do the parts of a split: they are put before
 *     all who came later, and are as large as they are cut: nobody joins them.
 *  4. No waiting group is empty, none holds more than `most`.
 *  5. Where several keys of a caller are in flight he waits at the first of them. Another flight may then have one of
 *     his other keys at the same time as his: the database keeps these apart, for a key is a hint and not a lock.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "trade/combine.h"

enum { BUCKETS = 256 };

typedef struct group group_t;

typedef struct key {
    struct key *chain;     /* of its bucket */
    struct key *next_due;  /* see land */
    group_t *first, *last; /* that wait here */
    unsigned flying, refs; /* seats in flight, all seats */
    bool is_due;
    uint64_t hash;
    size_t len;
    char text[];
} combine_key_t;

struct group {
    group_t *next;       /* in the queue of `home` */
    combine_key_t *home; /* NULL: it never waited */
    till_combine_seat_t *first, *last;
    unsigned count, most;
    bool flies;
};

struct till_combine_seat {
    till_op_t op; /* first */
    till_combiner_t *combiner;
    group_t *group;
    till_combine_seat_t *next, *prev; /* in its group */
    bool has_op, leads;
    till_combine_cb cb;
    void *data;
    unsigned key_count;
    combine_key_t *keys[TILL_COMBINE_KEYS];
};

struct till_combiner {
    till_loop_t *loop;
    till_combine_stats_t stats;
    unsigned seats;
    combine_key_t *buckets[BUCKETS];
};

/* ---- keys --------------------------------------------------------------------- */

/* FNV-1a; at worst somebody who chooses ids makes a chain as long as there are callers in flight. */
static uint64_t hash_of(till_slice_t text)
{
    const unsigned char *p = text.base;
    uint64_t hash = 14695981039346656037u;

    for (size_t i = 0; i != text.len; ++i)
        hash = (hash ^ p[i]) * 1099511628211u;
    return hash;
}

static combine_key_t *ref_key(till_combiner_t *combiner, till_slice_t text)
{
    uint64_t hash = hash_of(text);
    combine_key_t **bucket = &combiner->buckets[hash % BUCKETS], *key = *bucket;

    while (key != NULL && (key->hash != hash || key->len != text.len || memcmp(key->text, text.base, text.len) != 0))
        key = key->chain;
    if (key == NULL) {
        key = till_calloc(1, sizeof(*key) + text.len);
        key->hash = hash;
        key->len = text.len;
        memcpy(key->text, text.base, text.len);
        key->chain = *bucket;
        *bucket = key;
    }
    ++key->refs;
    return key;
}

static void unref_key(till_combiner_t *combiner, combine_key_t *key)
{
    combine_key_t **at = &combiner->buckets[key->hash % BUCKETS];

    if (--key->refs != 0)
        return;
    assert(key->flying == 0 && key->first == NULL);
    while (*at != key)
        at = &(*at)->chain;
    *at = key->chain;
    free(key);
}

/* ---- seats and groups ------------------------------------------------------------ */

static void on_abort(till_op_t *op, till_status_t why);
static void on_told(till_op_t *op, till_status_t status);

static void free_seat(till_combine_seat_t *seat)
{
    for (unsigned i = 0; i != seat->key_count; ++i)
        unref_key(seat->combiner, seat->keys[i]);
    --seat->combiner->seats;
    free(seat);
}

static group_t *make_group(combine_key_t *home, unsigned most)
{
    group_t *group = till_calloc(1, sizeof(*group));

    group->home = home;
    group->most = most;
    return group;
}

static void append(group_t *group, till_combine_seat_t *seat)
{
    seat->group = group;
    seat->next = NULL;
    seat->prev = group->last;
    *(group->last != NULL ? &group->last->next : &group->first) = seat;
    group->last = seat;
    ++group->count;
}

static void take_out(till_combine_seat_t *seat)
{
    group_t *group = seat->group;

    *(seat->prev != NULL ? &seat->prev->next : &group->first) = seat->next;
    *(seat->next != NULL ? &seat->next->prev : &group->last) = seat->prev;
    --group->count;
    seat->group = NULL;
    seat->next = seat->prev = NULL;
}

static void drop_waiting(group_t *group)
{
    combine_key_t *home = group->home;
    group_t **at = &home->first, *before = NULL;

    while (*at != group) {
        before = *at;
        at = &before->next;
    }
    *at = group->next;
    if (home->last == group)
        home->last = before;
    free(group);
}

/* ---- flights --------------------------------------------------------------------- */

static void count_flight(till_combiner_t *combiner, const group_t *group)
{
    if (group->count == 1) {
        ++combiner->stats.alone;
        return;
    }
    ++combiner->stats.together;
    combiner->stats.combined += group->count;
}

static void take_off(group_t *group)
{
    group->flies = true;
    group->first->leads = true;
    count_flight(group->first->combiner, group);
    for (till_combine_seat_t *seat = group->first; seat != NULL; seat = seat->next) {
        for (unsigned i = 0; i != seat->key_count; ++i)
            ++seat->keys[i]->flying;
    }
}

/* The first group that waits at `key`. Who leads it is told in the next turn: from here on he is not cancelled. */
static void launch(till_combiner_t *combiner, combine_key_t *key)
{
    group_t *group = key->first;

    if (group == NULL)
        return;
    key->first = group->next;
    if (key->last == group)
        key->last = NULL;
    group->next = NULL;
    combiner->stats.waiting -= group->count;
    for (till_combine_seat_t *seat = group->first; seat != NULL; seat = seat->next)
        till_op_hold(&seat->op);
    take_off(group);
    till_op_finish(&group->first->op, TILL_OK);
}

/* The keys of `seat` fly no more with it; those at which somebody waits are noted. */
static void land(till_combine_seat_t *seat, combine_key_t **due)
{
    for (unsigned i = 0; i != seat->key_count; ++i) {
        combine_key_t *key = seat->keys[i];
        --key->flying;
        if (key->first == NULL || key->is_due)
            continue;
        key->is_due = true;
        key->next_due = *due;
        *due = key;
    }
}

static void launch_due(till_combiner_t *combiner, combine_key_t *due)
{
    while (due != NULL) {
        combine_key_t *key = due;
        due = key->next_due;
        key->is_due = false;
        launch(combiner, key);
    }
}

/* The flight is over; the others are told `status`, who leads is not. */
static void end_flight(till_combine_seat_t *leader, till_status_t status)
{
    till_combiner_t *combiner = leader->combiner;
    group_t *group = leader->group;
    combine_key_t *due = NULL;
    till_combine_seat_t *seat;

    assert(leader->leads && group->first == leader);
    while ((seat = group->first) != NULL) {
        land(seat, &due);
        take_out(seat);
        if (seat == leader)
            free_seat(seat);
        else
            till_op_finish(&seat->op, status);
    }
    free(group);
    launch_due(combiner, due);
}

void till_combine_answer(till_combine_seat_t *seat) { end_flight(seat, TILL_OK); }

void till_combine_abandon(till_combine_seat_t *seat) { end_flight(seat, TILL_INTERNAL); }

/* ---- waiting --------------------------------------------------------------------- */

/** The first of his keys that is in flight, or NULL. */
static combine_key_t *busy_key(const till_combine_seat_t *seat)
{
    for (unsigned i = 0; i != seat->key_count; ++i) {
        if (seat->keys[i]->flying != 0)
            return seat->keys[i];
    }
    return NULL;
}

/* With those who came last, where there is room. */
static void take_place(till_combine_seat_t *seat, combine_key_t *home, unsigned most)
{
    group_t *group = home->last;

    if (group == NULL || group->count >= group->most || group->count >= most) {
        group = make_group(home, most);
        *(home->last != NULL ? &home->last->next : &home->first) = group;
        home->last = group;
    }
    if (most < group->most)
        group->most = most;
    append(group, seat);
    ++seat->combiner->stats.waiting;
}

static void on_abort(till_op_t *op, till_status_t why)
{
    till_combine_seat_t *seat = (till_combine_seat_t *)op;
    group_t *group = seat->group;

    (void)why;
    assert(!group->flies);
    take_out(seat);
    --seat->combiner->stats.waiting;
    if (group->count == 0)
        drop_waiting(group);
}

/* The seat of who leads is his still. */
static void on_told(till_op_t *op, till_status_t status)
{
    till_combine_seat_t *seat = (till_combine_seat_t *)op;
    bool stays = status == TILL_OK && seat->leads;

    seat->has_op = false;
    seat->cb(seat->data, status, seat);
    if (!stays)
        free_seat(seat);
}

till_combine_seat_t *till_combine_join(till_combiner_t *combiner, const till_combine_opts_t *opts, till_combine_cb cb,
                                       void *data)
{
    till_combine_seat_t *seat = till_calloc(1, sizeof(*seat));
    unsigned most = opts->most != 0 ? opts->most : 1;

    seat->combiner = combiner;
    seat->cb = cb;
    seat->data = data;
    for (; seat->key_count != opts->key_count && seat->key_count != TILL_COMBINE_KEYS; ++seat->key_count)
        seat->keys[seat->key_count] = ref_key(combiner, opts->keys[seat->key_count]);
    ++combiner->seats;
    combine_key_t *home = busy_key(seat);
    if (home == NULL) {
        append(make_group(NULL, 1), seat);
        take_off(seat->group);
        return seat;
    }
    seat->has_op = true;
    till_op_init(&seat->op, combiner->loop, opts->timeout_ms, on_abort, on_told);
    take_place(seat, home, most);
    return seat;
}

till_op_t *till_combine_op(till_combine_seat_t *seat) { return seat->has_op ? &seat->op : NULL; }

bool till_combine_leads(const till_combine_seat_t *seat) { return seat->leads; }

/* ---- parts ----------------------------------------------------------------------- */

/** Moves the seats from the `from`-th on, `count` of them, to a group of their own. */
static group_t *cut_off(group_t *group, unsigned from, unsigned count, combine_key_t **due)
{
    group_t *part = make_group(group->home, count);
    till_combine_seat_t *seat = group->first;

    while (from-- != 0)
        seat = seat->next;
    for (; count != 0; --count) {
        till_combine_seat_t *next = seat->next;
        land(seat, due);
        take_out(seat);
        append(part, seat);
        seat = next;
    }
    return part;
}

static void put_first(group_t *part)
{
    combine_key_t *home = part->home;

    part->next = home->first;
    home->first = part;
    if (home->last == NULL)
        home->last = part;
    part->first->combiner->stats.waiting += part->count;
}

/* Who was cancelled in the air leaves now: a part may be gone afterwards. */
static void let_go(group_t *part)
{
    till_combine_seat_t *next;

    for (till_combine_seat_t *seat = part->first; seat != NULL; seat = next) {
        next = seat->next;
        till_op_unhold(&seat->op);
    }
}

/* Their home flies still, with who leads; of their other keys those are launched that nobody flies with. */
static void launch_idle(till_combiner_t *combiner, combine_key_t *due)
{
    combine_key_t *idle = NULL;

    while (due != NULL) {
        combine_key_t *key = due;
        due = key->next_due;
        key->is_due = key->flying == 0;
        if (!key->is_due)
            continue;
        key->next_due = idle;
        idle = key;
    }
    launch_due(combiner, idle);
}

void till_combine_split(till_combine_seat_t *leader, unsigned at)
{
    group_t *group = leader->group, *parts[2] = {NULL, NULL};
    unsigned count = group->count, first;
    combine_key_t *due = NULL;

    assert(leader->leads && count > 1 && at <= count);
    first = at == TILL_COMBINE_HALVES ? (count + 1) / 2 : at > 1 ? at - 1 : 1;
    if (at > 1 && at < count) /* [before him] stays, [him], [after him] */
        parts[1] = cut_off(group, at, count - at, &due);
    parts[0] = cut_off(group, first, group->count - first, &due);
    for (unsigned i = 2; i-- != 0;) {
        if (parts[i] != NULL)
            put_first(parts[i]);
    }
    ++leader->combiner->stats.splits;
    count_flight(leader->combiner, group);
    for (unsigned i = 0; i != 2; ++i) {
        if (parts[i] != NULL)
            let_go(parts[i]);
    }
    launch_idle(leader->combiner, due);
}

void till_combine_step_down(till_combine_seat_t *leader)
{
    group_t *group = leader->group;
    combine_key_t *due = NULL;

    assert(leader->leads);
    if (group->count > 1) {
        group_t *part = cut_off(group, 1, group->count - 1, &due);
        put_first(part);
        let_go(part);
        launch_idle(leader->combiner, due);
    }
    till_combine_answer(leader);
}

/* ---- asking ---------------------------------------------------------------------- */

unsigned till_combine_count(const till_combine_seat_t *seat) { return seat->group->count; }

void *till_combine_data(const till_combine_seat_t *seat, unsigned i)
{
    while (i-- != 0)
        seat = seat->next;
    return seat->data;
}

till_combiner_t *till_combiner_create(till_loop_t *loop)
{
    till_combiner_t *combiner = till_calloc(1, sizeof(*combiner));

    combiner->loop = loop;
    return combiner;
}

void till_combiner_destroy(till_combiner_t *combiner)
{
    assert(combiner == NULL || combiner->seats == 0);
    free(combiner);
}

void till_combiner_stats(const till_combiner_t *combiner, till_combine_stats_t *out) { *out = combiner->stats; }
