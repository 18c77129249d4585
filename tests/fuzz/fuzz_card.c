/* fuzz_card.c - the guard against card numbers, over any text; see core/base/card.h. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/card.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void check(int holds)
{
    if (!holds)
        abort();
}

/* What was found has Luhn's check digit, written anew here. */
static void check_luhn(const char *card, size_t len)
{
    int sum = 0, count = 0;

    for (size_t i = len; i-- != 0;) {
        if (card[i] < '0' || card[i] > '9')
            continue;
        if (card[i] == '0' && i >= 2 && card[i - 1] == '2' && card[i - 2] == '%') { /* %20 is a blank */
            i -= 2;
            continue;
        }
        int digit = card[i] - '0', twice = 2 * digit;
        if (card[i] == '2' && i >= 1 && card[i - 1] == '%') /* of %2d */
            continue;
        sum += count++ % 2 == 0 ? digit : twice / 10 + twice % 10;
    }
    check(count >= TILL_CARD_MIN_DIGITS && count <= TILL_CARD_MAX_DIGITS && sum % 10 == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    size_t from = 0, to = 0, again_from, again_to;
    char *text = malloc(len + 1);

    memcpy(text, bytes, len);
    for (size_t at = 0; till_card_find(text + at, len - at, &from, &to); at += to) {
        const char *card = text + at + from;
        check(from < to && at + to <= len);
        check(card[0] >= '2' && card[0] <= '8' && card[to - from - 1] >= '0' && card[to - from - 1] <= '9');
        check_luhn(card, to - from);
        /* it is one by itself, and all of it */
        check(till_card_find(card, to - from, &again_from, &again_to) && again_from == 0 && again_to == to - from);
        memset(text + at + from, '*', to - from);
    }
    free(text);
    return 0;
}
