#include "repo/prune.h"

#include <string.h>

#include "base/cli.h"
#include "base/text.h"
#include "base/time.h"
#include "repo/lock.h"

enum {
    FORMAT = 1,
    PENDING_MAX = CX_JSON_DOCUMENT_MAX,
    BATCH = 100, /* removals between two looks at the lock */
};

/* A slot's mark in the set of what is stored. */
enum { UNNAMED, NAMED };

struct prune {
    const cx_prune_spec *spec;
    cx_pruned *pruned;
    cx_repo_lock *lock;
    cx_stored_backups stored;
    cx_segments *segments; /* that are stored */
    json_t *pending;       /* id in hex -> since when, in milliseconds of the storage's clock */
    int64_t now_ms;
};

static void close_prune(struct prune *prune)
{
    cx_repo_lock_release(&prune->lock);
    cx_stored_backups_free(&prune->stored);
    cx_segments_close(&prune->segments);
    cx_json_free(&prune->pending);
}

bool cx_backup_is_full(const char *id)
{
    const char *last = strrchr(id, '-');
    size_t size = strlen("-full");

    return last != NULL && (size_t)(last - id) > size && memcmp(last - size, "-full", size) == 0;
}

/* ---- which backups go */

/* Readable, signed, and every segment is there with its size. */
static bool is_good(struct prune *prune, const char *id)
{
    CX_AUTO(cx_manifest_free) cx_manifest *manifest = NULL;
    cx_err ignored;

    if (!cx_repo_manifest(prune->spec->repo, id, prune->spec->key, &manifest, NULL, &ignored))
        return false;
    for (size_t i = 0; i < manifest->component_count; i++)
        for (size_t j = 0; j < manifest->components[i].segment_count; j++) {
            const cx_segment *segment = &manifest->components[i].segments[j];
            const cx_segment_slot *slot = cx_segments_find(prune->segments, segment->id);

            if (slot == NULL || slot->segment.stored_bytes != segment->stored_bytes)
                return false;
        }
    return true;
}

static void decide(struct prune *prune)
{
    const cx_prune_spec *spec = prune->spec;
    size_t count = prune->stored.count;
    cx_retention_backup *backups = cx_alloc(count + 1, sizeof *backups);
    cx_retention_reason *reasons = cx_alloc(count + 1, sizeof *reasons);
    bool found_good = false;

    /* From the newest on, until a full one is good: the older ones' goodness decides nothing. */
    for (size_t i = count; i-- > 0;) {
        const cx_stored_backup *stored = &prune->stored.items[i];
        bool is_full = stored->is_complete && cx_backup_is_full(stored->id);

        backups[i] = (cx_retention_backup){.arrived_ms = stored->arrived_ms, .is_full = is_full};
        if (is_full && !found_good)
            found_good = backups[i].is_good = is_good(prune, stored->id);
    }
    cx_retention_plan(backups, count, &spec->retention, prune->now_ms, reasons);
    prune->pruned->backups = cx_alloc(count + 1, sizeof *prune->pruned->backups);
    prune->pruned->count = count;
    for (size_t i = 0; i < count; i++) {
        const cx_stored_backup *stored = &prune->stored.items[i];
        cx_pruned_backup *told = &prune->pruned->backups[i];

        *told = (cx_pruned_backup){
            .id = cx_strdup(stored->id),
            .is_full = backups[i].is_full,
            .arrived_ms = stored->arrived_ms,
            .kept = cx_retention_keeps(reasons[i]),
            .reason = cx_retention_word(reasons[i]),
        };
        if (!stored->is_complete) {
            /* It may be one that is being made by somebody who lost the lock. */
            told->kept = prune->now_ms - stored->arrived_ms < spec->grace_ms;
            told->reason = "incomplete";
        } else if (spec->discard != NULL && cx_list_has(spec->discard, stored->id) &&
                   !(backups[i].is_good && backups[i].is_full)) {
            told->kept = false;
            told->reason = "discarded";
        }
    }
    cx_free(&backups);
    cx_free(&reasons);
}

/* Marks what the kept manifests name. */
static bool mark_named(struct prune *prune, cx_err *err)
{
    for (size_t i = 0; i < cx_segments_count(prune->segments); i++)
        cx_segments_at(prune->segments, i)->mark = UNNAMED;
    for (size_t i = 0; i < prune->stored.count; i++) {
        CX_AUTO(cx_manifest_free) cx_manifest *manifest = NULL;

        if (!prune->pruned->backups[i].kept || !prune->stored.items[i].is_complete)
            continue;
        if (!cx_repo_manifest(prune->spec->repo, prune->stored.items[i].id, NULL, &manifest, NULL,
                              err)) {
            cx_wrap(err, "nothing was removed, since it is not known which segments are needed");
            return cx_hint(err, "cx-backup prune --discard %s gives this backup up",
                           prune->stored.items[i].id);
        }
        for (size_t j = 0; j < manifest->component_count; j++)
            for (size_t k = 0; k < manifest->components[j].segment_count; k++) {
                cx_segment_slot *slot =
                    cx_segments_find(prune->segments, manifest->components[j].segments[k].id);

                if (slot != NULL)
                    slot->mark = NAMED;
            }
    }
    return true;
}

/* ---- segments that nobody names */

static char *pending_key(const struct prune *prune)
{
    return cx_repo_key(prune->spec->repo, "prune.json");
}

/* A list that is damaged is begun anew: everything waits a grace period more. */
static bool read_pending(struct prune *prune, cx_err *err)
{
    CX_AUTO(cx_free) char *key = pending_key(prune);
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    CX_AUTO(cx_json_free) json_t *document = NULL;
    json_t *since;
    cx_err ignored;

    prune->pending = json_object();
    if (!cx_dest_get(prune->spec->repo->dest, key, PENDING_MAX, &text, err))
        return err->code == CX_NOT_FOUND;
    if (!cx_json_parse(cx_buffer_bytes(&text), PENDING_MAX, key, &document, &ignored))
        return true;
    since = json_object_get(document, "unnamed_since_ms");
    if (json_is_object(since)) {
        cx_json_free(&prune->pending);
        prune->pending = json_incref(since);
    }
    return true;
}

static bool write_pending(struct prune *prune, cx_err *err)
{
    CX_AUTO(cx_free) char *key = pending_key(prune);
    CX_AUTO(cx_json_free)
    json_t *document =
        json_pack("{s:i, s:O}", "format", FORMAT, "unnamed_since_ms", prune->pending);
    CX_AUTO(cx_free) char *line = cx_json_line(document);
    CX_AUTO(cx_free) char *text = cx_format("%s\n", line);

    return cx_dest_put(prune->spec->repo->dest, key, cx_bytes_of(text), CX_PUT_REPLACE, err);
}

/* The list for this run: what is unnamed now, since when it is known to be. A time in the future can't
 * be right and counts as now. */
static void update_pending(struct prune *prune)
{
    json_t *next = json_object();

    for (size_t i = 0; i < cx_segments_count(prune->segments); i++) {
        const cx_segment_slot *slot = cx_segments_at(prune->segments, i);
        CX_AUTO(cx_free) char *id = NULL;
        const json_t *since;
        int64_t since_ms = prune->now_ms;

        if (slot->mark == NAMED)
            continue;
        id = cx_hex((cx_bytes){slot->segment.id, CX_SEGMENT_ID_SIZE});
        since = json_object_get(prune->pending, id);
        if (json_is_integer(since) && json_integer_value(since) < since_ms)
            since_ms = json_integer_value(since);
        json_object_set_new(next, id, json_integer(since_ms));
    }
    cx_json_free(&prune->pending);
    prune->pending = next;
}

static bool check_lock(struct prune *prune, size_t number, cx_err *err)
{
    if (cx_interrupted())
        return cx_fail(err, CX_INTERRUPTED, "interrupted");
    if (prune->lock == NULL)
        return true;
    return number % BATCH == 0 ? cx_repo_lock_held(prune->lock, err) &&
                                     cx_repo_lock_renew(prune->lock, cx_now_ms(), err)
                               : true;
}

static bool remove_segments(struct prune *prune, cx_err *err)
{
    const cx_prune_spec *spec = prune->spec;

    for (size_t i = 0; i < cx_segments_count(prune->segments); i++) {
        const cx_segment_slot *slot = cx_segments_at(prune->segments, i);
        CX_AUTO(cx_free) char *id = NULL;
        CX_AUTO(cx_free) char *object = NULL;
        CX_AUTO(cx_free) char *key = NULL;

        if (slot->mark == NAMED)
            continue;
        id = cx_hex((cx_bytes){slot->segment.id, CX_SEGMENT_ID_SIZE});
        if (prune->now_ms - json_integer_value(json_object_get(prune->pending, id)) <
            spec->grace_ms) {
            prune->pruned->segments_pending++;
            continue;
        }
        object = cx_segment_object(slot->segment.id);
        key = cx_repo_key(spec->repo, "%s", object);
        if (!spec->dry_run && (!check_lock(prune, prune->pruned->segments_removed, err) ||
                               !cx_dest_remove(spec->repo->dest, key, err)))
            return false;
        json_object_del(prune->pending, id);
        prune->pruned->segments_removed++;
        prune->pruned->bytes_removed += slot->segment.stored_bytes;
    }
    return true;
}

/* ---- backups */

static bool add_key(const cx_object *object, void *arg, cx_err *err)
{
    (void)err;
    cx_list_add(arg, object->key);
    return true;
}

/* The signature first: without it there is no backup. */
static bool remove_backup(struct prune *prune, const char *id, cx_err *err)
{
    cx_repo *repo = prune->spec->repo;
    CX_AUTO(cx_free) char *prefix = cx_repo_key(repo, "backups/%s/", id);
    CX_AUTO(cx_free) char *signature = cx_format("%smanifest.json.minisig", prefix);
    CX_AUTO(cx_list_free) cx_list keys = {0};

    if (!cx_dest_remove(repo->dest, signature, err) ||
        !cx_dest_list(repo->dest, prefix, add_key, &keys, err))
        return false;
    for (size_t i = 0; i < keys.count; i++)
        if (!cx_dest_remove(repo->dest, keys.items[i], err))
            return false;
    return true;
}

static bool remove_backups(struct prune *prune, cx_err *err)
{
    for (size_t i = 0; i < prune->pruned->count; i++) {
        const cx_pruned_backup *backup = &prune->pruned->backups[i];

        if (backup->kept)
            continue;
        if (!prune->spec->dry_run && (!check_lock(prune, prune->pruned->backups_removed, err) ||
                                      !remove_backup(prune, backup->id, err)))
            return false;
        prune->pruned->backups_removed++;
    }
    return true;
}

bool cx_prune(const cx_prune_spec *spec, cx_pruned *pruned, cx_err *err)
{
    CX_AUTO(close_prune) struct prune prune = {.spec = spec, .pruned = pruned};

    *pruned = (cx_pruned){0};
    if (!spec->dry_run && !cx_repo_lock_take(spec->repo, "cx-backup prune", "prune",
                                             spec->lock_wait_ms, &prune.lock, err))
        return false;
    if (!cx_repo_backups(spec->repo, &prune.stored, err) ||
        !cx_repo_segments(spec->repo, &prune.segments, err))
        return false;
    if (prune.stored.count == 0 && cx_segments_count(prune.segments) == 0)
        return true;
    if (!cx_dest_now(spec->repo->dest, &prune.now_ms, err))
        return false;
    decide(&prune);
    if (!mark_named(&prune, err) || !read_pending(&prune, err))
        return false;
    update_pending(&prune);
    if (!remove_backups(&prune, err))
        return false;
    /* Stored before anything goes, so that a run that is killed has not lost the times. */
    if (!spec->dry_run && !write_pending(&prune, err))
        return false;
    return remove_segments(&prune, err) &&
           (spec->dry_run || pruned->segments_removed == 0 || write_pending(&prune, err));
}

void cx_pruned_free(cx_pruned *pruned)
{
    for (size_t i = 0; i < pruned->count; i++)
        cx_free(&pruned->backups[i].id);
    cx_free(&pruned->backups);
    *pruned = (cx_pruned){0};
}
