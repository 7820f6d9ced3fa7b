/* Renewal over the network: from `cx-ca serve`. */
#pragma once

#include "base/cli.h"
#include "pki/cert.h"

typedef struct renew_remote_files {
    const char *url; /* https://HOST:PORT */
    const char *cert;
    const char *key;
    const char *ca;
} renew_remote_files;

/* Asks for a new certificate for the same key. The old one is shown in the handshake while it is
 * valid; in any case the request proves its key. *fresh may be the old one, when the CA finds that it
 * is too early. */
CX_MUST_CHECK bool renew_remote(const cx_run *run, const renew_remote_files *files, X509 *old,
                                EVP_PKEY *key, X509 **fresh, cx_err *err);
