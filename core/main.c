/* main.c - the command line: which command, and who does it. */
#include <stdio.h>
#include <string.h>
#include "base/fault.h"
#include "base/version.h"
#include "serve/check.h"
#include "serve/dev.h"
#include "serve/doctor.h"
#include "serve/serve.h"

#define OF_RUNNING                                                                                                     \
    "  --var DIR    of the running server (var)\n"                                                                     \
    "  --json       the answer for machines\n"

/* Commands in Lua are lua/till/cli/<name>.lua, which print their own --help. */
static const struct {
    const char *name;
    int (*run)(till_cli_t *cli); /* NULL: in Lua */
    const char *help;
    const char *options;
} commands[] = {
    {"dev", till_dev_run, "a whole shop from nothing: own MariaDB, own Redis, demo data",
     "  --var DIR             where everything is kept (var)\n"
     "  --listen HOST:PORT    the shop; the ops listener takes the next port (127.0.0.1:8443)\n"
     "  --plugins DIR         a further folder of plugins; may be repeated\n"
     "  --set OPTION=VALUE    over conf/moontill.lua; may be repeated\n"
     "  --no-demo             an empty shop\n"
     "  --watch               reload whenever Lua or the configuration is saved\n"
     "Prints `ready https://HOST:PORT` when it serves and has written DIR/dev.json. TERM stops it all.\n"},
    {"serve", till_serve_run, "the server of conf/moontill.lua, with a database that is there",
     "  --conf FILE           the configuration (conf/moontill.lua)\n"
     "  --var DIR             control socket and generations (var)\n"
     "  --listen HOST:PORT    over server.listen\n"
     "  --plugins DIR, --set OPTION=VALUE    as in moontill dev\n"
     "TERM drains and stops, HUP reloads, USR2 replaces the program; see docs/operations.md.\n"},
    {"reload", till_reload_run, "load the Lua folders anew, in every worker or in none",
     OF_RUNNING "  --reason TEXT    why; `moontill generations` shows it\n"},
    {"upgrade", till_upgrade_run, "replace the program while it serves, by the one that is on the disk now",
     OF_RUNNING},
    {"rollback", till_rollback_run, "[HASH]: back to the generation before the live one, or to that one",
     OF_RUNNING "  --reason TEXT    why; `moontill generations` shows it\n"},
    {"generations", till_generations_run, "what is and was live, who changed it and why; diff A B",
     "  moontill generations [list]    the newest, with what each changed\n"
     "  moontill generations history   who changed what is live, when and why; what was refused\n"
     "  moontill generations diff A B  unified; A and B are beginnings of hashes, `live` or `previous`\n"
     "  --limit N    of list and history (20)\n"
     "  --conf FILE, --var DIR, --json\n"},
    {"status", till_status_run, "the server's processes", OF_RUNNING},
    {"doctor", till_doctor_run, "is this machine, its database and configuration fit for a shop?",
     "  --conf FILE  the configuration (conf/moontill.lua)\n"
     "  --var DIR    of the server, running or not, or of moontill dev (var)\n"
     "  --json       findings for machines: {findings: [{check, level, finding, advice}], ok, warn, fail}\n"
     "Asks, and changes nothing. Exit code 1 where something fails; docs/operations.md says what each finding "
     "means.\n"},
    {"plugin", till_plugin_run, "new NAME | test NAME | check [NAME]: for whoever writes plugins", ""},
    {"stop", till_stop_run, "drain and stop the server", OF_RUNNING},
    {"migrate", NULL, "bring the database to this version's schema [--status | --dry-run]", NULL},
    {"import", NULL, "products FILE | orders FILE: read a shop's CSV, also .xz", NULL},
    {"jobs", NULL, "the outbox: what is to be done, what was given up; schedules", NULL},
    {"sagas", NULL, "flows that wait or are parked: retry, resolve", NULL},
    {"orders", NULL, "what is owed for an order: due, request-payment, withdraw-request", NULL},
    {"payments", NULL,
     "attempts to be paid: list, show, resolve; reconcile: a provider's account against the books; payouts", NULL},
    {"stock", NULL, "stock against its log: check, reconcile; its events; alerts", NULL},
    {"user", NULL, "staff: create, list, password, disable", NULL},
    {"key", NULL, "API keys: create, list, revoke", NULL},
    {"start", NULL, NULL, NULL},
    {"setup", NULL, NULL, NULL},
    {"demo", NULL, NULL, NULL},
    {"spec", NULL, NULL, NULL},
};

static void print_help(FILE *out)
{
    fputs("moontill - a commerce server that merchants program in Lua\n\n"
          "usage: moontill COMMAND [--var DIR] [--conf FILE] [--set OPTION=VALUE]… [--plugins DIR]… [--json] "
          "[--help]\n\n",
          out);
    for (size_t i = 0; i != sizeof(commands) / sizeof(commands[0]); ++i) {
        if (commands[i].help != NULL)
            fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].help);
    }
    fputs("\n  --version, --help\n\nExit codes: 0 done, 1 refused or failed, 2 misuse.\n", out);
}

static int run(size_t i, int argc, char **argv)
{
    till_cli_t cli;

    if (!till_cli_parse(&cli, argc, argv))
        return 2;
    if (commands[i].run == NULL)
        return till_cli_run_lua(&cli, commands[i].name);
    if (cli.help && commands[i].options[0] != '\0') {
        printf("moontill %s - %s\n\n%s", commands[i].name, commands[i].help, commands[i].options);
        return 0;
    }
    return commands[i].run(&cli);
}

int main(int argc, char **argv)
{
    const char *fault = till_fault_arm_from_env();

    if (fault != NULL) {
        fprintf(stderr, "moontill: TILL_FAULTS: %s\n", fault);
        return 2;
    }
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("moontill %s\n", till_version());
        return 0;
    }
    for (size_t i = 0; i != sizeof(commands) / sizeof(commands[0]); ++i) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return run(i, argc, argv);
    }
    fprintf(stderr, "moontill: %s: there is no such command\n\n", argv[1]);
    print_help(stderr);
    return 2;
}
