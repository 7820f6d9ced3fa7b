/* copy: backups as they stand, to another destination. */
#include <string.h>

#include "backup.h"
#include "base/text.h"
#include "base/time.h"
#include "repo/lock.h"

struct copy_options {
    backup_place place;
    const char *to;
    const char *trusted_key;
    const char *progress;
    int64_t wait_ms;
    bool all;
    bool latest;
};

static const cx_option options[] = {
    {"to", CX_TEXT(struct copy_options, to), "DEST", NULL, "the destination that gets them"},
    {"all", CX_FLAG(struct copy_options, all), NULL, NULL, "every backup"},
    {"latest", CX_FLAG(struct copy_options, latest), NULL, NULL, "the newest one (the default)"},
    {"trusted-key", CX_TEXT(struct copy_options, trusted_key), "FILE", NULL,
     "minisign public key of the node; default: as of verify"},
    BACKUP_PLACE_OPTIONS(struct copy_options, place),
    {"progress", CX_CHOICE(struct copy_options, progress), "auto|json|none", "auto",
     "auto: a bar when stderr is a terminal"},
    {"wait", CX_DURATION(struct copy_options, wait_ms), "DUR", "0s",
     "wait so long for another writer to end"},
    {0},
};

struct copying {
    cx_repo *from, *to;
    cx_repo_lock *lock; /* of `to`; NULL in a dry run */
    cx_minisign_public key;
    cx_segments *there; /* at `to`, with the digests that its manifests tell; mark: 1 when told */
    cx_progress progress;
    int64_t stored_bytes;
    bool dry_run;
};

static void close_copying(struct copying *copying)
{
    cx_repo_lock_release(&copying->lock);
    cx_segments_close(&copying->there);
    cx_repo_close(&copying->to);
    cx_repo_close(&copying->from);
}

/* What the destination's own manifests say of what is there. */
static bool learn(struct copying *copying, const cx_stored_backups *stored, cx_err *err)
{
    if (!cx_repo_segments(copying->to, &copying->there, err))
        return false;
    for (size_t i = 0; i < cx_segments_count(copying->there); i++)
        cx_segments_at(copying->there, i)->mark = 0;
    for (size_t i = 0; i < stored->count; i++) {
        CX_AUTO(cx_manifest_free) cx_manifest *manifest = NULL;

        if (!stored->items[i].is_complete)
            continue;
        if (!cx_repo_manifest(copying->to, stored->items[i].id, NULL, &manifest, NULL, err))
            return false;
        for (size_t j = 0; j < manifest->component_count; j++)
            for (size_t k = 0; k < manifest->components[j].segment_count; k++) {
                const cx_segment *segment = &manifest->components[j].segments[k];
                cx_segment_slot *slot = cx_segments_find(copying->there, segment->id);

                if (slot != NULL) {
                    slot->segment = *segment;
                    slot->mark = 1;
                }
            }
    }
    return true;
}

static bool put_segment(struct copying *copying, const cx_segment *segment, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer stored = {0};
    CX_AUTO(cx_free) char *object = cx_segment_object(segment->id);
    CX_AUTO(cx_free) char *key = cx_repo_key(copying->to, "%s", object);
    cx_segment_slot *slot = cx_segments_find(copying->there, segment->id);

    if (slot != NULL && slot->mark == 1) {
        if (memcmp(slot->segment.sha256, segment->sha256, sizeof segment->sha256) == 0)
            return true;
        cx_fail(err, CX_EXISTS, "%s: %s is there with other bytes, and a backup there needs them",
                cx_dest_name(copying->to->dest), object);
        return cx_hint(err, "the node writes there by itself; copy to another destination");
    }
    copying->stored_bytes += segment->stored_bytes;
    cx_progress_set(&copying->progress, copying->stored_bytes, cx_now_ms());
    if (copying->dry_run)
        return true;
    if (!cx_content_stored(copying->from, segment, &stored, err) ||
        !cx_dest_put(copying->to->dest, key, cx_buffer_bytes(&stored), CX_PUT_LATER, err))
        return false;
    slot = cx_segments_add(copying->there, segment->id);
    slot->segment = *segment;
    slot->mark = 1;
    return true;
}

static bool copy_object(const struct copying *copying, const char *id, const char *name,
                        size_t size_max, cx_err *err)
{
    CX_AUTO(cx_free) char *from = cx_repo_key(copying->from, "backups/%s/%s", id, name);
    CX_AUTO(cx_free) char *to = cx_repo_key(copying->to, "backups/%s/%s", id, name);
    CX_AUTO(cx_buffer_free) cx_buffer bytes = {0};

    return cx_dest_get(copying->from->dest, from, size_max, &bytes, err) &&
           cx_dest_put(copying->to->dest, to, cx_buffer_bytes(&bytes), CX_PUT_REPLACE, err);
}

/* In the order in which they were made: what a manifest names is there before it. */
static bool copy_backup(struct copying *copying, const char *id, cx_err *err)
{
    CX_AUTO(cx_manifest_free) cx_manifest *manifest = NULL;

    if (!cx_repo_manifest(copying->from, id, &copying->key, &manifest, NULL, err))
        return false;
    for (size_t i = 0; i < manifest->component_count; i++)
        for (size_t j = 0; j < manifest->components[i].segment_count; j++) {
            if (cx_interrupted())
                return cx_fail(err, CX_INTERRUPTED, "interrupted");
            if (!put_segment(copying, &manifest->components[i].segments[j], err) ||
                (copying->lock != NULL && !cx_repo_lock_renew(copying->lock, cx_now_ms(), err)))
                return false;
        }
    if (copying->dry_run)
        return true;
    return cx_dest_flush(copying->to->dest, err) && cx_repo_lock_held(copying->lock, err) &&
           copy_object(copying, id, "index.ndjson.zst.age", CX_INDEX_MAX, err) &&
           copy_object(copying, id, "manifest.json", CX_MANIFEST_MAX, err) &&
           copy_object(copying, id, "manifest.json.minisig", CX_MINISIGN_FILE_MAX, err);
}

static bool is_there(const cx_stored_backups *stored, const char *id)
{
    for (size_t i = 0; i < stored->count; i++)
        if (stored->items[i].is_complete && strcmp(stored->items[i].id, id) == 0)
            return true;
    return false;
}

static bool choose(const cx_run *run, const struct copy_options *option, cx_repo *from,
                   cx_list *ids, cx_err *err)
{
    CX_AUTO(cx_stored_backups_free) cx_stored_backups stored = {0};

    for (size_t i = 0; i < run->arg_count; i++)
        cx_list_add(ids, run->args[i]);
    if (ids->count > 0)
        return true;
    if (!cx_repo_backups(from, &stored, err))
        return false;
    for (size_t i = 0; i < stored.count; i++) {
        if (!stored.items[i].is_complete)
            continue;
        if (!option->all)
            cx_list_free(ids);
        cx_list_add(ids, stored.items[i].id);
    }
    return ids->count > 0 || cx_fail(err, CX_NOT_FOUND, "%s has no backup of node %s",
                                     cx_dest_name(from->dest), from->node_id);
}

static bool open_copying(const cx_run *run, const struct copy_options *option,
                         const cx_config *config, struct copying *copying, cx_err *err)
{
    bool is_trusted = false;

    return backup_open_repo(config, &option->place, &copying->from, err) &&
           backup_trusted_key(run, option->trusted_key, copying->from, &copying->key, &is_trusted,
                              err) &&
           cx_repo_open(option->to, copying->from->cluster, copying->from->node_id, &copying->to,
                        err) &&
           (run->dry_run || (cx_repo_prepare(copying->to, &copying->key, cx_wall_ms(), err) &&
                             cx_repo_lock_take(copying->to, "cx-backup copy", "copy",
                                               option->wait_ms, &copying->lock, err)));
}

static bool copy(cx_run *run, const void *parsed, cx_err *err)
{
    const struct copy_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(close_copying) struct copying copying = {.dry_run = run->dry_run};
    CX_AUTO(cx_stored_backups_free) cx_stored_backups there = {0};
    CX_AUTO(cx_list_free) cx_list ids = {0};
    CX_AUTO(cx_json_free) json_t *document = NULL;
    json_t *copied = json_array();

    document = json_pack("{s:b, s:o}", "changed", false, "copied", copied);
    if (option->to == NULL)
        return cx_fail(err, CX_USAGE, "copy: --to is missing");
    if (!backup_config(run, &config, err) || !open_copying(run, option, config, &copying, err) ||
        !choose(run, option, copying.from, &ids, err) ||
        !cx_repo_backups(copying.to, &there, err) || !learn(&copying, &there, err))
        return false;
    copying.progress =
        cx_progress_start(run->quiet ? "none" : option->progress, "copying", 0, cx_now_ms());
    for (size_t i = 0; i < ids.count; i++) {
        if (is_there(&there, ids.items[i]))
            continue;
        if (!copy_backup(&copying, ids.items[i], err))
            return cx_wrap(err, "copy %s", ids.items[i]);
        json_array_append_new(copied, json_string(ids.items[i]));
    }
    cx_progress_end(&copying.progress, cx_now_ms());
    json_object_set_new(document, "changed",
                        json_boolean(json_array_size(copied) > 0 && !run->dry_run));
    json_object_set_new(document, "stored_bytes", json_integer(copying.stored_bytes));
    json_object_set_new(document, "repo", cx_json_text(cx_dest_name(copying.from->dest)));
    json_object_set_new(document, "to", cx_json_text(cx_dest_name(copying.to->dest)));
    return cx_emit(run, document, err);
}

const cx_command backup_copy = {
    .name = "copy",
    .arguments = "[ID…]",
    .summary = "copy backups as they stand to another destination",
    .description = "Nothing is opened or encrypted anew, so no identity is needed; signatures and "
                   "digests are checked on the way. What is there already is not copied again.",
    .options = options,
    .options_size = sizeof(struct copy_options),
    .changes = true,
    .run = copy,
};
