/* serve.h - `moontill serve`, and the commands that reach a running one through its control socket.
 *
 * `serve` prints one line on standard output when all web workers serve:
 * `ready https://HOST:PORT` (http:// where no certificate is configured).
 * reload, upgrade, rollback, status and stop print what the server
 * answers: sentences, or with --json its lines as they are. generations reads
 * the database (lua/till/cli/generations.lua), without the plugins of the
 * folders, which may be broken.
 */
#ifndef TILL_SERVE_SERVE_H
#define TILL_SERVE_SERVE_H

#include "serve/cli.h"

/** Each @return the exit code: 0 done, 1 refused or failed, 2 misuse. */
int till_serve_run(till_cli_t *cli);
int till_reload_run(till_cli_t *cli);
int till_rollback_run(till_cli_t *cli);
int till_generations_run(till_cli_t *cli);
int till_status_run(till_cli_t *cli);
int till_upgrade_run(till_cli_t *cli);
int till_stop_run(till_cli_t *cli);

#endif
