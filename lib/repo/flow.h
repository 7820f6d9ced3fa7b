/* A stage of work between bounded buffers: threads that take jobs from a queue that holds so many and
 * no more. Reading, cutting, sealing and storing are such stages: the slowest sets the pace, and
 * memory stays bounded. For commands; daemons have base/pool.h.
 *
 * The first failure ends the work: later jobs are dropped, put and finish tell it. */
#pragma once

#include "base/err.h"

typedef struct cx_flow cx_flow;

typedef struct cx_flow_spec {
    size_t threads;
    size_t jobs_max;                                    /* that wait */
    bool (*work)(void *job, void *worker, cx_err *err); /* in a thread; owns the job */
    void (*drop)(void *job);                            /* frees a job that is not worked on */
    void *(*worker_open)(void *arg);                    /* what each thread has; may be NULL */
    void (*worker_close)(void *worker);
    void *arg;
} cx_flow_spec;

CX_MUST_CHECK bool cx_flow_open(const cx_flow_spec *spec, cx_flow **flow, cx_err *err);
/* Waits while the queue is full. The job is the flow's in any case. From any thread. */
CX_MUST_CHECK bool cx_flow_put(cx_flow *flow, void *job, cx_err *err);
/* Waits until all that was put is done and ends the threads. */
CX_MUST_CHECK bool cx_flow_finish(cx_flow *flow, cx_err *err);
/* Drops what waits, ends the threads. */
void cx_flow_close(cx_flow **owner);
