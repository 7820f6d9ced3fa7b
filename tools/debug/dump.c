#include <string.h>

#include "base/time.h"
#include "debug.h"

struct dump_options {
    bool all;
};

static const cx_option options[] = {
    {"all", CX_FLAG(struct dump_options, all), NULL, NULL, "every alive member"},
    {0},
};

/* The parts of a node's state, each from a route of its API. */
static const struct part {
    const char *key, *path;
} parts[] = {
    {"state", "/api/v1/debug/state"},       {"queues", "/api/v1/queues"},
    {"messages", "/api/v1/messages/stats"}, {"drain", "/api/v1/node/drain"},
    {"leases", "/api/v1/leases"},           {"cluster", "/api/v1/cluster"},
};

static json_t *failure(const cx_err *error)
{
    CX_AUTO(cx_json_free) json_t *document = cx_err_to_json(error);

    return json_incref(json_object_get(document, "error"));
}

/* One node's parts; what is missing has its reason under "errors" and is null itself. */
static json_t *node_dump(const cx_api_node *node, cx_api_answer *answers, cx_err *errors,
                         bool *complete)
{
    json_t *dump = json_pack("{s:o, s:o}", "node_id", cx_json_text(node->node_id), "api_addr",
                             cx_json_text(node->api_addr));
    CX_AUTO(cx_json_free) json_t *missing = json_object();

    for (size_t i = 0; i < CX_COUNT(parts); i++) {
        json_t *document = NULL;

        if (answers[i].status != 0 && cx_api_answer_json(&answers[i], &document, &errors[i])) {
            json_object_set_new(dump, parts[i].key, document);
        } else {
            json_object_set_new(dump, parts[i].key, json_null());
            json_object_set_new(missing, parts[i].key, failure(&errors[i]));
        }
    }
    *complete = json_object_size(missing) == 0;
    if (!*complete)
        json_object_set(dump, "errors", missing);
    if (node->node_id[0] == '\0')
        json_object_set(
            dump, "node_id",
            json_object_get(json_object_get(json_object_get(dump, "state"), "node"), "node_id"));
    return dump;
}

static bool is_silent(const cx_api_answer *answers)
{
    for (size_t i = 0; i < CX_COUNT(parts); i++)
        if (answers[i].status != 0)
            return false;
    return true;
}

static void free_answers(cx_api_answer *answers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        cx_api_answer_free(&answers[i]);
}

/* All parts of all nodes at once: a node that hangs costs one time-out. */
static bool dump_nodes(cx_run *run, debug_scope *scope, json_t *list, cx_err *err)
{
    size_t count = scope->nodes.count * CX_COUNT(parts), silent = 0;
    CX_AUTO(cx_free) cx_api_question *questions = cx_alloc(count, sizeof *questions);
    CX_AUTO(cx_free) cx_api_answer *answers = cx_alloc(count, sizeof *answers);
    CX_AUTO(cx_free) cx_err *errors = cx_alloc(count, sizeof *errors);
    bool asked;

    for (size_t i = 0; i < count; i++)
        questions[i] = (cx_api_question){&scope->nodes.items[i / CX_COUNT(parts)],
                                         parts[i % CX_COUNT(parts)].path};
    asked = cx_api_ask_all(scope->api, questions, count, scope->timeout_ms, answers, errors, err);
    for (size_t i = 0; i < scope->nodes.count && asked; i++) {
        cx_api_answer *of_node = &answers[i * CX_COUNT(parts)];
        bool complete = false;

        silent += is_silent(of_node);
        json_array_append_new(list, node_dump(&scope->nodes.items[i], of_node,
                                              &errors[i * CX_COUNT(parts)], &complete));
        run->answer_no |= !complete;
    }
    free_answers(answers, count);
    if (asked && silent == scope->nodes.count) {
        *err = errors[0];
        return false;
    }
    return asked;
}

static bool dump(cx_run *run, const void *parsed, cx_err *err)
{
    const struct dump_options *option = parsed;
    const char *named = run->arg_count > 0 ? run->args[0] : NULL;
    CX_AUTO(debug_close) debug_scope scope = {0};
    CX_AUTO(cx_json_free) json_t *list = json_array();
    CX_AUTO(cx_json_free) json_t *document = NULL;

    if (option->all && named != NULL)
        return cx_fail(err, CX_USAGE, "NODE and --all exclude each other");
    if (!(option->all ? debug_open_all(run, &scope, err)
                      : debug_open_one(run, named, &scope, err)) ||
        !dump_nodes(run, &scope, list, err))
        return false;
    document = json_pack("{s:o, s:s, s:O, s:I, s:O}", "time", cx_json_time(cx_wall_ms()), "cluster",
                         scope.config->cluster, "nodes", list, "count",
                         (json_int_t)json_array_size(list), "absent", scope.absent);
    run->table = false; /* nobody reads a whole state as a table */
    return cx_emit(run, document, err);
}

const cx_command debug_dump = {
    .name = "dump",
    .arguments = "[NODE]",
    .arguments_max = 1,
    .summary = "the whole state of a node as one JSON document",
    .description =
        "Of the own node, of NODE (an id or an address), or with --all of every alive member: "
        "configuration in force, agents, lanes, peers, queues, counts, drain, leases, and what "
        "the node sees of the cluster. A part that could not be had is null, its reason stands "
        "under the node's `errors`, and the exit status is 1. The state may hold what agents were "
        "given on their command lines; cx-bundle removes secrets, this does not.",
    .options = options,
    .options_size = sizeof(struct dump_options),
    .run = dump,
};
