/* A repository: the backups of one node of one cluster at one destination.
 *
 *   CLUSTER/NODE/repo.json                           format, creation time, the key that signs
 *   CLUSTER/NODE/lock.json                           who writes now (repo/lock.h)
 *   CLUSTER/NODE/segments/ab/abcdef….zst.age
 *   CLUSTER/NODE/backups/ID/manifest.json            and manifest.json.minisig, written last
 *   CLUSTER/NODE/backups/ID/index.ndjson.zst.age
 *   CLUSTER/NODE/prune.json                          segments that nothing names, since when */
#pragma once

#include "repo/dest.h"
#include "repo/manifest.h"
#include "repo/segments.h"
#include "seal/minisign.h"

enum { CX_REPO_FORMAT = 1, CX_REPO_BACKUPS_MAX = 100000 };

typedef struct cx_repo {
    cx_dest *dest;
    char *cluster, *node_id;
    bool is_known; /* its format was looked at */
} cx_repo;

/* A backup as a listing tells it, before anything of it was read. */
typedef struct cx_stored_backup {
    char *id;
    bool is_complete;   /* its signature is there */
    int64_t arrived_ms; /* of the signature, by the storage's clock; of an incomplete one: of the
                           last object that came */
} cx_stored_backup;

typedef struct cx_stored_backups {
    cx_stored_backup *items; /* the newest arrival last */
    size_t count;
} cx_stored_backups;

/* Where cluster or node_id is NULL, the only one at the destination is taken. */
CX_MUST_CHECK bool cx_repo_open(const char *dest, const char *cluster, const char *node_id,
                                cx_repo **repo, cx_err *err);
void cx_repo_close(cx_repo **owner);
/* The key of an object: cx_repo_key(repo, "backups/%s/%s", id, name). Caller owns. */
char *cx_repo_key(const cx_repo *repo, const char *format, ...) CX_PRINTF(2, 3);

/* Makes destination and repo.json unless they are there; refuses a newer format (CONFIG). */
CX_MUST_CHECK bool cx_repo_prepare(cx_repo *repo, const cx_minisign_public *sign_key,
                                   int64_t wall_ms, cx_err *err);
/* The key in repo.json: proves that what is signed is whole, not who signed it. NOT_FOUND when there is
 * no repository. */
CX_MUST_CHECK bool cx_repo_sign_key(cx_repo *repo, cx_minisign_public *sign_key, cx_err *err);

/* These, and reading a manifest, refuse a newer format (CONFIG). A repo.json that is lost or damaged
 * keeps nobody from what is stored. */
CX_MUST_CHECK bool cx_repo_backups(cx_repo *repo, cx_stored_backups *backups, cx_err *err);
void cx_stored_backups_free(cx_stored_backups *backups);

/* Reads a manifest. With a key its signature is checked first (as cx_minisign_verify fails); that it
 * is the one of this id, node and cluster always (CORRUPT). text (may be NULL) gets its bytes. */
CX_MUST_CHECK bool cx_repo_manifest(cx_repo *repo, const char *id, const cx_minisign_public *key,
                                    cx_manifest **manifest, cx_buffer *text, cx_err *err);
/* Stores a manifest and, last, its signature. */
CX_MUST_CHECK bool cx_repo_put_manifest(cx_repo *repo, const cx_manifest *manifest,
                                        const cx_minisign_secret *sign_key, cx_err *err);
/* All segments that are stored: id and stored_bytes; the slot's mark is the time of arrival. */
CX_MUST_CHECK bool cx_repo_segments(cx_repo *repo, cx_segments **segments, cx_err *err);
