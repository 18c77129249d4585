/* box.h - the process in which rules run, and the one that keeps such processes coming.
 *
 *   worker ──spawns──► keeper ──forks──► box      one rule's crash ends one box, which is
 *      ▲  └── 'n' ───────┘ ▲              │       forked anew in a millisecond
 *      │    socket, page ──┘              │
 *      └───────────── exchanges ──────────┘
 *
 * Both are the program moontill-box, which is executed and not only forked, so that
 * nothing of a worker's memory - passwords, keys, carts - is in theirs. It links
 * neither OpenSSL nor libcurl nor the database's client.
 *
 * The keeper sets the VM up, once, and runs nobody's code. Its end of a socket pair
 * (SOCK_SEQPACKET) is TILL_BOX_FD. It starts with a first box; for each byte 'n' it
 * kills the box that is there and forks another. It tells of each: till_box_news_t,
 * with the box's socket and the memory of its page. It ends with the worker.
 *
 * The box locks itself up (jail.h) and answers what comes (wire.h) until it dies.
 */
#ifndef TILL_VM_BOX_BOX_H
#define TILL_VM_BOX_BOX_H

#include <stdint.h>
#include <sys/types.h>
#include "vm/box/wire.h"

#define TILL_BOX_FD 3
#define TILL_BOX_NO_JAIL 4 /* a box's exit code where the kernel does not lock it up */

/* What the keeper says of a new box. */
typedef struct till_box_news {
    pid_t pid;
    int last_status; /* of the one before, as waitpid gives it; 0: there was none */
    uint32_t begun;  /* 1 for the first */
} till_box_news_t;

/** The whole program; ends with the worker. @return the exit code */
int till_box_keep(void);
/** In the box, locked up: answers on `fd`. `page` is shared with the worker. */
_Noreturn void till_box_serve(int fd, till_box_page_t *page);

#endif
