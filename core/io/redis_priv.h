/* redis_priv.h - one connection to Redis, shared by redis.c and redis_conn.c only.
 *
 * hiredis gives the protocol and the socket (its context, not its asynchronous
 * half: that one takes a connect in progress for a finished one, and calls back
 * from inside its own free). What goes out is gathered until the turn's end.
 *
 * Each thing sent that will be answered has a ticket, an address of the owner's.
 * Answers come in the order of the tickets; the owner takes the next ticket
 * itself, because a message of a subscription answers none.
 */
#ifndef TILL_IO_REDIS_PRIV_H
#define TILL_IO_REDIS_PRIV_H

#include <hiredis/hiredis.h>
#include "io/redis.h"

typedef struct till_redis_conn till_redis_conn_t;

typedef struct till_redis_events {
    /** A new connection is being made: what must be said first on it can be sent now. May be NULL. */
    void (*on_connecting)(void *data);
    /** `reply` is the connection's. */
    void (*on_reply)(void *data, redisReply *reply);
    /** The connection is gone and this ticket will not be answered. Must not call back into the owner's callers. */
    void (*on_lost)(void *data, void *ticket);
} till_redis_events_t;

/** `events` and `opts` are borrowed until destroy. */
till_redis_conn_t *till_redis_conn_create(till_loop_t *loop, const till_redis_opts_t *opts,
                                          const till_redis_events_t *events, void *data);
/** Connects, and again for ever when it is lost. Once. */
void till_redis_conn_open(till_redis_conn_t *conn);
/** Tickets not answered yet are told lost. Not from inside on_reply. */
void till_redis_conn_destroy(till_redis_conn_t *conn);
bool till_redis_conn_is_up(const till_redis_conn_t *conn);
/**
 * @param ticket  may be NULL
 * @param number  out: the ticket's, for forget; never used again, not by another connection either
 * @return TILL_OK; TILL_CONN_LOST: not connected; TILL_OVERLOADED: too much unanswered
 */
till_status_t till_redis_conn_send(till_redis_conn_t *conn, size_t argc, const till_slice_t *argv, void *ticket,
                                   uint64_t *number);
/** Takes the oldest ticket. */
void *till_redis_conn_shift(till_redis_conn_t *conn);
/** Nobody waits for this one any more: its place in the order stays, as a NULL. */
void till_redis_conn_forget(till_redis_conn_t *conn, uint64_t number);

#endif
