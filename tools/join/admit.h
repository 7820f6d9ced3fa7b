/* What a CA hands to a node that it admits, checked and written: the second half of `join` and
 * `install`. The document: {"cluster","node_id","certificate_pem","ca_certificate_pem","crl_pem"?,
 * "gossip_keyring"? (list of base64), "seeds"? (list of host:port)}. */
#pragma once

#include <openssl/evp.h>

#include "place.h"

enum { ADMIT_BYTES_MAX = 4 * 1024 * 1024 };

/* cert_dir/node.key: read when it is there, else made (and written, unless --dry-run). *made tells
 * which: a refused join takes it away again. */
CX_MUST_CHECK bool admit_key(struct place *place, EVP_PKEY **key, bool *made, cx_err *err);
/* The request for the key, PEM. */
CX_MUST_CHECK bool admit_request(EVP_PKEY *key, const char *node_id, char **pem, cx_err *err);
/* A gossip key ring as others hand it over, a list of base64: checked (`where` names it in messages), and
 * written unless one is there. */
CX_MUST_CHECK bool admit_check_keyring(const json_t *keyring, const char *where, cx_err *err);
CX_MUST_CHECK bool admit_write_keyring(struct place *place, const json_t *keyring, cx_err *err);
/* Checks that certificate, CA, key, cluster and name belong together; then writes ca.crt, crl.pem,
 * gossip.keys, node.crt. The document's seeds go into the configuration that place_write_config
 * writes, unless the options gave some. */
CX_MUST_CHECK bool admit_write(struct place *place, EVP_PKEY *key, const json_t *document,
                               cx_err *err);
