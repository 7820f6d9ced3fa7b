#include "api/batch.h"

#include <string.h>

static void settle(cx_batch *batch, cx_batch_line *line, json_t *result)
{
    if (json_object_get(result, "error") == NULL)
        batch->accepted++;
    else
        batch->failed++;
    if (line->text != NULL)
        batch->pending--;
    cx_free(&line->text);
    line->result = result;
}

static json_t *failure(const char *message_id, const char *status, const cx_err *error)
{
    CX_AUTO(cx_json_free) json_t *document = cx_err_to_json(error);
    json_t *id = message_id != NULL ? cx_json_text(message_id) : json_null();

    return json_pack("{s:o, s:s, s:O}", "message_id", id, "status", status, "error",
                     json_object_get(document, "error"));
}

static cx_batch_line *append(cx_batch *batch)
{
    if (batch->lines == NULL)
        batch->lines = cx_alloc(CX_BATCH_LINES_MAX, sizeof *batch->lines);
    return &batch->lines[batch->count++];
}

/* Fills in what the line left out; *id is borrowed from the message. */
static bool complete(json_t *message, const char *receiver, const char *message_id, const char **id,
                     cx_err *err)
{
    if (!json_is_object(message))
        return cx_fail(err, CX_INVALID, "a message is a JSON object");
    if (json_object_get(message, "receiver") == NULL && receiver != NULL)
        json_object_set_new(message, "receiver", cx_json_text(receiver));
    if (json_object_get(message, "receiver") == NULL) {
        cx_fail(err, CX_INVALID, "message: receiver is missing");
        return cx_hint(err, "--to AGENT is for messages that name none");
    }
    if (json_object_get(message, "message_id") == NULL)
        json_object_set_new(message, "message_id", cx_json_text(message_id));
    return cx_json_need_text(message, "message", "message_id", id, err);
}

/* As cx_json_parse, but a line has no lines: the column is enough. */
static bool parse_line(cx_bytes line, json_t **message, cx_err *err)
{
    json_error_t error;

    if (line.size > CX_BATCH_LINE_MAX)
        return cx_fail(err, CX_TOO_LARGE, "more than %d bytes", CX_BATCH_LINE_MAX);
    *message = json_loadb(line.size > 0 ? (const char *)line.data : "", line.size,
                          JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    return *message != NULL ||
           cx_fail(err, CX_MALFORMED, "column %d: %s", error.column, error.text);
}

void cx_batch_add(cx_batch *batch, cx_bytes line, size_t number, const char *receiver,
                  const char *message_id)
{
    CX_AUTO(cx_json_free) json_t *message = NULL;
    const char *id = NULL;
    cx_err error = {0};

    if (!parse_line(line, &message, &error) ||
        !complete(message, receiver, message_id, &id, &error)) {
        cx_batch_add_error(batch, number, &error);
        return;
    }

    cx_batch_line *added = append(batch);

    added->message_id = cx_strdup(id);
    added->text = cx_json_line(message);
    batch->bytes += strlen(added->text) + 1;
    batch->pending++;
}

void cx_batch_add_error(cx_batch *batch, size_t number, const cx_err *error)
{
    cx_err numbered = *error;

    cx_wrap(&numbered, "line %zu", number);
    settle(batch, append(batch), failure(NULL, "refused", &numbered));
}

bool cx_batch_is_full(const cx_batch *batch)
{
    return batch->count >= CX_BATCH_LINES_MAX ||
           batch->bytes + CX_BATCH_LINE_MAX > CX_BATCH_BYTES_MAX;
}

void cx_batch_free(cx_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        cx_free(&batch->lines[i].message_id);
        cx_free(&batch->lines[i].text);
        cx_json_free(&batch->lines[i].result);
    }
    cx_free(&batch->lines);
    *batch = (cx_batch){0};
}

void cx_batch_body(const cx_batch *batch, cx_buffer *body)
{
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->lines[i].result != NULL)
            continue;
        cx_buffer_add_text(body, batch->lines[i].text);
        cx_buffer_add(body, "\n", 1);
    }
}

/* The next line of an answer, without its newline; false at the end. */
static bool take_line(cx_bytes *rest, cx_bytes *line)
{
    const uint8_t *end = NULL;

    if (rest->size == 0)
        return false;
    end = memchr(rest->data, '\n', rest->size);
    *line = (cx_bytes){rest->data, end != NULL ? (size_t)(end - rest->data) : rest->size};
    *rest = end != NULL ? (cx_bytes){end + 1, rest->size - line->size - 1} : (cx_bytes){0};
    return true;
}

/* One result of the answer, checked against the message that it is about. */
static bool read_result(cx_bytes *rest, const char *message_id, json_t **result, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *parsed = NULL;
    cx_bytes line = {0};

    if (!take_line(rest, &line))
        return cx_fail(err, CX_PROTOCOL, "the answer ends before message %s", message_id);
    if (!cx_json_parse(line, CX_BATCH_LINE_MAX, "the node's answer", &parsed, err))
        return false;
    if (strcmp(cx_json_text_or_empty(parsed, "message_id"), message_id) != 0)
        return cx_fail(err, CX_PROTOCOL, "the answer is not about message %s", message_id);
    if (json_object_get(parsed, "error") == NULL &&
        cx_json_text_or_empty(parsed, "status")[0] == '\0')
        return cx_fail(err, CX_PROTOCOL, "the answer about message %s says nothing", message_id);
    *result = CX_TAKE(parsed);
    return true;
}

static void results_free(json_t ***owner)
{
    for (size_t i = 0; *owner != NULL && i < CX_BATCH_LINES_MAX; i++)
        cx_json_free(&(*owner)[i]);
    cx_free(owner);
}

/* The host of the receiver is full, or away for now: the same line may well be taken later. */
static bool is_passing(cx_code code)
{
    return code == CX_BUSY || code == CX_UNAVAILABLE || code == CX_TIMEOUT || code == CX_DRAINING ||
           code == CX_INTERRUPTED;
}

static void apply(cx_batch *batch, cx_batch_line *line, json_t **result)
{
    cx_err error = {0};

    if (json_object_get(*result, "error") != NULL) {
        (void)cx_err_from_json(*result, &error);
        if (is_passing(error.code)) {
            batch->busy = error;
            return;
        }
        json_object_set_new(*result, "status", json_string("refused"));
    }
    settle(batch, line, CX_TAKE(*result));
}

bool cx_batch_answer(cx_batch *batch, cx_bytes body, cx_err *err)
{
    /* All of it is read before any of it is believed. */
    CX_AUTO(results_free) json_t **results = cx_alloc(CX_BATCH_LINES_MAX, sizeof(json_t *));
    cx_bytes rest = body, more = {0};

    for (size_t i = 0; i < batch->count; i++)
        if (batch->lines[i].result == NULL &&
            !read_result(&rest, batch->lines[i].message_id, &results[i], err))
            return cx_wrap(err, "line %zu", i + 1);
    if (take_line(&rest, &more) && more.size > 0)
        return cx_fail(err, CX_PROTOCOL, "the answer has more lines than messages were sent");
    batch->busy = (cx_err){0};
    for (size_t i = 0; i < batch->count; i++)
        if (results[i] != NULL)
            apply(batch, &batch->lines[i], &results[i]);
    return true;
}

void cx_batch_end(cx_batch *batch, const char *status, const cx_err *error)
{
    for (size_t i = 0; i < batch->count; i++)
        if (batch->lines[i].result == NULL)
            settle(batch, &batch->lines[i], failure(batch->lines[i].message_id, status, error));
}
