/* bench_box.c - what a box of rules takes while nobody asks it, and how long its replacement takes.
 *
 *     bench_box        prints lines of "what<TAB>number"
 *
 * Memory is the kernel's own sum (smaps_rollup) of the keeper and its box together: `private` is what is gone with
 * them, `pss` adds their share of what others map as well.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "vm/box/client.h"

#define TIMES 200

static till_loop_t *loop;
static till_rulebox_t *rules;
static bool is_answered;

static void on_reply(void *data, till_status_t status, const till_rulebox_reply_t *reply)
{
    (void)data;
    (void)status;
    (void)reply;
    is_answered = true;
}

static void ask(const char *text)
{
    const till_rulebox_rule_t rule = {till_rulebox_new_id(), {text, strlen(text)}, {"", 1}};
    const till_rulebox_ask_t question = {
        .what = 'E', .rules = &rule, .count = 1, .input = {"", 1}, .fuel = 1000000, .cpu_us = 20000, .wall_ms = 500};

    is_answered = false;
    till_rulebox_exchange(rules, &question, 0, on_reply, NULL);
    while (!is_answered)
        till_loop_turn(loop, 100);
}

static long kilobytes(pid_t pid, const char *key)
{
    char path[64], line[256];
    long sum = 0, n;

    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), "%ld", &n) == 1)
            sum += n;
    }
    fclose(file);
    return sum;
}

static void tell_memory(const char *when)
{
    till_rulebox_state_t state = till_rulebox_state(rules);
    long private = kilobytes(state.keeper, "Private_Dirty:") + kilobytes(state.box, "Private_Dirty:") +
                   kilobytes(state.keeper, "Private_Clean:") + kilobytes(state.box, "Private_Clean:");

    printf("KB private, box and keeper, %s\t%ld\n", when, private);
    printf("KB pss, box and keeper, %s\t%ld\n", when, kilobytes(state.keeper, "Pss:") + kilobytes(state.box, "Pss:"));
    printf("KB pss, box alone, %s\t%ld\n", when, kilobytes(state.box, "Pss:"));
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void tell_times(const char *what, double *times)
{
    qsort(times, TIMES, sizeof(*times), by_size);
    printf("ms, a box is replaced after %s, median\t%.3f\n", what, times[TIMES / 2] * 1000);
    printf("ms, a box is replaced after %s, p99\t%.3f\n", what, times[TIMES * 99 / 100] * 1000);
}

static void replace_after_crash(void)
{
    double times[TIMES];

    for (int i = 0; i != TIMES; ++i) {
        ask("local _ for _ in (nil):foo() do end");
        times[i] = till_rulebox_state(rules).replaced_in_s;
    }
    tell_times("a crash", times);
}

static void replace_after_kill(void)
{
    double times[TIMES];

    for (int i = 0; i != TIMES; ++i) {
        ask("return function() return 1 end");
        pid_t pid = till_rulebox_state(rules).box;
        kill(pid, SIGKILL);
        while (till_rulebox_state(rules).box == pid || till_rulebox_state(rules).box == 0)
            till_loop_turn(loop, 100);
        times[i] = till_rulebox_state(rules).replaced_in_s;
    }
    tell_times("a kill", times);
}

int main(void)
{
    till_log_set_level(TILL_LOG_ERROR);
    loop = till_loop_create();
    rules = till_rulebox_create(loop);
    ask("return function() return 1 end");
    tell_memory("when it began");
    for (int i = 0; i != 100; ++i)
        ask("return function() local t = {} for i = 1, 60000 do t[i] = { i } end end");
    ask("return function() return 1 end"); /* what was taken is given back once the answer is out */
    tell_memory("after rules that took all memory");
    replace_after_crash();
    replace_after_kill();
    till_rulebox_destroy(rules);
    till_loop_turn(loop, 0);
    till_loop_destroy(loop);
    return 0;
}
