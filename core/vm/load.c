/* load.c - what a generation's Lua sees: libraries, `require`, coroutines that can wait, locked globals.
 *
 * Modules come from the bundle and from nowhere else. C modules ("till.c.sql")
 * are there for lua/till/prim/ alone: everybody else goes through those thin
 * files, which are the manual.
 */
#include <lualib.h>
#include <stdio.h>
#include <string.h>
#include "vm/code.h"
#include "vm/vm_priv.h"

struct till_loading {
    const char *name;
    const struct till_loading *up;
};

/*
 * A binding that waits yields the coroutine that called it. When that is one of
 * Lua's own inside of a call, the yield has to travel up to the call: each
 * resume that sees the mark yields in turn, and hands down what it gets.
 * `blocked` is for a resume below something that cannot yield (a comparator).
 */
static const char prelude[] =
    "local MARK, can_wait, hold, native = ...\n"
    "local create, resume, yield, status = native.create, native.resume, native.yield, native.status\n"
    "local waiting = setmetatable({}, { __mode = 'k' })\n"
    "local relay\n"
    "local function wake(co, ...)\n"
    "  waiting[co] = nil\n"
    "  return relay(co, resume(co, ...))\n"
    "end\n"
    "function relay(co, ...)\n"
    "  local ok, mark = ...\n"
    "  if ok and mark == MARK then\n"
    "    waiting[co] = true\n"
    "    return wake(co, yield(MARK))\n"
    "  end\n"
    "  return ...\n"
    "end\n"
    "local function release(...) hold(-1) return ... end\n"
    "local function go(co, ...)\n"
    "  if waiting[co] then return false, 'cannot resume a coroutine that waits' end\n"
    "  if can_wait() then return relay(co, resume(co, ...)) end\n"
    "  hold(1)\n"
    "  return release(resume(co, ...))\n"
    "end\n"
    "local function raise(ok, ...)\n"
    "  if not ok then error((...), 0) end\n"
    "  return ...\n"
    "end\n"
    "local library = {}\n"
    "for name, fn in pairs(native) do library[name] = fn end\n"
    "library.resume = go\n"
    "function library.wrap(fn)\n"
    "  local co = create(fn)\n"
    "  return function(...) return raise(go(co, ...)) end\n"
    "end\n"
    "function library.status(co) return status(co) end\n"
    "return library\n";

static const char park_mark; /* its address marks a yield that a binding made */

const void *till_park_mark(void) { return &park_mark; }

/* ---- require ------------------------------------------------------------ */

static const char *const GONE[] = {"dofile",  "loadfile", "load",    "loadstring", "collectgarbage",
                                   "gcinfo",  "newproxy", "getfenv", "setfenv",    "module",
                                   "package", "io",       "os",      "ffi"};

/* "till.a.b" -> lua/till/a/b.lua or lua/till/a/b/init.lua; "plugins.x.handler" and "tests.support.x" as they stand. */
static bool find(const till_vm_t *vm, const char *name, char *path, size_t size, till_slice_t *content)
{
    const char *root = strncmp(name, "till.", 5) == 0 ? "lua/" : "";
    size_t len = strlen(root);

    if (len + strlen(name) + sizeof("/init.lua") > size)
        return false;
    memcpy(path, root, len);
    for (const char *p = name; *p != '\0'; ++p)
        path[len++] = *p == '.' ? '/' : *p;
    memcpy(path + len, ".lua", 5);
    if (till_bundle_file(vm->bundle, path, content))
        return true;
    memcpy(path + len, "/init.lua", 10);
    return till_bundle_file(vm->bundle, path, content);
}

/* Asked while the module loads: a tail call would hide the file from the stack. */
static bool asks_from_prim(const till_vm_t *vm)
{
    const char *name = vm->loading != NULL ? vm->loading->name : "";

    return strncmp(name, "till.prim.", 10) == 0 || strcmp(name, "till.util.err") == 0;
}

static int open_binding(lua_State *L, const char *name)
{
    const till_binding_t *binding = till_bindings;

    if (!asks_from_prim(till_vm_of(L)))
        return luaL_error(L, "%s is for lua/till/prim/ alone: require the till.prim module", name);
    while (binding->name != NULL && strcmp(binding->name, name) != 0)
        ++binding;
    if (binding->name == NULL)
        return luaL_error(L, "there is no module %s", name);
    if (binding->command_only && !till_vm_of(L)->env.is_command)
        return luaL_error(L, "%s is there in commands only", name);
    return binding->open(L);
}

static int cycle(lua_State *L, const struct till_loading *loading, const char *name)
{
    luaL_Buffer text;

    luaL_buffinit(L, &text);
    luaL_addstring(&text, name);
    for (; loading != NULL; loading = loading->up) {
        luaL_addstring(&text, " <- ");
        luaL_addstring(&text, loading->name);
        if (strcmp(loading->name, name) == 0)
            break;
    }
    luaL_pushresult(&text);
    return luaL_error(L, "require cycle: %s", lua_tostring(L, -1));
}

int till_compile(lua_State *L, till_slice_t content, const char *path)
{
    till_vm_t *vm = till_vm_of(L);
    char chunk[516];

    snprintf(chunk, sizeof(chunk), "@%s", path);
    vm->compiling = path;
    int rc = till_code_load(L, content.base, content.len, chunk);
    vm->compiling = NULL;
    return rc;
}

static void run_module(lua_State *L, till_vm_t *vm, const char *name)
{
    char path[512];
    till_slice_t content;
    const struct till_loading loading = {name, vm->loading};

    if (!find(vm, name, path, sizeof(path), &content))
        luaL_error(L, "there is no module %s", name);
    if (till_compile(L, content, path) != 0)
        lua_error(L);
    lua_pushstring(L, name);
    vm->loading = &loading;
    int rc = lua_pcall(L, 1, 1, 0);
    vm->loading = loading.up;
    if (rc != 0)
        lua_error(L);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
    }
}

static bool is_loading(const till_vm_t *vm, const char *name)
{
    for (const struct till_loading *l = vm->loading; l != NULL; l = l->up) {
        if (strcmp(l->name, name) == 0)
            return true;
    }
    return false;
}

void till_vm_require(lua_State *L, const char *name)
{
    till_vm_t *vm = till_vm_of(L);

    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->loaded_ref);
    lua_getfield(L, -1, name);
    if (!lua_isnil(L, -1)) {
        lua_remove(L, -2);
        return;
    }
    lua_pop(L, 1);
    if (is_loading(vm, name))
        cycle(L, vm->loading, name);
    if (strncmp(name, "till.c.", 7) == 0)
        open_binding(L, name);
    else
        run_module(L, vm, name);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, name);
    lua_remove(L, -2);
}

static int l_require(lua_State *L)
{
    till_vm_require(L, luaL_checkstring(L, 1));
    return 1;
}

/* ---- globals -------------------------------------------------------------- */

static int l_locked(lua_State *L)
{
    return luaL_error(L, "global \"%s\" is written: globals are locked, declare it local",
                      lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2));
}

static int l_can_wait(lua_State *L)
{
    const till_vm_t *vm = till_vm_of(L);

    lua_pushboolean(L, vm->current != NULL && vm->held == 0 && lua_isyieldable(L));
    return 1;
}

static int l_hold(lua_State *L)
{
    till_vm_t *vm = till_vm_of(L);

    vm->held = (unsigned)((int)vm->held + (int)luaL_checkinteger(L, 1));
    return 0;
}

static void open_library(lua_State *L, lua_CFunction open, const char *name)
{
    lua_pushcfunction(L, open);
    lua_pushstring(L, name);
    lua_call(L, 1, 0);
}

/* Of `debug` what reads a stack and nothing that reaches into another's locals. */
static void trim_debug(lua_State *L)
{
    lua_getglobal(L, "debug");
    lua_createtable(L, 0, 2);
    lua_getfield(L, -2, "traceback");
    lua_setfield(L, -2, "traceback");
    lua_getfield(L, -2, "getinfo");
    lua_setfield(L, -2, "getinfo");
    lua_setglobal(L, "debug");
    lua_pop(L, 1);
}

static void wrap_coroutines(lua_State *L)
{
    if (luaL_loadbufferx(L, prelude, sizeof(prelude) - 1, "=coroutine", "t") != 0)
        lua_error(L);
    lua_pushlightuserdata(L, (void *)till_park_mark());
    lua_pushcfunction(L, l_can_wait);
    lua_pushcfunction(L, l_hold);
    lua_getglobal(L, "coroutine");
    lua_call(L, 4, 1);
    lua_setglobal(L, "coroutine");
}

/* The globals that Lua sees are an empty table: reads go on to the real ones, writes are refused. */
static void lock_globals(lua_State *L)
{
    lua_newtable(L);
    lua_newtable(L);
    lua_pushvalue(L, LUA_GLOBALSINDEX);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, l_locked);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_setglobal(L, "_G");
    lua_replace(L, LUA_GLOBALSINDEX);
}

/* `require "bit"` gives what the global is, as everywhere. */
static void fill_loaded(lua_State *L, till_vm_t *vm)
{
    static const char *const NAMES[] = {"bit", "coroutine", "debug", "jit", "math", "string", "table"};

    lua_newtable(L);
    for (size_t i = 0; i != sizeof(NAMES) / sizeof(NAMES[0]); ++i) {
        lua_getglobal(L, NAMES[i]);
        lua_setfield(L, -2, NAMES[i]);
    }
    vm->loaded_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* The defaults are for programs of a few loops: with them a server's traces are thrown away, all of them, again and
 * again, and compiled anew. */
static void size_jit(lua_State *L)
{
    static const char *const OPTIONS[] = {"maxtrace=8000", "maxmcode=16384", "maxrecord=8000", "maxirconst=1000"};
    size_t n = sizeof(OPTIONS) / sizeof(OPTIONS[0]);

    lua_getglobal(L, LUA_JITLIBNAME);
    lua_getfield(L, -1, "opt");
    lua_getfield(L, -1, "start");
    for (size_t i = 0; i != n; ++i)
        lua_pushstring(L, OPTIONS[i]);
    lua_call(L, (int)n, 0);
    lua_pop(L, 2);
}

void till_vm_open(lua_State *L)
{
    till_vm_t *vm = till_vm_of(L);

    open_library(L, luaopen_base, "");
    open_library(L, luaopen_table, LUA_TABLIBNAME);
    open_library(L, luaopen_string, LUA_STRLIBNAME);
    open_library(L, luaopen_math, LUA_MATHLIBNAME);
    open_library(L, luaopen_bit, LUA_BITLIBNAME);
    open_library(L, luaopen_jit, LUA_JITLIBNAME);
    size_jit(L);
    open_library(L, luaopen_debug, LUA_DBLIBNAME);
    trim_debug(L);
    for (size_t i = 0; i != sizeof(GONE) / sizeof(GONE[0]); ++i) {
        lua_pushnil(L);
        lua_setglobal(L, GONE[i]);
    }
    lua_getglobal(L, "string");
    lua_pushnil(L);
    lua_setfield(L, -2, "dump");
    lua_pop(L, 1);
    wrap_coroutines(L);
    fill_loaded(L, vm);
    lua_pushcfunction(L, l_require);
    lua_setglobal(L, "require");
    lock_globals(L);
}

static int l_tostring(lua_State *L)
{
    if (luaL_callmeta(L, 1, "__tostring"))
        return 1;
    lua_pushfstring(L, "a %s was thrown", luaL_typename(L, 1));
    return 1;
}

const char *till_tostring(lua_State *L, int index, size_t *len)
{
    const char *text;

    if (lua_type(L, index) == LUA_TSTRING || lua_type(L, index) == LUA_TNUMBER) {
        lua_pushvalue(L, index);
    } else {
        lua_pushvalue(L, index);
        lua_pushcfunction(L, l_tostring);
        lua_insert(L, -2);
        (void)lua_pcall(L, 1, 1, 0);
    }
    text = lua_tolstring(L, -1, len);
    if (text == NULL) {
        lua_pop(L, 1);
        lua_pushliteral(L, "an error without a message");
        text = lua_tolstring(L, -1, len);
    }
    return text;
}
