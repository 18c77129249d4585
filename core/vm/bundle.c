/* bundle.c - reading folders into one piece of bytes, and that piece back.
 *
 * The piece: a magic line, then for each file in sorted order two 32-bit
 * lengths (little endian), the path with a NUL, the content. Its name is the
 * SHA-256 of all of it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "vm/bundle.h"

#define MAGIC "moontill bundle 1\n"
#define FILE_MAX (1024 * 1024)
#define BUNDLE_MAX (64 * 1024 * 1024)
#define DEPTH_MAX 16
#define NAME_MAX_BYTES 255 /* what the database keeps whole */
#define FRESH_S 60
#define SETTLE_MS 15 /* an editor that empties a file has written it again by then */
#define READINGS 12  /* of folders in which something is being saved */

struct entry {
    char *path;
    char *content; /* owned while reading, borrowed from `bytes` afterwards */
    size_t len;
};

struct till_bundle {
    struct entry *entries;
    size_t count, room;
    char *bytes;
    size_t len;
    char name[2 * TILL_SHA256_LEN + 1];
};

struct reader {
    till_bundle_t *bundle;
    char *error;
    size_t error_size;
    char root[PATH_MAX]; /* the real folder that nothing may lead out of */
    char torn[PATH_MAX]; /* what was being saved while it was read; "" */
};

static bool refuse(struct reader *reader, const char *path, const char *reason)
{
    if (reader->error_size != 0)
        snprintf(reader->error, reader->error_size, "%s: %s", path, reason);
    return false;
}

static void add(till_bundle_t *bundle, const char *path, char *content, size_t len)
{
    if (bundle->count == bundle->room) {
        bundle->room = bundle->room == 0 ? 128 : bundle->room * 2;
        bundle->entries = till_realloc(bundle->entries, bundle->room * sizeof(*bundle->entries));
    }
    bundle->entries[bundle->count++] = (struct entry){till_strdup(path), content, len};
}

static bool has_suffix(const char *name, const char *suffix)
{
    size_t len = strlen(name), n = strlen(suffix);

    return len > n && memcmp(name + len - n, suffix, n) == 0;
}

static bool is_inside(const struct reader *reader, const char *path)
{
    char real[PATH_MAX];
    size_t len = strlen(reader->root);

    return realpath(path, real) != NULL && strncmp(real, reader->root, len) == 0 &&
           (real[len] == '/' || real[len] == '\0');
}

/* ---- what is being saved ------------------------------------------------------ */

static void pause_ms(int64_t ms)
{
    const struct timespec time = {.tv_nsec = (long)ms * 1000000};

    nanosleep(&time, NULL);
}

/* What was touched this moment is left alone for another: then it is whole, or seen to change. */
static void let_settle(const struct stat *st)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    int64_t age = (now.tv_sec - st->st_mtim.tv_sec) * 1000 + (now.tv_nsec - st->st_mtim.tv_nsec) / 1000000;
    if (age >= 0 && age < SETTLE_MS)
        pause_ms(SETTLE_MS - age);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Is what `path` names now still what it was? Otherwise everything is read once more. */
static void check_torn(struct reader *reader, const char *path, const struct stat *before)
{
    struct stat now;

    if (stat(path, &now) != 0 || !is_same(before, &now) || TILL_FAULT("bundle.torn"))
        snprintf(reader->torn, sizeof(reader->torn), "%s", path);
}

static char *read_whole(int fd, size_t size, size_t *len)
{
    char *bytes = till_alloc(size + 1);
    ssize_t n = 0;

    *len = 0;
    while (*len < size && (n = read(fd, bytes + *len, size - *len)) > 0)
        *len += (size_t)n;
    bytes[*len] = '\0';
    if (n >= 0)
        return bytes;
    free(bytes);
    return NULL;
}

/** `settled` (or NULL): what may be written just now is waited for, and this is it. @return the whole file, or NULL
 * with errno */
static char *slurp(const char *path, int flags, size_t max, size_t *len, struct stat *settled)
{
    int fd = open(path, flags | O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a pipe would be waited for */
    char *bytes = NULL;
    struct stat st;

    if (fd < 0)
        return NULL;
    if (settled != NULL && fstat(fd, settled) == 0)
        let_settle(settled);
    errno = EFBIG;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (size_t)st.st_size <= max)
        bytes = read_whole(fd, (size_t)st.st_size, len);
    int reason = errno;
    close(fd);
    errno = reason;
    return bytes;
}

static const char *content_fault(const char *content, size_t len)
{
    if (len != 0 && content[0] == '\x1b')
        return "is bytecode; only source is loaded";
    if (memchr(content, '\0', len) != NULL)
        return "holds a NUL byte";
    if (!till_utf8_is_valid(content, len))
        return "is not UTF-8";
    return NULL;
}

/* `is_link`: what it leads to may be anywhere. All others are where their folder is, and that is inside. */
static bool read_file(struct reader *reader, const char *disk, const char *path, bool is_link)
{
    size_t len = 0;
    char *content;
    const char *fault;
    char shown[201];
    struct stat st;

    if (is_link && !is_inside(reader, disk))
        return refuse(reader, disk, "leads out of its folder or to nothing");
    if (strlen(path) > NAME_MAX_BYTES || !till_utf8_is_valid(path, strlen(path))) {
        snprintf(shown, sizeof(shown), "%.200s", path);
        return refuse(reader, shown, "a file's name is UTF-8, and with its folders of up to 255 bytes");
    }
    if ((content = slurp(disk, is_link ? 0 : O_NOFOLLOW, FILE_MAX, &len, &st)) == NULL)
        return refuse(reader, disk, errno == EFBIG ? "is larger than 1 MB or no file" : strerror(errno));
    check_torn(reader, disk, &st);
    if ((fault = content_fault(content, len)) != NULL) {
        free(content);
        return refuse(reader, disk, fault);
    }
    add(reader->bundle, path, content, len);
    return true;
}

static bool read_folder(struct reader *reader, const char *disk, const char *path, bool is_link, unsigned depth);

/* It was there when the folder was listed: a link to nothing, or a file that is being replaced. */
static bool is_missing(struct reader *reader, const char *disk)
{
    int reason = errno;
    struct stat st;

    if (lstat(disk, &st) != 0)
        snprintf(reader->torn, sizeof(reader->torn), "%s", disk);
    return refuse(reader, disk, strerror(reason));
}

static bool read_entry(struct reader *reader, const char *disk, const char *path, const char *name, unsigned depth)
{
    char below[PATH_MAX], inside[PATH_MAX];
    struct stat st;

    if ((size_t)snprintf(below, sizeof(below), "%s/%s", disk, name) >= sizeof(below) ||
        (size_t)snprintf(inside, sizeof(inside), "%s/%s", path, name) >= sizeof(inside))
        return refuse(reader, disk, "has a path that is too long");
    bool is_there = lstat(below, &st) == 0, is_link = is_there && S_ISLNK(st.st_mode);
    if (!is_there || (is_link && stat(below, &st) != 0))
        return has_suffix(name, ".lua") ? is_missing(reader, below) : true;
    if (S_ISDIR(st.st_mode))
        return read_folder(reader, below, inside, is_link, depth + 1);
    if (!has_suffix(name, ".lua") || has_suffix(name, "_spec.lua"))
        return true;
    return read_file(reader, below, inside, is_link);
}

static bool read_folder(struct reader *reader, const char *disk, const char *path, bool is_link, unsigned depth)
{
    DIR *dir;
    struct dirent *entry;
    struct stat st;
    bool ok = true;

    if (depth > DEPTH_MAX)
        return refuse(reader, disk, "is nested too deep");
    if (is_link && !is_inside(reader, disk))
        return refuse(reader, disk, "leads out of its folder");
    if ((dir = opendir(disk)) == NULL)
        return refuse(reader, disk, strerror(errno));
    if (fstat(dirfd(dir), &st) == 0)
        let_settle(&st);
    while (ok && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.')
            ok = read_entry(reader, disk, path, entry->d_name, depth);
    }
    closedir(dir);
    check_torn(reader, disk, &st);
    return ok;
}

static bool read_root(struct reader *reader, const char *disk, const char *path)
{
    if (realpath(disk, reader->root) == NULL)
        return refuse(reader, disk, strerror(errno));
    return read_folder(reader, disk, path, true, 0);
}

static bool holds_plugin(const till_bundle_t *bundle, const char *prefix)
{
    size_t len = strlen(prefix);

    for (size_t i = 0; i != bundle->count; ++i) {
        if (strncmp(bundle->entries[i].path, prefix, len) == 0 && bundle->entries[i].path[len] == '/')
            return true;
    }
    return false;
}

/* Each plugin is a root of its own: a link from one into another is refused too. */
static bool read_plugins(struct reader *reader, const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    bool ok = true;

    if (dir == NULL)
        return refuse(reader, folder, strerror(errno));
    while (ok && (entry = readdir(dir)) != NULL) {
        char disk[PATH_MAX], path[NAME_MAX + 16];
        struct stat st;
        if (entry->d_name[0] == '.' ||
            (size_t)snprintf(disk, sizeof(disk), "%s/%s", folder, entry->d_name) >= sizeof(disk) ||
            stat(disk, &st) != 0 || !S_ISDIR(st.st_mode))
            continue;
        snprintf(path, sizeof(path), "plugins/%s", entry->d_name);
        ok = holds_plugin(reader->bundle, path)
                 ? refuse(reader, disk, "there is a plugin of this name in another folder already")
                 : read_root(reader, disk, path);
    }
    closedir(dir);
    return ok;
}

static void take_rules(till_bundle_t *bundle, const till_bundle_t *from)
{
    for (size_t i = 0; i != from->count; ++i) {
        const struct entry *entry = &from->entries[i];
        if (strncmp(entry->path, "rules/", 6) == 0)
            add(bundle, entry->path, till_strndup(entry->content, entry->len), entry->len);
    }
}

static bool read_all(struct reader *reader, const till_bundle_source_t *source)
{
    char till[PATH_MAX];

    snprintf(till, sizeof(till), "%s/till", source->lua_dir);
    if (!read_root(reader, till, "lua/till"))
        return false;
    for (size_t i = 0; i != source->plugin_dir_count; ++i) {
        if (!read_plugins(reader, source->plugin_dirs[i]))
            return false;
    }
    if (source->tests_dir != NULL && !read_root(reader, source->tests_dir, "tests"))
        return false;
    if (source->rules != NULL)
        take_rules(reader->bundle, source->rules);
    if (source->conf != NULL) {
        till_buf_t json;
        till_buf_init(&json, 0);
        till_conf_plugins_json(source->conf, &json);
        size_t len = json.len;
        add(reader->bundle, "conf/plugins.json", till_buf_take(&json), len);
    }
    return true;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->path, ((const struct entry *)b)->path);
}

static void put_u32(till_buf_t *buf, size_t n)
{
    const unsigned char bytes[4] = {n & 0xff, n >> 8 & 0xff, n >> 16 & 0xff, n >> 24 & 0xff};

    till_buf_append(buf, bytes, sizeof(bytes));
}

static size_t get_u32(const char *at)
{
    const unsigned char *bytes = (const unsigned char *)at;

    return bytes[0] | (size_t)bytes[1] << 8 | (size_t)bytes[2] << 16 | (size_t)bytes[3] << 24;
}

static void set_name(till_bundle_t *bundle)
{
    uint8_t digest[TILL_SHA256_LEN];

    till_sha256(digest, bundle->bytes, bundle->len);
    till_hex(bundle->name, digest, sizeof(digest));
}

static void free_entries(till_bundle_t *bundle, bool owned)
{
    for (size_t i = 0; owned && i != bundle->count; ++i) {
        free(bundle->entries[i].path);
        free(bundle->entries[i].content);
    }
    free(bundle->entries);
    bundle->entries = NULL;
    bundle->count = bundle->room = 0;
}

static till_bundle_t *parse(char *bytes, size_t len);

static till_bundle_t *seal(till_bundle_t *read)
{
    till_buf_t buf;

    qsort(read->entries, read->count, sizeof(*read->entries), by_path);
    till_buf_init(&buf, 0);
    till_buf_puts(&buf, MAGIC);
    for (size_t i = 0; i != read->count; ++i) {
        const struct entry *entry = &read->entries[i];
        put_u32(&buf, strlen(entry->path));
        put_u32(&buf, entry->len);
        till_buf_append(&buf, entry->path, strlen(entry->path) + 1);
        till_buf_append(&buf, entry->content, entry->len);
    }
    free_entries(read, true);
    free(read);
    size_t len = buf.len;
    return parse(till_buf_take(&buf), len);
}

static till_bundle_t *read_once(struct reader *reader, const till_bundle_source_t *source)
{
    reader->torn[0] = '\0';
    reader->bundle = till_calloc(1, sizeof(*reader->bundle));
    if (read_all(reader, source) && reader->torn[0] == '\0')
        return reader->bundle;
    free_entries(reader->bundle, true);
    free(reader->bundle);
    return NULL;
}

till_bundle_t *till_bundle_read(const till_bundle_source_t *source, char *error, size_t error_size)
{
    struct reader reader = {.error = error, .error_size = error_size};

    for (int i = 0; i != READINGS; ++i) {
        till_bundle_t *read = read_once(&reader, source);
        if (read != NULL)
            return seal(read);
        if (reader.torn[0] == '\0')
            return NULL;
        pause_ms(SETTLE_MS);
    }
    refuse(&reader, reader.torn, "changes again and again while it is read; try again when it has been saved");
    return NULL;
}

till_bundle_t *till_bundle_make(const till_bundle_entry_t *entries, size_t n)
{
    till_bundle_t *bundle = till_calloc(1, sizeof(*bundle));

    for (size_t i = 0; i != n; ++i)
        add(bundle, entries[i].path, till_strndup(entries[i].content.base, entries[i].content.len),
            entries[i].content.len);
    return seal(bundle);
}

/** Takes `bytes`. @return NULL if they are no bundle */
static till_bundle_t *parse(char *bytes, size_t len)
{
    till_bundle_t *bundle = till_calloc(1, sizeof(*bundle));
    size_t at = strlen(MAGIC);

    bundle->bytes = bytes;
    bundle->len = len;
    if (len < at || memcmp(bytes, MAGIC, at) != 0)
        goto broken;
    while (at != len) {
        size_t path_len, content_len;
        if (len - at < 9)
            goto broken;
        path_len = get_u32(bytes + at);
        content_len = get_u32(bytes + at + 4);
        at += 8;
        if (path_len >= len - at || content_len > len - at - path_len - 1 || bytes[at + path_len] != '\0')
            goto broken;
        if (bundle->count == bundle->room) {
            bundle->room = bundle->room == 0 ? 128 : bundle->room * 2;
            bundle->entries = till_realloc(bundle->entries, bundle->room * sizeof(*bundle->entries));
        }
        bundle->entries[bundle->count++] = (struct entry){bytes + at, bytes + at + path_len + 1, content_len};
        at += path_len + 1 + content_len;
    }
    set_name(bundle);
    return bundle;
broken:
    till_bundle_destroy(bundle);
    return NULL;
}

void till_bundle_destroy(till_bundle_t *bundle)
{
    if (bundle == NULL)
        return;
    free_entries(bundle, false);
    free(bundle->bytes);
    free(bundle);
}

/* Not synced: it is a copy, and whoever loads it checks its name. */
static int write_all(int fd, const char *bytes, size_t len)
{
    while (len != 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno != EINTR)
            return errno;
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

static bool is_there_whole(const char *dir, const char *name)
{
    char error[64];
    till_bundle_t *there = till_bundle_load(dir, name, error, sizeof(error));

    till_bundle_destroy(there);
    return there != NULL;
}

int till_bundle_save(const till_bundle_t *bundle, const char *dir)
{
    char path[PATH_MAX], temporary[PATH_MAX + 32];
    int fd, status;

    snprintf(path, sizeof(path), "%s/generations", dir);
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return errno;
    if (is_there_whole(dir, bundle->name))
        return 0;
    snprintf(path, sizeof(path), "%s/generations/%s", dir, bundle->name);
    snprintf(temporary, sizeof(temporary), "%s.%ld", path, (long)getpid());
    if ((fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) < 0)
        return errno;
    status = write_all(fd, bundle->bytes, bundle->len);
    close(fd);
    if (status == 0 && rename(temporary, path) != 0)
        status = errno;
    if (status != 0)
        unlink(temporary);
    return status;
}

static bool is_kept(const char *name, const char *const *keep, size_t n)
{
    for (size_t i = 0; i != n; ++i) {
        if (strcmp(name, keep[i]) == 0)
            return true;
    }
    return name[0] == '.';
}

/* Somebody may be writing it just now. */
static bool is_fresh(int folder, const char *name)
{
    struct stat st;

    return strchr(name, '.') != NULL && fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           time(NULL) - st.st_mtime < FRESH_S;
}

void till_bundle_prune(const char *dir, const char *const *keep, size_t n)
{
    char path[PATH_MAX];
    const struct dirent *entry;

    snprintf(path, sizeof(path), "%s/generations", dir);
    DIR *folder = opendir(path);
    if (folder == NULL)
        return;
    while ((entry = readdir(folder)) != NULL) {
        if (!is_kept(entry->d_name, keep, n) && !is_fresh(dirfd(folder), entry->d_name))
            unlinkat(dirfd(folder), entry->d_name, 0);
    }
    closedir(folder);
}

till_bundle_t *till_bundle_load(const char *dir, const char *name, char *error, size_t error_size)
{
    char path[PATH_MAX];
    size_t len = 0;
    char *bytes;
    till_bundle_t *bundle;

    if (strspn(name, "0123456789abcdef") != 2 * TILL_SHA256_LEN || strlen(name) != 2 * TILL_SHA256_LEN) {
        snprintf(error, error_size, "%s: is no name of a generation", name);
        return NULL;
    }
    snprintf(path, sizeof(path), "%s/generations/%s", dir, name);
    if ((bytes = slurp(path, 0, BUNDLE_MAX, &len, NULL)) == NULL) {
        snprintf(error, error_size, "%s: %s", path, strerror(errno));
        return NULL;
    }
    bundle = parse(bytes, len);
    if (bundle == NULL || strcmp(bundle->name, name) != 0) {
        snprintf(error, error_size, "%s: its content does not fit its name", path);
        till_bundle_destroy(bundle);
        return NULL;
    }
    return bundle;
}

const char *till_bundle_name(const till_bundle_t *bundle) { return bundle->name; }

static int path_to_entry(const void *path, const void *entry)
{
    return strcmp(path, ((const struct entry *)entry)->path);
}

bool till_bundle_file(const till_bundle_t *bundle, const char *path, till_slice_t *content)
{
    const struct entry *found;

    if (bundle->count == 0)
        return false;
    found = bsearch(path, bundle->entries, bundle->count, sizeof(*found), path_to_entry);
    if (found != NULL)
        *content = (till_slice_t){found->content, found->len};
    return found != NULL;
}

const char *till_bundle_path(const till_bundle_t *bundle, size_t i)
{
    return i < bundle->count ? bundle->entries[i].path : NULL;
}
