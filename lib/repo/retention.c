#include "repo/retention.h"

const char *cx_retention_word(cx_retention_reason reason)
{
    switch (reason) {
    case CX_RETENTION_YOUNG: return "young";
    case CX_RETENTION_LAST_FULL: return "last_full";
    case CX_RETENTION_FUTURE: return "future";
    case CX_RETENTION_OLD: return "old";
    }
    return NULL;
}

bool cx_retention_keeps(cx_retention_reason reason)
{
    return reason != CX_RETENTION_OLD;
}

/* The one of the newest arrival; of two that arrived at once the later in the list. */
static size_t find_last_full(const cx_retention_backup *backups, size_t count, bool good_only)
{
    size_t last = count;

    for (size_t i = 0; i < count; i++)
        if (backups[i].is_full && (backups[i].is_good || !good_only) &&
            (last == count || backups[i].arrived_ms >= backups[last].arrived_ms))
            last = i;
    return last;
}

void cx_retention_plan(const cx_retention_backup *backups, size_t count,
                       const cx_retention_policy *policy, int64_t now_ms,
                       cx_retention_reason *reasons)
{
    size_t last = find_last_full(backups, count, true);

    if (last == count)
        last = find_last_full(backups, count, false);
    for (size_t i = 0; i < count; i++) {
        int64_t keep_ms = backups[i].is_full ? policy->keep_full_ms : policy->keep_incremental_ms;

        if (backups[i].arrived_ms > now_ms)
            reasons[i] = CX_RETENTION_FUTURE;
        else if (now_ms - backups[i].arrived_ms < keep_ms)
            reasons[i] = CX_RETENTION_YOUNG;
        else
            reasons[i] = i == last ? CX_RETENTION_LAST_FULL : CX_RETENTION_OLD;
    }
}
