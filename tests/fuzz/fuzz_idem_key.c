/* fuzz_idem_key.c - Idempotency-Key as anybody may send it; see core/trade/idem.h. */
#include <stdlib.h>
#include <string.h>
#include "trade/idem.h"

static void check(int holds)
{
    if (!holds)
        abort();
}

/* What was accepted, written as an RFC 8941 string, must be read as the same key. */
static void check_round_trip(const char *key, size_t len)
{
    char quoted[2 * TILL_IDEM_KEY_MAX + 2], again[TILL_IDEM_KEY_MAX + 1];
    size_t n = 0, again_len;

    quoted[n++] = '"';
    for (size_t i = 0; i != len; ++i) {
        if (key[i] == '"' || key[i] == '\\')
            quoted[n++] = '\\';
        quoted[n++] = key[i];
    }
    quoted[n++] = '"';
    check(till_idem_parse_key((till_slice_t){quoted, n}, again, &again_len));
    check(again_len == len && memcmp(again, key, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char *exact = size != 0 ? memcpy(malloc(size), bytes, size) : NULL; /* so that a read past it is seen */
    char key[TILL_IDEM_KEY_MAX + 1];
    size_t len = 0;

    if (till_idem_parse_key((till_slice_t){exact, size}, key, &len)) {
        check(len >= 1 && len <= TILL_IDEM_KEY_MAX && strlen(key) == len);
        for (size_t i = 0; i != len; ++i)
            check(key[i] >= 0x20 && key[i] <= 0x7e);
        check_round_trip(key, len);
    } else {
        check(len == 0);
    }
    free(exact);
    return 0;
}
