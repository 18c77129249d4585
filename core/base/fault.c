/* fault.c - see fault.h
 *
 * A new fault gets its row here first; scripts/lint.sh holds the names used
 * by TILL_FAULT() in core/ to this table.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/fault.h"

/* clang-format off */
#define FAULT_TABLE(row)                                                                    \
    row("sql.connect_refused")      /* the database does not take the connection */         \
    row("sql.lost_before_send")     /* the connection breaks, the statement never left */   \
    row("sql.lost_after_send")      /* it left, nobody knows whether it was done */         \
    row("sql.slow")                 /* the answer does not come before the deadline */      \
    row("sql.deadlock")             /* the transaction is the victim */                     \
    row("redis.connect_refused")                                                            \
    row("redis.lost")               /* the connection breaks with commands under way */     \
    row("redis.slow")                                                                       \
    row("http.connect_refused")                                                             \
    row("http.lost_before_send")                                                            \
    row("http.lost_after_send")     /* it may have arrived */                               \
    row("http.slow")                                                                        \
    row("outbox.crash_before_done") /* the worker dies, the event was delivered */          \
    row("idem.crash_before_finish")                                                         \
    row("lock.lease_lapsed")        /* the lease is over while the holder goes on */        \
    row("worker.crash")             /* abort in the middle of a request */                  \
    row("worker.hang")              /* no heartbeat any more */                             \
    row("vm.out_of_memory")                                                                 \
    row("disk.full")
/* clang-format on */

typedef struct fault {
    const char *name;
    int count; /* how often it still happens; -1 for ever */
} fault_t;

static fault_t faults[] = {
#define ROW(name) {name, 0},
    FAULT_TABLE(ROW)
#undef ROW
};

bool till_fault_armed;

static fault_t *find(const char *name, size_t len)
{
    for (size_t i = 0; i != sizeof(faults) / sizeof(faults[0]); ++i)
        if (strlen(faults[i].name) == len && memcmp(faults[i].name, name, len) == 0)
            return &faults[i];
    return NULL;
}

/* Offload threads have faults too, so the count is taken atomically. */
bool till_fault_fires(const char *name)
{
    fault_t *fault = find(name, strlen(name));

    if (fault == NULL) {
        fprintf(stderr, "moontill: fault %s is not in the table of fault.c\n", name);
        abort();
    }
    int count = __atomic_load_n(&fault->count, __ATOMIC_RELAXED);
    while (count > 0)
        if (__atomic_compare_exchange_n(&fault->count, &count, count - 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            return true;
    return count < 0;
}

/* One "name=count" of `len` bytes. */
static bool arm(const char *item, size_t len)
{
    const char *equals = memchr(item, '=', len);
    fault_t *fault = equals != NULL ? find(item, (size_t)(equals - item)) : NULL;
    char *end;

    if (fault == NULL)
        return false;
    errno = 0;
    long count = strtol(equals + 1, &end, 10);
    if (end == equals + 1 || end != item + len || errno != 0 || count < -1 || count > 1000000)
        return false;
    fault->count = (int)count;
    return true;
}

const char *till_fault_arm_from_env(void)
{
    static char message[160];
    const char *item = getenv("TILL_FAULTS");

    while (item != NULL && *item != '\0') {
        size_t len = strcspn(item, ",");
        if (!arm(item, len)) {
            snprintf(message, sizeof(message), "TILL_FAULTS: \"%.*s\" is not a known fault with a count", (int)len,
                     item);
            return message;
        }
        till_fault_armed = true;
        item += len + (item[len] == ',');
    }
    return NULL;
}
