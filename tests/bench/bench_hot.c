/* bench_hot.c - the combiner by the measure that its goal was set by: the smallest order there is, of one SKU.
 *
 *     bench_hot SOCKET USER DATABASE BUYERS ORDERS MOST      MOST buyers a transaction at most, by trade/combine.h
 *     bench_hot SOCKET USER DATABASE BUYERS ORDERS           one transaction a buyer
 *
 * Each order is a row, its two lines, an event and a unit less in stock (hot.sql). One transaction a buyer is written
 * as shops are: seven statements on a blocking connection, a thread each, the stock's row locked first. Says on
 * standard output how many orders there are, in what time, and whether as many units are gone.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <mysql.h>
#include "io/sql.h"
#include "trade/combine.h"

enum { MAX_BUYERS = 256, MAX_MOST = 64, TEXT_SIZE = 16384, LIMIT_MS = 60000, WAITERS = 64 };

static const char *const trips[] = {
    "START TRANSACTION",
    "SELECT quantity FROM bench_hot_stock WHERE sku = 1 FOR UPDATE",
    "UPDATE bench_hot_stock SET quantity = quantity - 1 WHERE sku = 1",
    "INSERT INTO bench_hot_orders (buyer, total) VALUES (1, 999)",
    "INSERT INTO bench_hot_lines (order_id, sku, quantity, price)"
    " VALUES (LAST_INSERT_ID(), 1, 1, 999), (LAST_INSERT_ID(), 1, 2, 999)",
    "INSERT INTO bench_hot_outbox (kind, payload) VALUES ('order.placed', '{\"x\":1}')",
    "COMMIT",
};

struct buyer {
    till_combine_seat_t *seat;
    int64_t order; /* his, once he is told */
};

static const char *socket_path, *user, *database;
static unsigned orders, begun, done, most;
static till_sql_pool_t *pool;
static till_combiner_t *combiner;

static void fail(const char *what)
{
    fprintf(stderr, "bench_hot: %s\n", what);
    exit(1);
}

/* ---- one transaction a buyer ---------------------------------------------- */

static MYSQL *connect_to(void)
{
    MYSQL *mysql = mysql_init(NULL);

    if (mysql_real_connect(mysql, NULL, user, "", database, 0, socket_path, 0) == NULL)
        fail(mysql_error(mysql));
    return mysql;
}

static int64_t ask(MYSQL *mysql, const char *text)
{
    int64_t value = 0;

    if (mysql_query(mysql, text) != 0)
        fail(mysql_error(mysql));
    if (mysql_field_count(mysql) != 0) {
        MYSQL_RES *result = mysql_store_result(mysql);
        MYSQL_ROW row = mysql_fetch_row(result);
        value = row != NULL && row[0] != NULL ? strtoll(row[0], NULL, 10) : 0;
        mysql_free_result(result);
    }
    return value;
}

static void *buy_alone(void *data)
{
    MYSQL *mysql = connect_to();

    (void)data;
    while (__atomic_fetch_add(&begun, 1, __ATOMIC_RELAXED) < orders)
        for (unsigned i = 0; i != sizeof(trips) / sizeof(trips[0]); i++)
            ask(mysql, trips[i]);
    mysql_close(mysql);
    return NULL;
}

static void run_alone(unsigned n)
{
    pthread_t threads[MAX_BUYERS];

    for (unsigned i = 0; i != n; i++)
        pthread_create(&threads[i], NULL, buy_alone, NULL);
    for (unsigned i = 0; i != n; i++)
        pthread_join(threads[i], NULL);
}

/* ---- together -------------------------------------------------------------- */

static size_t repeat(char *text, size_t at, const char *first, const char *piece, unsigned n)
{
    at += (size_t)snprintf(text + at, TEXT_SIZE - at, "%s", first);
    for (unsigned i = 0; i != n; i++)
        at += (size_t)snprintf(text + at, TEXT_SIZE - at, "%s%s", i == 0 ? " " : ", ", piece);
    return at;
}

/** For `n` buyers, whose numbers are its parameters; it answers with the first of their orders' numbers. */
static till_slice_t text_for(unsigned n)
{
    static char made[MAX_MOST + 1][TEXT_SIZE];
    char *text = made[n];
    size_t at;

    if (text[0] != '\0')
        return (till_slice_t){text, strlen(text)};
    at = repeat(text, 0,
                "BEGIN NOT ATOMIC DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END;"
                " START TRANSACTION; INSERT INTO bench_hot_orders (buyer, total) VALUES",
                "(?, 999)", n);
    at += (size_t)snprintf(text + at, TEXT_SIZE - at, "; SET @first = LAST_INSERT_ID();");
    at = repeat(text, at, " INSERT INTO bench_hot_lines (order_id, sku, quantity, price) VALUES", "", 0);
    for (unsigned i = 0; i != n; i++)
        at += (size_t)snprintf(text + at, TEXT_SIZE - at, "%s(@first + %u, 1, 1, 999), (@first + %u, 1, 2, 999)",
                               i == 0 ? " " : ", ", i, i);
    at = repeat(text, at, "; INSERT INTO bench_hot_outbox (kind, payload) VALUES", "('order.placed', '{\"x\":1}')", n);
    snprintf(text + at, TEXT_SIZE - at,
             "; UPDATE bench_hot_stock SET quantity = quantity - %u WHERE sku = 1 AND quantity >= %u;"
             " IF ROW_COUNT() <> 1 THEN SIGNAL SQLSTATE '45000'; END IF; COMMIT; SELECT @first; END",
             n, n);
    return (till_slice_t){text, strlen(text)};
}

static void come(struct buyer *buyer);

static void on_placed(void *data, till_status_t status, const till_sql_result_t *result)
{
    struct buyer *leader = data;
    unsigned n = till_combine_count(leader->seat);

    if (status != TILL_OK || result->rows != 1)
        fail(result->message != NULL ? result->message : till_status_code(status));
    for (unsigned i = 0; i != n; i++)
        ((struct buyer *)till_combine_data(leader->seat, i))->order = result->cells[0].integer + i;
    till_combine_answer(leader->seat); /* the others are told by the combiner */
    done++;
    come(leader);
}

static void lead(struct buyer *leader)
{
    static till_sql_value_t params[MAX_MOST];
    unsigned n = till_combine_count(leader->seat);

    for (unsigned i = 0; i != n; i++)
        params[i] = (till_sql_value_t){.type = TILL_SQL_INT, .integer = i};
    till_sql_query(pool, text_for(n), params, n, LIMIT_MS, on_placed, leader);
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
    if (buyer->order == 0)
        fail("who was told has no order");
    done++;
    come(buyer);
}

static void come(struct buyer *buyer)
{
    static const till_slice_t key = {"sku", 3};

    buyer->order = 0;
    if (begun == orders)
        return;
    begun++;
    buyer->seat =
        till_combine_join(combiner, &(till_combine_opts_t){.keys = &key, .key_count = 1, .most = most}, on_told, buyer);
    if (till_combine_op(buyer->seat) == NULL)
        lead(buyer);
}

static unsigned run_together(unsigned n)
{
    static struct buyer buyers[MAX_BUYERS];
    till_loop_t *loop = till_loop_create();
    till_combine_stats_t stats;

    pool = till_sql_pool_create(loop, &(till_sql_opts_t){.socket = socket_path,
                                                         .user = user,
                                                         .password = "",
                                                         .database = database,
                                                         .connections = 4,
                                                         .max_waiters = WAITERS,
                                                         .connect_timeout_ms = 5000});
    combiner = till_combiner_create(loop);
    for (unsigned i = 0; i != n; i++)
        come(&buyers[i]);
    while (done != orders)
        till_loop_turn(loop, 1000);
    till_combiner_stats(combiner, &stats);
    till_sql_pool_destroy(pool);
    till_loop_turn(loop, 0);
    till_combiner_destroy(combiner);
    return (unsigned)(stats.alone + stats.together);
}

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    unsigned n = argc == 6 || argc == 7 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;

    if (n == 0 || n > MAX_BUYERS)
        fail("SOCKET USER DATABASE BUYERS ORDERS [MOST]");
    socket_path = argv[1];
    user = argv[2];
    database = argv[3];
    orders = (unsigned)strtoul(argv[5], NULL, 10);
    most = argc == 7 ? (unsigned)strtoul(argv[6], NULL, 10) : 0;
    if (most > MAX_MOST)
        fail("at most 64 go together");
    mysql_library_init(0, NULL, NULL);
    MYSQL *mysql = connect_to();
    int64_t units = ask(mysql, "SELECT quantity FROM bench_hot_stock");
    int64_t rows = ask(mysql, "SELECT COUNT(*) FROM bench_hot_orders");
    double begin = now();
    unsigned batches = orders;
    if (most != 0)
        batches = run_together(n);
    else
        run_alone(n);
    double seconds = now() - begin;
    rows = ask(mysql, "SELECT COUNT(*) FROM bench_hot_orders") - rows;
    units -= ask(mysql, "SELECT quantity FROM bench_hot_stock");
    mysql_close(mysql);
    printf("{\"count\":%u,\"failed\":%u,\"seconds\":%.4f,\"batches\":%u}\n", orders,
           rows == orders && units == orders ? 0 : orders, seconds, batches);
    return 0;
}
