/* Place: where a CA is kept. Its state (ca.db, audit.log, crl.pem, ca.lock) is beside its key.
 *
 * --ca-dir DIR holds it all; --ca-key and --ca-cert name the two files, which may lie in different
 * folders, the one that isn't given beside the other. Without any of them it is cert_dir/ca of the
 * configuration, or, where no CA is there but one beside cert_dir (as the operators' own procedure
 * puts it), that one. */
#pragma once

#include "base/cli.h"

typedef struct ca_place_options {
    const char *ca_dir;
    const char *ca_cert;
    const char *ca_key;
} ca_place_options;

#define CA_PLACE_OPTIONS(type, field)                                                    \
    {"ca-dir", CX_TEXT(type, field.ca_dir), "DIR", NULL,                                 \
     "folder of the CA (default: cert_dir/ca)"},                                         \
        {"ca-cert", CX_TEXT(type, field.ca_cert), "FILE", NULL, "the CA's certificate"}, \
    {                                                                                    \
        "ca-key", CX_TEXT(type, field.ca_key), "FILE", NULL,                             \
            "the CA's key; its state is kept beside it"                                  \
    }

typedef struct ca_place {
    char *folder; /* of the key and the state */
    char *cert;
    char *key;
    char *db;
    char *audit;
    char *lock;
    char *crl;
} ca_place;

CX_MUST_CHECK bool ca_place_find(const cx_run *run, const ca_place_options *options,
                                 ca_place *place, cx_err *err);
void ca_place_free(ca_place *place);
/* The folder of a path: "." for a bare name; caller owns. */
char *ca_folder_of(const char *path);
