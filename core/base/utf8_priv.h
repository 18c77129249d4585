/* utf8_priv.h - one step of UTF-8, for those of base/ who walk text themselves. */
#ifndef TILL_BASE_UTF8_PRIV_H
#define TILL_BASE_UTF8_PRIV_H

#include <stddef.h>

/** @return the length (1-4) of the character at the beginning of `bytes`, or 0 when it is not UTF-8 */
size_t till_utf8_step(const char *bytes, size_t len);

/** How many bytes at the front go into a JSON string as they are: printable ASCII but the quote and the backslash. */
size_t till_utf8_plain(const char *bytes, size_t len);

#endif
