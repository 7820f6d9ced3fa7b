/* Making a backup of this node: which files are which component, which type it is, what is noted. */
#include <string.h>

#include "backup.h"
#include "base/io.h"
#include "base/time.h"

enum { AUTO_FULL_MS = 24 * 60 * 60 * 1000, ROOTS_MAX = 2 };

/* Names in data_dir that are no state of the agents: what other components hold, and what only makes
 * sense while a process runs. */
static const char *const not_agent_state[] = {
    "registry.db",          "registry.db-*", "queues.db", "queues.db-*",
    ".cx-backup",           "backup.json",   "node.lock", "lost+found",
    ".backup.json.cxtmp-*", ".*.cxtmp-*",    NULL,
};

struct layout { /* components of a node and where they are */
    cx_create_component components[5];
    cx_walk_root roots[5][ROOTS_MAX];
    size_t count;
    char *registry, *queues, *config_name;
};

static void free_layout(struct layout *layout)
{
    cx_free(&layout->registry);
    cx_free(&layout->queues);
    cx_free(&layout->config_name);
}

static void add_component(struct layout *layout, const char *name, cx_walk_root first,
                          cx_walk_root second)
{
    cx_walk_root *roots = layout->roots[layout->count];

    roots[0] = first;
    roots[1] = second;
    layout->components[layout->count++] = (cx_create_component){
        .name = name, .roots = roots, .root_count = second.path != NULL ? 2 : 1};
}

/* The paths in the stream: what belongs into data_dir is at the top, so that by hand it comes back
 * right there. */
static void lay_out(const cx_config *config, struct layout *layout)
{
    const char *slash = strrchr(config->path, '/');
    const cx_walk_root none = {0};

    layout->registry = cx_config_data(config, "registry.db");
    layout->queues = cx_config_data(config, "queues.db");
    layout->config_name = cx_format("config/%s", slash != NULL ? slash + 1 : config->path);
    add_component(layout, "agent_registry",
                  (cx_walk_root){.path = layout->registry, .name = "registry.db", .optional = true},
                  none);
    add_component(layout, "agent_state",
                  (cx_walk_root){.path = config->data_dir, .name = "", .except = not_agent_state},
                  none);
    add_component(layout, "message_queues",
                  (cx_walk_root){.path = layout->queues, .name = "queues.db", .optional = true},
                  none);
    if (config->path[0] != '\0')
        add_component(layout, "configuration",
                      (cx_walk_root){.path = config->path, .name = layout->config_name},
                      (cx_walk_root){
                          .path = config->policy_dir, .name = "config/policies", .optional = true});
    add_component(layout, "certificates",
                  (cx_walk_root){.path = config->cert_dir, .name = "certs", .optional = true},
                  none);
}

static bool choose_components(struct layout *layout, const cx_list *wanted, cx_err *err)
{
    size_t kept = 0;

    if (wanted == NULL || wanted->count == 0)
        return true;
    for (size_t i = 0; i < wanted->count; i++) {
        bool known = false;

        for (size_t j = 0; j < layout->count; j++)
            known = known || strcmp(layout->components[j].name, wanted->items[i]) == 0;
        if (!known) {
            cx_fail(err, CX_USAGE, "there is no component %s", wanted->items[i]);
            return cx_hint(err, "agent_registry, agent_state, message_queues, configuration, "
                                "certificates");
        }
    }
    for (size_t i = 0; i < layout->count; i++)
        if (cx_list_has(wanted, layout->components[i].name))
            layout->components[kept++] = layout->components[i];
    layout->count = kept;
    return true;
}

/* Full when a destination has none, or its last one is a day old. One that can't be asked decides
 * nothing. */
static const char *choose_type(const backup_repos *repos, const char *type)
{
    if (strcmp(type, "auto") != 0)
        return type;
    for (size_t i = 0; i < repos->count; i++) {
        CX_AUTO(cx_stored_backups_free) cx_stored_backups backups = {0};
        int64_t last_ms = 0, now_ms = 0;
        cx_err ignored;

        if (!cx_repo_backups(repos->items[i], &backups, &ignored) ||
            (backups.count > 0 && !cx_dest_now(repos->items[i]->dest, &now_ms, &ignored)))
            continue;
        for (size_t j = 0; j < backups.count; j++)
            if (backups.items[j].is_complete && cx_backup_is_full(backups.items[j].id))
                last_ms = backups.items[j].arrived_ms;
        if (last_ms == 0 || now_ms - last_ms >= AUTO_FULL_MS)
            return "full";
    }
    return "incremental";
}

static json_t *components_to_json(const cx_created *created)
{
    json_t *components = json_array();

    for (size_t i = 0; i < created->component_count; i++) {
        const cx_created_component *component = &created->components[i];

        json_array_append_new(components, json_pack("{s:s, s:I, s:I, s:I}", "name", component->name,
                                                    "files", (json_int_t)component->files, "bytes",
                                                    (json_int_t)component->bytes, "segments",
                                                    (json_int_t)component->segments));
    }
    return components;
}

static json_t *targets_to_json(const cx_created *created, bool dry_run)
{
    json_t *targets = json_array();

    for (size_t i = 0; i < created->target_count; i++) {
        const cx_created_target *target = &created->targets[i];
        json_t *json = json_pack(
            "{s:o, s:I, s:I, s:I, s:I, s:b}", "repo", cx_json_text(target->dest), "new_segments",
            (json_int_t)target->new_segments, "stored_bytes", (json_int_t)target->stored_bytes,
            "checked_bytes", (json_int_t)target->checked_bytes, "damaged_segments",
            (json_int_t)target->damaged_segments, "verified", !target->failed && !dry_run);

        if (target->failed) {
            CX_AUTO(cx_json_free) json_t *error = cx_err_to_json(&target->error);

            json_object_set(json, "error", json_object_get(error, "error"));
        }
        json_array_append_new(targets, json);
    }
    return targets;
}

static json_t *created_to_json(const cx_run *run, const char *type, const cx_created *created)
{
    size_t new_segments = 0, damaged_segments = 0;
    int64_t stored_bytes = 0, checked_bytes = 0;

    for (size_t i = 0; i < created->target_count; i++) {
        new_segments += created->targets[i].new_segments;
        stored_bytes += created->targets[i].stored_bytes;
        damaged_segments += created->targets[i].damaged_segments;
        checked_bytes += created->targets[i].checked_bytes;
    }
    return json_pack(
        "{s:b, s:s, s:s, s:s?, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:b, "
        "s:o}",
        "changed", !run->dry_run, "id", created->id, "type", type, "parent", created->parent,
        "created_at", cx_json_time(created->created_ms), "components", components_to_json(created),
        "files", (json_int_t)created->files, "bytes", (json_int_t)created->bytes, "new_segments",
        (json_int_t)new_segments, "stored_bytes", (json_int_t)stored_bytes, "read_bytes",
        (json_int_t)created->read_bytes, "checked_bytes", (json_int_t)checked_bytes,
        "damaged_segments", (json_int_t)damaged_segments, "skipped", (json_int_t)created->skipped,
        "changed_while_read", (json_int_t)(created->changed + created->vanished),
        "duration_seconds", cx_json_figure((double)(cx_now_ms() - run->started_ms) / 1000),
        "verified", created->targets_failed == 0 && !run->dry_run, "destinations",
        targets_to_json(created, run->dry_run));
}

/* What the node's API and backup_age tell. */
static bool write_note(const cx_config *config, const char *type, const cx_created *created,
                       cx_err *err)
{
    CX_AUTO(cx_free) char *path = cx_config_data(config, "backup.json");
    CX_AUTO(cx_json_free)
    json_t *note = json_pack("{s:o, s:s, s:s}", "last_success_at",
                             cx_json_time(created->created_ms), "id", created->id, "type", type);
    CX_AUTO(cx_free) char *line = cx_json_line(note);
    CX_AUTO(cx_free) char *text = cx_format("%s\n", line);

    return cx_replace(path, 0644, cx_bytes_of(text), err);
}

static void remark(const cx_run *run, const cx_created *created)
{
    if (created->cache_missing)
        cx_remark(run, "nothing is remembered of an earlier backup: every file is read");
    if (created->skipped > 0)
        cx_remark(run, "left out: %zu sockets, pipes or devices", created->skipped);
    if (created->changed > 0)
        cx_remark(run, "%zu files changed while they were read", created->changed);
    for (size_t i = 0; i < created->target_count; i++)
        if (created->targets[i].damaged_segments > 0)
            cx_remark(run,
                      "%s: %zu stored segments were damaged and are stored anew; cx-backup verify "
                      "--all names the backups that they were for",
                      created->targets[i].dest, created->targets[i].damaged_segments);
    for (size_t i = 0; i < created->component_count; i++)
        if (created->components[i].files == 0)
            cx_remark(run, "component %s has no file", created->components[i].name);
}

bool backup_make(const cx_run *run, const cx_config *config, const backup_repos *repos,
                 const backup_keys *keys, const backup_job *job, json_t **document, cx_err *err)
{
    CX_AUTO(free_layout) struct layout layout = {0};
    CX_AUTO(cx_created_free) cx_created created = {0};
    CX_AUTO(cx_free)
    char *cache_dir = job->cache_dir != NULL ? cx_strdup(job->cache_dir) : backup_cache_dir(config);
    cx_create_spec spec = {
        .type = choose_type(repos, job->type),
        .components = layout.components,
        .repos = repos->items,
        .repo_count = repos->count,
        .recipients = &keys->recipients,
        .sign_key = keys->sign_key,
        .naming = &keys->naming,
        .cache_dir = cache_dir,
        .version = cx_version,
        .reason = job->reason,
        .progress = job->progress,
        .lock_wait_ms = job->wait_ms,
        .allow_missing = job->allow_missing,
        .dry_run = run->dry_run,
    };

    lay_out(config, &layout);
    if (!choose_components(&layout, job->components, err))
        return false;
    spec.component_count = layout.count;
    if (!cx_exists(config->data_dir)) /* else the cache's folder would make it */
        return cx_fail(err, CX_NOT_FOUND, "%s: there is nothing to back up", config->data_dir);
    if (!cx_create_backup(&spec, &created, err))
        return false;
    remark(run, &created);
    if (!run->dry_run && created.targets_failed < created.target_count &&
        !write_note(config, spec.type, &created, err))
        return false;
    *document = created_to_json(run, spec.type, &created);
    return true;
}
