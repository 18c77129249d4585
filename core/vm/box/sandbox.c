/* sandbox.c - see sandbox.h
 *
 *            open          input           run, compile
 *   nothing ------> base  -------> base, or ------------> the image is put back first,
 *                   image  decoded  with_input image       then the rule runs in it
 */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <luajit.h>
#include "vm/box/arena.h"
#include "vm/box/sandbox.h"

#define HOOK_COUNT 100
#define LOOK_AT_CLOCK 200 /* a look each so much fuel */
#define BYTES_A_FUEL 64
#define DEPTH_MAX 40
#define COMPILE_FUEL 8000000
#define COMPILE_US 200000
#define READ_PIECE 256
#define GC_AT_ONCE 1000 /* percent of the pristine heap before garbage is looked for: most rules end before that */
#define GC_LATER 200
#define IMAGE_KEEP ((size_t)512 << 10)
#define CHUNK "rule"

static struct {
    lua_State *L;
    till_arena_t *arena;
    till_image_t base, with_input;
    const till_image_t *state; /* what the arena is the same as just now; NULL: of neither */
    bool has_input;
    sigjmp_buf out;
    till_rule_code_t killed_for;
    bool is_running; /* a rule may be ended: `out` is where to */
    uint64_t fuel, limit;
    uint64_t look_at; /* at the clock, when the fuel is down to this */
    uint64_t cpu_end_ns, wall_end_ns;
    unsigned depth;
} box;

/* ---- what ends a rule ------------------------------------------------------------ */

static uint64_t now_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void till_sandbox_kill(till_rule_code_t code)
{
    if (!box.is_running)
        abort();
    box.is_running = false;
    box.killed_for = code;
    siglongjmp(box.out, 1);
}

/* Wall time is read without a call of the kernel, and only says when to ask for CPU time. */
static void look_at_clock(void)
{
    box.look_at = box.fuel > LOOK_AT_CLOCK ? box.fuel - LOOK_AT_CLOCK : 0;
    if (now_ns(CLOCK_MONOTONIC) < box.wall_end_ns)
        return;
    uint64_t cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    if (cpu >= box.cpu_end_ns)
        till_sandbox_kill(TILL_RULE_DEADLINE);
    box.wall_end_ns = now_ns(CLOCK_MONOTONIC) + (box.cpu_end_ns - cpu);
}

void till_sandbox_charge(size_t fuel)
{
    if (!box.is_running)
        return;
    if (fuel >= box.fuel) {
        box.fuel = 0;
        till_sandbox_kill(TILL_RULE_BUDGET);
    }
    box.fuel -= fuel;
    if (box.fuel < box.look_at)
        look_at_clock();
}

static void on_count(lua_State *L, lua_Debug *at)
{
    (void)L;
    (void)at;
    till_sandbox_charge(HOOK_COUNT);
}

static void *on_alloc(void *data, void *old, size_t old_size, size_t size)
{
    void *block;

    (void)data;
    if (old == NULL)
        old_size = 0;
    if (size > old_size)
        till_sandbox_charge((size - old_size) / BYTES_A_FUEL);
    block = till_arena_resize(box.arena, old, old_size, size);
    if (block == NULL && size != 0 && box.is_running)
        till_sandbox_kill(TILL_RULE_MEMORY);
    return block;
}

static void enter(void)
{
    if (++box.depth > DEPTH_MAX)
        till_sandbox_kill(TILL_RULE_DEPTH);
}

void till_sandbox_call(lua_State *L, int arguments, int results)
{
    enter();
    lua_call(L, arguments, results);
    --box.depth;
}

bool till_sandbox_less(lua_State *L, int a, int b)
{
    enter();
    bool is_less = lua_lessthan(L, a, b) != 0;
    --box.depth;
    return is_less;
}

/* Its stack is full: what it catches there it would only fill again. */
static bool is_overflow(lua_State *L)
{
    static const char text[] = "stack overflow";
    size_t len;
    const char *message = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;

    return message != NULL && len >= sizeof(text) - 1 && memmem(message, len, text, sizeof(text) - 1) != NULL;
}

int till_sandbox_pcall(lua_State *L, int arguments)
{
    unsigned depth = box.depth;

    enter();
    int rc = lua_pcall(L, arguments, LUA_MULTRET, 0);
    box.depth = depth;
    if (rc == LUA_ERRMEM)
        till_sandbox_kill(TILL_RULE_MEMORY);
    if (rc != 0 && (rc == LUA_ERRERR || is_overflow(L)))
        till_sandbox_kill(TILL_RULE_DEPTH);
    return rc;
}

/* ---- the pristine VM ---------------------------------------------------------------- */

static int fill(lua_State *L)
{
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    till_sandbox_libraries(L);
    return 0;
}

/* What the C library does once, when something is thrown for the first time, is done before anything is locked up. */
static void warm_up(void)
{
    till_verdict_t verdict;
    till_buf_t code;

    till_buf_init(&code, 0);
    till_sandbox_compile((till_slice_t){")", 1}, false, &code, &verdict);
    till_buf_dispose(&code);
}

bool till_sandbox_open(void)
{
    box.arena = till_arena_create();
    box.L = box.arena != NULL ? lua_newstate(on_alloc, NULL) : NULL;
    if (box.L == NULL || lua_cpcall(box.L, fill, NULL) != 0)
        return false;
    lua_settop(box.L, 0);
    lua_gc(box.L, LUA_GCSETPAUSE, GC_AT_ONCE);
    lua_gc(box.L, LUA_GCCOLLECT, 0);
    lua_gc(box.L, LUA_GCSETPAUSE, GC_LATER);
    lua_sethook(box.L, on_count, LUA_MASKCOUNT, HOOK_COUNT);
    till_image_take(&box.base, box.arena);
    warm_up();
    return true;
}

/* ---- protected runs ------------------------------------------------------------------ */

static void set_limits(const till_limits_t *limits)
{
    uint64_t ns = (uint64_t)limits->cpu_us * 1000;

    box.fuel = box.limit = limits->fuel;
    box.cpu_end_ns = now_ns(CLOCK_PROCESS_CPUTIME_ID) + ns;
    box.wall_end_ns = now_ns(CLOCK_MONOTONIC) + ns;
    box.look_at = box.fuel > LOOK_AT_CLOCK ? box.fuel - LOOK_AT_CLOCK : 0;
    box.depth = 0;
}

/* "rule:12: what is wrong" -> 12, "what is wrong" */
static void take_message(till_verdict_t *verdict, const char *text, size_t len)
{
    static const char prefix[] = CHUNK ":";
    const char *rest = text;
    char *end;

    if (strncmp(text, prefix, sizeof(prefix) - 1) == 0) {
        unsigned long line = strtoul(text + sizeof(prefix) - 1, &end, 10);
        if (line != 0 && line <= UINT32_MAX && end[0] == ':' && end[1] == ' ') {
            verdict->line = (uint32_t)line;
            rest = end + 2;
        }
    }
    snprintf(verdict->message, sizeof(verdict->message), "%.*s", (int)(text + len - rest), rest);
}

static const char *why(till_rule_code_t code)
{
    switch (code) {
    case TILL_RULE_BUDGET:
        return "it takes more steps than its hook allows: look for a loop without end";
    case TILL_RULE_DEADLINE:
        return "it takes more time than its hook allows: look for long texts that are compared or built in a loop";
    case TILL_RULE_MEMORY:
        return "it takes more memory than a rule may have (8 MB in all, 1 MB for one text or table)";
    case TILL_RULE_DEPTH:
        return "its functions call one another too deep: look for one that calls itself without end";
    default:
        return "";
    }
}

static void take_error(lua_State *L, int rc, till_verdict_t *verdict)
{
    size_t len;
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;

    if (rc == LUA_ERRMEM)
        verdict->code = TILL_RULE_MEMORY;
    else if (rc == LUA_ERRERR || is_overflow(L))
        verdict->code = TILL_RULE_DEPTH;
    else if (verdict->code == TILL_RULE_VALUE)
        verdict->code = TILL_RULE_ERROR;
    if (text != NULL)
        take_message(verdict, text, len);
    else
        snprintf(verdict->message, sizeof(verdict->message), "a %s was thrown", luaL_typename(L, -1));
    if (verdict->code == TILL_RULE_DEPTH || verdict->code == TILL_RULE_MEMORY)
        snprintf(verdict->message, sizeof(verdict->message), "%s", why(verdict->code));
}

struct job {
    till_slice_t code;
    till_wire_t args;
    till_buf_t *out;
    till_verdict_t *verdict;
    bool is_checked;
    const char *next; /* of the text, while it is parsed */
};

/* Runs `fn(job, input if there is one)` in the state of the image. */
static void run_in(const till_image_t *image, lua_CFunction fn, struct job *job, const till_limits_t *limits)
{
    till_verdict_t *verdict = job->verdict;
    volatile uint64_t began = now_ns(CLOCK_MONOTONIC);
    int rc = 0;

    *verdict = (till_verdict_t){.code = TILL_RULE_VALUE};
    if (box.state != image)
        till_image_put(image, box.arena);
    box.state = NULL;
    set_limits(limits);
    if (sigsetjmp(box.out, 0) == 0) {
        box.is_running = true;
        lua_pushcfunction(box.L, fn);
        lua_pushlightuserdata(box.L, job);
        if (box.has_input)
            lua_pushvalue(box.L, 1);
        rc = lua_pcall(box.L, box.has_input ? 2 : 1, 0, 0);
        box.is_running = false;
        if (rc != 0)
            take_error(box.L, rc, verdict);
    } else {
        verdict->code = box.killed_for;
        snprintf(verdict->message, sizeof(verdict->message), "%s", why(verdict->code));
    }
    verdict->us = (uint32_t)((now_ns(CLOCK_MONOTONIC) - began) / 1000);
    verdict->fuel = box.limit - box.fuel;
}

/* ---- parsing ----------------------------------------------------------------------------- */

/* In small pieces, so that a long text is charged for as it is read. */
static const char *on_read(lua_State *L, void *data, size_t *size)
{
    struct job *job = data;
    const char *piece = job->next, *end = (const char *)job->code.base + job->code.len;
    size_t left = (size_t)(end - piece);

    (void)L;
    *size = left < READ_PIECE ? left : READ_PIECE;
    job->next += *size;
    till_sandbox_charge(*size);
    return *size != 0 ? piece : NULL;
}

static int on_write(lua_State *L, const void *bytes, size_t len, void *data)
{
    (void)L;
    till_buf_append(data, bytes, len);
    return 0;
}

/* For a number such as 1LL the parser opens the library of C values, and notes it here. */
static void refuse_c_values(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
    lua_getfield(L, -1, "ffi");
    if (!lua_isnil(L, -1))
        luaL_error(L, "numbers that end in LL, ULL or i are C's: write them without");
    lua_pop(L, 2);
}

static int compile(lua_State *L)
{
    struct job *job = lua_touserdata(L, 1);

    job->next = job->code.base;
    job->verdict->code = TILL_RULE_SYNTAX;
    if (lua_loadx(L, on_read, job, "=" CHUNK, "t") != 0)
        return lua_error(L);
    refuse_c_values(L);
    job->verdict->code = TILL_RULE_VALUE;
    lua_dump(L, on_write, job->out);
    if (!job->is_checked)
        return 0;
    till_sandbox_call(L, 0, 1);
    if (lua_isfunction(L, -1))
        return 0;
    job->verdict->code = TILL_RULE_CONTRACT;
    return luaL_error(L, "the text must end in `return function(args, input) … end`; it returns %s",
                      lua_isnil(L, -1) ? "nothing" : luaL_typename(L, -1));
}

/* The parser says near what it stopped; where in its line that is, the text tells. */
static void find_column(till_slice_t text, till_verdict_t *verdict)
{
    const char *at = text.base, *end = at + text.len, *near = strstr(verdict->message, "near '");

    for (uint32_t line = 1; at != NULL && line != verdict->line; ++line) {
        at = memchr(at, '\n', (size_t)(end - at));
        at = at != NULL ? at + 1 : NULL;
    }
    if (at == NULL || near == NULL || verdict->line == 0)
        return;
    near += strlen("near '");
    const char *quote = strrchr(near, '\''), *eol = memchr(at, '\n', (size_t)(end - at));
    size_t len = (size_t)((eol != NULL ? eol : end) - at);
    if (quote == NULL || quote == near)
        return;
    const char *found = memmem(at, len, near, (size_t)(quote - near));
    verdict->column = found != NULL ? (uint32_t)(found - at) + 1 : 0;
}

void till_sandbox_compile(till_slice_t text, bool is_checked, till_buf_t *out, till_verdict_t *verdict)
{
    static const till_limits_t limits = {COMPILE_FUEL, COMPILE_US};
    struct job job = {.code = text, .out = out, .verdict = verdict, .is_checked = is_checked};

    box.has_input = false;
    run_in(&box.base, compile, &job, &limits);
    if (verdict->code == TILL_RULE_SYNTAX)
        find_column(text, verdict);
}

/* ---- evaluating ---------------------------------------------------------------------------- */

static int push_input(lua_State *L)
{
    till_wire_t *input = lua_touserdata(L, 1);

    if (!till_wire_push(L, input, false))
        return luaL_error(L, "no input");
    return 1;
}

bool till_sandbox_input(till_wire_t input, bool is_for_many)
{
    if (box.state != &box.base)
        till_image_put(&box.base, box.arena);
    lua_pushcfunction(box.L, push_input);
    lua_pushlightuserdata(box.L, &input);
    box.has_input = lua_pcall(box.L, 1, 1, 0) == 0;
    box.state = &box.with_input;
    if (is_for_many)
        till_image_take(&box.with_input, box.arena);
    return box.has_input;
}

void till_sandbox_rest(void)
{
    till_image_put(&box.base, box.arena);
    box.state = &box.base;
    if (box.with_input.cap > IMAGE_KEEP)
        till_image_dispose(&box.with_input);
}

struct piece {
    till_slice_t bytes;
    bool is_read;
};

static const char *on_read_code(lua_State *L, void *data, size_t *size)
{
    struct piece *piece = data;

    (void)L;
    *size = piece->is_read ? 0 : piece->bytes.len;
    piece->is_read = true;
    return piece->bytes.base;
}

static void load(lua_State *L, till_slice_t code)
{
    struct piece piece = {code, false};

    if (lua_loadx(L, on_read_code, &piece, "=" CHUNK, "b") != 0)
        lua_error(L);
}

/* (job, input) */
static int run(lua_State *L)
{
    struct job *job = lua_touserdata(L, 1);

    load(L, job->code);
    till_sandbox_call(L, 0, 1);
    if (!lua_isfunction(L, -1)) {
        job->verdict->code = TILL_RULE_CONTRACT;
        return luaL_error(L, "the text returns no function");
    }
    if (!till_wire_push(L, &job->args, false))
        return luaL_error(L, "no arguments");
    lua_pushvalue(L, 2);
    till_sandbox_call(L, 2, 1);
    const char *fault = till_wire_put_answer(L, lua_gettop(L), job->out);
    if (fault == NULL)
        return 0;
    job->verdict->code = TILL_RULE_ANSWER;
    return luaL_error(L, "its answer holds %s", fault);
}

void till_sandbox_run(till_slice_t code, till_wire_t args, const till_limits_t *limits, till_buf_t *out,
                      till_verdict_t *verdict)
{
    struct job job = {.code = code, .args = args, .out = out, .verdict = verdict};

    run_in(&box.with_input, run, &job, limits);
}
