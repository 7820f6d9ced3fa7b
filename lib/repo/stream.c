#include "repo/stream.h"

#include <string.h>

#include "base/text.h"
#include "repo/flow.h"

struct job {
    cx_piece *piece;
    cx_buffer content; /* what is stored, after sealing */
    cx_segment segment;
    uint32_t to_store;
};

struct cx_stream {
    cx_stream_spec spec;
    cx_flow *seal, *store;
    cx_piece **pieces;
    size_t count, capacity;
};

static void drop_job(void *arg)
{
    struct job *job = arg;

    cx_buffer_free(&job->content);
    cx_free(&job);
}

static void drop_owned(struct job **owner)
{
    if (*owner != NULL)
        drop_job(CX_TAKE(*owner));
}

/* ---- the stages */

struct seal_worker {
    cx_stream *stream;
    cx_sealer *sealer;
};

static void *open_seal_worker(void *arg)
{
    struct seal_worker *worker = cx_alloc(1, sizeof *worker);

    worker->stream = arg;
    worker->sealer = cx_sealer_open(worker->stream->spec.recipients);
    return worker;
}

static void close_seal_worker(void *arg)
{
    struct seal_worker *worker = arg;

    cx_sealer_close(&worker->sealer);
    cx_free(&worker);
}

static bool seal(void *arg, void *worker_arg, cx_err *err)
{
    CX_AUTO(drop_owned) struct job *job = arg;
    const struct seal_worker *worker = worker_arg;
    cx_stream *stream = worker->stream;
    CX_AUTO(cx_buffer_free) cx_buffer stored = {0};

    cx_segment_id(stream->spec.naming, cx_buffer_bytes(&job->content), job->piece->id);
    if (!cx_targets_claim(stream->spec.targets, job->piece->id, &job->to_store, err))
        return false;
    if (job->to_store == 0 || stream->spec.dry_run)
        return true;
    if (!cx_seal(worker->sealer, cx_buffer_bytes(&job->content), &stored, err))
        return false;
    memcpy(job->segment.id, job->piece->id, sizeof job->segment.id);
    job->segment.size = job->piece->size;
    job->segment.stored_bytes = (int64_t)stored.size;
    cx_sha256(cx_buffer_bytes(&stored), job->segment.sha256);
    cx_buffer_free(&job->content);
    job->content = stored;
    stored = (cx_buffer){0};
    return cx_flow_put(stream->store, CX_TAKE(job), err);
}

static bool store(void *arg, void *worker, cx_err *err)
{
    CX_AUTO(drop_owned) struct job *job = arg;
    const cx_stream *stream = worker;

    cx_targets_store(stream->spec.targets, job->to_store, &job->segment,
                     cx_buffer_bytes(&job->content));
    return cx_targets_alive(stream->spec.targets, err);
}

bool cx_stream_open(const cx_stream_spec *spec, cx_stream **stream, cx_err *err)
{
    CX_AUTO(cx_stream_close) cx_stream *made = cx_alloc(1, sizeof *made);

    made->spec = *spec;
    if (!cx_flow_open(&(cx_flow_spec){.threads = spec->store_threads,
                                      .jobs_max = 2 * spec->store_threads,
                                      .work = store,
                                      .drop = drop_job,
                                      .arg = made},
                      &made->store, err) ||
        !cx_flow_open(&(cx_flow_spec){.threads = spec->seal_threads,
                                      .jobs_max = 2 * spec->seal_threads,
                                      .work = seal,
                                      .drop = drop_job,
                                      .worker_open = open_seal_worker,
                                      .worker_close = close_seal_worker,
                                      .arg = made},
                      &made->seal, err))
        return false;
    *stream = CX_TAKE(made);
    return true;
}

void cx_stream_close(cx_stream **owner)
{
    cx_stream *stream = CX_TAKE(*owner);

    if (stream == NULL)
        return;
    cx_flow_close(&stream->seal); /* it puts into the other */
    cx_flow_close(&stream->store);
    for (size_t i = 0; i < stream->count; i++)
        cx_free(&stream->pieces[i]);
    cx_free(&stream->pieces);
    cx_free(&stream);
}

/* ---- pieces */

static cx_piece *add_piece(cx_stream *stream, int64_t size)
{
    cx_piece *piece = cx_alloc(1, sizeof *piece);

    if (stream->count == stream->capacity) {
        stream->capacity = stream->capacity == 0 ? 256 : stream->capacity * 2;
        stream->pieces = cx_realloc(stream->pieces, stream->capacity, sizeof *stream->pieces);
    }
    stream->pieces[stream->count++] = piece;
    piece->size = size;
    return piece;
}

bool cx_stream_add(cx_stream *stream, cx_buffer *content, cx_err *err)
{
    struct job *job = cx_alloc(1, sizeof *job);

    job->piece = add_piece(stream, (int64_t)content->size);
    job->content = *content;
    *content = (cx_buffer){0};
    return cx_flow_put(stream->seal, job, err);
}

void cx_stream_take_over(cx_stream *stream, const uint8_t id[CX_SEGMENT_ID_SIZE], int64_t size)
{
    memcpy(add_piece(stream, size)->id, id, CX_SEGMENT_ID_SIZE);
}

bool cx_stream_finish(cx_stream *stream, cx_err *err)
{
    return cx_flow_finish(stream->seal, err) && cx_flow_finish(stream->store, err);
}

size_t cx_stream_count(const cx_stream *stream)
{
    return stream->count;
}

const cx_piece *cx_stream_piece(const cx_stream *stream, size_t at)
{
    return stream->pieces[at];
}
