/* test_json.c - see core/base/json.h */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "base/json.h"

/* The document as a line of tokens: { } [ ] n t f, k:key s:text i:int d:double; at the end $ or the error. */
static void tell(till_buf_t *out, const char *text, size_t len)
{
    static const char marks[] = "!$ntfdsk{}[]";
    till_json_reader_t reader;
    till_json_token_t token;

    till_json_reader_init(&reader, text, len);
    do {
        token = till_json_next(&reader);
        if (token == TILL_JSON_ERROR)
            till_buf_printf(out, "!%zu %s", reader.at, reader.error);
        else if (token == TILL_JSON_NUMBER)
            till_buf_printf(out, reader.is_int ? "i:%.0f " : "d:%.17g ", reader.number);
        else if (token == TILL_JSON_STRING || token == TILL_JSON_KEY)
            till_buf_printf(out, "%c:%.*s ", marks[token], (int)reader.len, reader.text);
        else
            till_buf_putc(out, marks[token]);
    } while (token != TILL_JSON_ERROR && token != TILL_JSON_END);
    ck_assert_int_eq(till_json_next(&reader), token == TILL_JSON_ERROR ? TILL_JSON_ERROR : TILL_JSON_END);
    till_json_reader_dispose(&reader);
}

/* clang-format off */
static const struct {
    const char *why, *text;
    size_t len;
    const char *tokens;
} documents[] = {
#define DOC(why, text, tokens) {why, text, sizeof(text) - 1, tokens}
    DOC("an empty object",             "{}",                         "{}$"),
    DOC("an empty array",              " [ ] ",                      "[]$"),
    DOC("a scalar",                    "true",                       "t$"),
    DOC("everything",                  "{\"a\":[1,null,false],\"b\":{\"c\":\"d\"}}", "{k:a [i:1 nf]k:b {k:c s:d }}$"),
    DOC("blanks everywhere",           "\t{ \"a\" :\r\n1 , \"b\" : 2 } ", "{k:a i:1 k:b i:2 }$"),
    DOC("empty key and text",          "{\"\":\"\"}",                "{k: s: }$"),
    DOC("duplicate keys are told",     "{\"a\":1,\"a\":2}",          "{k:a i:1 k:a i:2 }$"),
    /* numbers */
    DOC("zero",                        "0",                          "i:0 $"),
    DOC("minus zero is zero",          "-0",                         "i:0 $"),
    DOC("minus zero, a fraction",      "-0.0",                       "d:0 $"),
    DOC("2^53",                        "9007199254740992",           "i:9007199254740992 $"),
    DOC("-2^53",                       "-9007199254740992",          "i:-9007199254740992 $"),
    DOC("2^53+1 is no int",            "9007199254740993",           "d:9007199254740992 $"),
    DOC("2^64 is no int",              "18446744073709551616",       "d:1.8446744073709552e+19 $"),
    DOC("a fraction",                  "1.5",                        "d:1.5 $"),
    DOC("a whole fraction is no int",  "1.0",                        "d:1 $"),
    DOC("an exponent is no int",       "1e2",                        "d:100 $"),
    DOC("exponent with signs",         "[1E+2,1e-2]",                "[d:100 d:0.01 ]$"),
    DOC("the largest double",          "1.7976931348623157e308",     "d:1.7976931348623157e+308 $"),
    DOC("too small is zero",           "1e-400",                     "d:0 $"),
    DOC("too large",                   "[1e309]",                    "[!1 a number is too large"),
    DOC("too large below",             "-1e309",                     "!0 a number is too large"),
    DOC("a plus",                      "+1",                         "!0 a value is expected"),
    DOC("a zero in front",             "01",                         "!2 a number begins with zero"),
    DOC("minus alone",                 "-",                          "!1 a digit is missing"),
    DOC("a point alone",               "1.",                         "!2 a digit is missing behind the point"),
    DOC("a point in front",            ".5",                         "!0 a value is expected"),
    DOC("an empty exponent",           "1e",                         "!2 a digit is missing in the exponent"),
    DOC("hexadecimal",                 "0x10",                       "i:0 !1 something stands behind the document"),
    DOC("NaN",                         "NaN",                        "!0 a value is expected"),
    DOC("Infinity",                    "-Infinity",                  "!1 a digit is missing"),
    /* strings */
    DOC("escapes",                     "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "s:\"\\/\b\f\n\r\t $"),
    DOC("unicode, two bytes",          "\"\\u00e9\"",                "s:\xC3\xA9 $"),
    DOC("unicode, three bytes",        "\"\\u20AC\"",                "s:\xE2\x82\xAC $"),
    DOC("a pair of surrogates",        "\"\\uD83D\\uDE00\"",         "s:\xF0\x9F\x98\x80 $"),
    DOC("the last pair",               "\"\\uDBFF\\uDFFF\"",         "s:\xF4\x8F\xBF\xBF $"),
    DOC("raw UTF-8",                   "\"\xE2\x82\xAC\"",           "s:\xE2\x82\xAC $"),
    DOC("delete is allowed",           "\"\x7f\"",                   "s:\x7f $"),
    DOC("a high surrogate alone",      "\"\\uD83D\"",                "!3 a high surrogate stands alone"),
    DOC("a high one and text",         "\"\\uD83Dx\"",               "!3 a high surrogate stands alone"),
    DOC("two high ones",               "\"\\uD83D\\uD83D\"",         "!3 a high surrogate stands alone"),
    DOC("a low surrogate alone",       "\"\\uDE00\"",                "!3 a low surrogate stands alone"),
    DOC("a raw surrogate",             "\"\xED\xA0\x80\"",           "!1 not UTF-8"),
    DOC("broken UTF-8",                "\"ab\xFF\"",                 "!3 not UTF-8"),
    DOC("UTF-8 cut by the quote",      "\"\xE2\x82\"",               "!1 not UTF-8"),
    DOC("UTF-8 joined by an escape",   "\"\xC3\\u00a9\"",            "!1 not UTF-8"),
    DOC("overlong",                    "\"\xC0\x80\"",               "!1 not UTF-8"),
    DOC("an escaped NUL",              "\"a\\u0000\"",               "!4 a string holds a NUL"),
    DOC("a raw NUL",                   "\"a\0\"",                    "!2 a string holds a NUL"),
    DOC("a raw line end",              "\"a\n\"",                    "!2 a control character is not escaped"),
    DOC("no such escape",              "\"\\x41\"",                  "!2 there is no such escape"),
    DOC("an escaped NUL byte",         "\"\\\0\"",                   "!2 there is no such escape"),
    DOC("short \\u",                   "\"\\u12\"",                  "!3 \\u needs four hex digits"),
    DOC("\\u without digits",          "\"\\u12G4\"",                "!3 \\u needs four hex digits"),
    DOC("single quotes",               "'a'",                        "!0 a value is expected"),
    /* structure */
    DOC("nothing",                     "",                           "!0 the document ends too early"),
    DOC("only blanks",                 " \n ",                       "!3 the document ends too early"),
    DOC("a BOM",                       "\xEF\xBB\xBF{}",             "!0 a value is expected"),
    DOC("garbage behind",              "{} x",                       "{}!3 something stands behind the document"),
    DOC("a NUL behind",                "{}\0",                       "{}!2 something stands behind the document"),
    DOC("two documents",               "1 2",                        "i:1 !2 something stands behind the document"),
    DOC("a comma at the end",          "[1,]",                       "[i:1 !3 a value is expected"),
    DOC("a comma at the end, object",  "{\"a\":1,}",                 "{k:a i:1 !7 a key is expected"),
    DOC("only a comma",                "[,]",                        "[!1 a value is expected"),
    DOC("no comma",                    "[1 2]",                      "[i:1 !3 a comma or ] is expected"),
    DOC("no comma, object",            "{\"a\":1 \"b\":2}",          "{k:a i:1 !7 a comma or } is expected"),
    DOC("the wrong bracket",           "[1}",                        "[i:1 !2 a comma or ] is expected"),
    DOC("the wrong bracket, object",   "{\"a\":1]",                  "{k:a i:1 !6 a comma or } is expected"),
    DOC("no colon",                    "{\"a\" 1}",                  "{!5 a colon is expected"),
    DOC("a key that is no text",       "{1:2}",                      "{!1 a key is expected"),
    DOC("a key without value",         "{\"a\":}",                   "{k:a !5 a value is expected"),
    DOC("a bracket too many",          "[]]",                        "[]!2 something stands behind the document"),
    DOC("upper case",                  "True",                       "!0 a value is expected"),
    DOC("half a word",                 "[tru]",                      "[!1 a value is expected"),
    DOC("a word run on",               "nulls",                      "n!4 something stands behind the document"),
    DOC("a comment",                   "[1/**/]",                    "[i:1 !2 a comma or ] is expected"),
};
/* clang-format on */

START_TEST(documents_match_table)
{
    typeof(&documents[0]) t = &documents[_i];
    till_buf_t out;

    till_buf_init(&out, 0);
    tell(&out, t->text, t->len);
    ck_assert_msg(strcmp(out.base, t->tokens) == 0, "%s: %s", t->why, out.base);
    till_buf_dispose(&out);
}
END_TEST

/* The bytes are in a block of their own, so that the sanitizer sees one too far. */
static bool is_accepted(const char *text, size_t len)
{
    char *exact = malloc(len != 0 ? len : 1);
    till_buf_t out;

    memcpy(exact, text, len);
    till_buf_init(&out, 0);
    tell(&out, exact, len);
    bool accepted = strchr(out.base, '!') == NULL;
    till_buf_dispose(&out);
    free(exact);
    return accepted;
}

START_TEST(no_truncation_is_a_document)
{
    static const char sample[] = "{\"id\":\"cart_1\",\"n\":-12.5e+3,\"deep\":[[],{},[null,true,false]],"
                                 "\"u\":\"\\uD83D\\uDE00\\n\xE2\x82\xAC\",\"last\":0}";

    ck_assert(is_accepted(sample, sizeof(sample) - 1));
    for (size_t len = 0; len != sizeof(sample) - 1; ++len)
        ck_assert_msg(!is_accepted(sample, len), "%zu bytes", len);
}
END_TEST

static char *nest(size_t depth, const char *open, const char *close, const char *core)
{
    till_buf_t out;

    till_buf_init(&out, 0);
    for (size_t i = 0; i != depth; ++i)
        till_buf_puts(&out, open);
    till_buf_puts(&out, core);
    for (size_t i = 0; i != depth; ++i)
        till_buf_puts(&out, close);
    return till_buf_take(&out);
}

START_TEST(nesting_goes_as_deep_as_was_said)
{
    char *lists = nest(TILL_JSON_DEPTH, "[", "]", "1"), *objects = nest(TILL_JSON_DEPTH, "{\"a\":", "}", "1");
    char *too_deep = nest(TILL_JSON_DEPTH + 1, "[", "]", ""), *far_too_deep = nest(100000, "[", "]", "");

    ck_assert(is_accepted(lists, strlen(lists)));
    ck_assert(is_accepted(objects, strlen(objects)));
    ck_assert(!is_accepted(too_deep, strlen(too_deep)));
    ck_assert(!is_accepted(far_too_deep, strlen(far_too_deep)));
    free(lists);
    free(objects);
    free(too_deep);
    free(far_too_deep);
}
END_TEST

START_TEST(a_long_number_is_read_whole)
{
    char *digits = nest(100000, "9", "", "e-99999");
    till_json_reader_t reader;

    till_json_reader_init(&reader, digits, strlen(digits));
    ck_assert_int_eq(till_json_next(&reader), TILL_JSON_NUMBER);
    ck_assert(fabs(reader.number - 10) < 1e-9);
    till_json_reader_dispose(&reader);
    free(digits);
}
END_TEST

/* clang-format off */
static const struct {
    const char *why;
    double number;
    const char *text;
} numbers[] = {
    {"zero",                0,                   "0"},
    {"minus zero",         -0.0,                 "0"},
    {"whole",              -1999,                "-1999"},
    {"2^53",                9007199254740992.0,  "9007199254740992"},
    {"whole and large",     1e300,               "1.0000000000000001e+300"},
    {"a fraction",          0.1,                 "0.10000000000000001"},
    {"a NaN",               NAN,                 "null"},
    {"an infinity",        -INFINITY,            "null"},
};

static const struct {
    const char *why, *bytes;
    size_t len;
    const char *text;
} strings[] = {
    {"nothing",             "",               0, "\"\""},
    {"plain",               "a/b",            3, "\"a/b\""},
    {"quotes",              "\"\\",           2, "\"\\\"\\\\\""},
    {"short escapes",       "\b\f\n\r\t",     5, "\"\\b\\f\\n\\r\\t\""},
    {"other controls",      "\x01\x1f\x7f",   3, "\"\\u0001\\u001f\\u007f\""},
    {"a NUL",               "a\0b",           3, "\"a\\u0000b\""},
    {"UTF-8",               "\xE2\x82\xAC",   3, "\"\xE2\x82\xAC\""},
    {"not UTF-8",           "a\xFF" "b",      3, "\"a\xEF\xBF\xBD" "b\""},
    {"cut UTF-8",           "\xE2\x82",       2, "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},
};
/* clang-format on */

START_TEST(numbers_are_written_by_table)
{
    till_buf_t out;

    till_buf_init(&out, 0);
    till_json_write_number(&out, numbers[_i].number);
    ck_assert_msg(strcmp(out.base, numbers[_i].text) == 0, "%s: %s", numbers[_i].why, out.base);
    till_buf_dispose(&out);
}
END_TEST

START_TEST(strings_are_written_by_table)
{
    till_buf_t out;

    till_buf_init(&out, 0);
    till_json_write_string(&out, strings[_i].bytes, strings[_i].len);
    ck_assert_msg(strcmp(out.base, strings[_i].text) == 0, "%s: %s", strings[_i].why, out.base);
    till_buf_dispose(&out);
}
END_TEST

/* Whatever is written is read; what has 17 digits comes back as the same double. */
START_TEST(what_is_written_is_read_again)
{
    till_json_reader_t reader;
    till_buf_t out;
    double number;
    char bytes[24];

    for (int i = 0; i != 5000; ++i) {
        till_random(&number, sizeof(number));
        till_random(bytes, sizeof(bytes));
        for (size_t n = 0; n != sizeof(bytes); ++n)
            bytes[n] |= bytes[n] == 0;
        till_buf_init(&out, 0);
        till_buf_putc(&out, '[');
        till_json_write_number(&out, isfinite(number) ? number : 0);
        till_buf_putc(&out, ',');
        till_json_write_string(&out, bytes, sizeof(bytes));
        till_buf_putc(&out, ']');
        till_json_reader_init(&reader, out.base, out.len);
        till_json_next(&reader);
        ck_assert_int_eq(till_json_next(&reader), TILL_JSON_NUMBER);
        ck_assert(!isfinite(number) || reader.number == number);
        ck_assert_int_eq(till_json_next(&reader), TILL_JSON_STRING);
        ck_assert_int_eq(till_json_next(&reader), TILL_JSON_ARRAY_END);
        ck_assert_int_eq(till_json_next(&reader), TILL_JSON_END);
        till_json_reader_dispose(&reader);
        till_buf_dispose(&out);
    }
}
END_TEST

/* clang-format off */
static const struct {
    const char *text;
    bool is_card;
} cards[] = {
    {"\"4111111111111111\"",               true},
    {"4111111111111111",                   true},
    {"-4111111111111111",                  true},
    {"6205500000000000004",                true}, /* more than a double holds */
    {"{\"4111-1111-1111-1111\":1}",        true},
    {"[1,{\"a\":[\"x 4111 1111 1111 1111\"]}]", true},
    {"\"\\u0034111\\u0020111111111111\"",    true},
    {"[\"41111111\",\"11111111\"]",        false}, /* nobody reads them as one */
    {"[41111111,11111111]",                false},
    {"[0.4111111111111111,4111111111111112]", false},
};
/* clang-format on */

START_TEST(cards_are_an_error_where_it_is_asked)
{
    const char *text = cards[_i].text;

    for (int asked = 0; asked != 2; ++asked) {
        till_json_reader_t reader;
        till_json_token_t token;
        till_json_reader_init(&reader, text, strlen(text));
        reader.no_cards = asked;
        do
            token = till_json_next(&reader);
        while (token != TILL_JSON_ERROR && token != TILL_JSON_END);
        bool refused = asked && cards[_i].is_card;
        ck_assert_msg(token == (refused ? TILL_JSON_ERROR : TILL_JSON_END), "%s", text);
        ck_assert_int_eq(reader.is_card, refused);
        ck_assert_int_eq(till_json_next(&reader), token);
        till_json_reader_dispose(&reader);
    }
}
END_TEST

Suite *json_suite(void)
{
    Suite *suite = suite_create("base/json");
    TCase *tc = tcase_create("json");

    tcase_add_loop_test(tc, documents_match_table, 0, sizeof(documents) / sizeof(documents[0]));
    tcase_add_loop_test(tc, cards_are_an_error_where_it_is_asked, 0, sizeof(cards) / sizeof(cards[0]));
    tcase_add_test(tc, no_truncation_is_a_document);
    tcase_add_test(tc, nesting_goes_as_deep_as_was_said);
    tcase_add_test(tc, a_long_number_is_read_whole);
    tcase_add_loop_test(tc, numbers_are_written_by_table, 0, sizeof(numbers) / sizeof(numbers[0]));
    tcase_add_loop_test(tc, strings_are_written_by_table, 0, sizeof(strings) / sizeof(strings[0]));
    tcase_add_test(tc, what_is_written_is_read_again);
    suite_add_tcase(suite, tc);
    return suite;
}
