/* fuzz_head.c - requests of HTTP/1.1 as anybody may send them, at once and in pieces; see core/serve/guard_head.h. */
#include <stdlib.h>
#include <string.h>
#include "serve/guard_head.h"

#define MAX_HEAD 2000
#define MAX_BODY 1000

static void check(int holds)
{
    if (!holds)
        abort();
}

struct request {
    till_head_t head;
    till_chunks_t chunks;
    till_reading_t reading;
    size_t end;
};

static void go_on(struct request *request, const char *bytes, size_t len)
{
    till_head_t *head = &request->head;

    if (!request->chunks.state && request->reading == TILL_READING_MORE && request->end == 0)
        request->reading = till_head_read(head, bytes, len, MAX_HEAD);
    if (request->reading == TILL_READING_DONE && request->end == 0) {
        request->end = head->at + (head->lengths != 0 ? (size_t)head->length : 0);
        request->reading = head->codings != 0 ? TILL_READING_MORE : TILL_READING_DONE;
    }
    if (request->end != 0 && head->codings != 0 && request->reading == TILL_READING_MORE) {
        request->reading = till_chunks_read(&request->chunks, bytes + head->at, len - head->at, MAX_BODY);
        request->end = head->at + request->chunks.at;
    }
}

/* What was found sound says one thing only of where it ends. */
static void check_sound(const struct request *request, const char *bytes, size_t len)
{
    const till_head_t *head = &request->head;

    check(head->at <= len && head->at <= MAX_HEAD && memcmp(bytes + head->at - 4, "\r\n\r\n", 4) == 0);
    check(head->lengths + head->codings <= 1 && head->hosts <= 1);
    check(till_head_is_target(bytes + head->target_at, head->target_len));
    check(till_head_is_token(bytes + head->method_at, head->method_len));
    check(memchr(bytes, '\0', head->at) == NULL);
    if (head->codings != 0)
        check(request->end <= len && request->chunks.total <= MAX_BODY && bytes[request->end - 1] == '\n');
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    char *bytes = size != 0 ? memcpy(malloc(size), input, size) : NULL;
    struct request once = {.reading = TILL_READING_MORE}, pieces = {.reading = TILL_READING_MORE};

    go_on(&once, bytes, size);
    for (size_t len = 0; len <= size; len += 1 + size / 64) {
        char *exact = len != 0 ? memcpy(malloc(len), bytes, len) : NULL; /* so that a read past it is seen */
        go_on(&pieces, exact, len);
        free(exact);
    }
    go_on(&pieces, bytes, size);
    check(once.reading == pieces.reading && once.end == pieces.end);
    check(once.head.status == pieces.head.status && once.chunks.status == pieces.chunks.status);
    if (once.reading == TILL_READING_REFUSED)
        check(once.head.status != TILL_OK || once.chunks.status != TILL_OK);
    if (once.reading == TILL_READING_DONE)
        check_sound(&once, bytes, size);
    free(bytes);
    return 0;
}
