/* bind_http.c - outbound requests; see lua/till/prim/http.lua. */
#include <string.h>
#include "vm/vm_priv.h"

#define DEFAULT_MS 10000
#define HEADERS_MAX 100

static void push_response(lua_State *L, const till_http_response_t *response)
{
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, response->status);
    lua_setfield(L, -2, "status");
    lua_pushinteger(L, response->version);
    lua_setfield(L, -2, "version");
    lua_pushlstring(L, response->body.base != NULL ? response->body.base : "", response->body.len);
    lua_setfield(L, -2, "body");
    till_push_headers(L, response->headers, response->header_count);
    lua_setfield(L, -2, "headers");
    if (response->repeated) {
        lua_pushboolean(L, true);
        lua_setfield(L, -2, "repeated");
    }
}

static void on_response(void *data, till_status_t status, const till_http_response_t *response)
{
    till_co_t *co = data;
    lua_State *L = till_co_stack(co);

    if (status == TILL_OK || response->sent)
        till_co_changes(co);
    if (status == TILL_OK) {
        push_response(L, response);
        till_co_resume(co, 1);
        return;
    }
    if (status == TILL_CANCELLED && co->over)
        status = co->why;
    till_push_failure(L, status, response->message);
    lua_pushboolean(L, response->sent);
    lua_setfield(L, -2, "sent");
    till_co_resume(co, 2);
}

/** A string field of the table at 1; it stays in the table. */
static till_slice_t field(lua_State *L, const char *name, const char *fallback)
{
    till_slice_t slice = {fallback, fallback != NULL ? strlen(fallback) : 0};

    lua_getfield(L, 1, name);
    if (lua_type(L, -1) == LUA_TSTRING)
        slice.base = lua_tolstring(L, -1, &slice.len);
    else if (!lua_isnil(L, -1) || fallback == NULL)
        luaL_error(L, "http.request: %s is no string", name);
    lua_pop(L, 1);
    return slice;
}

/** [-0, +1] the list, in memory that Lua owns */
static const till_header_t *headers_of(lua_State *L, size_t *count)
{
    till_header_t *headers = lua_newuserdata(L, HEADERS_MAX * sizeof(*headers));
    size_t n = 0;

    lua_getfield(L, 1, "headers");
    if (lua_istable(L, -1)) {
        for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
            if (n == HEADERS_MAX || lua_type(L, -1) != LUA_TSTRING || lua_type(L, -2) != LUA_TSTRING)
                luaL_error(L, "http.request: headers are at most 100 names with strings");
            headers[n].name.base = lua_tolstring(L, -2, &headers[n].name.len);
            headers[n].value.base = lua_tolstring(L, -1, &headers[n].value.len);
            ++n;
        }
    }
    lua_pop(L, 1);
    *count = n;
    return headers;
}

/* What is asked for, but neither more than the configuration allows nor past the deadline of the call. */
static uint64_t time_limit(lua_State *L)
{
    uint64_t most = till_vm_env_of(L)->http_ms;
    uint64_t wanted = till_opt_ms(L, 1, "timeout_ms", most != 0 ? most : DEFAULT_MS);

    return till_co_time_left(L, most != 0 && wanted > most ? most : wanted);
}

static int l_request(lua_State *L)
{
    till_http_t *http = till_vm_env_of(L)->http;
    till_http_request_t request = {0};

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    if (http == NULL)
        luaL_error(L, "there is no HTTP client in this process");
    request.method = field(L, "method", "GET").base;
    request.url = field(L, "url", NULL).base;
    request.body = field(L, "body", "");
    request.ca_file = field(L, "ca_file", "").base;
    if (request.ca_file[0] == '\0')
        request.ca_file = NULL;
    request.max_body = (size_t)till_opt_ms(L, 1, "max_body", 0);
    request.timeout_ms = time_limit(L);
    request.headers = headers_of(L, &request.header_count);
    till_co_check_yieldable(L, "http.request");
    till_co_t *co = till_co_of(L);
    if (till_co_refused(L, co))
        return 2;
    return till_co_park(co, L, till_http_send(http, &request, on_response, co), 0);
}

static const luaL_Reg functions[] = {{"request", l_request}, {NULL, NULL}};

int till_bind_http(lua_State *L) { return till_bind(L, functions); }
