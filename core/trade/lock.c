/* lock.c - leased and fenced locks, kept in Redis; see lock.h.
 *
 *      ASKING --granted--> (told OK)
 *        |  ^
 *        |  +--on_again-- WAITING <--taken-- ASKING      until wait_ms is over: TILL_BUSY
 *        +--- cancel, timeout: the grant may come yet, so it is taken back by token
 *
 * One script takes the lock and draws the fence, so that no grant can come
 * between. The fence is counted in one key for all locks and never lies behind
 * Redis' own clock in microseconds: nobody can be granted a lock more often than
 * that, so a flushed Redis goes on above all it ever gave. The clock is Redis'
 * and not a worker's: of several clocks the furthest ahead would be forgotten by
 * a flush.
 */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "trade/lock.h"

#define STRLIT(text)                                                                                                   \
    {                                                                                                                  \
        text, sizeof(text) - 1                                                                                         \
    }

enum { ANSWER_MS = 1000, RETRY_MIN_MS = 4, RETRY_MAX_MS = 64, TOKEN_BYTES = 16 };

static const till_slice_t take_script = STRLIT("local free = redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) "
                                               "if not free then return 0 end "
                                               "local now = redis.call('time') "
                                               "local clock = now[1] * 1000000 + now[2] "
                                               "local last = tonumber(redis.call('get', KEYS[2]) or 0) "
                                               "local fence = math.max(last + 1, clock) "
                                               "redis.call('set', KEYS[2], string.format('%.0f', fence)) "
                                               "return fence");

static const till_slice_t give_script =
    STRLIT("if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0");

static const till_slice_t fence_key = STRLIT("till:fence");

struct till_lock {
    till_redis_t *redis;
    char token[TOKEN_BYTES * 2 + 1];
    uint64_t fence;
    size_t key_len;
    char key[];
};

struct asking {
    till_op_t op; /* first */
    till_loop_t *loop;
    till_lock_t *lock;  /* NULL once it is given away */
    till_op_t *command; /* in flight */
    till_timer_t again; /* WAITING */
    uint64_t lease_ms, until;
    unsigned tries;
    bool told; /* nobody waits any more; freed when `command` is through as well */
    till_lock_cb cb;
    void *data;
};

static till_lock_t *make_lock(till_redis_t *redis, till_slice_t name)
{
    static const char prefix[] = "till:lock:";
    size_t len = sizeof(prefix) - 1 + name.len;
    till_lock_t *lock = till_calloc(1, sizeof(*lock) + len);
    uint8_t token[TOKEN_BYTES];

    till_random(token, sizeof(token));
    till_hex(lock->token, token, sizeof(token));
    lock->redis = redis;
    lock->key_len = len;
    memcpy(lock->key, prefix, sizeof(prefix) - 1);
    memcpy(lock->key + sizeof(prefix) - 1, name.base, name.len);
    return lock;
}

static void on_given_back(void *data, till_status_t status, const till_reply_t *reply)
{
    (void)data;
    (void)status; /* lost: the lease lapses */
    (void)reply;
}

/* Only where the token is still ours: the lease may have lapsed and somebody else have it. */
static void give_back(till_lock_t *lock)
{
    const till_slice_t argv[] = {
        STRLIT("EVAL"), give_script, STRLIT("1"), {lock->key, lock->key_len}, {lock->token, TOKEN_BYTES * 2}};

    till_redis_command(lock->redis, 5, argv, ANSWER_MS, on_given_back, NULL);
}

static void free_if_over(struct asking *asking)
{
    if (asking->told && asking->command == NULL) {
        free(asking->lock);
        free(asking);
    }
}

/* Commands go out and are done in order: the one that gives back comes after the one that takes. */
static void on_abort(till_op_t *op, till_status_t why)
{
    struct asking *asking = (struct asking *)op;

    (void)why;
    till_timer_stop(&asking->again);
    if (asking->command != NULL) {
        till_op_cancel(asking->command);
        give_back(asking->lock);
    }
}

static void on_done(till_op_t *op, till_status_t status)
{
    struct asking *asking = (struct asking *)op;
    till_lock_t *lock = status == TILL_OK ? asking->lock : NULL;
    till_lock_cb cb = asking->cb;
    void *data = asking->data;

    if (lock != NULL)
        asking->lock = NULL;
    asking->told = true;
    free_if_over(asking);
    cb(data, status, lock);
}

static void ask(struct asking *asking);

static void on_again(till_timer_t *timer) { ask(H2O_STRUCT_FROM_MEMBER(struct asking, again, timer)); }

/* Somebody has it. Waits grow and are half jitter; the last try is made when the time is up. */
static void wait_or_give_up(struct asking *asking)
{
    uint64_t now = till_loop_now(asking->loop), wait = RETRY_MIN_MS;
    uint32_t dice;

    if (now >= asking->until) {
        till_op_finish(&asking->op, TILL_BUSY);
        return;
    }
    till_random(&dice, sizeof(dice));
    wait <<= asking->tries < 4 ? asking->tries : 4;
    ++asking->tries;
    wait = wait / 2 + dice % (wait / 2 + 1);
    if (wait > asking->until - now)
        wait = asking->until - now;
    till_timer_start(asking->loop, &asking->again, wait, on_again);
}

static void on_answer(void *data, till_status_t status, const till_reply_t *reply)
{
    struct asking *asking = data;

    asking->command = NULL;
    if (asking->told) {
        free_if_over(asking);
        return;
    }
    if (status == TILL_CANCELLED) {
        till_op_finish(&asking->op, status); /* Redis is being closed, or we are being cancelled already */
        return;
    }
    if (status != TILL_OK) {
        if (status == TILL_TIMEOUT)
            give_back(asking->lock);
        till_op_finish(&asking->op, status);
    } else if (reply->type != TILL_REPLY_INT || reply->integer <= 0) {
        wait_or_give_up(asking);
    } else {
        asking->lock->fence = (uint64_t)reply->integer;
        till_op_finish_now(&asking->op, TILL_OK);
    }
}

static void ask(struct asking *asking)
{
    till_lock_t *lock = asking->lock;
    char lease[24];
    int len = snprintf(lease, sizeof(lease), "%llu", (unsigned long long)asking->lease_ms);
    const till_slice_t argv[] = {STRLIT("EVAL"),      take_script,
                                 STRLIT("2"),         {lock->key, lock->key_len},
                                 fence_key,           {lock->token, TOKEN_BYTES * 2},
                                 {lease, (size_t)len}};

    asking->command = till_redis_command(lock->redis, 7, argv, ANSWER_MS, on_answer, asking);
}

till_op_t *till_lock_acquire(till_redis_t *redis, till_loop_t *loop, till_slice_t name, const till_lock_opts_t *opts,
                             till_lock_cb cb, void *data)
{
    struct asking *asking = till_calloc(1, sizeof(*asking));

    asking->loop = loop;
    asking->lock = make_lock(redis, name);
    asking->lease_ms = opts->lease_ms > 0 ? opts->lease_ms : 1;
    asking->until = till_loop_now(loop) + opts->wait_ms;
    asking->cb = cb;
    asking->data = data;
    till_op_init(&asking->op, loop, 0, on_abort, on_done); /* each command and the sum of the waits are bounded */
    ask(asking);
    return &asking->op;
}

uint64_t till_lock_fence(const till_lock_t *lock) { return lock->fence; }

void till_lock_release(till_lock_t *lock)
{
    if (lock == NULL)
        return;
    give_back(lock);
    free(lock);
}
