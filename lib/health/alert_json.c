/* Alerts as documents: for people and programs, and whole for a restart. */
#include <string.h>

#include "base/text.h"
#include "base/time.h"
#include "health/alert_inside.h"

enum { KEY_DIGITS = CX_ALERT_KEY_SIZE - 1, MESSAGE_MAX = 4096, STATE_VERSION = 1 };

static const int64_t time_max_ms = INT64_C(253402300799999); /* the year 9999 */

/* ---- one alert */

json_t *cx_alert_to_json(const cx_alert *alert)
{
    bool silenced = alert->state == CX_ALERT_FIRING && alert->silence_id[0] != '\0';

    return json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:s, s:o, s:s, s:o, s:o, s:o, s:o}", "name",
                     cx_json_text(alert->name), "severity", cx_json_text(alert->severity), "state",
                     silenced ? "silenced" : cx_alert_state_word(alert->state), "subject",
                     cx_json_text(alert->subject), "since", cx_json_time(alert->since_ms), "value",
                     alert->has_value ? cx_json_figure(alert->value) : json_null(), "unit",
                     alert->unit, "message",
                     cx_json_text(alert->message != NULL ? alert->message : ""), "key", alert->key,
                     "fired_at", cx_json_time_or_null(alert->fired_ms), "resolved_at",
                     cx_json_time_or_null(alert->resolved_ms), "silence_id",
                     cx_json_text_or_null(alert->silence_id), "inhibited_by",
                     cx_json_text_or_null(alert->inhibited_by));
}

json_t *cx_alert_notice_to_json(const cx_alert_notice *notice)
{
    return json_pack("{s:s, s:s, s:b, s:b, s:I}", "key", notice->key, "by", notice->by, "firing",
                     notice->firing, "delivered", notice->delivered, "at_ms",
                     (json_int_t)notice->at_ms);
}

/* ---- reading */

static bool need_key(const json_t *json, const char *where, char key[CX_ALERT_KEY_SIZE],
                     cx_err *err)
{
    const char *text = NULL;
    uint8_t bytes[KEY_DIGITS / 2];

    if (!cx_json_need_text(json, where, "key", &text, err))
        return false;
    if (!cx_from_hex(text, bytes, sizeof bytes, err))
        return cx_wrap(err, "%s.key", where);
    cx_alert_copy(key, CX_ALERT_KEY_SIZE, text);
    return true;
}

static bool need_id(const json_t *json, const char *where, const char *field, char *id, cx_err *err)
{
    const char *text = NULL;

    if (!cx_json_need_text(json, where, field, &text, err))
        return false;
    if (!cx_check_id(field, text, err))
        return cx_wrap(err, "%s", where);
    cx_alert_copy(id, CX_ALERT_NAME_SIZE, text);
    return true;
}

bool cx_alert_notice_from_json(const json_t *json, const char *where, cx_alert_notice *notice,
                               cx_err *err)
{
    *notice = (cx_alert_notice){0};
    if (!json_is_object(json))
        return cx_fail(err, CX_INVALID, "%s: not an object", where);
    return need_key(json, where, notice->key, err) && need_id(json, where, "by", notice->by, err) &&
           cx_json_get_bool(json, where, "firing", &notice->firing, err) &&
           cx_json_get_bool(json, where, "delivered", &notice->delivered, err) &&
           cx_json_need_int(json, where, "at_ms", 0, time_max_ms, &notice->at_ms, err);
}

static bool need_time(const json_t *json, const char *where, const char *field, int64_t *ms,
                      cx_err *err)
{
    const char *text = NULL;

    if (!cx_json_need_text(json, where, field, &text, err))
        return false;
    return cx_time_parse(text, ms, err) || cx_wrap(err, "%s.%s", where, field);
}

bool cx_silence_from_json(const json_t *json, const char *where, cx_silence *silence, cx_err *err)
{
    const char *name = NULL;

    *silence = (cx_silence){0};
    if (!json_is_object(json))
        return cx_fail(err, CX_INVALID, "%s: not an object", where);
    if (!need_id(json, where, "id", silence->id, err) ||
        !cx_json_need_text(json, where, "name", &name, err))
        return false;
    if (strcmp(name, "*") == 0)
        cx_alert_copy(silence->name, sizeof silence->name, name);
    else if (!need_id(json, where, "name", silence->name, err))
        return false;
    if (!json_is_null(json_object_get(json, "subject")) &&
        !need_id(json, where, "subject", silence->subject, err))
        return false;
    return need_time(json, where, "starts_at", &silence->from_ms, err) &&
           need_time(json, where, "ends_at", &silence->until_ms, err);
}

static bool need_state(const json_t *json, const char *where, cx_alert_state *state, cx_err *err)
{
    const char *text = NULL;

    if (!cx_json_need_text(json, where, "state", &text, err))
        return false;
    for (cx_alert_state word = CX_ALERT_PENDING; cx_alert_state_word(word) != NULL; word++)
        if (strcmp(cx_alert_state_word(word), text) == 0) {
            *state = word;
            return true;
        }
    return cx_fail(err, CX_INVALID, "%s.state: \"%.32s\" is no state", where, text);
}

static bool get_text(const json_t *json, const char *where, const char *field, char *text,
                     size_t size, cx_err *err)
{
    const char *found = "";

    if (!cx_json_get_text(json, where, field, &found, err))
        return false;
    if (strlen(found) >= size)
        return cx_fail(err, CX_INVALID, "%s.%s: too long", where, field);
    cx_alert_copy(text, size, found);
    return true;
}

static bool get_times(const json_t *json, const char *where, cx_alert *alert, cx_err *err)
{
    const struct {
        const char *field;
        int64_t *ms;
    } rows[] = {
        {"since_ms", &alert->since_ms},       {"holds_ms", &alert->holds_ms},
        {"observed_ms", &alert->observed_ms}, {"fired_ms", &alert->fired_ms},
        {"resolved_ms", &alert->resolved_ms},
    };

    for (size_t i = 0; i < CX_COUNT(rows); i++)
        if (!cx_json_get_int(json, where, rows[i].field, 0, time_max_ms, rows[i].ms, err))
            return false;
    return true;
}

static bool read_alert(cx_alerts *alerts, const json_t *json, const char *where, cx_err *err)
{
    char name[CX_ALERT_NAME_SIZE], subject[CX_ALERT_NAME_SIZE];
    const json_t *value = json_object_get(json, "value");
    const char *message = "";
    int64_t clears = 0;
    cx_alert read = {0};
    cx_alert *alert;

    if (!json_is_object(json))
        return cx_fail(err, CX_INVALID, "%s: not an object", where);
    if (!need_id(json, where, "name", name, err) ||
        !need_id(json, where, "subject", subject, err) ||
        !need_state(json, where, &read.state, err) || !get_times(json, where, &read, err) ||
        !get_text(json, where, "severity", read.severity, sizeof read.severity, err) ||
        !get_text(json, where, "unit", read.unit, sizeof read.unit, err) ||
        !cx_json_get_int(json, where, "clears", 0, CX_ALERT_CLEARS, &clears, err) ||
        !cx_json_get_bool(json, where, "muted", &read.muted, err) ||
        !get_text(json, where, "inhibited_by", read.inhibited_by, sizeof read.inhibited_by, err) ||
        !cx_json_get_text(json, where, "message", &message, err))
        return false;
    if (strlen(message) > MESSAGE_MAX)
        return cx_fail(err, CX_INVALID, "%s.message: too long", where);
    if (cx_alerts_find(alerts, name, subject) != NULL)
        return cx_fail(err, CX_INVALID, "%s: %s about %s is there twice", where, name, subject);
    alert = cx_alerts_add(alerts, name, subject);
    if (alert == NULL)
        return cx_fail(err, CX_TOO_LARGE, "more than %d alerts", CX_ALERTS_MAX);
    alert->state = read.state;
    alert->since_ms = read.since_ms;
    alert->holds_ms = read.holds_ms;
    alert->observed_ms = read.observed_ms;
    alert->fired_ms = read.fired_ms;
    alert->resolved_ms = read.resolved_ms;
    alert->clears = (int)clears;
    alert->muted = read.muted;
    alert->has_value = json_is_number(value);
    alert->value = json_number_value(value);
    cx_alert_copy(alert->severity, sizeof alert->severity, read.severity);
    cx_alert_copy(alert->unit, sizeof alert->unit, read.unit);
    cx_alert_copy(alert->inhibited_by, sizeof alert->inhibited_by, read.inhibited_by);
    cx_alert_say(alert, message);
    return true;
}

static bool read_notices(cx_alerts *alerts, const json_t *list, cx_err *err)
{
    size_t at;
    json_t *item;

    json_array_foreach (list, at, item) {
        CX_AUTO(cx_free) char *where = cx_format("notices[%zu]", at);
        cx_alert_notice notice;

        if (!cx_alert_notice_from_json(item, where, &notice, err))
            return false;
        cx_alerts_heard(alerts, &notice);
    }
    return true;
}

bool cx_alerts_from_json(cx_alerts *alerts, const json_t *json, cx_err *err)
{
    const json_t *list = json_object_get(json, "alerts");
    int64_t version = 0;
    size_t at;
    json_t *item;

    if (!json_is_object(json))
        return cx_fail(err, CX_INVALID, "alerts: not an object");
    if (!cx_json_need_int(json, "alerts", "version", 1, STATE_VERSION, &version, err))
        return false;
    if (json_array_size(list) > CX_ALERTS_MAX ||
        json_array_size(json_object_get(json, "notices")) > CX_ALERTS_MAX)
        return cx_fail(err, CX_TOO_LARGE, "more than %d alerts", CX_ALERTS_MAX);
    json_array_foreach (list, at, item) {
        CX_AUTO(cx_free) char *where = cx_format("alerts[%zu]", at);

        if (!read_alert(alerts, item, where, err))
            return false;
    }
    return read_notices(alerts, json_object_get(json, "notices"), err);
}

/* ---- writing */

static json_t *alert_state(const cx_alert *alert)
{
    json_t *json = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:i, s:b, s:s, s:o}", "name",
        alert->name, "subject", alert->subject, "severity", alert->severity, "unit", alert->unit,
        "state", cx_alert_state_word(alert->state), "since_ms", (json_int_t)alert->since_ms,
        "holds_ms", (json_int_t)alert->holds_ms, "observed_ms", (json_int_t)alert->observed_ms,
        "fired_ms", (json_int_t)alert->fired_ms, "resolved_ms", (json_int_t)alert->resolved_ms,
        "clears", alert->clears, "muted", alert->muted, "inhibited_by", alert->inhibited_by,
        "message", cx_json_text(alert->message != NULL ? alert->message : ""));

    if (alert->has_value)
        json_object_set_new(json, "value", cx_json_figure(alert->value));
    return json;
}

json_t *cx_alerts_to_json(const cx_alerts *alerts)
{
    json_t *items = json_array();
    json_t *notices = json_array();

    for (size_t i = 0; i < alerts->count; i++)
        json_array_append_new(items, alert_state(alerts->items[i]));
    for (size_t i = 0; i < alerts->notice_count; i++)
        json_array_append_new(notices, cx_alert_notice_to_json(alerts->notices[i]));
    return json_pack("{s:i, s:o, s:o}", "version", STATE_VERSION, "alerts", items, "notices",
                     notices);
}
