/* channel.h - short messages between the master and a worker, over a pair of sockets.
 *
 * SOCK_SEQPACKET keeps messages apart, so one read is one message: a verb, the
 * name of a generation, and for some a text:
 *
 *     master to worker    prepare NAME | commit NAME | abort NAME | certificate - PEM | level - NAME | run ID JSON |
 *                         answer ID JSON
 *     worker to master    draining - (it accepts no more) | ready NAME | prepared NAME | failed NAME TEXT |
 *                         committed NAME | cooling NAME | closed NAME | ask ID JSON | ran ID JSON
 *
 * The end of file on it tells a worker that its master is gone.
 */
#ifndef TILL_SERVE_CHANNEL_H
#define TILL_SERVE_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>

#define TILL_GENERATION_NAME 64
#define TILL_MESSAGE_MAX 32768 /* a certificate with its chain and key */

typedef struct till_message {
    char verb[16];
    char name[TILL_GENERATION_NAME + 1];
    char text[TILL_MESSAGE_MAX];
} till_message_t;

/** Both ends do not block and close on exec. @return 0 or errno */
int till_channel_create(int ends[2]);
/** `text` may be NULL; what is too long is cut. @return false where the other side is gone or does not read */
bool till_channel_send(int fd, const char *verb, const char *name, const char *text);
/** @return 1: a message; 0: none just now; -1: the other side is gone */
int till_channel_receive(int fd, till_message_t *out);

#endif
