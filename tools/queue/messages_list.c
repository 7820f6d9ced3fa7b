#include <inttypes.h>

#include "base/text.h"
#include "queue.h"

struct list_options {
    cx_target target;
    const char *state;
    const char *conversation;
    const char *agent;
    int64_t limit;
};

static const cx_option options[] = {
    CX_TARGET_OPTIONS(struct list_options, target),
    {"state", CX_CHOICE(struct list_options, state), "queued|in_flight|done|failed", NULL,
     "only messages in this state"},
    {"conversation", CX_TEXT(struct list_options, conversation), "ID", NULL,
     "only messages of this conversation"},
    {"agent", CX_TEXT(struct list_options, agent), "ID", NULL, "only messages for this agent"},
    {"limit", CX_INT(struct list_options, limit), "N", "100", "at most so many of each node"},
    {0},
};

/* For people: content and hops don't fit a line. */
static void shorten(json_t *messages)
{
    static const char *const long_ones[] = {"content", "reply", "hops"};
    size_t at;
    json_t *message;

    json_array_foreach (messages, at, message)
        for (size_t i = 0; i < CX_COUNT(long_ones); i++)
            json_object_del(message, long_ones[i]);
}

static bool list(cx_run *run, const void *parsed, cx_err *err)
{
    const struct list_options *option = parsed;
    CX_AUTO(queue_close) queue_scope scope = {0};
    CX_AUTO(cx_gathered_free) cx_gathered gathered = {0};
    CX_AUTO(cx_json_free) json_t *messages = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;
    CX_AUTO(cx_buffer_free) cx_buffer path = {0};

    if ((option->conversation != NULL && !cx_api_check_message_id(option->conversation, err)) ||
        (option->agent != NULL && !cx_check_id("agent", option->agent, err)) ||
        !queue_open(run, &option->target, queue_dash(run), &scope, err))
        return false;
    cx_buffer_addf(&path, "/api/v1/messages?limit=%" PRId64, option->limit);
    if (option->state != NULL)
        cx_buffer_addf(&path, "&state=%s", option->state);
    if (option->conversation != NULL)
        cx_buffer_addf(&path, "&conversation=%s", option->conversation);
    if (option->agent != NULL)
        cx_buffer_addf(&path, "&agent=%s", option->agent);
    if (!cx_api_gather(scope.api, &scope.nodes, (const char *)path.data, scope.timeout_ms,
                       &gathered, err))
        return false;
    messages = cx_gathered_list(&gathered, &scope.nodes, "messages");
    if (run->table)
        shorten(messages);
    document = json_pack("{s:O, s:I}", "messages", messages, "count",
                         (json_int_t)json_array_size(messages));
    cx_gathered_report(&gathered, &scope.nodes, run, document);
    return cx_emit(run, document, err);
}

const cx_command queue_messages_list = {
    .name = "messages list",
    .arguments = "[-]",
    .arguments_max = 1,
    .summary = "messages by state, conversation or agent",
    .options = options,
    .options_size = sizeof(struct list_options),
    .run = list,
};
