/* gauges.h - what a process tells about itself and its pools, brought up to date now and then.
 *
 * The pools keep plain statistics; here they are published, as differences to
 * what was published before. A worker refreshes them each second and before it
 * answers /metrics itself, so that what the other workers show is at most a
 * second old.
 *
 * Thread: the process' main thread. Owns: nothing of what it watches.
 */
#ifndef TILL_SERVE_GAUGES_H
#define TILL_SERVE_GAUGES_H

#include "serve/metrics.h"
#include "serve/pools.h"

typedef struct till_gauges till_gauges_t;

typedef struct till_gauges_of_vm {
    size_t memory;
    unsigned calls, generations;
} till_gauges_of_vm_t;

/** All borrowed. `pools` is NULL in the master, which has none. */
till_gauges_t *till_gauges_create(till_metrics_t *metrics, const till_pools_t *pools, const char *process);
void till_gauges_destroy(till_gauges_t *gauges);
void till_gauges_refresh(till_gauges_t *gauges, const till_gauges_of_vm_t *vm, bool database_answers);
/** Once a second: the event loop's worst turn, and at every fifth call CPU, memory and descriptors. */
void till_gauges_tick(till_gauges_t *gauges);
/** Room on the disk that `dir` is on. */
void till_gauges_disk(till_metrics_t *metrics, const char *place, const char *dir);

#endif
