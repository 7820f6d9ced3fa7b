/* Lines of a stream, bounded: bytes go in as they come, whole lines come out. A line longer than
 * line_max is dropped up to its end and reported once.
 *
 * Pure: no I/O. {.line_max = N} is ready for use. */
#pragma once

#include "base/mem.h"

typedef struct node_lines {
    size_t line_max;
    cx_buffer buffer;
    size_t taken;   /* bytes at the front that were given out already */
    size_t scanned; /* bytes known to hold no newline */
    bool skipping;  /* inside a line that was too long */
} node_lines;

typedef enum node_line_kind {
    NODE_LINE_NONE,     /* no whole line there */
    NODE_LINE_WHOLE,    /* *line is one, without its newline */
    NODE_LINE_TOO_LONG, /* one was dropped */
} node_line_kind;

void node_lines_add(node_lines *lines, cx_bytes bytes);
/* Takes the next line. *line lives until the next call of either function. */
node_line_kind node_lines_next(node_lines *lines, cx_bytes *line);
void node_lines_free(node_lines *lines);
