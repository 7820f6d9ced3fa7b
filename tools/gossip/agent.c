#include "agent.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "base/io.h"
#include "base/text.h"
#include "base/time.h"
#include "config/config.h"
#include "gossip.h"

enum {
    STATE_BYTES_MAX = 16 * 1024 * 1024,
    KEYRING_BYTES_MAX = 64 * 1024,
    JOBS_MAX = 256,
    RETRY_MIN_MS = 500, /* between tries to reach a seed, doubled up to RETRY_MAX_MS */
    RETRY_MAX_MS = 15000,
    FLUSH_MS = 1000, /* for answers to control clients at the end */
    FLUSH_TURN_MS = 20,
};

struct agent_options {
    const char *bind, *advertise, *node_id, *keyring_file, *profile, *run_dir, *data_dir;
    cx_list join, tags;
    int64_t expect;
    bool plain;
};

static const cx_option options[] = {
    {"bind", CX_TEXT(struct agent_options, bind), "HOST:PORT", NULL,
     "packets and streams; default: bind_addr of the configuration"},
    {"advertise", CX_TEXT(struct agent_options, advertise), "HOST:PORT", NULL,
     "the address that others are told; default: what is bound"},
    {"node-id", CX_TEXT(struct agent_options, node_id), "ID", NULL, "the member's name"},
    {"join", CX_LIST(struct agent_options, join), "HOST:PORT", NULL,
     "a seed; tried until one answers"},
    {"keyring-file", CX_TEXT(struct agent_options, keyring_file), "FILE", NULL,
     "encrypt with these keys; default: cert_dir/gossip.keys of the configuration"},
    {"plain", CX_FLAG(struct agent_options, plain), NULL, NULL,
     "do not encrypt, whatever the configuration says"},
    {"tag", CX_LIST(struct agent_options, tags), "K=V", NULL, "a tag that others see"},
    {"profile", CX_CHOICE(struct agent_options, profile), "lan|wan|local", NULL,
     "timing; default: gossip_profile of the configuration"},
    {"expect", CX_INT(struct agent_options, expect), "N", NULL,
     "size of the cluster, for its partition state; default: bootstrap_expect"},
    {"run-dir", CX_TEXT(struct agent_options, run_dir), "DIR", NULL,
     "for the control socket; default: run_dir of the configuration"},
    {"data-dir", CX_TEXT(struct agent_options, data_dir), "DIR", NULL,
     "for the state that outlives a restart; default: data_dir, else --run-dir"},
    {0},
};

/* ---- files, saved in the worker */

struct save_job {
    struct agent *agent;
    char *path;
    mode_t mode;
    cx_buffer bytes;
    bool failed;
    cx_err err;
};

static void wipe(cx_buffer *buffer)
{
    if (buffer->data)
        explicit_bzero(buffer->data, buffer->capacity);
    cx_buffer_free(buffer);
}

static void save_work(void *data)
{
    struct save_job *job = data;

    job->failed = !cx_replace(job->path, job->mode, cx_buffer_bytes(&job->bytes), &job->err);
}

static void save_done(void *data)
{
    struct save_job *job = data;

    if (job->failed)
        cx_log_error(&job->agent->log, CX_ERROR, "save_failed", &job->err);
    wipe(&job->bytes); /* it may be the key ring */
    cx_free(&job->path);
    cx_free(&job);
}

static void save(struct agent *agent, const char *path, mode_t mode, cx_bytes bytes)
{
    struct save_job *job = cx_alloc(1, sizeof *job);

    job->agent = agent;
    job->path = cx_strdup(path);
    job->mode = mode;
    cx_buffer_add(&job->bytes, bytes.data, bytes.size);
    if (!cx_pool_add(agent->pool, save_work, save_done, job)) {
        cx_fail(&job->err, CX_BUSY, "%s: too many files wait to be saved", path);
        job->failed = true;
        save_done(job);
    }
}

/* ---- the door */

int64_t agent_since_offset_ms(void)
{
    return cx_wall_ms() - cx_now_ms();
}

static void arm(struct event *timer, int64_t left_ms)
{
    const struct timeval left = {left_ms / 1000, (left_ms % 1000) * 1000};

    evtimer_add(timer, &left);
}

static void wake_at(struct agent *agent, int64_t at_ms)
{
    int64_t left_ms = at_ms - cx_now_ms();

    if (left_ms < 0)
        left_ms = 0;
    arm(agent->wake, left_ms);
}

static void end_soon(struct agent *agent)
{
    /* Control clients still get their answers. */
    agent->ended = true;
    agent->flush_until_ms = cx_now_ms() + FLUSH_MS;
    arm(agent->deadline, 0);
}

static void log_action(struct agent *agent, const cx_gossip_action *action)
{
    char addr[CX_GOSSIP_ADDR_TEXT_SIZE];

    cx_log_write(&agent->log, action->level, action->log_event, "{s:o, s:s, s:o}", "node_id",
                 cx_json_text(action->node ? action->node : ""), "addr",
                 cx_gossip_addr_text(&action->to, addr), "detail",
                 cx_json_text(action->detail ? action->detail : ""));
}

static void log_notice(struct agent *agent, const cx_gossip_notice *notice)
{
    CX_AUTO(cx_json_free) json_t *json = agent_notice_json(notice, agent_since_offset_ms());

    json_object_del(json, "time");
    json_object_del(json, "event");
    cx_log_write(&agent->log, CX_INFO, cx_gossip_notice_text(notice->kind), "{s:O}", "notice",
                 json);
}

static void answer(struct agent *agent, const cx_gossip_action *action)
{
    if (action->ticket == agent->seed_ticket) {
        agent->seed_ticket = 0;
        if (action->joined > 0) {
            agent->joined = true;
            evtimer_del(agent->retry);
            cx_log_write(&agent->log, CX_INFO, "joined", "{s:I}", "seeds",
                         (json_int_t)action->joined);
        }
        return;
    }
    agent_control_answer(agent->control, action);
}

static void act(struct agent *agent, const cx_gossip_action *action)
{
    switch (action->kind) { /* no default: the compiler names a kind that we forgot */
    case CX_GOSSIP_SEND: agent_net_send(agent->net, &action->to, action->bytes); break;
    case CX_GOSSIP_STREAM_OPEN:
        agent_net_stream_open(agent->net, action->stream, &action->to, action->bytes);
        break;
    case CX_GOSSIP_STREAM_WRITE:
        agent_net_stream_write(agent->net, action->stream, action->bytes);
        break;
    case CX_GOSSIP_STREAM_CLOSE: agent_net_stream_close(agent->net, action->stream); break;
    case CX_GOSSIP_WAKE: wake_at(agent, action->wake_at_ms); break;
    case CX_GOSSIP_EMIT:
        log_notice(agent, &action->notice);
        agent_control_notice(agent->control, &action->notice);
        break;
    case CX_GOSSIP_ANSWER: answer(agent, action); break;
    case CX_GOSSIP_LEFT: end_soon(agent); break;
    case CX_GOSSIP_SAVE_KEYRING:
        save(agent, agent->settings->keyring_path, 0600, action->bytes);
        break;
    case CX_GOSSIP_SAVE_STATE: save(agent, agent->settings->state_path, 0600, action->bytes); break;
    case CX_GOSSIP_LOG: log_action(agent, action); break;
    }
}

void agent_input(struct agent *agent, const cx_gossip_event *event)
{
    if (agent->ended)
        return;

    cx_gossip_actions actions = cx_gossip_input(agent->core, event, cx_now_us());

    for (size_t i = 0; i < actions.count; i++)
        act(agent, &actions.items[i]);
}

/* ---- seeds */

static void seeds_resolved(struct agent *agent, const struct agent_resolved *resolved,
                           uint64_t ticket)
{
    if (resolved->failed[0])
        cx_log_write(&agent->log, CX_WARN, "seed_unresolved", "{s:o}", "detail",
                     cx_json_text(resolved->failed));
    if (resolved->count == 0) {
        agent->seed_ticket = 0;
        return;
    }
    agent_input(agent, &(cx_gossip_event){.kind = CX_GOSSIP_ON_JOIN,
                                          .ticket = ticket,
                                          .addrs = resolved->addrs,
                                          .addr_count = resolved->count});
}

static bool has_peers(struct agent *agent)
{
    cx_gossip_status status = cx_gossip_look(agent->core);

    return status.alive > 1;
}

static void on_retry(evutil_socket_t fd, short what, void *data)
{
    struct agent *agent = data;

    (void)fd, (void)what;
    if (agent->joined || agent->leaving || has_peers(agent))
        return;
    if (!agent->seed_ticket) {
        uint64_t ticket = agent->next_ticket++;

        agent->seed_ticket = ticket;
        if (!agent_resolve(agent, agent->settings->join, ticket, seeds_resolved))
            agent->seed_ticket = 0;
    }
    arm(agent->retry, agent->retry_ms);
    agent->retry_ms = agent->retry_ms * 2 < RETRY_MAX_MS ? agent->retry_ms * 2 : RETRY_MAX_MS;
}

/* ---- events of the loop */

static void on_wake(evutil_socket_t fd, short what, void *data)
{
    (void)fd, (void)what;
    agent_input(data, &(cx_gossip_event){.kind = CX_GOSSIP_ON_WAKE});
}

static void on_terminate(evutil_socket_t fd, short what, void *data)
{
    struct agent *agent = data;

    (void)fd, (void)what;
    cx_log_write(&agent->log, CX_INFO, "ending", "{s:s}", "reason", "SIGTERM");
    event_base_loopexit(agent->loop, NULL);
}

void agent_leave(struct agent *agent, uint64_t ticket)
{
    if (agent->leaving)
        return;
    agent->leaving = true;
    sd_notify(0, "STOPPING=1");
    arm(agent->deadline, LEAVE_TIMEOUT_MS);
    agent_input(agent, &(cx_gossip_event){.kind = CX_GOSSIP_ON_LEAVE, .ticket = ticket});
}

static void on_interrupt(evutil_socket_t fd, short what, void *data)
{
    struct agent *agent = data;

    (void)fd, (void)what;
    if (agent->leaving) { /* the second one breaks the loop */
        event_base_loopbreak(agent->loop);
        return;
    }
    cx_log_write(&agent->log, CX_INFO, "leaving", "{s:s}", "reason", "SIGINT");
    agent_leave(agent, 0);
}

static void on_hangup(evutil_socket_t fd, short what, void *data)
{
    struct agent *agent = data;
    cx_err err;

    (void)fd, (void)what;
    if (!cx_log_reopen(&agent->log, agent->log_place, &err))
        cx_log_error(&agent->log, CX_ERROR, "log_not_reopened", &err);
}

static void on_deadline(evutil_socket_t fd, short what, void *data)
{
    struct agent *agent = data;

    (void)fd, (void)what;
    if (agent->ended && !agent_control_is_idle(agent->control) &&
        cx_now_ms() < agent->flush_until_ms)
        arm(agent->deadline, FLUSH_TURN_MS);
    else
        event_base_loopexit(agent->loop, NULL);
}

/* ---- start */

static bool parse_tags(const cx_list *texts, json_t *object, cx_gossip_tag **tags, size_t *count,
                       cx_err *err)
{
    const char *key;
    json_t *value;

    for (size_t i = 0; i < texts->count; i++)
        if (!gossip_parse_tag(texts->items[i], object, err))
            return false;
    *tags = cx_alloc(json_object_size(object) + 1, sizeof **tags);
    json_object_foreach (object, key, value)
        (*tags)[(*count)++] = (cx_gossip_tag){key, json_string_value(value)};
    return true;
}

static bool open_core(struct agent *agent, cx_err *err)
{
    const struct agent_settings *settings = agent->settings;
    CX_AUTO(cx_json_free) json_t *object = json_object();
    CX_AUTO(cx_free) cx_gossip_tag *tags = NULL;
    CX_AUTO(wipe) cx_buffer keyring = {0};
    CX_AUTO(cx_buffer_free) cx_buffer state = {0};
    cx_gossip_options core = {
        .name = settings->node_id,
        .profile = settings->profile,
        .expected = (size_t)settings->expected,
        .compress = true,
    };

    if (!parse_tags(settings->tags, object, &tags, &core.tag_count, err))
        return false;
    core.tags = tags;
    if (settings->advertise) {
        if (!cx_gossip_addr_parse(settings->advertise, agent->port, &core.advertise, err))
            return cx_wrap(err, "advertised address");
    } else if (!agent_net_own_address(agent->net, &core.advertise, err)) {
        return false;
    }
    if (settings->keyring_path) {
        if (!cx_read_secret_file(settings->keyring_path, KEYRING_BYTES_MAX, &keyring, err))
            return cx_wrap(err, "gossip key ring");
        core.keyring = cx_buffer_bytes(&keyring);
    }
    if (cx_exists(settings->state_path) &&
        !cx_read_file(settings->state_path, STATE_BYTES_MAX, &state, err))
        return false;
    core.state = cx_buffer_bytes(&state);
    cx_random(&core.rng, sizeof core.rng);

    return cx_gossip_open(&core, &agent->core, err);
}

static void agent_end(struct agent *agent)
{
    struct event *events[] = {agent->wake,   agent->terminate, agent->interrupt,
                              agent->hangup, agent->retry,     agent->deadline};

    agent->ended = true;         /* what still comes back from the pool changes nothing */
    cx_pool_close(&agent->pool); /* joins: nobody writes any more */
    agent_control_close(&agent->control);
    agent_net_close(&agent->net);
    cx_gossip_close(&agent->core);
    for (size_t i = 0; i < CX_COUNT(events); i++)
        if (events[i])
            event_free(events[i]);
    if (agent->loop)
        event_base_free(agent->loop);
}

static bool agent_start(struct agent *agent, cx_err *err)
{
    const struct agent_settings *settings = agent->settings;
    CX_AUTO(cx_free) char *socket_path = cx_path_join(settings->run_dir, "gossip.sock");

    agent->loop = event_base_new();
    agent->next_ticket = 1;
    agent->retry_ms = RETRY_MIN_MS;
    agent->wake = evtimer_new(agent->loop, on_wake, agent);
    agent->retry = evtimer_new(agent->loop, on_retry, agent);
    agent->deadline = evtimer_new(agent->loop, on_deadline, agent);
    agent->terminate = evsignal_new(agent->loop, SIGTERM, on_terminate, agent);
    agent->interrupt = evsignal_new(agent->loop, SIGINT, on_interrupt, agent);
    agent->hangup = evsignal_new(agent->loop, SIGHUP, on_hangup, agent);
    if (!cx_pool_open(agent->loop, 1, JOBS_MAX, &agent->pool, err) ||
        !agent_net_open(agent, settings->bind, &agent->net, err) || !open_core(agent, err) ||
        !agent_control_open(agent, socket_path, &agent->control, err))
        return false;
    evsignal_add(agent->terminate, NULL);
    evsignal_add(agent->interrupt, NULL);
    evsignal_add(agent->hangup, NULL);
    agent_input(agent, &(cx_gossip_event){.kind = CX_GOSSIP_ON_START});
    if (settings->join->count > 0)
        on_retry(-1, 0, agent);
    return true;
}

static bool serve(cx_run *run, const struct agent_settings *settings, cx_level level, cx_err *err)
{
    struct agent agent = {
        .settings = settings,
        .log = {.program = run->program, .level = level, .fd = STDERR_FILENO},
    };
    bool started;

    agent.log_place = cx_log_place(&agent.log);
    started = agent_start(&agent, err);
    if (started) {
        cx_log_write(&agent.log, CX_INFO, "started", "{s:s, s:s, s:b, s:s}", "node_id",
                     settings->node_id, "bind", settings->bind, "encrypted",
                     settings->keyring_path != NULL, "version", cx_version);
        sd_notify(0, "READY=1");
        if (event_base_dispatch(agent.loop) < 0)
            started = cx_fail(err, CX_INTERNAL, "the event loop failed");
        sd_notify(0, "STOPPING=1");
        cx_log_write(&agent.log, CX_INFO, "ended", NULL);
    }
    agent_end(&agent);
    cx_free(&agent.log_place);
    return started;
}

static bool choose_profile(const char *text, cx_gossip_profile *profile, cx_err *err)
{
    for (int i = 0; cx_gossip_profile_text((cx_gossip_profile)i); i++) {
        if (strcmp(text, cx_gossip_profile_text((cx_gossip_profile)i)) != 0)
            continue;
        *profile = (cx_gossip_profile)i;
        return true;
    }
    return cx_fail(err, CX_CONFIG, "gossip_profile '%s' is none of lan, wan, local", text);
}

static void unlock(int *fd)
{
    cx_fd_close(fd);
}

/* Options win over the configuration, which is only needed for what they leave open. */
static bool run_agent(cx_run *run, const void *parsed, cx_err *err)
{
    const struct agent_options *option = parsed;
    bool self_contained = option->bind && option->node_id && option->run_dir;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_free) char *configured_keys = NULL;
    CX_AUTO(cx_free) char *lock_path = NULL;
    CX_AUTO(cx_free) char *state_path = NULL;
    CX_AUTO(unlock) int lock = -1;
    struct agent_settings settings = {.tags = &option->tags};
    cx_level level = CX_INFO;

    if (!cx_config_load(run->config_path, self_contained, &config, err))
        return false;

    bool from_file = config->path[0] != '\0' && !self_contained;

    settings.node_id = option->node_id ? option->node_id : config->node_id;
    settings.bind = option->bind ? option->bind : config->bind_addr;
    settings.advertise = option->advertise ? option->advertise
                         : from_file       ? config->advertise_addr
                                           : NULL;
    if (settings.advertise && strncmp(settings.advertise, "0.0.0.0:", 8) == 0)
        settings.advertise = NULL; /* not an address that anybody can send to */
    settings.run_dir = option->run_dir ? option->run_dir : config->run_dir;
    settings.join = option->join.count || !from_file ? &option->join : &config->seeds;
    settings.expected = option->expect ? option->expect : from_file ? config->bootstrap_expect : 0;
    settings.keyring_path = option->keyring_file;
    if (!settings.keyring_path && !option->plain && from_file && config->encrypt)
        settings.keyring_path = configured_keys = cx_config_cert(config, "gossip.keys");
    if (!choose_profile(option->profile ? option->profile : config->gossip_profile,
                        &settings.profile, err) ||
        !cx_check_id("node id", settings.node_id, err) ||
        !cx_level_parse(run->verbose ? "debug" : config->log_level, &level, err))
        return false;

    const char *data_dir = option->data_dir ? option->data_dir
                           : from_file      ? config->data_dir
                                            : settings.run_dir;

    settings.state_path = state_path = cx_path_join(data_dir, "gossip.state");
    lock_path = cx_path_join(settings.run_dir, "gossip.lock");
    if (!cx_make_folders(settings.run_dir, 0755, NULL, err) ||
        !cx_make_folders(data_dir, 0750, NULL, err) || !cx_lock(lock_path, &lock, err))
        return false;
    return serve(run, &settings, level, err);
}

const cx_command gossip_agent = {
    .name = "agent",
    .summary = "run the member of this host in the foreground",
    .description =
        "SIGINT leaves the cluster gracefully and ends; SIGTERM ends at once, and the others see "
        "the member as failed unless it is started again soon. SIGHUP opens its log file anew "
        "after a "
        "rotation. The log is NDJSON on stderr.\n"
        "An agent without a key ring trusts everything that reaches its port.",
    .options = options,
    .options_size = sizeof(struct agent_options),
    .run = run_agent,
};
