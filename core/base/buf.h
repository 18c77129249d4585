/* buf.h - a growable byte buffer with a limit.
 *
 * A buffer whose size a client controls states its maximum when it is made
 * (curl's dynbuf shows why): an append past it frees the content and every
 * later append is refused, so that the check can stand at the end. Memory
 * itself never fails: out of memory aborts.
 */
#ifndef TILL_BASE_BUF_H
#define TILL_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct till_buf {
    char *base; /* NUL-terminated whenever it is not NULL; the NUL is not counted */
    size_t len;
    size_t _cap;
    size_t _max;
    bool overflowed;
} till_buf_t;

/** `max` in bytes; 0 means without limit (content that we make ourselves). */
void till_buf_init(till_buf_t *buf, size_t max);
void till_buf_dispose(till_buf_t *buf);
/** Empties it and keeps the memory. */
void till_buf_clear(till_buf_t *buf);
/** @return false once the maximum was passed */
bool till_buf_append(till_buf_t *buf, const void *bytes, size_t len);
bool till_buf_puts(till_buf_t *buf, const char *text);
bool till_buf_putc(till_buf_t *buf, char c);
bool till_buf_printf(till_buf_t *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** The bytes are yours (free()); the buffer is empty afterwards. Never NULL. */
char *till_buf_take(till_buf_t *buf);

#endif
