#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "serve/cli.h"
#include "trade/vault.h"
#include "serve/pools.h"

#define DEV_SETS 8
#define DEV_SET_SIZE 640

/* The folder above the executable that holds lua/till/main.lua: the checkout,
 * or the place where everything was installed; MOONTILL_ROOT overrides. */
static bool find_root(till_cli_t *cli)
{
    const char *given = getenv("MOONTILL_ROOT");
    char probe[600];
    ssize_t n = given != NULL ? snprintf(cli->root, sizeof(cli->root), "%s", given)
                              : readlink("/proc/self/exe", cli->root, sizeof(cli->root) - 1);

    if (n < 0 || (size_t)n >= sizeof(cli->root))
        return false;
    cli->root[n] = '\0';
    for (;;) {
        snprintf(probe, sizeof(probe), "%s/lua/till/main.lua", cli->root);
        if (access(probe, R_OK) == 0)
            return true;
        char *slash = strrchr(cli->root, '/');
        if (slash == NULL)
            return false;
        *slash = '\0';
    }
}

static bool misuse(const char *what, const char *argument)
{
    fprintf(stderr, "moontill: %s: %s; see moontill --help\n", argument, what);
    return false;
}

static bool add(const char **list, size_t *count, size_t max, const char *value)
{
    if (*count == max)
        return misuse("too many of these", value);
    list[(*count)++] = value;
    return true;
}

/* An option with a value, as "--name VALUE" or "--name=VALUE". @return its value, NULL if this is not it */
static const char *take_value(const char *name, int argc, char **argv, int *i, bool *missing)
{
    size_t len = strlen(name);

    assert(argv[*i] != NULL); /* `argc` has counted it */
    if (strncmp(argv[*i], name, len) != 0)
        return NULL;
    if (argv[*i][len] == '=')
        return argv[*i] + len + 1;
    if (argv[*i][len] != '\0')
        return NULL;
    if (*i + 1 >= argc) {
        *missing = true;
        return NULL;
    }
    return argv[++*i];
}

static bool parse_one(till_cli_t *cli, int argc, char **argv, int *i)
{
    const char *name = argv[*i], *value;
    bool missing = false;

    if ((value = take_value("--var", argc, argv, i, &missing)) != NULL)
        cli->var_dir = value;
    else if ((value = take_value("--conf", argc, argv, i, &missing)) != NULL ||
             (value = take_value("--config", argc, argv, i, &missing)) != NULL)
        cli->conf_file = value;
    else if ((value = take_value("--listen", argc, argv, i, &missing)) != NULL)
        cli->listen = value;
    else if ((value = take_value("--set", argc, argv, i, &missing)) != NULL)
        return add(cli->sets, &cli->set_count, TILL_CLI_SETS, value);
    else if ((value = take_value("--plugins", argc, argv, i, &missing)) != NULL)
        return add(cli->plugin_dirs, &cli->plugin_dir_count, TILL_CLI_PLUGIN_DIRS, value);
    else if (missing)
        return misuse("a value is missing", name);
    else if (strcmp(name, "--no-demo") == 0)
        cli->demo = false;
    else if (strcmp(name, "--watch") == 0)
        cli->watch = true;
    else if (strcmp(name, "--json") == 0)
        cli->json = true;
    else if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        cli->help = true;
    else
        return add(cli->rest, &cli->rest_count, TILL_CLI_REST, name);
    return true;
}

/* By the name by which it was called, links and all, for a release may be a link that is turned. A name from PATH says
 * too little: then it is the file itself. */
static void find_program(till_cli_t *cli, const char *name)
{
    char dir[300];
    ssize_t n = 0;

    if (name[0] == '/')
        snprintf(cli->program, sizeof(cli->program), "%s", name);
    else if (strchr(name, '/') != NULL && getcwd(dir, sizeof(dir)) != NULL)
        snprintf(cli->program, sizeof(cli->program), "%s/%s", dir, name);
    else if ((n = readlink("/proc/self/exe", cli->program, sizeof(cli->program) - 1)) > 0)
        cli->program[n] = '\0';
}

bool till_cli_parse(till_cli_t *cli, int argc, char **argv)
{
    *cli = (till_cli_t){.var_dir = "var", .demo = true, .argv = argv};
    find_program(cli, argv[0]);
    if (!find_root(cli)) {
        fprintf(stderr, "moontill: its Lua files are nowhere above the executable; set MOONTILL_ROOT\n");
        return false;
    }
    snprintf(cli->lua_dir, sizeof(cli->lua_dir), "%s/lua", cli->root);
    snprintf(cli->_conf_file, sizeof(cli->_conf_file), "%s/conf/moontill.lua", cli->root);
    snprintf(cli->_plugins, sizeof(cli->_plugins), "%s/plugins", cli->root);
    cli->conf_file = cli->_conf_file;
    cli->plugin_dirs[cli->plugin_dir_count++] = cli->_plugins;
    for (int i = 2; i < argc; ++i) {
        if (!parse_one(cli, argc, argv, &i))
            return false;
    }
    return true;
}

/* Reads a small file whole. */
static bool slurp(const char *path, till_buf_t *out)
{
    char piece[4096];
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd == -1)
        return false;
    while ((n = read(fd, piece, sizeof(piece))) > 0)
        till_buf_append(out, piece, (size_t)n);
    close(fd);
    return n == 0 && out->base != NULL;
}

static bool find_field(till_json_reader_t *reader, const char *field, char *out, size_t size)
{
    till_json_token_t token;

    while ((token = till_json_next(reader)) > TILL_JSON_END) {
        if (token != TILL_JSON_KEY || strlen(field) != reader->len || memcmp(reader->text, field, reader->len) != 0)
            continue;
        if (till_json_next(reader) != TILL_JSON_STRING || reader->len >= size)
            return false;
        memcpy(out, reader->text, reader->len);
        out[reader->len] = '\0';
        return true;
    }
    return false;
}

bool till_cli_json_field(const char *path, const char *field, char *out, size_t size)
{
    till_buf_t text;
    till_json_reader_t reader;

    till_buf_init(&text, 1 << 20);
    bool ok = slurp(path, &text);
    if (ok) {
        till_json_reader_init(&reader, text.base, text.len);
        ok = find_field(&reader, field, out, size);
        till_json_reader_dispose(&reader);
    }
    till_buf_dispose(&text);
    return ok;
}

/* As `moontill dev` itself runs its server. */
static size_t add_fixed_sets(const till_cli_t *cli, char (*sets)[DEV_SET_SIZE], size_t n)
{
    snprintf(sets[n++], DEV_SET_SIZE, "server.cert_file=%s/tls/cert.pem", cli->var_dir);
    snprintf(sets[n++], DEV_SET_SIZE, "server.key_file=%s/tls/key.pem", cli->var_dir);
    snprintf(sets[n++], DEV_SET_SIZE, "plugins.payment-test.enabled=true");
    return n;
}

/* A running or kept `moontill dev` says where it listens, and where its database and Redis are. */
static size_t sets_of_dev(const till_cli_t *cli, char (*sets)[DEV_SET_SIZE])
{
    static const char *const options[][2] = {{"mysql.socket", "mysql_socket"},
                                             {"redis.socket", "redis_socket"},
                                             {"mysql.database", "database"},
                                             {"server.listen", "url"}};
    static const char scheme[] = "https://";
    char path[600], value[200];
    size_t n = 0;

    snprintf(path, sizeof(path), "%s/dev.json", cli->var_dir);
    for (size_t i = 0; i != sizeof(options) / sizeof(options[0]); ++i) {
        if (!till_cli_json_field(path, options[i][1], value, sizeof(value)))
            continue;
        bool is_url = strncmp(value, scheme, sizeof(scheme) - 1) == 0;
        snprintf(sets[n++], DEV_SET_SIZE, "%s=%s", options[i][0], value + (is_url ? sizeof(scheme) - 1 : 0));
    }
    return n != 0 ? add_fixed_sets(cli, sets, n) : 0;
}

/* One for the life of this process and of all that it forks, so that every worker reads the others' cursors. */
static char made_secret[sizeof("shop.signing_secret=s") + 64];

static bool add_signing_secret(till_conf_t *conf, char *error, size_t error_size)
{
    uint8_t random[32];

    if (*till_conf_str(conf, "shop.signing_secret") != '\0')
        return true;
    if (made_secret[0] == '\0') {
        int len = snprintf(made_secret, sizeof(made_secret), "shop.signing_secret=s"); /* not to be read as a number */
        till_random(random, sizeof(random));
        till_hex(made_secret + len, random, sizeof(random));
    }
    return till_conf_set(conf, made_secret, error, error_size);
}

/* Better here than at the first record that should be sealed. */
static bool check_vault(const till_conf_t *conf, char *error, size_t error_size)
{
    const char *ring = till_conf_str(conf, "vault.keys");
    till_vault_t *vault =
        *ring != '\0' ? till_vault_create((till_slice_t){ring, strlen(ring)}, error, error_size) : NULL;
    bool is_good = *ring == '\0' || vault != NULL;

    till_vault_destroy(vault);
    return is_good;
}

const char *till_cli_secret(void) { return made_secret; }

void till_cli_use_secret(const char *assignment) { snprintf(made_secret, sizeof(made_secret), "%s", assignment); }

bool till_cli_made_secret(const till_conf_t *conf)
{
    return made_secret[0] != '\0' &&
           strcmp(strchr(made_secret, '=') + 1, till_conf_str(conf, "shop.signing_secret")) == 0;
}

till_conf_t *till_cli_read_conf(const till_cli_t *cli, char *error, size_t error_size)
{
    char of_dev[DEV_SETS][DEV_SET_SIZE];
    const char *all[TILL_CLI_SETS + DEV_SETS];
    size_t n = sets_of_dev(cli, of_dev);

    for (size_t i = 0; i != n; ++i)
        all[i] = of_dev[i];
    for (size_t i = 0; i != cli->set_count; ++i)
        all[n++] = cli->sets[i];
    till_conf_t *conf = till_conf_load(cli->conf_file, all, n, error, error_size);
    if (conf == NULL || (check_vault(conf, error, error_size) && add_signing_secret(conf, error, error_size)))
        return conf;
    till_conf_destroy(conf);
    return NULL;
}

till_conf_t *till_cli_conf(const till_cli_t *cli)
{
    char error[512];
    till_conf_t *conf = till_cli_read_conf(cli, error, sizeof(error));

    if (conf == NULL)
        fprintf(stderr, "moontill: %s\n", error);
    return conf;
}

struct command {
    till_loop_t *loop;
    int code;
    bool done;
};

static void on_done(void *data, till_status_t status, const char *text, size_t len)
{
    struct command *command = data;

    command->code = status == TILL_OK && len != 0 ? (int)strtol(text, NULL, 10) : 1;
    if (status != TILL_OK)
        fprintf(stderr, "moontill: %.*s\n", (int)len, text);
    command->done = true;
    till_loop_stop(command->loop);
}

static void on_closed(void *data) { till_loop_stop(data); }

static int run(till_cli_t *cli, till_pools_t *pools, till_vm_t *vm, const char *name)
{
    struct command command = {.loop = pools->loop, .code = 1};
    const char *arguments[TILL_CLI_REST + 5] = {name};
    size_t n = 1;

    if (cli->help)
        arguments[n++] = "--help";
    for (size_t i = 0; i != cli->rest_count; ++i)
        arguments[n++] = cli->rest[i];
    if (cli->json)
        arguments[n++] = "--json"; /* last: words such as "list" come first */
    till_vm_attach(vm);
    till_vm_run(vm, "command", arguments, n, 0, on_done, &command);
    if (!command.done)
        till_loop_run(pools->loop);
    till_vm_retire(vm, 1000, on_closed, pools->loop);
    till_loop_run(pools->loop);
    return command.code;
}

/* Specs may also require what lies beside them. */
static till_vm_t *load(const till_cli_t *cli, const char *name, const till_vm_env_t *env, bool with_plugins)
{
    char error[2048], tests_dir[sizeof(cli->root) + 16];
    const till_bundle_source_t source = {.lua_dir = cli->lua_dir,
                                         .plugin_dirs = cli->plugin_dirs,
                                         .plugin_dir_count = with_plugins ? cli->plugin_dir_count : 0,
                                         .tests_dir = strcmp(name, "spec") == 0 ? tests_dir : NULL,
                                         .conf = with_plugins ? env->conf : NULL};

    snprintf(tests_dir, sizeof(tests_dir), "%s/tests/lua", cli->root);
    till_bundle_t *bundle = till_bundle_read(&source, error, sizeof(error));
    till_vm_t *vm = bundle != NULL ? till_vm_create(bundle, env, error, sizeof(error)) : NULL;
    if (vm == NULL)
        fprintf(stderr, "moontill: %s\n", error);
    return vm;
}

static int run_over(till_cli_t *cli, const till_conf_t *conf, const char *name, bool with_plugins)
{
    till_pools_t pools;

    setenv("MOONTILL_ROOT", cli->root, 1); /* for the commands that read files beside the program's */
    setenv("MOONTILL_VAR", cli->var_dir, 1);
    till_log_set_process("command");
    till_log_set_level(TILL_LOG_ERROR); /* what matters a command says itself */
    till_pools_init(&pools, conf, "command", cli->var_dir);
    pools.env.is_command = true;
    till_vm_t *vm = load(cli, name, &pools.env, with_plugins);
    int code = vm != NULL ? run(cli, &pools, vm, name) : 1;
    till_pools_dispose(&pools);
    return code;
}

int till_cli_run_bare(till_cli_t *cli, const till_conf_t *conf, const char *name)
{
    return run_over(cli, conf, name, false);
}

int till_cli_run_whole(till_cli_t *cli, const till_conf_t *conf, const char *name)
{
    return run_over(cli, conf, name, true);
}

int till_cli_run_lua(till_cli_t *cli, const char *name)
{
    till_conf_t *conf = till_cli_conf(cli);

    if (conf == NULL)
        return 1;
    int code = run_over(cli, conf, name, true);
    till_conf_destroy(conf);
    return code;
}
