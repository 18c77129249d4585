/* http_wire.c - libcurl's multi interface on the worker's loop.
 *
 * libcurl says which descriptors it waits for and when it wants to be woken;
 * we say what happened to them. For each descriptor we watch a dup of our own,
 * closed as soon as libcurl loses interest: it closes some of its descriptors
 * (those of the resolver's threads) without asking anybody, and the number
 * would come back as another connection while the loop still held the old one.
 *
 * Nothing here calls anybody's callback but on_over, and that one only asks
 * for a later turn: so whatever a user does, he does it outside of libcurl.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "io/http_priv.h"

struct watch {
    till_http_wire_t *wire;
    curl_socket_t fd;   /* libcurl's */
    h2o_socket_t *sock; /* of our dup */
    int wants;          /* CURL_POLL_* */
};

struct till_http_wire {
    till_loop_t *loop;
    CURLM *multi;
    till_timer_t timer;
    struct watch **watches; /* by descriptor */
    size_t watch_count;
    void (*on_over)(CURL *easy, CURLcode result);
};

static void collect(till_http_wire_t *wire)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(wire->multi, &left)) != NULL) {
        CURL *easy = message->easy_handle;
        CURLcode result = message->data.result; /* the message dies with the removal */

        curl_multi_remove_handle(wire->multi, easy);
        wire->on_over(easy, result);
    }
}

static void act(till_http_wire_t *wire, curl_socket_t fd, int events)
{
    int running;

    curl_multi_socket_action(wire->multi, fd, events, &running);
    collect(wire);
}

static void on_readable(h2o_socket_t *sock, const char *err)
{
    struct watch *watch = sock->data;

    act(watch->wire, watch->fd, err != NULL ? CURL_CSELECT_ERR : CURL_CSELECT_IN);
}

static void on_writable(h2o_socket_t *sock, const char *err);

/* A write notice is one-shot: it is asked for again as long as libcurl wants it. */
static void want_write(struct watch *watch)
{
    if ((watch->wants & CURL_POLL_OUT) != 0 && !h2o_socket_is_writing(watch->sock))
        h2o_socket_notify_write(watch->sock, on_writable);
}

static void on_writable(h2o_socket_t *sock, const char *err)
{
    struct watch *watch = sock->data;
    till_http_wire_t *wire = watch->wire;
    curl_socket_t fd = watch->fd;

    if ((watch->wants & CURL_POLL_OUT) == 0)
        return; /* it cannot be cancelled, so it may come too late */
    act(wire, fd, err != NULL ? CURL_CSELECT_ERR : CURL_CSELECT_OUT);
    if ((size_t)fd < wire->watch_count && wire->watches[fd] != NULL)
        want_write(wire->watches[fd]); /* `watch` itself may be gone */
}

static struct watch **slot_of(till_http_wire_t *wire, curl_socket_t fd)
{
    if ((size_t)fd >= wire->watch_count) {
        size_t count = (size_t)fd * 2 + 16;

        wire->watches = till_realloc(wire->watches, count * sizeof(wire->watches[0]));
        memset(wire->watches + wire->watch_count, 0, (count - wire->watch_count) * sizeof(wire->watches[0]));
        wire->watch_count = count;
    }
    return &wire->watches[fd];
}

static void drop_watch(struct watch **slot)
{
    if (*slot == NULL)
        return;
    h2o_socket_close((*slot)->sock);
    free(*slot);
    *slot = NULL;
}

static struct watch *make_watch(till_http_wire_t *wire, curl_socket_t fd)
{
    int own = dup(fd);

    if (own < 0)
        return NULL;
    struct watch *watch = till_calloc(1, sizeof(*watch));
    watch->wire = wire;
    watch->fd = fd;
    watch->sock = h2o_evloop_socket_create(till_loop_h2o(wire->loop), own, H2O_SOCKET_FLAG_DONT_READ);
    watch->sock->data = watch;
    return watch;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *unused)
{
    till_http_wire_t *wire = data;
    struct watch **slot = slot_of(wire, fd);

    (void)easy;
    (void)unused;
    if (what == CURL_POLL_REMOVE) {
        drop_watch(slot);
        return 0;
    }
    if (*slot == NULL && (*slot = make_watch(wire, fd)) == NULL)
        return -1; /* out of descriptors: libcurl ends the transfer */
    (*slot)->wants = what;
    if ((what & CURL_POLL_IN) != 0)
        h2o_socket_read_start((*slot)->sock, on_readable);
    else
        h2o_socket_read_stop((*slot)->sock);
    want_write(*slot);
    return 0;
}

static void on_due(till_timer_t *timer)
{
    act(H2O_STRUCT_FROM_MEMBER(till_http_wire_t, timer, timer), CURL_SOCKET_TIMEOUT, 0);
}

static int on_timer(CURLM *multi, long delay_ms, void *data)
{
    till_http_wire_t *wire = data;

    (void)multi;
    if (delay_ms < 0)
        till_timer_stop(&wire->timer);
    else
        till_timer_start(wire->loop, &wire->timer, (uint64_t)delay_ms, on_due);
    return 0;
}

till_http_wire_t *till_http_wire_create(till_loop_t *loop, const till_http_opts_t *opts,
                                        void (*on_over)(CURL *easy, CURLcode result))
{
    till_http_wire_t *wire = till_calloc(1, sizeof(*wire));

    wire->loop = loop;
    wire->on_over = on_over;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || (wire->multi = curl_multi_init()) == NULL)
        abort();
    curl_multi_setopt(wire->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(wire->multi, CURLMOPT_SOCKETDATA, wire);
    curl_multi_setopt(wire->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(wire->multi, CURLMOPT_TIMERDATA, wire);
    curl_multi_setopt(wire->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
    curl_multi_setopt(wire->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)opts->max_connections);
    curl_multi_setopt(wire->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)opts->max_per_host);
    if (opts->max_connections != 0)
        curl_multi_setopt(wire->multi, CURLMOPT_MAXCONNECTS, (long)opts->max_connections);
    return wire;
}

void till_http_wire_destroy(till_http_wire_t *wire)
{
    curl_multi_cleanup(wire->multi); /* closes what was kept alive, through on_socket */
    till_timer_stop(&wire->timer);
    for (size_t fd = 0; fd != wire->watch_count; ++fd)
        drop_watch(&wire->watches[fd]);
    free(wire->watches);
    free(wire); /* libcurl's global part stays: handles not told yet are freed after us */
}

bool till_http_wire_add(till_http_wire_t *wire, CURL *easy)
{
    return curl_multi_add_handle(wire->multi, easy) == CURLM_OK;
}

void till_http_wire_remove(till_http_wire_t *wire, CURL *easy) { curl_multi_remove_handle(wire->multi, easy); }

/* IANA's special-purpose registries, IPv4: prefix and its length. */
static bool is_public_v4(uint32_t address)
{
    static const struct {
        uint32_t prefix;
        unsigned bits;
    } closed[] = {
        {0x00000000, 8},  /* this network */
        {0x0a000000, 8},  /* private */
        {0x64400000, 10}, /* carriers' NAT */
        {0x7f000000, 8},  /* loopback */
        {0xa9fe0000, 16}, /* link-local, and the clouds' metadata */
        {0xac100000, 12}, /* private */
        {0xc0000000, 24}, /* IETF protocols */
        {0xc0000200, 24}, /* documentation */
        {0xc0a80000, 16}, /* private */
        {0xc6120000, 15}, /* benchmarks */
        {0xc6336400, 24}, /* documentation */
        {0xcb007100, 24}, /* documentation */
        {0xe0000000, 3},  /* multicast, reserved, broadcast */
    };

    for (size_t i = 0; i != sizeof(closed) / sizeof(closed[0]); ++i) {
        if ((address ^ closed[i].prefix) >> (32 - closed[i].bits) == 0)
            return false;
    }
    return true;
}

static uint32_t v4_at(const uint8_t *bytes)
{
    uint32_t address;

    memcpy(&address, bytes, sizeof(address));
    return ntohl(address);
}

/* Only 2000::/3 is global unicast; within it those that carry an IPv4 address count as that one. */
static bool is_public_v6(const uint8_t *a)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}, nat64[12] = {0x00, 0x64, 0xff, 0x9b};

    if (memcmp(a, mapped, 12) == 0 || memcmp(a, nat64, 12) == 0)
        return is_public_v4(v4_at(a + 12));
    if (a[0] == 0x20 && a[1] == 0x02) /* 6to4 */
        return is_public_v4(v4_at(a + 2));
    if (a[0] == 0x20 && a[1] == 0x01 && (a[2] < 0x02 || (a[2] == 0x0d && a[3] == 0xb8)))
        return false; /* Teredo and other protocols, documentation */
    return (a[0] & 0xe0) == 0x20;
}

bool till_http_is_public(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return is_public_v4(ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr));
    if (address->sa_family == AF_INET6)
        return is_public_v6(((const struct sockaddr_in6 *)address)->sin6_addr.s6_addr);
    return false;
}
