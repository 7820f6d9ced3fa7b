/* compact: the databases of this host, while their owners run. */
#include "base/db_compact.h"
#include "base/io.h"
#include "commands.h"
#include "config/config.h"

enum { FILES_MAX = 64 };

struct compact_options {
    int64_t rebuild_max_bytes, min_free_bytes;
    bool full;
};

static const cx_option options[] = {
    {"full", CX_FLAG(struct compact_options, full), NULL, NULL,
     "rewrite large files too: for a node that is stopped or in maintenance, since whoever writes "
     "waits"},
    {"rebuild-max", CX_SIZE(struct compact_options, rebuild_max_bytes), "SIZE", "32M",
     "without --full, rewrite only files up to this size"},
    {"min-free", CX_SIZE(struct compact_options, min_free_bytes), "SIZE", "256K",
     "leave a file with less unused space as it is"},
    {0},
};

/* Those of the node, of the watcher and of the CA, as far as they are on this host. */
static void find_databases(const cx_config *config, cx_list *paths)
{
    static const char *const names[] = {"registry.db", "queues.db", "leases.db", "health.db"};
    CX_AUTO(cx_free) char *ca = cx_config_cert(config, "ca/ca.db");

    for (size_t i = 0; i < CX_COUNT(names); i++) {
        CX_AUTO(cx_free) char *path = cx_config_data(config, names[i]);

        if (cx_exists(path))
            cx_list_add(paths, path);
    }
    if (cx_exists(ca))
        cx_list_add(paths, ca);
}

/* Each has a fate of its own: a damaged one is told, and the others are compacted. */
static json_t *compact_one(const char *path, const cx_db_compact_options *how)
{
    cx_db_compacted done;
    cx_err failure = {0};
    bool ok = cx_db_compact(path, how, &done, &failure);
    json_t *json = json_pack(
        "{s:o, s:b, s:b, s:I, s:I, s:I, s:b, s:b, s:b}", "path", cx_json_text(path), "ok", ok,
        "changed", ok && done.changed, "before_bytes", (json_int_t)done.before_bytes, "after_bytes",
        (json_int_t)done.after_bytes, "free_bytes", (json_int_t)done.free_bytes, "rebuilt",
        done.rebuilt, "too_large", done.too_large, "log_in_use", done.log_in_use);

    if (!ok) {
        CX_AUTO(cx_json_free) json_t *error = cx_err_to_json(&failure);

        json_object_set(json, "error", json_object_get(error, "error"));
    }
    return json;
}

static bool compact(cx_run *run, const void *parsed, cx_err *err)
{
    const struct compact_options *option = parsed;
    cx_db_compact_options how = {.rebuild_max_bytes =
                                     option->full ? INT64_MAX : option->rebuild_max_bytes,
                                 .min_free_bytes = option->min_free_bytes,
                                 .dry_run = run->dry_run};
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_list_free) cx_list paths = {0};
    CX_AUTO(cx_json_free) json_t *document = NULL;
    json_t *databases = json_array();
    bool changed = false, ok = true;

    document = json_pack("{s:b, s:b, s:o}", "ok", true, "changed", false, "databases", databases);
    for (size_t i = 0; i < run->arg_count; i++)
        cx_list_add(&paths, run->args[i]);
    if (paths.count == 0) {
        if (!cx_config_load(run->config_path, run->config_is_default, &config, err))
            return false;
        find_databases(config, &paths);
    }
    for (size_t i = 0; i < paths.count; i++) {
        json_t *one = compact_one(paths.items[i], &how);

        changed = changed || json_is_true(json_object_get(one, "changed"));
        ok = ok && json_is_true(json_object_get(one, "ok"));
        json_array_append_new(databases, one);
        if (cx_interrupted())
            return cx_fail(err, CX_INTERRUPTED, "interrupted");
    }
    json_object_set_new(document, "ok", json_boolean(ok));
    json_object_set_new(document, "changed", json_boolean(changed));
    if (run->dry_run)
        json_object_set_new(document, "dry_run", json_true());
    run->answer_no = !ok;
    return cx_emit(run, document, err);
}

const cx_command node_compact = {
    .name = "compact",
    .arguments = "[FILE…]",
    .arguments_max = FILES_MAX,
    .summary = "check the databases of this host and give their unused space back",
    .description = "Without files: registry.db, queues.db, leases.db and health.db of data_dir, "
                   "and the CA's ca.db when it "
                   "is here. Their owners go on meanwhile: space is given back in slices between "
                   "which they write. A file "
                   "of an older version is rewritten once as a whole, up to --rebuild-max; with "
                   "--full whatever its size. "
                   "Messages past their retention are purged by the node itself, all the time; "
                   "this gives back the room "
                   "that they leave. A damaged file is named and left alone (exit status 1).",
    .options = options,
    .options_size = sizeof(struct compact_options),
    .changes = true,
    .run = compact,
};
