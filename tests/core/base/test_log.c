/* test_log.c - see core/base/log.h; every line is read back by our JSON reader. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/conf_priv.h"
#include "base/json.h"
#include "base/log.h"

static char path[] = "/tmp/till-log-XXXXXX";

static void open_log(void)
{
    close(mkstemp(path));
    ck_assert_int_eq(till_log_open(path), 0);
    till_log_set_process("web-0");
}

static char *read_log(void)
{
    char why[128];
    size_t len;
    char *text = till_conf_read_file(path, 0, &len, why, sizeof(why));

    ck_assert_msg(text != NULL, "%s", why);
    unlink(path);
    return text;
}

static bool is_json_object(const char *text, size_t len)
{
    till_json_reader_t reader;
    till_json_token_t token;

    till_json_reader_init(&reader, text, len);
    bool object = till_json_next(&reader) == TILL_JSON_OBJECT_BEGIN;
    do
        token = till_json_next(&reader);
    while (token != TILL_JSON_END && token != TILL_JSON_ERROR);
    till_json_reader_dispose(&reader);
    return object && token == TILL_JSON_END;
}

/* One line with one field, written by `write`; checks that it holds `expected`. */
static void ck_line(const char *text, const char *expected)
{
    ck_assert_msg(strstr(text, expected) != NULL, "%s is not in %s", expected, text);
    ck_assert_uint_eq(strcspn(text, "\n") + 1, strlen(text));
    ck_assert(is_json_object(text, strlen(text)));
}

/* clang-format off */
static const struct {
    const char *why;
    void (*write)(till_log_t *, const char *, const char *, size_t);
    const char *bytes;
    size_t len;
    const char *expected;
} fields[] = {
#define FIELD(why, write, bytes, expected) {why, write, bytes, sizeof(bytes) - 1, expected}
    FIELD("plain",                    till_log_strn,  "abc",               "\"k\":\"abc\""),
    FIELD("quotes",                   till_log_strn,  "a\"b\\c",           "\"k\":\"a\\\"b\\\\c\""),
    FIELD("a line end cannot forge",  till_log_strn,  "a\n{\"x\":1}",      "\"k\":\"a\\u000a{\\\"x\\\":1}\""),
    FIELD("a NUL",                    till_log_strn,  "a\0b",              "\"k\":\"a\\\\x00b\""),
    FIELD("not UTF-8",                till_log_strn,  "a\xff\x62",         "\"k\":\"a\\\\xffb\""),
    FIELD("UTF-8",                    till_log_strn,  "\xC3\xA9",          "\"k\":\"\xC3\xA9\""),
    FIELD("an address",               till_log_email, "anna@example.com",  "\"k\":\"a***@example.com\""),
    FIELD("an address of two bytes",  till_log_email, "\xC3\xA9va@x.org",  "\"k\":\"\xC3\xA9***@x.org\""),
    FIELD("two ats",                  till_log_email, "anna@home@x.org",   "\"k\":\"a***@x.org\""),
    FIELD("no at",                    till_log_email, "anna",              "\"k\":\"***\""),
    FIELD("nothing before the at",    till_log_email, "@x.org",            "\"k\":\"***@x.org\""),
    FIELD("no address",               till_log_email, "",                  "\"k\":\"***\""),
    FIELD("a name",                   till_log_name,  "Anna Bell",         "\"k\":\"A***\""),
    FIELD("no name",                  till_log_name,  "",                  "\"k\":\"***\""),
    FIELD("a number",                 till_log_phone, "+44 20 7946 0042",  "\"k\":\"***42\""),
    FIELD("a card",                   till_log_strn,  "no. 4111111111111111!", "\"k\":\"no. ***1111!\""),
    FIELD("a card by fours",          till_log_strn,  "4111 1111-1111 1111", "\"k\":\"***1111\""),
    FIELD("two cards",                till_log_strn,  "4111111111111111\n5555555555554444", "\"k\":\"***1111\\u000a***4444\""),
    FIELD("a card behind an at",      till_log_email, "a@4111111111111111", "\"k\":\"a***@***1111\""),
    FIELD("nearly a card",            till_log_strn,  "4111111111111112",  "\"k\":\"4111111111111112\""),
    FIELD("a short number",           till_log_phone, "110",               "\"k\":\"***\""),
};
/* clang-format on */

START_TEST(fields_match_table)
{
    typeof(&fields[0]) t = &fields[_i];
    till_log_t line;

    open_log();
    till_log_begin(&line, TILL_LOG_WARN, "test.event");
    t->write(&line, "k", t->bytes, t->len);
    till_log_end(&line);
    char *text = read_log();
    ck_assert_msg(strstr(text, t->expected) != NULL, "%s: %s", t->why, text);
    ck_line(text, t->expected);
    free(text);
}
END_TEST

START_TEST(a_line_names_time_level_process_and_event)
{
    till_trace_t trace;
    till_log_t line;
    char expected[160];

    open_log();
    till_trace_begin(&trace);
    till_log_begin(&line, TILL_LOG_ERROR, "test.event");
    till_log_int(&line, "n", INT64_MIN);
    till_log_bool(&line, "yes", true);
    till_log_trace(&line, &trace);
    till_log_end(&line);
    char *text = read_log();
    ck_assert_int_eq(strncmp(text, "{\"time\":\"2", 10), 0);
    snprintf(expected, sizeof(expected),
             "Z\",\"level\":\"error\",\"proc\":\"web-0\",\"pid\":%d,\"event\":\"test.event\",", (int)getpid());
    ck_line(text, expected);
    ck_line(text, "\"n\":-9223372036854775808,\"yes\":true,\"trace_id\":\"");
    ck_line(text, trace.span_id);
    free(text);
}
END_TEST

START_TEST(a_number_that_is_a_card_is_masked)
{
    static const struct {
        int64_t number;
        const char *expected;
    } numbers[] = {{4111111111111111, "\"k\":\"***1111\""},
                   {-4111111111111111, "\"k\":\"-***1111\""},
                   {4111111111111112, "\"k\":4111111111111112"},
                   {INT64_MIN, "\"k\":-9223372036854775808"}};

    for (size_t i = 0; i != sizeof(numbers) / sizeof(numbers[0]); ++i) {
        till_log_t line;
        strcpy(path, "/tmp/till-log-XXXXXX");
        open_log();
        till_log_begin(&line, TILL_LOG_INFO, "test.number");
        till_log_int(&line, "k", numbers[i].number);
        till_log_end(&line);
        char *text = read_log();
        ck_line(text, numbers[i].expected);
        free(text);
    }
}
END_TEST

START_TEST(below_the_level_nothing_is_written)
{
    open_log();
    till_log_msg(TILL_LOG_DEBUG, "test.debug", "x");
    till_log_set_level(TILL_LOG_ERROR);
    till_log_msg(TILL_LOG_WARN, "test.warn", "x");
    till_log_set_level(TILL_LOG_DEBUG);
    till_log_msg(TILL_LOG_DEBUG, "test.told", "%d%%", 5);
    char *text = read_log();
    ck_line(text, "\"event\":\"test.told\",\"message\":\"5%\"}\n");
    free(text);
}
END_TEST

/* Whatever the length, what is written is one object, and says when it was cut. */
START_TEST(a_line_that_is_too_long_is_cut_and_says_so)
{
    size_t len = 7700 + 4 * (size_t)_i;
    char *filler = malloc(len + 1);
    till_log_t line;

    memset(filler, _i % 3 == 0 ? '"' : 'x', len);
    filler[len] = '\0';
    open_log();
    till_log_begin(&line, TILL_LOG_WARN, "test.long");
    till_log_str(&line, "k", filler);
    till_log_int(&line, "number", 1234567);
    till_log_email(&line, "email", "anna@example.com", 16);
    till_log_str(&line, "last", "still here");
    till_log_end(&line);
    free(filler);
    char *text = read_log();
    ck_assert_uint_le(strlen(text), sizeof(line._text));
    bool cut = strstr(text, "still here") == NULL;
    ck_line(text, cut ? ",\"cut\":true}\n" : "still here");
    free(text);
}
END_TEST

START_TEST(a_file_that_cannot_be_opened_is_told) { ck_assert_int_ne(till_log_open("/nowhere/at/all"), 0); }
END_TEST

START_TEST(reopening_follows_a_rotation)
{
    char moved[64];

    open_log();
    till_log_msg(TILL_LOG_INFO, "test.before", "x");
    snprintf(moved, sizeof(moved), "%s.1", path);
    ck_assert_int_eq(rename(path, moved), 0);
    ck_assert_int_eq(till_log_open(path), 0);
    till_log_msg(TILL_LOG_INFO, "test.after", "x");
    unlink(moved);
    char *text = read_log();
    ck_line(text, "test.after");
    free(text);
}
END_TEST

static size_t size_of_log(void)
{
    struct stat st;

    return stat(path, &st) == 0 ? (size_t)st.st_size : SIZE_MAX;
}

START_TEST(gathered_lines_wait_for_the_flush_or_a_warning)
{
    open_log();
    till_log_gather(true);
    till_log_msg(TILL_LOG_INFO, "test.first", "x");
    ck_assert_uint_eq(size_of_log(), 0);
    till_log_flush();
    size_t first = size_of_log();
    ck_assert_uint_ne(first, 0);
    till_log_msg(TILL_LOG_INFO, "test.second", "x");
    ck_assert_uint_eq(size_of_log(), first);
    till_log_msg(TILL_LOG_WARN, "test.third", "x");
    ck_assert_uint_gt(size_of_log(), 2 * first);
    till_log_msg(TILL_LOG_INFO, "test.fourth", "x");
    till_log_gather(false);
    char *text = read_log(), *at = text;
    for (int i = 0; i != 4; ++i, ++at) {
        static const char *const events[] = {"test.first", "test.second", "test.third", "test.fourth"};
        char *end = strchr(at, '\n');
        ck_assert_ptr_nonnull(memmem(at, (size_t)(end - at), events[i], strlen(events[i])));
        at = end;
    }
    free(text);
}
END_TEST

/* More than there is room for; nothing is lost and no line is torn. */
START_TEST(a_long_turn_writes_in_between)
{
    char event[16];
    unsigned lines = 0;

    open_log();
    till_log_gather(true);
    for (int i = 0; i != 2000; ++i) {
        snprintf(event, sizeof(event), "n%d", i);
        till_log_msg(TILL_LOG_INFO, event, "x");
    }
    ck_assert_uint_ne(size_of_log(), 0);
    till_log_gather(false);
    char *text = read_log();
    for (char *at = text, *end; (end = strchr(at, '\n')) != NULL; at = end + 1, ++lines) {
        snprintf(event, sizeof(event), "\"n%u\"", lines);
        ck_assert_ptr_nonnull(memmem(at, (size_t)(end - at), event, strlen(event)));
        ck_assert(is_json_object(at, (size_t)(end - at)));
    }
    ck_assert_uint_eq(lines, 2000);
    free(text);
}
END_TEST

START_TEST(a_child_logs_its_own_number)
{
    char expected[32];
    int status;

    open_log();
    till_log_msg(TILL_LOG_INFO, "test.parent", "x");
    pid_t pid = fork();
    if (pid == 0) {
        till_log_msg(TILL_LOG_INFO, "test.child", "x");
        _exit(0);
    }
    waitpid(pid, &status, 0);
    snprintf(expected, sizeof(expected), "\"pid\":%d,\"event\":\"test.child\"", (int)pid);
    char *text = read_log();
    ck_assert_ptr_nonnull(strstr(text, expected));
    free(text);
}
END_TEST

Suite *log_suite(void)
{
    Suite *suite = suite_create("base/log");
    TCase *tc = tcase_create("log");

    tcase_add_loop_test(tc, fields_match_table, 0, sizeof(fields) / sizeof(fields[0]));
    tcase_add_test(tc, a_line_names_time_level_process_and_event);
    tcase_add_test(tc, a_number_that_is_a_card_is_masked);
    tcase_add_test(tc, below_the_level_nothing_is_written);
    tcase_add_loop_test(tc, a_line_that_is_too_long_is_cut_and_says_so, 0, 120);
    tcase_add_test(tc, a_file_that_cannot_be_opened_is_told);
    tcase_add_test(tc, reopening_follows_a_rotation);
    tcase_add_test(tc, gathered_lines_wait_for_the_flush_or_a_warning);
    tcase_add_test(tc, a_long_turn_writes_in_between);
    tcase_add_test(tc, a_child_logs_its_own_number);
    suite_add_tcase(suite, tc);
    return suite;
}
