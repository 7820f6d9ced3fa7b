/* GET /metrics: Prometheus text exposition format 0.0.4. */
#include <string.h>

#include "base/cli.h"
#include "base/time.h"
#include "call.h"

static void head(cx_buffer *text, const char *name, const char *type, const char *help)
{
    cx_buffer_addf(text, "# HELP cx_node_%s %s\n# TYPE cx_node_%s %s\n", name, help, name, type);
}

static void one(cx_buffer *text, const char *name, const char *type, const char *help, double value)
{
    head(text, name, type, help);
    cx_buffer_addf(text, "cx_node_%s %.15g\n", name, value);
}

static void agents(const node_self *node, cx_buffer *text)
{
    static const struct {
        const char *name, *help;
    } counters[] = {
        {"agent_processed_total", "Messages that an agent has answered since the node started."},
        {"agent_failed_total", "Messages that an agent has failed since the node started."},
        {"agent_restarts_total", "Starts of an agent's process after its first."},
    };
    const node_agent *agent;
    size_t cursor;

    head(text, "agents", "gauge", "Agents by state.");
    for (int i = 0; node_agent_state_word((node_agent_state)i) != NULL; i++)
        cx_buffer_addf(text, "cx_node_agents{state=\"%s\"} %zu\n",
                       node_agent_state_word((node_agent_state)i),
                       node_agents_count_state(node->agents, (node_agent_state)i));
    for (size_t i = 0; i < CX_COUNT(counters); i++) {
        head(text, counters[i].name, "counter", counters[i].help);
        cursor = 0;
        while ((agent = node_agents_next(node->agents, &cursor)) != NULL) {
            int64_t values[3];

            node_agent_figures(agent, &values[0], &values[1], &values[2]);
            cx_buffer_addf(text, "cx_node_%s{agent=\"%s\"} %lld\n", counters[i].name,
                           node_agent_spec(agent)->id, (long long)values[i]);
        }
    }
    head(text, "agent_queued", "gauge", "Messages that wait for an agent.");
    cursor = 0;
    while ((agent = node_agents_next(node->agents, &cursor)) != NULL)
        cx_buffer_addf(
            text, "cx_node_agent_queued{agent=\"%s\"} %lld\n", node_agent_spec(agent)->id,
            (long long)node_queue_counts(node->queue, node_agent_spec(agent)->id).queued);
}

static void messages(const node_self *node, cx_buffer *text)
{
    node_counts counts = node_queue_sum(node->queue);
    node_totals totals = node_queue_totals(node->queue);

    head(text, "messages", "gauge", "Messages that are kept, by state.");
    cx_buffer_addf(text,
                   "cx_node_messages{state=\"queued\"} %lld\n"
                   "cx_node_messages{state=\"in_flight\"} %lld\n"
                   "cx_node_messages{state=\"done\"} %lld\n"
                   "cx_node_messages{state=\"failed\"} %lld\n",
                   (long long)counts.queued, (long long)counts.in_flight, (long long)counts.done,
                   (long long)counts.failed);
    one(text, "messages_accepted_total", "counter", "Messages that were accepted, durably.",
        (double)totals.accepted);
    one(text, "messages_processed_total", "counter", "Messages that agents answered.",
        (double)totals.processed);
    one(text, "messages_failed_total", "counter", "Messages that failed.", (double)totals.failed);
    one(text, "messages_duplicates_total", "counter", "Messages that were known already.",
        (double)totals.duplicates);
    one(text, "messages_forwarded_total", "counter", "Messages of agents that went to other nodes.",
        (double)totals.forwarded);
    one(text, "messages_handed_over_total", "counter",
        "Of the forwarded: messages queued for agents that had moved to other nodes.",
        (double)totals.handed_over);
    one(text, "messages_retried_total", "counter", "Attempts that were followed by another.",
        (double)totals.retried);
}

static void latency(const node_self *node, cx_buffer *text)
{
    uint64_t below = 0;

    head(text, "message_latency_seconds", "histogram",
         "Time from a message's acceptance to its end.");
    for (size_t i = 0; i < NODE_HISTOGRAM_BOUNDS; i++) {
        below += node->histogram.counts[i];
        cx_buffer_addf(text, "cx_node_message_latency_seconds_bucket{le=\"%g\"} %llu\n",
                       (double)node_histogram_bounds_ms[i] / 1000, (unsigned long long)below);
    }
    cx_buffer_addf(text,
                   "cx_node_message_latency_seconds_bucket{le=\"+Inf\"} %llu\n"
                   "cx_node_message_latency_seconds_sum %.15g\n"
                   "cx_node_message_latency_seconds_count %llu\n",
                   (unsigned long long)node->histogram.count, node->histogram.sum_ms / 1000,
                   (unsigned long long)node->histogram.count);
}

static void host(const node_self *node, cx_buffer *text)
{
    node_sample sample = node_sampler_last(node->sampler);

    one(text, "cpu_percent", "gauge", "CPU use of the host.", sample.cpu_percent);
    one(text, "memory_percent", "gauge", "Memory use of the host.", sample.memory_percent);
    one(text, "disk_percent", "gauge", "Use of the data folder's file system.",
        sample.disk_percent);
    one(text, "disk_free_bytes", "gauge", "Free bytes of the data folder's file system.",
        (double)sample.disk_free_bytes);
    one(text, "process_cpu_percent", "gauge", "CPU use of cx-node.", sample.process_cpu_percent);
    one(text, "process_resident_bytes", "gauge", "Resident memory of cx-node.",
        (double)sample.process_rss_bytes);
    one(text, "process_open_files", "gauge", "Open descriptors of cx-node.",
        (double)sample.process_open_files);
    one(text, "loop_lag_seconds", "gauge", "Longest delay of the event loop, last minutes.",
        sample.loop_lag_max_ms / 1000);
}

void node_get_metrics(node_call *call)
{
    const node_self *node = call->node;
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};

    head(&text, "info", "gauge", "Always 1; the labels say who this is.");
    cx_buffer_addf(&text, "cx_node_info{node_id=\"%s\",cluster=\"%s\",version=\"%s\"} 1\n",
                   node->config->node_id, node->config->cluster, cx_version);
    one(&text, "uptime_seconds", "gauge", "Time since the node started.",
        (double)(cx_now_ms() - node->started_ms) / 1000);
    head(&text, "state", "gauge", "1 for the state that the node is in.");
    for (int i = 0; node_state_word((node_state)i) != NULL; i++)
        cx_buffer_addf(&text, "cx_node_state{state=\"%s\"} %d\n", node_state_word((node_state)i),
                       node->mode.state == (node_state)i);
    one(&text, "gossip_connected", "gauge", "1 while the gossip agent of the host is there.",
        node_gossip_is_connected(node->gossip));
    one(&text, "certificate_not_after_seconds", "gauge",
        "End of the node's certificate, Unix time.", (double)cx_tls_not_after_ms(node->tls) / 1000);
    one(&text, "requests_total", "counter", "Requests to the management API.",
        (double)node->requests);
    one(&text, "refused_total", "counter", "Requests and handshakes that were refused.",
        (double)node->refused);
    agents(node, &text);
    messages(node, &text);
    latency(node, &text);
    host(node, &text);
    node_answer_bytes(call, 200, "text/plain; version=0.0.4; charset=utf-8",
                      cx_buffer_bytes(&text));
}
