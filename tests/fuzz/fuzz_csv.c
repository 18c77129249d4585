/* fuzz_csv.c - fed whole or in pieces, a document is the same records and errors. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/csv.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* Every record with its line, and every error; the separators cannot come from a valid record. */
static void tell(till_buf_t *out, const char *text, size_t len, size_t step)
{
    till_csv_t *csv = till_csv_create();
    const till_csv_field_t *fields;
    till_csv_result_t result;
    size_t count, at = 0;

    while ((result = till_csv_next(csv, &fields, &count)) != TILL_CSV_DONE) {
        if (result == TILL_CSV_MORE) {
            size_t n = len - at < step ? len - at : step;
            till_csv_feed(csv, text + at, n);
            at += n;
            continue;
        }
        till_buf_printf(out, "%d", (int)till_csv_line(csv));
        if (result == TILL_CSV_BAD)
            till_buf_printf(out, "!%s", till_csv_error(csv));
        for (size_t i = 0; i != count; ++i) {
            till_buf_append(out, "\0", 1);
            till_buf_append(out, fields[i].base, fields[i].len);
        }
        till_buf_append(out, "\0\0", 2);
    }
    till_csv_destroy(csv);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    till_buf_t whole, pieces;
    size_t step = len != 0 ? 1 + bytes[0] % 7 : 1;

    till_buf_init(&whole, 0);
    till_buf_init(&pieces, 0);
    tell(&whole, (const char *)bytes, len, SIZE_MAX);
    tell(&pieces, (const char *)bytes, len, step);
    if (whole.len != pieces.len || (whole.len != 0 && memcmp(whole.base, pieces.base, whole.len) != 0))
        abort();
    till_buf_dispose(&whole);
    till_buf_dispose(&pieces);
    return 0;
}
