/* Worker threads for blocking work (fsync, SQLite commits, hashing, DNS) beside a libevent loop.
 *
 * A job is a copy of its input; `work` runs in a worker, `done` in the loop afterwards, in the
 * order of completion. With one thread the pool is a serial queue. Workers take no signals. There is no mutex outside the
 * pool: work touches only its job and what belongs to the worker. */
#pragma once

#include <event2/event.h>

#include "base/err.h"

typedef struct cx_pool cx_pool;

CX_MUST_CHECK bool cx_pool_open(struct event_base *loop, size_t threads, size_t jobs_max,
                                cx_pool **pool, cx_err *err);
/* Finishes the queued jobs, joins the threads, calls the outstanding `done`s, frees. Not from within
 * a `done`; jobs that those add are refused. */
void cx_pool_close(cx_pool **owner);
/* False (and nothing kept) when jobs_max jobs wait already: the caller answers 503. */
CX_MUST_CHECK bool cx_pool_add(cx_pool *pool, void (*work)(void *job), void (*done)(void *job),
                               void *job);
size_t cx_pool_waiting(const cx_pool *pool); /* jobs that no worker has taken up yet */
/* Wakes a serial worker's batch: every job that waits now is handed to work_batch in one call, so
 * that one fsync serves them all (group commit). `done` is called for each job in order. */
CX_MUST_CHECK bool cx_pool_open_batch(struct event_base *loop, size_t batch_max, size_t jobs_max,
                                      void (*work_batch)(void **jobs, size_t count, void *arg),
                                      void (*done)(void *job), void *arg, cx_pool **pool,
                                      cx_err *err);
CX_MUST_CHECK bool cx_pool_add_batch(cx_pool *pool, void *job);
