/* server.c - the box's loop: a frame comes, its rules run, a frame goes. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "base/mem.h"
#include "vm/box/box.h"
#include "vm/box/sandbox.h"

#define KEEP_MAX (512 * 1024) /* of a buffer between exchanges */
#define BUCKETS 1024
#define SPIN_NS 100000
#define BRISK_NS 200000
#define ROOM_FOR_VERDICTS (1 << 20) /* of a thousand rules, and one answer */

/* A rule's text, as it was when it came first. */
struct kept {
    struct kept *next;
    uint32_t id;
    till_buf_t code;
    till_verdict_t verdict; /* VALUE: `code` is good */
};

struct server {
    int fd;
    till_box_page_t *page;
    char *in; /* the frame */
    size_t in_cap;
    till_buf_t out;
    struct kept *kept[BUCKETS];
    bool is_brisk; /* the last frame came soon after the one before was answered */
};

struct request {
    uint8_t what, forget;
    uint32_t exchange, count;
    till_limits_t limits;
};

/* ---- what is kept ------------------------------------------------------------------------ */

static struct kept *find(struct server *server, uint32_t id)
{
    struct kept *kept = server->kept[id % BUCKETS];

    while (kept != NULL && kept->id != id)
        kept = kept->next;
    return kept;
}

static void forget_all(struct server *server)
{
    for (size_t i = 0; i != BUCKETS; ++i) {
        while (server->kept[i] != NULL) {
            struct kept *kept = server->kept[i];
            server->kept[i] = kept->next;
            till_buf_dispose(&kept->code);
            free(kept);
        }
    }
}

static struct kept *keep(struct server *server, uint32_t id, till_slice_t text)
{
    struct kept *kept = till_calloc(1, sizeof(*kept));
    struct kept **bucket = &server->kept[id % BUCKETS];

    kept->id = id;
    till_buf_init(&kept->code, 0);
    if (text.len > TILL_WIRE_TEXT_MAX) {
        kept->verdict.code = TILL_RULE_SYNTAX;
        snprintf(kept->verdict.message, sizeof(kept->verdict.message), "the text has more than 64 KB");
    } else {
        till_sandbox_compile(text, false, &kept->code, &kept->verdict);
    }
    kept->next = *bucket;
    *bucket = kept;
    return kept;
}

/* ---- answers -------------------------------------------------------------------------------- */

static void put_verdict(till_buf_t *out, const till_verdict_t *verdict)
{
    till_buf_putc(out, (char)verdict->code);
    till_wire_put_u32(out, verdict->us);
    till_wire_put_u64(out, verdict->fuel);
    if (verdict->code == TILL_RULE_VALUE)
        return;
    till_wire_put_u32(out, verdict->line);
    till_wire_put_u32(out, verdict->column);
    till_wire_put_piece(out, verdict->message, strlen(verdict->message));
}

static void put_run(till_buf_t *out, const struct kept *kept, till_wire_t args, const till_limits_t *limits)
{
    till_verdict_t verdict;
    till_buf_t value;

    till_buf_init(&value, TILL_WIRE_ANSWER_MAX);
    till_sandbox_run((till_slice_t){kept->code.base, kept->code.len}, args, limits, &value, &verdict);
    put_verdict(out, &verdict);
    if (verdict.code == TILL_RULE_VALUE)
        till_wire_put_piece(out, value.base, value.len);
    till_buf_dispose(&value);
}

static void put_check(till_buf_t *out, till_slice_t text)
{
    till_verdict_t verdict;
    till_buf_t code;

    till_buf_init(&code, 0);
    till_sandbox_compile(text, true, &code, &verdict);
    till_buf_dispose(&code);
    put_verdict(out, &verdict);
    if (verdict.code == TILL_RULE_VALUE)
        till_wire_put_piece(out, "", 1); /* TAG_NIL */
}

/* ---- what the jail is tried with ----------------------------------------------------------------- */

#if TILL_BOX_PROBES
#include "vm/box/probe.h"
static void try_probe(int fd, uint8_t which) { till_box_probe(fd, which); }

static void babble(int fd, const struct request *request)
{
    if (request->what == 'N')
        till_box_babble(fd, request->exchange, request->limits.cpu_us);
}
#else
static void try_probe(int fd, uint8_t which)
{
    (void)fd;
    (void)which;
}

static void babble(int fd, const struct request *request)
{
    (void)fd;
    (void)request;
}
#endif

/* ---- one exchange ---------------------------------------------------------------------------- */

static till_wire_t take_text(till_wire_t *wire, bool *is_known)
{
    till_wire_t ahead = *wire;

    *is_known = till_wire_u32(&ahead) == TILL_WIRE_KNOWN;
    if (!*is_known)
        return till_wire_piece(wire);
    *wire = ahead;
    return (till_wire_t){ahead.at, ahead.at, false};
}

/* The worker is ours: a frame of it that makes no sense is a bug, and ends us. */
static void one_rule(struct server *server, const struct request *request, till_wire_t *wire, bool has_input)
{
    static const till_verdict_t no_input = {.code = TILL_RULE_MEMORY, .message = "the input is too large"},
                                no_room = {.code = TILL_RULE_ANSWER,
                                           .message = "not run: the rules before it have answered all that one "
                                                      "cart may be answered (7 MB)"};
    bool is_known;
    uint32_t id = till_wire_u32(wire);
    till_wire_t text = take_text(wire, &is_known), args = till_wire_piece(wire);

    if (request->what == 'C') {
        put_check(&server->out, (till_slice_t){text.at, (size_t)(text.end - text.at)});
        return;
    }
    const struct kept *kept = find(server, id);
    if (kept == NULL || wire->is_bad)
        abort();
    if (kept->verdict.code != TILL_RULE_VALUE)
        put_verdict(&server->out, &kept->verdict);
    else if (!has_input)
        put_verdict(&server->out, &no_input);
    else if (server->out.len > TILL_WIRE_REPLY_MAX - ROOM_FOR_VERDICTS)
        put_verdict(&server->out, &no_room);
    else
        put_run(&server->out, kept, args, &request->limits);
}

/* Texts are parsed before the input is there: that state has none. */
static void keep_texts(struct server *server, const struct request *request, till_wire_t wire)
{
    for (uint32_t i = 0; i != request->count && request->what == 'E'; ++i) {
        bool is_known;
        server->page->rule = i;
        uint32_t id = till_wire_u32(&wire);
        till_wire_t text = take_text(&wire, &is_known);
        (void)till_wire_piece(&wire);
        if (!is_known && find(server, id) == NULL)
            keep(server, id, (till_slice_t){text.at, (size_t)(text.end - text.at)});
    }
}

static void serve(struct server *server, till_wire_t *wire)
{
    struct request request;

    request.what = till_wire_u8(wire);
    if (request.what == 'P')
        try_probe(server->fd, till_wire_u8(wire));
    request.forget = till_wire_u8(wire);
    request.exchange = till_wire_u32(wire);
    request.limits.fuel = till_wire_u64(wire);
    request.limits.cpu_us = till_wire_u32(wire);
    till_wire_t input = till_wire_piece(wire);
    request.count = till_wire_u32(wire);
    server->page->exchange = request.exchange;
    babble(server->fd, &request);
    if (request.forget != 0)
        forget_all(server);
    keep_texts(server, &request, *wire);
    till_wire_put_u32(&server->out, request.exchange);
    till_wire_put_u32(&server->out, request.count);
    bool has_input = request.what == 'E' && till_sandbox_input(input, request.count != 1);
    for (uint32_t i = 0; i != request.count; ++i) {
        server->page->rule = i;
        one_rule(server, &request, wire, has_input);
    }
}

/* ---- frames ----------------------------------------------------------------------------------- */

static void receive(int fd, void *into, size_t len)
{
    char *at = into;

    while (len != 0) {
        ssize_t n = recv(fd, at, len, 0);
        if (n == 0 || (n == -1 && errno != EINTR))
            _exit(0); /* the worker is gone, or wants another */
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
}

static uint64_t now_ns(void)
{
    struct timespec now;

    return clock_gettime(CLOCK_MONOTONIC, &now) == 0 ? (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec : 0;
}

/* Being woken takes longer than most rules do: while frames follow each other soon, the next is waited for awake. */
static void await_frame(struct server *server)
{
    uint64_t began = now_ns();
    char byte;

    while (server->is_brisk && now_ns() - began < SPIN_NS && recv(server->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == -1)
        sched_yield();
    while (recv(server->fd, &byte, 1, MSG_PEEK) == -1 && errno == EINTR)
        ;
    server->is_brisk = now_ns() - began < BRISK_NS;
}

static void send_all(int fd, const char *bytes, size_t len)
{
    while (len != 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n == -1 && errno != EINTR)
            _exit(0);
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
}

/* A large exchange leaves no large box behind. */
static void trim(struct server *server)
{
    if (server->out.len > KEEP_MAX)
        till_buf_dispose(&server->out);
    else
        till_buf_clear(&server->out);
    if (server->in_cap > KEEP_MAX) {
        free(server->in);
        server->in = NULL;
        server->in_cap = 0;
    }
}

static till_wire_t receive_frame(struct server *server)
{
    uint32_t len;

    await_frame(server);
    receive(server->fd, &len, sizeof(len));
    if (len > server->in_cap) {
        server->in = till_realloc(server->in, len);
        server->in_cap = len;
    }
    receive(server->fd, server->in, len);
    return (till_wire_t){server->in, server->in + len, false};
}

void till_box_serve(int fd, till_box_page_t *page)
{
    struct server server = {.fd = fd, .page = page};

    till_buf_init(&server.out, 0);
    for (;;) {
        till_wire_t wire = receive_frame(&server);
        size_t at = till_wire_open(&server.out);
        serve(&server, &wire);
        till_wire_close(&server.out, at);
        send_all(fd, server.out.base, server.out.len);
        till_sandbox_rest();
        trim(&server);
    }
}
