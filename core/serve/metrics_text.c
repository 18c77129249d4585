/* metrics_text.c - the series of all processes as text; see metrics.h */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "serve/metrics_priv.h"
#include "serve/metrics_table.h"

struct render {
    till_metrics_t *metrics;
    till_metrics_format_t format;
    till_buf_t *out;
};

static const char *help_of(const char *name)
{
    static const struct {
        const char *name, *help;
    } helps[] = {
#define TILL_METRIC_HELP(kind, name, labels, help) {name, help},
        TILL_METRICS_TABLE(TILL_METRIC_HELP)
#undef TILL_METRIC_HELP
    };

    for (size_t i = 0; i != sizeof(helps) / sizeof(helps[0]); ++i) {
        if (strcmp(helps[i].name, name) == 0)
            return helps[i].help;
    }
    return "Told by the shop's code.";
}

static void write_head(const struct render *render, const char *name, till_metric_kind_t kind)
{
    static const char *const types[] = {"counter", "gauge", "gauge", "gauge", "histogram"};
    bool is_short = kind == TILL_METRIC_COUNTER && render->format == TILL_METRICS_OPENMETRICS;
    int len = (int)(strlen(name) - (is_short ? strlen("_total") : 0));

    till_buf_printf(render->out, "# HELP %.*s %s\n", len, name, help_of(name));
    till_buf_printf(render->out, "# TYPE %.*s %s\n", len, name, types[kind]);
}

static void write_sample(const struct render *render, const char *name, const char *suffix, const char *labels,
                         const char *more, double value)
{
    const char *comma = labels[0] != '\0' && more[0] != '\0' ? "," : "";

    till_buf_printf(render->out, "%s%s", name, suffix);
    if (labels[0] != '\0' || more[0] != '\0')
        till_buf_printf(render->out, "{%s%s%s}", labels, comma, more);
    till_buf_printf(render->out, " %.15g\n", value);
}

/* Count and +Inf are made of the buckets, so that they agree whatever is counted meanwhile. */
static void write_histogram(const struct render *render, const struct till_series_row *series)
{
    double count = 0;
    char le[32];

    for (unsigned i = 0; i != TILL_HIST_BUCKETS; ++i) {
        count += till_metrics_sum_cell(render->metrics, series->cell + i);
        snprintf(le, sizeof(le), till_hist_bounds[i] >= 1 ? "le=\"%.1f\"" : "le=\"%g\"", till_hist_bounds[i]);
        write_sample(render, series->name, "_bucket", series->labels, le, count);
    }
    count += till_metrics_sum_cell(render->metrics, series->cell + TILL_HIST_BUCKETS);
    write_sample(render, series->name, "_bucket", series->labels, "le=\"+Inf\"", count);
    write_sample(render, series->name, "_count", series->labels, "", count);
    write_sample(render, series->name, "_sum", series->labels, "",
                 till_metrics_sum_cell(render->metrics, series->cell + TILL_CELL_SUM));
}

static void write_series(const struct render *render, const struct till_series_row *series)
{
    if (series->kind == TILL_METRIC_HISTOGRAM)
        write_histogram(render, series);
    else
        write_sample(render, series->name, "", series->labels, "", till_metrics_value(render->metrics, series));
}

static int by_name(const void *a, const void *b)
{
    const struct till_series_row *x = *(const struct till_series_row *const *)a,
                                 *y = *(const struct till_series_row *const *)b;
    int order = strcmp(x->name, y->name);

    return order != 0 ? order : strcmp(x->labels, y->labels);
}

/* A family has to be in one piece, whenever its series were registered. */
static void write_table(const struct render *render)
{
    const struct till_metrics_shared *shared = render->metrics->shared;
    uint32_t count = shared->count;
    const struct till_series_row **sorted = till_alloc((count + 1) * sizeof(*sorted));

    for (uint32_t i = 0; i != count; ++i)
        sorted[i] = &shared->series[i];
    qsort(sorted, count, sizeof(*sorted), by_name);
    for (uint32_t i = 0; i != count; ++i) {
        if (i == 0 || strcmp(sorted[i]->name, sorted[i - 1]->name) != 0)
            write_head(render, sorted[i]->name, sorted[i]->kind);
        write_series(render, sorted[i]);
    }
    free(sorted);
}

/* How many processes run each generation; more than one name for long: something is amiss. */
static void write_generations(const struct render *render)
{
    const struct till_metrics_shared *shared = render->metrics->shared;
    unsigned n = shared->slots;
    char names[TILL_METRICS_SLOTS][TILL_METRICS_GENERATION], label[TILL_METRICS_GENERATION + 16];

    memcpy(names, shared->generations, sizeof(names)); /* its processes go on writing */
    write_head(render, "till_generation_info", TILL_METRIC_GAUGE);
    for (unsigned i = 0; i != n; ++i) {
        unsigned same = 1;
        names[i][TILL_METRICS_GENERATION - 1] = '\0';
        if (names[i][0] == '\0')
            continue;
        for (unsigned j = i + 1; j != n; ++j) {
            if (strncmp(names[i], names[j], TILL_METRICS_GENERATION) == 0) {
                names[j][0] = '\0';
                ++same;
            }
        }
        snprintf(label, sizeof(label), "generation=\"%s\"", names[i]);
        write_sample(render, "till_generation_info", "", label, "", same);
    }
}

void till_metrics_render(till_metrics_t *metrics, till_metrics_format_t format, till_buf_t *out)
{
    const struct render render = {metrics, format, out};

    write_table(&render);
    write_generations(&render);
    write_head(&render, "till_metrics_series", TILL_METRIC_GAUGE);
    write_sample(&render, "till_metrics_series", "", "", "", metrics->shared->count);
    write_head(&render, "till_metrics_dropped_total", TILL_METRIC_COUNTER);
    write_sample(&render, "till_metrics_dropped_total", "", "", "", (double)metrics->shared->dropped);
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
