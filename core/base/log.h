/* log.h - JSON lines on standard error or a file, one event each.
 *
 * Personal data reaches a line only through the typed fields that mask
 * themselves (`till_log_email`, `till_log_name`, `till_log_phone`); secrets
 * have no field at all. Of the number of a payment card, wherever in a text or
 * number of a line it stands, the last four digits are shown (card.h). A line is built in a fixed buffer and written by
 * one write(2), so that lines of several processes never mix; what does not fit (8 KB) is cut and marked. A thread with
 * an event loop gathers the lines of a turn and writes them at its end, all in one: a process that is killed within a
 * turn loses those. A warning or an error is written at once, after what was gathered before it. `trace_id` and
 * `span_id` of the present request are added by till_log_trace().
 *
 *     till_log_t line;
 *     till_log_begin(&line, TILL_LOG_WARN, "sql.reconnect");
 *     till_log_int(&line, "attempt", n);
 *     till_log_end(&line);
 *
 * Thread: any; nothing is shared but the descriptor and the level.
 */
#ifndef TILL_BASE_LOG_H
#define TILL_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/trace.h"

typedef enum till_log_level { TILL_LOG_DEBUG, TILL_LOG_INFO, TILL_LOG_WARN, TILL_LOG_ERROR } till_log_level_t;

typedef struct till_log {
    size_t _len;
    bool _on, _cut, _urgent;
    char _text[8192];
} till_log_t;

/** Opens the destination for this process: a path, or NULL for stderr. @return 0 or errno */
int till_log_open(const char *path);
void till_log_set_level(till_log_level_t level);
/** Lines of this process that could not be written whole: a full disk, mostly. */
uint64_t till_log_lost(void);
/** "master", "web-0", "jobs-1", "dev", "command": stands on each line as `proc`. */
void till_log_set_process(const char *name);

/** Whether this thread gathers its lines until the flush; false flushes. */
void till_log_gather(bool on);
/** Writes what this thread has gathered; the loop does at the end of each turn. */
void till_log_flush(void);

void till_log_begin(till_log_t *line, till_log_level_t level, const char *event);
void till_log_str(till_log_t *line, const char *key, const char *text);
/** Escapes anything that is not valid UTF-8. */
void till_log_strn(till_log_t *line, const char *key, const char *bytes, size_t len);
void till_log_int(till_log_t *line, const char *key, int64_t number);
void till_log_bool(till_log_t *line, const char *key, bool value);
void till_log_email(till_log_t *line, const char *key, const char *bytes, size_t len); /* a***@example.com */
void till_log_name(till_log_t *line, const char *key, const char *bytes, size_t len);  /* A*** */
void till_log_phone(till_log_t *line, const char *key, const char *bytes, size_t len); /* ***42 */
/** Adds trace_id and span_id. */
void till_log_trace(till_log_t *line, const till_trace_t *trace);
void till_log_end(till_log_t *line);

/** A line with nothing but an event and a message. */
void till_log_msg(till_log_level_t level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
