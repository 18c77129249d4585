/* guard_head.c - heads of HTTP/1.1 that a proxy in front may read in another way.
 *
 * libh2o takes two lengths, or a length beside a coding, for one of them; a
 * proxy may take the other, and what it holds for a body is then a request
 * here. Only the raw head still shows that.
 */
#include <string.h>
#include <strings.h>
#include "serve/server_priv.h"

/* The length of the line at `at` without its line end. @return -1: it does not end in CR LF */
static long line_len(const char *at, const char *end)
{
    const char *stop = memchr(at, '\n', (size_t)(end - at));

    return stop != NULL && stop != at && stop[-1] == '\r' ? stop - 1 - at : -1;
}

static bool is_field(const char *line, long len, const char *name)
{
    long n = (long)strlen(name);

    return len > n && line[n] == ':' && strncasecmp(line, name, (size_t)n) == 0;
}

bool till_guard_is_head_sound(h2o_req_t *req)
{
    const h2o_buffer_t *input = req->conn->callbacks->get_socket(req->conn)->input;
    const char *at = input->bytes, *end = at + input->size;
    unsigned hosts = 0, lengths = 0, codings = 0;
    long len;

    while (end - at >= 2 && at[0] == '\r' && at[1] == '\n')
        at += 2; /* libh2o skips an empty line in front */
    if ((len = line_len(at, end)) < 0)
        return false;
    for (at += len + 2; (len = line_len(at, end)) > 0; at += len + 2) {
        if (*at == ' ' || *at == '\t') /* a folded line */
            return false;
        hosts += is_field(at, len, "host");
        lengths += is_field(at, len, "content-length");
        codings += is_field(at, len, "transfer-encoding");
    }
    if (codings != 0)
        req->http1_is_persistent = 0; /* what follows such a body is nobody's request */
    return len == 0 && lengths + codings <= 1 && (codings == 0 || req->version >= 0x101) &&
           (hosts == 1 || (hosts == 0 && req->version < 0x101));
}
