/* fuzz_card.c - the guard against card numbers, over any text, and in JSON however it is spelt; see core/base/card.h
 * and `no_cards` in core/base/json.h. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/card.h"
#include "base/json.h"
#include "base/utf8.h"

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

/* Is it refused for a card, as what comes from outside is? */
static bool refuses(const char *json, size_t len)
{
    till_json_reader_t reader;
    till_json_token_t token;

    till_json_reader_init(&reader, json, len);
    reader.no_cards = true;
    do {
        token = till_json_next(&reader);
    } while (token != TILL_JSON_END && token != TILL_JSON_ERROR);
    bool is_card = token == TILL_JSON_ERROR && reader.is_card;
    till_json_reader_dispose(&reader);
    return is_card;
}

/* As a value, as a key, and with every byte of ASCII spelt as an escape. */
static void check_in_json(const char *text, size_t len, bool is_card)
{
    till_buf_t value, key, spelt;
    char code[8];

    till_buf_init(&value, 0);
    till_buf_init(&key, 0);
    till_buf_init(&spelt, 0);
    till_json_write_string(&value, text, len);
    till_buf_puts(&key, "{\"a\":[{");
    till_json_write_string(&key, text, len);
    till_buf_puts(&key, ":1}]}");
    till_buf_putc(&spelt, '"');
    for (size_t i = 0; i != len; ++i) {
        if ((uint8_t)text[i] >= 0x80) {
            till_buf_putc(&spelt, text[i]);
            continue;
        }
        snprintf(code, sizeof(code), i % 2 != 0 ? "\\u%04x" : "\\u%04X", (unsigned)text[i]);
        till_buf_puts(&spelt, code);
    }
    till_buf_putc(&spelt, '"');
    check(refuses(value.base, value.len) == is_card && refuses(key.base, key.len) == is_card &&
          refuses(spelt.base, spelt.len) == is_card);
    till_buf_dispose(&value);
    till_buf_dispose(&key);
    till_buf_dispose(&spelt);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    size_t from = 0, to = 0, again_from, again_to;
    char *text = malloc(len + 1);

    memcpy(text, bytes, len);
    refuses(text, len); /* as a document, whatever it is */
    if (till_utf8_is_valid(text, len) && memchr(text, '\0', len) == NULL)
        check_in_json(text, len, till_card_find(text, len, &from, &to));
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
