/* ls, dump, diff: looking into backups. They need an identity. */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup.h"
#include "base/io.h"

struct content_options {
    backup_place place;
    const char *identity;
    const char *trusted_key;
    const char *path;
    const char *component;
    bool latest;
};

#define CONTENT_OPTIONS                                                                    \
    BACKUP_PLACE_OPTIONS(struct content_options, place),                                   \
        {"identity", CX_TEXT(struct content_options, identity), "FILE", NULL,              \
         "age identity that opens it"},                                                    \
        {"trusted-key", CX_TEXT(struct content_options, trusted_key), "FILE", NULL,        \
         "minisign public key of the node; default: as of verify"},                        \
    {                                                                                      \
        "latest", CX_FLAG(struct content_options, latest), NULL, NULL, "the newest backup" \
    }

struct opened {
    cx_config *config;
    cx_repo *repo;
    cx_age_identities *identities;
    cx_minisign_public key;
};

static void close_opened(struct opened *opened)
{
    cx_age_identities_free(&opened->identities);
    cx_repo_close(&opened->repo);
    cx_config_free(&opened->config);
}

static bool open_place(const cx_run *run, const struct content_options *option,
                       struct opened *opened, cx_err *err)
{
    bool is_trusted = false;

    if (option->identity == NULL)
        return cx_fail(err, CX_USAGE, "%s: --identity is missing", run->command->name);
    return backup_config(run, &opened->config, err) &&
           backup_open_repo(opened->config, &option->place, &opened->repo, err) &&
           cx_age_read_identities(option->identity, &opened->identities, err) &&
           backup_trusted_key(run, option->trusted_key, opened->repo, &opened->key, &is_trusted,
                              err);
}

static bool newest(const struct opened *opened, char **id, cx_err *err)
{
    CX_AUTO(cx_stored_backups_free) cx_stored_backups stored = {0};

    if (!cx_repo_backups(opened->repo, &stored, err))
        return false;
    for (size_t i = stored.count; i-- > 0;)
        if (stored.items[i].is_complete) {
            *id = cx_strdup(stored.items[i].id);
            return true;
        }
    return cx_fail(err, CX_NOT_FOUND, "%s has no backup of node %s",
                   cx_dest_name(opened->repo->dest), opened->repo->node_id);
}

/* The id is the argument's, or with --latest (or without an argument) the newest one's. */
static bool read_backup(const struct opened *opened, const char *id, cx_manifest **manifest,
                        cx_buffer *lines, cx_err *err)
{
    CX_AUTO(cx_free) char *chosen = cx_strdup(id);

    return (chosen != NULL || newest(opened, &chosen, err)) &&
           cx_repo_manifest(opened->repo, chosen, &opened->key, manifest, NULL, err) &&
           cx_content_read_index(opened->repo, *manifest, opened->identities, lines, err);
}

/* ---- ls */

struct listing {
    cx_run *run;
    const struct content_options *option;
};

static bool is_wanted(const struct content_options *option, const char *component, const char *path)
{
    return (option->component == NULL || strcmp(option->component, component) == 0) &&
           (option->path == NULL || fnmatch(option->path, path, 0) == 0);
}

static bool print_line(const cx_index_entry *entry, void *arg, cx_err *err)
{
    const struct listing *listing = arg;
    CX_AUTO(cx_buffer_free) cx_buffer line = {0};
    CX_AUTO(cx_json_free) json_t *json = NULL;

    if (!is_wanted(listing->option, entry->component, entry->tar.path))
        return true;
    cx_index_add(entry, &line);
    return cx_json_parse((cx_bytes){line.data, line.size - 1}, line.size, "index", &json, err) &&
           cx_emit_line(listing->run, json, err);
}

static bool ls(cx_run *run, const void *parsed, cx_err *err)
{
    const struct content_options *option = parsed;
    CX_AUTO(close_opened) struct opened opened = {0};
    CX_AUTO(cx_manifest_free) cx_manifest *manifest = NULL;
    CX_AUTO(cx_buffer_free) cx_buffer lines = {0};
    struct listing listing = {run, option};

    return open_place(run, option, &opened, err) &&
           read_backup(&opened, run->arg_count > 0 ? run->args[0] : NULL, &manifest, &lines, err) &&
           cx_index_read(cx_buffer_bytes(&lines), print_line, &listing, err);
}

/* ---- dump */

static bool is_path(const cx_content_entry *entry, void *arg)
{
    return strcmp(entry->path, arg) == 0;
}

static bool begin(void *arg, const cx_tar_entry *entry, cx_err *err)
{
    (void)arg;
    return entry->kind == CX_TAR_FILE || cx_fail(err, CX_INVALID, "%s is no file", entry->path);
}

static bool data(void *arg, cx_bytes piece, cx_err *err)
{
    (void)arg;
    return cx_write_all(STDOUT_FILENO, piece, "stdout", err);
}

static bool end(void *arg, cx_err *err)
{
    (void)arg, (void)err;
    return true;
}

static bool dump(cx_run *run, const void *parsed, cx_err *err)
{
    const struct content_options *option = parsed;
    CX_AUTO(close_opened) struct opened opened = {0};
    CX_AUTO(cx_manifest_free) cx_manifest *manifest = NULL;
    CX_AUTO(cx_buffer_free) cx_buffer lines = {0};
    CX_AUTO(cx_content_index_free) cx_content_index index = {0};
    const char *path = run->args[run->arg_count - 1];
    cx_content_sink sink = {begin, data, end, NULL};
    cx_content_spec spec = {
        .index = &index, .filter = is_path, .filter_arg = (void *)(uintptr_t)path, .sink = &sink};

    if (run->arg_count == 1 && !option->latest)
        return cx_fail(err, CX_USAGE, "dump: an ID and a PATH, or --latest and a PATH");
    if (!open_place(run, option, &opened, err) ||
        !read_backup(&opened, run->arg_count > 1 ? run->args[0] : NULL, &manifest, &lines, err) ||
        !cx_content_parse_index(cx_buffer_bytes(&lines), &index, err))
        return false;
    spec.repo = opened.repo;
    spec.manifest = manifest;
    spec.identities = opened.identities;
    for (size_t i = 0; i < index.count; i++)
        if (is_path(&index.entries[i], spec.filter_arg) &&
            is_wanted(option, index.entries[i].component, path))
            return cx_content_read(&spec, cx_manifest_find(manifest, index.entries[i].component),
                                   err);
    return cx_fail(err, CX_NOT_FOUND, "backup %s has no %s", manifest->id, path);
}

/* ---- diff */

static int compare_entries(const void *a, const void *b)
{
    const cx_content_entry *left = a, *right = b;
    int order = strcmp(left->component, right->component);

    return order != 0 ? order : strcmp(left->path, right->path);
}

static json_t *entry_to_json(const cx_content_entry *entry)
{
    return json_pack("{s:s, s:o, s:I}", "component", entry->component, "path",
                     cx_json_text(entry->path), "size", (json_int_t)entry->size);
}

static bool is_same(const cx_content_entry *a, const cx_content_entry *b)
{
    return a->kind == b->kind && a->size == b->size &&
           memcmp(a->sha256, b->sha256, sizeof a->sha256) == 0;
}

static void sort_index(cx_content_index *index)
{
    if (index->count > 1)
        qsort(index->entries, index->count, sizeof *index->entries, compare_entries);
}

static void compare(const cx_content_index *from, const cx_content_index *to, json_t *added,
                    json_t *removed, json_t *changed)
{
    size_t i = 0, j = 0;

    while (i < from->count || j < to->count) {
        int order = i == from->count ? 1
                    : j == to->count ? -1
                                     : compare_entries(&from->entries[i], &to->entries[j]);

        if (order < 0) {
            json_array_append_new(removed, entry_to_json(&from->entries[i++]));
        } else if (order > 0) {
            json_array_append_new(added, entry_to_json(&to->entries[j++]));
        } else {
            if (!is_same(&from->entries[i], &to->entries[j]))
                json_array_append_new(changed, entry_to_json(&to->entries[j]));
            i++, j++;
        }
    }
}

static bool diff(cx_run *run, const void *parsed, cx_err *err)
{
    const struct content_options *option = parsed;
    CX_AUTO(close_opened) struct opened opened = {0};
    CX_AUTO(cx_json_free) json_t *document = NULL;
    CX_AUTO(cx_manifest_free) cx_manifest *from = NULL;
    CX_AUTO(cx_manifest_free) cx_manifest *to = NULL;
    CX_AUTO(cx_buffer_free) cx_buffer from_lines = {0};
    CX_AUTO(cx_buffer_free) cx_buffer to_lines = {0};
    CX_AUTO(cx_content_index_free) cx_content_index from_index = {0};
    CX_AUTO(cx_content_index_free) cx_content_index to_index = {0};
    json_t *added = json_array();
    json_t *removed = json_array();
    json_t *changed = json_array();

    document = json_pack("{s:o, s:o, s:o}", "added", added, "removed", removed, "changed", changed);
    if (!open_place(run, option, &opened, err) ||
        !read_backup(&opened, run->args[0], &from, &from_lines, err) ||
        !read_backup(&opened, run->arg_count > 1 ? run->args[1] : NULL, &to, &to_lines, err) ||
        !cx_content_parse_index(cx_buffer_bytes(&from_lines), &from_index, err) ||
        !cx_content_parse_index(cx_buffer_bytes(&to_lines), &to_index, err))
        return false;
    sort_index(&from_index);
    sort_index(&to_index);
    compare(&from_index, &to_index, added, removed, changed);
    json_object_set_new(document, "from", json_string(from->id));
    json_object_set_new(document, "to", json_string(to->id));
    return cx_emit(run, document, err);
}

static const cx_option ls_options[] = {
    CONTENT_OPTIONS,
    {"path", CX_TEXT(struct content_options, path), "GLOB", NULL, "only what matches"},
    {"component", CX_TEXT(struct content_options, component), "C", NULL, "only of this one"},
    {0},
};

static const cx_option dump_options[] = {
    CONTENT_OPTIONS,
    {"component", CX_TEXT(struct content_options, component), "C", NULL, "of this one"},
    {0},
};

static const cx_option diff_options[] = {CONTENT_OPTIONS, {0}};

const cx_command backup_ls = {
    .name = "ls",
    .arguments = "[ID]",
    .arguments_max = 1,
    .summary = "the files in a backup, a line each",
    .options = ls_options,
    .options_size = sizeof(struct content_options),
    .streams = true,
    .run = ls,
};

const cx_command backup_dump = {
    .name = "dump",
    .arguments = "[ID] PATH",
    .arguments_min = 1,
    .arguments_max = 2,
    .summary = "one file of a backup, as it is, on stdout",
    .options = dump_options,
    .options_size = sizeof(struct content_options),
    .run = dump,
};

const cx_command backup_diff = {
    .name = "diff",
    .arguments = "ID [ID]",
    .arguments_min = 1,
    .arguments_max = 2,
    .summary = "what was added, removed and changed from one backup to another (else the newest)",
    .options = diff_options,
    .options_size = sizeof(struct content_options),
    .run = diff,
};
