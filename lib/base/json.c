#include "base/json.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "base/time.h"

/* With 15 digits a decimal of the source comes back as it was written (0.1, not 0.10000000000000001). */
enum { REAL_DIGITS = 15 };

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

/* Bytes of the whole character that text begins with, 0 when it begins with none. NUL is none: it
 * would end a C text early, so our own parser refuses it. */
static size_t character_size(const uint8_t *text, size_t size)
{
    uint8_t lead = text[0];
    size_t wanted = lead < 0x80   ? 1
                    : lead < 0xC2 ? 0
                    : lead < 0xE0 ? 2
                    : lead < 0xF0 ? 3
                    : lead < 0xF5 ? 4
                                  : 0;

    if (lead == 0 || wanted == 0 || wanted > size)
        return 0;
    for (size_t i = 1; i < wanted; i++)
        if ((text[i] & 0xC0) != 0x80)
            return 0;
    if (wanted > 1) {
        uint8_t second = text[1];

        /* overlong forms, surrogates, and what is behind U+10FFFF */
        if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) ||
            (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F))
            return 0;
    }
    return wanted;
}

static const char *kind_word(const json_t *json)
{
    switch (json_typeof(json)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "a list";
    case JSON_STRING: return "a text";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number with a fraction";
    case JSON_TRUE:
    case JSON_FALSE: return "true or false";
    case JSON_NULL: return "null";
    }
    return "unknown";
}

/* *field is NULL when it is missing or null. */
static bool find(const json_t *object, const char *where, const char *key, bool needed,
                 const json_t **field, cx_err *err)
{
    if (!json_is_object(object))
        return cx_fail(err, CX_INVALID, "%s: must be an object", where);
    *field = json_object_get(object, key);
    if (json_is_null(*field))
        *field = NULL;
    if (*field == NULL && needed)
        return cx_fail(err, CX_INVALID, "%s: '%s' is missing", where, key);
    return true;
}

static bool wrong_kind(const char *where, const char *key, const char *wanted, const json_t *field,
                       cx_err *err)
{
    return cx_fail(err, CX_INVALID, "%s: '%s' must be %s, not %s", where, key, wanted,
                   kind_word(field));
}

static bool read_text(const json_t *object, const char *where, const char *key, bool needed,
                      const char **value, cx_err *err)
{
    const json_t *field = NULL;

    if (!find(object, where, key, needed, &field, err))
        return false;
    if (field == NULL)
        return true;
    if (!json_is_string(field))
        return wrong_kind(where, key, "a text", field, err);
    *value = json_string_value(field);
    return true;
}

static bool read_int(const json_t *object, const char *where, const char *key, bool needed,
                     int64_t min, int64_t max, int64_t *value, cx_err *err)
{
    const json_t *field = NULL;

    if (!find(object, where, key, needed, &field, err))
        return false;
    if (field == NULL)
        return true;
    if (!json_is_integer(field))
        return wrong_kind(where, key, "an integer", field, err);

    int64_t number = json_integer_value(field);

    if (number < min || number > max)
        return cx_fail(err, CX_INVALID,
                       "%s: '%s' is %" PRId64 ", must be from %" PRId64 " to %" PRId64, where, key,
                       number, min, max);
    *value = number;
    return true;
}

void cx_json_free(json_t **owner)
{
    json_decref(*owner);
    *owner = NULL;
}

bool cx_json_parse(cx_bytes text, size_t size_max, const char *name, json_t **json, cx_err *err)
{
    json_error_t error;

    if (text.size > size_max)
        return cx_fail(err, CX_TOO_LARGE, "%s: %zu bytes of JSON, at most %zu are allowed", name,
                       text.size, size_max);

    json_t *parsed = json_loadb(text.size > 0 ? (const char *)text.data : "", text.size,
                                JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);

    if (parsed == NULL)
        return cx_fail(err, CX_MALFORMED, "%s:%d:%d: %s", name, error.line, error.column,
                       error.text);
    *json = parsed;
    return true;
}

bool cx_json_read_file(const char *path, size_t size_max, json_t **json, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer data = {0};
    const char *name = strcmp(path, "-") == 0 ? "stdin" : path;

    return cx_read_file(path, size_max, &data, err) &&
           cx_json_parse(cx_buffer_bytes(&data), size_max, name, json, err);
}

/* jansson's own memory comes from malloc; it fails for nothing but its exhaustion. */
char *cx_json_line(const json_t *json)
{
    char *text =
        json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(REAL_DIGITS));

    return text != NULL ? text : cx_strdup("null");
}

json_t *cx_json_text(const char *text)
{
    return text == NULL ? json_null() : cx_json_text_n(text, strlen(text));
}

json_t *cx_json_text_n(const char *text, size_t size)
{
    CX_AUTO(cx_buffer_free) cx_buffer clean = {0};
    const uint8_t *rest = (const uint8_t *)text;
    size_t left = size;

    while (left > 0) {
        size_t whole = character_size(rest, left);
        size_t step = whole > 0 ? whole : 1;

        if (whole > 0)
            cx_buffer_add(&clean, rest, whole);
        else
            cx_buffer_add_text(&clean, replacement);
        rest += step;
        left -= step;
    }
    return json_stringn_nocheck(clean.size > 0 ? (const char *)clean.data : "", clean.size);
}

json_t *cx_json_text_or_null(const char *text)
{
    return text == NULL || text[0] == '\0' ? json_null() : cx_json_text(text);
}

json_t *cx_json_texts(const cx_list *texts)
{
    json_t *array = json_array();

    for (size_t i = 0; i < texts->count; i++)
        json_array_append_new(array, cx_json_text(texts->items[i]));
    return array;
}

json_t *cx_json_time(int64_t wall_ms)
{
    char text[CX_TIME_TEXT_SIZE];

    return json_string(cx_time_text(wall_ms, text));
}

json_t *cx_json_time_or_null(int64_t wall_ms)
{
    return wall_ms == 0 ? json_null() : cx_json_time(wall_ms);
}

json_t *cx_json_figure(double value)
{
    double rounded = round(value * 1000) / 1000;

    if (!isfinite(value))
        return json_null();
    return json_real(isfinite(rounded) ? rounded + 0.0 : value); /* + 0.0: no -0.0 */
}

bool cx_json_get_text(const json_t *object, const char *where, const char *key, const char **value,
                      cx_err *err)
{
    return read_text(object, where, key, false, value, err);
}

bool cx_json_need_text(const json_t *object, const char *where, const char *key, const char **value,
                       cx_err *err)
{
    return read_text(object, where, key, true, value, err);
}

bool cx_json_get_int(const json_t *object, const char *where, const char *key, int64_t min,
                     int64_t max, int64_t *value, cx_err *err)
{
    return read_int(object, where, key, false, min, max, value, err);
}

bool cx_json_need_int(const json_t *object, const char *where, const char *key, int64_t min,
                      int64_t max, int64_t *value, cx_err *err)
{
    return read_int(object, where, key, true, min, max, value, err);
}

bool cx_json_get_bool(const json_t *object, const char *where, const char *key, bool *value,
                      cx_err *err)
{
    const json_t *field = NULL;

    if (!find(object, where, key, false, &field, err))
        return false;
    if (field == NULL)
        return true;
    if (!json_is_boolean(field))
        return wrong_kind(where, key, "true or false", field, err);
    *value = json_is_true(field);
    return true;
}

bool cx_json_only_keys(const json_t *object, const char *where, const char *const *keys,
                       cx_err *err)
{
    const char *key;
    json_t *field;
    size_t count = 0;

    if (!json_is_object(object))
        return cx_fail(err, CX_INVALID, "%s: must be an object", where);
    while (keys[count] != NULL)
        count++;
    json_object_foreach ((json_t *)object, key, field) {
        size_t at = 0;

        while (at < count && strcmp(keys[at], key) != 0)
            at++;
        if (at < count)
            continue;

        const char *nearest = cx_nearest(key, keys, count);

        cx_fail(err, CX_INVALID, "%s: '%.64s' is unknown", where, key);
        return nearest == NULL ? false : cx_hint(err, "did you mean '%s'?", nearest);
    }
    return true;
}

const char *cx_json_text_or_empty(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

json_t *cx_err_to_json(const cx_err *err)
{
    json_t *error = json_pack("{s:s, s:o}", "code", cx_code_word(err->code), "message",
                              cx_json_text(err->message));

    if (err->hint[0] != '\0')
        json_object_set_new(error, "hint", cx_json_text(err->hint));
    json_object_set_new(error, "exit", json_integer(cx_code_status(err->code)));
    return json_pack("{s:o}", "error", error);
}

bool cx_err_from_json(const json_t *json, cx_err *err)
{
    const json_t *error = json_object_get(json, "error");
    const char *code = cx_json_text_or_empty(error, "code");
    const char *message = cx_json_text_or_empty(error, "message");
    const char *hint = cx_json_text_or_empty(error, "hint");

    if (code[0] == '\0')
        return cx_fail(err, CX_UNAVAILABLE, "the peer's answer is neither a result nor an error");
    cx_fail(err, cx_code_from_word(code), "%s", message[0] != '\0' ? message : code);
    return hint[0] != '\0' ? cx_hint(err, "%s", hint) : false;
}
