/* pages.h - answers that a generation gives again for a moment, without running Lua.
 *
 * A page that hundreds ask for in the same second is made once. Whether an answer
 * may be kept is for its handler to say (`keep_ms`, the fifth value of main.http):
 * it must depend on nothing but what stands in its key and what till.cache holds.
 *
 * The key: path and query as sent, authority, Authorization, Origin. Asked for are
 * GETs without a body, without a cookie, and without a condition or a range; every
 * other request goes to Lua.
 *
 * Invariant: an answer whose making began before a drop is never kept. Each begins
 * under the epoch that the cache has then, and a drop begins a new one; so what is
 * told to the caches of the workers (lua/till/cache.lua) holds for pages as well.
 *
 * Bounds: PAGES places, each page in the one that its hash says, where it takes the
 * place of another; at most MAX_PAGE bytes a page.
 *
 * Thread: the VM's.
 */
#ifndef TILL_VM_PAGES_H
#define TILL_VM_PAGES_H

#include "vm/vm.h"

typedef struct till_pages till_pages_t;

till_pages_t *till_pages_create(void);
void till_pages_destroy(till_pages_t *pages);
/** The epoch to make an answer under. */
uint64_t till_pages_epoch(const till_pages_t *pages);
/** Forgets all of them. */
void till_pages_drop(till_pages_t *pages);
/** @return NULL where there is none; borrowed until the next call of anything here */
const till_response_t *till_pages_find(till_pages_t *pages, const till_request_t *request, uint64_t now_ms);
/** Keeps a copy until `until_ms`, unless it may not be kept, or was begun under another epoch. */
void till_pages_keep(till_pages_t *pages, const till_request_t *request, const till_response_t *response,
                     uint64_t epoch, uint64_t until_ms);

/* The request that a page answered, to be asked again. One allocation: free() it. */
typedef struct till_asked {
    till_request_t request;
    till_header_t headers[2];
    char text[];
} till_asked_t;

/** Those asked for most, the first of all first, of pages that were not over before `since_ms`. @return how many of
 * `out` are set; they are the caller's */
size_t till_pages_hottest(const till_pages_t *pages, uint64_t since_ms, till_asked_t **out, size_t most);

#endif
