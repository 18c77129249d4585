/* amqp_priv.h - between the two sides of io/amqp: amqp.c on the loop's thread, amqp_wire.c on its own. */
#ifndef TILL_IO_AMQP_PRIV_H
#define TILL_IO_AMQP_PRIV_H

#include <pthread.h>
#include "io/amqp.h"

#define TILL_AMQP_ERROR_MAX 240

/* The socket that the thread waits on, so that the loop's thread can break it: -1, none. */
typedef struct till_amqp_brake {
    pthread_mutex_t lock;
    int fd;         /* under the lock; only a socket that is open stands here */
    bool is_closed; /* under the lock: nothing is to be begun any more */
} till_amqp_brake_t;

/* One call: copied, filled in by the thread, freed in one piece by whoever has it last. */
typedef struct till_amqp_work {
    till_amqp_t *amqp;
    till_amqp_target_t target;
    till_amqp_message_t *messages;
    till_amqp_outcome_t *outcomes;
    size_t n;
    uint64_t until_ms; /* of CLOCK_MONOTONIC */
    till_status_t status;
    char error[TILL_AMQP_ERROR_MAX];
    char *key; /* what tells connections apart */
    char texts[];
} till_amqp_work_t;

typedef struct till_amqp_wire till_amqp_wire_t;

/** On the thread: publishes and waits for the broker's word, anew where a connection that was kept turns out dead.
 * `wires` is the list of connections. */
void till_amqp_wire_run(till_amqp_wire_t **wires, till_amqp_brake_t *brake, till_amqp_work_t *work);
/** All of them; the thread must have ended. */
void till_amqp_wire_close_all(till_amqp_wire_t **wires, till_amqp_brake_t *brake);

#endif
