/* bind_file.c - files and the terminal, for commands only; see lua/till/prim/file.lua and term.lua.
 *
 * Commands have their process to themselves: they may block on a disk.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "base/mem.h"
#include "vm/vm_priv.h"

#define FILE_MAX (256 * 1024 * 1024)
#define PIECE 65536

static int fail(lua_State *L, const char *path)
{
    return till_push_failuref(L, errno == ENOENT ? TILL_NOT_FOUND : TILL_INTERNAL, "%s: %s", path, strerror(errno));
}

static int l_read(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    till_buf_t *buf = &till_vm_of(L)->scratch;
    char piece[PIECE];
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return fail(L, path);
    till_buf_clear(buf);
    while ((n = read(fd, piece, sizeof(piece))) > 0 && buf->len < FILE_MAX)
        till_buf_append(buf, piece, (size_t)n);
    int reason = errno;
    close(fd);
    errno = n > 0 ? EFBIG : reason;
    if (n != 0)
        return fail(L, path);
    lua_pushlstring(L, buf->base != NULL ? buf->base : "", buf->len);
    till_buf_dispose(buf);
    return 1;
}

static bool write_all(int fd, const char *bytes, size_t len)
{
    while (len != 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
    return true;
}

/* true | nil, err = write(path, text [, mode]): whole or not at all */
static int l_write(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    till_slice_t text = till_check_slice(L, 2);
    mode_t mode = (mode_t)luaL_optint(L, 3, 0644);
    const char *temporary = lua_pushfstring(L, "%s.%d.tmp", path, (int)getpid());
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

    if (fd < 0)
        return fail(L, path);
    bool ok = write_all(fd, text.base, text.len) && fchmod(fd, mode) == 0;
    close(fd);
    if (!ok || rename(temporary, path) != 0) {
        int reason = errno;
        unlink(temporary);
        errno = reason;
        return fail(L, path);
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* true | nil, err(conflict where it is there already) = mkdir(path) */
static int l_mkdir(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);

    if (mkdir(path, 0755) != 0)
        return errno == EEXIST ? till_push_failuref(L, TILL_CONFLICT, "%s is there already", path) : fail(L, path);
    lua_pushboolean(L, 1);
    return 1;
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static int l_list(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    struct dirent **names;
    int n = scandir(path, &names, NULL, by_name), count = 0;

    if (n < 0)
        return fail(L, path);
    lua_createtable(L, n, 0);
    for (int i = 0; i != n; ++i) {
        if (names[i]->d_name[0] != '.') {
            lua_pushstring(L, names[i]->d_name);
            lua_rawseti(L, -2, ++count);
        }
        free(names[i]);
    }
    free(names);
    return 1;
}

static int l_stat(lua_State *L)
{
    struct stat st;

    if (stat(luaL_checkstring(L, 1), &st) != 0)
        return fail(L, lua_tostring(L, 1));
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, (lua_Integer)(st.st_mode & 07777));
    lua_setfield(L, -2, "mode");
    lua_pushnumber(L, (lua_Number)st.st_size);
    lua_setfield(L, -2, "size");
    lua_pushnumber(L, (lua_Number)st.st_mtime * 1000);
    lua_setfield(L, -2, "mtime_ms");
    lua_pushboolean(L, S_ISDIR(st.st_mode));
    lua_setfield(L, -2, "is_dir");
    return 1;
}

static int l_disk(lua_State *L)
{
    struct statvfs disk;

    if (statvfs(luaL_checkstring(L, 1), &disk) != 0)
        return fail(L, lua_tostring(L, 1));
    lua_createtable(L, 0, 4);
    lua_pushnumber(L, (lua_Number)disk.f_bavail * (lua_Number)disk.f_frsize);
    lua_setfield(L, -2, "free");
    lua_pushnumber(L, (lua_Number)disk.f_blocks * (lua_Number)disk.f_frsize);
    lua_setfield(L, -2, "size");
    lua_pushnumber(L, (lua_Number)disk.f_favail);
    lua_setfield(L, -2, "files_free");
    lua_pushnumber(L, (lua_Number)disk.f_files);
    lua_setfield(L, -2, "files");
    return 1;
}

/* fn | nil, message = load(text, name [, env]): for the spec command, whose files are in no bundle */
static int l_load(lua_State *L)
{
    till_slice_t text = till_check_slice(L, 1);

    lua_pushfstring(L, "@%s", luaL_checkstring(L, 2));
    if (luaL_loadbufferx(L, text.base, text.len, lua_tostring(L, -1), "t") != 0) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    if (lua_istable(L, 3)) {
        lua_pushvalue(L, 3);
        lua_setfenv(L, -2);
    }
    return 1;
}

static const luaL_Reg functions[] = {
    {"read", l_read}, {"write", l_write}, {"list", l_list},   {"stat", l_stat},
    {"disk", l_disk}, {"load", l_load},   {"mkdir", l_mkdir}, {NULL, NULL},
};

int till_bind_file(lua_State *L) { return till_bind(L, functions); }

/* ---- the terminal --------------------------------------------------------------------- */

static int l_term_write(lua_State *L)
{
    till_slice_t text = till_check_slice(L, 1);

    (void)write_all(STDOUT_FILENO, text.base, text.len);
    return 0;
}

static int l_term_err(lua_State *L)
{
    till_slice_t text = till_check_slice(L, 1);

    (void)write_all(STDERR_FILENO, text.base, text.len);
    return 0;
}

static int l_is_tty(lua_State *L)
{
    lua_pushboolean(L, isatty(STDERR_FILENO));
    return 1;
}

static int l_env(lua_State *L)
{
    const char *value = getenv(luaL_checkstring(L, 1));

    if (value == NULL)
        return 0;
    lua_pushstring(L, value);
    return 1;
}

static const luaL_Reg term[] = {
    {"write", l_term_write}, {"err", l_term_err}, {"is_tty", l_is_tty}, {"env", l_env}, {NULL, NULL},
};

int till_bind_term(lua_State *L) { return till_bind(L, term); }
