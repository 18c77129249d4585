#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/json.h"
#include "base/log.h"
#include "serve/channel.h"
#include "serve/control.h"
#include "serve/inherit.h"
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

static bool make_var(const char *dir)
{
    if (mkdir(dir, 0700) == 0 || errno == EEXIST)
        return true;
    fprintf(stderr, "moontill: --var %s: cannot be made: %s\n", dir, strerror(errno));
    return false;
}

/* A server must not run on a schema that it does not know: `migrate --check`, in
 * a process of its own for the master keeps no database, says what is wrong. */
static bool is_schema_current(const till_cli_t *cli)
{
    int status;
    till_cli_t check = *cli;
    pid_t pid = fork();

    if (pid == 0) {
        check.json = false;
        check.rest[0] = "--check";
        check.rest[1] = NULL;
        check.rest_count = 1;
        int code = till_cli_run_lua(&check, "migrate");
        fflush(NULL);
        _exit(code);
    }
    return pid != -1 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int serve_with(till_cli_t *cli, till_conf_t *conf, struct run *run)
{
    char static_dir[600];

    snprintf(static_dir, sizeof(static_dir), "%s/web/static", cli->root);
    till_master_opts_t opts = {
        .conf = conf,
        .var_dir = cli->var_dir,
        .root = cli->root,
        .lua_dir = cli->lua_dir,
        .plugin_dirs = cli->plugin_dirs,
        .plugin_dir_count = cli->plugin_dir_count,
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

/* A string member of a flat object, or of the object called `inside`. */
static bool find_text(const char *line, size_t len, const char *inside, const char *member, char *out, size_t size)
{
    till_json_reader_t reader;
    till_json_token_t token;
    bool is_in = inside == NULL, is_next = false, found = false;

    till_json_reader_init(&reader, line, len);
    while (!found && (token = till_json_next(&reader)) != TILL_JSON_ERROR && token != TILL_JSON_END) {
        if (is_in && is_next && token == TILL_JSON_STRING) {
            snprintf(out, size, "%.*s", (int)reader.len, reader.text);
            found = true;
        }
        is_next =
            token == TILL_JSON_KEY && strlen(member) == reader.len && memcmp(reader.text, member, reader.len) == 0;
        if (token == TILL_JSON_KEY && inside != NULL && strlen(inside) == reader.len &&
            memcmp(reader.text, inside, reader.len) == 0)
            is_in = true;
        else if (token == TILL_JSON_OBJECT_END || (token == TILL_JSON_NULL && inside != NULL))
            is_in = false;
    }
    till_json_reader_dispose(&reader);
    return found;
}

static void print_change(const char *line, size_t len)
{
    char name[128];

    if (find_text(line, len, NULL, "generation", name, sizeof(name)))
        printf("live: generation %.12s\n", name);
}

static void print_generations(const char *line, size_t len)
{
    static const char *const which[] = {"live", "previous"};
    char name[128], since[64];

    for (int i = 0; i != 2; ++i) {
        if (find_text(line, len, which[i], "name", name, sizeof(name)) &&
            find_text(line, len, which[i], "since", since, sizeof(since)))
            printf("%-9s %s  since %s\n", which[i], name, since);
    }
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
    else if (find_text(line, len, NULL, "error", text, sizeof(text)))
        fprintf(stderr, "moontill: %s\n", text);
    else if (find_text(line, len, NULL, "progress", text, sizeof(text)))
        fprintf(stderr, "%s\n", text);
    else
        call->print(line, len);
}

static int call_server(const till_cli_t *cli, const char *command, void (*print)(const char *, size_t))
{
    struct call call = {cli->json, print};
    char json[64], error[1024] = "";

    if (!takes_nothing(cli, command))
        return 2;
    snprintf(json, sizeof(json), "{\"command\":\"%s\"}", command);
    int code = till_control_call(cli->var_dir, json, on_line, &call, error, sizeof(error));
    if (error[0] != '\0')
        fprintf(stderr, "moontill %s: %s\n", command, error);
    return code;
}

int till_reload_run(till_cli_t *cli) { return call_server(cli, "reload", print_change); }

int till_rollback_run(till_cli_t *cli) { return call_server(cli, "rollback", print_change); }

int till_generations_run(till_cli_t *cli) { return call_server(cli, "generations", print_generations); }

int till_status_run(till_cli_t *cli) { return call_server(cli, "status", print_line); }

int till_upgrade_run(till_cli_t *cli) { return call_server(cli, "upgrade", print_upgrade); }

int till_stop_run(till_cli_t *cli) { return call_server(cli, "stop", print_done); }
