/* Encryption of packets and streams: AES-GCM with a ring of keys (section 8).
 *
 * sealed = version | nonce 12 | ciphertext | tag 16. Version 1 is written, 0 (PKCS7 padding) is
 * read too. The first key of the ring is the primary one and seals; all are tried for opening, so
 * that keys can be changed while the cluster runs. Keys live in locked memory that is wiped.
 *
 * Nonces are random 96 bits of the caller's generator: GCM needs them never to repeat under a key,
 * not to be secret. The generator's state must come from the kernel. Pure. */
#pragma once

#include "base/err.h"
#include "base/rng.h"

enum {
    CX_KEYRING_KEYS_MAX = 32,
    CX_KEYRING_KEY_MAX = 32,         /* bytes: 16, 24 or 32 */
    CX_KEYRING_TEXT_MAX = 16 * 1024, /* bytes of the file */
    CX_CRYPT_OVERHEAD = 29,          /* of version 1 */
};

typedef struct cx_keyring cx_keyring;

/* An empty ring. */
cx_keyring *cx_keyring_new(void);
/* The file's text: a JSON list of base64 keys, primary first. CONFIG when it isn't, or is empty. */
CX_MUST_CHECK bool cx_keyring_parse(cx_bytes text, cx_keyring **ring, cx_err *err);
void cx_keyring_close(cx_keyring **owner);
/* Appends the text of the file. The caller wipes it. */
void cx_keyring_write(const cx_keyring *ring, cx_buffer *text);

size_t cx_keyring_count(const cx_keyring *ring);            /* NULL: 0 */
cx_bytes cx_keyring_key(const cx_keyring *ring, size_t at); /* 0: the primary one */
/* *changed tells whether the ring is another one now. INVALID: no key length; TOO_LARGE: the ring is
 * full; NOT_FOUND: use of a key that is not in it; BUSY: removal of the primary key. */
CX_MUST_CHECK bool cx_keyring_install(cx_keyring *ring, cx_bytes key, bool *changed, cx_err *err);
CX_MUST_CHECK bool cx_keyring_use(cx_keyring *ring, cx_bytes key, bool *changed, cx_err *err);
CX_MUST_CHECK bool cx_keyring_remove(cx_keyring *ring, cx_bytes key, bool *changed, cx_err *err);

/* Appends the sealed form. The ring must have a key. */
void cx_crypt_seal(const cx_keyring *ring, cx_rng *nonces, cx_bytes authenticated, cx_bytes plain,
                   cx_buffer *sealed);
/* Appends the plain bytes. MALFORMED: too short or an unknown version; PERMISSION: no key opens it. */
CX_MUST_CHECK bool cx_crypt_open(const cx_keyring *ring, cx_bytes authenticated, cx_bytes sealed,
                                 cx_buffer *plain, cx_err *err);
