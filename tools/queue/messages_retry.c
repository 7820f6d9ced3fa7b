#include <inttypes.h>

#include "base/text.h"
#include "queue.h"

enum { FAILED_MAX = 1000 };

struct retry_options {
    cx_target target;
    bool failed;
    const char *agent;
};

static const cx_option options[] = {
    CX_TARGET_OPTIONS(struct retry_options, target),
    {"failed", CX_FLAG(struct retry_options, failed), NULL, NULL, "all that failed (1000 at most)"},
    {"agent", CX_TEXT(struct retry_options, agent), "ID", NULL,
     "with --failed: only those for this agent"},
    {0},
};

/* What was done so far. */
struct result {
    json_t *messages;
    json_t *errors;
    cx_err first;
    bool changed;
};

static void result_free(struct result *result)
{
    cx_json_free(&result->messages);
    cx_json_free(&result->errors);
}

static void retry_one(cx_run *run, queue_scope *scope, const cx_api_node *node, const char *id,
                      struct result *result)
{
    CX_AUTO(cx_free)
    char *path = cx_format("/api/v1/messages/%s%s", id, run->dry_run ? "" : "/retry");
    CX_AUTO(cx_json_free) json_t *answer = NULL;
    bool changed = false;
    cx_err error = {0};

    if (!cx_api_check_message_id(id, &error) ||
        !cx_api_call(scope->api, node, run->dry_run ? "GET" : "POST", path, NULL, scope->timeout_ms,
                     &answer, &error) ||
        !cx_json_get_bool(answer, "answer", "changed", &changed, &error)) {
        json_t *failure = cx_api_failure(node, &error);

        if (result->first.code == CX_OK)
            result->first = error;
        json_object_set_new(failure, "message_id", cx_json_text(id));
        json_array_append_new(result->errors, failure);
        return;
    }
    if (run->dry_run)
        changed = json_is_string(json_object_get(answer, "state")) &&
                  cx_json_text_or_empty(answer, "state")[0] == 'f';
    json_array_append_new(result->messages,
                          json_pack("{s:o, s:o, s:b}", "message_id", cx_json_text(id), "node_id",
                                    cx_json_text(node->node_id), "changed", changed));
    result->changed |= changed;
}

static bool retry_failed(cx_run *run, queue_scope *scope, const char *agent, struct result *result,
                         cx_err *err)
{
    CX_AUTO(cx_gathered_free) cx_gathered gathered = {0};
    CX_AUTO(cx_free)
    char *path = cx_format("/api/v1/messages?state=failed&limit=%d%s%s", FAILED_MAX,
                           agent != NULL ? "&agent=" : "", agent != NULL ? agent : "");

    if (!cx_api_gather(scope->api, &scope->nodes, path, scope->timeout_ms, &gathered, err))
        return false;
    for (size_t i = 0; i < gathered.count; i++) {
        size_t at;
        json_t *message;

        if (gathered.answers[i] == NULL)
            json_array_append_new(result->errors,
                                  cx_api_failure(&scope->nodes.items[i], &gathered.errors[i]));
        json_array_foreach (json_object_get(gathered.answers[i], "messages"), at, message)
            retry_one(run, scope, &scope->nodes.items[i],
                      cx_json_text_or_empty(message, "message_id"), result);
    }
    return true;
}

static bool retry(cx_run *run, const void *parsed, cx_err *err)
{
    const struct retry_options *option = parsed;
    CX_AUTO(queue_close) queue_scope scope = {0};
    CX_AUTO(result_free) struct result result = {0};
    CX_AUTO(cx_json_free) json_t *document = NULL;

    result.messages = json_array();
    result.errors = json_array();
    if (option->failed == (run->arg_count > 0))
        return cx_fail(err, CX_USAGE, "name the messages, or say --failed");
    if (option->agent != NULL && (!option->failed || !cx_check_id("agent", option->agent, err)))
        return cx_fail(err, CX_USAGE, "--agent ID goes with --failed");
    if (!queue_open(run, &option->target, false, &scope, err))
        return false;
    if (option->failed && !retry_failed(run, &scope, option->agent, &result, err))
        return false;
    for (size_t i = 0; i < run->arg_count; i++)
        for (size_t j = 0; j < scope.nodes.count; j++)
            retry_one(run, &scope, &scope.nodes.items[j], run->args[i], &result);
    if (json_array_size(result.messages) == 0 && result.first.code != CX_OK) {
        *err = result.first;
        return false;
    }
    document = json_pack("{s:b, s:O, s:I}", "changed", result.changed, "messages", result.messages,
                         "count", (json_int_t)json_array_size(result.messages));
    if (run->dry_run)
        json_object_set_new(document, "dry_run", json_true());
    if (json_array_size(result.errors) > 0)
        json_object_set(document, "errors", result.errors);
    run->answer_no = json_array_size(result.errors) > 0;
    return cx_emit(run, document, err);
}

const cx_command queue_messages_retry = {
    .name = "messages retry",
    .arguments = "[ID…]",
    .summary = "queue failed messages again",
    .options = options,
    .options_size = sizeof(struct retry_options),
    .changes = true,
    .run = retry,
};
