/* live.h - how Lua speaks with the streams of its process, which live in serve/live.h and belong to no generation.
 *
 * A stream watches topics ("cart:cart_01…", "stock:var_01…"). Of each topic the
 * streams know a tag, which names its present state and means nothing to them;
 * Lua looks what is so, and sets it. Who is allowed to see a topic is said by
 * its owner: each time it is set, those who began to watch it for another one are
 * ended, for a stream may be let in before the owner changes and begin after that.
 *
 * Thread: the loop's.
 */
#ifndef TILL_VM_LIVE_H
#define TILL_VM_LIVE_H

#include <stdbool.h>
#include <stddef.h>
#include "base/hash.h" /* till_slice_t */

/* What of a topic has changed: shown to clients, and summed up for who reads slowly. At most 32. */
#define TILL_LIVE_CHANGES(X)                                                                                           \
    X(LINES, "lines")                                                                                                  \
    X(PROMOTIONS, "promotions")                                                                                        \
    X(DETAILS, "details")                                                                                              \
    X(TOTALS, "totals")                                                                                                \
    X(STATE, "state")                                                                                                  \
    X(AVAILABILITY, "availability")

typedef enum till_live_change {
#define TILL_LIVE_ENUM(id, name) TILL_LIVE_##id,
    TILL_LIVE_CHANGES(TILL_LIVE_ENUM)
#undef TILL_LIVE_ENUM
        TILL_LIVE_CHANGE_COUNT
} till_live_change_t;

/* One topic as it is now. */
typedef struct till_live_state {
    till_slice_t topic, owner, tag;
    till_slice_t json; /* an object that is not empty */
    unsigned changes;  /* bits of till_live_change_t, against what the tag was before */
} till_live_state_t;

/* What an answer begins that goes on as a stream. Borrowed as the response is. */
typedef struct till_live_begin {
    till_slice_t client; /* for whom it counts */
    const till_live_state_t *states;
    size_t count;
} till_live_begin_t;

/* What the streams offer to Lua; all of it may be called from a coroutine, and nothing waits. */
typedef struct till_live_face {
    void *data;
    size_t (*streams)(void *data);
    /** Each topic that is watched; `cb` must change nothing. */
    void (*each)(void *data, void (*cb)(void *cb_data, till_slice_t topic, till_slice_t tag), void *cb_data);
    /** @return its tag, or NULL where nobody watches it; "": not known, it has to be set */
    const char *(*tag)(void *data, till_slice_t topic);
    void (*set)(void *data, const till_live_state_t *state);
    /** There is nothing to see any more: its streams are ended. */
    void (*end)(void *data, till_slice_t topic);
} till_live_face_t;

#endif
