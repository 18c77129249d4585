/* overload.h - a worker's watch over its queues: measures, decides by serve/admit.h, tells.
 *
 * Once an interval (TILL_ADMIT_MS) it reads how long the queues before the loop
 * and before the database are, lets the levels follow, and shows them in the
 * metrics: till_admission_delay_seconds{queue}, till_admission_share{queue,
 * class}. It writes a line when it begins to refuse and when it has ended. Jobs
 * workers have none: they take no more work than they can do.
 *
 * Thread: the worker's.
 */
#ifndef TILL_SERVE_OVERLOAD_H
#define TILL_SERVE_OVERLOAD_H

#include "io/lag.h"
#include "serve/admit.h"
#include "serve/metrics.h"
#include "serve/pools.h"

typedef struct till_overload {
    till_admit_t admit; /* for the server's door */
    till_lag_t *lag;    /* likewise */
    till_pools_t *pools;
    till_metrics_t *metrics;
    till_timer_t timer;
    bool was_shedding;
} till_overload_t;

/** Before the first VM is made: it puts itself into pools->env. `target_ms` 0: never refuses. */
void till_overload_begin(till_overload_t *overload, till_pools_t *pools, till_metrics_t *metrics, uint64_t target_ms);
/** Every VM is closed; the pools are there still. Twice, or without a begin, is allowed. */
void till_overload_end(till_overload_t *overload);
/** One request was refused: till_shed_total{class,why}. */
void till_shed_count(till_metrics_t *metrics, till_priority_t priority, const char *why);

#endif
