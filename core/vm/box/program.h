/* program.h - starting moontill-box, and hearing from the keeper. */
#ifndef TILL_VM_BOX_PROGRAM_H
#define TILL_VM_BOX_PROGRAM_H

#include "vm/box/box.h"

/* A box as the keeper hands it over; the descriptor and the mapping are the taker's. */
typedef struct till_box_ends {
    till_box_news_t news;
    int fd;
    const till_box_page_t *page;
} till_box_ends_t;

/** Opens the program's file, once. @return its descriptor, or -1 */
int till_box_program(void);
/** Starts a keeper. @return our end of its socket, which does not block; -1: `errno` says why */
int till_box_spawn(pid_t *pid);
/** As till_box_spawn, of another program beside ours: tests have one. */
int till_box_spawn_named(const char *name, pid_t *pid);
/** Kills and buries it. */
void till_box_end(pid_t pid);
/** @return 1: a box; 0: nothing just now; -1: the keeper is gone */
int till_box_hear(int control, till_box_ends_t *out);
/** Asks for another box. */
bool till_box_want(int control);

#endif
