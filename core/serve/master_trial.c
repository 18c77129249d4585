/* master_trial.c - a reload is tried in a process of its own before any worker hears of it; see check.h.
 *
 *     read ──► TRYING ──the process ends with 0──► workers load it, or are replaced
 *                 └── else, or too late: refused, in the words of the process
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "serve/check.h"
#include "serve/master_priv.h"
#include "serve/pools.h"

#define TRIAL_TIMEOUT_MS 90000
#define WORDS_MAX 1800 /* of a refusal */
#define PAPER_SIZE (64 * 1024)
#define NAMES_MAX 120 /* of plugins whose specs are run */
#define NAME_SIZE 64

/* ---- in the process aside ------------------------------------------------------- */

typedef struct names {
    char text[NAMES_MAX][NAME_SIZE];
    size_t count;
} names_t;

/* "plugins/NAME/file.lua" → NAME, once */
static void add_name(names_t *names, const char *path)
{
    const char *name = path + strlen("plugins/"), *end = strchr(name, '/');
    size_t len = end != NULL ? (size_t)(end - name) : NAME_SIZE;

    if (len >= NAME_SIZE || names->count == NAMES_MAX)
        return;
    for (size_t i = 0; i != names->count; ++i) {
        if (strncmp(names->text[i], name, len) == 0 && names->text[i][len] == '\0')
            return;
    }
    snprintf(names->text[names->count++], NAME_SIZE, "%.*s", (int)len, name);
}

/* Those of which a file is other than in the live generation. */
static void find_changed(names_t *names, const till_bundle_t *next, const till_bundle_t *live)
{
    const char *path;
    till_slice_t a, b;

    for (size_t i = 0; (path = till_bundle_path(next, i)) != NULL; ++i) {
        if (strncmp(path, "plugins/", 8) != 0 || !till_bundle_file(next, path, &a))
            continue;
        if (live == NULL || !till_bundle_file(live, path, &b) || a.len != b.len || memcmp(a.base, b.base, a.len) != 0)
            add_name(names, path);
    }
}

static int try_it(const till_master_t *master, const till_setup_t *next, const char *name)
{
    const till_master_opts_t *opts = master->opts;
    char error[1024];
    names_t *changed = till_calloc(1, sizeof(*changed));
    const char *arguments[1 + NAMES_MAX + 32] = {"vet"};
    size_t n = 1;
    till_bundle_t *bundle = till_bundle_load(opts->var_dir, name, error, sizeof(error));
    till_bundle_t *live = till_bundle_load(opts->var_dir, master->live, error, sizeof(error));

    if (bundle == NULL)
        return 1;
    find_changed(changed, bundle, live);
    till_bundle_destroy(live);
    for (size_t i = 0; i != changed->count; ++i)
        arguments[n++] = changed->text[i];
    for (size_t i = 0; i != opts->plugin_dir_count && i != 16; ++i) {
        arguments[n++] = "--dir";
        arguments[n++] = opts->plugin_dirs[i];
    }
    const till_check_t check = {.conf = next->conf,
                                .root = opts->root,
                                .var_dir = opts->var_dir,
                                .bundle = bundle,
                                .arguments = arguments,
                                .n = n};
    int code = till_check_run(&check);
    free(changed);
    return code;
}

static void run_child(till_master_t *master, const till_setup_t *next, const char *name, int out)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)!nice(TILL_LOADER_NICENESS);
    dup2(out, 1);
    int code = till_children_settle(master, next) ? try_it(master, next, name) : 1;
    fflush(NULL);
    _exit(code);
}

/* ---- in the master ---------------------------------------------------------------- */

/* Memory of a fixed size: whoever writes more than there is room for, a spec for one, is not waited for. */
static int make_paper(void)
{
    int fd = memfd_create("trial", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd != -1 && (ftruncate(fd, PAPER_SIZE) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) != 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool start(till_master_t *master, const till_setup_t *next, const char *name)
{
    int paper = make_paper();

    if (paper == -1)
        return false;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        run_child(master, next, name, paper);
    if (pid == -1)
        close(paper);
    master->trial.pid = pid;
    master->trial.fd = paper;
    return pid != -1;
}

void till_trial_begin(till_master_t *master, till_setup_t *next, const char *name, const till_wish_t *wish)
{
    char text[96];

    till_change_open(master, PHASE_TRYING, name, wish);
    master->change.deadline_ms = till_master_now() + TRIAL_TIMEOUT_MS;
    master->next = *next;
    if (start(master, next, name)) {
        snprintf(text, sizeof(text), "a process aside tries %.12s", name);
        till_answer_step(master, "try", NULL, text);
        return;
    }
    master->trial.pid = 0;
    till_trial_give_up(master, "there is no process left to try it in");
}

static void forget(till_master_t *master)
{
    master->next = (till_setup_t){.listen_fd = -1, .ops_fd = -1};
    master->change.phase = PHASE_IDLE;
}

void till_trial_give_up(till_master_t *master, const char *reason)
{
    if (master->change.phase != PHASE_TRYING)
        return;
    if (master->trial.pid != 0) { /* reaped as nobody's */
        kill(master->trial.pid, SIGKILL);
        waitpid(master->trial.pid, NULL, 0);
        close(master->trial.fd);
        master->trial.pid = 0;
    }
    till_setup_dispose(&master->next);
    forget(master);
    till_change_refuse(master, reason);
}

/* Up to the first NUL of what was not written; of much the beginning says enough. */
static void hear(int fd, char *out, size_t size)
{
    ssize_t n = pread(fd, out, size - 1, 0);
    size_t len = n > 0 ? strnlen(out, (size_t)n) : 0;

    while (len != 0 && out[len - 1] == '\n')
        --len;
    out[len] = '\0';
}

static void conclude(till_master_t *master, int status)
{
    char words[WORDS_MAX];
    till_setup_t next = master->next;

    hear(master->trial.fd, words, sizeof(words));
    close(master->trial.fd);
    master->trial.pid = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        const till_change_t tried = master->change;
        forget(master);
        till_change_take(master, &next, tried.name, &tried.wish);
        return;
    }
    if (words[0] == '\0' && WIFSIGNALED(status))
        snprintf(words, sizeof(words), "it ended the process that tried it, by signal %d", WTERMSIG(status));
    till_trial_give_up(master, words[0] != '\0' ? words : "the process that tried it failed; the log says how");
}

void till_trial_reap(till_master_t *master)
{
    int status;

    if (master->trial.pid != 0 && waitpid(master->trial.pid, &status, WNOHANG) == master->trial.pid)
        conclude(master, status);
}
