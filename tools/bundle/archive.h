/* The archive of a bundle: a tar file, compressed by gzip or zstd, written to and read from a descriptor
 * by libarchive. All bounded: what is read may come from a stranger. */
#pragma once

#include "base/err.h"

enum {
    BUNDLE_ENTRIES_MAX = 100000,
    BUNDLE_ENTRY_MAX = 64 * 1024 * 1024, /* bytes of one file */
};

typedef enum bundle_compression { BUNDLE_GZIP, BUNDLE_ZSTD } bundle_compression;

/* By the end of a file's name: .tar.gz, .tgz, .tar.zst; one more .age is looked past. INVALID else. */
CX_MUST_CHECK bool bundle_compression_of(const char *path, bundle_compression *compression,
                                         cx_err *err);

typedef struct bundle_writer bundle_writer;

CX_MUST_CHECK bool bundle_writer_open(int fd, bundle_compression compression,
                                      bundle_writer **writer, cx_err *err);
CX_MUST_CHECK bool bundle_writer_add(bundle_writer *writer, const char *path, cx_bytes content,
                                     int64_t wall_ms, cx_err *err);
/* Ends the archive: all of it is written when this returns true. */
CX_MUST_CHECK bool bundle_writer_end(bundle_writer *writer, cx_err *err);
void bundle_writer_close(bundle_writer **owner);

/* One regular file of the archive; false ends the reading with err. */
typedef bool bundle_entry(const char *path, cx_bytes content, void *arg, cx_err *err);
/* Reads the whole archive. MALFORMED when it is none, TOO_LARGE beyond the bounds above. Folders are
 * passed over; links and devices are MALFORMED: no bundle has any. */
CX_MUST_CHECK bool bundle_read(cx_bytes archive, const char *name, bundle_entry *entry, void *arg,
                               cx_err *err);

/* A descriptor's whole content as memory, until unmapped. */
CX_MUST_CHECK bool bundle_map(int fd, const char *name, cx_bytes *content, cx_err *err);
void bundle_unmap(cx_bytes *content);
