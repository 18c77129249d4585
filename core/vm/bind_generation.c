/* bind_generation.c - generations as files of this machine, and asking the master; see lua/till/prim/generation.lua. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/version.h"
#include "vm/vm_priv.h"

#define ASK_MS 90000

static const char *var_dir_of(lua_State *L)
{
    const char *dir = till_vm_env_of(L)->var_dir;

    if (dir == NULL)
        luaL_error(L, "there is no folder for generations in this process");
    return dir;
}

static size_t count_fields(lua_State *L, int index)
{
    size_t n = 0;

    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1))
        ++n;
    return n;
}

/* Of the table path → text at 1. The entries are memory of Lua's, and the texts stay in the table. */
static till_bundle_t *make_bundle(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    size_t count = count_fields(L, 1), n = 0;
    till_bundle_entry_t *entries = lua_newuserdata(L, (count + 1) * sizeof(*entries));

    for (lua_pushnil(L); lua_next(L, 1) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "a generation's files are texts by their paths");
        entries[n].path = lua_tostring(L, -2);
        entries[n].content.base = lua_tolstring(L, -1, &entries[n].content.len);
        ++n;
    }
    return till_bundle_make(entries, n);
}

static void copy_name(char out[2 * TILL_SHA256_LEN + 1], const till_bundle_t *bundle)
{
    memcpy(out, till_bundle_name(bundle), 2 * TILL_SHA256_LEN + 1);
}

static int l_name(lua_State *L)
{
    char name[2 * TILL_SHA256_LEN + 1];
    till_bundle_t *bundle = make_bundle(L);

    copy_name(name, bundle);
    till_bundle_destroy(bundle);
    lua_pushstring(L, name);
    return 1;
}

static int l_save(lua_State *L)
{
    char name[2 * TILL_SHA256_LEN + 1];
    const char *dir = var_dir_of(L);
    till_bundle_t *bundle = make_bundle(L);

    copy_name(name, bundle);
    int failure = till_bundle_save(bundle, dir);
    till_bundle_destroy(bundle);
    if (failure == 0) {
        lua_pushstring(L, name);
        return 1;
    }
    lua_pushnil(L);
    lua_pushfstring(L, "%s/generations cannot be written: %s", dir, strerror(failure));
    return 2;
}

static int push_files(lua_State *L)
{
    const till_bundle_t *bundle = lua_touserdata(L, 1);
    const char *path;
    till_slice_t content;

    lua_newtable(L);
    for (size_t i = 0; (path = till_bundle_path(bundle, i)) != NULL; ++i) {
        if (till_bundle_file(bundle, path, &content)) {
            lua_pushlstring(L, content.base, content.len);
            lua_setfield(L, -2, path);
        }
    }
    return 1;
}

static int l_read(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1), *dir = var_dir_of(L);
    char error[512];

    lua_pushcfunction(L, push_files);
    till_bundle_t *bundle = till_bundle_load(dir, name, error, sizeof(error));
    if (bundle == NULL) {
        lua_pushnil(L);
        lua_pushstring(L, error);
        return 2;
    }
    lua_pushlightuserdata(L, bundle);
    int rc = lua_pcall(L, 1, 1, 0);
    till_bundle_destroy(bundle);
    return rc == 0 ? 1 : lua_error(L);
}

static int l_has(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1), *dir = var_dir_of(L);
    char error[512];
    till_bundle_t *bundle = till_bundle_load(dir, name, error, sizeof(error));

    till_bundle_destroy(bundle);
    lua_pushboolean(L, bundle != NULL);
    return 1;
}

/* ---- asking the master -------------------------------------------------------------- */

static void on_answer(void *data, till_status_t status, const char *text, size_t len)
{
    till_co_t *co = data;

    if (status != TILL_OK) {
        till_co_fail(co, status, "the master has not answered");
        return;
    }
    lua_pushlstring(till_co_stack(co), text, len);
    till_co_resume(co, 1);
}

/* text | nil, err = ask(json [, ms]) */
static int l_ask(lua_State *L)
{
    till_slice_t command = till_check_slice(L, 1);
    const till_vm_env_t *env = till_vm_env_of(L);
    uint64_t ms = till_co_time_left(L, lua_isnoneornil(L, 2) ? ASK_MS : (uint64_t)luaL_checknumber(L, 2));
    till_op_t *op;

    till_co_check_yieldable(L, "generation.ask");
    till_co_t *co = till_co_of(L);
    if (till_co_refused(L, co))
        return 2;
    op = env->ask != NULL ? env->ask(env->data_of_ask, command, ms, on_answer, co) : NULL;
    if (op == NULL)
        return till_push_failure(L, TILL_UNAVAILABLE, "no server runs here that could change its generation");
    return till_co_park(co, L, op, 0);
}

/* The requests that this generation was asked since the last time. */
static int l_served(lua_State *L)
{
    till_vm_t *vm = till_vm_of(L);

    lua_pushnumber(L, (lua_Number)vm->served);
    vm->served = 0;
    return 1;
}

static int l_program(lua_State *L)
{
    lua_pushstring(L, till_version());
    return 1;
}

static const luaL_Reg functions[] = {{"name", l_name}, {"save", l_save},     {"read", l_read},       {"has", l_has},
                                     {"ask", l_ask},   {"served", l_served}, {"program", l_program}, {NULL, NULL}};

int till_bind_generation(lua_State *L) { return till_bind(L, functions); }
