#include "folded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char more[] = "[more]";

/* ---- lines */

static bool next_line(cx_bytes *rest, cx_bytes *line)
{
    const uint8_t *end;

    if (rest->size == 0)
        return false;
    end = memchr(rest->data, '\n', rest->size);
    line->data = rest->data;
    line->size = end == NULL ? rest->size : (size_t)(end - rest->data);
    rest->data += line->size + (end != NULL);
    rest->size -= line->size + (end != NULL);
    return true;
}

static void add_frame(cx_buffer *stack, const char *name, size_t size)
{
    cx_buffer_add_text(stack, ";");
    for (size_t i = 0; i < size; i++) {
        char byte = name[i] == ';' ? ':' : name[i] == '\0' ? '?' : name[i];

        cx_buffer_add(stack, &byte, 1);
    }
}

/* ---- counts */

static json_int_t count_of(const json_t *value)
{
    return json_integer_value(value);
}

void debug_fold(json_t *counts, const char *stack)
{
    json_t *known = json_object_get(counts, stack);

    if (known == NULL && json_object_size(counts) >= DEBUG_STACKS_MAX) {
        stack = more;
        known = json_object_get(counts, stack);
    }
    if (known != NULL)
        json_integer_set(known, count_of(known) + 1);
    else
        json_object_set_new(counts, stack, json_integer(1)); /* nothing when it is not UTF-8 */
}

typedef struct entry {
    const char *stack;
    json_int_t samples;
} entry;

static int most_first(const void *left, const void *right)
{
    const entry *a = left, *b = right;

    if (a->samples != b->samples)
        return a->samples > b->samples ? -1 : 1;
    return strcmp(a->stack, b->stack);
}

/* All of them, sorted; caller frees. */
static entry *sorted(const json_t *counts, size_t *count)
{
    entry *entries = cx_alloc(json_object_size(counts) + 1, sizeof *entries);
    const char *stack;
    json_t *samples;

    *count = 0;
    json_object_foreach ((json_t *)(uintptr_t)counts, stack, samples)
        entries[(*count)++] = (entry){stack, count_of(samples)};
    qsort(entries, *count, sizeof *entries, most_first);
    return entries;
}

char *debug_folded_text(const json_t *counts)
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    size_t count = 0;
    CX_AUTO(cx_free) entry *entries = sorted(counts, &count);

    cx_buffer_add_text(&text, "");
    for (size_t i = 0; i < count; i++)
        cx_buffer_addf(&text, "%s %lld\n", entries[i].stack, (long long)entries[i].samples);
    return cx_buffer_take_text(&text);
}

json_t *debug_folded_list(const json_t *counts, size_t count_max)
{
    size_t count = 0;
    CX_AUTO(cx_free) entry *entries = sorted(counts, &count);
    json_t *list = json_array();

    for (size_t i = 0; i < count && i < count_max; i++)
        json_array_append_new(list, json_pack("{s:s, s:I}", "stack", entries[i].stack, "samples",
                                              entries[i].samples));
    return list;
}

/* ---- the kernel's stack: "[<0>] do_nanosleep+0x66/0x130", the innermost first */

static cx_bytes function_of(cx_bytes line)
{
    const uint8_t *bracket = memchr(line.data, ']', line.size), *plus;
    size_t skip = bracket == NULL ? 0 : (size_t)(bracket - line.data) + 1;

    while (skip < line.size && line.data[skip] == ' ')
        skip++;
    line.data += skip;
    line.size -= skip;
    plus = memchr(line.data, '+', line.size);
    if (plus != NULL)
        line.size = (size_t)(plus - line.data);
    return line;
}

void debug_fold_kernel(cx_bytes text, cx_buffer *stack)
{
    cx_bytes frames[DEBUG_FRAMES_MAX], line;
    size_t count = 0;

    while (count < DEBUG_FRAMES_MAX && next_line(&text, &line)) {
        cx_bytes name = function_of(line);

        if (name.size > 0)
            frames[count++] = name;
    }
    while (count-- > 0)
        add_frame(stack, (const char *)frames[count].data, frames[count].size);
}

/* ---- perf */

/* "python3 4711/4712 ": the program's name, which may have blanks. */
static cx_bytes comm_of(cx_bytes header)
{
    size_t size = header.size;

    while (size > 0 && header.data[size - 1] == ' ')
        size--;
    while (size > 0 && header.data[size - 1] != ' ')
        size--;
    while (size > 0 && header.data[size - 1] == ' ')
        size--;
    return (cx_bytes){header.data, size};
}

/* "          1af857 pymalloc_alloc (inlined)" */
static cx_bytes symbol_of(cx_bytes line)
{
    static const char inlined[] = " (inlined)";
    size_t at = 0, tail = sizeof inlined - 1;

    while (at < line.size && (line.data[at] == ' ' || line.data[at] == '\t'))
        at++;
    while (at < line.size && line.data[at] != ' ')
        at++;
    while (at < line.size && line.data[at] == ' ')
        at++;
    line.data += at;
    line.size -= at;
    if (line.size > tail && memcmp(line.data + line.size - tail, inlined, tail) == 0)
        line.size -= tail;
    return line;
}

static void count_sample(const char *root, cx_bytes comm, const cx_bytes *frames, size_t count,
                         json_t *counts)
{
    CX_AUTO(cx_buffer_free) cx_buffer stack = {0};

    cx_buffer_add_text(&stack, root);
    add_frame(&stack, (const char *)comm.data, comm.size);
    while (count-- > 0)
        add_frame(&stack, (const char *)frames[count].data, frames[count].size);
    debug_fold(counts, (const char *)stack.data);
}

size_t debug_fold_perf(cx_bytes text, const char *root, json_t *counts)
{
    cx_bytes frames[DEBUG_FRAMES_MAX], line, comm = {0};
    size_t count = 0, samples = 0;

    while (next_line(&text, &line)) {
        if (line.size > 0 && line.data[0] != ' ' && line.data[0] != '\t') {
            if (comm.size > 0)
                count_sample(root, comm, frames, count, counts);
            comm = comm_of(line);
            samples += comm.size > 0;
            count = 0;
        } else if (line.size > 0 && count < DEBUG_FRAMES_MAX) {
            cx_bytes name = symbol_of(line);

            if (name.size > 0)
                frames[count++] = name;
        }
    }
    if (comm.size > 0)
        count_sample(root, comm, frames, count, counts);
    return samples;
}

/* ---- /proc */

static void add_to(json_t *object, const char *key, json_int_t bytes)
{
    json_object_set_new(object, key, json_integer(count_of(json_object_get(object, key)) + bytes));
}

/* "7f…-7f… r-xp 00000000 08:01 123   /usr/lib/x.so": the last field, or what the kernel has no name for. */
static void name_of(const char *line, char name[256])
{
    int at = 0;

    if (sscanf(line, "%*x-%*x %*s %*x %*s %*u %n", &at) < 0 || at == 0 || line[at] == '\0')
        snprintf(name, 256, "[anonymous]");
    else
        snprintf(name, 256, "%.255s", line + at);
}

void debug_add_smaps(cx_bytes text, json_t *sums, json_t *by_name)
{
    static const struct {
        const char *word, *key;
    } fields[] = {
        {"Rss:", "rss_bytes"},
        {"Pss:", "pss_bytes"},
        {"Private_Clean:", "private_bytes"},
        {"Private_Dirty:", "private_bytes"},
        {"Swap:", "swap_bytes"},
    };
    char name[256] = "";
    cx_bytes view;

    while (next_line(&text, &view)) {
        CX_AUTO(cx_free) char *line = cx_strndup((const char *)view.data, view.size);
        char word[32] = "";
        long long kib = 0;
        int fields_read = sscanf(line, "%31s %lld", word, &kib);

        if (word[0] == '\0')
            continue;
        if (word[strlen(word) - 1] != ':') {
            if (strchr(word, '-') != NULL)
                name_of(line, name);
            continue;
        }
        for (size_t i = 0; i < CX_COUNT(fields) && fields_read == 2; i++)
            if (strcmp(word, fields[i].word) == 0)
                add_to(sums, fields[i].key, (json_int_t)kib * 1024);
        if (strcmp(word, "Pss:") == 0 && fields_read == 2 && kib > 0)
            add_to(by_name, name, (json_int_t)kib * 1024);
    }
}

bool debug_read_stat(cx_bytes text, debug_stat *stat)
{
    CX_AUTO(cx_free) char *line = cx_strndup((const char *)text.data, text.size);
    const char *open = strchr(line, '('), *close = strrchr(line, ')');
    long long ppid, user, system;

    *stat = (debug_stat){0};
    /* A program's name may hold blanks and brackets. */
    if (open == NULL || close == NULL || close < open ||
        sscanf(close + 1, " %c %lld %*d %*d %*d %*d %*u %*u %*u %*u %*u %lld %lld", &stat->state,
               &ppid, &user, &system) != 4)
        return false;
    snprintf(stat->comm, sizeof stat->comm, "%.*s",
             (int)(close - open - 1 < 63 ? close - open - 1 : 63), open + 1);
    stat->ppid = ppid;
    stat->user_ticks = user;
    stat->system_ticks = system;
    return true;
}
