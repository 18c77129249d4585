#include "support/box.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define FUEL 1000000
#define CPU_US 50000

static bool take_box(test_box_t *box)
{
    struct pollfd news = {.fd = box->control, .events = POLLIN};

    return poll(&news, 1, 20000) == 1 && till_box_hear(box->control, &box->ends) == 1;
}

bool test_box_open(test_box_t *box, const char *program)
{
    *box = (test_box_t){0};
    box->control = till_box_spawn_named(program, &box->keeper);
    return box->control != -1 && take_box(box);
}

static void drop(test_box_t *box)
{
    close(box->ends.fd);
    munmap((void *)box->ends.page, sizeof(*box->ends.page));
}

void test_box_close(test_box_t *box)
{
    drop(box);
    close(box->control);
    till_box_end(box->keeper);
}

int test_box_replace(test_box_t *box)
{
    drop(box);
    if (!till_box_want(box->control) || !take_box(box))
        return -1;
    return box->ends.news.last_status;
}

static bool send_all(int fd, const char *bytes, size_t len)
{
    while (len != 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

bool test_box_send(test_box_t *box, const till_buf_t *body)
{
    uint32_t len = (uint32_t)body->len;

    return send_all(box->ends.fd, (const char *)&len, sizeof(len)) && send_all(box->ends.fd, body->base, body->len);
}

/** @return 1, 0, -1 as test_box_receive */
static int receive_exactly(int fd, char *into, size_t len, int ms)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};

    while (len != 0) {
        if (poll(&wait, 1, ms) != 1)
            return 0;
        ssize_t n = recv(fd, into, len, 0);
        if (n <= 0)
            return -1;
        into += n;
        len -= (size_t)n;
    }
    return 1;
}

int test_box_receive(test_box_t *box, till_buf_t *out, int ms)
{
    char piece[4096];
    uint32_t len;
    int got = receive_exactly(box->ends.fd, (char *)&len, sizeof(len), ms);

    till_buf_clear(out);
    while (got == 1 && len != 0) {
        uint32_t n = len < sizeof(piece) ? len : sizeof(piece);
        got = receive_exactly(box->ends.fd, piece, n, ms);
        till_buf_append(out, piece, n);
        len -= n;
    }
    return got;
}

static void put_rule(test_box_t *box, till_buf_t *body, const char *text, size_t len)
{
    till_buf_putc(body, 'E');
    till_buf_putc(body, 0);
    till_wire_put_u32(body, ++box->exchange);
    till_wire_put_u64(body, FUEL);
    till_wire_put_u32(body, CPU_US);
    till_wire_put_piece(body, "", 1); /* nil */
    till_wire_put_u32(body, 1);
    till_wire_put_u32(body, ++box->last_id);
    till_wire_put_piece(body, text, len);
    till_wire_put_piece(body, "", 1);
}

static void read_verdict(const till_buf_t *body, test_verdict_t *out)
{
    till_wire_t wire = {body->base, body->base + body->len, false};

    (void)till_wire_u32(&wire);
    (void)till_wire_u32(&wire);
    out->code = (till_rule_code_t)till_wire_u8(&wire);
    (void)till_wire_u32(&wire);
    out->fuel = till_wire_u64(&wire);
    if (out->code != TILL_RULE_VALUE)
        (void)till_wire_u64(&wire);
    till_wire_t message = till_wire_piece(&wire);
    snprintf(out->message, sizeof(out->message), "%.*s", (int)(message.end - message.at), message.at);
    out->is_lost = wire.is_bad;
}

test_verdict_t test_box_run(test_box_t *box, const char *text, size_t len, int ms)
{
    test_verdict_t out = {.is_lost = true};
    till_buf_t body;

    till_buf_init(&body, 0);
    put_rule(box, &body, text, len);
    if (test_box_send(box, &body) && test_box_receive(box, &body, ms) == 1) {
        out.is_lost = false;
        read_verdict(&body, &out);
    }
    till_buf_dispose(&body);
    return out;
}
