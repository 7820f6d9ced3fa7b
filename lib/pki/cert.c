#include "pki/cert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <sodium.h>

#include "base/io.h"
#include "base/text.h"
#include "base/time.h"
#include "pki/openssl.h"
#include "pki/san.h"

enum { CERTS_MAX = 64, SERIAL_BYTES = 16, VALIDITY_MIN_MS = 1000 };

static const char TRUST_DOMAIN[] = "spiffe://";

/* 126 random bits: positive, never 0, always 16 bytes, so nobody guesses or collides. */
static bool set_serial(X509 *cert)
{
    uint8_t bytes[SERIAL_BYTES];
    BIGNUM *number;
    bool done;

    cx_random(bytes, sizeof(bytes));
    bytes[0] = (uint8_t)((bytes[0] & 0x3f) | 0x40);
    number = BN_bin2bn(bytes, sizeof(bytes), NULL);
    done = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != NULL;
    BN_free(number);
    return done;
}

static bool set_validity(X509 *cert, int64_t not_before_ms, int64_t not_after_ms)
{
    CX_AUTO(cx_asn1_time_free) ASN1_TIME *from = cx_asn1_time_of(not_before_ms);
    CX_AUTO(cx_asn1_time_free) ASN1_TIME *until = cx_asn1_time_of(not_after_ms);

    return X509_set1_notBefore(cert, from) == 1 && X509_set1_notAfter(cert, until) == 1;
}

static bool add_name(X509_NAME *name, const char *field, const char *text)
{
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, (const unsigned char *)text, -1,
                                      -1, 0) == 1;
}

static bool set_subject(X509 *cert, const char *organisation, const char *unit, const char *common)
{
    X509_NAME *name = X509_get_subject_name(cert);

    return add_name(name, "O", organisation) && (unit == NULL || add_name(name, "OU", unit)) &&
           add_name(name, "CN", common);
}

/* An extension from OpenSSL's own configuration text; only constants of ours get here. */
static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509_EXTENSION *extension;
    bool done;

    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    done = extension != NULL && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return done;
}

static bool add_sans(X509 *cert, const cx_list *sans, const char *uri, cx_err *err)
{
    CX_AUTO(cx_names_free) GENERAL_NAMES *names = NULL;

    if (!cx_sans_to_names(sans, uri, &names, err))
        return false;
    if (X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_APPEND) != 1)
        return cx_openssl_fail(err, CX_INTERNAL, "alternative names");
    return true;
}

static bool sign(X509 *cert, EVP_PKEY *key)
{
    return X509_sign(cert, key, cx_digest_for(key)) > 0;
}

/* The text of a certificate's only URI. */
static bool only_uri(X509 *cert, char uri[CX_URI_SIZE], cx_err *err)
{
    CX_AUTO(cx_names_free)
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    const ASN1_STRING *found = NULL;
    int count = 0;

    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        int kind;
        const ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &kind);

        if (kind != GEN_URI)
            continue;
        found = value;
        count++;
    }
    ERR_clear_error();
    if (count != 1)
        return cx_fail(err, CX_CERT_INVALID, "the certificate has %d URIs, not exactly one", count);

    size_t size = (size_t)ASN1_STRING_length(found);
    const uint8_t *data = ASN1_STRING_get0_data(found);

    if (size >= CX_URI_SIZE || memchr(data, '\0', size) != NULL)
        return cx_fail(err, CX_CERT_INVALID, "the certificate's URI is no identity of a cluster");
    memcpy(uri, data, size);
    uri[size] = '\0';
    return true;
}

/* An operator's role: the subject's only OU. */
static bool role_of(X509 *cert, cx_role *role, cx_err *err)
{
    X509_NAME *name = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID(name, NID_organizationalUnitName, -1);
    char text[32] = "";

    if (at < 0 || X509_NAME_get_index_by_NID(name, NID_organizationalUnitName, at) >= 0)
        return cx_fail(err, CX_CERT_INVALID, "an operator's certificate needs exactly one role");

    const ASN1_STRING *value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
    size_t size = (size_t)ASN1_STRING_length(value);

    if (size < sizeof(text))
        memcpy(text, ASN1_STRING_get0_data(value), size);
    if (strlen(text) != size || !cx_role_parse(text, role, err))
        return cx_fail(err, CX_CERT_INVALID, "the operator's certificate has an unknown role");
    return true;
}

static bool read_pem(const char *path, cx_buffer *pem, cx_err *err)
{
    return cx_read_file(path, CX_CERTS_BYTES_MAX, pem, err);
}

bool cx_cert_check_validity(int64_t validity_ms, cx_err *err)
{
    if (validity_ms < VALIDITY_MIN_MS || validity_ms > CX_CERT_VALIDITY_MAX_MS)
        return cx_fail(err, CX_INVALID, "a validity of less than 1s or more than 100 years");
    return true;
}

bool cx_cert_make_ca(EVP_PKEY *key, const char *cluster, int64_t now_ms, int64_t validity_ms,
                     X509 **cert, cx_err *err)
{
    CX_AUTO(cx_cert_free) X509 *made = X509_new();
    CX_AUTO(cx_free) char *uri = cx_format("%s%s", TRUST_DOMAIN, cluster);
    static const cx_list no_names = {0};

    if (!cx_check_id("cluster", cluster, err) || !cx_cert_check_validity(validity_ms, err))
        return false;
    if (made == NULL || X509_set_version(made, X509_VERSION_3) != 1 || !set_serial(made) ||
        !set_validity(made, now_ms - CX_CERT_BACKDATE_MS, now_ms + validity_ms) ||
        !set_subject(made, cluster, NULL, "Caxton CA") ||
        X509_set_issuer_name(made, X509_get_subject_name(made)) != 1 ||
        X509_set_pubkey(made, key) != 1 ||
        !add_extension(made, made, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
        !add_extension(made, made, NID_key_usage, "critical,keyCertSign,cRLSign") ||
        !add_extension(made, made, NID_subject_key_identifier, "hash") ||
        !add_extension(made, made, NID_authority_key_identifier, "keyid:always"))
        return cx_openssl_fail(err, CX_INTERNAL, "make the CA's certificate");
    if (!add_sans(made, &no_names, uri, err))
        return false;
    if (!sign(made, key))
        return cx_openssl_fail(err, CX_INTERNAL, "sign the CA's certificate");
    *cert = CX_TAKE(made);
    return true;
}

bool cx_cert_issue(X509 *ca, EVP_PKEY *ca_key, EVP_PKEY *key, const cx_cert_spec *spec, X509 **cert,
                   cx_err *err)
{
    CX_AUTO(cx_cert_free) X509 *made = X509_new();
    const cx_identity *identity = &spec->identity;
    bool is_node = identity->kind == CX_IDENTITY_NODE;
    int64_t ca_end_ms = cx_cert_not_after_ms(ca), not_after_ms;
    char uri[CX_URI_SIZE], end[CX_TIME_TEXT_SIZE];

    if (!cx_check_id(is_node ? "node id" : "operator", identity->name, err) ||
        !cx_cert_check_validity(spec->validity_ms, err))
        return false;
    if (ca_end_ms <= spec->now_ms) {
        cx_fail(err, CX_CERT_EXPIRED, "the CA's certificate has expired on %s",
                cx_time_text(ca_end_ms, end));
        return cx_hint(err, "check this host's clock; else the cluster needs a new CA");
    }
    not_after_ms = spec->now_ms + spec->validity_ms;
    if (not_after_ms > ca_end_ms)
        not_after_ms = ca_end_ms;
    cx_identity_uri(identity, uri);
    if (made == NULL || X509_set_version(made, X509_VERSION_3) != 1 || !set_serial(made) ||
        !set_validity(made, spec->now_ms - CX_CERT_BACKDATE_MS, not_after_ms) ||
        !set_subject(made, identity->cluster, is_node ? "node" : cx_role_word(identity->role),
                     identity->name) ||
        X509_set_issuer_name(made, X509_get_subject_name(ca)) != 1 ||
        X509_set_pubkey(made, key) != 1 ||
        !add_extension(made, ca, NID_basic_constraints, "critical,CA:FALSE") ||
        !add_extension(made, ca, NID_key_usage, "critical,digitalSignature") ||
        !add_extension(made, ca, NID_ext_key_usage,
                       is_node ? "serverAuth,clientAuth" : "clientAuth") ||
        !add_extension(made, ca, NID_subject_key_identifier, "hash") ||
        !add_extension(made, ca, NID_authority_key_identifier, "keyid:always"))
        return cx_openssl_fail(err, CX_INTERNAL, "make the certificate of %s", identity->name);
    if (!add_sans(made, spec->sans, uri, err))
        return false;
    if (!sign(made, ca_key))
        return cx_openssl_fail(err, CX_INTERNAL, "sign the certificate of %s", identity->name);
    *cert = CX_TAKE(made);
    return true;
}

void cx_cert_free(X509 **owner)
{
    X509_free(*owner);
    *owner = NULL;
}

bool cx_cert_read(const char *path, X509 **cert, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer pem = {0};

    return read_pem(path, &pem, err) && cx_cert_from_pem(cx_buffer_bytes(&pem), path, cert, err);
}

bool cx_cert_from_pem(cx_bytes pem, const char *name, X509 **cert, cx_err *err)
{
    CX_AUTO(cx_bio_free) BIO *bio = NULL;

    if (pem.size > CX_CERTS_BYTES_MAX)
        return cx_fail(err, CX_TOO_LARGE, "%s: too large for a certificate", name);
    bio = cx_bio_of(pem);
    *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    ERR_clear_error();
    if (*cert == NULL)
        return cx_fail(err, CX_MALFORMED, "%s: no certificate in PEM", name);
    return true;
}

bool cx_certs_read(const char *path, STACK_OF(X509) * *certs, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer pem = {0};
    CX_AUTO(cx_bio_free) BIO *bio = NULL;
    CX_AUTO(cx_certs_free) STACK_OF(X509) *found = sk_X509_new_null();
    X509 *cert;

    if (!read_pem(path, &pem, err))
        return false;
    bio = cx_bio_of(cx_buffer_bytes(&pem));
    while ((cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL)
        if (sk_X509_push(found, cert) > CERTS_MAX)
            return cx_fail(err, CX_TOO_LARGE, "%s: more than %d certificates", path, CERTS_MAX);
    if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        return cx_openssl_fail(err, CX_MALFORMED, "%s: a damaged certificate", path);
    ERR_clear_error();
    if (sk_X509_num(found) == 0)
        return cx_fail(err, CX_MALFORMED, "%s: no certificate in PEM", path);
    *certs = CX_TAKE(found);
    return true;
}

void cx_certs_free(STACK_OF(X509) * *owner)
{
    sk_X509_pop_free(*owner, X509_free);
    *owner = NULL;
}

bool cx_cert_to_pem(X509 *cert, cx_buffer *pem, cx_err *err)
{
    CX_AUTO(cx_bio_free) BIO *bio = cx_bio_new();

    if (PEM_write_bio_X509(bio, cert) != 1)
        return cx_openssl_fail(err, CX_INTERNAL, "write a certificate");
    cx_bio_take(bio, pem);
    return true;
}

bool cx_cert_identity(X509 *cert, cx_identity *identity, cx_err *err)
{
    cx_identity found = {0};
    char uri[CX_URI_SIZE];

    if (!only_uri(cert, uri, err) || !cx_identity_parse_uri(uri, &found, err) ||
        (found.kind == CX_IDENTITY_OPERATOR && !role_of(cert, &found.role, err)))
        return false;
    *identity = found;
    return true;
}

bool cx_cert_cluster(X509 *ca, char cluster[CX_ID_SIZE], cx_err *err)
{
    char uri[CX_URI_SIZE];
    const char *name = uri + sizeof(TRUST_DOMAIN) - 1;

    if (X509_check_ca(ca) != 1)
        return cx_fail(err, CX_CERT_INVALID, "it is not a CA's certificate");
    if (!only_uri(ca, uri, err))
        return false;
    if (strncmp(uri, TRUST_DOMAIN, sizeof(TRUST_DOMAIN) - 1) != 0 ||
        !cx_check_id("cluster", name, err))
        return cx_fail(err, CX_CERT_INVALID, "its URI names no cluster (spiffe://CLUSTER)");
    memcpy(cluster, name, strlen(name) + 1);
    return true;
}

void cx_cert_sans(X509 *cert, cx_list *sans)
{
    CX_AUTO(cx_names_free)
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);

    cx_sans_from_names(names, sans);
    ERR_clear_error();
}

bool cx_cert_check_key(X509 *cert, const char *cert_name, const EVP_PKEY *key, const char *key_name,
                       cx_err *err)
{
    const EVP_PKEY *wanted = X509_get0_pubkey(cert);

    if (wanted == NULL || EVP_PKEY_eq(wanted, key) != 1) {
        ERR_clear_error();
        return cx_fail(err, CX_CERT_INVALID, "%s: the key is not that of %s", key_name, cert_name);
    }
    return true;
}

bool cx_cert_is_signed_by(X509 *cert, X509 *ca)
{
    bool is_signed =
        X509_check_issued(ca, cert) == X509_V_OK && X509_verify(cert, X509_get0_pubkey(ca)) == 1;

    ERR_clear_error();
    return is_signed;
}

int64_t cx_cert_not_before_ms(const X509 *cert)
{
    return cx_asn1_time_ms(X509_get0_notBefore(cert));
}

int64_t cx_cert_not_after_ms(const X509 *cert)
{
    return cx_asn1_time_ms(X509_get0_notAfter(cert));
}

void cx_cert_serial(const X509 *cert, char serial[CX_SERIAL_SIZE])
{
    CX_AUTO(cx_free) char *text = cx_asn1_serial(X509_get0_serialNumber(cert));

    snprintf(serial, CX_SERIAL_SIZE, "%s", text);
}

void cx_cert_fingerprint(const X509 *cert, char fingerprint[CX_FINGERPRINT_SIZE])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;

    if (X509_digest(cert, EVP_sha256(), digest, &size) != 1)
        size = 0;
    sodium_bin2hex(fingerprint, CX_FINGERPRINT_SIZE, digest, size);
}

char *cx_cert_name_text(const X509_NAME *name)
{
    CX_AUTO(cx_bio_free) BIO *bio = cx_bio_new();
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};

    X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB);
    cx_buffer_add_text(&text, "");
    cx_bio_take(bio, &text);
    return cx_buffer_take_text(&text);
}
