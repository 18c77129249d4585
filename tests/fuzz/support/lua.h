/* lua.h - a fuzz target that is written in Lua, over the library, plugins and bindings of the checkout.
 *
 * `script` is a main.lua whose http(req) looks at req.body and throws where something does not hold. The JIT is off
 * and each line that runs is counted for libFuzzer, which sees no bytecode by itself.
 */
#ifndef TESTS_FUZZ_SUPPORT_LUA_H
#define TESTS_FUZZ_SUPPORT_LUA_H

#include <stddef.h>
#include <stdint.h>

/** Runs it once; what it throws aborts with the error. The VM is made at the first call and kept. */
void fuzz_lua(const char *script, const uint8_t *bytes, size_t len);

#endif
