/* dev.h - `moontill dev`: a whole shop from nothing, with servers of its own.
 *
 * It starts a MariaDB and a Redis under DIR on private sockets (as an
 * unprivileged account where it was started by root), migrates, fills the demo
 * shop once, makes a local certificate and the first keys, and runs the server.
 *
 *     dev ─┬─ mariadbd        restarted if it dies
 *          ├─ redis-server    restarted if it dies
 *          ├─ serve (master) ── workers
 *          └─ watch           with --watch: reloads when a file is saved (dev_watch.c)
 *
 * HUP and USR2 are passed on to the server; after USR2 its successor is the child.
 * TERM and INT stop them in the reverse order; if dev itself is killed, the
 * kernel tells each child (PR_SET_PDEATHSIG). Standard output carries one line,
 * `ready https://HOST:PORT`; progress and the addresses go to standard error.
 */
#ifndef TILL_SERVE_DEV_H
#define TILL_SERVE_DEV_H

#include "serve/cli.h"

/** Runs until it is told to stop. @return the exit code */
int till_dev_run(till_cli_t *cli);

#endif
