/* trace.c - see trace.h; the numbers are those of W3C Trace Context, level 1. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "base/trace.h"

#define TRACE_AT 3
#define SPAN_AT 36
#define FLAGS_AT 53

static bool is_hex(const char *text, size_t len) { return len == 0 || strspn(text, "0123456789abcdef") >= len; }

/* An id of zeros is not valid. */
static bool is_id(const char *text, size_t len)
{
    bool zero = true;

    for (size_t i = 0; i != len; ++i) {
        if (text[i] == '\0' || strchr("0123456789abcdef", text[i]) == NULL)
            return false;
        zero = zero && text[i] == '0';
    }
    return !zero;
}

static void make_id(char *out, size_t bytes)
{
    static const uint8_t zeros[16];
    uint8_t id[16];

    do
        till_random(id, bytes);
    while (memcmp(id, zeros, bytes) == 0);
    till_hex(out, id, bytes);
}

void till_trace_begin(till_trace_t *trace)
{
    *trace = (till_trace_t){.flags = 1};
    make_id(trace->trace_id, 16);
    make_id(trace->span_id, 8);
}

/* A version after 00 may carry more behind another dash; ff is forbidden. */
static bool is_traceparent(const char *p, size_t len)
{
    char text[TILL_TRACEPARENT_LEN + 1];

    if (len < TILL_TRACEPARENT_LEN)
        return false;
    memcpy(text, p, TILL_TRACEPARENT_LEN);
    text[TILL_TRACEPARENT_LEN] = '\0';
    if (!is_hex(text, 2) || memcmp(text, "ff", 2) == 0)
        return false;
    if (len > TILL_TRACEPARENT_LEN && (memcmp(text, "00", 2) == 0 || p[TILL_TRACEPARENT_LEN] != '-'))
        return false;
    return text[2] == '-' && text[SPAN_AT - 1] == '-' && text[FLAGS_AT - 1] == '-' && is_id(text + TRACE_AT, 32) &&
           is_id(text + SPAN_AT, 16) && is_hex(text + FLAGS_AT, 2);
}

static uint8_t nibble(char c) { return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10); }

bool till_trace_continue(till_trace_t *trace, const char *header, size_t len)
{
    if (!is_traceparent(header, len)) {
        till_trace_begin(trace);
        return false;
    }
    *trace = (till_trace_t){.flags = (uint8_t)(nibble(header[FLAGS_AT]) << 4 | nibble(header[FLAGS_AT + 1]))};
    memcpy(trace->trace_id, header + TRACE_AT, 32);
    memcpy(trace->parent_id, header + SPAN_AT, 16);
    make_id(trace->span_id, 8);
    return true;
}

/* Only the flag "sampled" is known to version 00; the others are not sent on. */
void till_trace_format(const till_trace_t *trace, char out[TILL_TRACEPARENT_LEN + 1])
{
    memcpy(out, "00-", TRACE_AT);
    memcpy(out + TRACE_AT, trace->trace_id, 32);
    out[SPAN_AT - 1] = '-';
    memcpy(out + SPAN_AT, trace->span_id, 16);
    out[FLAGS_AT - 1] = '-';
    out[FLAGS_AT] = '0';
    out[FLAGS_AT + 1] = (char)('0' + (trace->flags & 1U));
    out[TILL_TRACEPARENT_LEN] = '\0';
}

#ifndef NDEBUG
static bool is_traced(const char *area)
{
    const char *list = getenv("TILL_TRACE");
    size_t len = strlen(area);

    for (const char *p = list; p != NULL && (p = strstr(p, area)) != NULL; p += len)
        if ((p == list || p[-1] == ',') && (p[len] == ',' || p[len] == '\0'))
            return true;
    return false;
}

void till_trace_print(const char *area, const void *object, const char *format, ...)
{
    va_list args;
    char text[512];

    if (!is_traced(area))
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fprintf(stderr, "%s %p: %s\n", area, object, text);
}
#endif
