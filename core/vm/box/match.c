/* match.c - see match.h */
#include "vm/box/match.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>
#include "vm/box/sandbox.h"

/* ---- reading a pattern ------------------------------------------------------------------ */

struct source {
    const char *at, *end;
    const char *fault;
    till_pattern_t *pattern;
    uint8_t open[TILL_MATCH_CAPTURES]; /* captures that are not closed */
    unsigned open_count;
    bool is_closed[TILL_MATCH_CAPTURES];
};

static void add_byte(uint64_t set[4], uint8_t byte) { set[byte >> 6] |= (uint64_t)1 << (byte & 63); }

static bool has(const uint64_t set[4], uint8_t byte) { return (set[byte >> 6] >> (byte & 63) & 1) != 0; }

static void invert(uint64_t set[4])
{
    for (int i = 0; i != 4; ++i)
        set[i] = ~set[i];
}

/* Locale "C": the box never sets another. */
static bool is_of_class(char letter, int byte)
{
    switch (letter) {
    case 'a':
        return isalpha(byte);
    case 'c':
        return iscntrl(byte);
    case 'd':
        return isdigit(byte);
    case 'g':
        return isgraph(byte);
    case 'l':
        return islower(byte);
    case 'p':
        return ispunct(byte);
    case 's':
        return isspace(byte);
    case 'u':
        return isupper(byte);
    case 'w':
        return isalnum(byte);
    case 'x':
        return isxdigit(byte);
    default:
        return false;
    }
}

/* %a, %A, ... or the byte itself */
static void add_escaped(uint64_t set[4], char letter)
{
    uint64_t class[4] = {0, 0, 0, 0};
    char lower = (char)tolower((unsigned char)letter);

    if (letter == '\0' || strchr("acdglpsuwx", lower) == NULL) {
        add_byte(set, (uint8_t)letter);
        return;
    }
    for (int byte = 0; byte != 256; ++byte) {
        if (is_of_class(lower, byte))
            add_byte(class, (uint8_t)byte);
    }
    if (lower != letter)
        invert(class);
    for (int i = 0; i != 4; ++i)
        set[i] |= class[i];
}

static bool is_range(const struct source *s) { return s->end - s->at >= 3 && s->at[1] == '-' && s->at[2] != ']'; }

/* What stands between [ and ]; a ] that comes first is meant. */
static void read_brackets(struct source *s, uint64_t set[4])
{
    bool is_inverted = s->at != s->end && *s->at == '^';

    s->at += is_inverted;
    for (const char *first = s->at; s->at != s->end && (*s->at != ']' || s->at == first);) {
        if (*s->at == '%' && s->end - s->at >= 2) {
            add_escaped(set, s->at[1]);
            s->at += 2;
        } else if (is_range(s)) {
            for (int byte = (uint8_t)s->at[0]; byte <= (uint8_t)s->at[2]; ++byte)
                add_byte(set, (uint8_t)byte);
            s->at += 3;
        } else {
            add_byte(set, (uint8_t)*s->at++);
        }
    }
    if (s->at == s->end)
        s->fault = "malformed pattern (a `]` is missing)";
    else
        ++s->at;
    if (is_inverted)
        invert(set);
}

static void read_set(struct source *s, uint64_t set[4])
{
    char c = *s->at++;

    if (c == '.') {
        invert(set);
    } else if (c == '[') {
        read_brackets(s, set);
    } else if (c != '%') {
        add_byte(set, (uint8_t)c);
    } else if (s->at == s->end) {
        s->fault = "malformed pattern (it ends with `%`)";
    } else {
        add_escaped(set, *s->at++);
    }
}

static till_item_t *add_item(struct source *s, enum till_item_kind kind)
{
    till_pattern_t *pattern = s->pattern;

    if (pattern->count == TILL_MATCH_ITEMS) {
        s->fault = "a pattern with too many parts";
        return &pattern->items[0];
    }
    till_item_t *item = &pattern->items[pattern->count++];
    *item = (till_item_t){.kind = (uint8_t)kind, .often = '1'};
    return item;
}

static void read_open(struct source *s)
{
    bool is_position = s->end - s->at >= 2 && s->at[1] == ')';

    if (s->pattern->captures == TILL_MATCH_CAPTURES) {
        s->fault = "too many captures";
        return;
    }
    uint8_t number = (uint8_t)s->pattern->captures++;
    add_item(s, is_position ? TILL_ITEM_POSITION : TILL_ITEM_OPEN)->number = number;
    s->is_closed[number] = is_position;
    if (!is_position)
        s->open[s->open_count++] = number;
    s->at += is_position ? 2 : 1;
}

static void read_close(struct source *s)
{
    if (s->open_count == 0) {
        s->fault = "invalid pattern (a `)` without its `(`)";
        return;
    }
    uint8_t number = s->open[--s->open_count];
    add_item(s, TILL_ITEM_CLOSE)->number = number;
    s->is_closed[number] = true;
    ++s->at;
}

static void read_balance(struct source *s)
{
    if (s->end - s->at < 4) {
        s->fault = "malformed pattern (`%b` takes two characters)";
        return;
    }
    till_item_t *item = add_item(s, TILL_ITEM_BALANCE);
    item->first = (uint8_t)s->at[2];
    item->second = (uint8_t)s->at[3];
    s->at += 4;
}

static void read_frontier(struct source *s)
{
    s->at += 2;
    if (s->at == s->end || *s->at != '[')
        s->fault = "malformed pattern (`[` is missing after `%f`)";
    else
        read_set(s, add_item(s, TILL_ITEM_FRONTIER)->set);
}

static void read_again(struct source *s)
{
    int number = s->at[1] - '1';

    if (number < 0 || (unsigned)number >= s->pattern->captures || !s->is_closed[number]) {
        s->fault = "invalid capture index";
        return;
    }
    add_item(s, TILL_ITEM_AGAIN)->number = (uint8_t)number;
    s->at += 2;
}

/* A byte that stands for itself, once, joins those before it. */
static bool join_literal(struct source *s, const char *from)
{
    till_pattern_t *pattern = s->pattern;
    till_item_t *last = pattern->count != 0 ? &pattern->items[pattern->count - 1] : NULL;

    if (s->at - from != 1 || strchr(".[", *from) != NULL)
        return false;
    if (last != NULL && last->kind == TILL_ITEM_LITERAL && last->text + last->len == from) {
        ++last->len;
        return true;
    }
    last = add_item(s, TILL_ITEM_LITERAL);
    last->text = from;
    last->len = 1;
    return true;
}

static void read_single(struct source *s)
{
    const char *from = s->at;
    uint64_t set[4] = {0, 0, 0, 0};

    read_set(s, set);
    bool is_repeated = s->at != s->end && *s->at != '\0' && strchr("*+-?", *s->at) != NULL;
    if (s->fault != NULL || (!is_repeated && *from != '\0' && join_literal(s, from)))
        return;
    till_item_t *item = add_item(s, TILL_ITEM_SET);
    memcpy(item->set, set, sizeof(set));
    if (is_repeated)
        item->often = *s->at++;
}

static void read_item(struct source *s)
{
    char next = s->end - s->at >= 2 ? s->at[1] : '\0';

    if (*s->at == '(')
        read_open(s);
    else if (*s->at == ')')
        read_close(s);
    else if (*s->at == '$' && s->end - s->at == 1)
        add_item(s, TILL_ITEM_END), ++s->at;
    else if (*s->at == '%' && next == 'b')
        read_balance(s);
    else if (*s->at == '%' && next == 'f')
        read_frontier(s);
    else if (*s->at == '%' && next >= '0' && next <= '9')
        read_again(s);
    else
        read_single(s);
}

const char *till_pattern_read(till_pattern_t *pattern, const char *text, size_t len, bool may_anchor)
{
    struct source s = {.at = text, .end = text + len, .pattern = pattern};

    pattern->count = pattern->captures = 0;
    pattern->is_anchored = may_anchor && len != 0 && text[0] == '^';
    s.at += pattern->is_anchored;
    while (s.at != s.end && s.fault == NULL) {
        till_sandbox_charge(1);
        read_item(&s);
    }
    if (s.fault == NULL && s.open_count != 0)
        s.fault = "unfinished capture";
    return s.fault;
}

/* ---- matching ------------------------------------------------------------------------------ */

/** From item `i` on, at `at`. @return where the match ends, or NULL */
static const char *fit(till_match_t *m, unsigned i, const char *at);

static bool is_in(const till_match_t *m, const till_item_t *item, const char *at)
{
    till_sandbox_charge(1);
    return at != m->end && has(item->set, (uint8_t)*at);
}

static const char *fit_most(till_match_t *m, unsigned i, const char *from)
{
    const char *to = from;

    while (is_in(m, &m->pattern->items[i], to))
        ++to;
    for (;; --to) {
        const char *end = fit(m, i + 1, to);
        if (end != NULL || to == from)
            return end;
    }
}

static const char *fit_least(till_match_t *m, unsigned i, const char *at)
{
    for (;; ++at) {
        const char *end = fit(m, i + 1, at);
        if (end != NULL || !is_in(m, &m->pattern->items[i], at))
            return end;
    }
}

static const char *fit_set(till_match_t *m, unsigned i, const char *at)
{
    const till_item_t *item = &m->pattern->items[i];
    const char *end;

    switch (item->often) {
    case '*':
        return fit_most(m, i, at);
    case '-':
        return fit_least(m, i, at);
    default: /* '+', '?' */
        if (!is_in(m, item, at))
            return item->often == '?' ? fit(m, i + 1, at) : NULL;
        if (item->often == '+')
            return fit_most(m, i, at + 1);
        end = fit(m, i + 1, at + 1);
        return end != NULL ? end : fit(m, i + 1, at);
    }
}

static const char *fit_balance(const till_match_t *m, const till_item_t *item, const char *at)
{
    size_t depth = 1;

    if (at == m->end || (uint8_t)*at != item->first)
        return NULL;
    while (++at != m->end) {
        till_sandbox_charge(1);
        if ((uint8_t)*at == item->second) {
            if (--depth == 0)
                return at + 1;
        } else if ((uint8_t)*at == item->first) {
            ++depth;
        }
    }
    return NULL;
}

static bool is_frontier(const till_match_t *m, const till_item_t *item, const char *at)
{
    uint8_t before = at == m->begin ? 0 : (uint8_t)at[-1], here = at == m->end ? 0 : (uint8_t)*at;

    return !has(item->set, before) && has(item->set, here);
}

static const char *fit_open(till_match_t *m, unsigned i, const char *at)
{
    const till_item_t *item = &m->pattern->items[i];
    till_capture_t *capture = &m->captures[item->number], before = *capture;

    *capture = (till_capture_t){at, 0, item->kind == TILL_ITEM_POSITION};
    const char *end = fit(m, i + 1, at);
    if (end == NULL)
        *capture = before;
    return end;
}

static const char *fit_close(till_match_t *m, unsigned i, const char *at)
{
    till_capture_t *capture = &m->captures[m->pattern->items[i].number];
    size_t before = capture->len;

    capture->len = (size_t)(at - capture->base);
    const char *end = fit(m, i + 1, at);
    if (end == NULL)
        capture->len = before;
    return end;
}

/** The bytes at `at`, if they are these. @return what follows them, or NULL */
static const char *same(const till_match_t *m, const char *at, const char *bytes, size_t len)
{
    till_sandbox_charge(len / 8);
    return len <= (size_t)(m->end - at) && memcmp(at, bytes, len) == 0 ? at + len : NULL;
}

/** An item that fits in one way or not at all. */
static const char *step(till_match_t *m, const till_item_t *item, const char *at)
{
    switch (item->kind) {
    case TILL_ITEM_LITERAL:
        return same(m, at, item->text, item->len);
    case TILL_ITEM_SET:
        return is_in(m, item, at) ? at + 1 : NULL;
    case TILL_ITEM_BALANCE:
        return fit_balance(m, item, at);
    case TILL_ITEM_FRONTIER:
        return is_frontier(m, item, at) ? at : NULL;
    case TILL_ITEM_AGAIN:
        return m->captures[item->number].is_position
                   ? NULL
                   : same(m, at, m->captures[item->number].base, m->captures[item->number].len);
    default: /* TILL_ITEM_END */
        return at == m->end ? at : NULL;
    }
}

static const char *fit(till_match_t *m, unsigned i, const char *at)
{
    for (; i != m->pattern->count; ++i) {
        const till_item_t *item = &m->pattern->items[i];
        till_sandbox_charge(1);
        if (item->kind == TILL_ITEM_SET && item->often != '1')
            return fit_set(m, i, at);
        if (item->kind == TILL_ITEM_OPEN || item->kind == TILL_ITEM_POSITION)
            return fit_open(m, i, at);
        if (item->kind == TILL_ITEM_CLOSE)
            return fit_close(m, i, at);
        at = step(m, item, at);
        if (at == NULL)
            return NULL;
    }
    return at;
}

bool till_match_at(till_match_t *match, const char *at)
{
    assert(at >= match->begin && at <= match->end && at != NULL);
    match->found = at;
    match->found_end = fit(match, 0, at);
    return match->found_end != NULL;
}

bool till_match_search(till_match_t *match, const char *at)
{
    for (;; ++at) {
        if (till_match_at(match, at))
            return true;
        if (at == match->end || match->pattern->is_anchored)
            return false;
    }
}
