/* offload.h - a few threads for what takes long: password hashes, building a generation, xz.
 *
 * Jobs stand in lanes, which take turns: who is behind many in one lane waits
 * for them, who is in another does not. Of a lane they run in the order they
 * came; how many may wait there is the caller's to bound (till_offload_waiting).
 * `work` runs on a thread of the pool and may touch nothing but its argument; `done` runs on the loop's thread. A job
 * that was cancelled or timed out still runs to its end (a thread cannot be stopped safely): its result is then dropped
 * through `drop`.
 */
#ifndef TILL_IO_OFFLOAD_H
#define TILL_IO_OFFLOAD_H

#include "io/op.h"

enum { TILL_OFFLOAD_LANES = 4 };

typedef struct till_offload till_offload_t;
typedef struct till_job {
    void (*work)(void *arg);
    void (*done)(void *data, till_status_t status, void *arg); /* OK: `arg` is the caller's again. else: NULL */
    void (*drop)(void *arg); /* frees `arg` where `done` was told TIMEOUT or CANCELLED */
    void *arg;
    void *data;
    unsigned lane; /* below TILL_OFFLOAD_LANES */
} till_job_t;

/** `niceness` as of nice(2), 0 for none: such threads take what the others leave. */
till_offload_t *till_offload_create(till_loop_t *loop, unsigned threads, int niceness);
/** Waits for what is running; `done` of what is not is told TILL_CANCELLED, in the loop's next turn. */
void till_offload_destroy(till_offload_t *pool);
/** `job` is copied. */
till_op_t *till_offload_run(till_offload_t *pool, const till_job_t *job, uint64_t timeout_ms);
/** How many of this lane have no thread yet. */
unsigned till_offload_waiting(till_offload_t *pool, unsigned lane);
/** Runs it on a thread of its own, which takes what the others leave, and waits for its end: for who has no loop to go
 * on with meanwhile, and others to whom the cores should go. */
void till_offload_wait(int niceness, void (*work)(void *arg), void *arg);

#endif
