/* test_csv.c - see core/base/csv.h; each document is fed whole, and once more byte by byte. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/csv.h"

static void tell_row(till_buf_t *out, const till_csv_field_t *fields, size_t count)
{
    for (size_t i = 0; i != count; ++i) {
        till_buf_puts(out, i == 0 ? "<" : "|");
        till_buf_append(out, fields[i].base, fields[i].len);
    }
    till_buf_putc(out, '>');
}

/* Feeds `step` bytes at a time; what comes out is "1<a|b>2<c|d>" or "3!error;". */
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
        if (result == TILL_CSV_ROW)
            tell_row(out, fields, count);
        else
            till_buf_printf(out, "!%s;", till_csv_error(csv));
    }
    ck_assert_int_eq(till_csv_next(csv, &fields, &count), TILL_CSV_DONE);
    till_csv_destroy(csv);
}

/* clang-format off */
static const struct {
    const char *why, *text;
    size_t len;
    const char *records;
} documents[] = {
#define DOC(why, text, records) {why, text, sizeof(text) - 1, records}
    DOC("nothing",                         "",                           ""),
    DOC("one record",                      "a,b",                        "1<a|b>"),
    DOC("LF",                              "a,b\nc,d\n",                 "1<a|b>2<c|d>"),
    DOC("CR LF",                           "a,b\r\nc,d\r\n",             "1<a|b>2<c|d>"),
    DOC("CR at the very end",              "a,b\r",                      "1<a|b>"),
    DOC("empty fields",                    ",\n",                        "1<|>"),
    DOC("empty field at the end",          "a,",                         "1<a|>"),
    DOC("blank lines are skipped",         "a\n\n\r\nb\n",               "1<a>4<b>"),
    DOC("an empty quoted field counts",    "\"\"\n",                     "1<>"),
    DOC("a BOM",                           "\xEF\xBB\xBF" "a,b\n",       "1<a|b>"),
    DOC("only a BOM",                      "\xEF\xBB\xBF",               ""),
    DOC("half a BOM",                      "\xEF\xBB",                   "1!not UTF-8;"),
    DOC("quotes",                          "\"a,b\",\"c\"\"d\"\n",       "1<a,b|c\"d>"),
    DOC("a line end in quotes",            "\"a\nb\",c\nd\n",            "1<a\nb|c>3<d>"),
    DOC("CR LF in quotes stays",           "\"a\r\nb\"\n",               "1<a\r\nb>"),
    DOC("only a quote in quotes",          "\"\"\"\"\n",                 "1<\">"),
    DOC("a quote in plain text",           "5\" pipe,x\n",               "1<5\" pipe|x>"),
    DOC("blanks belong to the field",      " a , b \n",                  "1< a | b >"),
    DOC("UTF-8",                           "\xC3\xA9,\xE2\x82\xAC\n",    "1<\xC3\xA9|\xE2\x82\xAC>"),
    DOC("a quote never closed",            "a\n\"b,c\nd",                "1<a>2!a quote is never closed;"),
    DOC("text behind a quote",             "a\n\"b\"c,d\ne\n",           "1<a>2!text behind a closing quote;3<e>"),
    DOC("a NUL",                           "a\0b\nc\n",                  "1!a NUL byte;2<c>"),
    DOC("a NUL in quotes",                 "\"a\0\"\nc\n",               "1!a NUL byte;2<c>"),
    DOC("not UTF-8",                       "a,\xFF\nc\n",                "1!not UTF-8;2<c>"),
    DOC("UTF-8 cut by a comma",            "\xC3,\xA9\nc\n",             "1!not UTF-8;2<c>"),
    DOC("not UTF-8 at the end",            "a,\xFF",                     "1!not UTF-8;"),
    DOC("CR alone",                        "a\rb\nc\n",                  "1!a carriage return stands alone;2<c>"),
    DOC("two CR",                          "a\r\r\nb\n",                 "1!a carriage return stands alone;2<b>"),
    DOC("an error at the end",             "\"a\"b",                     "1!text behind a closing quote;"),
    DOC("two errors",                      "\"a\"b\n\"c\"d\ne",          "1!text behind a closing quote;2!text behind a closing quote;3<e>"),
};
/* clang-format on */

START_TEST(documents_match_table)
{
    typeof(&documents[0]) t = &documents[_i];

    for (size_t step = 1; step != 5; ++step) {
        till_buf_t out;
        till_buf_init(&out, 0);
        till_buf_puts(&out, "");
        tell(&out, t->text, t->len, step == 4 ? SIZE_MAX : step);
        ck_assert_msg(strcmp(out.base, t->records) == 0, "%s, %zu at a time: %s", t->why, step, out.base);
        till_buf_dispose(&out);
    }
}
END_TEST

/* One record of `count` fields, and "x" behind it. */
static char *record_of(size_t count, size_t field_len)
{
    till_buf_t out;

    till_buf_init(&out, 0);
    for (size_t i = 0; i != count; ++i) {
        if (i != 0)
            till_buf_putc(&out, ',');
        for (size_t n = 0; n != field_len; ++n)
            till_buf_putc(&out, 'a');
    }
    till_buf_puts(&out, "\nx\n");
    return till_buf_take(&out);
}

static void ck_first(const char *text, till_csv_result_t expected, size_t expected_count)
{
    till_csv_t *csv = till_csv_create();
    const till_csv_field_t *fields;
    size_t count;

    till_csv_feed(csv, text, strlen(text));
    ck_assert_int_eq(till_csv_next(csv, &fields, &count), expected);
    ck_assert_uint_eq(count, expected_count);
    ck_assert_int_eq(till_csv_next(csv, &fields, &count), TILL_CSV_ROW);
    ck_assert_uint_eq(till_csv_line(csv), 2);
    ck_assert_uint_eq(fields[0].len, 1);
    till_csv_destroy(csv);
}

START_TEST(limits_hold_and_the_next_line_is_read)
{
    char *most = record_of(256, 1), *more = record_of(257, 1);
    char *longest = record_of(1, 1 << 20), *longer = record_of(1, (1 << 20) + 1);

    ck_first(most, TILL_CSV_ROW, 256);
    ck_first(more, TILL_CSV_BAD, 0);
    ck_first(longest, TILL_CSV_ROW, 1);
    ck_first(longer, TILL_CSV_BAD, 0);
    free(most);
    free(more);
    free(longest);
    free(longer);
}
END_TEST

Suite *csv_suite(void)
{
    Suite *suite = suite_create("base/csv");
    TCase *tc = tcase_create("csv");

    tcase_add_loop_test(tc, documents_match_table, 0, sizeof(documents) / sizeof(documents[0]));
    tcase_add_test(tc, limits_hold_and_the_next_line_is_read);
    suite_add_tcase(suite, tc);
    return suite;
}
