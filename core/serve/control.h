/* control.h - the Unix socket on which a running server takes orders: DIR/control.sock, mode 0600.
 *
 * One line of JSON asks, lines of JSON answer; the last one holds "ok":
 *
 *     {"command":"reload"}        {"progress","step","worker","pid","ms"} …  {"ok":true,"generation":"9c1f…",
 *                                  "sequence","unchanged","replaced","ms","workers":[…]}
 *                                 {"ok":false,"error":"plugins/x/handler.lua:12: …"}; with "unknown":true where
 *                                 the database has not said what became of it
 *     {"command":"rollback"}      as reload, to the generation before the live one, or to "hash": its beginning
 *     {"command":"activate"}      as rollback, where that is no step back
 *                                 All three take "author" and "reason", which history keeps, and "expect": only
 *                                 if that generation is live until then, else {"ok":false,"stale":true,"error"}
 *     {"command":"generations"}   of this server: {"ok":true,"live":{"name","since"},"previous":{…} or null,
 *                                  "truth":{"name","sequence","behind"},"loading":…,"cooling":[…]}
 *     {"command":"hurry"}         {"ok":true}: something has changed in the database, look at once
 *     {"command":"status"}        {"ok":true,"pid","version","generation",
 *                                  "workers":[{"name","pid","state","restarts","generation"}]}
 *     {"command":"upgrade"}       {"progress":"…"} …  {"ok":true,"pid"} or {"ok":false,"error"}: see master_upgrade.c
 *     {"command":"stop"}          {"ok":true}, and it drains
 *
 * Whoever connects and does not ask gives way to others once all places are taken.
 *
 * The server's half knows lines and clients, not what they mean; it is driven
 * by its owner's poll(2).
 */
#ifndef TILL_SERVE_CONTROL_H
#define TILL_SERVE_CONTROL_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TILL_CONTROL_FDS 17 /* the listening one and 16 clients */

typedef struct till_control till_control_t;

/** `client` names the asker for say and end; it may be gone by then, which they notice. */
typedef void (*till_control_cb)(void *data, uint64_t client, const char *line, size_t len);

/** @return NULL and a sentence where another server holds the socket or it cannot be made */
till_control_t *till_control_create(const char *path, till_control_cb on_line, void *data, char *error,
                                    size_t error_size);
/** As create, with the listening socket of the server before; `path` is where it stands. */
till_control_t *till_control_adopt(int fd, const char *path, till_control_cb on_line, void *data);
/** The listening socket, for the server after this one. */
int till_control_fd(const till_control_t *control);
/** `unlinks`: also takes the socket away; a child that only closes its copy does not. */
void till_control_destroy(till_control_t *control, bool unlinks);
/** Fills in what to poll; of NULL nothing. @return how many, at most TILL_CONTROL_FDS */
size_t till_control_poll(const till_control_t *control, struct pollfd *out);
/** After poll(2), with the same array. */
void till_control_turn(till_control_t *control, const struct pollfd *fds, size_t n);
/** Sends one line (the newline is added). */
void till_control_say(till_control_t *control, uint64_t client, const char *line, size_t len);
/** The last line: the client is closed. */
void till_control_end(till_control_t *control, uint64_t client, const char *line, size_t len);

/**
 * Asks a running server; blocks until its last line. `where` is the folder that
 * holds control.sock, or the socket itself. Every line goes to `on_line`
 * without its newline, the last one too.
 * @return 0: "ok" was true; 1: it was false, or no server answers: then `error` is not empty and says so
 */
int till_control_call(const char *where, const char *command_json,
                      void (*on_line)(void *data, const char *line, size_t len), void *data, char *error,
                      size_t error_size);

#endif
