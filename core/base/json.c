/* json.c - see json.h
 *
 * What may come next is kept in `_state`, what is open in `_stack`:
 *
 *     VALUE ---scalar or closing---> AFTER ---','---> VALUE or KEY
 *       |                              |
 *       +--'['--> FIRST_VALUE          +--nothing open--> END
 *       +--'{'--> FIRST_KEY            KEY --':'--> VALUE
 *
 * FIRST_VALUE and FIRST_KEY are where the closing bracket may stand at once.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/card.h"
#include "base/json.h"
#include "base/utf8_priv.h"

enum { VALUE, FIRST_VALUE, KEY, FIRST_KEY, AFTER, FAILED };
enum { IN_OBJECT, IN_ARRAY };

#define MAX_INT (UINT64_C(1) << 53)
#define MAX_INT_DIGITS 16

void till_json_reader_init(till_json_reader_t *reader, const char *bytes, size_t len)
{
    *reader = (till_json_reader_t){._begin = bytes, ._p = bytes, ._end = bytes + len, ._state = VALUE};
    till_buf_init(&reader->_scratch, 0);
}

void till_json_reader_dispose(till_json_reader_t *reader) { till_buf_dispose(&reader->_scratch); }

static till_json_token_t fail(till_json_reader_t *r, const char *error)
{
    r->error = error;
    r->at = (size_t)(r->_p - r->_begin);
    r->_state = FAILED;
    return TILL_JSON_ERROR;
}

static void skip_space(till_json_reader_t *r)
{
    while (r->_p != r->_end && (*r->_p == ' ' || *r->_p == '\t' || *r->_p == '\n' || *r->_p == '\r'))
        ++r->_p;
}

/* ---- strings ---- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Four hex digits at `p`, or -1. */
static int32_t read_hex4(const char *p, const char *end)
{
    int32_t value = 0;

    if (end - p < 4)
        return -1;
    for (int i = 0; i != 4; ++i) {
        int digit = hex_value(p[i]);
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

static void append_code(till_buf_t *buf, uint32_t code)
{
    char out[4];
    size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const uint8_t leads[] = {0, 0, 0xC0, 0xE0, 0xF0};

    for (size_t i = len - 1; i != 0; --i, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3F));
    out[0] = (char)(leads[len] | code);
    till_buf_append(buf, out, len);
}

/* Behind "\u"; a high surrogate takes the low one with it. */
static bool read_unicode(till_json_reader_t *r)
{
    int32_t code = read_hex4(r->_p, r->_end), low;

    if (code < 0)
        return fail(r, "\\u needs four hex digits"), false;
    if (code == 0)
        return fail(r, "a string holds a NUL"), false;
    if (code >= 0xDC00 && code <= 0xDFFF)
        return fail(r, "a low surrogate stands alone"), false;
    if (code >= 0xD800 && code <= 0xDBFF) {
        const char *next = r->_p + 4;
        bool escaped = r->_end - next >= 2 && next[0] == '\\' && next[1] == 'u';
        low = escaped ? read_hex4(next + 2, r->_end) : -1;
        if (low < 0xDC00 || low > 0xDFFF)
            return fail(r, "a high surrogate stands alone"), false;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        r->_p += 6;
    }
    r->_p += 4;
    append_code(&r->_scratch, (uint32_t)code);
    return true;
}

static bool read_escape(till_json_reader_t *r)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";

    if (++r->_p == r->_end)
        return fail(r, "a string is not closed"), false;
    if (*r->_p == 'u')
        return ++r->_p, read_unicode(r);
    const char *found = *r->_p != '\0' ? strchr(from, *r->_p) : NULL;
    if (found == NULL)
        return fail(r, "there is no such escape"), false;
    ++r->_p;
    return till_buf_putc(&r->_scratch, to[found - from]);
}

/* What stands between escapes is copied in one piece. */
static bool read_run(till_json_reader_t *r)
{
    const char *start = r->_p;

    while (r->_p != r->_end && *r->_p != '"' && *r->_p != '\\') {
        if ((uint8_t)*r->_p < 0x20)
            return fail(r, *r->_p == '\0' ? "a string holds a NUL" : "a control character is not escaped"), false;
        size_t step = till_utf8_step(r->_p, (size_t)(r->_end - r->_p));
        if (step == 0)
            return fail(r, "not UTF-8"), false;
        r->_p += step;
    }
    return till_buf_append(&r->_scratch, start, (size_t)(r->_p - start));
}

static bool read_text(till_json_reader_t *r)
{
    till_buf_clear(&r->_scratch);
    ++r->_p;
    for (;;) {
        if (!read_run(r))
            return false;
        if (r->_p == r->_end)
            return fail(r, "a string is not closed"), false;
        if (*r->_p == '"')
            break;
        if (!read_escape(r))
            return false;
    }
    ++r->_p;
    r->text = r->_scratch.base;
    r->len = r->_scratch.len;
    return true;
}

/* ---- numbers ---- */

static size_t skip_digits(till_json_reader_t *r)
{
    const char *start = r->_p;

    while (r->_p != r->_end && *r->_p >= '0' && *r->_p <= '9')
        ++r->_p;
    return (size_t)(r->_p - start);
}

static bool skip_char(till_json_reader_t *r, char a, char b)
{
    if (r->_p == r->_end || (*r->_p != a && *r->_p != b))
        return false;
    ++r->_p;
    return true;
}

/* @return what is wrong with the number at `_p`, or NULL; `whole` = without fraction and exponent */
static const char *skip_number(till_json_reader_t *r, bool *whole)
{
    skip_char(r, '-', '-');
    const char *first = r->_p;
    size_t digits = skip_digits(r);

    *whole = true;
    if (digits == 0)
        return "a digit is missing";
    if (digits > 1 && *first == '0')
        return "a number begins with zero";
    if (skip_char(r, '.', '.')) {
        *whole = false;
        if (skip_digits(r) == 0)
            return "a digit is missing behind the point";
    }
    if (skip_char(r, 'e', 'E')) {
        *whole = false;
        skip_char(r, '+', '-');
        if (skip_digits(r) == 0)
            return "a digit is missing in the exponent";
    }
    return NULL;
}

/* The double may have been rounded, so 2^53 is compared with the digits themselves. */
static bool fits_int(const char *p, const char *end)
{
    uint64_t value = 0;

    p += *p == '-';
    if (end - p > MAX_INT_DIGITS)
        return false;
    for (; p != end; ++p)
        value = value * 10 + (uint64_t)(*p - '0');
    return value <= MAX_INT;
}

static till_json_token_t read_number(till_json_reader_t *r)
{
    const char *start = r->_p;
    bool whole;
    const char *wrong = skip_number(r, &whole);

    if (wrong != NULL)
        return fail(r, wrong);
    till_buf_clear(&r->_scratch);
    till_buf_append(&r->_scratch, start, (size_t)(r->_p - start));
    r->is_int = whole && fits_int(start, r->_p);
    r->number = strtod(r->_scratch.base, NULL);
    if (!isfinite(r->number)) {
        r->_p = start;
        return fail(r, "a number is too large");
    }
    if (r->number == 0)
        r->number = 0; /* no minus zero: it would divide and print differently */
    r->_state = AFTER;
    return TILL_JSON_NUMBER;
}

/* ---- structure ---- */

static till_json_token_t read_word(till_json_reader_t *r, const char *word, till_json_token_t token)
{
    size_t len = strlen(word);

    if ((size_t)(r->_end - r->_p) < len || memcmp(r->_p, word, len) != 0)
        return fail(r, "a value is expected");
    r->_p += len;
    r->_state = AFTER;
    return token;
}

static till_json_token_t open_nest(till_json_reader_t *r, uint8_t kind)
{
    if (r->_depth == TILL_JSON_DEPTH)
        return fail(r, "nested too deep");
    ++r->_p;
    r->_stack[r->_depth++] = kind;
    r->_state = kind == IN_OBJECT ? FIRST_KEY : FIRST_VALUE;
    return kind == IN_OBJECT ? TILL_JSON_OBJECT_BEGIN : TILL_JSON_ARRAY_BEGIN;
}

static till_json_token_t close_nest(till_json_reader_t *r)
{
    ++r->_p;
    r->_state = AFTER;
    return r->_stack[--r->_depth] == IN_OBJECT ? TILL_JSON_OBJECT_END : TILL_JSON_ARRAY_END;
}

static till_json_token_t read_value(till_json_reader_t *r)
{
    switch (*r->_p) {
    case '{':
        return open_nest(r, IN_OBJECT);
    case '[':
        return open_nest(r, IN_ARRAY);
    case '"':
        if (!read_text(r))
            return TILL_JSON_ERROR;
        r->_state = AFTER;
        return TILL_JSON_STRING;
    case 't':
        return read_word(r, "true", TILL_JSON_TRUE);
    case 'f':
        return read_word(r, "false", TILL_JSON_FALSE);
    case 'n':
        return read_word(r, "null", TILL_JSON_NULL);
    default:
        if (*r->_p == '-' || (*r->_p >= '0' && *r->_p <= '9'))
            return read_number(r);
        return fail(r, "a value is expected");
    }
}

static till_json_token_t read_key(till_json_reader_t *r)
{
    if (*r->_p != '"')
        return fail(r, "a key is expected");
    if (!read_text(r))
        return TILL_JSON_ERROR;
    skip_space(r);
    if (!skip_char(r, ':', ':'))
        return fail(r, "a colon is expected");
    r->_state = VALUE;
    return TILL_JSON_KEY;
}

static till_json_token_t read_token(till_json_reader_t *r);

/* Behind a value inside of an object or array: the end of it, or a comma and the next. */
static till_json_token_t read_after(till_json_reader_t *r)
{
    bool in_object = r->_stack[r->_depth - 1] == IN_OBJECT;

    if (*r->_p == (in_object ? '}' : ']'))
        return close_nest(r);
    if (*r->_p != ',')
        return fail(r, in_object ? "a comma or } is expected" : "a comma or ] is expected");
    ++r->_p;
    r->_state = in_object ? KEY : VALUE;
    return read_token(r);
}

static till_json_token_t read_token(till_json_reader_t *r)
{
    if (r->_state == FAILED)
        return TILL_JSON_ERROR;
    skip_space(r);
    bool complete = r->_state == AFTER && r->_depth == 0;
    if (r->_p == r->_end)
        return complete ? TILL_JSON_END : fail(r, "the document ends too early");
    if (complete)
        return fail(r, "something stands behind the document");

    switch (r->_state) {
    case AFTER:
        return read_after(r);
    case FIRST_KEY:
        return *r->_p == '}' ? close_nest(r) : read_key(r);
    case KEY:
        return read_key(r);
    case FIRST_VALUE:
        return *r->_p == ']' ? close_nest(r) : read_value(r);
    default:
        return read_value(r);
    }
}

/* A number is looked at as it was written. */
static bool holds_card(const till_json_reader_t *r, till_json_token_t token)
{
    size_t from, to;

    return (token == TILL_JSON_STRING || token == TILL_JSON_KEY || token == TILL_JSON_NUMBER) &&
           till_card_find(r->_scratch.base, r->_scratch.len, &from, &to);
}

till_json_token_t till_json_next(till_json_reader_t *r)
{
    till_json_token_t token = read_token(r);

    if (r->no_cards && holds_card(r, token)) {
        r->is_card = true;
        return fail(r, "a value holds the number of a payment card");
    }
    return token;
}

/* ---- the writer ---- */

static void write_escaped(till_buf_t *buf, char c)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *found = c != '\0' ? strchr(from, c) : NULL;

    if (found != NULL) {
        till_buf_putc(buf, '\\');
        till_buf_putc(buf, to[found - from]);
    } else {
        till_buf_printf(buf, "\\u%04x", (uint8_t)c);
    }
}

static bool needs_escape(char c) { return (uint8_t)c < 0x20 || c == '"' || c == '\\' || c == 0x7f; }

void till_json_write_string(till_buf_t *buf, const char *bytes, size_t len)
{
    size_t at = 0, start = 0;

    till_buf_putc(buf, '"');
    while (at < len) {
        size_t run = till_utf8_plain(bytes + at, len - at);
        if ((at += run) == len)
            break;
        size_t step = till_utf8_step(bytes + at, len - at);
        if (step != 0 && !needs_escape(bytes[at])) {
            at += step;
            continue;
        }
        till_buf_append(buf, bytes + start, at - start);
        if (step == 0)
            till_buf_puts(buf, "\xEF\xBF\xBD");
        else
            write_escaped(buf, bytes[at]);
        start = ++at;
    }
    till_buf_append(buf, bytes + start, at - start);
    till_buf_putc(buf, '"');
}

static void write_integer(till_buf_t *buf, int64_t number)
{
    char digits[24], *p = digits + sizeof(digits);
    uint64_t left = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;

    do {
        *--p = (char)('0' + left % 10);
    } while ((left /= 10) != 0);
    if (number < 0)
        *--p = '-';
    till_buf_append(buf, p, (size_t)(digits + sizeof(digits) - p));
}

void till_json_write_number(till_buf_t *buf, double number)
{
    if (!isfinite(number))
        till_buf_puts(buf, "null");
    else if (number == floor(number) && fabs(number) <= (double)MAX_INT)
        write_integer(buf, (int64_t)number);
    else
        till_buf_printf(buf, "%.17g", number);
}
