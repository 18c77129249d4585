/* outbox.c - appending and settling events; see outbox.h. Claiming is outbox_claim.c. */
#include <assert.h>
#include <stdlib.h>
#include "base/buf.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "trade/outbox.h"
#include "trade/trade_priv.h"

enum { REASON_MAX = 500, FIELDS = 5, APPEND_MOST = 10000, JITTER_PARTS = 1000000 };

/* `?` of what is set comes before the claim. */
static const char done_head[] = "UPDATE outbox FORCE INDEX (PRIMARY) SET state = 'done', done_at = NOW(3)";
/* Twice within a millisecond too, for what has not changed counts as nobody's. */
static const char extend_head[] = "UPDATE outbox SET available_at = IF(available_at = NOW(3) + INTERVAL ? MICROSECOND,"
                                  " available_at + INTERVAL 1000 MICROSECOND, NOW(3) + INTERVAL ? MICROSECOND)";
static const char release_head[] = "UPDATE outbox SET claim = IF(?, claim, 0), attempts = attempts - 1,"
                                   " available_at = LEAST(created_at, NOW(3)),"
                                   " last_error = IF(? = '', last_error, ?)";
static const char of_claim[] = " WHERE claim = ? AND state = 'pending' AND id IN (?";

/* 2^attempts seconds up to an hour; a half of it is certain, of the other the given share of a million. */
static const char retry_text[] =
    "UPDATE outbox SET state = IF(attempts >= ?, 'dead', 'pending'), claim = 0, last_error = ?,"
    " available_at = NOW(3) + INTERVAL"
    " (LEAST(3600, POW(2, LEAST(attempts, 12))) * (500000 + ? DIV 2)) MICROSECOND"
    " WHERE id = ? AND claim = ? AND state = 'pending'";

struct call {
    size_t rows; /* that must have changed */
    till_outbox_cb cb;
    void *data;
};

static void on_changed(void *data, till_status_t status, const till_sql_result_t *result)
{
    struct call call = *(struct call *)data;

    free(data);
    if (status == TILL_OK && result->affected != call.rows)
        status = TILL_CONFLICT;
    call.cb(call.data, status);
}

static struct call *make_call(size_t rows, till_outbox_cb cb, void *data)
{
    struct call *call = till_alloc(sizeof(*call));

    *call = (struct call){.rows = rows, .cb = cb, .data = data};
    return call;
}

/* One statement for all: their numbers then follow one another in the order given. */
static void write_insert(till_buf_t *text, size_t n)
{
    till_buf_init(text, 0);
    till_buf_puts(text, "INSERT INTO outbox (aggregate, type, payload, traceparent, available_at) VALUES");
    for (size_t i = 0; i != n; ++i)
        till_buf_puts(text, i == 0 ? " (?, ?, ?, ?, NOW(3) + INTERVAL ? MICROSECOND)"
                                   : ", (?, ?, ?, ?, NOW(3) + INTERVAL ? MICROSECOND)");
}

till_op_t *till_outbox_append(till_sql_conn_t *conn, const till_event_t *events, size_t n, uint64_t timeout_ms,
                              till_outbox_cb cb, void *data)
{
    till_sql_value_t *params;
    till_buf_t text;

    assert(n != 0 && n <= APPEND_MOST); /* the server takes 65535 parameters */
    params = till_alloc(n * FIELDS * sizeof(*params));
    for (size_t i = 0; i != n; ++i) {
        till_sql_value_t *row = params + i * FIELDS;

        row[0] = till_sql_text(events[i].aggregate);
        row[1] = till_sql_text(events[i].type);
        row[2] = till_sql_text(events[i].payload);
        row[3] = till_sql_text(events[i].traceparent);
        row[4] = till_sql_int(events[i].delay_ms * 1000);
    }
    write_insert(&text, n);
    till_op_t *op = till_sql_run(conn, (till_slice_t){text.base, text.len}, params, n * FIELDS, timeout_ms, on_changed,
                                 make_call(n, cb, data));
    till_buf_dispose(&text);
    free(params);
    return op;
}

struct change {
    till_slice_t head;
    const till_sql_value_t *set; /* of the `?` in `head` */
    size_t set_count;
    const uint64_t *ids;
    size_t n;
    uint64_t claim, timeout_ms;
};

/* The last id stands again until their number is a power of two: so there are few texts to prepare. */
static till_op_t *change_all(till_sql_pool_t *pool, const struct change *change, till_outbox_cb cb, void *data)
{
    size_t marks = 1, at = 0;
    till_buf_t text;

    assert(change->n != 0 && change->n <= TILL_OUTBOX_DONE_MOST);
    while (marks < change->n)
        marks *= 2;
    till_sql_value_t *params = till_alloc((marks + change->set_count + 1) * sizeof(*params));
    for (; at != change->set_count; ++at)
        params[at] = change->set[at];
    params[at++] = till_sql_int(change->claim);
    till_buf_init(&text, 0);
    till_buf_append(&text, change->head.base, change->head.len);
    till_buf_puts(&text, of_claim);
    for (size_t i = 0; i != marks; ++i) {
        params[at++] = till_sql_int(change->ids[i < change->n ? i : change->n - 1]);
        if (i != 0)
            till_buf_puts(&text, ", ?");
    }
    till_buf_puts(&text, ")");
    till_op_t *op = till_sql_query(pool, (till_slice_t){text.base, text.len}, params, at, change->timeout_ms,
                                   on_changed, make_call(change->n, cb, data));
    till_buf_dispose(&text);
    free(params);
    return op;
}

till_op_t *till_outbox_done(till_sql_pool_t *pool, const uint64_t *ids, size_t n, uint64_t claim, uint64_t timeout_ms,
                            till_outbox_cb cb, void *data)
{
    const struct change change = {
        .head = TILL_SLICE_LIT(done_head), .ids = ids, .n = n, .claim = claim, .timeout_ms = timeout_ms};

    TILL_CRASH("outbox.crash_before_done");
    return change_all(pool, &change, cb, data);
}

till_op_t *till_outbox_extend(till_sql_pool_t *pool, const uint64_t *ids, size_t n, uint64_t claim, uint64_t lease_ms,
                              uint64_t timeout_ms, till_outbox_cb cb, void *data)
{
    const till_sql_value_t leases[] = {till_sql_int(lease_ms * 1000), till_sql_int(lease_ms * 1000)};
    const struct change change = {.head = TILL_SLICE_LIT(extend_head),
                                  .set = leases,
                                  .set_count = 2,
                                  .ids = ids,
                                  .n = n,
                                  .claim = claim,
                                  .timeout_ms = timeout_ms};

    return change_all(pool, &change, cb, data);
}

/* Cuts between characters; what is not UTF-8 at all the column would refuse, so it keeps its ASCII only. */
static till_slice_t fit_reason(char out[REASON_MAX], till_slice_t reason)
{
    const char *from = reason.base;
    size_t len = reason.len < REASON_MAX ? reason.len : REASON_MAX;
    bool whole = till_utf8_is_valid(from, reason.len);

    while (whole && len != reason.len && len != 0 && ((unsigned char)from[len] & 0xc0) == 0x80)
        --len;
    for (size_t i = 0; i != len; ++i)
        out[i] = whole || (unsigned char)from[i] < 0x80 ? from[i] : '?';
    return (till_slice_t){out, len};
}

till_op_t *till_outbox_release(till_sql_pool_t *pool, const uint64_t *ids, size_t n, uint64_t claim, bool is_suspect,
                               till_slice_t reason, uint64_t timeout_ms, till_outbox_cb cb, void *data)
{
    char cut[REASON_MAX];
    const till_sql_value_t text = till_sql_text(fit_reason(cut, reason));
    const till_sql_value_t set[] = {till_sql_int(is_suspect), text, text};
    const struct change change = {.head = TILL_SLICE_LIT(release_head),
                                  .set = set,
                                  .set_count = 3,
                                  .ids = ids,
                                  .n = n,
                                  .claim = claim,
                                  .timeout_ms = timeout_ms};

    return change_all(pool, &change, cb, data);
}

till_op_t *till_outbox_retry(till_sql_pool_t *pool, uint64_t id, uint64_t claim, unsigned max_attempts,
                             till_slice_t reason, uint64_t timeout_ms, till_outbox_cb cb, void *data)
{
    char cut[REASON_MAX];
    uint32_t dice;

    till_random(&dice, sizeof(dice));
    const till_sql_value_t params[] = {till_sql_int(max_attempts), till_sql_text(fit_reason(cut, reason)),
                                       till_sql_int(dice % JITTER_PARTS), till_sql_int(id), till_sql_int(claim)};
    return till_sql_query(pool, TILL_SLICE_LIT(retry_text), params, 5, timeout_ms, on_changed, make_call(1, cb, data));
}
