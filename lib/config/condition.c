/* The conditions of policy.h. Pure: text in, struct out. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "config/policy.h"

enum { DIGITS_MAX = 15 };             /* an exact double */
static const double WHOLE_MAX = 1e15; /* a double beyond it is no exact integer */

/* What a threshold may be written in. Upper case is bytes, lower case is time: 5m and 5M differ. */
static const struct unit {
    const char *suffix;
    const char *unit;
    double factor;
} units[] = {
    {"", "", 1},
    {"%", "percent", 1},
    {"ms", "seconds", 0.001},
    {"s", "seconds", 1},
    {"m", "seconds", 60},
    {"h", "seconds", 3600},
    {"d", "seconds", 86400},
    {"w", "seconds", 604800},
    {"K", "bytes", 1024.0},
    {"M", "bytes", 1024.0 * 1024},
    {"G", "bytes", 1024.0 * 1024 * 1024},
    {"T", "bytes", 1024.0 * 1024 * 1024 * 1024},
};

static const char *after_spaces(const char *text)
{
    return text + strspn(text, " \t");
}

static bool is_name_char(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || c == '_' || (!first && c >= '0' && c <= '9');
}

/* A name at *rest; empty when there is none. False when it is longer than the room for it. */
static bool take_name(const char **rest, char *name, size_t size)
{
    size_t length = 0;

    while (is_name_char((*rest)[length], length == 0))
        length++;
    if (length >= size)
        return false;
    memcpy(name, *rest, length);
    name[length] = '\0';
    *rest += length;
    return true;
}

static cx_compare take_operator(const char **rest)
{
    bool below = **rest == '<';

    if (!below && **rest != '>')
        return CX_BARE;
    (*rest)++;
    if (**rest != '=')
        return below ? CX_BELOW : CX_ABOVE;
    (*rest)++;
    return below ? CX_BELOW_OR_EQUAL : CX_ABOVE_OR_EQUAL;
}

/* Digits with an optional fraction; by hand, as strtod takes signs, hex, inf and the locale. */
static bool take_number(const char **rest, double *value)
{
    size_t digits = 0;
    double scale = 1;
    bool fraction = false;

    *value = 0;
    for (; digits <= DIGITS_MAX; (*rest)++) {
        char c = **rest;

        if (c == '.' && !fraction && digits > 0) {
            fraction = true;
            continue;
        }
        if (c < '0' || c > '9')
            break;
        digits++;
        *value = *value * 10 + (c - '0');
        scale *= fraction ? 10 : 1;
    }
    *value /= scale;
    return digits > 0 && digits <= DIGITS_MAX && (*rest)[-1] != '.';
}

static bool take_unit(const char *suffix, cx_condition *condition, cx_err *err)
{
    for (size_t i = 0; i < CX_COUNT(units); i++)
        if (strcmp(suffix, units[i].suffix) == 0) {
            condition->value *= units[i].factor;
            snprintf(condition->unit, sizeof condition->unit, "%s", units[i].unit);
            return true;
        }
    cx_fail(err, CX_INVALID, "unknown unit \"%.32s\"", suffix);
    return cx_hint(err, "units are %%, ms s m h d w, K M G T");
}

static bool take_threshold(const char *text, cx_condition *condition, cx_err *err)
{
    const char *rest = text;
    CX_AUTO(cx_free) char *suffix = NULL;

    if (is_name_char(*rest, true)) {
        if (!take_name(&rest, condition->symbol, sizeof condition->symbol) || *rest != '\0')
            return cx_fail(err, CX_INVALID, "\"%.64s\" is neither a number nor a name", text);
        return true;
    }
    if (!take_number(&rest, &condition->value))
        return cx_fail(err, CX_INVALID, "\"%.64s\" is neither a number nor a name", text);
    if (!take_unit(after_spaces(rest), condition, err))
        return false;
    if (strcmp(condition->unit, "percent") == 0 && condition->value > 100)
        return cx_fail(err, CX_INVALID, "%s is more than 100%%", text);
    return true;
}

static const char *operator_word(cx_compare compare)
{
    switch (compare) {
    case CX_BARE: return "";
    case CX_BELOW: return "<";
    case CX_BELOW_OR_EQUAL: return "<=";
    case CX_ABOVE: return ">";
    case CX_ABOVE_OR_EQUAL: return ">=";
    }
    return NULL;
}

bool cx_condition_parse(const char *text, cx_condition *condition, cx_err *err)
{
    cx_condition parsed = {0};
    const char *rest = after_spaces(text);
    CX_AUTO(cx_free) char *trimmed = NULL;

    if (!take_name(&rest, parsed.name, sizeof parsed.name) || parsed.name[0] == '\0') {
        cx_fail(err, CX_INVALID, "\"%.64s\" is no condition", text);
        return cx_hint(err, "a check's name, or NAME < VALUE, as in cpu_usage < 80%%");
    }
    rest = after_spaces(rest);
    parsed.compare = take_operator(&rest);
    trimmed = cx_strdup(after_spaces(rest));
    for (size_t size = strlen(trimmed);
         size > 0 && (trimmed[size - 1] == ' ' || trimmed[size - 1] == '\t'); size--)
        trimmed[size - 1] = '\0';
    if (parsed.compare == CX_BARE && trimmed[0] != '\0') {
        cx_fail(err, CX_INVALID, "\"%.64s\": < <= > or >= is missing after %s", text, parsed.name);
        return cx_hint(err, "a check's name, or NAME < VALUE, as in cpu_usage < 80%%");
    }
    if (parsed.compare != CX_BARE) {
        int size = snprintf(parsed.threshold, sizeof parsed.threshold, "%s %s",
                            operator_word(parsed.compare), trimmed);

        if (size >= (int)sizeof parsed.threshold)
            return cx_fail(err, CX_INVALID, "the threshold of %s is too long", parsed.name);
        if (!take_threshold(trimmed, &parsed, err))
            return cx_wrap(err, "%s", parsed.name);
    }
    *condition = parsed;
    return true;
}

bool cx_condition_holds(const cx_condition *condition, double value, double symbol_value)
{
    double limit = condition->symbol[0] != '\0' ? symbol_value : condition->value;

    switch (condition->compare) {
    case CX_BARE: return true;
    case CX_BELOW: return value < limit;
    case CX_BELOW_OR_EQUAL: return value <= limit;
    case CX_ABOVE: return value > limit;
    case CX_ABOVE_OR_EQUAL: return value >= limit;
    }
    return false;
}

json_t *cx_condition_to_json(const cx_condition *condition)
{
    bool is_bare = condition->compare == CX_BARE;
    bool has_value = !is_bare && condition->symbol[0] == '\0';
    bool is_whole =
        has_value && condition->value < WHOLE_MAX && floor(condition->value) == condition->value;

    return json_pack("{s:s, s:s, s:o, s:s, s:s, s:s}", "name", condition->name, "operator",
                     operator_word(condition->compare), "value",
                     !has_value ? json_null()
                     : is_whole ? json_integer((json_int_t)condition->value)
                                : json_real(condition->value),
                     "unit", condition->unit, "symbol", condition->symbol, "threshold",
                     condition->threshold);
}
