/* Messages: from an agent's lane to its process, and what the process answers back to the queue. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "agents_parts.h"
#include "base/text.h"
#include "base/time.h"
#include "timer.h"

enum {
    GARBAGE_MAX = 100,    /* unusable lines in a row before the agent is started anew */
    SENDING_MAX = 64,     /* messages of one agent on their way to the queue: then it is held */
    ERROR_LINES_MAX = 20, /* of stderr that go to the log in one second */
};

/* ---- messages */

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
    agents_tell_if_idle(agents);
    if (agent->wish == REMOVE)
        agent_leave_if_idle(agent);
    else
        agent_pump(agent);
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
void agent_fail_attempt(node_agent *agent, size_t at, const char *why)
{
    const node_message *message = &agent->flights[at].message;
    CX_AUTO(cx_free)
    char *text = cx_format("attempt %lld: %s", (long long)message->attempts, why);
    bool last = agent->retiring
                    ? false
                    : agent->wish == REMOVE || message->attempts >= agent->spec->attempts_max;

    cx_log_write(agent->agents->options.log, CX_WARN, last ? "message_failed" : "message_retried",
                 "{s:s, s:s, s:I, s:s}", "agent", agent->spec->id, "message_id", message->id,
                 "attempt", (json_int_t)message->attempts, "reason", why);
    finish(agent, at, last ? NODE_FAILED : NODE_QUEUED, NULL, text);
}

void agent_set_deadline(node_agent *agent)
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

void agent_on_deadline(evutil_socket_t fd, short what, void *arg)
{
    node_agent *agent = arg;
    int64_t now_ms = cx_now_ms();
    bool late = false;

    (void)fd;
    (void)what;
    for (size_t i = agent->flight_count; i-- > 0;)
        late |= agent->flights[i].deadline_ms <= now_ms;
    if (!late) {
        agent_set_deadline(agent);
        return;
    }
    agent->timeouts++;
    agent_set_error(agent, "no answer within message_timeout");
    cx_log_write(agent->agents->options.log, CX_WARN, "agent_timeout", "{s:s}", "agent",
                 agent->spec->id);
    /* Its end fails the attempts, so none overlaps with the next one. */
    agent->timed_out = true;
    agent_end_process(agent, false);
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

bool agent_is_idle(const node_agent *agent)
{
    return agent->flight_count == 0 && agent->finishing == 0 && !agent->taking;
}

static bool can_take(const node_agent *agent)
{
    const node_agents_options *options = &agent->agents->options;

    return agent->state == NODE_AGENT_RUNNING && agent->wish == RUN && !agent->ending &&
           !agent->agents->draining && options->may_take(agent->spec, options->arg);
}

static void on_taken(node_message *messages, size_t count, const cx_err *err, void *arg)
{
    node_agent *agent = arg;
    node_agents *agents = agent->agents;
    const node_agents_options *options = &agents->options;

    agent->taking = false;
    agent->pending--;
    agents->taking--;
    agents->in_flight += count;
    if (err != NULL)
        cx_log_error(agents->options.log, CX_ERROR, "take_failed", err);
    if (agent->process != NULL && agent->state == NODE_AGENT_RUNNING && !agent->ending &&
        options->may_take(agent->spec, options->arg)) {
        for (size_t i = 0; i < count; i++)
            deliver(agent, &messages[i]);
    } else {
        /* It ended meanwhile: they go back to their places, which is nobody's failure. */
        for (size_t i = 0; i < count; i++) {
            agent->flights[agent->flight_count++] = (flight){.message = messages[i]};
            messages[i] = (node_message){0};
            finish(agent, agent->flight_count - 1,
                   agent->wish == REMOVE && !agent->retiring ? NODE_FAILED : NODE_QUEUED, NULL,
                   "the agent ended before it was asked");
        }
    }
    agent_set_deadline(agent);
    agents_tell_if_idle(agents);
    if (agent->wish == REMOVE)
        agent_leave_if_idle(agent);
    else if (err == NULL)
        agent_pump(agent);
}

void agent_suspend_if_idle(node_agent *agent)
{
    if (agent->wish != SUSPEND || agent->state != NODE_AGENT_RUNNING || !agent_is_idle(agent) ||
        agent->ending)
        return;
    if (agent->process != NULL)
        node_process_signal(agent->process, SIGSTOP);
    agent_set_state(agent, NODE_AGENT_SUSPENDED);
    agent_tell_watchers(agent, false);
}

/* Takes from the lane what the agent may have in flight. */
void agent_pump(node_agent *agent)
{
    size_t limit = (size_t)agent->spec->in_flight_max;
    node_counts counts;

    agent_suspend_if_idle(agent);
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
    agent_set_error(agent, why);
    agent->garbage++;
    if (agent->garbage == 1 || agent->garbage == GARBAGE_MAX)
        cx_log_write(agent->agents->options.log, CX_WARN, "agent_garbage", "{s:s, s:I, s:o}",
                     "agent", agent->spec->id, "lines", (json_int_t)agent->garbage, "reason",
                     cx_json_text(why));
    if (agent->garbage >= GARBAGE_MAX)
        agent_end_process(agent, false);
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
    agent_set_deadline(agent);
    agent_pump(agent);
}

void agent_on_line(cx_bytes line, void *arg)
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

void agent_on_error_line(cx_bytes line, void *arg)
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
