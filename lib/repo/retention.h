/* Retention: which backups are kept, and why.
 *
 * A backup's age counts from its arrival by the storage's clock: what a node says of its own time
 * decides nothing. The last good full backup is kept however old it is.
 *
 * Pure: no clock, no I/O. */
#pragma once

#include "base/mem.h"

typedef struct cx_retention_backup {
    int64_t arrived_ms;
    bool is_full;
    bool is_good; /* readable and whole; asked of full ones only */
} cx_retention_backup;

typedef struct cx_retention_policy {
    int64_t keep_full_ms;
    int64_t keep_incremental_ms;
} cx_retention_policy;

typedef enum cx_retention_reason {
    CX_RETENTION_YOUNG,     /* kept: its time is not over */
    CX_RETENTION_LAST_FULL, /* kept: the last good full one, or where none is good the last one */
    CX_RETENTION_FUTURE,    /* kept: it arrived later than now, so a clock is wrong */
    CX_RETENTION_OLD,       /* removed */
} cx_retention_reason;

const char *cx_retention_word(cx_retention_reason reason);
bool cx_retention_keeps(cx_retention_reason reason);
/* reasons[i] belongs to backups[i], which may come in any order. */
void cx_retention_plan(const cx_retention_backup *backups, size_t count,
                       const cx_retention_policy *policy, int64_t now_ms,
                       cx_retention_reason *reasons);
