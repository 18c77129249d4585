/* guard_head.h - where a request of HTTP/1.1 ends, read strictly from its raw bytes.
 *
 * libh2o reads leniently: it takes two lengths, or a length beside a coding, for
 * one of them, ends lines at a bare LF, calls "5;x" or "5 " the size of a chunk.
 * A proxy in front may read the same bytes in another way, and what it holds for
 * a body is then a request here. So every request is read here first, whole,
 * and what can be read in more than one way never reaches libh2o.
 *
 * Both readers go on where they stopped when more bytes have come; the bytes
 * must stay as they are in the meantime, but may have moved.
 *
 * Thread: any; nothing but the structs is touched.
 */
#ifndef TILL_SERVE_GUARD_HEAD_H
#define TILL_SERVE_GUARD_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

typedef enum till_reading { TILL_READING_MORE, TILL_READING_DONE, TILL_READING_REFUSED } till_reading_t;

/* Zeroed before the first byte. */
typedef struct till_head {
    size_t at;            /* where the next line begins; when done, where the head ended */
    till_status_t status; /* of a refusal */
    const char *detail;   /* a sentence for the client */
    size_t method_len;    /* of the request line, once it was found sound; 0 before */
    size_t method_at, target_at, target_len;
    unsigned fields, hosts, lengths, codings;
    bool is_1_0;
    uint64_t length;  /* of the body, where lengths is 1 */
    size_t expect_at; /* where the field Expect begins */
    bool has_expect;  /* it wants to be told to go on */
} till_head_t;

/** `max`: bytes that a head may have. */
till_reading_t till_head_read(till_head_t *head, const char *bytes, size_t len, size_t max);

/* A chunked body; zeroed before the first byte. */
typedef struct till_chunks {
    size_t at; /* how far it was read; when done, where the body ended */
    till_status_t status;
    const char *detail;
    unsigned state, digits;
    bool is_done;
    uint64_t left;    /* of the chunk */
    uint64_t total;   /* of the data */
    size_t extension; /* bytes of extensions, all together */
    size_t trailer;   /* bytes of the trailer */
} till_chunks_t;

/** `bytes` from the first one of the body; `max`: bytes of data that it may have. */
till_reading_t till_chunks_read(till_chunks_t *chunks, const char *bytes, size_t len, uint64_t max);

/** A path, with a query or without: what both protocols may ask for. */
bool till_head_is_target(const char *text, size_t len);
/** A name or an address, with a port or without. */
bool till_head_is_host(const char *text, size_t len);
bool till_head_is_token(const char *text, size_t len);

#endif
