/* bind_bundle.c - the generation's own files, data in Lua's syntax, the table of statuses. */
#include <stdio.h>
#include <string.h>
#include "base/data.h"
#include "vm/vm_priv.h"

static int l_read(lua_State *L)
{
    till_slice_t content;

    if (!till_bundle_file(till_vm_bundle_of(L), luaL_checkstring(L, 1), &content))
        return 0;
    lua_pushlstring(L, content.base, content.len);
    return 1;
}

static int l_list(lua_State *L)
{
    till_slice_t prefix = till_check_slice(L, 1);
    const till_bundle_t *bundle = till_vm_bundle_of(L);
    const char *path;
    int n = 0;

    lua_newtable(L);
    for (size_t i = 0; (path = till_bundle_path(bundle, i)) != NULL; ++i) {
        if (strncmp(path, prefix.base, prefix.len) == 0) {
            lua_pushstring(L, path);
            lua_rawseti(L, -2, ++n);
        }
    }
    return 1;
}

/* fn | nil, message = load(path [, env]): compiled, not run; `env` is what its globals are. */
static int l_load(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    till_slice_t content;

    if (!till_bundle_file(till_vm_bundle_of(L), path, &content)) {
        lua_pushnil(L);
        lua_pushfstring(L, "there is no file %s", path);
        return 2;
    }
    if (till_compile(L, content, path) != 0) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    if (lua_istable(L, 2)) {
        lua_pushvalue(L, 2);
        lua_setfenv(L, -2);
    }
    return 1;
}

/* "file:line: ..." of what took too much while it loaded, once; see vm/place.c. There is room for the text when the
 * garbage is gone. */
static int l_overrun(lua_State *L)
{
    till_vm_t *vm = till_vm_of(L);

    if (vm->overrun[0] == '\0')
        return 0;
    lua_gc(L, LUA_GCCOLLECT, 0);
    lua_pushstring(L, vm->overrun);
    if (!vm->out_of_time)
        vm->overrun[0] = '\0';
    return 1;
}

static const luaL_Reg bundle[] = {
    {"read", l_read}, {"list", l_list}, {"load", l_load}, {"overrun", l_overrun}, {NULL, NULL}};

int till_bind_bundle(lua_State *L) { return till_bind(L, bundle); }

/* ---- data ---------------------------------------------------------------------- */

static void push_reference(lua_State *L, const char *kind, const till_data_t *node)
{
    lua_createtable(L, 0, 1);
    lua_pushlstring(L, node->text, node->len);
    lua_setfield(L, -2, kind);
}

static void push_data(lua_State *L, const till_data_t *node)
{
    int n = 0;

    lua_checkstack(L, 6);
    switch (node->type) {
    case TILL_DATA_BOOL:
        lua_pushboolean(L, node->boolean);
        return;
    case TILL_DATA_NUMBER:
        lua_pushnumber(L, node->number);
        return;
    case TILL_DATA_STRING:
        lua_pushlstring(L, node->text, node->len);
        return;
    case TILL_DATA_ENV:
        push_reference(L, "$env", node);
        return;
    case TILL_DATA_FILE:
        push_reference(L, "$file", node);
        return;
    case TILL_DATA_TABLE:
        break;
    }
    lua_newtable(L);
    for (const till_data_t *child = node->child; child != NULL; child = child->next) {
        push_data(L, child);
        if (child->key != NULL)
            lua_setfield(L, -2, child->key);
        else
            lua_rawseti(L, -2, ++n);
    }
}

static int push_data_protected(lua_State *L)
{
    push_data(L, lua_touserdata(L, 1));
    return 1;
}

static int l_parse(lua_State *L)
{
    till_slice_t text = till_check_slice(L, 1);
    char error[256];

    lua_pushcfunction(L, push_data_protected);
    till_data_t *data = till_data_parse(text.base, text.len, error, sizeof(error));
    if (data == NULL) {
        lua_pushnil(L);
        lua_pushstring(L, error);
        return 2;
    }
    lua_pushlightuserdata(L, data);
    int rc = lua_pcall(L, 1, 1, 0);
    till_data_destroy(data);
    return rc == 0 ? 1 : lua_error(L);
}

static const luaL_Reg data[] = {{"parse", l_parse}, {NULL, NULL}};

int till_bind_data(lua_State *L) { return till_bind(L, data); }

/* ---- statuses -------------------------------------------------------------------- */

int till_bind_status(lua_State *L)
{
    lua_newtable(L);
    lua_createtable(L, 0, TILL_STATUS_COUNT);
    for (int status = 0; status != TILL_STATUS_COUNT; ++status) {
        lua_createtable(L, 0, 3);
        lua_pushboolean(L, till_status_is_retryable(status));
        lua_setfield(L, -2, "retryable");
        lua_pushinteger(L, till_status_http(status));
        lua_setfield(L, -2, "http");
        lua_pushstring(L, till_status_title(status));
        lua_setfield(L, -2, "title");
        lua_setfield(L, -2, till_status_code(status));
    }
    lua_setfield(L, -2, "table");
    return 1;
}
