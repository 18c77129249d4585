/* outbox_claim.c - claiming of events: four statements on one leased connection.
 *
 *   ACQUIRING -> BEGINNING -> CHOOSING -> MARKING -> COMMITTING -> told
 *       |            |           |           |           |
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
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "trade/outbox.h"
#include "trade/trade_priv.h"

enum { CLAIM_MOST = 100 };

/* The order is by due time and not by id: so the index gives it, and the search ends with the last one wanted. */
static const char choose_text[] =
    "SELECT o.id, o.aggregate, o.type, o.payload, o.traceparent, o.attempts FROM outbox o FORCE INDEX (outbox_due)"
    " WHERE o.state = 'pending' AND o.available_at <= NOW(3) AND NOT EXISTS"
    " (SELECT 1 FROM outbox p FORCE INDEX (outbox_order)"
    " WHERE p.aggregate = o.aggregate AND p.state = 'pending' AND p.id < o.id)"
    " ORDER BY o.available_at, o.id LIMIT ? FOR UPDATE SKIP LOCKED";

enum column { ID, AGGREGATE, TYPE, PAYLOAD, TRACEPARENT, ATTEMPTS, COLUMNS };

static const char mark_head[] =
    "UPDATE outbox SET claim = ?, attempts = attempts + 1, available_at = NOW(3) + INTERVAL ? MICROSECOND"
    " WHERE id IN (";

struct claiming {
    till_op_t op; /* first */
    till_sql_conn_t *conn;
    till_op_t *inner;
    bool told; /* nobody waits any more; freed when `inner` is through as well */
    unsigned max;
    uint64_t lease_ms, timeout_ms, claim;
    till_event_t *events;
    char *texts; /* of the events */
    size_t n;
    till_outbox_claim_cb cb;
    void *data;
};

static void free_if_over(struct claiming *claiming)
{
    if (!claiming->told || claiming->inner != NULL)
        return;
    free(claiming->events);
    free(claiming->texts);
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

static void on_committed(void *data, till_status_t status, const till_sql_result_t *result)
{
    struct claiming *claiming = data;

    (void)result;
    if (goes_on(claiming, status))
        till_op_finish(&claiming->op, TILL_OK);
}

static void on_marked(void *data, till_status_t status, const till_sql_result_t *result)
{
    struct claiming *claiming = data;

    if (status == TILL_OK && result->affected != claiming->n)
        status = TILL_INTERNAL; /* the rows were locked: this cannot be */
    if (goes_on(claiming, status))
        run(claiming, TILL_SLICE_LIT(TILL_SQL_COMMIT), NULL, 0, on_committed);
}

/* Always `max` places, the last id repeated, so that there is one text to prepare and not a hundred. */
static void mark(struct claiming *claiming)
{
    till_sql_value_t params[CLAIM_MOST + 2];
    till_buf_t text;

    params[0] = till_sql_int(claiming->claim);
    params[1] = till_sql_int(claiming->lease_ms * 1000);
    till_buf_init(&text, 0);
    till_buf_puts(&text, mark_head);
    for (size_t i = 0; i != claiming->max; ++i) {
        size_t at = i < claiming->n ? i : claiming->n - 1;

        params[i + 2] = till_sql_int(claiming->events[at].id);
        till_buf_puts(&text, i == 0 ? "?" : ", ?");
    }
    till_buf_putc(&text, ')');
    run(claiming, (till_slice_t){text.base, text.len}, params, claiming->max + 2, on_marked);
    till_buf_dispose(&text);
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
    char *at = claiming->texts = till_alloc(text_bytes(result));

    claiming->n = result->rows;
    claiming->events = till_calloc(result->rows, sizeof(claiming->events[0]));
    for (size_t i = 0; i != result->rows; ++i) {
        const till_sql_value_t *row = result->cells + i * COLUMNS;

        claiming->events[i] = (till_event_t){.id = (uint64_t)row[ID].integer,
                                             .aggregate = keep(&at, &row[AGGREGATE]),
                                             .type = keep(&at, &row[TYPE]),
                                             .payload = keep(&at, &row[PAYLOAD]),
                                             .traceparent = keep(&at, &row[TRACEPARENT]),
                                             .attempts = (unsigned)row[ATTEMPTS].integer + 1,
                                             .claim = claiming->claim};
    }
}

static void on_chosen(void *data, till_status_t status, const till_sql_result_t *result)
{
    struct claiming *claiming = data;

    if (!goes_on(claiming, status))
        return;
    if (result->rows == 0) {
        till_op_finish(&claiming->op, TILL_OK);
        return;
    }
    keep_events(claiming, result);
    mark(claiming);
}

static void on_begun(void *data, till_status_t status, const till_sql_result_t *result)
{
    struct claiming *claiming = data;

    (void)result;
    if (!goes_on(claiming, status))
        return;
    const till_sql_value_t limit = till_sql_int(claiming->max);
    run(claiming, TILL_SLICE_LIT(choose_text), &limit, 1, on_chosen);
}

static void on_acquired(void *data, till_status_t status, till_sql_conn_t *conn)
{
    struct claiming *claiming = data;

    if (claiming->told && conn != NULL)
        till_sql_release(conn); /* it was on its way when we gave up */
    else
        claiming->conn = conn;
    if (goes_on(claiming, status))
        run(claiming, TILL_SLICE_LIT("BEGIN"), NULL, 0, on_begun);
}

till_op_t *till_outbox_claim(till_sql_pool_t *pool, unsigned max, uint64_t lease_ms, uint64_t timeout_ms,
                             till_outbox_claim_cb cb, void *data)
{
    struct claiming *claiming = till_calloc(1, sizeof(*claiming));

    assert(max != 0);
    claiming->max = max < CLAIM_MOST ? max : CLAIM_MOST;
    claiming->lease_ms = lease_ms;
    claiming->timeout_ms = timeout_ms;
    claiming->claim = till_claim_draw();
    claiming->cb = cb;
    claiming->data = data;
    till_op_init(&claiming->op, till_sql_pool_loop(pool), timeout_ms, on_abort, on_done);
    claiming->inner = till_sql_acquire(pool, timeout_ms, on_acquired, claiming);
    return &claiming->op;
}
