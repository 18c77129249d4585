#include "serve/doctor.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <openssl/crypto.h>
#include "base/json.h"
#include "base/log.h"
#include "base/version.h"
#include "io/http.h"
#include "io/redis.h"
#include "io/sql.h"
#include "serve/channel.h"
#include "serve/control.h"
#include "serve/line.h"
#include "serve/options.h"
#include "serve/server.h"

/* ---- JSON ------------------------------------------------------------------ */

static void put_name(till_buf_t *out, const char *name)
{
    if (out->len != 0 && out->base[out->len - 1] != '{')
        till_buf_putc(out, ',');
    till_json_write_string(out, name, strlen(name));
    till_buf_putc(out, ':');
}

static void put_text(till_buf_t *out, const char *name, const char *text)
{
    put_name(out, name);
    till_json_write_string(out, text, strlen(text));
}

static void put_number(till_buf_t *out, const char *name, double number)
{
    put_name(out, name);
    till_buf_printf(out, "%.15g", number);
}

static void put_bool(till_buf_t *out, const char *name, bool is_true)
{
    put_name(out, name);
    till_buf_puts(out, is_true ? "true" : "false");
}

/* ---- what there is to see --------------------------------------------------- */

static void put_versions(till_buf_t *out)
{
    struct utsname kernel;

    put_name(out, "versions");
    till_buf_putc(out, '{');
    put_text(out, "moontill", till_version());
    put_text(out, "libh2o", till_server_library());
    put_text(out, "luajit", till_vm_library());
    put_text(out, "mariadb client", till_sql_library());
    put_text(out, "libcurl", till_http_library());
    put_text(out, "hiredis", till_redis_library());
    put_text(out, "openssl", OpenSSL_version(OPENSSL_VERSION));
    if (uname(&kernel) == 0)
        put_text(out, "kernel", kernel.release);
    till_buf_putc(out, '}');
}

/* Hard: the server raises its own limit to that. */
static void put_machine(till_buf_t *out, const till_serve_opts_t *opts)
{
    struct rlimit files;
    struct timex clock = {.modes = 0};

    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        put_number(out, "nofile", (double)files.rlim_max);
    put_number(out, "cpus", (double)sysconf(_SC_NPROCESSORS_ONLN));
    put_number(out, "memory", (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE));
    put_number(out, "web_workers", opts->web_workers);
    put_number(out, "jobs_workers", opts->jobs_workers);
    int state = adjtimex(&clock);
    if (state != -1)
        put_bool(out, "clock_is_kept", state != TIME_ERROR && (clock.status & STA_UNSYNC) == 0);
}

/* Free, or why not. Whether it is our own server that has it, the caller knows. */
static void put_port(till_buf_t *out, const char *name, const char *address, unsigned offset)
{
    char error[512] = "";
    int fd = till_listen(address, offset, 1, error, sizeof(error));

    if (fd != -1)
        close(fd);
    put_text(out, name, error);
}

static void put_ports(till_buf_t *out, const till_serve_opts_t *opts)
{
    put_port(out, "listen_error", opts->listen, 0);
    put_port(out, "ops_listen_error", opts->ops_listen != NULL ? opts->ops_listen : opts->listen,
             opts->ops_listen == NULL);
}

static void keep_line(void *data, const char *line, size_t len)
{
    till_buf_t *last = data;

    till_buf_clear(last);
    till_buf_append(last, line, len);
}

/* @return whether one runs */
static bool put_running(till_buf_t *out, const till_cli_t *cli, const till_serve_opts_t *opts,
                        char live[TILL_GENERATION_NAME + 1])
{
    const char *where = opts->control_socket != NULL ? opts->control_socket : cli->var_dir;
    char error[1024] = "";
    till_buf_t line;

    till_buf_init(&line, 0);
    bool runs = till_control_call(where, "{\"command\":\"status\"}", keep_line, &line, error, sizeof(error)) == 0;
    if (runs) {
        put_name(out, "running");
        till_buf_append(out, line.base, line.len);
        till_line_text(line.base, line.len, "generation", live, TILL_GENERATION_NAME + 1);
    }
    if (!runs)
        put_text(out, "running_error", error);
    till_buf_dispose(&line);
    return runs;
}

/* As a worker loads it, plugins and all, but without anything to wait for; with the rules of what runs, as a reload
 * would make it. */
static bool put_generation(till_buf_t *out, const till_cli_t *cli, const till_conf_t *conf, const char *live)
{
    char error[2048] = "";
    till_bundle_t *rules = till_bundle_load(cli->var_dir, live, error, sizeof(error));
    const till_bundle_source_t source = {.lua_dir = cli->lua_dir,
                                         .plugin_dirs = cli->plugin_dirs,
                                         .plugin_dir_count = cli->plugin_dir_count,
                                         .conf = conf,
                                         .rules = rules};
    const till_vm_env_t env = {.conf = conf, .process = "doctor"};
    till_bundle_t *bundle = till_bundle_read(&source, error, sizeof(error));

    till_bundle_destroy(rules);
    if (bundle != NULL)
        put_text(out, "generation", till_bundle_name(bundle));
    till_vm_t *vm = bundle != NULL ? till_vm_create(bundle, &env, error, sizeof(error)) : NULL;
    if (vm != NULL)
        till_vm_retire(vm, 0, NULL, NULL);
    else
        put_text(out, "generation_error", error);
    return vm != NULL;
}

/* @return does the generation load? */
static bool gather(till_buf_t *out, const till_cli_t *cli, const till_conf_t *conf)
{
    till_serve_opts_t opts;
    char live[TILL_GENERATION_NAME + 1] = "";

    till_serve_opts_read(&opts, conf);
    till_buf_putc(out, '{');
    put_versions(out);
    put_machine(out, &opts);
    if (!put_running(out, cli, &opts, live))
        put_ports(out, &opts);
    bool loads = put_generation(out, cli, conf, live);
    put_text(out, "conf_file", cli->conf_file);
    put_bool(out, "signing_secret_is_made", till_cli_made_secret(conf));
    if (opts.cert_file != NULL && opts.key_file != NULL) {
        put_name(out, "certificate");
        till_doctor_certificate(opts.cert_file, opts.key_file, out);
    }
    till_buf_putc(out, '}');
    return loads;
}

/* ---- the command ------------------------------------------------------------ */

static int refuse_conf(const till_cli_t *cli, const char *error)
{
    till_buf_t line;

    if (!cli->json) {
        printf("fail  config       %s\n                   -> mend that line; docs and defaults stand in "
               "conf/moontill.lua\n"
               "0 ok, 0 warnings, 1 failure\n",
               error);
        return 1;
    }
    till_buf_init(&line, 0);
    till_buf_puts(&line, "{\"findings\":[{\"check\":\"config\",\"level\":\"fail\",");
    till_buf_puts(&line, "\"advice\":\"Mend that line; defaults stand in conf/moontill.lua.\",\"finding\":");
    till_json_write_string(&line, error, strlen(error));
    till_buf_puts(&line, "}],\"ok\":0,\"warn\":0,\"fail\":1}");
    puts(line.base);
    till_buf_dispose(&line);
    return 1;
}

int till_doctor_run(till_cli_t *cli)
{
    char error[1024];
    till_buf_t facts;

    if (cli->rest_count != 0) {
        fprintf(stderr, "moontill doctor: %s: not an option; see moontill doctor --help\n", cli->rest[0]);
        return 2;
    }
    till_conf_t *conf = till_cli_read_conf(cli, error, sizeof(error));
    if (conf == NULL)
        return refuse_conf(cli, error);
    till_log_set_level(TILL_LOG_ERROR);
    till_buf_init(&facts, 0);
    bool loads = gather(&facts, cli, conf);
    cli->rest[cli->rest_count++] = facts.base;
    int code = loads ? till_cli_run_whole(cli, conf, "doctor") : till_cli_run_bare(cli, conf, "doctor");
    till_buf_dispose(&facts);
    till_conf_destroy(conf);
    return code;
}
