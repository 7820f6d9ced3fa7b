/* Sampler: looks at a process and all that it started, many times a second, through /proc: which thread
 * runs, which waits, and in what of the kernel. It stops nothing and attaches to nothing.
 *
 * A thread of its own samples until the time is over; what it found is read after it was joined. A child
 * that lives shorter than DEBUG_RESCAN_MS may go unseen. */
#pragma once

#include <sys/types.h>

#include "base/json.h"

enum {
    DEBUG_RESCAN_MS = 250,
    DEBUG_PROCESSES_MAX = 256,
    DEBUG_THREADS_MAX = 1024,
};

typedef struct debug_thread {
    pid_t pid, tid;
    char comm[64];
    int64_t first_user, first_system, last_user, last_system; /* ticks */
    int64_t running, waiting, blocked, stopped; /* samples; blocked: in a disk's wait */
} debug_thread;

typedef struct debug_sampler debug_sampler;

/* stacks are counted below `root`, as root;[waiting];COMM;frames. */
CX_MUST_CHECK bool debug_sampler_start(pid_t pid, const char *root, int64_t duration_ms,
                                       int64_t rate_hz, debug_sampler **sampler, cx_err *err);
/* Waits for its end. */
void debug_sampler_join(debug_sampler *sampler);
void debug_sampler_close(debug_sampler **owner); /* joins, too */

/* After the join. */
const debug_thread *debug_sampler_threads(const debug_sampler *sampler, size_t *count);
const json_t *debug_sampler_counts(const debug_sampler *sampler); /* borrowed */
int64_t debug_sampler_samples(const debug_sampler *sampler);      /* rounds */
double debug_sampler_seconds(const debug_sampler *sampler);
bool debug_sampler_gone(const debug_sampler *sampler);       /* the process ended meanwhile */
bool debug_sampler_has_stacks(const debug_sampler *sampler); /* the kernel showed stacks */

/* All processes of the tree, the root first; at most DEBUG_PROCESSES_MAX. Returns how many. */
size_t debug_tree(pid_t root, pid_t pids[DEBUG_PROCESSES_MAX]);
