/* test_vault.c - see core/trade/vault.h. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "trade/vault.h"

#define TEXT(text) ((till_slice_t){text, strlen(text)})

enum { ROOM = 1024 };

#define KEY_A "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define KEY_B "/////////////////////////////////////////7s="
#define KEY_C "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE="

static till_vault_t *vault_of(const char *ring)
{
    char why[200] = "";
    till_vault_t *vault = till_vault_create(TEXT(ring), why, sizeof(why));

    ck_assert_msg(vault != NULL, "%s", why);
    return vault;
}

static till_vault_place_t place_of(const char *table, const char *row, const char *column)
{
    return (till_vault_place_t){TEXT(table), TEXT(row), TEXT(column)};
}

static till_vault_verdict_t open_at(const till_vault_t *vault, const till_vault_place_t *place, till_slice_t sealed,
                                    const char *expected)
{
    uint8_t *out = malloc(sealed.len + 1);
    size_t len = 99;
    till_vault_verdict_t verdict = till_vault_open(vault, place, sealed, out, &len);

    if (verdict == TILL_VAULT_OPENED) {
        ck_assert_uint_eq(len, strlen(expected));
        ck_assert_mem_eq(out, expected, len);
    } else {
        ck_assert_uint_eq(len, 0);
        for (size_t i = 0; i != sealed.len; ++i)
            ck_assert_uint_eq(out[i], 0);
    }
    free(out);
    return verdict;
}

/* Made by node:crypto after the words of vault.h, with fixed nonces and data key. */
START_TEST(another_program_seals_the_same_way)
{
    static const char hex[] =
        "010532303236610102030405060708090a0b0c929c545b9ffb09d66d56b7debdd9de770e2fee9ac0d3e5863981de89a1"
        "710877f033acf3b4658e69f4856bba2a1d408a1112131415161718191a1b1c8f4209ec7ef602c5a796f878daab513dcb"
        "9d7635d7bd7fc6fe6d39f36c";
    uint8_t sealed[ROOM], index[TILL_SHA256_LEN];
    char index_hex[65];
    till_vault_t *vault = vault_of("2026a:" KEY_A);
    till_vault_place_t place = place_of("customers", "cus_1", "phone");
    size_t len = (sizeof(hex) - 1) / 2;

    ck_assert(till_hex_decode(sealed, hex, sizeof(hex) - 1));
    ck_assert_int_eq(open_at(vault, &place, (till_slice_t){sealed, len}, "+592 600 1234"), TILL_VAULT_OPENED);
    till_vault_index(vault, 0, TEXT("customers.phone"), TEXT("+592 600 1234"), index);
    till_hex(index_hex, index, sizeof(index));
    ck_assert_str_eq(index_hex, "cfbd99e05a619d438bedb392f5ffdfbd3478ae576b9b165dc95a8f5a9f0627ba");
    till_vault_destroy(vault);
}
END_TEST

START_TEST(what_was_sealed_opens_where_it_belongs_alone)
{
    /* the last two say the same when their parts run into each other */
    const till_vault_place_t here = place_of("customers", "12", "phone"),
                             others[] = {place_of("customer", "12", "phone"),  place_of("customers", "13", "phone"),
                                         place_of("customers", "12", "email"), place_of("customers", "", "phone"),
                                         place_of("customers1", "2", "phone"), place_of("customers", "12phone", "")};
    till_vault_t *vault = vault_of("a:" KEY_A);
    uint8_t sealed[ROOM];
    till_slice_t bytes = {sealed, till_vault_seal(vault, &here, TEXT("secret"), sealed)};

    ck_assert_uint_le(bytes.len, 6 + TILL_VAULT_OVERHEAD);
    ck_assert_int_eq(open_at(vault, &here, bytes, "secret"), TILL_VAULT_OPENED);
    for (size_t i = 0; i != sizeof(others) / sizeof(others[0]); ++i)
        ck_assert_int_eq(open_at(vault, &others[i], bytes, ""), TILL_VAULT_TAMPERED);
    ck_assert_ptr_null(memmem(sealed, bytes.len, "secret", 6));
    till_vault_destroy(vault);
}
END_TEST

START_TEST(every_bit_that_is_changed_is_seen)
{
    till_vault_t *vault = vault_of("abc:" KEY_A " abb:" KEY_A);
    const till_vault_place_t place = place_of("t", "r", "c");
    uint8_t sealed[ROOM];
    till_slice_t bytes = {sealed, till_vault_seal(vault, &place, TEXT("secret"), sealed)};

    for (size_t bit = 0; bit != 8 * bytes.len; ++bit) {
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        ck_assert_int_ne(open_at(vault, &place, bytes, ""), TILL_VAULT_OPENED);
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t len = 0; len != bytes.len; ++len) {
        uint8_t *cut = malloc(len + 1);
        memcpy(cut, sealed, len);
        ck_assert_int_ne(open_at(vault, &place, (till_slice_t){cut, len}, ""), TILL_VAULT_OPENED);
        free(cut);
    }
    sealed[bytes.len] = 0; /* one more behind it */
    ck_assert_int_eq(open_at(vault, &place, (till_slice_t){sealed, bytes.len + 1}, ""), TILL_VAULT_TAMPERED);
    /* the same key under another id is another key */
    sealed[4] = 'b';
    ck_assert_int_eq(open_at(vault, &place, bytes, ""), TILL_VAULT_TAMPERED);
    till_vault_destroy(vault);
}
END_TEST

/* The text of one record under the wrapped key of another. */
START_TEST(two_records_cannot_be_put_together)
{
    till_vault_t *vault = vault_of("a:" KEY_A);
    const till_vault_place_t place = place_of("t", "r", "c");
    uint8_t one[ROOM], other[ROOM];
    size_t len = till_vault_seal(vault, &place, TEXT("first"), one), head = 3 + 12 + 32 + 16;

    ck_assert_uint_eq(till_vault_seal(vault, &place, TEXT("other"), other), len);
    ck_assert_mem_ne(one + 3, other + 3, 12);
    ck_assert_mem_ne(one + head, other + head, 12);
    memcpy(one, other, head);
    ck_assert_int_eq(open_at(vault, &place, (till_slice_t){one, len}, ""), TILL_VAULT_TAMPERED);
    till_vault_destroy(vault);
}
END_TEST

START_TEST(texts_of_any_length_come_back)
{
    till_vault_t *vault = vault_of("a:" KEY_A);
    const till_vault_place_t place = place_of("t", "r", "c");
    const size_t lengths[] = {0, 1, 15, 16, 17, 4096, TILL_VAULT_TEXT_MAX};
    uint8_t *text = malloc(TILL_VAULT_TEXT_MAX), *sealed = malloc(TILL_VAULT_TEXT_MAX + TILL_VAULT_OVERHEAD),
            *out = malloc(TILL_VAULT_TEXT_MAX + TILL_VAULT_OVERHEAD);

    till_random(text, TILL_VAULT_TEXT_MAX);
    for (size_t i = 0; i != sizeof(lengths) / sizeof(lengths[0]); ++i) {
        size_t len, sealed_len = till_vault_seal(vault, &place, (till_slice_t){text, lengths[i]}, sealed);
        ck_assert_int_eq(till_vault_open(vault, &place, (till_slice_t){sealed, sealed_len}, out, &len),
                         TILL_VAULT_OPENED);
        ck_assert_uint_eq(len, lengths[i]);
        ck_assert(memcmp(out, text, len) == 0);
    }
    free(text), free(sealed), free(out);
    till_vault_destroy(vault);
}
END_TEST

START_TEST(keys_are_rotated)
{
    till_vault_t *before = vault_of("old:" KEY_A), *during = vault_of("new:" KEY_B "\nold:" KEY_A "\n"),
                 *after = vault_of("new:" KEY_B);
    const till_vault_place_t place = place_of("t", "r", "c"), other = place_of("t", "s", "c");
    uint8_t sealed[ROOM], again[ROOM];
    till_slice_t bytes = {sealed, till_vault_seal(before, &place, TEXT("secret"), sealed)};
    size_t len;

    ck_assert(till_vault_is_current(before, bytes));
    ck_assert(!till_vault_is_current(during, bytes));
    ck_assert(!till_vault_is_current(after, bytes));
    ck_assert_int_eq(open_at(during, &place, bytes, "secret"), TILL_VAULT_OPENED);
    ck_assert_int_eq(open_at(after, &place, bytes, ""), TILL_VAULT_NO_KEY);
    ck_assert_int_eq(till_vault_reseal(after, &place, bytes, again, &len), TILL_VAULT_NO_KEY);
    ck_assert_int_eq(till_vault_reseal(during, &other, bytes, again, &len), TILL_VAULT_TAMPERED);
    ck_assert_int_eq(till_vault_reseal(during, &place, bytes, again, &len), TILL_VAULT_OPENED);
    const till_slice_t resealed = {again, len};
    ck_assert(till_vault_is_current(during, resealed));
    ck_assert_int_eq(open_at(after, &place, resealed, "secret"), TILL_VAULT_OPENED);
    ck_assert_int_eq(open_at(before, &place, resealed, ""), TILL_VAULT_NO_KEY);
    till_vault_destroy(before), till_vault_destroy(during), till_vault_destroy(after);
}
END_TEST

START_TEST(a_ring_with_another_key_of_the_same_id)
{
    till_vault_t *right = vault_of("a:" KEY_A), *wrong = vault_of("a:" KEY_B);
    const till_vault_place_t place = place_of("t", "r", "c");
    uint8_t sealed[ROOM];
    till_slice_t bytes = {sealed, till_vault_seal(right, &place, TEXT("secret"), sealed)};

    ck_assert_int_eq(open_at(wrong, &place, bytes, ""), TILL_VAULT_TAMPERED);
    till_vault_destroy(right), till_vault_destroy(wrong);
}
END_TEST

START_TEST(indexes_tell_equality_within_a_purpose_and_key)
{
    till_vault_t *vault = vault_of("b:" KEY_B ",a:" KEY_A), *alone = vault_of("x:" KEY_A);
    uint8_t seen[6][TILL_SHA256_LEN], again[TILL_SHA256_LEN];
    static const struct {
        size_t key;
        const char *purpose, *text;
    } of[] = {{0, "phone", "1"}, {1, "phone", "1"}, {0, "email", "1"},
              {0, "phone", "2"}, {0, "phone", ""},  {0, "", "1"}};

    ck_assert_uint_eq(till_vault_keys(vault), 2);
    for (size_t i = 0; i != 6; ++i) {
        till_vault_index(vault, of[i].key, TEXT(of[i].purpose), TEXT(of[i].text), seen[i]);
        till_vault_index(vault, of[i].key, TEXT(of[i].purpose), TEXT(of[i].text), again);
        ck_assert_mem_eq(seen[i], again, sizeof(again));
        for (size_t k = 0; k != i; ++k)
            ck_assert_mem_ne(seen[i], seen[k], sizeof(again));
    }
    /* of the key, whatever it is called and wherever it stands */
    till_vault_index(alone, 0, TEXT("phone"), TEXT("1"), again);
    ck_assert_mem_eq(again, seen[1], sizeof(again));
    till_vault_destroy(vault), till_vault_destroy(alone);
}
END_TEST

/* clang-format off */
static const struct {
    const char *why, *ring;
    size_t keys; /* 0: refused */
    const char *sentence;
} rings[] = {
    {"one key",               "a:" KEY_A,                                    1, NULL},
    {"several, commas",       "a:" KEY_A ",b:" KEY_B, 2, NULL},
    {"lines and comments",    "# of 2026\n a:" KEY_A " # until May\r\n\tb:" KEY_B "\n#", 2, NULL},
    {"an id of 16",           "0123456789abcd-_:" KEY_A,                     1, NULL},
    {"nothing",               "",                                            0, "vault.keys: there is no key in it"},
    {"comments alone",        "# a:" KEY_A,                                  0, "vault.keys: there is no key in it"},
    {"no id",                 ":" KEY_A,                                     0, "vault.keys: entry 1 is no id:key with an id of up to 16 of a-z, 0-9, - and _"},
    {"a bare key",            KEY_A,                                         0, "vault.keys: entry 1 is no id:key with an id of up to 16 of a-z, 0-9, - and _"},
    {"an id of 17",           "0123456789abcdefg:" KEY_A,                    0, "vault.keys: entry 1 is no id:key with an id of up to 16 of a-z, 0-9, - and _"},
    {"a key of 31 bytes",     "a:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==", 0, "vault.keys: entry 1 is not the base64 of 32 bytes (openssl rand -base64 32)"},
    {"a key in hex",          "a:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", 0, "vault.keys: entry 1 is not the base64 of 32 bytes (openssl rand -base64 32)"},
    {"an id twice",           "a:" KEY_A ",a:" KEY_B, 0, "vault.keys: entry 2 has an id that another one has"},
};
/* clang-format on */

START_TEST(rings_match_table)
{
    char why[200] = "";
    till_vault_t *vault = till_vault_create(TEXT(rings[_i].ring), why, sizeof(why));

    ck_assert_msg((vault != NULL) == (rings[_i].keys != 0), "%s: %s", rings[_i].why, why);
    if (vault != NULL)
        ck_assert_uint_eq(till_vault_keys(vault), rings[_i].keys);
    else
        ck_assert_str_eq(why, rings[_i].sentence);
    till_vault_destroy(vault);
}
END_TEST

START_TEST(a_ring_has_at_most_sixteen_keys)
{
    char ring[2048] = "", entry[64], why[200];

    for (char id = 'a'; id != 'a' + TILL_VAULT_MOST_KEYS + 1; ++id) {
        snprintf(entry, sizeof(entry), "%c:" KEY_C " ", id);
        strcat(ring, entry);
        till_vault_t *vault = till_vault_create(TEXT(ring), why, sizeof(why));
        ck_assert((vault != NULL) == (id != 'a' + TILL_VAULT_MOST_KEYS));
        till_vault_destroy(vault);
    }
    ck_assert_str_eq(why, "vault.keys: entry 17 is one too many: there may be 16");
}
END_TEST

Suite *vault_suite(void)
{
    Suite *suite = suite_create("trade/vault");
    TCase *tc = tcase_create("vault");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, another_program_seals_the_same_way);
    tcase_add_test(tc, what_was_sealed_opens_where_it_belongs_alone);
    tcase_add_test(tc, every_bit_that_is_changed_is_seen);
    tcase_add_test(tc, two_records_cannot_be_put_together);
    tcase_add_test(tc, texts_of_any_length_come_back);
    tcase_add_test(tc, keys_are_rotated);
    tcase_add_test(tc, a_ring_with_another_key_of_the_same_id);
    tcase_add_test(tc, indexes_tell_equality_within_a_purpose_and_key);
    tcase_add_loop_test(tc, rings_match_table, 0, sizeof(rings) / sizeof(rings[0]));
    tcase_add_test(tc, a_ring_has_at_most_sixteen_keys);
    suite_add_tcase(suite, tc);
    return suite;
}
