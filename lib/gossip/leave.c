#include "gossip/leave.h"

#include "gossip/out.h"
#include "gossip/rules.h"
#include "gossip/serf.h"
#include "gossip/store.h"

enum {
    STEP_TIMEOUT_MS = 5000, /* for each broadcast to be sent often enough */
    PROPAGATE_MS = 1000,    /* others' probes are still answered meanwhile */
};

static bool has_company(const cx_gossip *core)
{
    for (size_t i = 0; i < core->members.listed_count; i++) {
        const cx_member *member = core->members.listed[i];

        if (member != core->self &&
            (member->state == CX_WIRE_STATE_ALIVE || member->state == CX_WIRE_STATE_SUSPECT))
            return true;
    }
    return false;
}

static void finish(cx_gossip *core)
{
    core->left = true;
    cx_store_save(core);
    cx_out_answer(core, core->leave.ticket, NULL);
    cx_out_add(core, CX_GOSSIP_LEFT);
}

/* After the intent, so that it shows as left and not as failed. */
static void say_dead(cx_gossip *core)
{
    const cx_charge charge = {.member = core->self,
                              .incarnation = core->self->incarnation,
                              .from = core->self->name,
                              .source = CX_GOSSIP_BY_GOSSIP};

    core->leave.phase = CX_LEAVE_DEAD;
    core->leave.until_ms = core->now_ms + STEP_TIMEOUT_MS;
    cx_rules_dead(core, &charge);
}

void cx_leave_start(cx_gossip *core, uint64_t ticket)
{
    cx_leave *leave = &core->leave;
    cx_err err;

    if (leave->phase != CX_LEAVE_NO) {
        cx_fail(&err, CX_BUSY, "this node is leaving already");
        cx_out_answer(core, ticket, &err);
        return;
    }
    *leave = (cx_leave){
        .phase = CX_LEAVE_INTENT, .ticket = ticket, .until_ms = core->now_ms + STEP_TIMEOUT_MS};
    cx_out_log(core, CX_INFO, "leaving", core->self->name, NULL, "%s", "");
    cx_serf_announce_leave(core, core->self->name, false, &leave->intent);
    if (!has_company(core)) {
        say_dead(core);
        finish(core);
    }
}

/* A message that has left its queue has been sent often enough. */
void cx_leave_tick(cx_gossip *core)
{
    cx_leave *leave = &core->leave;
    bool late = core->now_ms >= leave->until_ms;

    if (core->left)
        return;
    if (leave->phase == CX_LEAVE_INTENT && (leave->intent == NULL || late)) {
        say_dead(core);
    } else if (leave->phase == CX_LEAVE_DEAD && (core->self->broadcast == NULL || late)) {
        leave->phase = CX_LEAVE_PROPAGATE;
        leave->until_ms = core->now_ms + PROPAGATE_MS;
    } else if (leave->phase == CX_LEAVE_PROPAGATE && late) {
        finish(core);
    }
}

int64_t cx_leave_next_ms(const cx_gossip *core)
{
    return core->leave.phase == CX_LEAVE_NO || core->left ? INT64_MAX : core->leave.until_ms;
}
