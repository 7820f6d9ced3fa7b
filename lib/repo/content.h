/* Reading a backup back: its index, and the tar streams of its components, checked on the way. */
#pragma once

#include "repo/index.h"
#include "repo/repo.h"

typedef struct cx_content_entry {
    char *component, *path;
    cx_tar_kind kind;
    int64_t size;
    uint8_t sha256[32];
    uint8_t (*segments)[CX_SEGMENT_ID_SIZE];
    size_t segment_count;
} cx_content_entry;

/* What the index says, in the order of the streams. */
typedef struct cx_content_index {
    cx_content_entry *entries;
    size_t count, capacity;
} cx_content_index;

/* Reads, checks and opens the index of a backup. CORRUPT when its bytes are not those the manifest
 * names. */
CX_MUST_CHECK bool cx_content_read_index(cx_repo *repo, const cx_manifest *manifest,
                                         const cx_age_identities *identities, cx_buffer *lines,
                                         cx_err *err);
CX_MUST_CHECK bool cx_content_parse_index(cx_bytes lines, cx_content_index *index, cx_err *err);
void cx_content_index_free(cx_content_index *index);

/* Reads the stored bytes of a segment and checks their digest. CORRUPT names the object. */
CX_MUST_CHECK bool cx_content_stored(cx_repo *repo, const cx_segment *segment, cx_buffer *stored,
                                     cx_err *err);
/* Whether such a failure is a finding about what is stored, and not one of the way to it. */
bool cx_content_is_damage(const cx_err *err);
/* The stored bytes of a segment, checked and opened. */
CX_MUST_CHECK bool cx_content_segment(cx_repo *repo, const cx_segment *segment,
                                      const cx_age_identities *identities, cx_buffer *content,
                                      cx_err *err);

/* An entry of the stream with its content checked against the index. `begin` is called before the
 * content, `data` with it piece by piece, `end` when all of it was right. */
typedef struct cx_content_sink {
    bool (*begin)(void *arg, const cx_tar_entry *entry, cx_err *err);
    bool (*data)(void *arg, cx_bytes piece, cx_err *err);
    bool (*end)(void *arg, cx_err *err);
    void *arg;
} cx_content_sink;

/* Whether an entry is wanted; NULL: all are. */
typedef bool cx_content_filter(const cx_content_entry *entry, void *arg);

typedef struct cx_content_spec {
    cx_repo *repo;
    const cx_manifest *manifest;
    const cx_content_index *index;
    const cx_age_identities *identities;
    cx_content_filter *filter;
    void *filter_arg;
    const cx_content_sink *sink;                     /* NULL: only check */
    void (*passed)(void *arg, int64_t stored_bytes); /* for progress; may be NULL */
    void *passed_arg;
} cx_content_spec;

/* Reads one component. Only the segments of wanted entries are read. Every entry that they hold must
 * be as the index says, in its order, none missing, none more: CORRUPT else. */
CX_MUST_CHECK bool cx_content_read(const cx_content_spec *spec,
                                   const cx_manifest_component *component, cx_err *err);
