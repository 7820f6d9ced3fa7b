#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "commands.h"
#include "state.h"

static void on_end(evutil_socket_t number, short what, void *arg)
{
    (void)what;
    node_self_end(arg, number == SIGTERM ? "SIGTERM" : "SIGINT");
}

static void on_reload(evutil_socket_t number, short what, void *arg)
{
    (void)number;
    (void)what;
    node_self_reload(arg);
}

/* Files and pipes of ours must never get the numbers of the standard streams. */
static bool fill_standard_streams(cx_err *err)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (fd < 0)
            return cx_fail_errno(err, "open /dev/null");
    } while (fd <= STDERR_FILENO);
    close(fd);
    return true;
}

static bool serve(node_self *node, cx_err *err)
{
    struct event *events[] = {
        evsignal_new(node->loop, SIGTERM, on_end, node),
        evsignal_new(node->loop, SIGINT, on_end, node),
        evsignal_new(node->loop, SIGHUP, on_reload, node),
    };
    int status = -1;

    for (size_t i = 0; i < CX_COUNT(events); i++)
        event_add(events[i], NULL);
    cx_log_write(&node->log, CX_INFO, "ready", "{s:s, s:s, s:s, s:I, s:s}", "node_id",
                 node->config->node_id, "cluster", node->config->cluster, "api_addr",
                 node->config->api_addr, "agents", (json_int_t)node_agents_count(node->agents),
                 "version", cx_version);
    sd_notify(0, "READY=1");
    status = event_base_dispatch(node->loop);
    for (size_t i = 0; i < CX_COUNT(events); i++)
        event_free(events[i]);
    cx_log_write(&node->log, CX_INFO, "stopped", NULL);
    return status >= 0 || cx_fail(err, CX_INTERNAL, "the event loop failed");
}

static bool run_node(cx_run *run, const void *parsed, cx_err *err)
{
    node_self node;
    bool good;

    (void)parsed;
    if (!fill_standard_streams(err))
        return false;
    signal(SIGXFSZ, SIG_IGN); /* a file at its limit is an error of the write, as on a full disk */
    good = node_self_open(run->config_path, run->verbose, &node, err) && serve(&node, err);
    node_self_close(&node);
    return good;
}

const cx_command node_run = {
    .name = "run",
    .summary = "run the node in the foreground",
    .description =
        "Logs NDJSON on stderr. SIGTERM and SIGINT end it: what is in flight is finished first, at "
        "most drain_timeout long; a second one ends it at once. SIGHUP reads the configuration "
        "and the certificates again, and opens its log file anew after a rotation.",
    .run = run_node,
};
