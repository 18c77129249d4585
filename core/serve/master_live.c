/* master_live.c - DIR/live, by which a start knows that the server before it crashed, and DIR/moontill.pid.
 *
 * What is live stands in the database; docs/decisions/0009 says what a start
 * makes of that and of the folders. A crash is no release: after one the
 * folders are not asked. DIR/live tells the two apart, for a server that is
 * stopped deletes it. It names the program too: another one brings its library.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"
#include "serve/master_priv.h"

static void path_of(const till_master_t *master, const char *name, char *out, size_t size)
{
    snprintf(out, size, "%s/%s", master->opts->var_dir, name);
}

/* By rename: whoever reads it sees the one before or this one. */
static void write_file(const till_master_t *master, const char *name, const char *text)
{
    char path[600], fresh[616];

    path_of(master, name, path, sizeof(path));
    snprintf(fresh, sizeof(fresh), "%s.new", path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool ok = fd != -1 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd != -1)
        close(fd);
    if (!ok || rename(fresh, path) != 0)
        till_log_msg(TILL_LOG_WARN, "var.write", "%s cannot be written", path);
}

static bool read_file(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd != -1 ? read(fd, out, size - 1) : -1;
    if (fd != -1)
        close(fd);
    out[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static void program(char out[48])
{
    struct stat info;

    snprintf(out, 48, "?");
    if (stat("/proc/self/exe", &info) == 0)
        snprintf(out, 48, "%llx-%llx-%llx", (unsigned long long)info.st_ino, (unsigned long long)info.st_size,
                 (unsigned long long)info.st_mtim.tv_sec * 1000000000ull + (unsigned long long)info.st_mtim.tv_nsec);
}

void till_live_remember(const till_master_t *master)
{
    char text[256], ours[48];

    program(ours);
    snprintf(text, sizeof(text), "%s %s\n", master->live, ours);
    write_file(master, "live", text);
}

bool till_live_was_left(const char *var_dir)
{
    char text[256], name[65] = "", theirs[48] = "", ours[48], path[600];

    snprintf(path, sizeof(path), "%s/live", var_dir);
    program(ours);
    return read_file(path, text, sizeof(text)) && sscanf(text, "%64s %47s", name, theirs) == 2 &&
           strcmp(ours, theirs) == 0;
}

void till_live_write_pid(const till_master_t *master)
{
    char text[24];

    snprintf(text, sizeof(text), "%d\n", (int)getpid());
    write_file(master, "moontill.pid", text);
}

/* At an orderly end; the successor's are not ours to delete. */
void till_live_forget(const till_master_t *master)
{
    char path[600];

    path_of(master, "live", path, sizeof(path));
    unlink(path);
    path_of(master, "moontill.pid", path, sizeof(path));
    unlink(path);
}
