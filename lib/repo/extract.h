/* Restoring the entries of a tar stream into a fresh folder.
 *
 * The stream is hostile: paths were checked by the reader, and here nothing is ever written through a
 * link or above the folder (openat2 with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS), nothing that is
 * there is overwritten, and only files, folders and links are made. A link may point anywhere, since
 * the backed up one did; it is not followed.
 *
 * Owners are set when the process may do so: by name where this host knows the name, else by number. */
#pragma once

#include "repo/tar.h"

typedef struct cx_extract cx_extract;

CX_MUST_CHECK bool cx_extract_open(const char *folder, cx_extract **extract, cx_err *err);
void cx_extract_close(cx_extract **owner);
/* An entry, its content piece by piece, its end. */
CX_MUST_CHECK bool cx_extract_begin(cx_extract *extract, const cx_tar_entry *entry, cx_err *err);
CX_MUST_CHECK bool cx_extract_data(cx_extract *extract, cx_bytes piece, cx_err *err);
CX_MUST_CHECK bool cx_extract_end(cx_extract *extract, cx_err *err);
/* After the last entry: modes, owners and times of the folders; then all of it is made durable. */
CX_MUST_CHECK bool cx_extract_finish(cx_extract *extract, cx_err *err);
