#include <string.h>
#include <unistd.h>
#include "serve/options.h"

static const char *text(const till_conf_t *conf, const char *name)
{
    const char *value = till_conf_str(conf, name);

    return value != NULL && value[0] != '\0' ? value : NULL;
}

static unsigned number(const till_conf_t *conf, const char *name) { return (unsigned)till_conf_int(conf, name); }

static unsigned worker_count(const till_conf_t *conf)
{
    unsigned wanted = number(conf, "server.workers");
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    return wanted != 0 ? wanted : cores > 0 ? (unsigned)cores : 1;
}

till_log_level_t till_log_level_named(const char *name)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};

    for (int i = 0; i != 4; ++i) {
        if (strcmp(name, names[i]) == 0)
            return (till_log_level_t)i;
    }
    return TILL_LOG_INFO;
}

void till_serve_opts_read(till_serve_opts_t *out, const till_conf_t *conf)
{
    *out = (till_serve_opts_t){
        .listen = till_conf_str(conf, "server.listen"),
        .ops_listen = text(conf, "server.ops_listen"),
        .control_socket = text(conf, "server.control_socket"),
        .cert_file = text(conf, "server.cert_file"),
        .key_file = text(conf, "server.key_file"),
        .user = text(conf, "server.user"),
        .log_level = till_log_level_named(till_conf_str(conf, "log.level")),
        .backlog = number(conf, "server.backlog"),
        .web_workers = worker_count(conf),
        .jobs_workers = number(conf, "server.jobs_workers"),
        .max_body = number(conf, "server.max_body_bytes"),
        .max_headers = number(conf, "server.max_header_bytes"),
        .max_in_flight = number(conf, "server.max_concurrency"),
        .max_connections = number(conf, "server.max_connections"),
        .max_per_address = number(conf, "server.max_connections_per_address"),
        .trust_forwarded = till_conf_bool(conf, "server.trust_forwarded"),
        .header_timeout_ms = number(conf, "server.header_timeout_ms"),
        .send_timeout_ms = number(conf, "server.send_timeout_ms"),
        .idle_timeout_ms = number(conf, "server.idle_timeout_ms"),
        .queue_target_ms = number(conf, "server.queue_target_ms"),
        .request_timeout_ms = number(conf, "server.request_timeout_ms"),
        .drain_timeout_ms = number(conf, "server.shutdown_timeout_ms"),
        .retire_timeout_ms = number(conf, "vm.retire_timeout_ms"),
        .heartbeat_timeout_ms = number(conf, "server.heartbeat_timeout_ms"),
        .max_streams = number(conf, "live.max_streams"),
        .max_streams_per_client = number(conf, "live.max_per_client"),
        .live_heartbeat_ms = number(conf, "live.heartbeat_ms"),
        .live_max_age_ms = (uint64_t)number(conf, "live.max_age_minutes") * 60000,
        .compress_min = number(conf, "server.compress_min_bytes"),
    };
}
