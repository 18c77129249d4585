#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "serve/inherit.h"

#define FIRST_FD 3
#define MAX_FDS 4

static const char *const names[MAX_FDS] = {"shop", "ops", "control", "handover"};

static int *place_of(till_inherited_t *out, int i)
{
    int *const places[MAX_FDS] = {&out->listen_fd, &out->ops_fd, &out->control_fd, &out->handover_fd};

    return places[i];
}

/* The `i`th name's number in `names`; another name is the next of shop and ops that is free. */
static int which(till_inherited_t *out, const char *name, size_t len)
{
    for (int i = 0; i != MAX_FDS; ++i) {
        if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
            return i;
    }
    return out->listen_fd == -1 ? 0 : 1;
}

static long number_of(const char *variable)
{
    const char *text = getenv(variable);

    return text != NULL ? strtol(text, NULL, 10) : 0;
}

void till_inherit_take(till_inherited_t *out)
{
    const char *name = getenv("LISTEN_FDNAMES");
    long count = number_of("LISTEN_PID") == (long)getpid() ? number_of("LISTEN_FDS") : 0;

    *out = (till_inherited_t){-1, -1, -1, -1};
    for (int fd = FIRST_FD; fd < FIRST_FD + count && fd < FIRST_FD + MAX_FDS; ++fd) {
        size_t len = name != NULL ? strcspn(name, ":") : 0;
        int *place = place_of(out, which(out, name != NULL ? name : "", len));
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        if (*place == -1)
            *place = fd;
        name = name != NULL && name[len] == ':' ? name + len + 1 : NULL;
    }
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
}

static void set_number(const char *variable, long number)
{
    char text[24];

    snprintf(text, sizeof(text), "%ld", number);
    setenv(variable, text, 1);
}

void till_inherit_give(const till_inherited_t *given)
{
    till_inherited_t from = *given;
    char list[64] = "";
    int count = 0;

    for (int i = 0; i != MAX_FDS; ++i) { /* out of the way of the places where they go */
        int *fd = place_of(&from, i);
        *fd = *fd != -1 ? fcntl(*fd, F_DUPFD_CLOEXEC, 64) : -1;
    }
    for (int i = 0; i != MAX_FDS; ++i) {
        int fd = *place_of(&from, i);
        if (fd == -1)
            continue;
        dup2(fd, FIRST_FD + count++); /* clears its close-on-exec */
        snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", count > 1 ? ":" : "", names[i]);
    }
    set_number("LISTEN_PID", getpid());
    set_number("LISTEN_FDS", count);
    setenv("LISTEN_FDNAMES", list, 1);
}
