#include <string.h>

#include "base/text.h"
#include "bundle.h"

json_t *bundle_kinds(const cx_redactions *redactions)
{
    json_t *kinds = json_object();

    for (cx_secret kind = 0; kind < CX_SECRET_COUNT; kind++)
        if (redactions->of[kind] > 0)
            json_object_set_new(kinds, cx_secret_word(kind),
                                json_integer((json_int_t)redactions->of[kind]));
    return kinds;
}

static void note_file(bundle_collector *collector, const char *path, cx_bytes content,
                      int64_t cut_bytes, size_t redactions)
{
    uint8_t digest[CX_SHA256_SIZE];
    CX_AUTO(cx_free) char *hex = NULL;
    json_t *file;

    cx_sha256(content, digest);
    hex = cx_hex((cx_bytes){digest, sizeof digest});
    file = json_pack("{s:o, s:s, s:I, s:s, s:I}", "path", cx_json_text(path), "collector",
                     collector->name, "bytes", (json_int_t)content.size, "sha256", hex,
                     "redactions", (json_int_t)redactions);
    if (cut_bytes > 0)
        json_object_set_new(file, "cut_bytes", json_integer(cut_bytes));
    json_array_append_new(collector->sink->files, file);
}

void bundle_clean(bundle_sink *sink, cx_bytes content, cx_buffer *out)
{
    CX_AUTO(cx_buffer_free) cx_buffer redacted = {0};

    if (sink->redact)
        cx_redact(sink->redactor, content, &redacted, &sink->redactions);
    else
        cx_buffer_add(&redacted, content.data, content.size);
    if (sink->obfuscator != NULL)
        bundle_obfuscate(sink->obfuscator, cx_buffer_bytes(&redacted), out);
    else
        cx_buffer_add(out, redacted.data, redacted.size);
}

void bundle_skip(bundle_sink *sink, const char *path, const char *reason)
{
    json_array_append_new(sink->skipped, json_pack("{s:o, s:o}", "path", cx_json_text(path),
                                                   "reason", cx_json_text(reason)));
}

bool bundle_add(bundle_collector *collector, const char *path, cx_bytes content, int64_t cut_bytes,
                cx_err *err)
{
    bundle_sink *sink = collector->sink;
    CX_AUTO(cx_buffer_free) cx_buffer clean = {0};
    CX_AUTO(cx_buffer_free) cx_buffer within = {0};
    CX_AUTO(cx_free) char *place = NULL;
    size_t before = sink->redactions.total;

    if (cx_interrupted())
        return cx_fail(err, CX_INTERRUPTED, "interrupted");
    bundle_clean(sink, content, &clean);
    /* A host's name can stand in a file's name, and what somebody calls a log anything. */
    bundle_clean(sink, cx_bytes_of(path), &within);
    place = cx_format("%s/%s", sink->folder, (const char *)within.data);
    if (clean.size > BUNDLE_ENTRY_MAX || (int64_t)clean.size > sink->bytes_max - sink->bytes) {
        bundle_skip(sink, path, "the bundle would be larger than --max-size");
        sink->full = true;
        return true;
    }
    if (!bundle_writer_add(sink->writer, place, cx_buffer_bytes(&clean), sink->started_wall_ms,
                           err))
        return false;
    note_file(collector, (const char *)within.data, cx_buffer_bytes(&clean), cut_bytes,
              sink->redactions.total - before);
    sink->bytes += (int64_t)clean.size;
    collector->bytes += (int64_t)clean.size;
    collector->files++;
    return true;
}

bool bundle_add_json(bundle_collector *collector, const char *path, const json_t *document,
                     cx_err *err)
{
    CX_AUTO(cx_free) char *text = json_dumps(document, JSON_INDENT(2) | JSON_ENCODE_ANY);

    return bundle_add(collector, path, cx_bytes_of(text), 0, err);
}

void bundle_failed(bundle_collector *collector, const char *what, const cx_err *error)
{
    CX_AUTO(cx_json_free) json_t *document = cx_err_to_json(error);

    json_array_append_new(collector->errors,
                          json_pack("{s:o, s:O}", "source", cx_json_text(what), "error",
                                    json_object_get(document, "error")));
}
