#include "sampler.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/time.h"
#include "process.h"
#include "timer.h"
#include "window.h"

enum {
    SAMPLE_MS = 2000,
    LAG_MS = 250,
    LAGS_MAX = 1024, /* about four minutes */
};

struct node_sampler {
    struct event *sample_timer, *lag_timer;
    char *data_dir;
    node_sample sample;
    int64_t cpu_busy, cpu_total;
    int64_t process_cpu_ms, sampled_ms;
    int64_t lag_due_ms;
    node_latency lags;
};

static void sample_cpu(node_sampler *sampler)
{
    long long part[8] = {0};
    int64_t total = 0, idle;
    FILE *file = fopen("/proc/stat", "re");

    if (file == NULL)
        return;
    if (fscanf(file, "cpu %lld %lld %lld %lld %lld %lld %lld %lld", &part[0], &part[1], &part[2],
               &part[3], &part[4], &part[5], &part[6], &part[7]) == 8) {
        for (size_t i = 0; i < CX_COUNT(part); i++)
            total += part[i];
        idle = part[3] + part[4];
        if (sampler->cpu_total != 0 && total > sampler->cpu_total)
            sampler->sample.cpu_percent = 100.0 * (double)(total - idle - sampler->cpu_busy) /
                                          (double)(total - sampler->cpu_total);
        sampler->cpu_busy = total - idle;
        sampler->cpu_total = total;
    }
    fclose(file);
}

static void sample_memory(node_sampler *sampler)
{
    char line[256];
    long long kilobytes;
    node_sample *sample = &sampler->sample;
    FILE *file = fopen("/proc/meminfo", "re");

    if (file == NULL)
        return;
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "MemTotal: %lld kB", &kilobytes) == 1)
            sample->memory_total_bytes = kilobytes * 1024;
        else if (sscanf(line, "MemAvailable: %lld kB", &kilobytes) == 1)
            sample->memory_available_bytes = kilobytes * 1024;
    }
    fclose(file);
    if (sample->memory_total_bytes > 0)
        sample->memory_percent = 100.0 - 100.0 * (double)sample->memory_available_bytes /
                                             (double)sample->memory_total_bytes;
}

static void sample_disk(node_sampler *sampler)
{
    struct statvfs about;
    uint64_t used, usable;

    if (statvfs(sampler->data_dir, &about) != 0)
        return;
    /* As df counts: what root alone may use is neither used nor free. */
    used = (about.f_blocks - about.f_bfree) * about.f_frsize;
    usable = used + about.f_bavail * about.f_frsize;
    sampler->sample.disk_free_bytes = (int64_t)(about.f_bavail * about.f_frsize);
    sampler->sample.disk_percent = usable == 0 ? 0 : 100.0 * (double)used / (double)usable;
}

static int64_t count_open_files(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int64_t count = -3; /* ".", ".." and this very descriptor */

    if (folder == NULL)
        return 0;
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static void sample_process(node_sampler *sampler)
{
    int64_t cpu_ms = 0, now_ms = cx_now_ms();
    node_sample *sample = &sampler->sample;

    if (!node_process_measure(getpid(), &cpu_ms, &sample->process_rss_bytes))
        return;
    if (sampler->sampled_ms != 0 && now_ms > sampler->sampled_ms)
        sample->process_cpu_percent = 100.0 * (double)(cpu_ms - sampler->process_cpu_ms) /
                                      (double)(now_ms - sampler->sampled_ms);
    sampler->process_cpu_ms = cpu_ms;
    sampler->sampled_ms = now_ms;
    sample->process_open_files = count_open_files();
}

static void on_sample(evutil_socket_t fd, short what, void *arg)
{
    node_sampler *sampler = arg;
    double load[1] = {0};

    (void)fd;
    (void)what;
    sample_cpu(sampler);
    sample_memory(sampler);
    sample_disk(sampler);
    sample_process(sampler);
    if (getloadavg(load, 1) == 1)
        sampler->sample.load1 = load[0];
}

static void on_lag(evutil_socket_t fd, short what, void *arg)
{
    node_sampler *sampler = arg;
    int64_t now_ms = cx_now_ms();

    (void)fd;
    (void)what;
    node_latency_add(&sampler->lags, now_ms - sampler->lag_due_ms, now_ms);
    sampler->lag_due_ms = now_ms + LAG_MS;
    node_timer_set(sampler->lag_timer, LAG_MS);
}

node_sampler *node_sampler_open(struct event_base *loop, const char *data_dir)
{
    node_sampler *sampler = cx_alloc(1, sizeof *sampler);

    sampler->data_dir = cx_strdup(data_dir);
    sampler->lags.capacity = LAGS_MAX;
    sampler->sample_timer = event_new(loop, -1, EV_PERSIST, on_sample, sampler);
    sampler->lag_timer = evtimer_new(loop, on_lag, sampler);
    sampler->lag_due_ms = cx_now_ms() + LAG_MS;
    node_timer_set(sampler->sample_timer, SAMPLE_MS);
    node_timer_set(sampler->lag_timer, LAG_MS);
    on_sample(-1, 0, sampler);
    return sampler;
}

void node_sampler_close(node_sampler **owner)
{
    node_sampler *sampler = *owner;

    if (sampler == NULL)
        return;
    event_free(sampler->sample_timer);
    event_free(sampler->lag_timer);
    node_latency_free(&sampler->lags);
    cx_free(&sampler->data_dir);
    cx_free(owner);
}

node_sample node_sampler_last(const node_sampler *sampler)
{
    node_sample sample = sampler->sample;
    node_latency_summary lag = node_latency_summarize(&sampler->lags, cx_now_ms());

    sample.loop_lag_p50_ms = lag.p50_ms;
    sample.loop_lag_max_ms = lag.max_ms;
    return sample;
}
