#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/proc.h"
#include "base/text.h"
#include "base/time.h"
#include "debug.h"
#include "folded.h"
#include "sampler.h"

enum {
    DURATION_MAX_MS = 10 * 60 * 1000,
    RATE_MAX = 997,
    PERF_GRACE_MS = 10000, /* to start and to write its file */
    PERF_SCRIPT_MS = 120000,
    PERF_OUTPUT_MAX = 64 * 1024 * 1024,
    PERF_DATA_MAX_MIB = 512, /* of its file: each sample of a busy CPU has 16 KiB of stack */
    SMAPS_MAX = 16 * 1024 * 1024,
    STACKS_SHOWN = 100,
    MAPPINGS_SHOWN = 15,
};

struct profile_options {
    const char *node;
    int64_t duration_ms, rate_hz;
    bool folded, no_perf;
};

static const cx_option options[] = {
    {"node", CX_TEXT(struct profile_options, node), "NODE_ID|ADDR", NULL,
     "the agent's copy on this node"},
    {"duration", CX_DURATION(struct profile_options, duration_ms), "DUR", "10s", "at most 10m"},
    {"rate", CX_INT(struct profile_options, rate_hz), "HZ", "99", "samples a second, at most 997"},
    {"folded", CX_FLAG(struct profile_options, folded), NULL, NULL,
     "print folded stacks, for flamegraph.pl"},
    {"no-perf", CX_FLAG(struct profile_options, no_perf), NULL, NULL,
     "by /proc alone, also where perf is there"},
    {0},
};

/* Whom it is about. */
typedef struct subject {
    const char *agent;
    char *node_id;
    pid_t pid;
} subject;

static void subject_free(subject *about)
{
    cx_free(&about->node_id);
}

/* ---- finding the process */

static bool ask_agent(debug_scope *scope, const cx_api_node *node, const char *id, json_t **agent,
                      cx_err *err)
{
    CX_AUTO(cx_free) char *path = cx_format("/api/v1/agents/%s", id);

    return cx_api_call(scope->api, node, "GET", path, NULL, scope->timeout_ms, agent, err);
}

/* The agent is not on the node that was asked: says where it is. Always false. */
static bool fail_elsewhere(const cx_run *run, const char *id, const cx_err *missing, cx_err *err)
{
    CX_AUTO(debug_close) debug_scope scope = {0};
    cx_err ignored;

    *err = *missing;
    if (missing->code != CX_NOT_FOUND || !debug_open_all(run, &scope, &ignored))
        return false;
    for (size_t i = 0; i < scope.nodes.count; i++) {
        CX_AUTO(cx_json_free) json_t *agent = NULL;

        if (!ask_agent(&scope, &scope.nodes.items[i], id, &agent, &ignored))
            continue;
        cx_fail(err, CX_UNAVAILABLE, "agent %s runs on %s (%s), not here", id,
                cx_api_node_name(&scope.nodes.items[i]), scope.nodes.items[i].api_addr);
        return cx_hint(err, "a profile is made on the agent's host: run cx-debug profile there");
    }
    return cx_hint(err, "cx-agents list --all shows who hosts what");
}

/* The process that the node tells of must be a child of the node's own on this host: a number alone
 * could be anybody's here. */
static bool check_host(const char *id, const cx_api_node *node, pid_t pid, pid_t node_pid,
                       cx_err *err)
{
    CX_AUTO(cx_free) char *path = cx_format("/proc/%d/stat", (int)pid);
    CX_AUTO(cx_buffer_free) cx_buffer content = {0};
    cx_err ignored;
    debug_stat stat;

    if (cx_read_file(path, 4096, &content, &ignored) &&
        debug_read_stat(cx_buffer_bytes(&content), &stat) && stat.ppid == node_pid)
        return true;
    cx_fail(err, CX_UNAVAILABLE,
            "agent %s: its process %d, a child of %s's process %d, is not on this host", id,
            (int)pid, cx_api_node_name(node), (int)node_pid);
    return cx_hint(err, "a profile is made on the agent's host: run cx-debug profile there");
}

static bool find_subject(const cx_run *run, const struct profile_options *option, subject *about,
                         cx_err *err)
{
    CX_AUTO(debug_close) debug_scope scope = {0};
    CX_AUTO(cx_json_free) json_t *agent = NULL;
    CX_AUTO(cx_json_free) json_t *state = NULL;
    cx_err missing = {0};
    int64_t pid, node_pid;

    if (!debug_open_one(run, option->node, &scope, err))
        return false;
    if (!ask_agent(&scope, &scope.nodes.items[0], about->agent, &agent, &missing))
        return fail_elsewhere(run, about->agent, &missing, err);
    if (!cx_api_call(scope.api, &scope.nodes.items[0], "GET", "/api/v1/node", NULL,
                     scope.timeout_ms, &state, err))
        return false;
    pid = json_integer_value(json_object_get(agent, "pid"));
    node_pid = json_integer_value(json_object_get(state, "pid"));
    if (pid <= 1 || pid > INT32_MAX)
        return cx_fail(err, CX_UNAVAILABLE, "agent %s has no process: it is %s", about->agent,
                       cx_json_text_or_empty(agent, "state"));
    about->pid = (pid_t)pid;
    about->node_id = cx_strdup(cx_json_text_or_empty(state, "node_id"));
    return check_host(about->agent, &scope.nodes.items[0], about->pid, (pid_t)node_pid, err);
}

/* ---- user stacks, by perf */

typedef struct user_stacks {
    json_t *counts;
    size_t samples;
    char reason[256]; /* why there are none, or "" */
} user_stacks;

static bool is_in_path(const char *program)
{
    const char *path = getenv("PATH");
    CX_AUTO(cx_free) char *copy = cx_strdup(path != NULL ? path : "");
    char *rest = copy, *folder;

    while ((folder = strsep(&rest, ":")) != NULL) {
        CX_AUTO(cx_free) char *file = cx_path_join(folder, program);

        if (access(file, X_OK) == 0)
            return true;
    }
    return false;
}

static void keep_reason(user_stacks *stacks, const char *what, const cx_proc_result *result)
{
    const char *errors = result->errors.size > 0 ? (const char *)result->errors.data : "";

    snprintf(stacks->reason, sizeof stacks->reason, "%s: exit status %d%s%.*s", what,
             result->status, errors[0] != '\0' ? ": " : "", (int)strcspn(errors, "\n"), errors);
}

static char *process_list(pid_t root)
{
    pid_t pids[DEBUG_PROCESSES_MAX];
    size_t count = debug_tree(root, pids);
    CX_AUTO(cx_buffer_free) cx_buffer list = {0};

    for (size_t i = 0; i < count; i++)
        cx_buffer_addf(&list, "%s%d", i > 0 ? "," : "", (int)pids[i]);
    return cx_buffer_take_text(&list);
}

/* True with a reason when perf can't; false only when it was interrupted. */
static bool run_perf(const struct profile_options *option, pid_t pid, const char *file,
                     const char *root, user_stacks *stacks, cx_err *err)
{
    CX_AUTO(cx_free) char *pids = process_list(pid);
    CX_AUTO(cx_free) char *rate = cx_format("%lld", (long long)option->rate_hz);
    CX_AUTO(cx_free) char *seconds = cx_format("%.3f", (double)option->duration_ms / 1000);
    CX_AUTO(cx_free) char *size = cx_format("--max-size=%dM", PERF_DATA_MAX_MIB);
    /* Debian's programs keep no frame pointers: the stacks are taken and unwound afterwards. */
    const char *const record[] = {"perf",         "record",      "-q",    "-F", rate, size,
                                  "--call-graph", "dwarf,16384", "-p",    pids, "-o", file,
                                  "--",           "sleep",       seconds, NULL};
    const char *const script[] = {"perf", "script", "-i", file, "-F", "comm,pid,tid,ip,sym", NULL};
    CX_AUTO(cx_proc_result_free) cx_proc_result recorded = {0};
    CX_AUTO(cx_proc_result_free) cx_proc_result told = {0};

    if (!cx_proc_run(&(cx_proc_spec){.argv = record,
                                     .timeout_ms = option->duration_ms + PERF_GRACE_MS,
                                     .output_max = 64 * 1024},
                     &recorded, err))
        return false;
    /* It ends its `sleep`, and then itself by the same signal, when its file is full. */
    if (recorded.status == 128 + SIGTERM && !recorded.timed_out) {
        snprintf(stacks->reason, sizeof stacks->reason,
                 "perf stopped after %d MiB: the stacks are of the first part of the time",
                 PERF_DATA_MAX_MIB);
    } else if (recorded.status != 0) {
        keep_reason(stacks, "perf record", &recorded);
        return true;
    }
    if (!cx_proc_run(&(cx_proc_spec){.argv = script,
                                     .timeout_ms = PERF_SCRIPT_MS,
                                     .output_max = PERF_OUTPUT_MAX},
                     &told, err))
        return false;
    if (told.status != 0)
        keep_reason(stacks, "perf script", &told);
    stacks->samples = debug_fold_perf(cx_buffer_bytes(&told.output), root, stacks->counts);
    return true;
}

static bool take_user_stacks(const struct profile_options *option, pid_t pid, const char *root,
                             user_stacks *stacks, cx_err *err)
{
    const char *tmp = getenv("TMPDIR");
    CX_AUTO(cx_free)
    char *folder = cx_format("%s/cx-debug-XXXXXX", tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp");
    CX_AUTO(cx_free) char *file = NULL;
    cx_err ignored;
    bool good;

    if (option->no_perf || !is_in_path("perf")) {
        snprintf(stacks->reason, sizeof stacks->reason, "%s",
                 option->no_perf ? "--no-perf" : "perf is not installed");
        return true;
    }
    if (mkdtemp(folder) == NULL) {
        snprintf(stacks->reason, sizeof stacks->reason, "%.200s: %s", folder, strerror(errno));
        return true;
    }
    file = cx_path_join(folder, "perf.data");
    good = run_perf(option, pid, file, root, stacks, err);
    if (!good && err->code != CX_INTERRUPTED) {
        snprintf(stacks->reason, sizeof stacks->reason, "%.255s", err->message);
        good = true;
    }
    (void)!cx_remove_tree(folder, &ignored);
    return good;
}

/* ---- memory */

static json_t *memory(pid_t root)
{
    pid_t pids[DEBUG_PROCESSES_MAX];
    size_t count = debug_tree(root, pids), read = 0;
    json_t *sums = json_object();
    CX_AUTO(cx_json_free) json_t *by_name = json_object();
    json_t *mappings, *mapping;
    cx_err why = {0};
    size_t at;

    for (size_t i = 0; i < count; i++) {
        CX_AUTO(cx_free) char *path = cx_format("/proc/%d/smaps", (int)pids[i]);
        CX_AUTO(cx_buffer_free) cx_buffer text = {0};

        if (cx_read_file(path, SMAPS_MAX, &text, &why) && text.size > 0) {
            debug_add_smaps(cx_buffer_bytes(&text), sums, by_name);
            read++;
        }
    }
    mappings = debug_folded_list(by_name, MAPPINGS_SHOWN);
    json_array_foreach (mappings, at, mapping) {
        json_object_set(mapping, "name", json_object_get(mapping, "stack"));
        json_object_set(mapping, "pss_bytes", json_object_get(mapping, "samples"));
        json_object_del(mapping, "stack");
        json_object_del(mapping, "samples");
    }
    json_object_set_new(sums, "mappings", mappings);
    json_object_set_new(sums, "processes", json_integer((json_int_t)read));
    if (read < count)
        json_object_set_new(
            sums, "reason",
            cx_json_text(why.message[0] != '\0' ? why.message : "some processes ended"));
    return sums;
}

/* ---- the document */

static double in_seconds(int64_t ticks)
{
    return (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

static json_t *threads_json(const debug_sampler *sampler, double *user, double *system)
{
    json_t *list = json_array();
    size_t count = 0;
    const debug_thread *threads = debug_sampler_threads(sampler, &count);

    for (size_t i = 0; i < count; i++) {
        const debug_thread *each = &threads[i];
        double used_user = in_seconds(each->last_user - each->first_user);
        double used_system = in_seconds(each->last_system - each->first_system);

        if (each->first_user < 0)
            continue; /* seen, and gone before it was looked at */
        *user += used_user;
        *system += used_system;
        json_array_append_new(
            list,
            json_pack("{s:i, s:i, s:o, s:o, s:o, s:{s:I, s:I, s:I, s:I}}", "pid", (int)each->pid,
                      "tid", (int)each->tid, "comm", cx_json_text(each->comm), "user_seconds",
                      cx_json_figure(used_user), "system_seconds", cx_json_figure(used_system),
                      "samples", "running", (json_int_t)each->running, "waiting",
                      (json_int_t)each->waiting, "blocked", (json_int_t)each->blocked, "stopped",
                      (json_int_t)each->stopped));
    }
    return list;
}

static json_t *sources_json(const debug_sampler *sampler, const user_stacks *stacks)
{
    bool user = stacks->samples > 0, kernel = debug_sampler_has_stacks(sampler);
    const char *reason =
        stacks->reason[0] != '\0' ? stacks->reason : "perf took no sample: it did not run";

    return json_pack(
        "{s:{s:b, s:o, s:I, s:o}, s:{s:b, s:o, s:o}}", "user", "available", user, "source",
        cx_json_text_or_null(user ? "perf" : ""), "samples", (json_int_t)stacks->samples, "reason",
        cx_json_text_or_null(user ? stacks->reason : reason), "kernel", "available", kernel,
        "source", cx_json_text(kernel ? "/proc/PID/stack" : "/proc/PID/wchan"), "reason",
        cx_json_text_or_null(kernel ? "" : "/proc/PID/stack needs root, and a thread that waits"));
}

/* What perf saw of running threads takes the place of what /proc can tell of them. */
static json_t *all_counts(const debug_sampler *sampler, const user_stacks *stacks,
                          const char *agent)
{
    CX_AUTO(cx_free) char *running = cx_format("%s;[running];", agent);
    json_t *counts = json_object();
    const char *stack;
    json_t *samples;

    json_object_foreach ((json_t *)(uintptr_t)debug_sampler_counts(sampler), stack, samples)
        if (stacks->samples == 0 || strncmp(stack, running, strlen(running)) != 0)
            json_object_set(counts, stack, samples);
    json_object_update(counts, stacks->counts);
    return counts;
}

static json_t *document_of(const subject *about, const struct profile_options *option,
                           const debug_sampler *sampler, const user_stacks *stacks,
                           json_t *memory_json)
{
    double user = 0, system = 0, seconds = debug_sampler_seconds(sampler);
    json_t *threads = threads_json(sampler, &user, &system);
    CX_AUTO(cx_json_free) json_t *counts = all_counts(sampler, stacks, about->agent);

    return json_pack(
        "{s:s, s:s, s:i, s:o, s:I, s:I, s:b, s:{s:o, s:o, s:o}, s:O, s:o, s:o, s:o}", "agent",
        about->agent, "node_id", about->node_id, "pid", (int)about->pid, "duration_seconds",
        cx_json_figure(seconds), "rate_hz", (json_int_t)option->rate_hz, "samples",
        (json_int_t)debug_sampler_samples(sampler), "ended", debug_sampler_gone(sampler), "cpu",
        "percent", cx_json_figure(seconds > 0 ? 100 * (user + system) / seconds : 0),
        "user_seconds", cx_json_figure(user), "system_seconds", cx_json_figure(system), "memory",
        memory_json, "sources", sources_json(sampler, stacks), "threads", threads, "stacks",
        debug_folded_list(counts, STACKS_SHOWN));
}

static bool print(cx_run *run, const struct profile_options *option, json_t *document,
                  const debug_sampler *sampler, const user_stacks *stacks, const char *agent,
                  cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *counts = NULL;
    CX_AUTO(cx_free) char *text = NULL;

    if (!option->folded) {
        if (run->table)
            json_object_del(document, "threads");
        return cx_emit(run, document, err);
    }
    counts = all_counts(sampler, stacks, agent);
    text = debug_folded_text(counts);
    if (stacks->samples == 0)
        cx_remark(run, "no user stacks: %s",
                  cx_json_text_or_empty(
                      json_object_get(json_object_get(document, "sources"), "user"), "reason"));
    return cx_emit_text(run, text, err);
}

static bool check_options(const struct profile_options *option, cx_err *err)
{
    if (option->duration_ms < 100 || option->duration_ms > DURATION_MAX_MS)
        return cx_fail(err, CX_USAGE, "--duration: 100ms to 10m");
    if (option->rate_hz < 1 || option->rate_hz > RATE_MAX)
        return cx_fail(err, CX_USAGE, "--rate: 1 to %d", RATE_MAX);
    return true;
}

static bool profile(cx_run *run, const void *parsed, cx_err *err)
{
    const struct profile_options *option = parsed;
    CX_AUTO(subject_free) subject about = {.agent = run->args[0]};
    CX_AUTO(debug_sampler_close) debug_sampler *sampler = NULL;
    CX_AUTO(cx_json_free) json_t *user_counts = json_object();
    CX_AUTO(cx_json_free) json_t *memory_json = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;
    CX_AUTO(cx_free) char *root = NULL;
    user_stacks stacks = {.counts = user_counts};

    if (!check_options(option, err) || !cx_check_id("agent", about.agent, err) ||
        !find_subject(run, option, &about, err))
        return false;
    root = cx_format("%s;[running]", about.agent);
    memory_json = memory(about.pid);
    if (!debug_sampler_start(about.pid, about.agent, option->duration_ms, option->rate_hz, &sampler,
                             err) ||
        !take_user_stacks(option, about.pid, root, &stacks, err))
        return false;
    debug_sampler_join(sampler);
    if (cx_interrupted())
        return cx_fail(err, CX_INTERRUPTED, "interrupted");
    if (debug_sampler_samples(sampler) == 0)
        return cx_fail(err, CX_UNAVAILABLE, "agent %s: process %d ended before it was seen",
                       about.agent, (int)about.pid);
    document = document_of(&about, option, sampler, &stacks, memory_json);
    return print(run, option, document, sampler, &stacks, about.agent, err);
}

const cx_command debug_profile = {
    .name = "profile",
    .arguments = "AGENT",
    .arguments_min = 1,
    .arguments_max = 1,
    .summary = "where an agent's time and memory go",
    .description =
        "On the agent's host. Samples its process and all that it started, for --duration: which "
        "threads run, wait, or are blocked, and where in the kernel they wait (/proc/PID/stack, "
        "which is root's; else the one function of /proc/PID/wchan). Stacks of the program itself "
        "come from perf, where it is installed and allowed; `sources` says what could be had and "
        "why not. An interpreter's stack shows the interpreter, not the script. CPU time is the "
        "kernel's own count, memory is from /proc/PID/smaps, shared pages in proportion. The agent "
        "is not stopped.",
    .options = options,
    .options_size = sizeof(struct profile_options),
    .run = profile,
};
