/* test_card.c - see core/base/card.h; the numbers are those that the schemes publish for tests. */
#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/card.h"

extern const struct till_card_issuer {
    uint32_t from, to, lengths;
} till_card_issuers[];
extern const size_t till_card_n_issuers;

/* clang-format off */
static const struct {
    const char *why, *text, *card; /* `card` NULL: none is found */
} texts[] = {
    {"Visa",                            "4111111111111111",               "4111111111111111"},
    {"Mastercard",                      "5555555555554444",               "5555555555554444"},
    {"Mastercard of the second range",  "2223003122003222",               "2223003122003222"},
    {"American Express",                "378282246310005",                "378282246310005"},
    {"Diners Club",                     "30569309025904",                 "30569309025904"},
    {"Discover",                        "6011111111111117",               "6011111111111117"},
    {"JCB",                             "3530111333300000",               "3530111333300000"},
    {"UnionPay of 19 digits",           "6205500000000000004",            "6205500000000000004"},
    {"Maestro",                         "6759649826438453",               "6759649826438453"},
    {"Mir",                             "2200000000000004",               "2200000000000004"},
    {"in a sentence",                   "pay with 4111111111111111.",     "4111111111111111"},
    {"in parentheses",                  "(4111111111111111)",             "4111111111111111"},
    {"behind a colon",                  "card:4111111111111111",          "4111111111111111"},
    {"behind a point",                  "No.4111111111111111",            "4111111111111111"},
    {"by fours",                        "4111 1111 1111 1111",            "4111 1111 1111 1111"},
    {"with dashes",                     "4111-1111-1111-1111",            "4111-1111-1111-1111"},
    {"as on the card",                  "3782 822463 10005",              "3782 822463 10005"},
    {"in an odd way",                   "4-111 11-1111 1111-11",          "4-111 11-1111 1111-11"},
    {"digit by digit",                  "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"},
    {"three separators",                "4111 - 1111 - 1111 - 1111",      "4111 - 1111 - 1111 - 1111"},
    {"blanks that do not break",        "4111\xC2\xA0" "1111\xC2\xA0" "1111\xC2\xA0" "1111", "4111\xC2\xA0" "1111\xC2\xA0" "1111\xC2\xA0" "1111"},
    {"dashes of typography",            "4111\xE2\x80\x93" "1111\xE2\x80\x91" "1111\xE2\x88\x92" "1111", "4111\xE2\x80\x93" "1111\xE2\x80\x91" "1111\xE2\x88\x92" "1111"},
    {"in a path",                       "/x/4111%201111%2d1111%2D1111",   "4111%201111%2d1111%2D1111"},
    {"date and code behind it",         "4111 1111 1111 1111 12/27 123",  "4111 1111 1111 1111"},
    {"with points",                     "4111.1111.1111.1111",            "4111.1111.1111.1111"},
    {"with slashes",                    "4111/1111/1111/1111",            "4111/1111/1111/1111"},
    {"in lines",                        "4111\n1111\r\n1111\t1111",       "4111\n1111\r\n1111\t1111"},
    {"as on the card, with points",     "3782.822463.10005",              "3782.822463.10005"},
    {"a line behind it",                "4111 1111 1111 1111\n12/27",     "4111 1111 1111 1111"},
    {"digits before it",                "1 4111 1111 1111 1111",          "4111 1111 1111 1111"},
    {"a word right behind the next",    "4111111111111111 12ab",          "4111111111111111"},
    {"the second of two",               "4111111111111112 5555555555554444", "5555555555554444"},
    {"the longer of two readings",      "6205500000000000 004",           "6205500000000000 004"},
    {"the longer where both are cards", "6205 0000 0000 0000 009", "6205 0000 0000 0000 009"},
    {"letters beyond ASCII around it",  "\xC3\xA9" "4111111111111111\xC3\xA9", "4111111111111111"},

    {"no check digit",                  "4111111111111112",               NULL},
    {"no issuer",                       "1111111111111117",               NULL},
    {"no length of that issuer's",      "37828224631000",                 NULL},
    {"13 digits, as an EAN",            "4222222222222",                  NULL},
    {"more digits than a card has",     "41111111111111110000",           NULL},
    {"a card inside of more digits",    "994111111111111111",             NULL},
    {"an EAN-13",                       "4006381333931",                  NULL},
    {"a GTIN-14",                       "10012345678902",                 NULL},
    {"an SSCC",                         "003456789012345675",             NULL},
    {"an IMEI",                         "490154203237518",                NULL},
    {"a phone number",                  "+592 600 1234",                  NULL},
    {"two of them",                     "+44 20 7946 0042, +44 20 7946 0043", NULL},
    {"microseconds",                    "1700000000000000",               NULL},
    {"a ULID",                          "01ARZ3NDEKTSV4RRFFQ69G5FAV",     NULL},
    {"a UUID",                          "550e8400-e29b-41d4-a716-446655440000", NULL},
    {"a UUID of luck",                  "47149126-7509-4390-aee8-243af9b26b5a", NULL},
    {"nearly a UUID",                   "47149126-7509-4390-aee8-243af9b26b5", "47149126-7509-4390"},
    {"digits of an identifier",         "ord_4111111111111111",           NULL},
    {"digits of a hash",                "a4111111111111111",              NULL},
    {"and before its letters",          "4111111111111111f",              NULL},
    {"a fraction",                      "0.4111111111111111",             NULL},
    {"commas",                          "4111,1111,1111,1111",            NULL},
    {"four separators",                 "4111    1111    1111    1111",   NULL},
    {"by threes, in lines",             "411\n111\n111\n111\n111\n1",      NULL},
    {"points, but not as on a card",    "41111.11111.11111.1",            NULL},
    {"a point among blanks",            "4111 1111 11.11 1111",           NULL},
    {"versions",                        "4.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1", NULL},
    {"half of a blank of typography",   "411111111111111\xE2\x80",        NULL},
    {"broken UTF-8 that takes a digit", "4\xE2\x80" "2111111111111111",        NULL},
    {"half of a path's blank",          "411111111111111%2",              NULL},
    {"sizes of shoes",                  "41 42 43 44 45 46 47 48",        NULL},
    {"and more of them",                "39-40-41-42-43-44-45-46-47-48",  NULL},
    {"a parcel's number",               "9405 5118 9956 0348 1234 56",    NULL},
    {"an IBAN",                         "FR76 3000 4028 3798 7652 1234 567", NULL},
    {"a card behind a word and digits", "tel 76 4111 1111 1111 1111",     "4111 1111 1111 1111"},
    {"a card behind five digits",       "12345 4111 1111 1111 1111",      "4111 1111 1111 1111"},
    {"a card behind a longer word",     "ABC12 4111 1111 1111 1111",      "4111 1111 1111 1111"},
    {"no text",                         "",                               NULL},
};
/* clang-format on */

START_TEST(texts_match_table)
{
    const char *text = texts[_i].text, *card = texts[_i].card;
    size_t len = strlen(text), from = 99, to = 99;
    char *exact = malloc(len + 1); /* so that the sanitizer sees one byte too far */

    memcpy(exact, text, len);
    exact = realloc(exact, len != 0 ? len : 1);
    bool found = till_card_find(exact, len, &from, &to);
    ck_assert_msg(found == (card != NULL), "%s: %s", texts[_i].why, text);
    if (found)
        ck_assert_msg(to - from == strlen(card) && memcmp(exact + from, card, to - from) == 0, "%s: %.*s",
                      texts[_i].why, (int)(to - from), exact + from);
    free(exact);
}
END_TEST

START_TEST(the_table_of_issuers_is_sorted)
{
    for (size_t i = 0; i != till_card_n_issuers; ++i) {
        ck_assert_uint_le(till_card_issuers[i].from, till_card_issuers[i].to);
        ck_assert_uint_lt(till_card_issuers[i].to, 1000000);
        if (i != 0)
            ck_assert_uint_lt(till_card_issuers[i - 1].to, till_card_issuers[i].from);
    }
}
END_TEST

/* Of each issuer's numbers of 16 digits there is one check digit that is found, and nine that are not. */
START_TEST(one_check_digit_of_ten_is_right)
{
    char text[17];
    size_t from, to;

    srand(20261130);
    for (int round = 0; round != 20000; ++round) {
        int found = 0;
        text[0] = '4';
        for (int i = 1; i != 15; ++i)
            text[i] = (char)('0' + rand() % 10);
        for (text[15] = '0'; text[15] <= '9'; ++text[15])
            found += till_card_find(text, 16, &from, &to);
        ck_assert_int_eq(found, 1);
    }
}
END_TEST

/* One digit that is wrong is always seen (Luhn's promise), so it is a card's number no more. */
START_TEST(no_single_wrong_digit_passes)
{
    static const char card[] = "4111111111111111";
    char text[17];
    size_t from, to;

    for (size_t i = 1; i != 16; ++i) {
        for (char digit = '0'; digit <= '9'; ++digit) {
            memcpy(text, card, sizeof(card));
            text[i] = digit;
            ck_assert_int_eq(till_card_find(text, 16, &from, &to), digit == card[i]);
        }
    }
}
END_TEST

/* Identifiers must not be refused by chance. */
START_TEST(no_identifier_is_a_card)
{
    static const char hex[] = "0123456789abcdef", base32[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    char uuid[37], ulid[27] = "01";
    size_t from, to;

    srand(20261130);
    for (int round = 0; round != 300000; ++round) {
        for (int i = 0; i != 36; ++i)
            uuid[i] = i == 8 || i == 13 || i == 18 || i == 23 ? '-' : hex[rand() % 16];
        uuid[14] = '4';
        uuid[19] = hex[8 + rand() % 4];
        for (int i = 2; i != 26; ++i)
            ulid[i] = base32[rand() % 32];
        ck_assert_msg(!till_card_find(uuid, 36, &from, &to), "%.36s", uuid);
        ck_assert_msg(!till_card_find(ulid, 26, &from, &to), "%.26s", ulid);
    }
}
END_TEST

Suite *card_suite(void)
{
    Suite *suite = suite_create("base/card");
    TCase *tc = tcase_create("card");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, texts_match_table, 0, sizeof(texts) / sizeof(texts[0]));
    tcase_add_test(tc, the_table_of_issuers_is_sorted);
    tcase_add_test(tc, one_check_digit_of_ten_is_right);
    tcase_add_test(tc, no_single_wrong_digit_passes);
    tcase_add_test(tc, no_identifier_is_a_card);
    suite_add_tcase(suite, tc);
    return suite;
}
