/* http_priv.h - what http.c (transfers) and http_wire.c (libcurl on our loop) share. */
#ifndef TILL_IO_HTTP_PRIV_H
#define TILL_IO_HTTP_PRIV_H

#include <curl/curl.h>
#include "io/http.h"

typedef struct till_http_wire till_http_wire_t;

/** `on_over` is told of each transfer that has ended; the handle is not in the wire any more then. */
till_http_wire_t *till_http_wire_create(till_loop_t *loop, const till_http_opts_t *opts,
                                        void (*on_over)(CURL *easy, CURLcode result));
/** All handles must have been removed. */
void till_http_wire_destroy(till_http_wire_t *wire);
/** @return false: libcurl does not take it */
bool till_http_wire_add(till_http_wire_t *wire, CURL *easy);
void till_http_wire_remove(till_http_wire_t *wire, CURL *easy);
/** May this address be spoken to by a `public_only` request? */
bool till_http_is_public(const struct sockaddr *address);

#endif
