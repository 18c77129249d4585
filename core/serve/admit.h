/* admit.h - who is let in when more is asked for than can be done.
 *
 * Two queues can grow without anybody deciding it: the one before the worker's
 * loop (io/lag.h measures it) and the one before the connections to the
 * database (till_sql_pool_delay). Each has a level here.
 *
 * The rule. A burst makes a queue long for a moment and is no overload: a queue
 * is too long when even the shortest wait of a whole interval of TILL_ADMIT_MS
 * was above the target (server.queue_target_ms). For each such interval in a row
 * the level rises, by 0.1, then 0.2, 0.3 ...; while the queue is too long still
 * but gets shorter it stays as it is, for then enough is refused already (who is
 * served now came before that, so the waits alone would say so too late); and
 * once the queue is short it falls by a fifth and a bit. The level is spent on the classes, the least important first:
 *
 *      level    0 ....... 1 ....... 2 ....... 3 ....... 3.9
 *      refused  reads     staff     carts     checkout (never all of it)
 *
 * At 1.4 all reads are refused and four in ten requests of the staff. So the
 * load is cut until the queue is short again, whatever its cause, and let in
 * again by itself when the cause is gone; nobody needs to know how much the
 * machine can do.
 *
 * Where it is asked. For the loop: at the door, before anything is done (serve/
 * request.c). For the database: when a request first asks for a connection (vm/
 * bind_sql.c), for what the cache answers needs none, and a slow database must
 * not take the catalogue away. A request that was let in is not refused later.
 *
 * The third limit is the number of requests in flight (server.max_concurrency),
 * of which the less important leave some room to the others: reads a quarter,
 * staff and carts an eighth.
 *
 * No clock and no I/O in here: the worker calls till_admit_step once an interval.
 */
#ifndef TILL_SERVE_ADMIT_H
#define TILL_SERVE_ADMIT_H

#include <stdint.h>
#include "vm/vm.h" /* till_priority_t */

#define TILL_ADMIT_MS 500

typedef enum till_admit_queue { TILL_ADMIT_LOOP, TILL_ADMIT_SQL, TILL_ADMIT_QUEUES } till_admit_queue_t;

typedef struct till_admit {
    uint64_t target_ms; /* 0: nothing is ever refused for a queue */
    struct till_admit_level {
        uint64_t delay_ms, length; /* of the last interval, and at its end */
        unsigned bad;              /* intervals in a row */
        double level;
        double owed[TILL_PRIORITY_COUNT]; /* the part of a refusal that each class has gathered */
    } levels[TILL_ADMIT_QUEUES];
} till_admit_t;

/** An interval is over; the shortest wait in it was `delay_ms`, and `length` (in any unit) is what waits now. */
void till_admit_step(till_admit_t *admit, till_admit_queue_t queue, uint64_t delay_ms, uint64_t length);
/** Is anybody refused just now? Where not, a request's class does not matter and need not be found out. */
bool till_admit_is_shedding(const till_admit_t *admit);
/** The share of `class` that is refused, 0 to 1. */
double till_admit_share(const till_admit_t *admit, till_admit_queue_t queue, till_priority_t priority);
/** Decides over one request: of a share of 0.4 two of five are refused, evenly spread. TILL_PRIORITY_NONE is let in. */
bool till_admit_refuses(till_admit_t *admit, till_admit_queue_t queue, till_priority_t priority);
/** Of `max` requests in flight, how many there may be for one more of this class. */
unsigned till_admit_room(unsigned max, till_priority_t priority);
/** Seconds for Retry-After: the more is refused the longer, and spread so that they do not come back together. */
unsigned till_admit_retry_after(const till_admit_t *admit);
const char *till_admit_queue_name(till_admit_queue_t queue);

#endif
