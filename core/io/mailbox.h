/* mailbox.h - messages into a loop from other threads; a message changes owner when it is sent.
 *
 * Thread: create and destroy on the loop's thread; post from any.
 */
#ifndef TILL_IO_MAILBOX_H
#define TILL_IO_MAILBOX_H

#include "io/loop.h"

typedef struct till_mailbox till_mailbox_t;
typedef struct till_mail {
    struct till_mail *_next;
    void (*deliver)(struct till_mail *mail); /* on the loop's thread; owns `mail` from then on */
} till_mail_t;

till_mailbox_t *till_mailbox_create(till_loop_t *loop);
/** What was not delivered yet is delivered first. */
void till_mailbox_destroy(till_mailbox_t *mailbox);
void till_mailbox_post(till_mailbox_t *mailbox, till_mail_t *mail);

#endif
