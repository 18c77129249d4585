/* mem.h - memory that does not fail: out of memory aborts with a line on stderr.
 *
 * The only place in core/ that calls malloc; scripts/lint checks it. Free with
 * free() (or h2o_mem_* counterparts where libh2o allocated).
 */
#ifndef TILL_BASE_MEM_H
#define TILL_BASE_MEM_H

#include <stddef.h>

void *till_alloc(size_t size) __attribute__((returns_nonnull, malloc));
void *till_calloc(size_t count, size_t size) __attribute__((returns_nonnull, malloc));
void *till_realloc(void *old, size_t size) __attribute__((returns_nonnull));
char *till_strdup(const char *text) __attribute__((returns_nonnull));
/** A NUL-terminated copy of `len` bytes. */
char *till_strndup(const char *bytes, size_t len) __attribute__((returns_nonnull));

#endif
