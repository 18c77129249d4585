/* guard_fields.c - a block of headers of HTTP/2 (RFC 7541), gone through without decoding it.
 *
 * A field that is in the compression's table takes one byte here and some 70 in
 * libh2o, so fields are counted before libh2o sees them. It reads numbers of at
 * most four bytes after the prefix; so do we, and where we cannot go on, nor
 * can it.
 *
 * "cache-digest", a draft that no browser took up, is decoded by libh2o into 8
 * bytes for each bit of it, again and again out of the table: a few kilobytes
 * become gigabytes. Its name must come once in full before the table has it.
 */
#include <string.h>
#include <h2o.h>
#include "serve/guard.h"

/* A number with a prefix of `bits` bits. @return -1: not one that libh2o reads */
static int32_t number(const uint8_t **at, const uint8_t *end, unsigned bits)
{
    uint8_t most = (uint8_t)((1U << bits) - 1);
    int32_t value = *(*at)++ & most;

    if (value != most)
        return value;
    for (unsigned shift = 0; shift != 28 && *at != end; shift += 7) {
        uint8_t byte = *(*at)++;
        value += (int32_t)(byte & 127) << shift;
        if (byte < 128)
            return value;
    }
    return -1;
}

static bool string(const uint8_t **at, const uint8_t *end, const uint8_t **text, size_t *len)
{
    int32_t n;

    if (*at == end || (n = number(at, end, 7)) < 0 || n > end - *at)
        return false;
    *text = *at;
    *len = (size_t)n;
    *at += n;
    return true;
}

/* A text has one coding only by Huffman's, so that it need not be decoded. */
static bool is_digest(const uint8_t *name, size_t len)
{
    static const uint8_t packed[] = {0x20, 0xc9, 0x39, 0x56, 0x90, 0xd3, 0x15, 0x09};

    return (len == 12 && memcmp(name, "cache-digest", 12) == 0) ||
           (len == sizeof(packed) && memcmp(name, packed, sizeof(packed)) == 0);
}

/* A name, or the number of one, and a value. */
static bool literal(till_fields_t *out, const uint8_t **at, const uint8_t *end, unsigned bits)
{
    const uint8_t *text;
    size_t len;
    int32_t index = number(at, end, bits);

    if (index < 0)
        return false;
    if (index == 0) {
        if (!string(at, end, &text, &len))
            return false;
        out->has_digest = out->has_digest || is_digest(text, len);
    }
    return string(at, end, &text, &len);
}

void till_fields_scan(till_fields_t *out, const uint8_t *at, size_t len)
{
    const uint8_t *end = at + len;

    *out = (till_fields_t){0};
    while (at != end) {
        uint8_t first = *at;
        bool is_size = first >= 32 && first < 64;
        out->count += !is_size;
        if (is_size        ? number(&at, end, 5) < 0
            : first >= 128 ? number(&at, end, 7) < 0
                           : !literal(out, &at, end, first >= 64 ? 6 : 4))
            return;
    }
}

/* Of the fields that speak of a connection (RFC 9113, 8.2.2) libh2o refuses all but these. */
bool till_fields_are_sound(const h2o_req_t *req)
{
    for (size_t i = 0; i != req->headers.size; ++i) {
        const h2o_iovec_t *name = req->headers.entries[i].name;
        if (name->len == 0 || h2o_memis(name->base, name->len, H2O_STRLIT("keep-alive")) ||
            h2o_memis(name->base, name->len, H2O_STRLIT("proxy-connection")))
            return false;
    }
    return true;
}
