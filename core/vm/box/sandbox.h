/* sandbox.h - the VM in which rules run: what ends them, and what they find.
 *
 * One VM for the whole process, in an arena whose image is put back before each
 * rule. So every evaluation begins in the very same state, whatever ran before;
 * nothing that a rule leaves behind is seen by another; and a rule is ended by
 * a jump out of the VM, wherever it is just then, which nothing of Lua can catch.
 *
 * What ends a rule:
 *   budget    each 100 instructions, each 64 bytes taken and each step of our own loops in C
 *             cost fuel
 *   deadline  CPU time, looked at whenever a piece of the budget is gone: one instruction may be
 *             as long as the string that it compares
 *   memory    the arena's size
 *   depth     40 calls from C into Lua within one another; Lua's own stack
 *
 * What a rule finds: base, string, table and math as far as they can neither wait
 * nor tell of the machine, of time or of chance. The JIT is off.
 *
 * Thread: the process' only one. Everything here is the process' own.
 */
#ifndef TILL_VM_BOX_SANDBOX_H
#define TILL_VM_BOX_SANDBOX_H

#include <lauxlib.h>
#include <lua.h>
#include "vm/box/wire.h"

/* How one rule ended. */
typedef struct till_verdict {
    till_rule_code_t code;
    uint32_t us;
    uint64_t fuel;         /* used */
    uint32_t line, column; /* 1 is the first; 0: not known */
    char message[TILL_WIRE_MESSAGE_MAX];
} till_verdict_t;

typedef struct till_limits {
    uint64_t fuel;
    uint32_t cpu_us;
} till_limits_t;

/** Makes the VM and its image; once. @return false where there is no memory */
bool till_sandbox_open(void);

/** Parses `text` and writes what was made of it, which is loaded in no time, to `out`. With `is_checked` its outermost
 * code is run besides, to see that it returns a function. */
void till_sandbox_compile(till_slice_t text, bool is_checked, till_buf_t *out, till_verdict_t *verdict);
/** The input of the rules to come. @return false where it does not fit into the memory of one */
bool till_sandbox_input(till_wire_t input);
/** Runs what till_sandbox_compile made; the answer is appended to `out` where the verdict is VALUE. */
void till_sandbox_run(till_slice_t code, till_wire_t args, const till_limits_t *limits, till_buf_t *out,
                      till_verdict_t *verdict);

/* ---- for the libraries ---- */

/** Takes from the budget; does not return where that is gone. */
void till_sandbox_charge(size_t fuel);
/** Ends the rule. */
_Noreturn void till_sandbox_kill(till_rule_code_t code);
/** As lua_call and lua_pcall, for calls from C. */
void till_sandbox_call(lua_State *L, int arguments, int results);
int till_sandbox_pcall(lua_State *L, int arguments);
/** a < b, as Lua's operator. */
bool till_sandbox_less(lua_State *L, int a, int b);

/** Fills the globals. Runs protected. [-0, +0] */
void till_sandbox_libraries(lua_State *L);
/** Each adds its functions to the table on top. [-0, +0] */
void till_sandbox_base(lua_State *L);
void till_sandbox_string(lua_State *L);
void till_sandbox_patterns(lua_State *L);
void till_sandbox_table(lua_State *L);
/** Sorts 1 to n of the table at `index`, keeping the order of equals; ends also where `less` makes no sense. [-0, +0]
 */
void till_sandbox_sort(lua_State *L, int index, int n, bool (*less)(lua_State *L, int a, int b));
/** As Lua's tostring, but never an address. [-0, +1] */
void till_sandbox_tostring(lua_State *L, int index);

#endif
