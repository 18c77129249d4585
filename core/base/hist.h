/* hist.h - a histogram of durations, counted where they are measured and published elsewhere.
 *
 * Bounds are the same for all, so that histograms of parts can be added up. Who
 * measures keeps one of these in its statistics; whoever publishes it compares
 * it with what was published before (till_metrics_publish).
 *
 * Thread: its owner's.
 */
#ifndef TILL_BASE_HIST_H
#define TILL_BASE_HIST_H

#include <stdint.h>

#define TILL_HIST_BUCKETS 17

/** Upper bounds in seconds, from 0.1 ms to 30 s. */
extern const double till_hist_bounds[TILL_HIST_BUCKETS];

typedef struct till_hist {
    uint64_t counts[TILL_HIST_BUCKETS + 1]; /* of each bucket alone; the last one is above all bounds */
    double sum;                             /* seconds */
} till_hist_t;

/** The bucket of a duration: 0 to TILL_HIST_BUCKETS. */
unsigned till_hist_bucket(double seconds);
void till_hist_add(till_hist_t *hist, double seconds);
/** CLOCK_MONOTONIC in seconds, for measuring. */
double till_hist_now(void);

#endif
