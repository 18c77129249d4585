/* lib_string.c - string.rep and string.format, bounded. */
#include <math.h>
#include <stdio.h>
#include "vm/box/sandbox.h"

#define REP_MAX (512 * 1024)
#define WIDTH_DIGITS 2
#define DIGITS_FUEL 20 /* for what printf takes of a large number */

static int l_rep(lua_State *L)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    lua_Number n = luaL_checknumber(L, 2);
    luaL_Buffer out;

    if (!(n >= 1) || len == 0)
        n = 0;
    if (n * (lua_Number)len > REP_MAX)
        till_sandbox_kill(TILL_RULE_MEMORY);
    luaL_buffinit(L, &out);
    for (int i = 0; i < (int)n; ++i) {
        till_sandbox_charge(1);
        luaL_addlstring(&out, text, len);
    }
    luaL_pushresult(&out);
    return 1;
}

/* ---- format --------------------------------------------------------------------------- */

struct spec {
    char text[16]; /* "%-08.3", without the letter */
    size_t len;
};

static const char *take_digits(struct spec *spec, const char *at)
{
    for (int i = 0; i != WIDTH_DIGITS && *at >= '0' && *at <= '9'; ++i)
        spec->text[spec->len++] = *at++;
    return at;
}

/** Flags, width and precision. @return the letter */
static const char *take_spec(lua_State *L, struct spec *spec, const char *at)
{
    *spec = (struct spec){"%", 1};
    for (int i = 0; i != 5 && *at != '\0' && strchr("-+ #0", *at) != NULL; ++i)
        spec->text[spec->len++] = *at++;
    at = take_digits(spec, at);
    if (*at == '.') {
        spec->text[spec->len++] = *at++;
        at = take_digits(spec, at);
    }
    if ((*at >= '0' && *at <= '9') || *at == '.')
        luaL_error(L, "string.format: width and precision have two digits at most");
    return at;
}

static void finish_spec(struct spec *spec, const char *letters)
{
    size_t len = strlen(letters);

    memcpy(spec->text + spec->len, letters, len + 1);
}

static void add_whole(lua_State *L, luaL_Buffer *out, struct spec *spec, int argument, char letter)
{
    char text[160], letters[] = "ll?";
    lua_Number n = luaL_checknumber(L, argument);

    if (!(fabs(n) < 9.2e18))
        luaL_error(L, "bad argument #%d to 'format' (number has no whole representation)", argument);
    letters[2] = letter;
    finish_spec(spec, letters);
    int len = snprintf(text, sizeof(text), spec->text, (long long)n);
    luaL_addlstring(out, text, (size_t)len);
}

static void add_fraction(lua_State *L, luaL_Buffer *out, struct spec *spec, int argument, char letter)
{
    char text[512], letters[] = {letter, '\0'}; /* %99.99f of the greatest number has 409 characters */
    lua_Number n = luaL_checknumber(L, argument);

    till_sandbox_charge(DIGITS_FUEL);
    if (!isfinite(n)) { /* how C spells these is not the same everywhere */
        luaL_addstring(out, isnan(n) ? "nan" : n > 0 ? "inf" : "-inf");
        return;
    }
    finish_spec(spec, letters);
    int len = snprintf(text, sizeof(text), spec->text, n);
    luaL_addlstring(out, text, (size_t)len);
}

/* Without a width a text of any length, zeros in it included; with one, at most 99 characters of C's. */
static void add_text(lua_State *L, luaL_Buffer *out, struct spec *spec, int argument)
{
    char text[256];
    size_t len;
    const char *value;

    till_sandbox_tostring(L, argument);
    lua_replace(L, argument);
    value = lua_tolstring(L, argument, &len);
    if (spec->len == 1) {
        luaL_addlstring(out, value, len);
        return;
    }
    if (strchr(spec->text, '.') == NULL && len > 99) {
        luaL_addlstring(out, value, len);
        return;
    }
    finish_spec(spec, "s");
    int written = snprintf(text, sizeof(text), spec->text, value);
    luaL_addlstring(out, text, (size_t)written);
}

static void add_formatted(lua_State *L, luaL_Buffer *out, struct spec *spec, int argument, char letter)
{
    switch (letter) {
    case 'd':
    case 'i':
    case 'x':
    case 'X':
    case 'o':
        add_whole(L, out, spec, argument, letter);
        return;
    case 'e':
    case 'E':
    case 'f':
    case 'g':
    case 'G':
        add_fraction(L, out, spec, argument, letter);
        return;
    case 's':
        add_text(L, out, spec, argument);
        return;
    default:
        luaL_error(L, "string.format knows %%d %%i %%x %%X %%o %%e %%E %%f %%g %%G %%s %%%%");
    }
}

static int l_format(lua_State *L)
{
    size_t len;
    const char *at = luaL_checklstring(L, 1, &len), *end = at + len;
    int argument = 1, last = lua_gettop(L);
    struct spec spec;
    luaL_Buffer out;

    luaL_buffinit(L, &out);
    for (; at < end; ++at) {
        till_sandbox_charge(1);
        if (*at != '%') {
            luaL_addchar(&out, *at);
        } else if (at[1] == '%') {
            luaL_addchar(&out, *at++);
        } else {
            at = take_spec(L, &spec, at + 1);
            if (++argument > last)
                luaL_argerror(L, argument, "no value");
            add_formatted(L, &out, &spec, argument, *at);
        }
    }
    luaL_pushresult(&out);
    return 1;
}

static const luaL_Reg functions[] = {{"rep", l_rep}, {"format", l_format}, {NULL, NULL}};

void till_sandbox_string(lua_State *L) { luaL_register(L, NULL, functions); }
