#include "api/gather.h"

#include <string.h>

static const json_int_t COUNT_MAX = (json_int_t)1 << 40;

bool cx_api_gather(cx_api *api, const cx_api_nodes *nodes, const char *path, int64_t timeout_ms,
                   cx_gathered *gathered, cx_err *err)
{
    CX_AUTO(cx_gathered_free) cx_gathered all = {.count = nodes->count};

    all.answers = cx_alloc(nodes->count, sizeof(json_t *));
    all.errors = cx_alloc(nodes->count, sizeof *all.errors);
    if (!cx_api_call_all(api, nodes, "GET", path, NULL, timeout_ms, all.answers, all.errors, err))
        return false;
    for (size_t i = 0; i < all.count; i++)
        all.failed += all.answers[i] == NULL;
    if (all.failed == all.count) {
        *err = all.errors[0];
        return false;
    }
    *gathered = all;
    all = (cx_gathered){0};
    return true;
}

void cx_gathered_free(cx_gathered *gathered)
{
    for (size_t i = 0; i < gathered->count && gathered->answers != NULL; i++)
        cx_json_free(&gathered->answers[i]);
    cx_free(&gathered->answers);
    cx_free(&gathered->errors);
    gathered->count = 0;
}

json_t *cx_gathered_list(const cx_gathered *gathered, const cx_api_nodes *nodes, const char *key)
{
    json_t *list = json_array();
    size_t at;
    json_t *item;

    for (size_t i = 0; i < gathered->count; i++) {
        const char *node_id = cx_json_text_or_empty(gathered->answers[i], "node_id");

        if (node_id[0] == '\0')
            node_id = nodes->items[i].node_id;
        json_array_foreach (json_object_get(gathered->answers[i], key), at, item) {
            if (!json_is_object(item))
                continue;
            if (json_object_get(item, "node_id") == NULL)
                json_object_set_new(item, "node_id", cx_json_text(node_id));
            json_array_append(list, item);
        }
    }
    return list;
}

json_int_t cx_api_count(const json_t *object, const char *key)
{
    json_int_t count = json_integer_value(json_object_get(object, key));

    if (count < 0)
        return 0;
    return count < COUNT_MAX ? count : COUNT_MAX;
}

json_int_t cx_gathered_sum(const cx_gathered *gathered, const char *object, const char *key)
{
    json_int_t sum = 0;

    for (size_t i = 0; i < gathered->count; i++) {
        const json_t *from = gathered->answers[i];

        sum += cx_api_count(object != NULL ? json_object_get(from, object) : from, key);
    }
    return sum;
}

json_t *cx_api_failure(const cx_api_node *node, const cx_err *error)
{
    CX_AUTO(cx_json_free) json_t *document = cx_err_to_json(error);

    return json_pack("{s:o, s:o, s:O}", "node_id", cx_json_text(node->node_id), "api_addr",
                     cx_json_text(node->api_addr), "error", json_object_get(document, "error"));
}

json_t *cx_api_absent(const json_t *cluster)
{
    json_t *absent = json_array();
    size_t at;
    json_t *member;

    json_array_foreach (json_object_get(cluster, "members"), at, member) {
        const char *status = cx_json_text_or_empty(member, "status");

        if (strcmp(status, "alive") != 0 && strcmp(status, "left") != 0 &&
            cx_api_member_address(member)[0] != '\0')
            json_array_append_new(absent,
                                  json_pack("{s:o, s:o}", "node_id",
                                            cx_json_text(cx_json_text_or_empty(member, "node_id")),
                                            "status", cx_json_text(status)));
    }
    return absent;
}

void cx_gathered_report(const cx_gathered *gathered, const cx_api_nodes *nodes, cx_run *run,
                        json_t *document)
{
    json_t *errors = NULL;

    if (gathered->failed == 0)
        return;
    errors = json_array();
    for (size_t i = 0; i < gathered->count; i++)
        if (gathered->answers[i] == NULL)
            json_array_append_new(errors, cx_api_failure(&nodes->items[i], &gathered->errors[i]));
    json_object_set_new(document, "errors", errors);
    run->answer_no = true;
}
