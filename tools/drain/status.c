#include <string.h>

#include "base/time.h"
#include "drain.h"

enum { WAIT_MS = 60000 };

struct status_options {
    bool all;
};

static const cx_option status_options[] = {
    {"all", CX_FLAG(struct status_options, all), NULL, NULL, "every alive member"},
    {0},
};

static bool status(cx_run *run, const void *parsed, cx_err *err)
{
    const struct status_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_api_close) cx_api *api = NULL;
    CX_AUTO(cx_api_nodes_free) cx_api_nodes nodes = {0};
    CX_AUTO(cx_json_free) json_t *documents = json_array();

    if (!drain_open(run, option->all, &config, &api, &nodes, err))
        return false;
    for (size_t i = 0; i < nodes.count; i++) {
        json_t *document = NULL;

        if (!drain_look(api, &nodes.items[i], cx_timeout_within(run, DRAIN_CALL_MS), &document,
                        err))
            return false;
        json_array_append_new(documents, document);
    }
    if (!option->all)
        return drain_emit(run, documents, err);

    CX_AUTO(cx_json_free)
    json_t *result = json_pack("{s:O, s:I}", "nodes", documents, "count",
                               (json_int_t)json_array_size(documents));

    return cx_emit(run, result, err);
}

struct wait_options {
    const char *state;
};

static const cx_option wait_options[] = {
    {"state", CX_CHOICE(struct wait_options, state), "active|draining|drained|maintenance",
     "drained", "the state to wait for"},
    {0},
};

static bool wait_for_state(cx_run *run, const void *parsed, cx_err *err)
{
    const struct wait_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_api_close) cx_api *api = NULL;
    CX_AUTO(cx_api_nodes_free) cx_api_nodes nodes = {0};
    CX_AUTO(cx_json_free) json_t *document = NULL;
    int64_t started_ms = cx_now_ms();
    int64_t timeout_ms = cx_timeout_or(run, WAIT_MS);

    if (!drain_open(run, false, &config, &api, &nodes, err))
        return false;
    for (;;) {
        cx_json_free(&document);
        if (!drain_look(api, &nodes.items[0], drain_look_ms(started_ms + timeout_ms), &document,
                        err))
            return false;
        if (strcmp(cx_json_text_or_empty(document, "state"), option->state) == 0)
            break;
        if (cx_now_ms() - started_ms >= timeout_ms)
            return cx_fail(err, CX_TIMEOUT, "%s is %s after %lld s, not %s (%lld messages left)",
                           drain_name(&nodes.items[0]), cx_json_text_or_empty(document, "state"),
                           (long long)(timeout_ms / 1000), option->state,
                           (long long)json_integer_value(json_object_get(document, "remaining")));
        if (!drain_pause(err))
            return false;
    }
    return cx_emit(run, document, err);
}

const cx_command drain_status = {
    .name = "status",
    .arguments = "[NODE|-]",
    .arguments_max = 1,
    .summary = "the node's state: who took it out of service, why, until when, what is left",
    .options = status_options,
    .options_size = sizeof(struct status_options),
    .run = status,
};

const cx_command drain_wait = {
    .name = "wait",
    .arguments = "[NODE]",
    .arguments_max = 1,
    .summary = "wait until the node is in a state (exit 75 when --timeout, 60s, passes)",
    .options = wait_options,
    .options_size = sizeof(struct wait_options),
    .run = wait_for_state,
};
