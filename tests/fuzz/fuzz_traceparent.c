/* fuzz_traceparent.c - whatever came in, what we send on is valid and continues it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    char header[TILL_TRACEPARENT_LEN + 1];
    till_trace_t trace, next;

    bool valid = till_trace_continue(&trace, (const char *)bytes, len);
    if (valid && (len < TILL_TRACEPARENT_LEN || memcmp(trace.trace_id, bytes + 3, 32) != 0))
        abort();
    till_trace_format(&trace, header);
    if (!till_trace_continue(&next, header, strlen(header)) || strcmp(next.parent_id, trace.span_id) != 0 ||
        strcmp(next.trace_id, trace.trace_id) != 0)
        abort();
    return 0;
}
