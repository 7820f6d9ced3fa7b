/* TLS contexts: 1.3 only, both sides verified against the cluster's CA and CRL, the peer accepted by
 * its SPIFFE URI and not by its address. Contexts reload: a renewed certificate or a new CRL is used
 * by the next connection, without a restart. No session is resumed, so that each connection is
 * verified with the files as they are now. */
#pragma once

#include <openssl/ssl.h>

#include "pki/identity.h"

typedef struct cx_tls cx_tls;

typedef struct cx_tls_files {
    const char *ca;   /* PEM; one or more roots */
    const char *cert; /* PEM; NULL together with key: no certificate of our own (bootstrap only) */
    const char *key;  /* PEM, 0600, never followed through a link */
    const char *crl;  /* PEM; NULL or a missing file: no CRL is checked */
    const char *cluster; /* peers of another cluster are refused */
} cx_tls_files;

/* Loads and checks the files: CERT_EXPIRED, CERT_INVALID (key and certificate don't match, not
 * signed by the CA, other cluster), NOT_FOUND, PERMISSION. */
CX_MUST_CHECK bool cx_tls_open(const cx_tls_files *files, cx_tls **tls, cx_err *err);
void cx_tls_close(cx_tls **owner);
/* Loads the files anew if any changed on disk (mtime, size, inode); on a fault the old contexts stay
 * in use and err says why. An own certificate that is revoked or over is told as well (REVOKED,
 * CERT_EXPIRED), but the new files are in use then: a list that names us names others too. *changed
 * may be NULL. */
CX_MUST_CHECK bool cx_tls_reload(cx_tls *tls, bool *changed, cx_err *err);

/* Contexts that are handed out below look at the files themselves, at most once a second; a daemon
 * calls cx_tls_reload from a timer all the same, to log what is wrong with them. */

/* For cx_httpd_options.tls with tls_arg = cx_tls *: a new reference of the server's SSL_CTX, which
 * demands a client certificate. */
void *cx_tls_server(void *tls);
/* The same, but a client without a certificate is let in (cx-ca serve: joining hosts have none); one
 * with a certificate is verified. */
void *cx_tls_server_optional(void *tls);

/* For cx_http_request.tls_hook with tls_arg = cx_tls_peer *, which outlives the transfer. */
typedef struct cx_tls_peer {
    cx_tls *tls;
    const char *node_id; /* the peer must be this node; NULL: any node of the cluster */
    cx_err error; /* why we refused the peer, or it us (REVOKED, CERT_EXPIRED, …), for a better
                            message than OpenSSL's; code CX_OK: TLS was not the reason */
} cx_tls_peer;
bool cx_tls_client_hook(void *ssl_ctx, void *peer, cx_err *err);

/* Who is at the other end of an established connection. UNAUTHENTICATED when it showed no
 * certificate. */
CX_MUST_CHECK bool cx_tls_peer_identity(const SSL *ssl, cx_identity *identity, cx_err *err);
/* The same for each request on a connection that stays open: a peer that was revoked, or whose
 * certificate ended, since the handshake is refused (REVOKED, CERT_EXPIRED, CERT_INVALID). Costs next
 * to nothing while the files are those of the handshake. */
CX_MUST_CHECK bool cx_tls_authenticate(cx_tls *tls, const SSL *ssl, cx_identity *identity,
                                       cx_err *err);
/* Why the handshake of this SSL failed, in words, or "": "no client certificate", "certificate has
 * expired: …", "certificate is signed by another CA", "certificate is revoked: …", "cluster other, not
 * prod", "TLS 1.3 is required". The text lives as long as the SSL. */
const char *cx_tls_refusal(const SSL *ssl);
/* Our own certificate's end of life, wall milliseconds; 0 without one. */
int64_t cx_tls_not_after_ms(const cx_tls *tls);
/* Our own certificate's serial number as lower-case hex, "" without one. Lives until a reload. */
const char *cx_tls_serial(const cx_tls *tls);
/* Since when the revocation list in use is out of date; 0: it is not, or there is none. */
int64_t cx_tls_crl_stale_since(const cx_tls *tls);
