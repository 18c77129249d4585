/* fuzz_url.c - lua/till/util/url.lua, by tests/fuzz/lua/url.lua. */
#include "support/lua.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    fuzz_lua("tests/fuzz/lua/url.lua", bytes, len);
    return 0;
}
