/* master_setup.c - what one reading of the configuration comes to: limits, certificate, listeners.
 *
 * The next one is made beside the one that is in service, everything that can
 * fail first, so that a bad file changes nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <openssl/crypto.h>
#include "base/log.h"
#include "serve/master_priv.h"
#include "serve/server.h"

#define BIND_AGAIN_MS 3000 /* workers of a server that was killed let go of the port within two seconds */
#define BIND_STEP_MS 50

static bool read_certificate(till_setup_t *setup, SSL_CTX *before, char *error, size_t size)
{
    const till_serve_opts_t *limits = &setup->limits;

    if (limits->cert_file == NULL && limits->key_file == NULL)
        return true;
    if (limits->cert_file == NULL || limits->key_file == NULL) {
        snprintf(error, size, "server.cert_file and server.key_file belong together");
        return false;
    }
    return till_tls_read(limits->cert_file, limits->key_file, &setup->pem, error, size) &&
           (setup->ssl = till_tls_create(&setup->pem, before, error, size)) != NULL;
}

static bool is_user_known(const till_setup_t *setup, char *error, size_t size)
{
    if (setup->limits.user == NULL || getpwnam(setup->limits.user) != NULL)
        return true;
    snprintf(error, size, "server.user: there is no user %s on this machine", setup->limits.user);
    return false;
}

static bool is_same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static void log_place(const till_conf_t *conf, till_log_place_t *out)
{
    const char *file = till_conf_str(conf, "log.file");
    struct stat info;

    *out = (till_log_place_t){0};
    if (file[0] != '\0' && stat(file, &info) == 0)
        *out = (till_log_place_t){info.st_dev, info.st_ino};
}

/* ---- listeners ----------------------------------------------------------------- */

/* At a start somebody's last workers may be about to let go. */
static int listen_at(const char *address, unsigned offset, unsigned backlog, bool waits, char *error, size_t size)
{
    uint64_t until = till_master_now() + (waits ? BIND_AGAIN_MS : 0);
    int fd;

    while ((fd = till_listen(address, offset, backlog, error, size)) == -1 && errno == EADDRINUSE &&
           till_master_now() < until)
        nanosleep(&(struct timespec){.tv_nsec = BIND_STEP_MS * 1000000L}, NULL);
    return fd;
}

static int keep(int fd, unsigned backlog)
{
    listen(fd, (int)backlog); /* of a socket that listens already it changes the backlog */
    return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

static bool open_listeners(till_setup_t *setup, const till_setup_t *before, bool waits, char *error, size_t size)
{
    const till_serve_opts_t *limits = &setup->limits;
    const char *ops = limits->ops_listen != NULL ? limits->ops_listen : limits->listen;
    bool same_shop = before != NULL && is_same_text(limits->listen, before->limits.listen);
    bool same_ops = before != NULL && is_same_text(limits->ops_listen, before->limits.ops_listen) &&
                    (limits->ops_listen != NULL || same_shop);

    if (setup->listen_fd == -1)
        setup->listen_fd = same_shop ? keep(before->listen_fd, limits->backlog)
                                     : listen_at(limits->listen, 0, limits->backlog, waits, error, size);
    if (setup->ops_fd == -1 && setup->listen_fd != -1)
        setup->ops_fd = same_ops ? keep(before->ops_fd, limits->backlog)
                                 : listen_at(ops, limits->ops_listen == NULL, limits->backlog, waits, error, size);
    return setup->listen_fd != -1 && setup->ops_fd != -1;
}

/* ---- a setup -------------------------------------------------------------------- */

bool till_setup_make(till_setup_t *setup, const till_conf_t *conf, const till_setup_t *before,
                     const till_inherited_t *inherited, char *error, size_t size)
{
    *setup = (till_setup_t){.conf = conf, .listen_fd = -1, .ops_fd = -1};
    till_buf_init(&setup->pem, 0);
    till_serve_opts_read(&setup->limits, conf);
    log_place(conf, &setup->log);
    if (inherited != NULL) {
        setup->listen_fd = inherited->listen_fd;
        setup->ops_fd = inherited->ops_fd;
    }
    if (before != NULL && !is_same_text(setup->limits.control_socket, before->limits.control_socket)) {
        snprintf(error, size, "server.control_socket cannot change while the server runs: restart it for that");
        return false;
    }
    return is_user_known(setup, error, size) &&
           read_certificate(setup, before != NULL ? before->ssl : NULL, error, size) &&
           open_listeners(setup, before, before == NULL, error, size);
}

void till_setup_stop_listening(till_setup_t *setup)
{
    if (setup->listen_fd != -1)
        close(setup->listen_fd);
    if (setup->ops_fd != -1)
        close(setup->ops_fd);
    setup->listen_fd = setup->ops_fd = -1;
}

void till_setup_dispose(till_setup_t *setup)
{
    till_setup_stop_listening(setup);
    SSL_CTX_free(setup->ssl);
    if (setup->pem.base != NULL)
        OPENSSL_cleanse(setup->pem.base, setup->pem.len);
    till_buf_dispose(&setup->pem);
    if (setup->owned_conf != NULL)
        till_conf_destroy(setup->owned_conf);
    *setup = (till_setup_t){.listen_fd = -1, .ops_fd = -1};
}

/* What a worker that runs can take: a certificate and the log's level. */
void till_setup_diff(const till_setup_t *a, const till_setup_t *b, till_buf_t *names)
{
    till_buf_t all;

    till_buf_init(&all, 0);
    till_conf_diff(a->conf, b->conf, &all);
    for (const char *name = all.base; name != NULL && *name != '\0';) {
        size_t len = strcspn(name, " ");
        if (len != strlen("log.level") || memcmp(name, "log.level", len) != 0)
            till_buf_printf(names, "%s%.*s", names->len != 0 ? ", " : "", (int)len, name);
        name += len + (name[len] == ' ');
    }
    if (names->len == 0 && (a->log.device != b->log.device || a->log.inode != b->log.inode))
        till_buf_puts(names, "log.file (it was moved)");
    till_buf_dispose(&all);
}
