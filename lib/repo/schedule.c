#include "repo/schedule.h"

static const int64_t minute_ms = 60 * 1000;
static const int64_t hour_ms = 60 * 60 * 1000;
static const int64_t day_ms = 24 * 60 * 60 * 1000;

static int64_t floor_to(int64_t value, int64_t step)
{
    int64_t rest = value % step;

    return value - (rest < 0 ? rest + step : rest);
}

/* Day of the month of a day counted from 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date
 * algorithms", civil_from_days). */
static int64_t day_of_month(int64_t days)
{
    int64_t shifted = days + 719468; /* from 0000-03-01 */
    int64_t era = floor_to(shifted, 146097) / 146097;
    int64_t day_of_era = shifted - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153;

    return day_of_year - (153 * month + 2) / 5 + 1;
}

static bool is_right_day(const cx_schedule *schedule, int64_t days)
{
    if (schedule->frequency == CX_WEEKLY)
        return (days + 3 - floor_to(days + 3, 7)) == schedule->day; /* 1970 began on a Thursday */
    if (schedule->frequency == CX_MONTHLY)
        return day_of_month(days) == schedule->day;
    return true;
}

int64_t cx_schedule_last_due(const cx_schedule *schedule, int64_t local_ms)
{
    int64_t days, due_ms;

    if (schedule->frequency == CX_HOURLY)
        return floor_to(local_ms, hour_ms);
    days = floor_to(local_ms, day_ms) / day_ms;
    due_ms = days * day_ms + schedule->minute * minute_ms;
    for (days -= due_ms > local_ms; !is_right_day(schedule, days); days--)
        continue;
    return days * day_ms + schedule->minute * minute_ms;
}
