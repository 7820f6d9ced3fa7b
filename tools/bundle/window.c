#include "window.h"

#include <string.h>

#include "base/time.h"

enum { LOOK_MAX = 200, TIME_SIZE_MIN = 19, TIME_SIZE_MAX = 31 };

static bool is_of_time(char byte)
{
    return (byte >= '0' && byte <= '9') || strchr("-:.TZ+", byte) != NULL;
}

/* The line's time, or -1. Both `2026-11-24T10:00:00Z` and, as journals write it, +0000 at its end. */
static int64_t time_of(const char *line, size_t size)
{
    size = size < LOOK_MAX ? size : LOOK_MAX;
    for (size_t at = 0; at + TIME_SIZE_MIN <= size; at++) {
        char text[TIME_SIZE_MAX + 2] = "";
        size_t length = 0;
        cx_err ignored;
        int64_t ms = 0;

        if (line[at] < '0' || line[at] > '9' || line[at + 4] != '-' || line[at + 10] != 'T')
            continue;
        while (length < TIME_SIZE_MAX && at + length < size && line[at + length] != '\0' &&
               is_of_time(line[at + length]))
            length++;
        memcpy(text, line + at, length);
        if (cx_time_parse(text, &ms, &ignored))
            return ms;
        if (length > 5 && strchr("+-", text[length - 5]) != NULL) {
            memmove(text + length - 1, text + length - 2, 2);
            text[length - 2] = ':';
            if (cx_time_parse(text, &ms, &ignored))
                return ms;
        }
    }
    return -1;
}

static size_t next_line(cx_bytes log, size_t at)
{
    const uint8_t *end = at < log.size ? memchr(log.data + at, '\n', log.size - at) : NULL;

    return end == NULL ? log.size : (size_t)(end - log.data) + 1;
}

/* Where the first line that is young enough begins. */
static size_t young_from(cx_bytes log, int64_t since_ms)
{
    bool any = false;
    size_t at = 0;

    while (at < log.size) {
        size_t next = next_line(log, at);
        int64_t ms = time_of((const char *)log.data + at, next - at);

        if (ms >= since_ms)
            return any ? at : 0; /* lines before the first time belong to it */
        any |= ms >= 0;
        at = next;
    }
    return any ? log.size : 0;
}

bundle_window bundle_log_window(cx_bytes log, int64_t since_wall_ms, size_t head_max,
                                size_t size_max)
{
    bundle_window window = {.from = young_from(log, since_wall_ms)};
    size_t next;

    if (log.size - window.from > size_max)
        window.from = next_line(log, log.size - size_max - 1);
    while (window.head < window.from && (next = next_line(log, window.head)) <= head_max &&
           next <= window.from)
        window.head = next;
    return window;
}
