#include <string.h>

#include "base/text.h"
#include "bundle.h"

static const char manifest_name[] = "manifest.json";

typedef struct reading {
    const cx_redactor *redactor;
    bundle_check *check;
    json_t *digests; /* path within the bundle's folder: hex */
} reading;

/* Without the folder that all is in. */
static const char *path_within(const char *path)
{
    const char *slash = strchr(path, '/');

    return slash == NULL ? path : slash + 1;
}

static bool take_entry(const char *path, cx_bytes content, void *arg, cx_err *err)
{
    reading *now = arg;
    const char *within = path_within(path);
    CX_AUTO(cx_buffer_free) cx_buffer out = {0};
    uint8_t digest[CX_SHA256_SIZE];
    CX_AUTO(cx_free) char *hex = NULL;
    cx_redactions secrets = {0};
    json_t *file;

    if (cx_interrupted())
        return cx_fail(err, CX_INTERRUPTED, "interrupted");
    /* Who unpacks it gets the last one of two, who reads it maybe the first. */
    if (json_object_get(now->digests, within) != NULL)
        json_array_append_new(now->check->damaged, cx_json_text(within));
    cx_sha256(content, digest);
    hex = cx_hex((cx_bytes){digest, sizeof digest});
    json_object_set_new(now->digests, within, json_string(hex));
    cx_redact(now->redactor, content, &out, &secrets);
    cx_redact(now->redactor, cx_bytes_of(within), &out, &secrets);
    file = json_pack("{s:o, s:I, s:I}", "path", cx_json_text(within), "bytes",
                     (json_int_t)content.size, "secrets", (json_int_t)secrets.total);
    json_array_append_new(now->check->files, file);
    now->check->bytes += (int64_t)content.size;
    for (cx_secret kind = 0; kind < CX_SECRET_COUNT; kind++)
        now->check->secrets.of[kind] += secrets.of[kind];
    now->check->secrets.total += secrets.total;
    if (secrets.total > 0)
        json_array_append_new(
            now->check->found,
            json_pack("{s:o, s:o}", "path", cx_json_text(within), "kinds", bundle_kinds(&secrets)));
    if (strcmp(within, manifest_name) == 0) {
        cx_err ignored;

        cx_json_free(&now->check->manifest);
        if (!cx_json_parse(content, BUNDLE_ENTRY_MAX, within, &now->check->manifest, &ignored))
            json_array_append_new(now->check->damaged, cx_json_text(within));
    }
    return true;
}

/* What is missing, other than it was, or was put in. */
static void compare(reading *now)
{
    CX_AUTO(cx_json_free) json_t *listed = json_object();
    size_t at;
    json_t *file;
    const char *path;

    json_array_foreach (json_object_get(now->check->manifest, "files"), at, file) {
        path = cx_json_text_or_empty(file, "path");
        json_object_set(listed, path, file);
        if (strcmp(cx_json_text_or_empty(now->digests, path),
                   cx_json_text_or_empty(file, "sha256")) != 0)
            json_array_append_new(now->check->damaged, cx_json_text(path));
    }
    json_object_foreach (now->digests, path, file)
        if (now->check->manifest != NULL && json_object_get(listed, path) == NULL &&
            strcmp(path, manifest_name) != 0)
            json_array_append_new(now->check->damaged, cx_json_text(path));
}

bool bundle_check_archive(cx_bytes archive, const char *name, const cx_redactor *redactor,
                          bundle_check *check, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *digests = json_object();
    reading now = {.redactor = redactor, .check = check, .digests = digests};

    *check = (bundle_check){.files = json_array(), .found = json_array(), .damaged = json_array()};
    if (!bundle_read(archive, name, take_entry, &now, err))
        return false;
    compare(&now);
    return true;
}

void bundle_check_free(bundle_check *check)
{
    cx_json_free(&check->manifest);
    cx_json_free(&check->files);
    cx_json_free(&check->found);
    cx_json_free(&check->damaged);
}
