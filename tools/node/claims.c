#include "claims.h"

#include <string.h>

#include "base/text.h"
#include "base/time.h"
#include "lease/grant.h"

enum { MS_PER_SECOND = 1000 };

static void add(node_claim **items, size_t *count, const char *agent, int64_t fence)
{
    if ((*count & (*count - 1)) == 0) /* full: a power of two, or none yet */
        *items = cx_realloc(*items, *count == 0 ? 1 : *count * 2, sizeof **items);
    (*items)[(*count)++] = (node_claim){cx_strdup(agent), fence};
}

void node_claims_add(node_claims *claims, const char *agent, int64_t fence)
{
    add(&claims->claims, &claims->claim_count, agent, fence);
}

void node_claims_add_release(node_claims *claims, const char *agent, int64_t fence)
{
    add(&claims->releases, &claims->release_count, agent, fence);
}

bool node_claims_is_empty(const node_claims *claims)
{
    return claims->claim_count == 0 && claims->release_count == 0;
}

static json_t *list_json(const node_claim *items, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:s, s:I}", "agent", items[i].agent, "fence",
                                              (json_int_t)items[i].fence));
    return list;
}

json_t *node_claims_to_json(const node_claims *claims)
{
    char ttl[CX_TIME_TEXT_SIZE];

    return json_pack("{s:s, s:o, s:o}", "ttl", cx_duration_text(claims->ttl_ms, ttl), "claims",
                     list_json(claims->claims, claims->claim_count), "releases",
                     list_json(claims->releases, claims->release_count));
}

static bool parse_list(const json_t *json, const char *key, node_claim **items, size_t *count,
                       cx_err *err)
{
    static const char *const keys[] = {"agent", "fence", NULL};
    const json_t *list = json_object_get(json, key), *item;
    size_t i;

    if (!json_is_array(list))
        return cx_fail(err, CX_INVALID, "claims: %s is not a list", key);
    if (json_array_size(list) > NODE_CLAIMS_MAX)
        return cx_fail(err, CX_TOO_LARGE, "claims: more than %d %s", NODE_CLAIMS_MAX, key);
    json_array_foreach (list, i, item) {
        CX_AUTO(cx_free) char *where = cx_format("%s[%zu]", key, i);
        const char *agent = NULL;
        int64_t fence = 0;

        if (!json_is_object(item))
            return cx_fail(err, CX_INVALID, "%s: not an object", where);
        if (!cx_json_only_keys(item, where, keys, err) ||
            !cx_json_need_text(item, where, "agent", &agent, err) ||
            !cx_json_need_int(item, where, "fence", 0, CX_LEASE_FENCE_MAX, &fence, err))
            return false;
        if (!cx_check_id("agent", agent, err))
            return cx_wrap(err, "%s", where);
        add(items, count, agent, fence);
    }
    return true;
}

bool node_claims_parse(const json_t *json, node_claims *claims, cx_err *err)
{
    static const char *const keys[] = {"ttl", "claims", "releases", NULL};
    const char *ttl = NULL;

    if (!json_is_object(json))
        return cx_fail(err, CX_INVALID, "claims: not an object");
    if (!cx_json_only_keys(json, "claims", keys, err) ||
        !cx_json_need_text(json, "claims", "ttl", &ttl, err))
        return false;
    if (!cx_duration_parse(ttl, &claims->ttl_ms, err))
        return cx_wrap(err, "claims: ttl");
    if (claims->ttl_ms < CX_LEASE_TTL_MIN_MS || claims->ttl_ms > CX_LEASE_ASKING_MS)
        return cx_fail(err, CX_INVALID, "claims: ttl is 1s to 10s");
    return parse_list(json, "claims", &claims->claims, &claims->claim_count, err) &&
           parse_list(json, "releases", &claims->releases, &claims->release_count, err);
}

static void free_list(node_claim **items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        cx_free(&(*items)[i].agent);
    cx_free(items);
}

void node_claims_free(node_claims *claims)
{
    free_list(&claims->claims, claims->claim_count);
    free_list(&claims->releases, claims->release_count);
    *claims = (node_claims){0};
}

json_t *node_vote_to_json(const char *agent, const cx_lease_vote *vote)
{
    return json_pack("{s:s, s:b, s:I, s:I, s:s, s:I, s:o}", "agent", agent, "granted",
                     vote->kind == CX_VOTE_GRANTED, "fence", (json_int_t)vote->fence, "last_fence",
                     (json_int_t)vote->last_fence, "holder",
                     vote->holder == NULL ? "" : vote->holder, "holder_fence",
                     (json_int_t)vote->holder_fence, "expires_in_seconds",
                     cx_json_figure((double)vote->expires_in_ms / MS_PER_SECOND));
}

bool node_vote_parse(const json_t *json, const char *where, const char *agent, cx_lease_vote *vote,
                     cx_err *err)
{
    const char *name = NULL;
    bool granted = false;

    if (!json_is_object(json))
        return cx_fail(err, CX_PROTOCOL, "%s: not an object", where);
    if (!cx_json_need_text(json, where, "agent", &name, err) ||
        !cx_json_get_bool(json, where, "granted", &granted, err) ||
        !cx_json_need_int(json, where, "fence", 0, CX_LEASE_FENCE_MAX, &vote->fence, err) ||
        !cx_json_need_int(json, where, "last_fence", 0, CX_LEASE_FENCE_MAX, &vote->last_fence,
                          err) ||
        !cx_json_need_text(json, where, "holder", &vote->holder, err) ||
        !cx_json_need_int(json, where, "holder_fence", 0, CX_LEASE_FENCE_MAX, &vote->holder_fence,
                          err))
        return false;
    if (strcmp(name, agent) != 0)
        return cx_fail(err, CX_PROTOCOL, "%s: about %s, not %s", where, name, agent);
    vote->kind = granted ? CX_VOTE_GRANTED : CX_VOTE_REFUSED;
    return true;
}
