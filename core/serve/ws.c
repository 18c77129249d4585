#include <string.h>
#include <openssl/evp.h>
#include "base/utf8.h"
#include "serve/ws.h"

#define FIN 0x80
#define RESERVED 0x70
#define MASKED 0x80
#define MASK_LEN 4
#define KEY_LEN 24 /* base64 of 16 bytes */
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

struct frame {
    uint8_t opcode;
    bool is_last;
    uint8_t *payload;
    size_t len;
};

static till_ws_event_t fail(till_ws_t *ws, unsigned code)
{
    ws->code = code;
    return TILL_WS_FAILED;
}

static bool is_control(uint8_t opcode) { return (opcode & 8) != 0; }

/* @return bytes of the length field; 0: not all of them are there */
static size_t read_length(const uint8_t *bytes, size_t len, uint64_t *out)
{
    size_t size = (bytes[1] & 0x7f) == 126 ? 2 : (bytes[1] & 0x7f) == 127 ? 8 : 0;

    *out = bytes[1] & 0x7f;
    if (size == 0)
        return 2;
    if (len < 2 + size)
        return 0;
    *out = 0;
    for (size_t i = 0; i != size; ++i)
        *out = *out << 8 | bytes[2 + i];
    return 2 + size;
}

static bool is_shortest(size_t head, uint64_t len) { return head == 2 || len >= (head == 4 ? 126u : 65536u); }

/* @return why it may not be, or 0 */
static unsigned check(const till_ws_t *ws, uint8_t first, uint8_t second, size_t head, uint64_t len)
{
    uint8_t opcode = first & 0x0f;
    bool is_known = opcode <= TILL_WS_BINARY || (opcode >= TILL_WS_CLOSE && opcode <= TILL_WS_PONG);

    if ((first & RESERVED) != 0 || (second & MASKED) == 0 || !is_known)
        return 1002;
    if (is_control(opcode))
        return (first & FIN) != 0 && len <= TILL_WS_MAX_CONTROL && is_shortest(head, len) ? 0 : 1002;
    if ((opcode == TILL_WS_CONTINUATION) != (ws->opcode != 0) || !is_shortest(head, len))
        return 1002;
    return len > TILL_WS_MAX_MESSAGE - ws->message.len ? 1009 : 0;
}

static void unmask(uint8_t *payload, const uint8_t *mask, size_t len)
{
    for (size_t i = 0; i != len; ++i)
        payload[i] ^= mask[i % MASK_LEN];
}

/* @return bytes of the whole frame; 0: it is not there yet, or must not be (ws->code) */
static size_t read_frame(till_ws_t *ws, struct frame *out, uint8_t *bytes, size_t len)
{
    uint64_t payload_len;
    size_t head = len >= 2 ? read_length(bytes, len, &payload_len) : 0;

    if (head == 0 || (ws->code = check(ws, bytes[0], bytes[1], head, payload_len)) != 0)
        return 0;
    size_t whole = head + MASK_LEN + (size_t)payload_len;
    if (len < whole)
        return 0;
    *out = (struct frame){bytes[0] & 0x0f, (bytes[0] & FIN) != 0, bytes + head + MASK_LEN, (size_t)payload_len};
    unmask(out->payload, bytes + head, out->len);
    return whole;
}

/* RFC 6455, 7.4: what may stand in a frame. */
static bool is_code(unsigned code)
{
    return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
           (code >= 3000 && code <= 4999);
}

static till_ws_event_t on_close(till_ws_t *ws, const struct frame *frame)
{
    ws->code = 1005;
    if (frame->len == 0)
        return TILL_WS_CLOSED;
    if (frame->len == 1)
        return fail(ws, 1002);
    ws->code = (unsigned)frame->payload[0] << 8 | frame->payload[1];
    if (!is_code(ws->code))
        return fail(ws, 1002);
    if (!till_utf8_is_valid((const char *)frame->payload + 2, frame->len - 2))
        return fail(ws, 1007);
    return TILL_WS_CLOSED;
}

static till_ws_event_t on_data(till_ws_t *ws, const struct frame *frame)
{
    if (frame->opcode != TILL_WS_CONTINUATION)
        ws->opcode = frame->opcode;
    till_buf_append(&ws->message, frame->payload, frame->len);
    if (!frame->is_last)
        return TILL_WS_PIECE;
    bool is_good =
        ws->opcode != TILL_WS_TEXT || ws->message.len == 0 || till_utf8_is_valid(ws->message.base, ws->message.len);
    ws->opcode = 0;
    till_buf_dispose(&ws->message);
    till_buf_init(&ws->message, 0);
    return is_good ? TILL_WS_MESSAGE : fail(ws, 1007);
}

till_ws_event_t till_ws_read(till_ws_t *ws, uint8_t *bytes, size_t len, size_t *taken)
{
    struct frame frame;

    *taken = read_frame(ws, &frame, bytes, len);
    if (*taken == 0)
        return ws->code != 0 ? TILL_WS_FAILED : TILL_WS_MORE;
    if (!is_control(frame.opcode))
        return on_data(ws, &frame);
    ws->control = frame.payload;
    ws->control_len = frame.len;
    if (frame.opcode == TILL_WS_CLOSE)
        return on_close(ws, &frame);
    return frame.opcode == TILL_WS_PING ? TILL_WS_PINGED : TILL_WS_PONGED;
}

void till_ws_write(till_buf_t *out, till_ws_opcode_t opcode, const void *payload, size_t len)
{
    uint8_t head[10] = {(uint8_t)(FIN | opcode)};
    size_t size = len < 126 ? 0 : len < 65536 ? 2 : 8;

    head[1] = size == 0 ? (uint8_t)len : size == 2 ? 126 : 127;
    for (size_t i = 0; i != size; ++i)
        head[2 + i] = (uint8_t)(len >> 8 * (size - 1 - i));
    till_buf_append(out, head, 2 + size);
    till_buf_append(out, payload, len);
}

void till_ws_write_close(till_buf_t *out, unsigned code, const char *reason)
{
    uint8_t payload[TILL_WS_MAX_CONTROL] = {(uint8_t)(code >> 8), (uint8_t)code};
    size_t len = strnlen(reason, sizeof(payload) - 2);

    memcpy(payload + 2, reason, len);
    till_ws_write(out, TILL_WS_CLOSE, payload, 2 + len);
}

bool till_ws_accept(char out[TILL_WS_ACCEPT_LEN + 1], const char *key, size_t len)
{
    unsigned char decoded[KEY_LEN], digest[EVP_MAX_MD_SIZE];
    char text[KEY_LEN + sizeof(GUID)];
    unsigned digest_len;

    if (len != KEY_LEN || memcmp(key + KEY_LEN - 2, "==", 2) != 0 || memchr(key, '=', KEY_LEN - 2) != NULL ||
        EVP_DecodeBlock(decoded, (const unsigned char *)key, KEY_LEN) != 18)
        return false;
    memcpy(text, key, KEY_LEN);
    memcpy(text + KEY_LEN, GUID, sizeof(GUID));
    if (EVP_Digest(text, KEY_LEN + sizeof(GUID) - 1, digest, &digest_len, EVP_sha1(), NULL) != 1)
        return false;
    EVP_EncodeBlock((unsigned char *)out, digest, (int)digest_len);
    return true;
}
