/* Sampler: what the host and the process have to give: CPU, memory, disk, load, and how late the loop
 * runs. From /proc and statvfs, on a timer. */
#pragma once

#include <event2/event.h>

#include "base/json.h"

typedef struct node_sampler node_sampler;

typedef struct node_sample {
    double cpu_percent; /* of the whole host, over the last interval */
    double memory_percent;
    int64_t memory_total_bytes, memory_available_bytes;
    double disk_percent;
    int64_t disk_free_bytes;
    double load1;
    double process_cpu_percent;
    int64_t process_rss_bytes, process_open_files;
    double loop_lag_p50_ms, loop_lag_max_ms; /* of the last minutes */
} node_sample;

node_sampler *node_sampler_open(struct event_base *loop, const char *data_dir);
void node_sampler_close(node_sampler **owner);
node_sample node_sampler_last(const node_sampler *sampler);
