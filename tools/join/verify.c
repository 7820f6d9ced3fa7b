#include <string.h>
#include <unistd.h>

#include "api/client.h"
#include "base/text.h"
#include "base/time.h"
#include "gossip/control.h"
#include "join.h"
#include "pki/tls.h"

enum {
    ASK_MS = 5000,
    CALL_MS = 10000,
    SMOKE_MS = 10000,
    WAIT_MS = 10000, /* for what was started a moment ago */
    TURN_MS = 200,
};

struct verify_options {
    int64_t expect;
};

static const cx_option options[] = {
    {"expect", CX_INT(struct verify_options, expect), "N", NULL,
     "members that must be alive; default: a majority of bootstrap_expect"},
    {0},
};

struct verify {
    const cx_config *config;
    cx_api *api;
    cx_api_node self;
    json_t *document;
    int64_t expect;
    int64_t until_ms; /* monotonic */
};

/* One look at something that may be on its way still: *passed, or *may_come, and what was seen. */
struct look {
    bool passed, may_come;
    char *detail;
};

/* A cluster has its members before the node of this host answers, and that one before it has heard of
 * its gossip agent: who looks right after `wait` looks again. */
static void await(struct verify *verify, const char *name,
                  struct look (*see)(const struct verify *verify))
{
    struct look look = see(verify);

    while (!look.passed && look.may_come && cx_now_ms() < verify->until_ms && !cx_interrupted()) {
        usleep(TURN_MS * 1000);
        cx_free(&look.detail);
        look = see(verify);
    }
    join_checks_add(verify->document, name, look.passed, look.detail);
    cx_free(&look.detail);
}

static struct look failed_look(const cx_err *err)
{
    return (struct look){
        .may_come = err->code == CX_UNAVAILABLE || err->code == CX_TIMEOUT || err->code == CX_BUSY,
        .detail = err->hint[0] != '\0' ? cx_format("%s (%s)", err->message, err->hint)
                                       : cx_strdup(err->message),
    };
}

static struct look see_members(const struct verify *verify)
{
    CX_AUTO(cx_free) char *socket_path = cx_config_run(verify->config, "gossip.sock");
    CX_AUTO(cx_json_free) json_t *request = json_pack("{s:s}", "command", "status");
    CX_AUTO(cx_json_free) json_t *status = NULL;
    cx_err err = {0};

    if (!cx_control_once(socket_path, request, ASK_MS, &status, &err))
        return failed_look(&err);

    int64_t alive = json_integer_value(json_object_get(status, "alive"));
    const char *partition = cx_json_text_or_empty(status, "partition");

    return (struct look){
        .passed = alive >= verify->expect && strcmp(partition, "majority") == 0,
        .may_come = alive < verify->expect,
        .detail = cx_format("%lld alive of %lld expected, partition: %s", (long long)alive,
                            (long long)verify->config->bootstrap_expect, partition),
    };
}

static void check_certificates(struct verify *verify)
{
    const cx_config *config = verify->config;
    CX_AUTO(cx_free) char *ca = cx_config_cert(config, "ca.crt");
    CX_AUTO(cx_free) char *cert = cx_config_cert(config, "node.crt");
    CX_AUTO(cx_free) char *key = cx_config_cert(config, "node.key");
    CX_AUTO(cx_free) char *crl = cx_config_cert(config, "crl.pem");
    CX_AUTO(cx_tls_close) cx_tls *tls = NULL;
    char until[CX_TIME_TEXT_SIZE];
    cx_err err = {0};

    if (!cx_tls_open(&(cx_tls_files){ca, cert, key, crl, config->cluster}, &tls, &err)) {
        join_checks_add_error(verify->document, "certificates", &err);
        return;
    }

    CX_AUTO(cx_free)
    char *detail =
        cx_format("%s is valid until %s", cert, cx_time_text(cx_tls_not_after_ms(tls), until));

    join_checks_add(verify->document, "certificates", true, detail);
}

static struct look see_api(const struct verify *verify)
{
    CX_AUTO(cx_json_free) json_t *ready = NULL;
    cx_err err = {0};

    if (!cx_api_call(verify->api, &verify->self, "GET", "/readyz", NULL, CALL_MS, &ready, &err))
        return failed_look(&err);

    CX_AUTO(cx_free) char *reasons = cx_json_line(json_object_get(ready, "reasons"));
    bool is_ready = json_is_true(json_object_get(ready, "ready"));

    return (struct look){
        .passed = is_ready,
        .may_come = true,
        .detail = is_ready ? cx_format("%s answers and is ready", verify->self.api_addr)
                           : cx_format("%s is not ready: %s", verify->self.api_addr, reasons),
    };
}

/* An agent of its own, one message to it and its reply; then the agent is gone again. */
static bool send_smoke(struct verify *verify, const char *agent, double *latency_ms, cx_err *err)
{
    CX_AUTO(cx_free) char *path = cx_format("/api/v1/agents/%s", agent);
    CX_AUTO(cx_json_free)
    json_t *spec =
        json_pack("{s:s, s:[s], s:s}", "id", agent, "command", "echo", "placement", "pinned");
    CX_AUTO(cx_json_free)
    json_t *message = json_pack("{s:s, s:{s:s}}", "receiver", agent, "content", "smoke", agent);
    CX_AUTO(cx_json_free) json_t *deployed = NULL;
    CX_AUTO(cx_json_free) json_t *answer = NULL;
    CX_AUTO(cx_json_free) json_t *removed = NULL;
    CX_AUTO(cx_free) char *forced = cx_format("%s?force=1", path);
    int64_t started_ms = cx_now_ms();
    cx_err ignored = {0};

    if (!cx_api_call(verify->api, &verify->self, "PUT", path, spec, CALL_MS, &deployed, err))
        return cx_wrap(err, "deploy");

    bool answered = cx_api_call(verify->api, &verify->self, "POST", "/api/v1/messages?wait=5s",
                                message, SMOKE_MS, &answer, err);
    bool cleaned = cx_api_call(verify->api, &verify->self, "DELETE", forced, NULL, CALL_MS,
                               &removed, answered ? err : &ignored);

    *latency_ms = (double)(cx_now_ms() - started_ms);
    if (!answered)
        return cx_wrap(err, "send");
    if (!cleaned)
        return cx_wrap(err, "remove");
    if (strcmp(cx_json_text_or_empty(answer, "status"), "done") != 0)
        return cx_fail(err, CX_TIMEOUT, "the message was accepted, but not answered in 5 s");
    return true;
}

static void check_smoke_message(struct verify *verify)
{
    char id[CX_ULID_SIZE];
    double latency_ms = 0;
    cx_err err = {0};

    cx_ulid(cx_wall_ms(), id);

    CX_AUTO(cx_free) char *agent = cx_format("cx-smoke-%s", id);

    if (!send_smoke(verify, agent, &latency_ms, &err)) {
        join_checks_add_error(verify->document, "smoke_message", &err);
        return;
    }

    CX_AUTO(cx_free)
    char *detail =
        cx_format("an echo agent answered; %.0f ms with its deployment and removal", latency_ms);

    join_checks_add(verify->document, "smoke_message", true, detail);
}

static bool verify_node(cx_run *run, const void *parsed, cx_err *err)
{
    const struct verify_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_api_close) cx_api *api = NULL;
    CX_AUTO(cx_api_nodes_free) cx_api_nodes nodes = {0};
    CX_AUTO(cx_json_free) json_t *document = join_checks_new();
    cx_err api_err = {0};

    if (!cx_config_load(run->config_path, false, &config, err))
        return false;

    struct verify verify = {
        .config = config,
        .document = document,
        .expect = option->expect ? option->expect : config->bootstrap_expect / 2 + 1,
        .until_ms = cx_now_ms() + cx_timeout_or(run, WAIT_MS),
    };

    await(&verify, "members", see_members);
    check_certificates(&verify);
    if (cx_api_open(config, &api, &api_err) &&
        cx_api_targets(api, &(cx_target){0}, false, &nodes, &api_err)) {
        verify.api = api;
        verify.self = nodes.items[0];
        await(&verify, "api", see_api);
        check_smoke_message(&verify);
    } else {
        join_checks_add_error(document, "api", &api_err);
        join_checks_add(document, "smoke_message", false, "the API can't be reached");
    }
    run->answer_no = !join_checks_ok(document);
    return cx_emit(run, document, err);
}

const cx_command join_verify = {
    .name = "verify",
    .summary = "after the start: members, certificates, API, and a message through an agent",
    .description =
        "What was started a moment ago gets up to --timeout (10s) to be there. Exit status 1 "
        "when a check has not passed.",
    .options = options,
    .options_size = sizeof(struct verify_options),
    .run = verify_node,
};
