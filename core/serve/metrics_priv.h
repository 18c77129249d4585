/* metrics_priv.h - the shared memory of the metrics.
 *
 * metrics.c       the table of series, measuring, reading
 * metrics_text.c  printing
 */
#ifndef TILL_SERVE_METRICS_PRIV_H
#define TILL_SERVE_METRICS_PRIV_H

#include <pthread.h>
#include "serve/metrics.h"

#define TILL_MAX_SERIES 4096
#define TILL_CELLS 65536  /* of one slot; pages are taken as they are used */
#define TILL_LOOKUP 16384 /* power of two, well above TILL_MAX_SERIES */

/* A histogram's cells: each bucket, what is above them, the sum. A LAST's: when, what. */
#define TILL_CELL_SUM (TILL_HIST_BUCKETS + 1)

struct till_series_row {
    char name[TILL_METRICS_NAME];
    char labels[TILL_METRICS_LABELS];
    uint32_t cell; /* the first of its cells, the same in each slot; its number for others is one more */
    till_metric_kind_t kind;
};

struct till_metrics_shared {
    pthread_mutex_t lock;
    _Atomic uint32_t count; /* of `series`; grows under the lock, each complete before it is counted */
    uint32_t next_cell;
    _Atomic uint32_t slots; /* that were ever used: the rest need not be looked at */
    _Atomic uint64_t dropped;
    char generations[TILL_METRICS_SLOTS][TILL_METRICS_GENERATION]; /* each written by its process alone */
    struct till_series_row series[TILL_MAX_SERIES];
    _Atomic uint64_t cells[TILL_METRICS_SLOTS][TILL_CELLS]; /* the bits of doubles */
};

struct till_metrics {
    struct till_metrics_shared *shared;
    unsigned slot;
    uint32_t known;               /* series that are in `lookup` */
    uint16_t lookup[TILL_LOOKUP]; /* this process' index: number of the series + 1 */
};

double till_metrics_sum_cell(till_metrics_t *metrics, uint32_t cell);
/** What a series shows; of a histogram the count. */
double till_metrics_value(till_metrics_t *metrics, const struct till_series_row *series);

#endif
