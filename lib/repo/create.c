#include "repo/create.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cli.h"
#include "base/io.h"
#include "base/text.h"
#include "base/time.h"
#include "repo/create_run.h"

enum {
    OPEN_TRIES = 3,
    SETTLE_NS =
        100 * 1000 * 1000, /* a file changed this shortly before it was read may change again
                                      with the same time stamp: clocks of file systems are coarse */
    MAGIC_SIZE = 16,
    DATABASE_PAGE_MIN = 512,
    STORE_THREADS = 4,
    SEAL_THREADS_MAX = 16,
};

static const char cache_file[] = "index.ndjson";
static const char scratch_folder[] = "scratch";

/* ---- owners' names */

static const char *name_of(struct owner_names *names, uint32_t id, bool is_group)
{
    struct owner_name *found = NULL;

    for (size_t i = 0; i < names->count && found == NULL; i++)
        if (names->items[i].id == id && names->items[i].is_group == is_group)
            found = &names->items[i];
    if (found == NULL) {
        const struct passwd *user = is_group ? NULL : getpwuid(id);
        const struct group *group = is_group ? getgrgid(id) : NULL;

        names->items = cx_realloc(names->items, names->count + 1, sizeof *names->items);
        found = &names->items[names->count++];
        *found = (struct owner_name){id, is_group,
                                     cx_strdup(user != NULL    ? user->pw_name
                                               : group != NULL ? group->gr_name
                                                               : NULL)};
    }
    return found->name;
}

static void free_names(struct owner_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        cx_free(&names->items[i].name);
    cx_free(&names->items);
    *names = (struct owner_names){0};
}

cx_tar_entry cx_create_tar_entry(struct create *create, const struct item *item)
{
    const cx_identity *identity = &item->identity;
    int64_t mtime_ns = identity->mtime_ns;
    cx_tar_entry entry = {
        .kind = item->entry->kind,
        .path = item->entry->path,
        .target = item->entry->target,
        .mode = identity->mode,
        .uid = identity->uid,
        .gid = identity->gid,
        .user = name_of(&create->names, identity->uid, false),
        .group = name_of(&create->names, identity->gid, true),
        .size = item->content_bytes,
    };

    /* What was written to a database last may stand in its -wal. */
    if (identity->wal_size > 0 && identity->wal_mtime_ns > mtime_ns)
        mtime_ns = identity->wal_mtime_ns;
    entry.mtime_seconds = mtime_ns / 1000000000 - (mtime_ns % 1000000000 < 0);
    entry.mtime_ns = mtime_ns - entry.mtime_seconds * 1000000000;
    return entry;
}

/* ---- what did not change */

static bool is_settled(const struct create *create, const cx_cache_entry *cached)
{
    int64_t limit_ns = create->cache->read_ms * 1000000 - SETTLE_NS;

    return cached->identity.ctime_ns < limit_ns && cached->identity.wal_mtime_ns < limit_ns;
}

static void compare_with_cache(struct create *create, struct part *part)
{
    for (size_t i = 0; create->cache != NULL && i < part->walk.count; i++) {
        struct item *item = &part->items[i];
        const cx_cache_entry *cached =
            cx_cache_find(create->cache, part->component->name, item->entry->path);

        if (cached == NULL || cached->kind != item->entry->kind || cached->segment_count == 0 ||
            !cx_identity_equal(&cached->identity, &item->identity) || !is_settled(create, cached))
            continue;
        item->cached = cached;
        item->content_bytes = cached->content_bytes;
        item->is_database = cached->is_database;
        memcpy(item->sha256, cached->sha256, sizeof item->sha256);
    }
}

/* ---- databases */

/* A database is whole pages, so most other files need not be opened to be told from one. */
static bool is_database(const char *path, const struct item *item)
{
    if (item->entry->is_database)
        return true;
    return item->identity.size >= DATABASE_PAGE_MIN &&
           item->identity.size % DATABASE_PAGE_MIN == 0 && cx_snapshot_is_database(AT_FDCWD, path);
}

bool cx_create_snapshot(struct create *create, const struct part *part, struct item *item,
                        cx_err *err)
{
    CX_AUTO(cx_free) char *path = cx_walk_path(part->component->roots, item->entry);
    CX_AUTO(cx_free) char *name = cx_format("snapshot-%zu", create->snapshots++);
    CX_AUTO(cx_free) char *copy = cx_path_join(create->scratch, name);
    struct stat info;

    item->is_database = false;
    if (!is_database(path, item))
        return true;
    if (!cx_snapshot_take(path, copy, err)) {
        unlink(copy);
        /* It only looks like one. */
        if (err->code == CX_CORRUPT && !item->entry->is_database)
            return true;
        return cx_wrap(err, "component %s", part->component->name);
    }
    if (stat(copy, &info) < 0)
        return cx_fail_errno(err, "stat %s", copy);
    item->snapshot = CX_TAKE(copy);
    item->is_database = true;
    item->content_bytes = info.st_size;
    return true;
}

static bool take_snapshots(struct create *create, struct part *part, cx_err *err)
{
    for (size_t i = 0; i < part->walk.count; i++) {
        struct item *item = &part->items[i];

        if (cx_interrupted())
            return cx_fail(err, CX_INTERRUPTED, "interrupted");
        if (item->entry->kind == CX_TAR_FILE && item->cached == NULL &&
            !cx_create_snapshot(create, part, item, err))
            return false;
    }
    return true;
}

/* ---- a component's files */

static bool lost_everything(const struct create *create, const struct part *part)
{
    bool had = false;

    for (size_t i = 0; create->cache != NULL && i < create->cache->entry_count && !had; i++)
        had = create->cache->entries[i].kind == CX_TAR_FILE &&
              strcmp(create->cache->entries[i].component, part->component->name) == 0;
    for (size_t i = 0; i < part->walk.count && had; i++)
        if (part->walk.entries[i].kind == CX_TAR_FILE)
            return false;
    return had;
}

static bool walk_part(struct create *create, struct part *part, cx_err *err)
{
    const cx_create_component *component = part->component;

    if (!cx_walk_run(component->roots, component->root_count, &part->walk, err))
        return cx_wrap(err, "component %s", component->name);
    if (lost_everything(create, part) && !create->spec->allow_missing) {
        cx_fail(err, CX_CORRUPT, "component %s had files at the last backup and has none now",
                component->name);
        return cx_hint(err, "if that is right: --allow-missing");
    }
    part->items = cx_alloc(part->walk.count + 1, sizeof *part->items);
    for (size_t i = 0; i < part->walk.count; i++) {
        const cx_walk_entry *entry = &part->walk.entries[i];

        part->items[i] = (struct item){
            .entry = entry,
            .identity = entry->identity,
            .content_bytes = entry->kind == CX_TAR_FILE ? entry->identity.size : 0,
        };
    }
    create->created->skipped += part->walk.skipped;
    if (strcmp(create->spec->type, "incremental") == 0)
        compare_with_cache(create, part);
    return take_snapshots(create, part, err);
}

/* Queues before the registry: an agent that got its first message in between is in both or has no
 * message, never the other way about. The files come last: they are the slowest. */
static const char *const snapshot_order[] = {"message_queues", "agent_registry"};

static bool walk_parts(struct create *create, cx_err *err)
{
    for (size_t i = 0; i < CX_COUNT(snapshot_order); i++)
        for (size_t j = 0; j < create->part_count; j++)
            if (strcmp(create->parts[j].component->name, snapshot_order[i]) == 0 &&
                !walk_part(create, &create->parts[j], err))
                return false;
    for (size_t i = 0; i < create->part_count; i++)
        if (create->parts[i].items == NULL && !walk_part(create, &create->parts[i], err))
            return false;
    return true;
}

static void free_parts(struct create *create)
{
    for (size_t i = 0; i < create->part_count; i++) {
        struct part *part = &create->parts[i];

        for (size_t j = 0; part->items != NULL && j < part->walk.count; j++)
            cx_free(&part->items[j].snapshot);
        cx_free(&part->items);
        cx_walk_free(&part->walk);
    }
}

/* ---- the documents at the end */

static void count_part(const struct create *create, const struct part *part,
                       cx_created_component *counted)
{
    *counted = (cx_created_component){.name = part->component->name,
                                      .segments = part->piece_end - part->first_piece};
    for (size_t i = 0; i < part->walk.count; i++)
        if (!part->items[i].vanished && part->items[i].entry->kind == CX_TAR_FILE) {
            counted->files++;
            counted->bytes += part->items[i].content_bytes;
        }
    create->created->files += counted->files;
    create->created->bytes += counted->bytes;
}

static void make_index(struct create *create, cx_buffer *lines)
{
    uint8_t(*ids)[CX_SEGMENT_ID_SIZE] = cx_alloc(cx_stream_count(create->stream) + 1, sizeof *ids);

    for (size_t i = 0; i < cx_stream_count(create->stream); i++)
        memcpy(ids[i], cx_stream_piece(create->stream, i)->id, sizeof *ids);
    for (size_t i = 0; i < create->part_count; i++)
        for (size_t j = 0; j < create->parts[i].walk.count; j++) {
            const struct item *item = &create->parts[i].items[j];
            cx_index_entry entry = {
                .component = create->parts[i].component->name,
                .segments = (const uint8_t(*)[CX_SEGMENT_ID_SIZE]) & ids[item->first_piece],
                .segment_count = item->piece_count,
            };

            if (item->vanished)
                continue;
            entry.tar = cx_create_tar_entry(create, item);
            memcpy(entry.sha256, item->sha256, sizeof entry.sha256);
            cx_index_add(&entry, lines);
        }
    cx_free(&ids);
}

static bool store_index(struct create *create, cx_segment *index, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer lines = {0};
    CX_AUTO(cx_buffer_free) cx_buffer stored = {0};
    CX_AUTO(cx_sealer_close) cx_sealer *sealer = cx_sealer_open(create->spec->recipients);

    make_index(create, &lines);
    if (!cx_seal(sealer, cx_buffer_bytes(&lines), &stored, err))
        return false;
    index->size = (int64_t)lines.size;
    index->stored_bytes = (int64_t)stored.size;
    cx_sha256(cx_buffer_bytes(&stored), index->sha256);
    for (size_t i = 0; i < create->targets.count; i++) {
        cx_target *target = &create->targets.items[i];
        CX_AUTO(cx_free)
        char *key =
            cx_repo_key(target->repo, "backups/%s/index.ndjson.zst.age", create->created->id);
        cx_err failure;

        if (!target->failed &&
            !cx_dest_put(target->repo->dest, key, cx_buffer_bytes(&stored), CX_PUT_LATER, &failure))
            cx_targets_fail(&create->targets, i, &failure);
        target->stored_bytes += (int64_t)stored.size;
    }
    return cx_targets_alive(&create->targets, err);
}

static cx_manifest *make_manifest(struct create *create, size_t at, const cx_segment *index)
{
    const cx_target *target = &create->targets.items[at];
    const cx_created *created = create->created;
    cx_manifest *manifest = cx_alloc(1, sizeof *manifest);

    *manifest = (cx_manifest){
        .id = cx_strdup(created->id),
        .type = cx_strdup(create->spec->type),
        .parent = created->parent != NULL && cx_list_has(&target->backups, created->parent)
                      ? cx_strdup(created->parent)
                      : NULL,
        .cluster = cx_strdup(target->repo->cluster),
        .node_id = cx_strdup(target->repo->node_id),
        .version = cx_strdup(create->spec->version),
        .created_ms = created->created_ms,
        .files = created->files,
        .bytes = created->bytes,
        .components = cx_alloc(create->part_count, sizeof *manifest->components),
        .component_count = create->part_count,
        .index = *index,
    };
    for (size_t i = 0; i < create->part_count; i++) {
        const struct part *part = &create->parts[i];
        cx_manifest_component *component = &manifest->components[i];
        size_t count = part->piece_end - part->first_piece;

        *component = (cx_manifest_component){
            .name = cx_strdup(part->component->name),
            .files = created->components[i].files,
            .bytes = created->components[i].bytes,
            .segments = cx_alloc(count + 1, sizeof *component->segments),
            .segment_count = count,
        };
        for (size_t j = 0; j < count; j++) {
            const cx_piece *piece = cx_stream_piece(create->stream, part->first_piece + j);

            component->segments[j] = cx_targets_about(&create->targets, at, piece->id);
        }
    }
    return manifest;
}

static bool finish_targets(struct create *create, cx_err *err)
{
    cx_segment index = {0};

    if (!store_index(create, &index, err))
        return false;
    for (size_t i = 0; i < create->targets.count; i++) {
        CX_AUTO(cx_manifest_free) cx_manifest *manifest = NULL;

        if (create->targets.items[i].failed)
            continue;
        manifest = make_manifest(create, i, &index);
        cx_targets_finish(&create->targets, i, manifest, create->spec->sign_key);
    }
    return cx_targets_alive(&create->targets, err);
}

static bool write_cache(struct create *create, cx_err *err)
{
    CX_AUTO(cx_free) char *path = cx_path_join(create->spec->cache_dir, cache_file);
    CX_AUTO(cx_cache_free) cx_cache *cache = cx_alloc(1, sizeof *cache);
    size_t entries = 0;

    for (size_t i = 0; i < create->part_count; i++)
        entries += create->parts[i].walk.count;
    cache->backup_id = cx_strdup(create->created->id);
    cache->read_ms = create->created->created_ms;
    cache->segments = cx_alloc(cx_stream_count(create->stream) + 1, sizeof *cache->segments);
    for (; cache->segment_count < cx_stream_count(create->stream); cache->segment_count++) {
        const cx_piece *piece = cx_stream_piece(create->stream, cache->segment_count);
        cx_cache_segment *segment = &cache->segments[cache->segment_count];

        memcpy(segment->id, piece->id, sizeof segment->id);
        segment->size = piece->size;
    }
    cache->entries = cx_alloc(entries + 1, sizeof *cache->entries);
    for (size_t i = 0; i < create->part_count; i++) {
        const struct part *part = &create->parts[i];

        cx_list_add(&cache->components, part->component->name);
        for (size_t j = 0; j < part->walk.count; j++) {
            const struct item *item = &part->items[j];
            cx_cache_entry *entry = &cache->entries[cache->entry_count];

            if (item->vanished)
                continue;
            *entry = (cx_cache_entry){
                .component = part->component->name,
                .path = cx_strdup(item->entry->path),
                .kind = item->entry->kind,
                .identity = item->identity,
                .is_database = item->is_database,
                .content_bytes = item->content_bytes,
                .first_segment = (uint32_t)item->first_piece,
                .segment_count = (uint32_t)item->piece_count,
            };
            memcpy(entry->sha256, item->sha256, sizeof entry->sha256);
            if (item->is_unsettled)
                entry->identity.ctime_ns = INT64_MAX;
            cache->entry_count++;
        }
    }
    return cx_cache_write(path, cache, err);
}

/* ---- the whole */

static void read_cache(struct create *create)
{
    CX_AUTO(cx_free) char *path = cx_path_join(create->spec->cache_dir, cache_file);
    cx_err ignored;

    if (!cx_cache_read(path, &create->cache, &ignored))
        create->created->cache_missing = strcmp(create->spec->type, "incremental") == 0;
    else if (strcmp(create->spec->type, "incremental") == 0)
        create->created->parent = cx_strdup(create->cache->backup_id);
}

static bool prepare_folders(struct create *create, cx_err *err)
{
    CX_AUTO(cx_free) char *lock = cx_path_join(create->spec->cache_dir, "lock");

    create->scratch = cx_path_join(create->spec->cache_dir, scratch_folder);
    if (!cx_make_folders(create->spec->cache_dir, 0700, NULL, err) ||
        !cx_lock_wait(lock, create->spec->lock_wait_ms, &create->lock_fd, err))
        return false;
    /* What a run left that was killed. */
    return cx_sweep_stages(create->spec->cache_dir, err) && cx_remove_tree(create->scratch, err) &&
           cx_make_folders(create->scratch, 0700, NULL, err);
}

static bool open_stream(struct create *create, cx_err *err)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    cx_stream_spec spec = {
        .targets = &create->targets,
        .recipients = create->spec->recipients,
        .naming = create->spec->naming,
        .seal_threads = processors < 1                  ? 1
                        : processors > SEAL_THREADS_MAX ? SEAL_THREADS_MAX
                                                        : (size_t)processors,
        .store_threads = STORE_THREADS,
        .dry_run = create->spec->dry_run,
    };

    return cx_stream_open(&spec, &create->stream, err);
}

/* What is remembered may be of a backup in a repository that this one does not go to. */
static void forget_strange_parent(struct create *create)
{
    for (size_t i = 0; create->created->parent != NULL && i < create->targets.count; i++)
        if (!create->targets.items[i].failed &&
            cx_list_has(&create->targets.items[i].backups, create->created->parent))
            return;
    cx_free(&create->created->parent);
}

static bool make_backup(struct create *create, cx_err *err)
{
    const cx_create_spec *spec = create->spec;
    cx_minisign_public sign_key;
    uint8_t seed[CX_CUT_SEED_SIZE];
    int64_t total = 0;

    cx_minisign_public_of(spec->sign_key, &sign_key);
    cx_naming_derive(spec->naming, "cuts", seed);
    create->cutter = cx_cutter_from(seed);
    read_cache(create);
    cx_targets_open(&create->targets, spec->repos, spec->repo_count, spec->naming, &sign_key,
                    spec->cache_dir, spec->reason, spec->lock_wait_ms, spec->dry_run);
    if (!cx_targets_alive(&create->targets, err))
        return false;
    create->targets.checks = strcmp(spec->type, "full") == 0 && !spec->dry_run;
    forget_strange_parent(create);
    create->created->created_ms = cx_wall_ms();
    if (!walk_parts(create, err) || !open_stream(create, err))
        return false;
    for (size_t i = 0; i < create->part_count; i++)
        for (size_t j = 0; j < create->parts[i].walk.count; j++)
            total += create->parts[i].items[j].content_bytes;
    create->progress = cx_progress_start(spec->progress, "backing up", total, cx_now_ms());
    for (size_t i = 0; i < create->part_count; i++)
        if (!cx_create_write_part(create, &create->parts[i], err))
            return cx_wrap(err, "component %s", create->parts[i].component->name);
    if (!cx_stream_finish(create->stream, err))
        return false;
    for (size_t i = 0; i < create->part_count; i++)
        count_part(create, &create->parts[i], &create->created->components[i]);
    create->created->component_count = create->part_count;
    cx_progress_end(&create->progress, cx_now_ms());
    if (spec->dry_run)
        return true;
    return finish_targets(create, err) && write_cache(create, err);
}

static void tell_targets(struct create *create)
{
    cx_created *created = create->created;

    created->target_count = create->targets.count;
    created->targets = cx_alloc(create->targets.count + 1, sizeof *created->targets);
    for (size_t i = 0; i < create->targets.count; i++) {
        const cx_target *target = &create->targets.items[i];

        created->targets[i] = (cx_created_target){
            .dest = cx_dest_name(target->repo->dest),
            .new_segments = target->new_segments,
            .checked_segments = target->checked_segments,
            .damaged_segments = target->damaged_segments,
            .checked_bytes = target->checked_bytes,
            .stored_bytes = target->stored_bytes,
            .failed = target->failed,
            .error = target->error,
        };
        created->targets_failed += target->failed;
    }
}

static void close_create(struct create *create)
{
    cx_err ignored;

    cx_stream_close(&create->stream);
    cx_buffer_free(&create->window);
    cx_targets_close(&create->targets);
    free_parts(create);
    free_names(&create->names);
    cx_cache_free(&create->cache);
    if (create->lock_fd >= 0)
        (void)!cx_remove_tree(create->scratch, &ignored);
    cx_free(&create->scratch);
    cx_fd_close(&create->lock_fd);
}

bool cx_create_backup(const cx_create_spec *spec, cx_created *created, cx_err *err)
{
    CX_AUTO(close_create)
    struct create create = {
        .spec = spec, .created = created, .part_count = spec->component_count, .lock_fd = -1};
    uint16_t random;

    *created = (cx_created){0};
    cx_random(&random, sizeof random);
    created->id = cx_backup_id(cx_wall_ms(), spec->repos[0]->node_id, spec->type, random);
    for (size_t i = 0; i < spec->component_count; i++)
        create.parts[i].component = &spec->components[i];
    if (!prepare_folders(&create, err) || !make_backup(&create, err))
        return false;
    tell_targets(&create);
    return true;
}

void cx_created_free(cx_created *created)
{
    cx_free(&created->id);
    cx_free(&created->parent);
    cx_free(&created->targets);
    *created = (cx_created){0};
}
