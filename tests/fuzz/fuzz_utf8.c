/* fuzz_utf8.c - the check against a decoder that is slow and plain. */
#include <stdint.h>
#include <stdlib.h>
#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* @return the length of the character at `p`, 0 when there is none */
static size_t decode(const uint8_t *p, size_t len)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
    uint32_t code = n == 1 ? p[0] : p[0] & (0xFFU >> (n + 1));

    if (n == 0 || n > len)
        return 0;
    for (size_t i = 1; i != n; ++i) {
        if (p[i] >> 6 != 2)
            return 0;
        code = code << 6 | (p[i] & 63U);
    }
    return code >= least[n] && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF) ? n : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    size_t at = 0, step = 1;

    while (at != len && (step = decode(bytes + at, len - at)) != 0)
        at += step;
    if (till_utf8_is_valid((const char *)bytes, len) != (at == len))
        abort();
    return 0;
}
