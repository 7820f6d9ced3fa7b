#include <string.h>
#include <unistd.h>

#include "api/gather.h"
#include "base/time.h"
#include "drain.h"
#include "guard.h"
#include "lease/client.h"

enum {
    REMARK_MS = 5000,
    LOOK_MS = 3000,   /* a member that doesn't say its state in this time is judged by gossip */
    LEASE_MS = 60000, /* longer than the calls under it take */
};

struct enter_options {
    const char *mode, *suspend_below, *reason, *duration;
    int64_t deadline_ms;
    cx_list allow;
    bool force;
};

static const cx_option options[] = {
    {"mode", CX_CHOICE(struct enter_options, mode), "drain|maintenance", "drain", "the new state"},
    {"deadline", CX_DURATION(struct enter_options, deadline_ms), "DUR", "60s",
     "stop waiting then; the node stays draining"},
    /* As text: one that was left out and one of 0s are not the same. */
    {"duration", CX_TEXT(struct enter_options, duration), "DUR", NULL,
     "maintenance ends by itself then; without it, when cx-drain exit ends it"},
    {"allow", CX_LIST(struct enter_options, allow), "OP,OP", NULL,
     "maintenance allows these only: send, deploy, remove, restart, suspend, resume, retry, "
     "checkpoint, lease"},
    {"suspend-below", CX_CHOICE(struct enter_options, suspend_below), "low|normal|critical",
     "normal", "agents of a lower priority are suspended when all is done"},
    {"reason", CX_TEXT(struct enter_options, reason), "TEXT", "", "why; others see it"},
    {"force", CX_FLAG(struct enter_options, force), NULL, NULL,
     "even beside another drained node, without a majority, or while another drain begins"},
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

/* The end of a maintenance: 0 for none. One of no length would be one without an end, the opposite of what
 * was typed. */
static bool read_duration(const struct enter_options *option, bool maintenance, int64_t *ms,
                          cx_err *err)
{
    *ms = 0;
    if (!maintenance && (option->duration != NULL || option->allow.count > 0)) {
        cx_fail(err, CX_USAGE, "--duration and --allow belong to --mode maintenance");
        return cx_hint(err, "a plain drain ends by cx-drain exit");
    }
    if (option->duration == NULL)
        return true;
    if (!cx_duration_parse(option->duration, ms, err)) {
        err->code = CX_USAGE;
        return cx_wrap(err, "--duration");
    }
    if (*ms > 0)
        return true;
    cx_fail(err, CX_USAGE, "--duration %s: a maintenance takes some time", option->duration);
    return cx_hint(err, "without --duration it lasts until cx-drain exit ends it");
}

static bool request_of(const struct enter_options *option, json_t **request, cx_err *err)
{
    bool maintenance = strcmp(option->mode, "maintenance") == 0;
    int64_t duration_ms = 0;

    if (!read_duration(option, maintenance, &duration_ms, err))
        return false;
    *request = json_pack("{s:s, s:s, s:s}", "mode", option->mode, "suspend_below",
                         option->suspend_below, "reason", option->reason);
    if (maintenance) {
        json_object_set_new(*request, "duration_ms", json_integer((json_int_t)duration_ms));
        json_object_set_new(*request, "allow", allow_list(&option->allow));
    }
    return true;
}

/* The members that have a say, and how many the cluster counts as. */
struct members {
    cx_api_nodes nodes;
    int64_t expected;
};

static void free_members(struct members *members)
{
    cx_api_nodes_free(&members->nodes);
}

/* The node itself checks the request and who asks, and what it would do. */
static bool ask(const cx_run *run, cx_api *api, const cx_api_node *node, const json_t *request,
                bool dry_run, json_t **answer, cx_err *err)
{
    return cx_api_call(api, node, "POST",
                       dry_run ? "/api/v1/node/drain?dry_run=1" : "/api/v1/node/drain", request,
                       cx_timeout_within(run, DRAIN_CALL_MS), answer, err);
}

/* Gossip may not have spread yet what a drain has just changed: the nodes themselves know. */
static bool check_guard(const cx_run *run, cx_api *api, const cx_api_node *node,
                        const struct members *members, const char *node_id, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *cluster = NULL;
    CX_AUTO(cx_gathered_free) cx_gathered states = {0};

    if (!cx_api_call(api, node, "GET", "/api/v1/cluster", NULL,
                     cx_timeout_within(run, DRAIN_CALL_MS), &cluster, err) ||
        !cx_api_gather(api, &members->nodes, "/api/v1/node/drain", LOOK_MS, &states, err))
        return false;
    for (size_t i = 0; i < states.count; i++)
        if (states.answers[i])
            drain_guard_know(cluster, cx_json_text_or_empty(states.answers[i], "node_id"),
                             cx_json_text_or_empty(states.answers[i], "state"));
    return drain_guard(cluster, node_id, err);
}

/* Two drains that begin at once must not both find the other's node at work: one at a time looks at the
 * cluster and changes it, under a lease of the cluster. */
static bool drain_alone(const cx_run *run, cx_api *api, const cx_api_node *node,
                        const struct members *members, const char *node_id, const json_t *request,
                        json_t **answer, cx_err *err)
{
    CX_AUTO(cx_lease_close) cx_lease_client *lease = NULL;
    CX_AUTO(cx_free) char *reason = cx_format("cx-drain enter %s", node_id);
    CX_AUTO(cx_free) char *owner = NULL;
    cx_lease_request wanted = {.name = "drain", .reason = reason, .ttl_ms = LEASE_MS};
    cx_err ignored = {0};

    if (!cx_mark_of(getpid(), &wanted.mark, err))
        return false;
    wanted.owner = owner = cx_mark_owner(&wanted.mark);
    if (!cx_lease_open(api, &members->nodes, members->expected, &wanted, &lease, err) ||
        !cx_lease_acquire(lease, 0, NULL, NULL, err))
        return cx_hint(err, "try again, or --force");

    bool done = check_guard(run, api, node, members, node_id, err) && cx_lease_tend(lease, err) &&
                ask(run, api, node, request, false, answer, err);

    (void)!cx_lease_release(lease, &ignored); /* else it runs out by itself */
    return done;
}

/* Until nothing is left, or the deadline has passed. */
static bool wait_drained(cx_run *run, cx_api *api, const cx_api_node *node, int64_t deadline_ms,
                         json_t **document, cx_err *err)
{
    int64_t remark_ms = cx_now_ms() + REMARK_MS;

    for (;;) {
        cx_json_free(document);
        if (!drain_look(api, node, drain_look_ms(deadline_ms), document, err))
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

/* What is refused anyway is refused before others have to wait for our lease. */
static bool start_guarded(cx_run *run, cx_api *api, const cx_api_node *node, const char *node_id,
                          const json_t *request, json_t **answer, cx_err *err)
{
    CX_AUTO(free_members) struct members members = {0};

    if (!cx_lease_granters(api, CX_LEASE_CALL_MS, &members.nodes, &members.expected, err) ||
        !check_guard(run, api, node, &members, node_id, err) ||
        !ask(run, api, node, request, true, answer, err))
        return false;
    if (run->dry_run)
        return true;
    cx_json_free(answer);
    return drain_alone(run, api, node, &members, node_id, request, answer, err);
}

static bool drain_one(cx_run *run, const struct enter_options *option, const json_t *request,
                      cx_api *api, const cx_api_node *node, json_t **document, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *before = NULL;
    CX_AUTO(cx_json_free) json_t *entered = NULL;
    int64_t deadline_ms = cx_now_ms() + option->deadline_ms;

    if (!drain_look(api, node, cx_timeout_within(run, DRAIN_CALL_MS), &before, err))
        return false;

    const char *node_id = cx_json_text_or_empty(before, "node_id");
    bool guarded = !option->force && strcmp(cx_json_text_or_empty(before, "state"), "active") == 0;

    if (!(guarded ? start_guarded(run, api, node, node_id, request, &entered, err)
                  : ask(run, api, node, request, run->dry_run, &entered, err)))
        return false;
    if (run->dry_run) {
        *document = CX_TAKE(entered);
        return true;
    }

    bool changed = json_is_true(json_object_get(entered, "changed"));

    if (!wait_drained(run, api, node, deadline_ms, document, err))
        return false;
    json_object_set_new(*document, "changed", json_boolean(changed));
    run->answer_no |= strcmp(cx_json_text_or_empty(*document, "state"), "draining") == 0;
    return true;
}

static bool enter(cx_run *run, const void *parsed, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *request = NULL;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_api_close) cx_api *api = NULL;
    CX_AUTO(cx_api_nodes_free) cx_api_nodes nodes = {0};
    CX_AUTO(cx_json_free) json_t *documents = json_array();

    if (!request_of(parsed, &request, err) || !drain_open(run, false, &config, &api, &nodes, err))
        return false;
    for (size_t i = 0; i < nodes.count; i++) {
        json_t *document = NULL;

        if (!drain_one(run, parsed, request, api, &nodes.items[i], &document, err)) {
            cx_json_free(&document);
            return drain_wrap(err, "drain", &nodes.items[i]);
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
    .description =
        "Exit 1 when the deadline passes with work left: the node goes on draining; "
        "cx-drain wait waits for it, cx-drain exit takes it back. Refused (75) when "
        "another node is out of service or a majority would be lost. Of two "
        "drains that begin at once one is refused: the lease `drain` of the cluster, held "
        "for a moment, lets them look and change one after another.",
    .options = options,
    .options_size = sizeof(struct enter_options),
    .changes = true,
    .run = enter,
};
