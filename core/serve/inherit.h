/* inherit.h - sockets that were open before this process: of a service manager, or of the server that it replaces.
 *
 * The convention is systemd's: LISTEN_PID is this process, LISTEN_FDS says how
 * many descriptors stand from 3 on, LISTEN_FDNAMES gives their names with colons
 * between. Ours are
 *
 *     shop      the listener of server.listen
 *     ops       the one of server.ops_listen
 *     control   the control socket, of the server before
 *     handover  a channel to it (see master_upgrade.c)
 *
 * A manager that gives other names means shop and ops, in that order. What is
 * not given is opened by ourselves.
 */
#ifndef TILL_SERVE_INHERIT_H
#define TILL_SERVE_INHERIT_H

typedef struct till_inherited {
    int listen_fd, ops_fd, control_fd, handover_fd; /* -1: not given */
} till_inherited_t;

/** Takes them, once: the environment does not speak of them any more, and programs that we start do not get them. */
void till_inherit_take(till_inherited_t *out);
/** In a child, before exec: puts the given ones from 3 on and says so in the environment. */
void till_inherit_give(const till_inherited_t *given);

#endif
