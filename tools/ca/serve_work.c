/* What the worker of cx-ca serve does with the CA open. */
#include <string.h>

#include "base/io.h"
#include "base/time.h"
#include "pki/csr.h"
#include "pki/san.h"
#include "revocation.h"
#include "serve.h"
#include "tokens.h"

enum { CRL_LIFE_MS = 7 * 24 * 60 * 60 * 1000, OWN_VALIDITY_DAYS = 90 };

#define OWN_VALIDITY_MS (INT64_C(86400000) * OWN_VALIDITY_DAYS)

static bool finish(const serve_self *self, const ca_store *store, X509 *cert, bool with_gossip,
                   bool changed, json_t **answer, cx_err *err)
{
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;
    cx_identity identity;

    if (!cx_cert_identity(cert, &identity, err) ||
        !ca_admission_make(store, cert, &identity, changed, &document, err))
        return false;
    if (with_gossip &&
        (!cx_config_load(self->run->config_path, self->run->config_is_default, &config, err) ||
         !ca_admission_add_gossip(config, store, document, err)))
        return false;
    *answer = CX_TAKE(document);
    return true;
}

/* A refusal that tells of a known token is worth a line that stays. */
static void audit_refusal(ca_store *store, const char *event, const char *node_id,
                          const cx_err *reason)
{
    cx_err unused;

    if (reason->code != CX_TOKEN_USED && reason->code != CX_TOKEN_EXPIRED &&
        reason->code != CX_REVOKED)
        return;
    if (!cx_db_begin(store->db, &unused))
        return;
    if (!audit_add(store->db, event,
                   json_pack("{s:o, s:s, s:o, s:s}", "name", cx_json_text(node_id), "code",
                             cx_code_word(reason->code), "reason", cx_json_text(reason->message),
                             "from", store->peer),
                   store->now_ms, &unused) ||
        !cx_db_commit(store->db, &unused)) {
        cx_db_rollback(store->db);
        return;
    }
    (void)!audit_flush(store->db, store->place.audit, &unused);
}

bool serve_join(const serve_self *self, ca_store *store, const json_t *body, json_t **answer,
                cx_err *err)
{
    static const char *const keys[] = {"token_id", "secret", "node_id", "csr_pem", NULL};
    CX_AUTO(cx_key_free) EVP_PKEY *key = NULL;
    CX_AUTO(cx_cert_free) X509 *cert = NULL;
    ca_token_claim claim;
    const char *csr;
    char unused_name[CX_ID_SIZE];
    bool changed;

    if (!cx_json_only_keys(body, "join", keys, err) ||
        !cx_json_need_text(body, "join", "token_id", &claim.id, err) ||
        !cx_json_need_text(body, "join", "secret", &claim.secret, err) ||
        !cx_json_need_text(body, "join", "node_id", &claim.node_id, err) ||
        !cx_json_need_text(body, "join", "csr_pem", &csr, err) ||
        !cx_csr_parse(cx_bytes_of(csr), "csr_pem", &key, unused_name, err))
        return false;
    if (!ca_token_spend(store, &claim, key, self->option->validity_ms, &cert, &changed, err)) {
        audit_refusal(store, "join_refused", claim.node_id, err);
        return false;
    }
    return finish(self, store, cert, true, changed, answer, err);
}

/* The old certificate may be renewed: ours, its holder asks, not revoked, not over for too long. */
static bool check_old(const serve_self *self, const ca_store *store, const cx_identity *who,
                      const cx_identity *identity, X509 *old, cx_err *err)
{
    char serial[CX_SERIAL_SIZE], end[CX_TIME_TEXT_SIZE];
    int64_t end_ms = cx_cert_not_after_ms(old);
    bool revoked;

    cx_cert_serial(old, serial);
    if (!cx_cert_is_signed_by(old, store->cert))
        return cx_fail(err, CX_CERT_INVALID, "certificate is signed by another CA");
    if (who != NULL && (who->kind != identity->kind || strcmp(who->name, identity->name) != 0))
        return cx_fail(err, CX_PERMISSION, "%s may not renew the certificate of %s", who->name,
                       identity->name);
    if (!ca_db_is_revoked(store->db, serial, &revoked, err))
        return false;
    if (revoked)
        return cx_fail(err, CX_REVOKED, "certificate is revoked: serial %s", serial);
    if (end_ms + self->option->grace_ms < store->now_ms) {
        cx_fail(err, CX_CERT_EXPIRED, "certificate has expired: %s, longer ago than --grace allows",
                cx_time_text(end_ms, end));
        return cx_hint(err, "join again with a token: cx-ca token create --node-id %s",
                       identity->name);
    }
    return true;
}

bool serve_renew(const serve_self *self, ca_store *store, const cx_identity *who,
                 const json_t *body, json_t **answer, cx_err *err)
{
    static const char *const keys[] = {"certificate_pem", "csr_pem", NULL};
    CX_AUTO(ca_leaf_wish_free) ca_leaf_wish wish = {.validity_ms = self->option->validity_ms};
    CX_AUTO(cx_key_free) EVP_PKEY *key = NULL;
    CX_AUTO(cx_cert_free) X509 *old = NULL;
    CX_AUTO(cx_cert_free) X509 *cert = NULL;
    const char *pem, *csr;
    char unused_name[CX_ID_SIZE];
    bool changed;

    if (!cx_json_only_keys(body, "renew", keys, err) ||
        !cx_json_need_text(body, "renew", "certificate_pem", &pem, err) ||
        !cx_json_need_text(body, "renew", "csr_pem", &csr, err) ||
        !cx_cert_from_pem(cx_bytes_of(pem), "certificate_pem", &old, err) ||
        !cx_csr_parse(cx_bytes_of(csr), "csr_pem", &key, unused_name, err) ||
        !cx_cert_check_key(old, "certificate_pem", key, "csr_pem", err) ||
        !cx_cert_identity(old, &wish.identity, err))
        return false;
    if (!check_old(self, store, who, &wish.identity, old, err)) {
        audit_refusal(store, "renew_refused", wish.identity.name, err);
        return false;
    }
    cx_cert_sans(old, &wish.sans);
    return ca_leaf_make(store, key, &wish, "renewed", false, &cert, &changed, err) &&
           finish(self, store, cert, false, changed, answer, err);
}

/* ---- upkeep */

/* The certificate that this server shows: of the reserved name, so that no node can pose as the CA. */
static bool keep_own_certificate(const cx_run *run, ca_store *store, cx_err *err)
{
    CX_AUTO(cx_free) char *folder = cx_path_join(store->place.folder, "serve");
    CX_AUTO(ca_leaf_files_close) ca_leaf_files files = {.lock = -1};
    CX_AUTO(ca_leaf_wish_free) ca_leaf_wish wish = {.validity_ms = OWN_VALIDITY_MS};
    CX_AUTO(cx_key_free) EVP_PKEY *key = NULL;
    CX_AUTO(cx_cert_free) X509 *current = NULL;
    CX_AUTO(cx_cert_free) X509 *cert = NULL;
    bool changed = false, matches = false;
    cx_err unused;

    wish.identity = (cx_identity){.kind = CX_IDENTITY_NODE, .name = CX_CA_SERVER_NAME};
    ca_leaf_wish_bind(&wish, store);
    if (!cx_sans_add(&wish.sans, CX_CA_SERVER_NAME, err) ||
        !ca_leaf_files_open(run, folder, CX_IDENTITY_NODE, &files, err) ||
        !ca_leaf_take_key(store, &files, CX_KEY_P256, false, &key, &changed, err))
        return false;
    if (cx_cert_read(files.cert, &current, &unused) &&
        !ca_leaf_matches(store, current, key, &wish, &matches, err))
        return false;
    if (matches && cx_cert_not_after_ms(current) - store->now_ms > OWN_VALIDITY_MS / 3)
        return ca_leaf_publish(store, &files, NULL, &changed, err);
    return ca_leaf_make(store, key, &wish, "issued", false, &cert, &changed, err) &&
           ca_leaf_publish(store, &files, cert, &changed, err);
}

bool serve_keep_up(const cx_run *run, const serve_options *option, cx_err *err)
{
    CX_AUTO(ca_store_close) ca_store *store = NULL;
    ca_crl_result list;

    if (!ca_store_open(run, &option->ca, &store, err))
        return false;
    /* Where nothing was ever revoked there is no list, and none that could become old. */
    if (cx_exists(store->place.crl) && !ca_crl_update(store, CRL_LIFE_MS, false, &list, err))
        return false;
    return keep_own_certificate(run, store, err);
}
