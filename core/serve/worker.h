/* worker.h - one process that works: a web worker answers, a jobs worker carries out.
 *
 *      start ─► load the first generation ──ok──► "ready" ─► serve ─┐
 *                      └─ "failed" ─► exit 3                        │
 *      prepare NAME ─► load aside, on a thread ─► "prepared" | "failed"
 *      commit NAME  ─► new requests go to the new VM, the old one retires ─► "committed"
 *      abort NAME   ─► the new VM is dropped
 *      certificate  ─► the next handshake shows the one that came with it
 *      level        ─► of the log
 *      TERM, or the master's end of the channel closed ─► drain ─► exit 0
 *
 * Without its master it does not linger: the kernel tells it (PR_SET_PDEATHSIG),
 * an alarm is set which only a loop that turns puts off, and so even one that is
 * stuck lets go of the listeners after ORPHAN_SECONDS.
 *
 * A request stays on the VM that it began on. Loading takes nothing from those
 * who are being served, and a generation that fails to load changes nothing.
 *
 * Owns: everything in its process. The metrics' memory is the master's.
 */
#ifndef TILL_SERVE_WORKER_H
#define TILL_SERVE_WORKER_H

#include "serve/server.h"
#include "serve/watch.h"

#define TILL_WORKER_EXIT_LOAD 3 /* the first generation cannot be loaded */

typedef struct till_worker_opts {
    const char *name; /* "web-0", "jobs-1" */
    bool is_web;
    const till_conf_t *conf;
    const till_serve_opts_t *limits;
    const char *var_dir;
    const char *generation;  /* to begin with; its bundle is in var_dir */
    const char *static_dir;  /* NULL: none */
    int channel;             /* to the master; -1: alone, serves until TERM */
    int listen_fd, ops_fd;   /* of a web worker, whose they become; -1: none */
    SSL_CTX *ssl;            /* whose it becomes */
    till_metrics_t *metrics; /* with its slot chosen */
    till_watch_t *watch;     /* NULL: alone */
    unsigned slot;           /* of `watch` */
} till_worker_opts_t;

/** In a process of its own, from its one thread. @return the exit code */
int till_worker_run(const till_worker_opts_t *opts);

#endif
