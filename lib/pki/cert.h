/* Certificates: make those of a CA, of nodes and of operators; read them back; ask them questions.
 *
 * X.509 v3 as RFC 5280 and the X.509-SVID specification want it: a CA signs certificates and CRLs
 * only and has path length 0; a leaf signs handshakes only, a node as server and client, an operator
 * as client. Every certificate is valid from CX_CERT_BACKDATE_MS before its issue, so that a clock
 * that is a little behind does not refuse it. Times are wall milliseconds, which the caller reads. */
#pragma once

#include <openssl/x509.h>

#include "pki/identity.h"

enum {
    CX_CERT_BACKDATE_MS = 5 * 60 * 1000,
    CX_CERTS_BYTES_MAX = 1024 * 1024, /* of a PEM file of certificates, CRLs and the like */
    CX_FINGERPRINT_SIZE = 65,
    CX_SERIAL_SIZE = 41, /* RFC 5280: at most 20 bytes, here as hex */
};
#define CX_CERT_VALIDITY_MAX_MS (INT64_C(100) * 366 * 24 * 60 * 60 * 1000)

/* INVALID for a validity that no certificate of ours gets: under 1 second, over 100 years. */
CX_MUST_CHECK bool cx_cert_check_validity(int64_t validity_ms, cx_err *err);
/* A self-signed root for the cluster; its key is `key`. */
CX_MUST_CHECK bool cx_cert_make_ca(EVP_PKEY *key, const char *cluster, int64_t now_ms,
                                   int64_t validity_ms, X509 **cert, cx_err *err);

typedef struct cx_cert_spec {
    cx_identity identity; /* its cluster must be the CA's */
    const cx_list *sans;  /* as of cx_sans_add */
    int64_t now_ms;
    int64_t validity_ms; /* cut to the CA's own end */
} cx_cert_spec;

/* A leaf for the public half of `key`. CERT_EXPIRED when the CA is. */
CX_MUST_CHECK bool cx_cert_issue(X509 *ca, EVP_PKEY *ca_key, EVP_PKEY *key,
                                 const cx_cert_spec *spec, X509 **cert, cx_err *err);
void cx_cert_free(X509 **owner);

/* The first certificate of a PEM file. NOT_FOUND, MALFORMED. */
CX_MUST_CHECK bool cx_cert_read(const char *path, X509 **cert, cx_err *err);
CX_MUST_CHECK bool cx_cert_from_pem(cx_bytes pem, const char *name, X509 **cert, cx_err *err);
/* All of them, in order; at least one, at most 64. */
CX_MUST_CHECK bool cx_certs_read(const char *path, STACK_OF(X509) * *certs, cx_err *err);
void cx_certs_free(STACK_OF(X509) * *owner);
CX_MUST_CHECK bool cx_cert_to_pem(X509 *cert, cx_buffer *pem, cx_err *err);

/* Who a leaf speaks for: exactly one URI SAN, and for an operator exactly one OU, its role.
 * CERT_INVALID else. */
CX_MUST_CHECK bool cx_cert_identity(X509 *cert, cx_identity *identity, cx_err *err);
/* The cluster of a CA: its URI SAN is `spiffe://CLUSTER`. CERT_INVALID for what is no CA of ours. */
CX_MUST_CHECK bool cx_cert_cluster(X509 *ca, char cluster[CX_ID_SIZE], cx_err *err);
void cx_cert_sans(X509 *cert, cx_list *sans); /* DNS and IP, as of cx_sans_add */

/* Fails unless `key` is the certificate's: CERT_INVALID naming both. */
CX_MUST_CHECK bool cx_cert_check_key(X509 *cert, const char *cert_name, const EVP_PKEY *key,
                                     const char *key_name, cx_err *err);
/* Whether ca signed it (the signature only). */
bool cx_cert_is_signed_by(X509 *cert, X509 *ca);
int64_t cx_cert_not_before_ms(const X509 *cert);
int64_t cx_cert_not_after_ms(const X509 *cert);
void cx_cert_serial(const X509 *cert, char serial[CX_SERIAL_SIZE]); /* lower-case hex */
void cx_cert_fingerprint(const X509 *cert, char fingerprint[CX_FINGERPRINT_SIZE]); /* SHA-256 */
char *cx_cert_name_text(
    const X509_NAME *name); /* RFC 2253: "CN=node-1,OU=node,O=prod"; caller owns */
