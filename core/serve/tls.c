/* tls.c - the TLS context and the listening sockets; see server.h */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include "serve/server.h"

static const h2o_iovec_t protocols[] = {{H2O_STRLIT("h2")}, {H2O_STRLIT("http/1.1")}, {NULL, 0}};

static bool tell(char *error, size_t size, const char *what, const char *file)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;

    snprintf(error, size, "%s %s: %s", what, file, reason != NULL ? reason : strerror(errno));
    ERR_clear_error();
    return false;
}

static bool use_files(SSL_CTX *ssl, const char *cert_file, const char *key_file, char *error, size_t size)
{
    if (access(cert_file, R_OK) != 0)
        return tell(error, size, "the certificate cannot be read:", cert_file);
    if (access(key_file, R_OK) != 0)
        return tell(error, size, "the key cannot be read:", key_file);
    if (SSL_CTX_use_certificate_chain_file(ssl, cert_file) != 1)
        return tell(error, size, "not a certificate in PEM:", cert_file);
    if (SSL_CTX_use_PrivateKey_file(ssl, key_file, SSL_FILETYPE_PEM) != 1)
        return tell(error, size, "not the certificate's key in PEM:", key_file);
    return true;
}

SSL_CTX *till_tls_create(const char *cert_file, const char *key_file, char *error, size_t error_size)
{
    SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());

    ERR_clear_error();
    SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS); /* some 30 KB less for each idle connection */
    /* Of TLS 1.2 only suites that HTTP/2 allows (RFC 9113, appendix A). */
    SSL_CTX_set_cipher_list(ssl, "ECDHE+AESGCM:ECDHE+CHACHA20");
    SSL_CTX_set_session_id_context(ssl, (const unsigned char *)"moontill", 8);
    if (!use_files(ssl, cert_file, key_file, error, error_size)) {
        SSL_CTX_free(ssl);
        return NULL;
    }
    h2o_ssl_register_alpn_protocols(ssl, protocols);
    return ssl;
}

/* Tried on a context aside: half a change would leave a certificate without its key. */
bool till_tls_reload(SSL_CTX *ssl, const char *cert_file, const char *key_file, char *error, size_t error_size)
{
    SSL_CTX *aside = till_tls_create(cert_file, key_file, error, error_size);

    if (aside == NULL)
        return false;
    SSL_CTX_free(aside);
    return use_files(ssl, cert_file, key_file, error, error_size);
}

/* ---- listening --------------------------------------------------------- */

struct address {
    char host[256];
    char port[16];
    bool is_v6;
};

static bool parse(const char *text, unsigned offset, struct address *out)
{
    const char *colon = strrchr(text, ':');
    char *end;

    if (colon == NULL || (size_t)(colon - text) >= sizeof(out->host))
        return false;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (end == colon + 1 || *end != '\0' || port > 65535)
        return false;
    port += port != 0 ? offset : 0; /* 0: any free one */
    out->is_v6 = text[0] == '[';
    if (out->is_v6 && (colon == text + 1 || colon[-1] != ']'))
        return false;
    snprintf(out->host, sizeof(out->host), "%.*s", (int)(colon - text) - 2 * out->is_v6, text + out->is_v6);
    snprintf(out->port, sizeof(out->port), "%lu", port);
    return port <= 65535;
}

static int bind_one(const struct addrinfo *info, unsigned backlog)
{
    int on = 1, fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd == -1)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, (int)backlog) == 0)
        return fd;
    int reason = errno;
    close(fd);
    errno = reason;
    return -1;
}

int till_listen(const char *address, unsigned port_offset, unsigned backlog, char *error, size_t error_size)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    struct address to;
    int fd = -1, failure;

    if (!parse(address, port_offset, &to)) {
        snprintf(error, error_size, "server.listen: %s: not an address of the form host:port", address);
        return -1;
    }
    if ((failure = getaddrinfo(to.host[0] != '\0' ? to.host : NULL, to.port, &hints, &found)) != 0) {
        snprintf(error, error_size, "cannot listen on %s:%s: %s", to.host, to.port, gai_strerror(failure));
        return -1;
    }
    for (struct addrinfo *info = found; info != NULL && fd == -1; info = info->ai_next)
        fd = bind_one(info, backlog);
    if (fd == -1)
        snprintf(error, error_size, "cannot listen on %s:%s: %s%s", to.host, to.port, strerror(errno),
                 errno == EADDRINUSE ? " (does another server run there? --listen chooses another port)" : "");
    freeaddrinfo(found);
    return fd;
}

unsigned till_listen_port(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at;
    socklen_t len = sizeof(at);

    memset(&at, 0, sizeof(at));
    if (getsockname(fd, &at.any, &len) != 0)
        return 0;
    return ntohs(at.any.sa_family == AF_INET6 ? at.v6.sin6_port : at.v4.sin_port);
}
