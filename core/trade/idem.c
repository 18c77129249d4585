/* idem.c - idempotency records in MariaDB; see idem.h for states and invariants.
 *
 * A claim is one statement: it inserts the record, or finds it and takes it
 * over if its runner's time is up, and says what the record is now. If the
 * claim in it is the number we drew, it is ours. Nothing can come between, and
 * the row is locked for that statement only.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/fault.h"
#include "base/mem.h"
#include "trade/idem.h"
#include "trade/trade_priv.h"

enum { RETRY_MIN_MS = 250, RETRY_MAX_MS = 5000 };

/* Assignments are made from left to right: `runs` and `claimed_until` see whether `claim` has become the new one. */
static const char claim_text[] =
    "INSERT INTO idempotency_records (scope, idem_key, fingerprint, state, claim, claimed_until)"
    " VALUES (?, ?, ?, 'running', ?, NOW(3) + INTERVAL ? MICROSECOND)"
    " ON DUPLICATE KEY UPDATE"
    " claim = IF(state = 'running' AND claimed_until <= NOW(3) AND fingerprint = VALUE(fingerprint),"
    " VALUE(claim), claim),"
    " runs = runs + (claim = VALUE(claim)),"
    " claimed_until = IF(claim = VALUE(claim), VALUE(claimed_until), claimed_until)"
    " RETURNING claim, runs, state = 'done', fingerprint, http_status, headers, body,"
    " TIMESTAMPDIFF(MICROSECOND, NOW(3), claimed_until) DIV 1000";

enum column { CLAIM, RUNS, IS_DONE, FINGERPRINT, HTTP_STATUS, HEADERS, BODY, LEFT_MS, COLUMNS };

static const char finish_text[] =
    "UPDATE idempotency_records SET state = 'done', http_status = ?, headers = ?, body = ?, finished_at = NOW(3)"
    " WHERE scope = ? AND idem_key = ? AND claim = ? AND state = 'running'";

static const char forget_text[] =
    "DELETE FROM idempotency_records WHERE scope = ? AND idem_key = ? AND claim = ? AND state = 'running'";

/* One of these lives as long as its statement. */
struct call {
    uint64_t claim;
    uint8_t fingerprint[TILL_SHA256_LEN];
    union {
        till_idem_cb claimed;
        till_idem_done_cb done;
    } cb;
    void *data;
};

static void hash_scope(uint8_t out[TILL_SHA256_LEN], till_slice_t scope) { till_sha256(out, scope.base, scope.len); }

static uint64_t retry_after(int64_t left_ms)
{
    if (left_ms < RETRY_MIN_MS)
        return RETRY_MIN_MS;
    return left_ms < RETRY_MAX_MS ? (uint64_t)left_ms : RETRY_MAX_MS;
}

static till_idem_answer_t read_answer(const struct call *call, const till_sql_value_t *row)
{
    till_idem_answer_t answer = {.outcome = TILL_IDEM_BUSY};

    if ((uint64_t)row[CLAIM].integer == call->claim) {
        answer.outcome = TILL_IDEM_RUN;
        answer.claim = call->claim;
        answer.resumed = row[RUNS].integer > 1;
    } else if (!till_equal_ct(row[FINGERPRINT].base, row[FINGERPRINT].len, call->fingerprint, TILL_SHA256_LEN)) {
        answer.outcome = TILL_IDEM_MISMATCH;
    } else if (row[IS_DONE].integer != 0) {
        answer.outcome = TILL_IDEM_REPLAY;
        answer.http_status = (int)row[HTTP_STATUS].integer;
        answer.headers = till_slice_of(&row[HEADERS]);
        answer.body = till_slice_of(&row[BODY]);
    } else {
        answer.retry_after_ms = retry_after(row[LEFT_MS].integer);
    }
    return answer;
}

static void on_claimed(void *data, till_status_t status, const till_sql_result_t *result)
{
    struct call call = *(struct call *)data;
    till_idem_answer_t answer = {.outcome = TILL_IDEM_BUSY, .retry_after_ms = RETRY_MIN_MS, .claim = call.claim};

    free(data);
    if (status == TILL_OK && (result->rows != 1 || result->columns != COLUMNS))
        status = TILL_INTERNAL;
    if (status == TILL_OK)
        answer = read_answer(&call, result->cells);
    call.cb.claimed(call.data, status, &answer);
}

till_op_t *till_idem_claim(till_sql_pool_t *pool, till_slice_t scope, till_slice_t key,
                           const uint8_t fingerprint[TILL_SHA256_LEN], uint64_t lease_ms, uint64_t timeout_ms,
                           till_idem_cb cb, void *data)
{
    struct call *call = till_calloc(1, sizeof(*call));
    uint8_t hash[TILL_SHA256_LEN];

    call->claim = till_claim_draw();
    call->cb.claimed = cb;
    call->data = data;
    memcpy(call->fingerprint, fingerprint, TILL_SHA256_LEN);
    hash_scope(hash, scope);
    const till_sql_value_t params[] = {till_sql_bytes((till_slice_t){hash, sizeof(hash)}), till_sql_bytes(key),
                                       till_sql_bytes((till_slice_t){fingerprint, TILL_SHA256_LEN}),
                                       till_sql_int(call->claim), till_sql_int(lease_ms * 1000)};
    return till_sql_query(pool, TILL_SLICE_LIT(claim_text), params, 5, timeout_ms, on_claimed, call);
}

/* No row: the claim in the record is not this one any more. */
static void on_changed(void *data, till_status_t status, const till_sql_result_t *result)
{
    struct call call = *(struct call *)data;

    free(data);
    if (status == TILL_OK && result->affected != 1)
        status = TILL_CONFLICT;
    call.cb.done(call.data, status);
}

static struct call *make_change(till_idem_done_cb cb, void *data)
{
    struct call *call = till_calloc(1, sizeof(*call));

    call->cb.done = cb;
    call->data = data;
    return call;
}

till_op_t *till_idem_finish(till_sql_conn_t *conn, till_slice_t scope, till_slice_t key, uint64_t claim,
                            int http_status, till_slice_t headers, till_slice_t body, uint64_t timeout_ms,
                            till_idem_done_cb cb, void *data)
{
    uint8_t hash[TILL_SHA256_LEN];

    assert(http_status >= 100 && http_status <= 599);
    TILL_CRASH("idem.crash_before_finish");
    hash_scope(hash, scope);
    const till_sql_value_t params[] = {till_sql_int((uint64_t)http_status),
                                       till_sql_bytes(headers),
                                       till_sql_bytes(body),
                                       till_sql_bytes((till_slice_t){hash, sizeof(hash)}),
                                       till_sql_bytes(key),
                                       till_sql_int(claim)};
    return till_sql_run(conn, TILL_SLICE_LIT(finish_text), params, 6, timeout_ms, on_changed, make_change(cb, data));
}

till_op_t *till_idem_forget(till_sql_pool_t *pool, till_slice_t scope, till_slice_t key, uint64_t claim,
                            uint64_t timeout_ms, till_idem_done_cb cb, void *data)
{
    uint8_t hash[TILL_SHA256_LEN];

    hash_scope(hash, scope);
    const till_sql_value_t params[] = {till_sql_bytes((till_slice_t){hash, sizeof(hash)}), till_sql_bytes(key),
                                       till_sql_int(claim)};
    return till_sql_query(pool, TILL_SLICE_LIT(forget_text), params, 3, timeout_ms, on_changed, make_change(cb, data));
}
