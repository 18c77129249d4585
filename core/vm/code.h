/* code.h - Lua's text, compiled once a process.
 *
 * A new generation is nearly all of what the one before was. To compile the library takes some 20 ms, beside those who
 * are being served; so what was compiled is kept as bytecode, which loads in a tenth of that. Bytecode is loaded only
 * when it was made here, from the same text under the same name.
 *
 * Thread: any.
 * Owns: what it keeps, a process long; some 0.6 MB for the library.
 */
#ifndef TILL_VM_CODE_H
#define TILL_VM_CODE_H

#include <lua.h>
#include <stddef.h>
#include "vm/bundle.h"

/** As luaL_loadbufferx of text alone; "@path" for `chunk`. @return 0 or LUA_ERR… [-0, +1] */
int till_code_load(lua_State *L, const char *text, size_t len, const char *chunk);
/** Another generation begins to load: what neither of the two before it has used is dropped. */
void till_code_next(void);
/** Compiles the files below `prefix` that are not kept yet, for all processes that this one forks from now on. A text
 * can crash the parser: only what comes with the program, or has been compiled elsewhere before, may be given. */
void till_code_warm(const till_bundle_t *bundle, const char *prefix);
/** How many pieces are kept. */
size_t till_code_count(void);

#endif
