/* trade_priv.h - small words that the modules of trade/ share when they speak SQL. */
#ifndef TILL_TRADE_PRIV_H
#define TILL_TRADE_PRIV_H

#include "io/sql.h"

#define TILL_SLICE_LIT(text) ((till_slice_t){text, sizeof(text) - 1})

static inline till_sql_value_t till_sql_int(uint64_t number)
{
    return (till_sql_value_t){.type = TILL_SQL_INT, .integer = (int64_t)number};
}

static inline till_sql_value_t till_sql_text(till_slice_t text)
{
    return (till_sql_value_t){.type = TILL_SQL_TEXT, .base = text.len != 0 ? text.base : "", .len = text.len};
}

static inline till_sql_value_t till_sql_bytes(till_slice_t bytes)
{
    return (till_sql_value_t){.type = TILL_SQL_BYTES, .base = bytes.len != 0 ? bytes.base : "", .len = bytes.len};
}

static inline till_slice_t till_slice_of(const till_sql_value_t *cell) { return (till_slice_t){cell->base, cell->len}; }

/** Names a claim: random, never 0, and exact as a number of Lua. */
static inline uint64_t till_claim_draw(void)
{
    uint64_t claim;

    till_random(&claim, sizeof(claim));
    claim >>= 11;
    return claim != 0 ? claim : 1;
}

#endif
