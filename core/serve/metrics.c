#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include "base/mem.h"
#include "serve/metrics_priv.h"

till_metrics_t *till_metrics_create(void)
{
    pthread_mutexattr_t attr;
    void *memory =
        mmap(NULL, sizeof(struct till_metrics_shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        return NULL;
    till_metrics_t *metrics = till_calloc(1, sizeof(*metrics));
    metrics->shared = memory;
    metrics->shared->slots = 1;
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
    uint32_t used = metrics->shared->slots;

    metrics->slot = slot < TILL_METRICS_SLOTS ? slot : TILL_METRICS_SLOTS - 1;
    while (used <= metrics->slot && !atomic_compare_exchange_weak(&metrics->shared->slots, &used, metrics->slot + 1))
        ;
}

/* ---- cells ------------------------------------------------------------ */

/* A slot has one writer, so nothing has to be atomic but the single load and store. */
static double load_cell(till_metrics_t *metrics, unsigned slot, uint32_t cell)
{
    uint64_t bits = atomic_load_explicit(&metrics->shared->cells[slot][cell], memory_order_relaxed);
    double value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

static void store_cell(till_metrics_t *metrics, uint32_t cell, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    atomic_store_explicit(&metrics->shared->cells[metrics->slot][cell], bits, memory_order_relaxed);
}

static void add_cell(till_metrics_t *metrics, uint32_t cell, double amount)
{
    store_cell(metrics, cell, load_cell(metrics, metrics->slot, cell) + amount);
}

static uint32_t cell_count(till_metric_kind_t kind)
{
    return kind == TILL_METRIC_HISTOGRAM ? TILL_CELL_SUM + 1 : kind == TILL_METRIC_LAST ? 2 : 1;
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
        uint16_t *place = &metrics->lookup[i & (TILL_LOOKUP - 1)];
        if (*place == 0)
            return place;
        const struct till_series_row *series = &metrics->shared->series[*place - 1];
        if (strcmp(series->name, name) == 0 && strcmp(series->labels, labels) == 0)
            return place;
    }
}

/* Takes what other processes registered meanwhile into our index. */
static void learn(till_metrics_t *metrics)
{
    uint32_t count = metrics->shared->count;

    for (; metrics->known < count; ++metrics->known) {
        const struct till_series_row *series = &metrics->shared->series[metrics->known];
        *find_place(metrics, series->name, series->labels) = (uint16_t)(metrics->known + 1);
    }
}

static void lock(struct till_metrics_shared *shared)
{
    if (pthread_mutex_lock(&shared->lock) == EOWNERDEAD)
        pthread_mutex_consistent(&shared->lock); /* an entry half written was not counted: nothing to mend */
}

static bool has_other_kind(const struct till_metrics_shared *shared, const char *name, till_metric_kind_t kind)
{
    for (uint32_t i = 0; i != shared->count; ++i) {
        if (strcmp(shared->series[i].name, name) == 0)
            return shared->series[i].kind != kind;
    }
    return false;
}

static void enter(struct till_metrics_shared *shared, till_metric_kind_t kind, const char *name, const char *labels)
{
    struct till_series_row *series = &shared->series[shared->count];

    memcpy(series->name, name, strlen(name) + 1);
    memcpy(series->labels, labels, strlen(labels) + 1);
    series->kind = kind;
    series->cell = shared->next_cell;
    shared->next_cell += cell_count(kind);
    ++shared->count;
}

static void register_series(till_metrics_t *metrics, till_metric_kind_t kind, const char *name, const char *labels)
{
    struct till_metrics_shared *shared = metrics->shared;

    lock(shared);
    learn(metrics); /* somebody may have been faster */
    if (*find_place(metrics, name, labels) == 0 && shared->count < TILL_MAX_SERIES &&
        shared->next_cell + cell_count(kind) <= TILL_CELLS && !has_other_kind(shared, name, kind))
        enter(shared, kind, name, labels);
    pthread_mutex_unlock(&shared->lock);
    learn(metrics);
}

static const struct till_series_row *find(till_metrics_t *metrics, till_metric_kind_t kind, const char *name,
                                          const char *labels)
{
    const struct till_series_row *series;

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

till_series_t till_metrics_find(till_metrics_t *metrics, till_metric_kind_t kind, const char *name, const char *labels)
{
    const struct till_series_row *series = find(metrics, kind, name, labels);

    return series != NULL ? series->cell + 1 : 0;
}

static bool is_there(till_metrics_t *metrics, till_series_t series)
{
    if (series == 0)
        ++metrics->shared->dropped;
    return series != 0;
}

void till_series_add(till_metrics_t *metrics, till_series_t counter, double amount)
{
    if (is_there(metrics, counter))
        add_cell(metrics, counter - 1, amount);
}

void till_series_set(till_metrics_t *metrics, till_series_t gauge_or_peak, double value)
{
    if (is_there(metrics, gauge_or_peak))
        store_cell(metrics, gauge_or_peak - 1, value);
}

void till_series_observe(till_metrics_t *metrics, till_series_t histogram, double seconds)
{
    if (!is_there(metrics, histogram))
        return;
    add_cell(metrics, histogram - 1 + till_hist_bucket(seconds), 1);
    add_cell(metrics, histogram - 1 + TILL_CELL_SUM, seconds);
}

void till_metrics_add(till_metrics_t *metrics, const char *name, const char *labels, double amount)
{
    size_t len = strlen(name);
    bool is_total = len > 6 && strcmp(name + len - 6, "_total") == 0;
    const struct till_series_row *series = is_total ? find(metrics, TILL_METRIC_COUNTER, name, labels) : NULL;

    if (!is_total)
        ++metrics->shared->dropped; /* OpenMetrics wants the suffix */
    if (series != NULL && amount >= 0)
        add_cell(metrics, series->cell, amount);
}

void till_metrics_set(till_metrics_t *metrics, till_metric_kind_t kind, const char *name, const char *labels,
                      double value)
{
    const struct till_series_row *series = find(metrics, kind, name, labels);

    if (series == NULL)
        return;
    if (kind != TILL_METRIC_LAST) {
        store_cell(metrics, series->cell, value);
        return;
    }
    store_cell(metrics, series->cell + 1, value);
    store_cell(metrics, series->cell, till_hist_now());
}

void till_metrics_observe(till_metrics_t *metrics, const char *name, const char *labels, double seconds)
{
    if (seconds >= 0) /* and not NaN */
        till_series_observe(metrics, till_metrics_find(metrics, TILL_METRIC_HISTOGRAM, name, labels), seconds);
}

void till_metrics_publish(till_metrics_t *metrics, const char *name, const char *labels, const till_hist_t *now,
                          till_hist_t *told)
{
    const struct till_series_row *series = find(metrics, TILL_METRIC_HISTOGRAM, name, labels);

    if (series == NULL)
        return;
    for (unsigned i = 0; i != TILL_HIST_BUCKETS + 1; ++i) {
        if (now->counts[i] != told->counts[i])
            add_cell(metrics, series->cell + i, (double)(now->counts[i] - told->counts[i]));
    }
    add_cell(metrics, series->cell + TILL_CELL_SUM, now->sum - told->sum);
    *told = *now;
}

void till_metrics_set_generation(till_metrics_t *metrics, const char *name)
{
    char *to = metrics->shared->generations[metrics->slot];

    to[0] = '\0';
    if (name != NULL && strlen(name) < TILL_METRICS_GENERATION)
        memcpy(to, name, strlen(name) + 1);
}

const char *till_metrics_generation(const till_metrics_t *metrics, unsigned slot)
{
    return metrics->shared->generations[slot];
}

void till_metrics_clear_gauges(till_metrics_t *metrics, unsigned slot)
{
    struct till_metrics_shared *shared = metrics->shared;

    shared->generations[slot][0] = '\0';
    for (uint32_t i = 0; i != shared->count; ++i) {
        const struct till_series_row *series = &shared->series[i];
        if (series->kind == TILL_METRIC_GAUGE || series->kind == TILL_METRIC_PEAK)
            shared->cells[slot][series->cell] = 0;
    }
}

/* ---- adding up ---------------------------------------------------------- */

double till_metrics_sum_cell(till_metrics_t *metrics, uint32_t cell)
{
    double sum = 0;

    for (unsigned slot = 0; slot != metrics->shared->slots; ++slot)
        sum += load_cell(metrics, slot, cell);
    return sum;
}

static double peak_cell(till_metrics_t *metrics, uint32_t cell)
{
    double peak = load_cell(metrics, 0, cell);

    for (unsigned slot = 1; slot < metrics->shared->slots; ++slot)
        peak = fmax(peak, load_cell(metrics, slot, cell));
    return peak;
}

static double last_cell(till_metrics_t *metrics, uint32_t cell)
{
    double newest = 0, value = 0;

    for (unsigned slot = 0; slot != metrics->shared->slots; ++slot) {
        double when = load_cell(metrics, slot, cell);
        if (when > newest) {
            newest = when;
            value = load_cell(metrics, slot, cell + 1);
        }
    }
    return value;
}

static double count_cells(till_metrics_t *metrics, uint32_t cell)
{
    double sum = 0;

    for (unsigned i = 0; i != TILL_HIST_BUCKETS + 1; ++i)
        sum += till_metrics_sum_cell(metrics, cell + i);
    return sum;
}

double till_metrics_value(till_metrics_t *metrics, const struct till_series_row *series)
{
    switch (series->kind) {
    case TILL_METRIC_PEAK:
        return peak_cell(metrics, series->cell);
    case TILL_METRIC_LAST:
        return last_cell(metrics, series->cell);
    case TILL_METRIC_HISTOGRAM:
        return count_cells(metrics, series->cell);
    default:
        return till_metrics_sum_cell(metrics, series->cell);
    }
}

double till_metrics_read(till_metrics_t *metrics, const char *name, const char *labels)
{
    learn(metrics);
    uint16_t place = *find_place(metrics, name, labels != NULL ? labels : "");
    return place != 0 ? till_metrics_value(metrics, &metrics->shared->series[place - 1]) : 0;
}
