/* data.h - Lua tables as pure data: parsed, never run.
 *
 * conf/moontill.lua and each plugin.lua are data in Lua's syntax: an optional
 * `return`, then a table constructor of strings, numbers, booleans, nil-free
 * tables and comments, and the two calls env("NAME") and file("/path") for
 * secrets, which stay references until they are asked for. Nothing else parses,
 * so nothing else can happen. Every node knows its line.
 */
#ifndef TILL_BASE_DATA_H
#define TILL_BASE_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum till_data_type {
    TILL_DATA_BOOL,
    TILL_DATA_NUMBER,
    TILL_DATA_STRING,
    TILL_DATA_ENV,  /* text = name of the variable */
    TILL_DATA_FILE, /* text = path */
    TILL_DATA_TABLE,
} till_data_type_t;

typedef struct till_data {
    till_data_type_t type;
    int line;
    bool boolean;
    bool is_int; /* of a number */
    double number;
    char *text; /* STRING, ENV, FILE; NUL-terminated */
    size_t len;
    char *key;               /* in its parent; NULL where it stands by position */
    struct till_data *child; /* first of a TABLE; keys first seen order */
    struct till_data *next;
} till_data_t;

/** @return a tree to be freed by till_data_destroy, or NULL with `error` = "line 12: ..." */
till_data_t *till_data_parse(const char *text, size_t len, char *error, size_t error_size);
void till_data_destroy(till_data_t *data); /* NULL is allowed */
/** The child called `key` (NULL-safe), or NULL. */
const till_data_t *till_data_get(const till_data_t *table, const char *key);

#endif
