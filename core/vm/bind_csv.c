/* bind_csv.c - CSV read row by row, out of a file or of a text; see lua/till/prim/csv.lua. */
#include <errno.h>
#include <fcntl.h>
#include <lzma.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/csv.h"
#include "vm/vm_priv.h"

#define PIECE 65536
#define XZ_MEMORY (256u * 1024 * 1024)

struct reader {
    till_box_t box;
    till_csv_t *csv;
    int fd; /* -1: of a text, which it has whole */
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
    if (reader->fd != -1)
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
    static const char magic[] = "\xfd"
                                "7zXZ";
    char found[sizeof(magic)];

    return pread(fd, found, sizeof(found), 0) == sizeof(found) && memcmp(found, magic, sizeof(magic)) == 0;
}

static struct reader *make_reader(lua_State *L, int fd, uint64_t size)
{
    struct reader *reader = till_box_new(L, &reader_type, sizeof(*reader), till_vm_of(L)->current);

    reader->fd = fd;
    reader->csv = till_csv_create();
    reader->size = size;
    return reader;
}

static int fail(lua_State *L, const char *path)
{
    return till_push_failuref(L, errno == ENOENT ? TILL_NOT_FOUND : TILL_INTERNAL, "%s: %s", path, strerror(errno));
}

static int l_file(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    struct stat st;

    if (!till_vm_of(L)->env.is_command)
        return luaL_error(L, "csv.file is for commands; give a server's code the text");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || S_ISDIR(st.st_mode)) {
        if (fd >= 0) {
            close(fd);
            errno = EISDIR;
        }
        return fail(L, path);
    }
    /* a VM without memory could throw here and lose the descriptor: commands end then anyway */
    struct reader *reader = make_reader(L, fd, (uint64_t)st.st_size);
    reader->xz = (lzma_stream)LZMA_STREAM_INIT;
    reader->packed = is_packed(fd);
    if (reader->packed && lzma_stream_decoder(&reader->xz, XZ_MEMORY, LZMA_CONCATENATED) != LZMA_OK)
        return luaL_error(L, "xz cannot be set up");
    return 1;
}

static int l_text(lua_State *L)
{
    till_slice_t text = till_check_slice(L, 1);
    struct reader *reader = make_reader(L, -1, text.len);

    if (text.len != 0)
        till_csv_feed(reader->csv, text.base, text.len);
    till_csv_feed(reader->csv, "", 0);
    reader->at = text.len;
    reader->done = true;
    return 1;
}

static const luaL_Reg functions[] = {{"file", l_file}, {"text", l_text}, {NULL, NULL}};

int till_bind_csv(lua_State *L) { return till_bind(L, functions); }
