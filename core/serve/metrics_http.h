/* metrics_http.h - what is counted of each request, at the price of a few stores.
 *
 * The numbers of a route's series are looked up once and kept by route and
 * method. There is room for 512 such pairs; the requests of further ones are
 * counted under route="other".
 *
 * Thread: the server's. Owns: its table.
 */
#ifndef TILL_SERVE_METRICS_HTTP_H
#define TILL_SERVE_METRICS_HTTP_H

#include "serve/metrics.h"

typedef struct till_http_metrics till_http_metrics_t;

/** `metrics` is borrowed. The limits are those of this process. */
till_http_metrics_t *till_http_metrics_create(till_metrics_t *metrics, unsigned max_in_flight,
                                              unsigned max_connections);
void till_http_metrics_destroy(till_http_metrics_t *http);
/** A request has ended. `route` is its template, "none" without one; an unknown method counts as OTHER. */
void till_http_metrics_count(till_http_metrics_t *http, const char *route, const char *method, size_t method_len,
                             int status, double seconds);
void till_http_metrics_in_flight(till_http_metrics_t *http, unsigned n);
void till_http_metrics_connections(till_http_metrics_t *http, unsigned n);

#endif
