/* offload.c - lanes of jobs, the threads, and the way back through a mailbox.
 *
 * A task lives on two sides: its op on the loop's thread, its job in the queue
 * or on a thread. It is freed when both have ended: `told` says that the
 * caller's callback has run, `back` that no thread and no queue knows the task.
 *
 *      queued --thread takes it--> running --mail--> back
 *         |                                           ^
 *         +---------------- abort --------------------+
 */
#include "io/offload.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/mem.h"
#include "io/mailbox.h"

typedef struct task {
    till_op_t op;
    till_mail_t mail;
    struct task *next; /* in its lane, under the lock */
    till_offload_t *pool;
    till_job_t job;
    bool told, back;
} task_t;

typedef struct lane {
    task_t *first, **tail;
    unsigned len;
} lane_t;

struct till_offload {
    till_loop_t *loop;
    till_mailbox_t *mailbox;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    lane_t lanes[TILL_OFFLOAD_LANES]; /* under the lock */
    unsigned turn;                    /* the lane that is next, under the lock */
    bool closing;                     /* under the lock */
    unsigned threads;
    int niceness;
    pthread_t thread[];
};

static void free_if_over(task_t *task)
{
    if (task->told && task->back)
        free(task);
}

static void drop_result(task_t *task)
{
    task->back = true;
    if (task->job.drop != NULL)
        task->job.drop(task->job.arg);
}

static void on_back(till_mail_t *mail)
{
    task_t *task = H2O_STRUCT_FROM_MEMBER(task_t, mail, mail);

    if (task->op._finishing) { /* it was cancelled, or its deadline passed */
        drop_result(task);
        free_if_over(task);
        return;
    }
    task->back = true;
    if (task->pool->closing)
        till_op_finish(&task->op, TILL_OK); /* we are inside till_offload_destroy */
    else
        till_op_finish_now(&task->op, TILL_OK);
}

static void on_done(till_op_t *op, till_status_t status)
{
    task_t *task = (task_t *)op;
    till_job_t job = task->job;

    task->told = true;
    free_if_over(task);
    job.done(job.data, status, status == TILL_OK ? job.arg : NULL);
}

static void push(lane_t *lane, task_t *task)
{
    *lane->tail = task;
    lane->tail = &task->next;
    lane->len++;
}

/* @return whether it was there; it is not any more. */
static bool take_out(lane_t *lane, const task_t *task)
{
    task_t **at;

    for (at = &lane->first; *at != NULL && *at != task; at = &(*at)->next)
        ;
    if (*at == NULL)
        return false;
    *at = task->next;
    if (lane->tail == &task->next)
        lane->tail = at;
    lane->len--;
    return true;
}

/* @return whether the task was still queued; it is not any more. */
static bool unqueue(till_offload_t *pool, const task_t *task)
{
    bool found;

    pthread_mutex_lock(&pool->lock);
    found = take_out(&pool->lanes[task->job.lane], task);
    pthread_mutex_unlock(&pool->lock);
    return found;
}

static void on_abort(till_op_t *op, till_status_t why)
{
    task_t *task = (task_t *)op;

    (void)why;
    /* Where a thread has it already, on_back drops the result. */
    if (!task->back && unqueue(task->pool, task))
        drop_result(task);
}

/* @return the first of the lane whose turn it is, or of the next that has one; NULL: there is none. Under the lock. */
static task_t *first_of_turn(till_offload_t *pool)
{
    for (unsigned i = 0; i < TILL_OFFLOAD_LANES; i++) {
        lane_t *lane = &pool->lanes[(pool->turn + i) % TILL_OFFLOAD_LANES];

        if (lane->first != NULL)
            return lane->first;
    }
    return NULL;
}

/* Waits for a job; NULL says that the pool closes. */
static task_t *next_task(till_offload_t *pool)
{
    task_t *task;

    pthread_mutex_lock(&pool->lock);
    while ((task = first_of_turn(pool)) == NULL && !pool->closing)
        pthread_cond_wait(&pool->wake, &pool->lock);
    if (task != NULL) {
        take_out(&pool->lanes[task->job.lane], task);
        pool->turn = (task->job.lane + 1) % TILL_OFFLOAD_LANES;
    }
    pthread_mutex_unlock(&pool->lock);
    return task;
}

/* On Linux it is a thread's own; to be nicer is never refused. */
static void be_nice(int niceness)
{
    if (niceness != 0)
        setpriority(PRIO_PROCESS, (id_t)gettid(), getpriority(PRIO_PROCESS, 0) + niceness);
}

static void *run_thread(void *arg)
{
    till_offload_t *pool = arg;
    task_t *task;

    be_nice(pool->niceness);
    while ((task = next_task(pool)) != NULL) {
        task->job.work(task->job.arg);
        till_mailbox_post(pool->mailbox, &task->mail);
    }
    return NULL;
}

/* Signals are the loop's thread's business. */
static void create_thread(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
    sigset_t all, old;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    if (pthread_create(thread, NULL, run, arg) != 0)
        abort();
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

till_offload_t *till_offload_create(till_loop_t *loop, unsigned threads, int niceness)
{
    till_offload_t *pool = till_calloc(1, sizeof(*pool) + threads * sizeof(pool->thread[0]));

    assert(threads > 0);
    pool->loop = loop;
    pool->niceness = niceness;
    pool->mailbox = till_mailbox_create(loop);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    for (unsigned i = 0; i < TILL_OFFLOAD_LANES; i++)
        pool->lanes[i].tail = &pool->lanes[i].first;
    for (; pool->threads < threads; pool->threads++)
        create_thread(&pool->thread[pool->threads], run_thread, pool);
    return pool;
}

struct apart {
    int niceness;
    void (*work)(void *arg);
    void *arg;
};

static void *run_apart(void *arg)
{
    const struct apart *apart = arg;

    be_nice(apart->niceness);
    apart->work(apart->arg);
    return NULL;
}

void till_offload_wait(int niceness, void (*work)(void *arg), void *arg)
{
    struct apart apart = {niceness, work, arg};
    pthread_t thread;

    create_thread(&thread, run_apart, &apart);
    pthread_join(thread, NULL);
}

static task_t *first_queued(till_offload_t *pool)
{
    task_t *task;

    pthread_mutex_lock(&pool->lock);
    task = first_of_turn(pool);
    pthread_mutex_unlock(&pool->lock);
    return task;
}

void till_offload_destroy(till_offload_t *pool)
{
    task_t *task;

    while ((task = first_queued(pool)) != NULL)
        till_op_cancel(&task->op);
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->threads; i++)
        pthread_join(pool->thread[i], NULL);
    till_mailbox_destroy(pool->mailbox);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

till_op_t *till_offload_run(till_offload_t *pool, const till_job_t *job, uint64_t timeout_ms)
{
    task_t *task = till_calloc(1, sizeof(*task));

    assert(job->lane < TILL_OFFLOAD_LANES);
    task->pool = pool;
    task->job = *job;
    task->mail.deliver = on_back;
    till_op_init(&task->op, pool->loop, timeout_ms, on_abort, on_done);
    pthread_mutex_lock(&pool->lock);
    push(&pool->lanes[job->lane], task);
    pthread_cond_signal(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    return &task->op;
}

unsigned till_offload_waiting(till_offload_t *pool, unsigned lane)
{
    unsigned len;

    pthread_mutex_lock(&pool->lock);
    len = pool->lanes[lane].len;
    pthread_mutex_unlock(&pool->lock);
    return len;
}
