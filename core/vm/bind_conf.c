/* bind_conf.c - options and secrets; see lua/till/prim/conf.lua. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "vm/vm_priv.h"

#define SECRET_MAX 65536

static int l_options_json(lua_State *L)
{
    till_vm_t *vm = till_vm_of(L);

    if (vm->env.conf == NULL)
        return 0;
    till_buf_clear(&vm->scratch);
    till_conf_options_json(vm->env.conf, &vm->scratch);
    lua_pushlstring(L, vm->scratch.base, vm->scratch.len);
    return 1;
}

static int l_env(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1), *value = getenv(name);

    if (value == NULL)
        return till_push_failuref(L, TILL_NOT_FOUND, "the environment has no %s", name);
    lua_pushstring(L, value);
    return 1;
}

/* One trailing line end is not part of a secret. */
static int l_file(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    char *text = lua_newuserdata(L, SECRET_MAX);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, text, SECRET_MAX);
    int reason = errno;

    if (fd >= 0)
        close(fd);
    if (len < 0)
        return till_push_failuref(L, TILL_NOT_FOUND, "%s: %s", path, strerror(reason));
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        --len;
    lua_pushlstring(L, text, (size_t)len);
    explicit_bzero(text, SECRET_MAX);
    return 1;
}

/* "file:line" of what was configured at `plugins.<path>`, or of the part of it that is there. */
static int l_place(lua_State *L)
{
    const till_conf_t *conf = till_vm_of(L)->env.conf;
    char place[400];

    if (conf == NULL || !till_conf_plugin_place(conf, luaL_checkstring(L, 1), place, sizeof(place)))
        return 0;
    lua_pushstring(L, place);
    return 1;
}

/* The one secret that is the server's own and not a plugin's; empty without a configuration. */
static int l_signing_secret(lua_State *L)
{
    const till_conf_t *conf = till_vm_of(L)->env.conf;

    lua_pushstring(L, conf != NULL ? till_conf_str(conf, "shop.signing_secret") : "");
    return 1;
}

static const luaL_Reg functions[] = {
    {"options_json", l_options_json},     {"env", l_env}, {"file", l_file}, {"place", l_place},
    {"signing_secret", l_signing_secret}, {NULL, NULL},
};

int till_bind_conf(lua_State *L) { return till_bind(L, functions); }
