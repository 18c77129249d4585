/* lock.h - leased and fenced locks, kept in Redis.
 *
 * Two workers must never capture one payment or sell one last unit. A mutex
 * would not outlive a crash, so a lock is a lease that lapses by itself. A
 * lease can lapse while its holder is still busy, so every grant also carries
 * a fence: a number that only grows. A write the lock protects names its fence
 * and the database refuses an older one. The lock makes collisions rare, the
 * fence makes them harmless; neither is enough alone.
 *
 * Fences survive a flushed Redis: a fence is never smaller than Redis' clock in
 * microseconds since 1970. While Redis is away acquire fails
 * with TILL_CONN_LOST and callers fall back to row locks.
 *
 * Thread: the worker that owns `redis`; nothing here is shared.
 */
#ifndef TILL_TRADE_LOCK_H
#define TILL_TRADE_LOCK_H

#include "io/redis.h"

typedef struct till_lock till_lock_t; /* opaque; made by acquire only */

typedef struct till_lock_opts {
    uint64_t lease_ms; /* the grant lapses this long after it was given */
    uint64_t wait_ms;  /* how long to queue for it; 0 tries once, then TILL_BUSY */
} till_lock_opts_t;

/** `lock` is NULL unless `status` is TILL_OK; then the callee owns it. */
typedef void (*till_lock_cb)(void *data, till_status_t status, till_lock_t *lock);

/** Asks for the lock called `name` (copied). TILL_BUSY: somebody else has it still. */
till_op_t *till_lock_acquire(till_redis_t *redis, till_loop_t *loop, till_slice_t name, const till_lock_opts_t *opts,
                             till_lock_cb cb, void *data);
/** The number to write beside whatever this lock protects; below 2^53. */
uint64_t till_lock_fence(const till_lock_t *lock);
/** Gives the lock back and frees it. Does not wait for Redis: if the message is lost, the lease lapses. NULL is
 * allowed. */
void till_lock_release(till_lock_t *lock);

#endif
