/* data.c - see data.h; the grammar is Lua 5.1's, of which only this is known:
 *
 *     document = ["return"] table [";"]
 *     table    = "{" [field {("," | ";") field} ["," | ";"]] "}"
 *     field    = name "=" value | "[" string "]" "=" value | value
 *     value    = string | ["-"] number | "true" | "false" | table
 *              | ("env" | "file") (string | "(" string ")")
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/data.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "base/utf8_priv.h"

#define MAX_DEPTH 32
#define MAX_NUMBER 64

typedef struct parser {
    const char *p, *end;
    int line;
    int depth;
    char *error;
    size_t error_size;
    bool failed;
} parser_t;

static bool parse_value(parser_t *ps, till_data_t *out);

/* ---- nodes ---- */

static void free_node(till_data_t *data)
{
    for (till_data_t *child = data->child, *next; child != NULL; child = next) {
        next = child->next;
        free_node(child);
    }
    free(data->text);
    free(data->key);
    free(data);
}

void till_data_destroy(till_data_t *data)
{
    if (data != NULL)
        free_node(data);
}

const till_data_t *till_data_get(const till_data_t *table, const char *key)
{
    if (table == NULL || table->type != TILL_DATA_TABLE)
        return NULL;
    for (const till_data_t *child = table->child; child != NULL; child = child->next)
        if (child->key != NULL && strcmp(child->key, key) == 0)
            return child;
    return NULL;
}

/* ---- text ---- */

/* The first thing that is wrong is the one that is told. */
__attribute__((format(printf, 2, 3))) static bool fail(parser_t *ps, const char *format, ...)
{
    char text[256];
    va_list args;

    if (ps->failed)
        return false;
    ps->failed = true;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    snprintf(ps->error, ps->error_size, "line %d: %s", ps->line, text);
    return false;
}

static bool at_char(const parser_t *ps, char c) { return ps->p != ps->end && *ps->p == c; }

static bool at_text(const parser_t *ps, const char *text)
{
    size_t len = strlen(text);
    return (size_t)(ps->end - ps->p) >= len && memcmp(ps->p, text, len) == 0;
}

static void advance(parser_t *ps)
{
    ps->line += *ps->p == '\n';
    ++ps->p;
}

/* "[", "=" n times, "[": the number of "=", or -1 when it is no long bracket. */
static int long_bracket(const parser_t *ps)
{
    const char *p = ps->p;
    int level = 0;

    if (p == ps->end || *p++ != '[')
        return -1;
    for (; p != ps->end && *p == '='; ++p)
        ++level;
    return p != ps->end && *p == '[' ? level : -1;
}

static bool closes(const parser_t *ps, int level)
{
    const char *p = ps->p;

    if (ps->end - p < level + 2 || *p++ != ']')
        return false;
    for (int i = 0; i != level; ++i)
        if (*p++ != '=')
            return false;
    return *p == ']';
}

/* Behind the opening bracket's place; `out` may be NULL for a comment. */
static bool read_long(parser_t *ps, int level, till_buf_t *out)
{
    int line = ps->line;

    ps->p += level + 2;
    if (at_char(ps, '\r'))
        advance(ps);
    if (at_char(ps, '\n'))
        advance(ps);
    while (ps->p != ps->end && !closes(ps, level)) {
        if (out != NULL)
            till_buf_putc(out, *ps->p);
        advance(ps);
    }
    if (ps->p == ps->end) {
        ps->line = line;
        return fail(ps, "what begins here with [[ is never closed");
    }
    ps->p += level + 2;
    return true;
}

static bool skip_comment(parser_t *ps)
{
    ps->p += 2;
    int level = long_bracket(ps);
    if (level >= 0)
        return read_long(ps, level, NULL);
    while (ps->p != ps->end && *ps->p != '\n')
        ++ps->p;
    return true;
}

/* @return false when a comment never ends */
static bool skip_blank(parser_t *ps)
{
    for (;;) {
        while (ps->p != ps->end && strchr(" \t\r\n\f\v", *ps->p) != NULL)
            advance(ps);
        if (!at_text(ps, "--"))
            return true;
        if (!skip_comment(ps))
            return false;
    }
}

static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static size_t word_length(const parser_t *ps)
{
    const char *p = ps->p;

    if (p != ps->end && *p >= '0' && *p <= '9')
        return 0;
    while (p != ps->end && is_word_char(*p))
        ++p;
    return (size_t)(p - ps->p);
}

static bool at_word(const parser_t *ps, const char *word)
{
    return word_length(ps) == strlen(word) && at_text(ps, word);
}

/* ---- strings ---- */

/* \ddd: up to three decimal digits. */
static bool read_decimal_escape(parser_t *ps, till_buf_t *out)
{
    int value = 0;

    for (int i = 0; i != 3 && ps->p != ps->end && *ps->p >= '0' && *ps->p <= '9'; ++i)
        value = value * 10 + (*ps->p++ - '0');
    return value <= 255 ? till_buf_putc(out, (char)value) : fail(ps, "\\%d is no byte", value);
}

static bool read_escape(parser_t *ps, till_buf_t *out)
{
    static const char from[] = "abfnrtv\\\"'\n", to[] = "\a\b\f\n\r\t\v\\\"'\n";

    ++ps->p;
    if (ps->p == ps->end)
        return fail(ps, "a string is not closed");
    if (*ps->p >= '0' && *ps->p <= '9')
        return read_decimal_escape(ps, out);
    const char *found = *ps->p != '\0' ? strchr(from, *ps->p) : NULL;
    if (found == NULL)
        return fail(ps, "there is no such escape in a string");
    advance(ps);
    return till_buf_putc(out, to[found - from]);
}

static bool read_quoted(parser_t *ps, till_buf_t *out)
{
    char quote = *ps->p++;

    while (ps->p != ps->end && *ps->p != quote && *ps->p != '\n') {
        if (*ps->p != '\\')
            till_buf_putc(out, *ps->p++);
        else if (!read_escape(ps, out))
            return false;
    }
    if (!at_char(ps, quote))
        return fail(ps, "a string is not closed");
    ++ps->p;
    return true;
}

static bool at_string(const parser_t *ps) { return at_char(ps, '"') || at_char(ps, '\'') || long_bracket(ps) >= 0; }

/* The text is checked once more: escapes can spell bytes that are not UTF-8. */
static bool read_string(parser_t *ps, char **text, size_t *len)
{
    till_buf_t buf;
    int level = long_bracket(ps);

    if (!at_string(ps))
        return fail(ps, "a string is expected");
    till_buf_init(&buf, 0);
    bool done = level >= 0 ? read_long(ps, level, &buf) : read_quoted(ps, &buf);
    if (done &&
        (memchr(buf.base != NULL ? buf.base : "", '\0', buf.len) != NULL || !till_utf8_is_valid(buf.base, buf.len)))
        done = fail(ps, "a string is not UTF-8 without NUL");
    *len = buf.len;
    *text = till_buf_take(&buf);
    if (!done) {
        free(*text);
        *text = NULL;
    }
    return done;
}

/* ---- values ---- */

static bool parse_number(parser_t *ps, till_data_t *out)
{
    char text[MAX_NUMBER + 1], *end;
    size_t len = 0;

    /* "-" once in front; after "e" a sign belongs to the number, hexadecimal has no such */
    while (ps->p != ps->end && (is_word_char(*ps->p) || *ps->p == '.' ||
                                ((*ps->p == '-' || *ps->p == '+') && (len == 0 || strchr("eE", text[len - 1]))))) {
        if (len == MAX_NUMBER)
            return fail(ps, "a number is too long");
        text[len++] = *ps->p++;
    }
    text[len] = '\0';
    out->type = TILL_DATA_NUMBER;
    out->number = strtod(text, &end);
    if (len == 0 || end != text + len || strpbrk(text, "nNpP") != NULL || !isfinite(out->number))
        return fail(ps, "\"%s\" is not a number", text);
    out->is_int = out->number == floor(out->number) && fabs(out->number) <= 9007199254740992.0;
    if (out->number == 0)
        out->number = 0;
    return true;
}

static bool parse_string(parser_t *ps, till_data_t *out, till_data_type_t type)
{
    out->type = type;
    return read_string(ps, &out->text, &out->len);
}

static bool parse_call(parser_t *ps, till_data_t *out, till_data_type_t type)
{
    ps->p += word_length(ps);
    if (!skip_blank(ps))
        return false;
    if (!at_char(ps, '('))
        return parse_string(ps, out, type);
    ++ps->p;
    if (!skip_blank(ps) || !parse_string(ps, out, type) || !skip_blank(ps))
        return false;
    if (!at_char(ps, ')'))
        return fail(ps, "a ) is expected");
    ++ps->p;
    return true;
}

static bool parse_bool(parser_t *ps, till_data_t *out, bool value)
{
    ps->p += word_length(ps);
    out->type = TILL_DATA_BOOL;
    out->boolean = value;
    return true;
}

static bool is_reserved(const char *word, size_t len)
{
    static const char *const words[] = {"and",      "break",  "do",   "else", "elseif", "end",  "false", "for",
                                        "function", "goto",   "if",   "in",   "local",  "nil",  "not",   "or",
                                        "repeat",   "return", "then", "true", "until",  "while"};

    for (size_t i = 0; i != sizeof(words) / sizeof(words[0]); ++i)
        if (strlen(words[i]) == len && memcmp(words[i], word, len) == 0)
            return true;
    return false;
}

/* `name =`, where it stands; "==" is none. */
static bool at_named_field(const parser_t *ps)
{
    parser_t ahead = *ps;
    size_t len = word_length(ps);

    ahead.failed = true; /* what it meets ahead is told when we get there */
    ahead.p += len;
    if (len == 0 || is_reserved(ps->p, len) || !skip_blank(&ahead))
        return false;
    return at_char(&ahead, '=') && !at_text(&ahead, "==");
}

static bool parse_key(parser_t *ps, char **key)
{
    size_t len = word_length(ps);

    if (*ps->p != '[') {
        *key = till_strndup(ps->p, len);
        ps->p += len;
        return true;
    }
    ++ps->p;
    if (!skip_blank(ps) || !read_string(ps, key, &len) || !skip_blank(ps))
        return false;
    if (!at_char(ps, ']'))
        return fail(ps, "a ] is expected");
    ++ps->p;
    return true;
}

static bool parse_named(parser_t *ps, const till_data_t *table, till_data_t *field)
{
    if (!parse_key(ps, &field->key))
        return false;
    for (const till_data_t *other = table->child; other != field; other = other->next)
        if (other->key != NULL && strcmp(other->key, field->key) == 0)
            return fail(ps, "\"%.100s\" stands here twice", field->key);
    if (!skip_blank(ps))
        return false;
    if (!at_char(ps, '='))
        return fail(ps, "a = is expected");
    ++ps->p;
    return skip_blank(ps) && parse_value(ps, field);
}

/* A new node goes into the tree at once, so that the tree owns it whatever happens. */
static till_data_t *append_node(till_data_t **tail, int line)
{
    till_data_t *node = till_calloc(1, sizeof(*node));

    node->line = line;
    *tail = node;
    return node;
}

static bool parse_fields(parser_t *ps, till_data_t *out)
{
    till_data_t **tail = &out->child;

    for (;;) {
        if (!skip_blank(ps))
            return false;
        if (at_char(ps, '}'))
            break;
        till_data_t *field = append_node(tail, ps->line);
        bool keyed = at_named_field(ps) || (at_char(ps, '[') && long_bracket(ps) < 0);
        if (!(keyed ? parse_named(ps, out, field) : parse_value(ps, field)) || !skip_blank(ps))
            return false;
        tail = &field->next;
        if (!at_char(ps, ',') && !at_char(ps, ';'))
            break;
        ++ps->p;
    }
    if (!at_char(ps, '}'))
        return fail(ps, "a comma or } is expected");
    ++ps->p;
    return true;
}

static bool parse_table(parser_t *ps, till_data_t *out)
{
    out->type = TILL_DATA_TABLE;
    if (!at_char(ps, '{'))
        return fail(ps, "a table in { } is expected");
    if (ps->depth == MAX_DEPTH)
        return fail(ps, "nested too deep");
    ++ps->p;
    ++ps->depth;
    bool done = parse_fields(ps, out);
    --ps->depth;
    return done;
}

static bool parse_value(parser_t *ps, till_data_t *out)
{
    out->line = ps->line;
    if (at_char(ps, '{'))
        return parse_table(ps, out);
    if (at_string(ps))
        return parse_string(ps, out, TILL_DATA_STRING);
    if (at_word(ps, "true") || at_word(ps, "false"))
        return parse_bool(ps, out, at_word(ps, "true"));
    if (at_word(ps, "env"))
        return parse_call(ps, out, TILL_DATA_ENV);
    if (at_word(ps, "file"))
        return parse_call(ps, out, TILL_DATA_FILE);
    if (at_word(ps, "nil"))
        return fail(ps, "nil is no value here; leave it out");
    if (ps->p != ps->end && ((*ps->p >= '0' && *ps->p <= '9') || *ps->p == '-' || *ps->p == '.'))
        return parse_number(ps, out);
    return fail(ps, "a value is expected: text, a number, true, false, a table, env(\"...\") or file(\"...\")");
}

/* ---- the document ---- */

static bool check_text(parser_t *ps)
{
    for (parser_t at = *ps; at.p != at.end;) {
        size_t step = *at.p != '\0' ? till_utf8_step(at.p, (size_t)(at.end - at.p)) : 0;
        ps->line = at.line;
        if (step == 0)
            return fail(ps, "not UTF-8 without NUL");
        at.line += *at.p == '\n';
        at.p += step;
    }
    ps->line = 1;
    return true;
}

static bool parse_document(parser_t *ps, till_data_t *root)
{
    if (!check_text(ps) || !skip_blank(ps))
        return false;
    if (at_word(ps, "return"))
        ps->p += strlen("return");
    if (!skip_blank(ps))
        return false;
    root->line = ps->line;
    if (!parse_table(ps, root) || !skip_blank(ps))
        return false;
    if (at_char(ps, ';')) {
        ++ps->p;
        if (!skip_blank(ps))
            return false;
    }
    return ps->p == ps->end || fail(ps, "something stands behind the table");
}

till_data_t *till_data_parse(const char *text, size_t len, char *error, size_t error_size)
{
    parser_t ps = {.p = text, .end = text + len, .line = 1, .error = error, .error_size = error_size};
    till_data_t *root = till_calloc(1, sizeof(*root));

    if (parse_document(&ps, root))
        return root;
    till_data_destroy(root);
    return NULL;
}
