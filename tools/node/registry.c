#include "registry.h"

#include "base/io.h"
#include "base/time.h"

struct node_registry {
    node_storage *storage;
    char *folder; /* of the agents' state folders */
    int64_t revision;
};

typedef struct registry_job {
    node_job job;
    node_registry *registry;
    bool (*bind)(cx_db *db, const struct registry_job *job, cx_statement **statement, cx_err *err);
    char *id, *spec;
    bool suspended;
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

static bool change_work(node_storage *storage, node_job *base, cx_err *err)
{
    registry_job *job = (registry_job *)base;
    cx_db *db = node_storage_db(storage, NODE_REGISTRY_DB);
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    return job->bind(db, job, &statement, err) && cx_run_statement(statement, err) &&
           cx_db_exec(db,
                      "INSERT INTO setting (name, value) VALUES ('revision', '1')"
                      " ON CONFLICT (name) DO UPDATE SET value = CAST(value AS INTEGER) + 1",
                      err) &&
           read_revision(db, &job->revision, err);
}

static void change_done(node_job *base)
{
    registry_job *job = (registry_job *)base;

    if (base->ok)
        job->registry->revision = job->revision;
    job->done(base->ok ? NULL : &base->err, job->arg);
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

static void load_row(cx_statement *row, const cx_log *log, void (*found)(node_spec *, bool, void *),
                     void *arg)
{
    const char *id = cx_column_text(row, 0);
    CX_AUTO(cx_json_free) json_t *json = NULL;
    node_spec *spec = NULL;
    cx_err err;

    if (cx_json_parse(cx_bytes_of(cx_column_text(row, 1)), NODE_SPEC_BYTES_MAX * 2, id, &json,
                      &err) &&
        node_spec_parse(json, id, &spec, &err))
        found(spec, cx_column_int(row, 2) != 0, arg);
    else
        cx_log_error(log, CX_ERROR, "agent_unreadable", &err);
}

bool node_registry_open(node_storage *storage, const char *data_dir, const cx_log *log,
                        void (*found)(node_spec *spec, bool suspended, void *arg), void *arg,
                        node_registry **result, cx_err *err)
{
    CX_AUTO(node_registry_close) node_registry *registry = cx_alloc(1, sizeof *registry);
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    cx_db *db = node_storage_db(storage, NODE_REGISTRY_DB);
    bool row = false;

    registry->storage = storage;
    registry->folder = cx_path_join(data_dir, "agents");
    if (!read_revision(db, &registry->revision, err) ||
        !cx_db_prepare(db, "SELECT id, spec, suspended FROM agent ORDER BY id", &statement, err))
        return false;
    for (;;) {
        if (!cx_step(statement, &row, err))
            return false;
        if (!row)
            break;
        load_row(statement, log, found, arg);
    }
    *result = CX_TAKE(registry);
    return true;
}

void node_registry_close(node_registry **owner)
{
    if (*owner != NULL)
        cx_free(&(*owner)->folder);
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
    node_storage_add(registry->storage, &job->job);
}

void node_registry_remove(node_registry *registry, const char *id, node_registry_done *done,
                          void *arg)
{
    registry_job *job = new_job(registry, id, done, arg);

    job->bind = bind_remove;
    node_storage_add(registry->storage, &job->job);
}

void node_registry_suspend(node_registry *registry, const char *id, bool suspended,
                           node_registry_done *done, void *arg)
{
    registry_job *job = new_job(registry, id, done, arg);

    job->bind = bind_suspend;
    job->suspended = suspended;
    node_storage_add(registry->storage, &job->job);
}
