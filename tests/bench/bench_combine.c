/* bench_combine.c - what the combiner makes of one hot SKU, without HTTP and Lua: buyers who join it, in one thread.
 *
 *     bench_combine SOCKET USER DATABASE BUYERS MOST <ids        a cart's id a line, 32 hex digits
 *
 * Each buyer turns one cart after the other into an order. Who leads sends the procedures of all who wait (bench_rows
 * of tests/bench/order.sql) and one UPDATE of the stock's row as one compound statement. All carts are of one unit of
 * the same SKU. The rows and texts are those of bench_order.c, which has one transaction a buyer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/buf.h"
#include "base/mem.h"
#include "io/sql.h"
#include "trade/combine.h"

enum { ID_LEN = 16, MAX_CARTS = 100000, MAX_BUYERS = 1024, MAX_MOST = 64, TEXTS = 5, PARAMS = 9, LIMIT_MS = 60000 };

struct buyer {
    till_combine_seat_t *seat;
    uint8_t ids[4][ID_LEN]; /* the cart's, the order's, its line's, its entries' in the ledger */
};

static const char newest[] =
    "SELECT o.price_trace, o.shipping_address, l.trace, l.sku,"
    " (SELECT body FROM idempotency_records WHERE state = 'done' AND body IS NOT NULL LIMIT 1)"
    " FROM orders o JOIN order_lines l ON l.order_id = o.id ORDER BY o.number DESC LIMIT 1";

static till_loop_t *loop;
static till_sql_pool_t *pool;
static till_combiner_t *combiner;
static uint8_t carts[MAX_CARTS][ID_LEN];
static unsigned cart_count, next_cart, done, failures, most;
static till_sql_value_t texts[TEXTS];
static bool are_read;

static void fail(const char *what)
{
    fprintf(stderr, "bench_combine: %s\n", what);
    exit(1);
}

static void on_texts(void *data, till_status_t status, const till_sql_result_t *result)
{
    (void)data;
    if (status != TILL_OK || result->rows != 1 || result->columns != TEXTS)
        fail("no order to go by");
    for (int i = 0; i != TEXTS; i++) {
        char *copy = till_calloc(1, result->cells[i].len + 1);
        memcpy(copy, result->cells[i].base, result->cells[i].len);
        texts[i] = result->cells[i];
        texts[i].base = copy;
    }
    are_read = true;
}

static void read_carts(void)
{
    char line[64];

    while (cart_count != MAX_CARTS && fgets(line, sizeof(line), stdin) != NULL) {
        for (int i = 0; i != ID_LEN; i++) {
            if (sscanf(line + 2 * i, "%2hhx", &carts[cart_count][i]) != 1)
                fail("a cart's id is 32 hex digits");
        }
        cart_count++;
    }
}

static void make_id(uint8_t id[ID_LEN])
{
    uint64_t ms = till_wall_ms();

    for (int i = 0; i != 6; i++)
        id[i] = (uint8_t)(ms >> (40 - 8 * i));
    till_random(id + 6, ID_LEN - 6);
}

/** The compound statement for `n` buyers. */
static till_slice_t text_for(unsigned n)
{
    static char made[MAX_MOST + 1][8192];
    char *text = made[n];
    size_t at, size = sizeof(made[n]);

    if (text[0] != '\0')
        return (till_slice_t){text, strlen(text)};
    at = (size_t)snprintf(text, size,
                          "BEGIN NOT ATOMIC DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END;"
                          " START TRANSACTION;");
    for (unsigned i = 0; i != n; i++)
        at += (size_t)snprintf(text + at, size - at, " CALL bench_rows(?, ?, ?, ?, ?, ?, ?, ?, ?);");
    snprintf(text + at, size - at,
             " UPDATE stock SET on_hand = on_hand - %u, reserved = reserved - %u, version = version + 1"
             " WHERE variant_id = @bench_variant AND location_id = @bench_location AND reserved >= %u;"
             " IF ROW_COUNT() <> 1 THEN SIGNAL SQLSTATE '45000'; END IF; COMMIT; END",
             n, n, n);
    return (till_slice_t){text, strlen(text)};
}

static void come(struct buyer *buyer);

static void on_placed(void *data, till_status_t status, const till_sql_result_t *result)
{
    struct buyer *leader = data, *flown[MAX_MOST];
    unsigned n = till_combine_count(leader->seat);

    if (status != TILL_OK) {
        fprintf(stderr, "bench_combine: %s %s\n", till_status_code(status), result->message);
        failures += n;
    }
    for (unsigned i = 0; i != n; i++)
        flown[i] = till_combine_data(leader->seat, i);
    till_combine_answer(leader->seat);
    done++;
    come(flown[0]); /* the others are told by the combiner */
}

static void lead(struct buyer *leader)
{
    static till_sql_value_t params[MAX_MOST * PARAMS];
    unsigned n = till_combine_count(leader->seat);

    for (unsigned i = 0; i != n; i++) {
        struct buyer *buyer = till_combine_data(leader->seat, i);
        for (int id = 0; id != 4; id++)
            params[i * PARAMS + (unsigned)id] =
                (till_sql_value_t){.type = TILL_SQL_BYTES, .base = (const char *)buyer->ids[id], .len = ID_LEN};
        memcpy(&params[i * PARAMS + 4], texts, sizeof(texts));
    }
    till_sql_query(pool, text_for(n), params, (size_t)n * PARAMS, LIMIT_MS, on_placed, leader);
}

static void on_told(void *data, till_status_t status, till_combine_seat_t *seat)
{
    struct buyer *buyer = data;

    if (status != TILL_OK)
        fail("the combiner gave up");
    if (till_combine_leads(seat)) {
        lead(buyer);
        return;
    }
    done++;
    come(buyer);
}

static void come(struct buyer *buyer)
{
    static const till_slice_t key = {"sku", 3};

    if (next_cart == cart_count)
        return;
    memcpy(buyer->ids[0], carts[next_cart++], ID_LEN);
    for (int i = 1; i != 4; i++)
        make_id(buyer->ids[i]);
    buyer->seat =
        till_combine_join(combiner, &(till_combine_opts_t){.keys = &key, .key_count = 1, .most = most}, on_told, buyer);
    if (till_combine_op(buyer->seat) == NULL)
        lead(buyer);
}

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    static struct buyer buyers[MAX_BUYERS];
    unsigned n = argc == 6 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;
    till_combine_stats_t stats;

    most = argc == 6 ? (unsigned)strtoul(argv[5], NULL, 10) : 0;
    if (n == 0 || n > MAX_BUYERS || most == 0 || most > MAX_MOST)
        fail("SOCKET USER DATABASE BUYERS MOST <ids");
    loop = till_loop_create();
    pool = till_sql_pool_create(loop, &(till_sql_opts_t){.socket = argv[1],
                                                         .user = argv[2],
                                                         .password = "",
                                                         .database = argv[3],
                                                         .connections = 4,
                                                         .max_waiters = 16,
                                                         .connect_timeout_ms = 5000});
    combiner = till_combiner_create(loop);
    till_sql_query(pool, (till_slice_t){newest, sizeof(newest) - 1}, NULL, 0, LIMIT_MS, on_texts, NULL);
    read_carts();
    while (!are_read)
        till_loop_turn(loop, 1000);
    double begin = now();
    for (unsigned i = 0; i != n; i++)
        come(&buyers[i]);
    while (done != cart_count)
        till_loop_turn(loop, 1000);
    double seconds = now() - begin;
    till_combiner_stats(combiner, &stats);
    printf("{\"count\":%u,\"failed\":%u,\"seconds\":%.4f,\"batches\":%llu}\n", cart_count, failures, seconds,
           (unsigned long long)(stats.alone + stats.together));
    till_sql_pool_destroy(pool);
    till_loop_turn(loop, 0);
    till_combiner_destroy(combiner);
    return 0;
}
