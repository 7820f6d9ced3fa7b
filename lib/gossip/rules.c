#include "gossip/rules.h"

#include <assert.h>
#include <string.h>

#include "gossip/out.h"
#include "gossip/serf.h"
#include "gossip/spread.h"

enum { REMIND_INTERVAL_MS = 200 };

/* ---- checking what came */

static bool check(const cx_gossip *core, cx_claim *claim, cx_bytes addr, cx_bytes vsn, cx_err *err)
{
    if (!cx_member_name_is_good(claim->name))
        return cx_fail(err, CX_MALFORMED, "a member's name of %zu bytes or with control characters",
                       claim->name.size);
    if (addr.size != 4 && addr.size != 16)
        return cx_fail(err, CX_MALFORMED, "an address of %zu bytes", addr.size);
    if (claim->meta.size > CX_META_MAX)
        return cx_fail(err, CX_MALFORMED, "tags of %zu bytes", claim->meta.size);
    if (!cx_versions_are_good(vsn))
        return cx_fail(err, CX_MALFORMED, "versions that can't be (%zu bytes)", vsn.size);
    claim->addr.size = (uint8_t)addr.size;
    memcpy(claim->addr.bytes, addr.data, addr.size);
    memcpy(claim->versions, vsn.data, CX_VERSIONS);
    if (claim->addr.port == 0)
        claim->addr.port = core->addr.port;
    return true;
}

/* ---- telling others */

static cx_bytes meta_of(const cx_member *member)
{
    return (cx_bytes){member->meta, member->meta_size};
}

static void spread_alive(cx_gossip *core, cx_member *member)
{
    CX_AUTO(cx_buffer_free) cx_buffer message = {0};

    cx_rules_put_alive(member, &message);
    cx_spread_queue(core, CX_QUEUE_MEMBERS, cx_buffer_bytes(&message), &member->broadcast);
}

static void spread_charge(cx_gossip *core, cx_wire_type type, const cx_charge *charge)
{
    CX_AUTO(cx_buffer_free) cx_buffer message = {0};
    cx_wire_accuse accuse = {
        .incarnation = charge->incarnation,
        .node = cx_bytes_of(charge->member->name),
        .from = cx_bytes_of(charge->from),
    };

    cx_wire_put(&message, (uint8_t)type, &cx_wire_accuse_record, &accuse);
    cx_spread_queue(core, CX_QUEUE_MEMBERS, cx_buffer_bytes(&message), &charge->member->broadcast);
}

/* ---- who accused whom */

static cx_gossip_accusation *last_accusation(const cx_member *member)
{
    return member->accusation_count == 0 ? NULL
                                         : &member->accusations[member->accusation_count - 1];
}

static cx_gossip_accusation *open_accusation(const cx_member *member)
{
    cx_gossip_accusation *last = last_accusation(member);

    return last != NULL && last->verdict == CX_GOSSIP_OPEN ? last : NULL;
}

static void close_accusation(const cx_gossip *core, const cx_member *member,
                             cx_gossip_verdict verdict, const char *by)
{
    cx_gossip_accusation *open = open_accusation(member);

    if (open == NULL)
        return;
    open->verdict = verdict;
    open->ended_ms = core->now_ms;
    if (by != NULL)
        cx_name_copy(open->convicted_by, cx_bytes_of(by));
}

/* Keeps the newest ones. */
static cx_gossip_accusation *new_accusation(cx_member *member)
{
    if (member->accusation_count == CX_GOSSIP_ACCUSATIONS_MAX) {
        member->accusation_count--;
        memmove(&member->accusations[0], &member->accusations[1],
                member->accusation_count * sizeof(*member->accusations));
    } else {
        member->accusations = cx_realloc(member->accusations, member->accusation_count + 1,
                                         sizeof(*member->accusations));
    }

    cx_gossip_accusation *accusation = &member->accusations[member->accusation_count++];

    *accusation = (cx_gossip_accusation){0};
    return accusation;
}

static void accuse(const cx_gossip *core, const cx_charge *charge)
{
    cx_gossip_accusation *accusation = new_accusation(charge->member);
    const cx_probe *probe = &core->probe;

    accusation->incarnation = charge->incarnation;
    accusation->source = charge->source;
    accusation->started_ms = core->now_ms;
    cx_name_copy(accusation->by, cx_bytes_of(charge->from));
    if (charge->source != CX_GOSSIP_BY_PROBE)
        return;
    accusation->probe.started_ms = probe->started_us / 1000;
    accusation->probe.helper_count = probe->helper_count;
    accusation->probe.nacks = probe->nacks;
    accusation->probe.stream_tried = probe->stream != 0;
    memcpy(accusation->probe.helpers, probe->helpers, sizeof(probe->helpers));
}

static void note_confirmer(const cx_gossip *core, const cx_charge *charge)
{
    cx_gossip_accusation *open = open_accusation(charge->member);

    if (open == NULL)
        return;
    if (open->confirmer_count < CX_GOSSIP_CONFIRMERS_MAX) {
        cx_name_copy(open->confirmers[open->confirmer_count].name, cx_bytes_of(charge->from));
        open->confirmers[open->confirmer_count].at_ms = core->now_ms;
    }
    open->confirmer_count++;
}

/* ---- states */

static void set_state(cx_gossip *core, cx_member *member, cx_wire_state state)
{
    if (member->state == state)
        return;
    member->state = state;
    member->state_since_ms = core->now_ms;
    core->partition_stale = true;
}

static void store(cx_member *member, const cx_claim *claim, cx_gossip *core)
{
    member->addr = claim->addr;
    member->incarnation = claim->incarnation;
    memcpy(member->versions, claim->versions, CX_VERSIONS);
    if (cx_bytes_equal(meta_of(member), claim->meta) && member->tags.items != NULL)
        return;
    if (claim->meta.size > 0)
        memcpy(member->meta, claim->meta.data, claim->meta.size);
    member->meta_size = claim->meta.size;
    /* Notices of this input may still show the old ones. */
    if (member->tags.items != NULL)
        cx_out_keep(core, member->tags.items);
    member->tags = cx_tags_read(meta_of(member));
}

/* Our answer to an accusation: alive, with a higher incarnation (13.4). */
static void refute(cx_gossip *core, uint32_t incarnation, const char *by, const char *what)
{
    cx_member *self = core->self;

    if (incarnation == UINT32_MAX || self->incarnation == UINT32_MAX) {
        cx_out_refuse(core, "accusation_hostile", NULL,
                      "%s claims us to be %s with the last incarnation there is", by, what);
        return;
    }

    uint32_t next = self->incarnation + 1;

    self->incarnation = incarnation >= next ? incarnation + 1 : next;
    if (core->score < core->profile->score_max)
        core->score++;
    cx_out_log(core, CX_WARN, "accusation_refuted", self->name, NULL,
               "%s says that this node is %s; it is alive with incarnation %u", by, what,
               self->incarnation);
    spread_alive(core, self);
    cx_out_save(core, true);
}

/* Puts what others say of us on our own record, for `members --why`. */
static void refute_charge(cx_gossip *core, const cx_charge *charge, const char *what)
{
    accuse(core, charge);
    close_accusation(core, core->self, CX_GOSSIP_REFUTED, NULL);
    refute(core, charge->incarnation, charge->from, what);
}

/* Who accuses us of something that we refuted long ago has missed it: gossip reaches nearly all. */
static void remind(cx_gossip *core, const cx_charge *charge)
{
    CX_AUTO(cx_buffer_free) cx_buffer message = {0};
    const cx_member *accuser = cx_members_find(&core->members, charge->from);

    if (accuser == NULL || accuser == core->self || core->leave.phase != CX_LEAVE_NO ||
        core->now_ms - core->reminded_ms < REMIND_INTERVAL_MS)
        return;
    core->reminded_ms = core->now_ms;
    cx_rules_put_alive(core->self, &message);
    cx_spread_send(core, &accuser->addr, accuser, cx_buffer_bytes(&message));
}

/* Whether the accusation is about something that was before what we know. */
static bool is_stale(cx_gossip *core, const cx_charge *charge)
{
    if (!charge->member->listed)
        return true;
    if (charge->incarnation >= charge->member->incarnation)
        return false;
    if (charge->member == core->self && charge->source == CX_GOSSIP_BY_GOSSIP)
        remind(core, charge);
    return true;
}

static void claim_about_self(cx_gossip *core, const cx_claim *claim)
{
    const cx_member *self = core->self;
    bool same = cx_bytes_equal(meta_of(self), claim->meta) &&
                memcmp(self->versions, claim->versions, CX_VERSIONS) == 0;

    if (claim->incarnation < self->incarnation || (claim->incarnation == self->incarnation && same))
        return;
    refute(core, claim->incarnation, "somebody", "something else");
}

static bool address_may_change(const cx_member *member)
{
    return !member->listed || member->state == CX_WIRE_STATE_LEFT;
}

/* The member for a claim: known, or made. NULL: the table is full. */
static cx_member *member_for(cx_gossip *core, const cx_claim *claim)
{
    cx_member *member = cx_members_find_bytes(&core->members, claim->name);

    if (member == NULL && core->members.count >= CX_MEMBERS_MAX) {
        cx_out_refuse(core, "members_full", &claim->addr, "more than %d members", CX_MEMBERS_MAX);
        return NULL;
    }
    if (member == NULL)
        member = cx_members_add(&core->members, claim->name);
    if (!member->listed) {
        member->state = CX_WIRE_STATE_DEAD;
        member->state_since_ms = core->now_ms;
        member->incarnation = 0;
        member->addr = claim->addr;
        cx_members_list(&core->members, member, &core->rng);
    }
    return member;
}

static void conflict(cx_gossip *core, const cx_member *member, const cx_claim *claim)
{
    char ours[CX_GOSSIP_ADDR_TEXT_SIZE], theirs[CX_GOSSIP_ADDR_TEXT_SIZE];

    cx_out_refuse(core, member == core->self ? "own_name_conflict" : "name_conflict", &claim->addr,
                  "%s is at %s, and somebody claims the name from %s", member->name,
                  cx_gossip_addr_text(&member->addr, ours),
                  cx_gossip_addr_text(&claim->addr, theirs));
}

static void become_alive(cx_gossip *core, cx_member *member, const cx_claim *claim)
{
    bool was_gone = member->state == CX_WIRE_STATE_DEAD || member->state == CX_WIRE_STATE_LEFT;
    bool was_suspect = member->suspected;
    bool changed = !cx_bytes_equal(meta_of(member), claim->meta) ||
                   !cx_gossip_addr_same(&member->addr, &claim->addr) ||
                   memcmp(member->versions, claim->versions, CX_VERSIONS) != 0;

    member->suspected = false;
    close_accusation(core, member, CX_GOSSIP_REFUTED, NULL);
    store(member, claim, core);
    set_state(core, member, CX_WIRE_STATE_ALIVE);
    spread_alive(core, member);
    if (was_gone)
        cx_serf_on_join(core, member);
    else if (changed || was_suspect)
        cx_serf_on_update(core, member);
}

/* The next moment at which a suspicion may end. */
static void expect_end(cx_gossip *core, const cx_suspicion_action *action)
{
    if (action->verdict == CX_SUSPICION_WAIT && action->wake_at_ms < core->suspicion_ms)
        core->suspicion_ms = action->wake_at_ms;
    if (action->verdict == CX_SUSPICION_FAIL)
        core->suspicion_ms = core->now_ms;
}

static void confirm_suspicion(cx_gossip *core, const cx_charge *charge)
{
    const cx_suspicion_event event = {CX_SUSPICION_CONFIRMED, cx_suspicion_voice(charge->from)};
    cx_suspicion_action action =
        cx_suspicion_input(&charge->member->suspicion, event, core->now_ms);

    expect_end(core, &action);
    if (!action.is_news)
        return;
    note_confirmer(core, charge);
    spread_charge(core, CX_WIRE_SUSPECT, charge);
}

/* Those that can confirm. The peer also counts the dead and those that left, and then waits six
 * times as long for the confirmation that nobody is there to give. */
static size_t count_living(const cx_gossip *core)
{
    size_t living = 0;

    for (size_t i = 0; i < core->members.listed_count; i++)
        living += core->members.listed[i]->state == CX_WIRE_STATE_ALIVE ||
                  core->members.listed[i]->state == CX_WIRE_STATE_SUSPECT;
    return living;
}

static void start_suspicion(cx_gossip *core, const cx_charge *charge)
{
    cx_member *member = charge->member;

    member->incarnation = charge->incarnation;
    set_state(core, member, CX_WIRE_STATE_SUSPECT);
    member->suspected = true;
    member->suspicion = cx_suspicion_start(
        count_living(core), core->profile->suspicion_mult, core->profile->suspicion_max_mult,
        core->profile->probe_interval_ms, cx_suspicion_voice(charge->from), core->now_ms);
    cx_suspicion_action action = cx_suspicion_input(
        &member->suspicion, (cx_suspicion_event){.kind = CX_SUSPICION_TICK}, core->now_ms);

    expect_end(core, &action);
    accuse(core, charge);
    spread_charge(core, CX_WIRE_SUSPECT, charge);
    if (member->status == CX_GOSSIP_ALIVE)
        cx_out_emit(core, CX_GOSSIP_MEMBER_SUSPECT, member, charge->from);
    cx_out_log(core, CX_WARN, "member_suspect", member->name, &member->addr, "suspected by %s",
               charge->from);
}

/* ---- public */

bool cx_versions_are_good(cx_bytes vsn)
{
    if (vsn.size != CX_VERSIONS)
        return false;
    for (const uint8_t *v = vsn.data; v < vsn.data + CX_VERSIONS; v += 3) /* min, max, current */
        if (v[0] < 1 || v[2] < v[0] || v[1] < v[2])
            return false;
    return true;
}

bool cx_claim_of_alive(const cx_gossip *core, const cx_wire_alive *alive, cx_claim *claim,
                       cx_err *err)
{
    *claim =
        (cx_claim){.name = alive->node, .meta = alive->meta, .incarnation = alive->incarnation};
    claim->addr.port = alive->port;
    return check(core, claim, alive->addr, alive->vsn, err);
}

bool cx_claim_of_node(const cx_gossip *core, const cx_wire_push_node *node, cx_claim *claim,
                      cx_err *err)
{
    *claim = (cx_claim){.name = node->name, .meta = node->meta, .incarnation = node->incarnation};
    if (node->state < CX_WIRE_STATE_ALIVE || node->state > CX_WIRE_STATE_LEFT)
        return cx_fail(err, CX_MALFORMED, "a member in state %lld", (long long)node->state);
    claim->state = (cx_wire_state)node->state;
    claim->addr.port = node->port;
    return check(core, claim, node->addr, node->vsn, err);
}

void cx_rules_alive(cx_gossip *core, const cx_claim *claim, bool bootstrap)
{
    cx_member *known = cx_members_find_bytes(&core->members, claim->name);
    bool is_self = known != NULL && known == core->self;

    if (is_self && !bootstrap && core->leave.phase != CX_LEAVE_NO)
        return;
    /* Incarnation 0 from others is never news, not even of somebody unknown. */
    if (claim->incarnation == 0 && !is_self)
        return;

    cx_member *member = member_for(core, claim);
    bool moved = member != NULL && !cx_gossip_addr_same(&member->addr, &claim->addr);

    if (member == NULL)
        return;
    if (moved && !address_may_change(member)) {
        conflict(core, member, claim);
        return;
    }
    if (is_self && !bootstrap) {
        claim_about_self(core, claim);
        return;
    }
    if (claim->incarnation <= member->incarnation && !moved && !bootstrap)
        return;
    become_alive(core, member, claim);
}

void cx_rules_suspect(cx_gossip *core, const cx_charge *charge)
{
    cx_member *member = charge->member;

    if (is_stale(core, charge))
        return;
    if (member->suspected) {
        confirm_suspicion(core, charge);
        return;
    }
    if (member->state != CX_WIRE_STATE_ALIVE)
        return;
    if (member == core->self)
        refute_charge(core, charge, "suspect");
    else
        start_suspicion(core, charge);
}

void cx_rules_dead(cx_gossip *core, const cx_charge *charge)
{
    cx_member *member = charge->member;
    bool by_itself = strcmp(charge->from, member->name) == 0;

    if (is_stale(core, charge))
        return;
    member->suspected = false;
    if (member->state == CX_WIRE_STATE_DEAD || member->state == CX_WIRE_STATE_LEFT)
        return;
    if (member == core->self && core->leave.phase != CX_LEAVE_DEAD) {
        refute_charge(core, charge, "dead");
        return;
    }
    spread_charge(core, CX_WIRE_DEAD, charge);
    member->incarnation = charge->incarnation;
    if (!by_itself && open_accusation(member) == NULL)
        accuse(core, charge);
    close_accusation(core, member, by_itself ? CX_GOSSIP_EXCUSED : CX_GOSSIP_CONVICTED,
                     by_itself ? NULL : charge->from);
    set_state(core, member, by_itself ? CX_WIRE_STATE_LEFT : CX_WIRE_STATE_DEAD);
    cx_serf_on_leave(core, member, charge->from);
}

void cx_rules_tick(cx_gossip *core)
{
    if (core->now_ms < core->suspicion_ms)
        return;
    core->suspicion_ms = INT64_MAX;
    for (size_t i = 0; i < core->members.listed_count; i++) {
        cx_member *member = core->members.listed[i];

        if (!member->suspected)
            continue;

        cx_suspicion_action action = cx_suspicion_input(
            &member->suspicion, (cx_suspicion_event){.kind = CX_SUSPICION_TICK}, core->now_ms);

        if (action.verdict == CX_SUSPICION_WAIT)
            expect_end(core, &action);
        if (action.verdict != CX_SUSPICION_FAIL)
            continue;

        const cx_charge charge = {.member = member,
                                  .incarnation = member->incarnation,
                                  .from = core->self->name,
                                  .source = CX_GOSSIP_BY_PROBE};

        cx_rules_dead(core, &charge);
    }
}

void cx_rules_announce(cx_gossip *core, cx_bytes meta)
{
    cx_claim claim = {
        .name = cx_bytes_of(core->self->name),
        .addr = core->addr,
        .meta = meta,
        .incarnation = core->self->incarnation + 1,
    };

    if (core->self->incarnation < core->first_incarnation)
        claim.incarnation = core->first_incarnation;
    memcpy(claim.versions, core->self->versions, CX_VERSIONS);
    cx_rules_alive(core, &claim, true);
    cx_out_save(core, true);
}

void cx_rules_forget_dead(cx_gossip *core)
{
    for (size_t i = core->members.listed_count; i-- > 0;) {
        cx_member *member = core->members.listed[i];

        if (member->state == CX_WIRE_STATE_DEAD && member != core->self &&
            core->now_ms - member->state_since_ms >= core->profile->to_the_dead_ms)
            cx_members_unlist(&core->members, member);
    }
}

void cx_rules_erase(cx_gossip *core, cx_member *member)
{
    assert(member != core->self);
    cx_broadcasts_forget(&core->queues[CX_QUEUE_MEMBERS], &member->broadcast);
    cx_members_remove(&core->members, member);
    cx_out_keep_member(core, member);
    core->partition_stale = true;
}

void cx_rules_put_alive(const cx_member *member, cx_buffer *message)
{
    const cx_wire_alive alive = {
        .incarnation = member->incarnation,
        .node = cx_bytes_of(member->name),
        .addr = {member->addr.bytes, member->addr.size},
        .port = member->addr.port,
        .meta = meta_of(member),
        .vsn = {member->versions, CX_VERSIONS},
    };

    cx_wire_put(message, CX_WIRE_ALIVE, &cx_wire_alive_record, &alive);
}

void cx_rules_put_node(const cx_member *member, cx_buffer *message)
{
    const cx_wire_push_node node = {
        .name = cx_bytes_of(member->name),
        .addr = {member->addr.bytes, member->addr.size},
        .port = member->addr.port,
        .meta = meta_of(member),
        .incarnation = member->incarnation,
        .state = member->state,
        .vsn = {member->versions, CX_VERSIONS},
    };

    cx_record_put(message, &cx_wire_push_node_record, &node);
}
