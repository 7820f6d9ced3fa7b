#include "quiet.h"

#include <stdio.h>
#include <string.h>

#include "base/time.h"

/* A quiet one is looked at again long before. */
static const int64_t ahead_ms = INT64_C(86400) * 1000;

const char *health_quiet_word(const json_t *member)
{
    static const char *const words[] = {"draining", "drained", "maintenance"};
    const char *said = cx_json_text_or_empty(json_object_get(member, "tags"), "state");

    for (size_t i = 0; i < CX_COUNT(words); i++)
        if (strcmp(words[i], said) == 0)
            return words[i];
    return NULL;
}

bool health_quiet_of(const json_t *member, int64_t wall_ms, cx_silence *silence)
{
    const char *word = health_quiet_word(member);
    const char *node_id = cx_json_text_or_empty(member, "node_id");
    int64_t until_ms = wall_ms + ahead_ms, since_ms;
    cx_err ignored;

    if (word == NULL || node_id[0] == '\0' || strlen(node_id) >= sizeof silence->subject)
        return false;
    if (strcmp(cx_json_text_or_empty(member, "status"), "failed") == 0) {
        if (!cx_time_parse(cx_json_text_or_empty(member, "since"), &since_ms, &ignored))
            return false;
        until_ms = since_ms + HEALTH_QUIET_FAILED_MS;
    }
    *silence = (cx_silence){.name = "*", .from_ms = 0, .until_ms = until_ms};
    snprintf(silence->id, sizeof silence->id, "%s", word);
    snprintf(silence->subject, sizeof silence->subject, "%s", node_id);
    return wall_ms < until_ms;
}

json_t *health_quiet_list(const json_t *members, int64_t wall_ms)
{
    json_t *list = json_array();
    size_t at;
    json_t *member;

    json_array_foreach ((json_t *)members, at, member) {
        cx_silence silence;

        if (health_quiet_of(member, wall_ms, &silence))
            json_array_append_new(list,
                                  json_pack("{s:s, s:s, s:o, s:o, s:o}", "id", silence.id, "name",
                                            silence.name, "subject", cx_json_text(silence.subject),
                                            "starts_at", cx_json_time(silence.from_ms), "ends_at",
                                            cx_json_time(silence.until_ms)));
    }
    return list;
}
