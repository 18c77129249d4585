/* sql_result.c - parameters into the library's binds, rows into values.
 *
 * A result lives in chunks of memory that belong to its call and go all at
 * once; a row costs no allocation of its own. Numbers and times land in fixed
 * buffers of the statement. Texts and bytes are bound with a length of 0, which
 * tells how long they are, and then copied once from the row into the chunk.
 */
#include "io/sql_priv.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

enum { BINARY_CHARSET = 63, CHUNK = 4096 };

enum kind { INTEGER, REAL, DATE, TIME, DATETIME, BITS, TEXT, BYTES };

static void *arena_take(till_sql_call_t *call, size_t size)
{
    till_sql_chunk_t *chunk = call->arena;
    void *taken;

    size = (size + 7) & ~(size_t)7;
    if (chunk == NULL || chunk->size - chunk->used < size) {
        size_t room = size > CHUNK ? size + CHUNK : CHUNK;
        chunk = till_alloc(sizeof(*chunk) + room);
        *chunk = (till_sql_chunk_t){.next = call->arena, .size = room};
        call->arena = chunk;
    }
    taken = chunk->bytes + chunk->used;
    chunk->used += size;
    return taken;
}

static char *arena_copy(till_sql_call_t *call, const char *bytes, size_t len)
{
    char *copy = arena_take(call, len + 1);

    memcpy(copy, bytes, len);
    copy[len] = '\0';
    return copy;
}

static void arena_free(till_sql_call_t *call)
{
    till_sql_chunk_t *chunk;

    while ((chunk = call->arena) != NULL) {
        call->arena = chunk->next;
        free(chunk);
    }
}

_Static_assert(sizeof(size_t) == sizeof(unsigned long), "the library counts in unsigned long");

static void bind_param(MYSQL_BIND *bind, till_sql_value_t *param)
{
    switch (param->type) {
    case TILL_SQL_NULL:
        bind->buffer_type = MYSQL_TYPE_NULL;
        return;
    case TILL_SQL_INT:
        bind->buffer_type = MYSQL_TYPE_LONGLONG;
        bind->buffer = &param->integer;
        return;
    case TILL_SQL_DOUBLE:
        bind->buffer_type = MYSQL_TYPE_DOUBLE;
        bind->buffer = &param->real;
        return;
    case TILL_SQL_TEXT:
    case TILL_SQL_BYTES:
        bind->buffer_type = param->type == TILL_SQL_TEXT ? MYSQL_TYPE_STRING : MYSQL_TYPE_BLOB;
        bind->buffer = (void *)param->base;
        bind->buffer_length = param->len;
        bind->length = (unsigned long *)&param->len;
        return;
    }
}

void till_sql_call_bind(till_sql_call_t *call, const till_sql_value_t *params)
{
    for (size_t i = 0; i < call->n; i++) {
        till_sql_value_t *param = &call->params[i];
        *param = params[i];
        if (param->type == TILL_SQL_TEXT || param->type == TILL_SQL_BYTES)
            param->base = arena_copy(call, param->len != 0 ? param->base : "", param->len);
        bind_param(&call->binds[i], param);
    }
}

static bool is_binary(const MYSQL_FIELD *field) { return field->charsetnr == BINARY_CHARSET; }

static enum kind kind_of(const MYSQL_FIELD *field)
{
    switch (field->type) {
    case MYSQL_TYPE_TINY:
    case MYSQL_TYPE_SHORT:
    case MYSQL_TYPE_INT24:
    case MYSQL_TYPE_LONG:
    case MYSQL_TYPE_LONGLONG:
    case MYSQL_TYPE_YEAR:
        return INTEGER;
    case MYSQL_TYPE_FLOAT:
    case MYSQL_TYPE_DOUBLE:
        return REAL;
    case MYSQL_TYPE_DATE:
    case MYSQL_TYPE_NEWDATE:
        return DATE;
    case MYSQL_TYPE_TIME:
        return TIME;
    case MYSQL_TYPE_DATETIME:
    case MYSQL_TYPE_TIMESTAMP:
        return DATETIME;
    case MYSQL_TYPE_BIT:
        return BITS;
    case MYSQL_TYPE_DECIMAL:
    case MYSQL_TYPE_NEWDECIMAL:
    case MYSQL_TYPE_NULL:
        return TEXT;
    default:
        return is_binary(field) ? BYTES : TEXT;
    }
}

static void set_text(till_sql_call_t *call, till_sql_value_t *out, const char *text, int len)
{
    out->type = TILL_SQL_TEXT;
    out->len = (size_t)len;
    out->base = arena_copy(call, text, out->len);
}

static void set_integer(till_sql_call_t *call, till_sql_value_t *out, uint64_t bits, bool is_unsigned)
{
    char digits[24];

    if (is_unsigned && bits > INT64_MAX) { /* it does not fit: its digits say what it is */
        set_text(call, out, digits, snprintf(digits, sizeof(digits), "%" PRIu64, bits));
        return;
    }
    out->type = TILL_SQL_INT;
    out->integer = (int64_t)bits;
}

static void set_time(till_sql_call_t *call, till_sql_value_t *out, enum kind kind, const MYSQL_TIME *t)
{
    char text[64];
    int len;

    if (kind == DATE)
        len = snprintf(text, sizeof(text), "%04u-%02u-%02u", t->year, t->month, t->day);
    else if (kind == DATETIME)
        len = snprintf(text, sizeof(text), "%04u-%02u-%02uT%02u:%02u:%02u.%03luZ", t->year, t->month, t->day, t->hour,
                       t->minute, t->second, t->second_part / 1000);
    else if (t->second_part == 0)
        len = snprintf(text, sizeof(text), "%s%02u:%02u:%02u", t->neg ? "-" : "", t->day * 24 + t->hour, t->minute,
                       t->second);
    else
        len = snprintf(text, sizeof(text), "%s%02u:%02u:%02u.%06lu", t->neg ? "-" : "", t->day * 24 + t->hour,
                       t->minute, t->second, t->second_part);
    set_text(call, out, text, len);
}

/* BIT comes as bytes, the highest first. */
static void set_bits(till_sql_call_t *call, till_sql_value_t *out, const unsigned char *bytes, size_t len)
{
    uint64_t number = 0;
    char digits[24];

    for (size_t i = 0; i < len; i++)
        number = number << 8 | bytes[i];
    set_text(call, out, digits, snprintf(digits, sizeof(digits), "%" PRIu64, number));
}

static bool is_long(enum kind kind) { return kind == TEXT || kind == BYTES || kind == BITS; }

static void bind_column(MYSQL_BIND *bind, till_sql_column_t *in, const MYSQL_FIELD *field)
{
    enum kind kind = kind_of(field);

    *bind = (MYSQL_BIND){.length = &in->len, .is_null = &in->is_null, .error = &in->error, .buffer = &in->in};
    if (kind == INTEGER)
        bind->buffer_type = MYSQL_TYPE_LONGLONG;
    else if (kind == REAL)
        bind->buffer_type = MYSQL_TYPE_DOUBLE;
    else if (is_long(kind))
        bind->buffer_type = kind == TEXT ? MYSQL_TYPE_STRING : MYSQL_TYPE_BLOB;
    else
        bind->buffer_type = kind == DATE ? MYSQL_TYPE_DATE : kind == TIME ? MYSQL_TYPE_TIME : MYSQL_TYPE_DATETIME;
    bind->buffer_length = is_long(kind) ? 0 : sizeof(in->in);
    bind->is_unsigned = (field->flags & UNSIGNED_FLAG) != 0;
}

static bool bind_columns(till_sql_stmt_t *stmt, const MYSQL_FIELD *fields, unsigned columns)
{
    if (stmt->columns < columns) {
        stmt->binds = till_realloc(stmt->binds, columns * sizeof(stmt->binds[0]));
        stmt->in = till_realloc(stmt->in, columns * sizeof(stmt->in[0]));
        stmt->columns = columns;
    }
    memset(stmt->in, 0, columns * sizeof(stmt->in[0]));
    for (unsigned i = 0; i < columns; i++)
        bind_column(&stmt->binds[i], &stmt->in[i], &fields[i]);
    return mysql_stmt_bind_result(stmt->mysql, stmt->binds) == 0;
}

/* Copies a long column of the row that was just fetched. */
static void set_long(till_sql_call_t *call, till_sql_value_t *out, till_sql_stmt_t *stmt, unsigned column,
                     enum kind kind)
{
    unsigned long len = stmt->in[column].len;
    char *copy = arena_take(call, len + 1);
    my_bool is_null = 0, error = 0;
    MYSQL_BIND bind = {.buffer_type = stmt->binds[column].buffer_type,
                       .buffer = copy,
                       .buffer_length = len,
                       .length = &len,
                       .is_null = &is_null,
                       .error = &error};

    if (len != 0)
        mysql_stmt_fetch_column(stmt->mysql, &bind, column, 0);
    copy[len] = '\0';
    if (kind == BITS) {
        set_bits(call, out, (const unsigned char *)copy, len);
        return;
    }
    out->type = kind == TEXT ? TILL_SQL_TEXT : TILL_SQL_BYTES;
    out->base = copy;
    out->len = len;
}

static void take_cell(till_sql_call_t *call, till_sql_value_t *out, till_sql_stmt_t *stmt, unsigned column,
                      const MYSQL_FIELD *field)
{
    const till_sql_column_t *in = &stmt->in[column];
    enum kind kind = kind_of(field);

    if (in->is_null) {
        out->type = TILL_SQL_NULL;
    } else if (kind == INTEGER) {
        set_integer(call, out, (uint64_t)in->in.integer, (field->flags & UNSIGNED_FLAG) != 0);
    } else if (kind == REAL) {
        out->type = TILL_SQL_DOUBLE;
        out->real = in->in.real;
    } else if (is_long(kind)) {
        set_long(call, out, stmt, column, kind);
    } else {
        set_time(call, out, kind, &in->in.time);
    }
}

/* Room for everything whose size is known: the names and the cells. @return the cells */
static till_sql_value_t *begin_rows(till_sql_call_t *call, const MYSQL_FIELD *fields, size_t columns, uint64_t rows)
{
    const char **names = arena_take(call, columns * sizeof(names[0]));
    till_sql_value_t *cells = arena_take(call, columns * rows * sizeof(cells[0]));

    for (size_t i = 0; i < columns; i++)
        names[i] = arena_copy(call, fields[i].name, strlen(fields[i].name)); /* name_length is unset after CALL */
    memset(cells, 0, columns * rows * sizeof(cells[0]));
    call->result.columns = columns;
    call->result.rows = rows;
    call->result.names = names;
    call->result.cells = cells;
    call->has_rows = true;
    return cells;
}

bool till_sql_take_binary(till_sql_call_t *call, till_sql_stmt_t *stmt)
{
    const MYSQL_FIELD *fields = mariadb_stmt_fetch_fields(stmt->mysql);
    unsigned columns = mysql_stmt_field_count(stmt->mysql);
    uint64_t rows = mysql_stmt_num_rows(stmt->mysql);
    till_sql_value_t *cell;

    if (!bind_columns(stmt, fields, columns))
        return false;
    cell = begin_rows(call, fields, columns, rows);
    for (uint64_t row = 0; row < rows; row++) {
        int got = mysql_stmt_fetch(stmt->mysql);
        if (got != 0 && got != MYSQL_DATA_TRUNCATED)
            return false;
        for (unsigned i = 0; i < columns; i++)
            take_cell(call, cell++, stmt, i, &fields[i]);
    }
    /* The library frees rows only while its cursor is on one of them; and where
     * there are none it must have said so, or it takes them for rows still on the
     * wire and waits for them for ever when the statement is run again. */
    if (rows != 0)
        mysql_stmt_data_seek(stmt->mysql, 0);
    else
        mysql_stmt_fetch(stmt->mysql);
    mysql_stmt_free_result(stmt->mysql);
    return true;
}

static void set_time_from_text(till_sql_call_t *call, till_sql_value_t *out, const char *text, size_t len)
{
    char iso[32];

    /* "2024-02-29 12:34:56.789012" */
    if (len < 19) {
        set_text(call, out, text, (int)len);
        return;
    }
    set_text(call, out, iso,
             snprintf(iso, sizeof(iso), "%.10sT%.8s.%.3sZ", text, text + 11, len >= 23 ? text + 20 : "000"));
}

static void take_text_cell(till_sql_call_t *call, till_sql_value_t *out, const char *text, size_t len,
                           const MYSQL_FIELD *field)
{
    bool is_unsigned = (field->flags & UNSIGNED_FLAG) != 0;

    switch (kind_of(field)) {
    case INTEGER:
        set_integer(call, out, is_unsigned ? strtoull(text, NULL, 10) : (uint64_t)strtoll(text, NULL, 10), is_unsigned);
        break;
    case REAL:
        out->type = TILL_SQL_DOUBLE;
        out->real = strtod(text, NULL);
        break;
    case DATETIME:
        set_time_from_text(call, out, text, len);
        break;
    case BITS:
        set_bits(call, out, (const unsigned char *)text, len);
        break;
    default:
        out->type = kind_of(field) == BYTES ? TILL_SQL_BYTES : TILL_SQL_TEXT;
        out->base = arena_copy(call, text, len);
        out->len = len;
    }
}

void till_sql_take_text(till_sql_call_t *call, MYSQL_RES *rows)
{
    const MYSQL_FIELD *fields = mysql_fetch_fields(rows);
    unsigned columns = mysql_num_fields(rows);
    till_sql_value_t *cell = begin_rows(call, fields, columns, mysql_num_rows(rows));
    MYSQL_ROW row;

    while ((row = mysql_fetch_row(rows)) != NULL) {
        const unsigned long *lengths = mysql_fetch_lengths(rows);
        for (unsigned i = 0; i < columns; i++, cell++)
            if (row[i] != NULL) /* else it stays TILL_SQL_NULL */
                take_text_cell(call, cell, row[i], lengths[i], &fields[i]);
    }
}

void till_sql_call_fail(till_sql_call_t *call, unsigned errcode, const char *message)
{
    const char *kept = arena_copy(call, message, strlen(message));

    call->result = (till_sql_result_t){.errcode = errcode, .message = kept};
}

void till_sql_call_free(till_sql_call_t *call)
{
    arena_free(call);
    free(call);
}
