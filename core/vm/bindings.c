/* bindings.c - the one list of what C gives to lua/till/prim/. */
#include "vm/vm_priv.h"

const till_binding_t till_bindings[] = {
    {"till.c.amqp", till_bind_amqp, false},
    {"till.c.attempt", till_bind_attempt, false},
    {"till.c.box", till_bind_box, false},
    {"till.c.breaker", till_bind_breaker, false},
    {"till.c.bundle", till_bind_bundle, false},
    {"till.c.co", till_bind_co, false},
    {"till.c.combine", till_bind_combine, false},
    {"till.c.conf", till_bind_conf, false},
    {"till.c.crypto", till_bind_crypto, false},
    {"till.c.csv", till_bind_csv, false},
    {"till.c.data", till_bind_data, false},
    {"till.c.fault", till_bind_fault, false},
    {"till.c.file", till_bind_file, true},
    {"till.c.generation", till_bind_generation, false},
    {"till.c.http", till_bind_http, false},
    {"till.c.idem", till_bind_idem, false},
    {"till.c.json", till_bind_json, false},
    {"till.c.live", till_bind_live, false},
    {"till.c.lock", till_bind_lock, false},
    {"till.c.log", till_bind_log, false},
    {"till.c.metrics", till_bind_metrics, false},
    {"till.c.outbox", till_bind_outbox, false},
    {"till.c.pages", till_bind_pages, false},
    {"till.c.redis", till_bind_redis, false},
    {"till.c.signature", till_bind_signature, false},
    {"till.c.sql", till_bind_sql, false},
    {"till.c.status", till_bind_status, false},
    {"till.c.term", till_bind_term, true},
    {"till.c.time", till_bind_time, false},
    {"till.c.ulid", till_bind_ulid, false},
    {"till.c.utf8", till_bind_utf8, false},
    {"till.c.vault", till_bind_vault, false},
    {NULL, NULL, false},
};

int till_bind(lua_State *L, const luaL_Reg *functions)
{
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
