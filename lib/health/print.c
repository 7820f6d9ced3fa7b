#include "health/print.h"

#include <ctype.h>
#include <string.h>

static cx_health status_of(const json_t *check)
{
    const char *status = cx_json_text_or_empty(check, "status");

    for (cx_health health = CX_HEALTH_OK; cx_health_word(health) != NULL; health++)
        if (strcmp(cx_health_word(health), status) == 0)
            return health;
    return CX_HEALTH_UNKNOWN;
}

static void add_upper(cx_buffer *text, const char *word)
{
    for (; *word != '\0'; word++)
        cx_buffer_addf(text, "%c", toupper((unsigned char)*word));
}

/* A plugin's line ends at `|` or a newline, a label at a quote: none may come from a text. */
static void add_text(cx_buffer *text, const char *from)
{
    for (; *from != '\0'; from++)
        cx_buffer_addf(text, "%c", strchr("|\r\n\'", *from) != NULL ? ' ' : *from);
}

static void add_perfdata(cx_buffer *text, const json_t *check)
{
    const json_t *value = json_object_get(check, "value");
    const char *node_id = cx_json_text_or_empty(check, "node_id");
    const char *unit = cx_json_text_or_empty(check, "unit");

    if (!json_is_number(value))
        return;
    cx_buffer_add_text(text, " '");
    add_text(text, node_id);
    cx_buffer_addf(text, "%s%s'=%.10g%s", node_id[0] != '\0' ? "." : "",
                   cx_json_text_or_empty(check, "name"), json_number_value(value),
                   strcmp(unit, "percent") == 0   ? "%"
                   : strcmp(unit, "seconds") == 0 ? "s"
                                                  : "");
}

void cx_health_nagios(const json_t *checks, cx_buffer *text)
{
    const json_t *worst = NULL;
    size_t bad = 0, i;
    json_t *check;

    json_array_foreach (checks, i, check) {
        bad += status_of(check) != CX_HEALTH_OK;
        if (worst == NULL || status_of(check) > status_of(worst))
            worst = check;
    }
    cx_buffer_add_text(text, "CX ");
    add_upper(text, cx_health_word(cx_health_of(checks)));
    if (bad == 0)
        cx_buffer_addf(text, " - %zu checks", json_array_size(checks));
    else {
        cx_buffer_addf(text, " - %zu of %zu checks: ", bad, json_array_size(checks));
        add_text(text, cx_json_text_or_empty(worst, "message"));
    }
    cx_buffer_add_text(text, " |");
    json_array_foreach (checks, i, check)
        add_perfdata(text, check);
    cx_buffer_add_text(text, "\n");
    json_array_foreach (checks, i, check) {
        if (status_of(check) == CX_HEALTH_OK)
            continue;
        add_upper(text, cx_health_word(status_of(check)));
        cx_buffer_add_text(text, " ");
        add_text(text, cx_json_text_or_empty(check, "node_id"));
        cx_buffer_addf(text, " %s: ", cx_json_text_or_empty(check, "name"));
        add_text(text, cx_json_text_or_empty(check, "message"));
        cx_buffer_add_text(text, "\n");
    }
}

void cx_health_nagios_unknown(const char *why, cx_buffer *text)
{
    cx_buffer_add_text(text, "CX ");
    add_upper(text, cx_health_word(CX_HEALTH_UNKNOWN));
    cx_buffer_add_text(text, " - ");
    add_text(text, why);
    cx_buffer_add_text(text, "\n");
}

static void add_label(cx_buffer *text, const char *value)
{
    for (; *value != '\0'; value++) {
        if (*value == '\n')
            cx_buffer_add_text(text, "\\n");
        else
            cx_buffer_addf(text, "%s%c", *value == '"' || *value == '\\' ? "\\" : "", *value);
    }
}

void cx_health_sample(cx_buffer *text, const char *metric, double value,
                      const cx_health_label *labels)
{
    cx_buffer_addf(text, "%s{", metric);
    for (const cx_health_label *label = labels; label->name != NULL; label++) {
        cx_buffer_addf(text, "%s%s=\"", label != labels ? "," : "", label->name);
        add_label(text, label->value);
        cx_buffer_add_text(text, "\"");
    }
    cx_buffer_addf(text, "} %.10g\n", value);
}

static void add_sample(cx_buffer *text, const char *metric, const json_t *check, bool with_unit,
                       double value)
{
    cx_health_sample(
        text, metric, value,
        (const cx_health_label[]){{"scope", cx_json_text_or_empty(check, "scope")},
                                  {"node_id", cx_json_text_or_empty(check, "node_id")},
                                  {"name", cx_json_text_or_empty(check, "name")},
                                  {with_unit ? "unit" : NULL, cx_json_text_or_empty(check, "unit")},
                                  {0}});
}

/* Some checks are made by more than one look; a series is printed once. */
static json_t *each_once(const json_t *checks)
{
    CX_AUTO(cx_json_free) json_t *seen = json_object();
    json_t *list = json_array();
    size_t at;
    json_t *check;

    json_array_foreach ((json_t *)checks, at, check) {
        CX_AUTO(cx_free)
        char *key = cx_format("%s %s %s", cx_json_text_or_empty(check, "scope"),
                              cx_json_text_or_empty(check, "node_id"),
                              cx_json_text_or_empty(check, "name"));

        if (json_object_get(seen, key) == NULL)
            json_array_append(list, check);
        json_object_set_new(seen, key, json_true());
    }
    return list;
}

void cx_health_prometheus(const json_t *all, cx_buffer *text)
{
    CX_AUTO(cx_json_free) json_t *checks = each_once(all);
    size_t i;
    json_t *check;

    cx_buffer_add_text(text, "# HELP cx_check_status 0 ok, 1 warning, 2 critical, 3 unknown\n"
                             "# TYPE cx_check_status gauge\n");
    json_array_foreach (checks, i, check)
        add_sample(text, "cx_check_status", check, false,
                   cx_health_nagios_status(status_of(check)));
    cx_buffer_add_text(text, "# HELP cx_check_value What the check measured, in its unit\n"
                             "# TYPE cx_check_value gauge\n");
    json_array_foreach (checks, i, check)
        if (json_is_number(json_object_get(check, "value")))
            add_sample(text, "cx_check_value", check, true,
                       json_number_value(json_object_get(check, "value")));
}
