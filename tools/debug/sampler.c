#include "sampler.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cli.h"
#include "base/io.h"
#include "base/time.h"
#include "folded.h"

enum { PROC_FILE_MAX = 64 * 1024 };

struct debug_sampler {
    pid_t root_pid;
    char *root;
    int64_t duration_ms, period_us;
    pthread_t thread;
    bool started, joined;
    debug_thread threads[DEBUG_THREADS_MAX];
    size_t count;
    json_t *counts;
    int64_t samples, began_ms, ended_ms;
    bool gone, has_stacks;
};

/* ---- the tree */

static bool read_proc(const char *path, cx_buffer *content)
{
    cx_err ignored;

    cx_buffer_clear(content);
    return cx_read_file(path, PROC_FILE_MAX, content, &ignored);
}

static bool read_stat(pid_t pid, debug_stat *stat)
{
    CX_AUTO(cx_free) char *path = cx_format("/proc/%d/stat", (int)pid);
    CX_AUTO(cx_buffer_free) cx_buffer content = {0};

    return read_proc(path, &content) && debug_read_stat(cx_buffer_bytes(&content), stat);
}

static void close_folder(DIR **owner)
{
    if (*owner != NULL)
        closedir(*owner);
    *owner = NULL;
}

/* Numbers in a folder of /proc. */
static size_t numbers_in(const char *path, pid_t *numbers, size_t count_max)
{
    CX_AUTO(close_folder) DIR *folder = opendir(path);
    struct dirent *entry;
    size_t count = 0;

    while (folder != NULL && count < count_max && (entry = readdir(folder)) != NULL)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            numbers[count++] = (pid_t)strtol(entry->d_name, NULL, 10);
    return count;
}

static bool has(const pid_t *pids, size_t count, int64_t pid)
{
    for (size_t i = 0; i < count; i++)
        if (pids[i] == pid)
            return true;
    return false;
}

size_t debug_tree(pid_t root, pid_t pids[DEBUG_PROCESSES_MAX])
{
    enum { ALL_MAX = 65536 };
    CX_AUTO(cx_free) pid_t *all = cx_alloc(ALL_MAX, sizeof *all);
    CX_AUTO(cx_free) int64_t *parents = cx_alloc(ALL_MAX, sizeof *parents);
    size_t total = numbers_in("/proc", all, ALL_MAX), count = 1, before = 0;
    debug_stat stat;

    pids[0] = root;
    for (size_t i = 0; i < total; i++)
        parents[i] = read_stat(all[i], &stat) ? stat.ppid : 0;
    while (before != count) { /* a generation at a time */
        before = count;
        for (size_t i = 0; i < total && count < DEBUG_PROCESSES_MAX; i++)
            if (has(pids, count, parents[i]) && !has(pids, count, all[i]))
                pids[count++] = all[i];
    }
    return count;
}

/* ---- threads */

static void add_thread(debug_sampler *sampler, pid_t pid, pid_t tid)
{
    for (size_t i = 0; i < sampler->count; i++)
        if (sampler->threads[i].pid == pid && sampler->threads[i].tid == tid)
            return;
    if (sampler->count < DEBUG_THREADS_MAX)
        sampler->threads[sampler->count++] =
            (debug_thread){.pid = pid, .tid = tid, .first_user = -1};
}

static void rescan(debug_sampler *sampler)
{
    pid_t pids[DEBUG_PROCESSES_MAX], tids[DEBUG_THREADS_MAX];
    size_t processes = debug_tree(sampler->root_pid, pids);

    for (size_t i = 0; i < processes; i++) {
        CX_AUTO(cx_free) char *path = cx_format("/proc/%d/task", (int)pids[i]);
        size_t threads = numbers_in(path, tids, DEBUG_THREADS_MAX);

        for (size_t each = 0; each < threads; each++)
            add_thread(sampler, pids[i], tids[each]);
    }
}

/* Where in the kernel it waits: its stack, else the one function that /proc/…/wchan names. */
static void add_wait(debug_sampler *sampler, const char *folder, cx_buffer *stack)
{
    CX_AUTO(cx_free) char *stack_path = cx_format("%s/stack", folder);
    CX_AUTO(cx_free) char *wchan_path = cx_format("%s/wchan", folder);
    CX_AUTO(cx_buffer_free) cx_buffer content = {0};

    if (read_proc(stack_path, &content) && content.size > 0) {
        sampler->has_stacks = true;
        debug_fold_kernel(cx_buffer_bytes(&content), stack);
    } else if (read_proc(wchan_path, &content) && content.size > 1) {
        cx_buffer_addf(stack, ";%.*s", (int)content.size, (const char *)content.data);
    }
}

static void count_state(debug_thread *thread, char state)
{
    switch (state) {
    case 'R': thread->running++; break;
    case 'D': thread->blocked++; break;
    case 'T':
    case 't': thread->stopped++; break;
    default: thread->waiting++; break;
    }
}

static const char *state_word(char state)
{
    switch (state) {
    case 'R': return "running";
    case 'D': return "blocked";
    case 'T':
    case 't': return "stopped";
    default: return "waiting";
    }
}

/* False: the thread is gone. */
static bool look(debug_sampler *sampler, debug_thread *thread)
{
    CX_AUTO(cx_free)
    char *folder = cx_format("/proc/%d/task/%d", (int)thread->pid, (int)thread->tid);
    CX_AUTO(cx_free) char *path = cx_format("%s/stat", folder);
    CX_AUTO(cx_buffer_free) cx_buffer content = {0};
    CX_AUTO(cx_buffer_free) cx_buffer stack = {0};
    debug_stat stat;

    if (!read_proc(path, &content) || !debug_read_stat(cx_buffer_bytes(&content), &stat) ||
        stat.state == 'Z' || stat.state == 'X')
        return false;
    if (thread->first_user < 0) {
        thread->first_user = stat.user_ticks;
        thread->first_system = stat.system_ticks;
    }
    memcpy(thread->comm, stat.comm, sizeof thread->comm);
    thread->last_user = stat.user_ticks;
    thread->last_system = stat.system_ticks;
    count_state(thread, stat.state);
    cx_buffer_addf(&stack, "%s;[%s];%s", sampler->root, state_word(stat.state), stat.comm);
    if (stat.state != 'R')
        add_wait(sampler, folder, &stack);
    debug_fold(sampler->counts, (const char *)stack.data);
    return true;
}

/* ---- the thread that samples */

static void wait_until_us(int64_t at_us)
{
    struct timespec at = {.tv_sec = at_us / 1000000, .tv_nsec = at_us % 1000000 * 1000};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR && !cx_interrupted())
        continue;
}

static void *sample(void *arg)
{
    debug_sampler *sampler = arg;
    int64_t next_us = cx_now_us(), rescan_ms = 0;

    sampler->began_ms = cx_now_ms();
    while (!cx_interrupted() && cx_now_ms() - sampler->began_ms < sampler->duration_ms) {
        bool any = false;

        if (cx_now_ms() >= rescan_ms) {
            rescan(sampler);
            rescan_ms = cx_now_ms() + DEBUG_RESCAN_MS;
        }
        for (size_t i = 0; i < sampler->count; i++)
            any |= look(sampler, &sampler->threads[i]);
        if (!any) {
            sampler->gone = true;
            break;
        }
        sampler->samples++;
        next_us += sampler->period_us;
        if (next_us < cx_now_us()) /* too many threads for the rate: go on from here */
            next_us = cx_now_us();
        wait_until_us(next_us);
    }
    sampler->ended_ms = cx_now_ms();
    return NULL;
}

/* ---- public */

bool debug_sampler_start(pid_t pid, const char *root, int64_t duration_ms, int64_t rate_hz,
                         debug_sampler **sampler, cx_err *err)
{
    CX_AUTO(debug_sampler_close) debug_sampler *made = cx_alloc(1, sizeof *made);

    made->root_pid = pid;
    made->root = cx_strdup(root);
    made->duration_ms = duration_ms;
    made->period_us = 1000000 / rate_hz;
    made->counts = json_object();
    errno = pthread_create(&made->thread, NULL, sample, made);
    if (errno != 0)
        return cx_fail_errno(err, "start the sampler");
    made->started = true;
    *sampler = CX_TAKE(made);
    return true;
}

void debug_sampler_join(debug_sampler *sampler)
{
    if (sampler->started && !sampler->joined)
        pthread_join(sampler->thread, NULL);
    sampler->joined = true;
}

void debug_sampler_close(debug_sampler **owner)
{
    if (*owner == NULL)
        return;
    debug_sampler_join(*owner);
    cx_free(&(*owner)->root);
    cx_json_free(&(*owner)->counts);
    cx_free(owner);
}

const debug_thread *debug_sampler_threads(const debug_sampler *sampler, size_t *count)
{
    *count = sampler->count;
    return sampler->threads;
}

const json_t *debug_sampler_counts(const debug_sampler *sampler)
{
    return sampler->counts;
}

int64_t debug_sampler_samples(const debug_sampler *sampler)
{
    return sampler->samples;
}

double debug_sampler_seconds(const debug_sampler *sampler)
{
    return (double)(sampler->ended_ms - sampler->began_ms) / 1000;
}

bool debug_sampler_gone(const debug_sampler *sampler)
{
    return sampler->gone;
}

bool debug_sampler_has_stacks(const debug_sampler *sampler)
{
    return sampler->has_stacks;
}
