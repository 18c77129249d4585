/* test_utf8.c - see core/base/utf8.h */
#include <check.h>
#include <stdint.h>
#include <string.h>
#include "base/utf8.h"
#include "base/utf8_priv.h"

/* clang-format off */
static const struct {
    const char *why, *bytes;
    size_t len;
    bool valid;
} texts[] = {
#define TEXT(why, bytes, valid) {why, bytes, sizeof(bytes) - 1, valid}
    TEXT("nothing",                    "",                     true),
    TEXT("ASCII",                      "abcdefghijklmnop",     true),
    TEXT("a NUL is a character",       "a\0b",                 true),
    TEXT("two bytes, first",           "\xC2\x80",             true),
    TEXT("two bytes, last",            "\xDF\xBF",             true),
    TEXT("three bytes, first",         "\xE0\xA0\x80",         true),
    TEXT("before the surrogates",      "\xED\x9F\xBF",         true),
    TEXT("after the surrogates",       "\xEE\x80\x80",         true),
    TEXT("four bytes, first",          "\xF0\x90\x80\x80",     true),
    TEXT("U+10FFFF",                   "\xF4\x8F\xBF\xBF",     true),
    TEXT("behind a word of ASCII",     "abcdefgh\xC3\xA9",     true),
    TEXT("a continuation alone",       "\x80",                 false),
    TEXT("overlong, two bytes",        "\xC0\x80",             false),
    TEXT("overlong, two bytes, last",  "\xC1\xBF",             false),
    TEXT("overlong, three bytes",      "\xE0\x9F\xBF",         false),
    TEXT("overlong, four bytes",       "\xF0\x8F\xBF\xBF",     false),
    TEXT("a surrogate",                "\xED\xA0\x80",         false),
    TEXT("the last surrogate",         "\xED\xBF\xBF",         false),
    TEXT("past U+10FFFF",              "\xF4\x90\x80\x80",     false),
    TEXT("five bytes",                 "\xF8\x88\x80\x80\x80", false),
    TEXT("cut in the middle",          "\xE2\x82",             false),
    TEXT("a lead, then ASCII",         "\xC3(",                false),
    TEXT("bad behind a word of ASCII", "abcdefgh\xFF",         false),
    TEXT("bad third byte",             "\xE2\x82(",            false),
    TEXT("bad fourth byte",            "\xF0\x90\x80(",        false),
};
/* clang-format on */

START_TEST(texts_match_table)
{
    typeof(&texts[0]) t = &texts[_i];

    ck_assert_msg(till_utf8_is_valid(t->bytes, t->len) == t->valid, "%s", t->why);
}
END_TEST

static size_t encode(char out[4], uint32_t code)
{
    if (code < 0x80)
        return out[0] = (char)code, 1;
    if (code < 0x800)
        return out[0] = (char)(0xC0 | code >> 6), out[1] = (char)(0x80 | (code & 63)), 2;
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 63));
        out[2] = (char)(0x80 | (code & 63));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 63));
    out[2] = (char)(0x80 | (code >> 6 & 63));
    out[3] = (char)(0x80 | (code & 63));
    return 4;
}

START_TEST(every_code_point_but_the_surrogates_is_valid)
{
    char bytes[4];

    for (uint32_t code = 0; code != 0x110400; ++code) {
        size_t len = encode(bytes, code);
        bool expected = (code < 0xD800 || code > 0xDFFF) && code <= 0x10FFFF;
        if (till_utf8_is_valid(bytes, len) != expected || till_utf8_is_valid(bytes, len - 1) != (len == 1))
            ck_abort_msg("U+%04X", code);
    }
}
END_TEST

/* Each byte at each place of a text, whose other bytes lie at the edges of what is plain. */
START_TEST(plain_text_ends_at_the_first_byte_that_is_not)
{
    static const char edges[] = {0x20, 0x21, 0x23, 0x5b, 0x5d, 0x7e};
    char text[24];

    for (int c = 0; c != 256; ++c) {
        bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
        for (size_t len = 1; len <= sizeof(text); ++len) {
            memset(text, edges[(unsigned)c % sizeof(edges)], sizeof(text));
            text[len - 1] = (char)c;
            ck_assert_uint_eq(till_utf8_plain(text, len), plain ? len : len - 1);
            ck_assert_uint_eq(till_utf8_plain(text, sizeof(text)), plain ? sizeof(text) : len - 1);
        }
    }
    ck_assert_uint_eq(till_utf8_plain("", 0), 0);
}
END_TEST

Suite *utf8_suite(void)
{
    Suite *suite = suite_create("base/utf8");
    TCase *tc = tcase_create("utf8");

    tcase_add_loop_test(tc, texts_match_table, 0, sizeof(texts) / sizeof(texts[0]));
    tcase_add_test(tc, every_code_point_but_the_surrogates_is_valid);
    tcase_add_test(tc, plain_text_ends_at_the_first_byte_that_is_not);
    suite_add_tcase(suite, tc);
    return suite;
}
