/* wire.h - what a worker and its box say to each other.
 *
 * Both ends are of one build, so numbers stand as the machine has them. A frame is
 * its length (u32, of what follows) and a body:
 *
 *   to the box    u8 what ('E' evaluate, 'C' check, 'P' probe), u8 forget, u32 exchange, u64 fuel and
 *                 u32 microseconds for each rule, u32 count; for each rule: u32 id, text, args; input
 *   from the box  u32 exchange, u32 count; for each rule: u8 code, u32 microseconds, u64 fuel,
 *                 value, or: u32 line, u32 column, message
 *
 * Texts, messages and values stand as u32 length and bytes. A rule's text comes
 * once; afterwards its length is TILL_WIRE_KNOWN. A check and a failed parse are
 * answered like an evaluation.
 *
 * A value is a tag and what belongs to it. Keys of maps come once in a value and
 * are then a number: a cart has the same twelve keys in each of its lines.
 *
 * Nothing that comes from the box is believed: whoever reads it checks lengths,
 * depth and numbers, for a box may be in the hands of the rule that it ran.
 */
#ifndef TILL_VM_BOX_WIRE_H
#define TILL_VM_BOX_WIRE_H

#include <lua.h>
#include <string.h>
#include "base/buf.h"
#include "base/hash.h"

enum {
    TILL_WIRE_REQUEST_MAX = 4 << 20,
    TILL_WIRE_ANSWER_MAX = 64 << 10, /* of one rule */
    TILL_WIRE_REPLY_MAX = 8 << 20,
    TILL_WIRE_TEXT_MAX = 64 << 10, /* a rule's */
    TILL_WIRE_RULES_MAX = 1000,
    TILL_WIRE_MESSAGE_MAX = 400,
    TILL_WIRE_DEPTH = 32,       /* of input and arguments */
    TILL_WIRE_ANSWER_DEPTH = 8, /* of an answer */
    TILL_WIRE_STRING_MAX = 4096 /* bytes of a string in an answer */
};
#define TILL_WIRE_KNOWN UINT32_MAX

/* How one rule ended. */
#define TILL_RULE_CODES(row)                                                                                           \
    row(VALUE, "value")                           /* it answered */                                                    \
        row(SYNTAX, "syntax")                     /* its text is not Lua */                                            \
        row(CONTRACT, "contract")                 /* its text returns no function */                                   \
        row(BUDGET, "budget")                     /* more instructions than allowed */                                 \
        row(DEADLINE, "deadline")                 /* more time than allowed */                                         \
        row(MEMORY, "memory") row(DEPTH, "depth") /* nested too deep */                                                \
        row(ERROR, "error")                       /* it threw */                                                       \
        row(ANSWER, "answer")                     /* what it returned is no data */                                    \
        row(CRASH, "crash")                       /* its box died */
typedef enum till_rule_code {
#define TILL_RULE_ENUM(symbol, name) TILL_RULE_##symbol,
    TILL_RULE_CODES(TILL_RULE_ENUM)
#undef TILL_RULE_ENUM
        TILL_RULE_CODE_COUNT
} till_rule_code_t;

/** "syntax", ...; a static string. */
const char *till_rule_code_name(till_rule_code_t code);

/* Memory that the box writes to and the worker reads: what it was at when it died. */
typedef struct till_box_page {
    volatile uint32_t exchange, rule; /* the first rule is 0 */
} till_box_page_t;

/* ---- reading bytes that may be anything ---- */

typedef struct till_wire {
    const char *at, *end;
    bool is_bad; /* it ended too soon, or held nonsense; everything read since is 0 */
} till_wire_t;

static inline void till_wire_take(till_wire_t *wire, void *out, size_t size)
{
    if (wire->is_bad || size > (size_t)(wire->end - wire->at)) {
        wire->is_bad = true;
        memset(out, 0, size);
        return;
    }
    memcpy(out, wire->at, size);
    wire->at += size;
}

static inline uint8_t till_wire_u8(till_wire_t *wire)
{
    uint8_t n;

    till_wire_take(wire, &n, sizeof(n));
    return n;
}

static inline uint32_t till_wire_u32(till_wire_t *wire)
{
    uint32_t n;

    till_wire_take(wire, &n, sizeof(n));
    return n;
}

static inline uint64_t till_wire_u64(till_wire_t *wire)
{
    uint64_t n;

    till_wire_take(wire, &n, sizeof(n));
    return n;
}

/** The next `len` bytes, borrowed; "" where they are not there. */
static inline const char *till_wire_bytes(till_wire_t *wire, size_t len)
{
    const char *bytes = wire->at;

    if (wire->is_bad || len > (size_t)(wire->end - wire->at)) {
        wire->is_bad = true;
        return "";
    }
    wire->at += len;
    return bytes;
}

/** A piece with a length of its own, to be read by itself. */
static inline till_wire_t till_wire_piece(till_wire_t *wire)
{
    uint32_t len = till_wire_u32(wire);
    const char *bytes = till_wire_bytes(wire, len);

    return (till_wire_t){bytes, wire->is_bad ? bytes : bytes + len, wire->is_bad};
}

/* ---- writing ---- */

static inline void till_wire_put_u32(till_buf_t *out, uint32_t n) { till_buf_append(out, &n, sizeof(n)); }

static inline void till_wire_put_u64(till_buf_t *out, uint64_t n) { till_buf_append(out, &n, sizeof(n)); }

static inline void till_wire_put_piece(till_buf_t *out, const char *bytes, size_t len)
{
    till_wire_put_u32(out, (uint32_t)len);
    till_buf_append(out, bytes, len);
}

/** Leaves room for a length. @return where, for till_wire_close */
static inline size_t till_wire_open(till_buf_t *out)
{
    till_wire_put_u32(out, 0);
    return out->len;
}

/** What was written since `at` has this length. */
static inline void till_wire_close(till_buf_t *out, size_t at)
{
    uint32_t len = (uint32_t)(out->len - at);

    if (!out->overflowed)
        memcpy(out->base + at - sizeof(len), &len, sizeof(len));
}

/* ---- values: value.c ---- */

/**
 * Appends the value at `index`, read without metamethods. A worker's own tables: JSON's null is nil, keys are strings
 * or 1 to n. @return NULL, or what is wrong with it [-0, +0]
 */
const char *till_wire_put_input(lua_State *L, int index, till_buf_t *out);
/** The same for what a rule returned, which has to be plain data: no metatables, whole finite numbers, short strings of
 * valid UTF-8. */
const char *till_wire_put_answer(lua_State *L, int index, till_buf_t *out);
/** Pushes a value that was put so. May throw for lack of memory. @return whether it was one [-0, +1] */
bool till_wire_push(lua_State *L, till_wire_t *wire, bool is_answer);

#endif
