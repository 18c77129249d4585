/* test_data.c - see core/base/data.h */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/data.h"

/* The tree as text: {key@line=value,...}. */
static void tell(till_buf_t *out, const till_data_t *data)
{
    static const char *const prefixes[] = {"", "", "", "env:", "file:", ""};

    if (data->type == TILL_DATA_BOOL)
        till_buf_puts(out, data->boolean ? "true" : "false");
    else if (data->type == TILL_DATA_NUMBER)
        till_buf_printf(out, data->is_int ? "%.0f" : "%.17gd", data->number);
    else if (data->type != TILL_DATA_TABLE)
        till_buf_printf(out, "%s'%s'", prefixes[data->type], data->text);
    if (data->type != TILL_DATA_TABLE)
        return;
    till_buf_putc(out, '{');
    for (const till_data_t *child = data->child; child != NULL; child = child->next) {
        if (child->key != NULL)
            till_buf_printf(out, "%s=", child->key);
        tell(out, child);
        till_buf_puts(out, child->next != NULL ? "," : "");
    }
    till_buf_putc(out, '}');
}

/* clang-format off */
static const struct {
    const char *why, *text;
    size_t len;
    const char *expected; /* the tree, or the error */
} documents[] = {
#define DOC(why, text, expected) {why, text, sizeof(text) - 1, expected}
    DOC("empty",                       "return {}",                              "{}"),
    DOC("without return",              "{}",                                     "{}"),
    DOC("a semicolon behind",          "return {};",                             "{}"),
    DOC("comments around",             "-- a\n--[[ b\n]] return --[==[ ]] ]==] {} -- c", "{}"),
    DOC("names and brackets",          "return { a = 1, [\"b-c\"] = 2, ['d'] = 3 }", "{a=1,b-c=2,d=3}"),
    DOC("by position",                 "return { 1, \"x\"; true, false, {} }",   "{1,'x',true,false,{}}"),
    DOC("a comma at the end",          "return { 1, 2, }",                       "{1,2}"),
    DOC("nested",                      "return { a = { b = { c = { 1 } } } }",   "{a={b={c={1}}}}"),
    DOC("words that only begin so",    "return { returned = 1, truely = 2, env = 3, file = 4 }", "{returned=1,truely=2,env=3,file=4}"),
    DOC("a comment before the =",      "return { a --[[x]] = 1 }",               "{a=1}"),
    /* numbers */
    DOC("numbers",                     "return { 0, -1, 1.5, 1e3, 1E-2, .5, 0x1F, -0 }", "{0,-1,1.5d,1000,0.01d,0.5d,31,0}"),
    DOC("2^53 and more",               "return { 9007199254740992, 1e17 }",      "{9007199254740992,1e+17d}"),
    DOC("no number",                   "return { 1x }",                          "line 1: \"1x\" is not a number"),
    DOC("two points",                  "return { 1.2.3 }",                       "line 1: \"1.2.3\" is not a number"),
    DOC("too large",                   "return { 1e999 }",                       "line 1: \"1e999\" is not a number"),
    DOC("an expression",               "return { 1 + 1 }",                       "line 1: a comma or } is expected"),
    DOC("minus alone",                 "return { - 1 }",                         "line 1: \"-\" is not a number"),
    DOC("minus infinity",              "return { -inf }",                        "line 1: \"-inf\" is not a number"),
    /* strings */
    DOC("escapes",                     "return { \"a\\n\\t\\\\\\\"\\065\\\nb\" }", "{'a\n\t\\\"A\nb'}"),
    DOC("single quotes",               "return { 'a\"b' }",                      "{'a\"b'}"),
    DOC("long strings",                "return { [[\na\nb]], [==[x]]]==] }",     "{'a\nb','x]]'}"),
    DOC("a string that never ends",    "return {\n \"a\n}",                      "line 2: a string is not closed"),
    DOC("a long one that never ends",  "return {\n [[a\n}",                      "line 2: what begins here with [[ is never closed"),
    DOC("a comment that never ends",   "return {\n --[[a\n}",                    "line 2: what begins here with [[ is never closed"),
    DOC("no such escape",              "return { \"\\q\" }",                     "line 1: there is no such escape in a string"),
    DOC("a byte too large",            "return { \"\\256\" }",                   "line 1: \\256 is no byte"),
    DOC("a NUL by escape",             "return { \"\\0\" }",                     "line 1: a string is not UTF-8 without NUL"),
    DOC("no UTF-8 by escape",          "return { \"\\255\" }",                   "line 1: a string is not UTF-8 without NUL"),
    DOC("a NUL",                       "return {\n\"\0\" }",                     "line 2: not UTF-8 without NUL"),
    DOC("no UTF-8, in a comment",      "return {\n -- \xff\n }",                 "line 2: not UTF-8 without NUL"),
    /* references */
    DOC("env",                         "return { a = env(\"X\"), env \"Y\" }",   "{a=env:'X',env:'Y'}"),
    DOC("file",                        "return { file( '/a' ) }",                "{file:'/a'}"),
    DOC("env of a number",             "return { env(1) }",                      "line 1: a string is expected"),
    DOC("env never closed",            "return { env(\"X\" }",                   "line 1: a ) is expected"),
    DOC("another call",                "return { a = os.exit() }",               "line 1: a value is expected: text, a number, true, false, a table, env(\"...\") or file(\"...\")"),
    DOC("a method",                    "return { (\"x\"):rep(9) }",              "line 1: a value is expected: text, a number, true, false, a table, env(\"...\") or file(\"...\")"),
    DOC("a method of a string",        "return { \"x\":rep(9) }",                "line 1: a comma or } is expected"),
    DOC("a function",                  "return { function() end }",              "line 1: a value is expected: text, a number, true, false, a table, env(\"...\") or file(\"...\")"),
    /* structure */
    DOC("nil",                         "return { nil }",                         "line 1: nil is no value here; leave it out"),
    DOC("twice",                       "return { a = 1,\n a = 2 }",              "line 2: \"a\" stands here twice"),
    DOC("twice, spelled differently",  "return { a = 1,\n [\"a\"] = 2 }",        "line 2: \"a\" stands here twice"),
    DOC("a number as key",             "return { [1] = 2 }",                     "line 1: a string is expected"),
    DOC("a reserved word as key",      "return { end = 2 }",                     "line 1: a value is expected: text, a number, true, false, a table, env(\"...\") or file(\"...\")"),
    DOC("no value",                    "return { a = }",                         "line 1: a value is expected: text, a number, true, false, a table, env(\"...\") or file(\"...\")"),
    DOC("a comparison",                "return { a == 1 }",                      "line 1: a value is expected: text, a number, true, false, a table, env(\"...\") or file(\"...\")"),
    DOC("never closed",                "return {\n a = 1\n",                     "line 3: a comma or } is expected"),
    DOC("something behind",            "return {}\nx = 1",                       "line 2: something stands behind the table"),
    DOC("not a table",                 "return 5",                               "line 1: a table in { } is expected"),
    DOC("nothing",                     "",                                       "line 1: a table in { } is expected"),
    DOC("a statement",                 "local a = 1 return {}",                  "line 1: a table in { } is expected"),
    DOC("two commas",                  "return { 1,, 2 }",                       "line 1: a value is expected: text, a number, true, false, a table, env(\"...\") or file(\"...\")"),
};
/* clang-format on */

START_TEST(documents_match_table)
{
    typeof(&documents[0]) t = &documents[_i];
    char error[256] = "";
    till_buf_t out;
    till_data_t *data = till_data_parse(t->text, t->len, error, sizeof(error));

    till_buf_init(&out, 0);
    if (data != NULL)
        tell(&out, data);
    else
        till_buf_puts(&out, error);
    ck_assert_msg(strcmp(out.base, t->expected) == 0, "%s: %s", t->why, out.base);
    till_buf_dispose(&out);
    till_data_destroy(data);
}
END_TEST

START_TEST(every_node_knows_its_line)
{
    static const char text[] = "-- head\nreturn {\n  a = 1,\n  b = {\n    'x',\n  },\n}\n";
    char error[128];
    till_data_t *data = till_data_parse(text, sizeof(text) - 1, error, sizeof(error));

    ck_assert_msg(data != NULL, "%s", error);
    ck_assert_int_eq(data->line, 2);
    ck_assert_int_eq(till_data_get(data, "a")->line, 3);
    ck_assert_int_eq(till_data_get(data, "b")->line, 4);
    ck_assert_int_eq(till_data_get(data, "b")->child->line, 5);
    ck_assert_ptr_null(till_data_get(data, "c"));
    ck_assert_ptr_null(till_data_get(NULL, "a"));
    ck_assert_ptr_null(till_data_get(till_data_get(data, "a"), "a"));
    till_data_destroy(data);
}
END_TEST

START_TEST(no_truncation_is_a_document)
{
    static const char sample[] =
        "return { a = { 1, -2.5e3, 0x10 }, ['b'] = \"x\\n\", c = [[long]], --[[ c ]] d = env(\"X\"), e = true }";
    char error[256];

    for (size_t len = 0; len != sizeof(sample); ++len) {
        char *exact = malloc(len != 0 ? len : 1);
        memcpy(exact, sample, len);
        till_data_t *data = till_data_parse(exact, len, error, sizeof(error));
        ck_assert_msg((data != NULL) == (len == sizeof(sample) - 1), "%zu bytes", len);
        till_data_destroy(data);
        free(exact);
    }
}
END_TEST

START_TEST(nesting_has_an_end)
{
    char text[20001], error[128];

    memset(text, '{', 10000);
    memset(text + 10000, '}', 10000);
    ck_assert_ptr_null(till_data_parse(text, 20000, error, sizeof(error)));
    ck_assert_str_eq(error, "line 1: nested too deep");
    ck_assert_ptr_null(till_data_parse(text + 10000 - 33, 66, error, sizeof(error)));
    till_data_t *data = till_data_parse(text + 10000 - 32, 64, error, sizeof(error));
    ck_assert_ptr_nonnull(data);
    till_data_destroy(data);
}
END_TEST

Suite *data_suite(void)
{
    Suite *suite = suite_create("base/data");
    TCase *tc = tcase_create("data");

    tcase_add_loop_test(tc, documents_match_table, 0, sizeof(documents) / sizeof(documents[0]));
    tcase_add_test(tc, every_node_knows_its_line);
    tcase_add_test(tc, no_truncation_is_a_document);
    tcase_add_test(tc, nesting_has_an_end);
    suite_add_tcase(suite, tc);
    return suite;
}
