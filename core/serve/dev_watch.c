/* dev_watch.c - `moontill dev --watch`: a process that reloads when a file is saved, and says what came of it.
 *
 * An editor saves in many ways: it writes in place, or beside and renames, or
 * moves the old one away first. All of them end in something that is quiet for a
 * moment; what is read too early for all that is read again, see vm/bundle.h.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "serve/control.h"
#include "serve/dev_priv.h"

#define QUIET_MS 12  /* after the last event */
#define NOISE_MS 200 /* an editor that is never quiet is not waited for longer */
#define DEPTH_MAX 16
#define EVENTS (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_EXCL_UNLINK)

/* One folder. */
struct folder {
    int wd;
    char *path;       /* on the disk */
    char *label;      /* for people: "plugins/promo-x" */
    const char *only; /* this file alone; NULL: all of Lua */
};

struct watch {
    const till_cli_t *cli;
    int fd;
    struct folder *folders;
    size_t count;
    char what[200]; /* the first file of this change */
    unsigned more;  /* others */
};

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- folders -------------------------------------------------------------------- */

static void add_below(struct watch *watch, const char *path, const char *label, unsigned depth);

static void add_folder(struct watch *watch, const char *path, const char *label, const char *only, unsigned depth)
{
    int wd = inotify_add_watch(watch->fd, path, EVENTS);

    if (wd == -1) {
        till_dev_say("watch", "%s: %s", path, strerror(errno));
        return;
    }
    for (size_t i = 0; i != watch->count; ++i) {
        if (watch->folders[i].wd == wd && watch->folders[i].only == only)
            return;
    }
    watch->folders = till_realloc(watch->folders, (watch->count + 1) * sizeof(*watch->folders));
    watch->folders[watch->count++] = (struct folder){wd, till_strdup(path), till_strdup(label), only};
    if (only == NULL)
        add_below(watch, path, label, depth);
}

static void add_below(struct watch *watch, const char *path, const char *label, unsigned depth)
{
    DIR *dir = depth != DEPTH_MAX ? opendir(path) : NULL;
    const struct dirent *entry;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char below[PATH_MAX], name[PATH_MAX];
        struct stat st;
        if (entry->d_name[0] == '.' ||
            (size_t)snprintf(below, sizeof(below), "%s/%s", path, entry->d_name) >= sizeof(below) ||
            (size_t)snprintf(name, sizeof(name), "%s/%s", label, entry->d_name) >= sizeof(name))
            continue;
        if (stat(below, &st) == 0 && S_ISDIR(st.st_mode))
            add_folder(watch, below, name, NULL, depth + 1);
    }
    if (dir != NULL)
        closedir(dir);
}

static void add_all(struct watch *watch)
{
    const till_cli_t *cli = watch->cli;
    char path[PATH_MAX];
    const char *slash = strrchr(cli->conf_file, '/');

    snprintf(path, sizeof(path), "%s/till", cli->lua_dir);
    add_folder(watch, path, "lua/till", NULL, 0);
    for (size_t i = 0; i != cli->plugin_dir_count; ++i)
        add_folder(watch, cli->plugin_dirs[i], "plugins", NULL, 0);
    snprintf(path, sizeof(path), "%.*s", slash != NULL ? (int)(slash - cli->conf_file) : 1,
             slash != NULL ? cli->conf_file : ".");
    add_folder(watch, path[0] != '\0' ? path : "/", "conf", slash != NULL ? slash + 1 : cli->conf_file, 0);
}

/* ---- events ----------------------------------------------------------------------- */

static bool is_source(const struct folder *folder, const char *name)
{
    size_t len = strlen(name);

    if (folder->only != NULL)
        return strcmp(name, folder->only) == 0;
    return name[0] != '.' && len > 4 && strcmp(name + len - 4, ".lua") == 0;
}

static void note(struct watch *watch, const struct folder *folder, const char *name)
{
    char path[sizeof(watch->what)];

    snprintf(path, sizeof(path), "%s/%s", folder->label, name);
    if (watch->what[0] == '\0')
        memcpy(watch->what, path, sizeof(path));
    else if (strcmp(watch->what, path) != 0)
        ++watch->more;
}

/* A new folder may hold files already; one that came and went says nothing. */
static void on_event(struct watch *watch, const struct inotify_event *event)
{
    for (size_t i = 0; i != watch->count; ++i) {
        const struct folder folder = watch->folders[i];
        char below[PATH_MAX], label[PATH_MAX];
        if (folder.wd != event->wd || event->len == 0)
            continue;
        if ((event->mask & IN_ISDIR) != 0 && folder.only == NULL && event->name[0] != '.') {
            snprintf(below, sizeof(below), "%s/%s", folder.path, event->name);
            snprintf(label, sizeof(label), "%s/%s", folder.label, event->name);
            if ((event->mask & (IN_CREATE | IN_MOVED_TO)) != 0)
                add_folder(watch, below, label, NULL, 1);
            note(watch, &folder, event->name);
        } else if ((event->mask & (IN_ISDIR | IN_CREATE)) == 0 && is_source(&folder, event->name)) {
            note(watch, &folder, event->name);
        }
    }
}

static void read_events(struct watch *watch)
{
    char bytes[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t n = read(watch->fd, bytes, sizeof(bytes));

    for (char *at = bytes; n > 0 && at < bytes + n;) {
        const struct inotify_event *event = (const struct inotify_event *)at;
        on_event(watch, event);
        at += sizeof(*event) + event->len;
    }
}

/* @return when the first of them came */
static uint64_t wait_for_change(struct watch *watch)
{
    struct pollfd wait = {.fd = watch->fd, .events = POLLIN};
    uint64_t begun = 0;

    watch->what[0] = '\0';
    watch->more = 0;
    for (;;) {
        int timeout = watch->what[0] == '\0' ? -1 : QUIET_MS;
        if (poll(&wait, 1, timeout) > 0)
            read_events(watch);
        else if (watch->what[0] != '\0')
            return begun;
        if (begun == 0 && watch->what[0] != '\0')
            begun = now_ms();
        if (begun != 0 && now_ms() - begun > NOISE_MS)
            return begun;
    }
}

/* ---- reloading ---------------------------------------------------------------------- */

struct answer {
    char generation[16], error[2048];
    bool is_unchanged;
};

static void take(till_json_reader_t *reader, const char *member, char *out, size_t size)
{
    if (strlen(member) == reader->len && memcmp(reader->text, member, reader->len) == 0 &&
        till_json_next(reader) == TILL_JSON_STRING)
        snprintf(out, size, "%.*s", (int)reader->len, reader->text);
}

static void on_line(void *data, const char *line, size_t len)
{
    struct answer *answer = data;
    till_json_reader_t reader;
    till_json_token_t token;

    answer->is_unchanged |= strstr(line, "\"unchanged\":true") != NULL;
    till_json_reader_init(&reader, line, len);
    while ((token = till_json_next(&reader)) > TILL_JSON_END) {
        if (token != TILL_JSON_KEY)
            continue;
        if (reader.len == strlen("error"))
            take(&reader, "error", answer->error, sizeof(answer->error));
        else if (reader.len == strlen("generation") && answer->generation[0] == '\0')
            take(&reader, "generation", answer->generation, 13);
    }
    till_json_reader_dispose(&reader);
}

static void say_refused(const char *reasons)
{
    for (const char *at = reasons; *at != '\0';) {
        size_t len = strcspn(at, "\n");
        till_dev_say("refused", "%.*s", (int)len, at);
        at += len + (at[len] == '\n');
    }
    till_dev_say("watch", "the code before it serves on");
}

static void reload(struct watch *watch, uint64_t begun)
{
    struct answer answer = {.is_unchanged = false};
    char error[1024] = "", more[32] = "";

    if (watch->more != 0)
        snprintf(more, sizeof(more), " and %u more", watch->more);
    int code = till_control_call(watch->cli->var_dir, "{\"command\":\"reload\",\"author\":\"dev --watch\"}", on_line,
                                 &answer, error, sizeof(error));
    if (code != 0)
        say_refused(answer.error[0] != '\0' ? answer.error : error);
    else if (answer.is_unchanged)
        till_dev_say("watch", "%s%s: nothing that serves has changed", watch->what, more);
    else
        till_dev_say("live", "%s%s: generation %s, %u ms after it was saved", watch->what, more, answer.generation,
                     (unsigned)(now_ms() - begun));
}

static void run(const till_cli_t *cli)
{
    struct watch watch = {.cli = cli, .fd = inotify_init1(IN_CLOEXEC)};

    if (watch.fd == -1) {
        till_dev_say("watch", "not possible: %s", strerror(errno));
        return;
    }
    add_all(&watch);
    till_dev_say("watch", "lua/, the plugins' folders and %s", cli->conf_file);
    for (;;)
        reload(&watch, wait_for_change(&watch));
}

pid_t till_dev_watch(const till_cli_t *cli)
{
    pid_t parent = getpid(), pid;
    sigset_t none;

    fflush(NULL);
    pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (getppid() == parent)
        run(cli);
    _exit(1);
}
