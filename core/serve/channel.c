#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "serve/channel.h"

int till_channel_create(int ends[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0 ? 0 : errno;
}

bool till_channel_send(int fd, const char *verb, const char *name, const char *text)
{
    char message[TILL_MESSAGE_MAX];
    int len = snprintf(message, sizeof(message), "%s %s %s", verb, name, text != NULL ? text : "");

    if (len >= (int)sizeof(message))
        len = (int)sizeof(message) - 1;
    return send(fd, message, (size_t)len, MSG_NOSIGNAL) == len;
}

/* The word up to the next blank. @return what follows it */
static const char *take_word(const char *p, char *out, size_t size)
{
    size_t len = strcspn(p, " ");

    snprintf(out, size, "%.*s", (int)len, p);
    return p + len + (p[len] == ' ');
}

int till_channel_receive(int fd, till_message_t *out)
{
    char message[TILL_MESSAGE_MAX + 1];
    ssize_t n = recv(fd, message, TILL_MESSAGE_MAX, MSG_DONTWAIT);

    if (n == -1)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (n == 0)
        return -1;
    message[n] = '\0';
    const char *rest = take_word(message, out->verb, sizeof(out->verb));
    rest = take_word(rest, out->name, sizeof(out->name));
    snprintf(out->text, sizeof(out->text), "%.*s", TILL_MESSAGE_MAX - 1, rest);
    return 1;
}
