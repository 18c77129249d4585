/* test_ws.c - see core/serve/ws.h */
#include <check.h>
#include <string.h>
#include "serve/ws.h"

Suite *ws_suite(void);

static till_ws_t ws;
static uint8_t bytes[TILL_WS_MAX_MESSAGE * 2];
static size_t len, taken;

static void begin(void)
{
    ws = (till_ws_t){0};
    len = 0;
}

static void end(void) { till_buf_dispose(&ws.message); }

/* A client's frame behind what is there. */
static void add(uint8_t first, const void *payload, size_t n)
{
    static const uint8_t mask[] = {7, 0, 200, 33};

    bytes[len++] = first;
    bytes[len++] = (uint8_t)(0x80 | (n < 126 ? n : 126));
    if (n >= 126) {
        bytes[len++] = (uint8_t)(n >> 8);
        bytes[len++] = (uint8_t)n;
    }
    memcpy(bytes + len, mask, 4);
    len += 4;
    for (size_t i = 0; i != n; ++i)
        bytes[len++] = ((const uint8_t *)payload)[i] ^ mask[i % 4];
}

static till_ws_event_t next(void)
{
    till_ws_event_t event = till_ws_read(&ws, bytes, len, &taken);

    memmove(bytes, bytes + taken, len - taken);
    len -= taken;
    return event;
}

/* RFC 6455, 1.3. */
START_TEST(the_example_of_the_standard_is_accepted)
{
    char out[TILL_WS_ACCEPT_LEN + 1];

    ck_assert(till_ws_accept(out, "dGhlIHNhbXBsZSBub25jZQ==", 24));
    ck_assert_str_eq(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}
END_TEST

START_TEST(a_key_is_the_base64_of_sixteen_bytes)
{
    static const char *const keys[] = {"",
                                       "dGhlIHNhbXBsZSBub25jZQ=",
                                       "dGhlIHNhbXBsZSBub25jZQ===",
                                       "dGhlIHNhbXBsZSBub25jZXM=",
                                       "dGhl=HNhbXBsZSBub25jZQ==",
                                       "dGhl IHNhbXBsZSBub25jQ=="};
    char out[TILL_WS_ACCEPT_LEN + 1];

    for (size_t i = 0; i != sizeof(keys) / sizeof(keys[0]); ++i)
        ck_assert_msg(!till_ws_accept(out, keys[i], strlen(keys[i])), "%s", keys[i]);
}
END_TEST

START_TEST(a_message_may_come_in_pieces_with_control_frames_between)
{
    add(0x01, "h\xc3", 2);
    add(0x89, "mark", 4);
    add(0x80, "\xa9", 1);
    ck_assert_int_eq(next(), TILL_WS_PIECE);
    ck_assert_int_eq(till_ws_read(&ws, bytes, len, &taken), TILL_WS_PINGED);
    ck_assert_uint_eq(ws.control_len, 4);
    ck_assert_mem_eq(ws.control, "mark", 4);
    memmove(bytes, bytes + taken, len -= taken);
    ck_assert_int_eq(next(), TILL_WS_MESSAGE);
    ck_assert_int_eq(next(), TILL_WS_MORE);
    ck_assert_uint_eq(len, 0);
}
END_TEST

START_TEST(a_frame_that_is_not_whole_stays_where_it_is)
{
    uint8_t whole[64];
    size_t n;

    add(0x81, "hello", 5);
    memcpy(whole, bytes, n = len);
    for (len = 0; len != n; ++len) {
        ck_assert_int_eq(till_ws_read(&ws, bytes, len, &taken), TILL_WS_MORE);
        ck_assert_uint_eq(taken, 0);
        ck_assert_mem_eq(bytes, whole, n);
    }
    ck_assert_int_eq(next(), TILL_WS_MESSAGE);
}
END_TEST

static const struct {
    const char *why;
    size_t len;
    const char *bytes;
    till_ws_event_t event;
    unsigned code;
} rows[] = {
    {"not masked", 3, "\x81\x01x", TILL_WS_FAILED, 1002},
    {"a reserved bit", 6, "\xc1\x80\0\0\0\0", TILL_WS_FAILED, 1002},
    {"no such opcode", 6, "\x83\x80\0\0\0\0", TILL_WS_FAILED, 1002},
    {"a control frame in pieces", 6, "\x09\x80\0\0\0\0", TILL_WS_FAILED, 1002},
    {"a control frame that is too long", 8, "\x89\xfe\x00\x7e\0\0\0\0", TILL_WS_FAILED, 1002},
    {"a piece of nothing", 6, "\x80\x80\0\0\0\0", TILL_WS_FAILED, 1002},
    {"a length that could be shorter", 9, "\x82\xfe\x00\x01\0\0\0\0x", TILL_WS_FAILED, 1002},
    {"one of eight bytes that could be of two", 10, "\x82\xff\0\0\0\0\0\0\x01\0", TILL_WS_FAILED, 1002},
    {"too long", 4, "\x82\xfe\x10\x01", TILL_WS_FAILED, 1009},
    {"much too long", 10, "\x82\xff\x80\0\0\0\0\0\0\0", TILL_WS_FAILED, 1009},
    {"text that is no UTF-8", 7, "\x81\x81\0\0\0\0\xff", TILL_WS_FAILED, 1007},
    {"bytes may be anything", 7, "\x82\x81\0\0\0\0\xff", TILL_WS_MESSAGE, 0},
    {"an empty text", 6, "\x81\x80\0\0\0\0", TILL_WS_MESSAGE, 0},
    {"a close without a code", 6, "\x88\x80\0\0\0\0", TILL_WS_CLOSED, 1005},
    {"a close", 8, "\x88\x82\0\0\0\0\x03\xe8", TILL_WS_CLOSED, 1000},
    {"a close of an application", 8, "\x88\x82\0\0\0\0\x0f\xa0", TILL_WS_CLOSED, 4000},
    {"half a code", 7, "\x88\x81\0\0\0\0\x03", TILL_WS_FAILED, 1002},
    {"a code that may not be sent", 8, "\x88\x82\0\0\0\0\x03\xed", TILL_WS_FAILED, 1002},
    {"a code that is none", 8, "\x88\x82\0\0\0\0\x00\x01", TILL_WS_FAILED, 1002},
    {"a reason that is no UTF-8", 9, "\x88\x83\0\0\0\0\x03\xe8\xff", TILL_WS_FAILED, 1007},
};

START_TEST(what_a_client_may_and_may_not_send)
{
    len = rows[_i].len;
    memcpy(bytes, rows[_i].bytes, len);
    ck_assert_msg(next() == rows[_i].event, "%s", rows[_i].why);
    if (rows[_i].code != 0)
        ck_assert_msg(ws.code == rows[_i].code, "%s: %u", rows[_i].why, ws.code);
}
END_TEST

START_TEST(pieces_are_bounded_together)
{
    static const uint8_t much[TILL_WS_MAX_MESSAGE];

    add(0x02, much, 4000);
    ck_assert_int_eq(next(), TILL_WS_PIECE);
    add(0x00, much, 96);
    ck_assert_int_eq(next(), TILL_WS_PIECE);
    add(0x80, much, 1);
    ck_assert_int_eq(next(), TILL_WS_FAILED);
    ck_assert_uint_eq(ws.code, 1009);
}
END_TEST

START_TEST(what_is_written_has_the_shortest_length)
{
    static const struct {
        size_t len, head;
    } sizes[] = {{0, 2}, {125, 2}, {126, 4}, {65535, 4}, {65536, 10}};
    static char payload[65536];

    for (size_t i = 0; i != sizeof(sizes) / sizeof(sizes[0]); ++i) {
        till_buf_t out;
        till_buf_init(&out, 0);
        till_ws_write(&out, TILL_WS_TEXT, payload, sizes[i].len);
        ck_assert_uint_eq(out.len, sizes[i].head + sizes[i].len);
        ck_assert_uint_eq((uint8_t)out.base[0], 0x81);
        ck_assert_uint_eq((uint8_t)out.base[1], sizes[i].head == 2 ? sizes[i].len : sizes[i].head == 4 ? 126 : 127);
        till_buf_dispose(&out);
    }
}
END_TEST

Suite *ws_suite(void)
{
    Suite *suite = suite_create("serve/ws");
    TCase *tcase = tcase_create("frames");

    tcase_add_checked_fixture(tcase, begin, end);
    tcase_add_test(tcase, the_example_of_the_standard_is_accepted);
    tcase_add_test(tcase, a_key_is_the_base64_of_sixteen_bytes);
    tcase_add_test(tcase, a_message_may_come_in_pieces_with_control_frames_between);
    tcase_add_test(tcase, a_frame_that_is_not_whole_stays_where_it_is);
    tcase_add_loop_test(tcase, what_a_client_may_and_may_not_send, 0, sizeof(rows) / sizeof(rows[0]));
    tcase_add_test(tcase, pieces_are_bounded_together);
    tcase_add_test(tcase, what_is_written_has_the_shortest_length);
    suite_add_tcase(suite, tcase);
    return suite;
}
