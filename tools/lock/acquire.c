#include "base/text.h"
#include "lock.h"

struct acquire_options {
    lock_place place;
    int64_t ttl_ms;
    int64_t wait_ms;
    const char *reason;
    int64_t pid;
};

static const cx_option options[] = {
    {"ttl", CX_DURATION(struct acquire_options, ttl_ms), "DUR", "5m",
     "it ends by itself after this time (1s to 24h)"},
    {"wait", CX_DURATION(struct acquire_options, wait_ms), "DUR", "0s",
     "wait so long for another holder to end"},
    {"reason", CX_TEXT(struct acquire_options, reason), "TEXT", "", "told to whoever waits for it"},
    {"pid", CX_INT(struct acquire_options, pid), "PID", NULL,
     "the process whose lease it is; default: the caller"},
    LOCK_OWNER_OPTION(struct acquire_options, place),
    LOCK_NODE_OPTION(struct acquire_options, place),
    {0},
};

static bool acquire_lease(cx_run *run, lock_scope *scope, const struct acquire_options *option,
                          const cx_lease_request *request, cx_err *err)
{
    CX_AUTO(cx_lease_close) cx_lease_client *client = NULL;
    CX_AUTO(cx_json_free) json_t *document = json_pack("{s:b}", "changed", 1);
    CX_AUTO(cx_json_free) json_t *lease = NULL;

    if (!cx_lease_open(scope->api, &scope->nodes, scope->expected, request, &client, err) ||
        !cx_lease_acquire(client, option->wait_ms, lock_remark, run, err))
        return false;
    lease = cx_lease_describe(client);
    json_object_update(document, lease);
    return cx_emit(run, document, err);
}

static bool acquire(cx_run *run, const void *parsed, cx_err *err)
{
    const struct acquire_options *option = parsed;
    CX_AUTO(lock_close) lock_scope scope = {0};
    CX_AUTO(cx_free) char *owner = NULL;
    cx_lease_request request = {
        .name = run->args[0], .reason = option->reason, .ttl_ms = option->ttl_ms};
    pid_t pid = option->pid > 0 ? (pid_t)option->pid : lock_caller();

    if (option->pid > INT32_MAX)
        return cx_fail(err, CX_USAGE, "--pid: no such process");
    if (!cx_check_id("lease name", request.name, err) || !cx_mark_of(pid, &request.mark, err))
        return false;
    owner =
        option->place.owner != NULL ? cx_strdup(option->place.owner) : cx_mark_owner(&request.mark);
    request.owner = owner;
    if (!lock_open(run, &option->place, &scope, err))
        return false;
    if (run->dry_run)
        return lock_peek(run, &scope, request.name, owner, err);
    return acquire_lease(run, &scope, option, &request, err);
}

const cx_command lock_acquire = {
    .name = "acquire",
    .arguments = "NAME",
    .arguments_min = 1,
    .arguments_max = 1,
    .summary = "take a lease and leave it to its time",
    .description =
        "Nobody renews it: it ends after --ttl, by `release`, or by acquiring it again, which the "
        "same owner may (and gets a new, higher fence). The owner is the calling process, so that "
        "a script's `acquire` and `release` belong together; --owner sets another. Held by "
        "another: exit status 75, with who and why. The fence grows with each holder: what is "
        "changed under the lease can refuse a number below the highest that it has seen.",
    .options = options,
    .options_size = sizeof(struct acquire_options),
    .changes = true,
    .run = acquire,
};
