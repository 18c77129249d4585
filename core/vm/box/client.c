/* client.c - see client.h
 *
 * What always holds
 *  1. There is a socket to a box in IDLE and BUSY, and in no other state.
 *  2. `current` is the exchange that the box has; NULL in BUSY where nobody waits for it any more.
 *  3. The callback of an exchange runs when its successor has been sent already: it may ask anew.
 */
#include "vm/box/client.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/trace.h"
#include "vm/box/program.h"

#define START_MS 10000
#define RETRY_MS 1000 /* after a keeper that ended by itself */
#define QUEUE_MAX 1024
#define PATIENCE 5     /* times wall_ms that a box may take which did not get the processor */
#define TEXTS_MAX 2000 /* that a box keeps; then it forgets all */
#define TEXT_BYTES_MAX (16u << 20)
#define CPU_SECONDS_MAX 300 /* of a box; its own limit is thrice that */
#define IDLE_DEATHS_MAX 10
#define SPIN_NS 100000
#define SPIN_IF_NS 200000 /* the last answer took less */
#define SPINS_MAX 8

enum state { DOWN, STARTING, IDLE, BUSY, REPLACING };

struct exchange {
    till_op_t op;
    struct exchange *next;
    till_rulebox_t *box;
    till_rulebox_ask_t ask; /* its rules and bytes are ours */
    till_rulebox_rule_t *rules;
    till_buf_t bytes;
    bool is_again; /* its box was killed by somebody else once */
    till_rulebox_reply_t reply;
    till_rulebox_cb cb;
    void *data;
};

struct till_rulebox {
    till_loop_t *loop;
    enum state state;
    pid_t keeper;
    h2o_socket_t *control, *sock;
    till_box_ends_t ends;
    till_timer_t timer; /* STARTING: until it must be there; BUSY: the deadline */
    struct exchange *current, *first, **last;
    unsigned queued;
    uint32_t exchange; /* the number of the one that runs */
    uint64_t sent_ns, lost_ns, retry_at_ms, cpu_before_ns;
    unsigned extensions, idle_deaths;
    till_rule_code_t lost_code;
    bool is_gone; /* it ended by itself, or by somebody else's hand */
    till_buf_t out, in;
    size_t out_at;
    uint8_t *known; /* bits by id: texts that the box has */
    size_t known_size, known_count, known_bytes;
    double replaced_in_s;
    till_turn_hook_t spin;
    uint64_t took_ns; /* the last answer, from being asked for */
    unsigned spins;   /* that heard one, since a turn of the loop brought one */
};

static void set_state(till_rulebox_t *box, enum state next)
{
    TILL_TRACE("box", box, "%d -> %d", box->state, next);
    box->state = next;
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec now;

    return clock_gettime(clock, &now) == 0 ? (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec : 0;
}

/* What the box has computed since it began. */
static uint64_t cpu_of(const till_rulebox_t *box)
{
    clockid_t clock;

    return clock_getcpuclockid(box->ends.news.pid, &clock) == 0 ? now_ns(clock) : 0;
}

bool till_rulebox_find_program(void) { return till_box_program() != -1; }

uint32_t till_rulebox_new_id(void)
{
    static uint32_t last;

    return last++;
}

/* ---- what the box knows ------------------------------------------------------------------- */

static void forget_texts(till_rulebox_t *box)
{
    if (box->known_size != 0)
        memset(box->known, 0, box->known_size);
    box->known_count = box->known_bytes = 0;
}

static bool knows(const till_rulebox_t *box, uint32_t id)
{
    return id / 8 < box->known_size && (box->known[id / 8] >> id % 8 & 1) != 0;
}

static void learn(till_rulebox_t *box, const till_rulebox_rule_t *rule)
{
    if (rule->id / 8 >= box->known_size) {
        size_t size = (rule->id / 8 + 64) * 2;
        box->known = till_realloc(box->known, size);
        memset(box->known + box->known_size, 0, size - box->known_size);
        box->known_size = size;
    }
    box->known[rule->id / 8] |= (uint8_t)(1u << rule->id % 8);
    ++box->known_count;
    box->known_bytes += rule->text.len;
}

/* ---- the line ---------------------------------------------------------------------------------- */

static void enqueue(till_rulebox_t *box, struct exchange *exchange)
{
    *box->last = exchange;
    box->last = &exchange->next;
    ++box->queued;
}

static struct exchange *dequeue(till_rulebox_t *box)
{
    struct exchange *exchange = box->first;

    box->first = exchange->next;
    exchange->next = NULL;
    if (box->first == NULL)
        box->last = &box->first;
    --box->queued;
    return exchange;
}

static void leave_line(till_rulebox_t *box, struct exchange *exchange)
{
    for (struct exchange **at = &box->first; *at != NULL; at = &(*at)->next) {
        if (*at != exchange)
            continue;
        *at = exchange->next;
        if (box->last == &exchange->next)
            box->last = at;
        --box->queued;
        return;
    }
}

static void fail_all(till_rulebox_t *box, till_status_t status)
{
    if (box->current != NULL)
        till_op_finish(&box->current->op, status);
    box->current = NULL;
    while (box->first != NULL)
        till_op_finish(&dequeue(box)->op, status);
}

static void on_abort(till_op_t *op, till_status_t why)
{
    struct exchange *exchange = (struct exchange *)op;

    (void)why;
    if (exchange->box->current == exchange)
        exchange->box->current = NULL;
    else
        leave_line(exchange->box, exchange);
}

static void on_done(till_op_t *op, till_status_t status)
{
    struct exchange *exchange = (struct exchange *)op;

    exchange->cb(exchange->data, status, status == TILL_OK ? &exchange->reply : NULL);
    till_buf_dispose(&exchange->bytes);
    free(exchange->rules);
    free(exchange);
}

/* ---- the end of a box, of its keeper ---------------------------------------------------------------- */

static void drop_box(till_rulebox_t *box)
{
    till_timer_stop(&box->timer);
    till_turn_hook_cancel(box->loop, &box->spin);
    if (box->sock == NULL)
        return;
    h2o_socket_close(box->sock);
    box->sock = NULL;
    munmap((void *)box->ends.page, sizeof(*box->ends.page));
    till_buf_dispose(&box->in);
    till_buf_clear(&box->out);
    forget_texts(box);
}

static void drop_keeper(till_rulebox_t *box)
{
    drop_box(box);
    if (box->control != NULL)
        h2o_socket_close(box->control);
    box->control = NULL;
    if (box->keeper != 0)
        till_box_end(box->keeper);
    box->keeper = 0;
    set_state(box, DOWN);
}

static void give_up(till_rulebox_t *box, const char *why)
{
    till_log_msg(TILL_LOG_ERROR, "box.down", "%s; rules are not evaluated until it can be started again", why);
    drop_keeper(box);
    box->retry_at_ms = till_loop_now(box->loop) + RETRY_MS;
    fail_all(box, TILL_UNAVAILABLE);
}

static void on_no_box(till_timer_t *timer)
{
    give_up(H2O_STRUCT_FROM_MEMBER(till_rulebox_t, timer, timer), "no box came within ten seconds");
}

/* Which rule it was at is read before the memory that says it is let go of. */
static void replace(till_rulebox_t *box, till_rule_code_t code, bool is_gone)
{
    uint32_t rule = box->ends.page->rule, exchange = box->ends.page->exchange;

    box->lost_code = code;
    box->is_gone = is_gone;
    box->lost_ns = now_ns(CLOCK_MONOTONIC);
    if (box->state == IDLE && ++box->idle_deaths > IDLE_DEATHS_MAX) {
        give_up(box, "the box dies again and again without being asked anything");
        return;
    }
    if (box->current != NULL)
        box->current->reply.culprit = exchange == box->exchange && rule < box->current->ask.count ? rule : 0;
    drop_box(box);
    set_state(box, REPLACING);
    till_timer_start(box->loop, &box->timer, START_MS, on_no_box);
    if (!till_box_want(h2o_socket_get_fd(box->control)))
        give_up(box, "the keeper of boxes does not listen");
}

void till_rulebox_distrust(till_rulebox_t *box)
{
    if (box->state == IDLE || box->state == BUSY)
        replace(box, TILL_RULE_CRASH, false);
}

/* ---- sending ------------------------------------------------------------------------------------------ */

static void put_rule(till_rulebox_t *box, const till_rulebox_rule_t *rule, char what)
{
    till_wire_put_u32(&box->out, rule->id);
    if (what == 'E' && knows(box, rule->id)) {
        till_wire_put_u32(&box->out, TILL_WIRE_KNOWN);
    } else {
        size_t most = TILL_WIRE_TEXT_MAX + 1; /* it is refused for its length, whatever follows */
        till_wire_put_piece(&box->out, rule->text.base, rule->text.len < most ? rule->text.len : most);
        if (what == 'E')
            learn(box, rule);
    }
    till_wire_put_piece(&box->out, rule->args.base, rule->args.len);
}

static void put_exchange(till_rulebox_t *box, const till_rulebox_ask_t *ask)
{
    bool forget = box->known_count > TEXTS_MAX || box->known_bytes > TEXT_BYTES_MAX;

    if (forget)
        forget_texts(box);
    till_buf_clear(&box->out);
    box->out_at = 0;
    size_t at = till_wire_open(&box->out);
    till_buf_putc(&box->out, ask->what);
    till_buf_putc(&box->out, forget);
    till_wire_put_u32(&box->out, ++box->exchange);
    till_wire_put_u64(&box->out, ask->fuel);
    till_wire_put_u32(&box->out, ask->cpu_us);
    till_wire_put_piece(&box->out, ask->input.base, ask->input.len);
    till_wire_put_u32(&box->out, (uint32_t)ask->count);
    for (size_t i = 0; i != ask->count; ++i)
        put_rule(box, &ask->rules[i], ask->what);
    till_wire_close(&box->out, at);
}

static void flush(till_rulebox_t *box);
static void spin(till_turn_hook_t *hook);

/* Waking two processes takes longer than most rules do. So where the last answer was quick the worker listens for this
 * one, awake, at the end of its turn; SPINS_MAX of them one after the other, then all others have their turn. */
static bool is_worth_spinning(const till_rulebox_t *box) { return box->took_ns < SPIN_IF_NS && box->spins < SPINS_MAX; }

static void on_writable(h2o_socket_t *sock, const char *err)
{
    (void)err; /* the write itself tells */
    flush(sock->data);
}

/* A box that is gone is seen by the reader. */
static void flush(till_rulebox_t *box)
{
    while (box->out_at != box->out.len) {
        ssize_t n = send(h2o_socket_get_fd(box->sock), box->out.base + box->out_at, box->out.len - box->out_at,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n == -1 && errno == EAGAIN) {
            h2o_socket_notify_write(box->sock, on_writable);
            return;
        }
        if (n == -1 && errno != EINTR)
            return;
        box->out_at += n > 0 ? (size_t)n : 0;
    }
    if (is_worth_spinning(box))
        till_loop_at_turn_end(box->loop, &box->spin, spin);
}

/* On a busy machine a box may stand still without fault: it is given more time, but not for ever. */
static void on_overrun(till_timer_t *timer)
{
    till_rulebox_t *box = H2O_STRUCT_FROM_MEMBER(till_rulebox_t, timer, timer);
    uint64_t wall_ms = box->current != NULL ? box->current->ask.wall_ms : 1;
    uint64_t computed_ms = (cpu_of(box) - box->cpu_before_ns) / 1000000;

    if (computed_ms < wall_ms / 2 && ++box->extensions < PATIENCE)
        till_timer_start(box->loop, &box->timer, wall_ms, on_overrun);
    else
        replace(box, TILL_RULE_DEADLINE, false);
}

static void send_next(till_rulebox_t *box)
{
    if (box->state != IDLE || box->first == NULL)
        return;
    box->cpu_before_ns = cpu_of(box);
    if (box->cpu_before_ns > CPU_SECONDS_MAX * 1000000000ull) {
        replace(box, TILL_RULE_VALUE, false);
        return;
    }
    box->current = dequeue(box);
    put_exchange(box, &box->current->ask);
    set_state(box, BUSY);
    box->extensions = 0;
    box->sent_ns = now_ns(CLOCK_MONOTONIC);
    till_timer_start(box->loop, &box->timer, box->current->ask.wall_ms, on_overrun);
    flush(box);
}

/* ---- hearing from the box -------------------------------------------------------------------------------- */

/* The next one is on its way before whoever waited for this one is told. */
static void deliver(till_rulebox_t *box, till_wire_t frame)
{
    struct exchange *exchange = box->current;

    if (till_wire_u32(&frame) != box->exchange || frame.is_bad) {
        replace(box, TILL_RULE_CRASH, false);
        return;
    }
    till_timer_stop(&box->timer);
    box->current = NULL;
    box->idle_deaths = 0;
    box->took_ns = now_ns(CLOCK_MONOTONIC) - box->sent_ns;
    double seconds = (double)box->took_ns / 1e9;
    set_state(box, IDLE);
    send_next(box);
    if (exchange == NULL)
        return;
    exchange->reply.answers = frame;
    exchange->reply.seconds = seconds;
    till_op_finish_now(&exchange->op, TILL_OK);
}

/** @return whether there is more to read; a box that would never stop is stopped by the length of its frame */
static bool receive(till_rulebox_t *box, bool *is_gone)
{
    char piece[65536];
    ssize_t n = recv(h2o_socket_get_fd(box->sock), piece, sizeof(piece), MSG_DONTWAIT);

    *is_gone = n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR);
    if (n > 0)
        till_buf_append(&box->in, piece, (size_t)n);
    return n == (ssize_t)sizeof(piece) && box->in.len <= TILL_WIRE_REPLY_MAX;
}

/** @return whether all of a frame is there; more than that, or one too long, is nonsense: `len` is SIZE_MAX */
static bool is_whole(const till_rulebox_t *box, size_t *len)
{
    uint32_t said;

    *len = 0;
    if (box->in.len < sizeof(said))
        return false;
    memcpy(&said, box->in.base, sizeof(said));
    *len = said <= TILL_WIRE_REPLY_MAX && box->in.len <= sizeof(said) + said && box->state == BUSY ? said : SIZE_MAX;
    return *len != SIZE_MAX && box->in.len == sizeof(said) + said;
}

static void hear(till_rulebox_t *box, bool is_gone)
{
    size_t len;

    while (!is_gone && receive(box, &is_gone))
        ;
    if (is_whole(box, &len)) {
        till_buf_t frame = box->in; /* what is delivered may end the box, and its buffer with it */
        till_buf_init(&box->in, 0);
        deliver(box, (till_wire_t){frame.base + sizeof(uint32_t), frame.base + frame.len, false});
        till_buf_dispose(&frame);
    } else if (is_gone || len == SIZE_MAX) {
        replace(box, TILL_RULE_CRASH, is_gone);
    }
}

static void on_answer(h2o_socket_t *sock, const char *err)
{
    till_rulebox_t *box = sock->data;

    box->spins = 0;
    hear(box, err != NULL);
}

static void spin(till_turn_hook_t *hook)
{
    till_rulebox_t *box = H2O_STRUCT_FROM_MEMBER(till_rulebox_t, spin, hook);
    char byte;

    while (box->state == BUSY && now_ns(CLOCK_MONOTONIC) - box->sent_ns < SPIN_NS) {
        if (recv(h2o_socket_get_fd(box->sock), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0) {
            ++box->spins;
            hear(box, false);
            return;
        }
        sched_yield(); /* on one core the box gets it */
    }
}

/* ---- hearing from the keeper ------------------------------------------------------------------------------- */

static void describe(char *out, size_t size, till_rule_code_t code, int status)
{
    if (code == TILL_RULE_DEADLINE)
        snprintf(out, size, "it did not answer in time");
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
        snprintf(out, size, "it called the kernel for what a box may not do (signal %d)", SIGSYS);
    else if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
        snprintf(out, size, "it crashed (signal %d)", WTERMSIG(status));
    else if (WIFSIGNALED(status))
        snprintf(out, size, "it was killed, or answered nonsense");
    else
        snprintf(out, size, "it ended (exit code %d)", WEXITSTATUS(status));
}

/* A rule cannot bring SIGKILL upon its box: that was the kernel, short of memory, or a person. Nobody is to blame, and
 * the exchange begins anew - once, for who is killed each time is a culprit all the same. */
static bool is_blameless(const till_rulebox_t *box, const struct exchange *exchange, int status)
{
    return box->is_gone && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && !exchange->is_again;
}

static void put_first(till_rulebox_t *box, struct exchange *exchange)
{
    exchange->is_again = true;
    exchange->next = box->first;
    box->first = exchange;
    if (exchange->next == NULL)
        box->last = &exchange->next;
    ++box->queued;
}

static void tell_loss(till_rulebox_t *box, int status)
{
    struct exchange *exchange = box->current;

    box->replaced_in_s = (double)(now_ns(CLOCK_MONOTONIC) - box->lost_ns) / 1e9;
    box->current = NULL;
    if (exchange != NULL && is_blameless(box, exchange, status)) {
        put_first(box, exchange);
        exchange = NULL;
    }
    send_next(box);
    if (exchange == NULL)
        return;
    exchange->reply.is_lost = true;
    exchange->reply.code = box->lost_code;
    describe(exchange->reply.how, sizeof(exchange->reply.how), box->lost_code, status);
    till_op_finish_now(&exchange->op, TILL_OK);
}

static void adopt(till_rulebox_t *box, const till_box_ends_t *ends)
{
    bool is_replacement = box->state == REPLACING;

    drop_box(box);
    box->ends = *ends;
    box->sock = h2o_evloop_socket_create(till_loop_h2o(box->loop), ends->fd, H2O_SOCKET_FLAG_DONT_READ);
    box->sock->data = box;
    h2o_socket_read_start(box->sock, on_answer);
    set_state(box, IDLE);
    if (is_replacement)
        tell_loss(box, ends->news.last_status);
    else
        send_next(box);
}

static void on_news(h2o_socket_t *sock, const char *err)
{
    till_rulebox_t *box = sock->data;
    till_box_ends_t ends;
    int got = err != NULL ? -1 : till_box_hear(h2o_socket_get_fd(sock), &ends);

    if (got == -1)
        give_up(box, "the keeper of boxes ended");
    else if (got == 1 && WIFEXITED(ends.news.last_status) && WEXITSTATUS(ends.news.last_status) == TILL_BOX_NO_JAIL)
        give_up(box, "this kernel does not lock a box up: it needs CONFIG_SECCOMP_FILTER");
    else if (got == 1)
        adopt(box, &ends);
}

static bool start(till_rulebox_t *box)
{
    if (till_loop_now(box->loop) < box->retry_at_ms)
        return false;
    int control = till_box_spawn(&box->keeper);
    if (control == -1) {
        till_log_msg(TILL_LOG_ERROR, "box.start", "moontill-box, which belongs beside moontill, does not start: %s",
                     strerror(errno));
        box->retry_at_ms = till_loop_now(box->loop) + RETRY_MS;
        return false;
    }
    box->control = h2o_evloop_socket_create(till_loop_h2o(box->loop), control, H2O_SOCKET_FLAG_DONT_READ);
    box->control->data = box;
    h2o_socket_read_start(box->control, on_news);
    set_state(box, STARTING);
    till_timer_start(box->loop, &box->timer, START_MS, on_no_box);
    return true;
}

/* ---- what others call ---------------------------------------------------------------------------------------- */

till_rulebox_t *till_rulebox_create(till_loop_t *loop)
{
    till_rulebox_t *box = till_calloc(1, sizeof(*box));

    box->loop = loop;
    box->last = &box->first;
    till_buf_init(&box->out, 0);
    till_buf_init(&box->in, 0);
    return box;
}

void till_rulebox_destroy(till_rulebox_t *box)
{
    if (box == NULL)
        return;
    assert(box->current == NULL && box->first == NULL);
    drop_keeper(box);
    till_buf_dispose(&box->out);
    free(box->known);
    free(box);
}

/* One buffer for the bytes of all: they are put in first, for it moves as it grows. */
static void copy_ask(struct exchange *exchange, const till_rulebox_ask_t *ask)
{
    const char *at;

    till_buf_init(&exchange->bytes, 0);
    for (size_t i = 0; i != ask->count; ++i)
        till_buf_append(&exchange->bytes, ask->rules[i].args.base, ask->rules[i].args.len);
    till_buf_append(&exchange->bytes, ask->input.base, ask->input.len);
    exchange->rules = till_alloc((ask->count + 1) * sizeof(*exchange->rules));
    at = exchange->bytes.base;
    for (size_t i = 0; i != ask->count; ++i) {
        exchange->rules[i] = ask->rules[i];
        exchange->rules[i].args.base = at;
        at += ask->rules[i].args.len;
    }
    exchange->ask = *ask;
    exchange->ask.rules = exchange->rules;
    exchange->ask.input.base = at;
}

till_op_t *till_rulebox_exchange(till_rulebox_t *box, const till_rulebox_ask_t *ask, uint64_t timeout_ms,
                                 till_rulebox_cb cb, void *data)
{
    struct exchange *exchange = till_calloc(1, sizeof(*exchange));

    exchange->box = box;
    exchange->cb = cb;
    exchange->data = data;
    copy_ask(exchange, ask);
    till_op_init(&exchange->op, box->loop, timeout_ms, on_abort, on_done);
    if (box->queued == QUEUE_MAX) {
        till_op_finish(&exchange->op, TILL_OVERLOADED);
    } else if (box->state == DOWN && !start(box)) {
        till_op_finish(&exchange->op, TILL_UNAVAILABLE);
    } else {
        enqueue(box, exchange);
        send_next(box);
    }
    return &exchange->op;
}

till_rulebox_state_t till_rulebox_state(const till_rulebox_t *box)
{
    return (till_rulebox_state_t){.keeper = box->keeper,
                                  .box = box->sock != NULL ? box->ends.news.pid : 0,
                                  .begun = box->sock != NULL ? box->ends.news.begun : 0,
                                  .replaced_in_s = box->replaced_in_s};
}
