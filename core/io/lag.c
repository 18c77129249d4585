#include "io/lag.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include "base/mem.h"

enum { BETWEEN_MS = 20 };

struct till_lag {
    till_loop_t *loop;
    h2o_socket_t *sock;
    bool is_out;          /* a probe is under way, since */
    uint64_t sent_us;     /* of CLOCK_MONOTONIC, not of the turn */
    uint64_t next_ms;     /* of the loop's clock: not earlier */
    uint64_t shortest_ms; /* UINT64_MAX: none came back */
};

static uint64_t clock_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t age_ms(const till_lag_t *lag) { return (clock_us() - lag->sent_us) / 1000; }

static void on_probe(h2o_socket_t *sock, const char *err)
{
    till_lag_t *lag = sock->data;
    uint64_t count, delay = age_ms(lag);

    (void)err;
    if (read(h2o_socket_get_fd(sock), &count, sizeof(count)) != (ssize_t)sizeof(count))
        return;
    lag->is_out = false;
    if (delay < lag->shortest_ms)
        lag->shortest_ms = delay;
}

till_lag_t *till_lag_create(till_loop_t *loop)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    till_lag_t *lag;

    if (fd == -1)
        return NULL;
    lag = till_calloc(1, sizeof(*lag));
    lag->loop = loop;
    lag->shortest_ms = UINT64_MAX;
    lag->sock = h2o_evloop_socket_create(till_loop_h2o(loop), fd, H2O_SOCKET_FLAG_DONT_READ);
    lag->sock->data = lag;
    h2o_socket_read_start(lag->sock, on_probe);
    return lag;
}

void till_lag_destroy(till_lag_t *lag)
{
    if (lag == NULL)
        return;
    h2o_socket_close(lag->sock);
    free(lag);
}

void till_lag_poke(till_lag_t *lag)
{
    static const uint64_t one = 1;

    if (lag == NULL || lag->is_out || till_loop_now(lag->loop) < lag->next_ms)
        return;
    lag->sent_us = clock_us();
    lag->next_ms = till_loop_now(lag->loop) + BETWEEN_MS;
    lag->is_out = write(h2o_socket_get_fd(lag->sock), &one, sizeof(one)) == (ssize_t)sizeof(one);
}

uint64_t till_lag_take(till_lag_t *lag)
{
    uint64_t delay;

    if (lag == NULL)
        return 0;
    delay = lag->shortest_ms;
    lag->shortest_ms = UINT64_MAX;
    if (delay != UINT64_MAX)
        return delay;
    return lag->is_out ? age_ms(lag) : 0;
}
