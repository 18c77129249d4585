/* bind_combine.c - callers who go together; see lua/till/prim/combine.lua.
 *
 * The box of a caller owns his seat while he leads: a call that ends in the
 * middle of its flight, however it ends, leaves nobody waiting. While he waits
 * the seat is the combiner's, and the box keeps only what Lua knows of him.
 */
#include "trade/combine.h"
#include "vm/vm_priv.h"

#define WAIT_MS 5000

struct box {
    till_box_t head;
    till_combine_seat_t *seat; /* while he leads */
    till_co_t *co;
    int member; /* reference to his table */
};

static void forget_member(struct box *box)
{
    luaL_unref(box->head.vm->L, LUA_REGISTRYINDEX, box->member);
    box->member = LUA_NOREF;
}

static void release(till_box_t *head)
{
    struct box *box = (struct box *)head;

    if (box->seat != NULL)
        till_combine_abandon(box->seat);
    box->seat = NULL;
    forget_member(box);
}

static int l_members(lua_State *L);
static int l_answer(lua_State *L);
static int l_split(lua_State *L);
static int l_step_down(lua_State *L);
static int l_abandon(lua_State *L);

static const luaL_Reg methods[] = {{"members", l_members},     {"answer", l_answer},   {"split", l_split},
                                   {"step_down", l_step_down}, {"abandon", l_abandon}, {NULL, NULL}};
static const till_box_type_t seat_type = {"seat", release, methods, TILL_BOX_SEAT};

/* ---- joining ---------------------------------------------------------------------- */

static void lead(struct box *box, till_combine_seat_t *seat)
{
    till_co_t *co = box->co;

    if (co->over) { /* before anything was done */
        till_combine_step_down(seat);
        till_box_release(&box->head);
        till_co_fail(co, till_co_only_waited(co, TILL_CANCELLED), "the call was over before its turn came");
        return;
    }
    box->seat = seat;
    till_co_resume(co, 1); /* the box, kept on the stack by the park below */
}

static void fail(struct box *box, till_status_t status)
{
    till_co_t *co = box->co;
    lua_State *L = till_co_stack(co);

    till_box_release(&box->head);
    if (status != TILL_INTERNAL) {
        till_co_fail(co, till_co_only_waited(co, status), "its turn did not come");
        return;
    }
    till_co_changes(co);
    till_push_failure(L, status, "whoever did it for this one and others did not end it");
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "unknown_outcome");
    till_co_resume(co, 2);
}

static void on_told(void *data, till_status_t status, till_combine_seat_t *seat)
{
    struct box *box = data;

    if (status != TILL_OK) {
        fail(box, status);
    } else if (till_combine_leads(seat)) {
        lead(box, seat);
    } else {
        till_co_t *co = box->co;
        till_co_changes(co); /* what the leader did he did for this one */
        till_box_release(&box->head);
        lua_pushboolean(till_co_stack(co), 0);
        till_co_resume(co, 1);
    }
}

static till_combiner_t *combiner_of(lua_State *L)
{
    till_vm_t *vm = till_vm_of(L);

    if (vm->combiner == NULL)
        vm->combiner = till_combiner_create(vm->env.loop);
    return vm->combiner;
}

/** The strings of the list at `index`; they stay in it. */
static size_t check_keys(lua_State *L, int index, till_slice_t keys[TILL_COMBINE_KEYS])
{
    size_t n = 0;

    luaL_checktype(L, index, LUA_TTABLE);
    for (; n != TILL_COMBINE_KEYS; ++n) {
        lua_rawgeti(L, index, (int)n + 1);
        if (lua_isnil(L, -1))
            break;
        luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, index, "a key is a string");
        keys[n].base = lua_tolstring(L, -1, &keys[n].len);
        lua_pop(L, 1);
    }
    return n;
}

/* seat | false: another has answered | nil, err = join(keys, most, member) */
static int l_join(lua_State *L)
{
    till_slice_t keys[TILL_COMBINE_KEYS];
    till_combine_opts_t opts = {.keys = keys, .key_count = check_keys(L, 1, keys)};
    lua_Number most = luaL_checknumber(L, 2);

    luaL_argcheck(L, most >= 1 && most <= 1000, 2, "is no size of a batch");
    luaL_checktype(L, 3, LUA_TTABLE);
    till_co_check_yieldable(L, "combine");
    till_co_t *co = till_co_of(L);
    if (till_co_refused(L, co))
        return 2;
    opts.most = (unsigned)most;
    opts.timeout_ms = till_co_time_left(L, WAIT_MS);
    struct box *box = till_box_new(L, &seat_type, sizeof(*box), co);
    box->co = co;
    lua_pushvalue(L, 3);
    box->member = luaL_ref(L, LUA_REGISTRYINDEX);
    till_combine_seat_t *seat = till_combine_join(combiner_of(L), &opts, on_told, box);
    till_op_t *op = till_combine_op(seat);
    if (op == NULL) {
        box->seat = seat;
        return 1;
    }
    return till_co_park(co, L, op, 1);
}

/* ---- leading ---------------------------------------------------------------------- */

static struct box *check_leader(lua_State *L)
{
    struct box *box = till_box_check(L, 1, &seat_type);

    luaL_argcheck(L, box->seat != NULL, 1, "the flight is over");
    return box;
}

/** The seat, which is not the box's any more. */
static till_combine_seat_t *take_seat(lua_State *L)
{
    struct box *box = check_leader(L);
    till_combine_seat_t *seat = box->seat;

    box->seat = NULL;
    till_box_release(&box->head);
    return seat;
}

/* The tables that they came with, in the order of arrival, one's own first. */
static int l_members(lua_State *L)
{
    const struct box *leader = check_leader(L);
    unsigned n = till_combine_count(leader->seat);

    lua_createtable(L, (int)n, 0);
    for (unsigned i = 0; i != n; ++i) {
        const struct box *box = till_combine_data(leader->seat, i);
        lua_rawgeti(L, LUA_REGISTRYINDEX, box->member);
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

static int l_answer(lua_State *L)
{
    till_combine_answer(take_seat(L));
    return 0;
}

static int l_step_down(lua_State *L)
{
    till_combine_step_down(take_seat(L));
    return 0;
}

/* Twice is allowed, and after the end of the flight. */
static int l_abandon(lua_State *L)
{
    till_box_release(till_box_check(L, 1, &seat_type));
    return 0;
}

/* split([at]) */
static int l_split(lua_State *L)
{
    struct box *box = check_leader(L);
    unsigned n = till_combine_count(box->seat);
    lua_Number at = luaL_optnumber(L, 2, TILL_COMBINE_HALVES);

    luaL_argcheck(L, n > 1, 1, "one caller cannot be split");
    luaL_argcheck(L, at >= 0 && at <= n, 2, "is none of the batch");
    till_combine_split(box->seat, (unsigned)at);
    return 0;
}

/* { alone=, together=, combined=, splits=, waiting= } since the generation began */
static int l_stats(lua_State *L)
{
    till_combine_stats_t stats;

    till_combiner_stats(combiner_of(L), &stats);
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {{"alone", stats.alone},
                {"together", stats.together},
                {"combined", stats.combined},
                {"splits", stats.splits},
                {"waiting", stats.waiting}};
    lua_createtable(L, 0, 5);
    for (size_t i = 0; i != sizeof(rows) / sizeof(rows[0]); ++i) {
        lua_pushnumber(L, (lua_Number)rows[i].value);
        lua_setfield(L, -2, rows[i].name);
    }
    return 1;
}

static const luaL_Reg functions[] = {{"join", l_join}, {"stats", l_stats}, {NULL, NULL}};

int till_bind_combine(lua_State *L) { return till_bind(L, functions); }
