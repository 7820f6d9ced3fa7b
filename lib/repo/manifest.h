/* The manifest of a backup: what it is, and the segments of each component in order.
 *
 * A document from outside until its signature was checked, and hostile even then (a node can be
 * stolen): everything is bounded and validated when it is parsed.
 *
 * Pure: no I/O. */
#pragma once

#include "base/json.h"
#include "repo/segment.h"

enum {
    CX_MANIFEST_FORMAT = 1,
    CX_MANIFEST_MAX = 64 * 1024 * 1024, /* bytes; about 300 GiB of content */
    CX_MANIFEST_COMPONENTS_MAX = 64,
    CX_BACKUP_ID_MAX = 128,
};

typedef struct cx_manifest_component {
    char *name;
    int64_t files, bytes; /* regular files and their content */
    cx_segment *segments; /* in the order of the stream */
    size_t segment_count;
} cx_manifest_component;

typedef struct cx_manifest {
    char *id, *type; /* full, incremental */
    char *parent;    /* the backup that unchanged files were taken over from, or NULL */
    char *cluster, *node_id, *version;
    int64_t created_ms; /* when reading began, by the node's clock */
    int64_t files, bytes;
    cx_manifest_component *components;
    size_t component_count;
    cx_segment index; /* the id is not used */
} cx_manifest;

/* 1 to 128 of A-Z a-z 0-9 . _ -, first a digit. INVALID else. */
CX_MUST_CHECK bool cx_check_backup_id(const char *id, cx_err *err);
/* "20251123T020000Z-node-1-full-1a2b"; caller owns. */
char *cx_backup_id(int64_t wall_ms, const char *node_id, const char *type, uint16_t random);

void cx_manifest_free(cx_manifest **owner);
json_t *cx_manifest_to_json(const cx_manifest *manifest); /* new reference */
CX_MUST_CHECK bool cx_manifest_parse(cx_bytes text, const char *name, cx_manifest **manifest,
                                     cx_err *err);
const cx_manifest_component *cx_manifest_find(const cx_manifest *manifest, const char *component);
