#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "base/mem.h"
#include "serve/watch.h"

#define GIVE_UP_LIMITS 5
#define START_LIMIT_MS 60000 /* to the first beat */
#define ANSWER_MS 100

/* Written by the worker. */
struct page {
    _Atomic uint64_t beat_ms; /* CLOCK_MONOTONIC; 0: none yet */
    _Atomic bool has_answered;
    till_running_t at;
};

/* The master's view of one worker. */
struct view {
    uint64_t since_ms;             /* it was started */
    uint64_t beat_ms, cpu_at_beat; /* of the last beat that was seen */
    uint64_t asked_ms;             /* 0: not */
};

struct till_watch {
    struct page *pages;
    struct view views[TILL_METRICS_SLOTS];
};

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

till_watch_t *till_watch_create(void)
{
    size_t size = sizeof(struct page) * TILL_METRICS_SLOTS;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        return NULL;
    till_watch_t *watch = till_calloc(1, sizeof(*watch));
    watch->pages = memory;
    return watch;
}

void till_watch_destroy(till_watch_t *watch)
{
    if (watch == NULL)
        return;
    munmap(watch->pages, sizeof(struct page) * TILL_METRICS_SLOTS);
    free(watch);
}

/* ---- the worker ------------------------------------------------------------- */

static struct page *own;

static void on_asked(int signal)
{
    int before = errno;

    (void)signal;
    till_vm_running(&own->at);
    own->has_answered = true;
    errno = before;
}

void till_watch_join(till_watch_t *watch, unsigned slot)
{
    struct sigaction action = {.sa_handler = on_asked, .sa_flags = SA_RESTART};

    own = &watch->pages[slot];
    sigaction(SIGUSR1, &action, NULL);
    till_watch_beat(watch, slot);
}

void till_watch_beat(till_watch_t *watch, unsigned slot) { watch->pages[slot].beat_ms = now_ms(); }

/* ---- the master ------------------------------------------------------------- */

void till_watch_expect(till_watch_t *watch, unsigned slot)
{
    watch->views[slot] = (struct view){.since_ms = now_ms()};
    watch->pages[slot].beat_ms = 0;
    watch->pages[slot].has_answered = false;
}

/* What the main thread has computed, from the 14th and 15th field of its stat; threads aside build generations. */
static uint64_t thread_cpu_ms(pid_t pid)
{
    char path[64], text[512];
    unsigned long user = 0, system = 0;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid, (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd != -1 ? read(fd, text, sizeof(text) - 1) : -1;
    if (fd != -1)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *after_name = strrchr(text, ')');
    if (after_name == NULL ||
        sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        return 0;
    return (user + system) * 1000 / (unsigned long)sysconf(_SC_CLK_TCK);
}

static bool is_stuck(const struct view *view, pid_t pid, uint64_t silent, uint64_t limit)
{
    if (view->beat_ms == 0)
        return silent >= START_LIMIT_MS;
    if (silent < limit)
        return false;
    return silent >= limit * GIVE_UP_LIMITS || thread_cpu_ms(pid) - view->cpu_at_beat >= limit / 2;
}

/* The answer is given within microseconds, or never. */
static till_pulse_t ask(struct page *page, struct view *view, pid_t pid, uint64_t now, till_running_t *at)
{
    if (view->asked_ms == 0) {
        view->asked_ms = now;
        page->has_answered = false;
        kill(pid, SIGUSR1);
        return TILL_PULSE_ASKED;
    }
    if (!page->has_answered && now - view->asked_ms < ANSWER_MS)
        return TILL_PULSE_ASKED;
    *at = page->has_answered ? page->at : (till_running_t){.plugin = ""};
    return TILL_PULSE_STUCK;
}

till_pulse_t till_watch_look(till_watch_t *watch, unsigned slot, pid_t pid, uint64_t limit_ms, uint64_t *silent_ms,
                             till_running_t *at)
{
    struct page *page = &watch->pages[slot];
    struct view *view = &watch->views[slot];
    uint64_t now = now_ms(), beat = page->beat_ms;

    if (beat != view->beat_ms) {
        view->beat_ms = beat;
        view->cpu_at_beat = thread_cpu_ms(pid);
        view->asked_ms = 0;
    }
    uint64_t last = beat != 0 ? beat : view->since_ms;
    *silent_ms = now > last ? now - last : 0;
    if (!is_stuck(view, pid, *silent_ms, limit_ms))
        return TILL_PULSE_ALIVE;
    return ask(page, view, pid, now, at);
}
