#include "repo/manifest.h"

#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "base/time.h"

enum { SEGMENTS_MAX = 4 * 1024 * 1024 };

static const int64_t bytes_max = INT64_C(1) << 53; /* what every JSON reader can hold */

bool cx_check_backup_id(const char *id, cx_err *err)
{
    size_t size = strnlen(id, CX_BACKUP_ID_MAX + 1);

    if (size == 0 || size > CX_BACKUP_ID_MAX || id[0] < '0' || id[0] > '9' ||
        strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") != size)
        return cx_fail(err, CX_INVALID, "no backup has an id like \"%.40s\"", id);
    return true;
}

/* RFC 3339 without what separates: "2025-11-23T02:00:00.123Z" -> "20251123T020000Z". */
char *cx_backup_id(int64_t wall_ms, const char *node_id, const char *type, uint16_t random)
{
    char text[CX_TIME_TEXT_SIZE];
    char stamp[CX_TIME_TEXT_SIZE];
    size_t size = 0;

    for (const char *at = cx_time_text(wall_ms - wall_ms % 1000, text); *at != '\0'; at++)
        if (*at != '-' && *at != ':')
            stamp[size++] = *at;
    stamp[size] = '\0';
    return cx_format("%s-%s-%s-%04x", stamp, node_id, type, random);
}

void cx_manifest_free(cx_manifest **owner)
{
    cx_manifest *manifest = CX_TAKE(*owner);

    if (manifest == NULL)
        return;
    for (size_t i = 0; i < manifest->component_count; i++) {
        cx_free(&manifest->components[i].name);
        cx_free(&manifest->components[i].segments);
    }
    cx_free(&manifest->components);
    cx_free(&manifest->id);
    cx_free(&manifest->type);
    cx_free(&manifest->parent);
    cx_free(&manifest->cluster);
    cx_free(&manifest->node_id);
    cx_free(&manifest->version);
    cx_free(&manifest);
}

/* ---- writing */

static json_t *hex(const uint8_t *bytes, size_t size)
{
    CX_AUTO(cx_free) char *text = cx_hex((cx_bytes){bytes, size});

    return json_string(text);
}

static json_t *segment_to_json(const cx_segment *segment)
{
    return json_pack("{s:o, s:I, s:I, s:o}", "id", hex(segment->id, sizeof segment->id), "size",
                     (json_int_t)segment->size, "stored_bytes", (json_int_t)segment->stored_bytes,
                     "sha256", hex(segment->sha256, sizeof segment->sha256));
}

static json_t *component_to_json(const cx_manifest_component *component)
{
    json_t *segments = json_array();

    for (size_t i = 0; i < component->segment_count; i++)
        json_array_append_new(segments, segment_to_json(&component->segments[i]));
    return json_pack("{s:s, s:I, s:I, s:o}", "name", component->name, "files",
                     (json_int_t)component->files, "bytes", (json_int_t)component->bytes,
                     "segments", segments);
}

json_t *cx_manifest_to_json(const cx_manifest *manifest)
{
    json_t *components = json_array();

    for (size_t i = 0; i < manifest->component_count; i++)
        json_array_append_new(components, component_to_json(&manifest->components[i]));
    return json_pack(
        "{s:i, s:s, s:s, s:s?, s:s, s:s, s:s, s:o, s:I, s:I, s:o, s:{s:I, s:I, s:o}}", "format",
        CX_MANIFEST_FORMAT, "id", manifest->id, "type", manifest->type, "parent", manifest->parent,
        "cluster", manifest->cluster, "node_id", manifest->node_id, "version", manifest->version,
        "created_at", cx_json_time(manifest->created_ms), "files", (json_int_t)manifest->files,
        "bytes", (json_int_t)manifest->bytes, "components", components, "index", "size",
        (json_int_t)manifest->index.size, "stored_bytes", (json_int_t)manifest->index.stored_bytes,
        "sha256", hex(manifest->index.sha256, sizeof manifest->index.sha256));
}

/* ---- reading */

static bool need_hex(const json_t *object, const char *where, const char *key, uint8_t *bytes,
                     size_t size, cx_err *err)
{
    const char *text = NULL;

    if (!cx_json_need_text(object, where, key, &text, err))
        return false;
    /* Lower case only: it is a file's name. */
    if (strlen(text) != 2 * size || strspn(text, "0123456789abcdef") != 2 * size ||
        !cx_from_hex(text, bytes, size, err))
        return cx_fail(err, CX_INVALID, "%s.%s: not %zu lower-case hex digits", where, key,
                       2 * size);
    return true;
}

static bool parse_segment(const json_t *json, const char *where, cx_segment *segment, cx_err *err)
{
    return need_hex(json, where, "id", segment->id, sizeof segment->id, err) &&
           need_hex(json, where, "sha256", segment->sha256, sizeof segment->sha256, err) &&
           cx_json_need_int(json, where, "size", 0, CX_SEGMENT_MAX, &segment->size, err) &&
           cx_json_need_int(json, where, "stored_bytes", 0, CX_SEGMENT_STORED_MAX,
                            &segment->stored_bytes, err);
}

static bool need_id(const json_t *object, const char *where, const char *key, char **to,
                    cx_err *err)
{
    const char *text = NULL;

    if (!cx_json_need_text(object, where, key, &text, err) || !cx_check_id(key, text, err))
        return false;
    *to = cx_strdup(text);
    return true;
}

static bool parse_component(const json_t *json, size_t number, cx_manifest_component *component,
                            cx_err *err)
{
    CX_AUTO(cx_free) char *where = cx_format("components[%zu]", number);
    const json_t *segments = json_object_get(json, "segments");
    size_t count = json_array_size(segments);

    if (!need_id(json, where, "name", &component->name, err) ||
        !cx_json_need_int(json, where, "files", 0, bytes_max, &component->files, err) ||
        !cx_json_need_int(json, where, "bytes", 0, bytes_max, &component->bytes, err))
        return false;
    if (!json_is_array(segments) || count > SEGMENTS_MAX)
        return cx_fail(err, CX_INVALID, "%s.segments: not a list of at most %d", where,
                       SEGMENTS_MAX);
    component->segments = cx_alloc(count + 1, sizeof *component->segments);
    for (; component->segment_count < count; component->segment_count++)
        if (!parse_segment(json_array_get(segments, component->segment_count), where,
                           &component->segments[component->segment_count], err))
            return cx_wrap(err, "segment %zu", component->segment_count);
    return true;
}

static bool parse_components(const json_t *json, cx_manifest *manifest, cx_err *err)
{
    const json_t *components = json_object_get(json, "components");
    size_t count = json_array_size(components);

    if (!json_is_array(components) || count > CX_MANIFEST_COMPONENTS_MAX)
        return cx_fail(err, CX_INVALID, "components: not a list of at most %d",
                       CX_MANIFEST_COMPONENTS_MAX);
    manifest->components = cx_alloc(count + 1, sizeof *manifest->components);
    for (size_t i = 0; i < count; i++) {
        manifest->component_count++;
        if (!parse_component(json_array_get(components, i), i, &manifest->components[i], err))
            return false;
        for (size_t j = 0; j < i; j++)
            if (strcmp(manifest->components[j].name, manifest->components[i].name) == 0)
                return cx_fail(err, CX_INVALID, "component %s is there twice",
                               manifest->components[i].name);
    }
    return true;
}

static bool parse_index(const json_t *json, cx_segment *index, cx_err *err)
{
    const json_t *object = json_object_get(json, "index");

    if (!json_is_object(object))
        return cx_fail(err, CX_INVALID, "index is missing");
    return need_hex(object, "index", "sha256", index->sha256, sizeof index->sha256, err) &&
           cx_json_need_int(object, "index", "size", 0, bytes_max, &index->size, err) &&
           cx_json_need_int(object, "index", "stored_bytes", 0, bytes_max, &index->stored_bytes,
                            err);
}

static bool parse_head(const json_t *json, cx_manifest *manifest, cx_err *err)
{
    const char *id = NULL, *parent = NULL, *created_at = NULL;
    int64_t format = 0;

    if (!json_is_object(json))
        return cx_fail(err, CX_MALFORMED, "not an object");
    if (!cx_json_need_int(json, "manifest", "format", 1, INT32_MAX, &format, err))
        return false;
    if (format > CX_MANIFEST_FORMAT) {
        cx_fail(err, CX_CONFIG, "it has format %" PRId64 ", this program knows up to %d", format,
                CX_MANIFEST_FORMAT);
        return cx_hint(err, "a newer release wrote it: use that release");
    }
    if (!cx_json_need_text(json, "manifest", "id", &id, err) || !cx_check_backup_id(id, err) ||
        !cx_json_get_text(json, "manifest", "parent", &parent, err) ||
        (parent != NULL && !cx_check_backup_id(parent, err)) ||
        !cx_json_need_text(json, "manifest", "created_at", &created_at, err) ||
        !cx_time_parse(created_at, &manifest->created_ms, err))
        return false;
    manifest->id = cx_strdup(id);
    manifest->parent = cx_strdup(parent);
    return need_id(json, "manifest", "type", &manifest->type, err) &&
           need_id(json, "manifest", "cluster", &manifest->cluster, err) &&
           need_id(json, "manifest", "node_id", &manifest->node_id, err) &&
           need_id(json, "manifest", "version", &manifest->version, err) &&
           cx_json_need_int(json, "manifest", "files", 0, bytes_max, &manifest->files, err) &&
           cx_json_need_int(json, "manifest", "bytes", 0, bytes_max, &manifest->bytes, err);
}

bool cx_manifest_parse(cx_bytes text, const char *name, cx_manifest **manifest, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *json = NULL;
    CX_AUTO(cx_manifest_free) cx_manifest *made = cx_alloc(1, sizeof *made);

    if (!cx_json_parse(text, CX_MANIFEST_MAX, name, &json, err))
        return false;
    if (!parse_head(json, made, err) || !parse_components(json, made, err) ||
        !parse_index(json, &made->index, err))
        return cx_wrap(err, "%s", name);
    if (strcmp(made->type, "full") != 0 && strcmp(made->type, "incremental") != 0)
        return cx_fail(err, CX_INVALID, "%s: type is neither full nor incremental", name);
    *manifest = CX_TAKE(made);
    return true;
}

const cx_manifest_component *cx_manifest_find(const cx_manifest *manifest, const char *component)
{
    for (size_t i = 0; i < manifest->component_count; i++)
        if (strcmp(manifest->components[i].name, component) == 0)
            return &manifest->components[i];
    return NULL;
}
