#include <string.h>

#include "lock.h"

struct list_options {
    lock_place place;
    bool all_marks;
};

static const cx_option options[] = {
    {"all-marks", CX_FLAG(struct list_options, all_marks), NULL, NULL,
     "also nodes that are not active, silences, and the lock files of this host"},
    LOCK_NODE_OPTION(struct list_options, place),
    {0},
};

/* What fits a line for people. */
static json_t *shortened(const json_t *rows, const char *const *columns, size_t count)
{
    json_t *list = json_array();
    size_t at;
    json_t *row;

    json_array_foreach (rows, at, row) {
        json_t *line = json_object();

        for (size_t i = 0; i < count; i++) {
            json_t *value = json_object_get(row, columns[i]);

            if (value != NULL)
                json_object_set(line, columns[i], value);
        }
        json_array_append_new(list, line);
    }
    return list;
}

static json_t *for_people(const json_t *leases, const json_t *marks)
{
    static const char *const lease_columns[] = {
        "name", "owner", "host", "fence", "alive", "held", "expires_in_seconds", "reason"};
    static const char *const mark_columns[] = {"kind",  "name",  "host",  "pid",
                                               "state", "alive", "since", "reason"};
    json_t *document = json_object();

    json_object_set_new(document, "leases",
                        shortened(leases, lease_columns, CX_COUNT(lease_columns)));
    if (marks != NULL)
        json_object_set_new(document, "marks",
                            shortened(marks, mark_columns, CX_COUNT(mark_columns)));
    return document;
}

static json_t *all_marks(const cx_run *run, lock_scope *scope, cx_err *err)
{
    json_t *marks = lock_node_marks(scope, cx_timeout_or(run, CX_LEASE_CALL_MS));
    CX_AUTO(cx_json_free) json_t *files = lock_file_marks(scope->config);
    CX_AUTO(cx_json_free) json_t *silences = lock_silence_marks(scope->config, err);

    if (silences == NULL) {
        cx_json_free(&marks);
        return NULL;
    }
    json_array_extend(marks, files);
    json_array_extend(marks, silences);
    return marks;
}

static bool list(cx_run *run, const void *parsed, cx_err *err)
{
    const struct list_options *option = parsed;
    CX_AUTO(lock_close) lock_scope scope = {0};
    CX_AUTO(cx_json_free) json_t *leases = NULL;
    CX_AUTO(cx_json_free) json_t *errors = json_array();
    CX_AUTO(cx_json_free) json_t *marks = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;

    if (!lock_open(run, &option->place, &scope, err) ||
        !lock_gather(&scope, cx_timeout_or(run, CX_LEASE_CALL_MS), &leases, &errors, err))
        return false;
    if (option->all_marks) {
        marks = all_marks(run, &scope, err);
        if (marks == NULL)
            return false;
    }
    if (run->table) {
        document = for_people(leases, marks);
    } else {
        document = json_pack(
            "{s:O, s:I, s:I, s:I}", "leases", leases, "count", (json_int_t)json_array_size(leases),
            "expected", (json_int_t)scope.expected, "majority", (json_int_t)lock_majority(&scope));
        if (marks != NULL)
            json_object_set(document, "marks", marks);
    }
    if (json_array_size(errors) > 0) {
        json_object_set(document, "errors", errors);
        run->answer_no = true;
    }
    return cx_emit(run, document, err);
}

const cx_command lock_list = {
    .name = "list",
    .summary = "show who holds what, and whether the holder is still alive",
    .description =
        "\"alive\" is true or false where it is certain (by host, boot, process id and start "
        "time, judged on the holder's own host), null where nobody knows. \"held\" says that a "
        "majority granted it; a rest that a minority still has expires by itself. Nodes that "
        "don't answer are in \"errors\" (exit status 1).",
    .options = options,
    .options_size = sizeof(struct list_options),
    .run = list,
};
