/* bind_file.c - files and the terminal, for commands only; see lua/till/prim/file.lua and term.lua.
 *
 * Commands have their process to themselves: they may block on a disk.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <lzma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/csv.h"
#include "base/mem.h"
#include "vm/vm_priv.h"

#define FILE_MAX (256 * 1024 * 1024)
#define PIECE 65536
#define XZ_MEMORY (256u * 1024 * 1024)

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
    lua_createtable(L, 0, 3);
    lua_pushnumber(L, (lua_Number)st.st_size);
    lua_setfield(L, -2, "size");
    lua_pushnumber(L, (lua_Number)st.st_mtime * 1000);
    lua_setfield(L, -2, "mtime_ms");
    lua_pushboolean(L, S_ISDIR(st.st_mode));
    lua_setfield(L, -2, "is_dir");
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

/* ---- csv ---------------------------------------------------------------------------- */

struct reader {
    till_box_t box;
    till_csv_t *csv;
    int fd;
    bool packed, done;
    lzma_stream xz;
    uint64_t size, at;
    char in[PIECE];
};

static void release_reader(till_box_t *box)
{
    struct reader *reader = (struct reader *)box;

    till_csv_destroy(reader->csv);
    if (reader->packed)
        lzma_end(&reader->xz);
    close(reader->fd);
}

static ssize_t read_piece(struct reader *reader)
{
    ssize_t n = read(reader->fd, reader->in, PIECE);

    if (n > 0)
        reader->at += (uint64_t)n;
    return n;
}

/** @return NULL or a fault */
static const char *unpack(struct reader *reader)
{
    uint8_t out[PIECE];

    if (reader->xz.avail_in == 0) {
        ssize_t n = read_piece(reader);
        if (n < 0)
            return strerror(errno);
        reader->xz.next_in = (const uint8_t *)reader->in;
        reader->xz.avail_in = (size_t)n;
    }
    reader->xz.next_out = out;
    reader->xz.avail_out = sizeof(out);
    lzma_ret rc = lzma_code(&reader->xz, reader->xz.avail_in == 0 ? LZMA_FINISH : LZMA_RUN);
    if (rc != LZMA_OK && rc != LZMA_STREAM_END)
        return "the packed file is broken";
    if (sizeof(out) != reader->xz.avail_out)
        till_csv_feed(reader->csv, (const char *)out, sizeof(out) - reader->xz.avail_out);
    reader->done = rc == LZMA_STREAM_END;
    if (reader->done)
        till_csv_feed(reader->csv, "", 0);
    return NULL;
}

static const char *feed(struct reader *reader)
{
    if (reader->done)
        return "the file ends too early";
    if (reader->packed)
        return unpack(reader);
    ssize_t n = read_piece(reader);
    if (n < 0)
        return strerror(errno);
    till_csv_feed(reader->csv, reader->in, (size_t)n);
    reader->done = n == 0;
    return NULL;
}

static void push_record(lua_State *L, const till_csv_field_t *fields, size_t count, uint64_t line)
{
    lua_createtable(L, (int)count, 1);
    for (size_t i = 0; i != count; ++i) {
        lua_pushlstring(L, fields[i].base, fields[i].len);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_pushnumber(L, (lua_Number)line);
    lua_setfield(L, -2, "line");
}

static void push_bad(lua_State *L, const till_csv_t *csv)
{
    lua_createtable(L, 0, 2);
    lua_pushnumber(L, (lua_Number)till_csv_line(csv));
    lua_setfield(L, -2, "line");
    lua_pushstring(L, till_csv_error(csv));
    lua_setfield(L, -2, "error");
}

static int l_next(lua_State *L);
static int l_progress(lua_State *L);
static int l_close(lua_State *L);

static const luaL_Reg reader_methods[] = {{"next", l_next}, {"progress", l_progress}, {"close", l_close}, {NULL, NULL}};
static const till_box_type_t reader_type = {"csv reader", release_reader, reader_methods, TILL_BOX_CSV};

static struct reader *open_reader(lua_State *L)
{
    struct reader *reader = till_box_check(L, 1, &reader_type);

    luaL_argcheck(L, reader->box.at != NULL, 1, "the reader was closed");
    return reader;
}

/* rows | nil at the end | nil, err = reader:next(n) */
static int l_next(lua_State *L)
{
    struct reader *reader = open_reader(L);
    int wanted = luaL_optint(L, 2, 1), n = 0;
    const char *fault = NULL;
    till_csv_result_t result = TILL_CSV_MORE;

    lua_newtable(L);
    while (n < wanted && result != TILL_CSV_DONE && fault == NULL) {
        const till_csv_field_t *fields;
        size_t count;
        result = till_csv_next(reader->csv, &fields, &count);
        if (result == TILL_CSV_MORE) {
            fault = feed(reader);
        } else if (result != TILL_CSV_DONE) {
            if (result == TILL_CSV_ROW)
                push_record(L, fields, count, till_csv_line(reader->csv));
            else
                push_bad(L, reader->csv);
            lua_rawseti(L, -2, ++n);
        }
    }
    if (fault != NULL)
        return till_push_failure(L, TILL_INVALID, fault);
    return n != 0 ? 1 : 0;
}

static int l_progress(lua_State *L)
{
    const struct reader *reader = open_reader(L);

    lua_pushnumber(L, reader->size == 0 ? 1 : (lua_Number)reader->at / (lua_Number)reader->size);
    return 1;
}

static int l_close(lua_State *L)
{
    till_box_release(till_box_check(L, 1, &reader_type));
    return 0;
}

static bool is_packed(int fd)
{
    char magic[6];

    return pread(fd, magic, sizeof(magic), 0) == sizeof(magic) && memcmp(magic,
                                                                         "\xfd"
                                                                         "7zXZ",
                                                                         6) == 0;
}

static int l_csv(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) != 0 || S_ISDIR(st.st_mode)) {
        if (fd >= 0) {
            close(fd);
            errno = EISDIR;
        }
        return fail(L, path);
    }
    /* a VM without memory could throw here and lose the descriptor: commands end then anyway */
    struct reader *reader = till_box_new(L, &reader_type, sizeof(*reader), till_vm_of(L)->current);
    reader->fd = fd;
    reader->csv = till_csv_create();
    reader->size = (uint64_t)st.st_size;
    reader->xz = (lzma_stream)LZMA_STREAM_INIT;
    reader->packed = is_packed(fd);
    if (reader->packed && lzma_stream_decoder(&reader->xz, XZ_MEMORY, LZMA_CONCATENATED) != LZMA_OK)
        return luaL_error(L, "xz cannot be set up");
    return 1;
}

static const luaL_Reg functions[] = {
    {"read", l_read}, {"write", l_write}, {"list", l_list}, {"stat", l_stat},
    {"load", l_load}, {"csv", l_csv},     {NULL, NULL},
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
