/* watch.h - how the master sees that a worker stands still, and in what.
 *
 * Each worker beats every TILL_WATCH_BEAT_MS from its loop, into memory that it
 * shares with the master. Silence alone proves nothing: a worker that waits for
 * the processor on a busy machine is silent too, and so is one under a
 * debugger. It is stuck when it was silent for the limit AND its thread has
 * computed for half of it meanwhile; one that was silent for five limits is
 * given up whatever it does.
 *
 * Then the master asks it what it is at (SIGUSR1). The handler runs in the
 * middle of whatever loops, compiled Lua too, and writes down in the shared
 * memory which plugin, which hook or route and which request that is. So
 * nothing has to be written in the normal case. One that does not even answer
 * the signal has no name.
 *
 * Why no gentler way: compiled Lua looks at no hook, so nothing but a kill ends
 * such a loop. Why half a limit of computing: an honest turn of the loop takes
 * milliseconds, with sanitizers tens of them; half of the default is 750.
 *
 * Thread: a worker's main one; the master's only one.
 */
#ifndef TILL_SERVE_WATCH_H
#define TILL_SERVE_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "serve/metrics.h"
#include "vm/vm.h"

#define TILL_WATCH_BEAT_MS 250

typedef struct till_watch till_watch_t;

/** Before the fork. NULL where the kernel has no memory left. */
till_watch_t *till_watch_create(void);
void till_watch_destroy(till_watch_t *watch);

/* ---- in the worker; `slot` is its number in the metrics ---- */

/** Answers when the master asks; the first beat. */
void till_watch_join(till_watch_t *watch, unsigned slot);
void till_watch_beat(till_watch_t *watch, unsigned slot);

/* ---- in the master ---- */

/** For a process that is about to be started in `slot`. */
void till_watch_expect(till_watch_t *watch, unsigned slot);

typedef enum till_pulse { TILL_PULSE_ALIVE, TILL_PULSE_ASKED, TILL_PULSE_STUCK } till_pulse_t;

/**
 * Looks at one worker; at least every 100 ms. ASKED: look again soon. STUCK:
 * `silent_ms` says for how long it was silent, `at` what it does ("" where that
 * is not known).
 */
till_pulse_t till_watch_look(till_watch_t *watch, unsigned slot, pid_t pid, uint64_t limit_ms, uint64_t *silent_ms,
                             till_running_t *at);

#endif
