/* line.h - members of a line of JSON, as they go over the control socket and the channels.
 *
 * Only members of the object itself are seen, not those of objects within it.
 */
#ifndef TILL_SERVE_LINE_H
#define TILL_SERVE_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

/** @return false where there is no such text, or it does not fit: then `out` is "" */
bool till_line_text(const char *line, size_t len, const char *member, char *out, size_t size);
/** @return the whole number, or `fallback` */
uint64_t till_line_int(const char *line, size_t len, const char *member, uint64_t fallback);
bool till_line_true(const char *line, size_t len, const char *member);
/** Is there such a member, whatever it is? */
bool till_line_has(const char *line, size_t len, const char *member);
/** Is it one whole object, and nothing besides? */
bool till_line_is_object(const char *line, size_t len);
/** Appends ,"member":"text" (without the comma behind a bracket). */
void till_line_put(till_buf_t *out, const char *member, const char *text);
void till_line_put_int(till_buf_t *out, const char *member, uint64_t number);

#endif
