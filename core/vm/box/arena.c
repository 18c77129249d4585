/* arena.c - see arena.h */
#include "vm/box/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/mem.h"

#define STEP 16
#define SMALL 512 /* up to here one list a step; beyond, four lists for each doubling */
#define SMALL_LISTS (SMALL / STEP)
#define LARGE_LISTS 64
#define KEEP ((size_t)512 << 10) /* above the image; what a rule took beyond this is given back */

struct till_arena {
    size_t top, highest;
    void *free[SMALL_LISTS + LARGE_LISTS];
    char bytes[] __attribute__((aligned(16)));
};

/* The list of a size, and what a block of it holds. */
static unsigned class_of(size_t size, size_t *room)
{
    if (size <= SMALL) {
        *room = (size + STEP - 1) / STEP * STEP;
        return (unsigned)(*room / STEP - 1);
    }
    unsigned doubling = 63 - (unsigned)__builtin_clzll(size - 1); /* 2^doubling < size <= 2^(doubling + 1) */
    size_t quarter = (size_t)1 << (doubling - 2);
    size_t steps = (size - ((size_t)1 << doubling) + quarter - 1) / quarter;
    *room = ((size_t)1 << doubling) + steps * quarter;
    return SMALL_LISTS + (doubling - 9) * 4 + (unsigned)steps - 1;
}

till_arena_t *till_arena_create(void)
{
    void *memory =
        mmap(NULL, TILL_ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED)
        return NULL;
    till_arena_t *arena = memory;
    arena->top = arena->highest = sizeof(*arena);
    return arena;
}

static void *take(till_arena_t *arena, size_t size)
{
    size_t room;

    if (size > TILL_ARENA_BLOCK)
        return NULL;
    void **list = &arena->free[class_of(size, &room)];
    void *block = *list;
    if (block != NULL) {
        memcpy(list, block, sizeof(*list));
        return block;
    }
    if (room > TILL_ARENA_SIZE - arena->top)
        return NULL;
    block = (char *)arena + arena->top;
    arena->top += room;
    if (arena->top > arena->highest)
        arena->highest = arena->top;
    return block;
}

static void give_back(till_arena_t *arena, void *block, size_t size)
{
    size_t room;
    void **list = &arena->free[class_of(size, &room)];

    if ((char *)block + room == (char *)arena + arena->top) {
        arena->top -= room;
        return;
    }
    memcpy(block, list, sizeof(*list));
    *list = block;
}

/* The topmost block grows where it is: what is built up is not copied again and again. */
static void *grow_in_place(till_arena_t *arena, void *block, size_t old_room, size_t room)
{
    if ((char *)block + old_room != (char *)arena + arena->top || room - old_room > TILL_ARENA_SIZE - arena->top)
        return NULL;
    arena->top += room - old_room;
    if (arena->top > arena->highest)
        arena->highest = arena->top;
    return block;
}

static void *move(till_arena_t *arena, void *old, size_t old_size, size_t size)
{
    size_t old_room, room;
    void *block;

    if (class_of(old_size, &old_room) == class_of(size, &room))
        return old;
    if (size > TILL_ARENA_BLOCK)
        return NULL;
    if (room > old_room && (block = grow_in_place(arena, old, old_room, room)) != NULL)
        return block;
    block = take(arena, size);
    if (block == NULL)
        return size < old_size ? old : NULL;
    memcpy(block, old, old_size < size ? old_size : size);
    give_back(arena, old, old_size);
    return block;
}

void *till_arena_resize(till_arena_t *arena, void *old, size_t old_size, size_t size)
{
    if (old == NULL)
        return size != 0 ? take(arena, size) : NULL;
    if (size != 0)
        return move(arena, old, old_size, size);
    give_back(arena, old, old_size);
    return NULL;
}

size_t till_arena_used(const till_arena_t *arena) { return arena->top; }

void till_image_take(till_image_t *image, const till_arena_t *arena)
{
    if (image->cap < arena->top) {
        free(image->bytes);
        image->bytes = till_alloc(arena->top);
        image->cap = arena->top;
    }
    image->len = arena->top;
    memcpy(image->bytes, arena, arena->top);
}

void till_image_put(const till_image_t *image, till_arena_t *arena)
{
    size_t highest = arena->highest, keep = (image->len + KEEP) & ~(size_t)4095;

    if (highest > keep) {
        (void)madvise((char *)arena + keep, TILL_ARENA_SIZE - keep, MADV_DONTNEED);
        highest = keep;
    }
    memcpy(arena, image->bytes, image->len);
    arena->highest = highest > arena->top ? highest : arena->top;
}

void till_image_dispose(till_image_t *image)
{
    free(image->bytes);
    *image = (till_image_t){NULL, 0, 0};
}
