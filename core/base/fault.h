/* fault.h - named faults that tests arm, in the manner of Tarantool's errinj.
 *
 *     if (TILL_FAULT("sql.lost_after_send"))
 *         ...behave as though the connection broke here...
 *
 * Compiled in always, armed only by TILL_FAULTS in the environment at start:
 * "name=count[,name=count]"; count -1 is for ever. Unarmed (the normal case)
 * it costs one load of a global flag. A name that is not in the table of
 * fault.c is refused at start, so that a test cannot arm a misspelling.
 */
#ifndef TILL_BASE_FAULT_H
#define TILL_BASE_FAULT_H

#include <stdbool.h>

extern bool till_fault_armed;
/** @return whether the fault happens now; counts it down */
bool till_fault_fires(const char *name);
/** Reads TILL_FAULTS. @return NULL, or a message that names what is wrong with it */
const char *till_fault_arm_from_env(void);

#define TILL_FAULT(name) (__builtin_expect(till_fault_armed, 0) && till_fault_fires(name))

#endif
