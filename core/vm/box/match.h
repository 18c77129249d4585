/* match.h - Lua's patterns, with a price for each step.
 *
 * A pattern is first read into items: a run of literals, one set of bytes with how
 * often it may come, a capture's begin or end, %b, %f, %1. The search goes back
 * and forth over items, so the depth of its recursion is the pattern's, never the
 * text's.
 *
 * Every step costs fuel, and what has none left does not return: a pattern that
 * takes exponential time ends like any loop without end.
 *
 * Thread: the process' only one; nothing is kept between calls.
 */
#ifndef TILL_VM_BOX_MATCH_H
#define TILL_VM_BOX_MATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TILL_MATCH_ITEMS 100
#define TILL_MATCH_CAPTURES 32

enum till_item_kind {
    TILL_ITEM_LITERAL,
    TILL_ITEM_SET,
    TILL_ITEM_OPEN,
    TILL_ITEM_CLOSE,
    TILL_ITEM_POSITION,
    TILL_ITEM_BALANCE,
    TILL_ITEM_FRONTIER,
    TILL_ITEM_AGAIN,
    TILL_ITEM_END
};

typedef struct till_item {
    uint8_t kind;
    char often;            /* of a set: '1', '?', '*', '+', '-' */
    uint8_t number;        /* of a capture */
    uint8_t first, second; /* of %b */
    const char *text;      /* of a literal */
    size_t len;
    uint64_t set[4];
} till_item_t;

typedef struct till_pattern {
    till_item_t items[TILL_MATCH_ITEMS];
    unsigned count, captures;
    bool is_anchored;
} till_pattern_t;

typedef struct till_capture {
    const char *base;
    size_t len;
    bool is_position;
} till_capture_t;

typedef struct till_match {
    const till_pattern_t *pattern;
    const char *begin, *end; /* of the text */
    const char *found, *found_end;
    till_capture_t captures[TILL_MATCH_CAPTURES];
} till_match_t;

/** The literals borrow from `text`. Unless it may anchor, a ^ at its beginning stands for itself. @return NULL, or what
 * is wrong with it */
const char *till_pattern_read(till_pattern_t *pattern, const char *text, size_t len, bool may_anchor);
/** Exactly at `at`, which is within the match's text. @return whether it fits; then found, found_end and captures say
 * how */
bool till_match_at(till_match_t *match, const char *at);
/** The first place from `at` on. */
bool till_match_search(till_match_t *match, const char *at);

#endif
