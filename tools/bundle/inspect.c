#include <fcntl.h>
#include <string.h>

#include "base/io.h"
#include "bundle.h"
#include "seal/age.h"

enum { BUNDLE_FILE_MAX = 1024 * 1024 * 1024 };

struct inspect_options {
    const char *identity;
};

static const cx_option options[] = {
    {"identity", CX_TEXT(struct inspect_options, identity), "FILE", NULL,
     "opens one that is encrypted"},
    {0},
};

static bool is_age_file(cx_bytes bytes)
{
    static const char header[] = "age-encryption.org/";

    return bytes.size > sizeof header && memcmp(bytes.data, header, sizeof header - 1) == 0;
}

static bool open_sealed(const char *identity, cx_bytes sealed, cx_buffer *plain, cx_err *err)
{
    CX_AUTO(cx_age_identities_free) cx_age_identities *identities = NULL;

    if (identity == NULL) {
        cx_fail(err, CX_USAGE, "the bundle is encrypted");
        return cx_hint(err, "--identity FILE, of one it was encrypted to, opens it");
    }
    return cx_age_read_identities(identity, &identities, err) &&
           cx_age_open(identities, sealed, BUNDLE_FILE_MAX, plain, err);
}

static json_t *summary(const bundle_check *check, const char *path)
{
    static const char *const keys[] = {"bundle",  "created_at", "version",  "cluster",
                                       "node_id", "duration",   "redacted", "obfuscated",
                                       "partial", "collectors", "nodes",    "absent"};
    json_t *document =
        json_pack("{s:o, s:b, s:b, s:b, s:I, s:o}", "file", cx_json_text(path), "ok",
                  check->secrets.total == 0 && json_array_size(check->damaged) == 0 &&
                      check->manifest != NULL,
                  "clean", check->secrets.total == 0, "intact",
                  json_array_size(check->damaged) == 0 && check->manifest != NULL, "secrets",
                  (json_int_t)check->secrets.total, "secret_kinds", bundle_kinds(&check->secrets));

    for (size_t i = 0; i < CX_COUNT(keys); i++) {
        json_t *value = json_object_get(check->manifest, keys[i]);

        if (value != NULL)
            json_object_set(document, keys[i], value);
    }
    json_object_set(document, "found", check->found);
    json_object_set(document, "damaged", check->damaged);
    json_object_set(document, "files", check->files);
    json_object_set_new(document, "count", json_integer((json_int_t)json_array_size(check->files)));
    json_object_set_new(document, "total_bytes", json_integer(check->bytes));
    return document;
}

/* For people: the files are the table. */
static void shorten(json_t *document)
{
    static const char *const hidden[] = {"secret_kinds", "collectors", "nodes",
                                         "absent",       "found",      "damaged"};

    for (size_t i = 0; i < CX_COUNT(hidden); i++)
        json_object_del(document, hidden[i]);
}

/* What this host knows to be secret counts too, as far as there is a configuration. */
static void know(const cx_run *run, cx_redactor *redactor)
{
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    cx_err ignored;

    if (cx_config_load(run->config_path, true, &config, &ignored))
        bundle_know_secrets(config, redactor);
}

static bool inspect(cx_run *run, const void *parsed, cx_err *err)
{
    const struct inspect_options *option = parsed;
    const char *path = run->args[0];
    CX_AUTO(cx_fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    CX_AUTO(bundle_unmap) cx_bytes bytes = {0};
    CX_AUTO(cx_buffer_free) cx_buffer plain = {0};
    CX_AUTO(cx_redactor_close) cx_redactor *redactor = cx_redactor_open();
    CX_AUTO(bundle_check_free) bundle_check check = {0};
    CX_AUTO(cx_json_free) json_t *document = NULL;
    bool sealed;

    if (fd < 0)
        return cx_fail_errno(err, "%s", path);
    if (!bundle_map(fd, path, &bytes, err))
        return false;
    sealed = is_age_file(bytes);
    if (sealed && !open_sealed(option->identity, bytes, &plain, err))
        return cx_wrap(err, "%s", path);
    know(run, redactor);
    if (!bundle_check_archive(sealed ? cx_buffer_bytes(&plain) : bytes, path, redactor, &check,
                              err))
        return false;
    document = summary(&check, path);
    run->answer_no = !json_is_true(json_object_get(document, "ok"));
    if (run->table)
        shorten(document);
    return cx_emit(run, document, err);
}

const cx_command bundle_inspect = {
    .name = "inspect",
    .arguments = "FILE",
    .arguments_min = 1,
    .arguments_max = 1,
    .summary = "what is inside a bundle, and whether a secret is",
    .description =
        "Lists every file and looks for secrets again, by form, by name, and as far as this host "
        "knows them; compares the files with the digests of the manifest. Exit status 1 when a "
        "secret is found (`found`), or a file is not what it was (`damaged`).",
    .options = options,
    .options_size = sizeof(struct inspect_options),
    .run = inspect,
};
