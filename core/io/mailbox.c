/* mailbox.c - a list under a lock, and an eventfd that wakes the loop.
 *
 * The eventfd is written only when the list was empty: a burst costs one wake-up.
 */
#include "io/mailbox.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/mem.h"

struct till_mailbox {
    pthread_mutex_t lock;
    till_mail_t *first, **tail; /* under the lock */
    int wake_fd;                /* owned by `sock`; written from any thread */
    h2o_socket_t *sock;
};

static till_mail_t *take_all(till_mailbox_t *mailbox)
{
    till_mail_t *first;

    pthread_mutex_lock(&mailbox->lock);
    first = mailbox->first;
    mailbox->first = NULL;
    mailbox->tail = &mailbox->first;
    pthread_mutex_unlock(&mailbox->lock);
    return first;
}

/* Never touches the mailbox: a message may destroy it. */
static void deliver(till_mail_t *mail)
{
    while (mail != NULL) {
        till_mail_t *next = mail->_next;
        mail->deliver(mail);
        mail = next;
    }
}

static void on_wake(h2o_socket_t *sock, const char *err)
{
    till_mailbox_t *mailbox = sock->data;
    uint64_t count;

    (void)err;
    /* Emptied before the list is taken, so that a message in between wakes us again. */
    if (read(mailbox->wake_fd, &count, sizeof(count)) < 0)
        count = 0;
    deliver(take_all(mailbox));
}

till_mailbox_t *till_mailbox_create(till_loop_t *loop)
{
    till_mailbox_t *mailbox = till_calloc(1, sizeof(*mailbox));

    if ((mailbox->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) {
        perror("till_mailbox_create: eventfd");
        abort();
    }
    pthread_mutex_init(&mailbox->lock, NULL);
    mailbox->tail = &mailbox->first;
    mailbox->sock = h2o_evloop_socket_create(till_loop_h2o(loop), mailbox->wake_fd, H2O_SOCKET_FLAG_DONT_READ);
    mailbox->sock->data = mailbox;
    h2o_socket_read_start(mailbox->sock, on_wake);
    return mailbox;
}

void till_mailbox_destroy(till_mailbox_t *mailbox)
{
    till_mail_t *mail;

    while ((mail = take_all(mailbox)) != NULL)
        deliver(mail);
    h2o_socket_close(mailbox->sock);
    pthread_mutex_destroy(&mailbox->lock);
    free(mailbox);
}

void till_mailbox_post(till_mailbox_t *mailbox, till_mail_t *mail)
{
    const uint64_t one = 1;

    mail->_next = NULL;
    pthread_mutex_lock(&mailbox->lock);
    /* Within the lock: whoever posts last may be the one before destroy. */
    if (mailbox->first == NULL && write(mailbox->wake_fd, &one, sizeof(one)) < 0)
        perror("till_mailbox_post"); /* cannot be: the counter is emptied at each wake */
    *mailbox->tail = mail;
    mailbox->tail = &mail->_next;
    pthread_mutex_unlock(&mailbox->lock);
}
