/* cli.h - what all commands share: where the program's files are, common options, commands written in Lua.
 *
 * C knows two commands, `dev` and `serve`, and the ones that talk to a running
 * server (`reload`, `generations`). Every other is lua/till/cli/<name>.lua, run
 * as a coroutine in a VM of its own with the pools of a worker.
 *
 * Exit codes: 0 done, 1 refused or failed, 2 misuse.
 */
#ifndef TILL_SERVE_CLI_H
#define TILL_SERVE_CLI_H

#include "base/conf.h"

#define TILL_CLI_SETS 64
#define TILL_CLI_PLUGIN_DIRS 16
#define TILL_CLI_REST 255

typedef struct till_cli {
    char root[512]; /* holds lua/ plugins/ sql/ conf/ web/ */
    char lua_dir[600];
    const char *var_dir;   /* --var; "var" by default */
    const char *conf_file; /* --conf; ROOT/conf/moontill.lua by default */
    const char *listen;    /* --listen; NULL: the configuration's */
    const char *sets[TILL_CLI_SETS];
    size_t set_count;
    const char *plugin_dirs[TILL_CLI_PLUGIN_DIRS]; /* ROOT/plugins first */
    size_t plugin_dir_count;
    bool demo, json, help, watch;
    const char *rest[TILL_CLI_REST + 1]; /* what is no common option, in order; NULL-terminated */
    size_t rest_count;
    char program[600]; /* this one: where it was started from, for it may be replaced there */
    char **argv;
    char _conf_file[600], _plugins[600];
} till_cli_t;

/** Reads argv[2..]. @return false after it has said on stderr what is wrong (exit 2) */
bool till_cli_parse(till_cli_t *cli, int argc, char **argv);
/**
 * Loads the configuration; where DIR/dev.json is there, its sockets and database come before `--set`.
 * @return NULL after it has said on stderr what is wrong (exit 1)
 */
till_conf_t *till_cli_conf(const till_cli_t *cli);
/** The same, with the sentence in `error`. */
till_conf_t *till_cli_read_conf(const till_cli_t *cli, char *error, size_t error_size);
/** Was shop.signing_secret made by this process, because none is configured? */
bool till_cli_made_secret(const till_conf_t *conf);
/** The assignment that made it, or "": a successor goes on with it, so that cursors stay valid. */
const char *till_cli_secret(void);
void till_cli_use_secret(const char *assignment);
/** Runs lua/till/cli/`name`.lua with the rest of the arguments. @return the exit code */
int till_cli_run_lua(till_cli_t *cli, const char *name);
/** As till_cli_run_lua, over this configuration, and without plugins: for what has to work where they are broken. */
int till_cli_run_bare(till_cli_t *cli, const till_conf_t *conf, const char *name);
/** As till_cli_run_lua, over this configuration. */
int till_cli_run_whole(till_cli_t *cli, const till_conf_t *conf, const char *name);
/** A field of a small JSON object in a file, at most `size`-1 bytes. @return false if it is not there */
bool till_cli_json_field(const char *path, const char *field, char *out, size_t size);

#endif
