#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "base/time.h"

static const cx_level levels[] = {CX_DEBUG, CX_INFO, CX_WARN, CX_ERROR};

static json_t *new_line(const cx_log *log, cx_level level, const char *event)
{
    json_t *line = json_object();

    json_object_set_new(line, "time", cx_json_time(cx_wall_ms()));
    json_object_set_new(line, "level", json_string(cx_level_word(level)));
    json_object_set_new(line, "program", cx_json_text(log->program));
    json_object_set_new(line, "event", cx_json_text(event));
    return line;
}

/* In one write where the kernel allows it, so that lines of several processes don't mix. */
static void write_line(const cx_log *log, const json_t *line)
{
    CX_AUTO(cx_free) char *text = cx_json_line(line);
    size_t size = strlen(text);
    size_t done = 0;

    text[size++] = '\n'; /* in the place of the NUL */
    while (done < size) {
        ssize_t written = write(log->fd, text + done, size - done);

        if (written < 0 && errno != EINTR)
            return;
        if (written > 0)
            done += (size_t)written;
    }
}

void cx_log_write(const cx_log *log, cx_level level, const char *event, const char *format, ...)
{
    /* Packed even when the line is dropped: "s:o" gives references away. */
    CX_AUTO(cx_json_free) json_t *fields = NULL;
    bool packed = true;

    if (format != NULL) {
        va_list arguments;

        va_start(arguments, format);
        fields = json_vpack_ex(NULL, 0, format, arguments);
        va_end(arguments);
        packed = fields != NULL;
    }
    if (level < log->level)
        return;

    CX_AUTO(cx_json_free) json_t *line = new_line(log, level, event);

    if (fields != NULL)
        json_object_update_missing(line, fields);
    if (!packed)
        json_object_set_new(line, "fields_lost", json_true());
    write_line(log, line);
}

void cx_log_error(const cx_log *log, cx_level level, const char *event, const cx_err *err)
{
    if (level < log->level)
        return;

    CX_AUTO(cx_json_free) json_t *line = new_line(log, level, event);

    json_object_set_new(line, "code", json_string(cx_code_word(err->code)));
    json_object_set_new(line, "message", cx_json_text(err->message));
    if (err->hint[0] != '\0')
        json_object_set_new(line, "hint", cx_json_text(err->hint));
    write_line(log, line);
}

bool cx_level_parse(const char *text, cx_level *level, cx_err *err)
{
    for (size_t i = 0; i < CX_COUNT(levels); i++)
        if (strcmp(text, cx_level_word(levels[i])) == 0) {
            *level = levels[i];
            return true;
        }
    cx_fail(err, CX_INVALID, "'%.64s' is no log level", text);
    return cx_hint(err, "one of debug, info, warn, error");
}

const char *cx_level_word(cx_level level)
{
    switch (level) {
    case CX_DEBUG: return "debug";
    case CX_INFO: return "info";
    case CX_WARN: return "warn";
    case CX_ERROR: return "error";
    }
    return NULL;
}
