/* servers.h - a MariaDB and a Redis of the tests' own, on private sockets.
 *
 * Each is started when it is first asked for, once for the whole run, also
 * where Check runs each test in a process of its own, and stopped when the run
 * ends, however it ends: a guard beside each server waits for that. Everything
 * lives in a folder of its own below TMPDIR, which goes with it.
 */
#ifndef TILL_TEST_SERVERS_H
#define TILL_TEST_SERVERS_H

#include <stdbool.h>
#include "io/loop.h"

/** Socket of a MariaDB with user root, no password, and an empty database "till_test". */
const char *till_test_mysql(void);
/** Socket of a Redis without a password. */
const char *till_test_redis(void);
/** Stops the server and returns when it is gone; the next of the pair starts it again on the same data. */
void till_test_mysql_stop(void);
void till_test_mysql_start(void);
void till_test_redis_stop(void);
void till_test_redis_start(void);

/** Turns the loop until `cond(data)` holds. @return false when it did not within `limit_ms` */
bool till_test_until(till_loop_t *loop, bool (*cond)(void *data), void *data, unsigned limit_ms);

#endif
