/* metrics.h - counters, gauges and histograms of all processes, in one piece of shared memory.
 *
 * The master maps the memory before it forks. Each process has a slot of cells
 * of its own, which only it writes, so that counting needs no lock; whoever is
 * asked for /metrics adds the slots up. A process that died is replaced in the
 * same slot: its counters go on, its gauges are cleared.
 *
 * A series (name and labels) is registered at its first use, in a table that
 * all processes share under a lock. The table has room for 4,096 series; what
 * does not fit is counted in till_metrics_dropped_total and is not shown, so
 * labels must come from small sets (route templates, never paths). Series stay
 * for the life of the server: what comes and goes, a generation's name, stands
 * beside the table (till_metrics_set_generation).
 *
 * Who counts often finds its series once and keeps the number: adding to it is
 * a load, an addition and a store. Requests go through metrics_http.c, which
 * keeps the numbers of each route.
 *
 * Kinds: a counter only grows and adds up over processes. A gauge adds up; a
 * peak shows the largest; a last one shows what was set last, by whichever
 * process. A histogram has the bounds of base/hist.h.
 *
 * metrics_table.h lists every metric of ours with its help; docs/metrics.md
 * explains them, and scripts/lint-metrics holds code, table and manual together.
 *
 * Thread: after the fork each process from one thread, with its own slot.
 */
#ifndef TILL_SERVE_METRICS_H
#define TILL_SERVE_METRICS_H

#include "base/buf.h"
#include "base/hist.h"

#define TILL_METRICS_SLOTS 128 /* processes: the master is 0; while workers are replaced there are two of each */
#define TILL_METRICS_NAME 80
#define TILL_METRICS_LABELS 240
#define TILL_METRICS_GENERATION 65 /* a name and its end */

typedef struct till_metrics till_metrics_t;
typedef uint32_t till_series_t; /* 0: there is none */

typedef enum till_metric_kind {
    TILL_METRIC_COUNTER,
    TILL_METRIC_GAUGE, /* adds up */
    TILL_METRIC_PEAK,  /* the largest */
    TILL_METRIC_LAST,  /* the newest */
    TILL_METRIC_HISTOGRAM,
} till_metric_kind_t;

/** Maps the memory; the caller is slot 0. NULL where the kernel has none left. */
till_metrics_t *till_metrics_create(void);
/** Unmaps it in this process. */
void till_metrics_destroy(till_metrics_t *metrics);
/** In a child, after the fork: what it writes from now on goes to `slot`. */
void till_metrics_use_slot(till_metrics_t *metrics, unsigned slot);
/** In the master, when the process of `slot` is gone. */
void till_metrics_clear_gauges(till_metrics_t *metrics, unsigned slot);

/**
 * `labels` is NULL, "" or pairs as they are printed: route="/x",method="GET".
 * A bad name, bad labels, or a name that is of another kind already: dropped.
 */
void till_metrics_add(till_metrics_t *metrics, const char *name, const char *labels, double amount);
/** `kind` is GAUGE, PEAK or LAST. */
void till_metrics_set(till_metrics_t *metrics, till_metric_kind_t kind, const char *name, const char *labels,
                      double value);
void till_metrics_observe(till_metrics_t *metrics, const char *name, const char *labels, double seconds);
/** Adds what `now` has more than `told` to a histogram, and makes `told` equal to `now`. */
void till_metrics_publish(till_metrics_t *metrics, const char *name, const char *labels, const till_hist_t *now,
                          till_hist_t *told);
/** What this process runs, shown in till_generation_info; NULL: nothing. */
void till_metrics_set_generation(till_metrics_t *metrics, const char *name);

/** What the process of `slot` runs, or "". */
const char *till_metrics_generation(const till_metrics_t *metrics, unsigned slot);

/** Finds or registers a series for the functions below; good in this process and those forked from it. */
till_series_t till_metrics_find(till_metrics_t *metrics, till_metric_kind_t kind, const char *name, const char *labels);
/** Each must be of the right kind; 0 is counted as dropped. */
void till_series_add(till_metrics_t *metrics, till_series_t counter, double amount);
void till_series_set(till_metrics_t *metrics, till_series_t gauge_or_peak, double value);
void till_series_observe(till_metrics_t *metrics, till_series_t histogram, double seconds);

/** The sum over all slots; 0 where there is no such series. For tests and the control socket. */
double till_metrics_read(till_metrics_t *metrics, const char *name, const char *labels);

/* OpenMetrics 1.0 names a counter's family without _total, Prometheus' text format 0.0.4 with it. */
typedef enum till_metrics_format { TILL_METRICS_PROMETHEUS, TILL_METRICS_OPENMETRICS } till_metrics_format_t;
/** Appends all series; ends in "# EOF\n", which the older format takes for a comment. */
void till_metrics_render(till_metrics_t *metrics, till_metrics_format_t format, till_buf_t *out);

/** Appends `name="value"` with the value escaped, after a comma unless `out` is empty. */
void till_metrics_label(till_buf_t *out, const char *name, const char *value, size_t len);

#endif
