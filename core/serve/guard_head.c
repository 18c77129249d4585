#include <string.h>
#include <strings.h>
#include "serve/guard_head.h"

#define MAX_FIELDS 100 /* as many as libh2o has room for */
#define MAX_METHOD 32
#define MAX_DIGITS 18

static till_reading_t refuse(till_head_t *head, till_status_t status, const char *detail)
{
    head->status = status;
    head->detail = detail;
    return TILL_READING_REFUSED;
}

static bool is_alnum(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

static bool is(const char *text, size_t len, const char *what)
{
    return len == strlen(what) && strncasecmp(text, what, len) == 0;
}

bool till_head_is_token(const char *text, size_t len)
{
    for (size_t i = 0; i != len; ++i) {
        unsigned char c = (unsigned char)text[i];
        if (!is_alnum(c) && (c == '\0' || strchr("!#$%&'*+-.^_`|~", c) == NULL))
            return false;
    }
    return len != 0;
}

/* A backslash is a slash to some: not in a path. */
bool till_head_is_target(const char *text, size_t len)
{
    bool is_query = false;

    if (len == 0 || text[0] != '/')
        return false;
    for (size_t i = 0; i != len; ++i) {
        unsigned char c = (unsigned char)text[i];
        is_query = is_query || c == '?';
        if (c <= ' ' || c >= 0x7f || c == '#' || (c == '\\' && !is_query))
            return false;
    }
    return true;
}

static size_t span_of_host(const char *text, size_t len)
{
    size_t at = 0;

    if (text[0] == '[') {
        while (++at != len && (is_alnum((unsigned char)text[at]) || text[at] == ':' || text[at] == '.'))
            ;
        return at > 1 && at != len && text[at] == ']' ? at + 1 : 0;
    }
    while (at != len && (is_alnum((unsigned char)text[at]) || memchr("-._", text[at], 3) != NULL))
        ++at;
    return at;
}

bool till_head_is_host(const char *text, size_t len)
{
    size_t at = len != 0 ? span_of_host(text, len) : 0;

    if (at == 0 || at > 255)
        return false;
    if (at == len)
        return true;
    if (text[at++] != ':' || len - at > 5 || len == at)
        return false;
    while (at != len && is_digit(text[at]))
        ++at;
    return at == len;
}

/* ---- the request line ------------------------------------------------------- */

static till_reading_t read_version(till_head_t *head, const char *text, size_t len)
{
    if (len == 8 && memcmp(text, "HTTP/1.1", 8) == 0)
        return TILL_READING_MORE;
    if (len == 8 && memcmp(text, "HTTP/1.0", 8) == 0) {
        head->is_1_0 = true;
        return TILL_READING_MORE;
    }
    if (len == 8 && memcmp(text, "HTTP/", 5) == 0 && is_digit(text[5]) && text[6] == '.' && is_digit(text[7]))
        return refuse(head, TILL_HTTP_VERSION, "Only HTTP/1.0, HTTP/1.1 and, by ALPN, HTTP/2 are spoken here.");
    return refuse(head, TILL_BAD_REQUEST, "The request line must be a method, a target and HTTP/1.1.");
}

static till_reading_t read_request_line(till_head_t *head, const char *line, size_t len, size_t at)
{
    const char *end = line + len;
    const char *target = memchr(line, ' ', len);
    const char *version = target != NULL ? memchr(target + 1, ' ', (size_t)(end - target - 1)) : NULL;

    if (version == NULL || !till_head_is_token(line, (size_t)(target - line)) || target - line > MAX_METHOD)
        return refuse(head, TILL_BAD_REQUEST, "The request line must be a method, a target and HTTP/1.1.");
    ++target;
    if (!till_head_is_target(target, (size_t)(version - target)))
        return refuse(head, TILL_BAD_REQUEST, "The request target must be a path, with nothing in it that is unusual.");
    head->method_at = at;
    head->method_len = (size_t)(target - 1 - line);
    head->target_at = at + (size_t)(target - line);
    head->target_len = (size_t)(version - target);
    return read_version(head, version + 1, (size_t)(end - version - 1));
}

/* ---- the fields ------------------------------------------------------------- */

static bool is_value(const char *text, size_t len)
{
    for (size_t i = 0; i != len; ++i) {
        unsigned char c = (unsigned char)text[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static till_reading_t read_length(till_head_t *head, const char *value, size_t len)
{
    head->length = 0;
    for (size_t i = 0; i != len; ++i) {
        if (!is_digit(value[i]) || i == MAX_DIGITS)
            return refuse(head, TILL_BAD_REQUEST, "Content-Length must be one decimal number.");
        head->length = head->length * 10 + (uint64_t)(value[i] - '0');
    }
    if (len == 0 || ++head->lengths != 1)
        return refuse(head, TILL_BAD_REQUEST, "Content-Length must be one decimal number.");
    return TILL_READING_MORE;
}

static till_reading_t read_coding(till_head_t *head, const char *value, size_t len)
{
    if (!is(value, len, "chunked") || ++head->codings != 1)
        return refuse(head, TILL_BAD_REQUEST, "Transfer-Encoding must be chunked, once and alone.");
    return TILL_READING_MORE;
}

static till_reading_t read_host(till_head_t *head, const char *value, size_t len)
{
    while (len != 0 && is_blank(value[len - 1]))
        --len;
    if (!till_head_is_host(value, len) || ++head->hosts != 1)
        return refuse(head, TILL_BAD_REQUEST, "Host must be there once, and name one host.");
    return TILL_READING_MORE;
}

/* What a proxy strips as belonging to its own hop must not be what the request is made of. */
static till_reading_t read_connection(till_head_t *head, const char *value, size_t len)
{
    static const char *const parts[] = {"host", "content-length", "transfer-encoding"};

    for (size_t at = 0; at < len;) {
        while (at < len && (is_blank(value[at]) || value[at] == ','))
            ++at;
        size_t from = at;
        while (at < len && !is_blank(value[at]) && value[at] != ',')
            ++at;
        for (size_t i = 0; i != sizeof(parts) / sizeof(parts[0]); ++i) {
            if (is(value + from, at - from, parts[i]))
                return refuse(head, TILL_BAD_REQUEST, "Connection must not name what frames the request.");
        }
    }
    return TILL_READING_MORE;
}

static till_reading_t read_expect(till_head_t *head, const char *value, size_t len, size_t at)
{
    if (!is(value, len, "100-continue"))
        return refuse(head, TILL_EXPECTATION, "Only 100-continue can be expected.");
    head->has_expect = true;
    head->expect_at = at;
    return TILL_READING_MORE;
}

static till_reading_t read_field(till_head_t *head, const char *line, size_t len, size_t at)
{
    const char *colon = memchr(line, ':', len), *value, *end = line + len;

    if (++head->fields > MAX_FIELDS)
        return refuse(head, TILL_HEADERS_TOO_LARGE, "There are too many header fields.");
    if (colon == NULL || !till_head_is_token(line, (size_t)(colon - line)))
        return refuse(head, TILL_BAD_REQUEST, "A header must be a name, a colon and a value, in one line.");
    for (value = colon + 1; value != end && is_blank(*value); ++value)
        ;
    size_t name_len = (size_t)(colon - line), value_len = (size_t)(end - value);
    if (!is_value(value, value_len))
        return refuse(head, TILL_BAD_REQUEST, "A header must not hold control characters.");
    if (is(line, name_len, "host"))
        return read_host(head, value, value_len);
    if (is(line, name_len, "content-length"))
        return read_length(head, value, value_len);
    if (is(line, name_len, "transfer-encoding"))
        return read_coding(head, value, value_len);
    if (is(line, name_len, "connection"))
        return read_connection(head, value, value_len);
    if (is(line, name_len, "expect"))
        return read_expect(head, value, value_len, at);
    return TILL_READING_MORE;
}

/* ---- the head --------------------------------------------------------------- */

static till_reading_t end_head(till_head_t *head)
{
    if (head->lengths != 0 && head->codings != 0)
        return refuse(head, TILL_BAD_REQUEST, "Content-Length and Transfer-Encoding exclude each other.");
    if (head->codings != 0 && head->is_1_0)
        return refuse(head, TILL_BAD_REQUEST, "HTTP/1.0 has no Transfer-Encoding.");
    if (head->hosts == 0 && !head->is_1_0)
        return refuse(head, TILL_BAD_REQUEST, "Host must be there once, and name one host.");
    return TILL_READING_DONE;
}

static till_reading_t read_line(till_head_t *head, const char *bytes, size_t len)
{
    const char *line = bytes + head->at;

    if (len == 0 || line[len - 1] != '\r')
        return refuse(head, TILL_BAD_REQUEST, "Every line of a head must end in CR and LF.");
    --len;
    size_t at = head->at;
    head->at += len + 2;
    if (len == 0 && head->method_len != 0)
        return end_head(head);
    if (len == 0) /* some send an empty line after a body */
        return at == 0 ? TILL_READING_MORE
                       : refuse(head, TILL_BAD_REQUEST, "The request line must be a method, a target and HTTP/1.1.");
    return head->method_len == 0 ? read_request_line(head, line, len, at) : read_field(head, line, len, at);
}

till_reading_t till_head_read(till_head_t *head, const char *bytes, size_t len, size_t max)
{
    till_reading_t reading = TILL_READING_MORE;
    const char *stop;

    while (reading == TILL_READING_MORE && head->at < max && head->at < len &&
           (stop = memchr(bytes + head->at, '\n', (len < max ? len : max) - head->at)) != NULL)
        reading = read_line(head, bytes, (size_t)(stop - bytes) - head->at);
    if (reading != TILL_READING_MORE || len < max)
        return reading;
    return head->method_len != 0 ? refuse(head, TILL_HEADERS_TOO_LARGE, "The header fields are too large.")
                                 : refuse(head, TILL_TARGET_TOO_LONG, "The request target is too long.");
}
