/* utf8.h - is it UTF-8 (RFC 3629: shortest form, no surrogates)? */
#ifndef TILL_BASE_UTF8_H
#define TILL_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

bool till_utf8_is_valid(const char *bytes, size_t len);

#endif
