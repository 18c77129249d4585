/* pools.h - what one process has to work with: loop, database, Redis, HTTP client, threads, the box for rules.
 *
 * The same for web workers, jobs workers and commands, so that Lua finds the
 * same world everywhere. Made after fork, from the configuration.
 */
#ifndef TILL_SERVE_POOLS_H
#define TILL_SERVE_POOLS_H

#include "vm/vm.h"

#define TILL_LOADER_NICENESS 10 /* a tenth of what a thread gets that serves, where both want a core */

typedef struct till_pools {
    till_loop_t *loop;
    till_sql_pool_t *sql;
    till_redis_t *redis;
    till_http_t *http;
    till_offload_t *offload, *loader; /* the second one builds generations and closes them, beside what is served */
    till_rulebox_t *box;
    till_amqp_t *amqp;
    till_vm_gc_t gc;
    till_vm_env_t env; /* all of the above, for till_vm_create; set on_metrics, data, is_command yourself */
} till_pools_t;

/** `conf` is borrowed until dispose, `process` ("web-0") and `var_dir` (may be NULL) too. */
void till_pools_init(till_pools_t *pools, const till_conf_t *conf, const char *process, const char *var_dir);
/** Every VM must be closed. */
void till_pools_dispose(till_pools_t *pools);

#endif
