/* get: one key's value. */
#include "base/text.h"
#include "commands.h"

struct get_options {
    bool raw;
};

static const cx_option options[] = {
    {"raw", CX_FLAG(struct get_options, raw), NULL, NULL, "the bare value, of a list one a line"},
    {0},
};

static bool unknown_key(const char *key, const json_t *document, cx_err *err)
{
    const char *names[64] = {0};
    size_t count = 0;
    const char *name = NULL;
    json_t *value = NULL;

    json_object_foreach ((json_t *)document, name, value)
        if (count < CX_COUNT(names))
            names[count++] = name;

    const char *nearest = cx_nearest(key, names, count);

    cx_fail(err, CX_USAGE, "unknown key \"%.64s\"", key);
    if (nearest != NULL)
        return cx_hint(err, "did you mean \"%s\"?", nearest);
    return cx_hint(err, "`cx-config keys` lists them");
}

static void add_raw(const json_t *value, cx_buffer *text)
{
    CX_AUTO(cx_free) char *dump = NULL;

    if (json_is_string(value)) {
        cx_buffer_addf(text, "%s\n", json_string_value(value));
        return;
    }
    dump = json_dumps(value, JSON_ENCODE_ANY);
    cx_buffer_addf(text, "%s\n", dump != NULL ? dump : "");
}

static bool print_raw(cx_run *run, const json_t *value, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};

    cx_buffer_add_text(&text, "");
    if (!json_is_array(value))
        add_raw(value, &text);
    for (size_t i = 0; i < json_array_size(value); i++)
        add_raw(json_array_get(value, i), &text);
    return cx_emit_text(run, (const char *)text.data, err);
}

static bool get(cx_run *run, const void *parsed, cx_err *err)
{
    const struct get_options *option = parsed;
    const char *key = run->args[0];
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;
    CX_AUTO(cx_json_free) json_t *result = NULL;
    json_t *value = NULL;

    if (!config_load(run, &config, err))
        return false;
    document = cx_config_to_json(config, false);
    value = json_object_get(document, key);
    if (value == NULL)
        return unknown_key(key, document, err);
    if (option->raw)
        return print_raw(run, value, err);
    result = json_pack("{s:s, s:O}", "key", key, "value", value);
    return cx_emit(run, result, err);
}

const cx_command config_get = {
    .name = "get",
    .arguments = "KEY",
    .arguments_min = 1,
    .arguments_max = 1,
    .summary = "print the value of one key that is in force",
    .options = options,
    .options_size = sizeof(struct get_options),
    .run = get,
};
