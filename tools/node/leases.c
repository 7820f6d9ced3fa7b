#include "leases.h"

#include <string.h>

#include "api/client.h"
#include "base/io.h"
#include "base/mark.h"
#include "base/time.h"
#include "members.h"
#include "timer.h"

enum { EXPIRY_LOOK_MAX_MS = 60000 };

struct node_leases {
    node_leases_options options;
    cx_granter *granter;
    struct event *expiry;
    int64_t members, opened_ms;
    char boot_id[CX_BOOT_ID_SIZE];
};

/* ---- on disk */

typedef struct lease_job {
    node_job job;
    char boot_id[CX_BOOT_ID_SIZE];
    cx_list forgotten;
    int64_t floor;
    node_lease_result result;
    node_leases_done *done;
    void *arg;
} lease_job;

static bool save_lease(cx_db *db, const lease_job *job, cx_err *err)
{
    const cx_lease *lease = &job->result.lease;
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    if (!cx_db_prepare(
            db,
            "INSERT OR REPLACE INTO lease (name, owner, about, fence, ttl_ms, granted_ms,"
            " expires_ms, boot_id, last_fence, last_owner, closed)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            &statement, err))
        return false;
    cx_bind_text(statement, 1, lease->name);
    cx_bind_text(statement, 2, lease->owner);
    cx_bind_text(statement, 3, lease->about);
    cx_bind_int(statement, 4, lease->fence);
    cx_bind_int(statement, 5, lease->ttl_ms);
    cx_bind_int(statement, 6, lease->granted_ms);
    cx_bind_int(statement, 7, lease->expires_ms);
    cx_bind_text(statement, 8, job->boot_id);
    cx_bind_int(statement, 9, lease->last_fence);
    cx_bind_text(statement, 10, lease->last_owner);
    cx_bind_int(statement, 11, lease->closed);
    return cx_run_statement(statement, err);
}

static bool forget(cx_db *db, const char *name, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    if (!cx_db_prepare(db, "DELETE FROM lease WHERE name = ?", &statement, err))
        return false;
    cx_bind_text(statement, 1, name);
    return cx_run_statement(statement, err);
}

static bool save_floor(cx_db *db, int64_t floor, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    if (!cx_db_prepare(db,
                       "INSERT INTO setting (name, value) VALUES ('floor', ?1)"
                       " ON CONFLICT (name) DO UPDATE SET value = max(value, ?1)",
                       &statement, err))
        return false;
    cx_bind_int(statement, 1, floor);
    return cx_run_statement(statement, err);
}

static bool save_work(node_storage *storage, node_job *base, cx_err *err)
{
    lease_job *job = (lease_job *)base;
    cx_db *db = node_storage_db(storage, NODE_LEASES_DB);

    for (size_t i = 0; i < job->forgotten.count; i++)
        if (!forget(db, job->forgotten.items[i], err))
            return false;
    return (job->forgotten.count == 0 || save_floor(db, job->floor, err)) &&
           save_lease(db, job, err);
}

static void save_done(node_job *base)
{
    lease_job *job = (lease_job *)base;

    job->done(&job->result, base->ok ? NULL : &base->err, job->arg);
    cx_lease_free(&job->result.lease);
    cx_list_free(&job->forgotten);
    cx_free(&job);
}

static bool set_number(cx_db *db, const char *name, int64_t value, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    if (!cx_db_prepare(db, "INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)", &statement,
                       err))
        return false;
    cx_bind_text(statement, 1, name);
    cx_bind_int(statement, 2, value);
    return cx_run_statement(statement, err);
}

static bool get_number(cx_db *db, const char *name, int64_t *value, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row = false;

    if (!cx_db_prepare(db, "SELECT value FROM setting WHERE name = ?", &statement, err))
        return false;
    cx_bind_text(statement, 1, name);
    if (!cx_step(statement, &row, err))
        return false;
    *value = row ? cx_column_int(statement, 0) : 0;
    return true;
}

typedef struct members_job {
    node_job job;
    int64_t members;
} members_job;

static bool save_members(node_storage *storage, node_job *base, cx_err *err)
{
    return set_number(node_storage_db(storage, NODE_LEASES_DB), "members",
                      ((members_job *)base)->members, err);
}

static void members_saved(node_job *base)
{
    cx_free(&base);
}

static void load_row(node_leases *leases, cx_statement *row)
{
    cx_lease lease = {
        .name = cx_strdup(cx_column_text(row, 0)),
        .owner = cx_strdup(cx_column_text(row, 1)),
        .about = cx_strdup(cx_column_text(row, 2)),
        .fence = cx_column_int(row, 3),
        .ttl_ms = cx_column_int(row, 4),
        .granted_ms = cx_column_int(row, 5),
        .expires_ms = cx_column_int(row, 6),
        .last_fence = cx_column_int(row, 8),
        .last_owner = cx_strdup(cx_column_text(row, 9)),
        .closed = cx_column_int(row, 10) != 0,
    };
    bool same_boot =
        leases->boot_id[0] != '\0' && strcmp(cx_column_text(row, 7), leases->boot_id) == 0;

    cx_granter_load(leases->granter, &lease, same_boot, cx_now_ms());
}

static bool load(node_leases *leases, cx_err *err)
{
    cx_db *db = node_storage_db(leases->options.storage, NODE_LEASES_DB);
    CX_AUTO(cx_statement_done) cx_statement *rows = NULL;
    int64_t floor = 0;
    bool row = false;

    if (!get_number(db, "floor", &floor, err) || !get_number(db, "members", &leases->members, err))
        return false;
    cx_granter_set_floor(leases->granter, floor);
    if (!cx_db_prepare(db,
                       "SELECT name, owner, about, fence, ttl_ms, granted_ms, expires_ms, boot_id,"
                       " last_fence, last_owner, closed FROM lease",
                       &rows, err))
        return false;
    while (true) {
        if (!cx_step(rows, &row, err))
            return false;
        if (!row)
            return true;
        load_row(leases, rows);
    }
}

/* ---- time */

static void set_expiry(node_leases *leases)
{
    int64_t next_ms = cx_granter_next_expiry(leases->granter);
    int64_t in_ms = next_ms - cx_now_ms();

    if (next_ms == INT64_MAX) {
        event_del(leases->expiry);
        return;
    }
    if (in_ms > EXPIRY_LOOK_MAX_MS)
        in_ms = EXPIRY_LOOK_MAX_MS;
    node_timer_set(leases->expiry, in_ms > 0 ? in_ms : 0);
}

static void on_expiry(evutil_socket_t fd, short what, void *arg)
{
    node_leases *leases = arg;
    cx_lease gone = {0};

    (void)fd;
    (void)what;
    while (cx_granter_expire(leases->granter, cx_now_ms(), &gone)) {
        /* What was only asked for never was a lease. */
        if (gone.fence > 0 && !node_leases_is_agent(gone.name)) {
            CX_AUTO(cx_free)
            char *detail = cx_format("fence %lld of %s", (long long)gone.fence, gone.owner);

            cx_log_write(leases->options.log, CX_INFO, "lease_expired", "{s:s, s:s, s:I}", "name",
                         gone.name, "owner", gone.owner, "fence", (json_int_t)gone.fence);
            node_audit_write(leases->options.audit,
                             &(node_audit_entry){.who = "",
                                                 .role = "",
                                                 .from = "",
                                                 .action = "lease_expired",
                                                 .target = gone.name,
                                                 .result = "ok",
                                                 .detail = detail},
                             NULL, NULL);
        }
        cx_lease_free(&gone);
    }
    set_expiry(leases);
}

/* ---- public */

bool node_leases_open(const node_leases_options *options, node_leases **result, cx_err *err)
{
    CX_AUTO(node_leases_close) node_leases *leases = cx_alloc(1, sizeof *leases);

    leases->options = *options;
    leases->granter = cx_granter_open();
    leases->expiry = evtimer_new(options->loop, on_expiry, leases);
    cx_boot_id(leases->boot_id);
    leases->opened_ms = cx_now_ms();
    if (leases->expiry == NULL)
        return cx_fail(err, CX_INTERNAL, "no timer for leases");
    if (!load(leases, err))
        return cx_wrap(err, "leases");
    set_expiry(leases);
    *result = CX_TAKE(leases);
    return true;
}

void node_leases_close(node_leases **owner)
{
    node_leases *leases = *owner;

    if (leases == NULL)
        return;
    if (leases->expiry != NULL)
        event_free(leases->expiry);
    cx_granter_close(&leases->granter);
    cx_free(owner);
}

void node_leases_members(node_leases *leases, const json_t *answer)
{
    size_t at;
    json_t *member;
    int64_t count = 0;
    members_job *job;

    /* Members without a node API (a serf agent) grant nothing. */
    json_array_foreach (json_object_get(answer, "members"), at, member)
        count += strcmp(cx_json_text_or_empty(member, "status"), "left") != 0 &&
                 cx_api_member_address(member)[0] != '\0';
    if (count < leases->members && cx_now_ms() - leases->opened_ms < NODE_MEMBERS_KEEP_MS)
        count = leases->members;
    if (leases->members == count)
        return;
    leases->members = count;
    job = cx_alloc(1, sizeof *job);
    job->job = (node_job){
        .work = save_members, .done = members_saved, .database = NODE_LEASES_DB, .durable = true};
    job->members = count;
    node_storage_add(leases->options.storage, &job->job);
}

bool node_leases_is_agent(const char *name)
{
    return strncmp(name, NODE_AGENT_LEASE, strlen(NODE_AGENT_LEASE)) == 0;
}

int64_t node_leases_expected(const node_leases *leases)
{
    return leases->members > leases->options.bootstrap_expect ? leases->members
                                                              : leases->options.bootstrap_expect;
}

void node_leases_input(node_leases *leases, const cx_lease_event *event, node_leases_done *done,
                       void *arg)
{
    cx_lease_answer answer = cx_granter_input(leases->granter, event, cx_now_ms());
    lease_job *job = cx_alloc(1, sizeof *job);

    job->result = (node_lease_result){
        .outcome = answer.outcome, .last_fence = answer.last_fence, .confirmed = answer.confirmed};
    if (answer.lease != NULL)
        job->result.lease = cx_lease_copy(answer.lease);
    job->forgotten = answer.forgotten;
    job->floor = cx_granter_floor(leases->granter);
    job->done = done;
    job->arg = arg;
    memcpy(job->boot_id, leases->boot_id, sizeof job->boot_id);
    set_expiry(leases);
    if (!answer.save) {
        job->job.ok = true;
        save_done(&job->job);
        return;
    }
    job->job.work = save_work;
    job->job.done = save_done;
    job->job.database = NODE_LEASES_DB;
    job->job.durable = true;
    node_storage_add(leases->options.storage, &job->job);
}

void node_leases_each(const node_leases *leases,
                      void (*found)(const cx_lease *lease, int64_t expires_in_ms, void *arg),
                      void *arg)
{
    int64_t now_ms = cx_now_ms();
    size_t cursor = 0;
    const cx_lease *lease;

    while ((lease = cx_granter_next(leases->granter, &cursor)) != NULL)
        if (cx_lease_is_held(lease, now_ms))
            found(lease, lease->expires_ms - now_ms, arg);
}

void node_leases_claim_agent(node_leases *leases, const char *agent, const char *owner,
                             int64_t fence, int64_t ttl_ms, node_leases_done *done, void *arg)
{
    CX_AUTO(cx_free) char *name = cx_format(NODE_AGENT_LEASE "%s", agent);

    node_leases_input(leases,
                      &(cx_lease_event){.kind = CX_LEASE_CLAIM,
                                        .name = name,
                                        .owner = owner,
                                        .about = "{\"reason\":\"runs the agent\"}",
                                        .ttl_ms = ttl_ms,
                                        .fence = fence},
                      done, arg);
}

void node_leases_release_agent(node_leases *leases, const char *agent, const char *owner,
                               int64_t fence, node_leases_done *done, void *arg)
{
    CX_AUTO(cx_free) char *name = cx_format(NODE_AGENT_LEASE "%s", agent);

    node_leases_input(
        leases,
        &(cx_lease_event){.kind = CX_LEASE_RELEASE, .name = name, .owner = owner, .fence = fence},
        done, arg);
}

cx_lease_vote node_leases_vote(const node_lease_result *result)
{
    cx_lease_vote vote = {.kind = CX_VOTE_REFUSED, .last_fence = result->last_fence, .holder = ""};
    int64_t left_ms = result->lease.expires_ms - cx_now_ms();

    if (result->outcome == CX_LEASE_GRANTED) {
        vote.kind = CX_VOTE_GRANTED;
        vote.fence = result->lease.fence;
    } else if (result->outcome == CX_LEASE_HELD) {
        vote.holder = result->lease.owner;
        vote.holder_fence = result->lease.fence;
        vote.expires_in_ms = left_ms > 0 ? left_ms : 0;
    }
    return vote;
}
