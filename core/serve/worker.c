#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <openssl/crypto.h>
#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "serve/channel.h"
#include "serve/errand.h"
#include "serve/gauges.h"
#include "serve/overload.h"
#include "serve/pools.h"
#include "serve/worker.h"

#define TICK_MS 1000
#define PING_TIMEOUT_MS 2000
#define FRESH_MS 10000 /* the database answered "lately" */
#define JOBS_AGAIN_MS 1000
#define ORPHAN_SECONDS 2
#define WARM_MS 250        /* a new generation may look at what is asked for, before it is served */
#define LAST_WORDS_MS 1000 /* of background work that was told to end: it tells the database what it has counted */

struct worker {
    const till_worker_opts_t *opts;
    till_pools_t pools;
    till_errands_t errands;
    till_overload_t overload;
    till_server_t *server;
    till_vm_t *live, *prepared;
    struct load *load; /* at most one at a time; the master asks for no more, but for another after an abort: */
    char wanted[TILL_GENERATION_NAME + 1]; /* begun when the aborted one is off its thread; "": none */
    unsigned open_vms;                     /* live, prepared and retired ones that are not closed yet */
    SSL_CTX *ssl;                          /* NULL: none */
    h2o_socket_t *channel, *signals;
    till_timer_t tick, beat_timer, jobs_timer;
    uint64_t sql_answered_ms;
    till_op_t *ping;
    till_gauges_t *gauges;
    bool is_stopping, is_drained, jobs_running;
    int exit_code;
};

/* A generation on its way in. Between the threads only one side holds it. */
struct load {
    struct worker *worker;
    char name[TILL_GENERATION_NAME + 1];
    bool is_first, is_aborted;
    till_vm_t *vm;
    char error[2048];
};

static void tell(struct worker *worker, const char *verb, const char *name, const char *text)
{
    if (worker->opts->channel != -1 && !till_channel_send(worker->opts->channel, verb, name, text))
        till_log_msg(TILL_LOG_WARN, "worker.channel", "the master was not told: %s %s", verb, name);
}

/* ---- the end ------------------------------------------------------------ */

static void end_if_done(struct worker *worker)
{
    if (worker->is_stopping && worker->is_drained && worker->load == NULL && worker->open_vms == 0)
        till_loop_stop(worker->pools.loop);
}

/* A VM on its way out. */
struct closing {
    struct worker *worker;
    char name[TILL_GENERATION_NAME + 1];
};

static void on_vm_closed(void *data)
{
    struct closing *closing = data;
    struct worker *worker = closing->worker;

    --worker->open_vms;
    tell(worker, "closed", closing->name, NULL);
    free(closing);
    end_if_done(worker);
}

static void retire(struct worker *worker, till_vm_t *vm, uint64_t deadline_ms)
{
    if (vm == NULL)
        return;
    struct closing *closing = till_calloc(1, sizeof(*closing));
    closing->worker = worker;
    snprintf(closing->name, sizeof(closing->name), "%s", till_vm_generation(vm));
    tell(worker, "cooling", closing->name, NULL);
    till_vm_retire(vm, deadline_ms, on_vm_closed, closing);
}

static void retire_all(struct worker *worker, uint64_t deadline_ms)
{
    till_vm_t *live = worker->live, *prepared = worker->prepared;

    worker->live = worker->prepared = NULL;
    retire(worker, prepared, 0);
    retire(worker, live, deadline_ms);
}

/* The requests are answered; what is left in the VM is background work. */
static void on_drained(void *data)
{
    struct worker *worker = data;

    worker->is_drained = true;
    retire_all(worker, LAST_WORDS_MS);
    end_if_done(worker);
}

/* The last resort against a stop that takes no end, where no master is left to see it. */
static void outlive_master(const struct worker *worker)
{
    alarm((unsigned)(worker->opts->limits->drain_timeout_ms / 1000) + ORPHAN_SECONDS + 1);
}

static void begin_stop(struct worker *worker)
{
    uint64_t deadline = worker->opts->limits->drain_timeout_ms;

    if (worker->is_stopping)
        return;
    worker->is_stopping = true;
    till_timer_stop(&worker->jobs_timer);
    tell(worker, "draining", "-", NULL);
    if (worker->server != NULL) {
        till_server_drain(worker->server, deadline, on_drained, worker);
        return;
    }
    worker->is_drained = true;
    retire_all(worker, deadline);
    end_if_done(worker);
}

/* ---- what runs in a generation besides requests -------------------------- */

static void start_entries(struct worker *worker);

static void on_jobs_again(till_timer_t *timer)
{
    start_entries(H2O_STRUCT_FROM_MEMBER(struct worker, jobs_timer, timer));
}

struct entry {
    struct worker *worker;
    till_vm_t *vm; /* compared only: it may be gone */
};

static void on_entry_done(void *data, till_status_t status, const char *text, size_t len)
{
    struct entry *entry = data;
    struct worker *worker = entry->worker;
    bool is_live = entry->vm == worker->live && !worker->is_stopping;

    free(entry);
    if (status != TILL_OK && status != TILL_CANCELLED)
        till_log_msg(TILL_LOG_ERROR, "worker.entry", "%s: %.*s", till_status_code(status), (int)len,
                     text != NULL ? text : "");
    if (!worker->opts->is_web && is_live) /* jobs must not stop because of one fault */
        till_timer_start(worker->pools.loop, &worker->jobs_timer, JOBS_AGAIN_MS, on_jobs_again);
}

static void start_entries(struct worker *worker)
{
    struct entry *entry = till_alloc(sizeof(*entry));

    *entry = (struct entry){worker, worker->live};
    till_timer_stop(&worker->jobs_timer);
    if (worker->opts->is_web)
        till_vm_run(worker->live, "background", NULL, 0, 0, on_entry_done, entry);
    else
        till_vm_run(worker->live, "jobs", &worker->opts->name, 1, 0, on_entry_done, entry);
}

/* ---- generations ---------------------------------------------------------- */

/* What a step of a swap took: nobody is served meanwhile. In a worker for jobs nobody is anyhow. */
static void note_step(struct worker *worker, double begun)
{
    if (worker->opts->is_web)
        till_metrics_observe(worker->opts->metrics, "till_generation_swap_duration_seconds", NULL,
                             till_hist_now() - begun);
}

static void go_live(struct worker *worker, till_vm_t *vm)
{
    till_vm_t *old = worker->live;
    double begun = till_hist_now();

    worker->live = vm;
    till_metrics_set_generation(worker->opts->metrics, till_vm_generation(vm));
    till_metrics_add(worker->opts->metrics, "till_generation_swaps_total", NULL, 1);
    till_log_msg(TILL_LOG_INFO, "generation.live", "%s", till_vm_generation(vm));
    start_entries(worker);
    retire(worker, old, worker->opts->limits->retire_timeout_ms);
    note_step(worker, begun);
}

/* On a thread of the pool. */
static void load_work(void *arg)
{
    struct load *load = arg;
    till_bundle_t *bundle = till_bundle_load(load->worker->opts->var_dir, load->name, load->error, sizeof(load->error));

    if (bundle != NULL)
        load->vm = till_vm_create(bundle, &load->worker->pools.env, load->error, sizeof(load->error));
}

/* The server keeps a copy. Ours would keep the port taken, and clients waiting, while we drain. */
static void listen_on(struct worker *worker, till_face_t face, int fd)
{
    if (worker->server == NULL || fd == -1)
        return;
    till_server_listen(worker->server, face, fd);
    close(fd);
}

static void load_failed(struct worker *worker, const struct load *load)
{
    till_log_msg(TILL_LOG_ERROR, "generation.refused", "%.12s: %s", load->name, load->error);
    tell(worker, "failed", load->name, load->error);
    if (load->is_first) {
        worker->exit_code = TILL_WORKER_EXIT_LOAD;
        begin_stop(worker);
    }
}

static void begin_wanted(struct worker *worker);

static void end_load(struct load *load)
{
    struct worker *worker = load->worker;

    worker->load = NULL;
    free(load);
    begin_wanted(worker);
    end_if_done(worker);
}

static void serve_first(struct worker *worker, const struct load *load)
{
    go_live(worker, load->vm);
    listen_on(worker, TILL_FACE_PUBLIC, worker->opts->listen_fd);
    listen_on(worker, TILL_FACE_OPS, worker->opts->ops_fd);
    tell(worker, "ready", load->name, NULL);
}

static void on_warm(void *data)
{
    struct load *load = data;
    struct worker *worker = load->worker;

    if (load->is_aborted || worker->is_stopping) {
        retire(worker, load->vm, 0);
    } else if (load->is_first) {
        serve_first(worker, load);
    } else {
        TILL_CRASH("generation.prepared");
        worker->prepared = load->vm;
        tell(worker, "prepared", load->name, NULL);
    }
    end_load(load);
}

static void on_loaded(void *data, till_status_t status, void *arg)
{
    struct worker *worker = data;
    struct load *load = arg;

    (void)status; /* without a deadline, and nobody cancels it */
    if (load->vm == NULL) {
        if (!load->is_aborted)
            load_failed(worker, load);
        end_load(load);
        return;
    }
    double begun = till_hist_now();
    ++worker->open_vms;
    till_vm_attach(load->vm);
    if (worker->live != NULL && !load->is_aborted)
        till_vm_warm(load->vm, worker->live, WARM_MS, on_warm, load);
    else
        on_warm(load);
    note_step(worker, begun);
}

static void begin_load(struct worker *worker, const char *name, bool is_first)
{
    struct load *load = till_calloc(1, sizeof(*load));
    till_job_t job = {.work = load_work, .done = on_loaded, .drop = free, .arg = load, .data = worker};

    load->worker = worker;
    load->is_first = is_first;
    snprintf(load->name, sizeof(load->name), "%s", name);
    worker->load = load;
    /* nobody is served before the first one is there */
    till_offload_run(is_first ? worker->pools.offload : worker->pools.loader, &job, 0);
}

static void begin_wanted(struct worker *worker)
{
    if (worker->wanted[0] != '\0' && !worker->is_stopping)
        begin_load(worker, worker->wanted, false);
    worker->wanted[0] = '\0';
}

static void prepare(struct worker *worker, const char *name)
{
    bool is_loading = worker->load != NULL && !worker->load->is_aborted;

    if (worker->is_stopping)
        tell(worker, "draining", "-", NULL); /* asked before the first one was heard */
    else if (is_loading || worker->prepared != NULL)
        tell(worker, "failed", name, "the worker is busy with another generation");
    else if (worker->load != NULL)
        snprintf(worker->wanted, sizeof(worker->wanted), "%s", name);
    else
        begin_load(worker, name, false);
}

/* Connections hold the context on which they began. */
static void renew_certificate(struct worker *worker, till_message_t *message)
{
    const till_buf_t pem = {.base = message->text, .len = strlen(message->text)};
    char error[512];
    SSL_CTX *fresh = worker->ssl != NULL ? till_tls_create(&pem, worker->ssl, error, sizeof(error)) : NULL;

    OPENSSL_cleanse(message->text, pem.len);
    if (fresh == NULL)
        return; /* the master has tried it: there is no other reason than that we have no TLS */
    SSL_CTX_free(worker->ssl);
    worker->ssl = fresh;
    if (worker->server != NULL)
        till_server_use_tls(worker->server, fresh);
}

static void commit(struct worker *worker, const char *name)
{
    till_vm_t *vm = worker->prepared;

    if (vm == NULL || strcmp(till_vm_generation(vm), name) != 0)
        return; /* stopping: it was dropped */
    TILL_CRASH("generation.commit");
    worker->prepared = NULL;
    go_live(worker, vm);
    tell(worker, "committed", name, NULL);
}

static void abort_load(struct worker *worker, const char *name)
{
    till_vm_t *vm = worker->prepared;

    if (worker->load != NULL && strcmp(worker->load->name, name) == 0)
        worker->load->is_aborted = true;
    if (strcmp(worker->wanted, name) == 0)
        worker->wanted[0] = '\0';
    if (vm == NULL || strcmp(till_vm_generation(vm), name) != 0)
        return;
    worker->prepared = NULL;
    retire(worker, vm, 0);
}

static void on_channel(h2o_socket_t *sock, const char *err)
{
    struct worker *worker = sock->data;
    till_message_t message;
    int got = err != NULL ? -1 : 0;

    while (got != -1 && (got = till_channel_receive(worker->opts->channel, &message)) == 1) {
        if (strcmp(message.verb, "prepare") == 0)
            prepare(worker, message.name);
        else if (strcmp(message.verb, "commit") == 0)
            commit(worker, message.name);
        else if (strcmp(message.verb, "abort") == 0)
            abort_load(worker, message.name);
        else if (strcmp(message.verb, "certificate") == 0)
            renew_certificate(worker, &message);
        else if (strcmp(message.verb, "level") == 0)
            till_log_set_level(till_log_level_named(message.text));
        else if (strcmp(message.verb, "run") == 0)
            till_errands_run(&worker->errands, worker->live, &message);
        else if (strcmp(message.verb, "answer") == 0)
            till_errands_on_answer(&worker->errands, &message);
    }
    if (got == -1) {
        outlive_master(worker);
        h2o_socket_read_stop(sock);
        begin_stop(worker);
    }
}

/* ---- what others see of us ------------------------------------------------ */

static till_call_t *backend_http(void *data, const till_request_t *request, uint64_t timeout_ms, till_http_done_cb done,
                                 void *done_data)
{
    struct worker *worker = data;

    return worker->live != NULL ? till_vm_http(worker->live, request, timeout_ms, done, done_data) : NULL;
}

static till_priority_t backend_priority(void *data, till_slice_t method, till_slice_t path)
{
    struct worker *worker = data;

    return worker->live != NULL ? till_vm_priority(worker->live, method, path) : TILL_PRIORITY_READ;
}

static const char *backend_generation(void *data)
{
    struct worker *worker = data;

    return worker->live != NULL ? till_vm_generation(worker->live) : NULL;
}

static bool database_answers(const struct worker *worker)
{
    return worker->sql_answered_ms != 0 && till_loop_now(worker->pools.loop) - worker->sql_answered_ms < FRESH_MS;
}

static bool backend_is_ready(void *data, till_buf_t *reasons)
{
    struct worker *worker = data;

    if (worker->live == NULL)
        till_buf_puts(reasons, "\"generation\":\"none is live\"");
    if (!database_answers(worker))
        till_buf_printf(reasons, "%s\"database\":\"does not answer\"", reasons->len != 0 ? "," : "");
    return reasons->len == 0;
}

static void backend_refresh(void *data)
{
    struct worker *worker = data;
    const till_vm_t *vm = worker->live;
    const till_gauges_of_vm_t of_vm = {
        .memory = vm != NULL ? till_vm_memory(vm) : 0,
        .calls = vm != NULL ? till_vm_calls(vm) : 0,
        .generations = worker->open_vms,
    };

    till_gauges_refresh(worker->gauges, &of_vm, database_answers(worker));
}

/* Lua's counters, gauges and histograms. */
static void on_metrics(void *data, const char *name, const char *labels, double value, char kind)
{
    till_metrics_t *metrics = data;

    if (kind == 'c')
        till_metrics_add(metrics, name, labels, value);
    else if (kind == 'h')
        till_metrics_observe(metrics, name, labels, value);
    else
        till_metrics_set(metrics, TILL_METRIC_LAST, name, labels, value);
}

static void on_pong(void *data, till_status_t status, const till_sql_result_t *result)
{
    struct worker *worker = data;

    (void)result;
    worker->ping = NULL;
    if (status == TILL_OK)
        worker->sql_answered_ms = till_loop_now(worker->pools.loop);
}

static void on_tick(till_timer_t *timer)
{
    struct worker *worker = H2O_STRUCT_FROM_MEMBER(struct worker, tick, timer);

    till_gauges_tick(worker->gauges);
    backend_refresh(worker);
    if (worker->ping == NULL && !worker->is_stopping)
        worker->ping =
            till_sql_query(worker->pools.sql, (till_slice_t){"SELECT 1", 8}, NULL, 0, PING_TIMEOUT_MS, on_pong, worker);
    till_timer_start(worker->pools.loop, timer, TICK_MS, on_tick);
}

static void on_beat(till_timer_t *timer)
{
    struct worker *worker = H2O_STRUCT_FROM_MEMBER(struct worker, beat_timer, timer);

    till_watch_beat(worker->opts->watch, worker->opts->slot);
    till_timer_start(worker->pools.loop, timer, TILL_WATCH_BEAT_MS, on_beat);
}

/* ---- set-up ---------------------------------------------------------------- */

static void on_signal(h2o_socket_t *sock, const char *err)
{
    struct signalfd_siginfo info;

    (void)err;
    while (read(h2o_socket_get_fd(sock), &info, sizeof(info)) == (ssize_t)sizeof(info))
        begin_stop(sock->data);
}

static h2o_socket_t *watch_fd(struct worker *worker, int fd, h2o_socket_cb cb)
{
    h2o_socket_t *sock = h2o_evloop_socket_create(till_loop_h2o(worker->pools.loop), fd, H2O_SOCKET_FLAG_DONT_READ);

    sock->data = worker;
    h2o_socket_read_start(sock, cb);
    return sock;
}

/* A Ctrl-C reaches the whole group of processes, but it is the master who ends us, in order. */
static sigset_t take_signals(void)
{
    sigset_t mask;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sigemptyset(&mask);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    sigaddset(&mask, SIGTERM);
    sigprocmask(SIG_BLOCK, &mask, NULL); /* before the threads are made, so that they leave it to us */
    return mask;
}

static void on_master_died(int signal)
{
    (void)signal;
    alarm(ORPHAN_SECONDS); /* a loop that turns sees the channel end, and puts it off */
}

/* After a change of the user: that takes the wish back. */
static void notice_end_of_master(void)
{
    struct sigaction action = {.sa_handler = on_master_died, .sa_flags = SA_RESTART};

    sigaction(SIGUSR2, &action, NULL);
    prctl(PR_SET_PDEATHSIG, SIGUSR2);
}

static void set_up(struct worker *worker)
{
    const till_worker_opts_t *opts = worker->opts;
    sigset_t mask = take_signals();

    till_log_set_process(opts->name);
    till_pools_init(&worker->pools, opts->conf, opts->name, opts->var_dir);
    worker->pools.env.on_metrics = on_metrics;
    worker->pools.env.data = opts->metrics;
    till_errands_init(&worker->errands, worker->pools.loop, opts->channel);
    worker->pools.env.ask = till_errands_ask;
    worker->pools.env.data_of_ask = &worker->errands;
    worker->gauges = till_gauges_create(opts->metrics, &worker->pools, opts->name);
    worker->signals = watch_fd(worker, signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC), on_signal);
    if (opts->watch != NULL) {
        notice_end_of_master();
        till_watch_join(opts->watch, opts->slot);
        till_timer_start(worker->pools.loop, &worker->beat_timer, 0, on_beat);
    }
    if (opts->channel != -1)
        worker->channel = watch_fd(worker, dup(opts->channel), on_channel);
    if (opts->is_web) {
        till_overload_begin(&worker->overload, &worker->pools, opts->metrics, opts->limits->queue_target_ms);
        worker->server = till_server_create(&(till_server_opts_t){
            .loop = worker->pools.loop,
            .limits = opts->limits,
            .metrics = opts->metrics,
            .ssl = worker->ssl,
            .static_dir = opts->static_dir,
            .admit = &worker->overload.admit,
            .lag = worker->overload.lag,
            .backend = {.http = backend_http,
                        .cancel = till_call_cancel,
                        .generation = backend_generation,
                        .is_ready = backend_is_ready,
                        .refresh = backend_refresh,
                        .priority = backend_priority,
                        .data = worker},
        });
        worker->pools.env.live = till_server_live(worker->server);
    }
    till_timer_start(worker->pools.loop, &worker->tick, 0, on_tick);
}

/* libh2o frees a socket on the turn after its close. */
static void tear_down(struct worker *worker)
{
    till_timer_stop(&worker->tick);
    till_timer_stop(&worker->beat_timer);
    till_timer_stop(&worker->jobs_timer);
    till_server_destroy(worker->server);
    till_overload_end(&worker->overload);
    h2o_socket_close(worker->signals);
    if (worker->channel != NULL)
        h2o_socket_close(worker->channel);
    till_op_cancel(worker->ping);
    while (worker->ping != NULL)
        till_loop_turn(worker->pools.loop, 10);
    till_loop_turn(worker->pools.loop, 0);
    till_gauges_destroy(worker->gauges);
    till_pools_dispose(&worker->pools);
}

int till_worker_run(const till_worker_opts_t *opts)
{
    struct worker worker = {.opts = opts, .ssl = opts->ssl};

    set_up(&worker);
    begin_load(&worker, opts->generation, true);
    till_log_gather(true);
    till_loop_run(worker.pools.loop);
    tear_down(&worker);
    till_log_gather(false);
    return worker.exit_code;
}
