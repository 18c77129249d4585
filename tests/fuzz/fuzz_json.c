/* fuzz_json.c - the reader ends, stays in its bounds, and what it took is written and read as the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void check_number(double number)
{
    till_json_reader_t reader;
    till_buf_t out;

    till_buf_init(&out, 0);
    till_json_write_number(&out, number);
    till_json_reader_init(&reader, out.base, out.len);
    must(till_json_next(&reader) == TILL_JSON_NUMBER && reader.number == number);
    till_json_reader_dispose(&reader);
    till_buf_dispose(&out);
}

static void check_text(const char *text, size_t len)
{
    till_json_reader_t reader;
    till_buf_t out;

    must(memchr(text, '\0', len) == NULL);
    till_buf_init(&out, 0);
    till_json_write_string(&out, text, len);
    till_json_reader_init(&reader, out.base, out.len);
    must(till_json_next(&reader) == TILL_JSON_STRING && reader.len == len && memcmp(reader.text, text, len) == 0);
    till_json_reader_dispose(&reader);
    till_buf_dispose(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    till_json_reader_t reader;
    till_json_token_t token;
    size_t depth = 0, tokens = 0;

    till_json_reader_init(&reader, (const char *)bytes, len);
    do {
        token = till_json_next(&reader);
        must(++tokens <= len + 1);
        depth += token == TILL_JSON_OBJECT_BEGIN || token == TILL_JSON_ARRAY_BEGIN;
        depth -= token == TILL_JSON_OBJECT_END || token == TILL_JSON_ARRAY_END;
        must(depth <= TILL_JSON_DEPTH);
        if (token == TILL_JSON_NUMBER)
            check_number(reader.number);
        if (token == TILL_JSON_STRING || token == TILL_JSON_KEY)
            check_text(reader.text, reader.len);
    } while (token != TILL_JSON_END && token != TILL_JSON_ERROR);
    must(token == TILL_JSON_ERROR ? reader.at <= len && reader.error != NULL : depth == 0);
    till_json_reader_dispose(&reader);
    return 0;
}
