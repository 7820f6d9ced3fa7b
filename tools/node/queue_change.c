/* The embedded queue's other writes: what operators and the node do to messages that stand in it, and
 * the end of those that were kept long enough. */
#include <string.h>

#include "base/time.h"
#include "queue_sqlite.h"
#include "timer.h"

enum {
    PURGE_MAX = 1000, /* rows in one go, so that accepting never waits long behind it */
    PURGE_MS = 10000,
};

/* ---- retry, move and drop */

typedef struct change_job {
    node_job job;
    node_queue *queue;
    char *id;    /* retry, move */
    char *lane;  /* drop, move; of the message that is retried */
    char *to;    /* move */
    char *error; /* drop */
    cx_list ids; /* aim */
    char *node;  /* aim */
    int64_t now_ms;
    int64_t changed;
    node_totals delta;
    node_queue_changed *done;
    void *arg;
} change_job;

static bool retry_work(node_storage *storage, node_job *base, cx_err *err)
{
    change_job *job = (change_job *)base;
    cx_db *db = node_storage_db(storage, NODE_QUEUES_DB);
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    node_message message = {0};
    bool found = false;

    cx_free(&job->lane);
    if (!queue_find_row(db, job->id, &message, &found, err))
        return false;
    if (!found)
        return cx_fail(err, CX_NOT_FOUND, "no such message: %s", job->id);
    job->lane = cx_strdup(message.lane);
    node_message_free(&message);
    if (!cx_db_prepare(db,
                       "UPDATE message SET state = 'queued', attempts = 0, error = NULL,"
                       " reply = NULL, started_at = NULL, done_at = NULL"
                       " WHERE id = ? AND state = 'failed'",
                       &statement, err))
        return false;
    cx_bind_text(statement, 1, job->id);
    if (!cx_run_statement(statement, err))
        return false;
    job->changed = cx_db_changes(db);
    job->delta = (node_totals){.retried = job->changed};
    return queue_write_totals(db, &job->delta, err);
}

static bool move_work(node_storage *storage, node_job *base, cx_err *err)
{
    change_job *job = (change_job *)base;
    cx_db *db = node_storage_db(storage, NODE_QUEUES_DB);
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    if (!cx_db_prepare(db,
                       "UPDATE message SET lane = ?, state = 'queued', attempts = 0,"
                       " started_at = NULL, node = NULL, handed = 0"
                       " WHERE id = ? AND state = 'in_flight'",
                       &statement, err))
        return false;
    cx_bind_text(statement, 1, job->to);
    cx_bind_text(statement, 2, job->id);
    if (!cx_run_statement(statement, err))
        return false;
    job->changed = cx_db_changes(db);
    return true;
}

static bool hand_over_work(node_storage *storage, node_job *base, cx_err *err)
{
    change_job *job = (change_job *)base;
    cx_db *db = node_storage_db(storage, NODE_QUEUES_DB);
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    if (!cx_db_prepare(db,
                       "UPDATE message SET lane = ?, attempts = 0, started_at = NULL, handed = 1"
                       " WHERE lane = ? AND state = 'queued'",
                       &statement, err))
        return false;
    cx_bind_text(statement, 1, job->to);
    cx_bind_text(statement, 2, job->lane);
    if (!cx_run_statement(statement, err))
        return false;
    job->changed = cx_db_changes(db);
    return true;
}

static bool aim(cx_db *db, const char *id, const char *node, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    if (!cx_db_prepare(db, "UPDATE message SET node = ? WHERE id = ?", &statement, err))
        return false;
    cx_bind_text(statement, 1, node);
    cx_bind_text(statement, 2, id);
    return cx_run_statement(statement, err);
}

static bool aim_work(node_storage *storage, node_job *base, cx_err *err)
{
    change_job *job = (change_job *)base;

    for (size_t i = 0; i < job->ids.count; i++)
        if (!aim(node_storage_db(storage, NODE_QUEUES_DB), job->ids.items[i], job->node, err))
            return false;
    return true;
}

static bool drop_work(node_storage *storage, node_job *base, cx_err *err)
{
    change_job *job = (change_job *)base;
    cx_db *db = node_storage_db(storage, NODE_QUEUES_DB);
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    if (!cx_db_prepare(db,
                       "UPDATE message SET state = 'failed', error = ?, done_at = ?"
                       " WHERE lane = ? AND state = 'queued'",
                       &statement, err))
        return false;
    cx_bind_text(statement, 1, job->error);
    cx_bind_int(statement, 2, job->now_ms);
    cx_bind_text(statement, 3, job->lane);
    if (!cx_run_statement(statement, err))
        return false;
    job->changed = cx_db_changes(db);
    job->delta = (node_totals){.failed = job->changed};
    return queue_write_totals(db, &job->delta, err);
}

static void change_done(node_job *base, node_message_state from, node_message_state to)
{
    change_job *job = (change_job *)base;
    const char *target = job->to != NULL ? job->to : job->lane;

    if (base->ok && job->changed > 0) {
        queue_add(job->queue, job->lane, from, -job->changed);
        queue_add(job->queue, target, to, job->changed);
        queue_add_totals(job->queue, &job->delta);
        if (to == NODE_QUEUED)
            queue_tell(job->queue, target);
        queue_forget_empty(job->queue, job->lane);
    }
    job->done(base->ok && job->changed > 0, base->ok ? NULL : &base->err, job->arg);
    cx_free(&job->id);
    cx_free(&job->lane);
    cx_free(&job->to);
    cx_free(&job->error);
    cx_free(&job->node);
    cx_list_free(&job->ids);
    cx_free(&job);
}

/* Where they go doesn't count anywhere. */
static void aim_done(node_job *base)
{
    change_done(base, NODE_IN_FLIGHT, NODE_IN_FLIGHT);
}

static void hand_over_done(node_job *base)
{
    change_done(base, NODE_QUEUED, NODE_QUEUED);
}

static void retry_done(node_job *base)
{
    change_done(base, NODE_FAILED, NODE_QUEUED);
}

static void move_done(node_job *base)
{
    change_done(base, NODE_IN_FLIGHT, NODE_QUEUED);
}

static void drop_done(node_job *base)
{
    change_done(base, NODE_QUEUED, NODE_FAILED);
}

static change_job *new_change(node_queue *queue, node_queue_changed *done, void *arg)
{
    change_job *job = cx_alloc(1, sizeof *job);

    job->job = (node_job){.database = NODE_QUEUES_DB, .durable = true};
    job->queue = queue;
    job->now_ms = cx_wall_ms();
    job->done = done;
    job->arg = arg;
    return job;
}

void node_queue_retry(node_queue *queue, const char *id, node_queue_changed *done, void *arg)
{
    change_job *job = new_change(queue, done, arg);

    job->job.work = retry_work;
    job->job.done = retry_done;
    job->id = cx_strdup(id);
    node_storage_add(queue->storage, &job->job);
}

void node_queue_move(node_queue *queue, const char *id, const char *from, const char *to,
                     node_queue_changed *done, void *arg)
{
    change_job *job = new_change(queue, done, arg);

    job->job.work = move_work;
    job->job.done = move_done;
    job->id = cx_strdup(id);
    job->lane = cx_strdup(from);
    job->to = cx_strdup(to);
    node_storage_add(queue->storage, &job->job);
}

void node_queue_hand_over(node_queue *queue, const char *from, const char *to,
                          node_queue_changed *done, void *arg)
{
    change_job *job = new_change(queue, done, arg);

    job->job.work = hand_over_work;
    job->job.done = hand_over_done;
    job->lane = cx_strdup(from);
    job->to = cx_strdup(to);
    node_storage_add(queue->storage, &job->job);
}

void node_queue_aim(node_queue *queue, const char *const *ids, size_t count, const char *node,
                    node_queue_changed *done, void *arg)
{
    change_job *job = new_change(queue, done, arg);

    job->job.work = aim_work;
    job->job.done = aim_done;
    for (size_t i = 0; i < count; i++)
        cx_list_add(&job->ids, ids[i]);
    job->node = cx_strdup(node);
    node_storage_add(queue->storage, &job->job);
}

void node_queue_redirect(node_queue *queue, const char *id, const char *node,
                         node_queue_changed *done, void *arg)
{
    node_queue_aim(queue, &id, 1, node, done, arg);
}

void node_queue_drop(node_queue *queue, const char *lane_name, const char *error,
                     node_queue_changed *done, void *arg)
{
    change_job *job = new_change(queue, done, arg);

    job->job.work = drop_work;
    job->job.done = drop_done;
    job->lane = cx_strdup(lane_name);
    job->error = cx_strdup(error);
    node_storage_add(queue->storage, &job->job);
}

/* ---- purge */

typedef struct purge_job {
    node_job job;
    node_queue *queue;
    int64_t before_ms;
    struct purged {
        char *lane;
        bool failed;
    } rows[PURGE_MAX];
    size_t count;
    node_totals delta;
} purge_job;

static bool purge_work(node_storage *storage, node_job *base, cx_err *err)
{
    purge_job *job = (purge_job *)base;
    cx_db *db = node_storage_db(storage, NODE_QUEUES_DB);
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row = false;

    for (size_t i = 0; i < job->count; i++)
        cx_free(&job->rows[i].lane);
    job->count = 0;
    if (!cx_db_prepare(db,
                       "DELETE FROM message WHERE seq IN (SELECT seq FROM message"
                       " WHERE done_at IS NOT NULL AND done_at < ? ORDER BY done_at LIMIT ?)"
                       " RETURNING lane, state",
                       &statement, err))
        return false;
    cx_bind_int(statement, 1, job->before_ms);
    cx_bind_int(statement, 2, PURGE_MAX);
    for (;;) {
        if (!cx_step(statement, &row, err))
            return false;
        if (!row || job->count == PURGE_MAX)
            break;
        job->rows[job->count++] = (struct purged){
            cx_strdup(cx_column_text(statement, 0)),
            strcmp(cx_column_text(statement, 1), node_message_state_word(NODE_FAILED)) == 0};
    }
    job->delta = (node_totals){.purged = (int64_t)job->count};
    cx_statement_done(&statement);
    return queue_write_totals(db, &job->delta, err);
}

static void purge_done(node_job *base)
{
    purge_job *job = (purge_job *)base;
    node_queue *queue = job->queue;

    for (size_t i = 0; i < job->count; i++) {
        if (base->ok) {
            queue_add(queue, job->rows[i].lane, job->rows[i].failed ? NODE_FAILED : NODE_DONE, -1);
            queue_forget_empty(queue, job->rows[i].lane);
        }
        cx_free(&job->rows[i].lane);
    }
    if (base->ok)
        queue_add_totals(queue, &job->delta);
    node_timer_set(queue->purge_timer, job->count == PURGE_MAX ? QUEUE_PURGE_AGAIN_MS : PURGE_MS);
    cx_free(&job);
}

void queue_on_purge(evutil_socket_t fd, short what, void *arg)
{
    node_queue *queue = arg;
    purge_job *job = cx_alloc(1, sizeof *job);

    (void)fd;
    (void)what;
    job->job = (node_job){.work = purge_work, .done = purge_done, .database = NODE_QUEUES_DB};
    job->queue = queue;
    job->before_ms = cx_wall_ms() - queue->options.retention_ms;
    node_storage_add(queue->storage, &job->job);
}
