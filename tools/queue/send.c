#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "base/time.h"
#include "queue.h"

enum { CONTENT_MAX = 256 * 1024, CALL_SLACK_MS = 10000 };

struct send_options {
    cx_target target;
    const char *to;
    const char *content;
    const char *id;
    const char *performative;
    const char *conversation;
    const char *sender;
    int64_t wait_ms;
};

static const cx_option options[] = {
    {"node", CX_TEXT(struct send_options, target.node), "NODE_ID|ADDR", NULL,
     "send through this node; it finds the receiver wherever it is"},
    {"to", CX_TEXT(struct send_options, to), "AGENT", NULL,
     "the receiver; in bulk, of messages that name none"},
    {"content", CX_TEXT(struct send_options, content), "JSON|-", NULL,
     "the content, or - to read it from stdin; default null"},
    {"wait", CX_DURATION(struct send_options, wait_ms), "DUR", NULL,
     "wait this long for the reply"},
    {"id", CX_TEXT(struct send_options, id), "ID", NULL,
     "the message's id; the same id again is delivered once"},
    {"performative", CX_TEXT(struct send_options, performative), "WORD", "request",
     "what kind of message it is"},
    {"conversation", CX_TEXT(struct send_options, conversation), "ID", NULL,
     "the conversation it belongs to"},
    {"sender", CX_TEXT(struct send_options, sender), "NAME", NULL, "who sends it"},
    {0},
};

static bool read_content(const char *text, json_t **content, cx_err *err)
{
    if (text == NULL) {
        *content = json_null();
        return true;
    }
    if (strcmp(text, "-") == 0)
        return cx_json_read_file("-", CONTENT_MAX, content, err) || cx_wrap(err, "--content");
    if (!cx_json_parse(cx_bytes_of(text), CONTENT_MAX, "--content", content, err))
        return cx_hint(err, "it is JSON: a text needs its quotes, --content '\"text\"'");
    return true;
}

static void set_text(json_t *message, const char *key, const char *text)
{
    if (text != NULL)
        json_object_set_new(message, key, cx_json_text(text));
}

static bool make_message(const struct send_options *option, const char *id, json_t **message,
                         cx_err *err)
{
    json_t *content = NULL;

    if (!read_content(option->content, &content, err))
        return false;
    *message = json_pack("{s:o, s:o}", "message_id", cx_json_text(id), "receiver",
                         cx_json_text(option->to));
    set_text(*message, "performative", option->performative);
    set_text(*message, "conversation_id", option->conversation);
    set_text(*message, "sender", option->sender);
    json_object_set_new(*message, "content", content);
    return true;
}

/* One try. *retry_after_ms and *again say whether and when another one is worth it. */
static bool post(queue_scope *scope, const char *path, cx_bytes body, int64_t timeout_ms,
                 const queue_patience *patience, json_t **result, int64_t *retry_after_ms,
                 bool *again, bool *answered, cx_err *err)
{
    CX_AUTO(cx_api_answer_free) cx_api_answer answer = {0};
    const cx_api_node *node = &scope->nodes.items[0];

    if (cx_api_call_raw(scope->api, node, "POST", path, "application/json", body, timeout_ms,
                        &answer, err)) {
        if (cx_api_answer_json(&answer, result, err))
            return true;
        cx_api_wrap(err, node);
    }
    *answered = answer.status != 0;
    *again = queue_may_retry(patience, &answer, err);
    *retry_after_ms = answer.status != 0 ? answer.retry_after_ms : -1;
    return false;
}

/* Every try carries the same id: one whose answer was lost is not delivered twice. */
static bool send_until(queue_scope *scope, queue_patience *patience, const json_t *message,
                       int64_t wait_ms, json_t **result, cx_err *err)
{
    CX_AUTO(cx_free) char *text = cx_json_line(message);
    CX_AUTO(cx_free)
    char *path = wait_ms > 0 ? cx_format("/api/v1/messages?wait=%" PRId64 "ms", wait_ms)
                             : cx_strdup("/api/v1/messages");
    bool again = false, answered = false;
    int64_t retry_after_ms = -1;

    do {
        int64_t left_ms = patience->deadline_ms - cx_now_ms();
        int64_t timeout_ms = wait_ms > 0 ? wait_ms + CALL_SLACK_MS : left_ms;

        if (post(scope, path, cx_bytes_of(text), timeout_ms, patience, result, &retry_after_ms,
                 &again, &answered, err))
            return true;
    } while (again && queue_wait_retry(patience, retry_after_ms, err));

    /* Interrupted, the last try may have arrived, whatever was answered to the ones before. */
    if ((!answered || err->code == CX_INTERRUPTED) && cx_code_status(err->code) != EX_DATAERR &&
        cx_code_status(err->code) != EX_NOPERM)
        cx_hint(err, "not acknowledged; safe to send again with --id %s",
                cx_json_text_or_empty(message, "message_id"));
    return false;
}

static bool send_one(cx_run *run, queue_scope *scope, const struct send_options *option,
                     cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *message = NULL;
    CX_AUTO(cx_json_free) json_t *result = NULL;
    queue_patience patience = queue_patience_start(run);
    char ulid[CX_ULID_SIZE];

    cx_ulid(cx_wall_ms(), ulid);
    if (option->to == NULL)
        return cx_fail(err, CX_USAGE, "--to AGENT is missing") ||
               cx_hint(err, "`-` sends messages from stdin, one a line");
    if (option->id != NULL && !cx_api_check_message_id(option->id, err))
        return cx_wrap(err, "--id");
    if (!make_message(option, option->id != NULL ? option->id : ulid, &message, err))
        return false;
    if (run->dry_run) {
        CX_AUTO(cx_json_free)
        json_t *plan = json_pack("{s:b, s:b, s:O}", "changed", 1, "dry_run", 1, "message", message);

        return cx_emit(run, plan, err);
    }
    if (!send_until(scope, &patience, message, option->wait_ms, &result, err))
        return false;

    const char *status = cx_json_text_or_empty(result, "status");

    run->answer_no =
        strcmp(status, "failed") == 0 || (option->wait_ms > 0 && strcmp(status, "done") != 0);
    return cx_emit(run, result, err);
}

static bool send_messages(cx_run *run, const void *parsed, cx_err *err)
{
    const struct send_options *option = parsed;
    CX_AUTO(queue_close) queue_scope scope = {0};
    bool bulk = queue_dash(run);

    if (run->arg_count > 0 && !bulk)
        return cx_fail(err, CX_USAGE, "%s: the receiver is given by --to", run->args[0]);
    if (bulk && (option->content != NULL || option->id != NULL || option->wait_ms > 0))
        return cx_fail(err, CX_USAGE, "--content, --id and --wait are for one message");
    if (bulk && run->dry_run)
        return cx_fail(err, CX_USAGE, "--dry-run is for one message");
    if (!queue_open(run, &option->target, false, &scope, err))
        return false;
    return bulk ? queue_send_bulk(run, &scope, option->to, err)
                : send_one(run, &scope, option, err);
}

const cx_command queue_send = {
    .name = "send",
    .arguments = "[-]",
    .arguments_max = 1,
    .summary = "send a message, or many from stdin",
    .description =
        "The answer \"accepted\" means that the message is on the disk of the node that hosts the "
        "receiver. A full queue (503) is tried again until --timeout (30s) is over; with a "
        "--timeout of your own, so is a node that can't be reached. Each message has an id (made "
        "here when none is given), so trying again never delivers it twice.\n"
        "With `-`, stdin has one message a line, {\"receiver\":…,\"content\":…}, and stdout gets "
        "one result a line in the same order: status accepted, refused (the cluster does not have "
        "it) or unacknowledged (it may have it: send it again with its id). A line without a "
        "result was not sent. Exit status 1: a message failed, or was not done within --wait.",
    .options = options,
    .options_size = sizeof(struct send_options),
    .changes = true,
    .streams = true,
    .run = send_messages,
};
