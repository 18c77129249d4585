/* bind_crypto.c - digests, random bytes, passwords; see lua/till/prim/crypto.lua. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "vm/vm_priv.h"

static int l_sha256(lua_State *L)
{
    till_slice_t text = till_check_slice(L, 1);
    uint8_t out[TILL_SHA256_LEN];

    till_sha256(out, text.base, text.len);
    lua_pushlstring(L, (const char *)out, sizeof(out));
    return 1;
}

static int l_hmac_sha256(lua_State *L)
{
    till_slice_t key = till_check_slice(L, 1), text = till_check_slice(L, 2);
    uint8_t out[TILL_SHA256_LEN];

    till_hmac_sha256(out, key.base, key.len, text.base, text.len);
    lua_pushlstring(L, (const char *)out, sizeof(out));
    return 1;
}

static int l_random(lua_State *L)
{
    int n = luaL_checkint(L, 1);
    uint8_t out[4096];

    luaL_argcheck(L, n >= 0 && n <= (int)sizeof(out), 1, "is not between 0 and 4096");
    till_random(out, (size_t)n);
    lua_pushlstring(L, (const char *)out, (size_t)n);
    return 1;
}

/* The result is built in memory that Lua owns. */
static int l_hex(lua_State *L)
{
    till_slice_t text = till_check_slice(L, 1);
    char *out = lua_newuserdata(L, 2 * text.len + 1);

    till_hex(out, text.base, text.len);
    lua_pushlstring(L, out, 2 * text.len);
    return 1;
}

static int l_hex_decode(lua_State *L)
{
    till_slice_t text = till_check_slice(L, 1);
    char *out = lua_newuserdata(L, text.len / 2 + 1);

    if (!till_hex_decode(out, text.base, text.len))
        return 0;
    lua_pushlstring(L, out, text.len / 2);
    return 1;
}

static int l_base64url(lua_State *L)
{
    till_slice_t text = till_check_slice(L, 1);
    char *out = lua_newuserdata(L, (text.len + 2) / 3 * 4 + 1);

    lua_pushlstring(L, out, till_base64url(out, text.base, text.len));
    return 1;
}

static int l_base64url_decode(lua_State *L)
{
    till_slice_t text = till_check_slice(L, 1);
    char *out = lua_newuserdata(L, text.len / 4 * 3 + 3);
    long len = till_base64url_decode(out, text.base, text.len);

    if (len < 0)
        return 0;
    lua_pushlstring(L, out, (size_t)len);
    return 1;
}

static int l_equal(lua_State *L)
{
    till_slice_t a = till_check_slice(L, 1), b = till_check_slice(L, 2);

    lua_pushboolean(L, till_equal_ct(a.base, a.len, b.base, b.len));
    return 1;
}

/* A password takes a core for 40 to 80 ms, and anybody may send one. Each kind of who asks has a lane, so that no one
 * kind keeps out the others; and a lane that is this long is an answer within a few seconds, more is refused at once.
 */
enum { MOST_WAITING = 32 };

static const char *const lanes[TILL_OFFLOAD_LANES + 1] = {"other", "staff", "customer", "registration", NULL};

struct hashing {
    char *password;
    size_t len;
    uint8_t salt[16], out[32];
};

static void work(void *arg)
{
    struct hashing *hashing = arg;

    till_scrypt(hashing->out, hashing->password, hashing->len, hashing->salt);
}

static void drop(void *arg)
{
    struct hashing *hashing = arg;

    explicit_bzero(hashing->password, hashing->len);
    free(hashing->password);
    free(hashing);
}

static void on_hashed(void *data, till_status_t status, void *arg)
{
    till_co_t *co = data;

    if (status != TILL_OK) {
        till_co_fail(co, status, "scrypt");
        return;
    }
    lua_pushlstring(till_co_stack(co), (const char *)((struct hashing *)arg)->out, 32);
    drop(arg);
    till_co_resume(co, 1);
}

static int l_scrypt(lua_State *L)
{
    till_slice_t password = till_check_slice(L, 1), salt = till_check_slice(L, 2);
    till_offload_t *offload = till_vm_env_of(L)->offload;
    unsigned lane = (unsigned)luaL_checkoption(L, 3, lanes[0], lanes);
    struct hashing *hashing;

    luaL_argcheck(L, salt.len == 16, 2, "is not 16 bytes");
    if (offload == NULL)
        luaL_error(L, "there are no offload threads in this process");
    till_co_check_yieldable(L, "crypto.scrypt");
    till_co_t *co = till_co_of(L);
    if (till_co_refused(L, co))
        return 2;
    if (till_offload_waiting(offload, lane) >= MOST_WAITING)
        return till_push_failure(L, TILL_OVERLOADED, "as many passwords are waiting as may");
    hashing = till_calloc(1, sizeof(*hashing));
    hashing->password = till_strndup(password.base, password.len);
    hashing->len = password.len;
    memcpy(hashing->salt, salt.base, 16);
    const till_job_t job = {work, on_hashed, drop, hashing, co, lane};
    return till_co_park(co, L, till_offload_run(offload, &job, till_co_time_left(L, 10000)), 0);
}

static const luaL_Reg functions[] = {
    {"sha256", l_sha256},
    {"hmac_sha256", l_hmac_sha256},
    {"random", l_random},
    {"hex", l_hex},
    {"hex_decode", l_hex_decode},
    {"base64url", l_base64url},
    {"base64url_decode", l_base64url_decode},
    {"equal", l_equal},
    {"scrypt", l_scrypt},
    {NULL, NULL},
};

int till_bind_crypto(lua_State *L) { return till_bind(L, functions); }
