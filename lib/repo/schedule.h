/* A backup's schedule: when the last one was due.
 *
 * Times are milliseconds of the local clock as if it were UTC (wall time plus the zone's offset): 02:00
 * is 02:00 where the node stands. Pure: no clock. */
#pragma once

#include "base/mem.h"

typedef enum cx_frequency { CX_HOURLY, CX_DAILY, CX_WEEKLY, CX_MONTHLY } cx_frequency;

typedef struct cx_schedule {
    cx_frequency frequency;
    int minute; /* of the day, 0 .. 1439; not for HOURLY */
    int day;    /* WEEKLY: 0 is Monday; MONTHLY: 1 .. 28 */
} cx_schedule;

/* The latest moment up to now that the schedule names. A backup is due when the last one is older. */
int64_t cx_schedule_last_due(const cx_schedule *schedule, int64_t local_ms);
