/* vm_priv.h - what the files of vm/ share and nobody else sees.
 *
 * One till_co_t is one call: a coroutine, its deadline, the operation that it
 * waits for and the resources (boxes) that it owns. Calls and their threads are
 * reused.
 *
 *            begin            park              resume
 *   pooled ---------> RUNNING -----> PARKED -----------> RUNNING ---> finish ---> pooled
 *
 * Invariants
 *  1. A parked call has exactly one operation in flight; a call that is not has none.
 *  2. Nothing allocates from Lua outside of lua_resume or a protected call except
 *     while `running` is 0: then the memory cap does not refuse (see vm_alloc), so
 *     pushing an operation's results cannot throw.
 *  3. The boxes of a call are released before its `done` runs, whatever happened.
 */
#ifndef TILL_VM_VM_PRIV_H
#define TILL_VM_VM_PRIV_H

#include "base/buf.h"
#include "base/json.h"
#include "vm/co.h"
#include "vm/heap.h"
#include "vm/pages.h"

#define TILL_VM_POOLED 256 /* calls kept for reuse */
#define TILL_VM_REFUSALS                                                                                               \
    64 /* waits that a cancelled call may try before they throw; after twice as many it is killed */
/* Percent of what is live that a heap grows to before it is collected: a worker keeps most of what it has, and each
 * round looks at all of that once more. With 400 a round less often saves 1 % of the CPU and takes a third more memory.
 */
#define TILL_VM_PAUSE_ROOMY 250
#define TILL_VM_PAUSE_TIGHT 200
#define TILL_VM_INSIDE 8 /* plugins within one another that are known by name */

/* ---- boxes: userdata that own something of C's ------------------------ */

typedef struct till_box till_box_t;
typedef struct till_box_type {
    const char *name;
    void (*release)(till_box_t *box); /* lets go of it; runs once */
    const luaL_Reg *methods;          /* besides `close`-like ones of their own; may be NULL */
    unsigned slot;                    /* TILL_BOX_* */
} till_box_type_t;

enum {
    TILL_BOX_TX,
    TILL_BOX_LOCK,
    TILL_BOX_WAITER,
    TILL_BOX_SUBSCRIPTION,
    TILL_BOX_CSV,
    TILL_BOX_TASK,
    TILL_BOX_SEAT,
    TILL_BOX_COUNT
};

/* The first member of each box. */
struct till_box {
    const till_box_type_t *type;
    till_vm_t *vm;
    till_box_t *next, **at; /* in its owner's list; at is NULL once it was released */
};

/** A userdata of `size` bytes, zeroed but for its head, owned by `co`, or by the VM where that is NULL. [-0, +1] */
void *till_box_new(lua_State *L, const till_box_type_t *type, size_t size, till_co_t *co);
/** Throws when the argument is not such a box. */
void *till_box_check(lua_State *L, int index, const till_box_type_t *type);
void till_box_release(till_box_t *box);

/* ---- a call ------------------------------------------------------------ */

enum till_co_kind { TILL_CO_HTTP, TILL_CO_RUN, TILL_CO_SPAWN };

struct till_co {
    till_vm_t *vm;
    till_co_t *next, **at; /* the VM's calls, or its pool */
    lua_State *L;
    int thread_ref;
    lua_State *stash; /* where a park inside a coroutine of Lua's own leaves what it keeps */
    int stash_ref;
    lua_State *parked_on; /* NULL while it runs */
    till_op_t *op;
    bool wakeable;   /* the wait ends when the VM retires */
    bool background; /* told to end when the VM retires */
    bool over;       /* cancelled or out of time: `why` */
    till_status_t why;
    bool asked;   /* the database, once: it was let in */
    bool selects; /* the statement by itself that it waits for is a SELECT */
    bool changed; /* something went out for it that may have changed something; see till_co_changes */
    unsigned refusals;
    till_timer_t timer;
    uint64_t due; /* of the loop's clock; 0: never */
    till_box_t *boxes;
    struct till_inside {
        const char *plugin, *what; /* strings that the VM keeps */
    } inside[TILL_VM_INSIDE];      /* the plugins that it is in, the innermost last */
    unsigned depth;                /* of `inside`; may be more than there is room for */
    struct till_task *task;        /* whose work it is; NULL: nobody's */
    enum till_co_kind kind;
    const till_request_t *request;
    uint64_t page_epoch; /* the pages' when it began */
    till_trace_t trace;
    const char *entry;
    till_http_done_cb http_done;
    till_run_done_cb run_done;
    void *data;
};

struct till_call {
    till_co_t co;
};

/* Work that one call has another do: the other ends with it. Either side may go first. */
typedef struct till_task {
    till_box_t box;   /* of `owner` */
    till_co_t *owner; /* who waits; it outlives the task */
    struct till_spawn *spawn;
    till_co_t *co; /* once it has begun; both are NULL when it is over */
} till_task_t;

typedef struct till_spawn {
    struct till_spawn *next;
    till_task_t *task;
    bool is_dropped;     /* before it began */
    uint64_t timeout_ms; /* 0: none */
    int ref;             /* a table {fn, argument...} */
    int arguments;
    bool background;
    till_trace_t trace;
    struct till_inside inside; /* whose work it is */
} till_spawn_t;

struct till_vm {
    lua_State *L;
    till_bundle_t *bundle;
    till_vm_env_t env;
    till_heap_t heap;
    size_t used, sweep_at;
    bool is_tight;    /* more than half of the cap was used once */
    unsigned running; /* depth of protected calls into Lua */
    unsigned held;    /* waiting is forbidden */
    bool attached, retired, closing, is_freed;
    bool is_cut; /* retired, and its time is up: what runs is over, and nothing begins */
    till_co_t *current;
    till_co_t *calls, *pool;
    unsigned call_count, pool_count;
    uint64_t served; /* requests, since somebody last asked */
    till_box_t *boxes;
    till_spawn_t *spawns, **spawns_end;
    till_turn_hook_t turn;
    till_timer_t retire_timer, close_timer;
    void (*closed)(void *data);
    void *closed_data;
    int main_ref, http_ref, err_meta_ref, box_refs[TILL_BOX_COUNT], loaded_ref, array_meta_ref;
    const struct till_loading *loading;
    uint64_t load_until; /* of the loading thread's CPU clock; 0: it has loaded */
    bool out_of_time;
    unsigned load_hooks;
    const char *volatile compiling; /* the file; NULL: none */
    char overrun[320];              /* where and how it went past a limit of loading; "" */
    till_pages_t *pages;
    struct till_combiner *combiner; /* made when it is first asked for */
    till_header_t *headers;         /* scratch of responses */
    size_t header_room;
    till_live_state_t *live_states; /* likewise */
    size_t live_room;
    till_live_begin_t live;
    till_buf_t scratch; /* of encoders; kept between uses */
    till_json_reader_t reader;
    bool reader_open;
};

till_vm_t *till_vm_of(lua_State *L);

/* gc.c */
/** Counts cycles from now on. Runs protected. [-0, +0] */
void till_gc_open(lua_State *L);
/** Collects all garbage at once, timed. */
void till_gc_full(till_vm_t *vm);

/* place.c: what refuses a generation that loads */
void till_place_begin(till_vm_t *vm, uint64_t until);
void till_place_end(till_vm_t *vm);
/** The innermost line of a plugin that runs on `L`; without one, that of the library. Allocates nothing. */
bool till_place_of(lua_State *L, char *out, size_t size);
/** Fills vm->overrun, the first time: "file:line: sentence". Allocates nothing. */
void till_place_overrun(till_vm_t *vm, lua_State *L, const char *sentence);
/** luaL_loadbufferx of a file of the bundle, which is known to till_vm_loading_place meanwhile. [-0, +1] */
int till_compile(lua_State *L, till_slice_t content, const char *path);

/* load.c: what Lua sees before main.lua */
/** Opens libraries, `require`, the coroutine wrapper; locks the globals. Runs protected. [-0, +0] */
void till_vm_open(lua_State *L);
/** Throws on failure. [-0, +1] */
void till_vm_require(lua_State *L, const char *name);
/** tostring without throwing; may call __tostring. [-0, +1] */
const char *till_tostring(lua_State *L, int index, size_t *len);

/** What a binding that parks inside of a coroutine of Lua's own yields. */
const void *till_park_mark(void);

/* co.c */
till_co_t *till_co_begin(till_vm_t *vm, enum till_co_kind kind, uint64_t timeout_ms, const till_trace_t *trace);
/** The one that runs on the thread of the loop; NULL between calls. Read by till_vm_running. */
extern till_co_t *volatile till_co_running;
/** The call is inside of `plugin` until it leaves; both strings must be kept by the VM for so long. */
void till_co_enter(till_co_t *co, const char *plugin, const char *what);
void till_co_leave(till_co_t *co);
/** The innermost, or {NULL, NULL}. */
struct till_inside till_co_inside(const till_co_t *co);
/** Runs the function and `n` arguments on top of co->L. The call may be over when this returns. @return whether it is
 * still there */
bool till_co_start(till_co_t *co, int n);
void till_co_cancel(till_co_t *co, till_status_t why);
/** Nothing can be waited for any more? Pushes nil, err then. Throws when it was asked too often. [-0, +2 or 0] */
int till_co_refused(lua_State *L, till_co_t *co);
/** As till_co_refused, before the database is asked: besides, a request that has not asked it yet may be refused as
 * overload. [-0, +2 or 0] */
int till_co_refused_sql(lua_State *L, till_co_t *co);
/** The operation after it, which waits for a connection. @return op */
till_op_t *till_co_asks_sql(till_co_t *co, till_op_t *op);
/** From now on nobody can say that nothing was done for it, nor for the call whose task it is: a statement that is no
 * SELECT was sent, a COMMIT, a message or a request to somebody. What Redis keeps is no trade; the claim of an
 * Idempotency-Key says only who may ask. */
void till_co_changes(till_co_t *co);
/** What a failure is of that is no more than a wait for its turn at the database: TILL_OVERLOADED where the time of a
 * request ended in it, or of a task of one, and nothing was changed before: whoever is told so knows that nothing
 * happened, and that is what the call is over for then. Else `status`, or what the call is over for. From a callback
 * only. */
till_status_t till_co_only_waited(till_co_t *co, till_status_t status);
/** From an operation's callback, instead of till_co_resume, to go on waiting for another one. */
void till_co_wait_on(till_co_t *co, till_op_t *op);
/** As park, for a wait that nothing but its own end interrupts (COMMIT). */
int till_co_park_firmly(till_co_t *co, lua_State *L, int keep);
/** As park, but of a background call ends with TILL_CANCELLED when the VM retires. */
int till_co_park_wakeable(till_co_t *co, lua_State *L, till_op_t *op, int keep);
/** From an operation's callback: resumes with nil, err; a cancel for lack of time says timeout. */
void till_co_fail(till_co_t *co, till_status_t status, const char *message);
/** From a callback, as the last thing: continues with true, or as till_co_fail. `what` names the operation. */
void till_co_done(till_co_t *co, till_status_t status, const char *what);
/** Queues fn (at `index`) and the values above it for the end of the turn. [-0, +0] */
till_spawn_t *till_vm_spawn(lua_State *L, int index, bool background);
/** Ends in `finish`: see call.c, which tells the caller. */
void till_call_deliver(till_co_t *co, int rc);
void till_vm_maybe_close(till_vm_t *vm);

/** A failure of ours with fields to be added by the caller: nil, err. [-0, +2] */
int till_push_failuref(lua_State *L, till_status_t status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** The clipped time limit of a statement or command. */
uint64_t till_arg_ms(lua_State *L, int index, uint64_t fallback);

/* ---- bindings ---------------------------------------------------------- */

typedef struct till_binding {
    const char *name;   /* "till.c.sql" */
    lua_CFunction open; /* pushes the module */
    bool command_only;
} till_binding_t;

extern const till_binding_t till_bindings[]; /* ends with a NULL name */

/** A table of `functions`. [-0, +1] */
int till_bind(lua_State *L, const luaL_Reg *functions);
/** Names are checked at compile time by use: each opens one module. */
int till_bind_amqp(lua_State *L);
int till_bind_signature(lua_State *L);
int till_bind_sql(lua_State *L);
int till_bind_redis(lua_State *L);
int till_bind_http(lua_State *L);
int till_bind_lock(lua_State *L);
int till_bind_combine(lua_State *L);
int till_bind_idem(lua_State *L);
int till_bind_outbox(lua_State *L);
int till_bind_time(lua_State *L);
int till_bind_json(lua_State *L);
int till_bind_live(lua_State *L);
int till_bind_pages(lua_State *L);
int till_bind_crypto(lua_State *L);
int till_bind_ulid(lua_State *L);
int till_bind_utf8(lua_State *L);
int till_bind_vault(lua_State *L);
int till_bind_log(lua_State *L);
int till_bind_metrics(lua_State *L);
int till_bind_conf(lua_State *L);
int till_bind_co(lua_State *L);
int till_bind_attempt(lua_State *L);
int till_bind_box(lua_State *L);
int till_bind_breaker(lua_State *L);
int till_bind_bundle(lua_State *L);
int till_bind_generation(lua_State *L);
int till_bind_csv(lua_State *L);
int till_bind_data(lua_State *L);
int till_bind_fault(lua_State *L);
int till_bind_status(lua_State *L);
int till_bind_file(lua_State *L);
int till_bind_term(lua_State *L);

/** The transaction's connection for another binding (idem, outbox), marked busy; throws when it is not open. NULL: it
 * has ended by itself, as by a lost connection; nil and the error are on the stack, as of any statement in it. */
till_sql_conn_t *till_tx_use(lua_State *L, int index);
/** The statement on it is over. `box` is the transaction at the bottom of the parked stack. */
void till_tx_unuse(lua_State *L, int index, till_status_t status);
/** What a statement in the transaction may take. */
uint64_t till_tx_time(lua_State *L, int index, uint64_t wanted_ms);
/** JSON of the value at `index` appended to `buf`; throws on what cannot be. */
void till_json_encode(lua_State *L, int index, till_buf_t *buf);
/** Pushes name → value, a name that comes twice joined. [-0, +1] */
void till_push_headers(lua_State *L, const till_header_t *headers, size_t n);

static inline till_slice_t till_check_slice(lua_State *L, int index)
{
    till_slice_t slice;

    slice.base = luaL_checklstring(L, index, &slice.len);
    return slice;
}

#endif
