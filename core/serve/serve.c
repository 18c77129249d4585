#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "serve/channel.h"
#include "serve/control.h"
#include "serve/inherit.h"
#include "serve/line.h"
#include "serve/master.h"
#include "serve/options.h"
#include "serve/serve.h"

/* ---- serve ------------------------------------------------------------------- */

struct run {
    const till_cli_t *cli;
    const till_conf_t *conf;
    till_inherited_t inherited;
};

/* The server before has sent it before it started us. */
static void take_inheritance(struct run *run)
{
    till_message_t message;

    till_inherit_take(&run->inherited);
    if (run->inherited.handover_fd != -1 && till_channel_receive(run->inherited.handover_fd, &message) == 1 &&
        strcmp(message.verb, "secret") == 0)
        till_cli_use_secret(message.text);
}

/* For what fails before there is a master to say so. */
static int fail(const struct run *run, const char *reason)
{
    if (run->inherited.handover_fd != -1)
        till_channel_send(run->inherited.handover_fd, "failed", "-", reason);
    return 1;
}

static bool apply_listen(till_conf_t *conf, const char *listen)
{
    char assignment[320], error[512];

    if (listen == NULL)
        return true;
    snprintf(assignment, sizeof(assignment), "server.listen=%s", listen);
    if (till_conf_set(conf, assignment, error, sizeof(error)))
        return true;
    fprintf(stderr, "moontill: --listen %s: %s\n", listen, error);
    return false;
}

static till_conf_t *reread_conf(void *data, char *error, size_t error_size)
{
    struct run *run = data;
    till_conf_t *conf = till_cli_read_conf(run->cli, error, error_size);

    if (conf == NULL || apply_listen(conf, run->cli->listen))
        return conf;
    till_conf_destroy(conf);
    snprintf(error, error_size, "--listen is refused; the server's standard error says why");
    return NULL;
}

static void on_ready(void *data, unsigned port)
{
    struct run *run = data;
    const char *listen = till_conf_str(run->conf, "server.listen");
    const char *colon = strrchr(listen, ':');
    bool is_tls = till_conf_str(run->conf, "server.cert_file")[0] != '\0';

    printf("ready %s://%.*s:%u\n", is_tls ? "https" : "http", (int)(colon - listen), listen, port);
    fflush(stdout);
}

static bool open_log(const till_conf_t *conf)
{
    const char *file = till_conf_str(conf, "log.file");
    int failure = till_log_open(file[0] != '\0' ? file : NULL);

    till_log_set_level(till_log_level_named(till_conf_str(conf, "log.level")));
    if (failure != 0)
        fprintf(stderr, "moontill: log.file: %s: %s\n", file, strerror(failure));
    return failure == 0;
}

static void read_all(int fd, char *out, size_t size)
{
    size_t len = 0;
    ssize_t n;

    while (len + 1 < size && (n = read(fd, out + len, size - 1 - len)) > 0)
        len += (size_t)n;
    out[len] = '\0';
    close(fd);
}

static bool make_var(const char *dir)
{
    if (mkdir(dir, 0700) == 0 || errno == EEXIST)
        return true;
    fprintf(stderr, "moontill: --var %s: cannot be made: %s\n", dir, strerror(errno));
    return false;
}

/* Runs a command of Lua in a process of its own, for the master keeps no database. Of `out`, where it is given, the
 * beginning is what the command wrote to standard output. */
static bool run_apart(const till_cli_t *cli, const char *name, const char *argument, char *out, size_t size)
{
    int status, ends[2] = {-1, -1};
    till_cli_t own = *cli;

    if (out != NULL && pipe2(ends, O_CLOEXEC) != 0)
        return false;
    pid_t pid = fork();
    if (pid == 0) {
        if (out != NULL)
            dup2(ends[1], STDOUT_FILENO);
        own.json = false;
        own.rest[0] = argument;
        own.rest[1] = NULL;
        own.rest_count = argument != NULL ? 1 : 0;
        int code = till_cli_run_lua(&own, name);
        fflush(NULL);
        _exit(code);
    }
    if (out != NULL) {
        close(ends[1]);
        read_all(ends[0], out, size);
    }
    return pid != -1 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* A server must not run on a schema that it does not know: `migrate --check` says what is wrong. */
static bool is_schema_current(const till_cli_t *cli) { return run_apart(cli, "migrate", "--check", NULL, 0); }

/* Which generation a start begins with, and its bundle: lua/till/cli/start.lua, docs/decisions/0009. */
static bool find_first(const till_cli_t *cli, const struct run *run, till_first_t *first)
{
    char line[2048] = "";
    bool was_left = run->inherited.handover_fd == -1 && till_live_was_left(cli->var_dir);

    if (!run_apart(cli, "start", was_left ? "--crashed" : NULL, line, sizeof(line)))
        return false;
    size_t len = strlen(line);
    *first = (till_first_t){.sequence = till_line_int(line, len, "sequence", 0),
                            .is_release = till_line_true(line, len, "release")};
    till_line_text(line, len, "previous", first->previous, sizeof(first->previous));
    till_line_text(line, len, "reason", first->reason, sizeof(first->reason));
    return till_line_text(line, len, "generation", first->generation, sizeof(first->generation));
}

static int serve_with(till_cli_t *cli, till_conf_t *conf, struct run *run)
{
    char static_dir[600];
    till_first_t first;

    snprintf(static_dir, sizeof(static_dir), "%s/web/static", cli->root);
    till_master_opts_t opts = {
        .conf = conf,
        .var_dir = cli->var_dir,
        .root = cli->root,
        .lua_dir = cli->lua_dir,
        .plugin_dirs = cli->plugin_dirs,
        .plugin_dir_count = cli->plugin_dir_count,
        .first = &first,
        .static_dir = access(static_dir, R_OK | X_OK) == 0 ? static_dir : NULL,
        .reread_conf = reread_conf,
        .inherited = &run->inherited,
        .program = cli->program,
        .argv = cli->argv,
        .on_ready = on_ready,
        .data = run,
    };
    run->conf = conf;
    if (!apply_listen(conf, cli->listen) || !make_var(cli->var_dir) || !open_log(conf))
        return fail(run, "its options are refused; its standard error says why");
    if (!is_schema_current(cli))
        return fail(run, "the database has not this version's schema: `moontill migrate` first");
    if (!find_first(cli, run, &first))
        return fail(run, "which generation to begin with could not be found out; its standard error says why");
    return till_master_run(&opts);
}

static bool takes_nothing(const till_cli_t *cli, const char *command)
{
    if (cli->rest_count == 0)
        return true;
    fprintf(stderr, "moontill %s: %s: not an option; see moontill --help\n", command, cli->rest[0]);
    return false;
}

int till_serve_run(till_cli_t *cli)
{
    if (!takes_nothing(cli, "serve"))
        return 2;
    struct run run = {.cli = cli};
    char error[512];
    take_inheritance(&run);
    till_conf_t *conf = till_cli_read_conf(cli, error, sizeof(error));
    if (conf == NULL) {
        fprintf(stderr, "moontill: %s\n", error);
        return fail(&run, error);
    }
    int code = serve_with(cli, conf, &run);
    till_conf_destroy(conf);
    return code;
}

/* ---- a running server ---------------------------------------------------------- */

struct call {
    bool json;
    void (*print)(const char *line, size_t len);
};

static void print_change(const char *line, size_t len)
{
    char name[128];

    if (till_line_text(line, len, "generation", name, sizeof(name)))
        printf("live: generation %.12s%s\n", name, till_line_true(line, len, "unchanged") ? ", as before" : "");
}

static void print_line(const char *line, size_t len) { printf("%.*s\n", (int)len, line); }

static void print_upgrade(const char *line, size_t len)
{
    (void)line;
    (void)len;
    printf("the new server has taken over; the old one drains\n");
}

static void print_done(const char *line, size_t len)
{
    (void)line;
    (void)len;
    printf("the server drains and stops\n");
}

static void on_line(void *data, const char *line, size_t len)
{
    const struct call *call = data;
    char text[2048];

    if (call->json)
        print_line(line, len);
    else if (till_line_text(line, len, "error", text, sizeof(text)))
        fprintf(stderr, "moontill: %s\n", text);
    else if (till_line_text(line, len, "progress", text, sizeof(text)))
        fprintf(stderr, "%s\n", text);
    else
        call->print(line, len);
}

static int call_with(const till_cli_t *cli, const char *command, const till_buf_t *json,
                     void (*print)(const char *, size_t))
{
    struct call call = {cli->json, print};
    char error[1024] = "";

    int code = till_control_call(cli->var_dir, json->base, on_line, &call, error, sizeof(error));
    if (error[0] != '\0')
        fprintf(stderr, "moontill %s: %s\n", command, error);
    return code;
}

static int call_server(const till_cli_t *cli, const char *command, void (*print)(const char *, size_t))
{
    till_buf_t json;

    if (!takes_nothing(cli, command))
        return 2;
    till_buf_init(&json, 0);
    till_buf_putc(&json, '{');
    till_line_put(&json, "command", command);
    till_buf_putc(&json, '}');
    int code = call_with(cli, command, &json, print);
    till_buf_dispose(&json);
    return code;
}

/* Who runs the command; behind sudo whoever called it. */
static const char *who(void)
{
    const char *behind = getenv("SUDO_USER");
    const struct passwd *user = getpwuid(getuid());

    if (getuid() == 0 && behind != NULL && behind[0] != '\0')
        return behind;
    return user != NULL ? user->pw_name : "?";
}

/* [HASH] [--reason TEXT]. @return false: misused, and said so */
static bool read_change(const till_cli_t *cli, const char *command, bool takes_hash, till_buf_t *json)
{
    for (size_t i = 0; i != cli->rest_count; ++i) {
        const char *word = cli->rest[i];
        if (strcmp(word, "--reason") == 0 && i + 1 != cli->rest_count) {
            till_line_put(json, "reason", cli->rest[++i]);
        } else if (strncmp(word, "--reason=", 9) == 0) {
            till_line_put(json, "reason", word + 9);
        } else if (takes_hash && word[0] != '-') {
            till_line_put(json, "hash", word);
            takes_hash = false;
        } else {
            fprintf(stderr, "moontill %s: %s: not an option, or without its value; see moontill --help\n", command,
                    word);
            return false;
        }
    }
    return true;
}

static int change(const till_cli_t *cli, const char *command, bool takes_hash)
{
    till_buf_t json;
    int code = 2;

    till_buf_init(&json, 0);
    till_buf_putc(&json, '{');
    till_line_put(&json, "command", command);
    till_line_put(&json, "author", who());
    if (read_change(cli, command, takes_hash, &json)) {
        till_buf_putc(&json, '}');
        code = call_with(cli, command, &json, print_change);
    }
    till_buf_dispose(&json);
    return code;
}

int till_reload_run(till_cli_t *cli) { return change(cli, "reload", false); }

int till_rollback_run(till_cli_t *cli) { return change(cli, "rollback", true); }

static void keep_line(void *data, const char *line, size_t len)
{
    till_buf_clear(data);
    till_buf_append(data, line, len);
}

/* What a server that runs here is at goes along as an argument; there need not be one. */
int till_generations_run(till_cli_t *cli)
{
    till_conf_t *conf = till_cli_conf(cli);
    char error[1024];
    till_buf_t server;

    if (conf == NULL)
        return 1;
    till_buf_init(&server, 0);
    if (cli->rest_count + 2 <= TILL_CLI_REST && till_control_call(cli->var_dir, "{\"command\":\"generations\"}",
                                                                  keep_line, &server, error, sizeof(error)) == 0) {
        cli->rest[cli->rest_count++] = "--server";
        cli->rest[cli->rest_count++] = server.base;
    }
    int code = till_cli_run_bare(cli, conf, "generations");
    till_buf_dispose(&server);
    till_conf_destroy(conf);
    return code;
}

int till_status_run(till_cli_t *cli) { return call_server(cli, "status", print_line); }

int till_upgrade_run(till_cli_t *cli) { return call_server(cli, "upgrade", print_upgrade); }

int till_stop_run(till_cli_t *cli) { return call_server(cli, "stop", print_done); }
