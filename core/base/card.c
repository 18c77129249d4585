/* card.c - see card.h */
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include "base/card.h"

enum { MAX_SEPARATORS = 3, UUID_LEN = 36 };

#define OF(digits) (1U << (digits))
#define UP_TO_19 (OF(16) | OF(17) | OF(18) | OF(19))

/* By the first six digits (ISO/IEC 7812), as the schemes publish them. Sorted, and held so by the test. */
const struct till_card_issuer {
    uint32_t from, to, lengths;
} till_card_issuers[] = {
    {220000, 220499, UP_TO_19},                                                              /* Mir */
    {222100, 272099, OF(16)},                                                                /* Mastercard */
    {300000, 305999, OF(14) | OF(16)},                                                       /* Diners Club */
    {340000, 349999, OF(15)},                                                                /* American Express */
    {352800, 358999, UP_TO_19},                                                              /* JCB */
    {360000, 369999, OF(14) | OF(16)},                                                       /* Diners Club */
    {370000, 379999, OF(15)},                                                                /* American Express */
    {380000, 399999, OF(14) | OF(16)},                                                       /* Diners Club */
    {400000, 499999, OF(16) | OF(19)},                                                       /* Visa */
    {501800, 501899, UP_TO_19},                                                              /* Maestro */
    {502000, 502099, UP_TO_19},        {503800, 503899, UP_TO_19}, {508500, 508999, OF(16)}, /* RuPay */
    {510000, 559999, OF(16)},                                                                /* Mastercard */
    {589300, 589399, UP_TO_19},        {601100, 601199, UP_TO_19},                           /* Discover */
    {606985, 607984, OF(16)},                                                                /* RuPay */
    {608001, 608500, OF(16)},          {620000, 629999, UP_TO_19},                           /* UnionPay */
    {630400, 630499, UP_TO_19},                                                              /* Maestro */
    {644000, 659999, UP_TO_19},                                                              /* Discover, RuPay */
    {675900, 675999, UP_TO_19},                                                              /* Maestro */
    {676100, 676399, UP_TO_19},        {810000, 817199, UP_TO_19},                           /* UnionPay */
};
const size_t till_card_n_issuers = sizeof(till_card_issuers) / sizeof(till_card_issuers[0]);

static bool is_digit(char c) { return (unsigned char)(c - '0') < 10; }

static bool is_word(char c) { return (unsigned char)((c | 0x20) - 'a') < 26 || c == '_'; }

static bool is_issued(const uint8_t *digits, unsigned n)
{
    uint32_t first = 0;

    for (int i = 0; i != 6; ++i)
        first = first * 10 + digits[i];
    for (size_t i = 0; i != till_card_n_issuers && till_card_issuers[i].from <= first; ++i) {
        if (first <= till_card_issuers[i].to)
            return (till_card_issuers[i].lengths & OF(n)) != 0;
    }
    return false;
}

/* ISO/IEC 7812-1, annex B. */
static bool has_check_digit(const uint8_t *digits, unsigned n)
{
    unsigned sum = 0;

    for (unsigned i = 0; i != n; ++i) {
        unsigned digit = digits[n - 1 - i];
        if (i % 2 != 0)
            digit = digit < 5 ? 2 * digit : 2 * digit - 9;
        sum += digit;
    }
    return sum % 10 == 0;
}

/* U+00A0, U+2000-200A, U+2010-2015, U+202F, U+2212. @return bytes, or 0 */
static size_t typographic(const char *at, size_t left)
{
    if (left >= 2 && memcmp(at, "\xC2\xA0", 2) == 0)
        return 2;
    if (left < 3)
        return 0;
    uint8_t third = (uint8_t)at[2];
    if (memcmp(at, "\xE2\x80", 2) == 0)
        return (third >= 0x80 && third <= 0x8A) || (third >= 0x90 && third <= 0x95) || third == 0xAF ? 3 : 0;
    return memcmp(at, "\xE2\x88\x92", 3) == 0 ? 3 : 0;
}

/** @return the bytes of one separator at `at`, or 0; `rare` becomes true where it parts much else besides */
static size_t separator(const char *at, size_t left, bool *rare)
{
    if (left == 0)
        return 0;
    if (*at == ' ' || *at == '-')
        return 1;
    if (*at == '.' || *at == '/' || *at == '\t' || *at == '\n' || *at == '\r') {
        *rare = true;
        return 1;
    }
    if (*at == '%')
        return left >= 3 && (memcmp(at, "%20", 3) == 0 || strncasecmp(at, "%2d", 3) == 0) ? 3 : 0;
    return (uint8_t)*at >= 0xC2 ? typographic(at, left) : 0;
}

/** From the end of a group to the beginning of the next one. @return that, or NULL where the number is over */
static const char *next_group(const char *at, const char *end, bool *rare)
{
    size_t step;

    for (int i = 0; i != MAX_SEPARATORS && (step = separator(at, (size_t)(end - at), rare)) != 0; ++i) {
        at += step;
        if (at != end && is_digit(*at))
            return at;
    }
    return NULL;
}

/* The groups that stand on the cards themselves, each length a hex digit. */
static bool is_embossed(uint32_t groups) { return groups == 0x4444 || groups == 0x465 || groups == 0x464; }

/** The longest card that begins with the group at `at`. @return its end, or NULL */
static const char *card_at(const char *at, const char *end)
{
    uint8_t digits[TILL_CARD_MAX_DIGITS];
    const char *found = NULL;
    bool in_twos = true, rare = false;
    uint32_t groups = 0;
    unsigned n = 0;

    if (*at < '2' || *at > '8') /* so begins no issuer */
        return NULL;
    for (const char *next = at; next != NULL; next = next_group(at, end, &rare)) {
        for (at = next; at != end && is_digit(*at); ++at) {
            if (n == TILL_CARD_MAX_DIGITS)
                return found;
            digits[n++] = (uint8_t)(*at - '0');
        }
        if (at != end && is_word(*at))
            return found;
        in_twos = in_twos && at - next == 2;
        groups = groups << 4 | (uint32_t)(at - next < 16 ? at - next : 0);
        if (!in_twos && (!rare || is_embossed(groups)) && n >= TILL_CARD_MIN_DIGITS && is_issued(digits, n) &&
            has_check_digit(digits, n))
            found = at;
    }
    return found;
}

/* Behind what stands before `at`, may a number begin there? */
static bool may_begin(const char *begin, const char *at)
{
    if (at == begin)
        return true;
    if (at[-1] == '.')
        return at - begin < 2 || !is_digit(at[-2]);
    return !is_word(at[-1]);
}

/* Is `at` a later group of a row whose groups are as long as this one, as tracking numbers and IBANs are written? The
 * first one of an IBAN has its two letters before it. */
static bool is_in_row(const char *begin, const char *at, const char *end)
{
    const char *group = at - 1, *last = at;

    while (last != end && is_digit(*last))
        ++last;
    if (last - at >= TILL_CARD_MIN_DIGITS || at - begin < 2 || (at[-1] != ' ' && at[-1] != '-'))
        return false;
    while (group != begin && is_digit(group[-1]) && at - group <= last - at + 1)
        --group;
    if (at - 1 - group == 2 && group - begin >= 2 && is_word(group[-1]) && is_word(group[-2]))
        return group - begin == 2 || !is_word(group[-3]);
    return at - 1 - group == last - at && may_begin(begin, group);
}

/* RFC 9562: 8-4-4-4-12. */
static bool is_uuid(const char *begin, const char *at, const char *end)
{
    if (end - at < UUID_LEN || (at != begin && is_word(at[-1])))
        return false;
    if (end - at > UUID_LEN && (is_word(at[UUID_LEN]) || is_digit(at[UUID_LEN])))
        return false;
    for (int i = 0; i != UUID_LEN; ++i) {
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        bool is_hex = is_digit(at[i]) || (unsigned char)((at[i] | 0x20) - 'a') < 6;
        if (is_dash ? at[i] != '-' : !is_hex)
            return false;
    }
    return true;
}

/* Does one of its groups begin at `at`? One in a hundred thousand UUIDs has a card's digits in it. */
static bool is_in_uuid(const char *begin, const char *at, const char *end)
{
    static const uint8_t groups[] = {0, 9, 14, 19, 24};

    for (size_t i = 0; i != sizeof(groups); ++i) {
        if (at - begin >= groups[i] && is_uuid(begin, at - groups[i], end))
            return true;
    }
    return false;
}

bool till_card_find(const char *bytes, size_t len, size_t *from, size_t *to)
{
    if (len < TILL_CARD_MIN_DIGITS)
        return false;
    const char *at = bytes, *end = bytes + len, *card_end;
    while (end - at >= TILL_CARD_MIN_DIGITS) {
        if (!is_digit(*at)) {
            ++at;
            continue;
        }
        if (may_begin(bytes, at) && (card_end = card_at(at, end)) != NULL && !is_in_row(bytes, at, end) &&
            !is_in_uuid(bytes, at, end)) {
            *from = (size_t)(at - bytes);
            *to = (size_t)(card_end - bytes);
            return true;
        }
        while (at != end && is_digit(*at))
            ++at;
    }
    return false;
}
