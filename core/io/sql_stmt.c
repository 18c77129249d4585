/* sql_stmt.c - a connection's prepared statements, found by their text, the oldest given up first. */
#include "io/sql_priv.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/mem.h"

/* FNV-1a: texts come from the program, never from a client. */
static uint64_t hash_text(till_slice_t text)
{
    const unsigned char *p = text.base;
    uint64_t hash = 14695981039346656037u;

    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ p[i]) * 1099511628211u;
    return hash;
}

static void link_newest(till_sql_stmts_t *stmts, till_sql_stmt_t *stmt)
{
    stmt->newer = NULL;
    stmt->older = stmts->newest;
    if (stmts->newest != NULL)
        stmts->newest->newer = stmt;
    else
        stmts->oldest = stmt;
    stmts->newest = stmt;
}

static void unlink_use(till_sql_stmts_t *stmts, till_sql_stmt_t *stmt)
{
    *(stmt->newer != NULL ? &stmt->newer->older : &stmts->newest) = stmt->older;
    *(stmt->older != NULL ? &stmt->older->newer : &stmts->oldest) = stmt->newer;
}

till_sql_stmt_t *till_sql_stmts_find(till_sql_stmts_t *stmts, till_slice_t text)
{
    uint64_t hash = hash_text(text);
    till_sql_stmt_t *stmt = stmts->buckets[hash % TILL_SQL_STMT_LIMIT];

    while (stmt != NULL &&
           (stmt->hash != hash || stmt->len != text.len || memcmp(stmt->text, text.base, text.len) != 0))
        stmt = stmt->chain;
    if (stmt != NULL && stmt != stmts->newest) {
        unlink_use(stmts, stmt);
        link_newest(stmts, stmt);
    }
    return stmt;
}

till_sql_stmt_t *till_sql_stmts_add(till_sql_stmts_t *stmts, MYSQL *mysql, till_slice_t text)
{
    till_sql_stmt_t *stmt;

    if (stmts->count == TILL_SQL_STMT_LIMIT)
        till_sql_stmts_remove(stmts, stmts->oldest);
    stmt = till_calloc(1, sizeof(*stmt) + text.len);
    stmt->mysql = mysql_stmt_init(mysql);
    stmt->hash = hash_text(text);
    stmt->len = text.len;
    memcpy(stmt->text, text.base, text.len);
    stmt->chain = stmts->buckets[stmt->hash % TILL_SQL_STMT_LIMIT];
    stmts->buckets[stmt->hash % TILL_SQL_STMT_LIMIT] = stmt;
    link_newest(stmts, stmt);
    stmts->count++;
    return stmt;
}

void till_sql_stmts_remove(till_sql_stmts_t *stmts, till_sql_stmt_t *stmt)
{
    till_sql_stmt_t **at = &stmts->buckets[stmt->hash % TILL_SQL_STMT_LIMIT];

    while (*at != stmt)
        at = &(*at)->chain;
    *at = stmt->chain;
    unlink_use(stmts, stmt);
    assert(stmts->newest != stmt);
    stmts->count--;
    /* A few bytes that have no answer: they do not block on a connection that is idle. */
    mysql_stmt_close(stmt->mysql);
    free(stmt->binds);
    free(stmt->in);
    free(stmt);
}

void till_sql_stmts_dispose(till_sql_stmts_t *stmts)
{
    while (stmts->newest != NULL)
        till_sql_stmts_remove(stmts, stmts->newest);
}

bool till_sql_is_text_only(till_slice_t text)
{
    static const char *const words[] = {"BEGIN", "COMMIT", "ROLLBACK", "START", "SAVEPOINT", "RELEASE",  "SET",
                                        "LOCK",  "UNLOCK", "CREATE",   "ALTER", "DROP",      "TRUNCATE", "RENAME",
                                        "GRANT", "REVOKE", "FLUSH",    "KILL",  "USE",       "ANALYZE",  "OPTIMIZE"};
    const char *p = text.base, *end = p + text.len;
    size_t len = 0;

    while (p < end && isspace((unsigned char)*p))
        p++;
    while (p + len < end && isalpha((unsigned char)p[len]))
        len++;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strlen(words[i]) == len && strncasecmp(words[i], p, len) == 0)
            return true;
    return false;
}
