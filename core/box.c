/* box.c - moontill-box: keeps a box for rules beside a worker. It is started by moontill, never by hand. */
#include <stdio.h>
#include <unistd.h>
#include <sys/socket.h>
#include "vm/box/box.h"

int main(void)
{
    int type;
    socklen_t size = sizeof(type);

    if (getsockopt(TILL_BOX_FD, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_SEQPACKET) {
        fprintf(stderr, "moontill-box is started by moontill, which gives it a socket; see docs/security.md\n");
        return 2;
    }
    return till_box_keep();
}
