#include "repo/target.h"

#include <inttypes.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "base/time.h"
#include "repo/content.h"

enum {
    NAMES_MAX = 64,                 /* of one segment: each but the last is taken by a stranger */
    NOTE_AFTER = 256 * 1024 * 1024, /* bytes that a kill -9 may cost */
    KNOWN_MAX = 1024 * 1024 * 1024,
    LINE_MAX_SIZE = 16 * 1024 * 1024,
    FORMAT = 1,
};

/* What a slot's mark says: FOREIGN is there, but is damaged, or nobody we trust says what it is; RIGHT was
 * read back by this run. */
enum { ABSENT, PRESENT, CLAIMED, FOREIGN, CHECKING, RIGHT };

static void unlock(pthread_mutex_t **owner)
{
    pthread_mutex_unlock(*owner);
}

/* ---- what is known from earlier runs */

static char *cache_path(const cx_repo *repo, const char *cache_dir)
{
    CX_AUTO(cx_free)
    char *place = cx_format("%s\n%s\n%s", cx_dest_name(repo->dest), repo->cluster, repo->node_id);
    uint8_t digest[CX_SHA256_SIZE];

    cx_sha256(cx_bytes_of(place), digest);

    CX_AUTO(cx_free) char *hex = cx_hex((cx_bytes){digest, 8});
    CX_AUTO(cx_free) char *name = cx_format("stored-%s.ndjson", hex);

    return cx_path_join(cache_dir, name);
}

static void remember(cx_segments *known, const cx_segment *segment)
{
    cx_segments_add(known, segment->id)->segment = *segment;
}

static void remember_manifest(cx_segments *known, const cx_manifest *manifest)
{
    for (size_t i = 0; i < manifest->component_count; i++)
        for (size_t j = 0; j < manifest->components[i].segment_count; j++)
            remember(known, &manifest->components[i].segments[j]);
}

static bool parse_known_line(const json_t *line, cx_segment *segment)
{
    const char *id = json_string_value(json_array_get(line, 0));
    const char *sha256 = json_string_value(json_array_get(line, 1));
    cx_err ignored;

    segment->size = json_integer_value(json_array_get(line, 2));
    segment->stored_bytes = json_integer_value(json_array_get(line, 3));
    return id != NULL && sha256 != NULL && cx_from_hex(id, segment->id, 32, &ignored) &&
           cx_from_hex(sha256, segment->sha256, 32, &ignored);
}

/* A damaged file counts as lost. */
static bool read_known(cx_target *target, cx_segments *known)
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    cx_err ignored;

    if (!cx_read_file(target->cache_path, KNOWN_MAX, &text, &ignored))
        return false;
    for (cx_bytes rest = cx_buffer_bytes(&text); rest.size > 0;) {
        const uint8_t *end = memchr(rest.data, '\n', rest.size);
        size_t size = end == NULL ? rest.size : (size_t)(end - rest.data);
        CX_AUTO(cx_json_free) json_t *line = NULL;
        cx_segment segment = {0};
        size_t at;
        const json_t *id;

        if (end == NULL ||
            !cx_json_parse((cx_bytes){rest.data, size}, LINE_MAX_SIZE, "", &line, &ignored))
            return false;
        if (json_is_object(line)) {
            json_array_foreach (json_object_get(line, "backups"), at, id)
                cx_list_add(&target->backups, json_string_value(id));
        } else if (parse_known_line(line, &segment)) {
            remember(known, &segment);
        } else {
            return false;
        }
        rest = (cx_bytes){rest.data + size + 1, rest.size - size - 1};
    }
    return true;
}

static bool write_known(cx_target *target, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    json_t *backups = json_array();
    CX_AUTO(cx_json_free) json_t *head = NULL;
    CX_AUTO(cx_free) char *line = NULL;

    for (size_t i = 0; i < target->backups.count; i++)
        json_array_append_new(backups, json_string(target->backups.items[i]));
    head = json_pack("{s:i, s:o, s:o}", "format", FORMAT, "repo",
                     cx_json_text(cx_dest_name(target->repo->dest)), "backups", backups);
    line = cx_json_line(head);
    cx_buffer_addf(&text, "%s\n", line);
    for (size_t i = 0; i < cx_segments_count(target->segments); i++) {
        const cx_segment_slot *slot = cx_segments_at(target->segments, i);
        CX_AUTO(cx_free) char *id = NULL;
        CX_AUTO(cx_free) char *sha256 = NULL;

        if (slot->mark != PRESENT && slot->mark != RIGHT)
            continue;
        id = cx_hex((cx_bytes){slot->segment.id, 32});
        sha256 = cx_hex((cx_bytes){slot->segment.sha256, 32});
        cx_buffer_addf(&text, "[\"%s\",\"%s\",%" PRId64 ",%" PRId64 "]\n", id, sha256,
                       slot->segment.size, slot->segment.stored_bytes);
    }
    return cx_replace(target->cache_path, 0600, cx_buffer_bytes(&text), err);
}

/* ---- opening */

/* Manifests that are there and that the copy has not seen; those that are gone are forgotten. What a
 * manifest names that we did not sign is not trusted. */
static bool learn_manifests(cx_target *target, const cx_minisign_public *sign_key,
                            cx_segments *known, cx_err *err)
{
    CX_AUTO(cx_stored_backups_free) cx_stored_backups stored = {0};
    CX_AUTO(cx_list_free) cx_list seen = {0};

    if (!cx_repo_backups(target->repo, &stored, err))
        return false;
    for (size_t i = 0; i < stored.count; i++) {
        CX_AUTO(cx_manifest_free) cx_manifest *manifest = NULL;
        const char *id = stored.items[i].id;

        if (!stored.items[i].is_complete)
            continue;
        if (!cx_list_has(&target->backups, id)) {
            if (!cx_repo_manifest(target->repo, id, sign_key, &manifest, NULL, err)) {
                if (err->code == CX_UNAVAILABLE || err->code == CX_TIMEOUT || err->code == CX_IO ||
                    err->code == CX_INTERRUPTED)
                    return false;
                continue;
            }
            remember_manifest(known, manifest);
        }
        cx_list_add(&seen, id);
    }
    cx_list_free(&target->backups);
    target->backups = seen;
    seen = (cx_list){0};
    return true;
}

/* What is known and is there, with the size that it should have. */
static bool match_segments(cx_target *target, const cx_segments *known, cx_err *err)
{
    if (!cx_repo_segments(target->repo, &target->segments, err))
        return false;
    for (size_t i = 0; i < cx_segments_count(target->segments); i++) {
        cx_segment_slot *slot = cx_segments_at(target->segments, i);
        const cx_segment_slot *about = cx_segments_find(known, slot->segment.id);

        slot->mark = FOREIGN;
        if (about != NULL && about->segment.stored_bytes == slot->segment.stored_bytes) {
            slot->segment = about->segment;
            slot->mark = PRESENT;
        }
    }
    return true;
}

static bool open_target(cx_target *target, const cx_minisign_public *sign_key, const char *reason,
                        int64_t wait_ms, bool dry_run, cx_err *err)
{
    CX_AUTO(cx_segments_close) cx_segments *known = NULL;
    uint64_t salt;

    cx_random(&salt, sizeof salt);
    known = cx_segments_open(salt);
    if (!dry_run &&
        (!cx_repo_prepare(target->repo, sign_key, cx_wall_ms(), err) ||
         !cx_repo_lock_take(target->repo, "cx-backup create", reason, wait_ms, &target->lock, err)))
        return false;
    if (!read_known(target, known)) {
        cx_list_free(&target->backups);
        cx_segments_close(&known);
        known = cx_segments_open(salt);
    }
    return learn_manifests(target, sign_key, known, err) && match_segments(target, known, err);
}

void cx_targets_open(cx_targets *targets, cx_repo **repos, size_t count, const cx_naming *naming,
                     const cx_minisign_public *sign_key, const char *cache_dir, const char *reason,
                     int64_t wait_ms, bool dry_run)
{
    *targets = (cx_targets){.items = cx_alloc(count, sizeof *targets->items),
                            .count = count,
                            .naming = naming,
                            .sign_key = sign_key};
    pthread_mutex_init(&targets->mutex, NULL);
    pthread_cond_init(&targets->checked, NULL);
    for (size_t i = 0; i < count; i++) {
        cx_err err;

        targets->items[i] =
            (cx_target){.repo = repos[i], .cache_path = cache_path(repos[i], cache_dir)};
        if (!open_target(&targets->items[i], sign_key, reason, wait_ms, dry_run, &err))
            cx_targets_fail(targets, i, &err);
    }
}

void cx_targets_close(cx_targets *targets)
{
    if (targets->items == NULL)
        return;
    for (size_t i = 0; i < targets->count; i++) {
        cx_target *target = &targets->items[i];
        cx_err ignored;

        if (target->lock != NULL && target->segments != NULL && !target->finished &&
            cx_dest_flush(target->repo->dest, &ignored))
            (void)!write_known(target, &ignored);
        cx_repo_lock_release(&target->lock);
        cx_segments_close(&target->segments);
        cx_list_free(&target->backups);
        cx_free(&target->cache_path);
    }
    pthread_mutex_destroy(&targets->mutex);
    pthread_cond_destroy(&targets->checked);
    cx_free(&targets->items);
}

void cx_targets_fail(cx_targets *targets, size_t at, const cx_err *err)
{
    CX_AUTO(unlock) pthread_mutex_t *locked = &targets->mutex;
    cx_target *target = &targets->items[at];

    pthread_mutex_lock(locked);
    if (!target->failed)
        target->error = *err;
    target->failed = true;
}

bool cx_targets_alive(cx_targets *targets, cx_err *err)
{
    CX_AUTO(unlock) pthread_mutex_t *locked = &targets->mutex;

    pthread_mutex_lock(locked);
    for (size_t i = 0; i < targets->count; i++)
        if (!targets->items[i].failed)
            return true;
    *err = targets->items[0].error;
    return false;
}

void cx_targets_renew(cx_targets *targets, int64_t now_ms)
{
    for (size_t i = 0; i < targets->count; i++) {
        cx_target *target = &targets->items[i];
        cx_err err;

        if (target->lock != NULL && !cx_repo_lock_renew(target->lock, now_ms, &err))
            cx_targets_fail(targets, i, &err);
    }
}

/* ---- segments */

bool cx_targets_have(cx_targets *targets, const uint8_t id[CX_SEGMENT_ID_SIZE])
{
    CX_AUTO(unlock) pthread_mutex_t *locked = &targets->mutex;

    pthread_mutex_lock(locked);
    for (size_t i = 0; i < targets->count; i++) {
        const cx_target *target = &targets->items[i];
        const cx_segment_slot *slot =
            target->failed ? NULL : cx_segments_find(target->segments, id);

        if (!target->failed && (slot == NULL || (slot->mark != PRESENT && slot->mark != CLAIMED &&
                                                 slot->mark != RIGHT)))
            return false;
    }
    return true;
}

static bool is_foreign(const cx_targets *targets, const uint8_t *id)
{
    for (size_t i = 0; i < targets->count; i++) {
        const cx_target *target = &targets->items[i];
        const cx_segment_slot *slot =
            target->failed ? NULL : cx_segments_find(target->segments, id);

        if (slot != NULL && slot->mark == FOREIGN)
            return true;
    }
    return false;
}

/* The object itself, out of the mutex; what can't be found out is the destination's failure. */
static bool is_right(cx_targets *targets, size_t at, const cx_segment *segment)
{
    CX_AUTO(cx_buffer_free) cx_buffer stored = {0};
    cx_err err;

    if (cx_content_stored(targets->items[at].repo, segment, &stored, &err))
        return true;
    if (!cx_content_is_damage(&err))
        cx_targets_fail(targets, at, &err);
    return false;
}

/* Reads what a destination has under this name; false when nothing was to be read. Called, and ends, under
 * the mutex. */
static bool check_stored(cx_targets *targets, size_t at, const uint8_t *id)
{
    cx_target *target = &targets->items[at];
    cx_segment_slot *slot = target->failed ? NULL : cx_segments_find(target->segments, id);
    cx_segment segment;
    bool right;

    if (slot != NULL && slot->mark == CHECKING) {
        pthread_cond_wait(&targets->checked, &targets->mutex);
        return true;
    }
    if (slot == NULL || slot->mark != PRESENT)
        return false;
    slot->mark = CHECKING;
    segment = slot->segment;
    pthread_mutex_unlock(&targets->mutex);
    right = is_right(targets, at, &segment);
    pthread_mutex_lock(&targets->mutex);
    cx_segments_find(target->segments, id)->mark = right ? RIGHT : FOREIGN;
    target->checked_segments++;
    target->checked_bytes += segment.stored_bytes;
    target->damaged_segments += !right && !target->failed;
    pthread_cond_broadcast(&targets->checked);
    return true;
}

/* The first name under which no destination has anything but the segment itself, or nothing. */
static bool find_name(cx_targets *targets, uint8_t id[CX_SEGMENT_ID_SIZE], cx_err *err)
{
    for (int names = 1; names < NAMES_MAX;) {
        uint8_t next[CX_SEGMENT_ID_SIZE];
        bool waited = false;

        for (size_t i = 0; targets->checks && i < targets->count; i++)
            waited |= check_stored(targets, i, id);
        if (waited)
            continue;
        if (!is_foreign(targets, id))
            return true;
        names++;
        cx_segment_id(targets->naming, (cx_bytes){id, CX_SEGMENT_ID_SIZE}, next);
        memcpy(id, next, sizeof next);
    }
    return cx_fail(err, CX_EXISTS,
                   "all of a segment's names are taken by objects that no backup of ours knows");
}

bool cx_targets_claim(cx_targets *targets, uint8_t id[CX_SEGMENT_ID_SIZE], uint32_t *to_store,
                      cx_err *err)
{
    CX_AUTO(unlock) pthread_mutex_t *locked = &targets->mutex;

    *to_store = 0;
    pthread_mutex_lock(locked);
    if (!find_name(targets, id, err))
        return false;
    for (size_t i = 0; i < targets->count; i++) {
        cx_target *target = &targets->items[i];
        cx_segment_slot *slot = target->failed ? NULL : cx_segments_add(target->segments, id);

        if (slot == NULL || slot->mark != ABSENT)
            continue;
        slot->mark = CLAIMED;
        target->new_segments++;
        *to_store |= UINT32_C(1) << i;
    }
    return true;
}

/* Called under the mutex: what is noted must be durable, and what is marked be noted. */
static bool note(cx_target *target, cx_err *err)
{
    target->unnoted_bytes = 0;
    return cx_dest_flush(target->repo->dest, err) && write_known(target, err);
}

static void store(cx_targets *targets, size_t at, const cx_segment *segment, cx_bytes stored)
{
    cx_target *target = &targets->items[at];
    CX_AUTO(cx_free) char *object = cx_segment_object(segment->id);
    CX_AUTO(cx_free) char *key = cx_repo_key(target->repo, "%s", object);
    bool noted = true;
    cx_err err;

    if (!cx_dest_put(target->repo->dest, key, stored, CX_PUT_LATER, &err)) {
        cx_targets_fail(targets, at, &err);
        return;
    }
    pthread_mutex_lock(&targets->mutex);

    cx_segment_slot *slot = cx_segments_add(target->segments, segment->id);

    slot->segment = *segment;
    slot->mark = RIGHT;
    target->stored_bytes += segment->stored_bytes;
    target->unnoted_bytes += segment->stored_bytes;
    if (target->unnoted_bytes >= NOTE_AFTER)
        noted = note(target, &err);
    pthread_mutex_unlock(&targets->mutex);
    if (!noted)
        cx_targets_fail(targets, at, &err);
}

void cx_targets_store(cx_targets *targets, uint32_t to_store, const cx_segment *segment,
                      cx_bytes stored)
{
    for (size_t i = 0; i < targets->count; i++)
        if ((to_store & UINT32_C(1) << i) != 0)
            store(targets, i, segment, stored);
}

cx_segment cx_targets_about(cx_targets *targets, size_t at, const uint8_t id[CX_SEGMENT_ID_SIZE])
{
    CX_AUTO(unlock) pthread_mutex_t *locked = &targets->mutex;
    const cx_segment_slot *slot;
    cx_segment about = {0};

    pthread_mutex_lock(locked);
    slot = cx_segments_find(targets->items[at].segments, id);
    memcpy(about.id, id, sizeof about.id);
    return slot == NULL ? about : slot->segment;
}

/* ---- the end */

static bool check_segments(cx_target *target, const cx_manifest *manifest, cx_err *err)
{
    CX_AUTO(cx_segments_close) cx_segments *stored = NULL;

    if (!cx_repo_segments(target->repo, &stored, err))
        return false;
    for (size_t i = 0; i < manifest->component_count; i++)
        for (size_t j = 0; j < manifest->components[i].segment_count; j++) {
            const cx_segment *segment = &manifest->components[i].segments[j];
            const cx_segment_slot *slot = cx_segments_find(stored, segment->id);

            if (slot == NULL || slot->segment.stored_bytes != segment->stored_bytes) {
                CX_AUTO(cx_free) char *object = cx_segment_object(segment->id);

                return cx_fail(err, CX_CORRUPT, "%s: %s is %s after it was stored",
                               cx_dest_name(target->repo->dest), object,
                               slot == NULL ? "missing" : "of another size");
            }
        }
    return true;
}

static bool finish(cx_target *target, const cx_manifest *manifest,
                   const cx_minisign_secret *sign_key, cx_err *err)
{
    if (!cx_dest_flush(target->repo->dest, err) || !check_segments(target, manifest, err) ||
        !cx_repo_lock_held(target->lock, err) ||
        !cx_repo_put_manifest(target->repo, manifest, sign_key, err))
        return false;
    cx_list_add(&target->backups, manifest->id);
    target->finished = true;
    return write_known(target, err);
}

void cx_targets_finish(cx_targets *targets, size_t at, const cx_manifest *manifest,
                       const cx_minisign_secret *sign_key)
{
    cx_err err;

    if (!targets->items[at].failed && !finish(&targets->items[at], manifest, sign_key, &err))
        cx_targets_fail(targets, at, &err);
}
