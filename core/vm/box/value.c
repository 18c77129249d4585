/* value.c - Lua values to bytes and back; see wire.h. */
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include "base/utf8.h"
#include "vm/box/wire.h"

enum tag { TAG_NIL, TAG_FALSE, TAG_TRUE, TAG_NUMBER, TAG_STRING, TAG_ARRAY, TAG_MAP };

#define KEY_MAX 255
#define KEYS 128 /* that come once; further ones stand each time */
#define NEW_KEY 0xff
#define WHOLE_MAX 9007199254740992.0
#define STACK_NEEDED 8

/* ---- to bytes ------------------------------------------------------------------ */

struct writer {
    lua_State *L;
    till_buf_t *out;
    bool is_answer; /* of a rule, which is not trusted */
    unsigned depth;
    const char *keys[KEYS]; /* by address: one string is one object of Lua's */
    unsigned key_count;
};

static const char *put(struct writer *w, int index);

static void put_tag(struct writer *w, enum tag tag) { till_buf_putc(w->out, (char)tag); }

static const char *put_number(struct writer *w, int index)
{
    double n = lua_tonumber(w->L, index);

    if (!isfinite(n))
        return "a number that is not finite";
    if (w->is_answer && (n != trunc(n) || fabs(n) > WHOLE_MAX))
        return "a number that is not whole: give decimals as text";
    n += 0.0; /* no -0 */
    put_tag(w, TAG_NUMBER);
    till_buf_append(w->out, &n, sizeof(n));
    return NULL;
}

static const char *put_string(struct writer *w, int index)
{
    size_t len;
    const char *text = lua_tolstring(w->L, index, &len);

    if (w->is_answer && len > TILL_WIRE_STRING_MAX)
        return "a text of more than 4096 bytes";
    if (w->is_answer && !till_utf8_is_valid(text, len))
        return "a text that is not UTF-8";
    if (len > TILL_WIRE_REQUEST_MAX)
        return "a text that is too long";
    put_tag(w, TAG_STRING);
    till_wire_put_piece(w->out, text, len);
    return NULL;
}

static const char *put_key(struct writer *w, int index)
{
    size_t len;
    const char *text;

    if (lua_type(w->L, index) != LUA_TSTRING)
        return "a table whose keys are neither names nor 1, 2, 3 and so on";
    text = lua_tolstring(w->L, index, &len);
    for (unsigned i = 0; i != w->key_count; ++i) {
        if (w->keys[i] == text) {
            till_buf_putc(w->out, (char)i);
            return NULL;
        }
    }
    if (len > KEY_MAX || (w->is_answer && !till_utf8_is_valid(text, len)))
        return "a key that is no short text";
    if (w->key_count != KEYS)
        w->keys[w->key_count++] = text;
    till_buf_putc(w->out, (char)NEW_KEY);
    till_buf_putc(w->out, (char)len);
    till_buf_append(w->out, text, len);
    return NULL;
}

static const char *put_array(struct writer *w, int index, size_t n)
{
    const char *fault = NULL;

    put_tag(w, TAG_ARRAY);
    till_wire_put_u32(w->out, (uint32_t)n);
    for (size_t i = 1; i <= n && fault == NULL; ++i) {
        lua_rawgeti(w->L, index, (int)i);
        fault = lua_isnil(w->L, -1) ? "a list with gaps" : put(w, lua_gettop(w->L));
        lua_pop(w->L, 1);
    }
    return fault;
}

static const char *put_map(struct writer *w, int index)
{
    const char *fault = NULL;
    uint32_t n = 0;

    put_tag(w, TAG_MAP);
    till_wire_put_u32(w->out, 0);
    size_t at = w->out->len - sizeof(n);
    lua_pushnil(w->L);
    while (fault == NULL && lua_next(w->L, index) != 0) {
        int top = lua_gettop(w->L);
        fault = put_key(w, top - 1);
        if (fault == NULL)
            fault = put(w, top);
        ++n;
        lua_settop(w->L, top - 1);
    }
    if (!w->out->overflowed)
        memcpy(w->out->base + at, &n, sizeof(n));
    return fault;
}

/* Exactly 1 to n, where it begins with 1. */
static bool is_list(struct writer *w, int index, size_t n)
{
    size_t seen = 0;

    for (lua_pushnil(w->L); lua_next(w->L, index) != 0; lua_pop(w->L, 1))
        ++seen;
    return seen == n;
}

static const char *put_table(struct writer *w, int index)
{
    const char *fault;
    size_t n = lua_objlen(w->L, index);

    if (w->depth == (w->is_answer ? TILL_WIRE_ANSWER_DEPTH : TILL_WIRE_DEPTH))
        return "tables within one another too deep, or a table in itself";
    if (!lua_checkstack(w->L, STACK_NEEDED))
        return "too much";
    if (w->is_answer && lua_getmetatable(w->L, index))
        return "a table with a metatable";
    ++w->depth;
    if (n != 0)
        fault = is_list(w, index, n) ? put_array(w, index, n) : "a list with gaps, or with names beside it";
    else
        fault = put_map(w, index);
    --w->depth;
    return fault;
}

static const char *put(struct writer *w, int index)
{
    switch (lua_type(w->L, index)) {
    case LUA_TNIL:
        put_tag(w, TAG_NIL);
        return NULL;
    case LUA_TBOOLEAN:
        put_tag(w, lua_toboolean(w->L, index) ? TAG_TRUE : TAG_FALSE);
        return NULL;
    case LUA_TNUMBER:
        return put_number(w, index);
    case LUA_TSTRING:
        return put_string(w, index);
    case LUA_TTABLE:
        return put_table(w, index);
    case LUA_TLIGHTUSERDATA:
        if (w->is_answer || lua_touserdata(w->L, index) != NULL)
            return "a value of C's";
        put_tag(w, TAG_NIL); /* JSON's null */
        return NULL;
    default:
        return "a function or another value that is no data";
    }
}

static const char *begin(lua_State *L, int index, till_buf_t *out, bool is_answer)
{
    struct writer w = {.L = L, .out = out, .is_answer = is_answer};
    int top = lua_gettop(L);
    const char *fault = put(&w, index);

    lua_settop(L, top);
    return fault != NULL ? fault : out->overflowed ? "more than can be taken" : NULL;
}

const char *till_wire_put_input(lua_State *L, int index, till_buf_t *out) { return begin(L, index, out, false); }

const char *till_wire_put_answer(lua_State *L, int index, till_buf_t *out) { return begin(L, index, out, true); }

/* ---- from bytes ----------------------------------------------------------------- */

struct reader {
    lua_State *L;
    till_wire_t *wire;
    bool is_answer;
    unsigned depth, key_count;
    int keys; /* where the table of keys is */
};

static void push(struct reader *r);

static void push_bad(struct reader *r)
{
    r->wire->is_bad = true;
    lua_pushnil(r->L);
}

static void push_number(struct reader *r)
{
    double n;

    till_wire_take(r->wire, &n, sizeof(n));
    if (!isfinite(n) || (r->is_answer && (n != trunc(n) || fabs(n) > WHOLE_MAX)))
        push_bad(r);
    else
        lua_pushnumber(r->L, n + 0.0);
}

static void push_string(struct reader *r)
{
    uint32_t len = till_wire_u32(r->wire);
    const char *text = till_wire_bytes(r->wire, len);

    if (r->wire->is_bad || (r->is_answer && (len > TILL_WIRE_STRING_MAX || !till_utf8_is_valid(text, len))))
        push_bad(r);
    else
        lua_pushlstring(r->L, text, len);
}

static void push_key(struct reader *r)
{
    uint8_t which = till_wire_u8(r->wire);

    if (which != NEW_KEY) {
        lua_rawgeti(r->L, r->keys, which + 1);
        if (which >= r->key_count)
            r->wire->is_bad = true;
        return;
    }
    uint8_t len = till_wire_u8(r->wire);
    const char *text = till_wire_bytes(r->wire, len);
    if (r->wire->is_bad || (r->is_answer && !till_utf8_is_valid(text, len))) {
        push_bad(r);
        return;
    }
    lua_pushlstring(r->L, text, len);
    if (r->key_count == KEYS)
        return;
    lua_pushvalue(r->L, -1);
    lua_rawseti(r->L, r->keys, (int)++r->key_count);
}

/* Each value takes a byte at least, so a count is never more than what is left. */
static uint32_t take_count(struct reader *r)
{
    uint32_t n = till_wire_u32(r->wire);

    if (n <= (size_t)(r->wire->end - r->wire->at))
        return n;
    r->wire->is_bad = true;
    return 0;
}

static void push_array(struct reader *r)
{
    uint32_t n = take_count(r);

    lua_createtable(r->L, (int)n, 0);
    for (uint32_t i = 1; i <= n && !r->wire->is_bad; ++i) {
        push(r);
        lua_rawseti(r->L, -2, (int)i);
    }
}

static void push_map(struct reader *r)
{
    uint32_t n = take_count(r);

    lua_createtable(r->L, 0, (int)n);
    for (uint32_t i = 0; i != n && !r->wire->is_bad; ++i) {
        push_key(r);
        if (r->wire->is_bad) {
            lua_pop(r->L, 1);
            return;
        }
        push(r);
        lua_rawset(r->L, -3);
    }
}

static void push_table(struct reader *r, bool is_array)
{
    if (r->depth == (r->is_answer ? TILL_WIRE_ANSWER_DEPTH : TILL_WIRE_DEPTH) || !lua_checkstack(r->L, STACK_NEEDED)) {
        push_bad(r);
        return;
    }
    ++r->depth;
    if (is_array)
        push_array(r);
    else
        push_map(r);
    --r->depth;
}

static void push(struct reader *r)
{
    uint8_t tag = till_wire_u8(r->wire);

    switch (r->wire->is_bad ? TAG_NIL : tag) {
    case TAG_NIL:
        lua_pushnil(r->L);
        break;
    case TAG_FALSE:
    case TAG_TRUE:
        lua_pushboolean(r->L, tag == TAG_TRUE);
        break;
    case TAG_NUMBER:
        push_number(r);
        break;
    case TAG_STRING:
        push_string(r);
        break;
    case TAG_ARRAY:
    case TAG_MAP:
        push_table(r, tag == TAG_ARRAY);
        break;
    default:
        push_bad(r);
    }
}

bool till_wire_push(lua_State *L, till_wire_t *wire, bool is_answer)
{
    struct reader r = {.L = L, .wire = wire, .is_answer = is_answer};

    lua_checkstack(L, STACK_NEEDED);
    lua_newtable(L);
    r.keys = lua_gettop(L);
    push(&r);
    lua_remove(L, r.keys);
    return !wire->is_bad && wire->at == wire->end;
}
