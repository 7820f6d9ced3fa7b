/* Log: NDJSON lines on stderr for daemons, one object a line:
 * {"time":"…","level":"info","program":"cx-node","event":"agent_started",…fields}.
 * A log is a value that its owner passes on; there is no global one. Writing never fails: a line
 * that can't be written is dropped. */
#pragma once

#include "base/json.h"

typedef enum cx_level { CX_DEBUG, CX_INFO, CX_WARN, CX_ERROR } cx_level;

typedef struct cx_log {
    const char *program;
    cx_level level; /* lines below it are dropped */
    int fd;         /* usually STDERR_FILENO */
} cx_log;

/* Fields as of json_pack: cx_log_write(log, CX_INFO, "agent_started", "{s:s, s:i}", "id", id, "pid",
 * pid). A text that isn't UTF-8 must pass through cx_json_text ("s:o"). NULL format: no fields. */
void cx_log_write(const cx_log *log, cx_level level, const char *event, const char *format, ...);
void cx_log_error(const cx_log *log, cx_level level, const char *event, const cx_err *err);
/* Where a daemon's log is, for cx_log_reopen: the path of the regular file that its fd leads to; NULL when it is
 * none (a terminal, a pipe, the journal). Asked at the start, before anybody moves the file. Caller owns. */
char *cx_log_place(const cx_log *log);
/* After the file at place was moved away: opens place anew, for stdout too when that led to the same file; nothing
 * happens when it was not moved, or place is NULL. Lines written before went to the moved file, later ones go to
 * the new one: none is lost. When it fails, the old file stays in use. */
CX_MUST_CHECK bool cx_log_reopen(const cx_log *log, const char *place, cx_err *err);
CX_MUST_CHECK bool cx_level_parse(const char *text, cx_level *level, cx_err *err);
const char *cx_level_word(cx_level level);
