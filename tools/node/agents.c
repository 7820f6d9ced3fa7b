#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agents_parts.h"
#include "base/io.h"
#include "base/map.h"
#include "base/text.h"
#include "base/time.h"
#include "program.h"
#include "timer.h"

enum {
    FAILURES_MAX = 5,       /* quick ends in a row: the agent counts as failed */
    RESTART_FIRST_MS = 200, /* waits between starts */
    RESTART_MAX_MS = 30000,
    HEALTHY_MS = 10000,  /* who ran that long starts counting anew */
    END_GRACE_MS = 2000, /* between SIGTERM and SIGKILL */
    LATENCIES_MAX = 128, /* kept for the figures of one agent */
    SENDING_MAX = 64,    /* messages of one agent on their way to the queue: then it is held */
    MEASURE_MS = 2000,
};

/* ---- telling others */

void agent_set_error(node_agent *agent, const char *text)
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
    case UNTIL_GONE:
        return agent->wish == REMOVE && agent->process == NULL &&
               (!agent->retiring || agent_is_idle(agent));
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
void agent_tell_watchers(node_agent *agent, bool all)
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

void agent_set_state(node_agent *agent, node_agent_state state)
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
void agent_free_if_gone(node_agent *agent)
{
    char key[32];

    if (agent->wish != REMOVE || agent->process != NULL || agent->pending > 0 ||
        agent->watchers != NULL)
        return;
    snprintf(key, sizeof key, "%p", (void *)agent);
    cx_map_remove(agent->agents->removed, key);
    free_agent(agent);
}

void agents_tell_if_idle(node_agents *agents)
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

void agent_end_process(node_agent *agent, bool restart)
{
    agent->restarting = restart;
    if (agent->process == NULL || agent->ending)
        return;
    agent->ending = true;
    node_process_end(agent->process, END_GRACE_MS);
}

void agent_leave_if_idle(node_agent *agent)
{
    if (agent->retiring && agent_is_idle(agent)) {
        agent_end_process(agent, false);
        agent_tell_watchers(agent, false);
    }
    agent_free_if_gone(agent);
}

/* ---- its life */

static void start_agent(node_agent *agent);

static void on_start_timer(evutil_socket_t fd, short what, void *arg)
{
    node_agent *agent = arg;

    (void)fd;
    (void)what;
    if (agent->retiring)
        agent_end_process(agent, false); /* its patience is over */
    else
        start_agent(agent);
}

/* It doesn't run: when to try again, and what it counts as until then. */
static void schedule_start(node_agent *agent, int64_t ran_ms)
{
    uint32_t random = 0;
    int64_t wait_ms;

    if (agent->agents->stopping || agent->wish == REMOVE) {
        agent_set_state(agent, NODE_AGENT_STOPPED);
        return;
    }
    if (agent->wish == SUSPEND) { /* it starts when it is resumed */
        agent_set_state(agent, NODE_AGENT_SUSPENDED);
        return;
    }
    if (agent->restarting) {
        agent->restarting = false;
        agent_set_state(agent, NODE_AGENT_STARTING);
        node_timer_set(agent->start_timer, 0);
        return;
    }
    cx_random(&random, sizeof random);
    wait_ms = node_backoff_after(&agent->backoff, ran_ms, random);
    agent_set_state(agent, agent->backoff.failures >= FAILURES_MAX ? NODE_AGENT_FAILED
                                                                   : NODE_AGENT_STARTING);
    node_timer_set(agent->start_timer, wait_ms);
}

static void on_started(void *arg)
{
    node_agent *agent = arg;

    if (agent->ending)
        return;
    agent_set_state(agent, NODE_AGENT_RUNNING);
    agent_pump(agent);
    agent_tell_watchers(agent, false);
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
        agent_set_error(agent, agent->last_exit);
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
        agent_fail_attempt(agent, i, why);
    agent_set_deadline(agent);
    schedule_start(agent, cx_now_ms() - agent->started_ms);
    agent_tell_watchers(agent, false);
    agent->pending--;
    agent_free_if_gone(agent);
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
                                                      .line = agent_on_line,
                                                      .error_line = agent_on_error_line,
                                                      .ended = on_ended,
                                                      .arg = agent},
                              &agent->process, err);
}

static void start_agent(node_agent *agent)
{
    cx_err err;

    if (agent->process != NULL || agent->agents->stopping || agent->wish != RUN)
        return;
    agent_set_state(agent, NODE_AGENT_STARTING);
    agent->garbage = 0;
    agent->cpu_ms = 0;
    agent->measured_ms = 0;
    agent->started_ms = cx_now_ms();
    if (!launch(agent, &err)) {
        cx_log_error(agent->agents->options.log, CX_WARN, "agent_start_failed", &err);
        agent_set_error(agent, err.message);
        agent->backoff.failures = FAILURES_MAX;
        schedule_start(agent, 0);
        agent_tell_watchers(agent, false);
        return;
    }
    agent->agents->processes++;
    if (agent->started_wall_ms != 0)
        agent->restarts++;
    agent->started_wall_ms = cx_wall_ms();
}

/* ---- public */

node_agents *node_agents_open(const node_agents_options *options)
{
    node_agents *agents = cx_alloc(1, sizeof *agents);

    agents->options = *options;
    agents->by_id = cx_map_open();
    agents->removed = cx_map_open();
    agents->children = node_processes_open(options->loop);
    agents->measure_timer = event_new(options->loop, -1, EV_PERSIST, agents_on_measure, agents);
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
        agent_end_process(agent, true);
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
    agent->deadline_timer = evtimer_new(agents->options.loop, agent_on_deadline, agent);
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
        agent_pump(agent);
}

void node_agent_restart(node_agent *agent, int64_t timeout_ms, node_agent_reached *reached,
                        void *arg)
{
    node_backoff_reset(&agent->backoff);
    if (agent->process != NULL) {
        agent_end_process(agent, true);
    } else {
        agent_set_state(agent, NODE_AGENT_STARTING);
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
        agent_set_state(agent, NODE_AGENT_SUSPENDED);
        agent_tell_watchers(agent, false);
        return;
    }
    agent_suspend_if_idle(agent);
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
        agent_set_state(agent, NODE_AGENT_RUNNING);
    }
    agent_pump(agent);
    agent_tell_watchers(agent, false);
}

/* Not found any more. */
static void take_away(node_agent *agent)
{
    char key[32];

    snprintf(key, sizeof key, "%p", (void *)agent);
    cx_map_remove(agent->agents->by_id, agent->spec->id);
    cx_map_put(agent->agents->removed, key, agent);
    agent->wish = REMOVE;
    evtimer_del(agent->start_timer);
    agent_tell_watchers(agent, true); /* what others waited for won't come */
}

static void stop_if_gone(node_agent *agent)
{
    if (agent->process != NULL)
        return;
    agent_set_state(agent, NODE_AGENT_STOPPED);
    agent_tell_watchers(agent, false);
    agent_free_if_gone(agent);
}

void node_agent_remove(node_agent *agent, node_agent_reached *reached, void *arg)
{
    take_away(agent);
    watch_agent(agent, UNTIL_GONE, END_GRACE_MS * 5, reached, arg);
    agent_end_process(agent, false);
    stop_if_gone(agent);
}

void node_agent_retire(node_agent *agent, int64_t patience_ms, node_agent_reached *reached,
                       void *arg)
{
    agent->retiring = true;
    take_away(agent);
    watch_agent(agent, UNTIL_GONE, patience_ms + END_GRACE_MS * 5, reached, arg);
    if (agent->process != NULL && (patience_ms == 0 || agent_is_idle(agent)))
        agent_end_process(agent, false);
    else if (agent->process != NULL)
        node_timer_set(agent->start_timer, patience_ms);
    stop_if_gone(agent);
}

void node_agent_await_gone(node_agent *agent, node_agent_reached *reached, void *arg)
{
    watch_agent(agent, UNTIL_GONE, END_GRACE_MS * 5, reached, arg);
    agent_tell_watchers(agent, false);
}

void node_agent_hurry(node_agent *agent, int64_t grace_ms)
{
    agent->ending = true;
    if (agent->process != NULL)
        node_process_end(agent->process, grace_ms);
}

void node_agent_settle(node_agent *agent, int64_t timeout_ms, node_agent_reached *reached,
                       void *arg)
{
    watch_agent(agent, UNTIL_SETTLED, timeout_ms, reached, arg);
    agent_tell_watchers(agent, false);
}

void node_agent_sent(node_agent *agent)
{
    agent->pending--;
    agent->sending--;
    if (agent->sending < SENDING_MAX / 2 && agent->process != NULL)
        node_process_hold(agent->process, false);
    agent_free_if_gone(agent);
}

void node_agents_drain(node_agents *agents, void (*idle)(void *arg), void *arg)
{
    agents->draining = true;
    agents->idle = idle;
    agents->idle_arg = arg;
    agents_tell_if_idle(agents);
}

static void end_processes(cx_map *map, int64_t grace_ms)
{
    size_t cursor = 0;
    void *value = NULL;

    while (cx_map_next(map, &cursor, NULL, &value)) {
        node_agent *agent = value;

        evtimer_del(agent->start_timer);
        if (agent->process == NULL)
            continue;
        agent->ending = true;
        node_process_end(agent->process, grace_ms);
    }
}

void node_agents_stop(node_agents *agents, int64_t grace_ms, void (*ended)(void *arg), void *arg)
{
    agents->draining = true;
    agents->stopping = true;
    agents->ended = ended;
    agents->ended_arg = arg;
    end_processes(agents->by_id, grace_ms);
    end_processes(agents->removed, grace_ms); /* who retires has no more patience either */
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
