/* fork.h - is this process still the one that something was made in?
 *
 * What a process keeps for itself - its id, random bytes that nobody has used
 * yet - is wrong in its child. Whoever keeps such a thing notes the count beside
 * it and makes it anew when the count has changed.
 *
 * Thread: any.
 */
#ifndef TILL_BASE_FORK_H
#define TILL_BASE_FORK_H

/** Grows by one in the child of each fork(). */
unsigned till_fork_count(void);

#endif
