/* Store: a CA that is open: its certificate and key, and the record of all it did (ca.db).
 *
 * What is recorded is never removed: a revoked serial that vanished from the list would be let in
 * again. While a command changes something it holds ca.lock. */
#pragma once

#include "audit.h"
#include "pki/cert.h"
#include "pki/crl.h"
#include "pki/key.h"
#include "place.h"

typedef struct ca_store {
    ca_place place;
    X509 *cert;
    EVP_PKEY *key;
    cx_db *db; /* NULL in a dry run where there is none yet */
    char cluster[CX_ID_SIZE];
    int64_t now_ms; /* read once, so that all of a command has one time */
    bool dry_run;
    int lock;
    char peer[64]; /* who asked over the network, for the audit log; "" for a command */
} ca_store;

typedef struct ca_key_options {
    ca_place_options place;
    const char *passphrase_file;
} ca_key_options;

#define CA_KEY_OPTIONS(type, field)                                            \
    CA_PLACE_OPTIONS(type, field.place),                                       \
    {                                                                          \
        "passphrase-file", CX_TEXT(type, field.passphrase_file), "FILE", NULL, \
            "holds the passphrase of the CA's key"                             \
    }

/* Opens it to sign: lock, certificate, key, database, repairs after a crash. NOT_FOUND with a hint
 * when there is no CA. In a dry run nothing is made or changed. */
CX_MUST_CHECK bool ca_store_open(const cx_run *run, const ca_key_options *options, ca_store **store,
                                 cx_err *err);
/* The parts of it, for init, which makes what is missing. */
CX_MUST_CHECK bool ca_store_begin(const cx_run *run, const ca_key_options *options,
                                  ca_store **store, cx_err *err); /* place and lock */
CX_MUST_CHECK bool ca_store_read_key(ca_store *store, const ca_key_options *options, cx_err *err);
CX_MUST_CHECK bool ca_store_read_cert(ca_store *store, cx_err *err);
CX_MUST_CHECK bool ca_store_open_db(ca_store *store, cx_err *err); /* and repairs */
void ca_store_close(ca_store **owner);

/* Only to read; fails with NOT_FOUND when there is no database. */
CX_MUST_CHECK bool ca_db_open_read(const ca_place *place, cx_db **db, cx_err *err);

/* Records this CA, if it is not the recorded one already. */
CX_MUST_CHECK bool ca_store_record_ca(ca_store *store, cx_err *err);
/* The recorded CA's certificate if its key is store->key and its cluster is the given one, else
 * NULL. */
CX_MUST_CHECK bool ca_store_recorded_ca(ca_store *store, const char *cluster, X509 **cert,
                                        cx_err *err);

/* Records a certificate before anybody gets it. how: "issued", "signed", "renewed", "token".
 * token_id: the token that is spent on it, in the same transaction (TOKEN_USED when it can't be any
 * more); NULL: none. */
CX_MUST_CHECK bool ca_store_record(ca_store *store, X509 *cert, const char *how,
                                   const char *token_id, cx_err *err);
/* The newest certificate recorded for the URI, if it is not revoked; else NULL. */
CX_MUST_CHECK bool ca_store_newest(ca_store *store, const char *uri, X509 **cert, cx_err *err);
/* Whether a certificate for this key was revoked because somebody else has the key. */
CX_MUST_CHECK bool ca_store_is_compromised(ca_store *store, const EVP_PKEY *key, bool *compromised,
                                           cx_err *err);
/* Whether the serial is revoked; false too when there is no database. */
CX_MUST_CHECK bool ca_db_is_revoked(cx_db *db, const char *serial, bool *revoked, cx_err *err);

/* Marks one serial within the caller's transaction; *changed is false when it was marked already. */
CX_MUST_CHECK bool ca_db_revoke(cx_db *db, const char *serial, int64_t at_ms, cx_crl_reason reason,
                                bool *changed, cx_err *err);
