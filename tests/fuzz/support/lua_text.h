/* lua_text.h - bytes to Lua: programs that parse and reach into everything that a rule finds.
 *
 * Each byte chooses, so that a small change of the bytes is a small change of the program. What is made
 * names only locals and what the box gives; it loops, recurses, throws, sorts, matches and builds as it comes.
 */
#ifndef TESTS_FUZZ_SUPPORT_LUA_TEXT_H
#define TESTS_FUZZ_SUPPORT_LUA_TEXT_H

#include "base/buf.h"

/** Appends a text that returns a function of (args, input). */
void fuzz_lua_text(const uint8_t *bytes, size_t len, till_buf_t *out);

#endif
