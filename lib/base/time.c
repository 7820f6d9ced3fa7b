#include "base/time.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MS_PER_SECOND = 1000, SECONDS_PER_DAY = 86400, FRACTION_DIGITS_MAX = 9 };

#define MS_PER_DAY ((int64_t)SECONDS_PER_DAY * MS_PER_SECOND)
/* RFC 3339 has four digits for a year: 0000-01-01 to 9999-12-31. */
#define WALL_MS_MIN (-INT64_C(62167219200000))
#define WALL_MS_MAX INT64_C(253402300799999)

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit duration_units[] = {
    {"d", MS_PER_DAY}, {"h", 3600 * 1000}, {"m", 60 * 1000},
    {"s", 1000},       {"ms", 1},          {"w", 7 * MS_PER_DAY},
};

static int64_t clock_ms(clockid_t id)
{
    struct timespec now = {0};

    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * MS_PER_SECOND + now.tv_nsec / 1000000;
}

struct date {
    int year, month, day;
};

/* Days since 1970-01-01 of a date in the Gregorian calendar. The year begins in March, so that the
 * leap day is its last. Source: Howard Hinnant, chrono-Compatible Low-Level Date Algorithms. */
static int64_t days_from_date(struct date date)
{
    int64_t year = date.year - (date.month <= 2);
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (date.month + (date.month > 2 ? -3 : 9)) + 2) / 5 + date.day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

    return era * 146097 + day_of_era - 719468;
}

static struct date date_from_days(int64_t days)
{
    int64_t shifted = days + 719468;
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t day_of_era = shifted - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    int64_t month = month_from_march + (month_from_march < 10 ? 3 : -9);

    return (struct date){
        .year = (int)(year_of_era + era * 400 + (month <= 2)),
        .month = (int)month,
        .day = (int)(day_of_year - (153 * month_from_march + 2) / 5 + 1),
    };
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

    return days[month - 1] + (month == 2 && leap);
}

static char *put_digits(char *to, int count, int64_t value)
{
    for (int i = count - 1; i >= 0; i--) {
        to[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return to + count;
}

static bool take_digits(const char **rest, int count, int min, int max, int *value)
{
    int sum = 0;

    for (int i = 0; i < count; i++) {
        if (!isdigit((unsigned char)(*rest)[i]))
            return false;
        sum = sum * 10 + ((*rest)[i] - '0');
    }
    *rest += count;
    *value = sum;
    return sum >= min && sum <= max;
}

static bool take_one_of(const char **rest, const char *characters, char *taken)
{
    if (**rest == '\0' || strchr(characters, **rest) == NULL)
        return false;
    *taken = **rest;
    (*rest)++;
    return true;
}

static bool take_date(const char **rest, int64_t *days)
{
    struct date date;
    char dash;

    if (!take_digits(rest, 4, 0, 9999, &date.year) || !take_one_of(rest, "-", &dash) ||
        !take_digits(rest, 2, 1, 12, &date.month) || !take_one_of(rest, "-", &dash) ||
        !take_digits(rest, 2, 1, days_in_month(date.year, date.month), &date.day))
        return false;
    *days = days_from_date(date);
    return true;
}

/* Digits after the milliseconds are read and dropped. */
static bool take_fraction(const char **rest, int64_t *ms)
{
    int digits = 0;
    int64_t scale = 100;

    *ms = 0;
    if (**rest != '.')
        return true;
    (*rest)++;
    for (; isdigit((unsigned char)**rest); (*rest)++) {
        *ms += (**rest - '0') * scale;
        scale /= 10;
        digits++;
    }
    return digits > 0 && digits <= FRACTION_DIGITS_MAX;
}

static bool take_offset(const char **rest, int64_t *ms)
{
    char sign;
    char colon;
    int hours;
    int minutes;

    *ms = 0;
    if (take_one_of(rest, "Zz", &sign))
        return true;
    if (!take_one_of(rest, "+-", &sign) || !take_digits(rest, 2, 0, 23, &hours) ||
        !take_one_of(rest, ":", &colon) || !take_digits(rest, 2, 0, 59, &minutes))
        return false;
    *ms = (hours * 60 + minutes) * (sign == '-' ? -60000 : 60000);
    return true;
}

/* A second of 60 (a leap second) is the first of the next minute. */
static bool take_time_of_day(const char **rest, int64_t *ms)
{
    int64_t fraction_ms;
    int64_t offset_ms;
    int hours;
    int minutes;
    int seconds;
    char mark;

    if (!take_one_of(rest, "Tt ", &mark) || !take_digits(rest, 2, 0, 23, &hours) ||
        !take_one_of(rest, ":", &mark) || !take_digits(rest, 2, 0, 59, &minutes) ||
        !take_one_of(rest, ":", &mark) || !take_digits(rest, 2, 0, 60, &seconds) ||
        !take_fraction(rest, &fraction_ms) || !take_offset(rest, &offset_ms))
        return false;
    *ms =
        (int64_t)(hours * 3600 + minutes * 60 + seconds) * MS_PER_SECOND + fraction_ms - offset_ms;
    return true;
}

/* False when there is no digit or the number does not fit. */
static bool take_number(const char **rest, int64_t *value)
{
    const char *first = *rest;

    *value = 0;
    for (; isdigit((unsigned char)**rest); (*rest)++)
        if (__builtin_mul_overflow(*value, 10, value) ||
            __builtin_add_overflow(*value, **rest - '0', value))
            return false;
    return *rest > first;
}

int64_t cx_now_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

int64_t cx_boot_ms(void)
{
    return clock_ms(CLOCK_BOOTTIME);
}

int64_t cx_now_us(void)
{
    struct timespec now = {0};

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t cx_wall_ms(void)
{
    return clock_ms(CLOCK_REALTIME);
}

const char *cx_time_text(int64_t wall_ms, char text[CX_TIME_TEXT_SIZE])
{
    if (wall_ms < WALL_MS_MIN)
        wall_ms = WALL_MS_MIN;
    if (wall_ms > WALL_MS_MAX)
        wall_ms = WALL_MS_MAX;

    int64_t days = wall_ms / MS_PER_DAY - (wall_ms % MS_PER_DAY < 0);
    int64_t rest_ms = wall_ms - days * MS_PER_DAY;
    struct date date = date_from_days(days);
    char *to = put_digits(text, 4, date.year);

    *to++ = '-';
    to = put_digits(to, 2, date.month);
    *to++ = '-';
    to = put_digits(to, 2, date.day);
    *to++ = 'T';
    to = put_digits(to, 2, rest_ms / 3600000);
    *to++ = ':';
    to = put_digits(to, 2, rest_ms / 60000 % 60);
    *to++ = ':';
    to = put_digits(to, 2, rest_ms / 1000 % 60);
    if (rest_ms % 1000 != 0) {
        *to++ = '.';
        to = put_digits(to, 3, rest_ms % 1000);
    }
    *to++ = 'Z';
    *to = '\0';
    return text;
}

bool cx_time_parse(const char *text, int64_t *wall_ms, cx_err *err)
{
    const char *rest = text;
    int64_t days;
    int64_t ms = 0;

    if (!take_date(&rest, &days) || (*rest != '\0' && !take_time_of_day(&rest, &ms)) ||
        *rest != '\0') {
        cx_fail(err, CX_INVALID, "'%.64s' is no time", text);
        return cx_hint(err, "write 2026-11-24T09:50:41Z or 2026-11-24");
    }
    *wall_ms = days * MS_PER_DAY + ms;
    return true;
}

bool cx_duration_parse(const char *text, int64_t *ms, cx_err *err)
{
    const char *rest = text;
    int64_t number;
    int64_t product;

    if (strcmp(text, "0") == 0) {
        *ms = 0;
        return true;
    }
    if (take_number(&rest, &number))
        for (size_t i = 0; i < CX_COUNT(duration_units); i++)
            if (strcmp(rest, duration_units[i].name) == 0 &&
                !__builtin_mul_overflow(number, duration_units[i].factor, &product)) {
                *ms = product;
                return true;
            }
    cx_fail(err, CX_INVALID, "'%.64s' is no duration", text);
    return cx_hint(err, "write a whole number and one of ms s m h d w, like 250ms, 30s or 5m");
}

const char *cx_duration_text(int64_t ms, char text[CX_TIME_TEXT_SIZE])
{
    const struct unit *unit = duration_units; /* weeks are last and never written */

    if (ms == 0)
        return strcpy(text, "0s");
    while (ms % unit->factor != 0)
        unit++;
    snprintf(text, CX_TIME_TEXT_SIZE, "%lld%s", (long long)(ms / unit->factor), unit->name);
    return text;
}

bool cx_size_parse(const char *text, int64_t *bytes, cx_err *err)
{
    static const char units[] = "KMGT";
    const char *rest = text;
    int64_t number;

    if (take_number(&rest, &number)) {
        const char *unit = *rest == '\0' ? NULL : strchr(units, toupper((unsigned char)*rest));
        int shift = unit == NULL ? 0 : 10 * (int)(unit - units + 1);
        int64_t product;

        rest += unit != NULL;
        if ((*rest == '\0' || strcmp(rest, "B") == 0 ||
             (unit != NULL && strcmp(rest, "iB") == 0)) &&
            !__builtin_mul_overflow(number, INT64_C(1) << shift, &product)) {
            *bytes = product;
            return true;
        }
    }
    cx_fail(err, CX_INVALID, "'%.64s' is no size", text);
    return cx_hint(err, "write a whole number and, if needed, one of K M G T, like 64K or 10M");
}
