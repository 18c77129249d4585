#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/json.h"
#include "base/version.h"
#include "serve/master_priv.h"

/* The member "command" of a flat object. */
static bool find_command(const char *line, size_t len, char *out, size_t size)
{
    till_json_reader_t reader;
    till_json_token_t token;
    bool found = false, is_next = false;

    till_json_reader_init(&reader, line, len);
    while ((token = till_json_next(&reader)) != TILL_JSON_ERROR && token != TILL_JSON_END) {
        if (token == TILL_JSON_STRING && is_next && reader.len < size) {
            snprintf(out, size, "%.*s", (int)reader.len, reader.text);
            found = true;
        }
        is_next = token == TILL_JSON_KEY && reader.len == 7 && memcmp(reader.text, "command", 7) == 0;
    }
    till_json_reader_dispose(&reader);
    return found && token == TILL_JSON_END;
}

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

static void do_generations(till_master_t *master, till_buf_t *out)
{
    till_buf_puts(out, "{\"ok\":true");
    write_generation(out, "live", master->live, master->live_since_ms);
    write_generation(out, "previous", master->previous, master->previous_since_ms);
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

static void rollback(till_master_t *master, uint64_t client)
{
    static const char none[] = "{\"ok\":false,\"error\":\"there is no generation before the live one\"}";

    if (!till_upgrade_is_idle(master))
        till_change_refuse(master, client, "the server is being replaced");
    else if (master->previous[0] == '\0')
        till_control_end(master->control, client, none, sizeof(none) - 1);
    else
        till_change_begin(master, master->previous, client);
}

/* For tests: see base/fault.h. */
static void do_fault(const char *faults, till_buf_t *out)
{
    int left = 0;
    const char *wrong = till_fault_arm(faults, &left);

    if (wrong == NULL) {
        till_buf_printf(out, "{\"ok\":true,\"left\":%d}", left);
        return;
    }
    till_buf_puts(out, "{\"ok\":false,\"error\":");
    till_json_write_string(out, wrong, strlen(wrong));
    till_buf_putc(out, '}');
}

void till_commands_on_line(void *data, uint64_t client, const char *line, size_t len)
{
    static const struct {
        const char *name;
        void (*run)(till_master_t *, till_buf_t *);
    } commands[] = {{"generations", do_generations}, {"status", do_status}, {"stop", do_stop}};
    static const char unknown[] =
        "{\"ok\":false,\"error\":\"not a command: reload, upgrade, rollback, generations, status or "
        "stop, as {\\\"command\\\":\\\"reload\\\"}\"}";
    till_master_t *master = data;
    char command[128] = "";
    till_buf_t answer;

    find_command(line, len, command, sizeof(command));
    if (strcmp(command, "reload") == 0) {
        till_change_reload(master, client);
        return;
    }
    if (strcmp(command, "upgrade") == 0) {
        till_upgrade_begin(master, client);
        return;
    }
    if (strcmp(command, "rollback") == 0) {
        rollback(master, client);
        return;
    }
    till_buf_init(&answer, 0);
    for (size_t i = 0; i != sizeof(commands) / sizeof(commands[0]); ++i) {
        if (strcmp(command, commands[i].name) == 0)
            commands[i].run(master, &answer);
    }
    if (strncmp(command, "fault ", 6) == 0)
        do_fault(command + 6, &answer);
    if (answer.len == 0)
        till_buf_puts(&answer, unknown);
    till_control_end(master->control, client, answer.base, answer.len);
    till_buf_dispose(&answer);
}
