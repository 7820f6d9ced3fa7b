#include "base/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    BAR_EVERY_MS = 200,
    JSON_EVERY_MS = 1000,
    BAR_WIDTH = 24,
    LINE_SIZE = 160,
};

/* In one write, so that lines of several programs on one terminal don't mix. Nothing to do when it
 * fails: progress is for watching only. */
static void say(const char *line, int size)
{
    ssize_t ignored = write(STDERR_FILENO, line, size < LINE_SIZE ? (size_t)size : LINE_SIZE - 1);

    (void)ignored;
}

static int percent(const cx_progress *progress)
{
    if (progress->total <= 0)
        return 0;
    if (progress->done >= progress->total)
        return 100;
    return (int)((double)progress->done * 100.0 / (double)progress->total);
}

static double per_second(const cx_progress *progress, int64_t now_ms)
{
    int64_t elapsed_ms = now_ms - progress->started_ms;

    return elapsed_ms > 0 ? (double)progress->done * 1000.0 / (double)elapsed_ms : 0;
}

/* 1234567 as "1.2M" (powers of 1000: it counts anything) */
static const char *short_number(double value, char text[16])
{
    static const char units[] = " kMGTP";
    size_t unit = 0;

    while (value >= 1000 && unit < sizeof(units) - 2) {
        value /= 1000;
        unit++;
    }
    if (unit == 0)
        snprintf(text, 16, "%.0f", value);
    else
        snprintf(text, 16, "%.1f%c", value, units[unit]);
    return text;
}

static void draw_bar(const cx_progress *progress, int64_t now_ms)
{
    char done[16], total[16], rate[16], bar[BAR_WIDTH + 1], line[LINE_SIZE];
    int filled = percent(progress) * BAR_WIDTH / 100;
    int size;

    memset(bar, '-', BAR_WIDTH);
    memset(bar, '#', (size_t)filled);
    bar[BAR_WIDTH] = '\0';
    short_number((double)progress->done, done);
    short_number((double)progress->total, total);
    short_number(per_second(progress, now_ms), rate);
    if (progress->total > 0)
        size = snprintf(line, sizeof(line), "\r%s [%s] %3d%%  %s/%s  %s/s\033[K", progress->what,
                        bar, percent(progress), done, total, rate);
    else
        size = snprintf(line, sizeof(line), "\r%s %s  %s/s\033[K", progress->what, done, rate);
    say(line, size);
}

static void draw_json(const cx_progress *progress, int64_t now_ms)
{
    char line[LINE_SIZE], total[24] = "null";

    if (progress->total > 0)
        snprintf(total, sizeof(total), "%" PRId64, progress->total);
    say(line, snprintf(line, sizeof(line),
                       "{\"progress\":\"%s\",\"done\":%" PRId64
                       ",\"total\":%s,\"elapsed_ms\":%" PRId64 "}\n",
                       progress->what, progress->done, total, now_ms - progress->started_ms));
}

static void draw(cx_progress *progress, int64_t now_ms)
{
    switch (progress->kind) {
    case CX_PROGRESS_NONE: break;
    case CX_PROGRESS_BAR: draw_bar(progress, now_ms); break;
    case CX_PROGRESS_JSON: draw_json(progress, now_ms); break;
    }
    progress->drawn_ms = now_ms;
}

cx_progress cx_progress_start(const char *kind_text, const char *what, int64_t total,
                              int64_t now_ms)
{
    cx_progress progress = {.what = what, .total = total, .started_ms = now_ms, .drawn_ms = now_ms};

    if (!kind_text || strcmp(kind_text, "auto") == 0)
        progress.kind = isatty(STDERR_FILENO) ? CX_PROGRESS_BAR : CX_PROGRESS_NONE;
    else if (strcmp(kind_text, "json") == 0)
        progress.kind = CX_PROGRESS_JSON;
    return progress;
}

void cx_progress_set(cx_progress *progress, int64_t done, int64_t now_ms)
{
    int64_t every_ms = progress->kind == CX_PROGRESS_JSON ? JSON_EVERY_MS : BAR_EVERY_MS;

    progress->done = done;
    if (now_ms - progress->drawn_ms >= every_ms)
        draw(progress, now_ms);
}

void cx_progress_end(cx_progress *progress, int64_t now_ms)
{
    draw(progress, now_ms);
    if (progress->kind == CX_PROGRESS_BAR)
        say("\n", 1);
    progress->kind = CX_PROGRESS_NONE;
}
