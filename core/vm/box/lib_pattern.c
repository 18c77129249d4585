/* lib_pattern.c - find, match, gmatch and gsub over match.h. */
#include "vm/box/match.h"
#include "vm/box/sandbox.h"

static void read_pattern(lua_State *L, int index, till_pattern_t *pattern, bool may_anchor)
{
    size_t len;
    const char *text = luaL_checklstring(L, index, &len);
    const char *fault = till_pattern_read(pattern, text, len, may_anchor);

    if (fault != NULL)
        luaL_error(L, "%s", fault);
}

static void begin(lua_State *L, int index, till_match_t *match, const till_pattern_t *pattern)
{
    size_t len;

    match->pattern = pattern;
    match->begin = luaL_checklstring(L, index, &len);
    match->end = match->begin + len;
}

/** Where to begin, as an offset. */
static size_t start_of(lua_State *L, int index, size_t len)
{
    lua_Number at = luaL_optnumber(L, index, 1);

    if (at < 0)
        at += (lua_Number)len + 1;
    if (!(at > 1))
        return 0;
    return at > (lua_Number)len ? len : (size_t)at - 1;
}

static void push_capture(lua_State *L, const till_match_t *match, unsigned i)
{
    const till_capture_t *capture = &match->captures[i];

    if (i == 0 && match->pattern->captures == 0)
        lua_pushlstring(L, match->found, (size_t)(match->found_end - match->found));
    else if (i >= match->pattern->captures)
        luaL_error(L, "invalid capture index");
    else if (capture->is_position)
        lua_pushinteger(L, capture->base - match->begin + 1);
    else
        lua_pushlstring(L, capture->base, capture->len);
}

/** All captures, or the whole where there is none. @return how many */
static int push_captures(lua_State *L, const till_match_t *match, bool or_whole)
{
    unsigned n = match->pattern->captures;

    if (n == 0 && or_whole)
        n = 1;
    luaL_checkstack(L, TILL_MATCH_CAPTURES, "captures");
    for (unsigned i = 0; i != n; ++i)
        push_capture(L, match, i);
    return (int)n;
}

static int find_plainly(lua_State *L, size_t start)
{
    size_t len, what_len;
    const char *text = lua_tolstring(L, 1, &len), *what = luaL_checklstring(L, 2, &what_len);

    till_sandbox_charge(len / 8);
    const char *found = memmem(text + start, len - start, what, what_len);
    if (found == NULL)
        return 0;
    lua_pushinteger(L, found - text + 1);
    lua_pushinteger(L, found - text + (lua_Integer)what_len);
    return 2;
}

static int search(lua_State *L, bool is_find)
{
    till_pattern_t pattern;
    till_match_t match;
    size_t start, len;

    luaL_checklstring(L, 1, &len);
    luaL_checkstring(L, 2);
    start = start_of(L, 3, len);
    if (is_find && lua_toboolean(L, 4))
        return find_plainly(L, start);
    read_pattern(L, 2, &pattern, true);
    begin(L, 1, &match, &pattern);
    if (!till_match_search(&match, match.begin + start))
        return 0;
    if (!is_find)
        return push_captures(L, &match, true);
    lua_pushinteger(L, match.found - match.begin + 1);
    lua_pushinteger(L, match.found_end - match.begin);
    return 2 + push_captures(L, &match, false);
}

/* nil, as Lua says it */
static int or_nil(lua_State *L, int results)
{
    if (results == 0) {
        lua_pushnil(L);
        return 1;
    }
    return results;
}

static int l_find(lua_State *L) { return or_nil(L, search(L, true)); }

static int l_match(lua_State *L) { return or_nil(L, search(L, false)); }

/* Upvalues: the text, the pattern, where to go on. */
static int l_gmatch_step(lua_State *L)
{
    till_pattern_t pattern;
    till_match_t match;

    read_pattern(L, lua_upvalueindex(2), &pattern, false);
    begin(L, lua_upvalueindex(1), &match, &pattern);
    size_t at = (size_t)lua_tointeger(L, lua_upvalueindex(3));
    if (at > (size_t)(match.end - match.begin) || !till_match_search(&match, match.begin + at))
        return 0;
    size_t next = (size_t)(match.found_end - match.begin) + (match.found_end == match.found);
    lua_pushinteger(L, (lua_Integer)next);
    lua_replace(L, lua_upvalueindex(3));
    return push_captures(L, &match, true);
}

static int l_gmatch(lua_State *L)
{
    luaL_checkstring(L, 1);
    luaL_checkstring(L, 2);
    lua_settop(L, 2);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, l_gmatch_step, 3);
    return 1;
}

/* ---- gsub ------------------------------------------------------------------------------------ */

static void add_template(lua_State *L, luaL_Buffer *out, const till_match_t *match)
{
    size_t len;
    const char *text = lua_tolstring(L, 3, &len);

    for (size_t i = 0; i < len; ++i) {
        till_sandbox_charge(1);
        char digit = text[i] == '%' && i + 1 < len ? text[++i] : '\0';
        if (digit == '0') {
            luaL_addlstring(out, match->found, (size_t)(match->found_end - match->found));
        } else if (digit >= '1' && digit <= '9') {
            push_capture(L, match, (unsigned)(digit - '1'));
            luaL_addvalue(out);
        } else {
            luaL_addchar(out, text[i]);
        }
    }
}

/** What the table or the function says instead. [-0, +1] */
static void push_instead(lua_State *L, const till_match_t *match)
{
    if (lua_type(L, 3) == LUA_TTABLE) {
        push_capture(L, match, 0);
        lua_rawget(L, 3);
    } else {
        lua_pushvalue(L, 3);
        till_sandbox_call(L, push_captures(L, match, true), 1);
    }
}

static void add_instead(lua_State *L, luaL_Buffer *out, const till_match_t *match)
{
    if (lua_isstring(L, 3)) {
        add_template(L, out, match);
        return;
    }
    push_instead(L, match);
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        lua_pushlstring(L, match->found, (size_t)(match->found_end - match->found));
    } else if (!lua_isstring(L, -1)) {
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    }
    luaL_addvalue(out);
}

static int replace_all(lua_State *L, till_match_t *match, const till_pattern_t *pattern, lua_Number most)
{
    const char *at = match->begin;
    int n = 0;
    luaL_Buffer out;

    luaL_buffinit(L, &out);
    while (n < most) {
        till_sandbox_charge(1);
        bool is_found = till_match_at(match, at);
        if (is_found) {
            ++n;
            add_instead(L, &out, match);
        }
        if (is_found && match->found_end > at)
            at = match->found_end;
        else if (at < match->end)
            luaL_addchar(&out, *at++);
        else
            break;
        if (pattern->is_anchored)
            break;
    }
    luaL_addlstring(&out, at, (size_t)(match->end - at));
    luaL_pushresult(&out);
    lua_pushinteger(L, n);
    return 2;
}

static int l_gsub(lua_State *L)
{
    till_pattern_t pattern;
    till_match_t match;
    int kind = lua_type(L, 3);

    luaL_argcheck(L, kind == LUA_TNUMBER || kind == LUA_TSTRING || kind == LUA_TTABLE || kind == LUA_TFUNCTION, 3,
                  "string/function/table expected");
    lua_Number most = luaL_optnumber(L, 4, 1e9);
    lua_settop(L, 3);
    read_pattern(L, 2, &pattern, true);
    begin(L, 1, &match, &pattern);
    return replace_all(L, &match, &pattern, most);
}

static const luaL_Reg functions[] = {
    {"find", l_find}, {"match", l_match}, {"gmatch", l_gmatch}, {"gsub", l_gsub}, {NULL, NULL}};

void till_sandbox_patterns(lua_State *L) { luaL_register(L, NULL, functions); }
