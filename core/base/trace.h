/* trace.h - W3C trace context, and a developer's trace of state machines.
 *
 * https://www.w3.org/TR/trace-context/ : `traceparent` is accepted, made where
 * it is absent, and carried through jobs, outbox, outbound calls and log lines.
 */
#ifndef TILL_BASE_TRACE_H
#define TILL_BASE_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TILL_TRACEPARENT_LEN 55 /* "00-" 32 hex "-" 16 hex "-" 2 hex */

typedef struct till_trace {
    char trace_id[33];  /* lower-case hex, NUL-terminated */
    char span_id[17];   /* ours */
    char parent_id[17]; /* of the caller; empty where we began the trace */
    uint8_t flags;
} till_trace_t;

/** A new trace of our own. */
void till_trace_begin(till_trace_t *trace);
/** Continues the caller's trace with a new span; begins one when `header` is no valid traceparent. @return whether it
 * was valid */
bool till_trace_continue(till_trace_t *trace, const char *header, size_t len);
/** Writes the header to send on, NUL-terminated. */
void till_trace_format(const till_trace_t *trace, char out[TILL_TRACEPARENT_LEN + 1]);

/* Debug builds with TILL_TRACE=sql,redis in the environment print each change of state to stderr. */
#ifdef NDEBUG
#define TILL_TRACE(area, object, ...) ((void)0)
#else
void till_trace_print(const char *area, const void *object, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
#define TILL_TRACE(area, object, ...) till_trace_print(area, object, __VA_ARGS__)
#endif

#endif
