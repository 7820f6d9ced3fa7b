/* The pieces of a backup's tar streams on their way to the destinations: each is named, sealed unless
 * every destination has it, and stored. A part of repo/create.h.
 *
 * Two stages of threads (repo/flow.h): sealing takes a processor for each thread, storing waits for
 * disk or network. Who adds pieces is the third. */
#pragma once

#include "repo/target.h"

typedef struct cx_piece {
    uint8_t id[CX_SEGMENT_ID_SIZE]; /* known when the stream is finished */
    int64_t size;
} cx_piece;

typedef struct cx_stream_spec {
    cx_targets *targets;
    const cx_age_recipients *recipients;
    const cx_naming *naming;
    size_t seal_threads, store_threads;
    bool dry_run; /* name the pieces, store nothing */
} cx_stream_spec;

typedef struct cx_stream cx_stream;

CX_MUST_CHECK bool cx_stream_open(const cx_stream_spec *spec, cx_stream **stream, cx_err *err);
void cx_stream_close(cx_stream **owner);
/* Takes the buffer's bytes and leaves it empty. Waits while the stages are full. */
CX_MUST_CHECK bool cx_stream_add(cx_stream *stream, cx_buffer *content, cx_err *err);
/* A piece that every destination has. */
void cx_stream_take_over(cx_stream *stream, const uint8_t id[CX_SEGMENT_ID_SIZE], int64_t size);
CX_MUST_CHECK bool cx_stream_finish(cx_stream *stream, cx_err *err);
size_t cx_stream_count(const cx_stream *stream);
const cx_piece *cx_stream_piece(const cx_stream *stream, size_t at);
