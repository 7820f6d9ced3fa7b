#include <string.h>

#include "base/time.h"
#include "drain.h"
#include "guard.h"

enum { REMARK_MS = 5000, SETTLE_TURNS = 5 };

struct enter_options {
    const char *mode, *suspend_below, *reason;
    int64_t deadline_ms, duration_ms;
    cx_list allow;
    bool force;
};

static const cx_option options[] = {
    {"mode", CX_CHOICE(struct enter_options, mode), "drain|maintenance", "drain", "the new state"},
    {"deadline", CX_DURATION(struct enter_options, deadline_ms), "DUR", "60s",
     "stop waiting then; the node stays draining"},
    {"duration", CX_DURATION(struct enter_options, duration_ms), "DUR", NULL,
     "maintenance ends by itself then"},
    {"allow", CX_LIST(struct enter_options, allow), "OP,OP", NULL,
     "maintenance allows these only: send, deploy, remove, restart, suspend, resume, retry, "
     "checkpoint, lease"},
    {"suspend-below", CX_CHOICE(struct enter_options, suspend_below), "low|normal|critical",
     "normal", "agents of a lower priority are suspended when all is done"},
    {"reason", CX_TEXT(struct enter_options, reason), "TEXT", "", "why; others see it"},
    {"force", CX_FLAG(struct enter_options, force), NULL, NULL,
     "even beside another drained node or without a majority"},
    {0},
};

static json_t *allow_list(const cx_list *texts)
{
    json_t *list = json_array();

    for (size_t i = 0; i < texts->count; i++)
        for (const char *text = texts->items[i]; text;) {
            size_t size = strcspn(text, ",");

            if (size > 0)
                json_array_append_new(list, cx_json_text_n(text, size));
            text = text[size] ? text + size + 1 : NULL;
        }
    return list;
}

static json_t *request_of(const struct enter_options *option)
{
    json_t *request = json_pack("{s:s, s:s, s:s}", "mode", option->mode, "suspend_below",
                                option->suspend_below, "reason", option->reason);

    if (strcmp(option->mode, "maintenance") == 0) {
        json_object_set_new(request, "duration_ms", json_integer((json_int_t)option->duration_ms));
        json_object_set_new(request, "allow", allow_list(&option->allow));
    }
    return request;
}

static bool check_guard(cx_api *api, const cx_api_node *node, const char *node_id, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *cluster = NULL;

    return cx_api_call(api, node, "GET", "/api/v1/cluster", NULL, DRAIN_CALL_MS, &cluster, err) &&
           drain_guard(cluster, node_id, err);
}

static bool resume(cx_api *api, const cx_api_node *node, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *answer = NULL;

    return cx_api_call(api, node, "POST", "/api/v1/node/resume", NULL, DRAIN_CALL_MS, &answer, err);
}

/* Two drains that began at once see each other when gossip has spread both: then both step back. */
static bool still_alone(cx_api *api, const cx_api_node *node, const char *node_id, cx_err *err)
{
    for (int turn = 0; turn < SETTLE_TURNS; turn++) {
        cx_err ignored = {0};

        if (!drain_pause(err))
            return false;
        if (check_guard(api, node, node_id, err))
            continue;
        if (err->code != CX_BUSY)
            return true; /* the cluster's view is away for a moment: the drain itself is not */
        return resume(api, node, &ignored)
                   ? false
                   : cx_wrap(err, "and it can't be taken back: %s", ignored.message);
    }
    return true;
}

/* Until nothing is left, or the deadline has passed. */
static bool wait_drained(cx_run *run, cx_api *api, const cx_api_node *node, int64_t deadline_ms,
                         json_t **document, cx_err *err)
{
    int64_t remark_ms = cx_now_ms() + REMARK_MS;

    for (;;) {
        cx_json_free(document);
        if (!drain_look(api, node, document, err))
            return false;
        if (strcmp(cx_json_text_or_empty(*document, "state"), "draining") != 0 ||
            cx_now_ms() >= deadline_ms)
            return true;
        if (cx_now_ms() >= remark_ms) {
            cx_remark(run, "%s: %lld messages left", drain_name(node),
                      (long long)json_integer_value(json_object_get(*document, "remaining")));
            remark_ms = cx_now_ms() + REMARK_MS;
        }
        if (!drain_pause(err))
            return false;
    }
}

static bool drain_one(cx_run *run, const struct enter_options *option, cx_api *api,
                      const cx_api_node *node, json_t **document, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *request = request_of(option);
    CX_AUTO(cx_json_free) json_t *before = NULL;
    CX_AUTO(cx_json_free) json_t *entered = NULL;
    int64_t deadline_ms = cx_now_ms() + option->deadline_ms;
    bool changed;

    if (!drain_look(api, node, &before, err))
        return false;

    const char *node_id = cx_json_text_or_empty(before, "node_id");
    bool guarded = !option->force && strcmp(cx_json_text_or_empty(before, "state"), "active") == 0;

    if (guarded && !check_guard(api, node, node_id, err))
        return false;
    if (!cx_api_call(api, node, "POST",
                     run->dry_run ? "/api/v1/node/drain?dry_run=1" : "/api/v1/node/drain", request,
                     DRAIN_CALL_MS, &entered, err))
        return false;
    changed = json_is_true(json_object_get(entered, "changed"));
    if (run->dry_run) {
        *document = CX_TAKE(entered);
        return true;
    }
    if ((guarded && changed && !still_alone(api, node, node_id, err)) ||
        !wait_drained(run, api, node, deadline_ms, document, err))
        return false;
    json_object_set_new(*document, "changed", json_boolean(changed));
    run->answer_no |= strcmp(cx_json_text_or_empty(*document, "state"), "draining") == 0;
    return true;
}

static bool enter(cx_run *run, const void *parsed, cx_err *err)
{
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_api_close) cx_api *api = NULL;
    CX_AUTO(cx_api_nodes_free) cx_api_nodes nodes = {0};
    CX_AUTO(cx_json_free) json_t *documents = json_array();

    if (!drain_open(run, false, &config, &api, &nodes, err))
        return false;
    for (size_t i = 0; i < nodes.count; i++) {
        json_t *document = NULL;

        if (!drain_one(run, parsed, api, &nodes.items[i], &document, err)) {
            cx_json_free(&document);
            return cx_wrap(err, "drain %s", drain_name(&nodes.items[i]));
        }
        json_array_append_new(documents, document);
    }
    return drain_emit(run, documents, err);
}

const cx_command drain_enter = {
    .name = "enter",
    .arguments = "[NODE|-]",
    .arguments_max = 1,
    .summary = "refuse new work, hand over what is queued, wait for the rest",
    .description = "Exit 1 when the deadline passes with work left: the node goes on draining; "
                   "cx-drain wait waits for it, cx-drain exit takes it back. Refused (75) when "
                   "another node is out of service or a majority would be lost.",
    .options = options,
    .options_size = sizeof(struct enter_options),
    .changes = true,
    .run = enter,
};
