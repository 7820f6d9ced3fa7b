#include "repo/verify.h"

#include <string.h>

#include "base/cli.h"
#include "base/text.h"
#include "base/time.h"

enum { UNKNOWN, RIGHT, WRONG }; /* a checked segment's mark */

static void add_problem(cx_verified *verified, const char *object, const char *reason)
{
    if (verified->problems_total++ >= CX_VERIFY_PROBLEMS_MAX)
        return;
    verified->problems =
        cx_realloc(verified->problems, verified->problem_count + 1, sizeof *verified->problems);
    verified->problems[verified->problem_count++] =
        (cx_verify_problem){cx_strdup(object), cx_strdup(reason)};
}

static bool note(cx_verified *verified, const char *object, const cx_err *err)
{
    if (cx_content_is_damage(err))
        add_problem(verified, object, err->message);
    return cx_content_is_damage(err);
}

static void pass(const cx_verify_spec *spec, cx_verified *verified, int64_t bytes)
{
    verified->read_bytes += bytes;
    if (spec->progress != NULL)
        cx_progress_set(spec->progress, spec->progress->done + bytes, cx_now_ms());
}

static bool check_segment(const cx_verify_spec *spec, const cx_segment *segment,
                          cx_verified *verified, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer bytes = {0};
    cx_segment_slot *slot =
        spec->checked != NULL ? cx_segments_add(spec->checked, segment->id) : NULL;
    bool is_known = slot != NULL && slot->mark != UNKNOWN &&
                    memcmp(slot->segment.sha256, segment->sha256, 32) == 0;
    bool is_right;

    if (is_known && slot->mark == RIGHT)
        return true;
    is_right = spec->identities != NULL
                   ? cx_content_segment(spec->repo, segment, spec->identities, &bytes, err)
                   : cx_content_stored(spec->repo, segment, &bytes, err);
    pass(spec, verified, segment->stored_bytes);
    if (slot != NULL) {
        slot->segment = *segment;
        slot->mark = is_right ? RIGHT : WRONG;
    }
    if (is_right)
        return true;

    CX_AUTO(cx_free) char *object = cx_segment_object(segment->id);
    CX_AUTO(cx_free) char *key = cx_repo_key(spec->repo, "%s", object);

    return note(verified, key, err);
}

/* A segment that serves many files is one object: checked once, and named once. */
static bool is_repeated(cx_segments *seen, const cx_segment *segment)
{
    cx_segment_slot *slot = cx_segments_add(seen, segment->id);
    bool is_repeated = slot->mark != 0 && memcmp(slot->segment.sha256, segment->sha256, 32) == 0;

    slot->segment = *segment;
    slot->mark = 1;
    return is_repeated;
}

static bool check_segments(const cx_verify_spec *spec, const cx_manifest *manifest,
                           cx_verified *verified, cx_err *err)
{
    CX_AUTO(cx_segments_close) cx_segments *seen = NULL;
    uint64_t salt;

    cx_random(&salt, sizeof salt);
    seen = cx_segments_open(salt);
    for (size_t i = 0; i < manifest->component_count; i++)
        for (size_t j = 0; j < manifest->components[i].segment_count; j++) {
            const cx_segment *segment = &manifest->components[i].segments[j];

            if (cx_interrupted())
                return cx_fail(err, CX_INTERRUPTED, "interrupted");
            verified->segments++;
            if (!is_repeated(seen, segment) && !check_segment(spec, segment, verified, err))
                return false;
        }
    return true;
}

/* ---- content */

struct counting {
    int64_t files, bytes;
};

static bool count_entry(void *arg, const cx_tar_entry *entry, cx_err *err)
{
    struct counting *counting = arg;

    (void)err;
    counting->files += entry->kind == CX_TAR_FILE;
    counting->bytes += entry->size;
    return true;
}

static bool ignore_data(void *arg, cx_bytes piece, cx_err *err)
{
    (void)arg, (void)piece, (void)err;
    return true;
}

static bool ignore_end(void *arg, cx_err *err)
{
    (void)arg, (void)err;
    return true;
}

static void pass_stored(void *arg, int64_t bytes)
{
    cx_progress *progress = arg;

    cx_progress_set(progress, progress->done + bytes, cx_now_ms());
}

static bool check_component(const cx_verify_spec *spec, const cx_manifest *manifest,
                            const cx_content_index *index, const cx_manifest_component *component,
                            cx_verified *verified, cx_err *err)
{
    struct counting counting = {0};
    cx_content_sink sink = {count_entry, ignore_data, ignore_end, &counting};
    cx_content_spec content = {
        .repo = spec->repo,
        .manifest = manifest,
        .index = index,
        .identities = spec->identities,
        .sink = &sink,
        .passed = spec->progress != NULL ? pass_stored : NULL,
        .passed_arg = spec->progress,
    };

    if (!cx_content_read(&content, component, err))
        return note(verified, component->name, err);
    verified->files += (size_t)counting.files;
    if (counting.files != component->files || counting.bytes != component->bytes)
        add_problem(verified, component->name,
                    "its files are not as many, or as large, as the "
                    "manifest says");
    for (size_t i = 0; i < component->segment_count; i++)
        verified->read_bytes += component->segments[i].stored_bytes;
    return true;
}

static bool check_content(const cx_verify_spec *spec, const cx_manifest *manifest, cx_bytes lines,
                          cx_verified *verified, cx_err *err)
{
    CX_AUTO(cx_content_index_free) cx_content_index index = {0};

    if (!cx_content_parse_index(lines, &index, err))
        return note(verified, "index.ndjson.zst.age", err);
    for (size_t i = 0; i < manifest->component_count; i++)
        if (!check_component(spec, manifest, &index, &manifest->components[i], verified, err))
            return false;
    verified->has_content = true;
    return true;
}

/* What is wrong with the content is an object's fault in most cases: then the object is what to name. */
static bool find_culprits(const cx_verify_spec *spec, const cx_manifest *manifest,
                          cx_verified *verified, cx_err *err)
{
    CX_AUTO(cx_verified_free) cx_verified objects = {0};

    if (!check_segments(spec, manifest, &objects, err))
        return false;
    if (objects.problems_total == 0)
        return true;
    objects.files = verified->files;
    objects.has_content = verified->has_content;
    objects.read_bytes += verified->read_bytes;
    cx_verified_free(verified);
    *verified = objects;
    objects = (cx_verified){0};
    return true;
}

bool cx_verify_backup(const cx_verify_spec *spec, const char *id, cx_verified *verified,
                      cx_err *err)
{
    CX_AUTO(cx_manifest_free) cx_manifest *manifest = NULL;
    CX_AUTO(cx_buffer_free) cx_buffer lines = {0};
    CX_AUTO(cx_free) char *manifest_key = NULL;
    CX_AUTO(cx_free) char *index_key = NULL;

    if (!cx_check_backup_id(id, err))
        return false;
    manifest_key = cx_repo_key(spec->repo, "backups/%s/manifest.json", id);
    index_key = cx_repo_key(spec->repo, "backups/%s/index.ndjson.zst.age", id);
    if (!cx_repo_manifest(spec->repo, id, spec->key, &manifest, NULL, err))
        return err->code == CX_NOT_FOUND ? false : note(verified, manifest_key, err);
    if (!cx_content_read_index(spec->repo, manifest, spec->identities, &lines, err) &&
        !note(verified, index_key, err))
        return false;
    /* Each object by itself first, so that every one that is damaged is named. Only where all are
     * right is there a whole content to look at. */
    if (spec->identities == NULL || verified->problems_total > 0)
        return check_segments(spec, manifest, verified, err);
    if (!check_content(spec, manifest, cx_buffer_bytes(&lines), verified, err))
        return false;
    for (size_t i = 0; i < manifest->component_count; i++)
        verified->segments += manifest->components[i].segment_count;
    if (verified->problems_total == 0)
        return true;
    return find_culprits(spec, manifest, verified, err);
}

void cx_verified_free(cx_verified *verified)
{
    for (size_t i = 0; i < verified->problem_count; i++) {
        cx_free(&verified->problems[i].object);
        cx_free(&verified->problems[i].reason);
    }
    cx_free(&verified->problems);
    *verified = (cx_verified){0};
}
