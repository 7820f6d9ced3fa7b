/* backup: schedule, destinations, components. */
#include <string.h>

#include "config/policy_rules.h"

enum { DAY_MS = 86400000, HOUR_MS = 3600000, DESTINATIONS_MAX = 16 };

static const char *const components[] = {
    "agent_registry", "agent_state", "message_queues", "configuration", "certificates", NULL,
};

static void read_day(const cx_rule_map *map, const char *frequency, json_t *out)
{
    static const char *const days[] = {"monday", "tuesday",  "wednesday", "thursday",
                                       "friday", "saturday", "sunday",    NULL};
    const cx_conf_node *day = cx_rule_at(map, "day", false);
    CX_AUTO(cx_free) char *where = cx_rule_path(map, "day");

    if (strcmp(frequency, "weekly") == 0)
        cx_rule_put_word(map, "day", false, "sunday", days, out);
    else if (strcmp(frequency, "monthly") == 0)
        cx_rule_put_count(map, "day", 1, 1, 28, out); /* every month has these */
    else if (day != NULL)
        cx_rule_blame(map->rules, day, where, NULL, "a backup that is %s takes no day", frequency);
}

static json_t *read_schedule_entry(const cx_rules *rules, const cx_conf_node *node,
                                   const char *where, const char *frequency, const char *retention)
{
    static const char *const known[] = {"frequency", "time", "day", "retention", NULL};
    static const char *const frequencies[] = {"hourly", "daily", "weekly", "monthly", NULL};
    cx_rule_map map = cx_rule_enter(rules, node, where, known);
    json_t *entry = json_object();
    const cx_conf_node *time = cx_rule_at(&map, "time", false);
    CX_AUTO(cx_free) char *time_where = cx_rule_path(&map, "time");

    cx_rule_put_word(&map, "frequency", false, frequency, frequencies, entry);

    const char *chosen = cx_json_text_or_empty(entry, "frequency");

    if (strcmp(chosen, "hourly") != 0)
        cx_rule_put_time(&map, "time", "02:00", entry);
    else if (time != NULL)
        cx_rule_blame(rules, time, time_where, NULL, "an hourly backup takes no time");
    if (chosen[0] != '\0')
        read_day(&map, chosen, entry);
    cx_rule_put_duration(&map, "retention", retention, HOUR_MS, INT64_C(3660) * DAY_MS, entry);
    return entry;
}

static json_t *read_schedule(const cx_rule_map *backup)
{
    static const char *const known[] = {"full_backup", "incremental_backup", NULL};
    const cx_conf_node *node = cx_rule_at(backup, "schedule", true);
    cx_rule_map map = cx_rule_enter(backup->rules, node, "backup.schedule", known);
    const cx_conf_node *full = cx_conf_at(map.node, "full_backup");
    const cx_conf_node *incremental = cx_conf_at(map.node, "incremental_backup");
    json_t *schedule = json_object();

    if (map.node != NULL && full == NULL && incremental == NULL)
        cx_rule_blame(backup->rules, map.node, "backup.schedule", NULL,
                      "neither full_backup nor incremental_backup is there");
    if (full != NULL)
        json_object_set_new(schedule, "full_backup",
                            read_schedule_entry(backup->rules, full, "backup.schedule.full_backup",
                                                "daily", "30d"));
    if (incremental != NULL)
        json_object_set_new(schedule, "incremental_backup",
                            read_schedule_entry(backup->rules, incremental,
                                                "backup.schedule.incremental_backup", "hourly",
                                                "7d"));
    return schedule;
}

/* S3's own rules for names (docs.aws.amazon.com, bucket naming rules), without its fine points. */
static void check_bucket(const cx_rule_map *map, const char *bucket)
{
    const cx_conf_node *node = cx_conf_at(map->node, "bucket");
    CX_AUTO(cx_free) char *where = cx_rule_path(map, "bucket");
    size_t size = strlen(bucket);

    if (node == NULL || bucket[0] == '\0')
        return;
    if (size < 3 || size > 63 || bucket[strspn(bucket, "abcdefghijklmnopqrstuvwxyz0123456789.-")] ||
        strchr(".-", bucket[0]) != NULL || strchr(".-", bucket[size - 1]) != NULL)
        cx_rule_blame(map->rules, node, where, "3 to 63 of a-z 0-9 . -",
                      "\"%.64s\" is no bucket's name", bucket);
}

static void check_characters(const cx_rule_map *map, const char *key, const char *text,
                             const char *allowed)
{
    const cx_conf_node *node = cx_conf_at(map->node, key);
    CX_AUTO(cx_free) char *where = cx_rule_path(map, key);

    if (node != NULL && text[strspn(text, allowed)] != '\0')
        cx_rule_blame(map->rules, node, where, NULL,
                      "\"%.64s\" has a character that is not allowed", text);
}

#define LETTERS_DIGITS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

static void read_s3(const cx_rule_map *map, json_t *out)
{
    cx_buffer dest = {0};
    const char *prefix = NULL;
    const char *endpoint = NULL;

    cx_rule_put_text(map, "bucket", true, NULL, out);
    check_bucket(map, cx_json_text_or_empty(out, "bucket"));
    cx_rule_put_text(map, "region", false, "us-east-1", out);
    check_characters(map, "region", cx_json_text_or_empty(out, "region"), LETTERS_DIGITS "-");
    cx_rule_put_text(map, "prefix", false, "", out);
    prefix = cx_json_text_or_empty(out, "prefix");
    check_characters(map, "prefix", prefix, LETTERS_DIGITS "/._-");
    cx_rule_put_url(map, "endpoint", false, out);
    endpoint = cx_json_text_or_empty(out, "endpoint");
    check_characters(map, "endpoint", endpoint, LETTERS_DIGITS ":/.[]_-");
    /* Servers of one's own seldom have a name for each bucket. */
    cx_rule_put_flag(map, "path_style", endpoint[0] != '\0', out);

    prefix += strspn(prefix, "/");
    cx_buffer_addf(&dest, "s3://%s%s%s?region=%s", cx_json_text_or_empty(out, "bucket"),
                   prefix[0] != '\0' ? "/" : "", prefix, cx_json_text_or_empty(out, "region"));
    if (endpoint[0] != '\0')
        cx_buffer_addf(&dest, "&endpoint=%s", endpoint);
    /* Unsaid where it is the default, which a server named by the environment changes. */
    if (endpoint[0] != '\0' || json_is_true(json_object_get(out, "path_style")))
        cx_buffer_addf(&dest, "&path_style=%d", json_is_true(json_object_get(out, "path_style")));
    CX_AUTO(cx_free) char *text = cx_buffer_take_text(&dest);
    json_object_set_new(out, "dest", cx_json_text(text));
}

static json_t *read_destination(const cx_rules *rules, const cx_conf_node *node, const char *where)
{
    static const char *const local_keys[] = {"type", "path", NULL};
    static const char *const s3_keys[] = {"type",     "bucket",     "region", "prefix",
                                          "endpoint", "path_style", NULL};
    static const char *const all_keys[] = {"type",   "path",     "bucket",     "region",
                                           "prefix", "endpoint", "path_style", NULL};
    static const char *const types[] = {"local", "s3", NULL};
    const cx_conf_node *type_node = cx_conf_at(node, "type");
    bool is_s3 = type_node != NULL && strcmp(type_node->text, "s3") == 0;
    bool is_local = type_node != NULL && strcmp(type_node->text, "local") == 0;
    cx_rule_map map = cx_rule_enter(rules, node, where,
                                    is_local ? local_keys
                                    : is_s3  ? s3_keys
                                             : all_keys);
    json_t *destination = json_object();

    cx_rule_put_word(&map, "type", true, NULL, types, destination);
    if (is_s3)
        read_s3(&map, destination);
    if (is_local) {
        cx_rule_put_path(&map, "path", true, destination);
        json_object_set_new(destination, "dest",
                            cx_json_text(cx_json_text_or_empty(destination, "path")));
    }
    return destination;
}

static json_t *read_destinations(const cx_rule_map *backup)
{
    const cx_conf_node *list = cx_rule_list(backup, "destinations", true);
    json_t *destinations = json_array();

    if (list != NULL && (list->count == 0 || list->count > DESTINATIONS_MAX))
        cx_rule_blame(backup->rules, list, "backup.destinations", NULL,
                      "there must be from 1 to %d destinations", DESTINATIONS_MAX);
    for (size_t i = 0; list != NULL && i < list->count; i++) {
        CX_AUTO(cx_free) char *where = cx_format("backup.destinations[%zu]", i);

        json_array_append_new(destinations,
                              read_destination(backup->rules, &list->items[i], where));
    }
    return destinations;
}

json_t *cx_policy_read_backup(const cx_rules *rules, const cx_conf_node *node, json_t *document)
{
    static const char *const known[] = {"schedule", "destinations", "components", NULL};
    cx_rule_map map = cx_rule_enter(rules, node, "backup", known);
    json_t *backup = json_object();

    (void)document;
    json_object_set_new(backup, "schedule", read_schedule(&map));
    json_object_set_new(backup, "destinations", read_destinations(&map));
    /* Left out: everything, which is the safe side of a backup. */
    cx_rule_put_words(&map, "components", "component", components, true, backup);
    if (json_array_size(json_object_get(backup, "components")) == 0)
        cx_conf_blame(rules->conf, node, "components", "backup", NULL, rules->errors,
                      "there must be at least one component");
    return backup;
}
