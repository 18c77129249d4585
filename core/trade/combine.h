/* combine.h - callers who wait for the same row go together, in one transaction.
 *
 * Buyers of one SKU meet at one row: each transaction holds it until its COMMIT
 * is on the disk, and with a binlog that is most of the time there is. One
 * transaction for all who wait costs one COMMIT, so callers join here under the
 * keys of what they would wait for, one of them leads, runs it for all, and
 * gives each his own answer.
 *
 * The rule by which it adapts. A caller none of whose keys is in flight leads at
 * once and alone: it costs him a look into a table. Who comes while one of his
 * keys is in flight would wait in the database; he waits here instead, with all
 * who come until that flight is over, and they are the next one, led by the
 * first of them. So nobody waits for others to come, the batches grow with the
 * traffic and by nothing else, and where no two want the same nothing changes.
 *
 * What goes wrong with a batch as a whole goes wrong for nobody: the leader
 * splits it (till_combine_split), and the parts fly one after another in the
 * order of arrival, down to single callers, who get their own answer.
 *
 * It knows nothing of SQL: what a leader does with his batch, and how the
 * others learn of it, is his business and stands in their `data`.
 *
 * Thread: the one that runs `loop`. Callers of different workers do not meet
 *         here: they meet in the database, batch against batch.
 * Owns:   seats, until they are left. Keys are copied.
 */
#ifndef TILL_TRADE_COMBINE_H
#define TILL_TRADE_COMBINE_H

#include "base/hash.h" /* till_slice_t */
#include "io/op.h"

#define TILL_COMBINE_KEYS 16 /* that a caller is known by; more are not looked at */
#define TILL_COMBINE_HALVES 0

typedef struct till_combiner till_combiner_t;
typedef struct till_combine_seat till_combine_seat_t; /* one caller's place, from joining to his answer */

typedef struct till_combine_opts {
    const till_slice_t *keys; /* of what he would wait for; the same one twice is allowed */
    size_t key_count;
    unsigned most;       /* callers in one batch; at least 1 */
    uint64_t timeout_ms; /* to wait for a flight, not of the flight */
} till_combine_opts_t;

typedef struct till_combine_stats {
    uint64_t alone;    /* flights of one caller */
    uint64_t together; /* flights of more */
    uint64_t combined; /* callers in those */
    uint64_t splits;   /* flights that were split */
    unsigned waiting;  /* now */
} till_combine_stats_t;

/**
 * Told once, never inside of join:
 *   TILL_OK         he leads (till_combine_leads): the seat is his until he ends the flight;
 *                   or another one led and has answered: the seat is gone when this returns
 *   TILL_TIMEOUT, TILL_CANCELLED   he left before his flight began: nothing was done for him
 *   TILL_INTERNAL   his leader died in the flight: nobody knows what was done
 */
typedef void (*till_combine_cb)(void *data, till_status_t status, till_combine_seat_t *seat);

till_combiner_t *till_combiner_create(till_loop_t *loop);
/** All seats must be left. NULL is allowed. */
void till_combiner_destroy(till_combiner_t *combiner);

/** Takes a seat. Where till_combine_op is NULL then he leads at once and `cb` never comes. */
till_combine_seat_t *till_combine_join(till_combiner_t *combiner, const till_combine_opts_t *opts, till_combine_cb cb,
                                       void *data);
/** What he waits by. A cancel, or his deadline, while his flight is in the air is heard when a split puts him back, and
 * otherwise not at all: his answer counts. */
till_op_t *till_combine_op(till_combine_seat_t *seat);
bool till_combine_leads(const till_combine_seat_t *seat);

/* ---- for who leads -------------------------------------------------------- */

/** At least 1: himself. */
unsigned till_combine_count(const till_combine_seat_t *seat);
/** The `data` of the i-th of his flight, in the order of arrival; 0 is his own. */
void *till_combine_data(const till_combine_seat_t *seat, unsigned i);
/** It is done, and all have their answer: the others are told. The seat is gone. */
void till_combine_answer(till_combine_seat_t *seat);
/**
 * It did not go through as a whole, and nothing of it happened. What flies on is the first part, led by the same
 * caller; the rest follow, parts of their own. Only for flights of more than one.
 * @param at  the caller whose fault it was, from 1: [before him] [him] [after him];
 *            TILL_COMBINE_HALVES where nobody knows
 */
void till_combine_split(till_combine_seat_t *seat, unsigned at);
/** He cannot go on, and nothing happened: he leaves, and the others fly without him. The seat is gone. */
void till_combine_step_down(till_combine_seat_t *seat);
/** He died in the flight: the others are told TILL_INTERNAL. The seat is gone. */
void till_combine_abandon(till_combine_seat_t *seat);

void till_combiner_stats(const till_combiner_t *combiner, till_combine_stats_t *out);

#endif
