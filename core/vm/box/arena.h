/* arena.h - all memory of one VM in one piece, so that it can be put back byte by byte.
 *
 * A rule must find nothing of what ran before it, and a rule that is ended in the
 * middle of anything leaves a heap that nobody may touch again. Both are had by
 * copying: an image of the arena is taken once everything is set up, and put back
 * before each rule. Nothing is freed, closed or unwound. What is in the arena has
 * the same addresses afterwards, so it must not be pointed to from outside except
 * by who put the image back.
 *
 * Small blocks come from lists by size, which are part of the arena; the rest from
 * its top. One block may take TILL_ARENA_BLOCK, all together TILL_ARENA_SIZE.
 *
 * Thread: the process' only one.
 */
#ifndef TILL_VM_BOX_ARENA_H
#define TILL_VM_BOX_ARENA_H

#include <stddef.h>

#define TILL_ARENA_SIZE ((size_t)8 << 20)
#define TILL_ARENA_BLOCK ((size_t)1 << 20)

typedef struct till_arena till_arena_t;

/* A copy of an arena; zeroed before the first use. */
typedef struct till_image {
    char *bytes; /* ours */
    size_t len, cap;
} till_image_t;

/** Maps it. NULL where the kernel has no memory left. It is never unmapped: it ends with the process. */
till_arena_t *till_arena_create(void);
/** As lua_Alloc wants it; `old_size` must be what was asked for. NULL: there is no room. A smaller size never fails. */
void *till_arena_resize(till_arena_t *arena, void *old, size_t old_size, size_t size);
/** Bytes up to its top, what lies unused in lists included. */
size_t till_arena_used(const till_arena_t *arena);

void till_image_take(till_image_t *image, const till_arena_t *arena);
/** The arena is as it was. Memory that it took meanwhile and that is much goes back to the kernel. */
void till_image_put(const till_image_t *image, till_arena_t *arena);
void till_image_dispose(till_image_t *image);

#endif
