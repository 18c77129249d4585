#include <string.h>
#include "serve/pools.h"

#define COMMAND_MS 600000

static const char *str_or_null(const till_conf_t *conf, const char *name)
{
    const char *value = till_conf_str(conf, name);

    return value[0] != '\0' ? value : NULL;
}

static uint64_t limit(const till_conf_t *conf, const char *name) { return (uint64_t)till_conf_int(conf, name); }

/* Commands migrate and import: one of their statements may take long, and nobody waits behind it. */
static uint64_t statement_ms(const till_conf_t *conf, bool is_command)
{
    return is_command ? COMMAND_MS : limit(conf, "mysql.query_timeout_ms");
}

static till_sql_pool_t *make_sql(till_loop_t *loop, const till_conf_t *conf, bool is_command)
{
    const till_sql_opts_t opts = {
        .socket = str_or_null(conf, "mysql.socket"),
        .host = till_conf_str(conf, "mysql.host"),
        .port = (unsigned)till_conf_int(conf, "mysql.port"),
        .user = till_conf_str(conf, "mysql.user"),
        .password = till_conf_str(conf, "mysql.password"),
        .database = till_conf_str(conf, "mysql.database"),
        .connections = (unsigned)till_conf_int(conf, "mysql.connections"),
        .max_waiters = (unsigned)till_conf_int(conf, "mysql.max_waiters"),
        .queue_timeout_ms = limit(conf, "server.queue_timeout_ms"),
        .statement_ms = statement_ms(conf, is_command),
        .kill = till_conf_bool(conf, "mysql.kill_abandoned"),
        .connect_timeout_ms = limit(conf, "mysql.connect_timeout_ms"),
    };

    return till_sql_pool_create(loop, &opts);
}

static till_redis_t *make_redis(till_loop_t *loop, const till_conf_t *conf)
{
    const till_redis_opts_t opts = {
        .socket = str_or_null(conf, "redis.socket"),
        .host = till_conf_str(conf, "redis.host"),
        .port = (unsigned)till_conf_int(conf, "redis.port"),
        .password = str_or_null(conf, "redis.password"),
        .connect_timeout_ms = limit(conf, "redis.connect_timeout_ms"),
        .max_unanswered = (unsigned)till_conf_int(conf, "redis.max_waiters"),
        .max_silence_ms = limit(conf, "redis.command_timeout_ms"),
    };

    return till_redis_create(loop, &opts);
}

static till_http_t *make_http(till_loop_t *loop, const till_conf_t *conf)
{
    const till_http_opts_t opts = {
        .max_connections = (unsigned)till_conf_int(conf, "http.max_connections"),
        .max_per_host = (unsigned)till_conf_int(conf, "http.max_per_host"),
        .max_waiters = (unsigned)till_conf_int(conf, "http.max_waiters"),
        .queue_timeout_ms = limit(conf, "server.queue_timeout_ms"),
        .ca_file = str_or_null(conf, "http.ca_file"),
    };

    return till_http_create(loop, &opts);
}

void till_pools_init(till_pools_t *pools, const till_conf_t *conf, const char *process, const char *var_dir)
{
    till_loop_t *loop = till_loop_create();
    bool is_command = strcmp(process, "command") == 0;

    *pools = (till_pools_t){.loop = loop,
                            .sql = make_sql(loop, conf, is_command),
                            .redis = make_redis(loop, conf),
                            .http = make_http(loop, conf),
                            .offload = till_offload_create(loop, 2, 0),
                            .loader = till_offload_create(loop, 1, TILL_LOADER_NICENESS),
                            .box = till_rulebox_create(loop),
                            .amqp = till_amqp_create(loop)};
    pools->env = (till_vm_env_t){.loop = loop,
                                 .sql = pools->sql,
                                 .redis = pools->redis,
                                 .http = pools->http,
                                 .offload = pools->offload,
                                 .box = pools->box,
                                 .amqp = pools->amqp,
                                 .loader = pools->loader,
                                 .conf = conf,
                                 .gc = &pools->gc,
                                 .process = process,
                                 .var_dir = var_dir,
                                 .memory_cap = (size_t)till_conf_int(conf, "vm.memory_cap_mb") << 20,
                                 .sql_ms = statement_ms(conf, is_command),
                                 .redis_ms = limit(conf, "redis.command_timeout_ms"),
                                 .http_ms = limit(conf, "http.timeout_ms")};
}

void till_pools_dispose(till_pools_t *pools)
{
    till_rulebox_destroy(pools->box);
    till_amqp_destroy(pools->amqp);
    till_offload_destroy(pools->loader);
    till_offload_destroy(pools->offload);
    till_http_destroy(pools->http);
    till_redis_destroy(pools->redis);
    till_sql_pool_destroy(pools->sql);
    till_loop_turn(pools->loop, 0); /* what a destroy cancelled is told so in the next turn */
    till_loop_destroy(pools->loop);
}
