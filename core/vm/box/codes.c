/* codes.c - the names of how rules end; see wire.h. */
#include "vm/box/wire.h"

const char *till_rule_code_name(till_rule_code_t code)
{
    static const char *const names[] = {
#define NAME(symbol, name) name,
        TILL_RULE_CODES(NAME)
#undef NAME
    };

    return (unsigned)code < TILL_RULE_CODE_COUNT ? names[code] : "crash";
}
