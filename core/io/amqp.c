/* amqp.c - the loop's side of publishing: copies the call, has the thread do it, tells. See amqp.h. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include "base/mem.h"
#include "io/amqp_priv.h"
#include "io/offload.h"

struct call {
    struct call *next, **at; /* those that are not told yet */
    till_amqp_t *amqp;       /* NULL once that is gone */
    till_amqp_work_t *work;
    till_amqp_cb cb;
    void *data;
};

struct till_amqp {
    till_loop_t *loop;
    struct call *calls;
    till_offload_t *thread;  /* NULL until the first message */
    till_amqp_wire_t *wires; /* the thread's, while it runs */
    till_amqp_brake_t brake;
    till_amqp_work_t *running; /* under the brake's lock: what the thread is at */
};

static uint64_t mono_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- the call's copy ---------------------------------------------------- */

static till_slice_t slice_of(const char *text) { return (till_slice_t){text, text != NULL ? strlen(text) : 0}; }

static const char *keep(char **at, till_slice_t text)
{
    char *kept = *at;

    if (text.len != 0)
        memcpy(kept, text.base, text.len);
    kept[text.len] = '\0';
    *at += text.len + 1;
    return kept;
}

static void keep_slice(char **at, till_slice_t *slice) { slice->base = keep(at, *slice); }

static size_t bytes_of(const till_amqp_target_t *target, const till_amqp_message_t *messages, size_t n)
{
    const char *const texts[] = {target->host,     target->vhost,    target->user,
                                 target->password, target->exchange, target->ca_file};
    size_t total = 0;

    for (size_t i = 0; i != sizeof(texts) / sizeof(texts[0]); ++i)
        total += slice_of(texts[i]).len + 1;
    for (size_t i = 0; i != n; ++i)
        total += messages[i].routing_key.len + messages[i].id.len + messages[i].type.len + messages[i].body.len +
                 messages[i].aggregate.len + messages[i].traceparent.len + 6;
    return total;
}

static char *keep_target(till_amqp_target_t *target, char *at)
{
    const char **const texts[] = {&target->host,     &target->vhost,    &target->user,
                                  &target->password, &target->exchange, &target->ca_file};

    for (size_t i = 0; i != sizeof(texts) / sizeof(texts[0]); ++i)
        *texts[i] = keep(&at, slice_of(*texts[i]));
    return at;
}

static till_amqp_work_t *make_work(const till_amqp_target_t *target, const till_amqp_message_t *messages, size_t n)
{
    till_amqp_work_t *work = till_calloc(1, sizeof(*work) + bytes_of(target, messages, n));
    char *at = work->texts;

    work->target = *target;
    at = keep_target(&work->target, at);
    work->n = n;
    work->messages = till_alloc(n * sizeof(*messages));
    work->outcomes = till_calloc(n, sizeof(*work->outcomes));
    memcpy(work->messages, messages, n * sizeof(*messages));
    for (size_t i = 0; i != n; ++i) {
        till_amqp_message_t *message = &work->messages[i];
        till_slice_t *const slices[] = {&message->routing_key, &message->id,        &message->type,
                                        &message->body,        &message->aggregate, &message->traceparent};
        for (size_t k = 0; k != sizeof(slices) / sizeof(slices[0]); ++k)
            keep_slice(&at, slices[k]);
    }
    return work;
}

static void free_work(void *arg)
{
    till_amqp_work_t *work = arg;

    for (size_t i = 0; i != work->n; ++i)
        free(work->outcomes[i].reason);
    free(work->messages);
    free(work->outcomes);
    free(work);
}

/* ---- the thread --------------------------------------------------------- */

static void set_running(till_amqp_t *amqp, till_amqp_work_t *work)
{
    pthread_mutex_lock(&amqp->brake.lock);
    amqp->running = work;
    pthread_mutex_unlock(&amqp->brake.lock);
}

static void run_work(void *arg)
{
    till_amqp_work_t *work = arg;
    till_amqp_t *amqp = work->amqp;

    set_running(amqp, work);
    till_amqp_wire_run(&amqp->wires, &amqp->brake, work);
    set_running(amqp, NULL);
}

/* Where the thread waits for the wire on behalf of `work`, or of anybody where that is NULL, it wakes up with an
 * error. */
static void brake(till_amqp_t *amqp, const till_amqp_work_t *work, bool for_good)
{
    pthread_mutex_lock(&amqp->brake.lock);
    amqp->brake.is_closed |= for_good;
    if (amqp->brake.fd >= 0 && (work == NULL || amqp->running == work))
        shutdown(amqp->brake.fd, SHUT_RDWR);
    pthread_mutex_unlock(&amqp->brake.lock);
}

/* ---- the loop's side ---------------------------------------------------- */

static void remember(till_amqp_t *amqp, struct call *call)
{
    call->amqp = amqp;
    call->at = &amqp->calls;
    call->next = amqp->calls;
    if (call->next != NULL)
        call->next->at = &call->next;
    amqp->calls = call;
}

static void forget(struct call *call)
{
    if (call->amqp != NULL) {
        *call->at = call->next;
        if (call->next != NULL)
            call->next->at = call->at;
    }
    free(call);
}

static void on_worked(void *data, till_status_t status, void *arg)
{
    struct call call = *(struct call *)data;
    till_amqp_work_t *work = arg;

    forget(data);
    if (work == NULL) {
        /* by its address alone: where the thread is through with it, it is freed and nobody's */
        if (call.amqp != NULL)
            brake(call.amqp, call.work, false);
        call.cb(call.data, status, NULL, 0, "no word from the broker in time");
        return;
    }
    call.cb(call.data, work->status, work->outcomes, work->n, work->error);
    free_work(work);
}

till_amqp_t *till_amqp_create(till_loop_t *loop)
{
    till_amqp_t *amqp = till_calloc(1, sizeof(*amqp));

    amqp->loop = loop;
    amqp->brake.fd = -1;
    pthread_mutex_init(&amqp->brake.lock, NULL);
    return amqp;
}

void till_amqp_destroy(till_amqp_t *amqp)
{
    brake(amqp, NULL, true);
    for (struct call *call = amqp->calls; call != NULL; call = call->next)
        call->amqp = NULL;
    if (amqp->thread != NULL)
        till_offload_destroy(amqp->thread);
    till_amqp_wire_close_all(&amqp->wires, &amqp->brake);
    pthread_mutex_destroy(&amqp->brake.lock);
    free(amqp);
}

till_op_t *till_amqp_publish(till_amqp_t *amqp, const till_amqp_target_t *target, const till_amqp_message_t *messages,
                             size_t n, uint64_t timeout_ms, till_amqp_cb cb, void *data)
{
    struct call *call = till_alloc(sizeof(*call));

    assert(n != 0 && n <= TILL_AMQP_MOST);
    if (amqp->thread == NULL)
        amqp->thread = till_offload_create(amqp->loop, 1, 0);
    till_amqp_work_t *work = make_work(target, messages, n);
    work->amqp = amqp;
    work->until_ms = mono_ms() + timeout_ms - timeout_ms / 10; /* so that it can say itself what is wrong */
    *call = (struct call){.work = work, .cb = cb, .data = data};
    remember(amqp, call);
    const till_job_t job = {.work = run_work, .done = on_worked, .drop = free_work, .arg = work, .data = call};
    return till_offload_run(amqp->thread, &job, timeout_ms);
}
