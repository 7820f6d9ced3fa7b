/* run: what timers call. The policy says what is due, where to, and how long it stays. */
#include <string.h>
#include <time.h>

#include "backup.h"
#include "base/time.h"
#include "repo/schedule.h"

enum { DESTINATIONS_MAX = 16, WAIT_MS = 10 * 60 * 1000 };

struct run_options {
    const char *policy;
    const char *cluster;
    const char *node_id;
    backup_key_options keys;
    int64_t grace_ms;
    const char *progress;
};

static const cx_option options[] = {
    {"policy", CX_TEXT(struct run_options, policy), "FILE", NULL,
     "default: backup.yaml of the node's policies, else the installed one"},
    BACKUP_KEY_OPTIONS(struct run_options, keys),
    {"cluster", CX_TEXT(struct run_options, cluster), "NAME", NULL, "default: the configuration's"},
    {"node-id", CX_TEXT(struct run_options, node_id), "ID", NULL, "default: the configuration's"},
    {"grace", CX_DURATION(struct run_options, grace_ms), "DUR", "24h",
     "remove what no backup names when it has been so for this long"},
    {"progress", CX_CHOICE(struct run_options, progress), "auto|json|none", "none",
     "auto: a bar when stderr is a terminal"},
    {0},
};

struct destination {
    cx_repo *repo; /* NULL: it could not be opened */
    const char *name;
    const char *due; /* full, incremental; NULL: nothing */
    json_t *result;
    bool failed;
    bool made; /* it has the new backup */
};

struct session {
    cx_run *run;
    const struct run_options *option;
    const cx_config *config;
    const backup_keys *keys;
    const json_t *backup; /* of the policy */
    struct destination destinations[DESTINATIONS_MAX];
    size_t count;
    bool changed;
    const char *type;
};

static void close_session(struct session *session)
{
    for (size_t i = 0; i < session->count; i++) {
        cx_repo_close(&session->destinations[i].repo);
        cx_json_free(&session->destinations[i].result);
    }
}

/* Each destination has a fate of its own: one that fails is told, and the others go on. */
static void fail(struct destination *destination, const cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *error = cx_err_to_json(err);

    destination->failed = true;
    if (json_object_get(destination->result, "error") == NULL)
        json_object_set(destination->result, "error", json_object_get(error, "error"));
}

/* ---- the schedule */

static int64_t to_local_ms(int64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm local;

    if (localtime_r(&seconds, &local) == NULL)
        return wall_ms;
    return wall_ms + (int64_t)local.tm_gmtoff * 1000;
}

static bool read_schedule(const json_t *entry, cx_schedule *schedule)
{
    static const char *const frequencies[] = {"hourly", "daily", "weekly", "monthly"};
    static const char *const days[] = {"monday", "tuesday",  "wednesday", "thursday",
                                       "friday", "saturday", "sunday"};
    const char *frequency = cx_json_text_or_empty(entry, "frequency");
    const char *time = cx_json_text_or_empty(entry, "time");
    const json_t *day = json_object_get(entry, "day");

    if (!json_is_object(entry))
        return false;
    *schedule = (cx_schedule){.frequency = CX_DAILY};
    for (size_t i = 0; i < CX_COUNT(frequencies); i++)
        if (strcmp(frequency, frequencies[i]) == 0)
            schedule->frequency = (cx_frequency)i;
    if (strlen(time) == 5) /* the policy's reader has checked it: HH:MM */
        schedule->minute =
            ((time[0] - '0') * 10 + time[1] - '0') * 60 + (time[3] - '0') * 10 + time[4] - '0';
    schedule->day = (int)json_integer_value(day);
    for (size_t i = 0; i < CX_COUNT(days) && json_is_string(day); i++)
        if (strcmp(json_string_value(day), days[i]) == 0)
            schedule->day = (int)i;
    return true;
}

static bool is_due(const json_t *entry, int64_t last_ms, int64_t now_ms)
{
    cx_schedule schedule;

    return read_schedule(entry, &schedule) &&
           (last_ms == 0 ||
            to_local_ms(last_ms) < cx_schedule_last_due(&schedule, to_local_ms(now_ms)));
}

/* A full backup stands in for an incremental one. */
static bool find_due(const struct session *session, struct destination *destination, cx_err *err)
{
    const json_t *schedule = json_object_get(session->backup, "schedule");
    const json_t *full = json_object_get(schedule, "full_backup");
    CX_AUTO(cx_stored_backups_free) cx_stored_backups stored = {0};
    int64_t last_full_ms = 0, last_ms = 0, now_ms = cx_wall_ms();

    if (!cx_repo_backups(destination->repo, &stored, err))
        return false;
    for (size_t i = 0; i < stored.count; i++) {
        if (!stored.items[i].is_complete)
            continue;
        last_ms = stored.items[i].arrived_ms;
        if (cx_backup_is_full(stored.items[i].id))
            last_full_ms = last_ms;
    }
    if (is_due(full, last_full_ms, now_ms))
        destination->due = "full";
    else if (is_due(json_object_get(schedule, "incremental_backup"), last_ms, now_ms))
        destination->due = "incremental";
    return true;
}

/* ---- the work */

static bool open_destinations(struct session *session, cx_err *err)
{
    size_t at;
    const json_t *json;

    json_array_foreach (json_object_get(session->backup, "destinations"), at, json) {
        struct destination *destination;
        cx_err failure;

        if (session->count == DESTINATIONS_MAX)
            return cx_fail(err, CX_TOO_LARGE, "more than %d destinations", DESTINATIONS_MAX);
        destination = &session->destinations[session->count++];
        destination->name = cx_json_text_or_empty(json, "dest");
        destination->result =
            json_pack("{s:o, s:n, s:b, s:b, s:i}", "repo", cx_json_text(destination->name), "id",
                      "verified", false, "checked", false, "pruned", 0);
        if (!cx_repo_open(destination->name,
                          session->option->cluster != NULL ? session->option->cluster
                                                           : session->config->cluster,
                          session->option->node_id != NULL ? session->option->node_id
                                                           : session->config->node_id,
                          &destination->repo, &failure) ||
            !find_due(session, destination, &failure))
            fail(destination, &failure);
    }
    return true;
}

static void note_created(struct session *session, struct destination **chosen, const json_t *made)
{
    size_t at;
    const json_t *target;

    json_array_foreach (json_object_get(made, "destinations"), at, target) {
        struct destination *destination = chosen[at];
        json_t *error = json_object_get(target, "error");

        destination->made = json_is_true(json_object_get(target, "verified"));
        destination->failed = error != NULL;
        if (error != NULL)
            json_object_set(destination->result, "error", error);
        else
            json_object_set(destination->result, "id", json_object_get(made, "id"));
        json_object_set(destination->result, "verified", json_object_get(target, "verified"));
        json_object_set(destination->result, "stored_bytes",
                        json_object_get(target, "stored_bytes"));
        session->changed = session->changed || destination->made;
    }
}

/* One backup for all the destinations for which this type is due. */
static void create(struct session *session, const char *type)
{
    CX_AUTO(cx_list_free) cx_list components = {0};
    CX_AUTO(cx_json_free) json_t *made = NULL;
    struct destination *chosen[DESTINATIONS_MAX];
    cx_repo *repos[DESTINATIONS_MAX];
    backup_repos list = {.items = repos};
    backup_job job = {.type = type,
                      .components = &components,
                      .progress = session->run->quiet ? "none" : session->option->progress,
                      .reason = "run",
                      .wait_ms = WAIT_MS};
    size_t at;
    const json_t *component;
    cx_err failure;

    json_array_foreach (json_object_get(session->backup, "components"), at, component)
        cx_list_add(&components, json_string_value(component));
    for (size_t i = 0; i < session->count; i++) {
        struct destination *destination = &session->destinations[i];

        if (destination->failed || destination->due == NULL || strcmp(destination->due, type) != 0)
            continue;
        chosen[list.count] = destination;
        repos[list.count++] = destination->repo;
    }
    if (list.count == 0)
        return;
    session->type = type;
    if (backup_make(session->run, session->config, &list, session->keys, &job, &made, &failure)) {
        note_created(session, chosen, made);
        return;
    }
    for (size_t i = 0; i < list.count; i++)
        fail(chosen[i], &failure);
}

/* A new full backup is read back as a whole; of an incremental one only what is new was written, and
 * that was read back as it was. */
static void check(const struct session *session, struct destination *destination)
{
    CX_AUTO(cx_verified_free) cx_verified verified = {0};
    cx_minisign_public key;
    cx_verify_spec spec = {.repo = destination->repo, .key = &key};
    const char *id = cx_json_text_or_empty(destination->result, "id");
    cx_err failure;

    if (!destination->made || !cx_backup_is_full(id))
        return;
    cx_minisign_public_of(session->keys->sign_key, &key);
    if (!cx_verify_backup(&spec, id, &verified, &failure)) {
        fail(destination, &failure);
    } else if (verified.problems_total > 0) {
        cx_fail(&failure, CX_CORRUPT, "%zu objects of %s are damaged, the first one: %s",
                verified.problems_total, id, verified.problems[0].object);
        json_object_set_new(destination->result, "verified", json_false());
        fail(destination, &failure);
    }
    json_object_set_new(destination->result, "checked", json_boolean(!destination->failed));
}

static int64_t retention_ms(const struct session *session, const char *entry, int64_t fallback_ms)
{
    const json_t *schedule = json_object_get(session->backup, "schedule");
    const json_t *seconds = json_object_get(json_object_get(schedule, entry), "retention_seconds");

    return json_is_number(seconds) ? (int64_t)(json_number_value(seconds) * 1000) : fallback_ms;
}

static void prune(const struct session *session, struct destination *destination)
{
    const int64_t day_ms = 24 * 60 * 60 * 1000;
    CX_AUTO(cx_json_free) json_t *pruned = NULL;
    backup_retention retention = {
        .keep_full_ms = retention_ms(session, "full_backup", 30 * day_ms),
        .keep_incremental_ms = retention_ms(session, "incremental_backup", 7 * day_ms),
        .grace_ms = session->option->grace_ms,
    };
    cx_err failure;

    /* Nothing old goes where nothing new came. */
    if (destination->failed)
        return;
    if (!backup_prune_repo(session->run, &retention, destination->repo, NULL, NULL, WAIT_MS,
                           &pruned, &failure)) {
        if (failure.code != CX_NOT_FOUND) /* a dry run before the first backup */
            fail(destination, &failure);
        return;
    }
    json_object_set_new(
        destination->result, "pruned",
        json_integer((json_int_t)json_array_size(json_object_get(pruned, "removed"))));
}

static bool run_policy(cx_run *run, const void *parsed, cx_err *err)
{
    const struct run_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_json_free) json_t *policy = NULL;
    CX_AUTO(backup_close_keys) backup_keys keys = {0};
    CX_AUTO(close_session) struct session session = {.run = run, .option = option, .keys = &keys};
    CX_AUTO(cx_json_free) json_t *document = NULL;
    json_t *destinations = json_array();
    bool ok = true;

    document = json_pack("{s:b, s:b, s:n, s:o}", "ok", false, "changed", false, "type",
                         "destinations", destinations);
    if (!backup_config(run, &config, err) ||
        !cx_policy_load("backup", option->policy, config->policy_dir, &policy, err) ||
        !backup_open_keys(run, &option->keys, &keys, err))
        return false;
    session.config = config;
    session.backup = json_object_get(policy, "backup");
    if (!open_destinations(&session, err))
        return false;
    create(&session, "full");
    create(&session, "incremental");
    if (cx_interrupted())
        return cx_fail(err, CX_INTERRUPTED, "interrupted");
    for (size_t i = 0; i < session.count; i++) {
        struct destination *destination = &session.destinations[i];

        check(&session, destination);
        prune(&session, destination);
        ok = ok && !destination->failed;
        json_array_append(destinations, destination->result);
    }
    json_object_set_new(document, "ok", json_boolean(ok));
    json_object_set_new(document, "changed", json_boolean(session.changed && !run->dry_run));
    if (session.type != NULL)
        json_object_set_new(document, "type", json_string(session.type));
    json_object_set_new(document, "policy", cx_json_text(cx_json_text_or_empty(policy, "source")));
    json_object_set_new(document, "duration_seconds",
                        cx_json_figure((double)(cx_now_ms() - run->started_ms) / 1000));
    run->answer_no = !ok;
    return cx_emit(run, document, err);
}

const cx_command backup_run = {
    .name = "run",
    .summary = "do what the policy says is due: back up, verify, prune; for timers",
    .description =
        "Full or incremental is decided for each destination by the policy's schedule and by what "
        "is there. A new full backup is read back as a whole. A destination that fails does not "
        "stop the others; nothing old is removed there. Exit status 1 when one failed.",
    .options = options,
    .options_size = sizeof(struct run_options),
    .changes = true,
    .run = run_policy,
};
