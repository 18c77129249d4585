/* bench_order.c - what the database itself allows: a bare client that turns carts into orders, one call each.
 *
 *     bench_order SOCKET USER DATABASE THREADS [trips] <ids        a cart's id a line, 32 hex digits
 *
 * Each buyer is one CALL of the procedure in tests/bench/order.sql, which leaves the rows that our own completion
 * leaves, in one transaction, the contended row last. With `trips` he does as shops are written: seven statements, the
 * stock's row locked with the first of them and held until the commit is on the disk. The texts (price trace, answer,
 * addresses) are those of the newest order that the shop has placed, so that both write as much. Blocking connections,
 * one a thread; no HTTP, no Lua, no prices, no key, no saga that could be resumed. Says how many it placed, and in what
 * time, on standard output.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/random.h>
#include <mysql.h>
#include <mysqld_error.h>

enum { ID_LEN = 16, MAX_CARTS = 100000, MAX_THREADS = 64, TEXTS = 5, TEXT_SIZE = 65536, DEADLOCKS = 10, TRIPS = 7 };

static const char newest[] =
    "SELECT o.price_trace, o.shipping_address, l.trace, l.sku,"
    " (SELECT body FROM idempotency_records WHERE state = 'done' AND body IS NOT NULL LIMIT 1)"
    " FROM orders o JOIN order_lines l ON l.order_id = o.id ORDER BY o.number DESC LIMIT 1";
static const char call[] = "CALL bench_place(?, ?, ?, ?, ?, ?, ?, ?, ?)";

/* One after the other. CALL takes the parameters of `call`; where there is one `?` it is the cart's id. */
static const char *const trips[TRIPS] = {
    "START TRANSACTION",
    "SELECT s.on_hand, s.reserved FROM reservations r JOIN stock s USING (variant_id, location_id)"
    " WHERE r.cart_id = ? AND r.state = 'held' FOR UPDATE",
    "UPDATE stock s JOIN reservations r USING (variant_id, location_id) SET s.on_hand = s.on_hand - r.quantity,"
    " s.reserved = s.reserved - r.quantity, s.version = s.version + 1 WHERE r.cart_id = ? AND r.state = 'held'",
    "SELECT state, version FROM carts WHERE id = ?",
    "CALL bench_rows(?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "SELECT number FROM orders WHERE cart_id = ?",
    "COMMIT",
};

static bool by_trips;
static const char *socket_path, *user, *database;
static uint8_t carts[MAX_CARTS][ID_LEN];
static unsigned cart_count, next_cart, failures;
static char texts[TEXTS][TEXT_SIZE];
static unsigned long text_len[TEXTS];

static void fail(MYSQL *mysql, const char *what)
{
    fprintf(stderr, "bench_order: %s: %s\n", what, mysql != NULL ? mysql_error(mysql) : "");
    exit(1);
}

static MYSQL *connect_to(void)
{
    MYSQL *mysql = mysql_init(NULL);

    /* READ COMMITTED as ours; otherwise looking for the reservation locks the gaps that the others write into */
    if (mysql_real_connect(mysql, NULL, user, "", database, 0, socket_path, 0) == NULL ||
        mysql_query(mysql, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED") != 0)
        fail(mysql, "connect");
    return mysql;
}

static void read_texts(void)
{
    MYSQL *mysql = connect_to();
    MYSQL_RES *result = mysql_query(mysql, newest) == 0 ? mysql_store_result(mysql) : NULL;
    MYSQL_ROW row = result != NULL ? mysql_fetch_row(result) : NULL;

    if (row == NULL)
        fail(mysql, "no order to go by");
    for (int i = 0; i != TEXTS; i++) {
        text_len[i] = mysql_fetch_lengths(result)[i];
        if (row[i] == NULL || text_len[i] > TEXT_SIZE)
            fail(NULL, "an odd order to go by");
        memcpy(texts[i], row[i], text_len[i]);
    }
    mysql_free_result(result);
    mysql_close(mysql);
}

static void read_carts(void)
{
    char line[64];

    while (cart_count != MAX_CARTS && fgets(line, sizeof(line), stdin) != NULL) {
        for (int i = 0; i != ID_LEN; i++) {
            if (sscanf(line + 2 * i, "%2hhx", &carts[cart_count][i]) != 1)
                fail(NULL, "a cart's id is 32 hex digits");
        }
        cart_count++;
    }
}

/* As ULIDs are: those made later come later. */
static void make_id(uint8_t id[ID_LEN])
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    uint64_t ms = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
    for (int i = 0; i != 6; i++)
        id[i] = (uint8_t)(ms >> (40 - 8 * i));
    if (getrandom(id + 6, ID_LEN - 6, 0) != ID_LEN - 6)
        fail(NULL, "no randomness");
}

static MYSQL_BIND bytes(void *base, unsigned long len)
{
    return (MYSQL_BIND){.buffer_type = MYSQL_TYPE_STRING, .buffer = base, .buffer_length = len};
}

/* What a CALL of the procedures takes; `ids` are the order's, its line's, its entries' in the ledger. */
static void bind_all(MYSQL_BIND in[4 + TEXTS], uint8_t *cart, uint8_t ids[3][ID_LEN])
{
    in[0] = bytes(cart, ID_LEN);
    for (int i = 0; i != 3; i++) {
        make_id(ids[i]);
        in[1 + i] = bytes(ids[i], ID_LEN);
    }
    for (int i = 0; i != TEXTS; i++)
        in[4 + i] = bytes(texts[i], text_len[i]);
}

static bool run(MYSQL_STMT *stmt, MYSQL_BIND *in)
{
    if ((mysql_stmt_param_count(stmt) != 0 && mysql_stmt_bind_param(stmt, in) != 0) || mysql_stmt_execute(stmt) != 0)
        return false;
    if (mysql_stmt_field_count(stmt) != 0)
        mysql_stmt_free_result(stmt);
    return true;
}

/* Of the statements of a buyer the first that failed, or NULL. */
static MYSQL_STMT *place(MYSQL_STMT **stmts, unsigned n, uint8_t *cart)
{
    uint8_t ids[3][ID_LEN];
    MYSQL_BIND in[4 + TEXTS];

    bind_all(in, cart, ids);
    for (unsigned i = 0; i != n; i++)
        if (!run(stmts[i], in))
            return stmts[i];
    return NULL;
}

static MYSQL_STMT *prepare(MYSQL *mysql, const char *text)
{
    MYSQL_STMT *stmt = mysql_stmt_init(mysql);

    if (mysql_stmt_prepare(stmt, text, strlen(text)) != 0)
        fail(mysql, "prepare");
    return stmt;
}

static void *work(void *data)
{
    MYSQL *mysql = connect_to();
    MYSQL_STMT *stmts[TRIPS], *failed;
    unsigned i, n = by_trips ? TRIPS : 1;

    (void)data;
    for (i = 0; i != n; i++)
        stmts[i] = prepare(mysql, by_trips ? trips[i] : call);
    while ((i = __atomic_fetch_add(&next_cart, 1, __ATOMIC_RELAXED)) < cart_count) {
        failed = place(stmts, n, carts[i]);
        for (int again = 0; failed != NULL && again != DEADLOCKS && mysql_stmt_errno(failed) == ER_LOCK_DEADLOCK; again++)
            failed = place(stmts, n, carts[i]);
        if (failed == NULL)
            continue;
        fprintf(stderr, "bench_order: %s\n", mysql_stmt_error(failed));
        mysql_rollback(mysql);
        __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED);
    }
    for (i = 0; i != n; i++)
        mysql_stmt_close(stmts[i]);
    mysql_close(mysql);
    return NULL;
}

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    pthread_t threads[MAX_THREADS];
    unsigned n = argc == 5 || argc == 6 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;

    if (n == 0 || n > MAX_THREADS)
        fail(NULL, "SOCKET USER DATABASE THREADS [trips] <ids");
    by_trips = argc == 6 && strcmp(argv[5], "trips") == 0;
    socket_path = argv[1];
    user = argv[2];
    database = argv[3];
    mysql_library_init(0, NULL, NULL);
    read_texts();
    read_carts();
    double begin = now();
    for (unsigned i = 0; i != n; i++)
        pthread_create(&threads[i], NULL, work, NULL);
    for (unsigned i = 0; i != n; i++)
        pthread_join(threads[i], NULL);
    printf("{\"count\":%u,\"failed\":%u,\"seconds\":%.4f}\n", cart_count, failures, now() - begin);
    return 0;
}
