#include "serve/metrics_http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

#define ROUTES 512  /* as in the header */
#define PLACES 1024 /* power of two, above it */
#define ROUTE_MAX 128
#define CLASSES 6 /* 0xx (nothing was answered) to 5xx */
#define STATUSES 600

struct route {
    char name[ROUTE_MAX]; /* "": free */
    unsigned method;
    till_series_t seconds, requests[CLASSES];
};

struct till_http_metrics {
    till_metrics_t *metrics;
    till_series_t in_flight, connections, statuses[STATUSES];
    unsigned count;
    struct route routes[PLACES];
};

static const char *const methods[] = {"GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS", "OTHER"};

till_http_metrics_t *till_http_metrics_create(till_metrics_t *metrics, unsigned max_in_flight, unsigned max_connections)
{
    till_http_metrics_t *http = till_calloc(1, sizeof(*http));

    http->metrics = metrics;
    http->in_flight = till_metrics_find(metrics, TILL_METRIC_GAUGE, "till_http_in_flight", NULL);
    http->connections = till_metrics_find(metrics, TILL_METRIC_GAUGE, "till_http_connections", NULL);
    till_metrics_set(metrics, TILL_METRIC_GAUGE, "till_http_in_flight_limit", NULL, max_in_flight);
    till_metrics_set(metrics, TILL_METRIC_GAUGE, "till_http_connections_limit", NULL, max_connections);
    return http;
}

void till_http_metrics_destroy(till_http_metrics_t *http) { free(http); }

/* Labels come from small sets; anybody can invent methods. */
static unsigned number_of(const char *method, size_t len)
{
    unsigned i = 0;

    while (i != sizeof(methods) / sizeof(methods[0]) - 1 &&
           (strlen(methods[i]) != len || memcmp(methods[i], method, len) != 0))
        ++i;
    return i;
}

static struct route *find_place(till_http_metrics_t *http, const char *route, unsigned method)
{
    uint64_t hash = method;

    for (const char *p = route; *p != '\0'; ++p)
        hash = (hash ^ (uint8_t)*p) * 0x100000001b3u;
    for (uint64_t i = hash ^ hash >> 32;; ++i) {
        struct route *place = &http->routes[i & (PLACES - 1)];
        if (place->name[0] == '\0' || (place->method == method && strcmp(place->name, route) == 0))
            return place;
    }
}

static void write_labels(till_buf_t *out, const struct route *route)
{
    till_metrics_label(out, "route", route->name, strlen(route->name));
    till_metrics_label(out, "method", methods[route->method], strlen(methods[route->method]));
}

static void enter(till_http_metrics_t *http, struct route *place, const char *name, unsigned method)
{
    till_buf_t labels;

    ++http->count;
    place->method = method;
    snprintf(place->name, sizeof(place->name), "%s", name);
    till_buf_init(&labels, 0);
    write_labels(&labels, place);
    place->seconds =
        till_metrics_find(http->metrics, TILL_METRIC_HISTOGRAM, "till_http_request_duration_seconds", labels.base);
    till_buf_dispose(&labels);
}

static struct route *route_of(till_http_metrics_t *http, const char *name, unsigned method)
{
    struct route *place = find_place(http, name, method);

    if (place->name[0] != '\0')
        return place;
    if (http->count >= ROUTES || name[0] == '\0' || strlen(name) >= ROUTE_MAX) {
        name = "other";
        place = find_place(http, name, method);
    }
    if (place->name[0] == '\0')
        enter(http, place, name, method);
    return place;
}

/* Registered when the first such answer is given: most routes never answer in most ways. */
static till_series_t class_series(till_http_metrics_t *http, struct route *route, unsigned class)
{
    char text[4] = {(char)('0' + class), 'x', 'x', '\0'};
    till_buf_t labels;

    if (route->requests[class] != 0)
        return route->requests[class];
    till_buf_init(&labels, 0);
    write_labels(&labels, route);
    till_metrics_label(&labels, "status", text, 3);
    route->requests[class] =
        till_metrics_find(http->metrics, TILL_METRIC_COUNTER, "till_http_requests_total", labels.base);
    till_buf_dispose(&labels);
    return route->requests[class];
}

static till_series_t status_series(till_http_metrics_t *http, unsigned status)
{
    char label[24];

    if (http->statuses[status] == 0) {
        snprintf(label, sizeof(label), "status=\"%u\"", status);
        http->statuses[status] =
            till_metrics_find(http->metrics, TILL_METRIC_COUNTER, "till_http_responses_total", label);
    }
    return http->statuses[status];
}

void till_http_metrics_count(till_http_metrics_t *http, const char *route, const char *method, size_t method_len,
                             int status, double seconds)
{
    struct route *at = route_of(http, route, number_of(method, method_len));
    unsigned code = status > 0 && status < STATUSES ? (unsigned)status : 0;

    till_series_observe(http->metrics, at->seconds, seconds);
    till_series_add(http->metrics, class_series(http, at, code / 100), 1);
    till_series_add(http->metrics, status_series(http, code), 1);
}

void till_http_metrics_in_flight(till_http_metrics_t *http, unsigned n)
{
    till_series_set(http->metrics, http->in_flight, n);
}

void till_http_metrics_connections(till_http_metrics_t *http, unsigned n)
{
    till_series_set(http->metrics, http->connections, n);
}
