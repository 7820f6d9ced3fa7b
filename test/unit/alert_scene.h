/* A watcher's alerts, looks at them and what is told: for the tests of lib/health/alert*.c. */
#pragma once

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "health/alert.h"

/* Scenes begin some time after 1970: a time of 0 means "never". */
static const int64_t start_ms = INT64_C(1700000000000);

static const char policy_text[] =
    "{\"alerts\":{\"critical\":["
    "{\"name\":\"split\",\"parsed_condition\":{\"name\":\"partition_detected\"},\"actions\":["
    "\"page\"]},"
    "{\"name\":\"down\",\"parsed_condition\":{\"name\":\"node_unreachable\",\"threshold\":\"> "
    "60s\"},"
    "\"actions\":[\"page\"]}],\"warning\":["
    "{\"name\":\"cpu\",\"parsed_condition\":{\"name\":\"cpu_usage\",\"threshold\":\"> 70%\"},"
    "\"duration_seconds\":300,\"actions\":[\"mail\"]},"
    "{\"name\":\"disk\",\"parsed_condition\":{\"name\":\"disk_usage\",\"threshold\":\"> 80%\"},"
    "\"repeat_seconds\":3600,\"actions\":[\"mail\",\"log\"],\"runbook\":\"disk-full\"},"
    "{\"name\":\"cert\",\"parsed_condition\":{\"name\":\"cert_expiry\",\"threshold\":\"< 30d\"},"
    "\"actions\":[\"mail\"]},"
    "{\"name\":\"full\",\"parsed_condition\":{\"name\":\"agent_count\",\"threshold\":\">= "
    "max_agents\"},"
    "\"actions\":[\"mail\"]},"
    "{\"name\":\"members\",\"parsed_condition\":{\"name\":\"cluster_membership\"},"
    "\"actions\":[\"mail\"]},"
    "{\"name\":\"mute\",\"parsed_condition\":{\"name\":\"agent_responsiveness\"},"
    "\"actions\":[\"mail\"]}]}}";

struct scene {
    cx_alert_rules rules;
    cx_alerts *alerts;
    json_t *changes;
    json_t *notices; /* of the last turn */
    cx_silence silences[4];
    size_t silence_count;
    cx_list watchers;
    bool did_not_look; /* neither at the nodes nor for a split */
};

static inline void scene_close(struct scene *scene)
{
    cx_alert_rules_free(&scene->rules);
    cx_alerts_close(&scene->alerts);
    cx_json_free(&scene->changes);
    cx_json_free(&scene->notices);
    cx_list_free(&scene->watchers);
}

static inline void scene_open(struct scene *scene, const char *self)
{
    CX_AUTO(cx_json_free) json_t *policy = NULL;
    cx_err err = {0};

    *scene = (struct scene){.changes = json_array(), .notices = json_array()};
    assert_true(cx_json_parse(cx_bytes_of(policy_text), sizeof policy_text, "p", &policy, &err));
    if (!cx_alert_rules_read(policy, &scene->rules, &err))
        fail_msg("%s", err.message);
    scene->alerts = cx_alerts_open("prod", self);
    cx_list_add(&scene->watchers, self);
}

/* NAN: it could not be measured. */
static inline void look(struct scene *scene, const char *check, const char *node_id, double value,
                        int64_t at_s)
{
    CX_AUTO(cx_json_free)
    json_t *checks =
        json_pack("[{s:s, s:s?, s:o, s:s, s:s, s:s}]", "name", check, "node_id", node_id, "value",
                  isnan(value) ? json_null() : json_real(value), "unit", "percent", "status",
                  isnan(value) ? "unknown" : "ok", "message", "it is so");

    cx_alerts_look(scene->alerts, &scene->rules, checks, 10, start_ms + at_s * 1000,
                   scene->changes);
}

static inline void look_status(struct scene *scene, const char *check, const char *node_id,
                               const char *status, int64_t at_s)
{
    CX_AUTO(cx_json_free)
    json_t *checks =
        json_pack("[{s:s, s:s?, s:n, s:s, s:s, s:s}]", "name", check, "node_id", node_id, "value",
                  "unit", "", "status", status, "message", "it is so");

    cx_alerts_look(scene->alerts, &scene->rules, checks, 10, start_ms + at_s * 1000,
                   scene->changes);
}

static inline void look_at_node(struct scene *scene, const char *node_id, bool down, int64_t at_s)
{
    cx_alerts_look_at_node(scene->alerts, &scene->rules, node_id, down, 0, "no answer",
                           start_ms + at_s * 1000, scene->changes);
}

/* What is told at that time, as words "NAME/SUBJECT/STATUS". */
static inline const char *told(struct scene *scene, int64_t at_s)
{
    static char text[512];
    size_t at;
    json_t *notice;

    text[0] = '\0';
    if (!scene->did_not_look) {
        cx_alerts_looked_for(scene->alerts, CX_ALERT_OF_NODE, start_ms + at_s * 1000);
        cx_alerts_looked_for(scene->alerts, CX_ALERT_OF_SPLIT, start_ms + at_s * 1000);
    }
    cx_json_free(&scene->notices);
    scene->notices = json_array();
    cx_alerts_sift(scene->alerts, &scene->rules, scene->silences, scene->silence_count,
                   start_ms + at_s * 1000);
    cx_alerts_tell(scene->alerts, &scene->rules, &scene->watchers, start_ms + at_s * 1000,
                   scene->notices);
    json_array_foreach (scene->notices, at, notice) {
        CX_AUTO(cx_free)
        char *word = cx_format(
            "%s%s/%s/%s", at > 0 ? " " : "", cx_json_text_or_empty(notice, "name"),
            cx_json_text_or_empty(notice, "subject"), cx_json_text_or_empty(notice, "status"));

        strncat(text, word, sizeof text - strlen(text) - 1);
    }
    return text;
}

static inline const char *state_of(const struct scene *scene, const char *name, const char *subject)
{
    const cx_alert *alert = cx_alerts_find(scene->alerts, name, subject);

    return alert != NULL ? cx_alert_state_word(alert->state) : "";
}

static inline void silence(struct scene *scene, const char *name, const char *subject,
                           int64_t until_s)
{
    cx_silence *made = &scene->silences[scene->silence_count++];

    *made = (cx_silence){.id = "S1", .from_ms = start_ms, .until_ms = start_ms + until_s * 1000};
    strcpy(made->name, name);
    strcpy(made->subject, subject);
}
