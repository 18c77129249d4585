/* heap.h - memory of one VM: small objects from regions, large ones from the system.
 *
 * Lua makes and drops a great many small tables and strings; malloc's care for
 * threads and for neighbours was a fifth of a worker's CPU. Here a small block is
 * taken from the list of its size and given back to it. Regions are kept for what
 * comes next; each time they have doubled those of which nothing is used are given
 * back, for blocks of one size are of no use to those of another.
 *
 * A region is one huge page where the kernel has them. Lua's objects lie all over
 * its heap, and to find each by pages of 4 KB was an eighth of a worker's CPU.
 *
 * Thread: one at a time; a VM is built on one thread and then moves to another.
 * Owns: its regions. Large blocks are the caller's until they are resized to 0.
 */
#ifndef TILL_VM_HEAP_H
#define TILL_VM_HEAP_H

#include <stddef.h>

/* Classes of size: each multiple of 16 to 512, then four for each doubling to 32 KB. */
enum { TILL_HEAP_STEP = 16, TILL_HEAP_FINE = 512, TILL_HEAP_SMALL = 32768, TILL_HEAP_CLASSES = 32 + 4 * 6 };

typedef struct till_region till_region_t;

typedef struct till_heap {
    void *_free[TILL_HEAP_CLASSES];
    till_region_t *_regions;
    char *_next, *_end; /* what is left of the newest region */
    unsigned _count;    /* of regions */
    unsigned _sweep_at; /* so many: then it is looked for empty ones; 0 before the first time */
} till_heap_t;

/** As realloc: `old` NULL allocates, `size` 0 frees and gives NULL. `old_size` must be what was asked for. */
void *till_heap_resize(till_heap_t *heap, void *old, size_t old_size, size_t size);

/** Every small block is gone with it. */
void till_heap_dispose(till_heap_t *heap);

#endif
