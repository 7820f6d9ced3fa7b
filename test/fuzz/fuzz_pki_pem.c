/* What cx-ca show makes of a stranger's file, and the readers of requests, keys and lists. */
#include <string.h>

#include <openssl/x509.h>

#include "pki/csr.h"
#include "pki/key.h"
#include "pki/san.h"
#include "pki/show.h"

static void ask_certificate(cx_bytes pem)
{
    CX_AUTO(cx_cert_free) X509 *cert = NULL;
    CX_AUTO(cx_list_free) cx_list sans = {0};
    cx_identity identity;
    char cluster[CX_ID_SIZE];
    cx_err err;

    if (!cx_cert_from_pem(pem, "fuzz", &cert, &err))
        return;
    cx_cert_sans(cert, &sans);
    if (cx_cert_identity(cert, &identity, &err) && strlen(identity.name) >= CX_ID_SIZE)
        __builtin_trap();
    if (cx_cert_cluster(cert, cluster, &err) && strlen(cluster) >= CX_ID_SIZE)
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cx_bytes pem = {data, size};
    CX_AUTO(cx_json_free) json_t *items = json_array();
    CX_AUTO(cx_key_free) EVP_PKEY *requested = NULL;
    CX_AUTO(cx_key_free) EVP_PKEY *private = NULL;
    CX_AUTO(cx_free) char *text = NULL;
    char name[CX_ID_SIZE];
    cx_err err;

    if (cx_show_pem(pem, "fuzz", 1800000000000, items, &err) && json_array_size(items) == 0)
        __builtin_trap();
    text = cx_json_line(items);
    ask_certificate(pem);
    if (cx_csr_parse(pem, "fuzz", &requested, name, &err) && strlen(name) >= CX_ID_SIZE)
        __builtin_trap();
    /* With a passphrase an encrypted key would cost its rounds each time. */
    (void)!cx_key_from_pem(pem, "fuzz", NULL, &private, &err);
    return 0;
}
