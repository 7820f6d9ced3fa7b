#include "window.h"

#include <stdlib.h>
#include <string.h>

enum { SLOT_MS = NODE_WINDOW_MS / NODE_RATE_SLOTS };

const int64_t node_histogram_bounds_ms[NODE_HISTOGRAM_BOUNDS] = {
    1, 2, 5, 10, 20, 50, 100, 250, 1000, 2500, 10000, 60000};

static int compare_values(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

/* Nearest rank: the smallest value that at least percent of all values do not exceed. */
static double rank(const int64_t *sorted, size_t count, size_t percent)
{
    size_t at = (count * percent + 99) / 100;

    return (double)sorted[at == 0 ? 0 : at - 1];
}

/* Empties the slots that became old since the last event. */
static void advance(node_rate *rate, int64_t slot)
{
    if (slot - rate->slot >= NODE_RATE_SLOTS) {
        memset(rate->done, 0, sizeof rate->done);
        memset(rate->failed, 0, sizeof rate->failed);
        rate->slot = slot;
    }
    while (rate->slot < slot) {
        rate->slot++;
        rate->done[rate->slot % NODE_RATE_SLOTS] = 0;
        rate->failed[rate->slot % NODE_RATE_SLOTS] = 0;
    }
}

void node_latency_add(node_latency *latency, int64_t value_ms, int64_t now_ms)
{
    if (latency->values == NULL)
        latency->values = cx_alloc(latency->capacity, sizeof *latency->values);
    latency->values[latency->next] =
        (struct node_latency_value){now_ms, value_ms < 0 ? 0 : value_ms};
    latency->next = (latency->next + 1) % latency->capacity;
    if (latency->count < latency->capacity)
        latency->count++;
}

node_latency_summary node_latency_summarize(const node_latency *latency, int64_t now_ms)
{
    CX_AUTO(cx_free) int64_t *sorted = NULL;
    size_t count = 0;

    if (latency->count == 0)
        return (node_latency_summary){0};
    sorted = cx_alloc(latency->count, sizeof *sorted);
    for (size_t i = 0; i < latency->count; i++)
        if (now_ms - latency->values[i].at_ms <= NODE_WINDOW_MS)
            sorted[count++] = latency->values[i].value_ms;
    if (count == 0)
        return (node_latency_summary){0};
    qsort(sorted, count, sizeof *sorted, compare_values);
    return (node_latency_summary){
        .p50_ms = rank(sorted, count, 50),
        .p99_ms = rank(sorted, count, 99),
        .max_ms = (double)sorted[count - 1],
        .count = count,
    };
}

void node_latency_free(node_latency *latency)
{
    cx_free(&latency->values);
    latency->count = latency->next = 0;
}

void node_rate_add(node_rate *rate, bool failed, int64_t now_ms)
{
    advance(rate, now_ms / SLOT_MS);
    if (failed)
        rate->failed[rate->slot % NODE_RATE_SLOTS]++;
    else
        rate->done[rate->slot % NODE_RATE_SLOTS]++;
}

void node_rate_sum(const node_rate *rate, int64_t now_ms, uint64_t *done, uint64_t *failed)
{
    node_rate current = *rate;

    advance(&current, now_ms / SLOT_MS);
    *done = *failed = 0;
    for (size_t i = 0; i < NODE_RATE_SLOTS; i++) {
        *done += current.done[i];
        *failed += current.failed[i];
    }
}

void node_histogram_add(node_histogram *histogram, int64_t value_ms)
{
    for (size_t i = 0; i < NODE_HISTOGRAM_BOUNDS; i++)
        if (value_ms <= node_histogram_bounds_ms[i]) {
            histogram->counts[i]++;
            break;
        }
    histogram->count++;
    histogram->sum_ms += (double)value_ms;
}
