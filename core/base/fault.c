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
    row("sql.crash_after_send")     /* it left, and we die */                               \
    row("sql.slow")                 /* the answer does not come before the deadline */      \
    row("sql.deadlock")             /* the transaction is the victim */                     \
    row("sql.held")                 /* it does not leave before sql.gate is disarmed */     \
    row("sql.gate")                 /* armed with -1: who was held waits */                 \
    row("bundle.torn")              /* the file was saved while it was read */              \
    row("outbox.crash_before_done") /* the worker dies, the event was delivered */          \
    row("idem.crash_before_finish") /* the worker dies, its work is not yet committed */    \
    row("checkout.after_claim")     /* it dies, cart and flow are claimed */                \
    row("checkout.after_authorize") /* it dies, the provider has answered */                \
    row("checkout.before_place")    /* it dies, nothing of the order is written */          \
    row("checkout.after_place")     /* it dies, the order is there, nobody was told */     \
    row("reconcile.in_repair")      /* it dies, a repair is begun, nothing is committed */  \
    row("reconcile.before_advance") /* it dies, a slice is repaired, the pass not moved */  \
    row("settlement.in_page")       /* it dies, a page of movements is judged in part */     \
    row("combine.before_commit")    /* it dies, a batch of orders is not sent */            \
    row("combine.after_commit")     /* it dies, the batch is there, nobody was told */      \
    row("cancellation.after_decide") /* it dies, the units are cancelled, the money is not back */ \
    row("cancellation.after_money") /* it dies, the provider gave it back, nothing is booked */ \
    row("cancellation.after_book") /* it dies, all is done, nobody was told */ \
    row("capture.before_ask") /* it dies, what is to be captured is written down */ \
    row("capture.after_ask") /* it dies, the provider took it, nothing is booked */ \
    row("capture_part.after_decide") /* it dies, a part is written down, nobody was asked */ \
    row("capture_part.before_ask") /* it dies, a part is to be asked for now */ \
    row("capture_part.after_ask") /* it dies, the provider took the part, nothing is booked */ \
    row("webhook.after_claim") /* it dies, events are claimed, nobody was asked */ \
    row("webhook.before_commit") /* it dies, all is written, nothing is committed */ \
    row("webhook.after_commit") /* it dies, it is booked, nobody was told */ \
    row("order_payment.after_authorize") /* it dies, a placed order was paid anew and does not know of it */ \
    row("sweep.after_mark") /* it dies, a payment pays for nothing, its provider was not asked */ \
    row("void.after_ask") /* it dies, the provider let go of it, our row does not say so */ \
    row("rules.before_swap")        /* it dies, the publication is begun, nothing is live */ \
    row("rules.after_swap")         /* it dies, the rule is live, the tables know nothing */ \
    row("generation.before_record") /* a worker dies, all have loaded, nothing is moved */  \
    row("generation.after_record")  /* it dies, the pointer is moved, nobody was told */    \
    row("generation.lost")          /* the pointer is moved, the answer does not come */    \
    row("generation.prepared")      /* a worker dies as soon as it has loaded */            \
    row("generation.commit")        /* a worker dies, it was told that it is live */        \
    row("generation.master_before_record") /* the master dies, all have loaded */           \
    row("generation.master_after_record")  /* it dies, no worker was told */                \
    row("generation.master_while_commit")  /* it dies, one worker was told */
/* clang-format on */

static const char *const names[] = {
#define ROW(name) name,
    FAULT_TABLE(ROW)
#undef ROW
};

#define FAULT_MOST 1000000
#define FAULTS (sizeof(names) / sizeof(names[0]))

bool till_fault_armed;

/* Shared with the processes forked since. */
static struct fault {
    int skip;  /* how often it does not happen before */
    int count; /* how often it happens still; -1 for ever */
} * faults;

static size_t find(const char *name, size_t len)
{
    for (size_t i = 0; i != FAULTS; ++i)
        if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
            return i;
    return FAULTS;
}

/* Takes one off what is above 0. */
static bool take(int *number)
{
    int n = __atomic_load_n(number, __ATOMIC_RELAXED);

    while (n > 0)
        if (__atomic_compare_exchange_n(number, &n, n - 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            return true;
    return false;
}

bool till_fault_fires(const char *name)
{
    size_t i = find(name, strlen(name));

    if (i == FAULTS) {
        fprintf(stderr, "moontill: fault %s is not in the table of fault.c\n", name);
        abort();
    }
    return !take(&faults[i].skip) && (take(&faults[i].count) || faults[i].count < 0);
}

/* "3" or "3@7" of `len` bytes. */
static bool read_numbers(const char *text, size_t len, long *count, long *skip)
{
    char *end;

    errno = 0;
    *count = strtol(text, &end, 10);
    *skip = 0;
    if (end == text || errno != 0 || *count < -1 || *count > FAULT_MOST)
        return false;
    if (*end == '@') {
        const char *digits = end + 1;
        *skip = strtol(digits, &end, 10);
        if (end == digits || errno != 0 || *skip < 0 || *skip > FAULT_MOST)
            return false;
    }
    return end == text + len;
}

/* One "name=count" of `len` bytes. */
static bool arm(const char *item, size_t len, int *left)
{
    const char *equals = memchr(item, '=', len);
    size_t i = equals != NULL ? find(item, (size_t)(equals - item)) : FAULTS;
    long count, skip;

    if (i == FAULTS || !read_numbers(equals + 1, len - (size_t)(equals + 1 - item), &count, &skip))
        return false;
    *left = faults[i].count;
    faults[i] = (struct fault){.skip = (int)skip, .count = (int)count};
    return true;
}

static const char not_armed[] = "faults can be armed only where TILL_FAULTS was set at the start, be it to nothing";

const char *till_fault_each(void (*tell)(void *data, const char *name, int left), void *data)
{
    if (!till_fault_armed)
        return not_armed;
    for (size_t i = 0; i != FAULTS; ++i)
        tell(data, names[i], __atomic_load_n(&faults[i].count, __ATOMIC_RELAXED));
    return NULL;
}

const char *till_fault_arm(const char *item, int *left)
{
    static char message[160];

    if (!till_fault_armed)
        return not_armed;
    while (*item != '\0') {
        size_t len = strcspn(item, ",");
        if (!arm(item, len, left)) {
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
    int left;

    if (item == NULL)
        return NULL;
    faults = mmap(NULL, FAULTS * sizeof(*faults), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (faults == MAP_FAILED)
        return "there is no memory for them";
    till_fault_armed = true;
    return till_fault_arm(item, &left);
}
