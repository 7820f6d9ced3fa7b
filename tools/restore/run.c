/* run: restores a backup. */
#include <string.h>

#include "base/io.h"
#include "base/time.h"
#include "restore.h"

struct run_options {
    restore_source source;
    restore_services services;
    const char *target;
    cx_list components;
    const char *path;
    const char *progress;
    bool discard_old;
};

static const cx_option options[] = {
    RESTORE_SOURCE_OPTIONS(struct run_options, source),
    {"target", CX_TEXT(struct run_options, target), "DIR", NULL,
     "restore all of it into this folder, and leave the node alone"},
    {"component", CX_LIST(struct run_options, components), "C", NULL,
     "only this; default: what is in the node's data folder (with --target: everything)"},
    {"path", CX_TEXT(struct run_options, path), "GLOB", NULL,
     "only what matches, or lies in a folder that does; all else stays as it is"},
    RESTORE_SERVICE_OPTIONS(struct run_options, services),
    {"discard-old", CX_FLAG(struct run_options, discard_old), NULL, NULL,
     "remove what was replaced, now and by earlier restores, when all is well"},
    {"progress", CX_CHOICE(struct run_options, progress), "auto|json|none", "auto",
     "auto: a bar when stderr is a terminal"},
    {0},
};

static int64_t stored_bytes(const restore_job *job)
{
    int64_t bytes = 0;

    for (size_t i = 0; i < job->components.count; i++) {
        const cx_manifest_component *component =
            cx_manifest_find(job->backup->manifest, job->components.items[i]);

        for (size_t j = 0; j < component->segment_count; j++)
            bytes += component->segments[j].stored_bytes;
    }
    return bytes;
}

/* A node that was stopped is started again whatever happened: with the old data or with the new. */
static bool swap(cx_run *run, const struct run_options *option, restore_job *job, bool *started,
                 cx_err *err)
{
    bool stopped = false, swapped;
    cx_err start_err;

    *started = false;
    if (option->target != NULL)
        return restore_swap(job, err);
    if (!restore_stop(run, job->config, &option->services, &stopped, err)) {
        if (stopped)
            (void)!restore_start(run, job->config, &option->services, true, started, &start_err);
        return false;
    }
    swapped = restore_swap(job, err);
    cx_fd_close(&job->node_lock_fd);
    if (!swapped) {
        if (stopped)
            (void)!restore_start(run, job->config, &option->services, true, started, &start_err);
        return false;
    }
    if (restore_start(run, job->config, &option->services, stopped, started, err))
        return true;
    cx_wrap(err, "the data is restored");
    return cx_hint(err, "what was there before is beside it, as NAME.old-…");
}

static json_t *result_of(const cx_run *run, const restore_job *job, bool started, size_t discarded)
{
    json_t *restored = json_array();
    json_t *places = json_array();
    const char *previous = NULL;

    for (size_t i = 0; i < job->components.count; i++)
        json_array_append_new(restored, json_string(job->components.items[i]));
    for (size_t i = 0; i < job->place_count; i++) {
        const restore_place *place = &job->places[i];

        if (!place->is_used && !run->dry_run)
            continue;
        if (place->old != NULL) /* the data's is the last */
            previous = place->old;
        json_array_append_new(places,
                              json_pack("{s:o, s:o}", "path", cx_json_text(place->path), "previous",
                                        cx_json_text(discarded > 0 ? NULL : place->old)));
    }
    return json_pack("{s:b, s:s, s:s, s:o, s:o, s:o, s:o, s:b, s:b, s:I, s:o}", "changed", true,
                     "id", job->backup->manifest->id, "node_id", job->backup->manifest->node_id,
                     "created_at", cx_json_time(job->backup->manifest->created_ms), "restored",
                     restored, "places", places, "previous",
                     cx_json_text(discarded > 0 ? NULL : previous), "verified", true, "started",
                     started, "discarded", (json_int_t)discarded, "duration_seconds",
                     cx_json_figure((double)(cx_now_ms() - run->started_ms) / 1000));
}

static bool restore(cx_run *run, const void *parsed, cx_err *err)
{
    const struct run_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(restore_close) restore_backup backup = {0};
    CX_AUTO(restore_job_close) restore_job job = {.lock_fd = -1, .node_lock_fd = -1};
    CX_AUTO(cx_json_free) json_t *document = NULL;
    bool started = false;
    size_t discarded = 0;

    if (!restore_config(run, &config, err) ||
        !restore_open(run, config, &option->source, true, &backup, err))
        return false;
    job.config = config;
    job.backup = &backup;
    job.target = option->target;
    job.glob = option->path;
    if (!restore_lay_out(&job, &option->components, err))
        return false;
    if (run->dry_run) {
        document = result_of(run, &job, false, 0);
        json_object_set_new(document, "changed", json_false());
        json_object_set_new(document, "verified", json_false());
        return cx_emit(run, document, err);
    }
    job.progress = cx_progress_start(run->quiet ? "none" : option->progress, "restoring",
                                     stored_bytes(&job), cx_now_ms());
    if (!restore_make_stages(&job, err) || !restore_fill_stages(&job, err))
        return false;
    cx_progress_end(&job.progress, cx_now_ms());
    if (!swap(run, option, &job, &started, err) ||
        (option->discard_old && !restore_discard_old(&job, &discarded, err)))
        return false;
    document = result_of(run, &job, started, discarded);
    return cx_emit(run, document, err);
}

const cx_command restore_run = {
    .name = "run",
    .arguments = "[ID]",
    .arguments_max = 1,
    .summary = "restore a backup",
    .description =
        "Everything is read, checked and written into a fresh folder beside the old one while the "
        "node runs; then the node is stopped, the folders are exchanged in one step, and it is "
        "started again. What was there before stays as NAME.old-… until --discard-old. Killed at "
        "any moment, it leaves the old data or the new; run again, it finishes.",
    .options = options,
    .options_size = sizeof(struct run_options),
    .changes = true,
    .run = restore,
};
