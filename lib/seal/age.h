/* age v1 files (age-encryption.org/v1; C2SP age.md): sealed to X25519 recipients or to a passphrase,
 * readable by `age -d`, and what age writes, readable by us.
 *
 * Whole files in memory: what cx seals are segments of about 1 MiB, indexes and the recovery kit.
 * Keys come from cx_random and libsodium, HKDF and HMAC from OpenSSL. The secrets of identities live
 * in sodium_malloc memory and are wiped. */
#pragma once

#include "base/err.h"

enum {
    CX_AGE_KEY_SIZE = 32,
    CX_AGE_RECIPIENTS_MAX = 20,
    CX_AGE_IDENTITIES_MAX = 64,
    CX_AGE_HEADER_MAX = 16 * 1024, /* bytes of a header that is read; more is MALFORMED */
    CX_AGE_SCRYPT_LOG_N = 18,      /* work factor that is written, the same as age's */
    CX_AGE_SCRYPT_LOG_N_MAX = 20,  /* and that is accepted: 1 GiB of memory */
};

/* Public keys to seal to. {0} is none. */
typedef struct cx_age_recipients {
    uint8_t keys[CX_AGE_RECIPIENTS_MAX][CX_AGE_KEY_SIZE];
    size_t count;
} cx_age_recipients;

/* Secret keys to open with. */
typedef struct cx_age_identities cx_age_identities;

/* One "age1…". INVALID else. */
CX_MUST_CHECK bool cx_age_add_recipient(cx_age_recipients *recipients, const char *text,
                                        cx_err *err);
/* A recipients file: one a line, empty lines and #-comments skipped; errors name the line. */
CX_MUST_CHECK bool cx_age_read_recipients(const char *path, cx_age_recipients *recipients,
                                          cx_err *err);
/* An identity file as age-keygen writes it, "-" for stdin; a file that others may read is refused. */
CX_MUST_CHECK bool cx_age_read_identities(const char *path, cx_age_identities **identities,
                                          cx_err *err);
CX_MUST_CHECK bool cx_age_parse_identities(cx_bytes text, const char *name,
                                           cx_age_identities **identities, cx_err *err);
void cx_age_identities_free(cx_age_identities **owner);
/* The recipients that belong to the identities. */
void cx_age_recipients_of(const cx_age_identities *identities, cx_age_recipients *recipients);

/* A new key pair. identity: "AGE-SECRET-KEY-1…" that the caller wipes (cx_free_secret);
 * recipient: "age1…", caller owns. */
void cx_age_generate(char **identity, char **recipient);
char *cx_age_recipient_text(const uint8_t key[CX_AGE_KEY_SIZE]);

/* Appends the age file of plain to sealed. There must be a recipient. */
CX_MUST_CHECK bool cx_age_seal(const cx_age_recipients *recipients, cx_bytes plain,
                               cx_buffer *sealed, cx_err *err);
CX_MUST_CHECK bool cx_age_seal_passphrase(const char *passphrase, cx_bytes plain, cx_buffer *sealed,
                                          cx_err *err);

/* Appends the content to plain. PERMISSION when no identity fits, MALFORMED when it is no age file,
 * CORRUPT when it was changed or cut. Content above size_max bytes is TOO_LARGE. On failure plain
 * has only what it had before. */
CX_MUST_CHECK bool cx_age_open(const cx_age_identities *identities, cx_bytes sealed,
                               size_t size_max, cx_buffer *plain, cx_err *err);
CX_MUST_CHECK bool cx_age_open_passphrase(const char *passphrase, cx_bytes sealed, size_t size_max,
                                          cx_buffer *plain, cx_err *err);
/* How large the age file of so much content will be for so many recipients. */
size_t cx_age_sealed_size(size_t plain_size, size_t recipient_count);
