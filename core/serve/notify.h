/* notify.h - tells a service manager how we are, where it has asked to be told (sd_notify's protocol). */
#ifndef TILL_SERVE_NOTIFY_H
#define TILL_SERVE_NOTIFY_H

/** Sends "READY=1" and the like to NOTIFY_SOCKET; without one it does nothing. */
void till_notify(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
