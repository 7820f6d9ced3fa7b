#include "admission.h"

#include <string.h>

#include "base/io.h"

enum { KEYRING_BYTES_MAX = 64 * 1024 };

static bool add_file(json_t *document, const char *key, const char *path, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};

    if (!cx_read_file(path, CX_CERTS_BYTES_MAX, &text, err))
        return err->code == CX_NOT_FOUND;
    json_object_set_new(document, key, cx_json_text_n((const char *)text.data, text.size));
    return true;
}

static bool add_keyring(const cx_config *config, json_t *document, cx_err *err)
{
    CX_AUTO(cx_free) char *path = cx_config_cert(config, "gossip.keys");
    CX_AUTO(cx_secret_free) cx_buffer text = {0};
    json_t *keyring = NULL;

    if (!cx_exists(path))
        return true;
    if (!cx_read_secret_file(path, KEYRING_BYTES_MAX, &text, err) ||
        !cx_json_parse(cx_buffer_bytes(&text), KEYRING_BYTES_MAX, path, &keyring, err))
        return false;
    json_object_set_new(document, "gossip_keyring", keyring);
    return true;
}

/* This host's seeds and itself. */
static void add_seeds(const cx_config *config, json_t *document)
{
    json_t *seeds = json_array();

    json_array_append_new(seeds, cx_json_text(config->advertise_addr));
    for (size_t i = 0; i < config->seeds.count; i++)
        if (strcmp(config->seeds.items[i], config->advertise_addr) != 0)
            json_array_append_new(seeds, cx_json_text(config->seeds.items[i]));
    json_object_set_new(document, "seeds", seeds);
}

bool ca_admission_make(const ca_store *store, X509 *cert, const cx_identity *identity, bool changed,
                       json_t **document, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *made = ca_leaf_describe(cert, identity, changed);
    CX_AUTO(cx_buffer_free) cx_buffer pem = {0};

    if (!cx_cert_to_pem(cert, &pem, err))
        return false;
    json_object_set_new(made, "certificate_pem", cx_json_text((const char *)pem.data));
    if (!add_file(made, "ca_certificate_pem", store->place.cert, err) ||
        !add_file(made, "crl_pem", store->place.crl, err))
        return false;
    *document = CX_TAKE(made);
    return true;
}

bool ca_admission_add_gossip(const cx_config *config, const ca_store *store, json_t *document,
                             cx_err *err)
{
    if (config->path[0] == '\0' || strcmp(config->cluster, store->cluster) != 0)
        return true;
    add_seeds(config, document);
    return add_keyring(config, document, err);
}
