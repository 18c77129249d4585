/* test_hash.c - see core/base/hash.h; the vectors are those of the RFCs and of FIPS 180-4. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/hash.h"

static void ck_hex(const void *bytes, size_t len, const char *expected)
{
    char *hex = malloc(2 * len + 1);

    till_hex(hex, bytes, len);
    ck_assert_str_eq(hex, expected);
    free(hex);
}

START_TEST(sha256_knows_the_vectors)
{
    uint8_t out[TILL_SHA256_LEN];

    till_sha256(out, "", 0);
    ck_hex(out, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    till_sha256(out, "abc", 3);
    ck_hex(out, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
END_TEST

/* RFC 4231, cases 1, 2 and 6 (a key longer than a block) */
START_TEST(hmac_knows_the_vectors)
{
    uint8_t out[TILL_SHA256_LEN], key[131];

    memset(key, 0x0b, 20);
    till_hmac_sha256(out, key, 20, "Hi There", 8);
    ck_hex(out, 32, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    till_hmac_sha256(out, "Jefe", 4, "what do ya want for nothing?", 28);
    ck_hex(out, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, 131);
    till_hmac_sha256(out, key, 131, "Test Using Larger Than Block-Size Key - Hash Key First", 54);
    ck_hex(out, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}
END_TEST

START_TEST(parts_cannot_run_into_each_other)
{
    const till_slice_t a[] = {{"ab", 2}, {"c", 1}}, b[] = {{"a", 1}, {"bc", 2}}, c[] = {{"abc", 3}};
    uint8_t of_a[32], again[32], of_b[32], of_c[32];

    till_sha256_parts(of_a, a, 2);
    till_sha256_parts(again, a, 2);
    till_sha256_parts(of_b, b, 2);
    till_sha256_parts(of_c, c, 1);
    ck_assert_mem_eq(of_a, again, 32);
    ck_assert_mem_ne(of_a, of_b, 32);
    ck_assert_mem_ne(of_a, of_c, 32);
    ck_assert_mem_ne(of_b, of_c, 32);
    /* one part: eight bytes of length, then the text */
    till_sha256(again, "\0\0\0\0\0\0\0\3abc", 11);
    ck_assert_mem_eq(of_c, again, 32);
}
END_TEST

/* clang-format off */
static const struct {
    const char *why, *bytes;
    size_t len;
    const char *text;
} spellings[] = {
    {"nothing",             "",       0, ""},
    {"one byte",            "f",      1, "Zg"},
    {"two bytes",           "fo",     2, "Zm8"},
    {"three bytes",         "foo",    3, "Zm9v"},
    {"six bytes",           "foobar", 6, "Zm9vYmFy"},
    {"the two of base64url","\xfb\xff\xfe", 3, "-__-"},
    {"a NUL",               "\0\0",   2, "AAA"},
};

static const struct {
    const char *why, *text;
} refused[] = {
    {"one character left over",        "Zm9vY"},
    {"padding",                        "Zg=="},
    {"plain base64",                   "+/+/"},
    {"a blank",                        "Zm 9"},
    {"bits left over are not zero",    "Zh"},
    {"the same, with two left over",   "Zm9"},
};
/* clang-format on */

START_TEST(base64url_matches_table)
{
    typeof(&spellings[0]) t = &spellings[_i];
    char text[16], bytes[16];

    ck_assert_uint_eq(till_base64url(text, t->bytes, t->len), strlen(t->text));
    ck_assert_msg(strcmp(text, t->text) == 0, "%s: %s", t->why, text);
    ck_assert_int_eq(till_base64url_decode(bytes, t->text, strlen(t->text)), (long)t->len);
    ck_assert_mem_eq(bytes, t->bytes, t->len);
}
END_TEST

START_TEST(what_is_not_base64url_is_refused)
{
    char bytes[16];

    ck_assert_msg(till_base64url_decode(bytes, refused[_i].text, strlen(refused[_i].text)) == -1, "%s",
                  refused[_i].why);
}
END_TEST

START_TEST(equality_needs_length_and_bytes)
{
    ck_assert(till_equal_ct("abc", 3, "abc", 3));
    ck_assert(till_equal_ct("", 0, NULL, 0));
    ck_assert(!till_equal_ct("abc", 3, "abd", 3));
    ck_assert(!till_equal_ct("abc", 3, "ab", 2));
}
END_TEST

START_TEST(random_bytes_are_not_the_same_twice)
{
    uint8_t a[32] = {0}, b[32] = {0};

    till_random(a, sizeof(a));
    till_random(b, sizeof(b));
    ck_assert_mem_ne(a, b, 32);
    till_random(a, 0);
}
END_TEST

/* Small pieces come out of a store, which a fork copies. */
START_TEST(a_child_is_not_given_what_its_parent_is)
{
    uint8_t ours[16], theirs[16];
    int ends[2];

    till_random(ours, sizeof(ours));
    ck_assert_int_eq(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        till_random(theirs, sizeof(theirs));
        _exit(write(ends[1], theirs, sizeof(theirs)) != sizeof(theirs));
    }
    till_random(ours, sizeof(ours));
    ck_assert_int_eq(read(ends[0], theirs, sizeof(theirs)), sizeof(theirs));
    waitpid(pid, NULL, 0);
    close(ends[0]);
    close(ends[1]);
    ck_assert_mem_ne(ours, theirs, sizeof(ours));
}
END_TEST

START_TEST(small_pieces_are_never_the_same)
{
    static uint64_t seen[400];

    for (size_t i = 0; i != 400; ++i) {
        till_random(&seen[i], sizeof(seen[i]));
        for (size_t j = 0; j != i; ++j)
            ck_assert_uint_ne(seen[i], seen[j]);
    }
}
END_TEST

/* Made with Python's hashlib.scrypt(n=16384, r=8, p=1). */
START_TEST(scrypt_knows_a_vector)
{
    uint8_t out[32];

    till_scrypt(out, "pleaseletmein", 13, (const uint8_t *)"SodiumChlorideXX");
    ck_hex(out, 32, "aa83b9b8f9a7d5994c12fff92d5600cb6de0882ada07ec33e92f276938eb4665");
}
END_TEST

START_TEST(hex_reads_both_cases_and_nothing_else)
{
    static const char *const wrong[] = {"0", "0g", "g0", " 0", "0x", "/0", ":0", "@0", "`0"};
    uint8_t out[4];

    ck_assert(till_hex_decode(out, "00fFa9", 6));
    ck_assert_mem_eq(out, "\x00\xff\xa9", 3);
    ck_assert(till_hex_decode(out, "", 0));
    for (size_t i = 0; i != sizeof(wrong) / sizeof(wrong[0]); ++i)
        ck_assert(!till_hex_decode(out, wrong[i], strlen(wrong[i])));
}
END_TEST

/* RFC 4648, section 10 */
START_TEST(base64_reads_one_spelling)
{
    static const char *const texts[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"},
                             *const wrong[] = {"Zg",   "Zg=",  "Zh==", "Zm9=",     "Zm-v", "Zm_v",
                                               "====", "Z===", "=",    "Zg==Zg==", "Zm 9"};
    uint8_t out[16];

    for (size_t i = 0; i != 7; ++i) {
        ck_assert_int_eq(till_base64_decode(out, texts[i], strlen(texts[i])), (long)i);
        ck_assert_mem_eq(out, "foobar", i);
    }
    ck_assert_int_eq(till_base64_decode(out, "+/+/", 4), 3);
    ck_assert_mem_eq(out, "\xfb\xff\xbf", 3);
    for (size_t i = 0; i != sizeof(wrong) / sizeof(wrong[0]); ++i)
        ck_assert_msg(till_base64_decode(out, wrong[i], strlen(wrong[i])) == -1, "%s", wrong[i]);
}
END_TEST

Suite *hash_suite(void)
{
    Suite *suite = suite_create("base/hash");
    TCase *tc = tcase_create("hash");

    tcase_add_test(tc, sha256_knows_the_vectors);
    tcase_add_test(tc, hmac_knows_the_vectors);
    tcase_add_test(tc, parts_cannot_run_into_each_other);
    tcase_add_loop_test(tc, base64url_matches_table, 0, sizeof(spellings) / sizeof(spellings[0]));
    tcase_add_loop_test(tc, what_is_not_base64url_is_refused, 0, sizeof(refused) / sizeof(refused[0]));
    tcase_add_test(tc, equality_needs_length_and_bytes);
    tcase_add_test(tc, random_bytes_are_not_the_same_twice);
    tcase_add_test(tc, a_child_is_not_given_what_its_parent_is);
    tcase_add_test(tc, small_pieces_are_never_the_same);
    tcase_add_test(tc, scrypt_knows_a_vector);
    tcase_add_test(tc, hex_reads_both_cases_and_nothing_else);
    tcase_add_test(tc, base64_reads_one_spelling);
    suite_add_tcase(suite, tc);
    return suite;
}
