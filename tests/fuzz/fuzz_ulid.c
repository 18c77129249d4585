/* fuzz_ulid.c - what is parsed is written as the same text, in upper case. */
#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/ulid.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    char text[TILL_ULID_TEXT + 1];
    uint8_t id[TILL_ULID_LEN];

    if (len >= TILL_ULID_LEN) {
        till_ulid_format(text, bytes);
        if (!till_ulid_parse(id, text, TILL_ULID_TEXT) || memcmp(id, bytes, TILL_ULID_LEN) != 0)
            abort();
    }
    if (!till_ulid_parse(id, (const char *)bytes, len))
        return 0;
    till_ulid_format(text, id);
    for (size_t i = 0; i != len; ++i)
        if (toupper(bytes[i]) != text[i])
            abort();
    return 0;
}
