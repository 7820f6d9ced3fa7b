#include "repo/content.h"

#include <string.h>

#include <openssl/evp.h>

#include "base/cli.h"
#include "base/text.h"

static void free_digest(EVP_MD_CTX **owner)
{
    EVP_MD_CTX_free(*owner);
    *owner = NULL;
}

/* ---- the index */

static bool check_stored(const char *key, cx_bytes stored, const cx_segment *about, cx_err *err)
{
    uint8_t digest[CX_SHA256_SIZE];

    cx_sha256(stored, digest);
    if (stored.size != (size_t)about->stored_bytes ||
        memcmp(digest, about->sha256, sizeof digest) != 0)
        return cx_fail(err, CX_CORRUPT, "%s: its bytes are not those that were stored", key);
    return true;
}

bool cx_content_read_index(cx_repo *repo, const cx_manifest *manifest,
                           const cx_age_identities *identities, cx_buffer *lines, cx_err *err)
{
    CX_AUTO(cx_free)
    char *key = cx_repo_key(repo, "backups/%s/index.ndjson.zst.age", manifest->id);
    CX_AUTO(cx_buffer_free) cx_buffer stored = {0};

    if (!cx_dest_get(repo->dest, key, CX_INDEX_MAX, &stored, err) ||
        !check_stored(key, cx_buffer_bytes(&stored), &manifest->index, err))
        return false;
    /* Without an identity only the stored bytes are looked at. */
    return identities == NULL ||
           cx_unseal(identities, cx_buffer_bytes(&stored), CX_INDEX_MAX, lines, err) ||
           cx_wrap(err, "%s", key);
}

static bool add_entry(const cx_index_entry *from, void *arg, cx_err *err)
{
    cx_content_index *index = arg;
    cx_content_entry *entry;
    size_t size = from->segment_count * sizeof *from->segments;

    (void)err;
    if (index->count == index->capacity) {
        index->capacity = index->capacity == 0 ? 256 : index->capacity * 2;
        index->entries = cx_realloc(index->entries, index->capacity, sizeof *index->entries);
    }
    entry = &index->entries[index->count++];
    *entry = (cx_content_entry){
        .component = cx_strdup(from->component),
        .path = cx_strdup(from->tar.path),
        .kind = from->tar.kind,
        .size = from->tar.size,
        .segments = cx_alloc(from->segment_count + 1, sizeof *entry->segments),
        .segment_count = from->segment_count,
    };
    memcpy(entry->sha256, from->sha256, sizeof entry->sha256);
    memcpy(entry->segments, from->segments, size);
    return true;
}

bool cx_content_parse_index(cx_bytes lines, cx_content_index *index, cx_err *err)
{
    return cx_index_read(lines, add_entry, index, err);
}

void cx_content_index_free(cx_content_index *index)
{
    for (size_t i = 0; i < index->count; i++) {
        cx_free(&index->entries[i].component);
        cx_free(&index->entries[i].path);
        cx_free(&index->entries[i].segments);
    }
    cx_free(&index->entries);
    *index = (cx_content_index){0};
}

/* ---- segments */

bool cx_content_stored(cx_repo *repo, const cx_segment *segment, cx_buffer *stored, cx_err *err)
{
    CX_AUTO(cx_free) char *object = cx_segment_object(segment->id);
    CX_AUTO(cx_free) char *key = cx_repo_key(repo, "%s", object);

    if (!cx_dest_get(repo->dest, key, CX_SEGMENT_STORED_MAX, stored, err)) {
        if (err->code == CX_NOT_FOUND)
            cx_fail(err, CX_CORRUPT, "%s is missing", key);
        return false;
    }
    return check_stored(key, cx_buffer_bytes(stored), segment, err);
}

bool cx_content_is_damage(const cx_err *err)
{
    switch (err->code) {
    case CX_CORRUPT:
    case CX_MALFORMED:
    case CX_INVALID:
    case CX_NOT_FOUND:
    case CX_TOO_LARGE:
    case CX_PERMISSION: return true;
    default: return false;
    }
}

bool cx_content_segment(cx_repo *repo, const cx_segment *segment,
                        const cx_age_identities *identities, cx_buffer *content, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer stored = {0};
    CX_AUTO(cx_free) char *object = cx_segment_object(segment->id);
    size_t before = content->size;

    if (!cx_content_stored(repo, segment, &stored, err))
        return false;
    if (!cx_unseal(identities, cx_buffer_bytes(&stored), CX_SEGMENT_MAX, content, err))
        return cx_wrap(err, "%s", object);
    if ((int64_t)(content->size - before) != segment->size)
        return cx_fail(err, CX_CORRUPT, "%s: %zu bytes of content, the manifest says %lld", object,
                       content->size - before, (long long)segment->size);
    return true;
}

/* ---- a component */

struct reading {
    const cx_content_spec *spec;
    const cx_manifest_component *component;
    cx_segments *wanted; /* NULL: all */
    size_t next;         /* of the component's segments */
    size_t entry;        /* of the index */
    cx_buffer content;
};

static void free_reading(struct reading *reading)
{
    cx_segments_close(&reading->wanted);
    cx_buffer_free(&reading->content);
}

static bool fill(void *arg, cx_bytes *piece, cx_err *err)
{
    struct reading *reading = arg;
    const cx_content_spec *spec = reading->spec;

    *piece = (cx_bytes){0};
    while (reading->next < reading->component->segment_count) {
        const cx_segment *segment = &reading->component->segments[reading->next++];

        if (cx_interrupted())
            return cx_fail(err, CX_INTERRUPTED, "interrupted");
        if (reading->wanted != NULL && cx_segments_find(reading->wanted, segment->id) == NULL)
            continue;
        cx_buffer_clear(&reading->content);
        if (!cx_content_segment(spec->repo, segment, spec->identities, &reading->content, err))
            return false;
        if (spec->passed != NULL)
            spec->passed(spec->passed_arg, segment->stored_bytes);
        if (reading->content.size == 0)
            continue;
        *piece = cx_buffer_bytes(&reading->content);
        return true;
    }
    return true;
}

static bool is_component(const struct reading *reading, const cx_content_entry *entry)
{
    return strcmp(entry->component, reading->component->name) == 0;
}

static bool is_wanted(const cx_content_spec *spec, const cx_content_entry *entry)
{
    return spec->filter == NULL || spec->filter(entry, spec->filter_arg);
}

static void choose_segments(struct reading *reading)
{
    const cx_content_index *index = reading->spec->index;
    uint64_t salt;

    if (reading->spec->filter == NULL)
        return;
    cx_random(&salt, sizeof salt);
    reading->wanted = cx_segments_open(salt);
    for (size_t i = 0; i < index->count; i++)
        if (is_component(reading, &index->entries[i]) &&
            is_wanted(reading->spec, &index->entries[i]))
            for (size_t j = 0; j < index->entries[i].segment_count; j++)
                cx_segments_add(reading->wanted, index->entries[i].segments[j]);
}

/* The next entry of the index that must come in the stream; NULL: none. */
static const cx_content_entry *next_expected(struct reading *reading)
{
    const cx_content_index *index = reading->spec->index;

    while (reading->entry < index->count) {
        const cx_content_entry *entry = &index->entries[reading->entry++];

        if (!is_component(reading, entry) || entry->segment_count == 0)
            continue;
        if (reading->wanted == NULL ||
            cx_segments_find(reading->wanted, entry->segments[0]) != NULL)
            return entry;
    }
    return NULL;
}

static bool read_content(cx_tar_reader *tar, const cx_content_sink *sink,
                         uint8_t digest[CX_SHA256_SIZE], cx_err *err)
{
    CX_AUTO(free_digest) EVP_MD_CTX *context = EVP_MD_CTX_new();

    EVP_DigestInit_ex(context, EVP_sha256(), NULL);
    for (;;) {
        cx_bytes piece;

        if (!cx_tar_content(tar, &piece, err))
            return false;
        if (piece.size == 0)
            break;
        EVP_DigestUpdate(context, piece.data, piece.size);
        if (sink != NULL && !sink->data(sink->arg, piece, err))
            return false;
    }
    EVP_DigestFinal_ex(context, digest, NULL);
    return true;
}

static bool read_entry(struct reading *reading, cx_tar_reader *tar, const cx_tar_entry *entry,
                       const cx_content_entry *expected, cx_err *err)
{
    const cx_content_sink *sink = is_wanted(reading->spec, expected) ? reading->spec->sink : NULL;
    uint8_t digest[CX_SHA256_SIZE];

    if (strcmp(entry->path, expected->path) != 0 || entry->kind != expected->kind ||
        entry->size != expected->size)
        return cx_fail(err, CX_CORRUPT, "component %s: %s is not what the index says",
                       reading->component->name, entry->path);
    if (sink != NULL && !sink->begin(sink->arg, entry, err))
        return false;
    if (!read_content(tar, sink, digest, err))
        return false;
    if (entry->kind == CX_TAR_FILE && memcmp(digest, expected->sha256, sizeof digest) != 0)
        return cx_fail(err, CX_CORRUPT,
                       "component %s: the content of %s is not what the index says",
                       reading->component->name, entry->path);
    return sink == NULL || sink->end(sink->arg, err);
}

bool cx_content_read(const cx_content_spec *spec, const cx_manifest_component *component,
                     cx_err *err)
{
    CX_AUTO(free_reading) struct reading reading = {.spec = spec, .component = component};
    CX_AUTO(cx_tar_close) cx_tar_reader *tar = cx_tar_open(fill, &reading);
    const cx_content_entry *expected;

    choose_segments(&reading);
    for (;;) {
        cx_tar_entry entry;
        bool found = false;

        if (!cx_tar_next(tar, &entry, &found, err))
            return cx_wrap(err, "component %s", component->name);
        expected = next_expected(&reading);
        if (!found)
            break;
        if (expected == NULL)
            return cx_fail(err, CX_CORRUPT, "component %s: the index does not know %s",
                           component->name, entry.path);
        if (!read_entry(&reading, tar, &entry, expected, err))
            return false;
    }
    if (expected != NULL)
        return cx_fail(err, CX_CORRUPT, "component %s: %s is missing", component->name,
                       expected->path);
    return true;
}
