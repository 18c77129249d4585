/* test_redis.c - see core/io/redis.h; against a Redis of its own. */
#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "io/redis.h"
#include "support/child.h"

#define TEXT(text) ((till_slice_t){text, strlen(text)})

static test_redis_t server;
static till_loop_t *loop;
static till_redis_t *redis;

/* What a command was answered. */
struct answer {
    int calls;
    till_status_t status;
    till_reply_type_t type;
    int64_t integer;
    char text[128];
    size_t count;
    int order; /* the how manieth of all answers */
};

static int answered;

static void on_answer(void *data, till_status_t status, const till_reply_t *reply)
{
    struct answer *answer = data;

    ++answer->calls;
    answer->status = status;
    answer->order = ++answered;
    ck_assert_int_eq(reply != NULL, status == TILL_OK || status == TILL_REJECTED);
    if (reply == NULL)
        return;
    answer->type = reply->type;
    answer->integer = reply->integer;
    answer->count = reply->count;
    if (reply->text != NULL)
        snprintf(answer->text, sizeof(answer->text), "%.*s", (int)reply->len, reply->text);
}

/* The words of `line`, parted by single blanks. */
static till_op_t *send_line(const char *line, uint64_t timeout_ms, struct answer *answer)
{
    till_slice_t argv[16];
    size_t argc = 0;

    for (const char *p = line; *p != '\0'; p += strspn(p, " ")) {
        argv[argc] = (till_slice_t){p, strcspn(p, " ")};
        p += argv[argc++].len;
    }
    return till_redis_command(redis, argc, argv, timeout_ms, on_answer, answer);
}

static struct answer ask(const char *line)
{
    struct answer answer = {0};

    send_line(line, 5000, &answer);
    ck_assert_int_eq(answer.calls, 0);
    TEST_UNTIL(loop, answer.calls != 0);
    return answer;
}

static void connect_to(const char *password)
{
    const till_redis_opts_t opts = {.socket = server.socket, .password = password};

    signal(SIGPIPE, SIG_IGN);
    answered = 0;
    loop = till_loop_create();
    redis = till_redis_create(loop, &opts);
}

static void set_up(void)
{
    test_redis_start(&server, NULL);
    connect_to(NULL);
}

static void tear_down(void)
{
    till_redis_destroy(redis);
    till_loop_turn(loop, 0);
    till_loop_turn(loop, 0);
    till_loop_destroy(loop);
    test_redis_stop(&server);
}

/* clang-format off */
static const struct {
    const char *why, *line;
    till_status_t status;
    till_reply_type_t type;
    int64_t integer;
    const char *text;
    size_t count;
} commands[] = {
    {"a simple string is text",    "SET a one",      TILL_OK,       TILL_REPLY_TEXT,  0, "OK",  0},
    {"a bulk string is text",      "GET a",          TILL_OK,       TILL_REPLY_TEXT,  0, "one", 0},
    {"what is not there is nil",   "GET nothing",    TILL_OK,       TILL_REPLY_NIL,   0, "",    0},
    {"a number is a number",       "INCRBY n 41",    TILL_OK,       TILL_REPLY_INT,  41, "",    0},
    {"a list is an array",         "MGET a n b",     TILL_OK,       TILL_REPLY_ARRAY, 0, "",    3},
    {"a wrong type is refused",    "LPUSH a x",      TILL_REJECTED, TILL_REPLY_ERROR, 0,
        "WRONGTYPE Operation against a key holding the wrong kind of value", 0},
    {"an unknown word is refused", "NOSUCH",         TILL_REJECTED, TILL_REPLY_ERROR, 0,
        "ERR unknown command 'NOSUCH', with args beginning with: ", 0},
};
/* clang-format on */

START_TEST(answers_match_table)
{
    for (size_t i = 0; i != sizeof(commands) / sizeof(commands[0]); ++i) {
        struct answer answer = ask(commands[i].line);

        ck_assert_msg(answer.status == commands[i].status, "%s: status %d", commands[i].why, answer.status);
        ck_assert_msg(answer.type == commands[i].type, "%s: type %d", commands[i].why, answer.type);
        ck_assert_msg(answer.integer == commands[i].integer, "%s: %ld", commands[i].why, (long)answer.integer);
        ck_assert_msg(strcmp(answer.text, commands[i].text) == 0, "%s: %s", commands[i].why, answer.text);
        ck_assert_msg(answer.count == commands[i].count, "%s: %zu items", commands[i].why, answer.count);
    }
}
END_TEST

static char nested[256];

static void on_nested(void *data, till_status_t status, const till_reply_t *reply)
{
    const till_reply_t *inner = &reply->items[1];

    ck_assert_int_eq(status, TILL_OK);
    ck_assert_uint_eq(reply->count, 3);
    ck_assert_int_eq(reply->items[0].integer, 1);
    ck_assert_uint_eq(inner->count, 2);
    snprintf(nested, sizeof(nested), "%.*s%.*s%.*s", (int)inner->items[0].len, inner->items[0].text,
             (int)inner->items[1].items[0].len, inner->items[1].items[0].text, (int)reply->items[2].len,
             reply->items[2].text);
    *(bool *)data = true;
}

START_TEST(arrays_in_arrays_keep_their_shape)
{
    const till_slice_t argv[] = {TEXT("EVAL"), TEXT("return {1, {'a', {'b'}}, 'c'}"), TEXT("0")};
    bool done = false;

    till_redis_command(redis, 3, argv, 5000, on_nested, &done);
    TEST_UNTIL(loop, done);
    ck_assert_str_eq(nested, "abc");
}
END_TEST

START_TEST(bytes_pass_unchanged)
{
    static char big[300000];
    struct answer set = {0};

    memset(big, '\0', sizeof(big));
    const till_slice_t argv[] = {TEXT("SET"), {"k\0y", 3}, {big, sizeof(big)}};
    till_redis_command(redis, 3, argv, 5000, on_answer, &set);
    TEST_UNTIL(loop, set.calls == 1);
    const till_slice_t get[] = {TEXT("STRLEN"), {"k\0y", 3}};
    till_redis_command(redis, 2, get, 5000, on_answer, &set);
    TEST_UNTIL(loop, set.calls == 2);
    ck_assert_int_eq(set.integer, sizeof(big));
}
END_TEST

START_TEST(a_thousand_of_one_turn_are_answered_in_order)
{
    static struct answer answers[1000];

    for (int i = 0; i != 1000; ++i)
        send_line("INCR n", 5000, &answers[i]);
    TEST_UNTIL(loop, answered == 1000);
    for (int i = 0; i != 1000; ++i) {
        ck_assert_int_eq(answers[i].integer, i + 1);
        ck_assert_int_eq(answers[i].order, i + 1);
    }
}
END_TEST

/* More than the socket's buffer takes at once: the rest waits for it to be writable. */
START_TEST(output_larger_than_the_socket_takes)
{
    static char big[64 * 1024];
    static struct answer answers[200];

    memset(big, 'x', sizeof(big));
    const till_slice_t argv[] = {TEXT("SET"), TEXT("k"), {big, sizeof(big)}};
    for (int i = 0; i != 200; ++i)
        till_redis_command(redis, 3, argv, 10000, on_answer, &answers[i]);
    TEST_UNTIL(loop, answered == 200);
    for (int i = 0; i != 200; ++i)
        ck_assert_int_eq(answers[i].status, TILL_OK);
}
END_TEST

START_TEST(a_timeout_drops_its_answer_and_no_other)
{
    struct answer late = {0}, slow = {0}, next = {0};

    ask("SET a mine");
    send_line("DEBUG SLEEP 0.3", 5000, &slow);
    send_line("ECHO not-yours", 50, &late);
    send_line("GET a", 5000, &next);
    TEST_UNTIL(loop, late.calls == 1);
    ck_assert_int_eq(late.status, TILL_TIMEOUT);
    ck_assert_int_eq(next.calls, 0);
    TEST_UNTIL(loop, next.calls == 1);
    ck_assert_str_eq(next.text, "mine");
    ck_assert_int_eq(late.calls, 1);
    ck_assert(till_redis_is_up(redis));
}
END_TEST

START_TEST(a_cancelled_one_is_told_once_and_later)
{
    struct answer answer = {0}, next = {0};
    till_op_t *op = send_line("ECHO gone", 5000, &answer);

    till_op_cancel(op);
    ck_assert_int_eq(answer.calls, 0);
    send_line("ECHO here", 5000, &next);
    TEST_UNTIL(loop, next.calls == 1);
    ck_assert_int_eq(answer.calls, 1);
    ck_assert_int_eq(answer.status, TILL_CANCELLED);
    ck_assert_str_eq(next.text, "here");
}
END_TEST

static uint64_t refused(void)
{
    till_redis_stats_t stats;

    till_redis_get_stats(redis, &stats);
    return stats.refused;
}

static void connect_with(unsigned max_unanswered, uint64_t max_silence_ms)
{
    till_redis_destroy(redis);
    till_loop_turn(loop, 0);
    redis = till_redis_create(loop, &(till_redis_opts_t){.socket = server.socket,
                                                         .max_unanswered = max_unanswered,
                                                         .max_silence_ms = max_silence_ms});
    ck_assert_int_eq(ask("PING").status, TILL_OK);
}

START_TEST(more_than_may_be_unanswered_are_refused)
{
    struct answer answers[4] = {0};

    connect_with(3, 0);
    for (int i = 0; i != 4; ++i)
        send_line("PING", 5000, &answers[i]);
    ck_assert_int_eq(answers[3].calls, 0);
    TEST_UNTIL(loop, answers[0].calls + answers[1].calls + answers[2].calls + answers[3].calls == 4);
    for (int i = 0; i != 3; ++i)
        ck_assert_int_eq(answers[i].status, TILL_OK);
    ck_assert_int_eq(answers[3].status, TILL_OVERLOADED);
    ck_assert_uint_eq(refused(), 1);
    ck_assert_int_eq(ask("PING").status, TILL_OK);
}
END_TEST

/* A command that waits in Redis keeps all behind it waiting, as a Redis that stands still does. */
START_TEST(a_silent_redis_is_not_asked_more)
{
    struct answer slow = {0}, others = {0};

    connect_with(0, 50);
    send_line("BLPOP nothing 1", 5000, &slow);
    TEST_UNTIL(loop, refused() != 0 || send_line("PING", 5000, &others) == NULL);
    ck_assert_int_eq(slow.calls, 0);
    TEST_UNTIL(loop, slow.calls != 0);
    ck_assert_int_eq(slow.status, TILL_OK);
    ck_assert_int_eq(ask("PING").status, TILL_OK);
}
END_TEST

START_TEST(away_fails_at_once_and_recovers)
{
    struct answer flying = {0};

    ck_assert_int_eq(ask("PING").status, TILL_OK);
    send_line("DEBUG SLEEP 30", 25000, &flying);
    till_loop_turn(loop, 0);
    test_redis_kill(&server);
    TEST_UNTIL(loop, flying.calls == 1);
    ck_assert_int_eq(flying.status, TILL_CONN_LOST);
    ck_assert(!till_redis_is_up(redis));
    for (int i = 0; i != 20; ++i)
        ck_assert_int_eq(ask("PING").status, TILL_CONN_LOST);
    test_redis_restart(&server);
    TEST_UNTIL(loop, till_redis_is_up(redis));
    ck_assert_int_eq(ask("PING").status, TILL_OK);
}
END_TEST

START_TEST(destroy_tells_those_in_flight)
{
    struct answer answers[3] = {0};

    ask("PING");
    for (int i = 0; i != 3; ++i)
        send_line("PING", 5000, &answers[i]);
    till_redis_destroy(redis);
    TEST_UNTIL(loop, answered == 4);
    for (int i = 0; i != 3; ++i)
        ck_assert_int_eq(answers[i].status, TILL_CANCELLED);
    redis = till_redis_create(loop, &(till_redis_opts_t){.socket = server.socket});
}
END_TEST

static void on_step(void *data, till_status_t status, const till_reply_t *reply)
{
    int *left = data;
    const till_slice_t argv[] = {TEXT("INCR"), TEXT("n")};

    ck_assert_int_eq(status, TILL_OK);
    ck_assert_int_eq(reply->integer, 101 - *left);
    if (--*left != 0)
        till_redis_command(redis, 2, argv, 5000, on_step, data);
}

START_TEST(a_callback_may_ask_again)
{
    const till_slice_t argv[] = {TEXT("INCR"), TEXT("n")};
    int left = 100;

    till_redis_command(redis, 2, argv, 5000, on_step, &left);
    TEST_UNTIL(loop, left == 0);
}
END_TEST

struct listener {
    int made, messages;
    char last[64];
    till_subscription_t *drop; /* on the first message */
};

static void on_message(void *data, const char *text, size_t len)
{
    struct listener *listener = data;

    if (text == NULL) {
        ++listener->made;
        return;
    }
    ++listener->messages;
    snprintf(listener->last, sizeof(listener->last), "%.*s", (int)len, text);
    if (listener->drop != NULL)
        till_redis_unsubscribe(listener->drop);
    listener->drop = NULL;
}

START_TEST(messages_reach_every_subscription_of_the_channel)
{
    struct listener a = {0}, b = {0}, other = {0};

    till_redis_subscribe(redis, TEXT("news"), on_message, &a);
    till_redis_subscribe(redis, TEXT("other"), on_message, &other);
    till_subscription_t *second = till_redis_subscribe(redis, TEXT("news"), on_message, &b);
    ck_assert_int_eq(a.made, 0);
    TEST_UNTIL(loop, a.made == 1 && b.made == 1 && other.made == 1);
    ask("PUBLISH news hello");
    TEST_UNTIL(loop, a.messages == 1 && b.messages == 1);
    ck_assert_str_eq(a.last, "hello");
    till_redis_unsubscribe(second);
    ask("PUBLISH news again");
    TEST_UNTIL(loop, a.messages == 2);
    ck_assert_int_eq(b.messages, 1);
    ck_assert_int_eq(other.messages, 0);
}
END_TEST

START_TEST(unsubscribed_inside_a_message)
{
    struct listener a = {0}, b = {0};

    till_subscription_t *one = till_redis_subscribe(redis, TEXT("news"), on_message, &a);
    b.drop = one; /* the later one is in front: it drops the other while that is still to be told */
    till_redis_subscribe(redis, TEXT("news"), on_message, &b);
    TEST_UNTIL(loop, a.made == 1 && b.made == 1);
    ask("PUBLISH news hello");
    TEST_UNTIL(loop, b.messages == 1);
    ck_assert_int_eq(a.messages, 0);
    ask("PUBLISH news again");
    TEST_UNTIL(loop, b.messages == 2);
}
END_TEST

/* Redis hears SUBSCRIBE, UNSUBSCRIBE, SUBSCRIBE; only the last is told. */
START_TEST(subscribed_again_at_once)
{
    struct listener a = {0}, b = {0};

    till_subscription_t *one = till_redis_subscribe(redis, TEXT("news"), on_message, &a);
    till_redis_unsubscribe(one);
    till_redis_subscribe(redis, TEXT("news"), on_message, &b);
    TEST_UNTIL(loop, b.made == 1);
    ask("PUBLISH news hello");
    TEST_UNTIL(loop, b.messages == 1);
    ck_assert_int_eq(a.made + a.messages, 0);
    ck_assert_int_eq(b.made, 1);
}
END_TEST

START_TEST(subscriptions_are_made_again_and_say_so)
{
    struct listener a = {0}, meanwhile = {0};

    till_redis_subscribe(redis, TEXT("news"), on_message, &a);
    TEST_UNTIL(loop, a.made == 1);
    test_redis_kill(&server);
    TEST_UNTIL(loop, !till_redis_is_up(redis));
    till_redis_subscribe(redis, TEXT("late"), on_message, &meanwhile);
    test_redis_restart(&server);
    TEST_UNTIL(loop, a.made == 2 && meanwhile.made == 1 && till_redis_is_up(redis));
    ask("PUBLISH news back");
    TEST_UNTIL(loop, a.messages == 1);
    ask("PUBLISH late too");
    TEST_UNTIL(loop, meanwhile.messages == 1);
}
END_TEST

START_TEST(a_password_is_given_on_both_connections)
{
    struct listener a = {0};

    test_redis_start(&server, "s3cret word");
    connect_to("s3cret word");
    till_redis_subscribe(redis, TEXT("news"), on_message, &a);
    TEST_UNTIL(loop, a.made == 1);
    ask("PUBLISH news x");
    TEST_UNTIL(loop, a.messages == 1);
    tear_down();
}
END_TEST

START_TEST(a_wrong_password_is_away)
{
    test_redis_start(&server, "right");
    connect_to("wrong");
    ck_assert_int_eq(ask("PING").status, TILL_CONN_LOST);
    ck_assert(!till_redis_is_up(redis));
    tear_down();
}
END_TEST

START_TEST(nobody_there_from_the_start)
{
    snprintf(server.socket, sizeof(server.socket), "/nonexistent/redis.sock");
    connect_to(NULL);
    ck_assert_int_eq(ask("PING").status, TILL_CONN_LOST);
    till_redis_destroy(redis);
    till_loop_destroy(loop);
}
END_TEST

Suite *redis_suite(void)
{
    Suite *suite = suite_create("io/redis");
    TCase *served = tcase_create("served"), *alone = tcase_create("alone");

    tcase_set_timeout(served, 60);
    tcase_set_timeout(alone, 60);
    tcase_add_checked_fixture(served, set_up, tear_down);
    tcase_add_test(served, answers_match_table);
    tcase_add_test(served, arrays_in_arrays_keep_their_shape);
    tcase_add_test(served, bytes_pass_unchanged);
    tcase_add_test(served, a_thousand_of_one_turn_are_answered_in_order);
    tcase_add_test(served, output_larger_than_the_socket_takes);
    tcase_add_test(served, a_timeout_drops_its_answer_and_no_other);
    tcase_add_test(served, a_cancelled_one_is_told_once_and_later);
    tcase_add_test(served, more_than_may_be_unanswered_are_refused);
    tcase_add_test(served, a_silent_redis_is_not_asked_more);
    tcase_add_test(served, away_fails_at_once_and_recovers);
    tcase_add_test(served, destroy_tells_those_in_flight);
    tcase_add_test(served, a_callback_may_ask_again);
    tcase_add_test(served, messages_reach_every_subscription_of_the_channel);
    tcase_add_test(served, unsubscribed_inside_a_message);
    tcase_add_test(served, subscribed_again_at_once);
    tcase_add_test(served, subscriptions_are_made_again_and_say_so);
    suite_add_tcase(suite, served);
    tcase_add_test(alone, a_password_is_given_on_both_connections);
    tcase_add_test(alone, a_wrong_password_is_away);
    tcase_add_test(alone, nobody_there_from_the_start);
    suite_add_tcase(suite, alone);
    return suite;
}
