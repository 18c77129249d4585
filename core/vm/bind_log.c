/* bind_log.c - log lines from Lua; see lua/till/prim/log.lua.
 *
 * A value that masks itself is a table {text, kind} with our metatable: what is
 * personal cannot be logged by a slip of type.
 */
#include <string.h>
#include "base/log.h"
#include "vm/vm_priv.h"

static void put_masked(till_log_t *line, const char *key, lua_State *L, int index)
{
    size_t len = 0;

    lua_rawgeti(L, index, 1);
    lua_rawgeti(L, index, 2);
    const char *text = lua_tolstring(L, -2, &len), *kind = lua_tostring(L, -1);
    if (text != NULL && kind != NULL && kind[0] == 'e')
        till_log_email(line, key, text, len);
    else if (text != NULL && kind != NULL && kind[0] == 'n')
        till_log_name(line, key, text, len);
    else if (text != NULL && kind != NULL && kind[0] == 'p')
        till_log_phone(line, key, text, len);
    else
        till_log_str(line, key, "(a table)");
    lua_pop(L, 2);
}

static void put(till_log_t *line, const char *key, lua_State *L, int index)
{
    size_t len;
    const char *text;
    lua_Number n;

    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        text = lua_tolstring(L, index, &len);
        till_log_strn(line, key, text, len);
        break;
    case LUA_TNUMBER:
        n = lua_tonumber(L, index);
        if (n >= -9e15 && n <= 9e15 && n == (lua_Number)(int64_t)n) {
            till_log_int(line, key, (int64_t)n);
        } else {
            lua_pushvalue(L, index);
            till_log_str(line, key, lua_tostring(L, -1));
            lua_pop(L, 1);
        }
        break;
    case LUA_TBOOLEAN:
        till_log_bool(line, key, lua_toboolean(L, index) != 0);
        break;
    case LUA_TTABLE:
        if (lua_getmetatable(L, index)) {
            lua_pop(L, 1);
            if (luaL_callmeta(L, index, "__tostring")) { /* an err object */
                text = lua_tolstring(L, -1, &len);
                till_log_strn(line, key, text != NULL ? text : "", text != NULL ? len : 0);
                lua_pop(L, 1);
                break;
            }
        }
        put_masked(line, key, L, index);
        break;
    default:
        till_log_str(line, key, luaL_typename(L, index));
    }
}

static int write_line(lua_State *L, till_log_level_t level)
{
    till_log_t line;
    const char *event = luaL_checkstring(L, 1);
    const till_trace_t *trace = till_co_trace(L);

    if (!lua_isnoneornil(L, 2))
        luaL_checktype(L, 2, LUA_TTABLE);
    till_log_begin(&line, level, event);
    if (trace != NULL) {
        till_log_str(&line, "trace_id", trace->trace_id);
        till_log_str(&line, "span_id", trace->span_id);
    }
    if (lua_istable(L, 2)) {
        for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1)) {
            if (lua_type(L, -2) == LUA_TSTRING)
                put(&line, lua_tostring(L, -2), L, lua_gettop(L));
        }
    }
    till_log_end(&line);
    return 0;
}

static int l_debug(lua_State *L) { return write_line(L, TILL_LOG_DEBUG); }

static int l_info(lua_State *L) { return write_line(L, TILL_LOG_INFO); }

static int l_warn(lua_State *L) { return write_line(L, TILL_LOG_WARN); }

static int l_error(lua_State *L) { return write_line(L, TILL_LOG_ERROR); }

static const luaL_Reg functions[] = {
    {"debug", l_debug}, {"info", l_info}, {"warn", l_warn}, {"error", l_error}, {NULL, NULL},
};

int till_bind_log(lua_State *L) { return till_bind(L, functions); }
