#include "members.h"

#include "base/map.h"

typedef struct known {
    json_t *member;
    int64_t listed_ms;
} known;

struct node_members {
    cx_map *by_id;
};

node_members *node_members_open(void)
{
    node_members *members = cx_alloc(1, sizeof *members);

    members->by_id = cx_map_open();
    return members;
}

static void free_known(known *gone)
{
    cx_json_free(&gone->member);
    cx_free(&gone);
}

void node_members_close(node_members **owner)
{
    node_members *members = *owner;
    size_t cursor = 0;
    void *value = NULL;

    if (members == NULL)
        return;
    while (cx_map_next(members->by_id, &cursor, NULL, &value))
        free_known(value);
    cx_map_close(&members->by_id);
    cx_free(owner);
}

static void keep(node_members *members, json_t *member, int64_t now_ms)
{
    const char *id = cx_json_text_or_empty(member, "node_id");
    known *kept = cx_map_get(members->by_id, id);

    if (kept == NULL) {
        kept = cx_alloc(1, sizeof *kept);
        cx_map_put(members->by_id, id, kept);
    }
    cx_json_free(&kept->member);
    kept->member = json_incref(member);
    kept->listed_ms = now_ms;
}

json_t *node_members_merge(node_members *members, const json_t *answer, int64_t now_ms)
{
    CX_AUTO(cx_list_free) cx_list gone = {0};
    json_t *list = json_array(), *member;
    size_t i, cursor = 0;
    const char *id = NULL;
    void *value = NULL;

    json_array_foreach (json_object_get(answer, "members"), i, member)
        keep(members, member, now_ms);
    while (cx_map_next(members->by_id, &cursor, &id, &value)) {
        const known *each = value;

        if (now_ms - each->listed_ms >= NODE_MEMBERS_KEEP_MS)
            cx_list_add(&gone, id);
        else
            json_array_append(list, each->member);
    }
    for (i = 0; i < gone.count; i++)
        free_known(cx_map_remove(members->by_id, gone.items[i]));
    return json_pack("{s:o}", "members", list);
}
