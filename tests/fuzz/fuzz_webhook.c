/* fuzz_webhook.c - what plugins/payment-stripe/webhook.lua reads of an event, by tests/fuzz/lua/webhook.lua. */
#include "support/lua.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    fuzz_lua("tests/fuzz/lua/webhook.lua", bytes, len);
    return 0;
}
