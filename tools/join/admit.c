#include "admit.h"

#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "base/time.h"
#include "pki/cert.h"
#include "pki/csr.h"
#include "pki/key.h"

enum { KEYS_MAX = 64, SEEDS_MAX = 256 };

bool admit_key(struct place *place, EVP_PKEY **key, bool *made, cx_err *err)
{
    CX_AUTO(cx_free) char *path = place_cert(place, "node.key");
    CX_AUTO(cx_key_free) EVP_PKEY *fresh = NULL;
    CX_AUTO(cx_secret_free) cx_buffer pem = {0};

    *made = false;
    if (cx_exists(path))
        return cx_key_read(path, NULL, key, err);
    if (!cx_key_generate(CX_KEY_P256, &fresh, err) || !cx_key_to_pem(fresh, NULL, &pem, err) ||
        !place_create(place, "node_key", "node.key", 0600, cx_buffer_bytes(&pem), err))
        return false;
    *made = true;
    *key = CX_TAKE(fresh);
    return true;
}

bool admit_request(EVP_PKEY *key, const char *node_id, char **pem, cx_err *err)
{
    cx_buffer text = {0};

    if (!cx_csr_make(key, node_id, &text, err)) {
        cx_buffer_free(&text);
        return false;
    }
    *pem = cx_buffer_take_text(&text);
    return true;
}

bool admit_check_keyring(const json_t *keyring, const char *where, cx_err *err)
{
    if (!json_is_array(keyring) || json_array_size(keyring) == 0 ||
        json_array_size(keyring) > KEYS_MAX)
        return cx_fail(err, CX_INVALID, "%s: gossip_keyring is no list of 1 to %d keys", where,
                       KEYS_MAX);
    for (size_t i = 0; i < json_array_size(keyring); i++) {
        CX_AUTO(cx_secret_free) cx_buffer bytes = {0};
        const char *text = json_string_value(json_array_get(keyring, i));
        cx_err ignored = {0};

        if (!text || !cx_from_base64(text, 32, &bytes, &ignored) ||
            (bytes.size != 16 && bytes.size != 24 && bytes.size != 32))
            return cx_fail(err, CX_INVALID, "%s: gossip_keyring[%zu] is no AES key", where, i);
    }
    return true;
}

bool admit_write_keyring(struct place *place, const json_t *keyring, cx_err *err)
{
    CX_AUTO(cx_free_secret) char *text = json_dumps(keyring, JSON_INDENT(2));
    CX_AUTO(cx_free_secret) char *line = cx_format("%s\n", text);

    return place_create(place, "gossip_keyring", "gossip.keys", 0600, cx_bytes_of(line), err);
}

/* The parts of the document, as texts that live as long as it does. */
struct parts {
    const char *cluster, *node_id, *certificate, *ca, *crl;
    const json_t *keyring;
};

static bool read_parts(const json_t *document, struct parts *parts, cx_err *err)
{
    static const char where[] = "answer of the CA";

    if (!cx_json_need_text(document, where, "cluster", &parts->cluster, err) ||
        !cx_json_need_text(document, where, "node_id", &parts->node_id, err) ||
        !cx_json_need_text(document, where, "certificate_pem", &parts->certificate, err) ||
        !cx_json_need_text(document, where, "ca_certificate_pem", &parts->ca, err) ||
        !cx_json_get_text(document, where, "crl_pem", &parts->crl, err))
        return false;
    parts->keyring = json_object_get(document, "gossip_keyring");
    if (!parts->keyring || json_is_null(parts->keyring)) {
        parts->keyring = NULL;
        return true;
    }
    return admit_check_keyring(parts->keyring, where, err);
}

static bool check_parts(const struct place *place, const struct parts *parts, EVP_PKEY *key,
                        cx_err *err)
{
    CX_AUTO(cx_cert_free) X509 *cert = NULL;
    CX_AUTO(cx_cert_free) X509 *ca = NULL;
    cx_identity identity;
    char cluster[CX_ID_SIZE];

    if (!cx_cert_from_pem(cx_bytes_of(parts->certificate), "the issued certificate", &cert, err) ||
        !cx_cert_from_pem(cx_bytes_of(parts->ca), "the CA's certificate", &ca, err) ||
        !cx_cert_cluster(ca, cluster, err) || !cx_cert_identity(cert, &identity, err))
        return false;
    if (!cx_cert_is_signed_by(cert, ca))
        return cx_fail(err, CX_CERT_INVALID, "the issued certificate is not signed by its CA");
    if (strcmp(identity.cluster, place->option->cluster) != 0 ||
        strcmp(cluster, place->option->cluster) != 0)
        return cx_fail(err, CX_CERT_INVALID, "the certificate is of cluster %s, not of %s",
                       identity.cluster, place->option->cluster);
    if (identity.kind != CX_IDENTITY_NODE || strcmp(identity.name, place->option->node_id) != 0)
        return cx_fail(err, CX_CERT_INVALID, "the certificate speaks for %s, not for node %s",
                       identity.name, place->option->node_id);
    return cx_cert_check_key(cert, "the issued certificate", key, "node.key", err);
}

/* Files that the CA decides replace what is there; equal ones stay as they are. */
static bool write_file(struct place *place, const char *step, const char *name, const char *text,
                       cx_err *err)
{
    CX_AUTO(cx_free) char *path = place_cert(place, name);
    CX_AUTO(cx_buffer_free) cx_buffer present = {0};
    cx_err ignored = {0};
    bool same = cx_read_file(path, ADMIT_BYTES_MAX, &present, &ignored) &&
                cx_bytes_equal(cx_buffer_bytes(&present), cx_bytes_of(text));

    if (!same && !place->run->dry_run && !cx_replace(path, 0644, cx_bytes_of(text), err))
        return false;
    place_record(place, step, !same, path);
    return true;
}

/* Seeds of the answer, unless some were given. */
static void take_seeds(struct place *place, const json_t *document)
{
    const json_t *seeds = json_object_get(document, "seeds");
    json_t *chosen = json_array();

    if (place->option->seeds.count == 0 && json_is_array(seeds)) {
        for (size_t i = 0; i < json_array_size(seeds) && i < SEEDS_MAX; i++) {
            json_t *seed = json_array_get(seeds, i);

            if (json_is_string(seed))
                json_array_append(chosen, seed);
        }
        if (json_array_size(chosen) > 0)
            json_object_set(place->config, "seeds", chosen);
    }
    json_decref(chosen);
}

bool admit_write(struct place *place, EVP_PKEY *key, const json_t *document, cx_err *err)
{
    struct parts parts = {0};

    take_seeds(place, document);
    return read_parts(document, &parts, err) && check_parts(place, &parts, key, err) &&
           write_file(place, "ca_certificate", "ca.crt", parts.ca, err) &&
           (!parts.crl || write_file(place, "crl", "crl.pem", parts.crl, err)) &&
           (!parts.keyring || admit_write_keyring(place, parts.keyring, err)) &&
           write_file(place, "node_certificate", "node.crt", parts.certificate, err);
}
