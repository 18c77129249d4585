#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include "base/mem.h"
#include "serve/metrics.h"

#define MAX_SERIES 4096
#define CELLS 32768  /* of one slot */
#define LOOKUP 16384 /* power of two, well above MAX_SERIES */
#define BUCKETS 14

/* clang-format off */
static const double bounds[BUCKETS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30};
/* clang-format on */

/* A histogram's cells: each bucket, the sum, the count. A LAST's: when, what. */
#define CELL_SUM BUCKETS
#define CELL_COUNT (BUCKETS + 1)

struct series {
    char name[TILL_METRICS_NAME];
    char labels[TILL_METRICS_LABELS];
    uint32_t cell; /* the first of its cells, the same in each slot */
    till_metric_kind_t kind;
};

struct shared {
    pthread_mutex_t lock;
    _Atomic uint32_t count; /* of `series`; grows under the lock, each complete before it is counted */
    uint32_t next_cell;
    _Atomic uint64_t dropped;
    _Atomic uint64_t beats[TILL_METRICS_SLOTS];
    struct series series[MAX_SERIES];
    _Atomic uint64_t cells[TILL_METRICS_SLOTS][CELLS]; /* the bits of doubles */
};

struct till_metrics {
    struct shared *shared;
    unsigned slot;
    uint32_t known;          /* series that are in `lookup` */
    uint16_t lookup[LOOKUP]; /* this process' index: number of the series + 1 */
};

/* clang-format off */
static const struct {
    const char *name, *help;
} helps[] = {
    {"till_http_requests_total", "Requests answered."},
    {"till_http_request_duration_seconds", "From the request's last byte to its answer."},
    {"till_http_in_flight", "Requests that are being worked on."},
    {"till_http_connections", "Open connections."},
    {"till_http_client_gone_total", "Requests whose client went away before the answer."},
    {"till_http_hostile_total", "Connections hung up on for what they sent."},
    {"till_http_shed_total", "Requests refused because too many were in flight."},
    {"till_sql_connections_open", "Connections to the database."},
    {"till_sql_connections_idle", "Connections to the database that wait for work."},
    {"till_sql_waiting", "Calls that wait for a connection to the database."},
    {"till_sql_statements_total", "Statements run."},
    {"till_sql_reconnects_total", "Connections to the database that had to be made again."},
    {"till_sql_timeouts_total", "Statements that ran out of time."},
    {"till_sql_up", "1 where the database answered lately."},
    {"till_redis_up", "1 where Redis is connected."},
    {"till_vm_memory_bytes", "Memory of the live generation's VM."},
    {"till_vm_calls", "Coroutines of the live generation."},
    {"till_generation_info", "The live generation; 1 a process."},
    {"till_generation_swaps_total", "Generations that went live."},
    {"till_loop_delay_seconds", "How late the event loop last woke up, the worst of the processes."},
    {"till_process_restarts_total", "Workers that died and were replaced."},
    {"till_metrics_dropped_total", "Measurements that had no room or no valid name."},
};
/* clang-format on */

till_metrics_t *till_metrics_create(void)
{
    pthread_mutexattr_t attr;
    void *memory = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        return NULL;
    till_metrics_t *metrics = till_calloc(1, sizeof(*metrics));
    metrics->shared = memory;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST); /* a worker may be killed while it registers */
    pthread_mutex_init(&metrics->shared->lock, &attr);
    pthread_mutexattr_destroy(&attr);
    return metrics;
}

void till_metrics_destroy(till_metrics_t *metrics)
{
    if (metrics == NULL)
        return;
    munmap(metrics->shared, sizeof(*metrics->shared));
    free(metrics);
}

void till_metrics_use_slot(till_metrics_t *metrics, unsigned slot)
{
    metrics->slot = slot < TILL_METRICS_SLOTS ? slot : TILL_METRICS_SLOTS - 1;
}

void till_metrics_beat(till_metrics_t *metrics)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    metrics->shared->beats[metrics->slot] = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t till_metrics_last_beat(const till_metrics_t *metrics, unsigned slot) { return metrics->shared->beats[slot]; }

/* ---- cells ------------------------------------------------------------ */

static double load_cell(till_metrics_t *metrics, unsigned slot, uint32_t cell)
{
    uint64_t bits = metrics->shared->cells[slot][cell];
    double value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

static void store_cell(till_metrics_t *metrics, uint32_t cell, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    metrics->shared->cells[metrics->slot][cell] = bits;
}

/* The slot has one writer, but a clear by the master may come between. */
static void add_cell(till_metrics_t *metrics, uint32_t cell, double amount)
{
    _Atomic uint64_t *at = &metrics->shared->cells[metrics->slot][cell];
    uint64_t old = *at, bits;
    double value;

    do {
        memcpy(&value, &old, sizeof(value));
        value += amount;
        memcpy(&bits, &value, sizeof(bits));
    } while (!__atomic_compare_exchange_n((uint64_t *)at, &old, bits, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}

static uint32_t cell_count(till_metric_kind_t kind)
{
    return kind == TILL_METRIC_HISTOGRAM ? CELL_COUNT + 1 : kind == TILL_METRIC_LAST ? 2 : 1;
}

/* ---- the table of series ---------------------------------------------- */

static bool is_name(const char *name)
{
    size_t len = strlen(name);

    return len != 0 && len < TILL_METRICS_NAME - 8 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == len &&
           (name[0] < '0' || name[0] > '9');
}

/* One `name="escaped value"`. @return what follows it, or NULL */
static const char *skip_label(const char *p)
{
    size_t name = strspn(p, "abcdefghijklmnopqrstuvwxyz0123456789_");

    if (name == 0 || p[name] != '=' || p[name + 1] != '"')
        return NULL;
    for (p += name + 2; *p != '"'; ++p) {
        if (*p == '\0' || *p == '\n')
            return NULL;
        if (*p == '\\' && strchr("\\\"n", *++p) == NULL)
            return NULL;
        if (*p == '\0')
            return NULL;
    }
    return p + 1;
}

static bool are_labels(const char *labels)
{
    const char *p = labels;

    if (*p == '\0')
        return true;
    if (strlen(labels) >= TILL_METRICS_LABELS)
        return false;
    while ((p = skip_label(p)) != NULL && *p == ',')
        ++p;
    return p != NULL && *p == '\0';
}

static uint32_t hash_of(const char *name, const char *labels)
{
    uint32_t hash = 2166136261u; /* FNV-1a */

    for (; *name != '\0'; ++name)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    for (hash *= 16777619u; *labels != '\0'; ++labels)
        hash = (hash ^ (uint8_t)*labels) * 16777619u;
    return hash;
}

/* The place of the series in this process' index, or the free one where it belongs. */
static uint16_t *find_place(till_metrics_t *metrics, const char *name, const char *labels)
{
    for (uint32_t i = hash_of(name, labels);; ++i) {
        uint16_t *place = &metrics->lookup[i & (LOOKUP - 1)];
        if (*place == 0)
            return place;
        const struct series *series = &metrics->shared->series[*place - 1];
        if (strcmp(series->name, name) == 0 && strcmp(series->labels, labels) == 0)
            return place;
    }
}

/* Takes what other processes registered meanwhile into our index. */
static void learn(till_metrics_t *metrics)
{
    uint32_t count = metrics->shared->count;

    for (; metrics->known < count; ++metrics->known) {
        const struct series *series = &metrics->shared->series[metrics->known];
        *find_place(metrics, series->name, series->labels) = (uint16_t)(metrics->known + 1);
    }
}

static void lock(struct shared *shared)
{
    if (pthread_mutex_lock(&shared->lock) == EOWNERDEAD)
        pthread_mutex_consistent(&shared->lock); /* an entry half written was not counted: nothing to mend */
}

static bool has_other_kind(const struct shared *shared, const char *name, till_metric_kind_t kind)
{
    for (uint32_t i = 0; i != shared->count; ++i) {
        if (strcmp(shared->series[i].name, name) == 0)
            return shared->series[i].kind != kind;
    }
    return false;
}

static void enter(struct shared *shared, till_metric_kind_t kind, const char *name, const char *labels)
{
    struct series *series = &shared->series[shared->count];

    memcpy(series->name, name, strlen(name) + 1);
    memcpy(series->labels, labels, strlen(labels) + 1);
    series->kind = kind;
    series->cell = shared->next_cell;
    shared->next_cell += cell_count(kind);
    ++shared->count;
}

static void register_series(till_metrics_t *metrics, till_metric_kind_t kind, const char *name, const char *labels)
{
    struct shared *shared = metrics->shared;

    lock(shared);
    learn(metrics); /* somebody may have been faster */
    if (*find_place(metrics, name, labels) == 0 && shared->count < MAX_SERIES &&
        shared->next_cell + cell_count(kind) <= CELLS && !has_other_kind(shared, name, kind))
        enter(shared, kind, name, labels);
    pthread_mutex_unlock(&shared->lock);
    learn(metrics);
}

static const struct series *find(till_metrics_t *metrics, till_metric_kind_t kind, const char *name, const char *labels)
{
    const struct series *series;

    if (labels == NULL)
        labels = "";
    uint16_t place = *find_place(metrics, name, labels);
    if (place == 0 && is_name(name) && are_labels(labels)) {
        register_series(metrics, kind, name, labels);
        place = *find_place(metrics, name, labels);
    }
    if (place == 0 || (series = &metrics->shared->series[place - 1])->kind != kind) {
        ++metrics->shared->dropped;
        return NULL;
    }
    return series;
}

/* ---- measuring --------------------------------------------------------- */

void till_metrics_add(till_metrics_t *metrics, const char *name, const char *labels, double amount)
{
    size_t len = strlen(name);
    bool is_total = len > 6 && strcmp(name + len - 6, "_total") == 0;
    const struct series *series = is_total ? find(metrics, TILL_METRIC_COUNTER, name, labels) : NULL;

    if (!is_total)
        ++metrics->shared->dropped; /* OpenMetrics wants the suffix */
    if (series != NULL && amount >= 0)
        add_cell(metrics, series->cell, amount);
}

void till_metrics_set(till_metrics_t *metrics, till_metric_kind_t kind, const char *name, const char *labels,
                      double value)
{
    const struct series *series = find(metrics, kind, name, labels);
    struct timespec now;

    if (series == NULL)
        return;
    if (kind != TILL_METRIC_LAST) {
        store_cell(metrics, series->cell, value);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    store_cell(metrics, series->cell + 1, value);
    store_cell(metrics, series->cell, (double)now.tv_sec + (double)now.tv_nsec * 1e-9);
}

void till_metrics_unset(till_metrics_t *metrics, const char *name, const char *labels)
{
    till_metrics_set(metrics, TILL_METRIC_GAUGE, name, labels, NAN);
}

void till_metrics_observe(till_metrics_t *metrics, const char *name, const char *labels, double seconds)
{
    const struct series *series = find(metrics, TILL_METRIC_HISTOGRAM, name, labels);

    if (series == NULL || !(seconds >= 0))
        return;
    for (unsigned i = 0; i != BUCKETS; ++i) {
        if (seconds <= bounds[i]) {
            add_cell(metrics, series->cell + i, 1);
            break;
        }
    }
    add_cell(metrics, series->cell + CELL_SUM, seconds);
    add_cell(metrics, series->cell + CELL_COUNT, 1);
}

void till_metrics_clear_gauges(till_metrics_t *metrics, unsigned slot)
{
    struct shared *shared = metrics->shared;

    shared->beats[slot] = 0;
    for (uint32_t i = 0; i != shared->count; ++i) {
        const struct series *series = &shared->series[i];
        if (series->kind == TILL_METRIC_GAUGE || series->kind == TILL_METRIC_PEAK)
            shared->cells[slot][series->cell] = 0;
    }
}

/* ---- adding up and printing -------------------------------------------- */

static double sum_cell(till_metrics_t *metrics, uint32_t cell)
{
    double sum = 0;

    for (unsigned slot = 0; slot != TILL_METRICS_SLOTS; ++slot) {
        double value = load_cell(metrics, slot, cell);
        sum += isnan(value) ? 0 : value;
    }
    return sum;
}

static double peak_cell(till_metrics_t *metrics, uint32_t cell)
{
    double peak = load_cell(metrics, 0, cell);

    for (unsigned slot = 1; slot != TILL_METRICS_SLOTS; ++slot)
        peak = fmax(peak, load_cell(metrics, slot, cell));
    return peak;
}

static double last_cell(till_metrics_t *metrics, uint32_t cell)
{
    double newest = 0, value = 0;

    for (unsigned slot = 0; slot != TILL_METRICS_SLOTS; ++slot) {
        double when = load_cell(metrics, slot, cell);
        if (when > newest) {
            newest = when;
            value = load_cell(metrics, slot, cell + 1);
        }
    }
    return value;
}

static double value_of(till_metrics_t *metrics, const struct series *series)
{
    switch (series->kind) {
    case TILL_METRIC_PEAK:
        return peak_cell(metrics, series->cell);
    case TILL_METRIC_LAST:
        return last_cell(metrics, series->cell);
    case TILL_METRIC_HISTOGRAM:
        return sum_cell(metrics, series->cell + CELL_COUNT);
    default:
        return sum_cell(metrics, series->cell);
    }
}

double till_metrics_read(till_metrics_t *metrics, const char *name, const char *labels)
{
    learn(metrics);
    uint16_t place = *find_place(metrics, name, labels != NULL ? labels : "");
    return place != 0 ? value_of(metrics, &metrics->shared->series[place - 1]) : 0;
}

static void render_sample(till_buf_t *out, const char *name, const char *suffix, const char *labels, const char *more,
                          double value)
{
    const char *comma = labels[0] != '\0' && more[0] != '\0' ? "," : "";

    till_buf_printf(out, "%s%s", name, suffix);
    if (labels[0] != '\0' || more[0] != '\0')
        till_buf_printf(out, "{%s%s%s}", labels, comma, more);
    till_buf_printf(out, " %.15g\n", value);
}

static void render_histogram(till_metrics_t *metrics, const struct series *series, till_buf_t *out)
{
    double sum = 0;
    char le[32];

    for (unsigned i = 0; i != BUCKETS; ++i) {
        sum += sum_cell(metrics, series->cell + i);
        snprintf(le, sizeof(le), bounds[i] >= 1 ? "le=\"%.1f\"" : "le=\"%g\"", bounds[i]);
        render_sample(out, series->name, "_bucket", series->labels, le, sum);
    }
    /* read last, so that +Inf is never below a bucket */
    double count = fmax(sum, sum_cell(metrics, series->cell + CELL_COUNT));
    render_sample(out, series->name, "_bucket", series->labels, "le=\"+Inf\"", count);
    render_sample(out, series->name, "_count", series->labels, "", count);
    render_sample(out, series->name, "_sum", series->labels, "", sum_cell(metrics, series->cell + CELL_SUM));
}

/* A gauge that every process has taken out is not shown at all. */
static bool is_unset(till_metrics_t *metrics, const struct series *series)
{
    bool any = false;

    if (series->kind != TILL_METRIC_GAUGE)
        return false;
    for (unsigned slot = 0; slot != TILL_METRICS_SLOTS; ++slot) {
        double value = load_cell(metrics, slot, series->cell);
        if (!isnan(value) && value != 0)
            return false;
        any = any || isnan(value);
    }
    return any;
}

static const char *help_of(const char *name)
{
    for (size_t i = 0; i != sizeof(helps) / sizeof(helps[0]); ++i) {
        if (strcmp(helps[i].name, name) == 0)
            return helps[i].help;
    }
    return "Told by the shop's code.";
}

static void render_head(const struct series *series, till_buf_t *out)
{
    static const char *const types[] = {"counter", "gauge", "gauge", "gauge", "histogram"};
    size_t len = strlen(series->name) - (series->kind == TILL_METRIC_COUNTER ? strlen("_total") : 0);

    till_buf_printf(out, "# TYPE %.*s %s\n", (int)len, series->name, types[series->kind]);
    till_buf_printf(out, "# HELP %.*s %s\n", (int)len, series->name, help_of(series->name));
}

static int by_name(const void *a, const void *b)
{
    const struct series *x = *(const struct series *const *)a, *y = *(const struct series *const *)b;
    int order = strcmp(x->name, y->name);

    return order != 0 ? order : strcmp(x->labels, y->labels);
}

static void render_series(till_metrics_t *metrics, const struct series *series, till_buf_t *out)
{
    if (series->kind == TILL_METRIC_HISTOGRAM)
        render_histogram(metrics, series, out);
    else if (!is_unset(metrics, series))
        render_sample(out, series->name, "", series->labels, "", value_of(metrics, series));
}

/* A family has to be in one piece, whenever its series were registered. */
void till_metrics_render(till_metrics_t *metrics, till_buf_t *out)
{
    uint32_t count = metrics->shared->count;
    const struct series **sorted = till_alloc((count + 1) * sizeof(*sorted));

    for (uint32_t i = 0; i != count; ++i)
        sorted[i] = &metrics->shared->series[i];
    qsort(sorted, count, sizeof(*sorted), by_name);
    for (uint32_t i = 0; i != count; ++i) {
        if (i == 0 || strcmp(sorted[i]->name, sorted[i - 1]->name) != 0)
            render_head(sorted[i], out);
        render_series(metrics, sorted[i], out);
    }
    free(sorted);
    till_buf_puts(out, "# TYPE till_metrics_dropped counter\n");
    till_buf_printf(out, "# HELP till_metrics_dropped %s\n", help_of("till_metrics_dropped_total"));
    render_sample(out, "till_metrics_dropped_total", "", "", "", (double)metrics->shared->dropped);
    till_buf_puts(out, "# EOF\n");
}

void till_metrics_label(till_buf_t *out, const char *name, const char *value, size_t len)
{
    till_buf_printf(out, "%s%s=\"", out->len != 0 ? "," : "", name);
    for (size_t i = 0; i != len; ++i) {
        if (value[i] == '\n')
            till_buf_puts(out, "\\n");
        else if (value[i] == '"' || value[i] == '\\')
            till_buf_printf(out, "\\%c", value[i]);
        else
            till_buf_putc(out, value[i]);
    }
    till_buf_putc(out, '"');
}
