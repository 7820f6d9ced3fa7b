#include "guard.h"

#include <string.h>

/* alive, and its state tag says that it works; one without the tag is taken for working. */
static bool is_working(const json_t *member)
{
    const char *state = cx_json_text_or_empty(json_object_get(member, "tags"), "state");

    return strcmp(cx_json_text_or_empty(member, "status"), "alive") == 0 &&
           (state[0] == '\0' || strcmp(state, "active") == 0);
}

/* Out of service by somebody's wish: a failed node is another matter, the majority counts it. */
static bool is_out(const json_t *member)
{
    const char *state = cx_json_text_or_empty(json_object_get(member, "tags"), "state");
    const char *status = cx_json_text_or_empty(member, "status");

    return (strcmp(status, "alive") == 0 || strcmp(status, "suspect") == 0) && state[0] != '\0' &&
           strcmp(state, "active") != 0;
}

bool drain_guard(const json_t *cluster, const char *node_id, cx_err *err)
{
    const json_t *members = json_object_get(cluster, "members");
    json_int_t expected =
        json_integer_value(json_object_get(json_object_get(cluster, "status"), "expected"));
    json_int_t present = 0, working = 0;

    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *member = json_array_get(members, i);
        const char *name = cx_json_text_or_empty(member, "node_id");

        present += strcmp(cx_json_text_or_empty(member, "status"), "left") != 0;
        if (strcmp(name, node_id) == 0)
            continue;
        if (is_out(member)) {
            cx_fail(err, CX_BUSY, "%s is %s: one node at a time", name,
                    cx_json_text_or_empty(json_object_get(member, "tags"), "state"));
            return cx_hint(err, "wait for it, or --force");
        }
        working += is_working(member);
    }
    if (expected < present)
        expected = present;
    /* A cluster of one has nobody to lose. */
    if (expected > 1 && working * 2 <= expected) {
        cx_fail(err, CX_NO_MAJORITY,
                "without %s %lld of %lld nodes would be at work, which is no majority", node_id,
                (long long)working, (long long)expected);
        return cx_hint(err, "--force drains it all the same");
    }
    return true;
}

void drain_guard_know(json_t *cluster, const char *node_id, const char *state)
{
    const json_t *members = json_object_get(cluster, "members");

    for (size_t i = 0; i < json_array_size(members); i++) {
        json_t *member = json_array_get(members, i);
        json_t *tags = json_object_get(member, "tags");

        if (strcmp(cx_json_text_or_empty(member, "node_id"), node_id) != 0)
            continue;
        if (json_is_object(tags))
            json_object_set_new(tags, "state", cx_json_text(state));
        else
            json_object_set_new(member, "tags", json_pack("{s:o}", "state", cx_json_text(state)));
    }
}
