#include "mode.h"

#include <string.h>

#include "base/text.h"
#include "base/time.h"

/* What maintenance can allow: the verbs of the routes that change something, and sending. */
static const char *const operations[] = {
    "send",   "deploy", "remove",     "restart", "suspend",
    "resume", "retry",  "checkpoint", "lease",   NULL,
};

const char *node_state_word(node_state state)
{
    switch (state) {
    case NODE_ACTIVE: return "active";
    case NODE_DRAINING: return "draining";
    case NODE_DRAINED: return "drained";
    case NODE_MAINTENANCE: return "maintenance";
    }
    return NULL;
}

static bool parse_priority(const char *text, node_priority *priority, cx_err *err)
{
    for (int i = 0; node_priority_word((node_priority)i) != NULL; i++) {
        if (strcmp(text, node_priority_word((node_priority)i)) == 0) {
            *priority = (node_priority)i;
            return true;
        }
    }
    return cx_fail(err, CX_INVALID, "suspend_below: '%.40s' is none of low, normal, critical",
                   text);
}

static bool parse_allow(const json_t *list, cx_list *allow, cx_err *err)
{
    size_t count = sizeof operations / sizeof operations[0] - 1;

    if (list == NULL || json_is_null(list))
        return true;
    if (!json_is_array(list) || json_array_size(list) > NODE_ALLOW_MAX)
        return cx_fail(err, CX_INVALID, "allow: a list of at most %d operations is needed",
                       NODE_ALLOW_MAX);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        bool known = false;

        for (size_t j = 0; text != NULL && j < count; j++)
            known |= strcmp(text, operations[j]) == 0;
        if (!known) {
            const char *nearest = text == NULL ? NULL : cx_nearest(text, operations, count);

            cx_fail(err, CX_INVALID, "allow[%zu]: unknown operation '%.40s'", i,
                    text == NULL ? "" : text);
            return nearest == NULL
                       ? cx_hint(err, "send, deploy, remove, restart, suspend, resume, retry, "
                                      "checkpoint, lease")
                       : cx_hint(err, "did you mean %s?", nearest);
        }
        if (!cx_list_has(allow, text))
            cx_list_add(allow, text);
    }
    return true;
}

bool node_drain_request_parse(const json_t *json, node_drain_request *request, cx_err *err)
{
    static const char *const keys[] = {"mode",          "duration_ms", "allow",
                                       "suspend_below", "reason",      NULL};
    const char *mode = "drain", *below = "normal", *reason = "";

    *request = (node_drain_request){0};
    if (!cx_json_only_keys(json, "request", keys, err) ||
        !cx_json_get_text(json, "request", "mode", &mode, err) ||
        !cx_json_get_text(json, "request", "suspend_below", &below, err) ||
        !cx_json_get_text(json, "request", "reason", &reason, err) ||
        !cx_json_get_int(json, "request", "duration_ms", 0, INT64_C(366) * 86400 * 1000,
                         &request->duration_ms, err) ||
        !parse_priority(below, &request->suspend_below, err) ||
        !parse_allow(json_object_get(json, "allow"), &request->allow, err))
        return false;
    if (strcmp(mode, "drain") != 0 && strcmp(mode, "maintenance") != 0)
        return cx_fail(err, CX_INVALID, "mode: '%.40s' is neither drain nor maintenance", mode);
    request->maintenance = strcmp(mode, "maintenance") == 0;
    if (!request->maintenance && (request->duration_ms > 0 || request->allow.count > 0))
        return cx_fail(err, CX_INVALID, "duration_ms and allow belong to the mode maintenance");
    if (strlen(reason) > NODE_REASON_MAX)
        return cx_fail(err, CX_INVALID, "reason: more than %d bytes", NODE_REASON_MAX);
    request->reason = reason;
    return true;
}

void node_drain_request_free(node_drain_request *request)
{
    cx_list_free(&request->allow);
}

static void copy_list(cx_list *to, const cx_list *from)
{
    cx_list_free(to);
    for (size_t i = 0; i < from->count; i++)
        cx_list_add(to, from->items[i]);
}

bool node_mode_enter(node_mode *mode, const node_drain_request *request, const char *owner,
                     int64_t now_ms, bool *changed, cx_err *err)
{
    char until[CX_TIME_TEXT_SIZE];

    *changed = false;
    if (mode->state != NODE_ACTIVE && mode->maintenance == request->maintenance)
        return true;
    if (mode->state != NODE_ACTIVE && mode->maintenance) {
        cx_fail(err, CX_BUSY, "it is in maintenance%s%s, by %s: %s",
                mode->until_ms == 0 ? "" : " until ",
                mode->until_ms == 0 ? "" : cx_time_text(mode->until_ms, until), mode->owner,
                mode->reason);
        return cx_hint(err, "cx-drain exit ends it");
    }
    *changed = true;
    mode->maintenance = request->maintenance;
    mode->until_ms = request->duration_ms == 0 ? 0 : now_ms + request->duration_ms;
    mode->suspend_below = request->suspend_below;
    copy_list(&mode->allow, &request->allow);
    cx_free(&mode->reason);
    cx_free(&mode->owner);
    mode->reason = cx_strdup(request->reason == NULL ? "" : request->reason);
    mode->owner = cx_strdup(owner);
    if (mode->state == NODE_DRAINED) {
        mode->state = NODE_MAINTENANCE;
    } else if (mode->state == NODE_ACTIVE) {
        mode->state = NODE_DRAINING;
        mode->entered_ms = now_ms;
        mode->handed_over = mode->completed = mode->waited_ms = 0;
    }
    return true;
}

void node_mode_drained(node_mode *mode, int64_t now_ms)
{
    mode->state = mode->maintenance ? NODE_MAINTENANCE : NODE_DRAINED;
    mode->waited_ms = now_ms > mode->entered_ms ? now_ms - mode->entered_ms : 0;
}

void node_mode_exit(node_mode *mode)
{
    node_mode_free(mode);
}

bool node_mode_is_over(const node_mode *mode, int64_t now_ms)
{
    return mode->state != NODE_ACTIVE && mode->until_ms != 0 && now_ms >= mode->until_ms;
}

bool node_mode_check(const node_mode *mode, const char *node_id, const char *operation, cx_err *err)
{
    bool is_send = strcmp(operation, "send") == 0;
    bool allowed = mode->allow.count > 0 ? cx_list_has(&mode->allow, operation) : !is_send;

    if (mode->state == NODE_ACTIVE || (!mode->maintenance && !is_send) ||
        (mode->maintenance && allowed))
        return true;
    cx_fail(err, CX_DRAINING, "%s is %s (by %s%s%s)%s%s", node_id, node_state_word(mode->state),
            mode->owner, mode->reason[0] == '\0' ? "" : ": ", mode->reason,
            is_send ? "" : ", which does not allow ", is_send ? "" : operation);
    return cx_hint(err, is_send ? "send to another node" : "cx-drain status shows what is allowed");
}

json_t *node_mode_to_json(const node_mode *mode)
{
    bool active = mode->state == NODE_ACTIVE;

    return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:I, s:I, s:o}", "state",
                     node_state_word(mode->state), "mode",
                     active ? json_null()
                            : json_string(mode->maintenance ? "maintenance" : "drain"),
                     "entered_at", active ? json_null() : cx_json_time(mode->entered_ms), "until",
                     cx_json_time_or_null(mode->until_ms), "reason",
                     active ? json_null() : cx_json_text(mode->reason), "owner",
                     active ? json_null() : cx_json_text(mode->owner), "suspend_below",
                     node_priority_word(mode->suspend_below), "allow", cx_json_texts(&mode->allow),
                     "suspended", cx_json_texts(&mode->suspended), "handed_over",
                     (json_int_t)mode->handed_over, "completed", (json_int_t)mode->completed,
                     "waited_seconds", cx_json_figure((double)mode->waited_ms / 1000.0));
}

static bool read_list(const json_t *json, const char *key, cx_list *list, cx_err *err)
{
    const json_t *array = json_object_get(json, key);

    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *text = json_string_value(json_array_get(array, i));

        if (text == NULL || !cx_check_id(key, text, err))
            return cx_fail(err, CX_INVALID, "mode: %s[%zu] is no name", key, i);
        cx_list_add(list, text);
    }
    return true;
}

static bool read_time(const json_t *json, const char *key, int64_t *wall_ms, cx_err *err)
{
    const char *text = NULL;

    return cx_json_get_text(json, "mode", key, &text, err) &&
           (text == NULL || cx_time_parse(text, wall_ms, err) || cx_wrap(err, "mode: %s", key));
}

bool node_mode_from_json(const json_t *json, node_mode *mode, cx_err *err)
{
    const char *state = NULL, *kind = NULL, *below = "normal", *reason = "", *owner = "";
    int found = -1;

    *mode = (node_mode){0};
    if (!cx_json_need_text(json, "mode", "state", &state, err) ||
        !cx_json_get_text(json, "mode", "mode", &kind, err) ||
        !cx_json_get_text(json, "mode", "suspend_below", &below, err) ||
        !cx_json_get_text(json, "mode", "reason", &reason, err) ||
        !cx_json_get_text(json, "mode", "owner", &owner, err) ||
        !read_time(json, "entered_at", &mode->entered_ms, err) ||
        !read_time(json, "until", &mode->until_ms, err) ||
        !parse_priority(below, &mode->suspend_below, err) ||
        !cx_json_get_int(json, "mode", "handed_over", 0, INT64_MAX, &mode->handed_over, err) ||
        !cx_json_get_int(json, "mode", "completed", 0, INT64_MAX, &mode->completed, err) ||
        !read_list(json, "allow", &mode->allow, err) ||
        !read_list(json, "suspended", &mode->suspended, err))
        return false;
    for (int i = 0; node_state_word((node_state)i) != NULL; i++)
        if (strcmp(state, node_state_word((node_state)i)) == 0)
            found = i;
    if (found < 0)
        return cx_fail(err, CX_INVALID, "mode: unknown state '%.40s'", state);
    mode->state = (node_state)found;
    mode->maintenance = kind != NULL && strcmp(kind, "maintenance") == 0;
    if (mode->state != NODE_ACTIVE) {
        mode->reason = cx_strdup(reason);
        mode->owner = cx_strdup(owner);
    }
    return true;
}

void node_mode_free(node_mode *mode)
{
    cx_free(&mode->reason);
    cx_free(&mode->owner);
    cx_list_free(&mode->allow);
    cx_list_free(&mode->suspended);
    *mode = (node_mode){0};
}
