/* The node itself: health, figures, cluster, registry, debugging, checkpoint. */
#include <string.h>
#include <unistd.h>

#include "base/cli.h"
#include "base/io.h"
#include "base/time.h"
#include "call.h"
#include "hosting.h"

/* ---- health */

void node_get_healthz(node_call *call)
{
    node_answer(call, 200, json_pack("{s:s}", "status", "ok"));
}

static json_t *reasons_not_ready(const node_self *node)
{
    json_t *reasons = json_array();

    if (node->stopping)
        json_array_append_new(reasons, json_string("the node is stopping"));
    else if (node->mode.state != NODE_ACTIVE)
        json_array_append_new(reasons,
                              json_sprintf("the node is %s", node_state_word(node->mode.state)));
    /* A cluster of one works without a gossip agent. */
    if (!node_gossip_is_connected(node->gossip) && node->config->bootstrap_expect > 1)
        json_array_append_new(reasons, json_string("the gossip agent is not connected"));
    return reasons;
}

void node_get_readyz(node_call *call)
{
    const node_self *node = call->node;
    json_t *reasons = reasons_not_ready(node);
    bool ready = json_array_size(reasons) == 0;

    if (ready && !node_gossip_is_connected(node->gossip))
        json_array_append_new(reasons, json_string("the gossip agent is not connected; "
                                                   "a cluster of one works without it"));
    node_answer(call, ready ? 200 : 503,
                json_pack("{s:b, s:s, s:o}", "ready", ready, "state",
                          node_state_word(node->mode.state), "reasons", reasons));
}

/* ---- figures */

static json_t *agents_figures(const node_self *node)
{
    json_t *agents = json_pack("{s:I, s:I}", "total", (json_int_t)node_agents_count(node->agents),
                               "max", (json_int_t)node->config->max_agents);

    for (int i = 0; node_agent_state_word((node_agent_state)i) != NULL; i++)
        json_object_set_new(
            agents, node_agent_state_word((node_agent_state)i),
            json_integer((json_int_t)node_agents_count_state(node->agents, (node_agent_state)i)));
    return agents;
}

static json_t *messages_figures(const node_self *node)
{
    node_counts counts = node_queue_sum(node->queue);
    node_totals totals = node_queue_totals(node->queue);

    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "queued", (json_int_t)counts.queued,
                     "in_flight", (json_int_t)counts.in_flight, "done", (json_int_t)counts.done,
                     "failed", (json_int_t)counts.failed, "accepted_total",
                     (json_int_t)totals.accepted, "processed_total", (json_int_t)totals.processed,
                     "failed_total", (json_int_t)totals.failed);
}

static json_t *latency_figures(const node_self *node)
{
    node_latency_summary summary = node_latency_summarize(&node->latency, cx_now_ms());
    uint64_t done = 0, failed = 0;

    node_rate_sum(&node->rate, cx_now_ms(), &done, &failed);
    if (summary.count == 0)
        return json_pack("{s:n, s:n, s:i}", "p50", "p99", "count", 0);
    return json_pack("{s:o, s:o, s:I}", "p50", cx_json_figure(summary.p50_ms), "p99",
                     cx_json_figure(summary.p99_ms), "count", (json_int_t)(done + failed));
}

static double error_rate_percent(const node_self *node)
{
    uint64_t done = 0, failed = 0;

    node_rate_sum(&node->rate, cx_now_ms(), &done, &failed);
    return done + failed == 0 ? 0 : 100.0 * (double)failed / (double)(done + failed);
}

/* When this node was last backed up: cx-backup leaves a note of it in the data folder. */
static json_t *backup_figures(const node_self *node)
{
    CX_AUTO(cx_free) char *path = cx_path_join(node->data_dir, "backup.json");
    CX_AUTO(cx_json_free) json_t *note = NULL;
    const char *at = "";
    cx_err err;

    if (cx_json_read_file(path, 64 * 1024, &note, &err))
        at = cx_json_text_or_empty(note, "last_success_at");
    return json_pack("{s:o}", "last_success_at", cx_json_text_or_null(at));
}

static json_t *node_figures(const node_self *node)
{
    const cx_config *config = node->config;
    node_sample sample = node_sampler_last(node->sampler);
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:s, s:i, s:o, s:o, s:o, s:s, s:I, s:o, s:o}", "node_id",
                  config->node_id, "cluster", config->cluster, "version", cx_version, "state",
                  node_state_word(node->mode.state), "pid", (int)getpid(), "started_at",
                  cx_json_time(node->started_wall_ms), "uptime_seconds",
                  cx_json_figure((double)(cx_now_ms() - node->started_ms) / 1000), "time",
                  cx_json_time(cx_wall_ms()), "api_addr", config->api_advertise_addr,
                  "registry_revision", (json_int_t)node_registry_revision(node->registry), "agents",
                  agents_figures(node), "messages", messages_figures(node));

    json_object_update_new(
        json, json_pack("{s:{s:o, s:o, s:I, s:I, s:o, s:I, s:o}, s:{s:o, s:I, s:I}}", "system",
                        "cpu_percent", cx_json_figure(sample.cpu_percent), "memory_percent",
                        cx_json_figure(sample.memory_percent), "memory_total_bytes",
                        (json_int_t)sample.memory_total_bytes, "memory_available_bytes",
                        (json_int_t)sample.memory_available_bytes, "disk_percent",
                        cx_json_figure(sample.disk_percent), "disk_free_bytes",
                        (json_int_t)sample.disk_free_bytes, "load1", cx_json_figure(sample.load1),
                        "process", "cpu_percent", cx_json_figure(sample.process_cpu_percent),
                        "rss_bytes", (json_int_t)sample.process_rss_bytes, "open_files",
                        (json_int_t)sample.process_open_files));
    json_object_update_new(
        json, json_pack("{s:o, s:o, s:{s:o, s:o}, s:{s:o, s:s}, s:o, s:{s:b}}", "latency_ms",
                        latency_figures(node), "error_rate_percent",
                        cx_json_figure(error_rate_percent(node)), "loop_lag_ms", "p50",
                        cx_json_figure(sample.loop_lag_p50_ms), "max",
                        cx_json_figure(sample.loop_lag_max_ms), "certificate", "not_after",
                        cx_json_time(cx_tls_not_after_ms(node->tls)), "serial",
                        cx_tls_serial(node->tls), "backup", backup_figures(node), "gossip",
                        "connected", node_gossip_is_connected(node->gossip)));
    return json;
}

void node_get_node(node_call *call)
{
    node_answer(call, 200, node_figures(call->node));
}

/* ---- cluster */

typedef struct cluster_question {
    node_call *call;
    json_t *members;
} cluster_question;

static void on_status(const json_t *answer, const cx_err *err, void *arg)
{
    cluster_question *question = arg;

    if (err != NULL) {
        node_answer_error(question->call, err);
    } else {
        json_object_set(question->members, "status", (json_t *)answer);
        node_answer(question->call, 200, CX_TAKE(question->members));
    }
    cx_json_free(&question->members);
    cx_free(&question);
}

static void on_members(const json_t *answer, const cx_err *err, void *arg)
{
    cluster_question *question = arg;

    if (err != NULL) {
        node_answer_error(question->call, err);
        cx_free(&question);
        return;
    }
    question->members = json_copy((json_t *)answer);
    node_gossip_ask(question->call->node->gossip, json_pack("{s:s}", "command", "status"),
                    on_status, question);
}

void node_get_cluster(node_call *call)
{
    cluster_question *question = cx_alloc(1, sizeof *question);

    question->call = call;
    node_gossip_ask(call->node->gossip, json_pack("{s:s}", "command", "members"), on_members,
                    question);
}

/* ---- registry and debugging */

static json_t *registry_entry(const node_self *node, const node_agent *agent)
{
    const node_spec *spec = node_agent_spec(agent);
    json_t *entry = json_pack("{s:s, s:o, s:s, s:s, s:s}", "id", spec->id, "capabilities",
                              cx_json_texts(&spec->capabilities), "priority",
                              node_priority_word(spec->priority), "placement",
                              node_placement_word(spec->placement), "state",
                              node_agent_state_word(node_agent_state_of(agent)));

    if (spec->placement == NODE_ANY)
        json_object_set_new(entry, "fence",
                            json_integer((json_int_t)node_tenures_fence(node->tenures, spec->id)));
    return entry;
}

static json_t *placed_json(const node_self *node)
{
    json_t *list = json_array();
    const node_placed *placed;
    size_t cursor = 0;

    while ((placed = node_registry_next_placed(node->registry, &cursor)) != NULL)
        json_array_append_new(list, node_placed_to_json(placed));
    return list;
}

static json_t *registry_json(const node_self *node)
{
    json_t *agents = json_array();
    const node_agent *agent;
    size_t cursor = 0;

    while ((agent = node_agents_next(node->agents, &cursor)) != NULL)
        json_array_append_new(agents, registry_entry(node, agent));
    return json_pack("{s:s, s:I, s:o}", "node_id", node->config->node_id, "revision",
                     (json_int_t)node_registry_revision(node->registry), "agents", agents);
}

void node_get_registry(node_call *call)
{
    json_t *registry = registry_json(call->node);

    /* Whole specs, whose environment may hold secrets: for nodes only. */
    if (call->who.kind == CX_IDENTITY_NODE)
        json_object_set_new(registry, "placed", placed_json(call->node));
    node_answer(call, 200, registry);
}

static json_t *lanes_json(const node_self *node)
{
    json_t *lanes = json_array();
    size_t cursor = 0;
    const char *name = NULL;
    node_counts counts;

    while (node_queue_next(node->queue, &cursor, &name, &counts))
        json_array_append_new(
            lanes, json_pack("{s:s, s:I, s:I, s:I, s:I}", "lane", name, "queued",
                             (json_int_t)counts.queued, "in_flight", (json_int_t)counts.in_flight,
                             "done", (json_int_t)counts.done, "failed", (json_int_t)counts.failed));
    return lanes;
}

static json_t *agents_json(const node_self *node)
{
    json_t *agents = json_array();
    const node_agent *agent;
    size_t cursor = 0;

    while ((agent = node_agents_next(node->agents, &cursor)) != NULL)
        json_array_append_new(agents, node_agent_to_json(agent));
    return agents;
}

void node_get_state(node_call *call)
{
    const node_self *node = call->node;

    node_answer(call, 200,
                json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:{s:I, s:b, s:b}, s:{s:I, s:I, s:I}}",
                          "node", node_figures(node), "config",
                          cx_config_to_json(node->config, false), "agents", agents_json(node),
                          "lanes", lanes_json(node), "peers", node_router_to_json(node->router),
                          "placement", node_hosting_to_json(node->hosting), "storage", "waiting",
                          (json_int_t)node_storage_waiting(node->storage), "stopping",
                          node->stopping, "gossip_connected",
                          node_gossip_is_connected(node->gossip), "http", "connections",
                          (json_int_t)cx_httpd_connections(node->httpd), "requests",
                          (json_int_t)node->requests, "refused", (json_int_t)node->refused));
}

/* ---- checkpoint */

typedef struct checkpoint_job {
    node_job job;
    node_call *call;
    json_t *databases;
} checkpoint_job;

static bool checkpoint_work(node_storage *storage, node_job *base, cx_err *err)
{
    static const char *const names[NODE_DATABASES] = {"registry.db", "queues.db", "leases.db"};
    checkpoint_job *job = (checkpoint_job *)base;

    for (size_t i = 0; i < NODE_DATABASES; i++) {
        sqlite3 *handle = cx_db_handle(node_storage_db(storage, (node_database)i));
        int pages = 0, moved = 0;

        /* PASSIVE first moves what it can without waiting for readers (a backup), TRUNCATE the rest. */
        if (sqlite3_wal_checkpoint_v2(handle, NULL, SQLITE_CHECKPOINT_PASSIVE, &pages, &moved) !=
            SQLITE_OK)
            return cx_fail(err, CX_IO, "%s: %s", names[i], sqlite3_errmsg(handle));
        if (sqlite3_wal_checkpoint_v2(handle, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) !=
            SQLITE_OK)
            return cx_fail(err, CX_BUSY, "%s: a reader holds the log: %s", names[i],
                           sqlite3_errmsg(handle));
        json_array_append_new(job->databases, json_pack("{s:s, s:i, s:i}", "name", names[i],
                                                        "pages", pages, "moved_pages", moved));
    }
    return true;
}

static void checkpoint_done(node_job *base)
{
    checkpoint_job *job = (checkpoint_job *)base;
    json_t *databases = CX_TAKE(job->databases);

    if (!base->ok) {
        node_answer_error(job->call, &base->err);
        cx_json_free(&databases);
    } else {
        node_answer(job->call, 200,
                    json_pack("{s:b, s:s, s:o}", "changed", 1, "node_id",
                              job->call->node->config->node_id, "databases", databases));
    }
    cx_free(&job);
}

void node_post_checkpoint(node_call *call)
{
    checkpoint_job *job;

    if (call->dry_run) {
        node_answer(call, 200,
                    json_pack("{s:b, s:b, s:s}", "changed", 1, "dry_run", 1, "node_id",
                              call->node->config->node_id));
        return;
    }
    job = cx_alloc(1, sizeof *job);
    job->job = (node_job){.work = checkpoint_work, .done = checkpoint_done, .no_transaction = true};
    job->call = call;
    job->databases = json_array();
    node_storage_add(call->node->storage, &job->job);
}
