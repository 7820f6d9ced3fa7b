/* Agent specs: what an operator deploys. Read from outside JSON, checked field by field, and written
 * back with every default filled in, so that two specs are the same when their JSON is.
 *
 * Pure: no files; whether a command exists is found out when it is started. */
#pragma once

#include "base/json.h"

enum {
    NODE_SPEC_BYTES_MAX = 64 * 1024, /* of the JSON document */
    NODE_COMMAND_MAX = 64,           /* words */
    NODE_CAPABILITIES_MAX = 32,
    NODE_ENV_MAX = 64,
    NODE_IN_FLIGHT_MAX = 256,
};

typedef enum node_priority { NODE_LOW, NODE_NORMAL, NODE_CRITICAL } node_priority;
typedef enum node_placement { NODE_PINNED, NODE_ANY } node_placement;

typedef struct node_spec {
    char *id;
    cx_list command; /* a first word without a slash is looked up in share/agents, then in PATH */
    cx_list capabilities;
    node_priority priority;
    node_placement placement;
    cx_list env; /* "KEY=value" */
    int64_t in_flight_max;
    int64_t memory_bytes; /* 0: no limit */
    int64_t open_files;
    int64_t message_timeout_ms;
    int64_t attempts_max;
} node_spec;

/* id: what the spec's id must be (it may then be left out), or NULL. Unknown keys are INVALID. */
CX_MUST_CHECK bool node_spec_parse(const json_t *json, const char *id, node_spec **spec,
                                   cx_err *err);
void node_spec_free(node_spec **owner);
node_spec *node_spec_copy(const node_spec *spec);
json_t *node_spec_to_json(const node_spec *spec); /* new reference; all fields */
json_t *node_spec_limits(const node_spec *spec);  /* new reference; the part "limits" */
bool node_spec_equal(const node_spec *a, const node_spec *b);
const char *node_priority_word(node_priority priority);
const char *node_placement_word(node_placement placement);
