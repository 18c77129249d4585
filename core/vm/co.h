/* co.h - a Lua call that can wait: the seam between coroutines and operations.
 *
 * Every waiting binding has the same five parts: check the arguments; check
 * that waiting is allowed here; make the box that will own the result; start
 * the operation; park. See vm/bind_lock.c, the exemplary one.
 *
 * Only vm/ includes this header.
 */
#ifndef TILL_VM_CO_H
#define TILL_VM_CO_H

#include <lauxlib.h>
#include <lua.h>
#include "io/op.h"
#include "vm/vm.h"

typedef struct till_co till_co_t;

/** The call that runs `L` now; throws outside of one (while a generation loads). */
till_co_t *till_co_of(lua_State *L);
/** Throws "sql.query cannot wait here: ..." where yielding is impossible: loading, a hook that may not yield, sort
 * comparators. */
void till_co_check_yieldable(lua_State *L, const char *what);
const till_vm_env_t *till_vm_env_of(lua_State *L);
const till_bundle_t *till_vm_bundle_of(lua_State *L);
/** The call's trace, for outbound headers and log lines; NULL outside of a call. */
const till_trace_t *till_co_trace(lua_State *L);
/** What is left of the call's deadline, at most `wanted_ms`; at least 1. */
uint64_t till_co_time_left(lua_State *L, uint64_t wanted_ms);

/**
 * Yields until till_co_resume. `op` is cancelled when the call is. The `keep`
 * topmost values stay on the coroutine's stack and are there in the callback.
 * If the call was cancelled already, `op` is cancelled at once (its callback
 * still comes and resumes with nil, err).
 * Use: return till_co_park(co, L, op, keep);
 */
int till_co_park(till_co_t *co, lua_State *L, till_op_t *op, int keep);
/** From the operation's callback, as the last thing: continues with the `n` topmost values of till_co_stack. */
void till_co_resume(till_co_t *co, int n);
/** The stack on which the parked binding left its values and results are pushed. */
lua_State *till_co_stack(till_co_t *co);

/** Pushes nil and an error object {code, message, retryable} (lua/till/util/err.lua). @return 2 [-0, +2] */
int till_push_failure(lua_State *L, till_status_t status, const char *message);
/** An optional whole number field of the table at `index`. [-0, +0] */
uint64_t till_opt_ms(lua_State *L, int index, const char *field, uint64_t fallback);

#endif
