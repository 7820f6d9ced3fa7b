/* The index of a backup: one JSON object a line for each entry, in the order of the tar streams.
 *
 * {"component","path","type":"file|folder|link","mode":"0640","uid","gid","user","group","size",
 *  "mtime","mtime_ns","sha256","target","segments":["…"]}
 * A path that is not UTF-8 stands in "path_base64" too, which counts then. Pure: no I/O. */
#pragma once

#include "repo/segment.h"
#include "repo/tar.h"

enum {
    CX_INDEX_MAX = 1024 * 1024 * 1024, /* bytes of the whole */
    CX_INDEX_LINE_MAX = 4 * 1024 * 1024,
};

typedef struct cx_index_entry {
    const char *component;
    cx_tar_entry tar;   /* the path is relative to where the component is restored */
    uint8_t sha256[32]; /* of a file's content */
    const uint8_t (*segments)[CX_SEGMENT_ID_SIZE];
    size_t segment_count;
} cx_index_entry;

/* Appends one line. */
void cx_index_add(const cx_index_entry *entry, cx_buffer *lines);

/* Calls `each` for every line; what the entry points to lives for the call. */
typedef bool cx_index_each(const cx_index_entry *entry, void *arg, cx_err *err);
CX_MUST_CHECK bool cx_index_read(cx_bytes lines, cx_index_each *each, void *arg, cx_err *err);
