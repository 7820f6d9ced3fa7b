#include "leaf.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/text.h"
#include "pki/san.h"
#include "pki/trust.h"

enum { LOCK_WAIT_MS = 10000 };

/* ---- what is wanted */

static bool set_identity(cx_identity_kind kind, const char *name, ca_leaf_wish *wish, cx_err *err)
{
    if (!cx_check_id(kind == CX_IDENTITY_NODE ? "--node-id" : "--operator", name, err))
        return false;
    wish->identity.kind = kind;
    memcpy(wish->identity.name, name, strlen(name) + 1);
    return true;
}

static bool set_role(const char *role, ca_leaf_wish *wish, cx_err *err)
{
    if (role == NULL) {
        cx_fail(err, CX_USAGE, "--operator needs --role");
        return cx_hint(err, "viewer reads; operator drains, suspends and sends; admin deploys");
    }
    return cx_role_parse(role, &wish->identity.role, err);
}

bool ca_leaf_check_node_id(const char *node_id, cx_err *err)
{
    if (strcmp(node_id, CX_CA_SERVER_NAME) == 0)
        return cx_fail(err, CX_INVALID, "--node-id: the name \"%s\" is kept for cx-ca serve",
                       node_id);
    return cx_check_id("--node-id", node_id, err);
}

bool ca_leaf_wish_make(const char *node_id, const char *operator_name, const char *role,
                       const cx_list *sans, int64_t validity_ms, ca_leaf_wish *wish, cx_err *err)
{
    if ((node_id != NULL) == (operator_name != NULL))
        return cx_fail(err, CX_USAGE, "either --node-id or --operator is needed");
    if (node_id != NULL && role != NULL)
        return cx_fail(err, CX_USAGE, "--role goes with --operator");
    if (!cx_cert_check_validity(validity_ms, err))
        return cx_wrap(err, "--validity");
    wish->validity_ms = validity_ms;
    if (node_id != NULL) {
        if (!ca_leaf_check_node_id(node_id, err) ||
            !set_identity(CX_IDENTITY_NODE, node_id, wish, err) ||
            (cx_is_dns_name(node_id) && !cx_sans_add(&wish->sans, node_id, err)))
            return false;
    } else if (!set_identity(CX_IDENTITY_OPERATOR, operator_name, wish, err) ||
               !set_role(role, wish, err)) {
        return false;
    }
    for (size_t i = 0; i < sans->count; i++)
        if (!cx_sans_add(&wish->sans, sans->items[i], err))
            return cx_wrap(err, "--san");
    return true;
}

void ca_leaf_wish_bind(ca_leaf_wish *wish, const ca_store *store)
{
    memcpy(wish->identity.cluster, store->cluster, CX_ID_SIZE);
}

void ca_leaf_wish_free(ca_leaf_wish *wish)
{
    cx_list_free(&wish->sans);
}

/* ---- the certificate */

static bool same_identity(const cx_identity *a, const cx_identity *b)
{
    return a->kind == b->kind && strcmp(a->cluster, b->cluster) == 0 &&
           strcmp(a->name, b->name) == 0 && (a->kind == CX_IDENTITY_NODE || a->role == b->role);
}

static bool is_revoked(const ca_store *store, X509 *cert, bool *revoked, cx_err *err)
{
    char serial[CX_SERIAL_SIZE];

    cx_cert_serial(cert, serial);
    return ca_db_is_revoked(store->db, serial, revoked, err);
}

bool ca_leaf_matches(const ca_store *store, X509 *cert, const EVP_PKEY *key,
                     const ca_leaf_wish *wish, bool *matches, cx_err *err)
{
    CX_AUTO(cx_list_free) cx_list sans = {0};
    cx_identity identity;
    bool revoked;
    cx_err unused;

    *matches = false;
    if (!is_revoked(store, cert, &revoked, err))
        return false;
    cx_cert_sans(cert, &sans);
    *matches = !revoked && cx_cert_identity(cert, &identity, &unused) &&
               same_identity(&identity, &wish->identity) && cx_sans_equal(&sans, &wish->sans) &&
               cx_cert_not_after_ms(cert) > store->now_ms &&
               cx_cert_is_signed_by(cert, store->cert) &&
               cx_cert_check_key(cert, "", key, "", &unused);
    return true;
}

/* The newest recorded certificate, where it will do; else NULL. */
static bool find_recorded(ca_store *store, const EVP_PKEY *key, const ca_leaf_wish *wish,
                          X509 **cert, cx_err *err)
{
    CX_AUTO(cx_cert_free) X509 *newest = NULL;
    char uri[CX_URI_SIZE];
    bool matches;

    cx_identity_uri(&wish->identity, uri);
    if (!ca_store_newest(store, uri, &newest, err))
        return false;
    if (newest == NULL)
        return true;
    if (!ca_leaf_matches(store, newest, key, wish, &matches, err))
        return false;
    if (matches && cx_cert_not_after_ms(newest) >= store->now_ms + wish->validity_ms / 3 * 2)
        *cert = CX_TAKE(newest);
    return true;
}

static bool check_key(ca_store *store, const EVP_PKEY *key, cx_err *err)
{
    bool compromised;

    if (!ca_store_is_compromised(store, key, &compromised, err))
        return false;
    if (!compromised)
        return true;
    cx_fail(err, CX_REVOKED, "the key was revoked as compromised: no certificate for it any more");
    return cx_hint(err, "make a new key: cx-ca issue --new-key");
}

bool ca_leaf_make(ca_store *store, EVP_PKEY *key, const ca_leaf_wish *wish, const char *how,
                  bool anew, X509 **cert, bool *changed, cx_err *err)
{
    CX_AUTO(cx_cert_free) X509 *made = NULL;
    cx_cert_spec spec = {.identity = wish->identity,
                         .sans = &wish->sans,
                         .now_ms = store->now_ms,
                         .validity_ms = wish->validity_ms};

    if (!check_key(store, key, err))
        return false;
    if (!anew && !find_recorded(store, key, wish, &made, err))
        return false;
    *changed = made == NULL;
    if (made == NULL && (!cx_cert_issue(store->cert, store->key, key, &spec, &made, err) ||
                         (!store->dry_run && !ca_store_record(store, made, how, NULL, err))))
        return false;
    *cert = CX_TAKE(made);
    return true;
}

bool ca_leaf_make_for_token(ca_store *store, EVP_PKEY *key, const ca_leaf_wish *wish,
                            const char *token_id, X509 **cert, cx_err *err)
{
    CX_AUTO(cx_cert_free) X509 *made = NULL;
    cx_cert_spec spec = {.identity = wish->identity,
                         .sans = &wish->sans,
                         .now_ms = store->now_ms,
                         .validity_ms = wish->validity_ms};

    if (!check_key(store, key, err) ||
        !cx_cert_issue(store->cert, store->key, key, &spec, &made, err) ||
        !ca_store_record(store, made, "token", token_id, err))
        return false;
    *cert = CX_TAKE(made);
    return true;
}

/* ---- the folder */

static bool fail_unwritable(const char *folder, cx_err *err)
{
    CX_AUTO(cx_free) char *reason = cx_strdup(err->message);

    if (err->code == CX_BUSY || err->code == CX_INTERRUPTED)
        return false;
    cx_fail(err, CX_CANT_CREATE, "--output %s: %s", folder, reason);
    return cx_hint(err, "name a folder that can be written to");
}

bool ca_leaf_files_open(const cx_run *run, const char *folder, cx_identity_kind kind,
                        ca_leaf_files *files, cx_err *err)
{
    const char *stem = kind == CX_IDENTITY_NODE ? "node" : "operator";
    CX_AUTO(cx_free) char *cert = cx_format("%s.crt", stem);
    CX_AUTO(cx_free) char *key = cx_format("%s.key", stem);
    CX_AUTO(cx_free) char *lock = cx_path_join(folder, ".lock");

    *files = (ca_leaf_files){
        .folder = cx_strdup(folder),
        .cert = cx_path_join(folder, cert),
        .key = cx_path_join(folder, key),
        .ca = cx_path_join(folder, "ca.crt"),
        .crl = cx_path_join(folder, "crl.pem"),
        .lock = -1,
    };
    if (run->dry_run)
        return true;
    return (cx_make_folders(folder, 0700, NULL, err) &&
            cx_lock_wait(lock, cx_timeout_or(run, LOCK_WAIT_MS), &files->lock, err) &&
            cx_sweep_stages(folder, err)) ||
           fail_unwritable(folder, err);
}

void ca_leaf_files_close(ca_leaf_files *files)
{
    cx_free(&files->folder);
    cx_free(&files->cert);
    cx_free(&files->key);
    cx_free(&files->ca);
    cx_free(&files->crl);
    cx_fd_close(&files->lock);
}

bool ca_leaf_take_key(const ca_store *store, const ca_leaf_files *files, cx_key_type type,
                      bool anew, EVP_PKEY **key, bool *changed, cx_err *err)
{
    CX_AUTO(cx_secret_free) cx_buffer pem = {0};

    if (cx_exists(files->key) && !anew)
        return cx_key_read(files->key, NULL, key, err);
    *changed = true;
    if (!store->dry_run && (!cx_remove_file(files->cert, err) || !cx_remove_file(files->key, err)))
        return false;
    return cx_key_generate(type, key, err) && cx_key_to_pem(*key, NULL, &pem, err) &&
           (store->dry_run || cx_create(files->key, 0600, cx_buffer_bytes(&pem), err));
}

/* Both paths lead to one file. */
static bool is_same_file(const char *a, const char *b)
{
    struct stat of_a, of_b;

    return stat(a, &of_a) == 0 && stat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
           of_a.st_ino == of_b.st_ino;
}

/* Whether a file of roots (during a change of roots there are two) holds this CA's. */
static bool holds_ca(const char *path, X509 *ca, cx_err *err, bool *holds)
{
    CX_AUTO(cx_certs_free) STACK_OF(X509) *certs = NULL;

    *holds = false;
    if (!cx_certs_read(path, &certs, err))
        return false;
    for (int i = 0; i < sk_X509_num(certs); i++)
        if (X509_cmp(sk_X509_value(certs, i), ca) == 0)
            *holds = true;
    return true;
}

bool ca_leaf_check_ca_file(const ca_store *store, const ca_leaf_files *files, cx_err *err)
{
    bool holds;

    if (!cx_exists(files->ca) || is_same_file(files->ca, store->place.cert))
        return true;
    if (!holds_ca(files->ca, store->cert, err, &holds))
        return false;
    if (!holds) {
        cx_fail(err, CX_EXISTS, "%s is the certificate of another CA", files->ca);
        return cx_hint(err, "--force replaces it, and %s", files->cert);
    }
    return true;
}

/* Replaces path unless it has these bytes already. */
static bool put(const char *path, cx_bytes bytes, bool *changed, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer old = {0};
    cx_err unused;

    if (cx_read_file(path, CX_CERTS_BYTES_MAX, &old, &unused) &&
        cx_bytes_equal(cx_buffer_bytes(&old), bytes))
        return true;
    *changed = true;
    return cx_replace(path, 0644, bytes, err);
}

static bool publish_ca(const ca_store *store, const ca_leaf_files *files, bool *changed,
                       cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer pem = {0};
    bool holds = false;
    cx_err unused;

    if (is_same_file(files->ca, store->place.cert) ||
        (holds_ca(files->ca, store->cert, &unused, &holds) && holds))
        return true;
    return cx_cert_to_pem(store->cert, &pem, err) &&
           put(files->ca, cx_buffer_bytes(&pem), changed, err);
}

static bool publish_crl(const ca_store *store, const ca_leaf_files *files, bool *changed,
                        cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer pem = {0};

    if (!cx_exists(store->place.crl) || is_same_file(files->crl, store->place.crl))
        return true;
    return cx_read_file(store->place.crl, CX_CERTS_BYTES_MAX, &pem, err) &&
           put(files->crl, cx_buffer_bytes(&pem), changed, err);
}

bool ca_leaf_publish(const ca_store *store, const ca_leaf_files *files, X509 *cert, bool *changed,
                     cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer pem = {0};

    if (store->dry_run)
        return true;
    if (!publish_ca(store, files, changed, err) || !publish_crl(store, files, changed, err))
        return false;
    return cert == NULL || (cx_cert_to_pem(cert, &pem, err) &&
                            put(files->cert, cx_buffer_bytes(&pem), changed, err));
}

json_t *ca_leaf_describe(X509 *cert, const cx_identity *identity, bool changed)
{
    CX_AUTO(cx_free) char *subject = cx_cert_name_text(X509_get_subject_name(cert));
    char serial[CX_SERIAL_SIZE], uri[CX_URI_SIZE];
    json_t *document;

    cx_cert_serial(cert, serial);
    cx_identity_uri(identity, uri);
    document =
        json_pack("{s:b, s:s, s:o, s:s, s:s}", "changed", changed, "serial", serial, "subject",
                  cx_json_text(subject), "uri", uri, "cluster", identity->cluster);
    if (identity->kind == CX_IDENTITY_NODE)
        json_object_set_new(document, "node_id", json_string(identity->name));
    else
        json_object_set_new(document, "role", json_string(cx_role_word(identity->role)));
    json_object_set_new(document, "not_before", cx_json_time(cx_cert_not_before_ms(cert)));
    json_object_set_new(document, "not_after", cx_json_time(cx_cert_not_after_ms(cert)));
    return document;
}
