/* master_priv.h - what the master's parts share: its children, and the change of generations. */
#ifndef TILL_SERVE_MASTER_PRIV_H
#define TILL_SERVE_MASTER_PRIV_H

#include <openssl/ssl.h>
#include <sys/types.h>
#include "base/ulid.h"
#include "serve/channel.h"
#include "serve/control.h"
#include "serve/gauges.h"
#include "serve/inherit.h"
#include "serve/line.h"
#include "serve/master.h"
#include "serve/metrics.h"
#include "serve/options.h"
#include "serve/watch.h"

/* Which file the log is: one that was moved away is another. */
typedef struct till_log_place {
    dev_t device;
    ino_t inode;
} till_log_place_t;

/* What one reading of the configuration comes to. Workers are started with it. */
typedef struct till_setup {
    const till_conf_t *conf;
    till_conf_t *owned_conf; /* the same, where it is ours */
    till_serve_opts_t limits;
    till_buf_t pem; /* certificate and key */
    SSL_CTX *ssl;
    int listen_fd, ops_fd;
    till_log_place_t log;
} till_setup_t;

#define TILL_COOLING_KEPT 8 /* generations that a worker may finish at a time and be shown */

/* A place is free, or its worker belongs to those in service, to those that are
 * to replace them all, or to those that were replaced and drain. */
typedef enum till_child_set { SET_FREE, SET_NOW, SET_NEXT, SET_LEAVING } till_child_set_t;
typedef enum till_child_state { CHILD_DOWN, CHILD_STARTING, CHILD_READY } till_child_state_t;
typedef enum till_vote { VOTE_NONE, VOTE_ASKED, VOTE_PREPARED, VOTE_COMMITTING } till_vote_t;

typedef struct till_child {
    char name[16];
    till_child_set_t set;
    bool is_web;
    unsigned slot; /* of the metrics */
    pid_t pid;     /* 0 while it is down */
    int channel;   /* -1 while it is down */
    till_child_state_t state;
    till_vote_t vote;
    unsigned restarts, quick_deaths;
    bool was_stuck; /* we killed it */
    uint64_t started_ms, restart_ms;
    uint64_t kill_at_ms;                                       /* while it is leaving */
    bool accepts;                                              /* as far as we know; while it is leaving */
    char loaded[TILL_GENERATION_NAME + 1];                     /* what it was started with */
    char cooling[TILL_COOLING_KEPT][TILL_GENERATION_NAME + 1]; /* what finishes in it; "": free */
} till_child_t;

#define TILL_KILL_AFTER_DRAIN_MS 5000
#define TILL_CHILDREN (TILL_METRICS_SLOTS - 1)
#define TILL_CHILDREN_MAX 63 /* in service; as many may be on their way in, and a few on their way out */

/* How often a plugin has hung a worker lately. */
typedef struct till_culprit {
    char plugin[48];
    unsigned kills;
    uint64_t since_ms;
} till_culprit_t;

#define TILL_CULPRITS 16

typedef enum till_phase {
    PHASE_IDLE,
    PHASE_TRYING,    /* a process aside loads it */
    PHASE_FETCHING,  /* a worker gets it from the database */
    PHASE_PREPARING, /* every worker loads it */
    PHASE_RECORDING, /* a worker moves the pointer in the database */
    PHASE_COMMITTING,
    PHASE_ROLLING,
    PHASE_CLOSING
} till_phase_t;

#define TILL_AUTHOR_MAX 190 /* characters that the database keeps */
#define TILL_REASON_MAX 500

/* Who wants a change, and why. */
typedef struct till_wish {
    char kind[16]; /* start, reload, rollback, activate, follow */
    char author[TILL_AUTHOR_MAX * 4 + 1], reason[TILL_REASON_MAX * 4 + 1];
    char expect[TILL_GENERATION_NAME + 1]; /* only if this is live until then; "": whatever is */
    uint64_t client;                       /* who asked, and is answered; 0: nobody */
    uint64_t begun_ms;                     /* when it was begun; 0: not yet */
} till_wish_t;

/* A change of the generation in all workers. */
typedef struct till_change {
    till_phase_t phase;
    char name[TILL_GENERATION_NAME + 1];
    char id[TILL_ULID_TEXT + 1];
    till_wish_t wish;
    bool is_roll; /* the workers that are to replace all others run it already */
    uint64_t begun_ms, deadline_ms;
} till_change_t;

/* The process in which a reload is tried. */
typedef struct till_trial {
    pid_t pid; /* 0: there is none */
    int fd;    /* what it says */
} till_trial_t;

/* What a worker does for the master, who has no database: see master_errand.c. */
typedef enum till_errand_kind { ERRAND_CHANGE, ERRAND_LOOK, ERRAND_NOTE, ERRAND_COUNT } till_errand_kind_t;
typedef struct till_master till_master_t;
typedef void (*till_errand_cb)(till_master_t *master, const char *line, size_t len);
typedef struct till_errand {
    uint64_t id;         /* 0: there is none */
    till_child_t *child; /* who does it; NULL: nobody yet */
    char *text;          /* a JSON object with members */
    bool is_again;       /* nobody knows whether it was done already */
    uint64_t not_before_ms;
    till_errand_cb done;
} till_errand_t;

/* What the database says is live, as far as we have heard. */
typedef struct till_truth {
    uint64_t sequence;
    char name[TILL_GENERATION_NAME + 1];
    bool is_behind;    /* we cannot load it, and keep our own */
    bool is_foreign;   /* another version of the program made it */
    uint64_t look_ms;  /* when the next look is due */
    uint64_t again_ms; /* while behind: when it is tried again */
    uint64_t backoff_ms;
} till_truth_t;

/* Our successor, while it starts. */
typedef struct till_upgrade {
    pid_t pid; /* 0: there is none */
    int channel;
    uint64_t client, deadline_ms;
    char reason[512]; /* why it says that it failed */
} till_upgrade_t;

struct till_master {
    const till_master_opts_t *opts;
    till_setup_t now;
    till_setup_t next; /* while it is tried, or workers are replaced */
    till_metrics_t *metrics;
    till_gauges_t *gauges;
    uint64_t told_ms; /* when the metrics of its own were last brought up to date */
    till_watch_t *watch;
    till_culprit_t culprits[TILL_CULPRITS];
    int signal_fd;
    till_control_t *control;
    till_child_t children[TILL_CHILDREN];
    char live[TILL_GENERATION_NAME + 1], previous[TILL_GENERATION_NAME + 1];
    uint64_t live_since_ms, previous_since_ms; /* wall clock */
    till_change_t change;
    till_trial_t trial;

    till_truth_t truth;
    till_errand_t errands[ERRAND_COUNT];
    uint64_t last_errand;
    bool is_to_record;                /* the start: what we run is not yet live in the database */
    bool wants_reload, wants_upgrade; /* a signal came during a change */
    till_upgrade_t upgrade;
    int old_channel;    /* to the server that we succeed, until it has handed over; else -1 */
    pid_t old_pid;      /* 0: none, or gone */
    int handed_channel; /* to our successor, from the hand-over until it is known as the server; else -1 */
    bool is_succeeded;  /* control socket, pid file and DIR/live are another's */
    uint64_t last_turn_ms, grace_until_ms;
    uint64_t kill_at_ms;                       /* while it stops */
    bool is_announced, is_stopping, is_asking; /* a worker what it is at */
    int exit_code;
};

/** Tells /metrics of the children; of the disk and itself at most once a second. */
void till_master_tell(till_master_t *master);
/** When the certificate ends. */
void till_master_tell_certificate(till_master_t *master);

uint64_t till_master_now(void); /* CLOCK_MONOTONIC, ms */

/* master_setup.c */
/** From `conf`, which must outlive it. `before` (or NULL) gives what stays: listeners. @return false and a sentence */
bool till_setup_make(till_setup_t *setup, const till_conf_t *conf, const till_setup_t *before,
                     const till_inherited_t *inherited, char *error, size_t size);
void till_setup_dispose(till_setup_t *setup);
void till_setup_stop_listening(till_setup_t *setup);
/** Appends the names of what has changed such that workers have to be replaced. */
void till_setup_diff(const till_setup_t *a, const till_setup_t *b, till_buf_t *names);

/* master_children.c */
void till_children_init(till_master_t *master);
/** Takes places for the workers that `setup` wants. @return false where there are too few */
bool till_children_plan(till_master_t *master, const till_setup_t *setup, till_child_set_t set);
/** Those of `from` become those of `to`. */
void till_children_move(till_master_t *master, till_child_set_t from, till_child_set_t to);
/** Ends those of `set`: they drain, and are killed when they take too long. */
void till_children_dismiss(till_master_t *master, till_child_set_t set);
/** Starts the whole set. */
void till_children_start(till_master_t *master, till_child_set_t set);
/** Kills the ones that drain for too long. */
void till_children_check_leaving(till_master_t *master);
/** In a fork that is no worker: lets go of what is the master's, and becomes who workers are. @return false where it
 * cannot */
bool till_children_settle(till_master_t *master, const till_setup_t *setup);
bool till_children_are_ready(const till_master_t *master, till_child_set_t set);
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
bool till_change_make_bundle(till_master_t *master, const till_conf_t *conf, char name[TILL_GENERATION_NAME + 1],
                             char *error, size_t size);
/** Workers that run as somebody else must be able to read what root has written. */
void till_change_give_to_user(const till_master_t *master, const char *name);
/** Compiles what is live, for the workers and trials that are forked from now on; `prefix` as till_code_warm's. */
void till_change_warm(const till_master_t *master, const char *prefix);
/** From here on workers start with it. */
void till_change_go_live(till_master_t *master, const char *name);
/** Drops the files of what was refused: the database has them, and here they would fill the disk. */
void till_change_prune(const till_master_t *master);
/** From the folders. */
void till_change_reload(till_master_t *master, const till_wish_t *wish);
/** To one that DIR/generations holds. */
void till_change_begin(till_master_t *master, const char *name, const till_wish_t *wish);
/** A change as such begins: it gets its id and its times. */
void till_change_open(till_master_t *master, till_phase_t phase, const char *name, const till_wish_t *wish);
/** It is live in the database: all that have prepared it are told to commit. */
void till_change_commit(till_master_t *master);
/** A worker said something. */
void till_change_on_message(till_master_t *master, till_child_t *child, const till_message_t *message);
/** A worker is gone. */
void till_change_on_death(till_master_t *master, till_child_t *child);
void till_change_check_deadline(till_master_t *master);
/** The reload that had to wait, where its time has come. */
void till_change_catch_up(till_master_t *master);
/** Where it can still be given up. */
void till_change_give_up(till_master_t *master, const char *reason);

/** A reload that was tried: workers take it, or are replaced. `next` becomes the master's. */
void till_change_take(till_master_t *master, till_setup_t *next, const char *name, const till_wish_t *wish);

/** The change that is open is over: history keeps it, and whoever asked is told. */
void till_change_refuse(till_master_t *master, const char *reason);

/* master_trial.c */
/** Tries the generation `name` aside, then till_change_take. `next` becomes the master's. */
void till_trial_begin(till_master_t *master, till_setup_t *next, const char *name, const till_wish_t *wish);
void till_trial_give_up(till_master_t *master, const char *reason);
/** After SIGCHLD. */
void till_trial_reap(till_master_t *master);

/* master_answer.c */
/** `client` is one of the control socket, a worker that asks, or nobody (0). */
void till_answer_say(till_master_t *master, uint64_t client, const char *line, size_t len);
/** The last line. */
void till_answer_end(till_master_t *master, uint64_t client, const char *line, size_t len);
/** A worker asks, as on the control socket. */
void till_answer_on_ask(till_master_t *master, till_child_t *child, const till_message_t *message);
/** One step of the change, for people and machines; `child` or NULL. */
void till_answer_step(till_master_t *master, const char *step, const till_child_t *child, const char *text);
void till_answer_refuse(till_master_t *master, uint64_t client, const char *reason);
/** Another change is under way. */
void till_answer_busy(till_master_t *master, uint64_t client);
/** `what` is JSON members. */
void till_answer_succeed(till_master_t *master, uint64_t client, const char *what, uint64_t ms);

/* master_errand.c */
/** Has a worker run main.generation(text); takes `text`. A worker that dies at it is followed by another one. */
void till_errand_begin(till_master_t *master, till_errand_kind_t kind, till_buf_t *text, till_errand_cb done);
/** From `done`: the same once more, after a while. */
void till_errand_again(till_master_t *master, till_errand_kind_t kind, uint64_t delay_ms);
bool till_errand_is_idle(const till_master_t *master, till_errand_kind_t kind);
void till_errand_on_ran(till_master_t *master, const till_child_t *child, const till_message_t *message);
void till_errand_on_death(till_master_t *master, const till_child_t *child);
/** Gives out what nobody does yet. */
void till_errand_turn(till_master_t *master);
void till_errand_dispose(till_master_t *master);

/* master_record.c */
/** All workers have it: it becomes live in the database, and then everywhere. */
void till_record_begin(till_master_t *master);
/** Gets the generation from the database that the wish is for (`hash` may be a prefix, "": the one before). */
void till_record_fetch(till_master_t *master, const char *hash, const till_wish_t *wish);
/** A change was refused: history keeps it. */
void till_record_refusal(till_master_t *master, const till_change_t *change, const char *reason);

/* master_follow.c */
/** Somebody says that something has changed. */
void till_follow_hurry(till_master_t *master);
/** Looks what is live in the database, and goes there. */
void till_follow_turn(till_master_t *master);
/** What the database says is live could not be loaded here. */
void till_follow_failed(till_master_t *master, const char *reason);
/** We are where the database is. */
void till_follow_arrived(till_master_t *master, uint64_t sequence);

/* master_roll.c */
/** `next` becomes the master's. `changed` names the options, for people. */
void till_roll_begin(till_master_t *master, till_setup_t *next, const char *name, const char *changed,
                     const till_wish_t *wish);
/** Its generation is live in the database. */
void till_roll_decide(till_master_t *master);
void till_roll_on_ready(till_master_t *master, const till_child_t *child);
/** One that leaves accepts no more. */
void till_roll_on_draining(till_master_t *master, till_child_t *child);
/** The last of them has, or its time is up: whoever asked is answered. */
void till_roll_finish(till_master_t *master);
void till_roll_give_up(till_master_t *master, const char *reason);

/* master_live.c */
void till_live_remember(const till_master_t *master);
void till_live_write_pid(const till_master_t *master);
void till_live_forget(const till_master_t *master);

/* master_upgrade.c */
/** Starts the program that is on the disk now as our successor. `client` is told how it went. */
void till_upgrade_begin(till_master_t *master, uint64_t client);
bool till_upgrade_is_idle(const till_master_t *master);
/** Hears from the successor, or as one from the server before. */
void till_upgrade_turn(till_master_t *master);
/** After SIGCHLD. */
void till_upgrade_reap(till_master_t *master);
/** As a successor: "ready", or "failed" and why. */
void till_upgrade_tell_old(till_master_t *master, const char *verb, const char *text);
/** The server stops: no successor is wanted any more. */
void till_upgrade_give_up(till_master_t *master, const char *reason);
/** In a worker: closes what is the master's. */
void till_upgrade_forget(till_master_t *master);

/* master_commands.c */
/** "workers":[…] */
void till_commands_write_workers(const till_master_t *master, till_buf_t *out);
void till_commands_on_line(void *data, uint64_t client, const char *line, size_t len);

/* master.c */
void till_master_begin_stop(till_master_t *master, int exit_code);
void till_master_on_child_ready(till_master_t *master);
/** It serves: whoever waits for that is told. */
void till_master_announce(till_master_t *master);

#endif
