/* master.h - the process above the workers: listeners, children, generations.
 *
 * It opens the listeners, reads the sources into the first bundle, forks the
 * workers, replaces those that die, and changes the generation in all of them
 * or in none:
 *
 *     IDLE ──reload──► TRYING (master_trial.c) ──good──► PREPARING, else IDLE
 *
 *     IDLE ──tried, or known──► PREPARING ──all prepared──► RECORDING ──moved──► COMMITTING ──all committed──► IDLE
 *                                   │                           │               (a worker that dies here is
 *                                   │ one failed, one died,     │ refused        started with the new one)
 *                                   ▼ time is up                ▼
 *                                abort to all ◄─────────────────┘ ──────────────────────► IDLE
 *
 * In RECORDING a worker moves the pointer in the database (master_record.c); a
 * rollback begins with FETCHING what may not be here, and what another server
 * made live needs no recording (master_follow.c).
 *
 * Invariants
 *  1. `live` changes at one place, between the two phases; from there on every
 *     worker that starts loads it, and every one that runs is told to commit.
 *  2. No worker in service is started in PREPARING or ROLLING, for it could not know which to load. One that
 *     is started in RECORDING gets what was live, and is replaced if that changes.
 *  3. A worker that does not commit in time is killed and started with `live`.
 *
 *     IDLE ──reload, other options──► ROLLING ──all new ones serve──► CLOSING ──no old one accepts──► IDLE
 *
 * Where a reload finds another configuration, all workers are replaced instead
 * (master_roll.c); the certificate and the log's level are taken by those that
 * run. Each reload reads everything again: configuration, certificate, folders.
 *
 * It runs no Lua and talks to no database, so nothing that a shop does can take
 * it down. Signals: TERM and INT drain and stop, HUP reloads, USR2 starts the
 * program that is on the disk now as the successor (master_upgrade.c).
 *
 * Thread: the process' only one; it waits in poll(2), without libh2o.
 */
#ifndef TILL_SERVE_MASTER_H
#define TILL_SERVE_MASTER_H

#include "base/conf.h"
#include "serve/inherit.h"

/* What a start found in the database; its bundle is in DIR/generations. */
typedef struct till_first {
    char generation[65], previous[65];
    uint64_t sequence;
    bool is_release;  /* it is not live there yet: it will be, once all workers have loaded it */
    char reason[256]; /* why this one */
} till_first_t;

typedef struct till_master_opts {
    const till_conf_t *conf;
    const char *var_dir; /* generations/ and control.sock; must be there */
    const char *root;    /* holds lua/ and the rest; NULL: a reload is not tried aside */
    const char *lua_dir; /* holds till/ */
    const char *const *plugin_dirs;
    size_t plugin_dir_count;
    const till_first_t *first; /* NULL: the folders, and nothing is asked */
    const char *static_dir;    /* below /static/; NULL: none */
    /** Reads the configuration again; NULL: it stays. The master destroys it. */
    till_conf_t *(*reread_conf)(void *data, char *error, size_t error_size);
    const till_inherited_t *inherited; /* sockets that were open before us, ours from now on; NULL: none */
    const char *program;               /* what USR2 starts; NULL: nothing */
    char *const *argv;
    /** All web workers serve for the first time; `port` is what the listener got. */
    void (*on_ready)(void *data, unsigned port);
    void *data;
} till_master_opts_t;

/** Whether the server before, of this program, did not end in order. */
bool till_live_was_left(const char *var_dir);

/** Runs until it is told to stop. What keeps it from starting is said on stderr. @return the exit code: 0, or 1 */
int till_master_run(const till_master_opts_t *opts);

#endif
