/* amqp.h - messages to RabbitMQ, each confirmed by the broker.
 *
 * librabbitmq waits for the wire, so it runs on a thread of its own, which is
 * started with the first message. Connections are kept by what they lead to,
 * closed when nobody used them for a minute, and made anew when they were lost:
 * when to try again is the caller's business (lua/till/flow/publish.lua).
 *
 * A message counts as done when the broker has confirmed it, and was not given
 * back as one that no queue wanted. What was in flight when a connection broke
 * may have arrived: it comes again under the same id.
 *
 * A message over which the broker closes the channel is told apart from those
 * that were sent with it, and these go out all the same (amqp_wire.c).
 *
 * Thread: the loop's, as everywhere; the thread is nobody else's business.
 */
#ifndef TILL_IO_AMQP_H
#define TILL_IO_AMQP_H

#include "base/hash.h"
#include "io/op.h"

typedef struct till_amqp till_amqp_t;

typedef struct till_amqp_target {
    const char *host;
    unsigned port;
    const char *vhost, *user, *password;
    const char *exchange; /* "": the default one, which leads to the queue of the routing key's name */
    bool is_declared;     /* the exchange is made where it is not there: durable, of type topic */
    bool tls;             /* with the certificate looked at, and the name in it */
    const char *ca_file;  /* needed with tls: PEM of the authorities to believe */
} till_amqp_target_t;

typedef struct till_amqp_message {
    till_slice_t routing_key; /* at most 255 bytes, as id and type */
    till_slice_t id, type;
    till_slice_t body;
    till_slice_t aggregate, traceparent; /* headers; where empty there is none */
    uint64_t timestamp;                  /* seconds since 1970 */
} till_amqp_message_t;

typedef enum till_amqp_verdict {
    TILL_AMQP_UNKNOWN,
    TILL_AMQP_CONFIRMED,
    TILL_AMQP_UNROUTABLE, /* no queue wanted it */
    TILL_AMQP_REFUSED,    /* the broker could not take it (a queue that is full, say) */
    TILL_AMQP_CLOSED,     /* the broker closed the channel over it (it is too large, its topic is not for us) */
} till_amqp_verdict_t;

typedef struct till_amqp_outcome {
    till_amqp_verdict_t verdict;
    char *reason; /* of TILL_AMQP_CLOSED: the broker's words; NULL otherwise */
} till_amqp_outcome_t;

enum { TILL_AMQP_MOST = 1000 };

/** TILL_OK: each of `outcomes` is known. TILL_UNAVAILABLE: the broker is away, or does not let us in, and `error` says
 * so; nothing is known of any. Both live until the callback returns. */
typedef void (*till_amqp_cb)(void *data, till_status_t status, const till_amqp_outcome_t *outcomes, size_t n,
                             const char *error);

till_amqp_t *till_amqp_create(till_loop_t *loop);
/** Breaks what is on the wire and waits for the thread. What runs is told TILL_CANCELLED in the next turn. */
void till_amqp_destroy(till_amqp_t *amqp);
/** 1 to TILL_AMQP_MOST messages, in this order. All is copied. Calls wait for one another. */
till_op_t *till_amqp_publish(till_amqp_t *amqp, const till_amqp_target_t *target, const till_amqp_message_t *messages,
                             size_t n, uint64_t timeout_ms, till_amqp_cb cb, void *data);

#endif
