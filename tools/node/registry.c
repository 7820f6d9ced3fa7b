#include "registry.h"

#include <string.h>

#include "base/io.h"
#include "base/map.h"
#include "base/time.h"

struct node_registry {
    node_registry_options options;
    char *folder; /* of the agents' state folders */
    cx_map *placed;
    int64_t placed_bytes; /* of them as JSON */
    int64_t issued; /* the highest version that was made here: it may be on its way to the disk */
    int64_t revision;
};

typedef struct registry_job {
    node_job job;
    node_registry *registry;
    bool (*bind)(cx_db *db, const struct registry_job *job, cx_statement **statement, cx_err *err);
    char *id, *spec;
    bool suspended;
    node_placed placed; /* of a placed agent */
    int64_t now_ms;
    int64_t revision;
    node_registry_done *done;
    void *arg;
} registry_job;

static bool read_revision(cx_db *db, int64_t *revision, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row = false;

    if (!cx_db_prepare(db, "SELECT CAST(value AS INTEGER) FROM setting WHERE name = 'revision'",
                       &statement, err) ||
        !cx_step(statement, &row, err))
        return false;
    *revision = row ? cx_column_int(statement, 0) : 0;
    return true;
}

static bool bind_put(cx_db *db, const registry_job *job, cx_statement **statement, cx_err *err)
{
    CX_AUTO(cx_free) char *folder = cx_path_join(job->registry->folder, job->id);

    if (!cx_make_folders(folder, 0700, NULL, err))
        return false;
    if (!cx_db_prepare(db,
                       "INSERT INTO agent (id, spec, deployed_at) VALUES (?1, ?2, ?3)"
                       " ON CONFLICT (id) DO UPDATE SET spec = ?2, deployed_at = ?3",
                       statement, err))
        return false;
    cx_bind_text(*statement, 1, job->id);
    cx_bind_text(*statement, 2, job->spec);
    cx_bind_int(*statement, 3, job->now_ms);
    return true;
}

static bool bind_suspend(cx_db *db, const registry_job *job, cx_statement **statement, cx_err *err)
{
    if (!cx_db_prepare(db, "UPDATE agent SET suspended = ? WHERE id = ?", statement, err))
        return false;
    cx_bind_int(*statement, 1, job->suspended);
    cx_bind_text(*statement, 2, job->id);
    return true;
}

static bool bind_remove(cx_db *db, const registry_job *job, cx_statement **statement, cx_err *err)
{
    if (!cx_db_prepare(db, "DELETE FROM agent WHERE id = ?", statement, err))
        return false;
    cx_bind_text(*statement, 1, job->id);
    return true;
}

static bool bind_place(cx_db *db, const registry_job *job, cx_statement **statement, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *pinned = NULL;

    if (!cx_db_prepare(db, "DELETE FROM agent WHERE id = ?", &pinned, err))
        return false;
    cx_bind_text(pinned, 1, job->id);
    if (job->spec != NULL && !cx_run_statement(pinned, err))
        return false;
    if (!cx_db_prepare(db,
                       "INSERT INTO placed"
                       " (id, version, changed_by, spec, suspended, changed_at)"
                       " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
                       " version = excluded.version, changed_by = excluded.changed_by,"
                       " spec = excluded.spec, suspended = excluded.suspended,"
                       " changed_at = excluded.changed_at"
                       " WHERE (excluded.version, excluded.changed_by) > (version, changed_by)",
                       statement, err))
        return false;
    cx_bind_text(*statement, 1, job->id);
    cx_bind_int(*statement, 2, job->placed.version);
    cx_bind_text(*statement, 3, job->placed.by);
    cx_bind_text(*statement, 4, job->spec);
    cx_bind_int(*statement, 5, job->placed.suspended);
    cx_bind_int(*statement, 6, job->placed.changed_ms);
    return true;
}

static bool bind_forget(cx_db *db, const registry_job *job, cx_statement **statement, cx_err *err)
{
    if (!cx_db_prepare(db, "DELETE FROM placed WHERE spec IS NULL AND changed_at < ?", statement,
                       err))
        return false;
    cx_bind_int(*statement, 1, job->now_ms - NODE_PLACED_KEEP_MS);
    return true;
}

static bool change_work(node_storage *storage, node_job *base, cx_err *err)
{
    registry_job *job = (registry_job *)base;
    cx_db *db = node_storage_db(storage, NODE_REGISTRY_DB);
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    return (job->bind == NULL ||
            (job->bind(db, job, &statement, err) && cx_run_statement(statement, err))) &&
           cx_db_exec(db,
                      "INSERT INTO setting (name, value) VALUES ('revision', '1')"
                      " ON CONFLICT (name) DO UPDATE SET value = CAST(value AS INTEGER) + 1",
                      err) &&
           read_revision(db, &job->revision, err);
}

static int64_t bytes_of(const node_placed *placed)
{
    CX_AUTO(cx_json_free) json_t *json = node_placed_to_json(placed);
    CX_AUTO(cx_free) char *text = cx_json_line(json);

    return (int64_t)strlen(text);
}

/* Takes it, unless a newer version came meanwhile. */
static void keep_placed(node_registry *registry, node_placed *placed)
{
    node_placed *known = cx_map_get(registry->placed, placed->id);

    if (!node_placed_is_newer(placed, known))
        return;
    if (known == NULL) {
        known = cx_alloc(1, sizeof *known);
        cx_map_put(registry->placed, placed->id, known);
    } else {
        registry->placed_bytes -= bytes_of(known);
        node_placed_free(known);
    }
    *known = *placed;
    *placed = (node_placed){0};
    registry->placed_bytes += bytes_of(known);
}

static void change_done(node_job *base)
{
    registry_job *job = (registry_job *)base;

    if (base->ok) {
        job->registry->revision = job->revision;
        if (job->placed.id != NULL)
            keep_placed(job->registry, &job->placed);
    }
    if (job->done != NULL)
        job->done(base->ok ? NULL : &base->err, job->arg);
    node_placed_free(&job->placed);
    cx_free(&job->id);
    cx_free(&job->spec);
    cx_free(&job);
}

static registry_job *new_job(node_registry *registry, const char *id, node_registry_done *done,
                             void *arg)
{
    registry_job *job = cx_alloc(1, sizeof *job);

    job->job = (node_job){
        .work = change_work, .done = change_done, .database = NODE_REGISTRY_DB, .durable = true};
    job->registry = registry;
    job->id = cx_strdup(id);
    job->now_ms = cx_wall_ms();
    job->done = done;
    job->arg = arg;
    return job;
}

static bool read_spec(const char *text, const char *id, node_spec **spec, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *json = NULL;

    return cx_json_parse(cx_bytes_of(text), NODE_SPEC_BYTES_MAX * 2, id, &json, err) &&
           node_spec_parse(json, id, spec, err);
}

/* One that an earlier version kept like the pinned ones becomes the first version of a placed one. */
static bool convert(node_registry *registry, node_spec *spec, bool suspended, cx_err *err)
{
    cx_db *db = node_storage_db(registry->options.storage, NODE_REGISTRY_DB);
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    CX_AUTO(cx_json_free) json_t *json = node_spec_to_json(spec);
    CX_AUTO(cx_free) char *text = cx_json_line(json);
    CX_AUTO(node_placed_free)
    node_placed placed = {.id = cx_strdup(spec->id),
                          .version = 1,
                          .by = cx_strdup(registry->options.node_id),
                          .spec = spec,
                          .suspended = suspended,
                          .changed_ms = cx_wall_ms()};
    const registry_job job = {.id = spec->id, .spec = text, .placed = placed};

    if (!bind_place(db, &job, &statement, err) || !cx_run_statement(statement, err))
        return false;
    keep_placed(registry, &placed);
    return true;
}

static bool load_pinned(node_registry *registry, cx_err *err)
{
    cx_db *db = node_storage_db(registry->options.storage, NODE_REGISTRY_DB);
    CX_AUTO(cx_statement_done) cx_statement *rows = NULL;
    bool row = false;

    /* A pinned agent that was to take a placed one's name, when the last process was killed before the
     * placed one was removed: it is as before. */
    if (!cx_db_exec(db,
                    "DELETE FROM agent WHERE id IN (SELECT id FROM placed WHERE spec IS NOT NULL)",
                    err) ||
        !cx_db_prepare(db, "SELECT id, spec, suspended FROM agent ORDER BY id", &rows, err))
        return false;
    for (;;) {
        node_spec *spec = NULL;
        cx_err unreadable;

        if (!cx_step(rows, &row, err))
            return false;
        if (!row)
            break;
        if (!read_spec(cx_column_text(rows, 1), cx_column_text(rows, 0), &spec, &unreadable))
            cx_log_error(registry->options.log, CX_ERROR, "agent_unreadable", &unreadable);
        else if (spec->placement == NODE_PINNED)
            registry->options.found(spec, cx_column_int(rows, 2) != 0, registry->options.arg);
        else if (!convert(registry, spec, cx_column_int(rows, 2) != 0, err))
            return false;
    }
    return true;
}

static bool load_placed(node_registry *registry, cx_err *err)
{
    cx_db *db = node_storage_db(registry->options.storage, NODE_REGISTRY_DB);
    CX_AUTO(cx_statement_done) cx_statement *old = NULL;
    CX_AUTO(cx_statement_done) cx_statement *rows = NULL;
    const registry_job now = {.now_ms = cx_wall_ms()};
    bool row = false;

    if (!bind_forget(db, &now, &old, err) || !cx_run_statement(old, err) ||
        !cx_db_prepare(db,
                       "SELECT id, version, changed_by, spec, suspended, changed_at FROM placed",
                       &rows, err))
        return false;
    for (;;) {
        CX_AUTO(node_placed_free) node_placed placed = {0};
        cx_err unreadable;

        if (!cx_step(rows, &row, err))
            return false;
        if (!row)
            return true;
        if (cx_column_text(rows, 3) != NULL &&
            !read_spec(cx_column_text(rows, 3), cx_column_text(rows, 0), &placed.spec,
                       &unreadable)) {
            cx_log_error(registry->options.log, CX_ERROR, "agent_unreadable", &unreadable);
            continue;
        }
        placed.id = cx_strdup(cx_column_text(rows, 0));
        placed.version = cx_column_int(rows, 1);
        placed.by = cx_strdup(cx_column_text(rows, 2));
        placed.suspended = cx_column_int(rows, 4) != 0;
        placed.changed_ms = cx_column_int(rows, 5);
        keep_placed(registry, &placed);
    }
}

bool node_registry_open(const node_registry_options *options, node_registry **result, cx_err *err)
{
    CX_AUTO(node_registry_close) node_registry *registry = cx_alloc(1, sizeof *registry);
    cx_db *db = node_storage_db(options->storage, NODE_REGISTRY_DB);

    registry->options = *options;
    registry->folder = cx_path_join(options->data_dir, "agents");
    registry->placed = cx_map_open();
    /* In one transaction: agents of an earlier version are converted, or still there. */
    if (!cx_db_begin(db, err) || !read_revision(db, &registry->revision, err) ||
        !load_placed(registry, err) || !load_pinned(registry, err) || !cx_db_commit(db, err))
        return false;
    *result = CX_TAKE(registry);
    return true;
}

void node_registry_close(node_registry **owner)
{
    node_registry *registry = *owner;
    size_t cursor = 0;
    void *value = NULL;

    if (registry == NULL)
        return;
    while (cx_map_next(registry->placed, &cursor, NULL, &value)) {
        node_placed_free(value);
        cx_free(&value);
    }
    cx_map_close(&registry->placed);
    cx_free(&registry->folder);
    cx_free(owner);
}

int64_t node_registry_revision(const node_registry *registry)
{
    return registry->revision;
}

void node_registry_put(node_registry *registry, const node_spec *spec, node_registry_done *done,
                       void *arg)
{
    registry_job *job = new_job(registry, spec->id, done, arg);
    CX_AUTO(cx_json_free) json_t *json = node_spec_to_json(spec);

    job->bind = bind_put;
    job->spec = cx_json_line(json);
    node_storage_add(registry->options.storage, &job->job);
}

void node_registry_remove(node_registry *registry, const char *id, node_registry_done *done,
                          void *arg)
{
    registry_job *job = new_job(registry, id, done, arg);

    job->bind = bind_remove;
    node_storage_add(registry->options.storage, &job->job);
}

void node_registry_suspend(node_registry *registry, const char *id, bool suspended,
                           node_registry_done *done, void *arg)
{
    registry_job *job = new_job(registry, id, done, arg);

    job->bind = bind_suspend;
    job->suspended = suspended;
    node_storage_add(registry->options.storage, &job->job);
}

const node_placed *node_registry_placed(const node_registry *registry, const char *id)
{
    return cx_map_get(registry->placed, id);
}

const node_placed *node_registry_next_placed(const node_registry *registry, size_t *cursor)
{
    void *value = NULL;

    return cx_map_next(registry->placed, cursor, NULL, &value) ? value : NULL;
}

/* Takes placed. */
static void store(node_registry *registry, node_placed *placed, node_registry_done *done, void *arg)
{
    registry_job *job = new_job(registry, placed->id, done, arg);

    job->bind = bind_place;
    job->placed = *placed;
    *placed = (node_placed){0};
    if (job->placed.spec != NULL) {
        CX_AUTO(cx_json_free) json_t *json = node_spec_to_json(job->placed.spec);

        job->spec = cx_json_line(json);
    }
    node_storage_add(registry->options.storage, &job->job);
}

static bool has_room(const node_registry *registry, const node_placed *placed, cx_err *err)
{
    if (placed->spec == NULL)
        return true;
    if (cx_map_get(registry->placed, placed->id) == NULL &&
        cx_map_count(registry->placed) >= NODE_PLACED_MAX)
        return cx_fail(err, CX_BUSY, "the cluster has %d agents with placement any already",
                       NODE_PLACED_MAX);
    if (registry->placed_bytes + bytes_of(placed) > NODE_PLACED_BYTES_MAX)
        return cx_fail(err, CX_BUSY,
                       "the specs of agents with placement any have %lld bytes already",
                       (long long)registry->placed_bytes);
    return true;
}

/* Removals that were kept long enough make room. */
static void forget_removed(node_registry *registry, int64_t now_ms)
{
    CX_AUTO(cx_list_free) cx_list forgotten = {0};
    size_t cursor = 0;
    void *value = NULL;
    registry_job *job;

    while (cx_map_next(registry->placed, &cursor, NULL, &value))
        if (node_placed_is_forgotten(value, now_ms))
            cx_list_add(&forgotten, ((const node_placed *)value)->id);
    if (forgotten.count == 0)
        return;
    for (size_t i = 0; i < forgotten.count; i++) {
        node_placed *placed = cx_map_remove(registry->placed, forgotten.items[i]);

        registry->placed_bytes -= bytes_of(placed);
        node_placed_free(placed);
        cx_free(&placed);
    }
    job = new_job(registry, "", NULL, NULL);
    job->bind = bind_forget;
    node_storage_add(registry->options.storage, &job->job);
}

void node_registry_place(node_registry *registry, const char *id, node_spec *spec, bool suspended,
                         node_registry_done *done, void *arg)
{
    const node_placed *known;
    int64_t now_ms = cx_wall_ms();
    CX_AUTO(node_placed_free)
    node_placed next = {.id = cx_strdup(id),
                        .by = cx_strdup(registry->options.node_id),
                        .spec = spec,
                        .suspended = suspended,
                        .changed_ms = now_ms};
    cx_err err;

    forget_removed(registry, now_ms);
    known = cx_map_get(registry->placed, id);
    if (known != NULL && known->version > registry->issued)
        registry->issued = known->version;
    next.version = registry->issued = node_placed_next_version(registry->issued, now_ms);
    if (has_room(registry, &next, &err))
        store(registry, &next, done, arg);
    else
        done(&err, arg);
}

void node_registry_merge(node_registry *registry, node_placed *placed, node_registry_done *done,
                         void *arg)
{
    if (!node_placed_is_forgotten(placed, cx_wall_ms()) &&
        node_placed_is_newer(placed, cx_map_get(registry->placed, placed->id))) {
        store(registry, placed, done, arg);
        return;
    }
    node_placed_free(placed);
    if (done != NULL)
        done(NULL, arg);
}

void node_registry_touch(node_registry *registry, node_registry_done *done, void *arg)
{
    registry_job *job = new_job(registry, "", done, arg);

    node_storage_add(registry->options.storage, &job->job);
}
