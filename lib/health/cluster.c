#include <inttypes.h>
#include <string.h>

#include "base/time.h"
#include "health/judge.h"

static const cx_judged membership = {"cluster", NULL, CX_CHECK_MEMBERSHIP};
static const cx_judged convergence = {"cluster", NULL, CX_CHECK_CONVERGENCE};
static const cx_judged partition = {"cluster", NULL, CX_CHECK_PARTITION};
static const cx_judged versions = {"cluster", NULL, CX_CHECK_VERSIONS};

/* ---- members */

struct census {
    int64_t alive, suspect, failed;
    double longest_failed_seconds;
    const char *first_failed;
};

static struct census count_members(const json_t *members, int64_t wall_ms)
{
    struct census census = {.first_failed = ""};
    size_t i;
    json_t *member;

    json_array_foreach (members, i, member) {
        const char *status = cx_json_text_or_empty(member, "status");
        int64_t since_ms = wall_ms;
        cx_err ignored = {0};

        census.alive += strcmp(status, "alive") == 0;
        census.suspect += strcmp(status, "suspect") == 0;
        if (strcmp(status, "failed") != 0)
            continue;
        if (census.failed++ == 0)
            census.first_failed = cx_json_text_or_empty(member, "node_id");
        if (cx_time_parse(cx_json_text_or_empty(member, "since"), &since_ms, &ignored) &&
            (double)(wall_ms - since_ms) / 1000 > census.longest_failed_seconds)
            census.longest_failed_seconds = (double)(wall_ms - since_ms) / 1000;
    }
    return census;
}

static void check_membership(const cx_health_policy *policy, const json_t *cluster, int64_t wall_ms,
                             json_t *checks)
{
    const json_t *status = json_object_get(cluster, "status");
    struct census census = count_members(json_object_get(cluster, "members"), wall_ms);
    int64_t expected = json_integer_value(json_object_get(status, "expected"));
    int64_t up = census.alive + census.suspect; /* a suspect is alive until proven otherwise */
    cx_health health = CX_HEALTH_OK;
    CX_AUTO(cx_free) char *threshold = cx_format(">= %" PRId64, expected);
    CX_AUTO(cx_buffer_free) cx_buffer message = {0};

    if (census.failed > 0 || up < expected || census.suspect > 0)
        health = CX_HEALTH_WARNING;
    if (census.longest_failed_seconds > policy->unreachable_seconds || up * 2 <= expected)
        health = CX_HEALTH_CRITICAL;
    cx_buffer_addf(&message, "%" PRId64 " members are alive", census.alive);
    if (expected > 0)
        cx_buffer_addf(&message, ", %" PRId64 " expected", expected);
    if (census.suspect > 0)
        cx_buffer_addf(&message, ", %" PRId64 " suspect", census.suspect);
    if (census.failed > 0)
        cx_buffer_addf(&message, ", %" PRId64 " failed (%s%s)", census.failed, census.first_failed,
                       census.failed > 1 ? ", …" : "");
    cx_judge_as(policy, membership, json_integer(census.alive), threshold, health,
                (const char *)message.data, checks);
}

static void check_partition(const cx_health_policy *policy, const json_t *cluster, json_t *checks)
{
    const char *state = cx_json_text_or_empty(json_object_get(cluster, "status"), "partition");
    CX_AUTO(cx_free) char *message = NULL;

    if (state[0] == '\0') {
        cx_judge_unknown(policy, partition, "the gossip agent does not tell", checks);
        return;
    }
    message = cx_format("this side of the cluster is %s %s",
                        strcmp(state, "majority") == 0 ? "the" : "a", state);
    if (strcmp(state, "isolated") == 0) {
        cx_free(&message);
        message = cx_strdup("this node sees no other");
    }
    cx_judge_as(policy, partition, cx_json_text(state), "majority",
                strcmp(state, "majority") == 0 ? CX_HEALTH_OK : CX_HEALTH_CRITICAL, message,
                checks);
}

/* ---- what the members see */

/* Adds a text to a set of different ones. */
static void note(json_t *set, const char *text)
{
    if (text[0] != '\0')
        json_object_set_new(set, text, json_true());
}

static void check_convergence(const cx_health_policy *policy, const json_t *cluster,
                              const cx_health_node *nodes, size_t count, json_t *checks)
{
    CX_AUTO(cx_json_free) json_t *digests = json_object();
    CX_AUTO(cx_free) char *message = NULL;
    const cx_health_node *silent = NULL;
    size_t answered = 0;

    note(digests, cx_json_text_or_empty(cluster, "digest"));
    for (size_t i = 0; i < count; i++) {
        const char *digest = cx_json_text_or_empty(nodes[i].cluster, "digest");

        note(digests, digest);
        answered += digest[0] != '\0';
        if (digest[0] == '\0')
            silent = &nodes[i];
    }

    size_t views = json_object_size(digests);
    cx_health health = CX_HEALTH_OK;

    if (views > 1) {
        health = CX_HEALTH_WARNING;
        message = cx_format("members see %zu different clusters", views);
    } else if (silent != NULL) {
        health = CX_HEALTH_UNKNOWN;
        message = cx_format("%zu of %zu members could not be asked: %s", count - answered, count,
                            silent->error != NULL && silent->error->message[0] != '\0'
                                ? silent->error->message
                                : silent->node_id);
    } else {
        message = cx_format("%zu members see the same cluster", answered);
    }
    cx_judge_as(policy, convergence, json_integer((json_int_t)views), "1 view", health, message,
                checks);
}

static void check_versions(const cx_health_policy *policy, const json_t *cluster, json_t *checks)
{
    CX_AUTO(cx_json_free) json_t *found = json_object();
    CX_AUTO(cx_buffer_free) cx_buffer message = {0};
    size_t i;
    json_t *member, *ignored;
    const char *version;

    json_array_foreach (json_object_get(cluster, "members"), i, member) {
        const char *status = cx_json_text_or_empty(member, "status");

        if (strcmp(status, "alive") == 0 || strcmp(status, "suspect") == 0)
            note(found, cx_json_text_or_empty(json_object_get(member, "tags"), "version"));
    }

    size_t count = json_object_size(found);

    if (count == 0) {
        cx_judge_unknown(policy, versions, "no member tells its version", checks);
        return;
    }
    cx_buffer_add_text(&message,
                       count == 1 ? "all members run" : "members run different versions:");
    json_object_foreach (found, version, ignored)
        cx_buffer_addf(&message, " %s", version);
    cx_judge_as(policy, versions, json_integer((json_int_t)count), "1 version",
                count == 1 ? CX_HEALTH_OK : CX_HEALTH_WARNING, (const char *)message.data, checks);
}

void cx_health_check_cluster(const cx_health_policy *policy, const json_t *cluster,
                             const cx_err *error, const cx_health_node *nodes, size_t count,
                             int64_t wall_ms, json_t *checks)
{
    const char *why =
        error != NULL && error->message[0] != '\0' ? error->message : "the membership is not known";

    if (cluster == NULL) {
        cx_judge_as(policy, membership, NULL, "", CX_HEALTH_CRITICAL, why, checks);
        cx_judge_unknown(policy, convergence, why, checks);
        cx_judge_unknown(policy, partition, why, checks);
        cx_judge_unknown(policy, versions, why, checks);
        return;
    }
    check_membership(policy, cluster, wall_ms, checks);
    check_convergence(policy, cluster, nodes, count, checks);
    check_partition(policy, cluster, checks);
    check_versions(policy, cluster, checks);
}
