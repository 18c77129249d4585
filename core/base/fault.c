/* fault.c - see fault.h
 *
 * A new fault gets its row here first; scripts/lint.sh holds the names used
 * by TILL_FAULT() in core/ to this table.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/fault.h"

/* clang-format off */
#define FAULT_TABLE(row)                                                                    \
    row("sql.connect_refused")      /* the database does not take the connection */         \
    row("sql.lost_before_send")     /* the connection breaks, the statement never left */   \
    row("sql.lost_after_send")      /* it left, nobody knows whether it was done */         \
    row("sql.slow")                 /* the answer does not come before the deadline */      \
    row("sql.deadlock")             /* the transaction is the victim */                     \
    row("outbox.crash_before_done") /* the worker dies, the event was delivered */          \
    row("idem.crash_before_finish") /* the worker dies, its work is not yet committed */
/* clang-format on */

static const char *const names[] = {
#define ROW(name) name,
    FAULT_TABLE(ROW)
#undef ROW
};

#define FAULTS (sizeof(names) / sizeof(names[0]))

bool till_fault_armed;

static int *counts; /* how often each still happens, -1 for ever; shared with the processes forked since */

static size_t find(const char *name, size_t len)
{
    for (size_t i = 0; i != FAULTS; ++i)
        if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
            return i;
    return FAULTS;
}

bool till_fault_fires(const char *name)
{
    size_t i = find(name, strlen(name));

    if (i == FAULTS) {
        fprintf(stderr, "moontill: fault %s is not in the table of fault.c\n", name);
        abort();
    }
    int count = __atomic_load_n(&counts[i], __ATOMIC_RELAXED);
    while (count > 0)
        if (__atomic_compare_exchange_n(&counts[i], &count, count - 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            return true;
    return count < 0;
}

/* One "name=count" of `len` bytes. */
static bool arm(const char *item, size_t len)
{
    const char *equals = memchr(item, '=', len);
    size_t i = equals != NULL ? find(item, (size_t)(equals - item)) : FAULTS;
    char *end;

    if (i == FAULTS)
        return false;
    errno = 0;
    long count = strtol(equals + 1, &end, 10);
    if (end == equals + 1 || end != item + len || errno != 0 || count < -1 || count > 1000000)
        return false;
    __atomic_store_n(&counts[i], (int)count, __ATOMIC_RELAXED);
    return true;
}

const char *till_fault_arm(const char *item)
{
    static char message[160];

    if (!till_fault_armed)
        return "faults can be armed only where TILL_FAULTS was set at the start, be it to nothing";
    while (*item != '\0') {
        size_t len = strcspn(item, ",");
        if (!arm(item, len)) {
            snprintf(message, sizeof(message), "\"%.*s\" is not a known fault with a count", (int)len, item);
            return message;
        }
        item += len + (item[len] == ',');
    }
    return NULL;
}

const char *till_fault_arm_from_env(void)
{
    const char *item = getenv("TILL_FAULTS");

    if (item == NULL)
        return NULL;
    counts = mmap(NULL, FAULTS * sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (counts == MAP_FAILED)
        return "there is no memory for them";
    till_fault_armed = true;
    return till_fault_arm(item);
}
