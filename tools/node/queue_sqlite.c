/* The embedded queue: a message's way through it, and the counts. Each call is a job for the storage
 * thread: `work` runs there and touches only the job and the database, `done` runs in the loop and keeps
 * the counts. */
#include "queue_sqlite.h"

#include <assert.h>
#include <string.h>

#include "base/time.h"
#include "timer.h"

/* ---- counts, in the loop */

static lane *lane_of(node_queue *queue, const char *name)
{
    lane *found = cx_map_get(queue->lanes, name);

    if (found == NULL) {
        found = cx_alloc(1, sizeof *found);
        cx_map_put(queue->lanes, name, found);
    }
    return found;
}

/* Lanes `to:` are named by agents, so that an empty one must not stay for ever. */
void queue_forget_empty(node_queue *queue, const char *name)
{
    lane *found = cx_map_get(queue->lanes, name);
    const node_counts *counts = found == NULL ? NULL : &found->counts;

    if (counts == NULL || found->accepting != 0 || counts->queued != 0 || counts->in_flight != 0 ||
        counts->done != 0 || counts->failed != 0)
        return;
    cx_map_remove(queue->lanes, name);
    cx_free(&found);
}

static int64_t *count_of(node_counts *counts, node_message_state state)
{
    switch (state) {
    case NODE_QUEUED: return &counts->queued;
    case NODE_IN_FLIGHT: return &counts->in_flight;
    case NODE_DONE: return &counts->done;
    case NODE_FAILED: return &counts->failed;
    }
    return NULL;
}

void queue_add(node_queue *queue, const char *name, node_message_state state, int64_t number)
{
    *count_of(&lane_of(queue, name)->counts, state) += number;
    *count_of(&queue->sum, state) += number;
}

static void move(node_queue *queue, const char *name, node_message_state from,
                 node_message_state to, int64_t number)
{
    queue_add(queue, name, from, -number);
    queue_add(queue, name, to, number);
}

void queue_tell(node_queue *queue, const char *name)
{
    if (queue->options.queued != NULL)
        queue->options.queued(name, queue->options.arg);
}

/* ---- totals, in the storage thread and mirrored in the loop */

static const struct {
    const char *name;
    size_t offset;
} totals_table[] = {
    {"accepted", offsetof(node_totals, accepted)},
    {"processed", offsetof(node_totals, processed)},
    {"failed", offsetof(node_totals, failed)},
    {"duplicates", offsetof(node_totals, duplicates)},
    {"forwarded", offsetof(node_totals, forwarded)},
    {"retried", offsetof(node_totals, retried)},
    {"purged", offsetof(node_totals, purged)},
    {"handed_over", offsetof(node_totals, handed_over)},
};

static int64_t *total_at(node_totals *totals, size_t row)
{
    return (int64_t *)((char *)totals + totals_table[row].offset);
}

bool queue_write_totals(cx_db *db, node_totals *delta, cx_err *err)
{
    for (size_t i = 0; i < CX_COUNT(totals_table); i++) {
        CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

        if (*total_at(delta, i) == 0)
            continue;
        if (!cx_db_prepare(db,
                           "INSERT INTO counter (name, value) VALUES (?1, ?2)"
                           " ON CONFLICT (name) DO UPDATE SET value = value + ?2",
                           &statement, err))
            return false;
        cx_bind_text(statement, 1, totals_table[i].name);
        cx_bind_int(statement, 2, *total_at(delta, i));
        if (!cx_run_statement(statement, err))
            return false;
    }
    return true;
}

void queue_add_totals(node_queue *queue, node_totals *delta)
{
    for (size_t i = 0; i < CX_COUNT(totals_table); i++)
        *total_at(&queue->totals, i) += *total_at(delta, i);
}

/* ---- rows */

bool queue_read_row(cx_statement *row, node_message *message, cx_err *err)
{
    node_message_state state;

    if (!node_message_state_parse(cx_column_text(row, 2), &state, err))
        return cx_wrap(err, "queues.db");
    *message = (node_message){
        .id = cx_strdup(cx_column_text(row, 0)),
        .lane = cx_strdup(cx_column_text(row, 1)),
        .state = state,
        .receiver = cx_strdup(cx_column_text(row, 3)),
        .sender = cx_strdup(cx_column_text(row, 4)),
        .conversation_id = cx_strdup(cx_column_text(row, 5)),
        .performative = cx_strdup(cx_column_text(row, 6)),
        .content = cx_strdup(cx_column_text(row, 7)),
        .reply = cx_strdup(cx_column_text(row, 8)),
        .error = cx_strdup(cx_column_text(row, 9)),
        .attempts = cx_column_int(row, 10),
        .accepted_at_ms = cx_column_int(row, 11),
        .started_at_ms = cx_column_int(row, 12),
        .done_at_ms = cx_column_int(row, 13),
        .hops = cx_strdup(cx_column_text(row, 14)),
        .node = cx_strdup(cx_column_text(row, 15)),
    };
    return true;
}

bool queue_find_row(cx_db *db, const char *id, node_message *message, bool *found, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    if (!cx_db_prepare(db, "SELECT " QUEUE_COLUMNS " FROM message WHERE id = ?", &statement, err))
        return false;
    cx_bind_text(statement, 1, id);
    return cx_step(statement, found, err) && (!*found || queue_read_row(statement, message, err));
}

/* ---- accept */

typedef struct accept_job {
    node_job job;
    node_queue *queue;
    node_message *messages;
    node_acceptance *results;
    char **returned; /* the lanes that those stood in which come back */
    size_t count;
    node_totals delta;
    node_queue_accepted *done;
    void *arg;
} accept_job;

static bool insert(cx_db *db, const node_message *message, bool *inserted, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    if (!cx_db_prepare(db,
                       "INSERT INTO message (id, lane, state, receiver, sender, conversation_id,"
                       " performative, content, accepted_at, hops)"
                       " VALUES (?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                       &statement, err))
        return false;
    cx_bind_text(statement, 1, message->id);
    cx_bind_text(statement, 2, message->lane);
    cx_bind_text(statement, 3, message->receiver);
    cx_bind_text(statement, 4, message->sender);
    cx_bind_text(statement, 5, message->conversation_id);
    cx_bind_text(statement, 6, message->performative);
    cx_bind_text(statement, 7, message->content);
    cx_bind_int(statement, 8, message->accepted_at_ms);
    cx_bind_text(statement, 9, message->hops);
    if (!cx_run_statement(statement, err))
        return false;
    *inserted = cx_db_changes(db) == 1;
    return true;
}

/* We gave it to the node that it comes from now, or it has gone on from there to others: then its hops tell
 * that it was under way since. (A message that is only late was here again before we gave it away.) */
static bool comes_back(const node_message *message, const node_message *kept)
{
    return message->node != NULL && kept->node != NULL && kept->state == NODE_DONE &&
           strncmp(kept->lane, NODE_LANE_OUT, strlen(NODE_LANE_OUT)) == 0 &&
           (strcmp(message->node, kept->node) == 0 ||
            (kept->started_at_ms > 0 && message->left_ms >= kept->started_at_ms));
}

static bool take_back(cx_db *db, const node_message *message, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    if (!cx_db_prepare(db,
                       "UPDATE message SET lane = ?, state = 'queued', attempts = 0, error = NULL,"
                       " started_at = NULL, done_at = NULL, node = NULL, handed = 0, hops = ?"
                       " WHERE id = ?",
                       &statement, err))
        return false;
    cx_bind_text(statement, 1, message->lane);
    cx_bind_text(statement, 2, message->hops);
    cx_bind_text(statement, 3, message->id);
    return cx_run_statement(statement, err);
}

static bool accept_known(cx_db *db, accept_job *job, size_t at, cx_err *err)
{
    node_acceptance *result = &job->results[at];
    bool found = false;

    if (!queue_find_row(db, job->messages[at].id, &result->message, &found, err))
        return false;
    if (found && comes_back(&job->messages[at], &result->message)) {
        job->returned[at] = cx_strdup(result->message.lane);
        node_message_free(&result->message);
        return take_back(db, &job->messages[at], err);
    }
    result->duplicate = true;
    job->delta.duplicates++;
    return true;
}

static bool accept_work(node_storage *storage, node_job *base, cx_err *err)
{
    accept_job *job = (accept_job *)base;
    cx_db *db = node_storage_db(storage, NODE_QUEUES_DB);

    job->delta = (node_totals){0};
    for (size_t i = 0; i < job->count; i++) {
        node_acceptance *result = &job->results[i];
        bool inserted = false;

        if (result->err.code != CX_OK)
            continue;
        node_message_free(&result->message);
        result->duplicate = false;
        cx_free(&job->returned[i]);
        if (!insert(db, &job->messages[i], &inserted, err))
            return false;
        if (inserted) {
            job->delta.accepted++;
            continue;
        }
        if (!accept_known(db, job, i, err))
            return false;
    }
    return queue_write_totals(db, &job->delta, err);
}

static void accept_done(node_job *base)
{
    accept_job *job = (accept_job *)base;
    node_queue *queue = job->queue;

    if (base->ok)
        queue_add_totals(queue, &job->delta);
    for (size_t i = 0; i < job->count; i++) {
        node_acceptance *result = &job->results[i];
        const char *name = job->messages[i].lane;

        if (result->err.code != CX_OK)
            continue;
        lane_of(queue, name)->accepting--;
        if (!base->ok)
            result->err = base->err;
        else if (!result->duplicate)
            queue_add(queue, name, NODE_QUEUED, 1);
        if (base->ok && job->returned[i] != NULL)
            queue_add(queue, job->returned[i], NODE_DONE, -1);
        cx_free(&job->returned[i]);
    }
    for (size_t i = 0; i < job->count; i++) {
        node_acceptance *result = &job->results[i];

        if (result->err.code == CX_OK && !result->duplicate)
            result->message = job->messages[i];
        else
            node_message_free(&job->messages[i]);
    }
    /* What is told next may let a lane be taken from, so the counts are settled by now. */
    for (size_t i = 0; i < job->count; i++)
        if (job->results[i].err.code == CX_OK && !job->results[i].duplicate)
            queue_tell(queue, job->results[i].message.lane);
    job->done(job->results, job->count, job->arg);
    for (size_t i = 0; i < job->count; i++)
        node_message_free(&job->results[i].message);
    cx_free(&job->results);
    cx_free(&job->returned);
    cx_free(&job->messages);
    cx_free(&job);
}

void node_queue_accept(node_queue *queue, node_message *messages, size_t count,
                       node_queue_accepted *done, void *arg)
{
    accept_job *job = cx_alloc(1, sizeof *job);

    job->job = (node_job){
        .work = accept_work, .done = accept_done, .database = NODE_QUEUES_DB, .durable = true};
    job->queue = queue;
    job->messages = messages;
    job->results = cx_alloc(count, sizeof *job->results);
    job->returned = cx_alloc(count, sizeof *job->returned);
    job->count = count;
    job->done = done;
    job->arg = arg;
    for (size_t i = 0; i < count; i++) {
        lane *target = lane_of(queue, messages[i].lane);

        if (target->counts.queued + target->accepting >= queue->options.queue_max) {
            cx_fail(&job->results[i].err, CX_BUSY, "%s: %lld messages are queued",
                    messages[i].receiver, (long long)target->counts.queued);
            cx_hint(&job->results[i].err, "try again when it has caught up");
            continue;
        }
        target->accepting++;
    }
    node_storage_add(queue->storage, &job->job);
}

/* ---- take */

typedef struct take_job {
    node_job job;
    node_queue *queue;
    char *lane;
    size_t limit;
    int64_t now_ms;
    node_message *messages;
    size_t count;
    node_queue_taken *done;
    void *arg;
} take_job;

static bool mark_taken(cx_db *db, const node_message *message, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    if (!cx_db_prepare(db,
                       "UPDATE message SET state = 'in_flight', attempts = ?, started_at = ?"
                       " WHERE id = ?",
                       &statement, err))
        return false;
    cx_bind_int(statement, 1, message->attempts);
    cx_bind_int(statement, 2, message->started_at_ms);
    cx_bind_text(statement, 3, message->id);
    return cx_run_statement(statement, err);
}

static bool take_work(node_storage *storage, node_job *base, cx_err *err)
{
    take_job *job = (take_job *)base;
    cx_db *db = node_storage_db(storage, NODE_QUEUES_DB);
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row = false;

    for (size_t i = 0; i < job->count; i++)
        node_message_free(&job->messages[i]);
    job->count = 0;
    if (!cx_db_prepare(db,
                       "SELECT " QUEUE_COLUMNS " FROM message"
                       " WHERE lane = ? AND state = 'queued' ORDER BY seq LIMIT ?",
                       &statement, err))
        return false;
    cx_bind_text(statement, 1, job->lane);
    cx_bind_int(statement, 2, (int64_t)job->limit);
    while (job->count < job->limit) {
        node_message *message = &job->messages[job->count];

        if (!cx_step(statement, &row, err))
            return false;
        if (!row)
            break;
        if (!queue_read_row(statement, message, err))
            return false;
        message->state = NODE_IN_FLIGHT;
        message->attempts++;
        message->started_at_ms = job->now_ms;
        job->count++;
    }
    cx_statement_done(&statement); /* an index must not be walked while it is changed */
    for (size_t i = 0; i < job->count; i++)
        if (!mark_taken(db, &job->messages[i], err))
            return false;
    return true;
}

static void take_done(node_job *base)
{
    take_job *job = (take_job *)base;

    if (base->ok && job->count > 0)
        move(job->queue, job->lane, NODE_QUEUED, NODE_IN_FLIGHT, (int64_t)job->count);
    job->done(job->messages, base->ok ? job->count : 0, base->ok ? NULL : &base->err, job->arg);
    node_messages_free(job->messages, job->count);
    cx_free(&job->lane);
    cx_free(&job);
}

void node_queue_take(node_queue *queue, const char *lane_name, size_t limit, node_queue_taken *done,
                     void *arg)
{
    take_job *job = cx_alloc(1, sizeof *job);

    job->job = (node_job){.work = take_work, .done = take_done, .database = NODE_QUEUES_DB};
    job->queue = queue;
    job->lane = cx_strdup(lane_name);
    job->limit = limit;
    job->now_ms = cx_wall_ms();
    job->messages = cx_alloc(limit, sizeof *job->messages);
    job->done = done;
    job->arg = arg;
    node_storage_add(queue->storage, &job->job);
}

/* ---- finish */

typedef struct finish_job {
    node_job job;
    node_queue *queue;
    node_message_state state;
    bool forwarded, aimed;
    char *id, *lane, *reply, *error;
    int64_t now_ms;
    bool changed;
    node_totals delta;
    node_queue_changed *done;
    void *arg;
} finish_job;

static bool finish_work(node_storage *storage, node_job *base, cx_err *err)
{
    finish_job *job = (finish_job *)base;
    cx_db *db = node_storage_db(storage, NODE_QUEUES_DB);
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row = false, handed = false;

    job->delta = (node_totals){0};
    if (!cx_db_prepare(db,
                       "UPDATE message SET state = ?, reply = ?, error = ?, done_at = ?,"
                       " node = CASE WHEN ? THEN node END"
                       " WHERE id = ? AND state = 'in_flight' RETURNING handed",
                       &statement, err))
        return false;
    cx_bind_text(statement, 1, node_message_state_word(job->state));
    cx_bind_text(statement, 2, job->reply);
    cx_bind_text(statement, 3, job->error);
    if (job->state == NODE_QUEUED)
        cx_bind_null(statement, 4);
    else
        cx_bind_int(statement, 4, job->now_ms);
    cx_bind_int(statement, 5, job->aimed || job->forwarded);
    cx_bind_text(statement, 6, job->id);
    if (!cx_step(statement, &row, err))
        return false;
    job->changed = row;
    if (!job->changed)
        return true;
    handed = cx_column_int(statement, 0) != 0;
    cx_statement_done(&statement);
    switch (job->state) {
    case NODE_QUEUED: job->delta.retried = 1; break;
    case NODE_FAILED: job->delta.failed = 1; break;
    case NODE_DONE:
        *(job->forwarded ? &job->delta.forwarded : &job->delta.processed) = 1;
        job->delta.handed_over = job->forwarded && handed;
        break;
    case NODE_IN_FLIGHT: break;
    }
    return queue_write_totals(db, &job->delta, err);
}

static void finish_done(node_job *base)
{
    finish_job *job = (finish_job *)base;

    if (base->ok && job->changed) {
        move(job->queue, job->lane, NODE_IN_FLIGHT, job->state, 1);
        queue_add_totals(job->queue, &job->delta);
        if (job->state == NODE_QUEUED)
            queue_tell(job->queue, job->lane);
    }
    job->done(base->ok && job->changed, base->ok ? NULL : &base->err, job->arg);
    cx_free(&job->id);
    cx_free(&job->lane);
    cx_free(&job->reply);
    cx_free(&job->error);
    cx_free(&job);
}

void node_queue_finish(node_queue *queue, const node_outcome *outcome, node_queue_changed *done,
                       void *arg)
{
    finish_job *job = cx_alloc(1, sizeof *job);

    assert(outcome->state != NODE_IN_FLIGHT);
    job->job = (node_job){.work = finish_work,
                          .done = finish_done,
                          .database = NODE_QUEUES_DB,
                          .durable = outcome->durable};
    job->queue = queue;
    job->state = outcome->state;
    job->forwarded = outcome->forwarded && outcome->state == NODE_DONE;
    job->aimed = outcome->aimed;
    job->id = cx_strdup(outcome->id);
    job->lane = cx_strdup(outcome->lane);
    job->reply = cx_strdup(outcome->reply);
    job->error = cx_strdup(outcome->error);
    job->now_ms = cx_wall_ms();
    job->done = done;
    job->arg = arg;
    node_storage_add(queue->storage, &job->job);
}

/* ---- open */

static bool load_counts(node_queue *queue, cx_db *db, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    node_message_state state;
    bool row = false;

    if (!cx_db_prepare(db, "SELECT lane, state, count(*) FROM message GROUP BY lane, state",
                       &statement, err))
        return false;
    for (;;) {
        if (!cx_step(statement, &row, err))
            return false;
        if (!row)
            return true;
        if (!node_message_state_parse(cx_column_text(statement, 1), &state, err))
            return cx_wrap(err, "queues.db");
        queue_add(queue, cx_column_text(statement, 0), state, cx_column_int(statement, 2));
    }
}

static bool load_totals(node_queue *queue, cx_db *db, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row = false;

    if (!cx_db_prepare(db, "SELECT name, value FROM counter", &statement, err))
        return false;
    for (;;) {
        if (!cx_step(statement, &row, err))
            return false;
        if (!row)
            return true;
        for (size_t i = 0; i < CX_COUNT(totals_table); i++)
            if (strcmp(totals_table[i].name, cx_column_text(statement, 0)) == 0)
                *total_at(&queue->totals, i) = cx_column_int(statement, 1);
    }
}

bool node_queue_open(struct event_base *loop, node_storage *storage,
                     const node_queue_options *options, node_queue **result, cx_err *err)
{
    CX_AUTO(node_queue_close) node_queue *queue = cx_alloc(1, sizeof *queue);
    cx_db *db = node_storage_db(storage, NODE_QUEUES_DB);

    queue->storage = storage;
    queue->options = *options;
    queue->lanes = cx_map_open();
    queue->purge_timer = evtimer_new(loop, queue_on_purge, queue);
    if (queue->purge_timer == NULL)
        return cx_fail(err, CX_INTERNAL, "no timer for the queue");
    if (!cx_db_exec(db, "UPDATE message SET state = 'queued' WHERE state = 'in_flight'", err) ||
        !load_counts(queue, db, err) || !load_totals(queue, db, err))
        return false;
    node_timer_set(queue->purge_timer, QUEUE_PURGE_AGAIN_MS);
    *result = CX_TAKE(queue);
    return true;
}

void node_queue_close(node_queue **owner)
{
    node_queue *queue = *owner;
    size_t cursor = 0;
    void *value = NULL;

    if (queue == NULL)
        return;
    if (queue->purge_timer != NULL)
        event_free(queue->purge_timer);
    while (cx_map_next(queue->lanes, &cursor, NULL, &value))
        cx_free(&value);
    cx_map_close(&queue->lanes);
    cx_free(owner);
}

void node_queue_set_limits(node_queue *queue, int64_t queue_max, int64_t retention_ms)
{
    queue->options.queue_max = queue_max;
    queue->options.retention_ms = retention_ms;
}

node_counts node_queue_counts(const node_queue *queue, const char *lane_name)
{
    const lane *found = cx_map_get(queue->lanes, lane_name);

    if (found == NULL)
        return (node_counts){0};
    return found->counts;
}

bool node_queue_is_empty(const node_queue *queue, const char *lane_name)
{
    const lane *found = cx_map_get(queue->lanes, lane_name);

    return found == NULL ||
           (found->accepting == 0 && found->counts.queued == 0 && found->counts.in_flight == 0);
}

node_counts node_queue_sum(const node_queue *queue)
{
    return queue->sum;
}

node_totals node_queue_totals(const node_queue *queue)
{
    return queue->totals;
}

bool node_queue_next(const node_queue *queue, size_t *cursor, const char **lane_name,
                     node_counts *counts)
{
    void *value = NULL;

    if (!cx_map_next(queue->lanes, cursor, lane_name, &value))
        return false;
    *counts = ((const lane *)value)->counts;
    return true;
}
