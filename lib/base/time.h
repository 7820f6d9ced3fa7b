/* Time: clocks are read at the edges only; texts are RFC 3339 UTC with Z; durations are written
 * `250ms 30s 5m 1h 30d` and sizes `64K 10M 2G` (powers of 1024). */
#pragma once

#include "base/err.h"

enum { CX_TIME_TEXT_SIZE = 32 };

int64_t cx_now_ms(void);  /* monotonic; for deadlines and intervals */
int64_t cx_boot_ms(void); /* monotonic, the time asleep too: for what others count on */
int64_t cx_now_us(void);  /* the same clock in microseconds; for round trips */
int64_t cx_wall_ms(void); /* milliseconds since 1970, UTC */

/* "2026-11-24T09:50:41.123Z"; milliseconds are left out when they are 0. */
const char *cx_time_text(int64_t wall_ms, char text[CX_TIME_TEXT_SIZE]);
/* RFC 3339 with any offset, or a bare date (midnight UTC). Fails with INVALID. */
CX_MUST_CHECK bool cx_time_parse(const char *text, int64_t *wall_ms, cx_err *err);

/* A number and one of ms s m h d w; "0" needs no unit; no sign, no fraction. INVALID else. */
CX_MUST_CHECK bool cx_duration_parse(const char *text, int64_t *ms, cx_err *err);
/* The shortest exact writing: "90s", "1h", "1500ms". */
const char *cx_duration_text(int64_t ms, char text[CX_TIME_TEXT_SIZE]);
/* A number and optionally K M G T (1024-based; "KiB" and "KB" style suffixes are accepted). */
CX_MUST_CHECK bool cx_size_parse(const char *text, int64_t *bytes, cx_err *err);
