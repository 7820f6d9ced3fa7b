#include "pki/show.h"

#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "pki/cert.h"
#include "pki/crl.h"
#include "pki/key.h"
#include "pki/openssl.h"
#include "pki/san.h"

#define DAY_MS INT64_C(86400000)

/* A PEM block: what stands in its first line, and the bytes in it. */
struct block {
    char *type;
    char *header;
    uint8_t *data;
    long size;
};

static void block_free(struct block *block)
{
    OPENSSL_free(block->type);
    OPENSSL_free(block->header);
    /* It may have been a private key. */
    if (block->data != NULL)
        OPENSSL_clear_free(block->data, (size_t)block->size);
    *block = (struct block){0};
}

static void set_text(json_t *object, const char *key, const char *text)
{
    json_object_set_new(object, key, cx_json_text(text));
}

static void take_text(json_t *object, const char *key, char *text)
{
    set_text(object, key, text);
    cx_free(&text);
}

static void set_time(json_t *object, const char *key, int64_t wall_ms)
{
    json_object_set_new(object, key, wall_ms != 0 ? cx_json_time(wall_ms) : json_null());
}

static json_t *public_key(const EVP_PKEY *key)
{
    char type[32], id[CX_KEY_ID_SIZE];

    if (key == NULL)
        return json_null();
    cx_key_describe(key, type);
    cx_key_id(key, id);
    return json_pack("{s:o, s:s}", "type", cx_json_text(type), "sha256", id);
}

/* The DNS names, addresses and URIs of a certificate or a request. */
static void add_names(json_t *object, const GENERAL_NAMES *names)
{
    static const char *const keys[] = {"dns", "ip", "uris"};
    CX_AUTO(cx_list_free) cx_list sans = {0};

    for (size_t i = 0; i < CX_COUNT(keys); i++)
        json_object_set_new(object, keys[i], json_array());
    cx_sans_from_names(names, &sans);
    for (size_t i = 0; i < sans.count; i++) {
        bool is_ip = strncmp(sans.items[i], "IP:", 3) == 0;

        json_array_append_new(json_object_get(object, is_ip ? "ip" : "dns"),
                              cx_json_text(sans.items[i] + (is_ip ? 3 : 4)));
    }
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && i < CX_SANS_MAX; i++) {
        int kind;
        const ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &kind);

        if (kind == GEN_URI)
            json_array_append_new(json_object_get(object, "uris"),
                                  cx_json_text_n((const char *)ASN1_STRING_get0_data(value),
                                                 (size_t)ASN1_STRING_length(value)));
    }
}

static json_t *identity_of(X509 *cert)
{
    cx_identity identity;
    cx_err unused;
    json_t *object;

    if (!cx_cert_identity(cert, &identity, &unused))
        return json_null();
    object = json_pack("{s:s, s:s, s:s}", "cluster", identity.cluster, "kind",
                       cx_identity_kind_word(identity.kind), "name", identity.name);
    if (identity.kind == CX_IDENTITY_OPERATOR)
        set_text(object, "role", cx_role_word(identity.role));
    return object;
}

static json_t *key_usage(X509 *cert)
{
    static const struct {
        uint32_t bit;
        const char *word;
    } words[] = {
        {KU_DIGITAL_SIGNATURE, "digital_signature"},
        {KU_NON_REPUDIATION, "non_repudiation"},
        {KU_KEY_ENCIPHERMENT, "key_encipherment"},
        {KU_DATA_ENCIPHERMENT, "data_encipherment"},
        {KU_KEY_AGREEMENT, "key_agreement"},
        {KU_KEY_CERT_SIGN, "key_cert_sign"},
        {KU_CRL_SIGN, "crl_sign"},
    };
    uint32_t usage = X509_get_key_usage(cert);
    json_t *list = json_array();

    for (size_t i = 0; usage != UINT32_MAX && i < CX_COUNT(words); i++)
        if ((usage & words[i].bit) != 0)
            json_array_append_new(list, json_string(words[i].word));
    return list;
}

static json_t *extended_key_usage(X509 *cert)
{
    EXTENDED_KEY_USAGE *usage = X509_get_ext_d2i(cert, NID_ext_key_usage, NULL, NULL);
    json_t *list = json_array();

    for (int i = 0; i < sk_ASN1_OBJECT_num(usage) && i < CX_SANS_MAX; i++) {
        const ASN1_OBJECT *object = sk_ASN1_OBJECT_value(usage, i);
        char text[80] = "";

        switch (OBJ_obj2nid(object)) {
        case NID_server_auth: json_array_append_new(list, json_string("server_auth")); break;
        case NID_client_auth: json_array_append_new(list, json_string("client_auth")); break;
        default:
            OBJ_obj2txt(text, sizeof(text), object, 1);
            json_array_append_new(list, cx_json_text(text));
        }
    }
    EXTENDED_KEY_USAGE_free(usage);
    return list;
}

static void add_key_id(json_t *object, const char *key, const ASN1_OCTET_STRING *id)
{
    CX_AUTO(cx_free) char *text = id != NULL ? cx_asn1_serial(id) : NULL;

    json_object_set_new(object, key, text != NULL ? cx_json_text(text) : json_null());
}

static json_t *show_certificate(const struct block *block, int64_t now_ms)
{
    const uint8_t *data = block->data;
    CX_AUTO(cx_cert_free) X509 *cert = d2i_X509(NULL, &data, block->size);

    return cert != NULL ? cx_show_certificate(cert, now_ms) : NULL;
}

static json_t *show_request(const struct block *block, int64_t now_ms)
{
    const uint8_t *data = block->data;
    X509_REQ *request = d2i_X509_REQ(NULL, &data, block->size);
    EVP_PKEY *key = request != NULL ? X509_REQ_get0_pubkey(request) : NULL;
    STACK_OF(X509_EXTENSION) * extensions;
    GENERAL_NAMES *names;
    json_t *object;

    (void)now_ms;
    if (request == NULL)
        return NULL;
    object = json_pack("{s:s}", "type", "certificate_request");
    take_text(object, "subject", cx_cert_name_text(X509_REQ_get_subject_name(request)));
    json_object_set_new(object, "public_key", public_key(key));
    json_object_set_new(object, "signature_valid",
                        json_boolean(key != NULL && X509_REQ_verify(request, key) == 1));
    extensions = X509_REQ_get_extensions(request);
    names = X509V3_get_d2i(extensions, NID_subject_alt_name, NULL, NULL);
    add_names(object, names);
    GENERAL_NAMES_free(names);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_REQ_free(request);
    return object;
}

static json_t *show_crl(const struct block *block, int64_t now_ms)
{
    const uint8_t *data = block->data;
    CX_AUTO(cx_crl_free) X509_CRL *crl = d2i_X509_CRL(NULL, &data, block->size);
    CX_AUTO(cx_free) cx_crl_entry *entries = NULL;
    size_t count = 0;
    int64_t number;
    json_t *object, *list;

    if (crl == NULL)
        return NULL;
    object = json_pack("{s:s}", "type", "revocation_list");
    take_text(object, "issuer", cx_cert_name_text(X509_CRL_get_issuer(crl)));
    number = cx_crl_number(crl);
    json_object_set_new(object, "number", number >= 0 ? json_integer(number) : json_null());
    set_time(object, "this_update", cx_crl_this_update_ms(crl));
    set_time(object, "next_update", cx_crl_next_update_ms(crl));
    json_object_set_new(
        object, "stale",
        json_boolean(cx_crl_next_update_ms(crl) != 0 && cx_crl_next_update_ms(crl) < now_ms));
    list = json_array();
    cx_crl_entries(crl, &entries, &count);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:s, s:o, s:s}", "serial", entries[i].serial,
                                              "revoked_at", cx_json_time(entries[i].revoked_at_ms),
                                              "reason", cx_crl_reason_word(entries[i].reason)));
    json_object_set_new(object, "revoked", list);
    json_object_set_new(object, "count", json_integer((json_int_t)count));
    return object;
}

/* The kind of a private key, and of its public half; an encrypted one says only that. */
static json_t *show_private_key(const struct block *block, int64_t now_ms)
{
    const uint8_t *data = block->data;
    bool encrypted = strncmp(block->type, "ENCRYPTED", strlen("ENCRYPTED")) == 0 ||
                     strstr(block->header, "ENCRYPTED") != NULL;
    CX_AUTO(cx_key_free) EVP_PKEY *key = NULL;
    json_t *object;

    (void)now_ms;
    if (!encrypted && (key = d2i_AutoPrivateKey(NULL, &data, block->size)) == NULL)
        return NULL;
    object = json_pack("{s:s, s:b}", "type", "private_key", "encrypted", encrypted);
    json_object_set_new(object, "public_key", public_key(key));
    return object;
}

static json_t *show_public_key(const struct block *block, int64_t now_ms)
{
    const uint8_t *data = block->data;
    CX_AUTO(cx_key_free) EVP_PKEY *key = d2i_PUBKEY(NULL, &data, block->size);
    json_t *object;

    (void)now_ms;
    if (key == NULL)
        return NULL;
    object = json_pack("{s:s}", "type", "public_key");
    json_object_set_new(object, "public_key", public_key(key));
    return object;
}

static json_t *show_block(const struct block *block, int64_t now_ms)
{
    static const struct {
        const char *label;
        const char *type;
        json_t *(*show)(const struct block *block, int64_t now_ms);
    } kinds[] = {
        {PEM_STRING_X509, "certificate", show_certificate},
        {PEM_STRING_X509_OLD, "certificate", show_certificate},
        {PEM_STRING_X509_REQ, "certificate_request", show_request},
        {PEM_STRING_X509_REQ_OLD, "certificate_request", show_request},
        {PEM_STRING_X509_CRL, "revocation_list", show_crl},
        {PEM_STRING_PKCS8, "private_key", show_private_key},
        {PEM_STRING_PKCS8INF, "private_key", show_private_key},
        {PEM_STRING_ECPRIVATEKEY, "private_key", show_private_key},
        {PEM_STRING_RSA, "private_key", show_private_key},
        {PEM_STRING_PUBLIC, "public_key", show_public_key},
    };
    json_t *object = NULL;

    for (size_t i = 0; i < CX_COUNT(kinds); i++) {
        if (strcmp(block->type, kinds[i].label) != 0)
            continue;
        object = kinds[i].show(block, now_ms);
        if (object == NULL)
            object = json_pack("{s:s, s:s}", "type", kinds[i].type, "error", "malformed");
        ERR_clear_error();
        return object;
    }
    return json_pack("{s:s, s:o}", "type", "other", "label", cx_json_text(block->type));
}

bool cx_show_pem(cx_bytes pem, const char *file, int64_t now_ms, json_t *items, cx_err *err)
{
    CX_AUTO(cx_bio_free) BIO *bio = NULL;
    size_t count = 0;
    bool is_damaged;

    if (pem.size > CX_CERTS_BYTES_MAX)
        return cx_fail(err, CX_TOO_LARGE, "%s: more than %d bytes", file, CX_CERTS_BYTES_MAX);
    bio = cx_bio_of(pem);
    for (;; count++) {
        CX_AUTO(block_free) struct block block = {0};
        json_t *object;

        if (PEM_read_bio(bio, &block.type, &block.header, &block.data, &block.size) != 1)
            break;
        if (count == CX_SHOW_ITEMS_MAX)
            return cx_fail(err, CX_TOO_LARGE, "%s: more than %d items", file, CX_SHOW_ITEMS_MAX);
        object = json_pack("{s:o}", "file", cx_json_text(file));
        json_t *shown = show_block(&block, now_ms);

        json_object_update(object, shown);
        json_decref(shown);
        json_array_append_new(items, object);
    }
    is_damaged = ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE;
    ERR_clear_error();
    if (is_damaged)
        return cx_fail(err, CX_MALFORMED, "%s: a damaged PEM block", file);
    if (count == 0)
        return cx_fail(err, CX_MALFORMED, "%s: no PEM block", file);
    return true;
}

json_t *cx_show_certificate(X509 *cert, int64_t now_ms)
{
    CX_AUTO(cx_names_free)
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    char serial[CX_SERIAL_SIZE], fingerprint[CX_FINGERPRINT_SIZE];
    int64_t not_after_ms = cx_cert_not_after_ms(cert);
    json_t *object = json_pack("{s:s}", "type", "certificate");

    cx_cert_serial(cert, serial);
    cx_cert_fingerprint(cert, fingerprint);
    set_text(object, "serial", serial);
    take_text(object, "subject", cx_cert_name_text(X509_get_subject_name(cert)));
    take_text(object, "issuer", cx_cert_name_text(X509_get_issuer_name(cert)));
    json_object_set_new(object, "identity", identity_of(cert));
    set_time(object, "not_before", cx_cert_not_before_ms(cert));
    set_time(object, "not_after", not_after_ms);
    json_object_set_new(object, "days_left",
                        cx_json_figure((double)(not_after_ms - now_ms) / (double)DAY_MS));
    json_object_set_new(object, "expired", json_boolean(not_after_ms <= now_ms));
    json_object_set_new(object, "ca", json_boolean(X509_check_ca(cert) == 1));
    add_names(object, names);
    json_object_set_new(object, "key_usage", key_usage(cert));
    json_object_set_new(object, "extended_key_usage", extended_key_usage(cert));
    json_object_set_new(object, "public_key", public_key(X509_get0_pubkey(cert)));
    set_text(object, "fingerprint_sha256", fingerprint);
    add_key_id(object, "subject_key_id", X509_get0_subject_key_id(cert));
    add_key_id(object, "authority_key_id", X509_get0_authority_key_id(cert));
    ERR_clear_error();
    return object;
}
