/* Revocation lists (RFC 5280, version 2, numbered): made by the CA, read by everybody. */
#pragma once

#include <openssl/x509.h>

#include "pki/cert.h"

/* Why a certificate was revoked; the words are RFC 5280's CRLReason, snake_case in JSON. */
typedef enum cx_crl_reason {
    CX_REVOKED_UNSPECIFIED = 0,
    CX_REVOKED_KEY_COMPROMISE = 1,
    CX_REVOKED_CA_COMPROMISE = 2,
    CX_REVOKED_AFFILIATION_CHANGED = 3,
    CX_REVOKED_SUPERSEDED = 4,
    CX_REVOKED_CESSATION_OF_OPERATION = 5,
} cx_crl_reason;

const char *cx_crl_reason_word(cx_crl_reason reason); /* NULL after the last one */
CX_MUST_CHECK bool cx_crl_reason_parse(const char *text, cx_crl_reason *reason, cx_err *err);

typedef struct cx_crl_entry {
    char serial[CX_SERIAL_SIZE];
    int64_t revoked_at_ms;
    cx_crl_reason reason;
} cx_crl_entry;

/* Signs a list. number grows from one to the next; next_update_ms is a wall time. */
CX_MUST_CHECK bool cx_crl_make(X509 *ca, EVP_PKEY *ca_key, const cx_crl_entry *entries,
                               size_t count, int64_t number, int64_t now_ms, int64_t next_update_ms,
                               X509_CRL **crl, cx_err *err);
void cx_crl_free(X509_CRL **owner);
CX_MUST_CHECK bool cx_crl_to_pem(X509_CRL *crl, cx_buffer *pem, cx_err *err);
/* The first list of a PEM file. NOT_FOUND, MALFORMED. */
CX_MUST_CHECK bool cx_crl_read(const char *path, X509_CRL **crl, cx_err *err);
/* Whether ca signed it. */
bool cx_crl_is_signed_by(X509_CRL *crl, X509 *ca);
int64_t cx_crl_number(const X509_CRL *crl); /* -1: it has none */
int64_t cx_crl_this_update_ms(const X509_CRL *crl);
int64_t cx_crl_next_update_ms(const X509_CRL *crl); /* 0: it has none */
/* The entries; caller frees *entries with cx_free. Serials longer than 20 bytes are left out. */
void cx_crl_entries(X509_CRL *crl, cx_crl_entry **entries, size_t *count);
