/* kernel_db.h - the tables of sql/0001_kernel.sql in the tests' MariaDB, empty. */
#ifndef TEST_SUPPORT_KERNEL_DB_H
#define TEST_SUPPORT_KERNEL_DB_H

#include "io/sql.h"
#include "support/child.h"
#include "support/servers.h"

/** Drops the two tables and makes them anew from the migration. Run from the project's folder. */
till_sql_pool_t *test_kernel_open(till_loop_t *loop, unsigned connections);
/** Runs a statement without parameters; it must succeed. @return its first cell as a number, 0 where it has none */
int64_t test_kernel_number(till_sql_pool_t *pool, const char *text);
/** As above; the first cell's text, at most 200 bytes. */
void test_kernel_text(till_sql_pool_t *pool, const char *text, char out[201]);

#endif
