#include "drain.h"

#include <string.h>

#include "base/io.h"
#include "base/time.h"
#include "call.h"
#include "hosting.h"
#include "timer.h"

enum {
    TURN_MS = 50,       /* how often a drain looks whether it is done */
    END_TURN_MS = 1000, /* how often maintenance looks whether it is over */
    SUSPEND_MS =
        30 * 1000, /* for an agent to finish and stop; then it counts as suspended anyway */
    MODE_BYTES_MAX = 256 * 1024,
};

static char *mode_path(const node_self *node)
{
    return cx_path_join(node->data_dir, "mode.json");
}

/* ---- saving, in the storage thread */

typedef struct save_job {
    node_job job;
    node_self *node;
    char *path, *text;
    void (*saved)(node_self *node, const cx_err *err, void *arg);
    void *arg;
} save_job;

static bool save_work(node_storage *storage, node_job *job, cx_err *err)
{
    const save_job *save = (const save_job *)job;

    (void)storage;
    return cx_replace(save->path, 0600, cx_bytes_of(save->text), err);
}

static void save_done(node_job *job)
{
    save_job *save = (save_job *)job;

    if (!job->ok)
        cx_log_error(&save->node->log, CX_ERROR, "mode_not_saved", &job->err);
    if (save->saved != NULL)
        save->saved(save->node, job->ok ? NULL : &job->err, save->arg);
    cx_free(&save->path);
    cx_free(&save->text);
    cx_free(&save);
}

static void save_mode(node_self *node, const node_mode *mode,
                      void (*saved)(node_self *node, const cx_err *err, void *arg), void *arg)
{
    CX_AUTO(cx_json_free) json_t *json = node_mode_to_json(mode);
    save_job *save = cx_alloc(1, sizeof *save);

    save->job = (node_job){.work = save_work, .done = save_done, .no_transaction = true};
    save->node = node;
    save->path = mode_path(node);
    save->text = cx_json_line(json);
    save->saved = saved;
    save->arg = arg;
    node_storage_add(node->storage, &save->job);
}

/* ---- progress */

/* Of agents' lanes and of what they still send to others. */
static int64_t remaining(const node_self *node)
{
    node_counts counts = node_queue_sum(node->queue);

    return counts.queued + counts.in_flight;
}

json_t *node_drain_to_json(const node_self *node)
{
    json_t *json = node_mode_to_json(&node->mode);

    if (node->mode.state == NODE_DRAINING) {
        json_object_set_new(json, "completed", json_integer((json_int_t)node->drain_completed));
        json_object_set_new(json, "handed_over", json_integer((json_int_t)node->drain_handed));
        json_object_set_new(
            json, "waited_seconds",
            cx_json_figure((double)(cx_wall_ms() - node->mode.entered_ms) / 1000.0));
    }
    json_object_set_new(json, "node_id", json_string(node->config->node_id));
    json_object_set_new(json, "remaining", json_integer((json_int_t)remaining(node)));
    return json;
}

static void suspend_low(node_self *node)
{
    size_t cursor = 0;
    node_agent *agent;

    while ((agent = node_agents_next(node->agents, &cursor)) != NULL) {
        const node_spec *spec = node_agent_spec(agent);

        if (spec->priority >= node->mode.suspend_below || node_agent_is_suspended(agent))
            continue;
        cx_list_add(&node->mode.suspended, spec->id);
        node_agent_suspend(agent, SUSPEND_MS, NULL, NULL);
    }
}

static void finish_drain(node_self *node)
{
    suspend_low(node);
    node->mode.completed = node->drain_completed;
    node->mode.handed_over = node->drain_handed;
    node_mode_drained(&node->mode, cx_wall_ms());
    save_mode(node, &node->mode, NULL, NULL);
    node_changed(node);
    cx_log_write(&node->log, CX_INFO, "drained", "{s:s, s:I}", "state",
                 node_state_word(node->mode.state), "completed", (json_int_t)node->mode.completed);
}

static void resume_suspended(node_self *node)
{
    for (size_t i = 0; i < node->mode.suspended.count; i++) {
        const char *id = node->mode.suspended.items[i];
        node_agent *agent = node_agents_find(node->agents, id);
        const node_placed *placed = node_registry_placed(node->registry, id);

        /* An operator may have suspended it meanwhile, through another node. */
        if (agent != NULL && !(node_placed_is_there(placed) && placed->suspended))
            node_agent_resume(agent, SUSPEND_MS, NULL, NULL);
    }
}

static json_t *changed_json(const node_self *node, bool changed)
{
    json_t *json = node_drain_to_json(node);

    json_object_set_new(json, "changed", json_boolean(changed));
    return json;
}

/* Active again, on disk first: a node that says so stays so. */
static void on_ended(node_self *node, const cx_err *err, void *arg)
{
    node_call *call = arg;

    node->mode_saving = false;
    if (err == NULL) {
        resume_suspended(node);
        node_mode_exit(&node->mode);
        node->drain_completed = 0;
        node->drain_handed = 0;
        evtimer_del(node->mode_timer);
        node_changed(node);
    }
    if (call == NULL)
        return;
    if (err != NULL)
        node_answer_error(call, err);
    else
        node_answer_changed(call, true, 200, changed_json(node, true));
}

static void end_mode(node_self *node, node_call *call)
{
    const node_mode active = {0};

    node->mode_saving = true;
    save_mode(node, &active, on_ended, call);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    node_self *node = arg;

    (void)fd;
    (void)what;
    if (node->stopping || node->mode.state == NODE_ACTIVE)
        return;
    if (node_mode_is_over(&node->mode, cx_wall_ms()) && !node->mode_saving) {
        node_audit_write(node->audit,
                         &(node_audit_entry){.who = "node",
                                             .role = "node",
                                             .from = "",
                                             .action = "maintenance_over",
                                             .target = node->config->node_id,
                                             .result = "ok",
                                             .detail = node->mode.reason},
                         NULL, NULL);
        cx_log_write(&node->log, CX_INFO, "maintenance_over", NULL);
        end_mode(node, NULL);
    }
    if (node->mode.state == NODE_DRAINING) {
        node_totals totals = node_queue_totals(node->queue);

        node->drain_completed = totals.processed - node->drain_base;
        node->drain_handed = totals.handed_over - node->drain_handed_base;
        if (remaining(node) == 0 && node_hosting_leaving(node->hosting) == 0)
            finish_drain(node);
    }
    node_timer_set(node->mode_timer, node->mode.state == NODE_DRAINING ? TURN_MS : END_TURN_MS);
}

static void start_turns(node_self *node)
{
    node_totals totals = node_queue_totals(node->queue);

    node->drain_base = totals.processed - node->mode.completed;
    node->drain_handed_base = totals.handed_over - node->mode.handed_over;
    node_timer_set(node->mode_timer, 0);
}

/* ---- the API */

void node_get_drain(node_call *call)
{
    node_answer(call, 200, node_drain_to_json(call->node));
}

/* A change of mode under way, and what was before it: not on disk, it is not so. */
typedef struct entering {
    node_call *call;
    json_t *before;
} entering;

static void on_entered(node_self *node, const cx_err *err, void *arg)
{
    entering *change = arg;
    node_call *call = change->call;

    node->mode_saving = false;
    if (err != NULL) {
        cx_err ignored;

        node_mode_free(&node->mode);
        (void)!node_mode_from_json(change->before, &node->mode, &ignored);
        node_changed(node);
        node_answer_error(call, err);
    } else {
        start_turns(node);
        node_answer_changed(call, true, 200, changed_json(node, true));
    }
    cx_json_free(&change->before);
    cx_free(&change);
}

static bool is_saving(node_call *call)
{
    cx_err err;

    if (!call->node->mode_saving)
        return false;
    cx_fail(&err, CX_BUSY, "%s: another change of its mode is under way",
            call->node->config->node_id);
    node_answer_error(call, &err);
    return true;
}

void node_post_drain(node_call *call)
{
    node_self *node = call->node;
    CX_AUTO(cx_json_free) json_t *body = NULL;
    CX_AUTO(node_drain_request_free) node_drain_request request = {0};
    bool changed = false;
    cx_err err;

    if (!cx_json_parse(cx_exchange_body(call->exchange), MODE_BYTES_MAX, "request", &body, &err) ||
        !node_drain_request_parse(body, &request, &err)) {
        node_answer_error(call, &err);
        return;
    }
    if (call->dry_run) {
        bool would =
            node->mode.state == NODE_ACTIVE || node->mode.maintenance != request.maintenance;

        node_answer(call, 200, changed_json(node, would));
        return;
    }
    if (is_saving(call))
        return;

    json_t *before = node_mode_to_json(&node->mode);

    if (!node_mode_enter(&node->mode, &request, call->who_text, cx_wall_ms(), &changed, &err)) {
        cx_json_free(&before);
        cx_wrap(&err, "%s", node->config->node_id);
        node_answer_error(call, &err);
        return;
    }
    if (!changed) {
        cx_json_free(&before);
        node_answer_changed(call, false, 200, changed_json(node, false));
        return;
    }

    entering *change = cx_alloc(1, sizeof *change);

    change->call = call;
    change->before = before;
    /* From here new messages are refused; the answer comes when that is on disk. */
    node->mode_saving = true;
    node_changed(node);
    save_mode(node, &node->mode, on_entered, change);
}

void node_post_resume(node_call *call)
{
    node_self *node = call->node;

    if (node->mode.state == NODE_ACTIVE || call->dry_run) {
        bool would = node->mode.state != NODE_ACTIVE;

        node_answer_changed(call, would, 200, changed_json(node, would));
        return;
    }
    if (!is_saving(call))
        end_mode(node, call);
}

void node_drain_forget(node_self *node, const char *agent)
{
    cx_list *list = &node->mode.suspended;

    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i], agent) != 0)
            continue;
        cx_free(&list->items[i]);
        memmove(&list->items[i], &list->items[i + 1],
                (list->count - i - 1) * sizeof list->items[0]);
        list->count--;
        save_mode(node, &node->mode, NULL, NULL);
        return;
    }
}

/* ---- start and end */

bool node_drain_open(node_self *node, cx_err *err)
{
    CX_AUTO(cx_free) char *path = mode_path(node);
    CX_AUTO(cx_json_free) json_t *json = NULL;

    node->mode_timer = evtimer_new(node->loop, on_turn, node);
    if (!cx_exists(path))
        return true;
    if (!cx_json_read_file(path, MODE_BYTES_MAX, &json, err) ||
        !node_mode_from_json(json, &node->mode, err)) {
        err->code = CX_CONFIG;
        cx_wrap(err, "%s", path);
        return cx_hint(err, "remove the file for an active node");
    }
    if (node->mode.state == NODE_ACTIVE)
        return true;
    for (size_t i = 0; i < node->mode.suspended.count; i++) {
        node_agent *agent = node_agents_find(node->agents, node->mode.suspended.items[i]);

        if (agent != NULL)
            node_agent_suspend(agent, SUSPEND_MS, NULL, NULL);
    }
    cx_log_write(&node->log, CX_WARN, "mode", "{s:s, s:o, s:o}", "state",
                 node_state_word(node->mode.state), "owner", cx_json_text(node->mode.owner),
                 "reason", cx_json_text(node->mode.reason));
    start_turns(node);
    return true;
}

void node_drain_close(node_self *node)
{
    if (node->mode_timer != NULL)
        event_free(node->mode_timer);
    node_mode_free(&node->mode);
}
