/* buf.c - see buf.h */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"

#define FIRST_CAP 64

void till_buf_init(till_buf_t *buf, size_t max) { *buf = (till_buf_t){._max = max}; }

void till_buf_dispose(till_buf_t *buf)
{
    free(buf->base);
    *buf = (till_buf_t){._max = buf->_max};
}

void till_buf_clear(till_buf_t *buf)
{
    buf->len = 0;
    buf->overflowed = false;
    if (buf->base != NULL)
        buf->base[0] = '\0';
}

static bool overflow(till_buf_t *buf)
{
    till_buf_dispose(buf);
    buf->overflowed = true;
    return false;
}

/* Makes room for `len` more bytes and the NUL. */
static bool reserve(till_buf_t *buf, size_t len)
{
    if (buf->overflowed)
        return false;
    if (len >= SIZE_MAX - buf->len || (buf->_max != 0 && len > buf->_max - buf->len))
        return overflow(buf);

    size_t needed = buf->len + len + 1;
    if (needed <= buf->_cap)
        return true;
    size_t cap = buf->_cap < FIRST_CAP ? FIRST_CAP : buf->_cap;
    while (cap < needed)
        cap = cap > SIZE_MAX / 2 ? needed : cap * 2;
    buf->base = till_realloc(buf->base, cap);
    buf->_cap = cap;
    return true;
}

bool till_buf_append(till_buf_t *buf, const void *bytes, size_t len)
{
    if (!reserve(buf, len))
        return false;
    if (len != 0)
        memcpy(buf->base + buf->len, bytes, len);
    buf->len += len;
    buf->base[buf->len] = '\0';
    return true;
}

bool till_buf_puts(till_buf_t *buf, const char *text) { return till_buf_append(buf, text, strlen(text)); }

bool till_buf_putc(till_buf_t *buf, char c) { return till_buf_append(buf, &c, 1); }

bool till_buf_printf(till_buf_t *buf, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(len >= 0);
    if (len < 0 || !reserve(buf, (size_t)len))
        return false;
    va_start(args, format);
    vsnprintf(buf->base + buf->len, (size_t)len + 1, format, args);
    va_end(args);
    buf->len += (size_t)len;
    return true;
}

char *till_buf_take(till_buf_t *buf)
{
    char *taken = buf->base != NULL ? buf->base : till_strdup("");

    buf->base = NULL;
    till_buf_dispose(buf);
    return taken;
}
