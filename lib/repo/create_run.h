/* A backup under way: what repo/create.c and repo/create_write.c share. */
#pragma once

#include "repo/cache.h"
#include "repo/create.h"
#include "repo/cut.h"
#include "repo/index.h"
#include "repo/snapshot.h"
#include "repo/stream.h"

struct item { /* an entry of the walk on its way into the stream */
    const cx_walk_entry *entry;
    const cx_cache_entry *cached; /* it did not change since */
    cx_identity identity;         /* as it was read */
    char *snapshot;               /* of a database: the file to read */
    int64_t content_bytes;
    uint8_t sha256[32];
    size_t first_piece, piece_count; /* of the stream */
    bool is_database;
    bool vanished;
    bool is_unsettled; /* it changed while it was read */
};

struct part { /* a component */
    const cx_create_component *component;
    cx_walk walk;
    struct item *items;
    size_t first_piece, piece_end; /* of the stream */
};

struct owner_name {
    uint32_t id;
    bool is_group;
    char *name; /* NULL: none */
};

struct owner_names {
    struct owner_name *items;
    size_t count;
};

struct create {
    const cx_create_spec *spec;
    cx_created *created;
    cx_targets targets;
    cx_stream *stream;
    cx_cutter cutter;
    cx_cache *cache; /* of the last backup; NULL: none */
    struct part parts[CX_CREATE_COMPONENTS_MAX];
    size_t part_count;
    struct owner_names names;
    char *scratch;
    size_t snapshots;
    cx_progress progress;
    int64_t passed_bytes; /* read or taken over */
    cx_buffer window;     /* of a large file */
    int lock_fd;          /* of the cache */
};

cx_tar_entry cx_create_tar_entry(struct create *create, const struct item *item);
/* Captures a file that is a database; leaves others alone. */
CX_MUST_CHECK bool cx_create_snapshot(struct create *create, const struct part *part,
                                      struct item *item, cx_err *err);
/* Puts a component's stream into pieces. */
CX_MUST_CHECK bool cx_create_write_part(struct create *create, struct part *part, cx_err *err);
