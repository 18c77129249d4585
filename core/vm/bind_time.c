/* bind_time.c - clocks, sleeping, and the spellings of a moment; see lua/till/prim/time.lua. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/mem.h"
#include "vm/vm_priv.h"

struct sleep {
    till_op_t op;
    till_co_t *co;
};

static void on_slept(till_op_t *op, till_status_t status)
{
    till_co_t *co = ((struct sleep *)op)->co;

    free(op);
    if (status == TILL_CANCELLED) {
        till_co_fail(co, status, "the sleep was cut short");
        return;
    }
    lua_pushboolean(till_co_stack(co), 1);
    till_co_resume(co, 1);
}

static int l_sleep(lua_State *L)
{
    uint64_t ms = till_arg_ms(L, 1, 0);
    struct sleep *sleep;

    till_co_check_yieldable(L, "time.sleep");
    till_co_t *co = till_co_of(L);
    if (till_co_refused(L, co))
        return 2;
    sleep = till_calloc(1, sizeof(*sleep));
    sleep->co = co;
    till_op_init(&sleep->op, till_vm_env_of(L)->loop, ms != 0 ? ms : 1, NULL, on_slept);
    return till_co_park_wakeable(co, L, &sleep->op, 0);
}

static int l_now_ms(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)till_wall_ms());
    return 1;
}

static int l_mono_us(lua_State *L)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    lua_pushnumber(L, (lua_Number)now.tv_sec * 1e6 + (lua_Number)(now.tv_nsec / 1000));
    return 1;
}

static int format(lua_State *L, const char *pattern)
{
    lua_Number n = luaL_checknumber(L, 1);
    char text[64];
    struct tm tm;

    luaL_argcheck(L, n >= 0 && n < 253402300800000.0, 1, "is no time in milliseconds since 1970");
    int64_t ms = (int64_t)n;
    time_t seconds = (time_t)(ms / 1000);
    gmtime_r(&seconds, &tm);
    int len = snprintf(text, sizeof(text), pattern, tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
                       tm.tm_sec, (int)(ms % 1000));
    lua_pushlstring(L, text, (size_t)len);
    return 1;
}

static int l_rfc3339(lua_State *L) { return format(L, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ"); }

static int l_sql(lua_State *L) { return format(L, "%04d-%02d-%02d %02d:%02d:%02d.%03d"); }

static bool digits(const char **p, int n, int *out)
{
    *out = 0;
    for (int i = 0; i != n; ++i, ++*p) {
        if (**p < '0' || **p > '9')
            return false;
        *out = *out * 10 + (**p - '0');
    }
    return true;
}

static bool expect(const char **p, const char *any)
{
    if (**p == '\0' || strchr(any, **p) == NULL)
        return false;
    ++*p;
    return true;
}

static void fraction(const char **p, int *ms)
{
    int scale = 100;

    *ms = 0;
    if (**p != '.')
        return;
    for (++*p; **p >= '0' && **p <= '9'; ++*p, scale /= 10)
        *ms += (**p - '0') * scale;
}

/** Minutes east of UTC. */
static bool zone(const char **p, int *minutes)
{
    int hours, rest, sign = **p == '-' ? -1 : 1;

    *minutes = 0;
    if (expect(p, "Zz"))
        return true;
    if (!expect(p, "+-") || !digits(p, 2, &hours) || !expect(p, ":") || !digits(p, 2, &rest) || hours > 23 || rest > 59)
        return false;
    *minutes = sign * (hours * 60 + rest);
    return true;
}

/* RFC 3339 with any offset, or SQL's "2026-11-20 10:00:00[.123]" taken as UTC. */
static int l_parse(lua_State *L)
{
    const char *p = luaL_checkstring(L, 1);
    struct tm tm = {0}, back;
    int ms, offset = 0, year, month;

    if (!digits(&p, 4, &year) || !expect(&p, "-") || !digits(&p, 2, &month) || !expect(&p, "-") ||
        !digits(&p, 2, &tm.tm_mday) || !expect(&p, "Tt ") || !digits(&p, 2, &tm.tm_hour) || !expect(&p, ":") ||
        !digits(&p, 2, &tm.tm_min) || !expect(&p, ":") || !digits(&p, 2, &tm.tm_sec))
        return 0;
    fraction(&p, &ms);
    if (*p != '\0' && !zone(&p, &offset))
        return 0;
    if (*p != '\0' || tm.tm_sec > 59 || tm.tm_min > 59 || tm.tm_hour > 23)
        return 0;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    back = tm;
    time_t seconds = timegm(&back);
    if (back.tm_mday != tm.tm_mday || back.tm_mon != tm.tm_mon)
        return 0;
    lua_pushnumber(L, ((lua_Number)seconds - offset * 60) * 1000 + ms);
    return 1;
}

static const luaL_Reg functions[] = {
    {"sleep", l_sleep}, {"now_ms", l_now_ms}, {"mono_us", l_mono_us}, {"rfc3339", l_rfc3339},
    {"sql", l_sql},     {"parse", l_parse},   {NULL, NULL},
};

int till_bind_time(lua_State *L) { return till_bind(L, functions); }
