/* csv.h - CSV by RFC 4180, fed in pieces; "" inside quotes, CR LF or LF, a BOM is skipped.
 *
 * Lines with nothing on them are skipped. A record is at most 1 MB and 256 fields; NUL bytes, broken UTF-8, a quote
 * that never closes and text after a closing quote are errors with the line.
 */
#ifndef TILL_BASE_CSV_H
#define TILL_BASE_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct till_csv till_csv_t;
typedef struct till_csv_field {
    const char *base; /* borrowed until the next call */
    size_t len;
} till_csv_field_t;

typedef enum till_csv_result { TILL_CSV_ROW, TILL_CSV_MORE, TILL_CSV_DONE, TILL_CSV_BAD } till_csv_result_t;

till_csv_t *till_csv_create(void);
void till_csv_destroy(till_csv_t *csv);
/** Gives it bytes (copied); len 0 says that there are no more. */
void till_csv_feed(till_csv_t *csv, const char *bytes, size_t len);
/**
 * The next record. ROW: fields and count are set. MORE: feed it. DONE: the end.
 * BAD: `till_csv_error` says what; the reader skips to the next line and can go on.
 */
till_csv_result_t till_csv_next(till_csv_t *csv, const till_csv_field_t **fields, size_t *count);
/** The line on which the record of the last call began, from 1. */
uint64_t till_csv_line(const till_csv_t *csv);
const char *till_csv_error(const till_csv_t *csv);

#endif
