/* lag.h - how long the loop takes to come to what has just arrived.
 *
 * The time from the arrival of a request to its start cannot be seen from
 * inside: until libh2o reads, the bytes lie in the kernel, behind the sockets
 * that became ready before. So we stand in that queue ourselves: a probe writes
 * to an eventfd and measures how long the loop takes to call back. Probes are
 * sent where there is work (till_lag_poke, once a request; nearly free), one at
 * a time and at most one each 20 ms: an idle worker sleeps.
 *
 * Thread: the loop's.
 */
#ifndef TILL_IO_LAG_H
#define TILL_IO_LAG_H

#include "io/loop.h"

typedef struct till_lag till_lag_t;

/** NULL where the kernel has no descriptor left. */
till_lag_t *till_lag_create(till_loop_t *loop);
/** Its socket is freed in the loop's next turn. NULL is allowed. */
void till_lag_destroy(till_lag_t *lag);
/** There is work: a probe leaves, unless one is under way or was just back. NULL is allowed. */
void till_lag_poke(till_lag_t *lag);
/** The shortest delay in ms of the probes since the last call of this function: 0 where none was sent; where none came
 * back, the age of the one that is under way. NULL: 0. */
uint64_t till_lag_take(till_lag_t *lag);

#endif
