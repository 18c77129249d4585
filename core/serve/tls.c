/* tls.c - the TLS context and the listening sockets; see server.h */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include "serve/server.h"

static const h2o_iovec_t protocols[] = {{H2O_STRLIT("h2")}, {H2O_STRLIT("http/1.1")}, {NULL, 0}};

static bool tell(char *error, size_t size, const char *what)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;

    snprintf(error, size, "%s%s%s", what, reason != NULL ? ": " : "", reason != NULL ? reason : "");
    ERR_clear_error();
    return false;
}

/* Only what both hold together is put into a context: half a change would leave a certificate without its key. */
struct identity {
    X509 *certificate;
    STACK_OF(X509) * chain;
    EVP_PKEY *key;
};

static void identity_dispose(struct identity *identity)
{
    X509_free(identity->certificate);
    sk_X509_pop_free(identity->chain, X509_free);
    EVP_PKEY_free(identity->key);
}

static void read_chain(struct identity *identity, BIO *bio)
{
    X509 *one;

    identity->chain = sk_X509_new_null();
    identity->certificate = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL);
    while (identity->certificate != NULL && (one = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL)
        sk_X509_push(identity->chain, one);
    ERR_clear_error(); /* that there are no more */
}

static bool parse_pem(struct identity *identity, const till_buf_t *pem, char *error, size_t size)
{
    BIO *bio = BIO_new_mem_buf(pem->base, (int)pem->len);

    *identity = (struct identity){0};
    read_chain(identity, bio);
    BIO_free(bio);
    if (identity->certificate == NULL)
        return tell(error, size, "server.cert_file holds no certificate in PEM");
    bio = BIO_new_mem_buf(pem->base, (int)pem->len);
    identity->key = PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"");
    BIO_free(bio);
    if (identity->key == NULL)
        return tell(error, size, "server.key_file holds no key in PEM that is not locked by a password");
    if (X509_check_private_key(identity->certificate, identity->key) != 1)
        return tell(error, size, "server.key_file is not the key of the certificate in server.cert_file");
    return true;
}

static bool use(SSL_CTX *ssl, const till_buf_t *pem, char *error, size_t size)
{
    struct identity identity;
    bool ok = parse_pem(&identity, pem, error, size);

    if (ok && SSL_CTX_use_cert_and_key(ssl, identity.certificate, identity.key, identity.chain, 1) != 1)
        ok = tell(error, size, "the certificate cannot be used");
    identity_dispose(&identity);
    return ok;
}

static bool append_file(const char *option, const char *path, till_buf_t *out, char *error, size_t size)
{
    char piece[4096];
    ssize_t n = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    while (fd != -1 && (n = read(fd, piece, sizeof(piece))) > 0 && till_buf_append(out, piece, (size_t)n))
        ;
    if (n < 0)
        snprintf(error, size, "%s: %s cannot be read: %s", option, path, strerror(errno));
    else if (n > 0)
        snprintf(error, size, "%s: %s is too large for a certificate and its key", option, path);
    if (fd != -1)
        close(fd);
    OPENSSL_cleanse(piece, sizeof(piece));
    return n == 0;
}

bool till_tls_read(const char *cert_file, const char *key_file, till_buf_t *pem, char *error, size_t error_size)
{
    till_buf_init(pem, TILL_TLS_PEM_MAX);
    return append_file("server.cert_file", cert_file, pem, error, error_size) && till_buf_append(pem, "\n", 1) &&
           append_file("server.key_file", key_file, pem, error, error_size);
}

static void keep_tickets(SSL_CTX *ssl, SSL_CTX *before)
{
    unsigned char keys[80]; /* two keys and their name */

    if (SSL_CTX_get_tlsext_ticket_keys(before, keys, sizeof(keys)) == 1)
        SSL_CTX_set_tlsext_ticket_keys(ssl, keys, sizeof(keys));
    OPENSSL_cleanse(keys, sizeof(keys));
}

SSL_CTX *till_tls_create(const till_buf_t *pem, SSL_CTX *before, char *error, size_t error_size)
{
    SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());

    ERR_clear_error();
    SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS); /* some 30 KB less for each idle connection */
    /* Of TLS 1.2 only suites that HTTP/2 allows (RFC 9113, appendix A). */
    SSL_CTX_set_cipher_list(ssl, "ECDHE+AESGCM:ECDHE+CHACHA20");
    SSL_CTX_set_session_id_context(ssl, (const unsigned char *)"moontill", 8);
    if (!use(ssl, pem, error, error_size)) {
        SSL_CTX_free(ssl);
        return NULL;
    }
    h2o_ssl_register_alpn_protocols(ssl, protocols);
    if (before != NULL)
        keep_tickets(ssl, before);
    return ssl;
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
