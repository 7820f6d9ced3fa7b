/* csr and install: joining without a network path, `cx-join csr | ssh seed cx-ca sign | cx-join
 * install`. */
#include <string.h>
#include <unistd.h>

#include "admit.h"
#include "base/io.h"
#include "pki/key.h"

struct install_options {
    struct place_options place;
};

static const cx_option options[] = {
    {"cluster", CX_TEXT(struct install_options, place.cluster), "NAME", NULL,
     "the cluster's name; default: caxton"},
    {"node-id", CX_TEXT(struct install_options, place.node_id), "ID", NULL, "this node's name"},
    PLACE_OPTIONS(struct install_options),
    {0},
};

static bool csr(cx_run *run, const void *parsed, cx_err *err)
{
    const struct install_options *option = parsed;
    CX_AUTO(place_close) struct place place = {.lock = -1};
    CX_AUTO(cx_key_free) EVP_PKEY *key = NULL;
    CX_AUTO(cx_free) char *pem = NULL;
    CX_AUTO(cx_json_free) json_t *result = NULL;
    bool made;

    if (!place_open(run, &option->place, &place, err) || !place_make_folders(&place, err) ||
        !admit_key(&place, &key, &made, err))
        return false;
    result = place_result(&place);
    if (run->dry_run) /* a request for a key that is not kept would be signed in vain */
        return cx_emit(run, result, err);
    return admit_request(key, place.option->node_id, &pem, err) && cx_emit_text(run, pem, err);
}

static bool install(cx_run *run, const void *parsed, cx_err *err)
{
    const struct install_options *option = parsed;
    CX_AUTO(place_close) struct place place = {.lock = -1};
    CX_AUTO(cx_json_free) json_t *document = NULL;
    CX_AUTO(cx_json_free) json_t *result = NULL;
    CX_AUTO(cx_key_free) EVP_PKEY *key = NULL;
    bool made;

    if (!cx_json_read_file(run->arg_count ? run->args[0] : "-", ADMIT_BYTES_MAX, &document, err))
        return cx_hint(err, "it takes what cx-ca sign prints");

    if (!place_open(run, &option->place, &place, err))
        return false;
    /* sign's document may name the cluster; here both must be said. */
    if (!json_object_get(document, "cluster"))
        json_object_set_new(document, "cluster", json_string(place.option->cluster));
    if (!json_object_get(document, "node_id"))
        json_object_set_new(document, "node_id", json_string(place.option->node_id));

    CX_AUTO(cx_free) char *key_path = place_cert(&place, "node.key");

    if (!cx_exists(key_path)) {
        cx_fail(err, CX_NOT_FOUND, "%s is not there, so no certificate can be for it", key_path);
        return cx_hint(err, "cx-join csr makes the key and the request");
    }
    if (!place_make_folders(&place, err) || !admit_key(&place, &key, &made, err) ||
        !admit_write(&place, key, document, err) || !place_write_config(&place, err))
        return false;
    result = place_result(&place);
    return cx_emit(run, result, err);
}

const cx_command join_csr = {
    .name = "csr",
    .summary = "make the node's key and print a signing request for it",
    .description = "--dry-run makes no key and prints no request, only what would be made.",
    .options = options,
    .options_size = sizeof(struct install_options),
    .changes = true,
    .run = csr,
};

const cx_command join_install = {
    .name = "install",
    .arguments = "[FILE|-]",
    .arguments_max = 1,
    .summary = "take what cx-ca sign printed and write it where the node finds it",
    .options = options,
    .options_size = sizeof(struct install_options),
    .changes = true,
    .run = install,
};
