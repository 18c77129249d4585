/* test_box.c - see core/vm/box: the jail from inside, its keeper, the worker's side of it.
 * What rules may try in Lua is in tests/lua/box. */
#include <check.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/mem.h"
#include "support/box.h"
#include "support/child.h"
#include "vm/box/client.h"
#include "vm/box/probe.h"

#define COUNT_OF(list) (int)(sizeof(list) / sizeof((list)[0]))
#define PATIENCE_MS 20000
#define HONEST "return function() return 7 end"
#define CRASH "local _ for _ in (nil):foo() do end"
#define ENDLESS "return function() while true do end end"

/* ---- the jail ------------------------------------------------------------------- */

static const char *const probes[] = {
#define PROBE_NAME(symbol, what, call) what,
    TILL_BOX_PROBES_TABLE(PROBE_NAME)
#undef PROBE_NAME
};

START_TEST(whatever_else_it_asks_of_the_kernel_kills_it)
{
    test_box_t box;
    till_buf_t body;

    ck_assert(test_box_open(&box, "moontill-box-probed"));
    till_buf_init(&body, 0);
    till_buf_putc(&body, 'P');
    till_buf_putc(&body, (char)_i);
    ck_assert(test_box_send(&box, &body));
    ck_assert_msg(test_box_receive(&box, &body, PATIENCE_MS) == -1, "it could %s", probes[_i]);
    int status = test_box_replace(&box);
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "%s: ended with status %x", probes[_i], status);
    ck_assert_int_eq(test_box_run(&box, HONEST, strlen(HONEST), PATIENCE_MS).code, TILL_RULE_VALUE);
    till_buf_dispose(&body);
    test_box_close(&box);
}
END_TEST

static const struct {
    const char *text;
    till_rule_code_t code;
} ends[] = {
    {HONEST, TILL_RULE_VALUE},
    {"return )", TILL_RULE_SYNTAX},
    {"return 1LL", TILL_RULE_SYNTAX},
    {"return 7", TILL_RULE_CONTRACT},
    {"error('x')", TILL_RULE_ERROR},
    {"return function() error({}) end", TILL_RULE_ERROR},
    {"return function() return nil .. 'x' end", TILL_RULE_ERROR},
    {"return function() return { pcall(error, 'x') } end", TILL_RULE_VALUE},
    {"return function() return { ('a,b'):gsub('%w', string.upper) } end", TILL_RULE_VALUE},
    {"return function() return ('%5.2f %s'):format(1 / 3, tostring(1e15)) end", TILL_RULE_VALUE},
    {"return function() local t = {} for i = 1, 5e4 do t[i] = { i } end return #t end", TILL_RULE_VALUE},
    {"return function() return 0.5 end", TILL_RULE_ANSWER},
    {"return function() while true do end end", TILL_RULE_BUDGET},
    {"return function() return ('a'):rep(60):find(('a-'):rep(30) .. 'b') end", TILL_RULE_BUDGET},
    {"return function() local s = ('x'):rep(4e5) while true do s = s:reverse() end end", TILL_RULE_DEADLINE},
    {"return function() local s = 'x' while true do s = s .. s end end", TILL_RULE_MEMORY},
    {"return function() local function f() return 1 + f() end f() end", TILL_RULE_DEPTH},
    {"return function() local function f() return ('x'):gsub('x', f) end f() end", TILL_RULE_DEPTH},
};

/* Sanitizers call the kernel for more, so the list has to be tried without: each way to end, in a box of its own. */
START_TEST(every_end_but_a_crash_is_told_by_the_box_as_it_ships)
{
    test_box_t box;

    ck_assert(test_box_open(&box, "moontill-box-probed"));
    test_verdict_t verdict = test_box_run(&box, ends[_i].text, strlen(ends[_i].text), PATIENCE_MS);
    ck_assert_msg(!verdict.is_lost, "%s: the box died with status %x", ends[_i].text, test_box_replace(&box));
    ck_assert_msg(verdict.code == ends[_i].code, "%s: %s: %s", ends[_i].text, till_rule_code_name(verdict.code),
                  verdict.message);
    test_box_close(&box);
}
END_TEST

START_TEST(what_asks_nothing_comes_back)
{
    test_box_t box;
    till_buf_t body;

    ck_assert(test_box_open(&box, "moontill-box-probed"));
    till_buf_init(&body, 0);
    till_buf_putc(&body, 'P');
    till_buf_putc(&body, (char)TILL_PROBE_COUNT);
    ck_assert(test_box_send(&box, &body));
    ck_assert_int_eq(test_box_receive(&box, &body, PATIENCE_MS), 1);
    till_buf_dispose(&body);
    test_box_close(&box);
}
END_TEST

static void read_status(pid_t pid, const char *key, char *out, size_t size)
{
    char path[64], line[256];

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    out[0] = '\0';
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, key, strlen(key)) == 0)
            snprintf(out, size, "%.*s", (int)strcspn(line + strlen(key), "\n"), line + strlen(key));
    }
    fclose(file);
}

/* The filter is there when it answers. */
START_TEST(is_locked_up_before_it_is_asked)
{
    test_box_t box;
    char value[64];

    ck_assert(test_box_open(&box, "moontill-box"));
    ck_assert_int_eq(test_box_run(&box, HONEST, strlen(HONEST), PATIENCE_MS).code, TILL_RULE_VALUE);
    read_status(box.ends.news.pid, "Seccomp:\t", value, sizeof(value));
    ck_assert_str_eq(value, "2");
    read_status(box.ends.news.pid, "NoNewPrivs:\t", value, sizeof(value));
    ck_assert_str_eq(value, "1");
    read_status(box.ends.news.pid, "Name:\t", value, sizeof(value));
    ck_assert_str_eq(value, "moontill-box");
    test_box_close(&box);
}
END_TEST

START_TEST(ends_with_its_keeper_and_that_with_us)
{
    test_box_t box;

    ck_assert(test_box_open(&box, "moontill-box"));
    pid_t pid = box.ends.news.pid;
    struct pollfd end = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
    ck_assert_int_ne(end.fd, -1);
    test_box_close(&box);
    ck_assert_int_eq(poll(&end, 1, PATIENCE_MS), 1);
    close(end.fd);
}
END_TEST

START_TEST(is_followed_by_another_however_it_ends)
{
    test_box_t box;

    ck_assert(test_box_open(&box, "moontill-box"));
    for (int i = 0; i != 20; ++i) {
        ck_assert(test_box_run(&box, CRASH, strlen(CRASH), PATIENCE_MS).is_lost);
        int status = test_box_replace(&box);
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
        ck_assert_int_eq(test_box_run(&box, HONEST, strlen(HONEST), PATIENCE_MS).code, TILL_RULE_VALUE);
    }
    ck_assert_uint_eq(box.ends.news.begun, 21);
    test_box_close(&box);
}
END_TEST

/* ---- the worker's side ---------------------------------------------------------------- */

static till_loop_t *loop;
static till_rulebox_t *rules;

struct outcome {
    int calls;
    till_status_t status;
    bool is_lost;
    uint32_t culprit;
    till_rule_code_t code; /* of the last rule, or why it was lost */
};

static void setup(void)
{
    loop = till_loop_create();
    rules = till_rulebox_create(loop);
}

static void teardown(void)
{
    till_rulebox_destroy(rules);
    till_loop_turn(loop, 0);
    till_loop_destroy(loop);
}

static void on_reply(void *data, till_status_t status, const till_rulebox_reply_t *reply)
{
    struct outcome *outcome = data;

    ++outcome->calls;
    outcome->status = status;
    if (reply == NULL)
        return;
    outcome->is_lost = reply->is_lost;
    outcome->culprit = reply->culprit;
    outcome->code = reply->code;
    till_wire_t wire = reply->answers;
    if (!reply->is_lost && till_wire_u32(&wire) == 1)
        outcome->code = (till_rule_code_t)till_wire_u8(&wire);
}

static till_op_t *ask(const char *const *texts, size_t n, uint64_t wall_ms, uint64_t timeout_ms,
                      struct outcome *outcome)
{
    till_rulebox_rule_t list[4];

    for (size_t i = 0; i != n; ++i)
        list[i] = (till_rulebox_rule_t){till_rulebox_new_id(), {texts[i], strlen(texts[i])}, {"", 1}};
    const till_rulebox_ask_t question = {.what = 'E',
                                         .rules = list,
                                         .count = n,
                                         .input = {"", 1},
                                         .fuel = UINT64_MAX / 2,
                                         .cpu_us = 3600u * 1000000,
                                         .wall_ms = wall_ms};
    return till_rulebox_exchange(rules, &question, timeout_ms, on_reply, outcome);
}

static struct outcome ask_one(const char *text, uint64_t wall_ms)
{
    struct outcome outcome = {0};

    ask(&text, 1, wall_ms, 0, &outcome);
    ck_assert_int_eq(outcome.calls, 0); /* never inside the call that asked */
    TEST_UNTIL(loop, outcome.calls != 0);
    ck_assert_int_eq(outcome.calls, 1);
    return outcome;
}

static void check_honest(void)
{
    struct outcome outcome = ask_one(HONEST, PATIENCE_MS);

    ck_assert_int_eq(outcome.status, TILL_OK);
    ck_assert(!outcome.is_lost);
    ck_assert_int_eq(outcome.code, TILL_RULE_VALUE);
}

START_TEST(starts_nothing_before_it_is_asked)
{
    ck_assert_int_eq(till_rulebox_state(rules).keeper, 0);
    check_honest();
    ck_assert_int_ne(till_rulebox_state(rules).keeper, 0);
}
END_TEST

START_TEST(tells_which_rule_took_the_box_with_it)
{
    static const char *const texts[] = {HONEST, HONEST " ", CRASH, HONEST "  "};
    struct outcome outcome = {0};

    ask(texts, 4, PATIENCE_MS, 0, &outcome);
    TEST_UNTIL(loop, outcome.calls == 1);
    ck_assert(outcome.is_lost);
    ck_assert_uint_eq(outcome.culprit, 2);
    ck_assert_int_eq(outcome.code, TILL_RULE_CRASH);
    check_honest();
}
END_TEST

START_TEST(replaces_one_that_does_not_answer)
{
    static const char *const texts[] = {HONEST, ENDLESS};
    struct outcome outcome = {0};

    ask(texts, 2, 50, 0, &outcome);
    TEST_UNTIL(loop, outcome.calls == 1);
    ck_assert(outcome.is_lost);
    ck_assert_uint_eq(outcome.culprit, 1);
    ck_assert_int_eq(outcome.code, TILL_RULE_DEADLINE);
    check_honest();
}
END_TEST

START_TEST(loses_no_answer_to_a_kill)
{
    static const char *const honest = HONEST;
    struct outcome outcomes[200] = {{0}};

    check_honest();
    for (int i = 0; i != 200; ++i) {
        ask(&honest, 1, PATIENCE_MS, 0, &outcomes[i]);
        if (i % 40 == 20) {
            TEST_UNTIL(loop, till_rulebox_state(rules).box != 0);
            kill(till_rulebox_state(rules).box, SIGKILL);
        }
        TEST_UNTIL(loop, i < 3 || outcomes[i - 3].calls == 1);
    }
    for (int i = 0; i != 200; ++i) {
        TEST_UNTIL(loop, outcomes[i].calls == 1);
        ck_assert(outcomes[i].status == TILL_OK && !outcomes[i].is_lost && outcomes[i].code == TILL_RULE_VALUE);
    }
}
END_TEST

START_TEST(answers_who_stands_in_line_behind_a_crash)
{
    static const char *const crash = CRASH, *const honest = HONEST;
    struct outcome outcomes[10] = {{0}};

    check_honest();
    for (int i = 0; i != 10; ++i)
        ask(i % 3 == 0 ? &crash : &honest, 1, PATIENCE_MS, 0, &outcomes[i]);
    for (int i = 0; i != 10; ++i) {
        TEST_UNTIL(loop, outcomes[i].calls == 1);
        ck_assert_int_eq(outcomes[i].is_lost, i % 3 == 0);
    }
}
END_TEST

START_TEST(survives_a_kill_of_the_box)
{
    for (int i = 0; i != 5; ++i) {
        check_honest();
        pid_t pid = till_rulebox_state(rules).box;
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        TEST_UNTIL(loop, till_rulebox_state(rules).box != pid);
    }
    check_honest();
    ck_assert_uint_eq(till_rulebox_state(rules).begun, 6);
}
END_TEST

/* Once it is nobody's fault, twice it is. */
START_TEST(begins_anew_after_a_kill_in_the_middle_of_an_exchange)
{
    static const char *const endless = ENDLESS;
    struct outcome outcome = {0};

    check_honest();
    ask(&endless, 1, PATIENCE_MS, 0, &outcome);
    pid_t first = till_rulebox_state(rules).box;
    ck_assert_int_eq(kill(first, SIGKILL), 0);
    TEST_UNTIL(loop, till_rulebox_state(rules).box != 0 && till_rulebox_state(rules).box != first);
    ck_assert_int_eq(outcome.calls, 0);
    ck_assert_int_eq(kill(till_rulebox_state(rules).box, SIGKILL), 0);
    TEST_UNTIL(loop, outcome.calls == 1);
    ck_assert(outcome.is_lost);
    ck_assert_int_eq(outcome.code, TILL_RULE_CRASH);
    check_honest();
}
END_TEST

START_TEST(survives_a_kill_of_the_keeper)
{
    static const char *const endless = ENDLESS;
    struct outcome outcome = {0};

    check_honest();
    pid_t keeper = till_rulebox_state(rules).keeper;
    ask(&endless, 1, PATIENCE_MS, 0, &outcome);
    ck_assert_int_eq(kill(keeper, SIGKILL), 0);
    TEST_UNTIL(loop, outcome.calls == 1);
    ck_assert_int_eq(outcome.status, TILL_UNAVAILABLE);
    TEST_UNTIL(loop, ask_one(HONEST, PATIENCE_MS).status == TILL_OK); /* it waits a second before it tries again */
    ck_assert_int_ne(till_rulebox_state(rules).keeper, keeper);
}
END_TEST

START_TEST(sees_through_nonsense)
{
    const till_rulebox_rule_t rule = {till_rulebox_new_id(), {"", 0}, {"", 1}};
    const till_rulebox_ask_t question = {.what = 'N',
                                         .rules = &rule,
                                         .count = 1,
                                         .input = {"", 1},
                                         .cpu_us = (uint32_t)_i, /* which kind of it */
                                         .wall_ms = PATIENCE_MS};
    struct outcome outcome = {0};

    ck_assert(till_box_use_program("moontill-box-probed"));
    till_rulebox_exchange(rules, &question, 0, on_reply, &outcome);
    TEST_UNTIL(loop, outcome.calls == 1);
    ck_assert(outcome.is_lost);
    ck_assert_int_eq(outcome.code, TILL_RULE_CRASH);
    check_honest();
}
END_TEST

START_TEST(lets_go_of_who_gives_up)
{
    static const char *const endless = ENDLESS, *const honest = HONEST;
    struct outcome running = {0}, waiting = {0}, late = {0}, last = {0};

    till_op_t *first = ask(&endless, 1, 300, 0, &running);
    till_op_t *second = ask(&honest, 1, PATIENCE_MS, 0, &waiting);
    ask(&honest, 1, PATIENCE_MS, 1, &late);
    ask(&honest, 1, PATIENCE_MS, 0, &last);
    TEST_UNTIL(loop, till_rulebox_state(rules).box != 0);
    till_op_cancel(second);
    till_op_cancel(first);
    TEST_UNTIL(loop, last.calls == 1);
    ck_assert_int_eq(running.status, TILL_CANCELLED);
    ck_assert_int_eq(waiting.status, TILL_CANCELLED);
    ck_assert_int_eq(late.status, TILL_TIMEOUT);
    ck_assert_int_eq(last.status, TILL_OK);
    ck_assert_int_eq(running.calls + waiting.calls + late.calls, 3);
}
END_TEST

Suite *box_suite(void)
{
    Suite *suite = suite_create("box");
    TCase *jail = tcase_create("jail"), *client = tcase_create("client");

    tcase_set_timeout(jail, 60);
    tcase_add_loop_test(jail, whatever_else_it_asks_of_the_kernel_kills_it, 0, TILL_PROBE_COUNT);
    tcase_add_loop_test(jail, every_end_but_a_crash_is_told_by_the_box_as_it_ships, 0, COUNT_OF(ends));
    tcase_add_test(jail, what_asks_nothing_comes_back);
    tcase_add_test(jail, is_locked_up_before_it_is_asked);
    tcase_add_test(jail, ends_with_its_keeper_and_that_with_us);
    tcase_add_test(jail, is_followed_by_another_however_it_ends);
    suite_add_tcase(suite, jail);
    tcase_set_timeout(client, 60);
    tcase_add_checked_fixture(client, setup, teardown);
    tcase_add_test(client, starts_nothing_before_it_is_asked);
    tcase_add_test(client, tells_which_rule_took_the_box_with_it);
    tcase_add_test(client, replaces_one_that_does_not_answer);
    tcase_add_test(client, answers_who_stands_in_line_behind_a_crash);
    tcase_add_test(client, loses_no_answer_to_a_kill);
    tcase_add_test(client, survives_a_kill_of_the_box);
    tcase_add_test(client, begins_anew_after_a_kill_in_the_middle_of_an_exchange);
    tcase_add_test(client, survives_a_kill_of_the_keeper);
    tcase_add_loop_test(client, sees_through_nonsense, 0, TILL_BABBLE_COUNT);
    tcase_add_test(client, lets_go_of_who_gives_up);
    suite_add_tcase(suite, client);
    return suite;
}
