#include <string.h>
#include "serve/server_priv.h"

#define OPENMETRICS "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define PLAIN_TEXT "text/plain; version=0.0.4; charset=utf-8"

struct ops_handler {
    h2o_handler_t super;
    till_server_t *server;
};

static till_server_t *server_of(h2o_handler_t *handler) { return ((struct ops_handler *)handler)->server; }

/* That we answer is the answer. */
static int on_livez(h2o_handler_t *handler, h2o_req_t *req)
{
    (void)handler;
    till_respond_text(req, 200, "application/json", H2O_STRLIT("{\"status\":\"ok\"}\n"));
    return 0;
}

static int on_readyz(h2o_handler_t *handler, h2o_req_t *req)
{
    till_server_t *server = server_of(handler);
    const till_backend_t *backend = &server->opts.backend;
    till_buf_t reasons, body;

    till_buf_init(&reasons, 0);
    till_buf_init(&body, 0);
    bool is_ready = backend->is_ready == NULL || backend->is_ready(backend->data, &reasons);
    if (is_ready && server->draining) {
        till_buf_puts(&reasons, "\"server\":\"is stopping\"");
        is_ready = false;
    }
    till_buf_printf(&body, "{\"status\":\"%s\",\"reasons\":{%s}}\n", is_ready ? "ready" : "not ready",
                    reasons.len != 0 ? reasons.base : "");
    till_respond_text(req, is_ready ? 200 : 503, "application/json", body.base, body.len);
    till_buf_dispose(&reasons);
    till_buf_dispose(&body);
    return 0;
}

/* Who understands OpenMetrics, Prometheus for one, asks for it by name. */
static till_metrics_format_t metrics_format(h2o_req_t *req)
{
    ssize_t at = h2o_find_header(&req->headers, H2O_TOKEN_ACCEPT, -1);

    if (at == -1)
        return TILL_METRICS_PROMETHEUS;
    h2o_iovec_t accept = req->headers.entries[at].value;
    return memmem(accept.base, accept.len, H2O_STRLIT("application/openmetrics-text")) != NULL
               ? TILL_METRICS_OPENMETRICS
               : TILL_METRICS_PROMETHEUS;
}

static int on_metrics(h2o_handler_t *handler, h2o_req_t *req)
{
    till_server_t *server = server_of(handler);
    const till_backend_t *backend = &server->opts.backend;
    till_metrics_format_t format = metrics_format(req);
    till_buf_t text;

    till_buf_init(&text, 0);
    if (backend->refresh != NULL)
        backend->refresh(backend->data);
    till_metrics_render(server->opts.metrics, format, &text);
    till_respond_text(req, 200, format == TILL_METRICS_OPENMETRICS ? OPENMETRICS : PLAIN_TEXT, text.base, text.len);
    till_buf_dispose(&text);
    return 0;
}

static int on_other(h2o_handler_t *handler, h2o_req_t *req)
{
    (void)handler;
    till_respond_problem(req, TILL_NOT_FOUND, "Here are /livez, /readyz and /metrics.", 0);
    return 0;
}

/* libh2o's paths are prefixes; "/livez/x" is nothing of ours. */
static int on_ops(h2o_handler_t *handler, h2o_req_t *req)
{
    static const struct {
        const char *path;
        int (*on_req)(h2o_handler_t *, h2o_req_t *);
    } routes[] = {{"/livez", on_livez}, {"/readyz", on_readyz}, {"/metrics", on_metrics}};
    h2o_iovec_t path = req->path_normalized;

    for (size_t i = 0; i != sizeof(routes) / sizeof(routes[0]); ++i) {
        if (h2o_memis(path.base, path.len, routes[i].path, strlen(routes[i].path)))
            return routes[i].on_req(handler, req);
    }
    return on_other(handler, req);
}

void till_ops_register(till_server_t *server, h2o_hostconf_t *host)
{
    h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);

    till_respond_register(server, path);
    till_gate_register(server, path);
    struct ops_handler *handler = (struct ops_handler *)h2o_create_handler(path, sizeof(*handler));
    handler->super.on_req = on_ops;
    handler->server = server;
}
