/* fuzz_multipart.c - lua/till/util/multipart.lua, by tests/fuzz/lua/multipart.lua. */
#include "support/lua.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    fuzz_lua("tests/fuzz/lua/multipart.lua", bytes, len);
    return 0;
}
