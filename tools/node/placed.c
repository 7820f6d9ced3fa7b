#include "placed.h"

#include <string.h>

#include "base/text.h"
#include "base/time.h"

static const char *const keys[] = {"id", "version", "by", "suspended", "changed_at", "spec", NULL};

bool node_placed_is_newer(const node_placed *placed, const node_placed *than)
{
    if (than == NULL || placed->version != than->version)
        return than == NULL || placed->version > than->version;
    return strcmp(placed->by, than->by) > 0;
}

bool node_placed_is_forgotten(const node_placed *placed, int64_t now_ms)
{
    return placed->spec == NULL && placed->changed_ms < now_ms - NODE_PLACED_KEEP_MS;
}

int64_t node_placed_next_version(int64_t known, int64_t now_ms)
{
    return known < now_ms ? now_ms : known + 1;
}

bool node_placed_is_there(const node_placed *placed)
{
    return placed != NULL && placed->spec != NULL;
}

json_t *node_placed_to_json(const node_placed *placed)
{
    return json_pack("{s:s, s:I, s:s, s:b, s:o, s:o}", "id", placed->id, "version",
                     (json_int_t)placed->version, "by", placed->by, "suspended", placed->suspended,
                     "changed_at", cx_json_time(placed->changed_ms), "spec",
                     placed->spec == NULL ? json_null() : node_spec_to_json(placed->spec));
}

static bool parse_spec(const json_t *json, const char *id, node_placed *placed, cx_err *err)
{
    const json_t *spec = json_object_get(json, "spec");

    if (json_is_null(spec))
        return true;
    if (!node_spec_parse(spec, id, &placed->spec, err))
        return false;
    return placed->spec->placement == NODE_ANY ||
           cx_fail(err, CX_INVALID, "spec: placement is not any");
}

bool node_placed_parse(const json_t *json, const char *where, node_placed *placed, cx_err *err)
{
    const char *id = NULL, *by = NULL, *changed_at = NULL;
    CX_AUTO(node_placed_free) node_placed parsed = {0};

    if (!cx_json_only_keys(json, where, keys, err) ||
        !cx_json_need_text(json, where, "id", &id, err) || !cx_check_id("agent id", id, err) ||
        !cx_json_need_text(json, where, "by", &by, err) || !cx_check_id("by", by, err) ||
        !cx_json_need_int(json, where, "version", 1, NODE_PLACED_VERSION_MAX, &parsed.version,
                          err) ||
        !cx_json_get_bool(json, where, "suspended", &parsed.suspended, err) ||
        !cx_json_need_text(json, where, "changed_at", &changed_at, err) ||
        !cx_time_parse(changed_at, &parsed.changed_ms, err) || !parse_spec(json, id, &parsed, err))
        return cx_wrap(err, "%s", where);
    parsed.id = cx_strdup(id);
    parsed.by = cx_strdup(by);
    *placed = parsed;
    parsed = (node_placed){0};
    return true;
}

node_placed node_placed_copy(const node_placed *placed)
{
    node_placed copy = *placed;

    copy.id = cx_strdup(placed->id);
    copy.by = cx_strdup(placed->by);
    copy.spec = placed->spec == NULL ? NULL : node_spec_copy(placed->spec);
    return copy;
}

void node_placed_free(node_placed *placed)
{
    cx_free(&placed->id);
    cx_free(&placed->by);
    node_spec_free(&placed->spec);
    *placed = (node_placed){0};
}
