#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include "base/json.h"
#include "base/log.h"
#include "serve/check.h"
#include "serve/pools.h"

#define LOAD_S 6  /* of CPU: what Lua's own limit does not end */
#define SPECS_S 8 /* of CPU */
#define WALL_S 60
#define COMPUTES_S 3
#define ARGUMENTS 300
#define SIGNAL_STACK (64 * 1024)

/* ---- last words ---------------------------------------------------------------- */

static bool says_json;
static volatile sig_atomic_t last_words;

/* [file:line] | plugins/NAME (what it runs), as far as it is known */
static void tell_place(char *out, size_t size)
{
    till_running_t at;

    if (till_vm_loading_place(out, size))
        return;
    till_vm_running(&at);
    snprintf(out, size, "%s%s%s%s", at.plugin[0] != '\0' ? "plugins/" : "the check", at.plugin,
             at.what[0] != '\0' && at.plugin[0] != '\0' ? ": " : "", at.plugin[0] != '\0' ? at.what : "");
}

/* On a machine with much to do the time may be over before the CPU's share of it is. */
static bool has_computed(void)
{
    struct timespec used;

    return clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0 && used.tv_sec >= COMPUTES_S;
}

static const char *reason_of(int number)
{
    char file[8];

    if (number == SIGALRM && !has_computed())
        return "it waits without end";
    if (number != SIGPROF && number != SIGALRM)
        return "LuaJIT crashed on it; take out what was changed last";
    return till_vm_loading_place(file, sizeof(file))
               ? "it computes without end, and not in Lua: a pattern or a library function does"
               : "it computes without end";
}

/* It crashes again where even the place cannot be read: then the reason has to do. */
static void on_fatal(int number)
{
    char place[400] = "", line[640];
    const char *reason = "LuaJIT crashed on it; take out what was changed last";

    if (last_words++ == 0) {
        tell_place(place, sizeof(place));
        reason = reason_of(number);
    }
    int len = snprintf(line, sizeof(line),
                       says_json ? "{\"ok\":false,\"findings\":[{\"at\":\"%s\",\"message\":\"%s\"}]}\n" : "%s: %s\n",
                       place[0] != '\0' ? place : "plugins", reason);
    if (len > 0 && write(1, line, (size_t)len) < 0)
        _exit(3);
    _exit(1);
}

static void catch_all(void)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGPROF, SIGALRM};
    static char stack[SIGNAL_STACK];
    const stack_t other = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction action = {.sa_handler = on_fatal, .sa_flags = SA_ONSTACK | SA_NODEFER};

    sigaltstack(&other, NULL);
    for (size_t i = 0; i != sizeof(numbers) / sizeof(numbers[0]); ++i)
        sigaction(numbers[i], &action, NULL);
}

static void limit_cpu(int seconds)
{
    const struct itimerval timer = {.it_value = {.tv_sec = seconds}};

    setitimer(ITIMER_PROF, &timer, NULL);
}

static void set_limits(void)
{
    const struct rlimit none = {0, 0};

    setrlimit(RLIMIT_CORE, &none);
    limit_cpu(LOAD_S);
    alarm(WALL_S);
}

/* ---- trying ---------------------------------------------------------------------- */

struct run {
    till_loop_t *loop;
    int code;
    bool done;
};

static void on_done(void *data, till_status_t status, const char *text, size_t len)
{
    struct run *run = data;

    run->code = status == TILL_OK && len != 0 ? (int)strtol(text, NULL, 10) : 1;
    if (status != TILL_OK)
        printf("%.*s\n", (int)len, text);
    run->done = true;
    till_loop_stop(run->loop);
}

static void on_closed(void *data) { till_loop_stop(data); }

static int run_lua(const till_check_t *check, till_vm_t *vm, till_loop_t *loop)
{
    struct run run = {.loop = loop, .code = 1};
    const char *arguments[ARGUMENTS] = {"plugin"};
    size_t n = 1;

    for (size_t i = 0; i != check->n && n < ARGUMENTS - 1; ++i)
        arguments[n++] = check->arguments[i];
    if (check->json)
        arguments[n++] = "--json";
    till_vm_attach(vm);
    till_vm_run(vm, "command", arguments, n, 0, on_done, &run);
    if (!run.done)
        till_loop_run(loop);
    till_vm_retire(vm, 1000, on_closed, loop);
    till_loop_run(loop);
    return run.code;
}

static void tell_finding(const char *error, bool json)
{
    till_buf_t line;

    till_buf_init(&line, 0);
    till_buf_puts(&line, json ? "{\"ok\":false,\"findings\":[{\"message\":" : "");
    if (json)
        till_json_write_string(&line, error, strlen(error));
    else
        till_buf_puts(&line, error);
    printf("%s%s\n", line.base, json ? "}]}" : "");
    till_buf_dispose(&line);
}

int till_check_run(const till_check_t *check)
{
    till_pools_t pools;
    char error[2048];

    says_json = check->json;
    setenv("MOONTILL_ROOT", check->root, 1);
    setenv("MOONTILL_VAR", check->has_servers ? check->var_dir : "var", 1); /* "var": nothing that specs may empty */
    till_log_set_process("check");
    till_log_set_level(TILL_LOG_ERROR);
    catch_all();
    till_pools_init(&pools, check->conf, "check", check->var_dir);
    pools.env.is_command = true;
    if (!check->has_servers) {
        pools.env.sql = NULL;
        pools.env.redis = NULL;
    }
    set_limits();
    till_vm_t *vm = till_vm_create(check->bundle, &pools.env, error, sizeof(error));
    limit_cpu(SPECS_S);
    if (vm == NULL)
        tell_finding(error, check->json);
    int code = vm != NULL ? run_lua(check, vm, pools.loop) : 1;
    till_pools_dispose(&pools);
    fflush(stdout);
    return code;
}

/* ---- the command ------------------------------------------------------------------- */

static till_bundle_t *read_folders(const till_cli_t *cli, const till_conf_t *conf)
{
    char error[2048], tests_dir[sizeof(cli->root) + 16];
    till_bundle_source_t source = {.lua_dir = cli->lua_dir,
                                   .plugin_dirs = cli->plugin_dirs,
                                   .plugin_dir_count = cli->plugin_dir_count,
                                   .tests_dir = tests_dir,
                                   .conf = conf};

    snprintf(tests_dir, sizeof(tests_dir), "%s/tests/lua", cli->root);
    if (access(tests_dir, R_OK) != 0)
        source.tests_dir = NULL;
    till_bundle_t *bundle = till_bundle_read(&source, error, sizeof(error));
    if (bundle == NULL)
        tell_finding(error, cli->json);
    return bundle;
}

/* `--dir DIR` for each folder of plugins, the last that was named first: there `new` writes. */
static size_t fill_arguments(const till_cli_t *cli, const char **out, size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i != cli->rest_count && n < max; ++i)
        out[n++] = cli->rest[i];
    for (size_t i = cli->plugin_dir_count; i-- != 0 && n + 2 <= max;) {
        out[n++] = "--dir";
        out[n++] = cli->plugin_dirs[i];
    }
    return n;
}

static bool is_trial(const till_cli_t *cli)
{
    return cli->rest_count != 0 && (strcmp(cli->rest[0], "test") == 0 || strcmp(cli->rest[0], "check") == 0);
}

static int run_bare(till_cli_t *cli, const till_conf_t *conf)
{
    till_cli_t bare = *cli;

    bare.rest_count = fill_arguments(cli, bare.rest, TILL_CLI_REST);
    return till_cli_run_bare(&bare, conf, "plugin");
}

int till_plugin_run(till_cli_t *cli)
{
    const char *arguments[TILL_CLI_REST];
    till_conf_t *conf = till_cli_conf(cli);
    int code = 1;

    if (conf == NULL)
        return 1;
    if (!is_trial(cli) || cli->help) {
        code = run_bare(cli, conf);
    } else {
        till_bundle_t *bundle = read_folders(cli, conf);
        const till_check_t check = {.conf = conf,
                                    .root = cli->root,
                                    .var_dir = cli->var_dir,
                                    .bundle = bundle,
                                    .has_servers = true,
                                    .json = cli->json,
                                    .arguments = arguments,
                                    .n = fill_arguments(cli, arguments, TILL_CLI_REST)};
        code = bundle != NULL ? till_check_run(&check) : 1;
    }
    till_conf_destroy(conf);
    return code;
}
