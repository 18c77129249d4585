/* fuzz_box.c - random Lua in a box: whatever it does there, the next rule is answered, and twice the same is the same.
 *
 * The box is the real one, a process of its own. LuaJIT may crash in it, which is what the box is for; such programs
 * are kept in the folder that TILL_FUZZ_CRASHES names. Anything else that ends a box is a finding: a report of a
 * sanitizer, an assertion, a call of the kernel that is not allowed, the limits of memory or time of the kernel's.
 *
 * An input that begins with 0 is Lua as it stands; any other is made into a program (support/lua_text.h).
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include "support/box.h"
#include "support/lua_text.h"

#define HONEST "return function() return 7 end"
#define RUN_MS 10000

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static test_box_t box;
static bool is_open;
static unsigned runs, crashes, ended[TILL_RULE_CODE_COUNT];

static _Noreturn void fail(const char *what, const till_buf_t *text)
{
    fprintf(stderr, "fuzz_box: %s\n%s\n", what, text->base);
    abort();
}

static void keep(const till_buf_t *text)
{
    const char *dir = getenv("TILL_FUZZ_CRASHES");
    char path[512];

    if (dir == NULL)
        return;
    snprintf(path, sizeof(path), "%s/crash-%u.lua", dir, crashes);
    FILE *file = fopen(path, "w");
    if (file == NULL)
        return;
    fwrite(text->base, 1, text->len, file);
    fclose(file);
}

static void replace(const till_buf_t *text)
{
    int status = test_box_replace(&box);
    bool is_crash = status != -1 && WIFSIGNALED(status) &&
                    (WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS || WTERMSIG(status) == SIGILL ||
                     WTERMSIG(status) == SIGFPE || WTERMSIG(status) == SIGTRAP);

    if (!is_crash) {
        fprintf(stderr, "fuzz_box: the box ended with status %x\n", status);
        fail("it did not end by a crash of LuaJIT's", text);
    }
    ++crashes;
    keep(text);
}

static void check_honest(const till_buf_t *text)
{
    test_verdict_t verdict = test_box_run(&box, HONEST, strlen(HONEST), RUN_MS);

    if (verdict.is_lost || verdict.code != TILL_RULE_VALUE)
        fail("an honest rule is not answered after this", text);
}

static void run(const till_buf_t *text)
{
    test_verdict_t first = test_box_run(&box, text->base, text->len, RUN_MS);

    if (first.is_lost) {
        replace(text);
        return;
    }
    ++ended[first.code < TILL_RULE_CODE_COUNT ? first.code : TILL_RULE_CRASH];
    test_verdict_t second = test_box_run(&box, text->base, text->len, RUN_MS);
    if (second.is_lost)
        fail("it ends the box the second time", text);
    if (first.code == TILL_RULE_DEADLINE || second.code == TILL_RULE_DEADLINE)
        return;
    if (first.code != second.code || first.fuel != second.fuel || strcmp(first.message, second.message) != 0)
        fail("it ends otherwise the second time", text);
}

static void say_progress(void)
{
    fprintf(stderr, "fuzz_box: %u programs, %u crashes of LuaJIT's;", runs, crashes);
    for (unsigned i = 0; i != TILL_RULE_CODE_COUNT; ++i)
        fprintf(stderr, " %s %u", till_rule_code_name((till_rule_code_t)i), ended[i]);
    fputc('\n', stderr);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    till_buf_t text;

    if (!is_open && !(is_open = test_box_open(&box, "moontill-box"))) {
        fprintf(stderr, "fuzz_box: moontill-box is not beside this program\n");
        abort();
    }
    till_buf_init(&text, 0);
    if (len != 0 && bytes[0] == 0)
        till_buf_append(&text, bytes + 1, len - 1);
    else
        fuzz_lua_text(bytes, len, &text);
    run(&text);
    check_honest(&text);
    till_buf_dispose(&text);
    if (++runs % 10000 == 0)
        say_progress();
    return 0;
}
