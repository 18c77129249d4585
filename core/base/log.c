/* log.c - see log.h
 *
 * The last RESERVE bytes of a line are kept for its end, so that a line that
 * was cut is still one JSON object.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/card.h"
#include "base/fork.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8_priv.h"

#define RESERVE 32
#define GATHERED_MAX 65536
#define CARD_SHOWN 4

static int destination = STDERR_FILENO;
static int least = TILL_LOG_INFO;
static char process[32] = "command";

static _Thread_local struct {
    char *text; /* NULL: this thread does not gather */
    size_t len;
} gathered;

/* dup2 keeps the number, so that a thread in the middle of a line never sees a closed descriptor. */
int till_log_open(const char *path)
{
    if (path == NULL) {
        destination = STDERR_FILENO;
        return 0;
    }
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        return errno;
    if (destination == STDERR_FILENO) {
        destination = fd;
        return 0;
    }
    int error = dup3(fd, destination, O_CLOEXEC) < 0 ? errno : 0;
    close(fd);
    return error;
}

void till_log_set_level(till_log_level_t level) { __atomic_store_n(&least, (int)level, __ATOMIC_RELAXED); }

void till_log_set_process(const char *name) { snprintf(process, sizeof(process), "%s", name); }

static bool put(till_log_t *line, const char *bytes, size_t len)
{
    if (line->_len + len > sizeof(line->_text) - RESERVE)
        line->_cut = true;
    if (line->_cut)
        return false;
    memcpy(line->_text + line->_len, bytes, len);
    line->_len += len;
    return true;
}

/* What stands in a JSON string for the character at `bytes`; a NUL and bytes that are no
 * UTF-8 show as \xff, with the backslash escaped. */
static size_t escape(char out[8], const char *bytes, size_t step)
{
    uint8_t c = (uint8_t)bytes[0];

    if (step == 0 || c == 0)
        return (size_t)snprintf(out, 8, "\\\\x%02x", c);
    if (c < 0x20 || c == 0x7f)
        return (size_t)snprintf(out, 8, "\\u%04x", c);
    if (c == '"' || c == '\\')
        return (size_t)snprintf(out, 8, "\\%c", c);
    memcpy(out, bytes, step);
    return step;
}

/* As many of the bytes as there is room for. */
static bool put_plain(till_log_t *line, const char *bytes, size_t len)
{
    size_t room = sizeof(line->_text) - RESERVE - line->_len;

    if (len > room) {
        put(line, bytes, room);
        line->_cut = true;
        return false;
    }
    return put(line, bytes, len);
}

/* Nearly all that is logged is plain, and goes in as it is. */
static void put_units(till_log_t *line, const char *bytes, size_t len)
{
    char unit[8];

    for (size_t at = 0, run; at < len; at += run) {
        if ((run = till_utf8_plain(bytes + at, len - at)) != 0) {
            if (!put_plain(line, bytes + at, run))
                return;
            continue;
        }
        size_t step = till_utf8_step(bytes + at, len - at);
        if (!put(line, unit, escape(unit, bytes + at, step)))
            return;
        run = step != 0 ? step : 1;
    }
}

/* All text of a line comes through here, before it is escaped: a line end that became \u000a would hide the number of
 * a card behind it. */
static void put_escaped(till_log_t *line, const char *bytes, size_t len)
{
    size_t from, to;

    while (till_card_find(bytes, len, &from, &to)) {
        put_units(line, bytes, from);
        put(line, "***", 3);
        put_units(line, bytes + to - CARD_SHOWN, CARD_SHOWN);
        bytes += to;
        len -= to;
    }
    put_units(line, bytes, len);
}

/* The closing quote takes of the reserve when the line was cut in the middle. */
static void put_quoted(till_log_t *line, const char *bytes, size_t len)
{
    if (!put(line, "\"", 1))
        return;
    put_escaped(line, bytes, len);
    line->_text[line->_len++] = '"';
}

/* Writes `,"key":`; @return false, with nothing written, when the line is off or full */
static bool put_key(till_log_t *line, const char *key)
{
    size_t before = line->_len;

    if (!line->_on || line->_cut)
        return false;
    put(line, ",\"", 2);
    put_escaped(line, key, strlen(key));
    if (put(line, "\":", 2) && line->_len + 4 <= sizeof(line->_text) - RESERVE)
        return true;
    line->_len = before;
    line->_cut = true;
    return false;
}

/* A value that is not a string: whole or not at all. */
static void put_bare(till_log_t *line, const char *key, const char *text)
{
    size_t before = line->_len;

    if (put_key(line, key) && !put(line, text, strlen(text)))
        line->_len = before;
}

/* The second's text is made once a second. */
static void put_time(till_log_t *line)
{
    static _Thread_local struct {
        time_t second;
        char text[48];
        size_t len;
    } last;
    struct timespec now;
    struct tm utc;

    clock_gettime(CLOCK_REALTIME, &now);
    if (last.len == 0 || now.tv_sec != last.second) {
        gmtime_r(&now.tv_sec, &utc);
        last.len = strftime(last.text, sizeof(last.text), "{\"time\":\"%Y-%m-%dT%H:%M:%S.", &utc);
        last.second = now.tv_sec;
    }
    int ms = (int)(now.tv_nsec / 1000000);
    const char rest[] = {(char)('0' + ms / 100), (char)('0' + ms / 10 % 10), (char)('0' + ms % 10), 'Z', '"'};
    put(line, last.text, last.len);
    put(line, rest, sizeof(rest));
}

/* getpid() is a system call. */
static pid_t own_pid(void)
{
    static _Thread_local pid_t pid;
    static _Thread_local unsigned fork_count;

    if (pid == 0 || fork_count != till_fork_count()) {
        fork_count = till_fork_count();
        pid = getpid();
    }
    return pid;
}

void till_log_begin(till_log_t *line, till_log_level_t level, const char *event)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};

    line->_len = 0;
    line->_cut = false;
    line->_urgent = level >= TILL_LOG_WARN;
    line->_on = (int)level >= __atomic_load_n(&least, __ATOMIC_RELAXED);
    if (!line->_on)
        return;
    put_time(line);
    till_log_str(line, "level", levels[level]);
    till_log_str(line, "proc", process);
    till_log_int(line, "pid", own_pid());
    till_log_str(line, "event", event);
}

void till_log_str(till_log_t *line, const char *key, const char *text) { till_log_strn(line, key, text, strlen(text)); }

void till_log_strn(till_log_t *line, const char *key, const char *bytes, size_t len)
{
    if (put_key(line, key))
        put_quoted(line, bytes, len);
}

void till_log_int(till_log_t *line, const char *key, int64_t number)
{
    char text[24], *at = text + sizeof(text);
    uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;

    *--at = '\0';
    do
        *--at = (char)('0' + rest % 10);
    while ((rest /= 10) != 0);
    if (number < 0)
        *--at = '-';
    size_t len = (size_t)(text + sizeof(text) - 1 - at), from, to;
    if (till_card_find(at, len, &from, &to))
        till_log_strn(line, key, at, len); /* which masks it */
    else
        put_bare(line, key, at);
}

void till_log_bool(till_log_t *line, const char *key, bool value) { put_bare(line, key, value ? "true" : "false"); }

void till_log_trace(till_log_t *line, const till_trace_t *trace)
{
    till_log_str(line, "trace_id", trace->trace_id);
    till_log_str(line, "span_id", trace->span_id);
}

/* "a***" and what stands behind. */
static void put_masked(till_log_t *line, const char *key, const char *bytes, size_t len, const char *tail,
                       size_t tail_len)
{
    if (!put_key(line, key) || !put(line, "\"", 1))
        return;
    put_escaped(line, bytes, till_utf8_step(bytes, len));
    put(line, "***", 3);
    put_escaped(line, tail, tail_len);
    line->_text[line->_len++] = '"';
}

void till_log_email(till_log_t *line, const char *key, const char *bytes, size_t len)
{
    const char *at = len != 0 ? memrchr(bytes, '@', len) : NULL;

    if (at != NULL)
        put_masked(line, key, bytes, (size_t)(at - bytes), at, (size_t)(bytes + len - at));
    else
        put_masked(line, key, bytes, 0, "", 0);
}

void till_log_name(till_log_t *line, const char *key, const char *bytes, size_t len)
{
    put_masked(line, key, bytes, len, "", 0);
}

/* A number so short that two digits would tell most of it shows none. */
void till_log_phone(till_log_t *line, const char *key, const char *bytes, size_t len)
{
    size_t shown = len >= 6 ? 2 : 0;

    put_masked(line, key, bytes, 0, shown != 0 ? bytes + len - shown : "", shown);
}

static uint64_t lost;

uint64_t till_log_lost(void) { return __atomic_load_n(&lost, __ATOMIC_RELAXED); }

static void write_all(const char *bytes, size_t len)
{
    while (len != 0) {
        ssize_t n = write(destination, bytes, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) { /* there is nowhere left to tell it */
            __atomic_add_fetch(&lost, 1, __ATOMIC_RELAXED);
            return;
        }
        bytes += n;
        len -= (size_t)n;
    }
}

void till_log_flush(void)
{
    if (gathered.len == 0)
        return;
    write_all(gathered.text, gathered.len);
    gathered.len = 0;
}

void till_log_gather(bool on)
{
    if (on == (gathered.text != NULL))
        return;
    till_log_flush();
    free(gathered.text);
    gathered.text = on ? till_alloc(GATHERED_MAX) : NULL;
}

static void write_line(const till_log_t *line)
{
    bool is_late = gathered.text != NULL && !line->_urgent;

    if (!is_late || gathered.len + line->_len > GATHERED_MAX)
        till_log_flush();
    if (!is_late) {
        write_all(line->_text, line->_len);
        return;
    }
    memcpy(gathered.text + gathered.len, line->_text, line->_len);
    gathered.len += line->_len;
}

void till_log_end(till_log_t *line)
{
    static const char cut[] = ",\"cut\":true";

    if (!line->_on)
        return;
    if (line->_cut) {
        memcpy(line->_text + line->_len, cut, sizeof(cut) - 1);
        line->_len += sizeof(cut) - 1;
    }
    memcpy(line->_text + line->_len, "}\n", 2);
    line->_len += 2;
    write_line(line);
    line->_on = false;
}

void till_log_msg(till_log_level_t level, const char *event, const char *format, ...)
{
    char text[1024];
    till_log_t line;
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    till_log_begin(&line, level, event);
    till_log_str(&line, "message", text);
    till_log_end(&line);
}
