/* What the files of the agents share. agents.c: their lives; agents_delivery.c: messages to and from
 * them; agents_figures.c: what is measured and told of them. */
#pragma once

#include "agents.h"
#include "backoff.h"
#include "base/map.h"
#include "process.h"
#include "window.h"

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
    bool retiring;   /* REMOVE, but its messages stay queued: another node goes on with them */
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

/* ---- agents.c */

void agent_set_error(node_agent *agent, const char *text);
void agent_set_state(node_agent *agent, node_agent_state state);
/* Calls those whose wish came true; with `all`, the others too, with false. */
void agent_tell_watchers(node_agent *agent, bool all);
/* Removed ones go when their process and their last callback are gone. */
void agent_free_if_gone(node_agent *agent);
/* The same, and one that retires ends once it is idle. */
void agent_leave_if_idle(node_agent *agent);
void agents_tell_if_idle(node_agents *agents);
/* restart: and it is to start again without waiting. */
void agent_end_process(node_agent *agent, bool restart);

/* ---- agents_delivery.c */

/* Takes from the lane what the agent may have in flight. */
void agent_pump(node_agent *agent);
void agent_suspend_if_idle(node_agent *agent);
/* Nothing is in flight, nor on its way from or to the queue. */
bool agent_is_idle(const node_agent *agent);
/* The attempt at flights[at] failed: another one, unless this was the last or the agent is being
 * removed. */
void agent_fail_attempt(node_agent *agent, size_t at, const char *why);
void agent_set_deadline(node_agent *agent);
void agent_on_deadline(evutil_socket_t fd, short what, void *arg);
/* A line that the process printed, on stdout and on stderr. */
void agent_on_line(cx_bytes line, void *arg);
void agent_on_error_line(cx_bytes line, void *arg);

/* ---- agents_figures.c */

void agents_on_measure(evutil_socket_t fd, short what, void *arg);
