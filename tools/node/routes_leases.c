/* /api/v1/leases: what this node grants. A client makes a lease of the cluster from a majority of such
 * grants (lease/grant.h). */
#include <string.h>

#include "base/mark.h"
#include "base/text.h"
#include "base/time.h"
#include "call.h"

enum {
    BODY_MAX_BYTES = 8192,
    OWNER_MAX = 128, /* of the client's part */
    REASON_MAX = 500,
    MS_PER_SECOND = 1000,
};

static json_t *seconds_json(int64_t ms)
{
    return cx_json_figure((double)ms / MS_PER_SECOND);
}

static int64_t expires_in_ms(const cx_lease *lease)
{
    int64_t in_ms = lease->expires_ms - cx_now_ms();

    return lease->owner != NULL && lease->owner[0] != '\0' && in_ms > 0 ? in_ms : 0;
}

/* {"owner","host",…,"reason","fence"} of who has it. */
static json_t *holder_json(const cx_lease *lease)
{
    CX_AUTO(cx_json_free) json_t *about = NULL;
    json_t *holder = json_pack("{s:o}", "owner", cx_json_text(lease->owner));
    cx_err err;

    if (cx_json_parse(cx_bytes_of(lease->about), BODY_MAX_BYTES * 2, "lease", &about, &err))
        json_object_update(holder, about);
    json_object_set_new(holder, "fence", json_integer(lease->fence));
    return holder;
}

static json_t *result_json(const node_call *call, const node_lease_result *result)
{
    int64_t in_ms = result->lease.name != NULL ? expires_in_ms(&result->lease) : 0;

    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:o, s:o}", "name", call->id, "node_id",
                     call->node->config->node_id, "outcome", cx_lease_outcome_word(result->outcome),
                     "fence", (json_int_t)(in_ms > 0 ? result->lease.fence : 0), "last_fence",
                     (json_int_t)result->last_fence, "expected",
                     (json_int_t)node_leases_expected(call->node->leases), "expires_in_seconds",
                     seconds_json(in_ms), "holder",
                     in_ms > 0 ? holder_json(&result->lease) : json_null());
}

/* ---- audit: what the route's table leaves to us */

typedef struct audited_answer {
    node_call *call;
    json_t *document;
} audited_answer;

static void on_audited(void *arg)
{
    audited_answer *answer = arg;

    node_answer(answer->call, 200, CX_TAKE(answer->document));
    cx_free(&answer);
}

static node_audit_entry audit_entry(const node_call *call, const char *action, const char *result,
                                    const char *detail)
{
    return (node_audit_entry){
        .who = call->who_text,
        .role = call->who.kind == CX_IDENTITY_NODE ? "node" : cx_role_word(call->who.role),
        .from = call->from,
        .action = action,
        .target = call->id,
        .result = result,
        .detail = detail};
}

static void audit_and_answer(node_call *call, const char *action, const char *detail,
                             json_t *document)
{
    audited_answer *answer = cx_alloc(1, sizeof *answer);
    node_audit_entry entry = audit_entry(call, action, "ok", detail);

    answer->call = call;
    answer->document = document;
    node_audit_write(call->node->audit, &entry, on_audited, answer);
}

/* ---- reading */

/* The client's part of an owner: what may stand in a list and be told apart from an identity. */
static bool check_owner(const char *owner, cx_err *err)
{
    size_t size = strlen(owner);

    if (size == 0 || size > OWNER_MAX)
        return cx_fail(err, CX_INVALID, "lease: owner has 1 to %d characters", OWNER_MAX);
    for (size_t i = 0; i < size; i++)
        if (owner[i] <= ' ' || owner[i] > '~' || strchr("/\"\\", owner[i]) != NULL)
            return cx_fail(err, CX_INVALID,
                           "lease: owner has a character that is not allowed at %zu", i + 1);
    return true;
}

static bool check_reason(const char *reason, cx_err *err)
{
    if (strlen(reason) > REASON_MAX)
        return cx_fail(err, CX_INVALID, "lease: reason has more than %d bytes", REASON_MAX);
    for (const char *at = reason; *at != '\0'; at++)
        if ((unsigned char)*at < ' ' || *at == '\x7f')
            return cx_fail(err, CX_INVALID, "lease: reason has a control character");
    return true;
}

static bool read_body(const node_call *call, const char *const *keys, json_t **body, cx_err *err)
{
    if (!cx_json_parse(cx_exchange_body(call->exchange), BODY_MAX_BYTES, "lease", body, err))
        return false;
    if (!json_is_object(*body))
        return cx_fail(err, CX_INVALID, "lease: not an object");
    return cx_json_only_keys(*body, "lease", keys, err);
}

/* The event of a request, with its texts. */
typedef struct lease_request {
    cx_lease_event event;
    char *owner;
    char *about;
} lease_request;

static void request_free(lease_request *request)
{
    cx_free(&request->owner);
    cx_free(&request->about);
}

static bool read_ttl(const json_t *body, int64_t *ttl_ms, cx_err *err)
{
    const char *ttl = NULL;

    if (!cx_json_need_text(body, "lease", "ttl", &ttl, err) || !cx_duration_parse(ttl, ttl_ms, err))
        return cx_wrap(err, "ttl");
    if (*ttl_ms < CX_LEASE_TTL_MIN_MS || *ttl_ms > CX_LEASE_TTL_MAX_MS)
        return cx_fail(err, CX_INVALID, "lease: ttl is 1s to 24h");
    return true;
}

static bool read_claim(const node_call *call, lease_request *request, cx_err *err)
{
    static const char *const keys[] = {"owner",      "ttl",           "reason", "host", "boot_id",
                                       "started_at", "started_ticks", "fence",  "pid",  NULL};
    CX_AUTO(cx_json_free) json_t *body = NULL;
    CX_AUTO(cx_json_free) json_t *about = json_object();
    const char *owner = NULL, *reason = "";
    cx_mark mark;

    request->event = (cx_lease_event){.kind = CX_LEASE_CLAIM, .name = call->id};
    if (!read_body(call, keys, &body, err) ||
        !cx_json_need_text(body, "lease", "owner", &owner, err) || !check_owner(owner, err) ||
        !read_ttl(body, &request->event.ttl_ms, err) ||
        !cx_json_get_text(body, "lease", "reason", &reason, err) || !check_reason(reason, err) ||
        !cx_mark_get(body, "lease", &mark, err) ||
        !cx_json_get_int(body, "lease", "fence", 0, CX_LEASE_FENCE_MAX, &request->event.fence, err))
        return false;
    cx_mark_put(about, &mark);
    json_object_set_new(about, "reason", json_string(reason));
    json_object_set_new(about, "ttl_seconds", seconds_json(request->event.ttl_ms));
    request->owner = cx_format("%s/%s", call->who_text, owner);
    request->about = cx_json_line(about);
    request->event.owner = request->owner;
    request->event.about = request->about;
    return true;
}

/* By force: an administrator, or this very node. */
static bool may_force(const node_call *call, cx_err *err)
{
    if (call->who.kind == CX_IDENTITY_NODE ? !call->is_peer : call->who.role == CX_ROLE_ADMIN)
        return true;
    return cx_fail(err, CX_PERMISSION, "%s may not clear a lease that is not its own",
                   call->who_text) ||
           cx_hint(err, "this needs an operator's certificate with the role admin");
}

static bool read_end(const node_call *call, lease_request *request, cx_err *err)
{
    static const char *const keys[] = {"owner", "fence", "force", NULL};
    CX_AUTO(cx_json_free) json_t *body = NULL;
    const char *owner = NULL;
    bool force = false;

    request->event =
        (cx_lease_event){.kind = CX_LEASE_RELEASE, .name = call->id, .fence = CX_LEASE_FENCE_MAX};
    if (!read_body(call, keys, &body, err) ||
        !cx_json_get_text(body, "lease", "owner", &owner, err) ||
        !cx_json_get_int(body, "lease", "fence", 0, CX_LEASE_FENCE_MAX, &request->event.fence,
                         err) ||
        !cx_json_get_bool(body, "lease", "force", &force, err))
        return false;
    if (force) {
        request->event.kind = CX_LEASE_CLEAR;
        request->owner = cx_strdup(owner); /* as it is listed */
        request->event.owner = request->owner;
        return may_force(call, err);
    }
    if (owner == NULL)
        return cx_fail(err, CX_INVALID, "lease: owner is missing");
    if (!check_owner(owner, err))
        return false;
    request->owner = cx_format("%s/%s", call->who_text, owner);
    request->event.owner = request->owner;
    return true;
}

static bool check_call(const node_call *call, cx_err *err)
{
    if (!cx_check_id("lease name", call->id, err))
        return false;
    if (call->dry_run)
        return cx_fail(err, CX_USAGE, "leases: there is no dry run of a grant") ||
               cx_hint(err, "GET /api/v1/leases shows what is held");
    return true;
}

/* ---- claim */

static void on_claimed(const node_lease_result *result, const cx_err *err, void *arg)
{
    node_call *call = arg;
    json_t *document;

    if (err != NULL) {
        node_answer_error(call, err);
        return;
    }
    document = result_json(call, result);
    json_object_set_new(document, "granted", json_boolean(result->outcome == CX_LEASE_GRANTED));
    if (!result->confirmed) {
        node_answer(call, 200, document);
        return;
    }

    CX_AUTO(cx_free)
    char *detail = cx_format("fence %lld of %s: %s", (long long)result->lease.fence,
                             result->lease.owner, result->lease.about);

    audit_and_answer(call, "lease", detail, document);
}

void node_post_lease(node_call *call)
{
    CX_AUTO(request_free) lease_request request = {0};
    cx_err err;

    if (!check_call(call, &err) || !read_claim(call, &request, &err))
        node_answer_error(call, &err);
    else
        node_leases_input(call->node->leases, &request.event, on_claimed, call);
}

/* ---- release and clear */

typedef struct lease_end {
    node_call *call;
    bool force;
} lease_end;

static void on_ended(const node_lease_result *result, const cx_err *err, void *arg)
{
    lease_end *end = arg;
    node_call *call = end->call;
    const char *action = end->force ? "lease_clear" : "lease_release";
    bool changed = result->outcome == CX_LEASE_FREED;
    json_t *document;

    cx_free(&end);
    if (err != NULL) {
        node_answer_error(call, err);
        return;
    }
    document = result_json(call, result);
    json_object_set_new(document, "changed", json_boolean(changed));
    if (!changed || result->last_fence == 0) {
        node_answer(call, 200, document);
        return;
    }

    CX_AUTO(cx_free)
    char *detail =
        cx_format("fence %lld of %s", (long long)result->last_fence, result->lease.last_owner);

    audit_and_answer(call, action, detail, document);
}

void node_delete_lease(node_call *call)
{
    CX_AUTO(request_free) lease_request request = {0};
    lease_end *end;
    cx_err err;

    if (!check_call(call, &err) || !read_end(call, &request, &err)) {
        if (err.code == CX_PERMISSION) {
            node_audit_entry entry = audit_entry(call, "lease_clear", "refused", err.message);

            node_audit_refusal(call->node->audit, &entry);
        }
        node_answer_error(call, &err);
        return;
    }
    end = cx_alloc(1, sizeof *end);
    end->call = call;
    end->force = request.event.kind == CX_LEASE_CLEAR;
    node_leases_input(call->node->leases, &request.event, on_ended, end);
}

/* ---- list */

typedef struct lease_list {
    json_t *leases;
    bool agents; /* those of placement, too */
} lease_list;

static void add_lease(const cx_lease *lease, int64_t in_ms, void *arg)
{
    const lease_list *list = arg;
    json_t *item;
    cx_mark mark;
    cx_err err;

    if (node_leases_is_agent(lease->name) && !list->agents)
        return;
    item = json_pack("{s:s}", "name", lease->name);
    json_object_update_new(item, holder_json(lease));
    json_object_set_new(item, "last_fence", json_integer(lease->last_fence));
    json_object_set_new(item, "provisional", json_boolean(lease->fence == 0));
    json_object_set_new(item, "expires_in_seconds", seconds_json(in_ms));
    json_object_set_new(item, "expires_at", cx_json_time(cx_wall_ms() + in_ms));
    json_object_set_new(item, "alive",
                        cx_mark_get(item, "lease", &mark, &err) ? cx_life_json(cx_mark_life(&mark))
                                                                : json_null());
    json_array_append_new(list->leases, item);
}

void node_get_leases(node_call *call)
{
    const char *agents = cx_exchange_query(call->exchange, "agents");
    json_t *leases = json_array();

    node_leases_each(call->node->leases, add_lease,
                     &(lease_list){leases, agents != NULL && strcmp(agents, "1") == 0});
    node_answer(call, 200,
                json_pack("{s:s, s:o, s:I, s:I}", "node_id", call->node->config->node_id, "leases",
                          leases, "count", (json_int_t)json_array_size(leases), "expected",
                          (json_int_t)node_leases_expected(call->node->leases)));
}
