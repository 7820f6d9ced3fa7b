/* Destinations: where a repository is stored. Objects with keys, nothing more, so that a folder and
 * S3-compatible storage look alike.
 *
 * A destination is written `/a/folder` or
 * `s3://bucket/prefix?endpoint=http://127.0.0.1:4568&region=us-east-1&path_style=1`.
 * Keys are relative paths of our own making ("prod/node-1/repo.json"). An object appears whole or not
 * at all, and is durable when put returns (LATER: when flush does); what was stored is checked then:
 * a folder's files are read back, S3 compares the digest that the request is signed with.
 *
 * put, get and remove may be called from several threads at once. */
#pragma once

#include "base/err.h"

enum { CX_DEST_KEY_MAX = 700 };

typedef struct cx_dest cx_dest;

typedef struct cx_object {
    const char *key; /* whole, as get takes it; comes from outside */
    int64_t size;
    int64_t arrived_ms; /* by the storage's own clock */
} cx_object;

typedef bool cx_object_each(const cx_object *object, void *arg, cx_err *err);

typedef enum cx_put {
    CX_PUT_REPLACE,
    CX_PUT_NEW,   /* EXISTS when the key is there */
    CX_PUT_LATER, /* like REPLACE, but may wait for the next flush */
} cx_put;

/* Opens nothing yet: a destination that isn't there fails with the first use. */
CX_MUST_CHECK bool cx_dest_open(const char *text, cx_dest **dest, cx_err *err);
void cx_dest_close(cx_dest **owner);
/* As it was written; there is never a secret in it. */
const char *cx_dest_name(const cx_dest *dest);
/* Makes the folder or the bucket unless it is there. */
CX_MUST_CHECK bool cx_dest_prepare(cx_dest *dest, cx_err *err);
CX_MUST_CHECK bool cx_dest_put(cx_dest *dest, const char *key, cx_bytes bytes, cx_put how,
                               cx_err *err);
CX_MUST_CHECK bool cx_dest_flush(cx_dest *dest, cx_err *err);
/* Appends the object. NOT_FOUND; TOO_LARGE above size_max. */
CX_MUST_CHECK bool cx_dest_get(cx_dest *dest, const char *key, size_t size_max, cx_buffer *bytes,
                               cx_err *err);
/* Size and arrival of one object; the key in it is borrowed from the argument. NOT_FOUND. */
CX_MUST_CHECK bool cx_dest_stat(cx_dest *dest, const char *key, cx_object *object, cx_err *err);
/* A missing one is fine. */
CX_MUST_CHECK bool cx_dest_remove(cx_dest *dest, const char *key, cx_err *err);
/* Each object below a prefix that ends with a slash ("" for all), in no order. */
CX_MUST_CHECK bool cx_dest_list(cx_dest *dest, const char *prefix, cx_object_each *each, void *arg,
                                cx_err *err);
/* The names directly below the prefix that have objects below them. */
CX_MUST_CHECK bool cx_dest_folders(cx_dest *dest, const char *prefix, cx_list *names, cx_err *err);
/* Removes what writers that were killed left half-written below the prefix. Only for who holds the lock
 * of all that is there. */
CX_MUST_CHECK bool cx_dest_sweep(cx_dest *dest, const char *prefix, cx_err *err);
/* The storage's own time, from a fresh object or answer. */
CX_MUST_CHECK bool cx_dest_now(cx_dest *dest, int64_t *wall_ms, cx_err *err);
