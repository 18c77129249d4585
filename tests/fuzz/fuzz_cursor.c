/* fuzz_cursor.c - lua/till/util/cursor.lua, by tests/fuzz/lua/cursor.lua. */
#include "support/lua.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    fuzz_lua("tests/fuzz/lua/cursor.lua", bytes, len);
    return 0;
}
