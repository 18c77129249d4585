/* errand.h - a worker's half of asking its master, and of being asked by it; see master_errand.c for the other.
 *
 *     worker to master    ask ID JSON     an order, as on the control socket   ─►  answer ID JSON
 *     master to worker    run ID JSON     main.generation(JSON) of the live VM ─►  ran ID JSON
 *
 * The master has no connection to the database: what is to be read or written
 * there it has done by one of its workers. An ask belongs to the process and not
 * to a VM: it outlives the generation whose request asked.
 *
 * Thread: the loop's.
 */
#ifndef TILL_SERVE_ERRAND_H
#define TILL_SERVE_ERRAND_H

#include "serve/channel.h"
#include "vm/vm.h"

typedef struct till_errands {
    till_loop_t *loop;
    int channel;
    uint64_t last_id;
    struct till_ask *asks;
} till_errands_t;

/** `channel` is -1 where there is no master. */
void till_errands_init(till_errands_t *errands, till_loop_t *loop, int channel);
/** For till_vm_env_t.ask. */
till_op_t *till_errands_ask(void *errands, till_slice_t command, uint64_t timeout_ms,
                            void (*done)(void *data, till_status_t status, const char *text, size_t len), void *data);
/** The master has answered. */
void till_errands_on_answer(till_errands_t *errands, const till_message_t *message);
/** The master asks; `vm` is the live one, or NULL. */
void till_errands_run(till_errands_t *errands, till_vm_t *vm, const till_message_t *message);

#endif
