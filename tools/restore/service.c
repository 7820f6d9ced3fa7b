/* Stopping and starting the node around a restore. */
#include <string.h>
#include <unistd.h>

#include "api/client.h"
#include "base/io.h"
#include "base/proc.h"
#include "base/time.h"
#include "restore.h"

enum {
    STOP_TIMEOUT_MS = 120000, /* it drains first */
    START_TIMEOUT_MS = 60000,
    POLL_MS = 100,
    OUTPUT_MAX = 16 * 1024,
};

static const char unit[] = "cx-node.service";

static bool run_command(const char *const *argv, const char *what, int64_t timeout_ms, cx_err *err)
{
    CX_AUTO(cx_proc_result_free) cx_proc_result result = {0};
    cx_proc_spec spec = {.argv = argv, .timeout_ms = timeout_ms, .output_max = OUTPUT_MAX};

    if (!cx_proc_run(&spec, &result, err))
        return cx_wrap(err, "%s", what);
    if (result.timed_out)
        return cx_fail(err, CX_TIMEOUT, "%s: no end after %lld s", what,
                       (long long)timeout_ms / 1000);
    if (result.status != 0)
        return cx_fail(err, CX_UNAVAILABLE, "%s: exit status %d: %.200s", what, result.status,
                       result.errors.size > 0 ? (const char *)result.errors.data : "");
    return true;
}

static bool run_shell(const char *command, const char *what, int64_t timeout_ms, cx_err *err)
{
    const char *const argv[] = {"/bin/sh", "-c", command, NULL};

    return run_command(argv, what, timeout_ms, err);
}

static bool run_systemctl(const char *verb, int64_t timeout_ms, cx_err *err)
{
    const char *const argv[] = {"systemctl", verb, unit, NULL};
    CX_AUTO(cx_free) char *what = cx_format("systemctl %s %s", verb, unit);

    return run_command(argv, what, timeout_ms, err);
}

static bool unit_is_active(void)
{
    const char *const argv[] = {"systemctl", "is-active", "--quiet", unit, NULL};
    cx_err ignored;

    return cx_exists("/run/systemd/system") && run_command(argv, "", 10000, &ignored);
}

/* Stopped is who lets go of the lock, and not who was told to stop. */
static bool wait_until_stopped(const cx_config *config, int64_t timeout_ms, cx_err *err)
{
    int64_t deadline_ms = cx_now_ms() + timeout_ms;

    for (;;) {
        bool runs = false;

        if (!restore_node_runs(config, &runs, err))
            return false;
        if (!runs)
            return true;
        if (cx_now_ms() >= deadline_ms)
            return cx_fail(err, CX_TIMEOUT, "the node still runs, %lld s after it was stopped",
                           (long long)timeout_ms / 1000);
        if (!cx_api_pause(POLL_MS, err))
            return false;
    }
}

bool restore_stop(const cx_run *run, const cx_config *config, const restore_services *services,
                  bool *stopped, cx_err *err)
{
    int64_t timeout_ms = cx_timeout_or(run, STOP_TIMEOUT_MS);
    bool runs = false;

    *stopped = false;
    if (!restore_node_runs(config, &runs, err))
        return false;
    if (services->stop_command != NULL && !services->no_services) {
        *stopped = true;
        return run_shell(services->stop_command, "--stop-command", timeout_ms, err) &&
               wait_until_stopped(config, timeout_ms, err);
    }
    if (!runs)
        return true;
    if (services->no_services || !unit_is_active()) {
        cx_fail(err, CX_BUSY, "the node runs on %s", config->data_dir);
        return cx_hint(err, "stop it, or give --stop-command and --start-command");
    }
    *stopped = true;
    return run_systemctl("stop", timeout_ms, err) && wait_until_stopped(config, timeout_ms, err);
}

static bool answers(cx_api *api, const cx_api_node *node, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *answer = NULL;

    return cx_api_call(api, node, "GET", "/api/v1/node", NULL, 2000, &answer, err);
}

static bool wait_until_it_answers(const cx_config *config, int64_t timeout_ms, cx_err *err)
{
    CX_AUTO(cx_api_close) cx_api *api = NULL;
    CX_AUTO(cx_api_nodes_free) cx_api_nodes nodes = {0};
    int64_t deadline_ms = cx_now_ms() + timeout_ms;

    if (!cx_api_open(config, &api, err))
        return false;
    cx_api_nodes_add(&nodes, config->node_id, config->api_advertise_addr, "");
    while (!answers(api, &nodes.items[0], err)) {
        if (cx_now_ms() >= deadline_ms)
            return cx_wrap(err, "the node was started, but does not answer");
        if (!cx_api_pause(POLL_MS, err))
            return false;
    }
    return true;
}

bool restore_start(const cx_run *run, const cx_config *config, const restore_services *services,
                   bool stopped, bool *started, cx_err *err)
{
    int64_t timeout_ms = cx_timeout_or(run, START_TIMEOUT_MS);

    *started = false;
    if (services->no_services)
        return true;
    if (services->start_command != NULL) {
        if (!run_shell(services->start_command, "--start-command", timeout_ms, err))
            return false;
    } else if (stopped && services->stop_command == NULL) {
        if (!run_systemctl("start", timeout_ms, err))
            return false;
    } else {
        return true;
    }
    *started = true;
    return wait_until_it_answers(config, timeout_ms, err);
}
