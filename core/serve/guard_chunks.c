#include <string.h>
#include <strings.h>
#include "serve/guard_head.h"

#define MAX_DIGITS 16
#define MAX_EXTENSION 1024 /* nobody uses them; who sends many makes work for nothing */
#define MAX_TRAILER 8192

enum { IN_SIZE, IN_EXTENSION, AT_SIZE_LF, IN_DATA, AT_DATA_CR, AT_DATA_LF, IN_TRAILER };

static till_reading_t refuse(till_chunks_t *chunks, till_status_t status, const char *detail)
{
    chunks->status = status;
    chunks->detail = detail;
    return TILL_READING_REFUSED;
}

static till_reading_t refuse_framing(till_chunks_t *chunks)
{
    return refuse(chunks, TILL_BAD_REQUEST,
                  "The body is not framed as chunks: size in hexadecimal, CR LF, data, CR LF.");
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static till_reading_t read_size(till_chunks_t *chunks, char c)
{
    int digit = digit_of(c);

    if (digit >= 0 && chunks->digits != MAX_DIGITS) {
        ++chunks->digits;
        chunks->left = chunks->left * 16 + (uint64_t)digit;
    } else if (chunks->digits != 0 && c == '\r')
        chunks->state = AT_SIZE_LF;
    else if (chunks->digits != 0 && c == ';')
        chunks->state = IN_EXTENSION;
    else
        return refuse_framing(chunks);
    return TILL_READING_MORE;
}

static till_reading_t read_extension(till_chunks_t *chunks, char c)
{
    if (c == '\r')
        chunks->state = AT_SIZE_LF;
    else if ((unsigned char)c < ' ' || c == 0x7f || ++chunks->extension > MAX_EXTENSION)
        return refuse_framing(chunks);
    return TILL_READING_MORE;
}

static till_reading_t begin_data(till_chunks_t *chunks, char c, uint64_t max)
{
    if (c != '\n')
        return refuse_framing(chunks);
    if (chunks->left > max - chunks->total)
        return refuse(chunks, TILL_TOO_LARGE, NULL);
    chunks->digits = 0;
    chunks->state = chunks->left == 0 ? IN_TRAILER : IN_DATA;
    chunks->total += chunks->left;
    return TILL_READING_MORE;
}

static till_reading_t read_byte(till_chunks_t *chunks, char c, uint64_t max)
{
    switch (chunks->state) {
    case IN_SIZE:
        return read_size(chunks, c);
    case IN_EXTENSION:
        return read_extension(chunks, c);
    case AT_SIZE_LF:
        return begin_data(chunks, c, max);
    default: /* AT_DATA_CR, AT_DATA_LF */
        if (c != (chunks->state == AT_DATA_CR ? '\r' : '\n'))
            return refuse_framing(chunks);
        chunks->state = chunks->state == AT_DATA_CR ? AT_DATA_LF : IN_SIZE;
        return TILL_READING_MORE;
    }
}

static void skip_data(till_chunks_t *chunks, size_t len)
{
    size_t here = len - chunks->at < chunks->left ? len - chunks->at : (size_t)chunks->left;

    chunks->at += here;
    chunks->left -= here;
    if (chunks->left == 0)
        chunks->state = AT_DATA_CR;
}

/* Nobody reads trailers here; those that would frame the request mean to be read by somebody else. */
static bool is_trailer(const char *line, size_t len)
{
    static const char *const framing[] = {"host", "content-length", "transfer-encoding"};
    const char *colon = memchr(line, ':', len);

    if (colon == NULL || colon == line)
        return false;
    for (size_t i = 0; i != sizeof(framing) / sizeof(framing[0]); ++i) {
        if ((size_t)(colon - line) == strlen(framing[i]) && strncasecmp(line, framing[i], strlen(framing[i])) == 0)
            return false;
    }
    for (const char *c = line; c != line + len; ++c) {
        if ((unsigned char)*c < ' ' && (*c != '\t' || c < colon))
            return false;
        if (*c == ' ' && c < colon)
            return false;
    }
    return true;
}

static till_reading_t read_trailer_line(till_chunks_t *chunks, const char *line, size_t len)
{
    if (len == 1 && line[0] == '\r')
        return TILL_READING_DONE;
    if (len == 0 || line[len - 1] != '\r' || !is_trailer(line, len - 1))
        return refuse(chunks, TILL_BAD_REQUEST, "A trailer must be a name, a colon and a value, and frame nothing.");
    return TILL_READING_MORE;
}

static till_reading_t read_trailer(till_chunks_t *chunks, const char *bytes, size_t len)
{
    till_reading_t reading = TILL_READING_MORE;

    while (reading == TILL_READING_MORE) {
        const char *line = bytes + chunks->at, *stop = memchr(line, '\n', len - chunks->at);
        size_t n = stop != NULL ? (size_t)(stop - line) : len - chunks->at;
        if (n + chunks->trailer > MAX_TRAILER)
            return refuse(chunks, TILL_HEADERS_TOO_LARGE, "The trailer is too large.");
        if (stop == NULL)
            break;
        chunks->at += n + 1;
        chunks->trailer += n + 1;
        reading = read_trailer_line(chunks, line, n);
    }
    return reading;
}

till_reading_t till_chunks_read(till_chunks_t *chunks, const char *bytes, size_t len, uint64_t max)
{
    till_reading_t reading = chunks->is_done ? TILL_READING_DONE : TILL_READING_MORE;

    while (reading == TILL_READING_MORE && chunks->at != len && chunks->state != IN_TRAILER) {
        if (chunks->state == IN_DATA)
            skip_data(chunks, len);
        else
            reading = read_byte(chunks, bytes[chunks->at++], max);
    }
    if (reading == TILL_READING_MORE && chunks->state == IN_TRAILER)
        reading = read_trailer(chunks, bytes, len);
    chunks->is_done = reading == TILL_READING_DONE;
    return reading;
}
