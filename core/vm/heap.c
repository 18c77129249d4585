/* heap.c - see heap.h */
#include "vm/heap.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

#define SLAB_SIZE (64 * 1024)

struct till_slab {
    till_slab_t *next;
    size_t unused; /* keeps what follows aligned to 16 */
    char bytes[];
};

#if defined(__SANITIZE_ADDRESS__)
/* Each block by itself, so that the sanitizer sees where one ends and when it is gone. */
static int is_small(size_t size)
{
    (void)size;
    return 0;
}
#else
static int is_small(size_t size) { return size <= TILL_HEAP_SMALL; }
#endif

static size_t class_of(size_t size) { return (size - 1) / TILL_HEAP_STEP; }

static void give_back(till_heap_t *heap, void *block, size_t size)
{
    void **list = &heap->_free[class_of(size)];

    memcpy(block, list, sizeof(*list));
    *list = block;
}

/* What is left of the old slab goes to the lists: it is a multiple of the step. */
static void add_slab(till_heap_t *heap)
{
    till_slab_t *slab = till_alloc(sizeof(*slab) + SLAB_SIZE);

    if (heap->_end != heap->_next)
        give_back(heap, heap->_next, (size_t)(heap->_end - heap->_next));
    slab->next = heap->_slabs;
    heap->_slabs = slab;
    heap->_next = slab->bytes;
    heap->_end = slab->bytes + SLAB_SIZE;
}

static void *take(till_heap_t *heap, size_t size)
{
    void **list = &heap->_free[class_of(size)];
    size_t room = (class_of(size) + 1) * TILL_HEAP_STEP;
    void *block = *list;

    if (block != NULL) {
        memcpy(list, block, sizeof(*list));
        __builtin_prefetch(*list, 1); /* the next to be taken: long unused, so in no cache */
        return block;
    }
    if ((size_t)(heap->_end - heap->_next) < room)
        add_slab(heap);
    block = heap->_next;
    heap->_next += room;
    return block;
}

static void drop(till_heap_t *heap, void *block, size_t size)
{
    if (is_small(size))
        give_back(heap, block, size);
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
    while (heap->_slabs != NULL) {
        till_slab_t *slab = heap->_slabs;
        heap->_slabs = slab->next;
        free(slab);
    }
}
