/* client.h - a worker's side of its box: exchanges on the loop.
 *
 * The box is started by the first exchange and replaced when it dies, takes too
 * long, or answers nonsense; see box.h for the processes. One exchange runs at a
 * time, the others wait in line.
 *
 * What a lost box was at stands in memory that it shares with us: that rule is the
 * culprit. The asker decides what becomes of the others (lua/till/prim/box.lua asks
 * again without it).
 *
 *   DOWN --first exchange--> STARTING --a box comes--> IDLE --send--> BUSY --the answer--> IDLE
 *    ^                          |                        |              |
 *    +------the keeper ends-----+------------------------+   it dies, or overruns
 *    |                                                   |              v
 *    +---------------------------------------------------+--------- REPLACING --a box comes--> IDLE
 *
 * Thread: the loop's.
 * Owns: both processes. They end with us, however we end.
 */
#ifndef TILL_VM_BOX_CLIENT_H
#define TILL_VM_BOX_CLIENT_H

#include "io/op.h"
#include "vm/box/wire.h"

typedef struct till_rulebox till_rulebox_t;

typedef struct till_rulebox_rule {
    uint32_t id;       /* of its text, from till_rulebox_new_id */
    till_slice_t text; /* borrowed until the callback */
    till_slice_t args; /* till_wire_put_input's bytes; copied */
} till_rulebox_rule_t;

typedef struct till_rulebox_ask {
    char what; /* 'E' evaluate, 'C' check */
    const till_rulebox_rule_t *rules;
    size_t count;
    till_slice_t input; /* as args */
    uint64_t fuel;      /* of each rule */
    uint32_t cpu_us;    /* of each rule */
    uint64_t wall_ms;   /* of all of them, once they run; a box that did not get the processor has five times as long */
} till_rulebox_ask_t;

typedef struct till_rulebox_reply {
    till_wire_t answers;   /* as wire.h says, from the count on; borrowed during the callback */
    double seconds;        /* from the sending to the answer */
    bool is_lost;          /* the box is: then instead of answers */
    uint32_t culprit;      /* the rule it was at, from 0 */
    till_rule_code_t code; /* DEADLINE or CRASH */
    char how[80];          /* "signal 11" */
} till_rulebox_reply_t;

/** TILL_OK with a reply; else the reply is NULL: TILL_UNAVAILABLE (no box can be had), TILL_OVERLOADED, TILL_TIMEOUT,
 * TILL_CANCELLED. */
typedef void (*till_rulebox_cb)(void *data, till_status_t status, const till_rulebox_reply_t *reply);

/** Notes the program of the boxes, so that it is the one of now also when the files on the disk are replaced: in the
 * master, before it forks. @return false where it is not beside ours */
bool till_rulebox_find_program(void);

/** Starts nothing yet. `loop` is borrowed. */
till_rulebox_t *till_rulebox_create(till_loop_t *loop);
/** Nobody may wait for an answer. NULL is allowed. */
void till_rulebox_destroy(till_rulebox_t *box);
/** A number for a text, never given again in this process. */
uint32_t till_rulebox_new_id(void);
/** `timeout_ms` bounds the wait in line as well. */
till_op_t *till_rulebox_exchange(till_rulebox_t *box, const till_rulebox_ask_t *ask, uint64_t timeout_ms,
                                 till_rulebox_cb cb, void *data);
/** What it answered was nonsense: another one takes its place. */
void till_rulebox_distrust(till_rulebox_t *box);

/* What may be seen of it; for tests and benchmarks. */
typedef struct till_rulebox_state {
    pid_t keeper, box;    /* 0: none */
    uint32_t begun;       /* boxes of this keeper */
    double replaced_in_s; /* how long the last replacement took */
} till_rulebox_state_t;
till_rulebox_state_t till_rulebox_state(const till_rulebox_t *box);

#endif
