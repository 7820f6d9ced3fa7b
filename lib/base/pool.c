#include "base/pool.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/io.h"

struct task {
    void *job;
    void (*work)(void *job);
    void (*done)(void *job);
    struct task *next;
};

struct queue {
    struct task *first;
    struct task **end; /* where the next one is linked in */
};

struct cx_pool {
    pthread_mutex_t lock; /* guards todo, finished, waiting and closing */
    pthread_cond_t wake;
    struct queue todo;
    struct queue finished;
    size_t waiting;
    bool closing;

    pthread_t *threads;
    size_t thread_count;
    size_t jobs_max;
    int wake_fd;
    struct event *event;

    size_t batch_max; /* 0: not a batch pool */
    void (*work_batch)(void **jobs, size_t count, void *arg);
    void (*batch_done)(void *job);
    void *batch_arg;
    void **batch; /* the worker's */
};

static void push(struct queue *queue, struct task *task)
{
    task->next = NULL;
    *queue->end = task;
    queue->end = &task->next;
}

static struct task *pop(struct queue *queue)
{
    struct task *task = queue->first;

    if (!task)
        return NULL;
    queue->first = task->next;
    if (!queue->first)
        queue->end = &queue->first;
    return task;
}

static void tell_loop(cx_pool *pool)
{
    uint64_t one = 1;
    /* It only fails when the counter is full: then the loop is awake anyway. */
    ssize_t ignored = write(pool->wake_fd, &one, sizeof(one));

    (void)ignored;
}

/* Waits for work; false when there is none left and the pool closes. Called with the lock. */
static bool wait_for_work(cx_pool *pool)
{
    while (!pool->todo.first && !pool->closing)
        pthread_cond_wait(&pool->wake, &pool->lock);
    return pool->todo.first != NULL;
}

static void *work_singly(void *arg)
{
    cx_pool *pool = arg;

    pthread_mutex_lock(&pool->lock);
    while (wait_for_work(pool)) {
        struct task *task = pop(&pool->todo);

        pool->waiting--;
        pthread_mutex_unlock(&pool->lock);
        task->work(task->job);
        pthread_mutex_lock(&pool->lock);
        push(&pool->finished, task);
        tell_loop(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static void *work_in_batches(void *arg)
{
    cx_pool *pool = arg;

    pthread_mutex_lock(&pool->lock);
    while (wait_for_work(pool)) {
        struct queue taken = {.end = &taken.first};
        size_t count = 0;

        for (; count < pool->batch_max && pool->todo.first; count++) {
            struct task *task = pop(&pool->todo);

            pool->batch[count] = task->job;
            push(&taken, task);
        }
        pool->waiting -= count;
        pthread_mutex_unlock(&pool->lock);
        pool->work_batch(pool->batch, count, pool->batch_arg);
        pthread_mutex_lock(&pool->lock);
        for (struct task *task; (task = pop(&taken));)
            push(&pool->finished, task);
        tell_loop(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static void finish_tasks(cx_pool *pool)
{
    struct task *task;

    pthread_mutex_lock(&pool->lock);
    task = pool->finished.first;
    pool->finished = (struct queue){.end = &pool->finished.first};
    pthread_mutex_unlock(&pool->lock);
    while (task) {
        struct task *next = task->next;

        task->done(task->job);
        cx_free(&task);
        task = next;
    }
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    uint64_t count;
    ssize_t ignored = read((int)fd, &count, sizeof(count));

    (void)ignored;
    (void)what;
    finish_tasks(arg);
}

/* Signals belong to the loop's thread: a worker that took one would be the wrong one to stop. */
static bool start_threads(cx_pool *pool, size_t threads, void *(*main)(void *), cx_err *err)
{
    sigset_t all, before;
    int fault = 0;

    pool->threads = cx_alloc(threads, sizeof(*pool->threads));
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (fault == 0 && pool->thread_count < threads) {
        fault = pthread_create(&pool->threads[pool->thread_count], NULL, main, pool);
        if (fault == 0)
            pool->thread_count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (fault != 0)
        return cx_fail(err, CX_BUSY, "start a worker thread: %s", strerrordesc_np(fault));
    return true;
}

static bool open_pool(struct event_base *loop, size_t threads, size_t jobs_max, cx_pool *pool,
                      cx_err *err)
{
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->todo.end = &pool->todo.first;
    pool->finished.end = &pool->finished.first;
    pool->jobs_max = jobs_max;
    pool->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (pool->wake_fd < 0)
        return cx_fail_errno(err, "eventfd");
    pool->event = event_new(loop, pool->wake_fd, EV_READ | EV_PERSIST, on_wake, pool);
    if (!pool->event || event_add(pool->event, NULL) < 0)
        return cx_fail(err, CX_INTERNAL, "watch an eventfd");
    return start_threads(pool, threads, pool->batch_max > 0 ? work_in_batches : work_singly, err);
}

static bool add(cx_pool *pool, void (*work)(void *job), void (*done)(void *job), void *job)
{
    struct task *task = NULL;

    pthread_mutex_lock(&pool->lock);
    if (pool->waiting < pool->jobs_max && !pool->closing) {
        task = cx_alloc(1, sizeof(*task));
        *task = (struct task){.job = job, .work = work, .done = done};
        push(&pool->todo, task);
        pool->waiting++;
        pthread_cond_signal(&pool->wake);
    }
    pthread_mutex_unlock(&pool->lock);
    return task != NULL;
}

bool cx_pool_open(struct event_base *loop, size_t threads, size_t jobs_max, cx_pool **pool,
                  cx_err *err)
{
    CX_AUTO(cx_pool_close) cx_pool *opened = cx_alloc(1, sizeof(*opened));

    assert(threads > 0 && jobs_max > 0);
    if (!open_pool(loop, threads, jobs_max, opened, err))
        return false;
    *pool = CX_TAKE(opened);
    return true;
}

void cx_pool_close(cx_pool **owner)
{
    cx_pool *pool = *owner;

    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; i < pool->thread_count; i++)
        pthread_join(pool->threads[i], NULL);
    finish_tasks(pool); /* the owner still has it: what a `done` adds is refused */
    if (pool->event)
        event_free(pool->event);
    cx_fd_close(&pool->wake_fd);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    cx_free(&pool->threads);
    cx_free(&pool->batch);
    cx_free(owner);
}

bool cx_pool_add(cx_pool *pool, void (*work)(void *job), void (*done)(void *job), void *job)
{
    assert(pool->batch_max == 0);
    return add(pool, work, done, job);
}

size_t cx_pool_waiting(const cx_pool *pool)
{
    cx_pool *locked = (cx_pool *)pool; /* the lock is no part of the value */
    size_t waiting;

    pthread_mutex_lock(&locked->lock);
    waiting = pool->waiting;
    pthread_mutex_unlock(&locked->lock);
    return waiting;
}

bool cx_pool_open_batch(struct event_base *loop, size_t batch_max, size_t jobs_max,
                        void (*work_batch)(void **jobs, size_t count, void *arg),
                        void (*done)(void *job), void *arg, cx_pool **pool, cx_err *err)
{
    CX_AUTO(cx_pool_close) cx_pool *opened = cx_alloc(1, sizeof(*opened));

    assert(batch_max > 0 && jobs_max > 0);
    opened->batch_max = batch_max;
    opened->work_batch = work_batch;
    opened->batch_done = done;
    opened->batch_arg = arg;
    opened->batch = cx_alloc(batch_max, sizeof(*opened->batch));
    if (!open_pool(loop, 1, jobs_max, opened, err))
        return false;
    *pool = CX_TAKE(opened);
    return true;
}

bool cx_pool_add_batch(cx_pool *pool, void *job)
{
    assert(pool->batch_max > 0);
    return add(pool, NULL, pool->batch_done, job);
}
