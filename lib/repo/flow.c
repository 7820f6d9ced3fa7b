#include "repo/flow.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

struct cx_flow {
    cx_flow_spec spec;
    pthread_mutex_t mutex;
    pthread_cond_t has_job, has_room;
    pthread_t *threads;
    size_t thread_count; /* started and not joined */
    void **jobs;         /* a ring */
    size_t first, count;
    bool closing;
    bool failed;
    cx_err error;
};

static void unlock(pthread_mutex_t **owner)
{
    pthread_mutex_unlock(*owner);
}

static void drop_waiting(cx_flow *flow)
{
    for (; flow->count > 0; flow->count--, flow->first++)
        flow->spec.drop(flow->jobs[flow->first % flow->spec.jobs_max]);
    pthread_cond_broadcast(&flow->has_room);
}

/* NULL: there will be none. */
static void *take_job(cx_flow *flow)
{
    CX_AUTO(unlock) pthread_mutex_t *locked = &flow->mutex;
    void *job;

    pthread_mutex_lock(locked);
    while (flow->count == 0 && !flow->closing)
        pthread_cond_wait(&flow->has_job, locked);
    if (flow->count == 0)
        return NULL;
    job = flow->jobs[flow->first++ % flow->spec.jobs_max];
    flow->count--;
    pthread_cond_signal(&flow->has_room);
    return job;
}

static void fail_with(cx_flow *flow, const cx_err *err)
{
    CX_AUTO(unlock) pthread_mutex_t *locked = &flow->mutex;

    pthread_mutex_lock(locked);
    if (!flow->failed)
        flow->error = *err;
    flow->failed = true;
    drop_waiting(flow);
}

static void *run_worker(void *arg)
{
    cx_flow *flow = arg;
    void *worker =
        flow->spec.worker_open != NULL ? flow->spec.worker_open(flow->spec.arg) : flow->spec.arg;

    for (void *job; (job = take_job(flow)) != NULL;) {
        cx_err err = {0};

        if (!flow->spec.work(job, worker, &err))
            fail_with(flow, &err);
    }
    if (flow->spec.worker_close != NULL)
        flow->spec.worker_close(worker);
    return NULL;
}

static void join_threads(cx_flow *flow)
{
    pthread_mutex_lock(&flow->mutex);
    flow->closing = true;
    pthread_cond_broadcast(&flow->has_job);
    pthread_mutex_unlock(&flow->mutex);
    while (flow->thread_count > 0)
        pthread_join(flow->threads[--flow->thread_count], NULL);
}

bool cx_flow_open(const cx_flow_spec *spec, cx_flow **flow, cx_err *err)
{
    CX_AUTO(cx_flow_close) cx_flow *made = cx_alloc(1, sizeof *made);
    sigset_t all, before;
    int fault = 0;

    made->spec = *spec;
    made->threads = cx_alloc(spec->threads, sizeof *made->threads);
    made->jobs = cx_alloc(spec->jobs_max, sizeof *made->jobs);
    pthread_mutex_init(&made->mutex, NULL);
    pthread_cond_init(&made->has_job, NULL);
    pthread_cond_init(&made->has_room, NULL);
    /* Signals are for the thread that reads: it stops, and the rest with it. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    while (fault == 0 && made->thread_count < spec->threads) {
        fault = pthread_create(&made->threads[made->thread_count], NULL, run_worker, made);
        made->thread_count += fault == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (fault != 0)
        return cx_fail(err, CX_INTERNAL, "start a thread: %s", strerror(fault));
    *flow = CX_TAKE(made);
    return true;
}

bool cx_flow_put(cx_flow *flow, void *job, cx_err *err)
{
    CX_AUTO(unlock) pthread_mutex_t *locked = &flow->mutex;

    pthread_mutex_lock(locked);
    while (flow->count == flow->spec.jobs_max && !flow->failed)
        pthread_cond_wait(&flow->has_room, locked);
    if (flow->failed) {
        flow->spec.drop(job);
        *err = flow->error;
        return false;
    }
    flow->jobs[(flow->first + flow->count++) % flow->spec.jobs_max] = job;
    pthread_cond_signal(&flow->has_job);
    return true;
}

bool cx_flow_finish(cx_flow *flow, cx_err *err)
{
    join_threads(flow);
    if (flow->failed)
        *err = flow->error;
    return !flow->failed;
}

void cx_flow_close(cx_flow **owner)
{
    cx_flow *flow = CX_TAKE(*owner);

    if (flow == NULL)
        return;
    pthread_mutex_lock(&flow->mutex);
    flow->failed = true;
    drop_waiting(flow);
    pthread_mutex_unlock(&flow->mutex);
    join_threads(flow);
    pthread_mutex_destroy(&flow->mutex);
    pthread_cond_destroy(&flow->has_job);
    pthread_cond_destroy(&flow->has_room);
    cx_free(&flow->threads);
    cx_free(&flow->jobs);
    cx_free(&flow);
}
