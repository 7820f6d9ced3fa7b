/* verify: whether restored data is whole. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/text.h"
#include "repo/snapshot.h"
#include "repo/walk.h"
#include "restore.h"

enum { MARK_MAX = 64 * 1024, FILE_MAX = 1024 * 1024 * 1024, PROBLEMS_MAX = 1000 };

struct verify_options {
    restore_source source;
    const char *target;
    bool discard_old;
};

static const cx_option options[] = {
    RESTORE_SOURCE_OPTIONS(struct verify_options, source),
    {"target", CX_TEXT(struct verify_options, target), "DIR", NULL,
     "the folder that was restored; default: data_dir"},
    {"discard-old", CX_FLAG(struct verify_options, discard_old), NULL, NULL,
     "when all is well, remove what restores have replaced"},
    {0},
};

struct verifying {
    const char *folder;
    json_t *problems;
    size_t databases, files;
};

static void add_problem(struct verifying *verifying, const char *path, const char *reason)
{
    if (json_array_size(verifying->problems) < PROBLEMS_MAX)
        json_array_append_new(
            verifying->problems,
            json_pack("{s:o, s:o}", "path", cx_json_text(path), "reason", cx_json_text(reason)));
}

/* A database that a node writes to is looked at as a snapshot of this moment. */
static bool check_database(const char *path, bool is_in_use, cx_err *err)
{
    CX_AUTO(cx_free) char *copy = NULL;
    cx_err ignored;
    bool is_whole;

    if (!is_in_use)
        return cx_snapshot_check(path, err);
    copy = cx_format("%s.cx-verify", path);
    if (!cx_remove_file(copy, err) || !cx_snapshot_take(path, copy, err))
        return false;
    is_whole = cx_snapshot_check(copy, err);
    (void)!cx_remove_file(copy, &ignored);
    return is_whole;
}

static bool check_databases(struct verifying *verifying, cx_err *err)
{
    CX_AUTO(cx_walk_free) cx_walk walk = {0};
    static const char *const except[] = {".cx-backup", NULL};
    cx_walk_root root = {.path = verifying->folder, .name = "", .except = except};

    if (!cx_walk_run(&root, 1, &walk, err))
        return false;
    for (size_t i = 0; i < walk.count; i++) {
        const cx_walk_entry *entry = &walk.entries[i];
        CX_AUTO(cx_free) char *path = cx_walk_path(&root, entry);
        cx_err failure;

        if (entry->kind != CX_TAR_FILE || !cx_snapshot_is_database(AT_FDCWD, path))
            continue;
        verifying->databases++;
        if (!check_database(path, entry->is_database, &failure))
            add_problem(verifying, entry->path, failure.message);
    }
    return true;
}

/* Against the index: of a node that has run since, this names what it has changed. */
static void check_files(struct verifying *verifying, const restore_backup *backup, bool is_target)
{
    for (size_t i = 0; i < backup->index.count; i++) {
        const cx_content_entry *entry = &backup->index.entries[i];
        CX_AUTO(cx_free) char *path = cx_path_join(verifying->folder, entry->path);
        CX_AUTO(cx_buffer_free) cx_buffer bytes = {0};
        uint8_t digest[CX_SHA256_SIZE];
        cx_err failure;

        if (entry->kind != CX_TAR_FILE || (!is_target && !restore_is_data(entry->component)))
            continue;
        verifying->files++;
        if (!cx_read_file(path, FILE_MAX, &bytes, &failure)) {
            add_problem(verifying, entry->path, failure.message);
            continue;
        }
        cx_sha256(cx_buffer_bytes(&bytes), digest);
        if (memcmp(digest, entry->sha256, sizeof digest) != 0)
            add_problem(verifying, entry->path, "its content is not the backup's");
    }
}

static json_t *read_mark(const char *folder)
{
    CX_AUTO(cx_free) char *path = cx_path_join(folder, restore_mark_name);
    json_t *mark = NULL;
    cx_err ignored;

    return cx_json_read_file(path, MARK_MAX, &mark, &ignored) ? mark : NULL;
}

static json_t *text_of(const json_t *mark, const char *key)
{
    json_t *value = json_object_get(mark, key);

    return json_is_string(value) ? json_incref(value) : json_null();
}

static bool verify(cx_run *run, const void *parsed, cx_err *err)
{
    const struct verify_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(restore_close) restore_backup backup = {0};
    CX_AUTO(restore_job_close) restore_job job = {.lock_fd = -1, .node_lock_fd = -1};
    CX_AUTO(cx_json_free) json_t *document = NULL;
    CX_AUTO(cx_json_free) json_t *mark = NULL;
    CX_AUTO(cx_list_free) cx_list old = {0};
    struct verifying verifying = {.problems = json_array()};
    json_t *old_paths = json_array();
    size_t discarded = 0;
    bool ok;

    document = json_pack("{s:b, s:b, s:o, s:o}", "ok", false, "changed", false, "problems",
                         verifying.problems, "old", old_paths);
    if (!restore_config(run, &config, err))
        return false;
    verifying.folder = option->target != NULL ? option->target : config->data_dir;
    if (!cx_exists(verifying.folder))
        return cx_fail(err, CX_NOT_FOUND, "%s is not there", verifying.folder);
    if (!check_databases(&verifying, err))
        return false;
    mark = read_mark(verifying.folder);
    if (option->source.identity != NULL) {
        if (!restore_open(run, config, &option->source, true, &backup, err))
            return false;
        check_files(&verifying, &backup, option->target != NULL);
    }
    ok = json_array_size(verifying.problems) == 0;
    restore_add_place(&job, verifying.folder);
    if (!restore_list_old(&job, &old, err) ||
        (ok && option->discard_old && !run->dry_run && !restore_discard_old(&job, &discarded, err)))
        return false;
    for (size_t i = 0; i < old.count && discarded == 0; i++)
        json_array_append_new(old_paths, cx_json_text(old.items[i]));
    json_object_set_new(document, "ok", json_boolean(ok));
    json_object_set_new(document, "changed", json_boolean(discarded > 0));
    json_object_set_new(document, "path", cx_json_text(verifying.folder));
    json_object_set_new(document, "id",
                        backup.manifest != NULL ? json_string(backup.manifest->id)
                                                : text_of(mark, "id"));
    json_object_set_new(document, "restored_at", text_of(mark, "restored_at"));
    json_object_set_new(document, "databases", json_integer((json_int_t)verifying.databases));
    json_object_set_new(document, "files",
                        option->source.identity != NULL ? json_integer((json_int_t)verifying.files)
                                                        : json_null());
    json_object_set_new(document, "discarded", json_integer((json_int_t)discarded));
    run->answer_no = !ok;
    return cx_emit(run, document, err);
}

const cx_command restore_verify = {
    .name = "verify",
    .arguments = "[ID]",
    .arguments_max = 1,
    .summary = "whether restored data is whole, and what restores have left beside it",
    .description = "Every database is checked. With an identity each file is compared with the "
                   "backup's, too: of a node that has run since, this tells what it has changed. "
                   "Exit status 1 when something differs or is damaged.",
    .options = options,
    .options_size = sizeof(struct verify_options),
    .changes = true,
    .run = verify,
};
