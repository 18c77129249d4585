/* fuzz_cookie.c - lua/till/util/cookie.lua, by tests/fuzz/lua/cookie.lua. */
#include "support/lua.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    fuzz_lua("tests/fuzz/lua/cookie.lua", bytes, len);
    return 0;
}
