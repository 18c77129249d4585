/* guard_frames.c - what comes over HTTP/2, frame by frame, before libh2o sees it.
 *
 * One frame of headers. Spread over CONTINUATION frames, a few kilobytes that
 * refer back to the compression's table become gigabytes in libh2o. Headers
 * within our limit fit in one frame, and no browser sends more.
 *
 * Resets. Requests that their client takes back cost it nothing and us a
 * handler each (CVE-2023-44487, not mended there). Who does so more than
 * MAX_RESETS times a second is hung up on.
 */
#include <h2o.h> /* before its parts, which do not include it */
#include <h2o/http2.h>
#include "serve/server_priv.h"

#define MAX_RESETS 200
#define RESETS_PER_MS 1000

#define PREFACE_LEN 24
#define FRAME_HEAD_LEN 9
#define HEADERS 1
#define CONTINUATION 9
#define END_HEADERS 4

/* libh2o takes frames out of the buffer whole, so it begins with a frame, after the preface. */
bool till_frames_check(till_connection_t *connection, const h2o_buffer_t *input)
{
    const uint8_t *at = (const uint8_t *)input->bytes, *end = at + input->size;

    if (!connection->frames.has_preface) {
        if (input->size < PREFACE_LEN)
            return true;
        at += PREFACE_LEN;
    }
    while (end - at >= FRAME_HEAD_LEN) {
        size_t len = (size_t)at[0] << 16 | (size_t)at[1] << 8 | at[2];
        if (at[3] == CONTINUATION || (at[3] == HEADERS && (at[4] & END_HEADERS) == 0)) {
            till_guard_hang_up(connection, TILL_HOSTILE_CONTINUATION);
            return false;
        }
        if ((size_t)(end - at) < FRAME_HEAD_LEN + len)
            break;
        at += FRAME_HEAD_LEN + len;
    }
    return true;
}

void till_frames_let(till_connection_t *connection, const h2o_buffer_t *input)
{
    connection->frames.has_preface = connection->frames.has_preface || input->size >= PREFACE_LEN;
}

void till_guard_note_reset(till_connection_t *connection)
{
    till_frames_t *frames = &connection->frames;
    uint64_t now = till_loop_now(connection->server->opts.loop);

    if (now - frames->resets_since_ms >= RESETS_PER_MS) {
        frames->resets_since_ms = now;
        frames->resets = 0;
    }
    if (++frames->resets > MAX_RESETS)
        till_guard_hang_up(connection, TILL_HOSTILE_RESETS);
}
