/* ws.h - the WebSocket protocol (RFC 6455), the server's side: what frames say, and nothing of sockets.
 *
 * Why our own: what a shop sends goes one way, so of a client only small
 * messages and control frames come; a library keeps 8 KB of buffers for each
 * connection, and this keeps 40 bytes. No extension is spoken.
 *
 * Reading. Feed it what has come; it takes whole frames off the front, undoes
 * the mask in place and says what was in them. A frame that is not whole stays
 * where it is, so that a connection never holds more than one of
 * TILL_WS_MAX_MESSAGE bytes. A client that breaks the protocol is told why, by
 * the code to close with, and must not be read from any more:
 *
 *     1002  not masked, a reserved bit or opcode, a control frame in pieces or over 125 bytes, a length
 *           that is not the shortest, pieces out of order, a close with half a code or a forbidden one
 *     1007  text, or a reason to close, that is not UTF-8
 *     1009  a message over TILL_WS_MAX_MESSAGE bytes, as soon as it is announced
 *
 * Thread: any; no state is shared.
 */
#ifndef TILL_SERVE_WS_H
#define TILL_SERVE_WS_H

#include "base/buf.h"

#define TILL_WS_MAX_MESSAGE 4096
#define TILL_WS_MAX_CONTROL 125
#define TILL_WS_ACCEPT_LEN 28

typedef enum till_ws_opcode {
    TILL_WS_CONTINUATION = 0,
    TILL_WS_TEXT = 1,
    TILL_WS_BINARY = 2,
    TILL_WS_CLOSE = 8,
    TILL_WS_PING = 9,
    TILL_WS_PONG = 10,
} till_ws_opcode_t;

typedef enum till_ws_event {
    TILL_WS_MORE,    /* nothing whole is there */
    TILL_WS_PIECE,   /* of a message, not its last */
    TILL_WS_MESSAGE, /* a whole one, text or binary */
    TILL_WS_PINGED,  /* answer with the payload of the control frame */
    TILL_WS_PONGED,
    TILL_WS_CLOSED, /* the client ends it, with `code`; 1005: it gave none */
    TILL_WS_FAILED, /* close with `code` */
} till_ws_event_t;

/* What is known between two frames; zeroed at the begin. */
typedef struct till_ws {
    till_buf_t message;     /* the pieces so far; dispose it at the end */
    uint8_t opcode;         /* of the message that comes in pieces; 0: none does */
    unsigned code;          /* of CLOSED and FAILED */
    const uint8_t *control; /* payload of the control frame, in the bytes that were fed */
    size_t control_len;
} till_ws_t;

/** Reads one frame at the front of `bytes`, which it changes. @param taken how many to drop from the front */
till_ws_event_t till_ws_read(till_ws_t *ws, uint8_t *bytes, size_t len, size_t *taken);
/** Appends one whole frame, not masked, as a server sends it. */
void till_ws_write(till_buf_t *out, till_ws_opcode_t opcode, const void *payload, size_t len);
/** Appends a close frame; `reason` is short. */
void till_ws_write_close(till_buf_t *out, unsigned code, const char *reason);
/** The answer to a client's Sec-WebSocket-Key, NUL-terminated. @return false where that is none */
bool till_ws_accept(char out[TILL_WS_ACCEPT_LEN + 1], const char *key, size_t len);

#endif
