/* heap.c - see heap.h */
#include "vm/heap.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/mem.h"

#define REGION_SIZE ((size_t)2 * 1024 * 1024) /* of one huge page */

#define ROOM (REGION_SIZE - sizeof(till_region_t))

enum { FIRST_SWEEP = 16 }; /* regions: below 32 MB it is not worth it */

struct till_region {
    till_region_t *next;
    size_t free; /* bytes of it in the lists, as the last sweep has counted them */
    char bytes[];
};

/* A mapping can be had at any page: twice as much is asked for, and what is beside the aligned part given back. */
static till_region_t *map_region(void)
{
    char *got = mmap(NULL, 2 * REGION_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t before;

    if (got == MAP_FAILED)
        abort();
    before = (REGION_SIZE - (uintptr_t)got % REGION_SIZE) % REGION_SIZE;
    if (before != 0)
        munmap(got, before);
    munmap(got + before + REGION_SIZE, REGION_SIZE - before);
    (void)madvise(got + before, REGION_SIZE, MADV_HUGEPAGE); /* where there are none it is as good, only slower */
    return (till_region_t *)(got + before);
}

#if defined(__SANITIZE_ADDRESS__) && !defined(TILL_HEAP_REGIONS) /* which its own test wants all the same */
/* Each block by itself, so that the sanitizer sees where one ends and when it is gone. */
static int is_small(size_t size)
{
    (void)size;
    return 0;
}
#else
static int is_small(size_t size) { return size <= TILL_HEAP_SMALL; }
#endif

/* The smallest class that has room for it. */
static unsigned class_of(size_t size)
{
    unsigned shift;

    if (size <= TILL_HEAP_FINE)
        return (unsigned)((size - 1) / TILL_HEAP_STEP);
    shift = 63 - (unsigned)__builtin_clzll(size - 1); /* 9 for 513 to 1024 */
    return 32 + (shift - 9) * 4 + (unsigned)((size - 1) >> (shift - 2) & 3);
}

static size_t size_of(unsigned class)
{
    unsigned above = class - 32;

    if (class < 32)
        return ((size_t) class + 1) * TILL_HEAP_STEP;
    return (size_t)(5 + above % 4) << (above / 4 + 7);
}

static void give_back(till_heap_t *heap, void *block, unsigned class)
{
    memcpy(block, &heap->_free[class], sizeof(void *));
    heap->_free[class] = block;
}

static till_region_t *region_of(void *block) { return (till_region_t *)((uintptr_t)block & ~(REGION_SIZE - 1)); }

static void *next_of(void *block)
{
    void *next;

    memcpy(&next, block, sizeof(next));
    return next;
}

static void count_free(till_heap_t *heap)
{
    for (till_region_t *region = heap->_regions; region != NULL; region = region->next)
        region->free = 0;
    for (unsigned class = 0; class != TILL_HEAP_CLASSES; ++class) {
        for (void *block = heap->_free[class]; block != NULL; block = next_of(block))
            region_of(block)->free += size_of(class);
    }
}

static void drop_blocks_of_empty(till_heap_t *heap)
{
    for (unsigned class = 0; class != TILL_HEAP_CLASSES; ++class) {
        void *block = heap->_free[class], *next;
        heap->_free[class] = NULL;
        for (; block != NULL; block = next) {
            next = next_of(block);
            if (region_of(block)->free != ROOM)
                give_back(heap, block, class);
        }
    }
}

/* Between two regions: of the last one all is in the lists, or used. */
static void sweep(till_heap_t *heap)
{
    till_region_t **at = &heap->_regions;

    count_free(heap);
    drop_blocks_of_empty(heap);
    while (*at != NULL) {
        till_region_t *region = *at;
        if (region->free != ROOM) {
            at = &region->next;
            continue;
        }
        *at = region->next;
        munmap(region, REGION_SIZE);
        heap->_count--;
    }
    heap->_sweep_at = heap->_count < FIRST_SWEEP / 2 ? FIRST_SWEEP : 2 * heap->_count;
}

/* What is left of the old region goes to the lists, in as few pieces as there are classes for. */
static void add_region(till_heap_t *heap)
{
    till_region_t *region;

    while (heap->_end != heap->_next) {
        size_t left = (size_t)(heap->_end - heap->_next);
        unsigned class = left >= TILL_HEAP_SMALL ? TILL_HEAP_CLASSES - 1 : class_of(left);
        if (size_of(class) > left)
            --class;
        give_back(heap, heap->_next, class);
        heap->_next += size_of(class);
    }
    if (heap->_count >= (heap->_sweep_at != 0 ? heap->_sweep_at : FIRST_SWEEP))
        sweep(heap);
    region = map_region();
    region->next = heap->_regions;
    heap->_regions = region;
    heap->_count++;
    heap->_next = region->bytes;
    heap->_end = (char *)region + REGION_SIZE;
}

static void *take(till_heap_t *heap, size_t size)
{
    unsigned class = class_of(size);
    void **list = &heap->_free[class];
    size_t room = size_of(class);
    void *block = *list;

    if (block != NULL) {
        memcpy(list, block, sizeof(*list));
        __builtin_prefetch(*list, 1); /* the next to be taken: long unused, so in no cache */
        return block;
    }
    if ((size_t)(heap->_end - heap->_next) < room)
        add_region(heap);
    block = heap->_next;
    heap->_next += room;
    return block;
}

static void drop(till_heap_t *heap, void *block, size_t size)
{
    if (is_small(size))
        give_back(heap, block, class_of(size));
    else
        free(block);
}

void *till_heap_resize(till_heap_t *heap, void *old, size_t old_size, size_t size)
{
    void *block;

    if (size == 0) {
        if (old != NULL)
            drop(heap, old, old_size);
        return NULL;
    }
    if (old != NULL && !is_small(old_size) && !is_small(size))
        return till_realloc(old, size);
    if (old != NULL && is_small(old_size) && is_small(size) && class_of(old_size) == class_of(size))
        return old;
    block = is_small(size) ? take(heap, size) : till_alloc(size);
    if (old == NULL)
        return block;
    memcpy(block, old, old_size < size ? old_size : size);
    drop(heap, old, old_size);
    return block;
}

void till_heap_dispose(till_heap_t *heap)
{
    while (heap->_regions != NULL) {
        till_region_t *region = heap->_regions;
        heap->_regions = region->next;
        munmap(region, REGION_SIZE);
    }
}
