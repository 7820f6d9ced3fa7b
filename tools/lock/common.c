#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/gather.h"
#include "base/io.h"
#include "base/time.h"
#include "lease/holder.h"
#include "lock.h"

enum {
    COMMAND_LINE_MAX = 4096,
    GENERATIONS_MAX = 32, /* of subshells within subshells */
};

/* ---- scope */

static bool is_stdin(const cx_list *nodes)
{
    return nodes->count == 1 && strcmp(nodes->items[0], "-") == 0;
}

static bool named_nodes(lock_scope *scope, const lock_place *place, cx_err *err)
{
    cx_target none = {0};

    if (is_stdin(&place->nodes))
        return cx_api_targets(scope->api, &none, true, &scope->nodes, err);
    return cx_api_named(scope->api, (const char *const *)place->nodes.items, place->nodes.count,
                        &scope->nodes, err);
}

bool lock_open(const cx_run *run, const lock_place *place, lock_scope *scope, cx_err *err)
{
    if (!cx_api_start(run, &scope->config, &scope->api, err))
        return false;
    if (place->nodes.count == 0)
        return cx_lease_granters(scope->api, cx_timeout_or(run, CX_LEASE_CALL_MS), &scope->nodes,
                                 &scope->expected, err);
    if (!named_nodes(scope, place, err))
        return cx_wrap(err, "--node");
    scope->expected = scope->config->bootstrap_expect;
    if ((int64_t)scope->nodes.count > scope->expected)
        scope->expected = (int64_t)scope->nodes.count;
    return true;
}

void lock_close(lock_scope *scope)
{
    cx_api_nodes_free(&scope->nodes);
    cx_api_close(&scope->api);
    cx_config_free(&scope->config);
}

int64_t lock_majority(const lock_scope *scope)
{
    return scope->expected / 2 + 1;
}

void lock_remark(const char *text, void *run)
{
    cx_remark(run, "%s", text);
}

/* ---- who asks */

static size_t read_proc(pid_t pid, const char *name, char *data, size_t size)
{
    char path[64];
    size_t got;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%ld/%s", (long)pid, name);
    file = fopen(path, "re");
    if (file == NULL)
        return 0;
    got = fread(data, 1, size, file);
    fclose(file);
    return got;
}

/* Field 4 of proc(5) stat, after the name in parentheses, which may hold anything. */
static pid_t parent_of(pid_t pid)
{
    char text[1024];
    size_t size = read_proc(pid, "stat", text, sizeof text - 1);
    const char *field;

    text[size] = '\0';
    field = strrchr(text, ')');
    if (field == NULL || strlen(field) < 4)
        return 0;
    return (pid_t)strtol(field + 4, NULL, 10);
}

/* A shell that forks itself for $(…) or a pipeline stays the same program with the same words. */
static bool is_subshell(pid_t pid, pid_t parent)
{
    char own[COMMAND_LINE_MAX], its[COMMAND_LINE_MAX];
    size_t size = read_proc(pid, "cmdline", own, sizeof own);

    return size > 0 && size == read_proc(parent, "cmdline", its, sizeof its) &&
           memcmp(own, its, size) == 0;
}

pid_t lock_caller(void)
{
    pid_t caller = getppid();

    for (int i = 0; i < GENERATIONS_MAX; i++) {
        pid_t parent = parent_of(caller);

        if (parent <= 1 || !is_subshell(caller, parent))
            break;
        caller = parent;
    }
    return caller > 0 ? caller : getpid();
}

bool lock_is_owner(const json_t *lease, const char *owner)
{
    const char *whole = cx_json_text_or_empty(lease, "owner");
    size_t size = strlen(whole), part = strlen(owner);

    return size > part && whole[size - part - 1] == '/' && strcmp(whole + size - part, owner) == 0;
}

/* ---- what all granters say */

static const char *text_of(const json_t *object, const char *key)
{
    return cx_json_text_or_empty(object, key);
}

static json_t *find_lease(const json_t *leases, const json_t *wanted)
{
    size_t at;
    json_t *lease;

    json_array_foreach (leases, at, lease)
        if (strcmp(text_of(lease, "name"), text_of(wanted, "name")) == 0 &&
            strcmp(text_of(lease, "owner"), text_of(wanted, "owner")) == 0)
            return lease;
    return NULL;
}

static json_int_t int_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* Another granter's word on the same lease: the highest fence and the latest end count. */
static void merge(json_t *lease, const json_t *other)
{
    if (int_of(other, "fence") > int_of(lease, "fence")) {
        json_object_set(lease, "fence", json_object_get(other, "fence"));
        json_object_set(lease, "provisional", json_object_get(other, "provisional"));
        json_object_set(lease, "reason", json_object_get(other, "reason"));
        json_object_set(lease, "ttl_seconds", json_object_get(other, "ttl_seconds"));
    }
    if (json_number_value(json_object_get(other, "expires_in_seconds")) >
        json_number_value(json_object_get(lease, "expires_in_seconds"))) {
        json_object_set(lease, "expires_in_seconds", json_object_get(other, "expires_in_seconds"));
        json_object_set(lease, "expires_at", json_object_get(other, "expires_at"));
    }
    if (json_is_null(json_object_get(lease, "alive")))
        json_object_set(lease, "alive", json_object_get(other, "alive"));
}

/* The host that we are on knows its own processes best. */
static void judge_alive(json_t *lease)
{
    cx_mark mark;
    cx_life life;
    cx_err err;

    if (!cx_mark_get(lease, "lease", &mark, &err))
        return;
    life = cx_mark_life(&mark);
    if (life != CX_LIFE_UNKNOWN || json_object_get(lease, "alive") == NULL)
        json_object_set_new(lease, "alive", cx_life_json(life));
}

static void add_answer(const json_t *answer, const char *node_id, json_t *leases)
{
    size_t at;
    json_t *item;

    json_array_foreach (json_object_get(answer, "leases"), at, item) {
        json_t *lease = find_lease(leases, item);

        if (!json_is_object(item) || text_of(item, "name")[0] == '\0')
            continue;
        if (lease == NULL) {
            lease = json_deep_copy(item);
            json_object_del(lease, "last_fence");
            json_object_set_new(lease, "granted_by", json_array());
            json_array_append_new(leases, lease);
        } else {
            merge(lease, item);
        }
        json_array_append_new(json_object_get(lease, "granted_by"), cx_json_text(node_id));
    }
}

static int by_name(const void *a, const void *b)
{
    const json_t *const *left = a, *const *right = b;
    int order = strcmp(text_of(*left, "name"), text_of(*right, "name"));

    return order != 0 ? order : strcmp(text_of(*left, "owner"), text_of(*right, "owner"));
}

static json_t *sorted(json_t *leases)
{
    size_t count = json_array_size(leases);
    CX_AUTO(cx_free) json_t **items = cx_alloc(count + 1, sizeof *items);
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++)
        items[i] = json_array_get(leases, i);
    qsort(items, count, sizeof *items, by_name);
    for (size_t i = 0; i < count; i++)
        json_array_append(list, items[i]);
    return list;
}

bool lock_gather(lock_scope *scope, int64_t timeout_ms, json_t **leases, json_t **errors,
                 cx_err *err)
{
    CX_AUTO(cx_gathered_free) cx_gathered gathered = {0};
    CX_AUTO(cx_json_free) json_t *found = json_array();
    size_t at;
    json_t *lease;

    if (!cx_api_gather(scope->api, &scope->nodes, "/api/v1/leases", timeout_ms, &gathered, err))
        return false;
    for (size_t i = 0; i < scope->nodes.count; i++) {
        const json_t *answer = gathered.answers[i];

        if (answer == NULL) {
            if (errors != NULL)
                json_array_append_new(*errors,
                                      cx_api_failure(&scope->nodes.items[i], &gathered.errors[i]));
            continue;
        }
        if (cx_api_count(answer, "expected") > scope->expected &&
            cx_api_count(answer, "expected") <= CX_CLAIM_NODES_MAX)
            scope->expected = cx_api_count(answer, "expected");
        add_answer(answer, text_of(answer, "node_id"), found);
    }
    json_array_foreach (found, at, lease) {
        size_t granted = json_array_size(json_object_get(lease, "granted_by"));

        json_object_set_new(
            lease, "held",
            json_boolean((int64_t)granted >= lock_majority(scope) && int_of(lease, "fence") > 0));
        judge_alive(lease);
    }
    *leases = sorted(found);
    return true;
}

bool lock_peek(cx_run *run, lock_scope *scope, const char *name, const char *owner, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *leases = NULL;
    CX_AUTO(cx_json_free) json_t *errors = json_array();
    CX_AUTO(cx_json_free) json_t *document = NULL;
    size_t at, silent;
    json_t *lease;

    if (!lock_gather(scope, cx_timeout_or(run, CX_LEASE_CALL_MS), &leases, &errors, err))
        return false;
    silent = json_array_size(errors);
    json_array_foreach (leases, at, lease) {
        CX_AUTO(cx_free) char *holder = cx_lease_holder_text(lease);

        if (strcmp(text_of(lease, "name"), name) == 0 && !lock_is_owner(lease, owner) &&
            json_is_true(json_object_get(lease, "held")))
            return cx_fail(err, CX_BUSY, "lease %s: held by %s", name, holder);
    }
    if ((int64_t)(scope->nodes.count - silent) < lock_majority(scope))
        return cx_fail(err, CX_NO_MAJORITY, "lease %s: %zu of %lld nodes answer, %lld are needed",
                       name, scope->nodes.count - silent, (long long)scope->expected,
                       (long long)lock_majority(scope));
    document =
        json_pack("{s:b, s:b, s:s, s:s}", "changed", 1, "dry_run", 1, "name", name, "owner", owner);
    return cx_emit(run, document, err);
}
