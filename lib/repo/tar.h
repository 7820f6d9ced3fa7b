/* tar streams: pax headers over ustar (POSIX.1-2008, pax "Extended Header"), written and read.
 *
 * Our own and not libarchive's, for two reasons. A segment is named by the hash of its bytes and must
 * end exactly where files do: a header's bytes may not change with a library's version, or the next
 * backup would store everything again. And names must come back byte for byte; libarchive converts
 * them by the locale. What is written is read by tar(1), bsdtar and libarchive (the tests compare).
 *
 * Only files, folders and symbolic links are written. The reader takes what POSIX and GNU tar write
 * of these kinds, and refuses all others. */
#pragma once

#include <sys/types.h>

#include "base/err.h"

enum {
    CX_TAR_BLOCK = 512,
    CX_TAR_PATH_MAX = 4096,
    CX_TAR_PAX_MAX = 64 * 1024, /* bytes of one extended header that is read */
};

typedef enum cx_tar_kind { CX_TAR_FILE, CX_TAR_FOLDER, CX_TAR_LINK } cx_tar_kind;

typedef struct cx_tar_entry {
    cx_tar_kind kind;
    const char *path;   /* relative; a folder's without its slash */
    const char *target; /* of a link */
    mode_t mode;        /* permission bits */
    int64_t uid, gid;
    const char *user, *group; /* NULL: none */
    int64_t size;             /* of a file's content */
    int64_t mtime_seconds;
    int64_t mtime_ns; /* 0 .. 999,999,999 */
} cx_tar_entry;

/* Pure. Appends the header of an entry; content of exactly entry->size bytes and the padding follow. */
void cx_tar_add_header(const cx_tar_entry *entry, cx_buffer *stream);
void cx_tar_add_padding(int64_t size, cx_buffer *stream);
/* About what the entry will take of the stream, header and padding included. */
size_t cx_tar_size(int64_t size);
/* The two empty blocks that end a stream. */
void cx_tar_add_end(cx_buffer *stream);

/* A path that can't leave the folder it is restored into: relative, no empty, "." or ".." part, no
 * part above 255 bytes. INVALID else. */
CX_MUST_CHECK bool cx_tar_check_path(const char *path, cx_err *err);

/* Gives the next piece of the stream; an empty one at its end. The bytes live until the next call. */
typedef bool cx_tar_fill(void *arg, cx_bytes *piece, cx_err *err);

typedef struct cx_tar_reader cx_tar_reader;

cx_tar_reader *cx_tar_open(cx_tar_fill *fill, void *arg);
void cx_tar_close(cx_tar_reader **owner);
/* The next entry, its path checked; content that was not taken is skipped. The texts live until the
 * next call. *found is false at the end of the stream. MALFORMED, CORRUPT. */
CX_MUST_CHECK bool cx_tar_next(cx_tar_reader *reader, cx_tar_entry *entry, bool *found,
                               cx_err *err);
/* The next piece of the entry's content, empty at its end. */
CX_MUST_CHECK bool cx_tar_content(cx_tar_reader *reader, cx_bytes *piece, cx_err *err);
