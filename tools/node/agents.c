#include "agents.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backoff.h"
#include "base/io.h"
#include "base/map.h"
#include "base/text.h"
#include "base/time.h"
#include "process.h"
#include "program.h"
#include "timer.h"
#include "window.h"

enum {
    FAILURES_MAX = 5,       /* quick ends in a row: the agent counts as failed */
    RESTART_FIRST_MS = 200, /* waits between starts */
    RESTART_MAX_MS = 30000,
    HEALTHY_MS = 10000,   /* who ran that long starts counting anew */
    END_GRACE_MS = 2000,  /* between SIGTERM and SIGKILL */
    GARBAGE_MAX = 100,    /* unusable lines in a row before the agent is started anew */
    LATENCIES_MAX = 128,  /* kept for the figures of one agent */
    SENDING_MAX = 64,     /* messages of one agent on their way to the queue: then it is held */
    ERROR_LINES_MAX = 20, /* of stderr that go to the log in one second */
    MEASURE_MS = 2000,
    MEASURE_MAX = 256, /* agents measured in one turn */
};

/* What the operator wants of it. */
typedef enum wish { RUN, SUSPEND, REMOVE } wish;

typedef struct flight {
    node_message message;
    int64_t deadline_ms;
} flight;

typedef struct agent_watcher {
    struct agent_watcher *next;
    node_agent *agent;
    enum { UNTIL_RUNNING, UNTIL_SUSPENDED, UNTIL_SETTLED, UNTIL_GONE } until;
    struct event *timer;
    node_agent_reached *reached;
    void *arg;
} agent_watcher;

struct node_agent {
    node_agents *agents;
    node_spec *spec;
    char *folder;
    node_agent_state state;
    wish wish;
    bool ending;     /* its process was told to end */
    bool timed_out;  /* because it did not answer in time */
    bool restarting; /* and it is to start again without waiting */
    node_process *process;
    struct event *start_timer, *deadline_timer;
    node_backoff backoff;
    flight *flights;
    size_t flight_count, flight_capacity;
    bool taking;
    size_t pending;   /* callbacks under way that hold this agent */
    size_t finishing; /* of these: messages whose end is on its way to the queue */
    size_t sending;
    size_t garbage;
    int64_t error_second, error_lines;
    agent_watcher *watchers;
    /* figures */
    int64_t processed, failed, restarts, timeouts;
    int64_t started_wall_ms, started_ms, active_wall_ms, deployed_wall_ms;
    char last_error[256];
    char last_exit[64];
    node_latency latency;
    int64_t cpu_ms, measured_ms, rss_bytes;
    double cpu_percent;
};

struct node_agents {
    node_agents_options options;
    cx_map *by_id;
    cx_map *removed; /* by address: no longer found, not yet gone */
    bool draining, stopping;
    node_processes *children;
    size_t in_flight;
    size_t taking; /* takes under way */
    size_t processes;
    void (*idle)(void *arg);
    void *idle_arg;
    void (*ended)(void *arg);
    void *ended_arg;
    struct event *measure_timer;
    size_t measure_cursor;
};

/* ---- telling others */

static void set_error(node_agent *agent, const char *text)
{
    snprintf(agent->last_error, sizeof agent->last_error, "%.255s", text);
}

static bool is_reached(const node_agent *agent, const agent_watcher *watcher)
{
    switch (watcher->until) {
    case UNTIL_RUNNING: return agent->state == NODE_AGENT_RUNNING && !agent->ending;
    case UNTIL_SUSPENDED: return agent->state == NODE_AGENT_SUSPENDED;
    case UNTIL_SETTLED:
        return agent->state != NODE_AGENT_STARTING && !agent->ending && !agent->restarting;
    case UNTIL_GONE: return agent->wish == REMOVE && agent->process == NULL;
    }
    return false;
}

static void end_watch(agent_watcher *watcher, bool reached)
{
    node_agent_reached *callback = watcher->reached;
    node_agent *agent = watcher->agent;
    void *arg = watcher->arg;

    event_free(watcher->timer);
    cx_free(&watcher);
    if (callback != NULL)
        callback(agent, reached, arg);
}

/* Calls those whose wish came true; with `all`, the others too, with false. */
static void tell_watchers(node_agent *agent, bool all)
{
    agent_watcher **at = &agent->watchers;

    agent->pending++;
    while (*at != NULL) {
        agent_watcher *each = *at;
        bool reached = is_reached(agent, each);

        if (!reached && !all) {
            at = &each->next;
            continue;
        }
        *at = each->next;
        end_watch(each, reached);
        at = &agent->watchers; /* a callback may have changed the list */
    }
    agent->pending--;
}

static void on_watch_timeout(evutil_socket_t fd, short what, void *arg)
{
    agent_watcher *late = arg;
    agent_watcher **at = &late->agent->watchers;

    (void)fd;
    (void)what;
    while (*at != late)
        at = &(*at)->next;
    *at = late->next;
    end_watch(late, false);
}

static void watch_agent(node_agent *agent, int until, int64_t timeout_ms,
                        node_agent_reached *reached, void *arg)
{
    agent_watcher *added = cx_alloc(1, sizeof *added);

    added->agent = agent;
    added->until = (__typeof__(added->until))until;
    added->reached = reached;
    added->arg = arg;
    added->timer = evtimer_new(agent->agents->options.loop, on_watch_timeout, added);
    node_timer_set(added->timer, timeout_ms);
    added->next = agent->watchers;
    agent->watchers = added;
}

static void set_state(node_agent *agent, node_agent_state state)
{
    if (agent->state == state)
        return;
    agent->state = state;
    cx_log_write(agent->agents->options.log, state == NODE_AGENT_FAILED ? CX_WARN : CX_INFO,
                 "agent_state", "{s:s, s:s}", "agent", agent->spec->id, "state",
                 node_agent_state_word(state));
}

static void free_agent(node_agent *agent)
{
    for (size_t i = 0; i < agent->flight_count; i++)
        node_message_free(&agent->flights[i].message);
    cx_free(&agent->flights);
    if (agent->start_timer != NULL)
        event_free(agent->start_timer);
    if (agent->deadline_timer != NULL)
        event_free(agent->deadline_timer);
    node_process_close(&agent->process);
    node_latency_free(&agent->latency);
    node_spec_free(&agent->spec);
    cx_free(&agent->folder);
    cx_free(&agent);
}

/* Removed ones go when their process and their last callback are gone. */
static void free_if_gone(node_agent *agent)
{
    char key[32];

    if (agent->wish != REMOVE || agent->process != NULL || agent->pending > 0 ||
        agent->watchers != NULL)
        return;
    snprintf(key, sizeof key, "%p", (void *)agent);
    cx_map_remove(agent->agents->removed, key);
    free_agent(agent);
}

static void tell_if_idle(node_agents *agents)
{
    void (*idle)(void *) = agents->idle;

    if (idle == NULL || agents->in_flight > 0 || agents->taking > 0)
        return;
    agents->idle = NULL;
    idle(agents->idle_arg);
}

static void tell_if_ended(node_agents *agents)
{
    void (*ended)(void *) = agents->ended;

    if (ended == NULL || agents->processes > 0)
        return;
    agents->ended = NULL;
    ended(agents->ended_arg);
}

/* ---- messages */

static void pump(node_agent *agent);

/* An answer, a failed attempt or an end of the process: told to the queue. */
typedef struct finishing {
    node_agent *agent;
    node_message message;
    node_message_state state;
    char *reply, *error;
} finishing;

static void tell_queue(finishing *done);

static void on_tell_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    tell_queue(arg);
}

/* What the disk refused is told again: else the message would stay in flight until a restart. */
static bool tell_again(finishing *done)
{
    const node_agents *agents = done->agent->agents;
    const struct timeval later = {1, 0};

    return !agents->stopping &&
           event_base_once(agents->options.loop, -1, EV_TIMEOUT, on_tell_again, done, &later) == 0;
}

static void on_finished(bool changed, const cx_err *err, void *arg)
{
    finishing *done = arg;
    node_agent *agent = done->agent;
    node_agents *agents = agent->agents;
    int64_t wall_ms = cx_wall_ms();
    int64_t latency_ms = wall_ms - done->message.accepted_at_ms;
    /* An agent is as slow as its own work: what waited in its queue is no fault of the agent. */
    int64_t own_ms = done->message.started_at_ms > 0 ? wall_ms - done->message.started_at_ms : 0;

    if (err != NULL) {
        cx_log_error(agents->options.log, CX_ERROR, "finish_failed", err);
        if (tell_again(done))
            return;
    }
    if (changed && done->state != NODE_QUEUED) {
        if (done->state == NODE_DONE)
            agent->processed++;
        else
            agent->failed++;
        node_latency_add(&agent->latency, own_ms, cx_now_ms());
        agents->options.finished(&(node_finished){.id = done->message.id,
                                                  .agent = agent->spec->id,
                                                  .state = done->state,
                                                  .reply = done->reply,
                                                  .error = done->error,
                                                  .latency_ms = latency_ms},
                                 agents->options.arg);
    }
    node_message_free(&done->message);
    cx_free(&done->reply);
    cx_free(&done->error);
    cx_free(&done);
    agent->pending--;
    agent->finishing--;
    agents->in_flight--;
    tell_if_idle(agents);
    if (agent->wish == REMOVE)
        free_if_gone(agent);
    else
        pump(agent);
}

static void tell_queue(finishing *done)
{
    const node_agents_options *options = &done->agent->agents->options;

    node_queue_finish(
        options->queue,
        &(node_outcome){.id = done->message.id,
                        .lane = done->agent->spec->id,
                        .state = done->state,
                        .reply = done->reply,
                        .error = done->error,
                        .durable = options->is_awaited(done->message.id, options->arg)},
        on_finished, done);
}

static void finish(node_agent *agent, size_t at, node_message_state state, const char *reply,
                   const char *error)
{
    finishing *done = cx_alloc(1, sizeof *done);

    done->agent = agent;
    done->message = agent->flights[at].message;
    done->state = state;
    done->reply = cx_strdup(reply);
    done->error = cx_strdup(error);
    agent->flight_count--;
    memmove(&agent->flights[at], &agent->flights[at + 1],
            (agent->flight_count - at) * sizeof *agent->flights);
    agent->pending++;
    agent->finishing++;
    tell_queue(done);
}

/* The attempt failed: another one, unless this was the last or the agent is being removed. */
static void fail_attempt(node_agent *agent, size_t at, const char *why)
{
    const node_message *message = &agent->flights[at].message;
    CX_AUTO(cx_free)
    char *text = cx_format("attempt %lld: %s", (long long)message->attempts, why);
    bool last = agent->wish == REMOVE || message->attempts >= agent->spec->attempts_max;

    cx_log_write(agent->agents->options.log, CX_WARN, last ? "message_failed" : "message_retried",
                 "{s:s, s:s, s:I, s:s}", "agent", agent->spec->id, "message_id", message->id,
                 "attempt", (json_int_t)message->attempts, "reason", why);
    finish(agent, at, last ? NODE_FAILED : NODE_QUEUED, NULL, text);
}

static void set_deadline(node_agent *agent)
{
    int64_t next_ms = INT64_MAX, wait_ms;

    for (size_t i = 0; i < agent->flight_count; i++)
        if (agent->flights[i].deadline_ms < next_ms)
            next_ms = agent->flights[i].deadline_ms;
    if (next_ms == INT64_MAX) {
        evtimer_del(agent->deadline_timer);
        return;
    }
    wait_ms = next_ms - cx_now_ms();
    if (wait_ms < 0)
        wait_ms = 0;
    node_timer_set(agent->deadline_timer, wait_ms);
}

static void end_process(node_agent *agent, bool restart)
{
    agent->restarting = restart;
    if (agent->process == NULL || agent->ending)
        return;
    agent->ending = true;
    node_process_end(agent->process, END_GRACE_MS);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    node_agent *agent = arg;
    int64_t now_ms = cx_now_ms();
    bool late = false;

    (void)fd;
    (void)what;
    for (size_t i = agent->flight_count; i-- > 0;)
        late |= agent->flights[i].deadline_ms <= now_ms;
    if (!late) {
        set_deadline(agent);
        return;
    }
    agent->timeouts++;
    set_error(agent, "no answer within message_timeout");
    cx_log_write(agent->agents->options.log, CX_WARN, "agent_timeout", "{s:s}", "agent",
                 agent->spec->id);
    /* Its end fails the attempts, so none overlaps with the next one. */
    agent->timed_out = true;
    end_process(agent, false);
}

static void deliver(node_agent *agent, node_message *message)
{
    CX_AUTO(cx_buffer_free) cx_buffer line = {0};
    int64_t timeout_ms = agent->spec->message_timeout_ms;

    node_message_deliver(message, cx_wall_ms() + timeout_ms, &line);
    agent->flights[agent->flight_count++] =
        (flight){.message = *message, .deadline_ms = cx_now_ms() + timeout_ms};
    *message = (node_message){0};
    node_process_write(agent->process, cx_buffer_bytes(&line));
}

static bool can_take(const node_agent *agent)
{
    return agent->state == NODE_AGENT_RUNNING && agent->wish == RUN && !agent->ending &&
           !agent->agents->draining;
}

static void on_taken(node_message *messages, size_t count, const cx_err *err, void *arg)
{
    node_agent *agent = arg;
    node_agents *agents = agent->agents;

    agent->taking = false;
    agent->pending--;
    agents->taking--;
    agents->in_flight += count;
    if (err != NULL)
        cx_log_error(agents->options.log, CX_ERROR, "take_failed", err);
    if (agent->process != NULL && agent->state == NODE_AGENT_RUNNING && !agent->ending) {
        for (size_t i = 0; i < count; i++)
            deliver(agent, &messages[i]);
    } else {
        /* It ended meanwhile: they go back to their places, which is nobody's failure. */
        for (size_t i = 0; i < count; i++) {
            agent->flights[agent->flight_count++] = (flight){.message = messages[i]};
            messages[i] = (node_message){0};
            finish(agent, agent->flight_count - 1,
                   agent->wish == REMOVE ? NODE_FAILED : NODE_QUEUED, NULL,
                   "the agent ended before it was asked");
        }
    }
    set_deadline(agent);
    tell_if_idle(agents);
    if (agent->wish == REMOVE)
        free_if_gone(agent);
    else if (err == NULL)
        pump(agent);
}

static void suspend_if_idle(node_agent *agent)
{
    if (agent->wish != SUSPEND || agent->state != NODE_AGENT_RUNNING || agent->flight_count > 0 ||
        agent->finishing > 0 || agent->taking || agent->ending)
        return;
    if (agent->process != NULL)
        node_process_signal(agent->process, SIGSTOP);
    set_state(agent, NODE_AGENT_SUSPENDED);
    tell_watchers(agent, false);
}

/* Takes from the lane what the agent may have in flight. */
static void pump(node_agent *agent)
{
    size_t limit = (size_t)agent->spec->in_flight_max;
    node_counts counts;

    suspend_if_idle(agent);
    if (!can_take(agent) || agent->taking || agent->flight_count >= limit)
        return;
    counts = node_queue_counts(agent->agents->options.queue, agent->spec->id);
    if (counts.queued <= 0)
        return;
    agent->taking = true;
    agent->agents->taking++;
    agent->pending++;
    node_queue_take(agent->agents->options.queue, agent->spec->id, limit - agent->flight_count,
                    on_taken, agent);
}

/* ---- what the process says */

static void garbage(node_agent *agent, const char *why)
{
    set_error(agent, why);
    agent->garbage++;
    if (agent->garbage == 1 || agent->garbage == GARBAGE_MAX)
        cx_log_write(agent->agents->options.log, CX_WARN, "agent_garbage", "{s:s, s:I, s:o}",
                     "agent", agent->spec->id, "lines", (json_int_t)agent->garbage, "reason",
                     cx_json_text(why));
    if (agent->garbage >= GARBAGE_MAX)
        end_process(agent, false);
}

static void take_reply(node_agent *agent, const node_output *output)
{
    size_t at = 0;

    while (at < agent->flight_count &&
           strcmp(agent->flights[at].message.id, output->in_reply_to) != 0)
        at++;
    if (at == agent->flight_count) {
        cx_log_write(agent->agents->options.log, CX_WARN, "reply_unknown", "{s:s, s:s}", "agent",
                     agent->spec->id, "message_id", output->in_reply_to);
        return;
    }
    agent->timeouts = 0;
    finish(agent, at, output->failure ? NODE_FAILED : NODE_DONE, output->content,
           output->failure ? "the agent answered with a failure" : NULL);
    set_deadline(agent);
    pump(agent);
}

static void on_line(cx_bytes line, void *arg)
{
    node_agent *agent = arg;
    node_output output = {0};
    cx_err err;

    if (line.data == NULL) {
        garbage(agent, "a line is longer than 1 MiB");
        return;
    }
    if (line.size == 0)
        return;
    if (!node_output_parse(line, agent->spec->id, &output, &err)) {
        garbage(agent, err.message);
        return;
    }
    agent->garbage = 0;
    agent->active_wall_ms = cx_wall_ms();
    if (output.kind == NODE_OUTPUT_REPLY) {
        take_reply(agent, &output);
    } else {
        agent->pending++;
        if (++agent->sending >= SENDING_MAX)
            node_process_hold(agent->process, true);
        agent->agents->options.send(agent, &output.message, agent->agents->options.arg);
    }
    node_output_free(&output);
}

static void on_error_line(cx_bytes line, void *arg)
{
    node_agent *agent = arg;
    int64_t second = cx_now_ms() / 1000;

    if (second != agent->error_second) {
        agent->error_second = second;
        agent->error_lines = 0;
    }
    if (line.size > 0)
        snprintf(agent->last_error, sizeof agent->last_error, "%.*s", (int)line.size,
                 (const char *)line.data);
    if (agent->error_lines++ < ERROR_LINES_MAX)
        cx_log_write(agent->agents->options.log, CX_INFO, "agent_stderr", "{s:s, s:o}", "agent",
                     agent->spec->id, "text", cx_json_text_n((const char *)line.data, line.size));
}

/* ---- its life */

static void start_agent(node_agent *agent);

static void on_start_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    start_agent(arg);
}

/* It doesn't run: when to try again, and what it counts as until then. */
static void schedule_start(node_agent *agent, int64_t ran_ms)
{
    uint32_t random = 0;
    int64_t wait_ms;

    if (agent->agents->stopping || agent->wish == REMOVE) {
        set_state(agent, NODE_AGENT_STOPPED);
        return;
    }
    if (agent->wish == SUSPEND) { /* it starts when it is resumed */
        set_state(agent, NODE_AGENT_SUSPENDED);
        return;
    }
    if (agent->restarting) {
        agent->restarting = false;
        set_state(agent, NODE_AGENT_STARTING);
        node_timer_set(agent->start_timer, 0);
        return;
    }
    cx_random(&random, sizeof random);
    wait_ms = node_backoff_after(&agent->backoff, ran_ms, random);
    set_state(agent,
              agent->backoff.failures >= FAILURES_MAX ? NODE_AGENT_FAILED : NODE_AGENT_STARTING);
    node_timer_set(agent->start_timer, wait_ms);
}

static void on_started(void *arg)
{
    node_agent *agent = arg;

    if (agent->ending)
        return;
    set_state(agent, NODE_AGENT_RUNNING);
    pump(agent);
    tell_watchers(agent, false);
}

static void describe_exit(node_agent *agent, const node_process_exit *how)
{
    if (how->exec_errno != 0)
        snprintf(agent->last_exit, sizeof agent->last_exit, "can't start: %s",
                 strerrordesc_np(how->exec_errno));
    else if (how->signal != 0)
        snprintf(agent->last_exit, sizeof agent->last_exit, "signal %d (%s)", how->signal,
                 sigabbrev_np(how->signal) == NULL ? "?" : sigabbrev_np(how->signal));
    else
        snprintf(agent->last_exit, sizeof agent->last_exit, "exit %d", how->status);
    if (!agent->ending)
        cx_log_write(agent->agents->options.log, CX_WARN, "agent_ended", "{s:s, s:s}", "agent",
                     agent->spec->id, "how", agent->last_exit);
}

static void on_ended(const node_process_exit *how, void *arg)
{
    node_agent *agent = arg;
    node_agents *agents = agent->agents;
    CX_AUTO(cx_free) char *why = NULL;

    describe_exit(agent, how);
    if (how->exec_errno != 0) {
        set_error(agent, agent->last_exit);
        agent->backoff.failures = FAILURES_MAX; /* trying soon again won't help */
    }
    why = agent->timed_out ? cx_strdup("no answer within message_timeout")
                           : cx_format("the agent ended (%s)", agent->last_exit);
    agent->timed_out = false;
    node_process_close(&agent->process);
    agents->processes--;
    agent->ending = false;
    agent->pending++; /* keeps it here until the end of this function */
    for (size_t i = agent->flight_count; i-- > 0;)
        fail_attempt(agent, i, why);
    set_deadline(agent);
    schedule_start(agent, cx_now_ms() - agent->started_ms);
    tell_watchers(agent, false);
    agent->pending--;
    free_if_gone(agent);
    tell_if_ended(agents);
}

static char **environment_of(const node_agent *agent, cx_list *env)
{
    const node_agents_options *options = &agent->agents->options;
    char **array;

    cx_list_take(env, cx_format("PATH=%s", node_program_path()));
    cx_list_take(env, cx_format("HOME=%s", agent->folder));
    cx_list_add(env, "LANG=C.UTF-8");
    cx_list_take(env, cx_format("CX_AGENT_ID=%s", agent->spec->id));
    cx_list_take(env, cx_format("CX_NODE_ID=%s", options->node_id));
    cx_list_take(env, cx_format("CX_CLUSTER=%s", options->cluster));
    cx_list_take(env, cx_format(NODE_ORPHAN_MARK "%s", options->data_dir));
    for (size_t i = 0; i < agent->spec->env.count; i++)
        cx_list_add(env, agent->spec->env.items[i]);
    array = cx_alloc(env->count + 1, sizeof *array);
    memcpy(array, env->items, env->count * sizeof *array);
    return array;
}

static bool launch(node_agent *agent, cx_err *err)
{
    CX_AUTO(cx_list_free) cx_list env = {0};
    CX_AUTO(cx_free) char **array = environment_of(agent, &env);
    CX_AUTO(cx_free) char *program = NULL;

    return node_program_find(agent->spec->command.items[0], &program, err) &&
           cx_make_folders(agent->folder, 0700, NULL, err) &&
           node_process_start(agent->agents->children,
                              &(node_process_options){.spec = agent->spec,
                                                      .program = program,
                                                      .folder = agent->folder,
                                                      .env = (const char *const *)array,
                                                      .started = on_started,
                                                      .line = on_line,
                                                      .error_line = on_error_line,
                                                      .ended = on_ended,
                                                      .arg = agent},
                              &agent->process, err);
}

static void start_agent(node_agent *agent)
{
    cx_err err;

    if (agent->process != NULL || agent->agents->stopping || agent->wish != RUN)
        return;
    set_state(agent, NODE_AGENT_STARTING);
    agent->garbage = 0;
    agent->cpu_ms = 0;
    agent->measured_ms = 0;
    agent->started_ms = cx_now_ms();
    if (!launch(agent, &err)) {
        cx_log_error(agent->agents->options.log, CX_WARN, "agent_start_failed", &err);
        set_error(agent, err.message);
        agent->backoff.failures = FAILURES_MAX;
        schedule_start(agent, 0);
        tell_watchers(agent, false);
        return;
    }
    agent->agents->processes++;
    if (agent->started_wall_ms != 0)
        agent->restarts++;
    agent->started_wall_ms = cx_wall_ms();
}

/* ---- figures */

static void measure(node_agent *agent, int64_t now_ms)
{
    int64_t cpu_ms = 0;

    if (agent->process == NULL ||
        !node_process_measure(node_process_id(agent->process), &cpu_ms, &agent->rss_bytes)) {
        agent->cpu_percent = 0;
        agent->rss_bytes = 0;
        return;
    }
    if (agent->measured_ms != 0 && now_ms > agent->measured_ms)
        agent->cpu_percent =
            100.0 * (double)(cpu_ms - agent->cpu_ms) / (double)(now_ms - agent->measured_ms);
    agent->cpu_ms = cpu_ms;
    agent->measured_ms = now_ms;
}

static void on_measure(evutil_socket_t fd, short what, void *arg)
{
    node_agents *agents = arg;
    int64_t now_ms = cx_now_ms();
    void *value = NULL;

    (void)fd;
    (void)what;
    for (size_t i = 0; i < MEASURE_MAX; i++) {
        if (!cx_map_next(agents->by_id, &agents->measure_cursor, NULL, &value)) {
            agents->measure_cursor = 0;
            break;
        }
        measure(value, now_ms);
    }
}

static json_t *figures_json(const node_latency *latency)
{
    node_latency_summary summary = node_latency_summarize(latency, cx_now_ms());

    if (summary.count == 0)
        return json_pack("{s:n, s:n}", "p50", "p99");
    return json_pack("{s:o, s:o}", "p50", cx_json_figure(summary.p50_ms), "p99",
                     cx_json_figure(summary.p99_ms));
}

static json_t *text_or_null(const char *text)
{
    return text[0] == '\0' ? json_null() : cx_json_text(text);
}

static json_t *time_or_null(int64_t wall_ms)
{
    return wall_ms == 0 ? json_null() : cx_json_time(wall_ms);
}

static double oldest_in_flight_seconds(const node_agent *agent)
{
    int64_t now_ms = cx_wall_ms(), oldest_ms = now_ms;

    for (size_t i = 0; i < agent->flight_count; i++)
        if (agent->flights[i].message.started_at_ms < oldest_ms)
            oldest_ms = agent->flights[i].message.started_at_ms;
    return (double)(now_ms - oldest_ms) / 1000;
}

static json_t *list_json(const cx_list *list)
{
    json_t *array = json_array();

    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(array, cx_json_text(list->items[i]));
    return array;
}

/* ---- public */

const char *node_agent_state_word(node_agent_state state)
{
    switch (state) {
    case NODE_AGENT_STARTING: return "starting";
    case NODE_AGENT_RUNNING: return "running";
    case NODE_AGENT_SUSPENDED: return "suspended";
    case NODE_AGENT_FAILED: return "failed";
    case NODE_AGENT_STOPPED: return "stopped";
    }
    return NULL;
}

node_agents *node_agents_open(const node_agents_options *options)
{
    node_agents *agents = cx_alloc(1, sizeof *agents);

    agents->options = *options;
    agents->by_id = cx_map_open();
    agents->removed = cx_map_open();
    agents->children = node_processes_open(options->loop);
    agents->measure_timer = event_new(options->loop, -1, EV_PERSIST, on_measure, agents);
    node_timer_set(agents->measure_timer, MEASURE_MS);
    return agents;
}

static void close_all(cx_map *map)
{
    size_t cursor = 0;
    void *value = NULL;

    while (cx_map_next(map, &cursor, NULL, &value)) {
        node_agent *agent = value;

        while (agent->watchers != NULL) {
            agent_watcher *each = agent->watchers;

            agent->watchers = each->next;
            event_free(each->timer);
            cx_free(&each);
        }
        free_agent(agent);
    }
}

void node_agents_close(node_agents **owner)
{
    node_agents *agents = *owner;

    if (agents == NULL)
        return;
    event_free(agents->measure_timer);
    close_all(agents->by_id);
    close_all(agents->removed);
    cx_map_close(&agents->by_id);
    cx_map_close(&agents->removed);
    node_processes_close(&agents->children);
    cx_free(owner);
}

/* Replaces the spec of a known agent. */
static node_agent *change_spec(node_agent *agent, node_spec *spec)
{
    /* Never smaller: what the old limit allowed may be on its way. */
    if (agent->flight_capacity < (size_t)spec->in_flight_max) {
        agent->flight_capacity = (size_t)spec->in_flight_max;
        agent->flights = cx_realloc(agent->flights, agent->flight_capacity, sizeof *agent->flights);
    }
    node_spec_free(&agent->spec);
    agent->spec = spec;
    node_backoff_reset(&agent->backoff);
    if (agent->process != NULL)
        end_process(agent, true);
    else if (agent->wish == RUN)
        start_agent(agent);
    return agent;
}

node_agent *node_agents_put(node_agents *agents, node_spec *spec, bool suspended)
{
    node_agent *agent = cx_map_get(agents->by_id, spec->id);
    CX_AUTO(cx_free) char *parent = NULL;

    if (agent != NULL)
        return change_spec(agent, spec);
    agent = cx_alloc(1, sizeof *agent);
    parent = cx_path_join(agents->options.data_dir, "agents");
    agent->agents = agents;
    agent->spec = spec;
    agent->folder = cx_path_join(parent, spec->id);
    agent->wish = suspended ? SUSPEND : RUN;
    agent->state = suspended ? NODE_AGENT_SUSPENDED : NODE_AGENT_STARTING;
    agent->deployed_wall_ms = cx_wall_ms();
    agent->backoff = (node_backoff){
        .first_ms = RESTART_FIRST_MS, .max_ms = RESTART_MAX_MS, .healthy_ms = HEALTHY_MS};
    agent->latency.capacity = LATENCIES_MAX;
    agent->flight_capacity = (size_t)spec->in_flight_max;
    agent->flights = cx_alloc(agent->flight_capacity, sizeof *agent->flights);
    agent->start_timer = evtimer_new(agents->options.loop, on_start_timer, agent);
    agent->deadline_timer = evtimer_new(agents->options.loop, on_deadline, agent);
    cx_map_put(agents->by_id, spec->id, agent);
    start_agent(agent);
    return agent;
}

node_agent *node_agents_find(const node_agents *agents, const char *id)
{
    return cx_map_get(agents->by_id, id);
}

bool node_agents_is_leaving(const node_agents *agents, const char *id)
{
    size_t cursor = 0;
    void *value = NULL;

    while (cx_map_next(agents->removed, &cursor, NULL, &value))
        if (strcmp(((const node_agent *)value)->spec->id, id) == 0)
            return true;
    return false;
}

size_t node_agents_count(const node_agents *agents)
{
    return cx_map_count(agents->by_id);
}

size_t node_agents_count_state(const node_agents *agents, node_agent_state state)
{
    size_t cursor = 0, count = 0;
    const node_agent *agent;

    while ((agent = node_agents_next(agents, &cursor)) != NULL)
        count += agent->state == state;
    return count;
}

size_t node_agents_in_flight(const node_agents *agents)
{
    return agents->in_flight;
}

node_agent *node_agents_next(const node_agents *agents, size_t *cursor)
{
    void *value = NULL;

    return cx_map_next(agents->by_id, cursor, NULL, &value) ? value : NULL;
}

void node_agents_queued(node_agents *agents, const char *lane)
{
    node_agent *agent = cx_map_get(agents->by_id, lane);

    if (agent != NULL)
        pump(agent);
}

void node_agent_restart(node_agent *agent, int64_t timeout_ms, node_agent_reached *reached,
                        void *arg)
{
    node_backoff_reset(&agent->backoff);
    if (agent->process != NULL) {
        end_process(agent, true);
    } else {
        set_state(agent, NODE_AGENT_STARTING);
        node_timer_set(agent->start_timer, 0);
    }
    watch_agent(agent, UNTIL_RUNNING, timeout_ms, reached, arg);
}

void node_agent_suspend(node_agent *agent, int64_t timeout_ms, node_agent_reached *reached,
                        void *arg)
{
    agent->wish = SUSPEND;
    watch_agent(agent, UNTIL_SUSPENDED, timeout_ms, reached, arg);
    if (agent->process == NULL) {
        evtimer_del(agent->start_timer);
        set_state(agent, NODE_AGENT_SUSPENDED);
        tell_watchers(agent, false);
        return;
    }
    suspend_if_idle(agent);
}

void node_agent_resume(node_agent *agent, int64_t timeout_ms, node_agent_reached *reached,
                       void *arg)
{
    agent->wish = RUN;
    watch_agent(agent, UNTIL_RUNNING, timeout_ms, reached, arg);
    if (agent->process == NULL) {
        node_backoff_reset(&agent->backoff);
        start_agent(agent);
        return;
    }
    if (agent->state == NODE_AGENT_SUSPENDED) {
        node_process_signal(agent->process, SIGCONT);
        set_state(agent, NODE_AGENT_RUNNING);
    }
    pump(agent);
    tell_watchers(agent, false);
}

void node_agent_remove(node_agent *agent, node_agent_reached *reached, void *arg)
{
    char key[32];

    snprintf(key, sizeof key, "%p", (void *)agent);
    cx_map_remove(agent->agents->by_id, agent->spec->id);
    cx_map_put(agent->agents->removed, key, agent);
    agent->wish = REMOVE;
    evtimer_del(agent->start_timer);
    tell_watchers(agent, true); /* what others waited for won't come */
    watch_agent(agent, UNTIL_GONE, END_GRACE_MS * 5, reached, arg);
    end_process(agent, false);
    if (agent->process != NULL)
        return;
    set_state(agent, NODE_AGENT_STOPPED);
    tell_watchers(agent, false);
    free_if_gone(agent);
}

void node_agent_settle(node_agent *agent, int64_t timeout_ms, node_agent_reached *reached,
                       void *arg)
{
    watch_agent(agent, UNTIL_SETTLED, timeout_ms, reached, arg);
    tell_watchers(agent, false);
}

void node_agent_sent(node_agent *agent)
{
    agent->pending--;
    agent->sending--;
    if (agent->sending < SENDING_MAX / 2 && agent->process != NULL)
        node_process_hold(agent->process, false);
    free_if_gone(agent);
}

void node_agents_drain(node_agents *agents, void (*idle)(void *arg), void *arg)
{
    agents->draining = true;
    agents->idle = idle;
    agents->idle_arg = arg;
    tell_if_idle(agents);
}

void node_agents_stop(node_agents *agents, int64_t grace_ms, void (*ended)(void *arg), void *arg)
{
    size_t cursor = 0;
    node_agent *agent;

    agents->draining = true;
    agents->stopping = true;
    agents->ended = ended;
    agents->ended_arg = arg;
    while ((agent = node_agents_next(agents, &cursor)) != NULL) {
        evtimer_del(agent->start_timer);
        if (agent->process != NULL) {
            agent->ending = true;
            node_process_end(agent->process, grace_ms);
        }
    }
    tell_if_ended(agents);
}

const node_spec *node_agent_spec(const node_agent *agent)
{
    return agent->spec;
}

node_agent_state node_agent_state_of(const node_agent *agent)
{
    return agent->state;
}

bool node_agent_is_suspended(const node_agent *agent)
{
    return agent->wish == SUSPEND;
}

json_t *node_agent_to_json(const node_agent *agent)
{
    const node_agents_options *options = &agent->agents->options;
    const node_spec *spec = agent->spec;
    node_counts counts = node_queue_counts(options->queue, spec->id);
    json_t *json = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:I, s:o}", "id", spec->id,
        "node_id", options->node_id, "state", node_agent_state_word(agent->state), "priority",
        node_priority_word(spec->priority), "placement", node_placement_word(spec->placement),
        "queued", (json_int_t)counts.queued, "in_flight", (json_int_t)counts.in_flight, "processed",
        (json_int_t)agent->processed, "failed", (json_int_t)agent->failed, "latency_ms",
        figures_json(&agent->latency), "cpu_percent", cx_json_figure(agent->cpu_percent),
        "rss_bytes", (json_int_t)agent->rss_bytes, "last_active",
        time_or_null(agent->active_wall_ms));

    json_object_update_new(
        json,
        json_pack("{s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:I, s:b, s:o}", "command",
                  list_json(&spec->command), "capabilities", list_json(&spec->capabilities),
                  "restarts", (json_int_t)agent->restarts, "pid",
                  agent->process == NULL ? json_null()
                                         : json_integer(node_process_id(agent->process)),
                  "started_at", time_or_null(agent->started_wall_ms), "last_error",
                  text_or_null(agent->last_error), "last_exit", text_or_null(agent->last_exit),
                  "limits", node_spec_limits(spec), "max_attempts", (json_int_t)spec->attempts_max,
                  "responsive", agent->timeouts == 0 && agent->state != NODE_AGENT_FAILED,
                  "oldest_in_flight_seconds", cx_json_figure(oldest_in_flight_seconds(agent))));
    return json;
}

void node_agent_figures(const node_agent *agent, int64_t *processed, int64_t *failed,
                        int64_t *restarts)
{
    *processed = agent->processed;
    *failed = agent->failed;
    *restarts = agent->restarts;
}
