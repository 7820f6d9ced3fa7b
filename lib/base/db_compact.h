/* Compacting a SQLite file that its owner goes on writing to.
 *
 * Databases of cx_db_open give space back in slices (auto_vacuum=INCREMENTAL): each slice is a short
 * transaction that moves pages from the file's end into its gaps, so that writers wait for milliseconds and
 * all other pages keep their place (a backup stores only what changed). A file from before that is rewritten
 * once as a whole (VACUUM), which keeps writers waiting for as long as it takes: hence a size up to which that
 * is done beside a living owner. Sources: sqlite.org/pragma.html#pragma_incremental_vacuum, /lang_vacuum.html. */
#pragma once

#include "base/err.h"

typedef struct cx_db_compact_options {
    int64_t rebuild_max_bytes; /* rewrite as a whole only a file up to this size */
    int64_t min_free_bytes;    /* leave fewer free bytes as they are: the owner fills them again */
    bool dry_run;              /* check and measure only */
} cx_db_compact_options;

typedef struct cx_db_compacted {
    int64_t before_bytes, after_bytes; /* the file and its write-ahead log */
    int64_t free_bytes;                /* unused ones in the file, before */
    bool changed;                      /* space was given back (dry run: would be) */
    bool rebuilt;                      /* the whole file was rewritten (dry run: would be) */
    bool too_large;                    /* it would have to be, and is over rebuild_max_bytes */
    bool log_in_use; /* a reader holds the write-ahead log: it stays as long as it is */
} cx_db_compacted;

/* Checks the database's integrity first: one that is damaged is CORRUPT and left alone. NOT_FOUND when it isn't
 * there; BUSY after 10 s of waiting for a lock; IO when the disk has no room for a rewrite; INTERRUPTED between two
 * slices. Whatever ends it, the database is whole. */
CX_MUST_CHECK bool cx_db_compact(const char *path, const cx_db_compact_options *options,
                                 cx_db_compacted *result, cx_err *err);
