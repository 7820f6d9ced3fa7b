#include "pki/crl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/io.h"
#include "pki/openssl.h"

static void revoked_free(X509_REVOKED **owner)
{
    X509_REVOKED_free(*owner);
    *owner = NULL;
}

static ASN1_INTEGER *serial_of(const char *hex)
{
    BIGNUM *number = NULL;
    ASN1_INTEGER *serial = NULL;

    if (BN_hex2bn(&number, hex) == (int)strlen(hex))
        serial = BN_to_ASN1_INTEGER(number, NULL);
    BN_free(number);
    return serial;
}

static bool set_reason(X509_REVOKED *revoked, cx_crl_reason reason)
{
    ASN1_ENUMERATED *value;
    bool done;

    /* RFC 5280, 5.3.1: unspecified is expressed by the extension's absence. */
    if (reason == CX_REVOKED_UNSPECIFIED)
        return true;
    value = ASN1_ENUMERATED_new();
    done = value != NULL && ASN1_ENUMERATED_set(value, reason) == 1 &&
           X509_REVOKED_add1_ext_i2d(revoked, NID_crl_reason, value, 0, 0) == 1;
    ASN1_ENUMERATED_free(value);
    return done;
}

static bool add_entry(X509_CRL *crl, const cx_crl_entry *entry, cx_err *err)
{
    CX_AUTO(revoked_free) X509_REVOKED *revoked = X509_REVOKED_new();
    CX_AUTO(cx_integer_free) ASN1_INTEGER *serial = serial_of(entry->serial);
    CX_AUTO(cx_asn1_time_free) ASN1_TIME *at = cx_asn1_time_of(entry->revoked_at_ms);

    if (serial == NULL)
        return cx_fail(err, CX_INVALID, "serial \"%s\": not a hexadecimal number", entry->serial);
    if (revoked == NULL || X509_REVOKED_set_serialNumber(revoked, serial) != 1 ||
        X509_REVOKED_set_revocationDate(revoked, at) != 1 || !set_reason(revoked, entry->reason) ||
        X509_CRL_add0_revoked(crl, revoked) != 1)
        return cx_openssl_fail(err, CX_INTERNAL, "revocation of %s", entry->serial);
    revoked = NULL; /* the list owns it now */
    return true;
}

static bool set_extensions(X509_CRL *crl, X509 *ca, int64_t number)
{
    CX_AUTO(cx_integer_free) ASN1_INTEGER *value = ASN1_INTEGER_new();
    X509V3_CTX context;
    X509_EXTENSION *issuer_key;
    bool done;

    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, ca, NULL, NULL, crl, 0);
    issuer_key = X509V3_EXT_conf_nid(NULL, &context, NID_authority_key_identifier, "keyid:always");
    done = issuer_key != NULL && X509_CRL_add_ext(crl, issuer_key, -1) == 1 && value != NULL &&
           ASN1_INTEGER_set_int64(value, number) == 1 &&
           X509_CRL_add1_ext_i2d(crl, NID_crl_number, value, 0, 0) == 1;
    X509_EXTENSION_free(issuer_key);
    return done;
}

static bool set_times(X509_CRL *crl, int64_t this_update_ms, int64_t next_update_ms)
{
    CX_AUTO(cx_asn1_time_free) ASN1_TIME *this_update = cx_asn1_time_of(this_update_ms);
    CX_AUTO(cx_asn1_time_free) ASN1_TIME *next_update = cx_asn1_time_of(next_update_ms);

    return X509_CRL_set1_lastUpdate(crl, this_update) == 1 &&
           X509_CRL_set1_nextUpdate(crl, next_update) == 1;
}

static cx_crl_reason reason_of(const X509_REVOKED *revoked)
{
    ASN1_ENUMERATED *value = X509_REVOKED_get_ext_d2i(revoked, NID_crl_reason, NULL, NULL);
    long number = value != NULL ? ASN1_ENUMERATED_get(value) : 0;

    ASN1_ENUMERATED_free(value);
    if (number < CX_REVOKED_UNSPECIFIED || number > CX_REVOKED_CESSATION_OF_OPERATION)
        return CX_REVOKED_UNSPECIFIED;
    return (cx_crl_reason)number;
}

const char *cx_crl_reason_word(cx_crl_reason reason)
{
    switch (reason) {
    case CX_REVOKED_UNSPECIFIED: return "unspecified";
    case CX_REVOKED_KEY_COMPROMISE: return "key_compromise";
    case CX_REVOKED_CA_COMPROMISE: return "ca_compromise";
    case CX_REVOKED_AFFILIATION_CHANGED: return "affiliation_changed";
    case CX_REVOKED_SUPERSEDED: return "superseded";
    case CX_REVOKED_CESSATION_OF_OPERATION: return "cessation_of_operation";
    }
    return NULL;
}

bool cx_crl_reason_parse(const char *text, cx_crl_reason *reason, cx_err *err)
{
    for (cx_crl_reason each = 0; cx_crl_reason_word(each) != NULL; each++)
        if (strcmp(text, cx_crl_reason_word(each)) == 0) {
            *reason = each;
            return true;
        }
    return cx_fail(err, CX_INVALID,
                   "unknown reason (reasons: unspecified, key_compromise, ca_compromise, "
                   "affiliation_changed, superseded, cessation_of_operation)");
}

bool cx_crl_make(X509 *ca, EVP_PKEY *ca_key, const cx_crl_entry *entries, size_t count,
                 int64_t number, int64_t now_ms, int64_t next_update_ms, X509_CRL **crl,
                 cx_err *err)
{
    CX_AUTO(cx_crl_free) X509_CRL *made = X509_CRL_new();

    if (made == NULL || X509_CRL_set_version(made, X509_CRL_VERSION_2) != 1 ||
        X509_CRL_set_issuer_name(made, X509_get_subject_name(ca)) != 1 ||
        !set_times(made, now_ms - CX_CERT_BACKDATE_MS, next_update_ms) ||
        !set_extensions(made, ca, number))
        return cx_openssl_fail(err, CX_INTERNAL, "make the revocation list");
    for (size_t i = 0; i < count; i++)
        if (!add_entry(made, &entries[i], err))
            return false;
    if (X509_CRL_sort(made) != 1 || X509_CRL_sign(made, ca_key, cx_digest_for(ca_key)) <= 0)
        return cx_openssl_fail(err, CX_INTERNAL, "sign the revocation list");
    *crl = CX_TAKE(made);
    return true;
}

void cx_crl_free(X509_CRL **owner)
{
    X509_CRL_free(*owner);
    *owner = NULL;
}

bool cx_crl_to_pem(X509_CRL *crl, cx_buffer *pem, cx_err *err)
{
    CX_AUTO(cx_bio_free) BIO *bio = cx_bio_new();

    if (PEM_write_bio_X509_CRL(bio, crl) != 1)
        return cx_openssl_fail(err, CX_INTERNAL, "write a revocation list");
    cx_bio_take(bio, pem);
    return true;
}

bool cx_crl_read(const char *path, X509_CRL **crl, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer pem = {0};
    CX_AUTO(cx_bio_free) BIO *bio = NULL;

    if (!cx_read_file(path, CX_CERTS_BYTES_MAX, &pem, err))
        return false;
    bio = cx_bio_of(cx_buffer_bytes(&pem));
    *crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL);
    ERR_clear_error();
    if (*crl == NULL)
        return cx_fail(err, CX_MALFORMED, "%s: no revocation list in PEM", path);
    return true;
}

bool cx_crl_is_signed_by(X509_CRL *crl, X509 *ca)
{
    bool is_signed = X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(ca)) == 0 &&
                     X509_CRL_verify(crl, X509_get0_pubkey(ca)) == 1;

    ERR_clear_error();
    return is_signed;
}

int64_t cx_crl_number(const X509_CRL *crl)
{
    ASN1_INTEGER *value = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
    int64_t number = -1;

    if (value == NULL || ASN1_INTEGER_get_int64(&number, value) != 1)
        number = -1;
    ASN1_INTEGER_free(value);
    ERR_clear_error();
    return number;
}

int64_t cx_crl_this_update_ms(const X509_CRL *crl)
{
    return cx_asn1_time_ms(X509_CRL_get0_lastUpdate(crl));
}

int64_t cx_crl_next_update_ms(const X509_CRL *crl)
{
    return cx_asn1_time_ms(X509_CRL_get0_nextUpdate(crl));
}

void cx_crl_entries(X509_CRL *crl, cx_crl_entry **entries, size_t *count)
{
    STACK_OF(X509_REVOKED) *list = X509_CRL_get_REVOKED(crl);
    int listed = sk_X509_REVOKED_num(list);

    *entries = cx_alloc(listed > 0 ? (size_t)listed : 1, sizeof(**entries));
    *count = 0;
    for (int i = 0; i < listed; i++) {
        const X509_REVOKED *revoked = sk_X509_REVOKED_value(list, i);
        CX_AUTO(cx_free) char *serial = cx_asn1_serial(X509_REVOKED_get0_serialNumber(revoked));
        cx_crl_entry *entry = &(*entries)[*count];

        if (strlen(serial) >= CX_SERIAL_SIZE)
            continue;
        snprintf(entry->serial, CX_SERIAL_SIZE, "%s", serial);
        entry->revoked_at_ms = cx_asn1_time_ms(X509_REVOKED_get0_revocationDate(revoked));
        entry->reason = reason_of(revoked);
        *count += 1;
    }
}
