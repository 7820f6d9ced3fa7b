#include "message.h"

#include <ctype.h>
#include <string.h>

#include "base/text.h"
#include "base/time.h"

static const char capability_prefix[] = "capability:";
static const char *const message_keys[] = {"message_id",      "receiver", "sender", "performative",
                                           "conversation_id", "content",  NULL};
static const char *const peer_keys[] = {"message_id",      "receiver", "sender", "performative",
                                        "conversation_id", "content",  "hops",   NULL};

enum { PERFORMATIVE_MAX = 32 };

/* Letters, digits and marks that need no quoting in a shell, a URL's segment or JSON. */
static bool check_token(const char *what, const char *text, const char *marks, cx_err *err)
{
    size_t size = strlen(text);

    if (size == 0 || size > NODE_MESSAGE_ID_MAX)
        return cx_fail(err, CX_INVALID, "%s: %zu bytes, not 1 to %d", what, size,
                       NODE_MESSAGE_ID_MAX);
    for (const char *at = text; *at != '\0'; at++)
        if (!isalnum((unsigned char)*at) && strchr(marks, *at) == NULL)
            return cx_fail(err, CX_INVALID, "%s: only letters, digits and %s are allowed", what,
                           marks);
    return true;
}

static bool check_receiver(const char *receiver, cx_err *err)
{
    const char *capability = node_capability_of(receiver);

    return capability != NULL ? cx_check_id("capability", capability, err)
                              : cx_check_id("receiver", receiver, err);
}

static bool check_performative(const char *text, cx_err *err)
{
    size_t size = strlen(text);

    for (const char *at = text; *at != '\0'; at++)
        if (!islower((unsigned char)*at) && *at != '-' && *at != '_')
            return cx_fail(err, CX_INVALID, "performative: only a-z, - and _ are allowed");
    if (size == 0 || size > PERFORMATIVE_MAX)
        return cx_fail(err, CX_INVALID, "performative: %zu bytes, not 1 to %d", size,
                       PERFORMATIVE_MAX);
    return true;
}

/* JSON text of a value of any kind; a missing one is null. */
static char *text_of(const json_t *value)
{
    CX_AUTO(cx_buffer_free) cx_buffer buffer = {0};
    char *text = value == NULL ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

    cx_buffer_add_text(&buffer, text == NULL ? "null" : text);
    cx_free(&text);
    return cx_buffer_take_text(&buffer);
}

static json_t *value_of(const char *text)
{
    json_t *value = text == NULL ? NULL : json_loads(text, JSON_DECODE_ANY, NULL);

    return value == NULL ? json_null() : value;
}

static void add_json_text(cx_buffer *line, const char *key, const char *text)
{
    CX_AUTO(cx_json_free) json_t *value = cx_json_text(text);
    CX_AUTO(cx_free) char *quoted = text_of(value);

    cx_buffer_addf(line, "\"%s\":%s,", key, quoted);
}

static bool take_hops(const json_t *json, node_message *message, cx_err *err)
{
    const json_t *hops = json_object_get(json, "hops");
    const json_t *hop;
    size_t i;

    if (hops == NULL || json_is_null(hops))
        return true;
    if (!json_is_array(hops) || json_array_size(hops) > NODE_HOPS_MAX)
        return cx_fail(err, CX_INVALID, "hops: not a list of at most %d", NODE_HOPS_MAX);
    json_array_foreach (hops, i, hop) {
        const char *text = NULL;

        if (!json_is_object(hop) || !cx_json_need_text(hop, "hop", "node_id", &text, err) ||
            !cx_check_id("hop", text, err) || !cx_json_need_text(hop, "hop", "event", &text, err) ||
            !check_token("hop", text, "_", err) ||
            !cx_json_need_text(hop, "hop", "at", &text, err) ||
            !check_token("hop", text, ":.-", err))
            return cx_fail(err, CX_INVALID, "hops[%zu] is no hop", i);
    }
    message->hops = text_of(hops);
    return true;
}

static bool take_message(const json_t *json, const char *default_sender, node_message *message,
                         cx_err *err)
{
    const char *id = NULL, *receiver = NULL, *sender = default_sender, *conversation = NULL;
    const char *performative = "request";

    if (!cx_json_need_text(json, "message", "receiver", &receiver, err) ||
        !check_receiver(receiver, err) ||
        !cx_json_get_text(json, "message", "message_id", &id, err) ||
        (id != NULL && !node_check_message_id(id, err)) ||
        !cx_json_get_text(json, "message", "sender", &sender, err) ||
        !check_token("sender", sender, "._:/@-", err) ||
        !cx_json_get_text(json, "message", "conversation_id", &conversation, err) ||
        (conversation != NULL && !check_token("conversation_id", conversation, "._:/@-", err)) ||
        !cx_json_get_text(json, "message", "performative", &performative, err) ||
        !check_performative(performative, err))
        return false;

    CX_AUTO(cx_free) char *content = text_of(json_object_get(json, "content"));

    if (strlen(content) > NODE_CONTENT_MAX)
        return cx_fail(err, CX_TOO_LARGE, "content: more than %d bytes", NODE_CONTENT_MAX);
    message->id = cx_strdup(id);
    message->receiver = cx_strdup(receiver);
    message->sender = cx_strdup(sender);
    message->conversation_id = cx_strdup(conversation);
    message->performative = cx_strdup(performative);
    message->content = CX_TAKE(content);
    return true;
}

static void add_hop(json_t *hops, const char *node_id, const char *event, int64_t at_ms)
{
    if (at_ms != 0)
        json_array_append_new(hops, json_pack("{s:s, s:s, s:o}", "node_id", node_id, "event", event,
                                              "at", cx_json_time(at_ms)));
}

static json_t *hops_of(const node_message *message)
{
    json_t *hops = message->hops == NULL ? NULL : json_loads(message->hops, 0, NULL);

    return hops == NULL ? json_array() : hops;
}

/* node_id NULL: of any node. */
static bool is_hop(const json_t *hop, const char *node_id, const char *event)
{
    return strcmp(cx_json_text_or_empty(hop, "event"), event) == 0 &&
           (node_id == NULL || strcmp(cx_json_text_or_empty(hop, "node_id"), node_id) == 0);
}

static bool is_failure(const char *performative)
{
    static const char *const failures[] = {"failure", "refuse", "not-understood"};

    for (size_t i = 0; i < CX_COUNT(failures); i++)
        if (strcmp(performative, failures[i]) == 0)
            return true;
    return false;
}

bool node_message_parse(const json_t *json, const char *default_sender, bool with_hops,
                        node_message *message, cx_err *err)
{
    node_message parsed = {0};

    if (!json_is_object(json))
        return cx_fail(err, CX_INVALID, "message: not a JSON object");
    if (!cx_json_only_keys(json, "message", with_hops ? peer_keys : message_keys, err) ||
        !take_message(json, default_sender, &parsed, err) ||
        (with_hops && !take_hops(json, &parsed, err))) {
        node_message_free(&parsed);
        return false;
    }
    *message = parsed;
    return true;
}

void node_message_free(node_message *message)
{
    cx_free(&message->id);
    cx_free(&message->receiver);
    cx_free(&message->lane);
    cx_free(&message->sender);
    cx_free(&message->conversation_id);
    cx_free(&message->performative);
    cx_free(&message->content);
    cx_free(&message->reply);
    cx_free(&message->error);
    cx_free(&message->hops);
    cx_free(&message->node);
    *message = (node_message){0};
}

void node_messages_free(node_message *messages, size_t count)
{
    for (size_t i = 0; i < count; i++)
        node_message_free(&messages[i]);
    cx_free(&messages);
}

const char *node_capability_of(const char *receiver)
{
    size_t size = sizeof capability_prefix - 1;

    return strncmp(receiver, capability_prefix, size) == 0 ? receiver + size : NULL;
}

/* The keys of a message that both an agent and a peer get, each with a comma after it. */
static void add_fields(const node_message *message, const char *receiver, cx_buffer *line)
{
    add_json_text(line, "message_id", message->id);
    add_json_text(line, "performative", message->performative);
    add_json_text(line, "sender", message->sender);
    add_json_text(line, "receiver", receiver);
    if (message->conversation_id != NULL)
        add_json_text(line, "conversation_id", message->conversation_id);
}

void node_message_deliver(const node_message *message, int64_t reply_by_ms, cx_buffer *line)
{
    char reply_by[CX_TIME_TEXT_SIZE];

    cx_buffer_add_text(line, "{");
    add_fields(message, message->receiver, line);
    if (message->conversation_id == NULL)
        cx_buffer_add_text(line, "\"conversation_id\":null,");
    cx_buffer_addf(line, "\"content\":%s,\"attempt\":%lld,\"reply_by\":\"%s\"}\n", message->content,
                   (long long)message->attempts, cx_time_text(reply_by_ms, reply_by));
}

/* One that moved often keeps its origin and its last ways: where it was accepted goes first. */
static void shorten_hops(json_t *hops)
{
    while (json_array_size(hops) > NODE_HOPS_MAX) {
        size_t at = 1;

        while (at < json_array_size(hops) && !is_hop(json_array_get(hops, at), NULL, "accepted"))
            at++;
        json_array_remove(hops, at < json_array_size(hops) ? at : 1);
    }
}

int64_t node_message_left_ms(const node_message *message, const char *node_id)
{
    CX_AUTO(cx_json_free) json_t *hops = hops_of(message);
    int64_t left_ms = 0, at_ms = 0;
    const json_t *hop;
    cx_err ignored;
    size_t i;

    json_array_foreach (hops, i, hop)
        if (is_hop(hop, node_id, "forwarded") &&
            cx_time_parse(cx_json_text_or_empty(hop, "at"), &at_ms, &ignored) && at_ms > left_ms)
            left_ms = at_ms;
    return left_ms;
}

void node_message_forward(const node_message *message, const char *agent, const char *node_id,
                          int64_t now_ms, cx_buffer *line)
{
    CX_AUTO(cx_json_free) json_t *hops = hops_of(message);

    if (message->accepted_at_ms != 0)
        add_hop(hops, node_id, "accepted", message->accepted_at_ms);
    add_hop(hops, node_id, "forwarded", now_ms);
    shorten_hops(hops);

    CX_AUTO(cx_free) char *text = text_of(hops);

    cx_buffer_add_text(line, "{");
    add_fields(message, agent, line);
    cx_buffer_addf(line, "\"content\":%s,\"hops\":%s}\n", message->content, text);
}

json_t *node_message_to_json(const node_message *message, const char *node_id)
{
    json_t *hops = hops_of(message);
    bool is_out = message->lane != NULL && strncmp(message->lane, "to:", 3) == 0;

    add_hop(hops, node_id, "accepted", message->accepted_at_ms);
    if (!is_out)
        add_hop(hops, node_id, "delivered", message->started_at_ms);
    add_hop(hops, node_id,
            message->state == NODE_FAILED ? "failed"
            : is_out                      ? "forwarded"
                                          : "done",
            message->done_at_ms);
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:s, s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:o}",
                     "message_id", message->id, "state", node_message_state_word(message->state),
                     "receiver", message->receiver, "sender", message->sender, "conversation_id",
                     cx_json_text(message->conversation_id), "performative", message->performative,
                     "content", value_of(message->content), "reply", value_of(message->reply),
                     "attempts", (json_int_t)message->attempts, "accepted_at",
                     cx_json_time_or_null(message->accepted_at_ms), "started_at",
                     cx_json_time_or_null(message->started_at_ms), "done_at",
                     cx_json_time_or_null(message->done_at_ms), "error",
                     cx_json_text(message->error), "hops", hops);
}

bool node_output_parse(cx_bytes line, const char *agent, node_output *output, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *json = NULL;
    const char *in_reply_to = NULL, *performative = "inform";

    if (!cx_json_parse(line, NODE_REPLY_MAX, agent, &json, err))
        return false;
    if (!json_is_object(json))
        return cx_fail(err, CX_INVALID, "%s: a line that is no JSON object", agent);
    if (!cx_json_get_text(json, agent, "in_reply_to", &in_reply_to, err))
        return false;
    if (in_reply_to == NULL) {
        *output = (node_output){.kind = NODE_OUTPUT_SEND};
        /* Who an agent is, is not for it to say. */
        json_object_set_new(json, "sender", json_string(agent));
        return node_message_parse(json, agent, false, &output->message, err);
    }
    if (!node_check_message_id(in_reply_to, err) ||
        !cx_json_get_text(json, agent, "performative", &performative, err) ||
        !check_performative(performative, err))
        return false;
    *output = (node_output){
        .kind = NODE_OUTPUT_REPLY,
        .in_reply_to = cx_strdup(in_reply_to),
        .failure = is_failure(performative),
        .content = text_of(json_object_get(json, "content")),
    };
    return true;
}

void node_output_free(node_output *output)
{
    cx_free(&output->in_reply_to);
    cx_free(&output->content);
    node_message_free(&output->message);
}

const char *node_message_state_word(node_message_state state)
{
    switch (state) {
    case NODE_QUEUED: return "queued";
    case NODE_IN_FLIGHT: return "in_flight";
    case NODE_DONE: return "done";
    case NODE_FAILED: return "failed";
    }
    return NULL;
}

bool node_message_state_parse(const char *text, node_message_state *state, cx_err *err)
{
    for (int i = 0; node_message_state_word((node_message_state)i) != NULL; i++)
        if (strcmp(text, node_message_state_word((node_message_state)i)) == 0) {
            *state = (node_message_state)i;
            return true;
        }
    return cx_fail(err, CX_INVALID, "state is %s, not queued, in_flight, done or failed", text);
}

bool node_check_message_id(const char *text, cx_err *err)
{
    return check_token("message_id", text, "._:-", err);
}
