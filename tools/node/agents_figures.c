/* What is measured of agents, and told of them. */
#include "agents_parts.h"
#include "base/map.h"
#include "base/time.h"

enum {
    MEASURE_MAX = 256, /* agents measured in one turn */
};

static void measure(node_agent *agent, int64_t now_ms)
{
    int64_t cpu_ms = 0;

    if (agent->process == NULL ||
        !node_process_measure(node_process_id(agent->process), &cpu_ms, &agent->rss_bytes)) {
        agent->cpu_percent = 0;
        agent->rss_bytes = 0;
        return;
    }
    if (agent->measured_ms != 0 && now_ms > agent->measured_ms)
        agent->cpu_percent =
            100.0 * (double)(cpu_ms - agent->cpu_ms) / (double)(now_ms - agent->measured_ms);
    agent->cpu_ms = cpu_ms;
    agent->measured_ms = now_ms;
}

void agents_on_measure(evutil_socket_t fd, short what, void *arg)
{
    node_agents *agents = arg;
    int64_t now_ms = cx_now_ms();
    void *value = NULL;

    (void)fd;
    (void)what;
    for (size_t i = 0; i < MEASURE_MAX; i++) {
        if (!cx_map_next(agents->by_id, &agents->measure_cursor, NULL, &value)) {
            agents->measure_cursor = 0;
            break;
        }
        measure(value, now_ms);
    }
}

static json_t *figures_json(const node_latency *latency)
{
    node_latency_summary summary = node_latency_summarize(latency, cx_now_ms());

    if (summary.count == 0)
        return json_pack("{s:n, s:n}", "p50", "p99");
    return json_pack("{s:o, s:o}", "p50", cx_json_figure(summary.p50_ms), "p99",
                     cx_json_figure(summary.p99_ms));
}

static double oldest_in_flight_seconds(const node_agent *agent)
{
    int64_t now_ms = cx_wall_ms(), oldest_ms = now_ms;

    for (size_t i = 0; i < agent->flight_count; i++)
        if (agent->flights[i].message.started_at_ms < oldest_ms)
            oldest_ms = agent->flights[i].message.started_at_ms;
    return (double)(now_ms - oldest_ms) / 1000;
}

const char *node_agent_state_word(node_agent_state state)
{
    switch (state) {
    case NODE_AGENT_STARTING: return "starting";
    case NODE_AGENT_RUNNING: return "running";
    case NODE_AGENT_SUSPENDED: return "suspended";
    case NODE_AGENT_FAILED: return "failed";
    case NODE_AGENT_STOPPED: return "stopped";
    }
    return NULL;
}

json_t *node_agent_to_json(const node_agent *agent)
{
    const node_agents_options *options = &agent->agents->options;
    const node_spec *spec = agent->spec;
    node_counts counts = node_queue_counts(options->queue, spec->id);
    json_t *json = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:I, s:o}", "id", spec->id,
        "node_id", options->node_id, "state", node_agent_state_word(agent->state), "priority",
        node_priority_word(spec->priority), "placement", node_placement_word(spec->placement),
        "queued", (json_int_t)counts.queued, "in_flight", (json_int_t)counts.in_flight, "processed",
        (json_int_t)agent->processed, "failed", (json_int_t)agent->failed, "latency_ms",
        figures_json(&agent->latency), "cpu_percent", cx_json_figure(agent->cpu_percent),
        "rss_bytes", (json_int_t)agent->rss_bytes, "last_active",
        cx_json_time_or_null(agent->active_wall_ms));

    json_object_update_new(
        json,
        json_pack("{s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:I, s:b, s:o}", "command",
                  cx_json_texts(&spec->command), "capabilities", cx_json_texts(&spec->capabilities),
                  "restarts", (json_int_t)agent->restarts, "pid",
                  agent->process == NULL ? json_null()
                                         : json_integer(node_process_id(agent->process)),
                  "started_at", cx_json_time_or_null(agent->started_wall_ms), "last_error",
                  cx_json_text_or_null(agent->last_error), "last_exit",
                  cx_json_text_or_null(agent->last_exit), "limits", node_spec_limits(spec),
                  "max_attempts", (json_int_t)spec->attempts_max, "responsive",
                  agent->timeouts == 0 && agent->state != NODE_AGENT_FAILED,
                  "oldest_in_flight_seconds", cx_json_figure(oldest_in_flight_seconds(agent))));
    return json;
}

void node_agent_figures(const node_agent *agent, int64_t *processed, int64_t *failed,
                        int64_t *restarts)
{
    *processed = agent->processed;
    *failed = agent->failed;
    *restarts = agent->restarts;
}
