#include "state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "base/cli.h"
#include "base/io.h"
#include "base/text.h"
#include "base/time.h"
#include "drain.h"
#include "hosting.h"
#include "pki/cert.h"
#include "process.h"
#include "server.h"
#include "timer.h"

enum {
    LATENCIES_MAX = 8192,
    TRANSFERS_MAX = 64, /* requests to other nodes at once */
    CERTS_MS = 10000,   /* certificate files are looked at so often */
    AGENTS_GRACE_MS = 2000,
    FAREWELL_MS = 50,
    RESEND_MS = 200,        /* an agent's message that found its queue full */
    END_RESERVE_MS = 30000, /* after drain_timeout: agents end, what is left is written */
};

/* ---- what the parts tell each other */

void node_changed(node_self *node)
{
    if (node->gossip == NULL) /* it is still being opened */
        return;
    node_gossip_tags_changed(node->gossip);
    node_outbox_wake(node->outbox);
    node_hosting_look(node->hosting);
}

static json_t *tags_of(void *arg)
{
    const node_self *node = arg;

    return json_pack(
        "{s:s, s:s, s:s, s:s, s:o, s:o}", "role", "node", "api", node->config->api_advertise_addr,
        "state", node_state_word(node->stopping ? NODE_DRAINING : node->mode.state), "version",
        cx_version, "agents", json_sprintf("%zu", node_agents_count(node->agents)), "rev",
        json_sprintf("%lld", (long long)node_registry_revision(node->registry)));
}

static void on_members(const json_t *answer, void *arg)
{
    node_self *node = arg;
    CX_AUTO(cx_json_free) json_t *members = NULL;

    node_router_members(node->router, answer);
    if (answer != NULL) {
        members = node_members_merge(node->members, answer, cx_now_ms());
        node_leases_members(node->leases, members);
        node_tenures_members(node->tenures, members);
        node_hosting_members(node->hosting, members);
    }
    node_outbox_wake(node->outbox);
}

static void on_queued(const char *lane, void *arg)
{
    node_self *node = arg;

    if (node_outbox_owns(lane)) {
        if (node->outbox != NULL)
            node_outbox_queued(node->outbox, lane);
    } else if (node->agents != NULL) {
        node_agents_queued(node->agents, lane);
    }
}

static void on_learned(const char *node_id, const json_t *placed, void *arg)
{
    node_self *node = arg;

    node_hosting_learn(node->hosting, node_id, placed);
    node_outbox_wake(node->outbox);
}

static void on_tenures(void *arg)
{
    node_hosting_look(((node_self *)arg)->hosting);
}

/* Who waits for its reply here asks there. */
static void on_out_gone(const char *message_id, const char *node_id, void *arg)
{
    node_waiters_finished(((node_self *)arg)->waiters,
                          &(node_finished){.id = message_id, .moved_to = node_id});
}

static bool is_awaited(const char *message_id, void *arg)
{
    return node_waiters_has(((node_self *)arg)->waiters, message_id);
}

/* A placed agent works while its lease is ours. */
static bool may_take(const node_spec *spec, void *arg)
{
    return spec->placement == NODE_PINNED ||
           node_tenures_is_valid(((node_self *)arg)->tenures, spec->id);
}

static void on_finished(const node_finished *finished, void *arg)
{
    node_self *node = arg;
    int64_t now_ms = cx_now_ms();

    node_latency_add(&node->latency, finished->latency_ms, now_ms);
    node_rate_add(&node->rate, finished->state == NODE_FAILED, now_ms);
    node_histogram_add(&node->histogram, finished->latency_ms);
    node_waiters_finished(node->waiters, finished);
}

/* ---- messages that agents send */

typedef struct agent_send {
    node_self *node;
    node_agent *from;
    node_message message;
    struct event *timer; /* for another try; NULL: none yet */
} agent_send;

static void free_agent_send(agent_send *done)
{
    if (done->timer != NULL)
        event_free(done->timer);
    node_message_free(&done->message);
    cx_free(&done);
}

static void accept_agent_send(agent_send *sent);

static void on_resend(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    accept_agent_send(arg);
}

static node_message copy_of(const node_message *message)
{
    return (node_message){
        .id = cx_strdup(message->id),
        .receiver = cx_strdup(message->receiver),
        .lane = cx_strdup(message->lane),
        .sender = cx_strdup(message->sender),
        .conversation_id = cx_strdup(message->conversation_id),
        .performative = cx_strdup(message->performative),
        .content = cx_strdup(message->content),
        .accepted_at_ms = cx_wall_ms(),
    };
}

/* While its queue is full, or the disk refuses, the message waits here and its agent is held. */
static void on_agent_accepted(node_acceptance *results, size_t count, void *arg)
{
    agent_send *sent = arg;

    (void)count;
    if (results[0].err.code == CX_OK || sent->node->stopping) {
        node_agent_sent(sent->from);
        free_agent_send(sent);
        return;
    }
    if (sent->timer == NULL) {
        cx_log_error(&sent->node->log, CX_WARN, "agent_send_waits", &results[0].err);
        sent->timer = evtimer_new(sent->node->loop, on_resend, sent);
    }
    node_timer_set(sent->timer, RESEND_MS);
}

static void accept_agent_send(agent_send *sent)
{
    const node_message *message = &sent->message;
    node_target target =
        node_router_find(sent->node->router, message->receiver,
                         message->conversation_id != NULL ? message->conversation_id : message->id);
    node_message *copy = cx_alloc(1, sizeof *copy);

    cx_free(&sent->message.lane);
    sent->message.lane = target.kind == NODE_TARGET_LOCAL
                             ? cx_strdup(target.agent)
                             : cx_format(NODE_LANE_OUT "%s", message->receiver);
    *copy = copy_of(&sent->message);
    node_queue_accept(sent->node->queue, copy, 1, on_agent_accepted, sent);
}

static void on_send(node_agent *from, node_message *message, void *arg)
{
    agent_send *sent = cx_alloc(1, sizeof *sent);
    char id[CX_ULID_SIZE];

    sent->node = arg;
    sent->from = from;
    sent->message = *message;
    *message = (node_message){0};
    if (sent->message.id == NULL) {
        cx_ulid(cx_wall_ms(), id);
        sent->message.id = cx_strdup(id);
    }
    accept_agent_send(sent);
}

/* ---- opening */

static bool open_data_dir(node_self *node, cx_err *err)
{
    CX_AUTO(cx_free) char *lock = NULL;
    CX_AUTO(cx_free) char *agents = NULL;
    size_t orphans;

    if (!cx_make_folders(node->config->data_dir, 0700, NULL, err))
        return false;
    node->data_dir = realpath(node->config->data_dir, NULL);
    if (node->data_dir == NULL)
        return cx_fail_errno(err, "%s", node->config->data_dir);
    lock = cx_path_join(node->data_dir, "node.lock");
    agents = cx_path_join(node->data_dir, "agents");
    if (!cx_lock(lock, &node->lock_fd, err) || !cx_make_folders(agents, 0700, NULL, err))
        return cx_wrap(err, "data_dir");
    orphans = node_process_kill_orphans(node->data_dir);
    if (orphans > 0)
        cx_log_write(&node->log, CX_WARN, "orphans_killed", "{s:I}", "count", (json_int_t)orphans);
    return true;
}

/* Peers know us by the certificate: one of another node would be refused by all of them. */
static bool check_certificate(const node_self *node, const char *path, cx_err *err)
{
    CX_AUTO(cx_cert_free) X509 *cert = NULL;
    cx_identity identity;

    if (!cx_cert_read(path, &cert, err) || !cx_cert_identity(cert, &identity, err))
        return false;
    if (identity.kind == CX_IDENTITY_NODE && strcmp(identity.name, node->config->node_id) == 0)
        return true;
    return cx_fail(err, CX_CERT_INVALID, "%s is of %s, but this is %s", path, identity.name,
                   node->config->node_id) ||
           cx_hint(err, "cx-ca issue --node-id %s", node->config->node_id);
}

static bool open_tls(node_self *node, cx_err *err)
{
    CX_AUTO(cx_free) char *ca = cx_config_cert(node->config, "ca.crt");
    CX_AUTO(cx_free) char *cert = cx_config_cert(node->config, "node.crt");
    CX_AUTO(cx_free) char *key = cx_config_cert(node->config, "node.key");
    CX_AUTO(cx_free) char *crl = cx_config_cert(node->config, "crl.pem");

    return cx_tls_open(&(cx_tls_files){.ca = ca,
                                       .cert = cert,
                                       .key = key,
                                       .crl = crl,
                                       .cluster = node->config->cluster},
                       &node->tls, err) &&
           check_certificate(node, cert, err);
}

static bool open_storage(node_self *node, cx_err *err)
{
    CX_AUTO(cx_free) char *audit = cx_path_join(node->data_dir, "audit.log");

    return node_storage_open(node->loop, node->data_dir, &node->log, &node->storage, err) &&
           node_audit_open(node->storage, audit, &node->log, &node->audit, err) &&
           node_queue_open(node->loop, node->storage,
                           &(node_queue_options){.queue_max = node->config->queue_max,
                                                 .retention_ms = node->config->message_retention_ms,
                                                 .queued = on_queued,
                                                 .arg = node},
                           &node->queue, err) &&
           node_leases_open(
               &(node_leases_options){.loop = node->loop,
                                      .log = &node->log,
                                      .storage = node->storage,
                                      .audit = node->audit,
                                      .bootstrap_expect = node->config->bootstrap_expect},
               &node->leases, err);
}

static void on_registered(node_spec *spec, bool suspended, void *arg)
{
    node_agents_put(((node_self *)arg)->agents, spec, suspended);
}

static bool open_agents(node_self *node, cx_err *err)
{
    node->waiters = node_waiters_open(node->loop);
    node->agents = node_agents_open(&(node_agents_options){.loop = node->loop,
                                                           .log = &node->log,
                                                           .queue = node->queue,
                                                           .data_dir = node->data_dir,
                                                           .cluster = node->config->cluster,
                                                           .node_id = node->config->node_id,
                                                           .is_awaited = is_awaited,
                                                           .may_take = may_take,
                                                           .finished = on_finished,
                                                           .send = on_send,
                                                           .arg = node});
    return node_registry_open(&(node_registry_options){.storage = node->storage,
                                                       .log = &node->log,
                                                       .data_dir = node->data_dir,
                                                       .node_id = node->config->node_id,
                                                       .found = on_registered,
                                                       .arg = node},
                              &node->registry, err);
}

static void open_outside(node_self *node)
{
    CX_AUTO(cx_list_free) cx_list lanes = {0};
    size_t cursor = 0;
    const char *lane = NULL;
    node_counts counts;

    node->http = cx_http_loop_open(node->loop, TRANSFERS_MAX);
    node->router =
        node_router_open(&(node_router_options){.loop = node->loop,
                                                .log = &node->log,
                                                .http = node->http,
                                                .tls = node->tls,
                                                .node_id = node->config->node_id,
                                                .agents = node->agents,
                                                .registry = node->registry,
                                                .expected = node->config->bootstrap_expect,
                                                .learned = on_learned,
                                                .arg = node});
    node->outbox = node_outbox_open(&(node_outbox_options){.loop = node->loop,
                                                           .log = &node->log,
                                                           .queue = node->queue,
                                                           .router = node->router,
                                                           .node_id = node->config->node_id,
                                                           .gone = on_out_gone,
                                                           .arg = node});
    node->tenures = node_tenures_open(&(node_tenures_options){.loop = node->loop,
                                                              .log = &node->log,
                                                              .tls = node->tls,
                                                              .leases = node->leases,
                                                              .node_id = node->config->node_id,
                                                              .changed = on_tenures,
                                                              .arg = node});
    node->hosting = node_hosting_open(node);
    while (node_queue_next(node->queue, &cursor, &lane, &counts))
        if (node_outbox_owns(lane) && counts.queued > 0)
            cx_list_add(&lanes, lane);
    for (size_t i = 0; i < lanes.count; i++)
        node_outbox_queued(node->outbox, lanes.items[i]);
}

static void open_gossip(node_self *node)
{
    char *socket_path = cx_config_run(node->config, "gossip.sock");

    node->gossip_socket = socket_path;
    node->members = node_members_open();
    node->gossip = node_gossip_open(&(node_gossip_options){.loop = node->loop,
                                                           .log = &node->log,
                                                           .socket_path = socket_path,
                                                           .tags = tags_of,
                                                           .members = on_members,
                                                           .arg = node});
}

static void on_certs(evutil_socket_t fd, short what, void *arg)
{
    node_self *node = arg;
    cx_err err;

    (void)fd;
    (void)what;
    if (!cx_tls_reload(node->tls, NULL, &err)) {
        if (strcmp(node->cert_error.message, err.message) != 0)
            cx_log_error(&node->log, CX_ERROR, "certificates_bad", &err);
        node->cert_error = err;
        return;
    }
    node->cert_error = (cx_err){0};
    /* Connections look at the files too, so only the serial tells what is new. */
    if (strcmp(node->serial, cx_tls_serial(node->tls)) != 0 && node->serial[0] != '\0')
        cx_log_write(&node->log, CX_INFO, "certificates_reloaded", "{s:o}", "not_after",
                     cx_json_time(cx_tls_not_after_ms(node->tls)));
    snprintf(node->serial, sizeof node->serial, "%s", cx_tls_serial(node->tls));
}

/* Four descriptors an agent, and one a connection. */
static void raise_open_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

bool node_self_open(const char *config_path, bool verbose, node_self *node, cx_err *err)
{
    *node = (node_self){.lock_fd = -1,
                        .log = {.program = "cx-node", .level = CX_INFO, .fd = STDERR_FILENO}};
    node->log_place = cx_log_place(&node->log);
    node->started_ms = cx_now_ms();
    node->started_wall_ms = cx_wall_ms();
    node->latency.capacity = LATENCIES_MAX;
    if (!cx_config_load(config_path, false, &node->config, err))
        return false;
    if (!cx_level_parse(verbose ? "debug" : node->config->log_level, &node->log.level, err))
        return false;
    raise_open_files();
    node->loop = event_base_new();
    if (node->loop == NULL)
        return cx_fail(err, CX_INTERNAL, "no event loop");
    if (!open_data_dir(node, err) || !open_tls(node, err) || !open_storage(node, err) ||
        !open_agents(node, err))
        return false;
    open_outside(node);
    node->sampler = node_sampler_open(node->loop, node->data_dir);
    if (!node_drain_open(node, err))
        return false;
    open_gossip(node);
    on_certs(-1, 0, node);
    node->cert_timer = event_new(node->loop, -1, EV_PERSIST, on_certs, node);
    node_timer_set(node->cert_timer, CERTS_MS);
    return node_server_open(node, err);
}

/* ---- ending */

static void on_farewell(void *arg)
{
    node_self *node = arg;

    /* What was written last, to the gossip agent and to clients, still goes out. */
    event_base_loopexit(node->loop, &(struct timeval){.tv_usec = FAREWELL_MS * 1000});
}

/* Others may run our agents from now on: they need not wait for the leases to end. */
static void on_agents_ended(void *arg)
{
    node_self *node = arg;

    node_tenures_end(node->tenures, on_farewell, node);
}

static void stop_agents(node_self *node)
{
    evtimer_del(node->drain_timer);
    node_agents_stop(node->agents, AGENTS_GRACE_MS, on_agents_ended, node);
}

static void on_idle(void *arg)
{
    stop_agents(arg);
}

static void on_drain_timeout(evutil_socket_t fd, short what, void *arg)
{
    node_self *node = arg;

    (void)fd;
    (void)what;
    cx_log_write(&node->log, CX_WARN, "drain_timeout", "{s:I}", "in_flight",
                 (json_int_t)node_agents_in_flight(node->agents));
    stop_agents(node);
}

void node_self_end(node_self *node, const char *why)
{
    if (node->stopping) {
        event_base_loopbreak(node->loop);
        return;
    }
    node->stopping = true;
    /* systemd's own limit is a guess; drain_timeout is not. */
    sd_notifyf(0, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRId64,
               (node->config->drain_timeout_ms + END_RESERVE_MS) * 1000);
    cx_log_write(&node->log, CX_INFO, "stopping", "{s:s, s:I}", "reason", why, "in_flight",
                 (json_int_t)node_agents_in_flight(node->agents));
    cx_httpd_stop_accepting(node->httpd);
    node_gossip_tags_changed(node->gossip);
    node_outbox_stop(node->outbox);
    node->drain_timer = evtimer_new(node->loop, on_drain_timeout, node);
    node_timer_set(node->drain_timer, node->config->drain_timeout_ms);
    node_agents_drain(node->agents, on_idle, node);
}

void node_self_reload(node_self *node)
{
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    cx_level level;
    cx_err err;

    sd_notify(0, "RELOADING=1");
    if (!cx_log_reopen(&node->log, node->log_place, &err))
        cx_log_error(&node->log, CX_ERROR, "log_not_reopened", &err);
    if (!cx_config_load(node->config->path, false, &config, &err) ||
        !cx_level_parse(config->log_level, &level, &err)) {
        cx_log_error(&node->log, CX_ERROR, "config_bad", &err);
    } else {
        node->log.level = level;
        node->config->max_agents = config->max_agents;
        node->config->drain_timeout_ms = config->drain_timeout_ms;
        node->config->message_retention_ms = config->message_retention_ms;
        node->config->queue_max = config->queue_max;
        node_queue_set_limits(node->queue, config->queue_max, config->message_retention_ms);
        if (strcmp(config->api_addr, node->config->api_addr) != 0 ||
            strcmp(config->data_dir, node->config->data_dir) != 0 ||
            strcmp(config->node_id, node->config->node_id) != 0 ||
            strcmp(config->cluster, node->config->cluster) != 0)
            cx_log_write(&node->log, CX_WARN, "config_needs_restart", NULL);
        cx_log_write(&node->log, CX_INFO, "config_reloaded", "{s:s}", "path", node->config->path);
    }
    on_certs(-1, 0, node);
    sd_notify(0, "READY=1");
}

void node_self_close(node_self *node)
{
    /* Nobody asks any more, then nobody answers any more, then what is written is written. */
    cx_httpd_close(&node->httpd);
    if (node->router != NULL)
        node_router_stop(node->router);
    cx_http_loop_close(&node->http);
    if (node->tenures != NULL)
        node_tenures_stop(node->tenures);
    node_gossip_close(&node->gossip);
    node_members_close(&node->members);
    node_storage_close(&node->storage);
    cx_free(&node->log_place);
    node_outbox_close(&node->outbox);
    node_agents_close(&node->agents);
    node_hosting_close(&node->hosting);
    node_tenures_close(&node->tenures);
    node_router_close(&node->router);
    node_waiters_close(&node->waiters);
    node_registry_close(&node->registry);
    node_drain_close(node);
    node_queue_close(&node->queue);
    node_leases_close(&node->leases);
    node_audit_close(&node->audit);
    node_sampler_close(&node->sampler);
    node_latency_free(&node->latency);
    if (node->cert_timer != NULL)
        event_free(node->cert_timer);
    if (node->drain_timer != NULL)
        event_free(node->drain_timer);
    if (node->loop != NULL)
        event_base_free(node->loop);
    cx_tls_close(&node->tls);
    cx_fd_close(&node->lock_fd);
    cx_free(&node->gossip_socket);
    cx_free(&node->data_dir);
    cx_config_free(&node->config);
}
