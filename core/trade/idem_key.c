/* idem_key.c - the pure half of idem.h: keys as clients write them, fingerprints. */
#include "trade/idem.h"

static till_slice_t trim(till_slice_t text)
{
    const char *from = text.base, *to = from + text.len;

    while (from != to && (*from == ' ' || *from == '\t'))
        ++from;
    while (from != to && (to[-1] == ' ' || to[-1] == '\t'))
        --to;
    return (till_slice_t){from, (size_t)(to - from)};
}

/* RFC 8941 3.3.3: printable ASCII, of which " and \ have a \ before them. Parameters are not expected. */
static bool parse_quoted(const char *at, const char *end, char *out, size_t *len)
{
    size_t n = 0;

    while (at != end && *at != '"') {
        if (*at == '\\' && (++at == end || (*at != '"' && *at != '\\')))
            return false;
        if (*at < 0x20 || *at > 0x7e || n == TILL_IDEM_KEY_MAX)
            return false;
        out[n++] = *at++;
    }
    *len = n;
    return at != end && at + 1 == end;
}

static bool parse_bare(const char *at, const char *end, char *out, size_t *len)
{
    if (end - at > TILL_IDEM_KEY_MAX)
        return false;
    *len = (size_t)(end - at);
    for (; at != end; ++at) {
        if (*at <= 0x20 || *at > 0x7e || *at == '"')
            return false;
        *out++ = *at;
    }
    return true;
}

bool till_idem_parse_key(till_slice_t header, char out[TILL_IDEM_KEY_MAX + 1], size_t *len)
{
    till_slice_t text = header.len != 0 ? trim(header) : (till_slice_t){"", 0};
    const char *at = text.base, *end = at + text.len;
    bool ok = at != end && (*at == '"' ? parse_quoted(at + 1, end, out, len) : parse_bare(at, end, out, len));

    if (!ok || *len == 0) {
        *len = 0;
        out[0] = '\0';
        return false;
    }
    out[*len] = '\0';
    return true;
}

void till_idem_fingerprint(uint8_t out[TILL_SHA256_LEN], till_slice_t method, till_slice_t path, till_slice_t body)
{
    const till_slice_t parts[] = {method, path, body};

    till_sha256_parts(out, parts, 3);
}
