#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/socket.h>
#include <fcntl.h>
#include <h2o.h> /* before its parts, which do not include it */
#include <h2o/http1.h>
#include <h2o/http2.h>
#include "base/log.h"
#include "base/mem.h"
#include "serve/server_priv.h"

#define ACCEPT_AGAIN_MS 100
#define LAST_ACCEPTS 64
/* libh2o's own limit for bodies stands above ours, so that a body just over ours
 * reaches a handler, which can say 413 on both protocols. Past the margin an
 * HTTP/2 stream is reset by libh2o, which no handler can prevent. */
#define BODY_MARGIN (3 * 1024 * 1024)
/* libh2o counts by the wall clock: a step would close everybody. Ours is serve/guard_sweep.c. */
#define NEVER_MS (365ull * 24 * 3600 * 1000)

uint64_t till_clock_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* ---- set-up ------------------------------------------------------------ */

static h2o_pathconf_t *register_path(till_server_t *server, h2o_hostconf_t *host, const char *url)
{
    h2o_pathconf_t *path = h2o_config_register_path(host, url, 0);

    till_respond_register(server, path);
    till_gate_register(server, path);
    return path;
}

static void configure(till_server_t *server)
{
    h2o_globalconf_t *conf = &server->globalconf;
    const till_serve_opts_t *limits = server->opts.limits;

    h2o_config_init(conf);
    conf->server_name = h2o_iovec_init(H2O_STRLIT("moontill"));
    conf->max_request_entity_size = limits->max_body + BODY_MARGIN;
    conf->http1.req_timeout = NEVER_MS;
    conf->http2.idle_timeout = limits->idle_timeout_ms;
    conf->http1.upgrade_to_http2 = 0; /* h2c upgrades smuggle requests past what stands in front of us */
    h2o_hostconf_t *shop = h2o_config_register_host(conf, h2o_iovec_init(H2O_STRLIT("shop")), 65535);
    h2o_hostconf_t *ops = h2o_config_register_host(conf, h2o_iovec_init(H2O_STRLIT("ops")), 65535);
    server->hosts[TILL_FACE_PUBLIC][0] = shop;
    server->hosts[TILL_FACE_OPS][0] = ops;
    if (server->opts.static_dir != NULL)
        till_files_register(server, shop, "/static", server->opts.static_dir);
    till_request_register(server, register_path(server, shop, "/"));
    till_ops_register(server, ops);
}

till_server_t *till_server_create(const till_server_opts_t *opts)
{
    till_server_t *server = till_calloc(1, sizeof(*server));

    server->opts = *opts;
    server->metrics =
        till_http_metrics_create(opts->metrics, opts->limits->max_in_flight, opts->limits->max_connections);
    h2o_linklist_init_anchor(&server->connections);
    h2o_linklist_init_anchor(&server->farewells);
    server->live = till_live_create(server);
    configure(server);
    h2o_context_init(&server->context, till_loop_h2o(opts->loop), &server->globalconf);
    for (int face = 0; face != TILL_FACE_COUNT; ++face)
        server->accept[face] = (h2o_accept_ctx_t){.ctx = &server->context, .hosts = server->hosts[face]};
    return server;
}

void till_server_destroy(till_server_t *server)
{
    if (server == NULL)
        return;
    till_sweep_stop(server);
    till_drain_dispose(server);
    till_live_destroy(server->live);
    h2o_multithread_queue_t *queue = server->context.queue;
    h2o_context_dispose(&server->context);
    free(queue); /* closed by libh2o 2.2.5 and forgotten */
    h2o_config_dispose(&server->globalconf);
    till_http_metrics_destroy(server->metrics);
    free(server);
}

const till_live_face_t *till_server_live(const till_server_t *server) { return till_live_face(server->live); }

const char *till_server_library(void) { return H2O_VERSION; }

void till_server_use_tls(till_server_t *server, SSL_CTX *ssl) { server->opts.ssl = ssl; }

unsigned till_server_connections(const till_server_t *server) { return server->connection_count; }

unsigned till_server_in_flight(const till_server_t *server) { return server->in_flight; }

/* ---- connections ------------------------------------------------------- */

static void on_close(void *data)
{
    till_connection_t *connection = data;
    till_server_t *server = connection->server;

    till_timer_stop(&connection->handshake_timer);
    till_guard_end(connection);
    till_h1_close(connection);
    h2o_linklist_unlink(&connection->link);
    --server->connection_count;
    till_http_metrics_connections(server->metrics, server->connection_count);
    free(connection);
}

static void read_address(till_connection_t *connection)
{
    struct sockaddr_storage peer = {0};

    if (h2o_socket_getpeername(connection->sock, (struct sockaddr *)&peer) == 0)
        return;
    if (peer.ss_family == AF_INET6)
        memcpy(connection->address, &((struct sockaddr_in6 *)&peer)->sin6_addr, 16);
    else if (peer.ss_family == AF_INET)
        memcpy(connection->address, &((struct sockaddr_in *)&peer)->sin_addr, 4);
}

/* Counted anew each time: the list is in memory anyway, and the option seldom on. */
static bool has_too_many(const till_connection_t *connection)
{
    const till_server_t *server = connection->server;
    unsigned n = 0, max = server->opts.limits->max_per_address;

    if (max == 0 || connection->face == TILL_FACE_OPS)
        return false;
    for (h2o_linklist_t *node = server->connections.next; node != &server->connections; node = node->next) {
        const till_connection_t *other = H2O_STRUCT_FROM_MEMBER(till_connection_t, link, node);
        n += other->face == connection->face && memcmp(other->address, connection->address, 16) == 0;
    }
    return n > max;
}

static till_connection_t *connection_create(till_server_t *server, till_face_t face, h2o_socket_t *sock)
{
    till_connection_t *connection = till_calloc(1, sizeof(*connection));

    connection->server = server;
    connection->face = face;
    connection->sock = sock;
    connection->idle_since_ms = till_loop_now(server->opts.loop);
    gettimeofday(&connection->at, NULL);
    sock->on_close.cb = on_close;
    sock->on_close.data = connection;
    h2o_linklist_insert(&server->connections, &connection->link);
    ++server->connection_count;
    till_http_metrics_connections(server->metrics, server->connection_count);
    return connection;
}

till_connection_t *till_connection_of(h2o_req_t *req)
{
    h2o_socket_t *sock = req->conn->callbacks->get_socket(req->conn);

    return sock->on_close.data;
}

/* Over plain TCP there is no HTTP/2 for us: curl and proxies that insist on it
 * ("prior knowledge") are no clients of a shop. */
static void speak_http(till_connection_t *connection)
{
    h2o_socket_t *sock = connection->sock;

    till_timer_stop(&connection->handshake_timer);
    connection->idle_since_ms = till_loop_now(connection->server->opts.loop);
    h2o_iovec_t protocol = sock->ssl != NULL ? h2o_socket_ssl_get_selected_protocol(sock) : h2o_iovec_init(NULL, 0);
    bool is_h2 = h2o_memis(protocol.base, protocol.len, H2O_STRLIT("h2"));
    connection->server->has_late_h2 |= is_h2 && connection->server->draining;
    if (is_h2)
        till_guard_accept(connection);
    else
        till_h1_accept(connection);
}

static void on_handshake(h2o_socket_t *sock, const char *err)
{
    if (err != NULL)
        h2o_socket_close(sock);
    else
        speak_http(sock->on_close.data);
}

static void on_handshake_timeout(till_timer_t *timer)
{
    till_connection_t *connection = H2O_STRUCT_FROM_MEMBER(till_connection_t, handshake_timer, timer);

    h2o_socket_close(connection->sock);
}

static void begin_connection(till_server_t *server, till_face_t face, h2o_socket_t *sock)
{
    till_connection_t *connection = connection_create(server, face, sock);

    read_address(connection);
    if (has_too_many(connection)) {
        h2o_socket_close(sock);
        return;
    }
    if (face == TILL_FACE_OPS || server->opts.ssl == NULL) {
        speak_http(connection);
        return;
    }
    till_timer_start(server->opts.loop, &connection->handshake_timer, server->opts.limits->header_timeout_ms,
                     on_handshake_timeout);
    h2o_socket_ssl_handshake(sock, server->opts.ssl, NULL, on_handshake);
}

/* Those in the middle of something stay; where all are, it is the newcomer who goes. */
static bool make_room(till_server_t *server)
{
    if (server->connection_count < server->opts.limits->max_connections)
        return true;
    for (h2o_linklist_t *node = server->connections.next; node != &server->connections; node = node->next) {
        till_connection_t *connection = H2O_STRUCT_FROM_MEMBER(till_connection_t, link, node);
        if (connection->requests == 0 && !connection->is_doomed) {
            connection->is_doomed = true;
            shutdown(h2o_socket_get_fd(connection->sock), SHUT_RDWR);
            return true;
        }
    }
    return false;
}

/* All workers wait on one socket: whoever is awake first takes one a turn, and leaves the others of a burst to those
 * that the same burst has woken. */
static void on_readable_listener(h2o_socket_t *listener, const char *err);

static void on_accept_again(till_timer_t *timer)
{
    till_server_t *server = H2O_STRUCT_FROM_MEMBER(till_server_t, accept_timer, timer);

    for (int face = 0; face != TILL_FACE_COUNT; ++face) {
        if (server->listeners[face] != NULL)
            h2o_socket_read_start(server->listeners[face], on_readable_listener);
    }
}

/* Without a descriptor left the listener stays readable, and the loop would turn for nothing else. */
static void pause_accepting(till_server_t *server)
{
    for (int face = 0; face != TILL_FACE_COUNT; ++face) {
        if (server->listeners[face] != NULL)
            h2o_socket_read_stop(server->listeners[face]);
    }
    till_timer_start(server->opts.loop, &server->accept_timer, ACCEPT_AGAIN_MS, on_accept_again);
}

static void on_readable_listener(h2o_socket_t *listener, const char *err)
{
    till_server_t *server = listener->data;
    till_face_t face = listener == server->listeners[TILL_FACE_OPS] ? TILL_FACE_OPS : TILL_FACE_PUBLIC;
    h2o_socket_t *sock;

    if (err != NULL)
        return;
    if ((sock = h2o_evloop_socket_accept(listener)) == NULL) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            pause_accepting(server);
    } else if (face == TILL_FACE_PUBLIC && !make_room(server)) {
        h2o_socket_close(sock);
    } else {
        begin_connection(server, face, sock);
    }
}

void till_server_listen(till_server_t *server, till_face_t face, int fd)
{
    h2o_socket_t *listener = h2o_evloop_socket_create(till_loop_h2o(server->opts.loop), fcntl(fd, F_DUPFD_CLOEXEC, 3),
                                                      H2O_SOCKET_FLAG_DONT_READ);

    listener->data = server;
    server->listeners[face] = listener;
    till_sweep_start(server);
    h2o_socket_read_start(listener, on_readable_listener);
}

/* What the kernel has accepted for us already would be reset where ours is the last copy of the listener. */
void till_server_stop_listening(till_server_t *server)
{
    till_timer_stop(&server->accept_timer);
    for (int face = 0; face != TILL_FACE_COUNT; ++face) {
        h2o_socket_t *listener = server->listeners[face];
        if (listener == NULL)
            continue;
        for (int i = 0; i != LAST_ACCEPTS; ++i)
            on_readable_listener(listener, NULL);
        h2o_socket_close(listener);
        server->listeners[face] = NULL;
    }
}
