/* csv.c - see csv.h
 *
 * One byte at a time through a machine whose state outlives the pieces:
 *
 *     START --text--> PLAIN --comma--> START
 *     START --quote-> QUOTED --quote-> CLOSED --quote--> QUOTED ("" is a quote)
 *     outside of quotes --CR--> RETURN --LF--> the record is complete
 *     an error --> SKIP --LF--> a new record
 *
 * A quote in the middle of PLAIN is text (5" pipe), as most writers mean it.
 */
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/csv.h"
#include "base/mem.h"
#include "base/utf8.h"

#define MAX_FIELDS 256
#define MAX_RECORD (1 << 20)

enum state { START, PLAIN, QUOTED, CLOSED, RETURN, SKIP };

struct till_csv {
    till_buf_t input;
    size_t at; /* in `input`: the next byte */
    bool ended, past_bom;
    bool complete; /* the last call gave out a record; the next one begins another */
    enum state state;
    bool blank; /* nothing of the record but its end of line was seen yet */
    uint64_t line, record_line;
    const char *error;
    till_buf_t text; /* of the record, field after field */
    size_t ends[MAX_FIELDS];
    size_t count;
    till_csv_field_t fields[MAX_FIELDS];
};

static void begin_record(till_csv_t *csv)
{
    till_buf_clear(&csv->text);
    csv->count = 0;
    csv->blank = true;
    csv->state = START;
}

till_csv_t *till_csv_create(void)
{
    till_csv_t *csv = till_calloc(1, sizeof(*csv));

    till_buf_init(&csv->input, 0);
    till_buf_init(&csv->text, 0);
    csv->line = csv->record_line = 1;
    csv->error = "";
    begin_record(csv);
    return csv;
}

void till_csv_destroy(till_csv_t *csv)
{
    if (csv == NULL)
        return;
    till_buf_dispose(&csv->input);
    till_buf_dispose(&csv->text);
    free(csv);
}

void till_csv_feed(till_csv_t *csv, const char *bytes, size_t len)
{
    size_t rest = csv->input.len - csv->at;

    if (len == 0) {
        csv->ended = true;
        return;
    }
    if (csv->at != 0) {
        memmove(csv->input.base, csv->input.base + csv->at, rest);
        csv->input.len = rest;
        csv->at = 0;
    }
    till_buf_append(&csv->input, bytes, len);
}

static till_csv_result_t fail(till_csv_t *csv, const char *error, enum state state)
{
    csv->error = error;
    begin_record(csv);
    csv->state = state;
    return TILL_CSV_BAD;
}

static void end_field(till_csv_t *csv)
{
    csv->ends[csv->count++] = csv->text.len;
    csv->state = START;
}

/* Each field is checked by itself: two halves of a character in two fields are no character.
 * The text is kept until the next call; that one begins the new record. */
static till_csv_result_t end_record(till_csv_t *csv)
{
    size_t begin = 0;

    end_field(csv);
    till_buf_append(&csv->text, "", 0);
    for (size_t i = 0; i != csv->count; ++i) {
        csv->fields[i] = (till_csv_field_t){csv->text.base + begin, csv->ends[i] - begin};
        if (!till_utf8_is_valid(csv->fields[i].base, csv->fields[i].len))
            return fail(csv, "not UTF-8", START);
        begin = csv->ends[i];
    }
    return TILL_CSV_ROW;
}

static till_csv_result_t end_line(till_csv_t *csv)
{
    ++csv->line;
    if (!csv->blank)
        return end_record(csv);
    begin_record(csv);
    return TILL_CSV_MORE;
}

static till_csv_result_t take_text(till_csv_t *csv, char c, enum state state)
{
    if (csv->text.len == MAX_RECORD)
        return fail(csv, "a record is larger than 1 MB", SKIP);
    till_buf_putc(&csv->text, c);
    csv->blank = false;
    csv->state = state;
    return TILL_CSV_MORE;
}

static till_csv_result_t take_comma(till_csv_t *csv)
{
    csv->blank = false;
    if (csv->count == MAX_FIELDS - 1)
        return fail(csv, "more than 256 fields", SKIP);
    end_field(csv);
    return TILL_CSV_MORE;
}

/* What ends a field or record outside of quotes; `c` is a comma, CR or LF. */
static till_csv_result_t take_separator(till_csv_t *csv, char c)
{
    if (c == ',')
        return take_comma(csv);
    if (c == '\n')
        return end_line(csv);
    csv->state = RETURN;
    return TILL_CSV_MORE;
}

static till_csv_result_t take_skipped(till_csv_t *csv, char c)
{
    if (c == '\n') {
        ++csv->line;
        begin_record(csv);
    }
    return TILL_CSV_MORE;
}

static till_csv_result_t take_quoted(till_csv_t *csv, char c)
{
    csv->line += c == '\n';
    if (c != '"')
        return take_text(csv, c, QUOTED);
    csv->state = CLOSED;
    return TILL_CSV_MORE;
}

static till_csv_result_t take_start(till_csv_t *csv, char c)
{
    if (c != '"')
        return take_text(csv, c, PLAIN);
    csv->state = QUOTED;
    csv->blank = false;
    return TILL_CSV_MORE;
}

static till_csv_result_t take(till_csv_t *csv, char c)
{
    bool separates = c == ',' || c == '\n' || c == '\r';

    if (csv->state == SKIP)
        return take_skipped(csv, c);
    if (c == '\0')
        return fail(csv, "a NUL byte", SKIP);
    if (csv->state == QUOTED)
        return take_quoted(csv, c);
    if (csv->state == RETURN)
        return c == '\n' ? end_line(csv) : fail(csv, "a carriage return stands alone", SKIP);
    if (separates)
        return take_separator(csv, c);
    if (csv->state == CLOSED)
        return c == '"' ? take_text(csv, c, QUOTED) : fail(csv, "text behind a closing quote", SKIP);
    return csv->state == START ? take_start(csv, c) : take_text(csv, c, PLAIN);
}

/* @return false while it cannot be told yet */
static bool skip_bom(till_csv_t *csv)
{
    static const char bom[] = "\xEF\xBB\xBF";
    size_t len = csv->input.len < 3 ? csv->input.len : 3;

    bool may_be = len == 0 || memcmp(csv->input.base, bom, len) == 0;
    if (may_be && len < 3 && !csv->ended)
        return false;
    csv->past_bom = true;
    csv->at = may_be && len == 3 ? 3 : 0;
    return true;
}

static till_csv_result_t finish(till_csv_t *csv)
{
    enum state state = csv->state;

    if (state == SKIP || csv->blank)
        return TILL_CSV_DONE;
    if (state == QUOTED)
        return fail(csv, "a quote is never closed", START);
    return end_record(csv);
}

till_csv_result_t till_csv_next(till_csv_t *csv, const till_csv_field_t **fields, size_t *count)
{
    till_csv_result_t result = TILL_CSV_MORE;

    if (!csv->past_bom && !skip_bom(csv))
        return TILL_CSV_MORE;
    if (csv->complete)
        begin_record(csv);
    while (result == TILL_CSV_MORE && csv->at != csv->input.len) {
        if (csv->blank && csv->state != SKIP)
            csv->record_line = csv->line;
        result = take(csv, csv->input.base[csv->at++]);
    }
    if (result == TILL_CSV_MORE && csv->ended)
        result = finish(csv);
    csv->complete = result == TILL_CSV_ROW;
    *fields = csv->fields;
    *count = csv->complete ? csv->count : 0;
    return result;
}

uint64_t till_csv_line(const till_csv_t *csv) { return csv->record_line; }

const char *till_csv_error(const till_csv_t *csv) { return csv->error; }
