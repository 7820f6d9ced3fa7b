/* Retention and schedule, against models that are written another way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "repo/retention.h"
#include "repo/schedule.h"

static const int64_t hour_ms = 3600 * 1000LL;
static const int64_t day_ms = 24 * 3600 * 1000LL;

static void each_backup_has_its_reason(void **state)
{
    const int64_t now_ms = 100 * day_ms;
    static const struct {
        const char *name;
        int64_t age_days;
        bool is_full, is_good;
        cx_retention_reason reason;
    } rows[] = {
        {"a full one of today", 0, true, true, CX_RETENTION_YOUNG},
        {"a full one a day before its time is over", 29, true, true, CX_RETENTION_YOUNG},
        {"a full one at the end of its time", 30, true, true, CX_RETENTION_OLD},
        {"an incremental one a day before", 6, false, false, CX_RETENTION_YOUNG},
        {"an incremental one at the end", 7, false, false, CX_RETENTION_OLD},
        {"one from the future", -1, false, false, CX_RETENTION_FUTURE},
    };
    const cx_retention_policy policy = {30 * day_ms, 7 * day_ms};
    cx_retention_backup backups[CX_COUNT(rows)];
    cx_retention_reason reasons[CX_COUNT(rows)];

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++)
        backups[i] = (cx_retention_backup){now_ms - rows[i].age_days * day_ms, rows[i].is_full,
                                           rows[i].is_good};
    cx_retention_plan(backups, CX_COUNT(rows), &policy, now_ms, reasons);
    for (size_t i = 0; i < CX_COUNT(rows); i++)
        if (reasons[i] != rows[i].reason)
            fail_msg("%s: %s", rows[i].name, cx_retention_word(reasons[i]));
}

static void the_last_good_full_backup_stays_however_old(void **state)
{
    const cx_retention_policy policy = {30 * day_ms, 7 * day_ms};
    const cx_retention_backup backups[] = {
        {10 * day_ms, true, true},
        {20 * day_ms, true, true},
        {25 * day_ms, true, false},
        {26 * day_ms, false, false},
    };
    cx_retention_reason reasons[4];

    (void)state;
    cx_retention_plan(backups, 4, &policy, 400 * day_ms, reasons);
    assert_int_equal(reasons[0], CX_RETENTION_OLD);
    assert_int_equal(reasons[1], CX_RETENTION_LAST_FULL);
    assert_int_equal(reasons[2], CX_RETENTION_OLD);
    assert_int_equal(reasons[3], CX_RETENTION_OLD);
}

static void where_no_full_backup_is_good_the_last_one_stays(void **state)
{
    const cx_retention_policy policy = {30 * day_ms, 7 * day_ms};
    const cx_retention_backup backups[] = {{10 * day_ms, true, false}, {20 * day_ms, true, false}};
    cx_retention_reason reasons[2];

    (void)state;
    cx_retention_plan(backups, 2, &policy, 400 * day_ms, reasons);
    assert_int_equal(reasons[0], CX_RETENTION_OLD);
    assert_int_equal(reasons[1], CX_RETENTION_LAST_FULL);
}

/* A year of daily full and hourly incremental backups, pruned once a day. The model knows the rule in
 * whole hours and walks from the newest on; for 40 days in the middle no backup is made at all, and
 * every 11th full one is damaged. */
enum { YEAR_HOURS = 365 * 24, FULL_AT = 2, GAP_FROM = 200, GAP_DAYS = 40 };

struct made {
    int hour;
    bool is_full, is_good;
};

static size_t model_prune(const struct made *from, size_t count, int now_hour, struct made *kept)
{
    bool has_last = false;
    size_t kept_count = 0;
    bool keeps[2000] = {false};

    for (size_t i = count; i-- > 0;) {
        int limit_hours = from[i].is_full ? 720 : 168;
        bool is_last = from[i].is_full && from[i].is_good && !has_last;

        has_last = has_last || is_last;
        keeps[i] = now_hour - from[i].hour < limit_hours || is_last;
    }
    for (size_t i = 0; i < count; i++)
        if (keeps[i])
            kept[kept_count++] = from[i];
    return kept_count;
}

static void a_year_of_backups_is_kept_as_the_model_says(void **state)
{
    static struct made model[2000], next[2000], ours[2000];
    const cx_retention_policy policy = {30 * day_ms, 7 * day_ms};
    size_t model_count = 0, ours_count = 0, most = 0;

    (void)state;
    for (int hour = 0; hour < YEAR_HOURS; hour++) {
        int day = hour / 24;
        bool is_full = hour % 24 == FULL_AT;
        struct made made = {hour, is_full, day % 11 != 5};

        if (day < GAP_FROM || day >= GAP_FROM + GAP_DAYS) {
            model[model_count++] = made;
            ours[ours_count++] = made;
        }
        if (hour % 24 != 4)
            continue;

        cx_retention_backup backups[2000];
        cx_retention_reason reasons[2000];
        size_t kept = 0;

        model_count = model_prune(model, model_count, hour, next);
        memcpy(model, next, model_count * sizeof *model);
        for (size_t i = 0; i < ours_count; i++)
            backups[i] = (cx_retention_backup){ours[i].hour * hour_ms, ours[i].is_full,
                                               ours[i].is_full && ours[i].is_good};
        cx_retention_plan(backups, ours_count, &policy, hour * hour_ms, reasons);
        for (size_t i = 0; i < ours_count; i++)
            if (cx_retention_keeps(reasons[i]))
                ours[kept++] = ours[i];
        ours_count = kept;
        if (ours_count > most)
            most = ours_count;
        if (ours_count != model_count)
            fail_msg("day %d: %zu are kept, the model keeps %zu", day, ours_count, model_count);
        for (size_t i = 0; i < ours_count; i++)
            if (ours[i].hour != model[i].hour)
                fail_msg("day %d: other backups are kept than the model keeps", day);
        if (day > 0 && ours_count == 0)
            fail_msg("day %d: nothing is left", day);
    }
    assert_in_range(most, 190, 200); /* 30 full ones and 7 days of 23 others */
}

static void a_backup_is_due_when_the_last_is_older_than_the_schedules_last_moment(void **state)
{
    static const struct {
        const char *name;
        cx_schedule schedule;
        int64_t now_hours, due_hours; /* since Thursday 1970-01-01 00:00 */
    } rows[] = {
        {"every hour: this one", {CX_HOURLY, 0, 0}, 50, 50},
        {"daily, after its time", {CX_DAILY, 120, 0}, 27, 26},
        {"daily, before its time: yesterday's", {CX_DAILY, 120, 0}, 25, 2},
        {"daily, at its time", {CX_DAILY, 120, 0}, 26, 26},
        {"weekly on Sunday, on a Tuesday", {CX_WEEKLY, 0, 6}, 5 * 24, 3 * 24},
        {"weekly on Thursday, the day itself", {CX_WEEKLY, 60, 3}, 7 * 24 + 1, 7 * 24 + 1},
        {"monthly on the 1st, in February", {CX_MONTHLY, 120, 1}, 40 * 24, 31 * 24 + 2},
        {"monthly on the 28th, on March 1st", {CX_MONTHLY, 0, 28}, 59 * 24, 58 * 24},
        {"monthly on the 28th, on January 3rd", {CX_MONTHLY, 0, 28}, 2 * 24, -4 * 24},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        int64_t due = cx_schedule_last_due(&rows[i].schedule, rows[i].now_hours * hour_ms);

        if (due != rows[i].due_hours * hour_ms)
            fail_msg("%s: %lld hours", rows[i].name, (long long)(due / hour_ms));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_backup_has_its_reason),
        cmocka_unit_test(the_last_good_full_backup_stays_however_old),
        cmocka_unit_test(where_no_full_backup_is_good_the_last_one_stays),
        cmocka_unit_test(a_year_of_backups_is_kept_as_the_model_says),
        cmocka_unit_test(a_backup_is_due_when_the_last_is_older_than_the_schedules_last_moment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
