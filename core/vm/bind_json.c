/* bind_json.c - JSON to tables and back; see lua/till/prim/json.lua.
 *
 * The writer sorts keys, so that equal values give equal bytes. The buffers of
 * both directions belong to the VM: an error thrown half way leaks nothing.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "vm/vm_priv.h"

#define KEEP_MAX (256 * 1024)
#define FEW_KEYS 48 /* Lua's stack has room for their values, 64 objects deep */

/* ---- encode ------------------------------------------------------------------- */

static const char raw_mark; /* its address keys the metatable of json.raw */

struct key {
    const char *base; /* the table holds the string */
    size_t len;
    int at; /* where the value is on the stack; 0: look it up */
};

static int by_bytes(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    int order = memcmp(x->base, y->base, x->len < y->len ? x->len : y->len);

    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

static void encode(lua_State *L, int index, till_buf_t *buf, unsigned depth);

static void encode_number(lua_State *L, int index, till_buf_t *buf)
{
    lua_Number n = lua_tonumber(L, index);

    if (isnan(n) || isinf(n))
        luaL_error(L, "json.encode: a number is not finite");
    till_json_write_number(buf, n);
}

static void encode_array(lua_State *L, int index, till_buf_t *buf, unsigned depth)
{
    size_t n = lua_objlen(L, index), seen = 0;

    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1))
        ++seen;
    if (seen != n)
        luaL_error(L, "json.encode: an array has holes or other keys");
    till_buf_putc(buf, '[');
    for (size_t i = 1; i <= n; ++i) {
        if (i != 1)
            till_buf_putc(buf, ',');
        lua_rawgeti(L, index, (int)i);
        encode(L, lua_gettop(L), buf, depth);
        lua_pop(L, 1);
    }
    till_buf_putc(buf, ']');
}

static void check_key(lua_State *L)
{
    if (lua_type(L, -2) != LUA_TSTRING)
        luaL_error(L, "json.encode: a key of an object is a %s", luaL_typename(L, -2));
}

static size_t count_keys(lua_State *L, int index)
{
    size_t n = 0;

    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1), ++n)
        check_key(L);
    return n;
}

/* Few keys, as nearly all objects have, are sorted where they are put. */
static void put_sorted(struct key *keys, size_t n, struct key key)
{
    for (; n != 0 && by_bytes(&keys[n - 1], &key) > 0; --n)
        keys[n] = keys[n - 1];
    keys[n] = key;
}

/** Few values stay on the stack, so that none is looked up again. @return how many, or SIZE_MAX where they are not few
 * and the stack is to be cleared [-0, +n] */
static size_t take_few(lua_State *L, int index, struct key *keys)
{
    size_t i = 0;
    int at = lua_gettop(L);

    for (lua_pushnil(L); lua_next(L, index) != 0; ++i) {
        struct key key = {.at = ++at};
        check_key(L);
        if (i == FEW_KEYS)
            return SIZE_MAX;
        key.base = lua_tolstring(L, -2, &key.len);
        lua_insert(L, -2); /* the value takes the key's place, the key goes on top */
        put_sorted(keys, i, key);
    }
    return i;
}

/** In a buffer that Lua owns. [-0, +1] */
static struct key *take_many(lua_State *L, int index, size_t n)
{
    struct key *keys = lua_newuserdata(L, n * sizeof(*keys));
    size_t i = 0;

    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1), ++i) {
        keys[i].base = lua_tolstring(L, -2, &keys[i].len);
        keys[i].at = 0;
    }
    qsort(keys, n, sizeof(*keys), by_bytes);
    return keys;
}

static void encode_value(lua_State *L, int index, const struct key *key, till_buf_t *buf, unsigned depth)
{
    if (key->at != 0) {
        encode(L, key->at, buf, depth);
        return;
    }
    lua_pushlstring(L, key->base, key->len);
    lua_rawget(L, index);
    encode(L, lua_gettop(L), buf, depth);
    lua_pop(L, 1);
}

static void encode_object(lua_State *L, int index, till_buf_t *buf, unsigned depth)
{
    int top = lua_gettop(L);
    struct key few[FEW_KEYS], *keys = few;

    luaL_checkstack(L, FEW_KEYS + 8, "json.encode");
    size_t n = take_few(L, index, few);
    if (n == SIZE_MAX) {
        lua_settop(L, top);
        n = count_keys(L, index);
        keys = take_many(L, index, n);
    }
    till_buf_putc(buf, '{');
    for (size_t i = 0; i != n; ++i) {
        if (i != 0)
            till_buf_putc(buf, ',');
        till_json_write_string(buf, keys[i].base, keys[i].len);
        till_buf_putc(buf, ':');
        encode_value(L, index, &keys[i], buf, depth);
    }
    till_buf_putc(buf, '}');
    lua_settop(L, top);
}

static bool is_array(lua_State *L, int index, bool has_meta)
{
    bool is;

    lua_rawgeti(L, index, 1);
    is = !lua_isnil(L, -1);
    lua_pop(L, 1);
    if (is || !has_meta)
        return is;
    lua_getmetatable(L, index);
    lua_rawgeti(L, LUA_REGISTRYINDEX, till_vm_of(L)->array_meta_ref);
    is = lua_rawequal(L, -1, -2) != 0;
    lua_pop(L, 2);
    return is;
}

/** Of what l_raw made; its metatable is on top. [-1, +0] @return whether it was */
static bool encode_raw(lua_State *L, int index, till_buf_t *buf)
{
    size_t len;
    const char *text;
    bool is;

    lua_pushlightuserdata(L, (void *)&raw_mark);
    lua_rawget(L, LUA_REGISTRYINDEX);
    is = lua_rawequal(L, -1, -2) != 0;
    lua_pop(L, 2);
    if (!is)
        return false;
    lua_rawgeti(L, index, 1);
    text = lua_tolstring(L, -1, &len);
    till_buf_append(buf, text, len);
    lua_pop(L, 1);
    return true;
}

static void encode_table(lua_State *L, int index, till_buf_t *buf, unsigned depth)
{
    bool has_meta = lua_getmetatable(L, index) != 0;

    if (has_meta && encode_raw(L, index, buf))
        return;
    if (depth == TILL_JSON_DEPTH)
        luaL_error(L, "json.encode: nested deeper than %d, or a cycle", TILL_JSON_DEPTH);
    luaL_checkstack(L, 8, "json.encode");
    if (is_array(L, index, has_meta))
        encode_array(L, index, buf, depth + 1);
    else
        encode_object(L, index, buf, depth + 1);
}

static void encode(lua_State *L, int index, till_buf_t *buf, unsigned depth)
{
    size_t len;
    const char *text;

    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        text = lua_tolstring(L, index, &len);
        till_json_write_string(buf, text, len);
        return;
    case LUA_TNUMBER:
        encode_number(L, index, buf);
        return;
    case LUA_TBOOLEAN:
        till_buf_puts(buf, lua_toboolean(L, index) ? "true" : "false");
        return;
    case LUA_TTABLE:
        encode_table(L, index, buf, depth);
        return;
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(L, index) == NULL) {
            till_buf_puts(buf, "null");
            return;
        }
        break;
    default:
        break;
    }
    luaL_error(L, "json.encode: a %s cannot be JSON", luaL_typename(L, index));
}

void till_json_encode(lua_State *L, int index, till_buf_t *buf) { encode(L, index, buf, 0); }

static int l_encode(lua_State *L)
{
    till_buf_t *buf = &till_vm_of(L)->scratch;

    luaL_checkany(L, 1);
    lua_settop(L, 1);
    till_buf_clear(buf);
    encode(L, 1, buf, 0);
    lua_pushlstring(L, buf->base, buf->len);
    if (buf->len > KEEP_MAX)
        till_buf_dispose(buf);
    return 1;
}

/* Text that is JSON already, for encode to put in as it is. */
static int l_raw(lua_State *L)
{
    luaL_checkstring(L, 1);
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    lua_pushlightuserdata(L, (void *)&raw_mark);
    lua_rawget(L, LUA_REGISTRYINDEX);
    lua_setmetatable(L, -2);
    return 1;
}

/* ---- decode --------------------------------------------------------------------- */

static const char *decode(lua_State *L, till_json_reader_t *reader, till_json_token_t token);

/** [-0, +1]; on a fault what it left on the stack is dropped by decode_document. @return NULL or the fault */
static const char *decode_object(lua_State *L, till_json_reader_t *reader)
{
    till_json_token_t token;
    const char *fault;

    lua_newtable(L);
    while ((token = till_json_next(reader)) == TILL_JSON_KEY) {
        lua_pushlstring(L, reader->text, reader->len);
        lua_pushvalue(L, -1);
        lua_rawget(L, -3);
        if (!lua_isnil(L, -1))
            return "a key comes twice in one object";
        lua_pop(L, 1);
        if ((fault = decode(L, reader, till_json_next(reader))) != NULL)
            return fault;
        lua_rawset(L, -3);
    }
    return token == TILL_JSON_OBJECT_END ? NULL : reader->error;
}

static const char *decode_array(lua_State *L, till_json_reader_t *reader)
{
    till_json_token_t token;
    const char *fault;

    lua_newtable(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, till_vm_of(L)->array_meta_ref);
    lua_setmetatable(L, -2);
    for (int i = 1; (token = till_json_next(reader)) != TILL_JSON_ARRAY_END; ++i) {
        if ((fault = decode(L, reader, token)) != NULL)
            return fault;
        lua_rawseti(L, -2, i);
    }
    return NULL;
}

static const char *decode(lua_State *L, till_json_reader_t *reader, till_json_token_t token)
{
    luaL_checkstack(L, 8, "json.decode");
    switch (token) {
    case TILL_JSON_NULL:
        lua_pushlightuserdata(L, NULL);
        return NULL;
    case TILL_JSON_TRUE:
    case TILL_JSON_FALSE:
        lua_pushboolean(L, token == TILL_JSON_TRUE);
        return NULL;
    case TILL_JSON_NUMBER:
        lua_pushnumber(L, reader->number);
        return NULL;
    case TILL_JSON_STRING:
        lua_pushlstring(L, reader->text, reader->len);
        return NULL;
    case TILL_JSON_OBJECT_BEGIN:
        return decode_object(L, reader);
    case TILL_JSON_ARRAY_BEGIN:
        return decode_array(L, reader);
    default:
        return reader->error != NULL ? reader->error : "it ends too early";
    }
}

static int decode_document(lua_State *L, bool no_cards)
{
    till_vm_t *vm = till_vm_of(L);
    till_slice_t text = till_check_slice(L, 1);
    const char *fault;

    if (vm->reader_open)
        till_json_reader_dispose(&vm->reader);
    till_json_reader_init(&vm->reader, text.base, text.len);
    vm->reader_open = true;
    vm->reader.no_cards = no_cards;
    fault = decode(L, &vm->reader, till_json_next(&vm->reader));
    if (fault == NULL && till_json_next(&vm->reader) != TILL_JSON_END)
        fault = vm->reader.error;
    size_t at = vm->reader.error != NULL ? vm->reader.at : (size_t)(vm->reader._p - (const char *)text.base);
    till_json_reader_dispose(&vm->reader);
    vm->reader_open = false;
    if (fault == NULL)
        return 1;
    till_push_failure(L, vm->reader.is_card ? TILL_CARD_NUMBER : TILL_MALFORMED_JSON, fault);
    lua_pushnumber(L, (lua_Number)at);
    lua_setfield(L, -2, "offset");
    return 2;
}

static int l_decode(lua_State *L) { return decode_document(L, false); }

static int l_decode_foreign(lua_State *L) { return decode_document(L, true); }

static const luaL_Reg functions[] = {
    {"encode", l_encode}, {"decode", l_decode}, {"decode_foreign", l_decode_foreign}, {"raw", l_raw}, {NULL, NULL},
};

int till_bind_json(lua_State *L)
{
    till_vm_t *vm = till_vm_of(L);

    lua_pushlightuserdata(L, (void *)&raw_mark);
    lua_newtable(L);
    lua_rawset(L, LUA_REGISTRYINDEX);
    till_bind(L, functions);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    lua_newtable(L);
    lua_pushvalue(L, -1);
    vm->array_meta_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_setfield(L, -2, "array_mt");
    return 1;
}
