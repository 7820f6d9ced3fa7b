#include <string.h>

#include "base/time.h"
#include "watch.h"

enum { SETTLE_MS = 2000 };

/* ---- which checks make a round */

static const struct group {
    const char *name;
    health_parts parts;
    cx_check_kind kinds[8];
    size_t count;
} groups[] = {
    [WATCH_CLUSTER] = {"cluster_health",
                       {.cluster = true},
                       {CX_CHECK_MEMBERSHIP, CX_CHECK_CONVERGENCE, CX_CHECK_PARTITION,
                        CX_CHECK_VERSIONS},
                       4},
    [WATCH_NODES] = {"node_health",
                     {.node = true, .certs = true, .backups = true},
                     {CX_CHECK_CPU, CX_CHECK_MEMORY, CX_CHECK_DISK, CX_CHECK_AGENT_COUNT,
                      CX_CHECK_QUEUE_DEPTH, CX_CHECK_CERT_EXPIRY, CX_CHECK_BACKUP_AGE},
                     7},
    [WATCH_AGENTS] = {"agent_health",
                      {.agents = true},
                      {CX_CHECK_RESPONSIVENESS, CX_CHECK_PROCESSING_TIME, CX_CHECK_ERROR_RATE},
                      3},
};

enum { ROUNDS_MAX = CX_CHECKS + 3 };

static int64_t ms_of(const json_t *object, const char *key, int64_t fallback_ms)
{
    double seconds = json_number_value(json_object_get(object, key));

    return seconds > 0 ? (int64_t)(seconds * 1000) : fallback_ms;
}

static const json_t *group_of(const watch_self *watch, watch_group group)
{
    return json_object_get(json_object_get(watch->now.health, "health_checks"), groups[group].name);
}

/* What health.yaml says of one check: an interval and a time-out of its own. */
static const json_t *said_of(const json_t *group, cx_check_kind kind)
{
    size_t at;
    json_t *condition;

    json_array_foreach (json_object_get(group, "conditions"), at, condition)
        if (strcmp(cx_json_text_or_empty(condition, "name"), cx_check_name(kind)) == 0)
            return condition;
    return NULL;
}

static watch_round *round_of(watch_self *watch, watch_group group, int64_t interval_ms,
                             int64_t timeout_ms)
{
    watch_round *round;

    for (size_t i = 0; i < watch->round_count; i++) {
        round = &watch->rounds[i];
        if (round->group == group && round->interval_ms == interval_ms &&
            round->timeout_ms == timeout_ms)
            return round;
    }
    round = &watch->rounds[watch->round_count++];
    *round = (watch_round){.watch = watch,
                           .group = group,
                           .parts = groups[group].parts,
                           .interval_ms = interval_ms,
                           .timeout_ms = timeout_ms,
                           .policy = watch->now.policy};
    for (size_t i = 0; i < CX_CHECKS; i++)
        round->policy.rules[i].wanted = false;
    return round;
}

/* Alerts need to know how often somebody looks. */
static void tell_rules(watch_self *watch, cx_check_kind kind, int64_t interval_ms)
{
    for (size_t i = 0; i < watch->now.rules.count; i++) {
        cx_alert_rule *rule = &watch->now.rules.items[i];
        bool of_split = rule->about == CX_ALERT_OF_SPLIT && kind == CX_CHECK_PARTITION;

        if (of_split || strcmp(rule->condition.name, cx_check_name(kind)) == 0)
            rule->every_ms = interval_ms;
    }
}

static void plan_group(watch_self *watch, watch_group group)
{
    const json_t *said = group_of(watch, group);
    int64_t interval_ms = ms_of(said, "interval_seconds", 30000);
    int64_t timeout_ms = ms_of(said, "timeout_seconds", 5000);

    /* Members and reachability are looked at even when nothing else is. */
    if (group != WATCH_AGENTS)
        round_of(watch, group, interval_ms, timeout_ms);
    for (size_t i = 0; i < groups[group].count; i++) {
        cx_check_kind kind = groups[group].kinds[i];
        const json_t *check = said_of(said, kind);
        int64_t own_ms = ms_of(check, "interval_seconds", interval_ms);

        if (!watch->now.policy.rules[kind].wanted)
            continue;
        round_of(watch, group, own_ms, ms_of(check, "timeout_seconds", timeout_ms))
            ->policy.rules[kind]
            .wanted = true;
        tell_rules(watch, kind, own_ms);
    }
    for (size_t i = 0; group == WATCH_NODES && i < watch->now.rules.count; i++)
        if (watch->now.rules.items[i].about == CX_ALERT_OF_NODE)
            watch->now.rules.items[i].every_ms = interval_ms;
}

/* ---- a worker's job */

struct seen_node {
    char *node_id, *why;
    bool looked, down; /* looked: it is known whether it can be reached */
    int64_t down_since_ms;
    double max_agents;
    json_t *checks;
    json_t *node, *agents; /* what it said; NULL: nothing */
};

struct round_job {
    watch_round *round;
    const cx_config *config;
    int64_t asked_ms;   /* monotonic */
    cx_api_nodes nodes; /* the members as last seen, for when nobody tells them */
    json_t *cluster;
    struct seen_node *seen;
    json_t *checks; /* of the cluster */
    bool failed;
    cx_err err;
};

static int64_t failed_since_ms(const json_t *cluster, const char *node_id)
{
    int64_t since_ms = 0;
    size_t at;
    json_t *member;
    cx_err ignored;

    json_array_foreach (json_object_get(cluster, "members"), at, member)
        if (strcmp(cx_json_text_or_empty(member, "node_id"), node_id) == 0 &&
            strcmp(cx_json_text_or_empty(member, "status"), "failed") == 0 &&
            cx_time_parse(cx_json_text_or_empty(member, "since"), &since_ms, &ignored))
            return since_ms;
    return 0;
}

static void see_node(struct round_job *job, health_session *session, const health_answers *answers,
                     size_t at)
{
    cx_health_node node = health_answer(answers, at);
    const cx_err *error = &answers->node_errors[at];
    const cx_api_node *asked = &job->nodes.items[at];
    struct seen_node *seen = &job->seen[at];
    bool failed = strcmp(asked->status, "failed") == 0;
    bool silent = error->code == CX_UNAVAILABLE || error->code == CX_TIMEOUT;

    seen->node_id = cx_strdup(asked->node_id[0] != '\0' ? asked->node_id : node.node_id);
    seen->checks = json_array();
    seen->node = json_incref((json_t *)node.node);
    seen->agents = json_incref((json_t *)node.agents);
    node.node_id = seen->node_id;
    health_check_one(session, &node, job->round->parts, cx_wall_ms(), seen->checks);
    seen->max_agents =
        json_number_value(json_object_get(json_object_get(node.node, "agents"), "max"));
    /* One that refuses us is there. */
    seen->looked = node.node != NULL || failed || silent;
    seen->down = node.node == NULL;
    seen->down_since_ms = failed ? failed_since_ms(job->cluster, seen->node_id) : 0;
    seen->why = cx_format(node.node != NULL ? "it answers" : "%s", error->message);
}

static bool ask_nodes(struct round_job *job, health_session *session, cx_err *err)
{
    CX_AUTO(health_answers_free) health_answers answers = {0};
    CX_AUTO(cx_api_nodes_free) cx_api_nodes members = {0};
    cx_err ignored;

    /* Without any membership the nodes that were there are asked. */
    if (cx_api_cluster(job->round->api, job->round->timeout_ms, &job->cluster, &ignored)) {
        health_members(job->cluster, &members);
        cx_api_nodes_free(&job->nodes);
        job->nodes = members;
        members = (cx_api_nodes){0};
    }
    session->deadline_ms = cx_now_ms() + job->round->timeout_ms;
    if (!health_ask(session, &job->nodes, job->round->parts.agents, &answers, err))
        return false;
    job->seen = cx_alloc(job->nodes.count + 1, sizeof *job->seen);
    for (size_t i = 0; i < job->nodes.count; i++)
        see_node(job, session, &answers, i);
    return true;
}

static bool ask(struct round_job *job, cx_err *err)
{
    watch_round *round = job->round;
    health_session session = {.policy = &round->policy};

    if (round->api == NULL && !cx_api_open(job->config, &round->api, err))
        return false;
    session.api = round->api;
    session.deadline_ms = cx_now_ms() + round->timeout_ms;
    if (round->group != WATCH_CLUSTER)
        return ask_nodes(job, &session, err);
    job->checks = json_array();
    return health_check_cluster(&session, SETTLE_MS, &job->cluster, job->checks, err);
}

static void round_work(void *data)
{
    struct round_job *job = data;

    job->failed = !ask(job, &job->err);
}

static void job_free(struct round_job *job)
{
    for (size_t i = 0; job->seen != NULL && i < job->nodes.count; i++) {
        cx_free(&job->seen[i].node_id);
        cx_free(&job->seen[i].why);
        cx_json_free(&job->seen[i].checks);
        cx_json_free(&job->seen[i].node);
        cx_json_free(&job->seen[i].agents);
    }
    cx_free(&job->seen);
    cx_api_nodes_free(&job->nodes);
    cx_json_free(&job->cluster);
    cx_json_free(&job->checks);
    cx_free(&job);
}

/* ---- what was seen, in the loop */

bool watch_take_membership(watch_self *watch, const json_t *cluster, int64_t asked_ms)
{
    size_t at;
    json_t *member;

    if (asked_ms < watch->cluster_ms)
        return false;
    watch->cluster_ms = asked_ms;
    cx_json_free(&watch->cluster);
    watch->cluster = json_incref((json_t *)cluster);
    cx_api_nodes_free(&watch->members);
    health_members(cluster, &watch->members);
    cx_list_free(&watch->subjects);
    cx_list_free(&watch->watchers);
    cx_api_nodes_free(&watch->watcher_nodes);
    json_array_foreach (json_object_get(cluster, "members"), at, member) {
        const char *status = cx_json_text_or_empty(member, "status");
        const char *node_id = cx_json_text_or_empty(member, "node_id");
        const char *listens = cx_json_text_or_empty(json_object_get(member, "tags"), "watch");

        if (strcmp(status, "left") == 0 || strcmp(status, "leaving") == 0)
            continue;
        cx_list_add(&watch->subjects, node_id);
        if (listens[0] == '\0' || strcmp(status, "failed") == 0)
            continue;
        cx_list_add(&watch->watchers, node_id);
        cx_api_nodes_add(&watch->watcher_nodes, node_id, listens, status);
    }
    health_board_keep(watch->board, &watch->subjects);
    watch_blind_ends(watch);
    watch_peers_ask(watch);
    return true;
}

static void log_changes(const watch_self *watch, size_t from)
{
    for (size_t i = from; i < json_array_size(watch->unsaved_changes); i++) {
        const json_t *change = json_array_get(watch->unsaved_changes, i);
        bool firing = strcmp(cx_json_text_or_empty(change, "state"), "firing") == 0;

        cx_log_write(&watch->log, firing ? CX_WARN : CX_INFO, "alert", "{s:O}", "alert", change);
    }
}

static void look(watch_self *watch, watch_round *round, struct round_job *job)
{
    int64_t wall_ms = cx_wall_ms();
    size_t known = json_array_size(watch->unsaved_changes);
    json_t *all = json_array();

    if (job->checks != NULL) {
        cx_alerts_look(watch->alerts, &watch->now.rules, job->checks, 0, wall_ms,
                       watch->unsaved_changes);
        json_array_extend(all, job->checks);
    }
    for (size_t i = 0; job->seen != NULL && i < job->nodes.count; i++) {
        const struct seen_node *seen = &job->seen[i];

        health_board_see(watch->board, seen->node_id, seen->node, wall_ms);
        health_board_see_agents(watch->board, seen->node_id, seen->agents);
        if (seen->looked && round->parts.node)
            cx_alerts_look_at_node(watch->alerts, &watch->now.rules, seen->node_id, seen->down,
                                   seen->down_since_ms, seen->why, wall_ms, watch->unsaved_changes);
        cx_alerts_look(watch->alerts, &watch->now.rules, seen->checks, seen->max_agents, wall_ms,
                       watch->unsaved_changes);
        json_array_extend(all, seen->checks);
    }
    if (round->group == WATCH_CLUSTER && round->policy.rules[CX_CHECK_PARTITION].wanted)
        cx_alerts_looked_for(watch->alerts, CX_ALERT_OF_SPLIT, wall_ms);
    if (round->group == WATCH_NODES)
        cx_alerts_looked_for(watch->alerts, CX_ALERT_OF_NODE, wall_ms);
    if (job->cluster != NULL)
        cx_alerts_forget(watch->alerts, &watch->now.rules, &watch->subjects, wall_ms,
                         watch->unsaved_changes);
    log_changes(watch, known);
    cx_json_free(&round->checks);
    round->checks = all;
}

static void round_done(void *data)
{
    struct round_job *job = data;
    watch_round *round = job->round;
    watch_self *watch = round->watch;

    round->running = false;
    round->done_once = true;
    round->error = job->failed ? job->err : (cx_err){0};
    if (job->failed) {
        cx_log_error(&watch->log, CX_ERROR, "round_failed", &job->err);
        cx_json_free(&round->checks); /* what was is not what is */
    } else {
        if (job->cluster != NULL)
            watch_take_membership(watch, job->cluster, job->asked_ms);
        else if (job->asked_ms >= watch->cluster_ms)
            watch_blind_begins(watch);
        look(watch, round, job);
    }
    job_free(job);
    if (round->again && !watch->stopping)
        watch_round_start(round);
    watch_turn(watch);
    watch_job_ended(watch);
}

void watch_round_start(watch_round *round)
{
    watch_self *watch = round->watch;
    struct round_job *job;

    round->again = round->running;
    if (round->running || watch->stopping || watch->next != NULL)
        return;
    job = cx_alloc(1, sizeof *job);
    job->round = round;
    job->config = watch->config;
    job->asked_ms = cx_now_ms();
    for (size_t i = 0; i < watch->members.count; i++) {
        const cx_api_node *node = &watch->members.items[i];

        cx_api_nodes_add(&job->nodes, node->node_id, node->api_addr, node->status);
    }
    if (!cx_pool_add(watch->askers, round_work, round_done, job)) {
        job_free(job);
        return;
    }
    round->running = true;
    watch->working++;
}

void watch_rounds_now(watch_self *watch)
{
    for (size_t i = 0; i < watch->round_count; i++)
        if (watch->rounds[i].group != WATCH_AGENTS)
            watch_round_start(&watch->rounds[i]);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    watch_round *round = arg;

    (void)fd;
    (void)what;
    watch_set_timer(round->timer, round->interval_ms);
    if (round->running) /* the last one hangs: another would make a sick cluster sicker */
        cx_log_write(&round->watch->log, CX_WARN, "round_late", "{s:s, s:I}", "group",
                     groups[round->group].name, "interval_ms", (json_int_t)round->interval_ms);
    else
        watch_round_start(round);
}

void watch_rounds_open(watch_self *watch)
{
    watch->rounds = cx_alloc(ROUNDS_MAX, sizeof *watch->rounds);
    watch->round_count = 0;
    for (watch_group group = WATCH_CLUSTER; group <= WATCH_AGENTS; group++)
        plan_group(watch, group);
    for (size_t i = 0; i < watch->round_count; i++) {
        watch_round *round = &watch->rounds[i];

        round->timer = evtimer_new(watch->loop, on_timer, round);
        watch_set_timer(round->timer, round->interval_ms);
        watch_round_start(round);
    }
}

void watch_rounds_close(watch_self *watch)
{
    for (size_t i = 0; i < watch->round_count; i++) {
        event_free(watch->rounds[i].timer);
        cx_api_close(&watch->rounds[i].api);
        cx_json_free(&watch->rounds[i].checks);
    }
    cx_free(&watch->rounds);
    watch->round_count = 0;
}
