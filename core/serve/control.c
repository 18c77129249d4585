#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/mem.h"
#include "serve/control.h"

#define CLIENTS (TILL_CONTROL_FDS - 1)
#define LINE_MAX_BYTES 65536

struct client {
    int fd; /* -1: free */
    uint64_t id;
    bool has_asked;
    till_buf_t line;
};

struct till_control {
    int fd;
    char *path;
    uint64_t last_id;
    till_control_cb on_line;
    void *data;
    struct client clients[CLIENTS];
};

/* sun_path takes 107 bytes and a folder's path may be longer: the folder is
 * opened, and the socket named through /proc. @return the folder's descriptor, or -1 */
static int make_address(const char *path, struct sockaddr_un *out)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash != NULL ? till_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : till_strdup(".");
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int len = 0;

    free(dir);
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (fd != -1)
        len =
            snprintf(out->sun_path, sizeof(out->sun_path), "/proc/self/fd/%d/%s", fd, slash != NULL ? slash + 1 : path);
    if (fd != -1 && len >= (int)sizeof(out->sun_path)) {
        close(fd);
        errno = ENAMETOOLONG;
        return -1;
    }
    return fd;
}

static int connect_to(const char *path)
{
    struct sockaddr_un address;
    int dir = make_address(path, &address);
    int fd = dir != -1 ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;

    if (fd != -1 && connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        int reason = errno;
        close(fd);
        fd = -1;
        errno = reason;
    }
    int reason = errno;
    if (dir != -1)
        close(dir);
    errno = reason;
    return fd;
}

/* ---- the server's half ------------------------------------------------------ */

static int listen_at(const char *path)
{
    struct sockaddr_un address;
    int dir = make_address(path, &address);
    int fd = dir != -1 ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
    mode_t mask = umask(0177); /* never reachable for others, not for a moment */
    bool ok = fd != -1 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, CLIENTS) == 0;
    int reason = errno;

    umask(mask);
    if (dir != -1)
        close(dir);
    if (!ok && fd != -1) {
        close(fd);
        fd = -1;
    }
    errno = reason;
    return fd;
}

till_control_t *till_control_adopt(int fd, const char *path, till_control_cb on_line, void *data)
{
    till_control_t *control = till_calloc(1, sizeof(*control));

    *control = (till_control_t){.fd = fd, .path = till_strdup(path), .on_line = on_line, .data = data};
    for (size_t i = 0; i != CLIENTS; ++i)
        control->clients[i].fd = -1;
    return control;
}

int till_control_fd(const till_control_t *control) { return control->fd; }

till_control_t *till_control_create(const char *path, till_control_cb on_line, void *data, char *error,
                                    size_t error_size)
{
    int other = connect_to(path);

    if (other != -1) {
        close(other);
        snprintf(error, error_size, "another server runs there already: it answers on %s", path);
        return NULL;
    }
    unlink(path); /* of one that died */
    int fd = listen_at(path);
    if (fd == -1) {
        snprintf(error, error_size, "the control socket %s cannot be made: %s", path, strerror(errno));
        return NULL;
    }
    return till_control_adopt(fd, path, on_line, data);
}

static void drop(struct client *client)
{
    if (client->fd == -1)
        return;
    close(client->fd);
    client->fd = -1;
    client->id = 0;
    till_buf_dispose(&client->line);
}

void till_control_destroy(till_control_t *control, bool unlinks)
{
    if (control == NULL)
        return;
    for (size_t i = 0; i != CLIENTS; ++i)
        drop(&control->clients[i]);
    close(control->fd);
    if (unlinks)
        unlink(control->path);
    free(control->path);
    free(control);
}

size_t till_control_poll(const till_control_t *control, struct pollfd *out)
{
    size_t n = 0;

    if (control == NULL)
        return 0;
    out[n++] = (struct pollfd){.fd = control->fd, .events = POLLIN};
    for (size_t i = 0; i != CLIENTS; ++i) {
        if (control->clients[i].fd != -1)
            out[n++] = (struct pollfd){.fd = control->clients[i].fd, .events = POLLIN};
    }
    return n;
}

/* A free one; or that of who has been here longest and has not asked: such a one would keep all others out. */
static struct client *take_place(till_control_t *control)
{
    struct client *found = NULL;

    for (size_t i = 0; i != CLIENTS; ++i) {
        struct client *client = &control->clients[i];
        if (client->fd == -1)
            return client;
        if (!client->has_asked && (found == NULL || client->id < found->id))
            found = client;
    }
    if (found != NULL)
        drop(found);
    return found;
}

static void accept_one(till_control_t *control)
{
    int fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct client *client = fd != -1 ? take_place(control) : NULL;

    if (client != NULL) {
        *client = (struct client){.fd = fd, .id = ++control->last_id};
        till_buf_init(&client->line, LINE_MAX_BYTES);
    } else if (fd != -1) {
        close(fd); /* sixteen wait for their answers: let this one try again */
    }
}

/* One order a connection; what comes behind it is ignored. */
static void read_from(till_control_t *control, struct client *client)
{
    char piece[4096];
    ssize_t n = recv(client->fd, piece, sizeof(piece), MSG_DONTWAIT);
    char *end;

    if (n == -1 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || (!client->has_asked && !till_buf_append(&client->line, piece, (size_t)n))) {
        drop(client);
        return;
    }
    if (client->has_asked)
        return;
    if (client->line.base == NULL || (end = memchr(client->line.base, '\n', client->line.len)) == NULL)
        return;
    size_t len = (size_t)(end - client->line.base);
    char *line = till_buf_take(&client->line);
    line[len] = '\0';
    client->has_asked = true;
    control->on_line(control->data, client->id, line, len);
    free(line);
}

static struct client *by_fd(till_control_t *control, int fd)
{
    for (size_t i = 0; i != CLIENTS; ++i) {
        if (control->clients[i].fd == fd)
            return &control->clients[i];
    }
    return NULL;
}

void till_control_turn(till_control_t *control, const struct pollfd *fds, size_t n)
{
    for (size_t i = 0; i != n; ++i) {
        struct client *client = fds[i].revents != 0 ? by_fd(control, fds[i].fd) : NULL;
        if (client != NULL)
            read_from(control, client);
        else if (fds[i].revents != 0 && fds[i].fd == control->fd)
            accept_one(control);
    }
}

static struct client *by_id(till_control_t *control, uint64_t id)
{
    for (size_t i = 0; i != CLIENTS && id != 0; ++i) {
        if (control->clients[i].fd != -1 && control->clients[i].id == id)
            return &control->clients[i];
    }
    return NULL;
}

/* A client that does not read its few lines is not waited for. */
void till_control_say(till_control_t *control, uint64_t id, const char *line, size_t len)
{
    struct client *client = control != NULL ? by_id(control, id) : NULL;
    till_buf_t text;

    if (client == NULL)
        return;
    till_buf_init(&text, 0);
    till_buf_append(&text, line, len);
    till_buf_putc(&text, '\n');
    if (send(client->fd, text.base, text.len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)text.len)
        drop(client);
    till_buf_dispose(&text);
}

void till_control_end(till_control_t *control, uint64_t id, const char *line, size_t len)
{
    struct client *client;

    till_control_say(control, id, line, len);
    if (control != NULL && (client = by_id(control, id)) != NULL)
        drop(client);
}

/* ---- the client's half ------------------------------------------------------- */

static int connect_where(const char *where, char *error, size_t size)
{
    struct stat info;
    till_buf_t path;

    till_buf_init(&path, 0);
    till_buf_puts(&path, where);
    if (stat(where, &info) == 0 && S_ISDIR(info.st_mode))
        till_buf_puts(&path, "/control.sock");
    int fd = connect_to(path.base);
    if (fd == -1 && (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR))
        snprintf(error, size, "no server runs there (%s); --var names the folder of the one that is meant", path.base);
    else if (fd == -1)
        snprintf(error, size, "the server cannot be reached on %s: %s", path.base, strerror(errno));
    till_buf_dispose(&path);
    return fd;
}

static bool send_all(int fd, const char *text, size_t len)
{
    while (len != 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        text += n;
        len -= (size_t)n;
    }
    return true;
}

/* The server writes it as the first member of the last line and nowhere else. */
static int verdict(const char *line)
{
    if (strncmp(line, "{\"ok\":true", 10) == 0)
        return 0;
    return strncmp(line, "{\"ok\":false", 11) == 0 ? 1 : -1;
}

static int read_lines(int fd, void (*on_line)(void *data, const char *line, size_t len), void *data)
{
    char piece[4096];
    till_buf_t line;
    ssize_t n;
    int result = -1;

    till_buf_init(&line, 1 << 20);
    while (result == -1 && (n = recv(fd, piece, sizeof(piece), 0)) > 0) {
        for (ssize_t i = 0; i != n && result == -1; ++i) {
            if (piece[i] != '\n') {
                till_buf_putc(&line, piece[i]);
                continue;
            }
            on_line(data, line.base != NULL ? line.base : "", line.len);
            result = line.base != NULL ? verdict(line.base) : -1;
            till_buf_clear(&line);
        }
    }
    till_buf_dispose(&line);
    return result;
}

int till_control_call(const char *where, const char *command_json,
                      void (*on_line)(void *data, const char *line, size_t len), void *data, char *error,
                      size_t error_size)
{
    int fd = connect_where(where, error, error_size);

    if (fd == -1)
        return 1;
    error[0] = '\0';
    bool sent = send_all(fd, command_json, strlen(command_json)) && send_all(fd, "\n", 1);
    int result = sent ? read_lines(fd, on_line, data) : -1;
    close(fd);
    if (result == -1)
        snprintf(error, error_size, "the server ended before it had answered");
    return result == 0 ? 0 : 1;
}
