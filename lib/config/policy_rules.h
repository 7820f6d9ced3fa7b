/* How the policies' readers read: each cx_rule_ function takes one key of a map, blames what is
 * wrong with it, and puts the value or its default into a JSON object. A key with nothing behind it
 * is a key that is left out. Private to lib/config. */
#pragma once

#include "config/policy.h"

typedef struct cx_rules {
    const cx_conf *conf;
    cx_conf_errors *errors;
} cx_rules;

/* One map of the document and its dotted path. */
typedef struct cx_rule_map {
    const cx_rules *rules;
    const cx_conf_node *node; /* NULL: left out, everything in it has its default */
    const char *where;
} cx_rule_map;

/* What conditions may be about. */
typedef enum cx_subjects {
    CX_SUBJECT_CLUSTER = 1,
    CX_SUBJECT_NODE = 2,
    CX_SUBJECT_AGENT = 4,
    CX_SUBJECT_EVENT = 8, /* what only alerts know: node_unreachable, partition_detected */
    CX_SUBJECT_ANY = 15,
} cx_subjects;

/* Blames a value whose path is `where`. */
void cx_rule_blame(const cx_rules *rules, const cx_conf_node *node, const char *where,
                   const char *hint, const char *format, ...) CX_PRINTF(5, 6);
/* Makes sure that the node is a map with known keys only; an empty map when it is not. */
cx_rule_map cx_rule_enter(const cx_rules *rules, const cx_conf_node *node, const char *where,
                          const char *const *known);
/* The value of a key, NULL when it is left out (blamed if required). */
const cx_conf_node *cx_rule_at(const cx_rule_map *map, const char *key, bool required);
/* The list of a key, NULL when it is left out or no list. */
const cx_conf_node *cx_rule_list(const cx_rule_map *map, const char *key, bool required);
char *cx_rule_path(const cx_rule_map *map, const char *key); /* "backup.schedule"; caller owns */

/* The text of a node, NULL (and blamed) when it is none. */
const char *cx_rule_text_of(const cx_rules *rules, const cx_conf_node *node, const char *where);
/* The text of a node that is one of `words`, which are `what` ("step"); NULL and blamed else. */
const char *cx_rule_word_of(const cx_rules *rules, const cx_conf_node *node, const char *where,
                            const char *what, const char *const *words);
/* A condition about one of the subjects, in its unit. */
bool cx_rule_condition_of(const cx_rules *rules, const cx_conf_node *node, const char *where,
                          const char *text, cx_subjects subjects, cx_condition *condition);

/* fallback NULL: left out of the JSON as well. */
void cx_rule_put_text(const cx_rule_map *map, const char *key, bool required, const char *fallback,
                      json_t *out);
void cx_rule_put_word(const cx_rule_map *map, const char *key, bool required, const char *fallback,
                      const char *const *words, json_t *out);
/* Puts KEY and KEY_seconds. */
void cx_rule_put_duration(const cx_rule_map *map, const char *key, const char *fallback,
                          int64_t min_ms, int64_t max_ms, json_t *out);
/* fallback -1: left out of the JSON as well. */
void cx_rule_put_count(const cx_rule_map *map, const char *key, int64_t fallback, int64_t min,
                       int64_t max, json_t *out);
void cx_rule_put_flag(const cx_rule_map *map, const char *key, bool fallback, json_t *out);
/* HH:MM. */
void cx_rule_put_time(const cx_rule_map *map, const char *key, const char *fallback, json_t *out);
/* An absolute path of a file or folder. */
void cx_rule_put_path(const cx_rule_map *map, const char *key, bool required, json_t *out);
/* http://… or https://… without spaces, quotes, fragment or user. */
void cx_rule_put_url(const cx_rule_map *map, const char *key, bool required, json_t *out);
/* A list of distinct words; all of them when the key is left out and all_by_default. */
void cx_rule_put_words(const cx_rule_map *map, const char *key, const char *what,
                       const char *const *words, bool all_by_default, json_t *out);
/* Sets KEY to the duration as text and KEY_seconds to its number. */
void cx_rule_set_duration(json_t *out, const char *key, int64_t ms);

/* The readers: each turns the value of its top-level key into JSON, a new reference; more may be
 * put into document, which is what stands at the top level. */
typedef json_t *cx_policy_reader(const cx_rules *rules, const cx_conf_node *node, json_t *document);
cx_policy_reader cx_policy_read_upgrade;
cx_policy_reader cx_policy_read_backup;
cx_policy_reader cx_policy_read_health;
cx_policy_reader cx_policy_read_alerts;
cx_policy_reader cx_policy_read_maintenance;
