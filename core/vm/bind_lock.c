/* bind_lock.c - `till.c.lock` for Lua; see lua/till/prim/lock.lua for the manual.
 *
 * A binding checks arguments and converts values, nothing else. The box for
 * the lock is made before the lock is asked for: between the grant and its
 * being owned by the box nothing may allocate, for an allocation can throw.
 */
#include "trade/lock.h"
#include "vm/vm_priv.h"

struct box {
    till_box_t head;
    till_lock_t *lock; /* NULL before the grant and after release */
};

static void release(till_box_t *head)
{
    struct box *box = (struct box *)head;

    till_lock_release(box->lock);
    box->lock = NULL;
}

static int l_release(lua_State *L);
static int l_fence(lua_State *L);

static const luaL_Reg methods[] = {{"release", l_release}, {"fence", l_fence}, {NULL, NULL}};
static const till_box_type_t lock_type = {"lock", release, methods, TILL_BOX_LOCK};

static void on_acquired(void *data, till_status_t status, till_lock_t *lock)
{
    till_co_t *co = data;
    struct box *box = lua_touserdata(till_co_stack(co), -1);

    if (status != TILL_OK) {
        till_box_release(&box->head);
        till_co_fail(co, status, "lock");
        return;
    }
    box->lock = lock;
    till_co_resume(co, 1); /* the box, kept on the stack by the park below */
}

/* lock | nil, err = acquire(name [, {lease_ms=, wait_ms=}]) */
static int l_acquire(lua_State *L)
{
    till_slice_t name = till_check_slice(L, 1);
    const till_vm_env_t *env = till_vm_env_of(L);
    const till_lock_opts_t opts = {
        .lease_ms = till_opt_ms(L, 2, "lease_ms", 5000),
        .wait_ms = till_opt_ms(L, 2, "wait_ms", 1000),
    };

    if (env->redis == NULL)
        luaL_error(L, "there is no Redis in this process");
    till_co_check_yieldable(L, "lock.acquire"); /* throws: that is a bug, not a failure */
    till_co_t *co = till_co_of(L);
    if (till_co_refused(L, co))
        return 2;
    till_box_new(L, &lock_type, sizeof(struct box), co);
    return till_co_park(co, L, till_lock_acquire(env->redis, env->loop, name, &opts, on_acquired, co), 1);
}

/* Twice is allowed. */
static int l_release(lua_State *L)
{
    till_box_release(till_box_check(L, 1, &lock_type));
    return 0;
}

static int l_fence(lua_State *L)
{
    const struct box *box = till_box_check(L, 1, &lock_type);

    luaL_argcheck(L, box->lock != NULL, 1, "the lock was released");
    lua_pushnumber(L, (lua_Number)till_lock_fence(box->lock));
    return 1;
}

static const luaL_Reg functions[] = {{"acquire", l_acquire}, {NULL, NULL}};

int till_bind_lock(lua_State *L) { return till_bind(L, functions); }
