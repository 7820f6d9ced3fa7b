/* Trust: a cluster's roots and its revocation list, and the verdict about a certificate.
 *
 * A revocation list that is past its next update still counts: what it revokes stays refused, and
 * nobody else is. To refuse everybody because nobody signed a new list in time is the way whole
 * fleets went down (easy-rsa#1231); cx_trust_crl_stale_since tells, so that a check can warn. A list
 * that is damaged or not the CA's is an error when it is loaded. */
#pragma once

#include <openssl/x509.h>

#include "pki/cert.h"

typedef struct cx_trust cx_trust;

typedef enum cx_purpose { CX_PURPOSE_ANY, CX_PURPOSE_SERVER, CX_PURPOSE_CLIENT } cx_purpose;

/* ca: PEM of one or more roots. crl: PEM, NULL or a missing file: nothing is revoked. cluster: what
 * the roots and every certificate must belong to; NULL: the roots' own. NOT_FOUND, MALFORMED,
 * CERT_INVALID. */
CX_MUST_CHECK bool cx_trust_open(const char *ca, const char *crl, const char *cluster,
                                 cx_trust **trust, cx_err *err);
/* Another owner of the same trust; each closes it. */
cx_trust *cx_trust_keep(cx_trust *trust);
void cx_trust_close(cx_trust **owner);
const char *cx_trust_cluster(const cx_trust *trust);
X509_STORE *cx_trust_store(const cx_trust *trust); /* borrowed */
/* When the revocation list should have been replaced, if that is past; 0: it is fresh, or there is
 * none. */
int64_t cx_trust_crl_stale_since(const cx_trust *trust, int64_t now_ms);

/* Chain, dates, revocation, purpose, cluster, exactly one identity; the node, where node_id isn't
 * NULL. The refusal is one of: CERT_EXPIRED "certificate has expired …", REVOKED "certificate is
 * revoked …", CERT_INVALID "signed by another CA", "cluster other, not prod", "node node-2, not
 * node-1", … */
CX_MUST_CHECK bool cx_trust_verify(const cx_trust *trust, X509 *cert, cx_purpose purpose,
                                   const char *node_id, cx_err *err);
/* The same for a verification that OpenSSL prepared (a handshake's); sets the context's error, from
 * which the alert for the other side is made. */
CX_MUST_CHECK bool cx_trust_judge(const cx_trust *trust, X509_STORE_CTX *context,
                                  const char *node_id, cx_err *err);
