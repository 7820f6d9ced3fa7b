#include "api/selection.h"

#include <string.h>

#include "base/time.h"

static double number_at(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static bool id_wanted(const json_t *agent, const cx_agent_selection *selection)
{
    const char *id = cx_json_text_or_empty(agent, "id");

    for (size_t i = 0; i < selection->id_count; i++)
        if (strcmp(selection->ids[i], id) == 0)
            return true;
    return selection->id_count == 0;
}

static bool word_wanted(const json_t *agent, const char *key, const char *wanted)
{
    return wanted == NULL || strcmp(cx_json_text_or_empty(agent, key), wanted) == 0;
}

bool cx_agent_selected(const json_t *agent, const cx_agent_selection *selection, int64_t wall_ms)
{
    if (!id_wanted(agent, selection) || !word_wanted(agent, "state", selection->state) ||
        !word_wanted(agent, "priority", selection->priority))
        return false;
    if (selection->slow_threshold_ms > 0 &&
        cx_agent_slowness_ms(agent) < (double)selection->slow_threshold_ms)
        return false;
    return selection->inactive_for_ms == 0 ||
           cx_agent_idle_ms(agent, wall_ms) >= selection->inactive_for_ms;
}

double cx_agent_slowness_ms(const json_t *agent)
{
    double p99 = number_at(json_object_get(agent, "latency_ms"), "p99");
    double oldest = number_at(agent, "oldest_in_flight_seconds") * 1000;

    return p99 > oldest ? p99 : oldest;
}

int64_t cx_agent_idle_ms(const json_t *agent, int64_t wall_ms)
{
    static const char *const keys[] = {"last_active", "started_at"};
    cx_err ignored = {0};
    int64_t since_ms = 0;

    if (number_at(agent, "queued") > 0 || number_at(agent, "in_flight") > 0)
        return 0;
    for (size_t i = 0; i < CX_COUNT(keys); i++) {
        const char *text = cx_json_text_or_empty(agent, keys[i]);

        if (text[0] != '\0' && cx_time_parse(text, &since_ms, &ignored))
            return wall_ms > since_ms ? wall_ms - since_ms : 0;
    }
    return -1;
}
