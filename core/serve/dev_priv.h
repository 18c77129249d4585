/* dev_priv.h - the parts of `moontill dev`. */
#ifndef TILL_SERVE_DEV_PRIV_H
#define TILL_SERVE_DEV_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include "serve/cli.h"

/* A server that dev keeps running. */
typedef struct till_dev_server {
    const char *name;
    char dir[400];    /* DIR/mysql: its data, its socket, its log */
    char socket[108]; /* sun_path */
    uid_t uid;        /* whom it runs as */
    gid_t gid;
    pid_t pid; /* 0 while it does not run */
} till_dev_server_t;

/* Each says on stderr what went wrong, with the log's place, and returns false. */
bool till_dev_mysql_prepare(till_dev_server_t *server, const char *var_dir);
bool till_dev_redis_prepare(till_dev_server_t *server, const char *var_dir);
/** Starts it, the first time or again; waits until it answers. */
bool till_dev_mysql_start(till_dev_server_t *server);
bool till_dev_redis_start(till_dev_server_t *server);
/** TERM, then KILL after `limit_ms`. */
void till_dev_server_stop(till_dev_server_t *server, unsigned limit_ms);

/**
 * A CA and a certificate for localhost, 127.0.0.1, ::1 and `host` under DIR/tls
 * (ca.pem, cert.pem, key.pem), kept while they hold for another 30 days.
 */
bool till_dev_cert(const char *var_dir, const char *host);

/** Starts the process that reloads when a file is saved. Its end changes nothing. @return -1 where it cannot */
pid_t till_dev_watch(const till_cli_t *cli);

/** TERM or INT waits to be taken: whatever takes long looks now and then. dev blocks both. */
bool till_dev_is_told_to_stop(void);
void till_dev_pause_ms(unsigned ms);
/** A line on stderr: "  database      ready". */
void till_dev_say(const char *what, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** Makes it unless it is there; gives it to uid/gid where we may. */
bool till_dev_mkdir(const char *path, mode_t mode, uid_t uid, gid_t gid);

#endif
