/* utf8.c - by table 3-7 of the Unicode standard, "well-formed UTF-8 byte sequences". */
#include <stdint.h>
#include <string.h>
#include "base/utf8.h"
#include "base/utf8_priv.h"

/* The second byte is where overlong forms, surrogates and what lies past U+10FFFF show. */
typedef struct form {
    uint8_t first_low, first_high;
    uint8_t second_low, second_high;
    uint8_t len;
} form_t;

static const form_t forms[] = {
    {0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3}, {0xE1, 0xEC, 0x80, 0xBF, 3}, {0xED, 0xED, 0x80, 0x9F, 3},
    {0xEE, 0xEF, 0x80, 0xBF, 3}, {0xF0, 0xF0, 0x90, 0xBF, 4}, {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4},
};

static const form_t *form_of(uint8_t first)
{
    for (size_t i = 0; i != sizeof(forms) / sizeof(forms[0]); ++i)
        if (first >= forms[i].first_low && first <= forms[i].first_high)
            return &forms[i];
    return NULL;
}

size_t till_utf8_step(const char *bytes, size_t len)
{
    const uint8_t *p = (const uint8_t *)bytes;

    if (len == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    const form_t *form = form_of(p[0]);
    if (form == NULL || len < form->len || p[1] < form->second_low || p[1] > form->second_high)
        return 0;
    for (size_t i = 2; i < form->len; ++i)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return form->len;
}

/* Most text is ASCII: eight bytes at a time are looked at while none has its top bit set. */
static size_t skip_ascii(const char *bytes, size_t len)
{
    size_t at = 0;

    for (uint64_t word; len - at >= sizeof(word); at += sizeof(word)) {
        memcpy(&word, bytes + at, sizeof(word));
        if ((word & UINT64_C(0x8080808080808080)) != 0)
            break;
    }
    return at;
}

static bool is_plain(char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; }

/* The top bit of each byte of the result that is 0 in `word`; bytes behind such a one may be marked in error. */
static uint64_t zero_bytes(uint64_t word)
{
    return (word - UINT64_C(0x0101010101010101)) & ~word & UINT64_C(0x8080808080808080);
}

/* Is any of the eight bytes not plain? A control character is one from which 0x20 cannot be taken. */
static bool has_special(uint64_t word)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = UINT64_C(0x8080808080808080);
    uint64_t controls = (word - ones * 0x20) & ~word & tops;

    return ((word & tops) | controls | zero_bytes(word ^ ones * '"') | zero_bytes(word ^ ones * '\\') |
            zero_bytes(word ^ ones * 0x7f)) != 0;
}

size_t till_utf8_plain(const char *bytes, size_t len)
{
    size_t at = 0;

    for (uint64_t word; len - at >= sizeof(word); at += sizeof(word)) {
        memcpy(&word, bytes + at, sizeof(word));
        if (has_special(word))
            break;
    }
    while (at != len && is_plain(bytes[at]))
        ++at;
    return at;
}

bool till_utf8_is_valid(const char *bytes, size_t len)
{
    for (size_t at = 0; at < len;) {
        at += skip_ascii(bytes + at, len - at);
        if (at == len)
            break;
        size_t step = till_utf8_step(bytes + at, len - at);
        if (step == 0)
            return false;
        at += step;
    }
    return true;
}
