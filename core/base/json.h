/* json.h - a pull parser and a writer for JSON (RFC 8259, I-JSON of RFC 7493).
 *
 * Refused: broken UTF-8, lone surrogates, NUL bytes in any string (nothing
 * behind us wants them), numbers out of the range of a double, nesting deeper
 * than 64, anything after the document. Duplicate keys are told to the caller
 * by his own table, not here. With `no_cards` also keys, strings and numbers
 * that hold the number of a payment card (card.h). Strings are unescaped into a scratch buffer of
 * the reader, valid until the next call.
 */
#ifndef TILL_BASE_JSON_H
#define TILL_BASE_JSON_H

#include <stdint.h>
#include "base/buf.h"

#define TILL_JSON_DEPTH 64

typedef enum till_json_token {
    TILL_JSON_ERROR, /* see `error` and `at`; every later call says the same */
    TILL_JSON_END,
    TILL_JSON_NULL,
    TILL_JSON_TRUE,
    TILL_JSON_FALSE,
    TILL_JSON_NUMBER, /* `number`; `is_int` where it was written without fraction and exponent and fits 2^53 */
    TILL_JSON_STRING, /* `text`, `len` */
    TILL_JSON_KEY,    /* `text`, `len`; the value follows */
    TILL_JSON_OBJECT_BEGIN,
    TILL_JSON_OBJECT_END,
    TILL_JSON_ARRAY_BEGIN,
    TILL_JSON_ARRAY_END,
} till_json_token_t;

typedef struct till_json_reader {
    const char *text;
    size_t len;
    double number;
    bool is_int;
    const char *error; /* a sentence, static */
    size_t at;         /* offset in bytes of the error */
    bool no_cards;     /* set it behind init: for what comes from outside */
    bool is_card;      /* the error is such a number */
    const char *_begin, *_p, *_end;
    till_buf_t _scratch;
    uint8_t _stack[TILL_JSON_DEPTH];
    unsigned _depth, _state;
} till_json_reader_t;

/** `bytes` is borrowed until dispose. */
void till_json_reader_init(till_json_reader_t *reader, const char *bytes, size_t len);
void till_json_reader_dispose(till_json_reader_t *reader);
till_json_token_t till_json_next(till_json_reader_t *reader);

/** Appends a quoted, escaped string; bytes that are not UTF-8 become U+FFFD. */
void till_json_write_string(till_buf_t *buf, const char *bytes, size_t len);
/** Whole numbers without fraction; others with 17 digits; NaN and infinities as null. */
void till_json_write_number(till_buf_t *buf, double number);

#endif
