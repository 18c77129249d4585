/* master_priv.h - what the master's parts share: its children, and the change of generations. */
#ifndef TILL_SERVE_MASTER_PRIV_H
#define TILL_SERVE_MASTER_PRIV_H

#include <openssl/ssl.h>
#include <sys/types.h>
#include "serve/channel.h"
#include "serve/control.h"
#include "serve/gauges.h"
#include "serve/master.h"
#include "serve/metrics.h"
#include "serve/options.h"
#include "serve/watch.h"

typedef enum till_child_state { CHILD_DOWN, CHILD_STARTING, CHILD_READY } till_child_state_t;
typedef enum till_vote { VOTE_NONE, VOTE_ASKED, VOTE_PREPARED, VOTE_COMMITTING } till_vote_t;

typedef struct till_child {
    char name[16];
    bool is_web;
    unsigned slot; /* of the metrics */
    pid_t pid;     /* 0 while it is down */
    int channel;   /* -1 while it is down */
    till_child_state_t state;
    till_vote_t vote;
    unsigned restarts, quick_deaths;
    bool was_stuck; /* we killed it */
    uint64_t started_ms, restart_ms;
} till_child_t;

/* How often a plugin has hung a worker lately. */
typedef struct till_culprit {
    char plugin[48];
    unsigned kills;
    uint64_t since_ms;
} till_culprit_t;

#define TILL_CULPRITS 16

typedef enum till_phase { PHASE_IDLE, PHASE_PREPARING, PHASE_COMMITTING } till_phase_t;

/* A change of the generation in all workers. */
typedef struct till_change {
    till_phase_t phase;
    char name[TILL_GENERATION_NAME + 1];
    uint64_t client; /* who asked on the control socket; 0: a signal */
    uint64_t begun_ms, deadline_ms;
} till_change_t;

typedef struct till_master {
    const till_master_opts_t *opts;
    till_serve_opts_t limits;
    till_metrics_t *metrics;
    till_gauges_t *gauges;
    uint64_t told_ms; /* when the metrics of its own were last brought up to date */
    till_watch_t *watch;
    till_culprit_t culprits[TILL_CULPRITS];
    SSL_CTX *ssl;
    int listen_fd, ops_fd, signal_fd;
    till_control_t *control;
    till_child_t *children;
    size_t child_count;
    char live[TILL_GENERATION_NAME + 1], previous[TILL_GENERATION_NAME + 1];
    uint64_t live_since_ms, previous_since_ms; /* wall clock */
    till_change_t change;
    uint64_t last_turn_ms, grace_until_ms;
    uint64_t kill_at_ms;                       /* while it stops */
    bool is_announced, is_stopping, is_asking; /* a worker what it is at */
    int exit_code;
} till_master_t;

/** Tells /metrics of the children, the disk and itself, at most once a second. */
void till_master_tell(till_master_t *master);
/** When the certificate ends. */
void till_master_tell_certificate(till_master_t *master);

uint64_t till_master_now(void); /* CLOCK_MONOTONIC, ms */

/* master_children.c */
void till_children_init(till_master_t *master);
void till_children_dispose(till_master_t *master);
/** Starts those whose time has come. */
void till_children_start_due(till_master_t *master);
/** After SIGCHLD. */
void till_children_reap(till_master_t *master);
void till_children_signal(till_master_t *master, int signal);
bool till_children_any(const till_master_t *master);
/* master_stuck.c */
/** Kills the ones whose loop stands still. @return whether it wants to look again at once */
bool till_children_check_beats(till_master_t *master);

/* master_change.c */
/** Reads the sources into a bundle and saves it. @return false and a sentence */
bool till_change_make_bundle(till_master_t *master, char name[TILL_GENERATION_NAME + 1], char *error, size_t size);
/** From the folders. */
void till_change_reload(till_master_t *master, uint64_t client);
/** To one that is saved. */
void till_change_begin(till_master_t *master, const char *name, uint64_t client);
/** A worker said something. */
void till_change_on_message(till_master_t *master, till_child_t *child, const till_message_t *message);
/** A worker is gone. */
void till_change_on_death(till_master_t *master, till_child_t *child);
void till_change_check_deadline(till_master_t *master);
void till_change_give_up(till_master_t *master, const char *reason);

/* master_commands.c */
void till_commands_on_line(void *data, uint64_t client, const char *line, size_t len);

/* master.c */
void till_master_begin_stop(till_master_t *master, int exit_code);
void till_master_on_child_ready(till_master_t *master);

#endif
