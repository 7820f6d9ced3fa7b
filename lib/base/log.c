#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
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

char *cx_log_place(const cx_log *log)
{
    CX_AUTO(cx_free) char *link = cx_format("/proc/self/fd/%d", log->fd);
    char path[PATH_MAX];
    struct stat info;
    ssize_t size;

    if (fstat(log->fd, &info) < 0 || !S_ISREG(info.st_mode) || info.st_nlink == 0)
        return NULL;
    size = readlink(link, path, sizeof path - 1);
    if (size <= 0)
        return NULL;
    path[size] = '\0';
    return path[0] == '/' ? cx_strdup(path) : NULL;
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

bool cx_log_reopen(const cx_log *log, const char *place, cx_err *err)
{
    struct stat old, now, out;

    if (place == NULL)
        return true;
    if (fstat(log->fd, &old) < 0)
        return cx_fail_errno(err, "the log");
    if (stat(place, &now) == 0 && is_same_file(&old, &now))
        return true;

    CX_AUTO(cx_fd_close)
    int fd = open(place, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC,
                  old.st_mode & (S_IRWXU | S_IRWXG | S_IRWXO));

    if (fd < 0)
        return cx_fail_errno(err, "open %s", place);
    if (log->fd != STDOUT_FILENO && fstat(STDOUT_FILENO, &out) == 0 && is_same_file(&old, &out) &&
        dup2(fd, STDOUT_FILENO) < 0)
        return cx_fail_errno(err, "open %s", place);
    return dup2(fd, log->fd) >= 0 || cx_fail_errno(err, "open %s", place);
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
