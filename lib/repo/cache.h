/* What a node remembers of its last backup: which files it had, what told them apart, and the segments
 * that hold them. So an incremental backup takes over what did not change without reading it, from a
 * repository whose own index the node can't read.
 *
 * A file of lines of JSON (0600): an object, then the segments, then the entries. Losing it costs time
 * and nothing else. */
#pragma once

#include "repo/segment.h"
#include "repo/walk.h"

typedef struct cx_cache_segment {
    uint8_t id[CX_SEGMENT_ID_SIZE];
    int64_t size;
    uint32_t entries; /* that begin in it; set by the reader */
} cx_cache_segment;

typedef struct cx_cache_entry {
    const char *component; /* borrowed from the cache */
    char *path;
    cx_tar_kind kind;
    cx_identity identity;
    bool is_database;
    int64_t content_bytes; /* of a database: of its snapshot */
    uint8_t sha256[32];
    uint32_t first_segment, segment_count;
} cx_cache_entry;

typedef struct cx_cache {
    char *backup_id;
    int64_t read_ms; /* when that backup began to read, wall time */
    cx_list components;
    cx_cache_segment *segments;
    size_t segment_count;
    cx_cache_entry *entries;
    size_t entry_count;
    uint32_t *table; /* of the entries by component and path */
    size_t table_size;
} cx_cache;

/* NOT_FOUND when there is none; MALFORMED when it is damaged. */
CX_MUST_CHECK bool cx_cache_read(const char *path, cx_cache **cache, cx_err *err);
void cx_cache_free(cx_cache **owner);
/* The reader's `entries` and the table are not needed. */
CX_MUST_CHECK bool cx_cache_write(const char *path, const cx_cache *cache, cx_err *err);
const cx_cache_entry *cx_cache_find(const cx_cache *cache, const char *component, const char *path);
