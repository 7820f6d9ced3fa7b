/* What the files of lib/pki share about OpenSSL: its errors as ours, owners that free themselves.
 * Private to lib/pki. */
#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/err.h"

/* Like cx_fail, with OpenSSL's own reason after the message; empties its queue of errors. */
bool cx_openssl_fail(cx_err *err, cx_code code, const char *format, ...) CX_PRINTF(3, 4);

/* Destructors for CX_AUTO: the address of the owner, as everywhere. */
void cx_bio_free(BIO **owner);
void cx_names_free(GENERAL_NAMES **owner);
void cx_integer_free(ASN1_INTEGER **owner);
void cx_asn1_time_free(ASN1_TIME **owner);

/* A BIO that reads the bytes, which outlive it. Never NULL. */
BIO *cx_bio_of(cx_bytes bytes);
/* An empty BIO that grows. Wipes its memory when it is freed. Never NULL. */
BIO *cx_bio_new(void);
/* Appends what was written to the BIO; room is made first, so that no secret is left in memory that
 * the buffer outgrew. */
void cx_bio_take(BIO *bio, cx_buffer *buffer);

/* Wall milliseconds of a time in a certificate or CRL; 0 for one that is malformed or NULL. */
int64_t cx_asn1_time_ms(const ASN1_TIME *time);
/* Lower-case hex of a serial number without leading zeros' sign games: "0a1b"; caller owns. */
char *cx_asn1_serial(const ASN1_INTEGER *serial);
/* A new time; never NULL. */
ASN1_TIME *cx_asn1_time_of(int64_t wall_ms);
/* The digest a key signs with: NULL for Ed25519, which has its own. */
const EVP_MD *cx_digest_for(const EVP_PKEY *key);
