#include <string.h>

#include "base/text.h"
#include "debug.h"
#include "journey.h"

enum { CONVERSATION_MAX = 500 };

struct trace_options {
    const char *node;
    bool no_conversation;
};

static const cx_option options[] = {
    {"node", CX_TEXT(struct trace_options, node), "NODE_ID|ADDR", NULL,
     "ask this node alone; else all that are alive"},
    {"no-conversation", CX_FLAG(struct trace_options, no_conversation), NULL, NULL,
     "only the message itself"},
    {0},
};

static void set_node(json_t *copy, const cx_api_node *node)
{
    if (json_is_object(copy) && json_object_get(copy, "node_id") == NULL)
        json_object_set_new(copy, "node_id", cx_json_text(node->node_id));
}

/* The message as each node knows it. A node that does not know it is no failure. */
static bool ask_copies(debug_scope *scope, const char *message_id, json_t *copies, json_t *errors,
                       cx_err *err)
{
    CX_AUTO(cx_free) char *path = cx_format("/api/v1/messages/%s", message_id);
    CX_AUTO(cx_gathered_free) cx_gathered got = {.count = scope->nodes.count};

    got.answers = cx_alloc(got.count, sizeof(json_t *));
    got.errors = cx_alloc(got.count, sizeof *got.errors);
    if (!cx_api_call_all(scope->api, &scope->nodes, "GET", path, NULL, scope->timeout_ms,
                         got.answers, got.errors, err))
        return false;
    for (size_t i = 0; i < got.count; i++) {
        if (got.answers[i] != NULL) {
            set_node(got.answers[i], &scope->nodes.items[i]);
            json_array_append(copies, got.answers[i]);
        } else if (got.errors[i].code != CX_NOT_FOUND) {
            json_array_append_new(errors, cx_api_failure(&scope->nodes.items[i], &got.errors[i]));
        }
    }
    if (json_array_size(copies) > 0)
        return true;
    if (json_array_size(errors) == 0) {
        cx_fail(err, CX_NOT_FOUND, "message %s: no node that was asked (%zu) knows it", message_id,
                got.count);
        return cx_hint(err, "done messages are kept for message_retention; %s",
                       json_array_size(scope->absent) > 0 ? "some nodes are not alive"
                                                          : "was it ever accepted?");
    }
    for (size_t i = 0; i < got.count; i++)
        if (got.errors[i].code != CX_NOT_FOUND)
            *err = got.errors[i];
    return cx_wrap(err, "message %s: no node that answered knows it", message_id);
}

/* What else was sent in its course. A message without a conversation begins one by its own id, as far
 * as agents go on with it. A node that fails here has been reported already, or is silent only now:
 * the trace of the message stands. */
static bool ask_conversation(debug_scope *scope, const json_t *trace, json_t **list, cx_err *err)
{
    const char *message_id = cx_json_text_or_empty(trace, "message_id");
    const char *given = cx_json_text_or_empty(trace, "conversation_id");
    CX_AUTO(cx_gathered_free) cx_gathered got = {0};
    CX_AUTO(cx_json_free) json_t *copies = NULL;
    cx_err why = {0};

    /* A conversation's id is any text of a sender. */
    CX_AUTO(cx_free) char *word = cx_percent_encoded(given[0] != '\0' ? given : message_id);
    CX_AUTO(cx_free)
    char *path = cx_format("/api/v1/messages?conversation=%s&limit=%d", word, CONVERSATION_MAX);

    if (!cx_api_gather(scope->api, &scope->nodes, path, scope->timeout_ms, &got, &why)) {
        if (why.code == CX_INTERRUPTED)
            return cx_fail(err, CX_INTERRUPTED, "interrupted");
        *list = json_array();
        return true;
    }
    copies = cx_gathered_list(&got, &scope->nodes, "messages");
    *list = debug_conversation(copies, message_id);
    return true;
}

/* For people the hops are the table, the rest are lines above it. */
static void shorten(json_t *trace)
{
    static const char *const hidden[] = {"copies", "nodes", "error", "absent", "started_at"};

    for (size_t i = 0; i < CX_COUNT(hidden); i++) {
        const json_t *value = json_object_get(trace, hidden[i]);

        if (json_is_array(value) || json_is_null(value))
            json_object_del(trace, hidden[i]);
    }
    if (json_array_size(json_object_get(trace, "conversation")) == 0)
        json_object_del(trace, "conversation");
}

static bool trace_message(cx_run *run, const void *parsed, cx_err *err)
{
    const struct trace_options *option = parsed;
    CX_AUTO(debug_close) debug_scope scope = {0};
    CX_AUTO(cx_json_free) json_t *copies = json_array();
    CX_AUTO(cx_json_free) json_t *errors = json_array();
    CX_AUTO(cx_json_free) json_t *conversation = NULL;
    CX_AUTO(cx_json_free) json_t *trace = NULL;

    if (!cx_api_check_message_id(run->args[0], err) ||
        !(option->node != NULL ? debug_open_one(run, option->node, &scope, err)
                               : debug_open_all(run, &scope, err)) ||
        !ask_copies(&scope, run->args[0], copies, errors, err))
        return false;
    trace = debug_journey(copies);
    if (!option->no_conversation) {
        if (!ask_conversation(&scope, trace, &conversation, err))
            return false;
        json_object_set(trace, "conversation", conversation);
    }
    json_object_set(trace, "absent", scope.absent);
    if (json_array_size(errors) > 0) {
        json_object_set(trace, "errors", errors);
        run->answer_no = true;
    }
    if (run->table)
        shorten(trace);
    return cx_emit(run, trace, err);
}

const cx_command debug_trace = {
    .name = "trace",
    .arguments = "MESSAGE_ID",
    .arguments_min = 1,
    .arguments_max = 1,
    .summary = "every hop of a message over all nodes, with times",
    .description =
        "Asks every alive member and joins what they know: accepted (on the node's disk), "
        "forwarded or handed over to another node, delivered (an agent has taken it; of several "
        "attempts the last one's time and their number), done or failed. elapsed_ms counts from "
        "the first hop, step_ms from the one before; each node tells its own clock's time. "
        "`conversation` lists the other messages with the same conversation_id, for a message "
        "without one those that have its id as theirs. A node that did "
        "not answer is in `errors` and the exit status is 1; one that is not alive is in `absent`.",
    .options = options,
    .options_size = sizeof(struct trace_options),
    .run = trace_message,
};
