/* What comes from outside is hostile: nothing of it harms a core, makes it send packets to strangers, or
 * makes it hold more than its limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/text.h"
#include "gossip_puppet.h"

#define KEYRING "[\"NUDi22rkoCPAR6/+UegZ+jSUFHKCAsr/PieKBk+sb2o=\"]"

static const cx_gossip_addr stranger = {.size = 4, .bytes = {192, 0, 2, 66}, .port = 7946};

static cx_buffer from_hex(const char *hex)
{
    cx_buffer bytes = {0};
    size_t size = strlen(hex) / 2;
    cx_err err;

    assert_true(cx_from_hex(hex, cx_buffer_reserve(&bytes, size), size, &err));
    bytes.size = size;
    return bytes;
}

static void stream(struct puppet *puppet, uint64_t id, cx_bytes bytes)
{
    puppet_input(puppet,
                 &(cx_gossip_event){.kind = CX_GOSSIP_ON_ACCEPT, .stream = id, .from = stranger});
    puppet_input(puppet,
                 &(cx_gossip_event){.kind = CX_GOSSIP_ON_BYTES, .stream = id, .bytes = bytes});
}

static void feed(struct puppet *puppet, const json_t *vector, uint64_t id, cx_bytes bytes)
{
    if (strcmp(cx_json_text_or_empty(vector, "transport"), "udp") == 0)
        puppet_packet(puppet, stranger, bytes);
    else
        stream(puppet, id, bytes);
}

/* Each message that a real agent refuses: counted, and nothing is known that was not before. */
static void every_invalid_message_is_refused_without_harm(void **state)
{
    CX_AUTO(cx_json_free) json_t *all = NULL;
    json_t *vector;
    size_t i;
    cx_err err;

    (void)state;
    assert_true(cx_json_read_file("test/vectors/invalid.json", 1 << 20, &all, &err));
    json_array_foreach (all, i, vector) {
        CX_AUTO(cx_buffer_free) cx_buffer bytes = from_hex(cx_json_text_or_empty(vector, "hex"));
        CX_AUTO(puppet_close) struct puppet puppet;
        const char *name = cx_json_text_or_empty(vector, "name");
        const char *error = cx_json_text_or_empty(json_object_get(vector, "serf"), "error");

        puppet_start(&puppet, json_is_true(json_object_get(vector, "encrypted")) ? KEYRING : NULL);
        feed(&puppet, vector, 2 * i + 2, cx_buffer_bytes(&bytes));
        if (strcmp(name, "tcp-user-message-short") == 0) { /* it waits for the rest */
            assert_int_equal(cx_gossip_look(puppet.core).streams, 1);
            puppet_wait(&puppet, 400);
            for (int j = 0; j < 100; j++)
                puppet_wait(&puppet, 100);
        }
        if (puppet_refused(&puppet) == 0)
            fail_msg("%s: refused %d times", name, (int)puppet_refused(&puppet));
        /* Of this one memberlist's part is merged, by us as by the real agent. */
        size_t members = strcmp(name, "tcp-join-bad-user-state") == 0 ? 2 : 1;

        if (cx_gossip_look(puppet.core).members != members ||
            cx_gossip_look(puppet.core).streams != 0)
            fail_msg("%s: changed something", name);
        if (error[0] != '\0' && puppet.written.size == 0)
            fail_msg("%s: the dialler is not told", name);
    }
}

static void every_cut_of_every_capture_is_survived(void **state)
{
    CX_AUTO(cx_json_free) json_t *all = NULL;
    CX_AUTO(puppet_close) struct puppet plain;
    CX_AUTO(puppet_close) struct puppet sealed;
    json_t *vector;
    size_t i;
    uint64_t id = 0;
    cx_err err;

    (void)state;
    puppet_start(&plain, NULL);
    puppet_start(&sealed, KEYRING);
    assert_true(cx_json_read_file("test/vectors/memberlist.json", 4 << 20, &all, &err));
    json_array_foreach (all, i, vector) {
        CX_AUTO(cx_buffer_free) cx_buffer bytes = from_hex(cx_json_text_or_empty(vector, "hex"));
        struct puppet *puppet =
            json_is_true(json_object_get(vector, "encrypted")) ? &sealed : &plain;
        size_t step = bytes.size > 2000 ? 97 : 1;

        for (size_t size = 0; size <= bytes.size; size += step) {
            id += 2;
            feed(puppet, vector, id, (cx_bytes){bytes.data, size});
            puppet_input(puppet, &(cx_gossip_event){.kind = CX_GOSSIP_ON_END, .stream = id});
        }
    }
    assert_int_equal(cx_gossip_look(plain.core).streams, 0);
}

static void a_ping_is_answered_only_where_that_is_safe(void **state)
{
    static const uint8_t victim[] = {198, 51, 100, 7}, member[] = {10, 0, 0, 20},
                         sender[] = {192, 0, 2, 66};
    static const struct {
        const char *name;
        cx_bytes source;
        uint16_t port;
        size_t answers;
    } rows[] = {
        {"no source: to the sender", {0}, 0, 1},
        {"the sender's own address", {sender, 4}, 7946, 1},
        {"a member's address", {member, 4}, 7946, 1},
        {"somebody else's address", {victim, 4}, 7946, 0},
        {"the sender's with another port", {sender, 4}, 53, 0},
        {"a member's with another port", {member, 4}, 53, 0},
        {"no address at all", {victim, 3}, 7946, 0},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(puppet_close) struct puppet puppet;
        const cx_wire_ping ping = {.seq_no = 1,
                                   .node = cx_bytes_of("self"),
                                   .source_addr = rows[i].source,
                                   .source_port = rows[i].port};
        size_t before, after;

        puppet_start(&puppet, NULL);
        puppet_say_alive(&puppet, "b", 20, 1);
        before = (size_t)puppet_refused(&puppet);
        puppet_say_record(&puppet, stranger, CX_WIRE_PING, &ping);
        after = (size_t)puppet_refused(&puppet);
        if ((puppet_find(&puppet, CX_WIRE_ACK) != NULL) != (rows[i].answers == 1) ||
            after - before != 1 - rows[i].answers)
            fail_msg("%s", rows[i].name);
    }
}

/* A forged sender would get all our gossip for a few bytes. */
static void strangers_get_an_ack_and_no_gossip(void **state)
{
    CX_AUTO(puppet_close) struct puppet puppet;
    const cx_wire_ping ping = {.seq_no = 1};

    (void)state;
    puppet_start(&puppet, NULL);
    puppet_say_alive(&puppet, "b", 20, 1);
    puppet_say_record(&puppet, stranger, CX_WIRE_PING, &ping);
    assert_non_null(puppet_find(&puppet, CX_WIRE_ACK));
    assert_null(puppet_find(&puppet, CX_WIRE_ALIVE));
    puppet_say_record(&puppet, puppet_addr(20), CX_WIRE_PING, &ping);
    assert_non_null(puppet_find(&puppet, CX_WIRE_ACK));
    assert_non_null(puppet_find(&puppet, CX_WIRE_ALIVE));
}

static void only_members_are_pinged_for_others(void **state)
{
    static const uint8_t victim[] = {198, 51, 100, 7}, member[] = {10, 0, 0, 20};
    static const struct {
        const char *name, *node;
        cx_bytes target;
        bool pings;
    } rows[] = {
        {"a member", "b", {member, 4}, true},
        {"a member's name with another address", "b", {victim, 4}, false},
        {"a stranger", "x", {victim, 4}, false},
        {"no address", "b", {0}, false},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(puppet_close) struct puppet puppet;
        const cx_wire_indirect indirect = {.seq_no = 1,
                                           .target = rows[i].target,
                                           .port = 7946,
                                           .node = cx_bytes_of(rows[i].node),
                                           .nack = true};

        puppet_start(&puppet, NULL);
        puppet_say_alive(&puppet, "b", 20, 1);
        puppet_say_record(&puppet, puppet_addr(20), CX_WIRE_INDIRECT, &indirect);
        if ((puppet_find(&puppet, CX_WIRE_PING) != NULL) != rows[i].pings)
            fail_msg("%s", rows[i].name);
    }
}

static void an_indirect_ping_ends_in_an_ack_or_a_nack(void **state)
{
    static const uint8_t member[] = {10, 0, 0, 20};
    const cx_wire_indirect indirect = {
        .seq_no = 77, .target = {member, 4}, .port = 7946, .node = cx_bytes_of("b"), .nack = true};
    CX_AUTO(puppet_close) struct puppet puppet;
    cx_wire_ack ack = {0};

    (void)state;
    puppet_start(&puppet, NULL);
    puppet_say_alive(&puppet, "b", 20, 1);
    puppet_say_record(&puppet, puppet_addr(30), CX_WIRE_INDIRECT, &indirect);
    ack.seq_no = puppet_find(&puppet, CX_WIRE_PING)->any.ping.seq_no;
    puppet_say_record(&puppet, puppet_addr(20), CX_WIRE_ACK, &ack);
    assert_int_equal(puppet_find(&puppet, CX_WIRE_ACK)->any.ack.seq_no, 77);
    assert_int_equal(puppet_find(&puppet, CX_WIRE_ACK)->to.bytes[3], 30);

    puppet_say_record(&puppet, puppet_addr(30), CX_WIRE_INDIRECT, &indirect);
    puppet_wait(&puppet, 410); /* at four fifths of the time-out */
    assert_int_equal(puppet_find(&puppet, CX_WIRE_NACK)->any.nack.seq_no, 77);
}

static void many_indirect_pings_are_bounded(void **state)
{
    static const uint8_t member[] = {10, 0, 0, 20};
    CX_AUTO(puppet_close) struct puppet puppet;

    (void)state;
    puppet_start(&puppet, NULL);
    puppet_say_alive(&puppet, "b", 20, 1);
    for (uint32_t i = 0; i < 1000; i++) {
        const cx_wire_indirect indirect = {
            .seq_no = i, .target = {member, 4}, .port = 7946, .node = cx_bytes_of("b")};

        puppet_say_record(&puppet, puppet_addr(20), CX_WIRE_INDIRECT, &indirect);
    }
    assert_int_equal(puppet_refused(&puppet), 1000 - 256);
}

static void a_member_must_be_one_that_can_be(void **state)
{
    static const uint8_t bytes[600] = {0};
    cx_gossip_addr addr = puppet_addr(20);
    const cx_wire_alive good = puppet_alive("b", &addr, 1);
    struct {
        const char *name;
        cx_wire_alive alive;
    } rows[] = {
        {"no name", good},     {"a name of 129 bytes", good},   {"a name with a newline", good},
        {"no address", good},  {"an address of 5 bytes", good}, {"600 bytes of tags", good},
        {"no versions", good}, {"three versions", good},        {"seven versions", good},
        {"version 0", good},   {"min above max", good},         {"current above max", good},
    };
    static const uint8_t zero[] = {0, 5, 2, 2, 5, 5}, twisted[] = {5, 1, 2, 2, 5, 5},
                         above[] = {1, 5, 2, 2, 5, 6};

    (void)state;
    rows[0].alive.node.size = 0;
    rows[1].alive.node =
        (cx_bytes){(const uint8_t *)"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                                    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                                    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
                   129};
    rows[2].alive.node = cx_bytes_of("a\nb");
    rows[3].alive.addr = (cx_bytes){0};
    rows[4].alive.addr = (cx_bytes){bytes, 5};
    rows[5].alive.meta = (cx_bytes){bytes, 600};
    rows[6].alive.vsn = (cx_bytes){0};
    rows[7].alive.vsn.size = 3;
    rows[8].alive.vsn = (cx_bytes){bytes, 7};
    rows[9].alive.vsn.data = zero;
    rows[10].alive.vsn.data = twisted;
    rows[11].alive.vsn.data = above;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(puppet_close) struct puppet puppet;

        puppet_start(&puppet, NULL);
        puppet_say_record(&puppet, stranger, CX_WIRE_ALIVE, &rows[i].alive);
        if (cx_gossip_look(puppet.core).members != 1 || puppet_refused(&puppet) != 1)
            fail_msg("%s: taken", rows[i].name);
    }
}

static void the_table_of_members_has_a_limit(void **state)
{
    CX_AUTO(puppet_close) struct puppet puppet;
    char name[32];

    (void)state;
    puppet_start(&puppet, NULL);
    for (int i = 0; i < 10050; i++) {
        cx_gossip_addr addr = {
            .size = 4, .bytes = {10, 9, (uint8_t)(i >> 8), (uint8_t)i}, .port = 1};
        cx_wire_alive alive;

        snprintf(name, sizeof(name), "n%d", i);
        alive = puppet_alive(name, &addr, 1);
        puppet_say_record(&puppet, stranger, CX_WIRE_ALIVE, &alive);
    }
    assert_int_equal(cx_gossip_look(puppet.core).members, 10000);
    assert_int_equal(puppet_refused(&puppet), 51);
}

static void absurd_lamport_times_do_not_move_the_clocks(void **state)
{
    const uint64_t absurd = UINT64_C(1) << 63;
    const cx_wire_join join = {.ltime = absurd, .node = cx_bytes_of("b")};
    const cx_wire_leave leave = {.ltime = UINT64_MAX, .node = cx_bytes_of("b")};
    const cx_wire_user_event event = {.ltime = absurd, .name = cx_bytes_of("e")};
    const cx_wire_query query = {.ltime = UINT64_MAX, .name = cx_bytes_of("q")};
    CX_AUTO(puppet_close) struct puppet puppet;
    cx_gossip_status before, after;

    (void)state;
    puppet_start(&puppet, NULL);
    before = cx_gossip_look(puppet.core);
    puppet_say_serf(&puppet, stranger, CX_SERF_JOIN, &join);
    puppet_say_serf(&puppet, stranger, CX_SERF_LEAVE, &leave);
    puppet_say_serf(&puppet, stranger, CX_SERF_USER_EVENT, &event);
    puppet_say_serf(&puppet, stranger, CX_SERF_QUERY, &query);
    after = cx_gossip_look(puppet.core);
    assert_int_equal(after.refused, 4);
    assert_int_equal(after.member_clock, before.member_clock);
    assert_int_equal(after.event_clock, before.event_clock);
    assert_int_equal(after.query_clock, before.query_clock);
}

static void events_are_bounded_and_come_once(void **state)
{
    CX_AUTO(puppet_close) struct puppet puppet;
    uint8_t payload[9000] = {0};
    size_t told = 0;

    (void)state;
    puppet_start(&puppet, NULL);
    for (uint64_t i = 1; i <= 2000; i++) {
        cx_wire_user_event event = {
            .ltime = 1 + i / 50, .name = cx_bytes_of("e"), .payload = {payload, sizeof(payload)}};

        payload[0] = (uint8_t)i;
        payload[1] = (uint8_t)(i >> 8);
        for (int twice = 0; twice < 2; twice++) {
            puppet_say_serf(&puppet, stranger, CX_SERF_USER_EVENT, &event);
            told += puppet.notices[CX_GOSSIP_USER_EVENT];
        }
    }
    assert_true(told > 400 && told <= 4 * 1024 * 1024 / 9000);
}

static void a_query_is_answered_only_to_members(void **state)
{
    static const uint8_t member[] = {10, 0, 0, 20}, victim[] = {198, 51, 100, 7};
    static const struct {
        const char *name;
        cx_bytes addr;
        bool answers;
    } rows[] = {{"a member", {member, 4}, true},
                {"a stranger", {victim, 4}, false},
                {"nobody", {0}, false}};

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(puppet_close) struct puppet puppet;
        const cx_wire_query query = {.ltime = 3,
                                     .id = 9,
                                     .addr = rows[i].addr,
                                     .port = 7946,
                                     .source_node = cx_bytes_of("b"),
                                     .flags = CX_SERF_FLAG_ACK,
                                     .name = cx_bytes_of("_serf_ping")};

        puppet_start(&puppet, NULL);
        puppet_say_alive(&puppet, "b", 20, 1);
        puppet_say_serf(&puppet, puppet_addr(20), CX_SERF_QUERY, &query);
        bool answered = puppet_find(&puppet, CX_WIRE_USER) != NULL &&
                        puppet_find(&puppet, CX_WIRE_USER)->serf_type == CX_SERF_RESPONSE;

        if (answered != rows[i].answers)
            fail_msg("%s", rows[i].name);
        puppet_say_serf(&puppet, puppet_addr(20), CX_SERF_QUERY, &query);
        assert_null(puppet_find(&puppet, CX_WIRE_USER)); /* seen before */
    }
}

static void filters_choose_who_answers(void **state)
{
    static const struct {
        const char *name, *hex; /* the list of filters */
        bool answers;
    } rows[] = {
        {"our name", "91a90092a473656c66a162", true}, /* 00 ["self", "b"] */
        {"other names", "91a40091a162", false},       /* 00 ["b"] */
        {"our tag, whole", "91b60182a445787072a55e77656224a3546167a4726f6c65", true},
        {"our tag, a part", "91b30182a445787072a26562a3546167a4726f6c65", true},
        {"another value", "91b40182a445787072a3617070a3546167a4726f6c65", false},
        {"an absent tag is empty",
         "91af0182a445787072a0a3546167a278"
         "78",
         true},
        {"an unknown type", "91a20790", false},
        {"both must match", "92a90092a473656c66a162a40091a162", false},
    };
    static const uint8_t member[] = {10, 0, 0, 20};

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(puppet_close) struct puppet puppet;
        CX_AUTO(cx_buffer_free) cx_buffer filters = from_hex(rows[i].hex);
        const cx_wire_query query = {.ltime = 3,
                                     .addr = {member, 4},
                                     .port = 7946,
                                     .source_node = cx_bytes_of("b"),
                                     .filters = cx_buffer_bytes(&filters),
                                     .flags = CX_SERF_FLAG_ACK,
                                     .name = cx_bytes_of("uptime")};

        puppet_start(&puppet, NULL);
        puppet_say_alive(&puppet, "b", 20, 1);
        puppet_say_serf(&puppet, puppet_addr(20), CX_SERF_QUERY, &query);
        if ((puppet_find(&puppet, CX_WIRE_USER) != NULL) != rows[i].answers)
            fail_msg("%s (refused %d)", rows[i].name, (int)puppet_refused(&puppet));
    }
}

static void too_many_streams_are_closed_unread(void **state)
{
    CX_AUTO(puppet_close) struct puppet puppet;

    (void)state;
    puppet_start(&puppet, NULL);
    for (uint64_t i = 1; i <= 200; i++) {
        puppet_input(&puppet, &(cx_gossip_event){
                                  .kind = CX_GOSSIP_ON_ACCEPT, .stream = 2 * i, .from = stranger});
        assert_int_equal(puppet.closed, i > 127);
    }
    /* And those that say nothing go when their time is over. */
    for (int i = 0; i < 110; i++)
        puppet_wait(&puppet, 100);
    assert_int_equal(cx_gossip_look(puppet.core).streams, 0);
}

static void what_streams_hold_together_is_bounded(void **state)
{
    /* A push/pull with 20 MiB of user state, which is allowed to come. */
    CX_AUTO(cx_buffer_free)
    cx_buffer head = from_hex("0683a44a6f696ec3a54e6f64657300ac5573657253746174654c656ece013f0000");
    CX_AUTO(cx_free) uint8_t *mebibyte = cx_alloc(1, 1 << 20);
    CX_AUTO(puppet_close) struct puppet puppet;
    size_t closed = 0;

    (void)state;
    puppet_start(&puppet, NULL);
    for (uint64_t id = 2; id <= 20; id += 2) {
        stream(&puppet, id, cx_buffer_bytes(&head));
        for (int i = 0; i < 15 && !puppet.closed; i++)
            puppet_input(&puppet, &(cx_gossip_event){.kind = CX_GOSSIP_ON_BYTES,
                                                     .stream = id,
                                                     .bytes = {mebibyte, 1 << 20}});
        closed += puppet.closed;
    }
    assert_true(closed >= 5 && closed <= 7);
}

static void bad_nodes_of_a_push_pull_are_left_out(void **state)
{
    CX_AUTO(cx_buffer_free) cx_buffer message = {0};
    CX_AUTO(puppet_close) struct puppet puppet;
    const cx_wire_push_header header = {.nodes = 3};
    static const uint8_t addr[] = {10, 0, 0, 20}, short_vsn[] = {1, 5, 2};
    cx_wire_push_node node = {.name = cx_bytes_of("bad"),
                              .addr = {addr, 4},
                              .port = 7946,
                              .incarnation = 1,
                              .vsn = {short_vsn, 3}};

    (void)state;
    puppet_start(&puppet, NULL);
    cx_wire_put(&message, CX_WIRE_PUSH_PULL, &cx_wire_push_header_record, &header);
    cx_record_put(&message, &cx_wire_push_node_record, &node);
    node.name = cx_bytes_of("good");
    node.vsn = (cx_bytes){puppet_vsn, 6};
    cx_record_put(&message, &cx_wire_push_node_record, &node);
    node.name = cx_bytes_of("odd");
    node.state = 9;
    cx_record_put(&message, &cx_wire_push_node_record, &node);
    stream(&puppet, 2, cx_buffer_bytes(&message));
    assert_true(puppet.written.size > 0 && puppet.closed);
    assert_non_null(puppet_see(&puppet, "good"));
    assert_null(puppet_see(&puppet, "bad"));
    assert_null(puppet_see(&puppet, "odd"));
    assert_int_equal(puppet_refused(&puppet), 2);
}

static void a_port_scanner_is_no_event(void **state)
{
    CX_AUTO(puppet_close) struct puppet puppet;

    (void)state;
    puppet_start(&puppet, NULL);
    puppet_input(&puppet,
                 &(cx_gossip_event){.kind = CX_GOSSIP_ON_ACCEPT, .stream = 2, .from = stranger});
    puppet_input(&puppet, &(cx_gossip_event){.kind = CX_GOSSIP_ON_END, .stream = 2});
    assert_int_equal(puppet_refused(&puppet), 0);
    assert_int_equal(cx_gossip_look(puppet.core).streams, 0);
}

static void refusals_are_logged_once_a_second(void **state)
{
    CX_AUTO(puppet_close) struct puppet puppet;
    size_t logged = 0;

    (void)state;
    puppet_start(&puppet, NULL);
    for (int i = 0; i < 1000; i++) {
        puppet.now_us += 1000;
        puppet.logged[0] = '\0';
        puppet_packet(&puppet, stranger, cx_bytes_of("\x1d\x80"));
        logged += strcmp(puppet.logged, "message_refused") == 0;
    }
    assert_int_equal(puppet_refused(&puppet), 1000);
    assert_int_equal(logged, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_invalid_message_is_refused_without_harm),
        cmocka_unit_test(every_cut_of_every_capture_is_survived),
        cmocka_unit_test(a_ping_is_answered_only_where_that_is_safe),
        cmocka_unit_test(strangers_get_an_ack_and_no_gossip),
        cmocka_unit_test(only_members_are_pinged_for_others),
        cmocka_unit_test(an_indirect_ping_ends_in_an_ack_or_a_nack),
        cmocka_unit_test(many_indirect_pings_are_bounded),
        cmocka_unit_test(a_member_must_be_one_that_can_be),
        cmocka_unit_test(the_table_of_members_has_a_limit),
        cmocka_unit_test(absurd_lamport_times_do_not_move_the_clocks),
        cmocka_unit_test(events_are_bounded_and_come_once),
        cmocka_unit_test(a_query_is_answered_only_to_members),
        cmocka_unit_test(filters_choose_who_answers),
        cmocka_unit_test(too_many_streams_are_closed_unread),
        cmocka_unit_test(what_streams_hold_together_is_bounded),
        cmocka_unit_test(bad_nodes_of_a_push_pull_are_left_out),
        cmocka_unit_test(a_port_scanner_is_no_event),
        cmocka_unit_test(refusals_are_logged_once_a_second),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
