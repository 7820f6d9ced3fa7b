/* Segments: pieces of a tar stream, compressed by zstd, encrypted by age, named by a keyed hash.
 *
 * The name is HMAC-SHA256 of the content under the naming key: the same content is stored once, and
 * who sees the repository can't tell whether it holds a file that he has. A node that has the key
 * and the recipients, but no identity, writes what it can't read. */
#pragma once

#include "seal/age.h"

enum {
    CX_SEGMENT_ID_SIZE = 32,
    CX_SEGMENT_MAX = 16 * 1024 * 1024, /* bytes of content */
    CX_SEGMENT_STORED_MAX = CX_SEGMENT_MAX + 1024 * 1024,
    CX_NAMING_KEY_SIZE = 32,
};

typedef struct cx_segment {
    uint8_t id[CX_SEGMENT_ID_SIZE];
    uint8_t sha256[32]; /* of the stored bytes */
    int64_t size;       /* of the content */
    int64_t stored_bytes;
} cx_segment;

/* Names segments, and seeds the cuts. */
typedef struct cx_naming {
    uint8_t key[CX_NAMING_KEY_SIZE];
} cx_naming;

void cx_segment_id(const cx_naming *naming, cx_bytes content, uint8_t id[CX_SEGMENT_ID_SIZE]);
/* A secret of its own for another use, derived from the key. */
void cx_naming_derive(const cx_naming *naming, const char *use, uint8_t secret[32]);
/* "segments/ab/abcdef….zst.age"; caller owns. */
char *cx_segment_object(const uint8_t id[CX_SEGMENT_ID_SIZE]);
/* The id of such a name; false if it is none. */
bool cx_segment_of_object(const char *name, uint8_t id[CX_SEGMENT_ID_SIZE]);

/* Compresses and encrypts; one for each thread. */
typedef struct cx_sealer cx_sealer;
cx_sealer *cx_sealer_open(const cx_age_recipients *recipients); /* borrows them */
void cx_sealer_close(cx_sealer **owner);
/* Appends the stored form of any bytes. */
CX_MUST_CHECK bool cx_seal(cx_sealer *sealer, cx_bytes content, cx_buffer *stored, cx_err *err);
/* Appends the content of at most size_max bytes. As cx_age_open; CORRUPT also for what zstd refuses. */
CX_MUST_CHECK bool cx_unseal(const cx_age_identities *identities, cx_bytes stored, size_t size_max,
                             cx_buffer *content, cx_err *err);
