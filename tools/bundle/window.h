/* Which part of a log belongs into a bundle: from the first line that is young enough on, at most so many
 * bytes of the end, and the first lines of the file, which tell how it all began.
 *
 * Pure: no clock, no I/O. A line's time is its first RFC 3339 text within the first 200 bytes; a line
 * without one belongs to the one before. */
#pragma once

#include "base/mem.h"

typedef struct bundle_window {
    size_t head; /* so many bytes of the beginning */
    size_t from; /* and all from here on; head <= from */
} bundle_window;

/* Both at line borders where there are any. A log without any time is young as a whole. */
bundle_window bundle_log_window(cx_bytes log, int64_t since_wall_ms, size_t head_max,
                                size_t size_max);
