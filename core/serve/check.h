/* check.h - a generation is tried where nothing is lost, before a worker sees it.
 *
 * Everything that a load checks is checked by loading it, and then the specs of
 * plugins are run. What loads may be broken in ways that no VM survives: a text
 * that crashes LuaJIT, a pattern that computes for years in C, where no hook
 * looks. So this is for processes that do nothing else, a fork of the master
 * (master_trial.c) or a command (`moontill plugin test`): such a thing ends the
 * process, which says on its way out which file and line it was at.
 *
 * What it says goes to standard output: a line a finding, or one JSON object.
 */
#ifndef TILL_SERVE_CHECK_H
#define TILL_SERVE_CHECK_H

#include "serve/cli.h"
#include "vm/bundle.h"

typedef struct till_check {
    const till_conf_t *conf;
    const char *root, *var_dir;
    till_bundle_t *bundle;        /* taken */
    bool has_servers;             /* specs may ask the database and Redis */
    bool json;                    /* the findings */
    const char *const *arguments; /* of lua/till/cli/plugin.lua, `n` of them */
    size_t n;
} till_check_t;

/** @return the exit code: 0, 1 where there are findings, 2 for misuse. May end the process with 1. */
int till_check_run(const till_check_t *check);
/** `moontill plugin ...` */
int till_plugin_run(till_cli_t *cli);

#endif
