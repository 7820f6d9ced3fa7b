#include "agents.h"
#include "base/text.h"

enum { SPEC_MAX = 1024 * 1024 };

struct deploy_options {
    cx_target target;
    int64_t wait_ms;
};

static const cx_option options[] = {
    CX_TARGET_OPTIONS(struct deploy_options, target),
    {"wait", CX_DURATION(struct deploy_options, wait_ms), "DUR", "10s",
     "wait this long until they run"},
    {0},
};

/* A file holds one spec or an array of them. Every spec is read before the first is deployed. */
static bool read_specs(const cx_run *run, json_t **specs, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *all = json_array();

    for (size_t i = 0; i < run->arg_count; i++) {
        CX_AUTO(cx_json_free) json_t *document = NULL;
        size_t at;
        json_t *spec;

        if (!cx_json_read_file(run->args[i], SPEC_MAX, &document, err))
            return false;
        if (json_is_array(document))
            json_array_extend(all, document);
        else
            json_array_append(all, document);
        json_array_foreach (all, at, spec) {
            const char *id = NULL;

            if (!cx_json_need_text(spec, "spec", "id", &id, err) || !cx_check_id("id", id, err))
                return cx_wrap(err, "%s", run->args[i]);
        }
    }
    *specs = CX_TAKE(all);
    return true;
}

static void deploy_one(cx_run *run, agents_scope *scope, const cx_api_node *node,
                       const json_t *spec, agents_change *change)
{
    const char *id = cx_json_text_or_empty(spec, "id");
    CX_AUTO(cx_free)
    char *path = cx_format("/api/v1/agents/%s%s", id, run->dry_run ? "?dry_run=1" : "");
    CX_AUTO(cx_json_free) json_t *answer = NULL;
    bool changed = false;
    cx_err error = {0};

    if (!cx_api_call(scope->api, node, "PUT", path, spec, scope->timeout_ms, &answer, &error) ||
        !cx_json_get_bool(answer, "answer", "changed", &changed, &error))
        agents_change_fail(change, node, id, &error);
    else
        agents_change_add(change, node, id, json_object_get(answer, "agent"), changed);
}

static bool deploy(cx_run *run, const void *parsed, cx_err *err)
{
    const struct deploy_options *option = parsed;
    CX_AUTO(agents_close) agents_scope scope = {0};
    CX_AUTO(agents_change_free) agents_change change = {0};
    CX_AUTO(cx_json_free) json_t *specs = NULL;
    size_t at;
    json_t *spec;

    if (!read_specs(run, &specs, err) || !agents_open(run, &option->target, false, &scope, err))
        return false;
    json_array_foreach (specs, at, spec)
        for (size_t i = 0; i < scope.nodes.count; i++)
            deploy_one(run, &scope, &scope.nodes.items[i], spec, &change);
    if (!run->dry_run && !agents_wait(run, &scope, &change, "running", option->wait_ms, err))
        return false;
    return agents_change_emit(run, &change, err);
}

const cx_command agents_deploy = {
    .name = "deploy",
    .arguments = "SPEC.json…|-",
    .arguments_min = 1,
    .summary = "run agents by their specs, anew or changed",
    .description =
        "A spec is {\"id\":\"echo\",\"command\":[\"/usr/bin/…\"],…} with optional capabilities, "
        "priority (low, normal, critical), placement (pinned, any), env, limits and max_attempts; "
        "a file holds one or an array, `-` reads stdin. The same spec again changes nothing.\n"
        "Placement any: the cluster runs one copy, on a live and active node that hashing picks, "
        "whichever node this is said to; when that node drains or dies, the agent and its queue "
        "move, while its state folder stays on the node where it was. Exit "
        "status 1: some agent does not run when --wait is over; last_error says why.",
    .options = options,
    .options_size = sizeof(struct deploy_options),
    .changes = true,
    .run = deploy,
};
