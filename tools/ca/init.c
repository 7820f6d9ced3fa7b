/* init: make the cluster's CA, once. Order: the key, the record, the certificate. A run that was cut
 * short is finished by the next one, with the same key. */
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "base/time.h"
#include "commands.h"
#include "config/config.h"
#include "store.h"

struct init_options {
    ca_key_options ca;
    const char *cluster;
    int64_t validity_ms;
    const char *key_type;
};

static const cx_option options[] = {
    CA_KEY_OPTIONS(struct init_options, ca),
    {"cluster", CX_TEXT(struct init_options, cluster), "NAME", NULL,
     "the cluster's name (default: of the configuration, else caxton)"},
    {"validity", CX_DURATION(struct init_options, validity_ms), "DUR", "3650d",
     "how long the CA lives"},
    {"key-type", CX_CHOICE(struct init_options, key_type), "p256|p384|ed25519", "p256",
     "what kind of key it has"},
    {0},
};

/* The cluster to make a CA for, in new memory. The CA often comes first: the configuration that
 * $CX_CONFIG names may not have been written yet. */
static bool find_cluster(const cx_run *run, const struct init_options *option, char **cluster,
                         cx_err *err)
{
    CX_AUTO(cx_config_free) cx_config *config = NULL;

    if (option->cluster != NULL) {
        *cluster = cx_strdup(option->cluster);
        return cx_check_id("cluster", option->cluster, err);
    }
    if (!cx_config_load(run->config_path, true, &config, err))
        return false;
    if (!run->config_is_default && !cx_exists(run->config_path))
        cx_remark(run, "%s is not there yet: the cluster is named %s", run->config_path,
                  config->cluster);
    *cluster = cx_strdup(config->cluster);
    return true;
}

/* A CA that is there already is left as it is; what only its record lacks is added. */
static bool accept_existing(ca_store *store, const struct init_options *option, cx_err *err)
{
    if (!cx_exists(store->place.key)) {
        cx_fail(err, CX_EXISTS, "%s is there, but not its key %s", store->place.cert,
                store->place.key);
        return cx_hint(err, "bring the key back, or make another CA elsewhere");
    }
    if (!ca_store_read_key(store, &option->ca, err) || !ca_store_read_cert(store, err) ||
        !cx_cert_check_key(store->cert, store->place.cert, store->key, store->place.key, err))
        return false;
    if (option->cluster != NULL && strcmp(option->cluster, store->cluster) != 0)
        return cx_fail(err, CX_EXISTS, "%s is the CA of cluster %s, not %s", store->place.cert,
                       store->cluster, option->cluster);
    return ca_store_open_db(store, err) && ca_store_record_ca(store, err);
}

/* A folder of the CA's own is closed to others; one that --ca-key names holds other things too. */
static bool make_folders(const cx_run *run, const struct init_options *option, cx_err *err)
{
    CX_AUTO(ca_place_free) ca_place place = {0};
    CX_AUTO(cx_free) char *cert_folder = NULL;

    if (run->dry_run)
        return true;
    if (!ca_place_find(run, &option->ca.place, &place, err))
        return false;
    cert_folder = ca_folder_of(place.cert);
    return cx_make_folders(place.folder, option->ca.place.ca_key != NULL ? 0755 : 0700, NULL,
                           err) &&
           cx_make_folders(cert_folder, 0755, NULL, err);
}

static bool write_key(ca_store *store, const struct init_options *option, cx_err *err)
{
    CX_AUTO(cx_passphrase_free) char *passphrase = NULL;
    CX_AUTO(cx_secret_free) cx_buffer pem = {0};
    cx_key_type type;

    if (option->ca.passphrase_file != NULL &&
        !cx_passphrase_read(option->ca.passphrase_file, &passphrase, err))
        return cx_wrap(err, "--passphrase-file");
    if (!cx_key_type_parse(option->key_type, &type, err) ||
        !cx_key_generate(type, &store->key, err) ||
        !cx_key_to_pem(store->key, passphrase, &pem, err))
        return false;
    return store->dry_run || cx_create(store->place.key, 0600, cx_buffer_bytes(&pem), err);
}

static bool make_certificate(ca_store *store, const struct init_options *option,
                             const char *cluster, cx_err *err)
{
    memcpy(store->cluster, cluster, strlen(cluster) + 1);
    if (!ca_store_recorded_ca(store, cluster, &store->cert, err))
        return false;
    return store->cert != NULL || cx_cert_make_ca(store->key, cluster, store->now_ms,
                                                  option->validity_ms, &store->cert, err);
}

static bool make(ca_store *store, const struct init_options *option, const char *cluster,
                 cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer pem = {0};
    bool has_key = cx_exists(store->place.key);

    if (!(has_key ? ca_store_read_key(store, &option->ca, err) : write_key(store, option, err)) ||
        !ca_store_open_db(store, err) || !make_certificate(store, option, cluster, err) ||
        !ca_store_record_ca(store, err) || !cx_cert_to_pem(store->cert, &pem, err))
        return false;
    return store->dry_run || cx_create(store->place.cert, 0644, cx_buffer_bytes(&pem), err);
}

static json_t *describe(const ca_store *store, bool changed)
{
    char fingerprint[CX_FINGERPRINT_SIZE], key_type[32];
    json_t *document = json_pack("{s:b, s:s}", "changed", changed, "cluster", store->cluster);

    /* In a dry run there is no certificate yet whose fingerprint would stay. */
    cx_cert_fingerprint(store->cert, fingerprint);
    cx_key_describe(store->key, key_type);
    json_object_set_new(document, "ca_cert", cx_json_text(store->place.cert));
    json_object_set_new(document, "ca_key", cx_json_text(store->place.key));
    json_object_set_new(document, "key_type", json_string(key_type));
    json_object_set_new(document, "fingerprint_sha256",
                        changed && store->dry_run ? json_null() : json_string(fingerprint));
    json_object_set_new(document, "not_after", cx_json_time(cx_cert_not_after_ms(store->cert)));
    return document;
}

static bool init(cx_run *run, const void *parsed, cx_err *err)
{
    const struct init_options *option = parsed;
    CX_AUTO(ca_store_close) ca_store *store = NULL;
    CX_AUTO(cx_free) char *cluster = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;
    bool changed;

    if (!cx_cert_check_validity(option->validity_ms, err))
        return cx_wrap(err, "--validity");
    if (!find_cluster(run, option, &cluster, err) || !make_folders(run, option, err) ||
        !ca_store_begin(run, &option->ca, &store, err))
        return false;
    changed = !cx_exists(store->place.cert);
    if (!(changed ? make(store, option, cluster, err) : accept_existing(store, option, err)))
        return false;
    document = describe(store, changed);
    return cx_emit(run, document, err);
}

const cx_command ca_init = {
    .name = "init",
    .summary = "make the cluster's certificate authority",
    .description =
        "Run again, it changes nothing. An existing key or certificate is never overwritten.",
    .options = options,
    .options_size = sizeof(struct init_options),
    .changes = true,
    .run = init,
};
