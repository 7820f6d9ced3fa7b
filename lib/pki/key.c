#include "pki/key.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <sodium.h>

#include "base/io.h"
#include "base/text.h"
#include "pki/openssl.h"

enum {
    PBKDF2_ROUNDS = 600000, /* OWASP's figure for HMAC-SHA256, 2023 on; about 0.2 s of CPU */
    RSA_BITS_MIN = 2048,
    RSA_BITS_MAX = 8192, /* above it a handshake is a way to burn our CPU */
};

/* What the passphrase callback is told, and whether it was asked. */
struct passphrase_ask {
    const char *passphrase;
    bool asked;
};

static int give_passphrase(char *buffer, int size, int writing, void *arg)
{
    struct passphrase_ask *ask = arg;
    size_t length = ask->passphrase != NULL ? strlen(ask->passphrase) : 0;

    (void)writing;
    ask->asked = true;
    if (length == 0 || length > (size_t)size)
        return -1;
    memcpy(buffer, ask->passphrase, length);
    return (int)length;
}

/* OpenSSL's name of an EC key's group, "" for other keys. */
static void group_name(const EVP_PKEY *key, char name[32])
{
    size_t size = 0;

    if (!EVP_PKEY_is_a(key, "EC") || EVP_PKEY_get_group_name(key, name, 32, &size) != 1)
        name[0] = '\0';
}

static bool encrypt(const EVP_PKEY *key, const char *passphrase, BIO *out)
{
    PKCS8_PRIV_KEY_INFO *plain = EVP_PKEY2PKCS8(key);
    X509_SIG *sealed = plain == NULL
                           ? NULL
                           : PKCS8_encrypt(-1, EVP_aes_256_cbc(), passphrase,
                                           (int)strlen(passphrase), NULL, 0, PBKDF2_ROUNDS, plain);
    bool done = sealed != NULL && PEM_write_bio_PKCS8(out, sealed) == 1;

    X509_SIG_free(sealed);
    PKCS8_PRIV_KEY_INFO_free(plain);
    return done;
}

static const char *group_of(cx_key_type type)
{
    switch (type) {
    case CX_KEY_P256: return "P-256";
    case CX_KEY_P384: return "P-384";
    case CX_KEY_ED25519: return NULL;
    }
    return NULL;
}

const char *cx_key_type_word(cx_key_type type)
{
    switch (type) {
    case CX_KEY_P256: return "p256";
    case CX_KEY_P384: return "p384";
    case CX_KEY_ED25519: return "ed25519";
    }
    return NULL;
}

bool cx_key_type_parse(const char *text, cx_key_type *type, cx_err *err)
{
    for (cx_key_type each = CX_KEY_P256; cx_key_type_word(each) != NULL; each++)
        if (strcmp(text, cx_key_type_word(each)) == 0) {
            *type = each;
            return true;
        }
    return cx_fail(err, CX_INVALID, "unknown key type (types: p256, p384, ed25519)");
}

bool cx_key_generate(cx_key_type type, EVP_PKEY **key, cx_err *err)
{
    const char *group = group_of(type);

    *key = group != NULL ? EVP_EC_gen(group) : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    if (*key == NULL)
        return cx_openssl_fail(err, CX_INTERNAL, "generate a key");
    return true;
}

void cx_key_free(EVP_PKEY **owner)
{
    EVP_PKEY_free(*owner);
    *owner = NULL;
}

bool cx_key_read(const char *path, const char *passphrase, EVP_PKEY **key, cx_err *err)
{
    CX_AUTO(cx_secret_free) cx_buffer pem = {0};

    return cx_read_secret_file(path, CX_KEY_BYTES_MAX, &pem, err) &&
           cx_key_from_pem(cx_buffer_bytes(&pem), path, passphrase, key, err);
}

bool cx_key_from_pem(cx_bytes pem, const char *name, const char *passphrase, EVP_PKEY **key,
                     cx_err *err)
{
    CX_AUTO(cx_key_free) EVP_PKEY *found = NULL;
    CX_AUTO(cx_bio_free) BIO *bio = NULL;
    struct passphrase_ask ask = {.passphrase = passphrase};

    if (pem.size > CX_KEY_BYTES_MAX)
        return cx_fail(err, CX_TOO_LARGE, "%s: too large for a private key", name);
    bio = cx_bio_of(pem);
    found = PEM_read_bio_PrivateKey(bio, NULL, give_passphrase, &ask);
    ERR_clear_error();
    if (found == NULL && ask.asked && passphrase == NULL) {
        cx_fail(err, CX_PERMISSION, "%s: the key is encrypted with a passphrase", name);
        return cx_hint(err, "give the file that holds it with --passphrase-file");
    }
    if (found == NULL && ask.asked)
        return cx_fail(err, CX_PERMISSION, "%s: wrong passphrase", name);
    if (found == NULL)
        return cx_fail(err, CX_MALFORMED, "%s: no private key in PEM", name);
    if (!cx_key_check(found, name, err))
        return false;
    *key = CX_TAKE(found);
    return true;
}

bool cx_key_to_pem(const EVP_PKEY *key, const char *passphrase, cx_buffer *pem, cx_err *err)
{
    CX_AUTO(cx_bio_free) BIO *bio = cx_bio_new();
    bool written = passphrase != NULL
                       ? encrypt(key, passphrase, bio)
                       : PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1;

    if (!written)
        return cx_openssl_fail(err, CX_INTERNAL, "write a private key");
    cx_bio_take(bio, pem);
    return true;
}

bool cx_key_check(const EVP_PKEY *key, const char *name, cx_err *err)
{
    char group[32] = "", text[32];
    int bits = EVP_PKEY_get_bits(key);

    if (EVP_PKEY_is_a(key, "ED25519"))
        return true;
    if (EVP_PKEY_is_a(key, "RSA") && bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX)
        return true;
    group_name(key, group);
    if (strcmp(group, SN_X9_62_prime256v1) == 0 || strcmp(group, SN_secp384r1) == 0)
        return true;
    cx_key_describe(key, text);
    return cx_fail(err, CX_INVALID, "%s: a key of type %s (wanted: p256, p384 or ed25519)", name,
                   text);
}

void cx_key_describe(const EVP_PKEY *key, char text[32])
{
    char group[32] = "";
    const char *word = EVP_PKEY_get0_type_name(key);

    group_name(key, group);
    if (strcmp(group, SN_X9_62_prime256v1) == 0)
        word = "p256";
    else if (strcmp(group, SN_secp384r1) == 0)
        word = "p384";
    else if (group[0] != '\0')
        word = group;
    else if (EVP_PKEY_is_a(key, "ED25519"))
        word = "ed25519";
    if (EVP_PKEY_is_a(key, "RSA"))
        snprintf(text, 32, "rsa-%d", EVP_PKEY_get_bits(key));
    else
        snprintf(text, 32, "%.31s", word != NULL ? word : "unknown");
}

void cx_key_id(const EVP_PKEY *key, char id[CX_KEY_ID_SIZE])
{
    uint8_t digest[CX_SHA256_SIZE];
    unsigned char *der = NULL;
    int size = i2d_PUBKEY(key, &der);

    cx_sha256((cx_bytes){der, size > 0 ? (size_t)size : 0}, digest);
    OPENSSL_free(der);
    sodium_bin2hex(id, CX_KEY_ID_SIZE, digest, sizeof(digest));
}

bool cx_passphrase_read(const char *path, char **passphrase, cx_err *err)
{
    CX_AUTO(cx_secret_free) cx_buffer text = {0};
    size_t size;

    if (!cx_read_secret_file(path, CX_PASSPHRASE_MAX, &text, err))
        return false;
    size = text.size > 0 ? strcspn((const char *)text.data, "\r\n") : 0;
    if (size == 0)
        return cx_fail(err, CX_INVALID, "%s: the passphrase is empty", path);
    if (sodium_init() < 0 || (*passphrase = sodium_malloc(size + 1)) == NULL)
        return cx_fail(err, CX_INTERNAL, "no secret memory");
    memcpy(*passphrase, text.data, size);
    (*passphrase)[size] = '\0';
    return true;
}

void cx_passphrase_free(char **owner)
{
    sodium_free(*owner);
    *owner = NULL;
}

void cx_secret_free(cx_buffer *buffer)
{
    if (buffer->data != NULL)
        sodium_memzero(buffer->data, buffer->capacity);
    cx_buffer_free(buffer);
}
