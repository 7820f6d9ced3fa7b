/* Verifying a backup: everything is read back, and each object that is not as it was stored is named.
 *
 * Without an identity: the signature, and the digests of index and segments. With one also the
 * content: that every segment opens, and that every file is what the index says. */
#pragma once

#include "base/progress.h"
#include "repo/content.h"

enum { CX_VERIFY_PROBLEMS_MAX = 1000 }; /* that are kept; the rest are counted */

typedef struct cx_verify_problem {
    char *object; /* its key, or the component where it is not one object's fault */
    char *reason;
} cx_verify_problem;

typedef struct cx_verified {
    cx_verify_problem *problems;
    size_t problem_count; /* kept */
    size_t problems_total;
    size_t segments, files;
    int64_t read_bytes;
    bool has_content; /* it was checked too */
} cx_verified;

typedef struct cx_verify_spec {
    cx_repo *repo;
    const cx_minisign_public *key;
    const cx_age_identities *identities; /* NULL: none */
    cx_segments *checked;  /* segments that an earlier call found right, or wrong: they are not read
                             again without an identity. NULL: none */
    cx_progress *progress; /* counts stored bytes; NULL: none */
} cx_verify_spec;

/* False when it could not be found out (no such backup, no connection, interrupted). */
CX_MUST_CHECK bool cx_verify_backup(const cx_verify_spec *spec, const char *id,
                                    cx_verified *verified, cx_err *err);
void cx_verified_free(cx_verified *verified);
