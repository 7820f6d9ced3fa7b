#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "lease/holder.h"
#include "lock.h"

struct clear_options {
    lock_place place;
    bool dead;
    bool force;
};

static const cx_option options[] = {
    {"dead", CX_FLAG(struct clear_options, dead), NULL, NULL, "all whose holder is certainly dead"},
    {"force", CX_FLAG(struct clear_options, force), NULL, NULL,
     "NAME even though its holder may be alive"},
    LOCK_NODE_OPTION(struct clear_options, place),
    {0},
};

/* What is cleared, what stays and why. */
struct sweep {
    cx_run *run;
    lock_scope *scope;
    const struct clear_options *option;
    const char *name; /* NULL: any */
    json_t *cleared;
    json_t *kept;
    size_t matched;
};

static void sweep_free(struct sweep *sweep)
{
    cx_json_free(&sweep->cleared);
    cx_json_free(&sweep->kept);
}

static bool is_dead(const json_t *mark)
{
    return json_is_false(json_object_get(mark, "alive"));
}

static bool is_wanted(const struct sweep *sweep, const json_t *mark)
{
    return sweep->name == NULL || strcmp(cx_json_text_or_empty(mark, "name"), sweep->name) == 0;
}

static void keep(struct sweep *sweep, json_t *mark, const char *why)
{
    json_t *kept = json_copy(mark);

    json_object_set_new(kept, "why", json_string(why));
    json_array_append_new(sweep->kept, kept);
}

/* Whether the mark may go; one that stays is noted with the reason. */
static bool may_clear(struct sweep *sweep, json_t *mark)
{
    bool force = sweep->option->force && sweep->name != NULL;

    if (is_dead(mark) || force)
        return true;
    keep(sweep, mark,
         json_is_true(json_object_get(mark, "alive")) ? "its holder is alive"
                                                      : "its holder may be alive");
    return false;
}

/* Every node is told, and only of this owner: whoever has taken the name meanwhile keeps it. */
static bool clear_lease(struct sweep *sweep, json_t *lease, cx_err *err)
{
    lock_scope *scope = sweep->scope;
    CX_AUTO(cx_free)
    char *path = cx_format("/api/v1/leases/%s", cx_json_text_or_empty(lease, "name"));
    CX_AUTO(cx_free) json_t **answers = cx_alloc(scope->nodes.count, sizeof *answers);
    CX_AUTO(cx_free) cx_err *errors = cx_alloc(scope->nodes.count, sizeof *errors);
    CX_AUTO(cx_json_free)
    json_t *body = json_pack("{s:O, s:b}", "owner", json_object_get(lease, "owner"), "force", 1);
    bool done = cx_api_call_all(scope->api, &scope->nodes, "DELETE", path, body,
                                cx_timeout_or(sweep->run, CX_LEASE_CALL_MS), answers, errors, err);
    const cx_err *first = NULL;

    for (size_t i = 0; i < scope->nodes.count; i++) {
        if (answers[i] == NULL && (first == NULL || errors[i].code == CX_PERMISSION))
            first = &errors[i];
        cx_json_free(&answers[i]);
    }
    if (done && first != NULL && first->code == CX_PERMISSION) {
        *err = *first;
        return false;
    }
    return done;
}

static bool sweep_leases(struct sweep *sweep, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *leases = NULL;
    size_t at;
    json_t *lease;

    if (!lock_gather(sweep->scope, cx_timeout_or(sweep->run, CX_LEASE_CALL_MS), &leases, NULL, err))
        return false;
    json_array_foreach (leases, at, lease) {
        if (!is_wanted(sweep, lease))
            continue;
        sweep->matched++;
        if (!may_clear(sweep, lease))
            continue;
        if (!sweep->run->dry_run && !clear_lease(sweep, lease, err))
            return cx_wrap(err, "clear %s", cx_json_text_or_empty(lease, "name"));
        json_array_append(sweep->cleared, lease);
    }
    return true;
}

static bool sweep_files(struct sweep *sweep, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *marks = lock_file_marks(sweep->scope->config);
    size_t at;
    json_t *mark;

    json_array_foreach (marks, at, mark) {
        if (!is_wanted(sweep, mark))
            continue;
        sweep->matched++;
        if (sweep->option->force && json_is_true(json_object_get(mark, "alive"))) {
            keep(sweep, mark, "a lock file of a living process is never removed: end the process");
            continue;
        }
        if (!may_clear(sweep, mark))
            continue;
        if (!sweep->run->dry_run && !cx_remove_file(cx_json_text_or_empty(mark, "path"), err))
            return false;
        json_array_append(sweep->cleared, mark);
    }
    return true;
}

static bool is_listed(const json_t *leases, const json_t *wanted)
{
    size_t at;
    json_t *lease;

    json_array_foreach (leases, at, lease)
        if (strcmp(cx_json_text_or_empty(lease, "name"), cx_json_text_or_empty(wanted, "name")) ==
                0 &&
            strcmp(cx_json_text_or_empty(lease, "owner"), cx_json_text_or_empty(wanted, "owner")) ==
                0 &&
            json_is_true(json_object_get(lease, "held")))
            return true;
    return false;
}

/* Read back: what was cleared is no majority's any more. */
static bool verify(const struct sweep *sweep, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *leases = NULL;
    size_t at;
    json_t *mark;

    if (sweep->run->dry_run || json_array_size(sweep->cleared) == 0)
        return true;
    if (!lock_gather(sweep->scope, cx_timeout_or(sweep->run, CX_LEASE_CALL_MS), &leases, NULL, err))
        return false;
    json_array_foreach (sweep->cleared, at, mark)
        if (is_listed(leases, mark))
            return cx_fail(err, CX_BUSY, "lease %s is still held: its holder has renewed it",
                           cx_json_text_or_empty(mark, "name"));
    return true;
}

static bool fail_kept(const struct sweep *sweep, cx_err *err)
{
    const json_t *mark = json_array_get(sweep->kept, 0);
    CX_AUTO(cx_free) char *holder = cx_lease_holder_text(mark);

    cx_fail(err, CX_BUSY, "%s: held by %s; %s", sweep->name, holder,
            cx_json_text_or_empty(mark, "why"));
    return cx_hint(err, "--force lifts a lease all the same; its holder then loses it");
}

static bool clear(cx_run *run, const void *parsed, cx_err *err)
{
    CX_AUTO(lock_close) lock_scope scope = {0};
    CX_AUTO(sweep_free)
    struct sweep sweep = {.run = run,
                          .scope = &scope,
                          .option = parsed,
                          .name = run->arg_count > 0 ? run->args[0] : NULL,
                          .cleared = json_array(),
                          .kept = json_array()};
    CX_AUTO(cx_json_free) json_t *document = NULL;

    if (sweep.name == NULL && !sweep.option->dead)
        return cx_fail(err, CX_USAGE, "clear what? a NAME, or --dead for all that are dead");
    if (sweep.name == NULL && sweep.option->force)
        return cx_fail(err, CX_USAGE, "--force clears one NAME only");
    if (!lock_open(run, &sweep.option->place, &scope, err) || !sweep_leases(&sweep, err) ||
        !sweep_files(&sweep, err) || !verify(&sweep, err))
        return false;
    if (sweep.name != NULL && json_array_size(sweep.cleared) == 0 && sweep.matched > 0)
        return fail_kept(&sweep, err);
    document = json_pack("{s:b, s:O, s:O, s:I}", "changed", json_array_size(sweep.cleared) > 0,
                         "cleared", sweep.cleared, "kept", sweep.kept, "count",
                         (json_int_t)json_array_size(sweep.cleared));
    if (run->dry_run)
        json_object_set_new(document, "dry_run", json_true());
    return cx_emit(run, document, err);
}

const cx_command lock_clear = {
    .name = "clear",
    .arguments = "[NAME]",
    .arguments_min = 0,
    .arguments_max = 1,
    .summary = "lift leases and lock files whose holder is dead",
    .description =
        "A holder is dead when its host says so: the process is gone, or the host has booted "
        "since. Everything else stays, unless --force lifts the one NAME: then its holder loses "
        "the lease at its next renewal, and until then two may believe that they have it. Needs "
        "the role admin.",
    .options = options,
    .options_size = sizeof(struct clear_options),
    .changes = true,
    .run = clear,
};
