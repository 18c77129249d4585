#include "serve/gauges.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"

#define PROCESS_EVERY 5 /* ticks: to count ten thousand descriptors takes a few milliseconds */

struct till_gauges {
    till_metrics_t *metrics;
    const till_pools_t *pools;
    till_buf_t labels; /* process="web-0" */
    unsigned ticks;
    uint64_t lost_told;
    double cpu_told;
    uint64_t statements, reconnects, timeouts, kills, sql_full, sql_late;
    uint64_t commands, failures, redis_refused, outbound_full, outbound_late, cycles;
    till_hist_t sql_told, sql_waits_told, redis_told, outbound_waits_told, turns_told, gc_told;
};

till_gauges_t *till_gauges_create(till_metrics_t *metrics, const till_pools_t *pools, const char *process)
{
    till_gauges_t *gauges = till_calloc(1, sizeof(*gauges));

    gauges->metrics = metrics;
    gauges->pools = pools;
    till_buf_init(&gauges->labels, 0);
    till_metrics_label(&gauges->labels, "process", process, strlen(process));
    till_metrics_set(metrics, TILL_METRIC_GAUGE, "till_process_start_time_seconds", gauges->labels.base,
                     (double)time(NULL));
    return gauges;
}

void till_gauges_destroy(till_gauges_t *gauges)
{
    if (gauges == NULL)
        return;
    till_buf_dispose(&gauges->labels);
    free(gauges);
}

static void set(till_gauges_t *gauges, const char *name, double value)
{
    till_metrics_set(gauges->metrics, TILL_METRIC_GAUGE, name, NULL, value);
}

static void set_peak(till_gauges_t *gauges, const char *name, double value)
{
    till_metrics_set(gauges->metrics, TILL_METRIC_PEAK, name, NULL, value);
}

static void set_own(till_gauges_t *gauges, const char *name, double value)
{
    till_metrics_set(gauges->metrics, TILL_METRIC_GAUGE, name, gauges->labels.base, value);
}

static void add_since_of(till_gauges_t *gauges, const char *name, const char *labels, uint64_t now, uint64_t *told)
{
    till_metrics_add(gauges->metrics, name, labels, (double)(now - *told));
    *told = now;
}

static void add_since(till_gauges_t *gauges, const char *name, uint64_t now, uint64_t *told)
{
    add_since_of(gauges, name, NULL, now, told);
}

/* ---- the pools ------------------------------------------------------------- */

static void refresh_sql(till_gauges_t *gauges, bool database_answers)
{
    till_sql_stats_t stats;

    till_sql_pool_stats(gauges->pools->sql, &stats);
    set_peak(gauges, "till_sql_up", database_answers);
    set(gauges, "till_sql_connections_open", stats.open);
    set(gauges, "till_sql_connections_idle", stats.idle);
    set(gauges, "till_sql_connections_limit", stats.limit);
    set(gauges, "till_sql_waiting", stats.waiting);
    add_since(gauges, "till_sql_statements_total", stats.statements, &gauges->statements);
    add_since(gauges, "till_sql_reconnects_total", stats.reconnects, &gauges->reconnects);
    add_since(gauges, "till_sql_timeouts_total", stats.timeouts, &gauges->timeouts);
    add_since(gauges, "till_sql_kills_total", stats.kills, &gauges->kills);
    add_since_of(gauges, "till_sql_refused_total", "why=\"full\"", stats.refused_full, &gauges->sql_full);
    add_since_of(gauges, "till_sql_refused_total", "why=\"waited\"", stats.refused_late, &gauges->sql_late);
    till_metrics_publish(gauges->metrics, "till_sql_wait_seconds", NULL, &stats.waits, &gauges->sql_waits_told);
    till_metrics_publish(gauges->metrics, "till_sql_statement_duration_seconds", NULL, &stats.durations,
                         &gauges->sql_told);
}

static void refresh_redis(till_gauges_t *gauges)
{
    till_redis_stats_t stats;

    till_redis_get_stats(gauges->pools->redis, &stats);
    set_peak(gauges, "till_redis_up", till_redis_is_up(gauges->pools->redis));
    set(gauges, "till_redis_in_flight", stats.in_flight);
    add_since(gauges, "till_redis_commands_total", stats.commands, &gauges->commands);
    add_since(gauges, "till_redis_failures_total", stats.failures, &gauges->failures);
    add_since(gauges, "till_redis_refused_total", stats.refused, &gauges->redis_refused);
    till_metrics_publish(gauges->metrics, "till_redis_command_duration_seconds", NULL, &stats.durations,
                         &gauges->redis_told);
}

static void refresh_outbound(till_gauges_t *gauges)
{
    till_http_stats_t stats;

    till_http_stats(gauges->pools->http, &stats);
    set(gauges, "till_outbound_in_flight", till_http_in_flight(gauges->pools->http));
    set(gauges, "till_outbound_limit", (double)till_conf_int(gauges->pools->env.conf, "http.max_connections"));
    set(gauges, "till_outbound_waiting", stats.waiting);
    add_since_of(gauges, "till_outbound_refused_total", "why=\"full\"", stats.refused_full, &gauges->outbound_full);
    add_since_of(gauges, "till_outbound_refused_total", "why=\"waited\"", stats.refused_late, &gauges->outbound_late);
    till_metrics_publish(gauges->metrics, "till_outbound_wait_seconds", NULL, &stats.waits,
                         &gauges->outbound_waits_told);
}

static void refresh_vm(till_gauges_t *gauges, const till_gauges_of_vm_t *vm)
{
    set_own(gauges, "till_vm_memory_bytes", (double)vm->memory);
    set_peak(gauges, "till_vm_memory_limit_bytes", (double)gauges->pools->env.memory_cap);
    add_since(gauges, "till_vm_gc_cycles_total", gauges->pools->gc.cycles, &gauges->cycles);
    till_metrics_publish(gauges->metrics, "till_vm_gc_full_duration_seconds", NULL, &gauges->pools->gc.full,
                         &gauges->gc_told);
    set(gauges, "till_vm_calls", vm->calls);
    set(gauges, "till_vm_generations", vm->generations);
}

void till_gauges_refresh(till_gauges_t *gauges, const till_gauges_of_vm_t *vm, bool database_answers)
{
    refresh_sql(gauges, database_answers);
    refresh_redis(gauges);
    refresh_vm(gauges, vm);
    refresh_outbound(gauges);
}

/* ---- the process ----------------------------------------------------------- */

static double resident_bytes(void)
{
    unsigned long size, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    if (file == NULL)
        return 0;
    if (fscanf(file, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static double count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    if (dir == NULL)
        return 0;
    while (readdir(dir) != NULL)
        ++n;
    closedir(dir);
    return n - 3; /* ".", ".." and the folder itself */
}

static double cpu_seconds(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static void refresh_process(till_gauges_t *gauges)
{
    struct rlimit limit;
    double cpu = cpu_seconds();

    till_metrics_add(gauges->metrics, "till_process_cpu_seconds_total", gauges->labels.base, cpu - gauges->cpu_told);
    gauges->cpu_told = cpu;
    till_metrics_add(gauges->metrics, "till_log_lost_total", NULL, (double)(till_log_lost() - gauges->lost_told));
    gauges->lost_told = till_log_lost();
    set_own(gauges, "till_process_resident_memory_bytes", resident_bytes());
    set_own(gauges, "till_process_open_fds", count_fds());
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        set_own(gauges, "till_process_max_fds", (double)limit.rlim_cur);
}

void till_gauges_tick(till_gauges_t *gauges)
{
    double worst;

    if (gauges->pools != NULL) {
        const till_hist_t *turns = till_loop_turns(gauges->pools->loop, &worst);
        set_peak(gauges, "till_loop_delay_seconds", worst);
        till_metrics_publish(gauges->metrics, "till_loop_turn_duration_seconds", NULL, turns, &gauges->turns_told);
    }
    if (gauges->ticks++ % PROCESS_EVERY == 0)
        refresh_process(gauges);
}

void till_gauges_disk(till_metrics_t *metrics, const char *place, const char *dir)
{
    struct statvfs disk;
    till_buf_t labels;

    if (statvfs(dir, &disk) != 0)
        return;
    till_buf_init(&labels, 0);
    till_metrics_label(&labels, "place", place, strlen(place));
    till_metrics_set(metrics, TILL_METRIC_LAST, "till_disk_free_bytes", labels.base,
                     (double)disk.f_bavail * (double)disk.f_frsize);
    till_metrics_set(metrics, TILL_METRIC_LAST, "till_disk_size_bytes", labels.base,
                     (double)disk.f_blocks * (double)disk.f_frsize);
    till_buf_dispose(&labels);
}
