/* lua.c - see lua.h */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <luajit.h>
#include "support/lua.h"
#include "vm/vm_priv.h"

#define COUNTERS 16384

/* Where libFuzzer takes counters that no compiler made; without it, just memory. */
__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t counters[COUNTERS];

static till_vm_t *vm;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    abort();
}

static void on_line(lua_State *L, lua_Debug *at)
{
    uint32_t hash = 2166136261u;

    lua_getinfo(L, "Sl", at);
    for (const char *c = at->source; *c != '\0'; ++c)
        hash = (hash ^ (uint8_t)*c) * 16777619u;
    ++counters[(hash ^ (uint32_t)at->currentline * 2654435761u) % COUNTERS];
}

/* The library is linked into a folder of its own, for main.lua has its one place in it. */
static void make_library(char *dir, const char *script)
{
    char path[128], target[1024], top[512];
    static const char *const parts[] = {"prim", "util", "money.lua"};

    if (mkdtemp(dir) == NULL || getcwd(top, sizeof(top)) == NULL)
        die("fuzz", "no temporary folder");
    snprintf(target, sizeof(target), "mkdir %s/till && cp '%s' %s/till/main.lua", dir, script, dir);
    if (system(target) != 0)
        die(script, "cannot be copied");
    for (size_t i = 0; i != sizeof(parts) / sizeof(parts[0]); ++i) {
        snprintf(path, sizeof(path), "cp -r lua/till/%s %s/till", parts[i], dir);
        if (system(path) != 0)
            die(path, "failed");
    }
}

static void make_vm(const char *script)
{
    static till_vm_env_t env = {.process = "fuzz"};
    char dir[] = "/tmp/till-fuzz-XXXXXX", error[2048], path[128];
    const char *const plugins = "plugins";
    const till_bundle_source_t source = {.lua_dir = dir, .plugin_dirs = &plugins, .plugin_dir_count = 1};

    make_library(dir, script);
    env.loop = till_loop_create();
    till_bundle_t *bundle = till_bundle_read(&source, error, sizeof(error));
    if (bundle == NULL || (vm = till_vm_create(bundle, &env, error, sizeof(error))) == NULL)
        die(script, error);
    till_vm_attach(vm);
    luaJIT_setmode(vm->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    lua_sethook(vm->L, on_line, LUA_MASKLINE, 0);
    snprintf(path, sizeof(path), "rm -rf %s", dir);
    if (system(path) != 0)
        die(path, "failed");
}

static void on_done(void *data, till_status_t status, const till_response_t *response)
{
    *(bool *)data = true;
    if (status != TILL_OK || response == NULL)
        die("fuzz", till_status_code(status));
    if (response->error != NULL || response->status != 200)
        die("fuzz", response->error != NULL ? response->error : "the script did not answer 200");
}

void fuzz_lua(const char *script, const uint8_t *bytes, size_t len)
{
    bool is_done = false;

    if (vm == NULL)
        make_vm(script);
    const till_request_t request = {.method = {"POST", 4}, .path = {"/", 1}, .body = {(const char *)bytes, len}};
    till_vm_http(vm, &request, 0, on_done, &is_done);
    if (!is_done)
        die(script, "waits, which a fuzz target must not");
}
