#include "repo/s3.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/cli.h"
#include "base/rng.h"
#include "base/text.h"
#include "base/time.h"
#include "repo/xml.h"

enum {
    IDLE_MAX = 16, /* handles with their connections */
    CONNECT_TIMEOUT_MS = 10000,
    STALL_SECONDS = 30, /* below STALL_BYTES a second for so long: lost */
    STALL_BYTES = 1024,
    REQUEST_TIMEOUT_MS = 900000, /* 16 MiB over a line of 20 KiB/s */
    RETRY_FOR_MS = 60000,
    RETRY_UNSEEN_MS = 10000, /* where nobody has ever answered */
    RETRY_FIRST_MS = 100,
    RETRY_MAX_MS = 10000,
    PAUSE_SLICE_MS = 100,
    SKEW_TOLD_MS = 5000,
    CODE_SIZE = 64,
};

struct cx_s3 {
    cx_s3_place place;
    pthread_mutex_t mutex;
    CURL *idle[IDLE_MAX];
    size_t idle_count;
    cx_rng rng;
    bool was_reached; /* guarded, as all above but place */
};

cx_s3 *cx_s3_open(cx_s3_place *place)
{
    cx_s3 *s3 = cx_alloc(1, sizeof *s3);
    uint64_t seed;

    cx_random(&seed, sizeof seed);
    *s3 = (cx_s3){.place = *place, .rng = cx_rng_seed(seed)};
    *place = (cx_s3_place){0};
    pthread_mutex_init(&s3->mutex, NULL);
    return s3;
}

void cx_s3_close(cx_s3 **owner)
{
    cx_s3 *s3 = CX_TAKE(*owner);

    if (s3 == NULL)
        return;
    while (s3->idle_count > 0)
        curl_easy_cleanup(s3->idle[--s3->idle_count]);
    pthread_mutex_destroy(&s3->mutex);
    cx_s3_place_free(&s3->place);
    cx_free(&s3);
}

const cx_s3_place *cx_s3_where(const cx_s3 *s3)
{
    return &s3->place;
}

void cx_s3_answer_free(cx_s3_answer *answer)
{
    cx_buffer_free(&answer->body);
    cx_free(&answer->etag);
    *answer = (cx_s3_answer){0};
}

/* ---- handles: one for a request at a time, each with its connection */

static CURL *take_handle(cx_s3 *s3)
{
    CURL *handle = NULL;

    pthread_mutex_lock(&s3->mutex);
    if (s3->idle_count > 0)
        handle = s3->idle[--s3->idle_count];
    pthread_mutex_unlock(&s3->mutex);
    if (handle == NULL)
        return curl_easy_init();
    curl_easy_reset(handle); /* the connection stays */
    return handle;
}

static void give_handle(cx_s3 *s3, CURL *handle, bool answered)
{
    pthread_mutex_lock(&s3->mutex);
    s3->was_reached = s3->was_reached || answered;
    if (s3->idle_count < IDLE_MAX) {
        s3->idle[s3->idle_count++] = handle;
        handle = NULL;
    }
    pthread_mutex_unlock(&s3->mutex);
    curl_easy_cleanup(handle);
}

/* ---- URLs */

static char *url_of(const cx_s3_place *place, const cx_s3_request *request)
{
    const char *host = strstr(place->endpoint, "://") + 3;
    cx_buffer url = {0};

    if (place->path_style)
        cx_buffer_addf(&url, "%s/%s", place->endpoint, place->bucket);
    else
        cx_buffer_addf(&url, "%.*s%s.%s", (int)(host - place->endpoint), place->endpoint,
                       place->bucket, host);
    if (request->key != NULL || !place->path_style)
        cx_buffer_add_text(&url, "/");
    if (request->key != NULL) {
        cx_percent_add(&url, place->prefix, true);
        cx_percent_add(&url, request->key, true);
    }
    if (request->query != NULL)
        cx_buffer_addf(&url, "?%s", request->query);
    return cx_buffer_take_text(&url);
}

/* ---- one transfer */

struct transfer {
    cx_s3_answer *answer;
    size_t answer_max;
    bool is_too_large;
};

static size_t on_body(char *data, size_t one, size_t size, void *arg)
{
    struct transfer *transfer = arg;

    (void)one;
    if (size > transfer->answer_max - transfer->answer->body.size) {
        transfer->is_too_large = true;
        return 0;
    }
    cx_buffer_add(&transfer->answer->body, data, size);
    return size;
}

static bool has_name(const char *line, size_t size, const char *name, char *value,
                     size_t value_size)
{
    size_t length = strlen(name);

    if (size <= length || line[length] != ':' || strncasecmp(line, name, length) != 0)
        return false;
    line += length + 1;
    size -= length + 1;
    while (size > 0 && (line[0] == ' ' || line[0] == '"'))
        line++, size--;
    while (size > 0 && strchr("\r\n \"", line[size - 1]) != NULL)
        size--;
    snprintf(value, value_size, "%.*s", (int)size, line);
    return true;
}

static size_t on_header(char *line, size_t one, size_t size, void *arg)
{
    struct transfer *transfer = arg;
    cx_s3_answer *answer = transfer->answer;
    char value[256];

    (void)one;
    if (has_name(line, size, "etag", value, sizeof value)) {
        cx_free(&answer->etag);
        answer->etag = cx_strdup(value);
    } else if (has_name(line, size, "date", value, sizeof value)) {
        time_t date = curl_getdate(value, NULL);

        answer->date_ms = date > 0 ? (int64_t)date * 1000 : 0;
    } else if (has_name(line, size, "last-modified", value, sizeof value)) {
        time_t date = curl_getdate(value, NULL);

        answer->modified_ms = date > 0 ? (int64_t)date * 1000 : 0;
    } else if (has_name(line, size, "content-length", value, sizeof value)) {
        answer->length = strtoll(value, NULL, 10);
    }
    return size;
}

static int on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                       curl_off_t up)
{
    (void)arg, (void)down_total, (void)down, (void)up_total, (void)up;
    return cx_interrupted();
}

static void free_headers(struct curl_slist **owner)
{
    curl_slist_free_all(*owner);
    *owner = NULL;
}

/* All that stands here is signed, so nothing is added that is not sent, and no two names of which one
 * continues the other: libcurl 7.88 sorts those wrongly. */
static struct curl_slist *make_headers(const cx_s3_place *place, const cx_s3_request *request)
{
    uint8_t digest[CX_SHA256_SIZE];
    CX_AUTO(cx_free) char *hex = NULL;
    CX_AUTO(cx_free) char *hash = NULL;
    struct curl_slist *headers = NULL;

    cx_sha256(request->body, digest);
    hex = cx_hex((cx_bytes){digest, sizeof digest});
    hash = cx_format("x-amz-content-sha256: %s", hex);
    headers = curl_slist_append(headers, hash);
    if (request->body.size > 0)
        headers = curl_slist_append(headers, "Content-Type: application/octet-stream");
    if (request->header != NULL)
        headers = curl_slist_append(headers, request->header);
    if (place->session_token != NULL) {
        CX_AUTO(cx_free_secret)
        char *token = cx_format("x-amz-security-token: %s", place->session_token);

        headers = curl_slist_append(headers, token);
    }
    return headers;
}

static void prepare(CURL *handle, const cx_s3_place *place, const cx_s3_request *request,
                    const char *url, const char *provider, struct curl_slist *headers,
                    struct transfer *transfer, char message[CURL_ERROR_SIZE])
{
    bool is_put = strcmp(request->method, "PUT") == 0;

    curl_easy_setopt(handle, CURLOPT_URL, url);
    curl_easy_setopt(handle, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(handle, CURLOPT_AWS_SIGV4, provider);
    curl_easy_setopt(handle, CURLOPT_USERNAME, place->access_key);
    curl_easy_setopt(handle, CURLOPT_PASSWORD, place->secret_key);
    curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
    if (place->ca_file != NULL)
        curl_easy_setopt(handle, CURLOPT_CAINFO, place->ca_file);
    if (strcmp(request->method, "HEAD") == 0) {
        curl_easy_setopt(handle, CURLOPT_NOBODY, 1L);
    } else if (request->body.size > 0 || is_put || strcmp(request->method, "POST") == 0) {
        curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.size);
        curl_easy_setopt(handle, CURLOPT_POSTFIELDS,
                         request->body.size > 0 ? (const char *)request->body.data : "");
        curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request->method);
    } else if (strcmp(request->method, "GET") != 0) {
        curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request->method);
    }
    curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, (long)REQUEST_TIMEOUT_MS);
    curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, (long)STALL_BYTES);
    curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME, (long)STALL_SECONDS);
    curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(handle, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(handle, CURLOPT_HEADERDATA, transfer);
    curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, message);
}

/* An answer, or the reason why there is none. */
static bool transfer_once(cx_s3 *s3, const cx_s3_request *request, cx_s3_answer *answer,
                          cx_err *err)
{
    CX_AUTO(cx_free) char *url = url_of(&s3->place, request);
    CX_AUTO(cx_free) char *provider = cx_format("aws:amz:%s:s3", s3->place.region);
    CX_AUTO(free_headers) struct curl_slist *headers = make_headers(&s3->place, request);
    struct transfer transfer = {answer, request->answer_max, false};
    char message[CURL_ERROR_SIZE] = "";
    long status = 0;
    CURL *handle = take_handle(s3);
    CURLcode code;

    if (handle == NULL)
        return cx_fail(err, CX_INTERNAL, "libcurl can't be initialised");
    *answer = (cx_s3_answer){.length = -1};
    prepare(handle, &s3->place, request, url, provider, headers, &transfer, message);
    code = curl_easy_perform(handle);
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
    give_handle(s3, handle, code == CURLE_OK);
    answer->status = (int)status;
    if (code == CURLE_OK)
        return true;
    cx_s3_answer_free(answer);
    if (transfer.is_too_large)
        return cx_fail(err, CX_TOO_LARGE, "the answer has more than %zu bytes",
                       request->answer_max);
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return cx_fail(err, CX_INTERRUPTED, "interrupted");
    return cx_fail(err, code == CURLE_OPERATION_TIMEDOUT ? CX_TIMEOUT : CX_UNAVAILABLE, "%s: %s",
                   s3->place.endpoint, message[0] != '\0' ? message : curl_easy_strerror(code));
}

/* ---- trying again */

static bool is_passing(bool answered, const cx_s3_answer *answer, const cx_err *err)
{
    if (!answered)
        return err->code == CX_UNAVAILABLE || err->code == CX_TIMEOUT;
    switch (answer->status) {
    case 408:
    case 429:
    case 500:
    case 502:
    case 503:
    case 504: return true;
    default: return false;
    }
}

static bool pause_ms(int64_t ms, cx_err *err)
{
    for (; ms > 0; ms -= PAUSE_SLICE_MS) {
        struct timespec slice = {.tv_nsec = (ms < PAUSE_SLICE_MS ? ms : PAUSE_SLICE_MS) * 1000000};

        if (cx_interrupted())
            return cx_fail(err, CX_INTERRUPTED, "interrupted");
        nanosleep(&slice, NULL);
    }
    return true;
}

/* Pauses differ, so that many clients don't come back at once. */
static int64_t choose_pause(cx_s3 *s3, int64_t ms, bool answered, int64_t *limit_ms)
{
    int64_t chosen;

    pthread_mutex_lock(&s3->mutex);
    s3->was_reached = s3->was_reached || answered;
    chosen = ms / 2 + (int64_t)cx_rng_below(&s3->rng, (uint64_t)ms);
    *limit_ms = s3->was_reached ? RETRY_FOR_MS : RETRY_UNSEEN_MS;
    pthread_mutex_unlock(&s3->mutex);
    return chosen;
}

bool cx_s3_send(cx_s3 *s3, const cx_s3_request *request, cx_s3_answer *answer, cx_err *err)
{
    int64_t started_ms = cx_now_ms();

    for (int64_t wait_ms = RETRY_FIRST_MS;; wait_ms *= 2) {
        bool answered = transfer_once(s3, request, answer, err);
        int64_t pause, limit_ms;
        cx_err interrupted;

        if (!is_passing(answered, answer, err))
            return answered;
        if (wait_ms > RETRY_MAX_MS)
            wait_ms = RETRY_MAX_MS;
        pause = choose_pause(s3, wait_ms, answered, &limit_ms);
        if (cx_now_ms() + pause >= started_ms + limit_ms)
            return answered;
        if (answered)
            cx_s3_answer_free(answer);
        if (!pause_ms(pause, &interrupted)) {
            *err = interrupted;
            return false;
        }
    }
}

/* ---- failures */

struct failure {
    char code[CODE_SIZE];
    char message[256];
};

static bool read_failure(const char *path, const char *text, void *arg, cx_err *err)
{
    struct failure *failure = arg;

    (void)err;
    if (strcmp(path, "Error/Code") == 0)
        snprintf(failure->code, sizeof failure->code, "%s", text);
    if (strcmp(path, "Error/Message") == 0)
        snprintf(failure->message, sizeof failure->message, "%s", text);
    return true;
}

static cx_code code_of(int status, const char *word)
{
    if (strcmp(word, "RequestTimeTooSkewed") == 0 || status == 401 || status == 403)
        return CX_PERMISSION;
    if (status == 404)
        return CX_NOT_FOUND;
    if (status == 409 || status == 412)
        return CX_EXISTS;
    if (status >= 300 && status < 400)
        return CX_CONFIG;
    return status >= 500 ? CX_UNAVAILABLE : CX_PROTOCOL;
}

bool cx_s3_fail(const cx_s3_answer *answer, const char *what, cx_err *err)
{
    struct failure failure = {0};
    cx_err ignored;
    int64_t skew_ms = answer->date_ms == 0 ? 0 : cx_wall_ms() - answer->date_ms;

    (void)!cx_xml_read(cx_buffer_bytes(&answer->body), read_failure, &failure, &ignored);
    cx_fail(err, code_of(answer->status, failure.code), "%s: HTTP %d%s%s%s%s", what, answer->status,
            failure.code[0] != '\0' ? " " : "", failure.code,
            failure.message[0] != '\0' ? ": " : "", failure.message);
    if (skew_ms > SKEW_TOLD_MS || skew_ms < -SKEW_TOLD_MS)
        return cx_hint(err, "this host's clock is %lld s %s the storage's",
                       (long long)(skew_ms < 0 ? -skew_ms : skew_ms) / 1000,
                       skew_ms < 0 ? "behind" : "ahead of");
    if (strcmp(failure.code, "SignatureDoesNotMatch") == 0)
        return cx_hint(err, "the secret key is not the one of this access key");
    if (strcmp(failure.code, "NoSuchBucket") == 0)
        return cx_hint(err, "cx-backup create makes the bucket");
    if (err->code == CX_CONFIG)
        return cx_hint(err, "the bucket is in another region, or path_style is wrong");
    return false;
}
