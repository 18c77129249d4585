/* fuzz_ws.c - frames fed whole or in pieces are the same events; what we write is read again as it was. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "serve/ws.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* Events with their codes and control payloads, until the client is not read from any more. */
static void tell(till_buf_t *out, const uint8_t *bytes, size_t len, size_t step)
{
    till_ws_t ws = {0};
    uint8_t *copy = malloc(len + 1);
    size_t from = 0, fed = 0, taken;
    till_ws_event_t event = TILL_WS_MORE;

    memcpy(copy, bytes, len);
    while (event != TILL_WS_FAILED && event != TILL_WS_CLOSED) {
        event = till_ws_read(&ws, copy + from, fed - from, &taken);
        from += taken;
        if (event == TILL_WS_MORE) {
            if (fed == len)
                break;
            fed += len - fed < step ? len - fed : step;
            continue;
        }
        till_buf_printf(out, "%d:", (int)event);
        if (event == TILL_WS_FAILED || event == TILL_WS_CLOSED)
            till_buf_printf(out, "%u", ws.code);
        if (event == TILL_WS_PINGED)
            till_buf_append(out, ws.control, ws.control_len);
        if (ws.message.len > TILL_WS_MAX_MESSAGE)
            abort();
    }
    till_buf_dispose(&ws.message);
    free(copy);
}

/* A server's frame is a client's without the mask: with a mask of zeros it must come back. */
static void write_and_read(const uint8_t *bytes, size_t len)
{
    till_buf_t frame, masked;
    till_ws_t ws = {0};
    size_t taken, n = len < TILL_WS_MAX_CONTROL ? len : TILL_WS_MAX_CONTROL;

    till_buf_init(&frame, 0);
    till_buf_init(&masked, 0);
    till_ws_write(&frame, TILL_WS_PING, bytes, n);
    till_buf_append(&masked, frame.base, 2);
    masked.base[1] |= (char)0x80;
    till_buf_append(&masked, "\0\0\0\0", 4);
    till_buf_append(&masked, frame.base + 2, frame.len - 2);
    if (till_ws_read(&ws, (uint8_t *)masked.base, masked.len, &taken) != TILL_WS_PINGED || taken != masked.len ||
        ws.control_len != n || memcmp(ws.control, bytes, n) != 0)
        abort();
    till_buf_dispose(&frame);
    till_buf_dispose(&masked);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    till_buf_t whole, pieces;
    size_t step = len != 0 ? 1 + bytes[0] % 7 : 1;

    till_buf_init(&whole, 0);
    till_buf_init(&pieces, 0);
    tell(&whole, bytes, len, SIZE_MAX);
    tell(&pieces, bytes, len, step);
    if (whole.len != pieces.len || (whole.len != 0 && memcmp(whole.base, pieces.base, whole.len) != 0))
        abort();
    if (len != 0)
        write_and_read(bytes, len);
    till_buf_dispose(&whole);
    till_buf_dispose(&pieces);
    return 0;
}
