/* Folded: stacks as flame graphs take them, `root;outer;inner COUNT`, and what else profiles are made of:
 * texts of the kernel and of perf, read.
 *
 * Pure: no clock, no I/O. Counts are a JSON object, stack: samples. */
#pragma once

#include "base/json.h"

enum {
    DEBUG_STACKS_MAX = 20000, /* different ones; what comes later is counted as `[more]` */
    DEBUG_FRAMES_MAX = 256,
};

/* One more sample of a stack. */
void debug_fold(json_t *counts, const char *stack);
/* Appends the frames of /proc/PID/stack, outermost first, each after a semicolon. */
void debug_fold_kernel(cx_bytes text, cx_buffer *stack);
/* Reads `perf script -F comm,pid,tid,ip,sym`; each sample is counted below `root`. Returns how many. */
size_t debug_fold_perf(cx_bytes text, const char *root, json_t *counts);
/* "stack count" a line, the most frequent first. Caller owns. */
char *debug_folded_text(const json_t *counts);
/* The same as [{"stack","samples"}], at most so many. New reference. */
json_t *debug_folded_list(const json_t *counts, size_t count_max);

/* Adds /proc/PID/smaps to sums, in bytes: {"rss_bytes","pss_bytes","private_bytes","swap_bytes"}, and
 * each mapping's pss to by_name. */
void debug_add_smaps(cx_bytes text, json_t *sums, json_t *by_name);

/* Fields of /proc/PID/stat. */
typedef struct debug_stat {
    char comm[64];
    char state; /* R S D T t Z I */
    int64_t ppid;
    int64_t user_ticks, system_ticks;
} debug_stat;
bool debug_read_stat(cx_bytes text, debug_stat *stat);
