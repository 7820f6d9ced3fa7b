#include "spec.h"

#include <ctype.h>
#include <string.h>

#include "base/text.h"
#include "base/time.h"

static const char *const spec_keys[] = {"id",  "command", "capabilities", "priority", "placement",
                                        "env", "limits",  "max_attempts", NULL};
static const char *const limit_keys[] = {"in_flight", "memory_bytes", "open_files",
                                         "message_timeout", NULL};

enum {
    WORD_BYTES_MAX = 4096, /* one word of a command, one value of the environment */
    MEMORY_MIN = 4 * 1024 * 1024,
    OPEN_FILES_MIN = 8,
    OPEN_FILES_MAX = 1024 * 1024,
    ATTEMPTS_MAX = 1000,
    TIMEOUT_MIN_MS = 10,
    TIMEOUT_MAX_MS = 24 * 60 * 60 * 1000,
};

static bool take_id(const json_t *json, const char *wanted, node_spec *spec, cx_err *err)
{
    const char *id = wanted;

    if (!cx_json_get_text(json, "spec", "id", &id, err))
        return false;
    if (id == NULL)
        return cx_fail(err, CX_INVALID, "spec: id is missing");
    if (!cx_check_id("agent id", id, err))
        return false;
    if (wanted != NULL && strcmp(id, wanted) != 0)
        return cx_fail(err, CX_INVALID, "spec: id is %s, but the agent is called %s", id, wanted);
    spec->id = cx_strdup(id);
    return true;
}

static bool take_command(const json_t *json, node_spec *spec, cx_err *err)
{
    const json_t *words = json_object_get(json, "command");
    const json_t *word;
    size_t i;

    if (!json_is_array(words) || json_array_size(words) == 0)
        return cx_fail(err, CX_INVALID, "spec: command is not a list of at least one word");
    if (json_array_size(words) > NODE_COMMAND_MAX)
        return cx_fail(err, CX_INVALID, "spec: command has more than %d words", NODE_COMMAND_MAX);
    json_array_foreach (words, i, word) {
        if (!json_is_string(word) || json_string_length(word) > WORD_BYTES_MAX ||
            strlen(json_string_value(word)) != json_string_length(word))
            return cx_fail(err, CX_INVALID, "spec: command[%zu] is not a text of at most %d bytes",
                           i, WORD_BYTES_MAX);
        cx_list_add(&spec->command, json_string_value(word));
    }

    const char *program = spec->command.items[0];

    if (program[0] == '\0')
        return cx_fail(err, CX_INVALID, "spec: command[0] is empty");
    if (program[0] != '/' && strchr(program, '/') != NULL)
        return cx_fail(err, CX_INVALID, "spec: command[0] is a relative path: %s", program) ||
               cx_hint(err, "give an absolute path, or a bare name of share/agents or PATH");
    return true;
}

static bool take_capabilities(const json_t *json, node_spec *spec, cx_err *err)
{
    const json_t *words = json_object_get(json, "capabilities");
    const json_t *word;
    size_t i;

    if (words == NULL || json_is_null(words))
        return true;
    if (!json_is_array(words) || json_array_size(words) > NODE_CAPABILITIES_MAX)
        return cx_fail(err, CX_INVALID, "spec: capabilities is not a list of at most %d names",
                       NODE_CAPABILITIES_MAX);
    json_array_foreach (words, i, word) {
        if (!json_is_string(word))
            return cx_fail(err, CX_INVALID, "spec: capabilities[%zu] is no text", i);
        if (!cx_check_id("capability", json_string_value(word), err))
            return false;
        if (!cx_list_has(&spec->capabilities, json_string_value(word)))
            cx_list_add(&spec->capabilities, json_string_value(word));
    }
    return true;
}

static bool take_priority(const json_t *json, node_spec *spec, cx_err *err)
{
    const char *text = "normal";

    if (!cx_json_get_text(json, "spec", "priority", &text, err))
        return false;
    for (int i = 0; node_priority_word((node_priority)i) != NULL; i++)
        if (strcmp(text, node_priority_word((node_priority)i)) == 0) {
            spec->priority = (node_priority)i;
            return true;
        }
    return cx_fail(err, CX_INVALID, "spec: priority is %s, not low, normal or critical", text);
}

static bool take_placement(const json_t *json, node_spec *spec, cx_err *err)
{
    const char *text = "pinned";

    if (!cx_json_get_text(json, "spec", "placement", &text, err))
        return false;
    for (int i = 0; node_placement_word((node_placement)i) != NULL; i++)
        if (strcmp(text, node_placement_word((node_placement)i)) == 0) {
            spec->placement = (node_placement)i;
            return true;
        }
    return cx_fail(err, CX_INVALID, "spec: placement is %s, not pinned or any", text);
}

static bool is_env_name(const char *name)
{
    if (!isalpha((unsigned char)name[0]) && name[0] != '_')
        return false;
    for (const char *at = name; *at != '\0'; at++)
        if (!isalnum((unsigned char)*at) && *at != '_')
            return false;
    return strlen(name) <= 128;
}

static bool take_env(const json_t *json, node_spec *spec, cx_err *err)
{
    json_t *env = json_object_get(json, "env");
    const char *name;
    json_t *value;

    if (env == NULL || json_is_null(env))
        return true;
    if (!json_is_object(env) || json_object_size(env) > NODE_ENV_MAX)
        return cx_fail(err, CX_INVALID, "spec: env is not an object of at most %d variables",
                       NODE_ENV_MAX);
    json_object_foreach (env, name, value) {
        if (!is_env_name(name))
            return cx_fail(err, CX_INVALID, "spec: env: %s is no name of a variable", name);
        if (strncmp(name, "CX_", 3) == 0)
            return cx_fail(err, CX_INVALID, "spec: env: %s: names with CX_ are the node's", name);
        if (!json_is_string(value) || json_string_length(value) > WORD_BYTES_MAX ||
            strlen(json_string_value(value)) != json_string_length(value))
            return cx_fail(err, CX_INVALID, "spec: env: %s is not a text of at most %d bytes", name,
                           WORD_BYTES_MAX);
        cx_list_take(&spec->env, cx_format("%s=%s", name, json_string_value(value)));
    }
    return true;
}

static bool take_limits(const json_t *json, node_spec *spec, cx_err *err)
{
    const json_t *limits = json_object_get(json, "limits");
    const char *timeout = NULL;

    if (limits == NULL || json_is_null(limits))
        return true;
    if (!json_is_object(limits))
        return cx_fail(err, CX_INVALID, "spec: limits is no object");
    if (!cx_json_only_keys(limits, "spec.limits", limit_keys, err) ||
        !cx_json_get_int(limits, "spec.limits", "in_flight", 1, NODE_IN_FLIGHT_MAX,
                         &spec->in_flight_max, err) ||
        !cx_json_get_int(limits, "spec.limits", "memory_bytes", 0, INT64_MAX, &spec->memory_bytes,
                         err) ||
        !cx_json_get_int(limits, "spec.limits", "open_files", OPEN_FILES_MIN, OPEN_FILES_MAX,
                         &spec->open_files, err) ||
        !cx_json_get_text(limits, "spec.limits", "message_timeout", &timeout, err))
        return false;
    if (spec->memory_bytes != 0 && spec->memory_bytes < MEMORY_MIN)
        return cx_fail(err, CX_INVALID, "spec.limits: memory_bytes is below %d: nothing starts",
                       MEMORY_MIN);
    if (timeout == NULL)
        return true;
    if (!cx_duration_parse(timeout, &spec->message_timeout_ms, err))
        return cx_wrap(err, "spec.limits: message_timeout");
    if (spec->message_timeout_ms < TIMEOUT_MIN_MS || spec->message_timeout_ms > TIMEOUT_MAX_MS)
        return cx_fail(err, CX_INVALID, "spec.limits: message_timeout is not within 10ms and 24h");
    return true;
}

static json_t *env_to_json(const cx_list *env)
{
    json_t *object = json_object();

    for (size_t i = 0; i < env->count; i++) {
        const char *split = strchr(env->items[i], '=');
        CX_AUTO(cx_free) char *name = cx_strndup(env->items[i], (size_t)(split - env->items[i]));

        json_object_set_new(object, name, json_string(split + 1));
    }
    return object;
}

bool node_spec_parse(const json_t *json, const char *id, node_spec **result, cx_err *err)
{
    CX_AUTO(node_spec_free) node_spec *spec = cx_alloc(1, sizeof *spec);

    spec->in_flight_max = 1;
    spec->open_files = 256;
    spec->message_timeout_ms = 30000;
    spec->attempts_max = 5;
    if (!json_is_object(json))
        return cx_fail(err, CX_INVALID, "spec: not a JSON object");
    if (!cx_json_only_keys(json, "spec", spec_keys, err) || !take_id(json, id, spec, err) ||
        !take_command(json, spec, err) || !take_capabilities(json, spec, err) ||
        !take_priority(json, spec, err) || !take_placement(json, spec, err) ||
        !take_env(json, spec, err) || !take_limits(json, spec, err) ||
        !cx_json_get_int(json, "spec", "max_attempts", 1, ATTEMPTS_MAX, &spec->attempts_max, err))
        return false;
    *result = CX_TAKE(spec);
    return true;
}

void node_spec_free(node_spec **owner)
{
    node_spec *spec = *owner;

    if (spec == NULL)
        return;
    cx_free(&spec->id);
    cx_list_free(&spec->command);
    cx_list_free(&spec->capabilities);
    cx_list_free(&spec->env);
    cx_free(owner);
}

static void copy_list(const cx_list *from, cx_list *to)
{
    *to = (cx_list){0};
    for (size_t i = 0; i < from->count; i++)
        cx_list_add(to, from->items[i]);
}

node_spec *node_spec_copy(const node_spec *spec)
{
    node_spec *copy = cx_alloc(1, sizeof *copy);

    *copy = *spec;
    copy->id = cx_strdup(spec->id);
    copy_list(&spec->command, &copy->command);
    copy_list(&spec->capabilities, &copy->capabilities);
    copy_list(&spec->env, &copy->env);
    return copy;
}

json_t *node_spec_limits(const node_spec *spec)
{
    char timeout[CX_TIME_TEXT_SIZE];

    return json_pack("{s:I, s:I, s:I, s:s}", "in_flight", (json_int_t)spec->in_flight_max,
                     "memory_bytes", (json_int_t)spec->memory_bytes, "open_files",
                     (json_int_t)spec->open_files, "message_timeout",
                     cx_duration_text(spec->message_timeout_ms, timeout));
}

json_t *node_spec_to_json(const node_spec *spec)
{
    return json_pack("{s:s, s:o, s:o, s:s, s:s, s:o, s:o, s:I}", "id", spec->id, "command",
                     cx_json_texts(&spec->command), "capabilities",
                     cx_json_texts(&spec->capabilities), "priority",
                     node_priority_word(spec->priority), "placement",
                     node_placement_word(spec->placement), "env", env_to_json(&spec->env), "limits",
                     node_spec_limits(spec), "max_attempts", (json_int_t)spec->attempts_max);
}

bool node_spec_equal(const node_spec *a, const node_spec *b)
{
    CX_AUTO(cx_json_free) json_t *left = node_spec_to_json(a);
    CX_AUTO(cx_json_free) json_t *right = node_spec_to_json(b);

    return json_equal(left, right) == 1;
}

const char *node_priority_word(node_priority priority)
{
    switch (priority) {
    case NODE_LOW: return "low";
    case NODE_NORMAL: return "normal";
    case NODE_CRITICAL: return "critical";
    }
    return NULL;
}

const char *node_placement_word(node_placement placement)
{
    switch (placement) {
    case NODE_PINNED: return "pinned";
    case NODE_ANY: return "any";
    }
    return NULL;
}
