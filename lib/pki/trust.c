#include "pki/trust.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/io.h"
#include "base/time.h"
#include "pki/crl.h"
#include "pki/openssl.h"

enum { CRLS_MAX = 64 };

struct cx_trust {
    atomic_int owners;
    X509_STORE *store;
    char cluster[CX_ID_SIZE];
    int64_t crl_next_update_ms; /* of the list that ends first; 0: no list */
};

static void context_free(X509_STORE_CTX **owner)
{
    X509_STORE_CTX_free(*owner);
    *owner = NULL;
}

/* ---- loading */

static bool add_roots(cx_trust *trust, STACK_OF(X509) * roots, const char *path, cx_err *err)
{
    for (int i = 0; i < sk_X509_num(roots); i++) {
        X509 *root = sk_X509_value(roots, i);
        char cluster[CX_ID_SIZE];

        if (!cx_cert_cluster(root, cluster, err))
            return cx_wrap(err, "%s", path);
        if (trust->cluster[0] == '\0')
            memcpy(trust->cluster, cluster, sizeof(cluster));
        if (strcmp(cluster, trust->cluster) != 0)
            return cx_fail(err, CX_CERT_INVALID, "%s: the CA of cluster %s, not %s", path, cluster,
                           trust->cluster);
        if (X509_STORE_add_cert(trust->store, root) != 1)
            return cx_openssl_fail(err, CX_INTERNAL, "%s", path);
    }
    return true;
}

static bool is_signed_by_one_of(X509_CRL *crl, STACK_OF(X509) * roots)
{
    for (int i = 0; i < sk_X509_num(roots); i++)
        if (cx_crl_is_signed_by(crl, sk_X509_value(roots, i)))
            return true;
    return false;
}

static bool add_crl(cx_trust *trust, X509_CRL *crl, STACK_OF(X509) * roots, const char *path,
                    cx_err *err)
{
    int64_t next_ms = cx_crl_next_update_ms(crl);

    if (!is_signed_by_one_of(crl, roots)) {
        cx_fail(err, CX_CERT_INVALID, "%s: a revocation list that is not signed by the CA", path);
        return cx_hint(err, "copy the CA's own crl.pem, or remove the file");
    }
    if (X509_STORE_add_crl(trust->store, crl) != 1)
        return cx_openssl_fail(err, CX_INTERNAL, "%s", path);
    if (next_ms != 0 && (trust->crl_next_update_ms == 0 || next_ms < trust->crl_next_update_ms))
        trust->crl_next_update_ms = next_ms;
    X509_STORE_set_flags(trust->store, X509_V_FLAG_CRL_CHECK);
    return true;
}

static bool add_crls(cx_trust *trust, STACK_OF(X509) * roots, const char *path, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer pem = {0};
    CX_AUTO(cx_bio_free) BIO *bio = NULL;
    int count = 0;

    if (!cx_read_file(path, CX_CERTS_BYTES_MAX, &pem, err))
        return err->code == CX_NOT_FOUND;
    bio = cx_bio_of(cx_buffer_bytes(&pem));
    for (; count < CRLS_MAX; count++) {
        CX_AUTO(cx_crl_free) X509_CRL *crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL);

        if (crl == NULL)
            break;
        if (!add_crl(trust, crl, roots, path, err))
            return false;
    }
    if (count == 0 || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
        ERR_clear_error();
        return cx_fail(err, CX_MALFORMED, "%s: a damaged revocation list", path);
    }
    ERR_clear_error();
    return true;
}

/* ---- verdict */

/* What must not refuse everybody: a list that is late, or none for one of several roots. */
static int tolerate(int ok, X509_STORE_CTX *context)
{
    if (ok)
        return 1;
    switch (X509_STORE_CTX_get_error(context)) {
    case X509_V_ERR_CRL_HAS_EXPIRED:
    case X509_V_ERR_CRL_NOT_YET_VALID:
    case X509_V_ERR_UNABLE_TO_GET_CRL: X509_STORE_CTX_set_error(context, X509_V_OK); return 1;
    default: return 0;
    }
}

/* "certificate has expired: node-1, 2026-11-24T10:00:00Z" */
static bool fail_for_time(X509 *cert, cx_code code, const char *what, int64_t at_ms, cx_err *err)
{
    cx_identity identity;
    char at[CX_TIME_TEXT_SIZE];
    cx_err unknown;

    if (!cx_cert_identity(cert, &identity, &unknown))
        snprintf(identity.name, sizeof(identity.name), "the CA");
    return cx_fail(err, code, "%s: %s, %s", what, identity.name, cx_time_text(at_ms, at));
}

static bool fail_for_revocation(X509 *cert, cx_err *err)
{
    char serial[CX_SERIAL_SIZE];

    cx_cert_serial(cert, serial);
    return cx_fail(err, CX_REVOKED, "certificate is revoked: serial %s", serial);
}

/* OpenSSL's verdict in our words. */
static bool explain(int error, X509 *cert, cx_err *err)
{
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return fail_for_time(cert, CX_CERT_EXPIRED, "certificate has expired",
                             cx_cert_not_after_ms(cert), err);
    case X509_V_ERR_CERT_NOT_YET_VALID:
        fail_for_time(cert, CX_CERT_INVALID, "certificate is not yet valid",
                      cx_cert_not_before_ms(cert), err);
        return cx_hint(err, "compare the clocks of both hosts");
    case X509_V_ERR_CERT_REVOKED: return fail_for_revocation(cert, err);
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        return cx_fail(err, CX_CERT_INVALID, "certificate is signed by another CA");
    case X509_V_ERR_INVALID_PURPOSE:
        return cx_fail(err, CX_CERT_INVALID, "certificate is not made for this purpose");
    default:
        return cx_fail(err, CX_CERT_INVALID, "certificate is refused: %s",
                       X509_verify_cert_error_string(error));
    }
}

static bool check_identity(const cx_trust *trust, X509 *cert, const char *node_id, cx_err *err)
{
    cx_identity identity;

    if (!cx_cert_identity(cert, &identity, err))
        return false;
    if (strcmp(identity.cluster, trust->cluster) != 0)
        return cx_fail(err, CX_CERT_INVALID, "cluster %s, not %s", identity.cluster,
                       trust->cluster);
    if (node_id != NULL && identity.kind != CX_IDENTITY_NODE)
        return cx_fail(err, CX_CERT_INVALID, "operator %s, not node %s", identity.name, node_id);
    if (node_id != NULL && strcmp(identity.name, node_id) != 0)
        return cx_fail(err, CX_CERT_INVALID, "node %s, not %s", identity.name, node_id);
    return true;
}

static bool set_purpose(X509_STORE_CTX *context, cx_purpose purpose)
{
    switch (purpose) {
    case CX_PURPOSE_ANY: return true;
    case CX_PURPOSE_SERVER:
        return X509_STORE_CTX_set_purpose(context, X509_PURPOSE_SSL_SERVER) == 1;
    case CX_PURPOSE_CLIENT:
        return X509_STORE_CTX_set_purpose(context, X509_PURPOSE_SSL_CLIENT) == 1;
    }
    return false;
}

bool cx_trust_open(const char *ca, const char *crl, const char *cluster, cx_trust **trust,
                   cx_err *err)
{
    CX_AUTO(cx_trust_close) cx_trust *made = cx_alloc(1, sizeof(*made));
    CX_AUTO(cx_certs_free) STACK_OF(X509) *roots = NULL;

    atomic_init(&made->owners, 1);
    snprintf(made->cluster, sizeof(made->cluster), "%s", cluster != NULL ? cluster : "");
    made->store = X509_STORE_new();
    if (made->store == NULL)
        return cx_openssl_fail(err, CX_INTERNAL, "certificate store");
    if (!cx_certs_read(ca, &roots, err))
        return cx_wrap(err, "the CA's certificate");
    if (!add_roots(made, roots, ca, err) || (crl != NULL && !add_crls(made, roots, crl, err)))
        return false;
    *trust = CX_TAKE(made);
    return true;
}

cx_trust *cx_trust_keep(cx_trust *trust)
{
    atomic_fetch_add(&trust->owners, 1);
    return trust;
}

void cx_trust_close(cx_trust **owner)
{
    cx_trust *trust = CX_TAKE(*owner);

    if (trust == NULL || atomic_fetch_sub(&trust->owners, 1) > 1)
        return;
    X509_STORE_free(trust->store);
    cx_free(&trust);
}

const char *cx_trust_cluster(const cx_trust *trust)
{
    return trust->cluster;
}

X509_STORE *cx_trust_store(const cx_trust *trust)
{
    return trust->store;
}

int64_t cx_trust_crl_stale_since(const cx_trust *trust, int64_t now_ms)
{
    return trust->crl_next_update_ms < now_ms ? trust->crl_next_update_ms : 0;
}

bool cx_trust_verify(const cx_trust *trust, X509 *cert, cx_purpose purpose, const char *node_id,
                     cx_err *err)
{
    CX_AUTO(context_free) X509_STORE_CTX *context = X509_STORE_CTX_new();

    if (context == NULL || X509_STORE_CTX_init(context, trust->store, cert, NULL) != 1 ||
        !set_purpose(context, purpose))
        return cx_openssl_fail(err, CX_INTERNAL, "verify a certificate");
    return cx_trust_judge(trust, context, node_id, err);
}

bool cx_trust_judge(const cx_trust *trust, X509_STORE_CTX *context, const char *node_id,
                    cx_err *err)
{
    X509 *cert = X509_STORE_CTX_get0_cert(context);

    X509_STORE_CTX_set_verify_cb(context, tolerate);
    if (X509_verify_cert(context) != 1) {
        X509 *at_fault = X509_STORE_CTX_get_current_cert(context);

        return explain(X509_STORE_CTX_get_error(context), at_fault != NULL ? at_fault : cert, err);
    }
    if (!check_identity(trust, cert, node_id, err)) {
        X509_STORE_CTX_set_error(context, X509_V_ERR_APPLICATION_VERIFICATION);
        return false;
    }
    X509_STORE_CTX_set_error(context, X509_V_OK);
    return true;
}
