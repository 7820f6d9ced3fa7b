/* Admission: all that a host gets with its certificate: the CA's certificate, the revocation list,
 * and, a node, the gossip key ring and the seeds. `cx-ca sign` prints it, `cx-ca serve` answers it,
 * cx-join takes it. */
#pragma once

#include "config/config.h"
#include "leaf.h"

/* {"changed","serial",…,"certificate_pem","ca_certificate_pem","crl_pem"?}. */
CX_MUST_CHECK bool ca_admission_make(const ca_store *store, X509 *cert, const cx_identity *identity,
                                     bool changed, json_t **document, cx_err *err);
/* Adds "gossip_keyring" (secret) and "seeds" of this host, as far as it has them. Left out when the
 * host is of another cluster. */
CX_MUST_CHECK bool ca_admission_add_gossip(const cx_config *config, const ca_store *store,
                                           json_t *document, cx_err *err);
