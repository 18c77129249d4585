#include <stdio.h>
#include <string.h>
#include "base/json.h"
#include "serve/line.h"

/* @return the token behind the member of that name; ERROR or END where it is not there. */
static till_json_token_t find(till_json_reader_t *reader, const char *member)
{
    till_json_token_t token;
    unsigned depth = 0;

    while ((token = till_json_next(reader)) > TILL_JSON_END) {
        if (token == TILL_JSON_OBJECT_BEGIN || token == TILL_JSON_ARRAY_BEGIN)
            ++depth;
        else if (token == TILL_JSON_OBJECT_END || token == TILL_JSON_ARRAY_END)
            --depth;
        else if (token == TILL_JSON_KEY && depth == 1 && reader->len == strlen(member) &&
                 memcmp(reader->text, member, reader->len) == 0)
            return till_json_next(reader);
    }
    return token;
}

bool till_line_text(const char *line, size_t len, const char *member, char *out, size_t size)
{
    till_json_reader_t reader;

    till_json_reader_init(&reader, line, len);
    bool found = find(&reader, member) == TILL_JSON_STRING && reader.len < size;
    if (found)
        memcpy(out, reader.text, reader.len);
    out[found ? reader.len : 0] = '\0';
    till_json_reader_dispose(&reader);
    return found;
}

uint64_t till_line_int(const char *line, size_t len, const char *member, uint64_t fallback)
{
    till_json_reader_t reader;

    till_json_reader_init(&reader, line, len);
    bool found = find(&reader, member) == TILL_JSON_NUMBER && reader.is_int && reader.number >= 0;
    uint64_t number = found ? (uint64_t)reader.number : fallback;
    till_json_reader_dispose(&reader);
    return number;
}

bool till_line_true(const char *line, size_t len, const char *member)
{
    till_json_reader_t reader;

    till_json_reader_init(&reader, line, len);
    bool is_true = find(&reader, member) == TILL_JSON_TRUE;
    till_json_reader_dispose(&reader);
    return is_true;
}

bool till_line_has(const char *line, size_t len, const char *member)
{
    till_json_reader_t reader;

    till_json_reader_init(&reader, line, len);
    bool has = find(&reader, member) > TILL_JSON_END;
    till_json_reader_dispose(&reader);
    return has;
}

bool till_line_is_object(const char *line, size_t len)
{
    till_json_reader_t reader;
    till_json_token_t token;

    till_json_reader_init(&reader, line, len);
    bool is_object = (token = till_json_next(&reader)) == TILL_JSON_OBJECT_BEGIN;
    while (token > TILL_JSON_END)
        token = till_json_next(&reader);
    till_json_reader_dispose(&reader);
    return is_object && token == TILL_JSON_END;
}

static void begin_member(till_buf_t *out, const char *member)
{
    if (out->len != 0 && out->base[out->len - 1] != '{')
        till_buf_putc(out, ',');
    till_buf_printf(out, "\"%s\":", member);
}

void till_line_put(till_buf_t *out, const char *member, const char *text)
{
    begin_member(out, member);
    till_json_write_string(out, text, strlen(text));
}

void till_line_put_int(till_buf_t *out, const char *member, uint64_t number)
{
    begin_member(out, member);
    till_buf_printf(out, "%llu", (unsigned long long)number);
}
