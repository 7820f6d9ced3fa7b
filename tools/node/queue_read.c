/* The embedded queue's reads. They go through the storage thread too: the loop never waits for a
 * disk. */
#include "base/time.h"
#include "queue_sqlite.h"

/* ---- find and list */

typedef struct read_job {
    node_job job;
    char *id;                          /* find */
    char *state, *conversation, *lane; /* list */
    int64_t limit;
    node_message *messages;
    size_t count;
    node_queue_found *done;
    void *arg;
} read_job;

/* What is NULL doesn't restrict. One statement for each index that leads. */
static const char *list_sql(const read_job *job)
{
    if (job->conversation != NULL)
        return "SELECT " QUEUE_COLUMNS " FROM message WHERE conversation_id = ?2"
               " AND (?1 IS NULL OR state = ?1) AND (?3 IS NULL OR lane = ?3)"
               " ORDER BY seq DESC LIMIT ?4";
    if (job->lane != NULL && job->state != NULL)
        return "SELECT " QUEUE_COLUMNS " FROM message WHERE lane = ?3 AND state = ?1"
               " AND ?2 IS NULL ORDER BY seq DESC LIMIT ?4";
    return "SELECT " QUEUE_COLUMNS " FROM message WHERE (?1 IS NULL OR state = ?1)"
           " AND ?2 IS NULL AND (?3 IS NULL OR lane = ?3) ORDER BY seq DESC LIMIT ?4";
}

static bool prepare(const read_job *job, cx_db *db, cx_statement **statement, cx_err *err)
{
    if (job->id != NULL) {
        if (!cx_db_prepare(db, "SELECT " QUEUE_COLUMNS " FROM message WHERE id = ?", statement,
                           err))
            return false;
        cx_bind_text(*statement, 1, job->id);
        return true;
    }
    if (!cx_db_prepare(db, list_sql(job), statement, err))
        return false;
    cx_bind_text(*statement, 1, job->state);
    cx_bind_text(*statement, 2, job->conversation);
    cx_bind_text(*statement, 3, job->lane);
    cx_bind_int(*statement, 4, job->limit);
    return true;
}

static bool read_work(node_storage *storage, node_job *base, cx_err *err)
{
    read_job *job = (read_job *)base;
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row = false;

    for (size_t i = 0; i < job->count; i++)
        node_message_free(&job->messages[i]);
    job->count = 0;
    if (!prepare(job, node_storage_db(storage, NODE_QUEUES_DB), &statement, err))
        return false;
    while (job->count < (size_t)job->limit) {
        if (!cx_step(statement, &row, err))
            return false;
        if (!row)
            break;
        if (!queue_read_row(statement, &job->messages[job->count], err))
            return false;
        job->count++;
    }
    return true;
}

static void read_done(node_job *base)
{
    read_job *job = (read_job *)base;

    job->done(job->messages, base->ok ? job->count : 0, base->ok ? NULL : &base->err, job->arg);
    node_messages_free(job->messages, job->count);
    cx_free(&job->id);
    cx_free(&job->state);
    cx_free(&job->conversation);
    cx_free(&job->lane);
    cx_free(&job);
}

static read_job *new_read(int64_t limit, node_queue_found *done, void *arg)
{
    read_job *job = cx_alloc(1, sizeof *job);

    job->job = (node_job){.work = read_work, .done = read_done, .database = NODE_QUEUES_DB};
    job->limit = limit;
    job->messages = cx_alloc((size_t)limit, sizeof *job->messages);
    job->done = done;
    job->arg = arg;
    return job;
}

void node_queue_find(node_queue *queue, const char *id, node_queue_found *done, void *arg)
{
    read_job *job = new_read(1, done, arg);

    job->id = cx_strdup(id);
    node_storage_add(queue->storage, &job->job);
}

void node_queue_list(node_queue *queue, const node_query *query, node_queue_found *done, void *arg)
{
    read_job *job = new_read(query->limit, done, arg);

    job->state = cx_strdup(query->state);
    job->conversation = cx_strdup(query->conversation);
    job->lane = cx_strdup(query->lane);
    node_storage_add(queue->storage, &job->job);
}

/* ---- measure */

typedef struct measure_job {
    node_job job;
    cx_list lanes;
    int64_t *oldest_ms;
    int64_t lost;
    int64_t now_ms;
    node_queue_measured *done;
    void *arg;
} measure_job;

static bool oldest_of(cx_db *db, const char *lane_name, const char *state, int64_t *accepted_at,
                      cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row = false;

    if (!cx_db_prepare(db,
                       "SELECT accepted_at FROM message WHERE lane = ? AND state = ?"
                       " ORDER BY seq LIMIT 1",
                       &statement, err))
        return false;
    cx_bind_text(statement, 1, lane_name);
    cx_bind_text(statement, 2, state);
    if (!cx_step(statement, &row, err))
        return false;
    if (row && (*accepted_at == 0 || cx_column_int(statement, 0) < *accepted_at))
        *accepted_at = cx_column_int(statement, 0);
    return true;
}

static bool measure_work(node_storage *storage, node_job *base, cx_err *err)
{
    measure_job *job = (measure_job *)base;
    cx_db *db = node_storage_db(storage, NODE_QUEUES_DB);
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row = false;

    for (size_t i = 0; i < job->lanes.count; i++) {
        int64_t accepted_at = 0;

        if (!oldest_of(db, job->lanes.items[i], "queued", &accepted_at, err) ||
            !oldest_of(db, job->lanes.items[i], "in_flight", &accepted_at, err))
            return false;
        job->oldest_ms[i] = accepted_at == 0 ? 0 : job->now_ms - accepted_at;
    }
    /* What was accepted is kept or was purged; whatever is neither is lost. */
    if (!cx_db_prepare(db,
                       "SELECT coalesce(sum(CASE name WHEN 'accepted' THEN value"
                       " WHEN 'purged' THEN -value END), 0) - (SELECT count(*) FROM message)"
                       " FROM counter",
                       &statement, err) ||
        !cx_step(statement, &row, err))
        return false;
    job->lost = cx_column_int(statement, 0);
    return true;
}

static void measure_done(node_job *base)
{
    measure_job *job = (measure_job *)base;

    job->done(&job->lanes, job->oldest_ms, job->lost, base->ok ? NULL : &base->err, job->arg);
    cx_list_free(&job->lanes);
    cx_free(&job->oldest_ms);
    cx_free(&job);
}

void node_queue_measure(node_queue *queue, node_queue_measured *done, void *arg)
{
    measure_job *job = cx_alloc(1, sizeof *job);
    size_t cursor = 0;
    const char *name = NULL;
    node_counts counts;

    job->job = (node_job){.work = measure_work, .done = measure_done, .database = NODE_QUEUES_DB};
    while (node_queue_next(queue, &cursor, &name, &counts))
        if (counts.queued > 0 || counts.in_flight > 0)
            cx_list_add(&job->lanes, name);
    job->oldest_ms = cx_alloc(job->lanes.count + 1, sizeof *job->oldest_ms);
    job->now_ms = cx_wall_ms();
    job->done = done;
    job->arg = arg;
    node_storage_add(queue->storage, &job->job);
}
