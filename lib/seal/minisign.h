/* minisign files (jedisct1.github.io/minisign, "Signature format"): Ed25519 keys and prehashed ("ED")
 * signatures that `minisign -V` verifies, and minisign's own read by us.
 *
 * Secret keys are written without a password (a node signs its backups at night), mode 0600, and
 * live in sodium_malloc memory. */
#pragma once

#include "base/err.h"

enum {
    CX_MINISIGN_ID_SIZE = 8,
    CX_MINISIGN_COMMENT_MAX = 1024,
    CX_MINISIGN_FILE_MAX = 8 * 1024,
};

typedef struct cx_minisign_public {
    uint8_t id[CX_MINISIGN_ID_SIZE];
    uint8_t key[32];
} cx_minisign_public;

typedef struct cx_minisign_secret cx_minisign_secret;

/* A new pair as the texts of the two files. The caller wipes secret_text (cx_free_secret). */
void cx_minisign_generate(char **secret_text, char **public_text);

/* PERMISSION when others may read the file; INVALID when it has a password. */
CX_MUST_CHECK bool cx_minisign_read_secret(const char *path, cx_minisign_secret **secret,
                                           cx_err *err);
void cx_minisign_secret_free(cx_minisign_secret **owner);
void cx_minisign_public_of(const cx_minisign_secret *secret, cx_minisign_public *public_key);
CX_MUST_CHECK bool cx_minisign_read_public(const char *path, cx_minisign_public *public_key,
                                           cx_err *err);
/* The text of a public key file, or its key line alone. */
CX_MUST_CHECK bool cx_minisign_parse_public(cx_bytes text, const char *name,
                                            cx_minisign_public *public_key, cx_err *err);
/* Upper-case hex of the key's number, as minisign shows it; caller owns. */
char *cx_minisign_id_text(const uint8_t id[CX_MINISIGN_ID_SIZE]);

/* The text of a signature file over bytes; the trusted comment (one line) is signed too. Caller
 * owns. */
char *cx_minisign_sign(const cx_minisign_secret *secret, cx_bytes bytes,
                       const char *trusted_comment);
/* CORRUPT when bytes, comment or signature were changed, PERMISSION when another key signed,
 * MALFORMED when it is no signature. *trusted_comment (may be NULL) is the caller's. */
CX_MUST_CHECK bool cx_minisign_verify(const cx_minisign_public *public_key, cx_bytes bytes,
                                      cx_bytes signature, char **trusted_comment, cx_err *err);
