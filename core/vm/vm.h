/* vm.h - one LuaJIT VM: a generation inside a worker, and the calls into it.
 *
 * Life:  create (any thread: an offload thread builds it aside)
 *        -> attach (the loop's thread: now it may wait and be called)
 *        -> retire (no new calls; background coroutines are told to end)
 *        -> closed by itself when the last call is done, or at its deadline.
 *
 * A call is a coroutine. Each wait in it is an operation with a deadline and an
 * undo (io/op.h); cancelling the call cancels the operation, and the coroutine
 * unwinds with an error `cancelled`. Nothing outside vm/ sees a lua_State.
 *
 * The Lua side of the contract is lua/till/main.lua; see docs/architecture.md.
 */
#ifndef TILL_VM_VM_H
#define TILL_VM_VM_H

#include "base/trace.h"
#include "io/amqp.h"
#include "io/http.h"
#include "io/offload.h"
#include "io/redis.h"
#include "io/sql.h"
#include "vm/box/client.h"
#include "vm/bundle.h"
#include "vm/live.h"

typedef struct till_vm till_vm_t;
typedef struct till_call till_call_t;

/* How the VMs of a process collect their garbage. */
typedef struct till_vm_gc {
    uint64_t cycles;
    till_hist_t full; /* full collections, which nobody else is served during */
} till_vm_gc_t;

/* How important a request is, the least first; routes declare it (lua/till/http/route.lua). */
typedef enum till_priority {
    TILL_PRIORITY_READ,
    TILL_PRIORITY_STAFF,
    TILL_PRIORITY_CART,
    TILL_PRIORITY_CHECKOUT,
    TILL_PRIORITY_COUNT,
    TILL_PRIORITY_NONE = TILL_PRIORITY_COUNT, /* nobody needed to know */
} till_priority_t;

/** "read", "staff", "cart", "checkout"; "none". */
const char *till_priority_name(till_priority_t priority);

/* What a VM may use; all borrowed, outliving it. Any of sql, redis, http, box, amqp may be NULL (a check without I/O).
 */
typedef struct till_vm_env {
    till_loop_t *loop;
    till_sql_pool_t *sql;
    till_redis_t *redis;
    till_http_t *http;
    till_offload_t *offload;
    till_rulebox_t *box; /* for merchants' rules */
    till_amqp_t *amqp;
    till_offload_t *loader; /* where a VM that is over is freed; NULL: at once */
    const till_conf_t *conf;
    const char *process; /* "web-0", "jobs-1", "command" */
    const char *var_dir; /* may be NULL */
    size_t memory_cap;   /* bytes; 0: none */
    till_vm_gc_t *gc;    /* counted here; may be NULL */
    uint64_t sql_ms;     /* the most that a statement may take, 0: 5 s; */
    uint64_t redis_ms;   /* a command, 0: 2 s; */
    uint64_t http_ms;    /* an outbound request, 0: 10 s; never past the deadline of the call */
    /** A request is about to ask the database for the first time. @return 0, or how many ms its client should stay
     * away: it is refused as overload. NULL is allowed. */
    unsigned (*refuse)(void *refuse_data, till_priority_t priority);
    void *refuse_data;
    /** Asks the master of this process, as a line of its control socket does (serve/control.h); `text` of the answer is
     * its last line. @return an operation, or NULL where the master cannot be reached. NULL is allowed: there is none
     */
    till_op_t *(*ask)(void *data_of_ask, till_slice_t command, uint64_t timeout_ms,
                      void (*done)(void *data, till_status_t status, const char *text, size_t len), void *data);
    void *data_of_ask;
    const till_live_face_t *live; /* the streams of this process; NULL: it has none */
    bool is_command;              /* gives the bindings for files and terminals that only commands have */
    void (*on_metrics)(void *data, const char *name, const char *labels, double value,
                       char kind); /* 'c' add, 'g' set, 'h' observe */
    void *data;
} till_vm_env_t;

/**
 * Loads lua/till/main.lua of `bundle` (ref'd by the VM: it takes ownership) and
 * runs it: all modules, plugins, contracts are checked here, without waiting,
 * and refused when that takes more than two seconds of CPU.
 * `bundle` is destroyed also on failure.
 * @return NULL and "file:line: reason" in `error` if anything is wrong
 */
till_vm_t *till_vm_create(till_bundle_t *bundle, const till_vm_env_t *env, char *error, size_t error_size);
/** On the loop's thread, once, before any call. */
void till_vm_attach(till_vm_t *vm);
/** Fills the caches of `vm`, attached and not served yet, with the pages that `like` gave most in the last second; for
 * at most `limit_ms`. `done` runs exactly once, perhaps inside this call; `vm` may be retired meanwhile, not before it
 * has returned. */
void till_vm_warm(till_vm_t *vm, const till_vm_t *like, uint64_t limit_ms, void (*done)(void *data), void *data);
/** No more calls; `closed` runs when the last of them is gone (or was cancelled at the deadline) and the VM is freed.
 */
void till_vm_retire(till_vm_t *vm, uint64_t deadline_ms, void (*closed)(void *data), void *data);
const char *till_vm_generation(const till_vm_t *vm);
/** The version of LuaJIT. */
const char *till_vm_library(void);
size_t till_vm_memory(const till_vm_t *vm);
unsigned till_vm_calls(const till_vm_t *vm);

/** For a signal handler in a process that loads a generation and nothing else: the file, or file and line, that it is
 * at. @return false where it loads none */
bool till_vm_loading_place(char *out, size_t size);

/* ---- an HTTP request ------------------------------------------------- */

/* Filled by serve/; everything is borrowed and must live until `done`. */
typedef struct till_request {
    till_slice_t method, path, query; /* path as sent, without the query; query without '?' */
    till_slice_t authority, peer;     /* "203.0.113.7" */
    till_slice_t body;
    const till_header_t *headers; /* names lower case */
    size_t header_count;
    till_trace_t trace;
    const char *request_id;
    bool tls;
    till_priority_t priority; /* NONE where it was not found out */
} till_request_t;

typedef struct till_response {
    int status;
    const till_header_t *headers;
    size_t header_count;
    till_slice_t body;
    const char *route;             /* template for the metrics: "/store/v1/carts/{id}", never NULL */
    const char *error;             /* of a 500: for the log only; else NULL */
    uint64_t keep_ms;              /* the same answer may be given for so long (vm/pages.h) */
    const till_live_begin_t *live; /* not NULL: this answer goes on as a stream, and has no body */
} till_response_t;

/** `response` lives until this returns. A cancelled call is told TILL_CANCELLED and `response` is NULL; so is one out
 * of time: TILL_TIMEOUT. */
typedef void (*till_http_done_cb)(void *data, till_status_t status, const till_response_t *response);
/** Runs main.http(request) in a coroutine, or answers with a page that was kept. `done` runs exactly once; it may run
 * inside this call (a handler that did not wait). @return the call, borrowed until `done`; NULL where `done` has run
 * already */
till_call_t *till_vm_http(till_vm_t *vm, const till_request_t *request, uint64_t timeout_ms, till_http_done_cb done,
                          void *data);

/** What main.priority(method, path) says, without waiting; READ where it says nothing. Not from inside a call. */
till_priority_t till_vm_priority(till_vm_t *vm, till_slice_t method, till_slice_t path);

/* ---- everything else -------------------------------------------------- */

/** `text` is what the function returned as a string (JSON or message), or the error. */
typedef void (*till_run_done_cb)(void *data, till_status_t status, const char *text, size_t len);
/** Runs main[entry](argument...) in a coroutine: "jobs", "command", "boot". Without deadline if timeout_ms is 0. */
till_call_t *till_vm_run(till_vm_t *vm, const char *entry, const char *const *arguments, size_t n, uint64_t timeout_ms,
                         till_run_done_cb done, void *data);
/** The wait it is in is cancelled, later waits fail at once; `done` follows from the loop. After `done`: do not touch.
 */
void till_call_cancel(till_call_t *call);

/* ---- what runs just now ----------------------------------------------- */

typedef struct till_running {
    char plugin[48];     /* "" outside of plugins */
    char what[96];       /* the hook or the route; of the core the request's method and path */
    char request_id[32]; /* "" where it is no request */
    char trace_id[40];
    char generation[16]; /* the beginning of it; "" where no Lua runs */
} till_running_t;

/** Fills it in for the thread of the loop. Made for a signal handler that interrupts it, compiled Lua included. */
void till_vm_running(till_running_t *out);

#endif
