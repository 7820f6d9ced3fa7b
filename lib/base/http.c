#include "base/http.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "base/cli.h"
#include "base/http_transfer.h"

enum {
    LOOK_MS = 100, /* how soon an interruption is noticed: libcurl waits on through a signal */
    CONNECTIONS_KEPT_MAX = 64,
};

struct cx_http {
    CURLM *multi;
};

struct batch {
    cx_http *http;
    const cx_http_request *requests;
    cx_http_answer *answers;
    cx_transfer *transfers;
    size_t count;
    size_t started;
    size_t running;
};

static void end_one(struct batch *batch, cx_transfer *transfer)
{
    curl_multi_remove_handle(batch->http->multi, transfer->handle);
    cx_transfer_close(transfer);
    batch->running--;
}

static void start_more(struct batch *batch, size_t parallel_max)
{
    while (batch->started < batch->count && batch->running < parallel_max) {
        size_t i = batch->started++;
        cx_transfer *transfer = &batch->transfers[i];
        const cx_http_request *request = &batch->requests[i];

        if (!cx_transfer_open(request, request->timeout_ms, &batch->answers[i], transfer,
                              &batch->answers[i].error)) {
            cx_transfer_close(transfer);
            continue;
        }
        batch->running++;
        curl_multi_add_handle(batch->http->multi, transfer->handle);
    }
}

static void collect(struct batch *batch)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(batch->http->multi, &left)) != NULL) {
        cx_transfer *transfer = NULL;
        CURLcode result = message->data.result;

        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
        cx_transfer_finish(transfer, result);
        end_one(batch, transfer);
    }
}

static bool interrupt(struct batch *batch, cx_err *err)
{
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->answers[i].status != 0 || batch->answers[i].error.code != CX_OK)
            continue;
        cx_fail(&batch->answers[i].error, CX_INTERRUPTED, "interrupted");
        if (i < batch->started)
            end_one(batch, &batch->transfers[i]);
    }
    return cx_fail(err, CX_INTERRUPTED, "interrupted");
}

static bool run_all(struct batch *batch, size_t parallel_max, cx_err *err)
{
    int running;

    while (true) {
        start_more(batch, parallel_max);
        if (batch->running == 0)
            return true;
        curl_multi_perform(batch->http->multi, &running);
        collect(batch);
        if (cx_interrupted())
            return interrupt(batch, err);
        if (batch->running > 0 && (size_t)running == batch->running)
            curl_multi_poll(batch->http->multi, NULL, 0, LOOK_MS, NULL);
    }
}

cx_http *cx_http_open(void)
{
    cx_http *http = cx_alloc(1, sizeof(*http));

    curl_global_init(CURL_GLOBAL_DEFAULT); /* counted, and guarded by libcurl itself */
    http->multi = curl_multi_init();
    assert(http->multi);
    curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_KEPT_MAX);
    return http;
}

void cx_http_close(cx_http **owner)
{
    cx_http *http = CX_TAKE(*owner);

    if (!http)
        return;
    curl_multi_cleanup(http->multi);
    curl_global_cleanup();
    cx_free(&http);
}

bool cx_http_do(cx_http *http, const cx_http_request *request, cx_http_answer *answer, cx_err *err)
{
    if (!cx_http_do_all(http, request, 1, 1, answer, err))
        return false;
    if (answer->error.code == CX_OK)
        return true;
    *err = answer->error;
    return false;
}

bool cx_http_do_all(cx_http *http, const cx_http_request *requests, size_t count,
                    size_t parallel_max, cx_http_answer *answers, cx_err *err)
{
    CX_AUTO(cx_free) cx_transfer *transfers = cx_alloc(count, sizeof(*transfers));
    struct batch batch = {.http = http,
                          .requests = requests,
                          .answers = answers,
                          .transfers = transfers,
                          .count = count};

    assert(parallel_max > 0);
    for (size_t i = 0; i < count; i++)
        answers[i] = (cx_http_answer){0};
    return run_all(&batch, parallel_max, err);
}

void cx_http_answer_free(cx_http_answer *answer)
{
    cx_buffer_free(&answer->body);
    cx_buffer_free(&answer->headers);
    *answer = (cx_http_answer){0};
}

char *cx_http_header(const cx_http_answer *answer, const char *name)
{
    const char *line = (const char *)answer->headers.data;
    size_t size = strlen(name);

    while (line && *line) {
        size_t length = strcspn(line, "\r\n");

        if (length > size && line[size] == ':' && strncasecmp(line, name, size) == 0) {
            const char *value = line + size + 1;
            const char *end = line + length;

            value += strspn(value, " \t");
            while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
                end--;
            return end > value ? cx_strndup(value, (size_t)(end - value)) : cx_strdup("");
        }
        line += length;
        line += strspn(line, "\r\n");
    }
    return NULL;
}
