/* outbox_claim.c - claiming of events: a few statements on one leased connection.
 *
 *   ACQUIRING -> BEGINNING -> CHOOSING -> MARKING -> (ASKING) -> COMMITTING -> told
 *       |            |         |  ^  |       |           |           |
 *       |            |         +--+  |       |           |           |      once a kind, while there is room
 *       |            |   (BEHIND -> PUTTING) |           |           |      where a look was cut short
 *       +--------- over: the connection goes back, an open transaction is rolled back
 *
 * What always holds
 *  1. `inner` is the step in flight and the only thing that will call us.
 *  2. The rows chosen are locked until the commit; nobody else can choose them.
 *  3. Without a commit that was answered nobody is told of any event. If the
 *     answer was lost the lease lapses and the events come again.
 *
 * Two claimers and one aggregate: the first locks the oldest event; the second
 * skips it, and does not get the next one either, for the oldest is still
 * pending to whoever looks, until it is delivered or dead.
 *
 * Choosing alone does not see to that. A row is read as it is now, for it is
 * locked; whether there is an older one is read as it was when the statement
 * began. Of two events that were committed meanwhile only the later one would
 * be found. So marking, which begins when all are locked, asks once more, and
 * where it marks fewer than were chosen the others are left out.
 *
 * A replayed event is older than what somebody may be at: its claim says that it
 * was replayed, and then the first after it that was not must not be at hand.
 * Where one was met its kind is chosen of again with that looked at, and so all else.
 * Marking reads that one locked as well.
 *
 * Nothing here waits for a lock: an older event whose transaction is open may
 * take seconds, and all else would stand still. What marking finds locked undoes
 * the claim, and it begins again with choosing by what is written, committed or
 * not: what is behind an open transaction is left out. That alone would not do,
 * for what is written may be undone. Putting behind goes without where a lock
 * is in its way.
 *
 * What waits behind a head is due, but not to be had. Choosing examines 3000 rows
 * at most, two for each that it meets in vain; where that cuts it short they are
 * put behind: to when their head is tried again, or, where somebody is at the
 * head, to the end of the queue, but for the 32 next ones. So a claim costs no
 * more however many wait, and what is due besides has its turn.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "trade/outbox.h"
#include "trade/trade_priv.h"

#define DUE                                                                                                            \
    " FROM outbox o FORCE INDEX (outbox_due) WHERE o.state = 'pending' AND o.type = ? AND o.available_at <= NOW(3)"
#define IN_ORDER " ORDER BY o.available_at, o.id LIMIT "
/* An UPDATE of the table reads it locked anyhow, and would wait. */
#define AT_ONCE " LOCK IN SHARE MODE NOWAIT"
/* `what` of the oldest that is pending of the aggregate of `row`, or of the `nth` after it: one step, however many. */
#define OF_HEAD(what, row, nth, lock)                                                                                  \
    "(SELECT " what " FROM outbox h FORCE INDEX (outbox_order)"                                                        \
    " WHERE h.aggregate = " row ".aggregate AND h.state = 'pending' ORDER BY h.id LIMIT 1 OFFSET " nth lock ")"
#define IS_BEHIND(row, lock) "COALESCE(" OF_HEAD("h.id < " row ".id", row, "0", lock) ", 0)"
#define WAITING "h.claim = 0 AND h.available_at > NOW(3)"
#define IS_TOO_EARLY(row, lock)                                                                                        \
    "(" row ".claim = 1 AND COALESCE((SELECT n.claim <> 0 AND n.available_at > NOW(3)"                                 \
    " FROM outbox n FORCE INDEX (outbox_order) WHERE n.aggregate = " row ".aggregate AND n.state = 'pending'"          \
    " AND n.id > " row ".id AND n.claim <> 1 ORDER BY n.id LIMIT 1" lock "), 0))"

/* Of putting behind, with a claim: so many times 1024 events, and that part of its time. */
enum { ROUNDS_MOST = 16, TIME_PART = 8 };

/* Of a claim: what is in the way of another one is a moment's work, for what lasts longer is left out by then. */
enum { TRIES_MOST = 4, LOCK_IN_THE_WAY = 1205 };

static const char begin_dirty[] =
    "BEGIN NOT ATOMIC SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED; START TRANSACTION; END";

/* The order is by due time and not by id: so the index gives it, and the search ends with the last one wanted. */
#define CHOOSE                                                                                                         \
    "SELECT o.id, o.aggregate, o.type, o.payload, o.traceparent, o.attempts, o.claim" DUE " AND NOT " IS_BEHIND("o", "")
static const char choose_text[] = CHOOSE IN_ORDER "? ROWS EXAMINED 3000 FOR UPDATE SKIP LOCKED";
static const char choose_with_replayed_text[] =
    CHOOSE " AND NOT " IS_TOO_EARLY("o", "") IN_ORDER "? ROWS EXAMINED 3000 FOR UPDATE SKIP LOCKED";
static const char choose_of_all_text[] = CHOOSE " AND NOT " IS_TOO_EARLY("o", "") IN_ORDER "? FOR UPDATE SKIP LOCKED";

/* clang-format off */
static const char behind_text[] =
    "SELECT o.id" DUE " AND " IS_BEHIND("o", "")
    " AND (COALESCE(" OF_HEAD(WAITING, "o", "0", "") ", 0) OR COALESCE(" OF_HEAD("h.id < o.id", "o", "32", "") ", 0))"
    IN_ORDER "1024 FOR UPDATE SKIP LOCKED";
static const char put_head[] =
    "UPDATE outbox FORCE INDEX (PRIMARY) SET available_at ="
    " COALESCE(" OF_HEAD("IF(" WAITING ", h.available_at, NOW(3))", "outbox", "0", AT_ONCE) ", NOW(3)) WHERE id IN (";
/* clang-format on */

enum column { ID, AGGREGATE, TYPE, PAYLOAD, TRACEPARENT, ATTEMPTS, CLAIM, COLUMNS };

#define MARK                                                                                                           \
    "UPDATE outbox FORCE INDEX (PRIMARY) SET claim = ?, attempts = attempts + 1,"                                      \
    " available_at = NOW(3) + INTERVAL ? MICROSECOND WHERE NOT " IS_BEHIND("outbox", AT_ONCE)
static const char mark_head[] = MARK " AND id IN (";
static const char mark_with_replayed_head[] = MARK " AND NOT " IS_TOO_EARLY("outbox", AT_ONCE) " AND id IN (";
static const char ask_head[] = "SELECT id FROM outbox WHERE claim = ? AND id IN (";

struct claiming {
    till_op_t op; /* first */
    till_loop_t *loop;
    till_sql_conn_t *conn;
    till_op_t *inner;
    bool told; /* nobody waits any more; freed when `inner` is through as well */
    till_outbox_kind_t *kinds;
    size_t kind_count, kind; /* the one that is chosen of */
    size_t max;
    uint64_t lease_ms, timeout_ms, claim;
    till_event_t events[TILL_OUTBOX_CLAIM_MOST];
    char *texts[TILL_OUTBOX_KINDS_MOST]; /* of the events, by kind */
    size_t n;
    unsigned rounds;   /* of putting behind */
    uint64_t begun_ms; /* the first of them */
    bool has_replayed; /* one was met: from now on they are looked at */
    bool looks_at_all; /* nothing is left to put behind, so what is there is looked through */
    bool puts_nothing; /* a lock was in the way of that */
    unsigned tries;    /* from 0 */
    till_outbox_claim_cb cb;
    void *data;
};

static void free_if_over(struct claiming *claiming)
{
    if (!claiming->told || claiming->inner != NULL)
        return;
    for (size_t i = 0; i != claiming->kind_count; ++i)
        free(claiming->texts[i]);
    free(claiming->kinds);
    free(claiming);
}

static void let_go(struct claiming *claiming)
{
    if (claiming->conn != NULL)
        till_sql_release(claiming->conn);
    claiming->conn = NULL;
}

static void on_abort(till_op_t *op, till_status_t why)
{
    struct claiming *claiming = (struct claiming *)op;

    (void)why;
    till_op_cancel(claiming->inner);
    let_go(claiming);
}

static void on_done(till_op_t *op, till_status_t status)
{
    struct claiming *claiming = (struct claiming *)op;
    size_t n = status == TILL_OK ? claiming->n : 0;

    let_go(claiming);
    claiming->cb(claiming->data, status, claiming->events, n);
    claiming->told = true;
    free_if_over(claiming);
}

/* @return false: it is over, this step was the last thing that could call */
static bool goes_on(struct claiming *claiming, till_status_t status)
{
    claiming->inner = NULL;
    if (claiming->told) {
        free_if_over(claiming);
        return false;
    }
    if (status != TILL_OK)
        till_op_finish(&claiming->op, status);
    return status == TILL_OK && claiming->conn != NULL;
}

static void run(struct claiming *claiming, till_slice_t text, const till_sql_value_t *params, size_t n, till_sql_cb cb)
{
    claiming->inner = till_sql_run(claiming->conn, text, params, n, claiming->timeout_ms, cb, claiming);
}

static void on_begun(void *data, till_status_t status, const till_sql_result_t *result);

static void begin(struct claiming *claiming)
{
    run(claiming, claiming->tries == 0 ? TILL_SLICE_LIT("BEGIN") : TILL_SLICE_LIT(begin_dirty), NULL, 0, on_begun);
}

static bool is_locked(till_status_t status, const till_sql_result_t *result)
{
    return status == TILL_DEADLOCK && result->errcode == LOCK_IN_THE_WAY;
}

/* The transaction is rolled back by now. */
static void begin_again(struct claiming *claiming)
{
    if (!goes_on(claiming, TILL_OK))
        return;
    for (size_t i = 0; i != claiming->kind_count; ++i) {
        free(claiming->texts[i]);
        claiming->texts[i] = NULL;
    }
    claiming->kind = claiming->n = 0;
    claiming->rounds = 0;
    claiming->looks_at_all = false;
    if (++claiming->tries == TRIES_MOST)
        till_op_finish(&claiming->op, TILL_OK);
    else
        begin(claiming);
}

static void on_committed(void *data, till_status_t status, const till_sql_result_t *result)
{
    struct claiming *claiming = data;

    (void)result;
    if (goes_on(claiming, status))
        till_op_finish(&claiming->op, TILL_OK);
}

static void commit(struct claiming *claiming) { run(claiming, TILL_SLICE_LIT(TILL_SQL_COMMIT), NULL, 0, on_committed); }

static bool is_among(const till_sql_result_t *ids, uint64_t id)
{
    for (size_t i = 0; i != ids->rows; ++i)
        if ((uint64_t)ids->cells[i].integer == id)
            return true;
    return false;
}

static void on_asked(void *data, till_status_t status, const till_sql_result_t *result)
{
    struct claiming *claiming = data;
    size_t kept = 0;

    if (!goes_on(claiming, status))
        return;
    for (size_t i = 0; i != claiming->n; ++i)
        if (is_among(result, claiming->events[i].id))
            claiming->events[kept++] = claiming->events[i];
    claiming->n = kept;
    commit(claiming);
}

/* The last id stands again until their number is a power of two: so there are few texts to prepare. `params` has room
 * for twice as many. */
static void run_with_ids(struct claiming *claiming, till_slice_t head, till_sql_value_t *params, size_t n,
                         const uint64_t *ids, size_t count, till_sql_cb cb)
{
    size_t marks = 1;
    till_buf_t text;

    while (marks < count)
        marks *= 2;
    till_buf_init(&text, 0);
    till_buf_append(&text, head.base, head.len);
    for (size_t i = 0; i != marks; ++i) {
        params[n + i] = till_sql_int(ids[i < count ? i : count - 1]);
        till_buf_puts(&text, i == 0 ? "?" : ", ?");
    }
    till_buf_putc(&text, ')');
    run(claiming, (till_slice_t){text.base, text.len}, params, n + marks, cb);
    till_buf_dispose(&text);
}

static void run_with_events(struct claiming *claiming, till_slice_t head, till_sql_value_t *params, size_t n,
                            till_sql_cb cb)
{
    uint64_t ids[TILL_OUTBOX_CLAIM_MOST];

    for (size_t i = 0; i != claiming->n; ++i)
        ids[i] = claiming->events[i].id;
    run_with_ids(claiming, head, params, n, ids, claiming->n, cb);
}

static void on_marked(void *data, till_status_t status, const till_sql_result_t *result)
{
    struct claiming *claiming = data;
    till_sql_value_t params[2 * TILL_OUTBOX_CLAIM_MOST + 1];

    if (is_locked(status, result)) {
        begin_again(claiming);
        return;
    }
    if (status == TILL_OK && result->affected > claiming->n)
        status = TILL_INTERNAL; /* they were named: this cannot be */
    if (!goes_on(claiming, status))
        return;
    params[0] = till_sql_int(claiming->claim);
    if (result->affected == claiming->n)
        commit(claiming);
    else
        run_with_events(claiming, TILL_SLICE_LIT(ask_head), params, 1, on_asked);
}

static void mark(struct claiming *claiming)
{
    till_sql_value_t params[2 * TILL_OUTBOX_CLAIM_MOST + 2];

    params[0] = till_sql_int(claiming->claim);
    params[1] = till_sql_int(claiming->lease_ms * 1000);
    run_with_events(claiming,
                    claiming->has_replayed ? TILL_SLICE_LIT(mark_with_replayed_head) : TILL_SLICE_LIT(mark_head),
                    params, 2, on_marked);
}

static till_slice_t keep(char **at, const till_sql_value_t *cell)
{
    till_slice_t kept = {*at, cell->len};

    if (cell->len != 0)
        memcpy(*at, cell->base, cell->len);
    *at += cell->len;
    return kept;
}

static size_t text_bytes(const till_sql_result_t *result)
{
    size_t total = 1;

    for (size_t i = 0; i != result->rows * COLUMNS; ++i)
        total += result->cells[i].len;
    return total;
}

/* The result dies with its callback, the events are needed after the commit. */
static void keep_events(struct claiming *claiming, const till_sql_result_t *result)
{
    char *at = claiming->texts[claiming->kind] = till_alloc(text_bytes(result));

    for (size_t i = 0; i != result->rows; ++i) {
        const till_sql_value_t *row = result->cells + i * COLUMNS;

        claiming->events[claiming->n++] = (till_event_t){.id = (uint64_t)row[ID].integer,
                                                         .aggregate = keep(&at, &row[AGGREGATE]),
                                                         .type = keep(&at, &row[TYPE]),
                                                         .payload = keep(&at, &row[PAYLOAD]),
                                                         .traceparent = keep(&at, &row[TRACEPARENT]),
                                                         .attempts = (unsigned)row[ATTEMPTS].integer + 1,
                                                         .is_taken_over = row[CLAIM].integer > TILL_OUTBOX_REPLAYED,
                                                         .claim = claiming->claim};
    }
}

static void choose(struct claiming *claiming);

static void go_on(struct claiming *claiming)
{
    claiming->looks_at_all = false;
    if (++claiming->kind != claiming->kind_count && claiming->n != claiming->max)
        choose(claiming);
    else if (claiming->n != 0)
        mark(claiming);
    else if (claiming->rounds != 0)
        commit(claiming);
    else
        till_op_finish(&claiming->op, TILL_OK);
}

/* What was chosen already is locked by us, so it would be chosen again: then the others come with the next claim. */
static void look_again(struct claiming *claiming)
{
    if (claiming->texts[claiming->kind] == NULL)
        choose(claiming);
    else
        go_on(claiming);
}

static void on_put(void *data, till_status_t status, const till_sql_result_t *result)
{
    struct claiming *claiming = data;

    if (is_locked(status, result)) {
        claiming->puts_nothing = true;
        begin_again(claiming);
        return;
    }
    if (goes_on(claiming, status))
        look_again(claiming);
}

static void on_behind(void *data, till_status_t status, const till_sql_result_t *result)
{
    struct claiming *claiming = data;

    if (!goes_on(claiming, status))
        return;
    if (result->rows == 0) {
        claiming->looks_at_all = true;
        look_again(claiming);
        return;
    }
    uint64_t *ids = till_alloc(result->rows * sizeof(*ids));
    till_sql_value_t *params = till_alloc(2 * result->rows * sizeof(*params));
    for (size_t i = 0; i != result->rows; ++i)
        ids[i] = (uint64_t)result->cells[i].integer;
    run_with_ids(claiming, TILL_SLICE_LIT(put_head), params, 0, ids, result->rows, on_put);
    free(params);
    free(ids);
}

/* Bounded in number and time: whoever asks for events waits, and what was put behind stays there. */
static void put_behind(struct claiming *claiming)
{
    const till_sql_value_t type = till_sql_text(claiming->kinds[claiming->kind].type);
    uint64_t now = till_loop_now(claiming->loop);

    if (claiming->rounds == 0)
        claiming->begun_ms = now;
    if (claiming->puts_nothing || claiming->rounds == ROUNDS_MOST ||
        now - claiming->begun_ms > claiming->timeout_ms / TIME_PART) {
        go_on(claiming);
        return;
    }
    ++claiming->rounds;
    run(claiming, TILL_SLICE_LIT(behind_text), &type, 1, on_behind);
}

static bool shows_replayed(const till_sql_result_t *result)
{
    for (size_t i = 0; i != result->rows; ++i)
        if (result->cells[i * COLUMNS + CLAIM].integer == TILL_OUTBOX_REPLAYED)
            return true;
    return false;
}

static void on_chosen(void *data, till_status_t status, const till_sql_result_t *result)
{
    struct claiming *claiming = data;

    if (!goes_on(claiming, status))
        return;
    if (!claiming->has_replayed && !claiming->looks_at_all && shows_replayed(result)) {
        claiming->has_replayed = true;
        choose(claiming);
        return;
    }
    claiming->has_replayed |= shows_replayed(result);
    if (result->rows != 0)
        keep_events(claiming, result);
    if (result->warnings != 0 && !claiming->looks_at_all) /* it was cut short */
        put_behind(claiming);
    else
        go_on(claiming);
}

static till_slice_t text_of(const struct claiming *claiming)
{
    if (claiming->looks_at_all)
        return TILL_SLICE_LIT(choose_of_all_text);
    return claiming->has_replayed ? TILL_SLICE_LIT(choose_with_replayed_text) : TILL_SLICE_LIT(choose_text);
}

static void choose(struct claiming *claiming)
{
    const till_outbox_kind_t *kind = &claiming->kinds[claiming->kind];
    size_t room = claiming->max - claiming->n;
    const till_sql_value_t params[] = {till_sql_text(kind->type),
                                       till_sql_int(kind->leave < room ? room - kind->leave : 1)};

    run(claiming, text_of(claiming), params, 2, on_chosen);
}

static void on_begun(void *data, till_status_t status, const till_sql_result_t *result)
{
    struct claiming *claiming = data;

    (void)result;
    if (goes_on(claiming, status))
        choose(claiming);
}

static void on_acquired(void *data, till_status_t status, till_sql_conn_t *conn)
{
    struct claiming *claiming = data;

    if (claiming->told && conn != NULL)
        till_sql_release(conn); /* it was on its way when we gave up */
    else
        claiming->conn = conn;
    if (goes_on(claiming, status))
        begin(claiming);
}

till_op_t *till_outbox_claim(till_sql_pool_t *pool, const till_outbox_kind_t *kinds, size_t n, unsigned max,
                             uint64_t lease_ms, uint64_t timeout_ms, till_outbox_claim_cb cb, void *data)
{
    struct claiming *claiming = till_calloc(1, sizeof(*claiming));

    assert(n != 0 && n <= TILL_OUTBOX_KINDS_MOST && max != 0);
    claiming->kinds = till_alloc(n * sizeof(*kinds));
    memcpy(claiming->kinds, kinds, n * sizeof(*kinds));
    claiming->kind_count = n;
    claiming->max = max < TILL_OUTBOX_CLAIM_MOST ? max : TILL_OUTBOX_CLAIM_MOST;
    claiming->lease_ms = lease_ms;
    claiming->timeout_ms = timeout_ms;
    claiming->claim = till_claim_draw();
    claiming->cb = cb;
    claiming->data = data;
    claiming->loop = till_sql_pool_loop(pool);
    till_op_init(&claiming->op, claiming->loop, timeout_ms, on_abort, on_done);
    claiming->inner = till_sql_acquire(pool, timeout_ms, on_acquired, claiming);
    return &claiming->op;
}
