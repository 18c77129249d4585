/* mem.c - see mem.h */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"

/* No stdio: it might want memory itself. */
static void *checked(void *memory)
{
    static const char message[] = "moontill: out of memory\n";

    if (memory == NULL) {
        (void)!write(STDERR_FILENO, message, sizeof(message) - 1);
        abort();
    }
    return memory;
}

/* A size of zero yields a real block everywhere, so that NULL always means failure. */
static size_t at_least_one(size_t size) { return size != 0 ? size : 1; }

void *till_alloc(size_t size) { return checked(malloc(at_least_one(size))); }

void *till_calloc(size_t count, size_t size) { return checked(calloc(at_least_one(count), at_least_one(size))); }

void *till_realloc(void *old, size_t size) { return checked(realloc(old, at_least_one(size))); }

char *till_strdup(const char *text) { return till_strndup(text, strlen(text)); }

char *till_strndup(const char *bytes, size_t len)
{
    char *copy = till_alloc(len + 1);

    if (len != 0)
        memcpy(copy, bytes, len);
    copy[len] = '\0';
    return copy;
}
