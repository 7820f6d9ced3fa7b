/* plan: what `run` would restore, and where to. */
#include <string.h>
#include <sys/statvfs.h>

#include "base/io.h"
#include "restore.h"

struct plan_options {
    restore_source source;
    const char *target;
    cx_list components;
};

static const cx_option options[] = {
    RESTORE_SOURCE_OPTIONS(struct plan_options, source),
    {"target", CX_TEXT(struct plan_options, target), "DIR", NULL,
     "a folder for all of it; default: where the node has it"},
    {"component", CX_LIST(struct plan_options, components), "C", NULL, "only this one"},
    {0},
};

static json_t *place_to_json(const restore_place *place)
{
    CX_AUTO(cx_free) char *parent = restore_parent(place->path);
    struct statvfs about;
    json_t *json = json_pack("{s:o, s:b}", "path", cx_json_text(place->path), "replaces",
                             cx_exists(place->path));

    if (statvfs(parent, &about) == 0)
        json_object_set_new(json, "free_bytes",
                            json_integer((json_int_t)(about.f_bavail * about.f_frsize)));
    return json;
}

static bool plan(cx_run *run, const void *parsed, cx_err *err)
{
    const struct plan_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(restore_close) restore_backup backup = {0};
    CX_AUTO(restore_job_close) restore_job job = {.lock_fd = -1, .node_lock_fd = -1};
    CX_AUTO(cx_json_free) json_t *document = NULL;
    json_t *components = json_array();
    json_t *places = json_array();
    int64_t bytes = 0, stored = 0;
    bool runs = false;

    document = json_pack("{s:o, s:o}", "components", components, "places", places);
    if (!restore_config(run, &config, err) ||
        !restore_open(run, config, &option->source, false, &backup, err))
        return false;
    job.config = config;
    job.backup = &backup;
    job.target = option->target;
    if (!restore_lay_out(&job, &option->components, err) || !restore_node_runs(config, &runs, err))
        return false;
    for (size_t i = 0; i < job.components.count; i++) {
        const cx_manifest_component *component =
            cx_manifest_find(backup.manifest, job.components.items[i]);

        for (size_t j = 0; j < component->segment_count; j++)
            stored += component->segments[j].stored_bytes;
        bytes += component->bytes;
        json_array_append_new(components, json_pack("{s:s, s:I, s:I, s:I}", "name", component->name,
                                                    "files", (json_int_t)component->files, "bytes",
                                                    (json_int_t)component->bytes, "segments",
                                                    (json_int_t)component->segment_count));
    }
    for (size_t i = 0; i < job.place_count; i++)
        json_array_append_new(places, place_to_json(&job.places[i]));
    json_object_set_new(document, "id", json_string(backup.manifest->id));
    json_object_set_new(document, "type", json_string(backup.manifest->type));
    json_object_set_new(document, "created_at", cx_json_time(backup.manifest->created_ms));
    json_object_set_new(document, "node_id", json_string(backup.manifest->node_id));
    json_object_set_new(document, "version", json_string(backup.manifest->version));
    json_object_set_new(document, "bytes", json_integer(bytes));
    json_object_set_new(document, "read_bytes", json_integer(stored));
    json_object_set_new(document, "node_runs", json_boolean(runs && option->target == NULL));
    json_object_set_new(document, "trusted", json_boolean(backup.is_trusted));
    return cx_emit(run, document, err);
}

const cx_command restore_plan = {
    .name = "plan",
    .arguments = "[ID]",
    .arguments_max = 1,
    .summary = "what a restore would bring back, and what it would replace",
    .options = options,
    .options_size = sizeof(struct plan_options),
    .run = plan,
};
