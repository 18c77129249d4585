/* scan.h - what clang's analyzer is told before it reads core/: these never return. */
#include <luajit-2.1/lauxlib.h>

int luaL_error(lua_State *L, const char *format, ...) __attribute__((analyzer_noreturn));
int luaL_argerror(lua_State *L, int arg, const char *extra) __attribute__((analyzer_noreturn));
int luaL_typerror(lua_State *L, int arg, const char *type) __attribute__((analyzer_noreturn));
int lua_error(lua_State *L) __attribute__((analyzer_noreturn));
