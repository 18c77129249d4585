#include "serve/overload.h"

#include <stdio.h>
#include "base/log.h"

void till_shed_count(till_metrics_t *metrics, till_priority_t priority, const char *why)
{
    char labels[64];

    snprintf(labels, sizeof(labels), "class=\"%s\",why=\"%s\"", till_priority_name(priority), why);
    till_metrics_add(metrics, "till_shed_total", labels, 1);
}

/* vm/: a request is about to ask the database for the first time. */
static unsigned refuse(void *data, till_priority_t priority)
{
    till_overload_t *overload = data;

    if (!till_admit_refuses(&overload->admit, TILL_ADMIT_SQL, priority))
        return 0;
    till_shed_count(overload->metrics, priority, "sql");
    return till_admit_retry_after(&overload->admit) * 1000;
}

/* ---- the levels ------------------------------------------------------------- */

static void show(till_overload_t *overload, till_admit_queue_t queue)
{
    const char *name = till_admit_queue_name(queue);
    char labels[64];

    snprintf(labels, sizeof(labels), "queue=\"%s\"", name);
    till_metrics_set(overload->metrics, TILL_METRIC_PEAK, "till_admission_delay_seconds", labels,
                     (double)overload->admit.levels[queue].delay_ms / 1000);
    for (int i = 0; i != TILL_PRIORITY_COUNT; ++i) {
        till_priority_t priority = (till_priority_t)i;
        snprintf(labels, sizeof(labels), "queue=\"%s\",class=\"%s\"", name, till_priority_name(priority));
        till_metrics_set(overload->metrics, TILL_METRIC_PEAK, "till_admission_share", labels,
                         till_admit_share(&overload->admit, queue, priority));
    }
}

static void tell_change(till_overload_t *overload)
{
    bool is_shedding = till_admit_is_shedding(&overload->admit);
    till_log_t line;

    if (is_shedding == overload->was_shedding)
        return;
    overload->was_shedding = is_shedding;
    till_log_begin(&line, is_shedding ? TILL_LOG_WARN : TILL_LOG_INFO,
                   is_shedding ? "overload.begins" : "overload.ends");
    till_log_int(&line, "loop_delay_ms", (int64_t)overload->admit.levels[TILL_ADMIT_LOOP].delay_ms);
    till_log_int(&line, "sql_delay_ms", (int64_t)overload->admit.levels[TILL_ADMIT_SQL].delay_ms);
    till_log_end(&line);
}

static void judge(till_overload_t *overload)
{
    uint64_t lag_ms = till_lag_take(overload->lag);
    till_sql_stats_t sql;

    till_sql_pool_stats(overload->pools->sql, &sql);
    till_admit_step(&overload->admit, TILL_ADMIT_LOOP, lag_ms, lag_ms);
    till_admit_step(&overload->admit, TILL_ADMIT_SQL, till_sql_pool_delay(overload->pools->sql), sql.waiting);
    for (int queue = 0; queue != TILL_ADMIT_QUEUES; ++queue)
        show(overload, (till_admit_queue_t)queue);
    tell_change(overload);
}

static void on_interval(till_timer_t *timer)
{
    till_overload_t *overload = H2O_STRUCT_FROM_MEMBER(till_overload_t, timer, timer);

    judge(overload);
    till_timer_start(overload->pools->loop, timer, TILL_ADMIT_MS, on_interval);
}

void till_overload_begin(till_overload_t *overload, till_pools_t *pools, till_metrics_t *metrics, uint64_t target_ms)
{
    *overload = (till_overload_t){.admit = {.target_ms = target_ms}, .pools = pools, .metrics = metrics};
    overload->lag = till_lag_create(pools->loop);
    pools->env.refuse = refuse;
    pools->env.refuse_data = overload;
    till_timer_start(pools->loop, &overload->timer, TILL_ADMIT_MS, on_interval);
}

void till_overload_end(till_overload_t *overload)
{
    till_timer_stop(&overload->timer);
    till_lag_destroy(overload->lag);
    overload->lag = NULL;
}
