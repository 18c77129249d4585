/* jail.h - what a box may not do: nearly everything.
 *
 * Limits (setrlimit), no new privileges, no core, not to be traced; then a filter
 * of system calls that is a list of what is allowed, with the arguments that are
 * allowed: recv and send on one descriptor, memory that is neither shared nor
 * executable, the clock, the end. Whatever else is called kills the process: a
 * rule that got so far as to call the kernel is no longer one.
 *
 * There is no way back.
 */
#ifndef TILL_VM_BOX_JAIL_H
#define TILL_VM_BOX_JAIL_H

#include <stdbool.h>

/** Closes all descriptors but `keep` (and standard error under sanitizers). */
bool till_jail_close_all_but(int keep);
/** The kernel ends us with our parent. */
void till_jail_die_with_parent(void);
/** From here on only what the list allows; `fd` is the one to talk on. @return false where the kernel knows no
 * filters: then nothing may be run */
bool till_jail_lock(int fd);

#endif
