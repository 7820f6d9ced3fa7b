/* The tables of section 13: what each message does to what is known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "gossip_puppet.h"

enum step_kind { NOTHING, ALIVE, ALIVE_ELSEWHERE, SUSPECT, DEAD, LEAVE_BY_ITSELF };

struct step {
    enum step_kind kind;
    uint32_t incarnation;
};

static void do_step(struct puppet *puppet, struct step step)
{
    switch (step.kind) {
    case NOTHING: break;
    case ALIVE: puppet_say_alive(puppet, "b", 20, step.incarnation); break;
    case ALIVE_ELSEWHERE: puppet_say_alive(puppet, "b", 99, step.incarnation); break;
    case SUSPECT: puppet_accuse(puppet, CX_WIRE_SUSPECT, "b", "c", step.incarnation); break;
    case DEAD: puppet_accuse(puppet, CX_WIRE_DEAD, "b", "c", step.incarnation); break;
    case LEAVE_BY_ITSELF: puppet_accuse(puppet, CX_WIRE_DEAD, "b", "b", step.incarnation); break;
    }
}

/* All rows begin with b alive in incarnation 5, but for those that do not. */
static void messages_about_others(void **state)
{
    static const struct {
        const char *name;
        struct step steps[4];
        int status; /* -1: unknown */
        uint32_t incarnation;
    } rows[] = {
        {"unknown, alive", {{ALIVE, 1}}, CX_GOSSIP_ALIVE, 1},
        {"unknown, alive with incarnation 0", {{ALIVE, 0}}, -1, 0},
        {"unknown, suspect", {{SUSPECT, 1}}, -1, 0},
        {"unknown, dead", {{DEAD, 1}}, -1, 0},
        {"alive, alive with the same incarnation", {{ALIVE, 5}, {ALIVE, 5}}, CX_GOSSIP_ALIVE, 5},
        {"alive, alive with a lower one", {{ALIVE, 5}, {ALIVE, 4}}, CX_GOSSIP_ALIVE, 5},
        {"alive, alive with a higher one", {{ALIVE, 5}, {ALIVE, 9}}, CX_GOSSIP_ALIVE, 9},
        {"alive, alive from elsewhere: a conflict",
         {{ALIVE, 5}, {ALIVE_ELSEWHERE, 9}},
         CX_GOSSIP_ALIVE,
         5},
        {"alive, suspect with a lower one", {{ALIVE, 5}, {SUSPECT, 4}}, CX_GOSSIP_ALIVE, 5},
        {"alive, suspect with the same one", {{ALIVE, 5}, {SUSPECT, 5}}, CX_GOSSIP_SUSPECT, 5},
        {"alive, suspect with a higher one", {{ALIVE, 5}, {SUSPECT, 7}}, CX_GOSSIP_SUSPECT, 7},
        {"alive, dead with a lower one", {{ALIVE, 5}, {DEAD, 4}}, CX_GOSSIP_ALIVE, 5},
        {"alive, dead with the same one", {{ALIVE, 5}, {DEAD, 5}}, CX_GOSSIP_FAILED, 5},
        {"alive, dead with a higher one", {{ALIVE, 5}, {DEAD, 8}}, CX_GOSSIP_FAILED, 8},
        {"alive, leaves", {{ALIVE, 5}, {LEAVE_BY_ITSELF, 5}}, CX_GOSSIP_LEFT_CLUSTER, 5},
        {"suspect, alive with the same one",
         {{ALIVE, 5}, {SUSPECT, 5}, {ALIVE, 5}},
         CX_GOSSIP_SUSPECT,
         5},
        {"suspect, alive with a higher one",
         {{ALIVE, 5}, {SUSPECT, 5}, {ALIVE, 6}},
         CX_GOSSIP_ALIVE,
         6},
        {"suspect, dead with the same one",
         {{ALIVE, 5}, {SUSPECT, 5}, {DEAD, 5}},
         CX_GOSSIP_FAILED,
         5},
        {"dead, alive with the same one", {{ALIVE, 5}, {DEAD, 5}, {ALIVE, 5}}, CX_GOSSIP_FAILED, 5},
        {"dead, alive with a higher one", {{ALIVE, 5}, {DEAD, 5}, {ALIVE, 6}}, CX_GOSSIP_ALIVE, 6},
        {"dead, alive from elsewhere",
         {{ALIVE, 5}, {DEAD, 5}, {ALIVE_ELSEWHERE, 6}},
         CX_GOSSIP_FAILED,
         5},
        {"dead, suspect", {{ALIVE, 5}, {DEAD, 5}, {SUSPECT, 7}}, CX_GOSSIP_FAILED, 5},
        {"dead, leaves", {{ALIVE, 5}, {DEAD, 5}, {LEAVE_BY_ITSELF, 6}}, CX_GOSSIP_FAILED, 5},
        {"left, alive with a higher one",
         {{ALIVE, 5}, {LEAVE_BY_ITSELF, 5}, {ALIVE, 6}},
         CX_GOSSIP_ALIVE,
         6},
        {"left, alive from elsewhere with an old one",
         {{ALIVE, 5}, {LEAVE_BY_ITSELF, 5}, {ALIVE_ELSEWHERE, 1}},
         CX_GOSSIP_ALIVE,
         1},
        {"left, dead", {{ALIVE, 5}, {LEAVE_BY_ITSELF, 5}, {DEAD, 9}}, CX_GOSSIP_LEFT_CLUSTER, 5},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(puppet_close) struct puppet puppet;
        const cx_gossip_member *member;

        puppet_start(&puppet, NULL);
        for (size_t j = 0; j < CX_COUNT(rows[i].steps); j++)
            do_step(&puppet, rows[i].steps[j]);
        member = puppet_see(&puppet, "b");
        if ((member == NULL ? -1 : (int)member->status) != rows[i].status)
            fail_msg("%s: %s", rows[i].name,
                     member == NULL ? "unknown" : cx_gossip_status_text(member->status));
        if (member != NULL && member->incarnation != rows[i].incarnation)
            fail_msg("%s: incarnation %u", rows[i].name, member->incarnation);
    }
}

/* Self starts with incarnation 1. */
static void messages_about_ourselves(void **state)
{
    static const struct {
        const char *name;
        enum step_kind kind;
        uint32_t incarnation, becomes;
        bool refutes;
    } rows[] = {
        {"suspect with ours", SUSPECT, 1, 2, true},
        {"suspect with an old one", SUSPECT, 0, 1, false},
        {"suspect with a higher one", SUSPECT, 7, 8, true},
        {"suspect with the last one there is", SUSPECT, UINT32_MAX, 1, false},
        {"dead with ours", DEAD, 1, 2, true},
        {"dead with a higher one", DEAD, 70, 71, true},
        {"leaves, says somebody", LEAVE_BY_ITSELF, 1, 2, true},
        {"alive with ours and other tags", ALIVE, 1, 2, true},
        {"alive with a higher one", ALIVE, 9, 10, true},
        {"alive with an old one", ALIVE, 0, 1, false},
        {"alive from elsewhere: a conflict", ALIVE_ELSEWHERE, 9, 1, false},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(puppet_close) struct puppet puppet;
        int score;

        puppet_start(&puppet, NULL);
        if (rows[i].kind == ALIVE || rows[i].kind == ALIVE_ELSEWHERE)
            puppet_say_alive(&puppet, "self", rows[i].kind == ALIVE ? 1 : 99, rows[i].incarnation);
        else
            puppet_accuse(&puppet, rows[i].kind == SUSPECT ? CX_WIRE_SUSPECT : CX_WIRE_DEAD, "self",
                          rows[i].kind == LEAVE_BY_ITSELF ? "self" : "c", rows[i].incarnation);
        if (puppet_see(&puppet, "self")->incarnation != rows[i].becomes ||
            puppet_see(&puppet, "self")->status != CX_GOSSIP_ALIVE)
            fail_msg("%s: incarnation %u", rows[i].name, puppet_see(&puppet, "self")->incarnation);
        score = cx_gossip_look(puppet.core).health_score;
        if (score != (rows[i].refutes ? 1 : 0))
            fail_msg("%s: health score %d", rows[i].name, score);
    }
}

static void each_change_is_told_once(void **state)
{
    CX_AUTO(puppet_close) struct puppet puppet;

    (void)state;
    puppet_start(&puppet, NULL);
    assert_int_equal(puppet.notices[CX_GOSSIP_MEMBER_JOINED], 1); /* ourselves */
    puppet_say_alive(&puppet, "b", 20, 1);
    assert_int_equal(puppet.notices[CX_GOSSIP_MEMBER_JOINED], 1);
    puppet_say_alive(&puppet, "b", 20, 1);
    assert_int_equal(puppet.notices[CX_GOSSIP_MEMBER_JOINED], 0);
    puppet_say_alive(&puppet, "b", 20, 2); /* only a new incarnation: nothing to tell */
    assert_int_equal(puppet.notices[CX_GOSSIP_MEMBER_UPDATED], 0);
    puppet_accuse(&puppet, CX_WIRE_SUSPECT, "b", "c", 2);
    assert_int_equal(puppet.notices[CX_GOSSIP_MEMBER_SUSPECT], 1);
    puppet_accuse(&puppet, CX_WIRE_SUSPECT, "b", "d", 2);
    assert_int_equal(puppet.notices[CX_GOSSIP_MEMBER_SUSPECT], 0);
    puppet_say_alive(&puppet, "b", 20, 3);
    assert_int_equal(puppet.notices[CX_GOSSIP_MEMBER_UPDATED], 1);
    puppet_accuse(&puppet, CX_WIRE_DEAD, "b", "c", 3);
    assert_int_equal(puppet.notices[CX_GOSSIP_MEMBER_FAILED], 1);
    puppet_accuse(&puppet, CX_WIRE_DEAD, "b", "d", 3);
    assert_int_equal(puppet.notices[CX_GOSSIP_MEMBER_FAILED], 0);
}

static void what_is_news_is_passed_on(void **state)
{
    CX_AUTO(puppet_close) struct puppet puppet;
    const struct puppet_sent *sent = NULL;

    (void)state;
    puppet_start(&puppet, NULL);
    for (int i = 0; i < 20; i++)
        puppet_wait(&puppet, 200); /* our own announcement has no listener and stays */
    puppet_say_alive(&puppet, "b", 20, 1);
    puppet_say_alive(&puppet, "c", 30, 1);
    for (int i = 0; i < 10 && sent == NULL; i++) {
        puppet_wait(&puppet, 200);
        sent = puppet_find(&puppet, CX_WIRE_ALIVE);
    }
    assert_non_null(sent);
}

static void a_suspicion_ends_in_failure_at_its_time(void **state)
{
    CX_AUTO(puppet_close) struct puppet puppet;

    (void)state;
    puppet_start(&puppet, NULL);
    puppet_say_alive(&puppet, "b", 20, 1);
    puppet_accuse(&puppet, CX_WIRE_SUSPECT, "b", "c", 1); /* two nodes: four seconds */
    for (int i = 0; i < 19; i++)
        puppet_wait(&puppet, 200);
    assert_int_equal(puppet_see(&puppet, "b")->status, CX_GOSSIP_SUSPECT);
    puppet_wait(&puppet, 200);
    assert_int_equal(puppet_see(&puppet, "b")->status, CX_GOSSIP_FAILED);
}

static void a_process_that_slept_accuses_nobody(void **state)
{
    CX_AUTO(puppet_close) struct puppet puppet;

    (void)state;
    puppet_start(&puppet, NULL);
    puppet_say_alive(&puppet, "b", 20, 1);
    puppet_accuse(&puppet, CX_WIRE_SUSPECT, "b", "c", 1);
    puppet_wait(&puppet, 60000);
    assert_string_equal(puppet.logged, "overslept");
    assert_int_equal(puppet_see(&puppet, "b")->status, CX_GOSSIP_SUSPECT);
    for (int i = 0; i < 25; i++)
        puppet_wait(&puppet, 200);
    assert_int_equal(puppet_see(&puppet, "b")->status, CX_GOSSIP_FAILED);
}

static void intents_decide_between_left_and_failed(void **state)
{
    static const struct {
        const char *name;
        uint64_t leave, join; /* Lamport times; 0: none */
        bool leave_first, dead;
        cx_gossip_status_word status;
    } rows[] = {
        {"a leave", 5, 0, true, false, CX_GOSSIP_LEAVING},
        {"a leave and dead", 5, 0, true, true, CX_GOSSIP_LEFT_CLUSTER},
        {"dead alone", 0, 0, true, true, CX_GOSSIP_FAILED},
        {"a later join takes the leave back", 5, 6, true, false, CX_GOSSIP_ALIVE},
        {"an earlier join does not", 5, 4, true, false, CX_GOSSIP_LEAVING},
        {"a leave older than the join", 5, 6, false, false, CX_GOSSIP_ALIVE},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(puppet_close) struct puppet puppet;
        const cx_wire_leave leave = {.ltime = rows[i].leave, .node = cx_bytes_of("b")};
        const cx_wire_join join = {.ltime = rows[i].join, .node = cx_bytes_of("b")};

        puppet_start(&puppet, NULL);
        puppet_say_alive(&puppet, "b", 20, 1);
        for (int j = 0; j < 2; j++) {
            if ((j == 0) == rows[i].leave_first && rows[i].leave > 0)
                puppet_say_serf(&puppet, puppet_addr(20), CX_SERF_LEAVE, &leave);
            if ((j == 0) != rows[i].leave_first && rows[i].join > 0)
                puppet_say_serf(&puppet, puppet_addr(20), CX_SERF_JOIN, &join);
        }
        if (rows[i].dead)
            puppet_accuse(&puppet, CX_WIRE_DEAD, "b", "c", 1);
        if (puppet_see(&puppet, "b")->status != rows[i].status)
            fail_msg("%s: %s", rows[i].name,
                     cx_gossip_status_text(puppet_see(&puppet, "b")->status));
    }
}

static void an_intent_may_come_before_its_node(void **state)
{
    CX_AUTO(puppet_close) struct puppet puppet;
    const cx_wire_leave leave = {.ltime = 7, .node = cx_bytes_of("b")};

    (void)state;
    puppet_start(&puppet, NULL);
    puppet_say_serf(&puppet, puppet_addr(20), CX_SERF_LEAVE, &leave);
    assert_null(puppet_see(&puppet, "b"));
    puppet_say_alive(&puppet, "b", 20, 1);
    assert_int_equal(puppet_see(&puppet, "b")->status, CX_GOSSIP_LEAVING);
    assert_int_equal(puppet_see(&puppet, "b")->ltime, 7);
}

static void nobody_makes_us_leave(void **state)
{
    CX_AUTO(puppet_close) struct puppet puppet;
    const cx_wire_leave leave = {.ltime = 70, .node = cx_bytes_of("self")};

    (void)state;
    puppet_start(&puppet, NULL);
    puppet_say_serf(&puppet, puppet_addr(20), CX_SERF_LEAVE, &leave);
    assert_int_equal(puppet_see(&puppet, "self")->status, CX_GOSSIP_ALIVE);
    /* Our join intent is later than that. */
    assert_true(puppet_see(&puppet, "self")->ltime > 70);
}

static void a_dead_node_is_forgotten_after_a_day(void **state)
{
    CX_AUTO(puppet_close) struct puppet puppet;

    (void)state;
    puppet_start(&puppet, NULL);
    puppet_say_alive(&puppet, "b", 20, 1);
    puppet_accuse(&puppet, CX_WIRE_DEAD, "b", "c", 1);
    puppet_wait(&puppet, INT64_C(23) * 3600 * 1000);
    assert_non_null(puppet_see(&puppet, "b"));
    puppet_wait(&puppet, INT64_C(2) * 3600 * 1000);
    puppet_wait(&puppet, 60000);
    assert_null(puppet_see(&puppet, "b"));
}

static void the_state_that_is_saved_is_read_again(void **state)
{
    static const char text[] = "# a comment\nincarnation: 41\nclock: 10\nevent-clock: 20\n"
                               "query-clock: 30\nalive: a node with spaces 10.0.0.9:7946\n"
                               "alive: self 10.0.0.1:7946\nunknown: line\n";
    cx_gossip_options options = {.name = "self",
                                 .advertise = puppet_addr(1),
                                 .rng = cx_rng_seed(1),
                                 .state = cx_bytes_of(text)};
    CX_AUTO(puppet_close) struct puppet puppet = {.now_us = 1};
    cx_gossip_status status;
    cx_err err;

    (void)state;
    assert_true(cx_gossip_open(&options, &puppet.core, &err));
    puppet_input(&puppet, &(cx_gossip_event){.kind = CX_GOSSIP_ON_START});
    status = cx_gossip_look(puppet.core);
    assert_int_equal(status.incarnation, 42);
    assert_int_equal(status.event_clock, 21);
    assert_int_equal(status.query_clock, 31);
    assert_true(puppet.opened != 0 && puppet.written.size > 0); /* it tries the one it knew */
}

static void options_that_can_not_be_are_refused(void **state)
{
    char long_value[600];
    const cx_gossip_tag long_tags[] = {{"k", long_value}};
    const cx_gossip_options good = {.name = "a", .advertise = puppet_addr(1)};
    cx_gossip_options rows[6] = {good, good, good, good, good, good};

    (void)state;
    memset(long_value, 'v', sizeof(long_value) - 1);
    long_value[sizeof(long_value) - 1] = '\0';
    rows[0].name = "";
    rows[1].name = "a\tb";
    rows[2].advertise.size = 0;
    rows[3].advertise.port = 0;
    rows[4].tags = long_tags;
    rows[4].tag_count = 1;
    rows[5].keyring = cx_bytes_of("[\"short\"]");
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_gossip_close) cx_gossip *core = NULL;
        cx_err err;

        assert_false(cx_gossip_open(&rows[i], &core, &err));
        assert_int_equal(err.code, CX_CONFIG);
        assert_null(core);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_about_others),
        cmocka_unit_test(messages_about_ourselves),
        cmocka_unit_test(each_change_is_told_once),
        cmocka_unit_test(what_is_news_is_passed_on),
        cmocka_unit_test(a_suspicion_ends_in_failure_at_its_time),
        cmocka_unit_test(a_process_that_slept_accuses_nobody),
        cmocka_unit_test(intents_decide_between_left_and_failed),
        cmocka_unit_test(an_intent_may_come_before_its_node),
        cmocka_unit_test(nobody_makes_us_leave),
        cmocka_unit_test(a_dead_node_is_forgotten_after_a_day),
        cmocka_unit_test(the_state_that_is_saved_is_read_again),
        cmocka_unit_test(options_that_can_not_be_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
