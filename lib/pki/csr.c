#include "pki/csr.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/text.h"
#include "pki/key.h"
#include "pki/openssl.h"

static void request_free(X509_REQ **owner)
{
    X509_REQ_free(*owner);
    *owner = NULL;
}

/* The proposed name, when there is exactly one and it is an id. */
static void name_of(const X509_REQ *request, char name[CX_ID_SIZE])
{
    const X509_NAME *subject = X509_REQ_get_subject_name(request);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    const ASN1_STRING *value;
    size_t size;
    cx_err unused;

    name[0] = '\0';
    if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0)
        return;
    value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
    size = (size_t)ASN1_STRING_length(value);
    if (size >= CX_ID_SIZE)
        return;
    memcpy(name, ASN1_STRING_get0_data(value), size);
    name[size] = '\0';
    if (strlen(name) != size || !cx_check_id("name", name, &unused))
        name[0] = '\0';
}

bool cx_csr_make(EVP_PKEY *key, const char *name, cx_buffer *pem, cx_err *err)
{
    CX_AUTO(request_free) X509_REQ *request = X509_REQ_new();
    CX_AUTO(cx_bio_free) BIO *bio = cx_bio_new();

    if (request == NULL || X509_REQ_set_version(request, X509_REQ_VERSION_1) != 1 ||
        X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(request), "CN", MBSTRING_UTF8,
                                   (const unsigned char *)name, -1, -1, 0) != 1 ||
        X509_REQ_set_pubkey(request, key) != 1 ||
        X509_REQ_sign(request, key, cx_digest_for(key)) <= 0 ||
        PEM_write_bio_X509_REQ(bio, request) != 1)
        return cx_openssl_fail(err, CX_INTERNAL, "make a signing request");
    cx_bio_take(bio, pem);
    return true;
}

bool cx_csr_parse(cx_bytes pem, const char *from, EVP_PKEY **key, char name[CX_ID_SIZE],
                  cx_err *err)
{
    CX_AUTO(request_free) X509_REQ *request = NULL;
    CX_AUTO(cx_bio_free) BIO *bio = NULL;
    CX_AUTO(cx_key_free) EVP_PKEY *found = NULL;

    if (pem.size > CX_CSR_BYTES_MAX)
        return cx_fail(err, CX_TOO_LARGE, "%s: too large for a signing request", from);
    bio = cx_bio_of(pem);
    request = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
    found = request != NULL ? X509_REQ_get_pubkey(request) : NULL;
    ERR_clear_error();
    if (found == NULL)
        return cx_fail(err, CX_MALFORMED, "%s: no signing request in PEM", from);
    if (!cx_key_check(found, from, err))
        return false;
    if (X509_REQ_verify(request, found) != 1) {
        ERR_clear_error();
        return cx_fail(err, CX_CERT_INVALID, "%s: the request is not signed with its own key",
                       from);
    }
    name_of(request, name);
    *key = CX_TAKE(found);
    return true;
}
