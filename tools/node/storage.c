#include "storage.h"

#include <string.h>

#include "base/io.h"
#include "base/pool.h"
#include "timer.h"

enum { BATCH_MAX = 4096 };

/* message.lane says whose turn decides the order: an agent's id, or `to:RECEIVER` for what an agent
 * here sends to another node. Times are wall milliseconds, content, reply and hops JSON text. */
static const char *const queue_migrations[] = {
    "CREATE TABLE message ("
    " seq INTEGER PRIMARY KEY,"
    " id TEXT NOT NULL UNIQUE,"
    " lane TEXT NOT NULL,"
    " state TEXT NOT NULL CHECK (state IN ('queued', 'in_flight', 'done', 'failed')),"
    " receiver TEXT NOT NULL,"
    " sender TEXT NOT NULL,"
    " conversation_id TEXT,"
    " performative TEXT NOT NULL,"
    " content TEXT NOT NULL,"
    " reply TEXT,"
    " error TEXT,"
    " attempts INTEGER NOT NULL DEFAULT 0,"
    " accepted_at INTEGER NOT NULL,"
    " started_at INTEGER,"
    " done_at INTEGER,"
    " hops TEXT"
    ") STRICT;"
    "CREATE INDEX message_by_lane ON message (lane, state, seq);"
    "CREATE INDEX message_by_conversation ON message (conversation_id, seq)"
    " WHERE conversation_id IS NOT NULL;"
    "CREATE INDEX message_by_end ON message (done_at) WHERE done_at IS NOT NULL;"
    "CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
    /* node: where the message went, or may have gone: to no other, until that one says that it does
     * not have it. handed: it was for an agent of this node, which runs elsewhere now. */
    "ALTER TABLE message ADD COLUMN node TEXT;"
    "ALTER TABLE message ADD COLUMN handed INTEGER NOT NULL DEFAULT 0;",
};

static const char *const registry_migrations[] = {
    "CREATE TABLE agent ("
    " id TEXT PRIMARY KEY,"
    " spec TEXT NOT NULL,"
    " suspended INTEGER NOT NULL DEFAULT 0,"
    " deployed_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;",
    /* The whole cluster's agents with placement any (placed.h); agent: the pinned ones of this node.
     * spec NULL: removed. */
    "CREATE TABLE placed ("
    " id TEXT PRIMARY KEY,"
    " version INTEGER NOT NULL,"
    " changed_by TEXT NOT NULL,"
    " spec TEXT,"
    " suspended INTEGER NOT NULL,"
    " changed_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;",
};

/* A name keeps its row while it is free, for its last fence. Times in milliseconds of the monotonic
 * clock of the boot boot_id. setting.floor: the highest fence of names whose row is gone. */
static const char *const lease_migrations[] = {
    "CREATE TABLE lease ("
    " name TEXT PRIMARY KEY,"
    " owner TEXT NOT NULL,"
    " about TEXT NOT NULL,"
    " fence INTEGER NOT NULL,"
    " ttl_ms INTEGER NOT NULL,"
    " granted_ms INTEGER NOT NULL,"
    " expires_ms INTEGER NOT NULL,"
    " boot_id TEXT NOT NULL,"
    " last_fence INTEGER NOT NULL,"
    " last_owner TEXT NOT NULL,"
    " closed INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE setting (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
};

static const struct {
    const char *file;
    const char *const *migrations;
    size_t count;
} databases[NODE_DATABASES] = {
    [NODE_REGISTRY_DB] = {"registry.db", registry_migrations, CX_COUNT(registry_migrations)},
    [NODE_QUEUES_DB] = {"queues.db", queue_migrations, CX_COUNT(queue_migrations)},
    [NODE_LEASES_DB] = {"leases.db", lease_migrations, CX_COUNT(lease_migrations)},
};

struct node_storage {
    cx_pool *pool;
    struct event *sync_timer;
    const cx_log *log;
    struct storage_database {
        cx_db *db;
        bool open;     /* thread: a transaction is */
        bool syncs;    /* thread: commits are fsynced */
        bool unsynced; /* thread: something committed may not be on disk yet */
    } databases[NODE_DATABASES];
};

/* Whether commits wait for the disk. Changed outside of transactions only. */
static bool set_sync(struct storage_database *database, bool syncs, cx_err *err)
{
    if (database->syncs == syncs)
        return true;
    if (!cx_db_exec(database->db,
                    syncs ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", err))
        return false;
    database->syncs = syncs;
    return true;
}

static bool begin(struct storage_database *database, bool syncs, cx_err *err)
{
    if (database->open)
        return true;
    if (!set_sync(database, syncs, err) || !cx_db_begin(database->db, err))
        return false;
    database->open = true;
    return true;
}

static bool commit(struct storage_database *database, cx_err *err)
{
    if (!database->open)
        return true;
    database->open = false;
    if (!cx_db_commit(database->db, err)) {
        cx_db_rollback(database->db);
        return false;
    }
    database->unsynced = !database->syncs;
    return true;
}

static void rollback(node_storage *storage)
{
    for (size_t i = 0; i < NODE_DATABASES; i++) {
        if (storage->databases[i].open)
            cx_db_rollback(storage->databases[i].db);
        storage->databases[i].open = false;
    }
}

/* All jobs in one transaction a database; false when any of them, or a commit, failed. */
static bool run_together(node_storage *storage, node_job **jobs, size_t count)
{
    bool durable[NODE_DATABASES] = {false};
    cx_err err;

    for (size_t i = 0; i < count; i++)
        durable[jobs[i]->database] |= jobs[i]->durable;
    for (size_t i = 0; i < count; i++) {
        node_job *job = jobs[i];

        if (job->no_transaction)
            continue;
        job->ok = begin(&storage->databases[job->database], durable[job->database], &job->err) &&
                  job->work(storage, job, &job->err);
        if (!job->ok) {
            rollback(storage);
            return false;
        }
    }
    for (size_t i = 0; i < NODE_DATABASES; i++)
        if (!commit(&storage->databases[i], &err)) {
            rollback(storage);
            return false;
        }
    return true;
}

static void run_alone(node_storage *storage, node_job *job)
{
    struct storage_database *database = &storage->databases[job->database];

    job->err = (cx_err){0};
    job->ok = begin(database, job->durable, &job->err) && job->work(storage, job, &job->err) &&
              commit(database, &job->err);
    rollback(storage);
}

static void work_batch(void **batch, size_t count, void *arg)
{
    node_storage *storage = arg;
    node_job **jobs = (node_job **)batch;

    if (!run_together(storage, jobs, count))
        for (size_t i = 0; i < count; i++)
            if (!jobs[i]->no_transaction)
                run_alone(storage, jobs[i]);
    for (size_t i = 0; i < count; i++)
        if (jobs[i]->no_transaction)
            jobs[i]->ok = jobs[i]->work(storage, jobs[i], &jobs[i]->err);
}

static void batch_done(void *job)
{
    ((node_job *)job)->done(job);
}

/* Brings what was only written to the disk: a commit that is fsynced covers all before it. */
static bool sync_work(node_storage *storage, node_job *job, cx_err *err)
{
    struct storage_database *database = &storage->databases[job->database];

    if (!database->unsynced)
        return true;
    return set_sync(database, true, err) &&
           cx_db_exec(database->db,
                      "INSERT INTO counter (name, value) VALUES ('synced', 1)"
                      " ON CONFLICT (name) DO UPDATE SET value = value + 1",
                      err) &&
           (database->unsynced = false, true);
}

static void sync_done(node_job *job)
{
    cx_free(&job);
}

static void on_sync(evutil_socket_t fd, short what, void *arg)
{
    node_job *job = cx_alloc(1, sizeof *job);

    (void)fd;
    (void)what;
    *job = (node_job){
        .work = sync_work, .done = sync_done, .database = NODE_QUEUES_DB, .no_transaction = true};
    node_storage_add(arg, job);
}

bool node_storage_open(struct event_base *loop, const char *data_dir, const cx_log *log,
                       node_storage **result, cx_err *err)
{
    CX_AUTO(node_storage_close) node_storage *storage = cx_alloc(1, sizeof *storage);

    storage->log = log;
    for (size_t i = 0; i < NODE_DATABASES; i++) {
        CX_AUTO(cx_free) char *path = cx_path_join(data_dir, databases[i].file);

        if (!cx_db_open(path, databases[i].migrations, databases[i].count, false,
                        &storage->databases[i].db, err))
            return false;
        storage->databases[i].syncs = true;
    }
    storage->sync_timer = event_new(loop, -1, EV_PERSIST, on_sync, storage);
    if (storage->sync_timer == NULL)
        return cx_fail(err, CX_INTERNAL, "no timer for storage");
    node_timer_set(storage->sync_timer, NODE_SYNC_MS);
    if (!cx_pool_open_batch(loop, BATCH_MAX, NODE_JOBS_MAX, work_batch, batch_done, storage,
                            &storage->pool, err))
        return false;
    *result = CX_TAKE(storage);
    return true;
}

bool node_storage_schema(const char *data_dir, json_t **document, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *list = json_array();
    bool ok = true;

    for (size_t i = 0; i < NODE_DATABASES; i++) {
        CX_AUTO(cx_free) char *path = cx_path_join(data_dir, databases[i].file);
        json_int_t known = (json_int_t)databases[i].count;
        bool exists = cx_exists(path);
        int64_t version = 0;

        if (exists && !cx_db_version(path, &version, err))
            return false;
        ok &= version <= known;
        json_array_append_new(list,
                              json_pack("{s:s, s:o, s:o, s:I, s:b}", "name", databases[i].file,
                                        "path", cx_json_text(path), "schema",
                                        exists ? json_integer(version) : json_null(), "known",
                                        known, "readable", version <= known));
    }
    *document = json_pack("{s:b, s:O}", "ok", ok, "databases", list);
    return true;
}

/* Whole: SQLite reads all of it, and every page is what the others say that it is. */
static bool check_whole(cx_db *db, const char *path, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    const char *answer;
    bool row = false;

    if (!cx_db_prepare(db, "PRAGMA quick_check(1)", &statement, err) ||
        !cx_step(statement, &row, err))
        return false;
    answer = row ? cx_column_text(statement, 0) : NULL;
    return (answer != NULL && strcmp(answer, "ok") == 0) ||
           cx_fail(err, CX_CORRUPT, "database %s: %s", path, answer != NULL ? answer : "?");
}

/* How many messages there are by state, and what was counted of them. */
static bool count_messages(cx_db *db, json_t *counts, cx_err *err)
{
    static const struct {
        const char *name, *sql;
    } rows[] = {
        {"queued", "SELECT count(*) FROM message WHERE state = 'queued'"},
        {"in_flight", "SELECT count(*) FROM message WHERE state = 'in_flight'"},
        {"done", "SELECT count(*) FROM message WHERE state = 'done'"},
        {"failed", "SELECT count(*) FROM message WHERE state = 'failed'"},
        {"accepted_total", "SELECT value FROM counter WHERE name = 'accepted'"},
        {"purged_total", "SELECT value FROM counter WHERE name = 'purged'"},
    };
    json_int_t kept = 0, value = 0;

    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
        bool row = false;

        if (!cx_db_prepare(db, rows[i].sql, &statement, err) || !cx_step(statement, &row, err))
            return false;
        value = row ? (json_int_t)cx_column_int(statement, 0) : 0;
        kept += i < 4 ? value : 0;
        json_object_set_new(counts, rows[i].name, json_integer(value));
    }
    /* What was accepted is kept or was purged; whatever is neither is lost. */
    value = json_integer_value(json_object_get(counts, "accepted_total")) -
            json_integer_value(json_object_get(counts, "purged_total")) - kept;
    json_object_set_new(counts, "lost", json_integer(value));
    return true;
}

bool node_storage_check(const char *data_dir, json_t **document, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *list = json_array();
    CX_AUTO(cx_json_free) json_t *counts = NULL;
    bool ok = true;

    if (!cx_exists(data_dir))
        return cx_fail(err, CX_NOT_FOUND, "%s is not there", data_dir);
    for (size_t i = 0; i < NODE_DATABASES; i++) {
        CX_AUTO(cx_free) char *path = cx_path_join(data_dir, databases[i].file);
        CX_AUTO(cx_db_close) cx_db *db = NULL;
        cx_err problem = {0};
        bool whole =
            cx_db_open(path, databases[i].migrations, databases[i].count, true, &db, &problem) &&
            check_whole(db, path, &problem);

        if (!whole && problem.code != CX_CORRUPT && problem.code != CX_NOT_FOUND) {
            *err = problem; /* busy, no permission: that says nothing about the database */
            return false;
        }
        if (whole && i == NODE_QUEUES_DB) {
            counts = json_object();
            if (!count_messages(db, counts, err))
                return false;
        }
        ok &= whole;
        json_array_append_new(list, json_pack("{s:s, s:o, s:b, s:o}", "name", databases[i].file,
                                              "path", cx_json_text(path), "whole", whole, "problem",
                                              whole ? json_null() : cx_json_text(problem.message)));
    }
    *document = json_pack("{s:b, s:O, s:o}", "ok", ok, "databases", list, "messages",
                          counts != NULL ? json_incref(counts) : json_null());
    return true;
}

void node_storage_close(node_storage **owner)
{
    node_storage *storage = *owner;

    if (storage == NULL)
        return;
    if (storage->sync_timer != NULL)
        event_free(storage->sync_timer);
    cx_pool_close(&storage->pool);
    for (size_t i = 0; i < NODE_DATABASES; i++)
        cx_db_close(&storage->databases[i].db);
    cx_free(owner);
}

void node_storage_add(node_storage *storage, node_job *job)
{
    job->ok = false;
    job->err = (cx_err){0};
    /* While it closes, the last ones' `done` may still ask for more: in vain. */
    if (storage->pool != NULL && cx_pool_add_batch(storage->pool, job))
        return;
    cx_fail(&job->err, CX_BUSY, "storage takes no more writes now");
    job->done(job);
}

size_t node_storage_waiting(const node_storage *storage)
{
    return storage->pool == NULL ? 0 : cx_pool_waiting(storage->pool);
}

cx_db *node_storage_db(node_storage *storage, node_database database)
{
    return storage->databases[database].db;
}
