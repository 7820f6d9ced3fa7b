/* Leaf: a certificate that is wanted, and the one that is there: whether it will do, making a new
 * one, and putting it into a folder for those who use it.
 *
 * In the folder a key and a certificate that don't belong together are never seen: a key is made
 * once, first, and kept; the certificate is replaced in one step, last. */
#pragma once

#include "store.h"

/* What is wanted. */
typedef struct ca_leaf_wish {
    cx_identity identity;
    cx_list sans; /* as of cx_sans_add */
    int64_t validity_ms;
} ca_leaf_wish;

/* A node id as an argument; INVALID else. The name of the CA's own server is kept for it. */
CX_MUST_CHECK bool ca_leaf_check_node_id(const char *node_id, cx_err *err);
/* Node or operator from the options that name them: exactly one of the two; a role for an operator.
 * A node's own name is its first alternative name. sans are those of --san. */
CX_MUST_CHECK bool ca_leaf_wish_make(const char *node_id, const char *operator_name,
                                     const char *role, const cx_list *sans, int64_t validity_ms,
                                     ca_leaf_wish *wish, cx_err *err);
/* The cluster is the CA's. */
void ca_leaf_wish_bind(ca_leaf_wish *wish, const ca_store *store);
void ca_leaf_wish_free(ca_leaf_wish *wish);

/* Whether the certificate is what is wanted: identity, role, names, this CA, this key, in date, not
 * revoked. */
CX_MUST_CHECK bool ca_leaf_matches(const ca_store *store, X509 *cert, const EVP_PKEY *key,
                                   const ca_leaf_wish *wish, bool *matches, cx_err *err);
/* A certificate for the key: the newest recorded one when it is what is wanted and has two thirds of
 * its life left (a run that was cut short after the record), else a new one, recorded. *changed tells
 * whether it is new. `anew` forces a new one. REVOKED for a key that was revoked as compromised. */
CX_MUST_CHECK bool ca_leaf_make(ca_store *store, EVP_PKEY *key, const ca_leaf_wish *wish,
                                const char *how, bool anew, X509 **cert, bool *changed,
                                cx_err *err);

/* A new certificate, recorded together with the token that is spent on it. */
CX_MUST_CHECK bool ca_leaf_make_for_token(ca_store *store, EVP_PKEY *key, const ca_leaf_wish *wish,
                                          const char *token_id, X509 **cert, cx_err *err);

/* The files of a leaf in a folder. */
typedef struct ca_leaf_files {
    char *folder;
    char *cert; /* node.crt or operator.crt */
    char *key;
    char *ca;
    char *crl;
    int lock;
} ca_leaf_files;

/* Makes and locks the folder, unless it is a dry run. CANT_CREATE when it can't be written to. */
CX_MUST_CHECK bool ca_leaf_files_open(const cx_run *run, const char *folder, cx_identity_kind kind,
                                      ca_leaf_files *files, cx_err *err);
void ca_leaf_files_close(ca_leaf_files *files);
/* The key that is there, else a new one, which is then there (a certificate without its key is
 * removed first: beside another key it would be worse than none). */
CX_MUST_CHECK bool ca_leaf_take_key(const ca_store *store, const ca_leaf_files *files,
                                    cx_key_type type, bool anew, EVP_PKEY **key, bool *changed,
                                    cx_err *err);
/* Whether this CA's certificate may stand in the folder: EXISTS when another CA's does. */
CX_MUST_CHECK bool ca_leaf_check_ca_file(const ca_store *store, const ca_leaf_files *files,
                                         cx_err *err);
/* The CA's certificate, its revocation list if there is one, and last the certificate. cert NULL:
 * only the first two. *changed is set when any of them was not there as it is. */
CX_MUST_CHECK bool ca_leaf_publish(const ca_store *store, const ca_leaf_files *files, X509 *cert,
                                   bool *changed, cx_err *err);

/* {"changed","serial","subject","uri",…,"not_after"}: what issue, sign and renew print. */
json_t *ca_leaf_describe(X509 *cert, const cx_identity *identity, bool changed);
