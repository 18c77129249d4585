/* bind_box.c - exchanges with the box of rules; see lua/till/prim/box.lua. */
#include "vm/box/client.h"
#include "vm/vm_priv.h"

#define LINE_MS 10000 /* that an exchange may wait for others, and run */
#define TEXTS_MAX 4000

static const char ids_key; /* its address keys the table of texts and their numbers; [0] counts them */

/* ---- asking ---------------------------------------------------------------------------- */

static lua_Number count_of(lua_State *L, int ids)
{
    lua_rawgeti(L, ids, 0);
    lua_Number n = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return n;
}

/** A new table where the old one has grown large, so that drafts that were tried once are let go of. [-0, +1] */
static void push_ids(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)&ids_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    if (lua_istable(L, -1) && count_of(L, lua_gettop(L)) < TEXTS_MAX)
        return;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushlightuserdata(L, (void *)&ids_key);
    lua_pushvalue(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

/** The number of the text on top. [-0, +0] */
static uint32_t id_of_text(lua_State *L, int ids)
{
    int text = lua_gettop(L);

    lua_pushvalue(L, text);
    lua_rawget(L, ids);
    if (lua_isnil(L, -1)) {
        lua_pushnumber(L, till_rulebox_new_id());
        lua_pushvalue(L, text);
        lua_pushvalue(L, -2);
        lua_rawset(L, ids);
        lua_pushnumber(L, count_of(L, ids) + 1);
        lua_rawseti(L, ids, 0);
    }
    uint32_t id = (uint32_t)lua_tonumber(L, -1);
    lua_settop(L, text);
    return id;
}

/** The bytes of the value on top, appended; their base comes later, for the buffer moves. [-1, +0] */
static size_t encode(lua_State *L, till_buf_t *out, const char *what, int number)
{
    size_t before = out->len;
    const char *fault = till_wire_put_input(L, lua_gettop(L), out);

    if (fault != NULL && number != 0)
        luaL_error(L, "box: the %s of rule %d hold %s", what, number, fault);
    if (fault != NULL)
        luaL_error(L, "box: the %s holds %s", what, fault);
    lua_pop(L, 1);
    return out->len - before;
}

static void take_rule(lua_State *L, int index, int ids, till_rulebox_rule_t *rule, till_buf_t *out, int number)
{
    lua_getfield(L, index, "text");
    if (lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "box: rule %d has no text", number);
    rule->text.base = lua_tolstring(L, -1, &rule->text.len); /* the list holds it */
    rule->id = id_of_text(L, ids);
    lua_pop(L, 1);
    lua_getfield(L, index, "args");
    rule->args.len = encode(L, out, "args", number);
}

/** What stands at `index`, in memory of Lua's and of the VM's scratch. [-0, +2] */
static void take_rules(lua_State *L, int index, till_rulebox_ask_t *ask, till_buf_t *out)
{
    size_t n = lua_objlen(L, index);

    luaL_argcheck(L, n >= 1 && n <= TILL_WIRE_RULES_MAX, index, "1 to 1000 rules are expected");
    till_rulebox_rule_t *rules = lua_newuserdata(L, n * sizeof(*rules));
    push_ids(L);
    int ids = lua_gettop(L);
    for (size_t i = 0; i != n; ++i) {
        lua_rawgeti(L, index, (int)i + 1);
        luaL_argcheck(L, lua_istable(L, -1), index, "a list of rules is expected");
        take_rule(L, lua_gettop(L), ids, &rules[i], out, (int)i + 1);
        lua_pop(L, 1);
    }
    ask->rules = rules;
    ask->count = n;
}

static void place_bytes(till_rulebox_ask_t *ask, till_rulebox_rule_t *rules, const till_buf_t *out)
{
    const char *at = out->base;

    for (size_t i = 0; i != ask->count; ++i) {
        rules[i].args.base = at;
        at += rules[i].args.len;
    }
    ask->input.base = at;
}

/* ---- answers ----------------------------------------------------------------------------- */

static void set_number(lua_State *L, const char *key, lua_Number n)
{
    lua_pushnumber(L, n);
    lua_setfield(L, -2, key);
}

/** [-0, +0], into the table on top */
static void set_failure(lua_State *L, till_wire_t *wire, uint8_t code)
{
    uint32_t line = till_wire_u32(wire), column = till_wire_u32(wire);
    till_wire_t message = till_wire_piece(wire);

    if (code >= TILL_RULE_CODE_COUNT)
        wire->is_bad = true;
    lua_createtable(L, 0, 4);
    lua_pushstring(L, till_rule_code_name(code));
    lua_setfield(L, -2, "code");
    lua_pushlstring(L, message.at, (size_t)(message.end - message.at));
    lua_setfield(L, -2, "message");
    if (line != 0)
        set_number(L, "line", line);
    if (column != 0)
        set_number(L, "column", column);
    lua_setfield(L, -2, "failure");
}

static void push_answer(lua_State *L, till_wire_t *wire)
{
    uint8_t code = till_wire_u8(wire);

    lua_createtable(L, 0, 4);
    set_number(L, "us", till_wire_u32(wire));
    set_number(L, "fuel", (lua_Number)till_wire_u64(wire));
    if (code != TILL_RULE_VALUE) {
        set_failure(L, wire, code);
        return;
    }
    till_wire_t value = till_wire_piece(wire);
    if (!till_wire_push(L, &value, true))
        wire->is_bad = true;
    lua_setfield(L, -2, "value");
}

/** [-0, +1] @return whether they are answers */
static bool push_answers(lua_State *L, till_wire_t wire, size_t wanted)
{
    uint32_t n = till_wire_u32(&wire);

    lua_checkstack(L, 8);
    lua_createtable(L, (int)wanted, 0);
    for (uint32_t i = 1; i <= n && n == wanted && !wire.is_bad; ++i) {
        push_answer(L, &wire);
        lua_rawseti(L, -2, (int)i);
    }
    return n == wanted && !wire.is_bad && wire.at == wire.end;
}

/* false, which rule, code, how */
static int push_loss(lua_State *L, const till_rulebox_reply_t *reply)
{
    lua_checkstack(L, 4);
    lua_pushboolean(L, 0);
    lua_pushnumber(L, reply->culprit + 1);
    lua_pushstring(L, till_rule_code_name(reply->code));
    lua_pushstring(L, reply->how);
    return 4;
}

static void on_reply(void *data, till_status_t status, const till_rulebox_reply_t *reply)
{
    till_co_t *co = data;
    lua_State *L = till_co_stack(co);

    if (status != TILL_OK) {
        till_co_fail(co, status,
                     status == TILL_UNAVAILABLE ? "the box of rules cannot be started; the log says why"
                                                : "the box of rules");
    } else if (reply->is_lost) {
        till_co_resume(co, push_loss(L, reply));
    } else if (push_answers(L, reply->answers, lua_objlen(L, -1))) {
        lua_pushnumber(L, reply->seconds);
        till_co_resume(co, 2);
    } else {
        till_rulebox_distrust(till_vm_env_of(L)->box);
        till_co_fail(co, TILL_UNAVAILABLE, "the box of rules answered nonsense and is replaced");
    }
}

/* answers, seconds | false, culprit, code, how | nil, err =
 *     exchange("E" or "C", rules, input, fuel, cpu_us, wall_ms) */
static int l_exchange(lua_State *L)
{
    till_rulebox_ask_t ask = {.what = *luaL_checkstring(L, 1)};
    till_vm_t *vm = till_vm_of(L);

    luaL_checktype(L, 2, LUA_TTABLE);
    ask.fuel = (uint64_t)luaL_checknumber(L, 4);
    ask.cpu_us = (uint32_t)luaL_checknumber(L, 5);
    ask.wall_ms = (uint64_t)luaL_checknumber(L, 6);
    if (vm->env.box == NULL)
        luaL_error(L, "there is no box for rules in this process");
    till_co_check_yieldable(L, "box");
    till_co_t *co = till_co_of(L);
    if (till_co_refused(L, co))
        return 2;
    till_buf_clear(&vm->scratch);
    take_rules(L, 2, &ask, &vm->scratch);
    lua_pushvalue(L, 3);
    ask.input.len = encode(L, &vm->scratch, "input", 0);
    place_bytes(&ask, (till_rulebox_rule_t *)ask.rules, &vm->scratch);
    lua_pushvalue(L, 2);
    return till_co_park(co, L, till_rulebox_exchange(vm->env.box, &ask, till_co_time_left(L, LINE_MS), on_reply, co),
                        1);
}

static const luaL_Reg functions[] = {{"exchange", l_exchange}, {NULL, NULL}};

int till_bind_box(lua_State *L) { return till_bind(L, functions); }
