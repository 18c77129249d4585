/* fault.h - named faults that tests arm, in the manner of Tarantool's errinj.
 *
 *     if (TILL_FAULT("sql.lost_after_send"))
 *         ...behave as though the connection broke here...
 *
 * Compiled in always, armed only where TILL_FAULTS is in the environment at
 * start: "name=count[,name=count]" or nothing; then also later, through the
 * control socket: {"command":"fault name=count"}. Count -1 is for ever, 0 for no
 * more. A count is of all processes together: whoever comes there first takes
 * it. {"command":"faults"} lists all of them and how often each would happen still. Without TILL_FAULTS a fault costs
 * one load of a global flag. A name that is not in the table of fault.c is refused, so that a test cannot arm a
 * misspelling.
 *
 * Thread: any.
 */
#ifndef TILL_BASE_FAULT_H
#define TILL_BASE_FAULT_H

#include <signal.h>
#include <stdbool.h>

extern bool till_fault_armed;
/** @return whether the fault happens now; counts it down */
bool till_fault_fires(const char *name);
/**
 * Arms "name=count[@skip][,name=count[@skip]]"; `left` gets how often the last of them would have happened still.
 * @return NULL, or what is wrong with it; faults before that are armed
 */
const char *till_fault_arm(const char *faults, int *left);
/** Tells of each in the order of the table. @return NULL, or why there are none */
const char *till_fault_each(void (*tell)(void *data, const char *name, int left), void *data);
/** Reads TILL_FAULTS, before anything is forked. @return NULL, or a message that names what is wrong with it */
const char *till_fault_arm_from_env(void);

#define TILL_FAULT(name) (__builtin_expect(till_fault_armed, 0) && till_fault_fires(name))
/** If it happens, this process is killed here, as by kill -9. */
#define TILL_CRASH(name) ((void)(TILL_FAULT(name) && raise(SIGKILL)))

#endif
