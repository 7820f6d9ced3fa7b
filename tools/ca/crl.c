/* crl: the signed list of what is revoked, for every node's cert_dir. */
#include "base/io.h"
#include "commands.h"
#include "revocation.h"

struct crl_options {
    ca_key_options ca;
    const char *output;
    int64_t next_update_ms;
    bool force;
};

static const cx_option options[] = {
    {"output", CX_TEXT(struct crl_options, output), "FILE", NULL,
     "also write it there (it is kept beside the CA's key in any case)"},
    {"next-update", CX_DURATION(struct crl_options, next_update_ms), "DUR", "7d",
     "when the next one is due"},
    {"force", CX_FLAG(struct crl_options, force), NULL, NULL, "a new list even if nothing changed"},
    CA_KEY_OPTIONS(struct crl_options, ca),
    {0},
};

/* Copies the list, unless the file has it already. */
static bool copy(const ca_store *store, const char *path, bool *changed, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer list = {0}, old = {0};
    cx_err unused;

    if (!cx_read_file(store->place.crl, CX_CERTS_BYTES_MAX, &list, err))
        return false;
    if (cx_read_file(path, CX_CERTS_BYTES_MAX, &old, &unused) &&
        cx_bytes_equal(cx_buffer_bytes(&old), cx_buffer_bytes(&list)))
        return true;
    *changed = true;
    return cx_replace(path, 0644, cx_buffer_bytes(&list), err);
}

static bool crl(cx_run *run, const void *parsed, cx_err *err)
{
    const struct crl_options *option = parsed;
    CX_AUTO(ca_store_close) ca_store *store = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;
    ca_crl_result result;

    if (option->next_update_ms < 60 * 1000 || option->next_update_ms > CX_CERT_VALIDITY_MAX_MS)
        return cx_fail(err, CX_USAGE, "--next-update: less than 1m or more than 100 years");
    if (!ca_store_open(run, &option->ca, &store, err) ||
        !ca_crl_update(store, option->next_update_ms, option->force, &result, err) ||
        (option->output != NULL && !run->dry_run &&
         !copy(store, option->output, &result.changed, err)))
        return false;
    document = ca_crl_describe(store, &result);
    if (option->output != NULL)
        json_object_set_new(document, "output", cx_json_text(option->output));
    return cx_emit(run, document, err);
}

const cx_command ca_crl = {
    .name = "crl",
    .summary = "sign the list of revoked certificates",
    .description =
        "Makes a new list when something was revoked or half of the last one's time is "
        "over. Nodes read crl.pem in their cert_dir; they take a new one up by themselves.",
    .options = options,
    .options_size = sizeof(struct crl_options),
    .changes = true,
    .run = crl,
};
