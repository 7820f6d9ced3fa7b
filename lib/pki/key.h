/* Keys: generate, read and write private keys as PEM (PKCS #8, RFC 5208 and 5958), optionally
 * encrypted with a passphrase (PBES2: PBKDF2-HMAC-SHA256, AES-256-CBC; `openssl pkey` reads it).
 *
 * EC P-256, P-384 and Ed25519 are made; RSA from 2048 bits is accepted from elsewhere. Buffers that
 * held a key or a passphrase are wiped before they are freed. */
#pragma once

#include <openssl/evp.h>

#include "base/err.h"

enum { CX_KEY_BYTES_MAX = 16 * 1024, CX_PASSPHRASE_MAX = 1024 };

typedef enum cx_key_type { CX_KEY_P256, CX_KEY_P384, CX_KEY_ED25519 } cx_key_type;

const char *cx_key_type_word(cx_key_type type); /* "p256", "p384", "ed25519" */
CX_MUST_CHECK bool cx_key_type_parse(const char *text, cx_key_type *type, cx_err *err);

CX_MUST_CHECK bool cx_key_generate(cx_key_type type, EVP_PKEY **key, cx_err *err);
void cx_key_free(EVP_PKEY **owner);

/* Reads a private key. NOT_FOUND; PERMISSION when others may read the file, when it is encrypted and
 * passphrase is NULL, or when the passphrase is wrong; MALFORMED; INVALID for a kind of key that we
 * don't use. */
CX_MUST_CHECK bool cx_key_read(const char *path, const char *passphrase, EVP_PKEY **key,
                               cx_err *err);
/* The same from memory; `name` says in errors where it is from. */
CX_MUST_CHECK bool cx_key_from_pem(cx_bytes pem, const char *name, const char *passphrase,
                                   EVP_PKEY **key, cx_err *err);
/* Appends the PEM, encrypted when passphrase isn't NULL. The caller ends the buffer with
 * cx_secret_free. */
CX_MUST_CHECK bool cx_key_to_pem(const EVP_PKEY *key, const char *passphrase, cx_buffer *pem,
                                 cx_err *err);
/* INVALID for a (public or private) key of a kind or size that we don't use. */
CX_MUST_CHECK bool cx_key_check(const EVP_PKEY *key, const char *name, cx_err *err);
/* "p256", "p384", "ed25519", "rsa-2048"; else OpenSSL's word for it. */
void cx_key_describe(const EVP_PKEY *key, char text[32]);
/* SHA-256 of the public half (SubjectPublicKeyInfo), as hex: one name for a key everywhere. */
enum { CX_KEY_ID_SIZE = 65 };
void cx_key_id(const EVP_PKEY *key, char id[CX_KEY_ID_SIZE]);

/* The first line of a passphrase file (mode 0600 as a key's) in memory that isn't swapped and is
 * wiped by the destructor. INVALID when it is empty. */
CX_MUST_CHECK bool cx_passphrase_read(const char *path, char **passphrase, cx_err *err);
void cx_passphrase_free(char **owner);
/* Wipes a buffer, then frees it. */
void cx_secret_free(cx_buffer *buffer);
