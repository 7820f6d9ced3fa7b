/* renew: a new certificate in place of one that ends soon: same identity, names and key. From the CA
 * on this host, where one that has expired can be renewed too (who holds both keys may), or with --url
 * from `cx-ca serve`, which allows that for a while. */
#include <string.h>

#include "base/io.h"
#include "base/time.h"
#include "commands.h"
#include "leaf.h"
#include "renew_remote.h"

struct renew_options {
    ca_key_options ca;
    const char *cert;
    const char *key;
    int64_t before_expiry_ms;
    int64_t validity_ms;
    bool force;
    const char *url;
};

static const cx_option options[] = {
    {"cert", CX_TEXT(struct renew_options, cert), "FILE", NULL, "the certificate to replace"},
    {"key", CX_TEXT(struct renew_options, key), "FILE", NULL, "its key, which stays"},
    {"before-expiry", CX_DURATION(struct renew_options, before_expiry_ms), "DUR", "30d",
     "renew only when less than this is left"},
    {"validity", CX_DURATION(struct renew_options, validity_ms), "DUR", "90d",
     "how long the new one is valid"},
    {"force", CX_FLAG(struct renew_options, force), NULL, NULL, "renew however much is left"},
    {"url", CX_TEXT(struct renew_options, url), "https://HOST:PORT", NULL,
     "ask cx-ca serve there (its CA: --ca-cert, else ca.crt beside the certificate)"},
    CA_KEY_OPTIONS(struct renew_options, ca),
    {0},
};

static bool check_old(const ca_store *store, const char *path, X509 *cert, cx_err *err)
{
    char serial[CX_SERIAL_SIZE];
    bool revoked;

    cx_cert_serial(cert, serial);
    if (!cx_cert_is_signed_by(cert, store->cert))
        return cx_fail(err, CX_CERT_INVALID, "%s is signed by another CA", path);
    if (!ca_db_is_revoked(store->db, serial, &revoked, err))
        return false;
    if (revoked) {
        cx_fail(err, CX_REVOKED, "%s is revoked (serial %s)", path, serial);
        return cx_hint(err, "cx-ca issue makes one for a new key");
    }
    return true;
}

static bool make_wish(X509 *cert, int64_t validity_ms, ca_leaf_wish *wish, cx_err *err)
{
    if (!cx_cert_check_validity(validity_ms, err))
        return cx_wrap(err, "--validity");
    wish->validity_ms = validity_ms;
    cx_cert_sans(cert, &wish->sans);
    return cx_cert_identity(cert, &wish->identity, err);
}

/* Makes or finds the new one and puts it in place of the old one. */
static bool replace(ca_store *store, const struct renew_options *option, EVP_PKEY *key,
                    const ca_leaf_wish *wish, X509 **cert, cx_err *err)
{
    CX_AUTO(cx_cert_free) X509 *made = NULL;
    CX_AUTO(cx_buffer_free) cx_buffer pem = {0};
    bool is_new;

    /* A newer recorded one that never got here is what a run that was cut short left. */
    if (!ca_leaf_make(store, key, wish, "renewed", option->force, &made, &is_new, err))
        return false;
    if (!is_new && X509_cmp(made, *cert) == 0) {
        cx_cert_free(&made);
        if (!ca_leaf_make(store, key, wish, "renewed", true, &made, &is_new, err))
            return false;
    }
    if (!cx_cert_to_pem(made, &pem, err) ||
        (!store->dry_run && !cx_replace(option->cert, 0644, cx_buffer_bytes(&pem), err)))
        return false;
    cx_cert_free(cert);
    *cert = CX_TAKE(made);
    return true;
}

/* What is needed is there, and it is time. */
static bool is_due(const struct renew_options *option, X509 *cert)
{
    return option->force || cx_cert_not_after_ms(cert) - cx_wall_ms() < option->before_expiry_ms;
}

static bool renew_here(cx_run *run, const struct renew_options *option, EVP_PKEY *key,
                       const ca_leaf_wish *wish, X509 **cert, cx_err *err)
{
    CX_AUTO(ca_store_close) ca_store *store = NULL;

    return ca_store_open(run, &option->ca, &store, err) &&
           check_old(store, option->cert, *cert, err) &&
           (!is_due(option, *cert) || replace(store, option, key, wish, cert, err));
}

static bool renew_there(cx_run *run, const struct renew_options *option, EVP_PKEY *key, X509 **cert,
                        cx_err *err)
{
    CX_AUTO(cx_free) char *folder = ca_folder_of(option->cert);
    CX_AUTO(cx_free) char *beside = cx_path_join(folder, "ca.crt");
    CX_AUTO(cx_cert_free) X509 *fresh = NULL;
    CX_AUTO(cx_buffer_free) cx_buffer pem = {0};
    renew_remote_files files = {
        .url = option->url,
        .cert = option->cert,
        .key = option->key,
        .ca = option->ca.place.ca_cert != NULL ? option->ca.place.ca_cert : beside,
    };

    if (!is_due(option, *cert) || run->dry_run)
        return true;
    if (!renew_remote(run, &files, *cert, key, &fresh, err) || !cx_cert_to_pem(fresh, &pem, err) ||
        !cx_replace(option->cert, 0644, cx_buffer_bytes(&pem), err))
        return false;
    cx_cert_free(cert);
    *cert = CX_TAKE(fresh);
    return true;
}

static bool renew(cx_run *run, const void *parsed, cx_err *err)
{
    const struct renew_options *option = parsed;
    CX_AUTO(ca_leaf_wish_free) ca_leaf_wish wish = {0};
    CX_AUTO(cx_cert_free) X509 *cert = NULL;
    CX_AUTO(cx_key_free) EVP_PKEY *key = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;
    char before[CX_SERIAL_SIZE], after[CX_SERIAL_SIZE];
    bool changed;

    if (option->cert == NULL || option->key == NULL)
        return cx_fail(err, CX_USAGE, "--cert FILE and --key FILE are needed");
    if (!cx_cert_read(option->cert, &cert, err) || !cx_key_read(option->key, NULL, &key, err) ||
        !cx_cert_check_key(cert, option->cert, key, option->key, err) ||
        !make_wish(cert, option->validity_ms, &wish, err))
        return false;
    changed = is_due(option, cert);
    cx_cert_serial(cert, before);
    if (!(option->url != NULL ? renew_there(run, option, key, &cert, err)
                              : renew_here(run, option, key, &wish, &cert, err)))
        return false;
    cx_cert_serial(cert, after);
    changed = run->dry_run ? changed : strcmp(before, after) != 0;
    document = ca_leaf_describe(cert, &wish.identity, changed);
    json_object_set_new(document, "certificate", cx_json_text(option->cert));
    if (changed && run->dry_run)
        json_object_set_new(document, "serial", json_null());
    return cx_emit(run, document, err);
}

const cx_command ca_renew = {
    .name = "renew",
    .summary = "replace a certificate that ends soon, same name and key",
    .description = "Daemons take up the new one by themselves.",
    .options = options,
    .options_size = sizeof(struct renew_options),
    .changes = true,
    .run = renew,
};
