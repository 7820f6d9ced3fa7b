/* Figures of the recent past: latencies and outcomes of the last minutes.
 *
 * Pure: times are milliseconds of the caller's monotonic clock. */
#pragma once

#include "base/mem.h"

enum { NODE_WINDOW_MS = 5 * 60 * 1000 };

/* The latest values, at most `capacity` of them; the oldest goes first. {.capacity = N} is ready. */
typedef struct node_latency {
    size_t capacity;
    size_t count, next;
    struct node_latency_value {
        int64_t at_ms;
        int64_t value_ms;
    } * values; /* allocated with the first value */
} node_latency;

typedef struct node_latency_summary {
    double p50_ms, p99_ms, max_ms;
    size_t count; /* 0: the others mean nothing */
} node_latency_summary;

void node_latency_add(node_latency *latency, int64_t value_ms, int64_t now_ms);
/* Of those within NODE_WINDOW_MS before now; nearest rank. */
node_latency_summary node_latency_summarize(const node_latency *latency, int64_t now_ms);
void node_latency_free(node_latency *latency);

/* Outcomes in slots of ten seconds. {0} is ready. */
enum { NODE_RATE_SLOTS = 30 };
typedef struct node_rate {
    int64_t slot; /* the current one's number */
    uint32_t done[NODE_RATE_SLOTS], failed[NODE_RATE_SLOTS];
} node_rate;

void node_rate_add(node_rate *rate, bool failed, int64_t now_ms);
/* How many of each were within the window. */
void node_rate_sum(const node_rate *rate, int64_t now_ms, uint64_t *done, uint64_t *failed);

/* Cumulative histogram for Prometheus: counts of values up to each bound. {0} is ready. */
enum { NODE_HISTOGRAM_BOUNDS = 12 };
extern const int64_t node_histogram_bounds_ms[NODE_HISTOGRAM_BOUNDS];
typedef struct node_histogram {
    uint64_t counts[NODE_HISTOGRAM_BOUNDS]; /* each alone, not cumulated */
    uint64_t count;
    double sum_ms;
} node_histogram;

void node_histogram_add(node_histogram *histogram, int64_t value_ms);
