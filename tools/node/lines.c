#include "lines.h"

#include <string.h>

/* Drops what was given out, so that the buffer holds only what is still to come. */
static void compact(node_lines *lines)
{
    cx_buffer_consume(&lines->buffer, lines->taken);
    lines->taken = 0;
}

/* Forgets an unfinished line that is too long; true when it did. */
static bool overflow(node_lines *lines)
{
    if (lines->buffer.size - lines->taken <= lines->line_max)
        return false;
    cx_buffer_clear(&lines->buffer);
    lines->taken = lines->scanned = 0;
    return true;
}

void node_lines_add(node_lines *lines, cx_bytes bytes)
{
    compact(lines);
    if (bytes.size > 0)
        cx_buffer_add(&lines->buffer, bytes.data, bytes.size);
}

node_line_kind node_lines_next(node_lines *lines, cx_bytes *line)
{
    for (;;) {
        const uint8_t *start = lines->buffer.data + lines->taken;
        size_t left = lines->buffer.size - lines->taken;
        const uint8_t *end = left == lines->scanned
                                 ? NULL
                                 : memchr(start + lines->scanned, '\n', left - lines->scanned);

        if (end == NULL) {
            lines->scanned = left;
            if (lines->skipping) {
                lines->taken = lines->buffer.size;
                lines->scanned = 0;
                return NODE_LINE_NONE;
            }
            if (!overflow(lines))
                return NODE_LINE_NONE;
            lines->skipping = true;
            return NODE_LINE_TOO_LONG;
        }

        size_t size = (size_t)(end - start);

        lines->taken += size + 1;
        lines->scanned = 0;
        if (lines->skipping) {
            lines->skipping = false;
            continue;
        }
        if (size > lines->line_max)
            return NODE_LINE_TOO_LONG;
        *line = (cx_bytes){start, size};
        return NODE_LINE_WHOLE;
    }
}

void node_lines_free(node_lines *lines)
{
    cx_buffer_free(&lines->buffer);
    lines->taken = lines->scanned = 0;
    lines->skipping = false;
}
