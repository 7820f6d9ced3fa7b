#include "board.h"

#include <math.h>
#include <string.h>

#include "base/map.h"

enum { TEXT_MAX = 200 };

struct sample {
    int64_t at_ms;
    double p50_ms, p99_ms, queued; /* NAN: not measured */
};

struct entry {
    char *node_id;
    json_t *node;   /* what is shown of its last answer; NULL: it never gave one */
    json_t *agents; /* a list; NULL: not known */
    size_t agent_count;
    bool answers;
    int64_t at_ms;          /* of the last answer */
    struct sample *samples; /* a ring */
    size_t sample_first, sample_count;
};

struct health_board {
    struct entry **entries;
    size_t count;
    cx_map *by_id;
};

health_board *health_board_open(void)
{
    health_board *board = cx_alloc(1, sizeof *board);

    board->entries = cx_alloc(HEALTH_BOARD_NODES_MAX, sizeof(struct entry *));
    board->by_id = cx_map_open();
    return board;
}

static void free_entry(struct entry **owner)
{
    struct entry *entry = *owner;

    cx_free(&entry->node_id);
    cx_json_free(&entry->node);
    cx_json_free(&entry->agents);
    cx_free(&entry->samples);
    cx_free(owner);
}

void health_board_close(health_board **owner)
{
    if (*owner == NULL)
        return;
    for (size_t i = 0; i < (*owner)->count; i++)
        free_entry(&(*owner)->entries[i]);
    cx_map_close(&(*owner)->by_id);
    cx_free(&(*owner)->entries);
    cx_free(owner);
}

static struct entry *entry_of(health_board *board, const char *node_id)
{
    struct entry *entry = cx_map_get(board->by_id, node_id);

    if (entry != NULL || board->count >= HEALTH_BOARD_NODES_MAX)
        return entry;
    entry = cx_alloc(1, sizeof *entry);
    entry->node_id = cx_strdup(node_id);
    board->entries[board->count++] = entry;
    cx_map_put(board->by_id, node_id, entry);
    return entry;
}

/* ---- what is kept of a document */

/* A plain value, a text no longer than TEXT_MAX; null for all else. New reference. */
static json_t *plain(const json_t *value)
{
    if (json_is_string(value)) {
        size_t size = json_string_length(value);

        return cx_json_text_n(json_string_value(value), size < TEXT_MAX ? size : TEXT_MAX);
    }
    return json_is_number(value) || json_is_boolean(value) ? json_copy((json_t *)value)
                                                           : json_null();
}

/* The named fields of an object; keys end with NULL. New reference. */
static json_t *pick(const json_t *object, const char *const *keys)
{
    json_t *picked = json_object();

    for (; *keys != NULL; keys++)
        json_object_set_new(picked, *keys, plain(json_object_get(object, *keys)));
    return picked;
}

static json_t *shown_of_node(const json_t *node)
{
    static const char *const own[] = {"state", "version", "uptime_seconds", "error_rate_percent",
                                      NULL};
    static const struct {
        const char *name, *keys[8];
    } parts[] = {
        {"agents", {"total", "max", "running", "suspended", "failed", "starting", "stopped", NULL}},
        {"messages", {"queued", "in_flight", "done", "failed", NULL}},
        {"latency_ms", {"p50", "p99", "count", NULL}},
        {"system", {"cpu_percent", "memory_percent", "disk_percent", NULL}},
        {"certificate", {"not_after", NULL}},
        {"backup", {"last_success_at", NULL}},
    };
    json_t *shown = pick(node, own);

    for (size_t i = 0; i < CX_COUNT(parts); i++)
        json_object_set_new(shown, parts[i].name,
                            pick(json_object_get(node, parts[i].name), parts[i].keys));
    return shown;
}

/* ---- samples */

static double number_at(const json_t *node, const char *part, const char *key)
{
    const json_t *value = json_object_get(json_object_get(node, part), key);

    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void add_sample(struct entry *entry, const json_t *node, int64_t wall_ms)
{
    size_t last = (entry->sample_first + entry->sample_count - 1) % HEALTH_BOARD_SAMPLES_MAX;
    size_t at;

    if (entry->samples == NULL)
        entry->samples = cx_alloc(HEALTH_BOARD_SAMPLES_MAX, sizeof *entry->samples);
    /* A clock that was set back begins anew. */
    if (entry->sample_count > 0 && wall_ms < entry->samples[last].at_ms)
        entry->sample_count = 0;
    if (entry->sample_count > 0 && wall_ms - entry->samples[last].at_ms < HEALTH_BOARD_SAMPLE_MS)
        return;
    at = (entry->sample_first + entry->sample_count) % HEALTH_BOARD_SAMPLES_MAX;
    if (entry->sample_count < HEALTH_BOARD_SAMPLES_MAX)
        entry->sample_count++;
    else
        entry->sample_first = (entry->sample_first + 1) % HEALTH_BOARD_SAMPLES_MAX;
    entry->samples[at] = (struct sample){
        .at_ms = wall_ms,
        .p50_ms = number_at(node, "latency_ms", "p50"),
        .p99_ms = number_at(node, "latency_ms", "p99"),
        .queued = number_at(node, "messages", "queued"),
    };
}

void health_board_see(health_board *board, const char *node_id, const json_t *node, int64_t wall_ms)
{
    struct entry *entry = entry_of(board, node_id);

    if (entry == NULL)
        return;
    entry->answers = node != NULL;
    if (node == NULL)
        return;
    cx_json_free(&entry->node);
    entry->node = shown_of_node(node);
    entry->at_ms = wall_ms;
    add_sample(entry, node, wall_ms);
}

/* ---- agents */

/* How much an agent matters to who looks: trouble before work. */
static double weight_of(const json_t *agent)
{
    const char *state = cx_json_text_or_empty(agent, "state");
    double weight = json_number_value(json_object_get(agent, "queued")) +
                    json_number_value(json_object_get(agent, "in_flight"));

    if (strcmp(state, "failed") == 0)
        return 2e15 + weight;
    return json_is_false(json_object_get(agent, "responsive")) ? 1e15 + weight : weight;
}

/* Inserts into a list of at most HEALTH_BOARD_AGENTS_MAX that is sorted by weight. */
static void insert(const json_t **best, size_t *count, const json_t *agent)
{
    size_t at = *count;

    if (at == HEALTH_BOARD_AGENTS_MAX && weight_of(best[--at]) >= weight_of(agent))
        return;
    *count = at + 1;
    for (; at > 0 && weight_of(best[at - 1]) < weight_of(agent); at--)
        best[at] = best[at - 1];
    best[at] = agent;
}

void health_board_see_agents(health_board *board, const char *node_id, const json_t *agents)
{
    static const char *const keys[] = {"id",        "state",      "priority",    "placement",
                                       "queued",    "in_flight",  "processed",   "failed",
                                       "rss_bytes", "responsive", "cpu_percent", NULL};
    static const char *const latency_keys[] = {"p50", "p99", NULL};
    const json_t *best[HEALTH_BOARD_AGENTS_MAX], *list = json_object_get(agents, "agents");
    struct entry *entry = entry_of(board, node_id);
    size_t count = 0, at;
    json_t *agent;

    if (entry == NULL || !json_is_array(list))
        return;
    json_array_foreach ((json_t *)list, at, agent)
        insert(best, &count, agent);
    cx_json_free(&entry->agents);
    entry->agents = json_array();
    entry->agent_count = json_array_size(list);
    for (size_t i = 0; i < count; i++) {
        json_t *shown = pick(best[i], keys);

        json_object_set_new(shown, "latency_ms",
                            pick(json_object_get(best[i], "latency_ms"), latency_keys));
        json_array_append_new(entry->agents, shown);
    }
}

void health_board_keep(health_board *board, const cx_list *node_ids)
{
    size_t kept = 0;

    for (size_t i = 0; i < board->count; i++) {
        struct entry *entry = board->entries[i];

        if (cx_list_has(node_ids, entry->node_id)) {
            board->entries[kept++] = entry;
        } else {
            cx_map_remove(board->by_id, entry->node_id);
            free_entry(&entry);
        }
    }
    board->count = kept;
}

/* ---- documents */

json_t *health_board_nodes(const health_board *board)
{
    json_t *nodes = json_array();

    for (size_t i = 0; i < board->count; i++) {
        const struct entry *entry = board->entries[i];
        json_t *node =
            json_pack("{s:o, s:b, s:o}", "node_id", cx_json_text(entry->node_id), "answers",
                      entry->answers, "at", cx_json_time_or_null(entry->at_ms));
        CX_AUTO(cx_json_free)
        json_t *shown = entry->node != NULL ? json_incref(entry->node) : shown_of_node(NULL);

        json_object_update(node, shown);
        json_object_set_new(node, "agent_list",
                            entry->agents != NULL ? json_incref(entry->agents) : json_null());
        json_object_set_new(node, "agent_count", json_integer((json_int_t)entry->agent_count));
        json_array_append_new(nodes, node);
    }
    return nodes;
}

json_t *health_board_samples(const health_board *board)
{
    json_t *samples = json_object();

    for (size_t i = 0; i < board->count; i++) {
        const struct entry *entry = board->entries[i];
        json_t *list = json_array();

        for (size_t j = 0; j < entry->sample_count; j++) {
            const struct sample *sample =
                &entry->samples[(entry->sample_first + j) % HEALTH_BOARD_SAMPLES_MAX];

            json_array_append_new(
                list, json_pack("[I, o, o, o]", (json_int_t)(sample->at_ms / 1000),
                                cx_json_figure(sample->p50_ms), cx_json_figure(sample->p99_ms),
                                cx_json_figure(sample->queued)));
        }
        json_object_set_new(samples, entry->node_id, list);
    }
    return samples;
}
