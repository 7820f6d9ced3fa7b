#include <string.h>

#include "base/text.h"
#include "lease/holder.h"
#include "lock.h"

struct release_options {
    lock_place place;
};

static const cx_option options[] = {
    LOCK_OWNER_OPTION(struct release_options, place),
    LOCK_NODE_OPTION(struct release_options, place),
    {0},
};

/* The highest fence that the owner has for the name, 0: none; and who else has it, if anybody. */
static int64_t find_fence(const json_t *leases, const char *name, const char *owner,
                          const json_t **other)
{
    int64_t fence = 0;
    size_t at;
    json_t *lease;

    json_array_foreach (leases, at, lease) {
        json_int_t its = json_integer_value(json_object_get(lease, "fence"));

        if (strcmp(cx_json_text_or_empty(lease, "name"), name) != 0)
            continue;
        if (!lock_is_owner(lease, owner)) {
            if (json_is_true(json_object_get(lease, "held")))
                *other = lease;
        } else if (its > fence) {
            fence = its;
        }
    }
    return fence;
}

static bool fail_not_ours(const char *name, const json_t *other, cx_err *err)
{
    CX_AUTO(cx_free) char *holder = cx_lease_holder_text(other);

    cx_fail(err, CX_BUSY, "lease %s: held by %s, not by this owner", name, holder);
    return cx_hint(err, "--owner names another; cx-lock clear --force lifts it");
}

/* Told to every node; with a majority's word the lease is gone. */
static bool tell_nodes(const cx_run *run, lock_scope *scope, const char *name, const char *owner,
                       int64_t fence, json_t *released, cx_err *err)
{
    CX_AUTO(cx_free) char *path = cx_format("/api/v1/leases/%s", name);
    CX_AUTO(cx_free) json_t **answers = cx_alloc(scope->nodes.count, sizeof *answers);
    CX_AUTO(cx_free) cx_err *errors = cx_alloc(scope->nodes.count, sizeof *errors);
    CX_AUTO(cx_json_free)
    json_t *body = json_pack("{s:s, s:I}", "owner", owner, "fence", (json_int_t)fence);
    bool done = cx_api_call_all(scope->api, &scope->nodes, "DELETE", path, body,
                                cx_timeout_or(run, CX_LEASE_CALL_MS), answers, errors, err);
    const cx_err *first = NULL;
    int64_t told = 0;

    for (size_t i = 0; i < scope->nodes.count; i++) {
        told += answers[i] != NULL;
        if (json_is_true(json_object_get(answers[i], "changed")))
            json_array_append_new(released,
                                  cx_json_text(cx_json_text_or_empty(answers[i], "node_id")));
        if (answers[i] == NULL && first == NULL)
            first = &errors[i];
        cx_json_free(&answers[i]);
    }
    if (!done || told >= lock_majority(scope))
        return done;
    if (told == 0 && first != NULL) {
        *err = *first;
        return false;
    }
    return cx_fail(err, CX_NO_MAJORITY, "release %s: %lld of %lld nodes know of it: %s", name,
                   (long long)told, (long long)scope->expected,
                   first != NULL ? first->message : "too few nodes were asked") ||
           cx_hint(err, "on the others it expires by itself");
}

static bool release(cx_run *run, const void *parsed, cx_err *err)
{
    const struct release_options *option = parsed;
    const char *name = run->args[0];
    CX_AUTO(lock_close) lock_scope scope = {0};
    CX_AUTO(cx_free) char *owner = cx_strdup(option->place.owner);
    CX_AUTO(cx_json_free) json_t *leases = NULL;
    CX_AUTO(cx_json_free) json_t *released = json_array();
    CX_AUTO(cx_json_free) json_t *document = NULL;
    const json_t *other = NULL;
    cx_mark mark;
    int64_t fence;

    if (!cx_check_id("lease name", name, err) ||
        (owner == NULL && !cx_mark_of(lock_caller(), &mark, err)))
        return false;
    if (owner == NULL)
        owner = cx_mark_owner(&mark);
    if (!lock_open(run, &option->place, &scope, err) ||
        !lock_gather(&scope, cx_timeout_or(run, CX_LEASE_CALL_MS), &leases, NULL, err))
        return false;
    fence = find_fence(leases, name, owner, &other);
    if (fence == 0 && other != NULL)
        return fail_not_ours(name, other, err);
    if (!run->dry_run && !tell_nodes(run, &scope, name, owner, fence, released, err))
        return false;
    document = json_pack("{s:b, s:s, s:s, s:I, s:O}", "changed",
                         run->dry_run ? fence > 0 : json_array_size(released) > 0, "name", name,
                         "owner", owner, "fence", (json_int_t)fence, "released_by", released);
    if (run->dry_run)
        json_object_set_new(document, "dry_run", json_true());
    return cx_emit(run, document, err);
}

const cx_command lock_release = {
    .name = "release",
    .arguments = "NAME",
    .arguments_min = 1,
    .arguments_max = 1,
    .summary = "give a lease back",
    .description = "Only its owner can: the process that acquired it, or who names the same "
                   "--owner with the same certificate. One that is not held changes nothing.",
    .options = options,
    .options_size = sizeof(struct release_options),
    .changes = true,
    .run = release,
};
