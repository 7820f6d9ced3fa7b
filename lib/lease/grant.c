#include "lease/grant.h"

#include <string.h>

#include "base/map.h"

struct cx_granter {
    cx_map *leases;
    int64_t floor;
};

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static void set_text(char **text, const char *value)
{
    if (*text != NULL && same(*text, value))
        return;
    cx_free(text);
    *text = cx_strdup(value);
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void end_tenure(cx_lease *lease)
{
    set_text(&lease->owner, "");
    set_text(&lease->about, "");
    lease->fence = 0;
    lease->ttl_ms = 0;
    lease->expires_ms = 0;
}

/* Forgets every free name; a new name begins above all that were forgotten. */
static void make_room(cx_granter *granter, int64_t now_ms, cx_list *forgotten)
{
    size_t cursor = 0;
    void *value = NULL;

    while (cx_map_next(granter->leases, &cursor, NULL, &value)) {
        const cx_lease *lease = value;

        if (!cx_lease_is_held(lease, now_ms))
            cx_list_add(forgotten, lease->name);
    }
    for (size_t i = 0; i < forgotten->count; i++) {
        cx_lease *lease = cx_map_remove(granter->leases, forgotten->items[i]);

        granter->floor = later(granter->floor, lease->last_fence);
        cx_lease_free(lease);
        cx_free(&lease);
    }
}

/* NULL: no room. */
static cx_lease *need_lease(cx_granter *granter, const char *name, int64_t now_ms,
                            cx_list *forgotten)
{
    cx_lease *lease = cx_map_get(granter->leases, name);

    if (lease != NULL)
        return lease;
    if (cx_map_count(granter->leases) >= CX_LEASE_NAMES_MAX)
        make_room(granter, now_ms, forgotten);
    if (cx_map_count(granter->leases) >= CX_LEASE_NAMES_MAX)
        return NULL;
    lease = cx_alloc(1, sizeof *lease);
    lease->name = cx_strdup(name);
    lease->owner = cx_strdup("");
    lease->about = cx_strdup("");
    lease->last_owner = cx_strdup("");
    lease->last_fence = granter->floor;
    cx_map_put(granter->leases, name, lease);
    return lease;
}

/* Whether a number may be this owner's: above the last, or the last again from its owner. */
static bool is_acceptable(const cx_lease *lease, const char *owner, int64_t fence)
{
    if (fence > lease->last_fence)
        return true;
    return fence == lease->last_fence && !lease->closed && same(lease->last_owner, owner);
}

/* A grant never gets shorter: an older message that comes late must not take back what the owner
 * counts on since a newer one. */
static void extend(cx_lease *lease, const cx_lease_event *event, int64_t now_ms)
{
    int64_t ttl_ms = event->ttl_ms;

    if (event->fence == 0 && ttl_ms > CX_LEASE_ASKING_MS)
        ttl_ms = CX_LEASE_ASKING_MS;
    lease->granted_ms = now_ms;
    lease->expires_ms = later(lease->expires_ms, now_ms + ttl_ms);
    lease->ttl_ms = later(ttl_ms, lease->expires_ms - now_ms);
}

static void claim(cx_granter *granter, const cx_lease_event *event, int64_t now_ms,
                  cx_lease_answer *answer)
{
    cx_lease *lease = need_lease(granter, event->name, now_ms, &answer->forgotten);

    if (lease == NULL) {
        answer->outcome = CX_LEASE_FULL;
        return;
    }
    if (cx_lease_is_held(lease, now_ms) && !same(lease->owner, event->owner)) {
        answer->outcome = CX_LEASE_HELD;
        return;
    }
    if (event->fence > 0 && !is_acceptable(lease, event->owner, event->fence)) {
        answer->outcome = CX_LEASE_STALE;
        return;
    }
    if (!cx_lease_is_held(lease, now_ms))
        end_tenure(lease);
    set_text(&lease->owner, event->owner);
    set_text(&lease->about, event->about);
    extend(lease, event, now_ms);
    if (event->fence > 0) {
        answer->confirmed = lease->fence != event->fence;
        lease->fence = event->fence;
        lease->last_fence = event->fence;
        set_text(&lease->last_owner, event->owner);
        lease->closed = false;
    }
    answer->outcome = CX_LEASE_GRANTED;
    answer->save = true;
}

static bool is_whoever(const cx_lease_event *event)
{
    return event->kind == CX_LEASE_CLEAR && event->owner == NULL;
}

/* The highest fence whose tenure the event ends. */
static int64_t ends_up_to(const cx_lease_event *event)
{
    return event->kind == CX_LEASE_CLEAR ? INT64_MAX : event->fence;
}

/* The last number of the owner is used up: a renewal that is still under way comes too late. */
static bool close_last(cx_lease *lease, const cx_lease_event *event)
{
    if (lease->closed || lease->last_fence == 0 || lease->last_fence > ends_up_to(event) ||
        !(is_whoever(event) || same(lease->last_owner, event->owner)))
        return false;
    lease->closed = true;
    return true;
}

static void end(cx_granter *granter, const cx_lease_event *event, int64_t now_ms,
                cx_lease_answer *answer)
{
    cx_lease *lease = cx_map_get(granter->leases, event->name);

    answer->outcome = CX_LEASE_UNCHANGED;
    if (lease == NULL)
        return;
    answer->save = close_last(lease, event);
    if (!cx_lease_is_held(lease, now_ms) ||
        !(is_whoever(event) || same(lease->owner, event->owner)) ||
        lease->fence > ends_up_to(event))
        return;
    end_tenure(lease);
    answer->outcome = CX_LEASE_FREED;
    answer->save = true;
}

void cx_lease_free(cx_lease *lease)
{
    cx_free(&lease->name);
    cx_free(&lease->owner);
    cx_free(&lease->about);
    cx_free(&lease->last_owner);
    *lease = (cx_lease){0};
}

cx_lease cx_lease_copy(const cx_lease *lease)
{
    cx_lease copy = *lease;

    copy.name = cx_strdup(lease->name);
    copy.owner = cx_strdup(lease->owner);
    copy.about = cx_strdup(lease->about);
    copy.last_owner = cx_strdup(lease->last_owner);
    return copy;
}

bool cx_lease_is_held(const cx_lease *lease, int64_t now_ms)
{
    return lease->owner[0] != '\0' && now_ms < lease->expires_ms;
}

cx_granter *cx_granter_open(void)
{
    cx_granter *granter = cx_alloc(1, sizeof *granter);

    granter->leases = cx_map_open();
    return granter;
}

void cx_granter_close(cx_granter **owner)
{
    cx_granter *granter = *owner;
    size_t cursor = 0;
    void *value = NULL;

    if (granter == NULL)
        return;
    while (cx_map_next(granter->leases, &cursor, NULL, &value)) {
        cx_lease_free(value);
        cx_free(&value);
    }
    cx_map_close(&granter->leases);
    cx_free(owner);
}

void cx_granter_load(cx_granter *granter, cx_lease *lease, bool same_boot, int64_t now_ms)
{
    cx_lease *kept = cx_alloc(1, sizeof *kept);
    cx_lease *before;

    *kept = *lease;
    *lease = (cx_lease){0};
    /* A clock that went back is another one, whatever the boot id says. */
    if (!same_boot || kept->granted_ms > now_ms) {
        kept->granted_ms = now_ms;
        kept->expires_ms = now_ms + kept->ttl_ms;
    }
    before = cx_map_put(granter->leases, kept->name, kept);
    if (before != NULL)
        cx_lease_free(before);
    cx_free(&before);
}

void cx_granter_set_floor(cx_granter *granter, int64_t floor)
{
    granter->floor = floor;
}

int64_t cx_granter_floor(const cx_granter *granter)
{
    return granter->floor;
}

cx_lease_answer cx_granter_input(cx_granter *granter, const cx_lease_event *event, int64_t now_ms)
{
    cx_lease_answer answer = {0};

    switch (event->kind) {
    case CX_LEASE_CLAIM: claim(granter, event, now_ms, &answer); break;
    case CX_LEASE_RELEASE:
    case CX_LEASE_CLEAR: end(granter, event, now_ms, &answer); break;
    }
    answer.lease = cx_map_get(granter->leases, event->name);
    answer.last_fence = answer.lease != NULL ? answer.lease->last_fence : granter->floor;
    if (answer.lease != NULL && cx_lease_is_held(answer.lease, now_ms))
        answer.expires_in_ms = answer.lease->expires_ms - now_ms;
    return answer;
}

bool cx_granter_expire(cx_granter *granter, int64_t now_ms, cx_lease *gone)
{
    size_t cursor = 0;
    void *value = NULL;

    while (cx_map_next(granter->leases, &cursor, NULL, &value)) {
        cx_lease *lease = value;

        if (lease->owner[0] == '\0' || cx_lease_is_held(lease, now_ms))
            continue;
        *gone = cx_lease_copy(lease);
        end_tenure(lease);
        return true;
    }
    return false;
}

int64_t cx_granter_next_expiry(const cx_granter *granter)
{
    int64_t next_ms = INT64_MAX;
    size_t cursor = 0;
    void *value = NULL;

    while (cx_map_next(granter->leases, &cursor, NULL, &value)) {
        const cx_lease *lease = value;

        if (lease->owner[0] != '\0' && lease->expires_ms < next_ms)
            next_ms = lease->expires_ms;
    }
    return next_ms;
}

const cx_lease *cx_granter_next(const cx_granter *granter, size_t *cursor)
{
    void *value = NULL;

    return cx_map_next(granter->leases, cursor, NULL, &value) ? value : NULL;
}

const char *cx_lease_outcome_word(cx_lease_outcome outcome)
{
    switch (outcome) {
    case CX_LEASE_GRANTED: return "granted";
    case CX_LEASE_HELD: return "held";
    case CX_LEASE_STALE: return "stale_fence";
    case CX_LEASE_FULL: return "full";
    case CX_LEASE_FREED: return "freed";
    case CX_LEASE_UNCHANGED: return "unchanged";
    }
    return NULL;
}
