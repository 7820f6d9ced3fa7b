/* Agents: the processes that handle messages. Each is started, fed from its lane of the queue, restarted
 * with back-off when it ends, suspended and measured here; nothing here touches a disk.
 *
 * An attempt at a message is over when the agent answered, when its time-out passed (the agent is then
 * started anew, so that two attempts never overlap), or when the process ended. */
#pragma once

#include <event2/event.h>

#include "base/log.h"
#include "queue.h"
#include "spec.h"

typedef struct node_agents node_agents;
typedef struct node_agent node_agent;

typedef enum node_agent_state {
    NODE_AGENT_STARTING,
    NODE_AGENT_RUNNING,
    NODE_AGENT_SUSPENDED,
    NODE_AGENT_FAILED, /* it ended FAILURES_MAX times in a row soon after its start; still retried */
    NODE_AGENT_STOPPED,
} node_agent_state;

const char *node_agent_state_word(node_agent_state state);

/* A message was finished (not: put back for another attempt), durably where somebody waited. */
typedef struct node_finished {
    const char *id, *agent;
    node_message_state state;
    const char *reply, *error; /* NULL: none */
    int64_t latency_ms;        /* since it was accepted */
    const char *moved_to;      /* not NULL: that node has it now, and nothing else is known */
} node_finished;

typedef struct node_agents_options {
    struct event_base *loop;
    const cx_log *log;
    node_queue *queue;
    const char *data_dir; /* absolute; the state folders are below it */
    const char *cluster, *node_id;
    bool (*is_awaited)(const char *message_id, void *arg); /* its result is made durable first */
    /* Asked before each take: false for one that may not work any more, and is about to be ended. */
    bool (*may_take)(const node_spec *spec, void *arg);
    void (*finished)(const node_finished *finished, void *arg);
    /* An agent sends a message; it is taken over. done: call node_agent_sent when it is durable. */
    void (*send)(node_agent *from, node_message *message, void *arg);
    void *arg;
} node_agents_options;

node_agents *node_agents_open(const node_agents_options *options);
void node_agents_close(node_agents **owner); /* kills what still runs */

/* A new agent, or another spec for a known one, which then starts anew. Takes the spec. */
node_agent *node_agents_put(node_agents *agents, node_spec *spec, bool suspended);
node_agent *node_agents_find(const node_agents *agents, const char *id); /* NULL: none */
/* Removed, but its process is not gone yet. */
bool node_agents_is_leaving(const node_agents *agents, const char *id);
size_t node_agents_count(const node_agents *agents);
size_t node_agents_count_state(const node_agents *agents, node_agent_state state);
size_t node_agents_in_flight(const node_agents *agents);
/* Walks all agents, in no order; *cursor starts at 0. */
node_agent *node_agents_next(const node_agents *agents, size_t *cursor);
/* The lane has something to take. */
void node_agents_queued(node_agents *agents, const char *lane);

/* What an operator asks for. `reached` is called once, from the loop: true when it is so (running
 * anew, stopped by SIGSTOP with nothing in flight, running, gone with its process), false when
 * timeout_ms passed first or another request overtook it. After `remove` reached, agent is gone. */
typedef void node_agent_reached(node_agent *agent, bool reached, void *arg);
void node_agent_restart(node_agent *agent, int64_t timeout_ms, node_agent_reached *reached,
                        void *arg);
void node_agent_suspend(node_agent *agent, int64_t timeout_ms, node_agent_reached *reached,
                        void *arg);
void node_agent_resume(node_agent *agent, int64_t timeout_ms, node_agent_reached *reached,
                       void *arg);
/* What is in flight fails. The agent isn't found any more from now on. */
void node_agent_remove(node_agent *agent, node_agent_reached *reached, void *arg);
/* It goes elsewhere: takes no more, finishes what is in flight for at most patience_ms, and ends. What
 * is not finished then is queued again, in its place. Like one that was removed it isn't found any
 * more from now on; reached(false): its process is still there, watch on with node_agent_await_gone. */
void node_agent_retire(node_agent *agent, int64_t patience_ms, node_agent_reached *reached,
                       void *arg);
void node_agent_await_gone(node_agent *agent, node_agent_reached *reached, void *arg);
/* For one that retires: ends it now, by force after grace_ms. */
void node_agent_hurry(node_agent *agent, int64_t grace_ms);
/* Waits until it runs or is suspended, as after node_agents_put. */
void node_agent_settle(node_agent *agent, int64_t timeout_ms, node_agent_reached *reached,
                       void *arg);
void node_agent_sent(node_agent *agent); /* see `send` */

/* Takes no more messages; `idle` is called when nothing is in flight any more. */
void node_agents_drain(node_agents *agents, void (*idle)(void *arg), void *arg);
/* Ends all processes; `ended` is called when the last one is gone. */
void node_agents_stop(node_agents *agents, int64_t grace_ms, void (*ended)(void *arg), void *arg);

const node_spec *node_agent_spec(const node_agent *agent);
node_agent_state node_agent_state_of(const node_agent *agent);
bool node_agent_is_suspended(const node_agent *agent); /* or about to be */
/* AGENT of the API. New reference. */
json_t *node_agent_to_json(const node_agent *agent);
/* Counts for the metrics. */
void node_agent_figures(const node_agent *agent, int64_t *processed, int64_t *failed,
                        int64_t *restarts);
