#include "repo/cache.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/text.h"

enum {
    FORMAT = 1,
    CACHE_MAX = 2000 * 1024 * 1024,
    HEAD_MAX = 64 * 1024,
    COMPONENTS_MAX = 64,
};

void cx_cache_free(cx_cache **owner)
{
    cx_cache *cache = CX_TAKE(*owner);

    if (cache == NULL)
        return;
    for (size_t i = 0; i < cache->entry_count; i++)
        cx_free(&cache->entries[i].path);
    cx_free(&cache->entries);
    cx_free(&cache->segments);
    cx_free(&cache->table);
    cx_free(&cache->backup_id);
    cx_list_free(&cache->components);
    cx_free(&cache);
}

/* ---- writing */

static void add_hex(const uint8_t *bytes, size_t size, cx_buffer *text)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t *to = cx_buffer_reserve(text, 2 * size);

    for (size_t i = 0; i < size; i++) {
        *to++ = (uint8_t)digits[bytes[i] >> 4];
        *to++ = (uint8_t)digits[bytes[i] & 15];
    }
    text->size += 2 * size;
}

/* A byte that is no plain character becomes \u00XX: names come back exactly, whatever they are. */
static void add_name(const char *name, cx_buffer *text)
{
    cx_buffer_add(text, "\"", 1);
    for (const uint8_t *at = (const uint8_t *)name; *at != '\0'; at++) {
        if (*at >= 0x20 && *at < 0x7f && *at != '"' && *at != '\\')
            cx_buffer_add(text, at, 1);
        else
            cx_buffer_addf(text, "\\u%04x", *at);
    }
    cx_buffer_add(text, "\"", 1);
}

static void add_head(const cx_cache *cache, cx_buffer *text)
{
    json_t *components = json_array();
    CX_AUTO(cx_json_free) json_t *head = NULL;
    CX_AUTO(cx_free) char *line = NULL;

    for (size_t i = 0; i < cache->components.count; i++)
        json_array_append_new(components, json_string(cache->components.items[i]));
    head = json_pack("{s:i, s:s, s:I, s:I, s:I, s:o}", "format", FORMAT, "backup_id",
                     cache->backup_id, "read_ms", (json_int_t)cache->read_ms, "segments",
                     (json_int_t)cache->segment_count, "entries", (json_int_t)cache->entry_count,
                     "components", components);
    line = cx_json_line(head);
    cx_buffer_add_text(text, line);
    cx_buffer_add_text(text, "\n");
}

static size_t component_number(const cx_cache *cache, const char *component)
{
    size_t number = 0;

    while (strcmp(cache->components.items[number], component) != 0)
        number++;
    return number;
}

static void add_entry(const cx_cache *cache, const cx_cache_entry *entry, cx_buffer *text)
{
    const cx_identity *identity = &entry->identity;

    cx_buffer_addf(text, "[%zu,", component_number(cache, entry->component));
    add_name(entry->path, text);
    cx_buffer_addf(
        text,
        ",%d,%" PRIu64 ",%" PRIu64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64
        ",%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%d,%" PRId64 ",%" PRIu32 ",%" PRIu32 ",\"",
        (int)entry->kind, identity->device, identity->inode, identity->size, identity->mtime_ns,
        identity->ctime_ns, identity->wal_size, identity->wal_mtime_ns, identity->mode,
        identity->uid, identity->gid, entry->is_database, entry->content_bytes,
        entry->first_segment, entry->segment_count);
    add_hex(entry->sha256, sizeof entry->sha256, text);
    cx_buffer_add_text(text, "\"]\n");
}

bool cx_cache_write(const char *path, const cx_cache *cache, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};

    add_head(cache, &text);
    for (size_t i = 0; i < cache->segment_count; i++) {
        cx_buffer_add_text(&text, "[\"");
        add_hex(cache->segments[i].id, CX_SEGMENT_ID_SIZE, &text);
        cx_buffer_addf(&text, "\",%" PRId64 "]\n", cache->segments[i].size);
    }
    for (size_t i = 0; i < cache->entry_count; i++)
        add_entry(cache, &cache->entries[i], &text);
    return cx_replace(path, 0600, cx_buffer_bytes(&text), err);
}

/* ---- reading: of exactly what is written above, since there is a line for each file of the node */

struct scan {
    const char *at; /* the text ends with a NUL */
    bool failed;
};

static void expect(struct scan *scan, const char *text)
{
    size_t size = strlen(text);

    if (strncmp(scan->at, text, size) == 0)
        scan->at += size;
    else
        scan->failed = true;
}

static uint64_t scan_number(struct scan *scan)
{
    uint64_t number = 0;
    bool is_negative = *scan->at == '-';
    const char *from = scan->at += is_negative;

    while (*scan->at >= '0' && *scan->at <= '9' && scan->at - from < 20)
        number = number * 10 + (uint64_t)(*scan->at++ - '0');
    scan->failed |= scan->at == from;
    return is_negative ? -number : number;
}

static uint64_t scan_next(struct scan *scan)
{
    expect(scan, ",");
    return scan_number(scan);
}

static int hex_digit(char digit)
{
    return digit >= '0' && digit <= '9'   ? digit - '0'
           : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                                          : -1;
}

static void scan_hex(struct scan *scan, uint8_t *bytes, size_t size)
{
    expect(scan, "\"");
    for (size_t i = 0; i < size && !scan->failed; i++, scan->at += 2) {
        int high = hex_digit(scan->at[0]);
        int low = high < 0 ? -1 : hex_digit(scan->at[1]);

        scan->failed |= low < 0;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    expect(scan, "\"");
}

static char *scan_name(struct scan *scan)
{
    const char *end = strchr(scan->at, '\n');
    char *name = cx_alloc((size_t)(end == NULL ? 0 : end - scan->at) + 1, 1);
    size_t size = 0;

    expect(scan, "\"");
    while (!scan->failed && *scan->at != '"') {
        if ((uint8_t)*scan->at < 0x20) {
            scan->failed = true;
        } else if (*scan->at != '\\') {
            name[size++] = *scan->at++;
        } else {
            expect(scan, "\\u00");
            if (!scan->failed && hex_digit(scan->at[0]) >= 0 && hex_digit(scan->at[1]) >= 0) {
                name[size++] = (char)(hex_digit(scan->at[0]) << 4 | hex_digit(scan->at[1]));
                scan->at += 2;
            } else {
                scan->failed = true;
            }
        }
    }
    expect(scan, "\"");
    name[size] = '\0';
    return name;
}

static bool damaged(const char *path, cx_err *err)
{
    return cx_fail(err, CX_MALFORMED, "%s is damaged", path);
}

static bool read_head(const char *path, const char *text, size_t size, cx_cache *cache, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *head = NULL;
    const char *backup_id = NULL;
    int64_t format = 0, segments = 0, entries = 0;
    size_t at;
    const json_t *component;

    if (!cx_json_parse((cx_bytes){(const uint8_t *)text, size}, HEAD_MAX, path, &head, err) ||
        !cx_json_need_int(head, path, "format", FORMAT, FORMAT, &format, err) ||
        !cx_json_need_text(head, path, "backup_id", &backup_id, err) ||
        !cx_json_need_int(head, path, "read_ms", 0, INT64_MAX, &cache->read_ms, err) ||
        !cx_json_need_int(head, path, "segments", 0, UINT32_MAX / 2, &segments, err) ||
        !cx_json_need_int(head, path, "entries", 0, CX_WALK_ENTRIES_MAX, &entries, err))
        return false;
    json_array_foreach (json_object_get(head, "components"), at, component) {
        if (at >= COMPONENTS_MAX || json_string_value(component) == NULL)
            return damaged(path, err);
        cx_list_add(&cache->components, json_string_value(component));
    }
    cache->backup_id = cx_strdup(backup_id);
    cache->segment_count = (size_t)segments;
    cache->entry_count = (size_t)entries;
    return true;
}

static void scan_entry(struct scan *scan, const cx_cache *cache, cx_cache_entry *entry)
{
    cx_identity *identity = &entry->identity;
    uint64_t component;

    expect(scan, "[");
    component = scan_number(scan);
    expect(scan, ",");
    entry->path = scan_name(scan);
    entry->kind = (cx_tar_kind)scan_next(scan);
    identity->device = scan_next(scan);
    identity->inode = scan_next(scan);
    identity->size = (int64_t)scan_next(scan);
    identity->mtime_ns = (int64_t)scan_next(scan);
    identity->ctime_ns = (int64_t)scan_next(scan);
    identity->wal_size = (int64_t)scan_next(scan);
    identity->wal_mtime_ns = (int64_t)scan_next(scan);
    identity->mode = (uint32_t)scan_next(scan);
    identity->uid = (uint32_t)scan_next(scan);
    identity->gid = (uint32_t)scan_next(scan);
    entry->is_database = scan_next(scan) != 0;
    entry->content_bytes = (int64_t)scan_next(scan);
    entry->first_segment = (uint32_t)scan_next(scan);
    entry->segment_count = (uint32_t)scan_next(scan);
    expect(scan, ",");
    scan_hex(scan, entry->sha256, sizeof entry->sha256);
    expect(scan, "]\n");
    if (component >= cache->components.count || entry->first_segment > cache->segment_count ||
        entry->segment_count > cache->segment_count - entry->first_segment)
        scan->failed = true;
    else
        entry->component = cache->components.items[component];
}

static uint64_t hash_of(const char *component, const char *path)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

    for (; *component != '\0'; component++)
        hash = (hash ^ (uint8_t)*component) * UINT64_C(0x100000001b3);
    for (hash *= 31; *path != '\0'; path++)
        hash = (hash ^ (uint8_t)*path) * UINT64_C(0x100000001b3);
    return hash ^ hash >> 32;
}

static void make_table(cx_cache *cache)
{
    cache->table_size = 16;
    while (cache->table_size < cache->entry_count * 2)
        cache->table_size *= 2;
    cache->table = cx_alloc(cache->table_size, sizeof *cache->table);
    for (size_t i = 0; i < cache->entry_count; i++) {
        const cx_cache_entry *entry = &cache->entries[i];
        size_t at = hash_of(entry->component, entry->path) & (cache->table_size - 1);

        while (cache->table[at] != 0)
            at = (at + 1) & (cache->table_size - 1);
        cache->table[at] = (uint32_t)i + 1;
    }
}

bool cx_cache_read(const char *path, cx_cache **cache, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    CX_AUTO(cx_cache_free) cx_cache *made = cx_alloc(1, sizeof *made);

    if (!cx_read_file(path, CACHE_MAX, &text, err))
        return false;

    const char *end = text.size == 0 ? NULL : strchr((const char *)text.data, '\n');

    if (end == NULL || strlen((const char *)text.data) != text.size)
        return damaged(path, err);

    size_t segments, entries;
    struct scan scan = {.at = end + 1};

    if (!read_head(path, (const char *)text.data, (size_t)(end - (const char *)text.data), made,
                   err))
        return false;
    /* Each takes more bytes than this of the text: the counts can't be lies. */
    segments = made->segment_count;
    entries = made->entry_count;
    made->segment_count = made->entry_count = 0;
    if (segments > text.size / 64 || entries > text.size / 64)
        return damaged(path, err);
    made->segments = cx_alloc(segments + 1, sizeof *made->segments);
    made->entries = cx_alloc(entries + 1, sizeof *made->entries);
    for (; made->segment_count < segments && !scan.failed; made->segment_count++) {
        cx_cache_segment *segment = &made->segments[made->segment_count];

        expect(&scan, "[");
        scan_hex(&scan, segment->id, sizeof segment->id);
        segment->size = (int64_t)scan_next(&scan);
        expect(&scan, "]\n");
    }
    for (; made->entry_count < entries && !scan.failed; made->entry_count++) {
        cx_cache_entry *entry = &made->entries[made->entry_count];

        scan_entry(&scan, made, entry);
        if (!scan.failed && entry->segment_count > 0)
            made->segments[entry->first_segment].entries++;
    }
    if (scan.failed || *scan.at != '\0')
        return damaged(path, err);
    make_table(made);
    *cache = CX_TAKE(made);
    return true;
}

const cx_cache_entry *cx_cache_find(const cx_cache *cache, const char *component, const char *path)
{
    size_t at = hash_of(component, path) & (cache->table_size - 1);

    for (; cache->table[at] != 0; at = (at + 1) & (cache->table_size - 1)) {
        const cx_cache_entry *entry = &cache->entries[cache->table[at] - 1];

        if (strcmp(entry->path, path) == 0 && strcmp(entry->component, component) == 0)
            return entry;
    }
    return NULL;
}
