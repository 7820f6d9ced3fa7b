#include "api/client.h"

#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/http.h"
#include "base/io.h"
#include "base/text.h"
#include "base/time.h"

enum {
    SKEW_MS = 5000, /* a Date header has whole seconds and the way takes time: below it is noise */
    PARALLEL_MAX = 64,
    QUESTIONS_PARALLEL_MAX = 256, /* a node that hangs holds as many as it is asked questions */
    RETRY_AFTER_MAX_SECONDS = 3600,
};

struct cx_api {
    const cx_config *config;
    cx_tls *tls;
    cx_http *http;
    int64_t skew_ms;
};

/* One transfer; the request points into it. */
struct call {
    char *url;
    char *content_type;
    const char *headers[4];
    cx_tls_peer peer;
    cx_http_request request;
};

static void call_free(struct call *call)
{
    cx_free(&call->url);
    cx_free(&call->content_type);
}

static void prepare(cx_api *api, const cx_api_node *node, const char *method, const char *path,
                    const char *content_type, cx_bytes body, int64_t timeout_ms, struct call *call)
{
    size_t count = 0;

    call->url = cx_format("https://%s%s", node->api_addr, path);
    if (content_type != NULL) {
        call->content_type = cx_format("Content-Type: %s", content_type);
        call->headers[count++] = call->content_type;
    }
    call->headers[count++] = "Accept: application/json";
    call->peer =
        (cx_tls_peer){.tls = api->tls, .node_id = node->node_id[0] != '\0' ? node->node_id : NULL};
    call->request = (cx_http_request){
        .method = method,
        .url = call->url,
        .headers = call->headers,
        .body = body,
        .answer_max = CX_API_ANSWER_MAX,
        .timeout_ms = timeout_ms,
        .tls_hook = cx_tls_client_hook,
        .tls_arg = &call->peer,
    };
}

static bool is_about_certificates(cx_code code)
{
    return code == CX_CERT_EXPIRED || code == CX_CERT_INVALID || code == CX_REVOKED ||
           code == CX_UNAUTHENTICATED;
}

/* Why there was no HTTP answer: TLS's own reason when it gave one, and what to do about it. */
static bool explain(const cx_api *api, const cx_api_node *node, const cx_tls_peer *peer,
                    const cx_err *error, cx_err *err)
{
    *err = peer->error.code != CX_OK ? peer->error : *error;
    if (is_about_certificates(err->code) && llabs(api->skew_ms) >= SKEW_MS)
        cx_hint(err, "the clocks differ by %" PRId64 " s; set both by NTP", api->skew_ms / 1000);
    else if (err->code == CX_UNAVAILABLE && err->hint[0] == '\0')
        cx_hint(err, "is cx-node running there? cx-gossip members shows who is alive");
    return cx_api_wrap(err, node);
}

static void measure_skew(cx_api *api, int64_t peer_date_ms)
{
    if (peer_date_ms > 0)
        api->skew_ms = (peer_date_ms - cx_wall_ms()) / 1000 * 1000;
}

/* Takes the answer's body. */
static void take_answer(cx_http_answer *from, cx_api_answer *answer)
{
    CX_AUTO(cx_free) char *retry_after = cx_http_header(from, "Retry-After");

    *answer = (cx_api_answer){
        .status = from->status, .retry_after_ms = -1, .peer_date_ms = from->peer_date_ms};
    answer->body = from->body;
    from->body = (cx_buffer){0};
    if (retry_after != NULL && retry_after[0] >= '0' && retry_after[0] <= '9') {
        long seconds = strtol(retry_after, NULL, 10);

        if (seconds > RETRY_AFTER_MAX_SECONDS)
            seconds = RETRY_AFTER_MAX_SECONDS;
        answer->retry_after_ms = (int64_t)seconds * 1000;
    }
}

static bool has_address(const cx_api_node *node, cx_err *err)
{
    if (node->api_addr[0] != '\0')
        return true;
    cx_fail(err, CX_UNAVAILABLE, "%s: it tells the cluster no API address", node->node_id);
    return cx_hint(err, "is cx-node running there?");
}

/* ---- certificates */

struct files {
    char *ca, *cert, *key, *crl;
};

static void files_free(struct files *files)
{
    cx_free(&files->ca);
    cx_free(&files->cert);
    cx_free(&files->key);
    cx_free(&files->crl);
}

static bool readable(const char *path)
{
    return access(path, R_OK) == 0;
}

/* The pair NAME.crt, NAME.key of a folder, if both can be read. */
static bool take_pair(const char *folder, const char *name, struct files *files)
{
    CX_AUTO(cx_free) char *cert = cx_format("%s/%s.crt", folder, name);
    CX_AUTO(cx_free) char *key = cx_format("%s/%s.key", folder, name);

    if (!readable(cert) || !readable(key))
        return false;
    files->cert = CX_TAKE(cert);
    files->key = CX_TAKE(key);
    return true;
}

/* A file of the first folder, or of the second when the first has none. */
static char *either(const char *first, const char *second, const char *name)
{
    char *path = cx_path_join(first, name);

    if (!cx_exists(path)) {
        cx_free(&path);
        path = cx_path_join(second, name);
    }
    return path;
}

static bool find_files(const cx_config *config, struct files *files, cx_err *err)
{
    const char *given = getenv("CX_CERT_DIR");
    const char *folder = given != NULL && given[0] != '\0' ? given : config->cert_dir;

    if (!take_pair(folder, "operator", files) && !take_pair(folder, "node", files) &&
        !take_pair(config->cert_dir, "operator", files) &&
        !take_pair(config->cert_dir, "node", files)) {
        CX_AUTO(cx_free) char *key = cx_format("%s/node.key", folder);

        if (cx_exists(key))
            return cx_fail(err, CX_PERMISSION, "%s: not readable by this user", key) ||
                   cx_hint(err, "get one of your own: cx-ca issue --operator NAME --role operator");
        cx_fail(err, CX_NOT_FOUND, "no certificate in %s: operator.crt and operator.key", folder);
        return cx_hint(err, "cx-ca issue --operator NAME --role operator --output DIR makes one; "
                            "$CX_CERT_DIR names its folder");
    }
    files->ca = either(folder, config->cert_dir, "ca.crt");
    files->crl = either(folder, config->cert_dir, "crl.pem");
    return true;
}

/* ---- calls on a loop */

struct errand {
    cx_api *api;
    cx_api_nodes node; /* a copy of the one */
    struct call call;
    cx_api_done *done;
    void *arg;
};

static void on_errand(cx_http_answer *got, void *arg)
{
    struct errand *errand = arg;
    const cx_api_node *node = &errand->node.items[0];
    CX_AUTO(cx_json_free) json_t *answer = NULL;
    CX_AUTO(cx_api_answer_free) cx_api_answer raw = {0};
    cx_err error = {0};

    if (got->status == 0) {
        explain(errand->api, node, &errand->call.peer, &got->error, &error);
    } else {
        measure_skew(errand->api, got->peer_date_ms);
        take_answer(got, &raw);
        if (!cx_api_answer_json(&raw, &answer, &error))
            cx_api_wrap(&error, node);
    }
    errand->done(&answer, answer != NULL ? NULL : &error, errand->arg);
    cx_api_nodes_free(&errand->node);
    call_free(&errand->call);
    cx_free(&errand);
}

/* ---- many calls at once */

/* answers[i].status is 0 where errors[i] says why no answer came. */
static bool ask_all(cx_api *api, const char *method, cx_bytes body,
                    const cx_api_question *questions, size_t count, size_t parallel_max,
                    int64_t timeout_ms, cx_api_answer *answers, cx_err *errors, cx_err *err)
{
    CX_AUTO(cx_free) struct call *calls = cx_alloc(count, sizeof *calls);
    CX_AUTO(cx_free) cx_http_request *requests = cx_alloc(count, sizeof *requests);
    CX_AUTO(cx_free) cx_http_answer *got = cx_alloc(count, sizeof *got);
    CX_AUTO(cx_free) size_t *question_of = cx_alloc(count, sizeof *question_of);
    size_t asked = 0;

    for (size_t i = 0; i < count; i++) {
        answers[i] = (cx_api_answer){0};
        if (!has_address(questions[i].node, &errors[i]))
            continue;
        prepare(api, questions[i].node, method, questions[i].path,
                body.size > 0 ? "application/json" : NULL, body, timeout_ms, &calls[asked]);
        requests[asked] = calls[asked].request;
        question_of[asked++] = i;
    }

    bool done = asked == 0 || cx_http_do_all(api->http, requests, asked, parallel_max, got, err);

    for (size_t i = 0; i < asked; i++) {
        size_t at = question_of[i];

        if (got[i].status == 0) {
            explain(api, questions[at].node, &calls[i].peer, &got[i].error, &errors[at]);
        } else {
            measure_skew(api, got[i].peer_date_ms);
            take_answer(&got[i], &answers[at]);
        }
        cx_http_answer_free(&got[i]);
        call_free(&calls[i]);
    }
    return done;
}

/* ---- public */

bool cx_api_open(const cx_config *config, cx_api **api, cx_err *err)
{
    CX_AUTO(files_free) struct files files = {0};
    CX_AUTO(cx_api_close) cx_api *opened = NULL;

    if (!find_files(config, &files, err))
        return false;
    opened = cx_alloc(1, sizeof *opened);
    opened->config = config;
    opened->http = cx_http_open();
    if (!cx_tls_open(&(cx_tls_files){.ca = files.ca,
                                     .cert = files.cert,
                                     .key = files.key,
                                     .crl = files.crl,
                                     .cluster = config->cluster},
                     &opened->tls, err))
        return false;
    *api = CX_TAKE(opened);
    return true;
}

void cx_api_close(cx_api **owner)
{
    cx_api *api = *owner;

    if (api == NULL)
        return;
    cx_http_close(&api->http);
    cx_tls_close(&api->tls);
    cx_free(owner);
}

bool cx_api_start(const cx_run *run, cx_config **config, cx_api **api, cx_err *err)
{
    if (!cx_config_load(run->config_path, false, config, err)) {
        if (err->code == CX_NOT_FOUND && err->hint[0] == '\0')
            cx_hint(err, "--config FILE or $CX_CONFIG names it; cx-join init writes one");
        return false;
    }
    return cx_api_open(*config, api, err);
}

const cx_config *cx_api_config(const cx_api *api)
{
    return api->config;
}

const char *cx_api_node_name(const cx_api_node *node)
{
    return node->node_id[0] != '\0' ? node->node_id : node->api_addr;
}

bool cx_api_wrap(cx_err *err, const cx_api_node *node)
{
    const char *name = cx_api_node_name(node);
    size_t size = strlen(name);

    if (strncmp(err->message, name, size) == 0 && strchr(": ", err->message[size]) != NULL)
        return false;
    return cx_wrap(err, "%s", name);
}

bool cx_api_call(cx_api *api, const cx_api_node *node, const char *method, const char *path,
                 const json_t *body, int64_t timeout_ms, json_t **answer, cx_err *err)
{
    CX_AUTO(cx_free) char *text = body != NULL ? cx_json_line(body) : NULL;
    CX_AUTO(cx_api_answer_free) cx_api_answer raw = {0};

    if (!cx_api_call_raw(api, node, method, path, body != NULL ? "application/json" : NULL,
                         text != NULL ? cx_bytes_of(text) : (cx_bytes){0}, timeout_ms, &raw, err))
        return false;
    if (!cx_api_answer_json(&raw, answer, err))
        return cx_api_wrap(err, node);
    return true;
}

bool cx_api_call_raw(cx_api *api, const cx_api_node *node, const char *method, const char *path,
                     const char *content_type, cx_bytes body, int64_t timeout_ms,
                     cx_api_answer *answer, cx_err *err)
{
    CX_AUTO(call_free) struct call call = {0};
    CX_AUTO(cx_http_answer_free) cx_http_answer got = {0};
    cx_err why = {0};

    if (!has_address(node, err))
        return false;
    prepare(api, node, method, path, content_type, body, timeout_ms, &call);
    if (!cx_http_do(api->http, &call.request, &got, &why))
        return explain(api, node, &call.peer, &why, err);
    measure_skew(api, got.peer_date_ms);
    take_answer(&got, answer);
    return true;
}

void cx_api_answer_free(cx_api_answer *answer)
{
    cx_buffer_free(&answer->body);
}

bool cx_api_answer_json(const cx_api_answer *answer, json_t **document, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *json = NULL;
    cx_bytes body = cx_buffer_bytes(&answer->body);
    cx_err parse = {0};
    bool parsed = cx_json_parse(body, CX_API_ANSWER_MAX, "the node's answer", &json, &parse);

    if (answer->status >= 400) {
        if (parsed && json_object_get(json, "error") != NULL)
            return cx_err_from_json(json, err);
        return cx_fail(err, cx_code_from_http(answer->status), "HTTP status %d", answer->status);
    }
    if (!parsed) {
        *err = parse;
        return false;
    }
    if (!json_is_object(json))
        return cx_fail(err, CX_PROTOCOL, "the node's answer is no JSON object");
    *document = CX_TAKE(json);
    return true;
}

bool cx_api_call_all(cx_api *api, const cx_api_nodes *nodes, const char *method, const char *path,
                     const json_t *body, int64_t timeout_ms, json_t **answers, cx_err *errors,
                     cx_err *err)
{
    CX_AUTO(cx_free) char *text = body != NULL ? cx_json_line(body) : NULL;
    CX_AUTO(cx_free) cx_api_question *questions = cx_alloc(nodes->count, sizeof *questions);
    CX_AUTO(cx_free) cx_api_answer *got = cx_alloc(nodes->count, sizeof *got);
    bool done;

    for (size_t i = 0; i < nodes->count; i++)
        questions[i] = (cx_api_question){&nodes->items[i], path};
    done = ask_all(api, method, text != NULL ? cx_bytes_of(text) : (cx_bytes){0}, questions,
                   nodes->count, PARALLEL_MAX, timeout_ms, got, errors, err);
    for (size_t i = 0; i < nodes->count; i++) {
        answers[i] = NULL;
        if (got[i].status != 0 && !cx_api_answer_json(&got[i], &answers[i], &errors[i]))
            cx_api_wrap(&errors[i], &nodes->items[i]);
        cx_api_answer_free(&got[i]);
    }
    return done;
}

bool cx_api_ask_all(cx_api *api, const cx_api_question *questions, size_t count, int64_t timeout_ms,
                    cx_api_answer *answers, cx_err *errors, cx_err *err)
{
    return ask_all(api, "GET", (cx_bytes){0}, questions, count, QUESTIONS_PARALLEL_MAX, timeout_ms,
                   answers, errors, err);
}

void cx_api_call_on(cx_api *api, cx_http_loop *http, const cx_api_node *node, const char *method,
                    const char *path, const json_t *body, int64_t timeout_ms, cx_api_done *done,
                    void *arg)
{
    CX_AUTO(cx_free) char *text = body != NULL ? cx_json_line(body) : NULL;
    struct errand *errand;
    cx_err error = {0};

    if (!has_address(node, &error)) {
        done(&(json_t *){NULL}, &error, arg);
        return;
    }
    errand = cx_alloc(1, sizeof *errand);
    *errand = (struct errand){.api = api, .done = done, .arg = arg};
    cx_api_nodes_add(&errand->node, node->node_id, node->api_addr, node->status);
    prepare(api, &errand->node.items[0], method, path, body != NULL ? "application/json" : NULL,
            text != NULL ? cx_bytes_of(text) : (cx_bytes){0}, timeout_ms, &errand->call);
    cx_http_loop_start(http, &errand->call.request, on_errand, errand);
}

bool cx_api_pause(int64_t ms, cx_err *err)
{
    if (!cx_interrupted())
        (void)poll(NULL, 0, ms <= 0 ? 0 : ms < INT_MAX ? (int)ms : INT_MAX);
    return !cx_interrupted() || cx_fail(err, CX_INTERRUPTED, "interrupted");
}

bool cx_api_check_message_id(const char *id, cx_err *err)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-";
    size_t size = strlen(id);

    if (size == 0 || size > CX_API_MESSAGE_ID_MAX || strspn(id, allowed) != size || id[0] == '.')
        return cx_fail(err, CX_INVALID, "message id: 1 to %d of A-Z a-z 0-9 . _ : -",
                       CX_API_MESSAGE_ID_MAX);
    return true;
}

int64_t cx_api_skew_ms(const cx_api *api)
{
    return api->skew_ms;
}
