#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/json.h"
#include "base/version.h"
#include "serve/master_priv.h"

static void write_generation(till_buf_t *out, const char *member, const char *name, uint64_t since_ms)
{
    time_t seconds = (time_t)(since_ms / 1000);
    struct tm utc;
    char text[32];

    if (name[0] == '\0') {
        till_buf_printf(out, ",\"%s\":null", member);
        return;
    }
    gmtime_r(&seconds, &utc);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
    till_buf_printf(out, ",\"%s\":{\"name\":\"%s\",\"since\":\"%s\"}", member, name, text);
}

static void write_truth(const till_master_t *master, till_buf_t *out)
{
    bool is_behind = master->truth.is_behind || master->truth.is_foreign;

    till_buf_puts(out, ",\"truth\":{");
    till_line_put(out, "name", master->truth.name);
    till_line_put_int(out, "sequence", master->truth.sequence);
    till_buf_printf(out, ",\"behind\":%s}", is_behind ? "true" : "false");
}

/* A name once for each worker that finishes it. */
static void write_cooling(const till_master_t *master, till_buf_t *out)
{
    const char *between = "";

    till_buf_puts(out, ",\"cooling\":[");
    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        for (size_t k = 0; k != TILL_COOLING_KEPT; ++k) {
            if (master->children[i].cooling[k][0] == '\0')
                continue;
            till_buf_printf(out, "%s\"%s\"", between, master->children[i].cooling[k]);
            between = ",";
        }
    }
    till_buf_putc(out, ']');
}

static void do_generations(till_master_t *master, till_buf_t *out)
{
    till_buf_puts(out, "{\"ok\":true");
    write_generation(out, "live", master->live, master->live_since_ms);
    write_generation(out, "previous", master->previous, master->previous_since_ms);
    write_truth(master, out);
    if (master->change.phase == PHASE_PREPARING || master->change.phase == PHASE_RECORDING)
        till_line_put(out, "loading", master->change.name);
    write_cooling(master, out);
    till_buf_putc(out, '}');
}

static void write_worker(const till_master_t *master, const till_child_t *child, till_buf_t *out)
{
    static const char *const states[] = {"down", "starting", "ready"};

    till_buf_printf(out, "%s{\"name\":\"%s\",\"pid\":%d,\"state\":\"%s\",\"restarts\":%u,\"generation\":\"%s\"}",
                    out->base[out->len - 1] == '[' ? "" : ",", child->name, (int)child->pid,
                    child->set == SET_LEAVING ? "draining" : states[child->state], child->restarts,
                    till_metrics_generation(master->metrics, child->slot));
}

/* Web workers first. */
void till_commands_write_workers(const till_master_t *master, till_buf_t *out)
{
    till_buf_puts(out, "\"workers\":[");
    for (int is_web = 1; is_web >= 0; --is_web) {
        for (size_t i = 0; i != TILL_CHILDREN; ++i) {
            if (master->children[i].set != SET_FREE && master->children[i].is_web == is_web)
                write_worker(master, &master->children[i], out);
        }
    }
    till_buf_putc(out, ']');
}

static void do_status(till_master_t *master, till_buf_t *out)
{
    till_buf_printf(out, "{\"ok\":true,\"pid\":%d,\"version\":\"%s\",\"generation\":\"%s\",", (int)getpid(),
                    till_version(), master->live);
    till_commands_write_workers(master, out);
    till_buf_putc(out, '}');
}

static void do_stop(till_master_t *master, till_buf_t *out)
{
    till_buf_puts(out, "{\"ok\":true}");
    till_master_begin_stop(master, 0);
}

static size_t count_characters(const char *text)
{
    size_t n = 0;

    for (; *text != '\0'; ++text)
        n += (*text & 0xc0) != 0x80;
    return n;
}

/* @return whether the member is missing, or was taken */
static bool take_text(const char *line, size_t len, const char *member, char *out, size_t size, size_t max)
{
    return (till_line_text(line, len, member, out, size) || !till_line_has(line, len, member)) &&
           count_characters(out) <= max;
}

/* One that is there and cannot be taken is not taken for one that is missing: without a hash a rollback goes to the
 * generation before, without `expect` it overwrites what somebody else has just made live.
 * @return NULL, or what is wrong */
static const char *read_wish(till_wish_t *wish, const char *kind, uint64_t client, const char *line, size_t len)
{
    *wish = (till_wish_t){.client = client};
    snprintf(wish->kind, sizeof(wish->kind), "%s", kind);
    if (!take_text(line, len, "reason", wish->reason, sizeof(wish->reason), TILL_REASON_MAX))
        return "reason: give a text of up to 500 characters";
    if (!take_text(line, len, "author", wish->author, sizeof(wish->author), TILL_AUTHOR_MAX))
        return "author: give a text of up to 190 characters";
    if (!take_text(line, len, "expect", wish->expect, sizeof(wish->expect), TILL_GENERATION_NAME))
        return "expect: give the 64 hex digits of a hash";
    if (!till_line_has(line, len, "author"))
        snprintf(wish->author, sizeof(wish->author), "control socket");
    return NULL;
}

static void reload(till_master_t *master, uint64_t client, const char *line, size_t len)
{
    till_wish_t wish;
    const char *wrong = read_wish(&wish, "reload", client, line, len);

    if (wrong != NULL)
        till_answer_refuse(master, client, wrong);
    else
        till_change_reload(master, &wish);
}

/* Both take what is in the database; without a hash it is the generation before the live one. */
static void go_to(till_master_t *master, uint64_t client, const char *kind, const char *line, size_t len)
{
    till_wish_t wish;
    char hash[1024]; /* of one that is too long it is said so */
    const char *wrong = read_wish(&wish, kind, client, line, len);

    if (wrong == NULL && !take_text(line, len, "hash", hash, sizeof(hash), sizeof(hash)))
        wrong = "hash: give up to 64 hex digits; `moontill generations` lists them";
    if (wrong != NULL)
        till_answer_refuse(master, client, wrong);
    else if (master->is_stopping)
        till_answer_refuse(master, client, "the server is being stopped");
    else if (!till_upgrade_is_idle(master))
        till_answer_refuse(master, client, "the server is being replaced");
    else if (master->change.phase != PHASE_IDLE)
        till_answer_busy(master, client);
    else
        till_record_fetch(master, hash, &wish);
}

static void rollback(till_master_t *master, uint64_t client, const char *line, size_t len)
{
    go_to(master, client, "rollback", line, len);
}

static void activate(till_master_t *master, uint64_t client, const char *line, size_t len)
{
    go_to(master, client, "activate", line, len);
}

static void upgrade(till_master_t *master, uint64_t client, const char *line, size_t len)
{
    (void)line;
    (void)len;
    till_upgrade_begin(master, client);
}

static void do_hurry(till_master_t *master, till_buf_t *out)
{
    till_follow_hurry(master);
    till_buf_puts(out, "{\"ok\":true}");
}

static void put_wrong(till_buf_t *out, const char *wrong)
{
    till_buf_puts(out, "{\"ok\":false,\"error\":");
    till_json_write_string(out, wrong, strlen(wrong));
    till_buf_putc(out, '}');
}

/* For tests: see base/fault.h. */
static void do_fault(const char *faults, till_buf_t *out)
{
    int left = 0;
    const char *wrong = till_fault_arm(faults, &left);

    if (wrong == NULL)
        till_buf_printf(out, "{\"ok\":true,\"left\":%d}", left);
    else
        put_wrong(out, wrong);
}

static void put_fault(void *out, const char *name, int left)
{
    const till_buf_t *all = out;

    till_buf_printf(out, "%s{\"name\":\"%s\",\"left\":%d}", all->base[all->len - 1] == '[' ? "" : ",", name, left);
}

static void do_faults(till_master_t *master, till_buf_t *out)
{
    (void)master;
    till_buf_puts(out, "{\"ok\":true,\"faults\":[");
    const char *wrong = till_fault_each(put_fault, out);
    till_buf_puts(out, "]}");
    if (wrong == NULL)
        return;
    till_buf_clear(out);
    put_wrong(out, wrong);
}

/* Those that are answered later. @return whether it was one */
static bool begin(till_master_t *master, const char *command, uint64_t client, const char *line, size_t len)
{
    static const struct {
        const char *name;
        void (*run)(till_master_t *, uint64_t, const char *, size_t);
    } commands[] = {{"reload", reload}, {"rollback", rollback}, {"activate", activate}, {"upgrade", upgrade}};

    for (size_t i = 0; i != sizeof(commands) / sizeof(commands[0]); ++i) {
        if (strcmp(command, commands[i].name) != 0)
            continue;
        commands[i].run(master, client, line, len);
        return true;
    }
    return false;
}

void till_commands_on_line(void *data, uint64_t client, const char *line, size_t len)
{
    static const struct {
        const char *name;
        void (*run)(till_master_t *, till_buf_t *);
    } commands[] = {{"generations", do_generations},
                    {"status", do_status},
                    {"stop", do_stop},
                    {"hurry", do_hurry},
                    {"faults", do_faults}};
    static const char unknown[] =
        "{\"ok\":false,\"error\":\"not a command: reload, upgrade, rollback, activate, generations, status or "
        "stop, as {\\\"command\\\":\\\"reload\\\"}\"}";
    till_master_t *master = data;
    char command[128];
    till_buf_t answer;

    if (till_line_is_object(line, len))
        till_line_text(line, len, "command", command, sizeof(command));
    else
        command[0] = '\0';
    if (begin(master, command, client, line, len))
        return;
    till_buf_init(&answer, 0);
    for (size_t i = 0; i != sizeof(commands) / sizeof(commands[0]); ++i) {
        if (strcmp(command, commands[i].name) == 0)
            commands[i].run(master, &answer);
    }
    if (strncmp(command, "fault ", 6) == 0)
        do_fault(command + 6, &answer);
    if (answer.len == 0)
        till_buf_puts(&answer, unknown);
    till_answer_end(master, client, answer.base, answer.len);
    till_buf_dispose(&answer);
}
