/* master_upgrade.c - the program replaced while it serves (USR2, `moontill upgrade`); docs/decisions/0006.
 *
 *     old master                                  new master
 *     ----------                                  ----------
 *     fork, exec ── listeners, control, channel ─►
 *                ── "secret" ──────────────────►  reads configuration and folders,
 *                                                 starts all its workers, which serve
 *                ◄──────────────────── "ready" ──
 *     lets go of the control socket
 *                ── "yours" ───────────────────►  takes orders, writes the pid file, tells the
 *     drains                                      service manager its pid
 *                ◄────────── closes the channel ──
 *     ends
 *
 * Whatever goes wrong before "ready" (a program that does not run, a schema that
 * is not migrated, a bad configuration, a worker that does not load, a minute
 * gone by) costs the new one its life and nothing else. A new one whose old one
 * dies meanwhile goes on by itself.
 *
 * The old one never ends before the new pid is known: who watches the old pid
 * would take the end of an idle server for the end of the shop.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/json.h"
#include "base/log.h"
#include "serve/cli.h"
#include "serve/master_priv.h"
#include "serve/notify.h"

#define START_LIMIT_MS 90000
#define TAKE_OVER_LIMIT_MS 5000

bool till_upgrade_is_idle(const till_master_t *master) { return master->upgrade.pid == 0 && master->old_channel == -1; }

void till_upgrade_forget(till_master_t *master)
{
    if (master->upgrade.pid != 0)
        close(master->upgrade.channel);
    if (master->old_channel != -1)
        close(master->old_channel);
    if (master->handed_channel != -1)
        close(master->handed_channel);
}

/* ---- the old one ------------------------------------------------------------------ */

static void become_successor(till_master_t *master, int channel)
{
    const till_inherited_t given = {.listen_fd = master->now.listen_fd,
                                    .ops_fd = master->now.ops_fd,
                                    .control_fd = till_control_fd(master->control),
                                    .handover_fd = channel};
    sigset_t none;

    till_inherit_give(&given);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    execv(master->opts->program, master->opts->argv);
    fprintf(stderr, "moontill: %s: %s\n", master->opts->program, strerror(errno));
    till_channel_send(channel, "failed", "-", strerror(errno));
    _exit(127);
}

static bool may_begin(till_master_t *master, uint64_t client)
{
    bool is_busy = master->change.phase != PHASE_IDLE || !till_upgrade_is_idle(master);

    if (is_busy && client == 0) {
        master->wants_upgrade = true;
        return false;
    }
    const char *reason = master->is_stopping             ? "the server is being stopped"
                         : is_busy                       ? "another change is under way; try again in a moment"
                         : !master->is_announced         ? "the server is still starting"
                         : master->opts->program == NULL ? "this server does not know its program"
                         : getpid() == 1 ? "this is process 1, with whose end its container ends: replace the container"
                                         : NULL;
    if (reason != NULL)
        till_answer_refuse(master, client, reason);
    return reason == NULL;
}

void till_upgrade_begin(till_master_t *master, uint64_t client)
{
    till_upgrade_t *upgrade = &master->upgrade;
    int ends[2];

    if (!may_begin(master, client))
        return;
    if (till_channel_create(ends) != 0) {
        till_answer_refuse(master, client, "there is no descriptor left for it");
        return;
    }
    till_log_msg(TILL_LOG_INFO, "server.upgrade", "%s starts", master->opts->program);
    till_channel_send(ends[0], "secret", "-", till_cli_secret());
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        become_successor(master, ends[1]);
    close(ends[1]);
    if (pid == -1) {
        close(ends[0]);
        till_answer_refuse(master, client, "there is no process left for it");
        return;
    }
    *upgrade = (till_upgrade_t){
        .pid = pid, .channel = ends[0], .client = client, .deadline_ms = till_master_now() + START_LIMIT_MS};
}

static void end_upgrade(till_master_t *master)
{
    close(master->upgrade.channel);
    master->upgrade.pid = 0;
}

static void hand_over(till_master_t *master)
{
    till_upgrade_t *upgrade = &master->upgrade;
    char line[64];

    int len = snprintf(line, sizeof(line), "{\"ok\":true,\"pid\":%d}", (int)upgrade->pid);
    till_answer_end(master, upgrade->client, line, (size_t)len);
    till_control_destroy(master->control, false);
    master->control = NULL;
    master->is_succeeded = true;
    till_log_msg(TILL_LOG_INFO, "server.succeeded", "by process %d", (int)upgrade->pid);
    till_channel_send(upgrade->channel, "yours", "-", NULL);
    master->handed_channel = upgrade->channel;
    upgrade->deadline_ms = till_master_now() + TAKE_OVER_LIMIT_MS;
    upgrade->pid = 0;
    till_master_begin_stop(master, 0);
}

static void hear_successor(till_master_t *master)
{
    till_upgrade_t *upgrade = &master->upgrade;
    till_message_t message;

    while (upgrade->pid != 0 && till_channel_receive(upgrade->channel, &message) == 1) {
        if (strcmp(message.verb, "failed") == 0)
            snprintf(upgrade->reason, sizeof(upgrade->reason), "%.500s", message.text);
        else if (strcmp(message.verb, "ready") == 0)
            hand_over(master);
    }
}

/* It closes the channel once everybody who asks for the server's pid gets its own. */
static void await_take_over(till_master_t *master)
{
    till_message_t message;

    if (master->handed_channel == -1)
        return;
    if (till_channel_receive(master->handed_channel, &message) != -1 && till_master_now() < master->upgrade.deadline_ms)
        return;
    close(master->handed_channel);
    master->handed_channel = -1;
}

void till_upgrade_give_up(till_master_t *master, const char *reason)
{
    till_upgrade_t *upgrade = &master->upgrade;

    if (upgrade->pid == 0)
        return;
    kill(upgrade->pid, SIGKILL); /* its workers end by themselves */
    waitpid(upgrade->pid, NULL, 0);
    till_answer_refuse(master, upgrade->client, reason);
    end_upgrade(master);
}

void till_upgrade_reap(till_master_t *master)
{
    till_upgrade_t *upgrade = &master->upgrade;
    char reason[700];
    int status;

    if (upgrade->pid == 0 || waitpid(upgrade->pid, &status, WNOHANG) != upgrade->pid)
        return;
    hear_successor(master);
    if (upgrade->pid == 0)
        return;
    if (WIFSIGNALED(status))
        snprintf(reason, sizeof(reason), "the new server was ended by signal %d before it was ready", WTERMSIG(status));
    else
        snprintf(reason, sizeof(reason), "the new server ended before it was ready: %s",
                 upgrade->reason[0] != '\0' ? upgrade->reason : "its standard error says why");
    till_answer_refuse(master, upgrade->client, reason);
    end_upgrade(master);
}

/* ---- the new one -------------------------------------------------------------------- */

void till_upgrade_tell_old(till_master_t *master, const char *verb, const char *text)
{
    if (master->old_channel != -1)
        till_channel_send(master->old_channel, verb, "-", text);
}

/* Either it was said so, or there is nobody any more who could. */
static void take_over(till_master_t *master)
{
    if (master->is_announced) { /* else it died early: when we are ready, we are as one that was started */
        till_live_write_pid(master);
        till_live_remember(master);
        till_notify("MAINPID=%d\nREADY=1", (int)getpid());
        till_log_msg(TILL_LOG_INFO, "server.took_over", "from process %d", (int)master->old_pid);
    }
    close(master->old_channel); /* now it may end */
    master->old_channel = -1;
}

static void hear_old(till_master_t *master)
{
    till_message_t message;
    int got;

    while (master->old_channel != -1 && (got = till_channel_receive(master->old_channel, &message)) != 0) {
        if (got == -1 || strcmp(message.verb, "yours") == 0)
            take_over(master);
    }
}

/* `moontill dev` is to be told of its end by the kernel, as the first server was. The wish is about the parent of the
 * moment, so it waits for the old one to be gone. */
static void follow_new_parent(till_master_t *master)
{
    if (master->old_pid == 0 || getppid() == master->old_pid)
        return;
    master->old_pid = 0;
    if (getenv("MOONTILL_DIES_WITH_PARENT") != NULL)
        prctl(PR_SET_PDEATHSIG, SIGTERM);
}

void till_upgrade_turn(till_master_t *master)
{
    hear_old(master);
    follow_new_parent(master);
    hear_successor(master);
    await_take_over(master);
    if (master->upgrade.pid != 0 && till_master_now() >= master->upgrade.deadline_ms)
        till_upgrade_give_up(master, "the new server was not ready within 90 s");
    if (master->wants_upgrade && master->change.phase == PHASE_IDLE && till_upgrade_is_idle(master)) {
        master->wants_upgrade = false;
        till_upgrade_begin(master, 0);
    }
}
