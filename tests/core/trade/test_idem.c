/* test_idem.c - see core/trade/idem.h; against a MariaDB of its own. */
#include <check.h>
#include <signal.h>
#include <string.h>
#include "support/kernel_db.h"
#include "trade/idem.h"

#define TEXT(text) ((till_slice_t){text, strlen(text)})

enum { CONNECTIONS = 10, LEASE_MS = 60000, TIMEOUT_MS = 15000 };

/* Keys */

/* clang-format off */
static const struct {
    const char *why, *header, *key; /* `key` NULL: refused */
} keys[] = {
    {"bare",                        "abc-123",          "abc-123"},
    {"quoted",                      "\"abc-123\"",      "abc-123"},
    {"blanks around it",            " \t\"abc\" ",      "abc"},
    {"escapes",                     "\"a\\\"b\\\\c\"",  "a\"b\\c"},
    {"a blank inside quotes",       "\"a b\"",          "a b"},
    {"a comma, as it is visible",   "a,b",              "a,b"},
    {"nothing",                     "",                 NULL},
    {"only blanks",                 "   ",              NULL},
    {"empty quotes",                "\"\"",             NULL},
    {"no closing quote",            "\"abc",            NULL},
    {"only one quote",              "\"",               NULL},
    {"something behind",            "\"abc\"x",         NULL},
    {"a parameter",                 "\"abc\";a=1",      NULL},
    {"an escape of nothing",        "\"abc\\",          NULL},
    {"an escape of a letter",       "\"a\\bc\"",        NULL},
    {"a quote inside a bare one",   "a\"b",             NULL},
    {"a blank inside a bare one",   "a b",              NULL},
    {"a control character",         "a\x01z",           NULL},
    {"a control in quotes",         "\"a\x1fz\"",       NULL},
    {"more than ASCII",             "caf\xc3\xa9",      NULL},
    {"more than ASCII in quotes",   "\"caf\xc3\xa9\"",  NULL},
    {"DEL",                         "a\x7f",            NULL},
};
/* clang-format on */

START_TEST(keys_match_table)
{
    char out[TILL_IDEM_KEY_MAX + 1];
    size_t len = 99;
    bool ok = till_idem_parse_key(TEXT(keys[_i].header), out, &len);

    ck_assert_msg(ok == (keys[_i].key != NULL), "%s", keys[_i].why);
    ck_assert_msg(strcmp(out, ok ? keys[_i].key : "") == 0, "%s: %s", keys[_i].why, out);
    ck_assert_uint_eq(len, strlen(out));
}
END_TEST

START_TEST(keys_have_at_most_255_characters)
{
    char out[TILL_IDEM_KEY_MAX + 1], text[600];
    size_t len;

    memset(text, 'k', sizeof(text));
    ck_assert(till_idem_parse_key((till_slice_t){text, 255}, out, &len));
    ck_assert_uint_eq(len, 255);
    ck_assert(!till_idem_parse_key((till_slice_t){text, 256}, out, &len));
    text[0] = text[256] = '"';
    ck_assert(till_idem_parse_key((till_slice_t){text, 257}, out, &len));
    ck_assert_uint_eq(len, 255);
    text[256] = 'k', text[257] = '"';
    ck_assert(!till_idem_parse_key((till_slice_t){text, 258}, out, &len));
}
END_TEST

START_TEST(fingerprints_know_their_parts)
{
    uint8_t a[TILL_SHA256_LEN], b[TILL_SHA256_LEN];

    till_idem_fingerprint(a, TEXT("POST"), TEXT("/x"), TEXT("{}"));
    till_idem_fingerprint(b, TEXT("POST"), TEXT("/x"), TEXT("{}"));
    ck_assert_mem_eq(a, b, sizeof(a));
    till_idem_fingerprint(b, TEXT("POST"), TEXT("/x{"), TEXT("}"));
    ck_assert_mem_ne(a, b, sizeof(a));
    till_idem_fingerprint(b, TEXT("PUT"), TEXT("/x"), TEXT("{}"));
    ck_assert_mem_ne(a, b, sizeof(a));
}
END_TEST

/* Records */

static till_loop_t *loop;
static till_sql_pool_t *pool;
static const uint8_t print[TILL_SHA256_LEN] = {1, 2, 3}, other_print[TILL_SHA256_LEN] = {3, 2, 1};

struct outcome {
    int calls;
    till_status_t status;
    till_idem_answer_t answer; /* slices are void */
    char headers[64], body[64];
};

static void on_claim(void *data, till_status_t status, const till_idem_answer_t *answer)
{
    struct outcome *outcome = data;

    ++outcome->calls;
    outcome->status = status;
    outcome->answer = *answer;
    snprintf(outcome->headers, sizeof(outcome->headers), "%.*s", (int)answer->headers.len,
             (const char *)answer->headers.base);
    snprintf(outcome->body, sizeof(outcome->body), "%.*s", (int)answer->body.len, (const char *)answer->body.base);
}

static struct outcome claim_with(const char *scope, const char *key, const uint8_t *fingerprint, uint64_t lease_ms)
{
    struct outcome outcome = {0};

    till_idem_claim(pool, TEXT(scope), TEXT(key), fingerprint, lease_ms, TIMEOUT_MS, on_claim, &outcome);
    ck_assert_int_eq(outcome.calls, 0);
    TEST_UNTIL(loop, outcome.calls != 0);
    ck_assert_int_eq(outcome.status, TILL_OK);
    return outcome;
}

static struct outcome claim(const char *key) { return claim_with("scope", key, print, LEASE_MS); }

struct change {
    till_sql_conn_t *conn;
    till_status_t status;
    bool done;
};

static void on_change(void *data, till_status_t status)
{
    struct change *change = data;

    change->status = status;
    change->done = true;
}

static void on_conn(void *data, till_status_t status, till_sql_conn_t *conn)
{
    ck_assert_int_eq(status, TILL_OK);
    ((struct change *)data)->conn = conn;
}

static void on_ran(void *data, till_status_t status, const till_sql_result_t *result)
{
    (void)result;
    on_change(data, status);
}

static void run(struct change *change, const char *text)
{
    change->done = false;
    till_sql_run(change->conn, TEXT(text), NULL, 0, TIMEOUT_MS, on_ran, change);
    TEST_UNTIL(loop, change->done);
    ck_assert_int_eq(change->status, TILL_OK);
}

static struct change begin(void)
{
    struct change change = {0};

    till_sql_acquire(pool, TIMEOUT_MS, on_conn, &change);
    TEST_UNTIL(loop, change.conn != NULL);
    run(&change, "BEGIN");
    return change;
}

static till_status_t finish_in(struct change *change, const char *key, uint64_t number, const char *body)
{
    change->done = false;
    till_idem_finish(change->conn, TEXT("scope"), TEXT(key), number, 201, TEXT("{\"etag\":\"1\"}"), TEXT(body),
                     TIMEOUT_MS, on_change, change);
    TEST_UNTIL(loop, change->done);
    return change->status;
}

static till_status_t finish(const char *key, uint64_t number, const char *body)
{
    struct change change = begin();
    till_status_t status = finish_in(&change, key, number, body);

    if (status == TILL_OK)
        run(&change, "COMMIT");
    till_sql_release(change.conn);
    return status;
}

static till_status_t forget(const char *key, uint64_t number)
{
    struct change change = {0};

    till_idem_forget(pool, TEXT("scope"), TEXT(key), number, TIMEOUT_MS, on_change, &change);
    TEST_UNTIL(loop, change.done);
    return change.status;
}

static void expire(void)
{
    test_kernel_number(pool, "UPDATE idempotency_records SET claimed_until = NOW(3) - INTERVAL 1 SECOND");
}

static void set_up(void)
{
    signal(SIGPIPE, SIG_IGN);
    loop = till_loop_create();
    pool = test_kernel_open(loop, CONNECTIONS);
}

static void tear_down(void)
{
    till_sql_pool_destroy(pool);
    till_loop_turn(loop, 0);
    till_loop_turn(loop, 0);
    till_loop_destroy(loop);
}

START_TEST(a_record_from_claim_to_replay)
{
    struct outcome first = claim("k");

    ck_assert_int_eq(first.answer.outcome, TILL_IDEM_RUN);
    ck_assert(!first.answer.resumed);
    ck_assert_uint_gt(first.answer.claim, 0);
    ck_assert_uint_lt(first.answer.claim, (uint64_t)1 << 53);
    struct outcome second = claim("k");
    ck_assert_int_eq(second.answer.outcome, TILL_IDEM_BUSY);
    ck_assert_uint_gt(second.answer.retry_after_ms, 0);
    ck_assert_int_eq(finish("k", first.answer.claim, "{\"id\":7}"), TILL_OK);
    struct outcome third = claim("k");
    ck_assert_int_eq(third.answer.outcome, TILL_IDEM_REPLAY);
    ck_assert_int_eq(third.answer.http_status, 201);
    ck_assert_str_eq(third.headers, "{\"etag\":\"1\"}");
    ck_assert_str_eq(third.body, "{\"id\":7}");
    expire(); /* done stays done */
    ck_assert_int_eq(claim("k").answer.outcome, TILL_IDEM_REPLAY);
}
END_TEST

START_TEST(scopes_and_keys_are_apart)
{
    ck_assert_int_eq(claim_with("a", "k", print, LEASE_MS).answer.outcome, TILL_IDEM_RUN);
    ck_assert_int_eq(claim_with("b", "k", print, LEASE_MS).answer.outcome, TILL_IDEM_RUN);
    ck_assert_int_eq(claim_with("a", "K", print, LEASE_MS).answer.outcome, TILL_IDEM_RUN);
    ck_assert_int_eq(claim_with("a", "k ", print, LEASE_MS).answer.outcome, TILL_IDEM_RUN);
}
END_TEST

START_TEST(another_body_under_the_key_is_refused)
{
    struct outcome first = claim("k");

    ck_assert_int_eq(claim_with("scope", "k", other_print, LEASE_MS).answer.outcome, TILL_IDEM_MISMATCH);
    expire(); /* it does not take over what it does not belong to */
    ck_assert_int_eq(claim_with("scope", "k", other_print, LEASE_MS).answer.outcome, TILL_IDEM_MISMATCH);
    ck_assert_int_eq(finish("k", first.answer.claim, "{}"), TILL_OK);
    ck_assert_int_eq(claim_with("scope", "k", other_print, LEASE_MS).answer.outcome, TILL_IDEM_MISMATCH);
}
END_TEST

START_TEST(a_dead_runner_is_taken_over)
{
    struct outcome first = claim_with("scope", "k", print, 1), second;

    do { /* its time runs out by the database's clock */
        second = claim("k");
    } while (second.answer.outcome == TILL_IDEM_BUSY);
    ck_assert_int_eq(second.answer.outcome, TILL_IDEM_RUN);
    ck_assert(second.answer.resumed);
    ck_assert_uint_ne(second.answer.claim, first.answer.claim);
    ck_assert_int_eq(finish("k", first.answer.claim, "late"), TILL_CONFLICT);
    ck_assert_int_eq(forget("k", first.answer.claim), TILL_CONFLICT);
    ck_assert_int_eq(claim("k").answer.outcome, TILL_IDEM_BUSY);
    ck_assert_int_eq(finish("k", second.answer.claim, "mine"), TILL_OK);
    ck_assert_str_eq(claim("k").body, "mine");
    ck_assert_int_eq(finish("k", second.answer.claim, "again"), TILL_CONFLICT);
}
END_TEST

START_TEST(what_was_forgotten_begins_anew)
{
    struct outcome first = claim("k");

    ck_assert_int_eq(forget("k", first.answer.claim), TILL_OK);
    struct outcome second = claim_with("scope", "k", other_print, LEASE_MS);
    ck_assert_int_eq(second.answer.outcome, TILL_IDEM_RUN);
    ck_assert(!second.answer.resumed);
    ck_assert_int_eq(finish("k", second.answer.claim, "x"), TILL_OK);
    ck_assert_int_eq(forget("k", second.answer.claim), TILL_CONFLICT);
}
END_TEST

/* The record goes the way of the transaction it was finished in. */
START_TEST(a_rolled_back_effect_leaves_no_answer)
{
    struct outcome first = claim("k");
    struct change change = begin();

    ck_assert_int_eq(finish_in(&change, "k", first.answer.claim, "never"), TILL_OK);
    run(&change, "ROLLBACK");
    till_sql_release(change.conn);
    ck_assert_int_eq(claim("k").answer.outcome, TILL_IDEM_BUSY);
}
END_TEST

START_TEST(fifty_at_once_and_one_runs)
{
    enum { N = 50 };
    static struct outcome outcomes[N];
    int runs = 0, busy = 0;

    for (int i = 0; i != N; ++i)
        till_idem_claim(pool, TEXT("scope"), TEXT("k"), print, LEASE_MS, TIMEOUT_MS, on_claim, &outcomes[i]);
    for (int i = 0; i != N; ++i) {
        TEST_UNTIL(loop, outcomes[i].calls == 1);
        ck_assert_int_eq(outcomes[i].status, TILL_OK);
        runs += outcomes[i].answer.outcome == TILL_IDEM_RUN;
        busy += outcomes[i].answer.outcome == TILL_IDEM_BUSY;
    }
    ck_assert_int_eq(runs, 1);
    ck_assert_int_eq(busy, N - 1);
}
END_TEST

START_TEST(fifty_at_once_and_one_takes_over)
{
    enum { N = 50 };
    static struct outcome outcomes[N];
    int resumed = 0;

    claim("k");
    expire();
    for (int i = 0; i != N; ++i)
        till_idem_claim(pool, TEXT("scope"), TEXT("k"), print, LEASE_MS, TIMEOUT_MS, on_claim, &outcomes[i]);
    for (int i = 0; i != N; ++i) {
        TEST_UNTIL(loop, outcomes[i].calls == 1);
        ck_assert_int_eq(outcomes[i].status, TILL_OK);
        resumed += outcomes[i].answer.outcome == TILL_IDEM_RUN && outcomes[i].answer.resumed;
    }
    ck_assert_int_eq(resumed, 1);
    ck_assert_int_eq(test_kernel_number(pool, "SELECT runs FROM idempotency_records"), 2);
}
END_TEST

Suite *idem_suite(void)
{
    Suite *suite = suite_create("trade/idem");
    TCase *tc = tcase_create("keys"), *records = tcase_create("records");

    tcase_add_loop_test(tc, keys_match_table, 0, sizeof(keys) / sizeof(keys[0]));
    tcase_add_test(tc, keys_have_at_most_255_characters);
    tcase_add_test(tc, fingerprints_know_their_parts);
    suite_add_tcase(suite, tc);
    tcase_set_timeout(records, 90);
    tcase_add_checked_fixture(records, set_up, tear_down);
    tcase_add_test(records, a_record_from_claim_to_replay);
    tcase_add_test(records, scopes_and_keys_are_apart);
    tcase_add_test(records, another_body_under_the_key_is_refused);
    tcase_add_test(records, a_dead_runner_is_taken_over);
    tcase_add_test(records, what_was_forgotten_begins_anew);
    tcase_add_test(records, a_rolled_back_effect_leaves_no_answer);
    tcase_add_test(records, fifty_at_once_and_one_runs);
    tcase_add_test(records, fifty_at_once_and_one_takes_over);
    suite_add_tcase(suite, records);
    return suite;
}
