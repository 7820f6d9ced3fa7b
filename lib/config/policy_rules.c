#include "config/policy_rules.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "base/time.h"

enum { TEXT_MAX = 1024 }; /* bytes of a text in a policy */

/* What a subject is measured in. */
enum measure { IS_STATE, IS_PERCENT, IS_TIME, IS_COUNT };

static const struct subject {
    const char *name;
    cx_subjects group;
    enum measure measure;
} subjects_known[] = {
    {"cluster_membership", CX_SUBJECT_CLUSTER, IS_COUNT},
    {"gossip_convergence", CX_SUBJECT_CLUSTER, IS_STATE},
    {"partition_detection", CX_SUBJECT_CLUSTER, IS_STATE},
    {"version_consistency", CX_SUBJECT_CLUSTER, IS_STATE},
    {"cpu_usage", CX_SUBJECT_NODE, IS_PERCENT},
    {"memory_usage", CX_SUBJECT_NODE, IS_PERCENT},
    {"disk_usage", CX_SUBJECT_NODE, IS_PERCENT},
    {"agent_count", CX_SUBJECT_NODE, IS_COUNT},
    {"queue_depth", CX_SUBJECT_NODE, IS_COUNT},
    {"cert_expiry", CX_SUBJECT_NODE, IS_TIME},
    {"backup_age", CX_SUBJECT_NODE, IS_TIME},
    {"agent_responsiveness", CX_SUBJECT_AGENT, IS_TIME},
    {"message_processing_time", CX_SUBJECT_AGENT, IS_TIME},
    {"error_rate", CX_SUBJECT_AGENT, IS_PERCENT},
    {"partition_detected", CX_SUBJECT_EVENT, IS_STATE},
    {"node_unreachable", CX_SUBJECT_EVENT, IS_TIME},
};

static const char *const symbols[] = {"max_agents", "queue_max", "bootstrap_expect", NULL};

static bool is_scalar(const cx_conf_node *node)
{
    return node->kind != CX_CONF_LIST && node->kind != CX_CONF_MAP && node->kind != CX_CONF_NULL;
}

static size_t count_words(const char *const *words)
{
    size_t count = 0;

    while (words[count] != NULL)
        count++;
    return count;
}

static bool has_word(const char *const *words, const char *word)
{
    for (; *words != NULL; words++)
        if (strcmp(*words, word) == 0)
            return true;
    return false;
}

/* "a, b, c" when there are few words; NULL else. Caller owns. */
static char *few_words(const char *const *words)
{
    cx_buffer text = {0};

    if (count_words(words) > 6)
        return NULL;
    for (size_t i = 0; words[i] != NULL; i++)
        cx_buffer_addf(&text, "%s%s", i > 0 ? ", " : "", words[i]);
    return cx_buffer_take_text(&text);
}

static void blame_word(const cx_rules *rules, const cx_conf_node *node, const char *where,
                       const char *what, const char *word, const char *const *words)
{
    const char *nearest = cx_nearest(word, words, count_words(words));
    CX_AUTO(cx_free) char *list = few_words(words);
    CX_AUTO(cx_free) char *hint = NULL;

    if (nearest != NULL)
        hint = cx_format("did you mean \"%s\"?", nearest);
    else if (list != NULL)
        hint = cx_format("one of %s", list);
    cx_rule_blame(rules, node, where, hint, "unknown %s \"%.64s\"", what, word);
}

/* The scalar's text of a key; NULL when it is left out or wrong. */
static const char *text_at(const cx_rule_map *map, const char *key, bool required,
                           const cx_conf_node **node, char **where)
{
    *node = cx_rule_at(map, key, required);
    if (*node == NULL)
        return NULL;
    *where = cx_rule_path(map, key);
    return cx_rule_text_of(map->rules, *node, *where);
}

/* ---- conditions */

static const struct subject *find_subject(const char *name, cx_subjects group)
{
    for (size_t i = 0; i < CX_COUNT(subjects_known); i++)
        if ((subjects_known[i].group & group) != 0 && strcmp(subjects_known[i].name, name) == 0)
            return &subjects_known[i];
    return NULL;
}

static void blame_subject(const cx_rules *rules, const cx_conf_node *node, const char *where,
                          const char *name, cx_subjects group)
{
    const char *names[CX_COUNT(subjects_known) + 1] = {0};
    size_t count = 0;

    if (find_subject(name, CX_SUBJECT_ANY) != NULL) {
        cx_rule_blame(rules, node, where, NULL, "\"%s\" does not belong to this group", name);
        return;
    }
    for (size_t i = 0; i < CX_COUNT(subjects_known); i++)
        if ((subjects_known[i].group & group) != 0)
            names[count++] = subjects_known[i].name;
    blame_word(rules, node, where, "check", name, names);
}

/* What is wrong with the right-hand side for what the subject is measured in; NULL: nothing. */
static const char *wrong_unit(const struct subject *subject, const cx_condition *condition)
{
    bool is_symbol = condition->symbol[0] != '\0';

    if (condition->compare == CX_BARE)
        return NULL;
    switch (subject->measure) {
    case IS_STATE: return "is true or false and takes no threshold";
    case IS_PERCENT:
        return is_symbol || strcmp(condition->unit, "percent") != 0
                   ? "is measured in percent, as in 80%"
                   : NULL;
    case IS_TIME:
        return is_symbol || strcmp(condition->unit, "seconds") != 0
                   ? "is measured in time, as in 60s or 30d"
                   : NULL;
    case IS_COUNT: return condition->unit[0] != '\0' ? "is a plain number without a unit" : NULL;
    }
    return NULL;
}

/* ---- public */

void cx_rule_blame(const cx_rules *rules, const cx_conf_node *node, const char *where,
                   const char *hint, const char *format, ...)
{
    char message[512];
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    cx_conf_blame(rules->conf, node, NULL, where, hint, rules->errors, "%s", message);
}

cx_rule_map cx_rule_enter(const cx_rules *rules, const cx_conf_node *node, const char *where,
                          const char *const *known)
{
    cx_rule_map map = {.rules = rules, .where = where};

    if (node == NULL || node->kind == CX_CONF_NULL)
        return map;
    if (node->kind != CX_CONF_MAP) {
        cx_rule_blame(rules, node, where, NULL, "must be a group of keys, not %s",
                      cx_conf_kind_word(node->kind));
        return map;
    }
    cx_conf_only_keys(rules->conf, node, where, known, rules->errors);
    map.node = node;
    return map;
}

const cx_conf_node *cx_rule_at(const cx_rule_map *map, const char *key, bool required)
{
    const cx_conf_node *node = cx_conf_at(map->node, key);

    if (node != NULL && node->kind != CX_CONF_NULL)
        return node;
    /* Without a map something was blamed already, or all of it was left out on purpose. */
    if (required && map->node != NULL)
        cx_conf_blame(map->rules->conf, map->node, key, map->where, NULL, map->rules->errors,
                      "\"%s\" is missing", key);
    return NULL;
}

const cx_conf_node *cx_rule_list(const cx_rule_map *map, const char *key, bool required)
{
    const cx_conf_node *node = cx_rule_at(map, key, required);
    CX_AUTO(cx_free) char *where = NULL;

    if (node == NULL || node->kind == CX_CONF_LIST)
        return node;
    where = cx_rule_path(map, key);
    cx_rule_blame(map->rules, node, where, "one item a line, each behind a dash",
                  "must be a list, not %s", cx_conf_kind_word(node->kind));
    return NULL;
}

char *cx_rule_path(const cx_rule_map *map, const char *key)
{
    return cx_format("%s%s%s", map->where, map->where[0] != '\0' ? "." : "", key);
}

const char *cx_rule_text_of(const cx_rules *rules, const cx_conf_node *node, const char *where)
{
    if (!is_scalar(node)) {
        cx_rule_blame(rules, node, where, NULL, "must be text, not %s",
                      cx_conf_kind_word(node->kind));
        return NULL;
    }
    if (strlen(node->text) > TEXT_MAX) {
        cx_rule_blame(rules, node, where, NULL, "has more than %d bytes", TEXT_MAX);
        return NULL;
    }
    return node->text;
}

const char *cx_rule_word_of(const cx_rules *rules, const cx_conf_node *node, const char *where,
                            const char *what, const char *const *words)
{
    const char *text = cx_rule_text_of(rules, node, where);

    if (text == NULL || has_word(words, text))
        return text;
    blame_word(rules, node, where, what, text, words);
    return NULL;
}

bool cx_rule_condition_of(const cx_rules *rules, const cx_conf_node *node, const char *where,
                          const char *text, cx_subjects subjects, cx_condition *condition)
{
    cx_err err = {0};
    const struct subject *subject = NULL;
    const char *wrong = NULL;

    if (!cx_condition_parse(text, condition, &err)) {
        cx_rule_blame(rules, node, where, err.hint, "%s", err.message);
        return false;
    }
    subject = find_subject(condition->name, subjects);
    if (subject == NULL) {
        blame_subject(rules, node, where, condition->name, subjects);
        return false;
    }
    if (condition->symbol[0] != '\0' && !has_word(symbols, condition->symbol)) {
        blame_word(rules, node, where, "value", condition->symbol, symbols);
        return false;
    }
    wrong = wrong_unit(subject, condition);
    if (wrong != NULL)
        cx_rule_blame(rules, node, where, NULL, "%s %s", condition->name, wrong);
    return wrong == NULL;
}

void cx_rule_put_text(const cx_rule_map *map, const char *key, bool required, const char *fallback,
                      json_t *out)
{
    const cx_conf_node *node = NULL;
    CX_AUTO(cx_free) char *where = NULL;
    const char *text = text_at(map, key, required, &node, &where);

    if (text == NULL)
        text = fallback;
    if (text != NULL)
        json_object_set_new(out, key, cx_json_text(text));
}

void cx_rule_put_word(const cx_rule_map *map, const char *key, bool required, const char *fallback,
                      const char *const *words, json_t *out)
{
    const cx_conf_node *node = cx_rule_at(map, key, required);
    CX_AUTO(cx_free) char *where = cx_rule_path(map, key);
    const char *word =
        node != NULL ? cx_rule_word_of(map->rules, node, where, key, words) : fallback;

    if (word != NULL)
        json_object_set_new(out, key, cx_json_text(word));
}

void cx_rule_put_duration(const cx_rule_map *map, const char *key, const char *fallback,
                          int64_t min_ms, int64_t max_ms, json_t *out)
{
    const cx_conf_node *node = NULL;
    CX_AUTO(cx_free) char *where = NULL;
    const char *text = text_at(map, key, false, &node, &where);
    char min[CX_TIME_TEXT_SIZE];
    char max[CX_TIME_TEXT_SIZE];
    cx_err err = {0};
    int64_t ms = 0;

    if (text == NULL)
        text = fallback;
    if (text == NULL)
        return;
    if (!cx_duration_parse(text, &ms, &err)) {
        cx_rule_blame(map->rules, node, where, "a number and one of ms s m h d w, as in 5m", "%s",
                      err.message);
        return;
    }
    if (node != NULL && (ms < min_ms || ms > max_ms)) {
        cx_rule_blame(map->rules, node, where, NULL, "must be from %s to %s",
                      cx_duration_text(min_ms, min), cx_duration_text(max_ms, max));
        return;
    }
    cx_rule_set_duration(out, key, ms);
    json_object_set_new(out, key, cx_json_text(text)); /* as it was written */
}

void cx_rule_put_count(const cx_rule_map *map, const char *key, int64_t fallback, int64_t min,
                       int64_t max, json_t *out)
{
    const cx_conf_node *node = cx_rule_at(map, key, false);
    CX_AUTO(cx_free) char *where = cx_rule_path(map, key);
    int64_t value = node != NULL ? cx_conf_int(node) : fallback;

    if (node != NULL && node->kind != CX_CONF_INT)
        cx_rule_blame(map->rules, node, where, NULL, "must be a whole number, not %s",
                      node->kind == CX_CONF_TEXT ? "text" : cx_conf_kind_word(node->kind));
    else if (node != NULL && (value < min || value > max))
        cx_rule_blame(map->rules, node, where, NULL, "must be from %" PRId64 " to %" PRId64, min,
                      max);
    else if (node != NULL || fallback >= 0)
        json_object_set_new(out, key, json_integer(value));
}

void cx_rule_put_flag(const cx_rule_map *map, const char *key, bool fallback, json_t *out)
{
    const cx_conf_node *node = cx_rule_at(map, key, false);
    CX_AUTO(cx_free) char *where = cx_rule_path(map, key);

    if (node == NULL)
        json_object_set_new(out, key, json_boolean(fallback));
    else if (node->kind == CX_CONF_BOOL)
        json_object_set_new(out, key, cx_conf_to_json(node));
    else
        cx_rule_blame(map->rules, node, where, NULL, "must be true or false, not %s",
                      node->kind == CX_CONF_TEXT ? "text" : cx_conf_kind_word(node->kind));
}

void cx_rule_put_time(const cx_rule_map *map, const char *key, const char *fallback, json_t *out)
{
    const cx_conf_node *node = NULL;
    CX_AUTO(cx_free) char *where = NULL;
    const char *text = text_at(map, key, false, &node, &where);

    if (text == NULL) {
        json_object_set_new(out, key, cx_json_text(fallback));
        return;
    }
    if (strlen(text) == 5 && strspn(text, "0123456789") == 2 && text[2] == ':' &&
        strspn(text + 3, "0123456789") == 2 && strncmp(text, "24", 2) < 0 && text[3] < '6')
        json_object_set_new(out, key, cx_json_text(text));
    else
        cx_rule_blame(map->rules, node, where, "HH:MM, from 00:00 to 23:59",
                      "\"%.64s\" is no time of day", text);
}

void cx_rule_put_path(const cx_rule_map *map, const char *key, bool required, json_t *out)
{
    const cx_conf_node *node = NULL;
    CX_AUTO(cx_free) char *where = NULL;
    const char *text = text_at(map, key, required, &node, &where);

    if (text == NULL)
        return;
    if (text[0] != '/')
        cx_rule_blame(map->rules, node, where, "begin with /", "\"%.64s\" is no absolute path",
                      text);
    for (const char *at = text; *at != '\0'; at++)
        if ((unsigned char)*at < 0x20) {
            cx_rule_blame(map->rules, node, where, NULL, "the path has a control character");
            break;
        }
    json_object_set_new(out, key, cx_json_text(text));
}

void cx_rule_put_url(const cx_rule_map *map, const char *key, bool required, json_t *out)
{
    const cx_conf_node *node = NULL;
    CX_AUTO(cx_free) char *where = NULL;
    const char *text = text_at(map, key, required, &node, &where);
    const char *host = NULL;

    if (text == NULL)
        return;
    if (strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0)
        host = strstr(text, "://") + 3;
    if (host == NULL || strcspn(host, "/?:") == 0)
        cx_rule_blame(map->rules, node, where, "http://HOST… or https://HOST…",
                      "\"%.64s\" is no URL", text);
    else if (strpbrk(text, " \t\r\n\"'<>\\^`{|}#@") != NULL)
        cx_rule_blame(map->rules, node, where, "secrets come from files",
                      "a URL without user, spaces, quotes and fragment is wanted");
    json_object_set_new(out, key, cx_json_text(text));
}

void cx_rule_put_words(const cx_rule_map *map, const char *key, const char *what,
                       const char *const *words, bool all_by_default, json_t *out)
{
    const cx_conf_node *list = cx_rule_list(map, key, false);
    json_t *chosen = json_array();
    CX_AUTO(cx_list_free) cx_list seen = {0};

    json_object_set_new(out, key, chosen);
    for (size_t i = 0; list == NULL && all_by_default && words[i] != NULL; i++)
        json_array_append_new(chosen, json_string(words[i]));
    for (size_t i = 0; list != NULL && i < list->count; i++) {
        CX_AUTO(cx_free) char *where = cx_format("%s.%s[%zu]", map->where, key, i);
        const char *word = cx_rule_word_of(map->rules, &list->items[i], where, what, words);

        if (word == NULL)
            continue;
        if (cx_list_has(&seen, word))
            cx_rule_blame(map->rules, &list->items[i], where, "remove one of the two",
                          "%s \"%s\" is there twice", what, word);
        cx_list_add(&seen, word);
        json_array_append_new(chosen, json_string(word));
    }
}

void cx_rule_set_duration(json_t *out, const char *key, int64_t ms)
{
    CX_AUTO(cx_free) char *twin = cx_format("%s_seconds", key);
    char text[CX_TIME_TEXT_SIZE];

    json_object_set_new(out, key, cx_json_text(cx_duration_text(ms, text)));
    json_object_set_new(out, twin,
                        ms % 1000 == 0 ? json_integer(ms / 1000) : json_real((double)ms / 1000));
}
