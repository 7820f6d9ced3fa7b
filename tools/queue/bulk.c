#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "base/time.h"
#include "queue.h"

enum {
    READ_BYTES = 256 * 1024,
    LINGER_MS = 20,     /* a slow writer's message waits this long for company */
    TURN_MS = 200,      /* how late an interrupt may be noticed */
    CALL_MS_MAX = 30000 /* of one request: a node that hangs is not waited for longer */
};

/* ---- lines from stdin, each bounded */

struct input {
    cx_buffer buffer;
    size_t from;     /* what lies before it was taken */
    size_t searched; /* bytes after `from` that hold no newline */
    size_t lines;    /* taken so far, blank ones too */
    bool end;
    bool skipping; /* within a line that is too long */
};

enum found { FOUND_NONE, FOUND_LINE, FOUND_TOO_LONG };

/* The next whole line of what was read; *size is what it takes with its newline. It lives until the
 * next read. */
static enum found find_line(struct input *input, cx_bytes *line, size_t *size)
{
    size_t left = input->buffer.size - input->from;
    const uint8_t *data = left > 0 ? input->buffer.data + input->from : NULL;
    const uint8_t *end = left > input->searched
                             ? memchr(data + input->searched, '\n', left - input->searched)
                             : NULL;
    bool whole = end != NULL || (input->end && (left > 0 || input->skipping));

    input->searched = left;
    *line = (cx_bytes){data, end != NULL ? (size_t)(end - data) : left};
    *size = end != NULL ? line->size + 1 : line->size;
    if (line->size > CX_BATCH_LINE_MAX && !whole) {
        input->skipping = true;
        cx_buffer_clear(&input->buffer);
        input->from = 0;
        input->searched = 0;
        return FOUND_NONE;
    }
    if (!whole)
        return FOUND_NONE;
    if (input->skipping || line->size > CX_BATCH_LINE_MAX)
        return FOUND_TOO_LONG;
    return FOUND_LINE;
}

static void consume(struct input *input, size_t size)
{
    input->from += size;
    input->searched = 0;
    input->skipping = false;
    input->lines++;
}

/* Reads once. With wait_ms 0 or more, *more is false when nothing came in that time. */
static bool read_some(struct input *input, int wait_ms, bool *more, cx_err *err)
{
    struct pollfd wait = {.fd = STDIN_FILENO, .events = POLLIN};
    int ready = 0;

    do {
        if (cx_interrupted())
            return cx_fail(err, CX_INTERRUPTED, "interrupted");
        ready = poll(&wait, 1, wait_ms >= 0 ? wait_ms : TURN_MS);
    } while (wait_ms < 0 && (ready == 0 || (ready < 0 && errno == EINTR)));
    *more = ready > 0;
    if (ready <= 0)
        return true;

    cx_buffer_consume(&input->buffer, input->from);
    input->from = 0;

    ssize_t got = read(STDIN_FILENO, cx_buffer_reserve(&input->buffer, READ_BYTES), READ_BYTES);

    if (got < 0 && errno != EINTR && errno != EAGAIN)
        return cx_fail_errno(err, "read stdin");
    if (got == 0)
        input->end = true;
    if (got > 0)
        input->buffer.size += (size_t)got;
    return true;
}

static bool is_blank(cx_bytes line)
{
    for (size_t i = 0; i < line.size; i++)
        if (line.data[i] != ' ' && line.data[i] != '\t' && line.data[i] != '\r')
            return false;
    return true;
}

static void add_line(cx_batch *batch, enum found found, cx_bytes line, size_t number,
                     const char *receiver)
{
    char ulid[CX_ULID_SIZE];
    cx_err error = {0};

    if (found == FOUND_TOO_LONG) {
        cx_fail(&error, CX_TOO_LARGE, "more than %d bytes", CX_BATCH_LINE_MAX);
        cx_batch_add_error(batch, number, &error);
    } else if (!is_blank(line)) {
        cx_ulid(cx_wall_ms(), ulid);
        cx_batch_add(batch, line, number, receiver, ulid);
    }
}

/* Fills the batch until it is full, the input ends, or its writer pauses. */
static bool fill(struct input *input, cx_batch *batch, const char *receiver, cx_err *err)
{
    bool more = true;

    while (!cx_batch_is_full(batch)) {
        cx_bytes line = {0};
        size_t size = 0;
        enum found found = find_line(input, &line, &size);

        if (found != FOUND_NONE) {
            add_line(batch, found, line, input->lines + 1, receiver);
            consume(input, size);
            continue;
        }
        if (input->end)
            return true;
        if (!read_some(input, batch->count > 0 ? LINGER_MS : -1, &more, err))
            return false;
        if (!more)
            return true;
    }
    return true;
}

/* ---- a batch to the node */

/* One try. True: the node answered for the lines, *again tells whether some are still pending. */
static bool post(queue_scope *scope, cx_batch *batch, const queue_patience *patience,
                 cx_api_answer *answer, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer body = {0};
    CX_AUTO(cx_json_free) json_t *ignored = NULL;
    const cx_api_node *node = &scope->nodes.items[0];
    int64_t left_ms = patience->deadline_ms - cx_now_ms();

    cx_batch_body(batch, &body);
    if (!cx_api_call_raw(scope->api, node, "POST", "/api/v1/messages", "application/x-ndjson",
                         cx_buffer_bytes(&body), left_ms < CALL_MS_MAX ? left_ms : CALL_MS_MAX,
                         answer, err))
        return false;
    if (answer->status >= 400)
        return cx_api_answer_json(answer, &ignored, err) || cx_api_wrap(err, node);
    if (!cx_batch_answer(batch, cx_buffer_bytes(&answer->body), err)) {
        answer->status = 0; /* who answers nonsense has not answered */
        return cx_api_wrap(err, node);
    }
    return true;
}

/* Sends until every line has a result. False: the node could not be asked about some lines, which
 * have their results now, and it makes no sense to go on. */
static bool deliver(cx_run *run, queue_scope *scope, cx_batch *batch, cx_err *err)
{
    queue_patience patience = queue_patience_start(run);
    bool may_have_it = false;

    while (batch->pending > 0) {
        CX_AUTO(cx_api_answer_free) cx_api_answer answer = {.retry_after_ms = -1};
        bool answered = post(scope, batch, &patience, &answer, err);

        if (answered && batch->pending == 0)
            return true;
        if (answered) {
            *err = batch->busy;
            /* Whoever forwards may lose an answer, too. */
            may_have_it |= err->code == CX_UNAVAILABLE || err->code == CX_TIMEOUT;
            if (queue_wait_retry(&patience, answer.retry_after_ms, err))
                continue;
            cx_batch_end(batch, may_have_it ? "unacknowledged" : "refused", err);
            return err->code != CX_INTERRUPTED;
        }
        may_have_it |= answer.status == 0;
        if (queue_may_retry(&patience, &answer, err) &&
            queue_wait_retry(&patience, answer.retry_after_ms, err))
            continue;
        cx_batch_end(batch, may_have_it ? "unacknowledged" : "refused", err);
        return false;
    }
    return true;
}

/* One write for all: a write a result was a sixth of the time. */
static bool print_results(cx_run *run, const cx_batch *batch, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};

    for (size_t i = 0; i < batch->count; i++) {
        if (run->table) {
            if (!cx_emit_line(run, batch->lines[i].result, err))
                return false;
            continue;
        }

        CX_AUTO(cx_free) char *line = cx_json_line(batch->lines[i].result);

        cx_buffer_addf(&text, "%s\n", line);
    }
    return text.size == 0 || cx_emit_text(run, (const char *)text.data, err);
}

static void input_free(struct input *input)
{
    cx_buffer_free(&input->buffer);
}

bool queue_send_bulk(cx_run *run, queue_scope *scope, const char *receiver, cx_err *err)
{
    CX_AUTO(input_free) struct input input = {0};
    size_t accepted = 0, failed = 0;
    bool going = true;

    while (going && !(input.end && input.buffer.size == input.from)) {
        CX_AUTO(cx_batch_free) cx_batch batch = {0};
        cx_err why = {0};

        if (!fill(&input, &batch, receiver, err))
            return false;
        going = deliver(run, scope, &batch, &why);
        if (!print_results(run, &batch, err))
            return false;
        accepted += batch.accepted;
        failed += batch.failed;
        if (going)
            continue;
        /* Nothing was accepted and nothing will be: that is the error of the whole command. */
        if (accepted == 0 || why.code == CX_INTERRUPTED) {
            *err = why;
            return false;
        }
        cx_remark(run, "stopped: %s", why.message);
    }
    if (failed > 0)
        cx_remark(run, "%zu accepted, %zu not", accepted, failed);
    run->answer_no = failed > 0;
    return true;
}
