#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "node/message.h"
#include "node/spec.h"

static json_t *json_of(const char *text)
{
    json_t *json = json_loads(text, 0, NULL);

    if (json == NULL)
        fail_msg("test's own JSON: %s", text);
    return json;
}

/* ---- specs */

static void a_small_spec_gets_its_defaults(void **state)
{
    CX_AUTO(cx_json_free)
    json_t *json = json_of("{\"id\":\"echo\",\"command\":[\"cat\",\"-u\"]}");
    CX_AUTO(cx_json_free) json_t *written = NULL;
    CX_AUTO(cx_json_free)
    json_t *wanted = json_of(
        "{\"id\":\"echo\",\"command\":[\"cat\",\"-u\"],\"capabilities\":[],\"priority\":\"normal\","
        "\"placement\":\"pinned\",\"env\":{},\"limits\":{\"in_flight\":1,\"memory_bytes\":0,"
        "\"open_files\":256,\"message_timeout\":\"30s\"},\"max_attempts\":5}");
    CX_AUTO(node_spec_free) node_spec *spec = NULL;
    cx_err err;

    (void)state;
    if (!node_spec_parse(json, "echo", &spec, &err))
        fail_msg("%s", err.message);
    written = node_spec_to_json(spec);
    assert_true(json_equal(written, wanted));
}

static void what_was_written_reads_as_the_same_spec(void **state)
{
    CX_AUTO(cx_json_free)
    json_t *json = json_of("{\"command\":[\"/bin/cat\"],\"capabilities\":[\"a\",\"b\",\"a\"],"
                           "\"env\":{\"A\":\"x=y\",\"_b1\":\"\"},\"priority\":\"critical\","
                           "\"placement\":\"any\",\"max_attempts\":1,\"limits\":{\"in_flight\":9,"
                           "\"memory_bytes\":99999999,\"message_timeout\":\"1500ms\"}}");
    CX_AUTO(node_spec_free) node_spec *first = NULL;
    CX_AUTO(node_spec_free) node_spec *second = NULL;
    CX_AUTO(cx_json_free) json_t *written = NULL;
    cx_err err;

    (void)state;
    if (!node_spec_parse(json, "x", &first, &err))
        fail_msg("%s", err.message);
    written = node_spec_to_json(first);
    if (!node_spec_parse(written, "x", &second, &err))
        fail_msg("%s", err.message);
    assert_true(node_spec_equal(first, second));
    assert_int_equal(second->message_timeout_ms, 1500);
    assert_int_equal(second->capabilities.count, 2);
}

static void a_bad_spec_is_refused_and_the_fault_is_named(void **state)
{
    static const struct {
        const char *json, *named;
    } rows[] = {
        {"[]", "object"},
        {"{\"command\":[\"a\"],\"comand\":1}", "comand"},
        {"{\"id\":\"other\",\"command\":[\"a\"]}", "other"},
        {"{}", "command"},
        {"{\"command\":[]}", "command"},
        {"{\"command\":\"cat\"}", "command"},
        {"{\"command\":[1]}", "command[0]"},
        {"{\"command\":[\"\"]}", "command[0]"},
        {"{\"command\":[\"bin/cat\"]}", "relative"},
        {"{\"command\":[\"./cat\"]}", "relative"},
        {"{\"command\":[\"a\",\"\\u0000b\"]}", "command[1]"},
        {"{\"command\":[\"a\"],\"capabilities\":[\"no spaces\"]}", "capability"},
        {"{\"command\":[\"a\"],\"priority\":\"urgent\"}", "urgent"},
        {"{\"command\":[\"a\"],\"placement\":\"here\"}", "here"},
        {"{\"command\":[\"a\"],\"env\":{\"A B\":\"\"}}", "A B"},
        {"{\"command\":[\"a\"],\"env\":{\"CX_NODE_ID\":\"\"}}", "CX_NODE_ID"},
        {"{\"command\":[\"a\"],\"env\":{\"A\":1}}", "A"},
        {"{\"command\":[\"a\"],\"limits\":{\"in_flight\":0}}", "in_flight"},
        {"{\"command\":[\"a\"],\"limits\":{\"in_flight\":257}}", "in_flight"},
        {"{\"command\":[\"a\"],\"limits\":{\"memory\":1}}", "memory"},
        {"{\"command\":[\"a\"],\"limits\":{\"memory_bytes\":1}}", "memory_bytes"},
        {"{\"command\":[\"a\"],\"limits\":{\"message_timeout\":\"30\"}}", "message_timeout"},
        {"{\"command\":[\"a\"],\"limits\":{\"message_timeout\":\"0\"}}", "message_timeout"},
        {"{\"command\":[\"a\"],\"max_attempts\":0}", "max_attempts"},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_json_free) json_t *json = json_loads(rows[i].json, JSON_ALLOW_NUL, NULL);
        node_spec *spec = NULL;
        cx_err err = {0};

        if (node_spec_parse(json, "x", &spec, &err))
            fail_msg("taken: %s", rows[i].json);
        if (err.code != CX_INVALID || strstr(err.message, rows[i].named) == NULL)
            fail_msg("%s: %s", rows[i].json, err.message);
    }
}

/* ---- messages */

static void a_message_gets_its_defaults(void **state)
{
    CX_AUTO(cx_json_free) json_t *json = json_of("{\"receiver\":\"echo\"}");
    CX_AUTO(node_message_free) node_message message = {0};
    cx_err err;

    (void)state;
    if (!node_message_parse(json, "operator/alice", false, &message, &err))
        fail_msg("%s", err.message);
    assert_null(message.id);
    assert_string_equal(message.sender, "operator/alice");
    assert_string_equal(message.performative, "request");
    assert_string_equal(message.content, "null");
    assert_null(message.conversation_id);
}

static void a_bad_message_is_refused(void **state)
{
    static const char *const rows[] = {
        "[]",
        "{}",
        "{\"receiver\":\"\"}",
        "{\"receiver\":\"no spaces\"}",
        "{\"receiver\":\"capability:\"}",
        "{\"receiver\":\"to:x\"}",
        "{\"receiver\":\"x\",\"message_id\":\"\"}",
        "{\"receiver\":\"x\",\"message_id\":\"a/b\"}",
        "{\"receiver\":\"x\",\"message_id\":7}",
        "{\"receiver\":\"x\",\"performative\":\"DO IT\"}",
        "{\"receiver\":\"x\",\"sender\":\"a\\nb\"}",
        "{\"receiver\":\"x\",\"contents\":1}",
        "{\"receiver\":\"x\",\"hops\":[]}",
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_json_free) json_t *json = json_of(rows[i]);
        node_message message = {0};
        cx_err err = {0};

        if (node_message_parse(json, "me", false, &message, &err))
            fail_msg("taken: %s", rows[i]);
        assert_int_equal(err.code, CX_INVALID);
        assert_null(message.receiver);
    }
}

static void content_over_its_limit_is_too_large(void **state)
{
    CX_AUTO(cx_free) char *big = cx_alloc(NODE_CONTENT_MAX + 1, 1);
    CX_AUTO(cx_json_free) json_t *json = NULL;
    node_message message = {0};
    cx_err err = {0};

    (void)state;
    memset(big, 'x', NODE_CONTENT_MAX);
    json = json_pack("{s:s, s:s}", "receiver", "x", "content", big); /* two quotes too long */
    assert_false(node_message_parse(json, "me", false, &message, &err));
    assert_int_equal(err.code, CX_TOO_LARGE);
}

static void a_delivered_line_is_what_agents_expect(void **state)
{
    CX_AUTO(cx_json_free)
    json_t *json = json_of("{\"receiver\":\"capability:sum\",\"message_id\":\"m-1\","
                           "\"content\":{\"n\":[1,2.5,\"\\u00e4\\n\"]}}");
    CX_AUTO(cx_buffer_free) cx_buffer line = {0};
    CX_AUTO(node_message_free) node_message message = {0};
    CX_AUTO(cx_json_free) json_t *delivered = NULL;
    CX_AUTO(cx_json_free)
    json_t *wanted = json_of(
        "{\"message_id\":\"m-1\",\"performative\":\"request\",\"sender\":\"operator/al\","
        "\"receiver\":\"capability:sum\",\"conversation_id\":null,\"content\":{\"n\":[1,2.5,"
        "\"\\u00e4\\n\"]},\"attempt\":2,\"reply_by\":\"1970-01-01T00:00:01Z\"}");
    cx_err err;

    (void)state;
    assert_true(node_message_parse(json, "operator/al", false, &message, &err));
    message.attempts = 2;
    node_message_deliver(&message, 1000, &line);
    assert_int_equal(line.data[line.size - 1], '\n');
    assert_null(memchr(line.data, '\n', line.size - 1));
    delivered = json_loadb((const char *)line.data, line.size, 0, NULL);
    assert_true(json_equal(delivered, wanted));
}

static void a_forwarded_message_is_read_by_the_peer_with_its_hops(void **state)
{
    CX_AUTO(cx_json_free)
    json_t *json = json_of("{\"receiver\":\"capability:c\",\"message_id\":\"m\",\"content\":[1]}");
    CX_AUTO(cx_buffer_free) cx_buffer line = {0};
    CX_AUTO(node_message_free) node_message first = {0};
    CX_AUTO(node_message_free) node_message second = {0};
    CX_AUTO(cx_json_free) json_t *sent = NULL;
    CX_AUTO(cx_json_free) json_t *shown = NULL;
    cx_err err;

    (void)state;
    assert_true(node_message_parse(json, "operator/al", false, &first, &err));
    node_message_forward(&first, "c-1", "node-1", 1500, &line);
    sent = json_loadb((const char *)line.data, line.size, 0, NULL);
    if (!node_message_parse(sent, "node/node-1", true, &second, &err))
        fail_msg("%s", err.message);
    assert_string_equal(second.receiver, "c-1");
    assert_string_equal(second.sender, "operator/al");
    assert_string_equal(second.content, "[1]");
    second.accepted_at_ms = 2000;
    shown = node_message_to_json(&second, "node-2");
    assert_int_equal(json_array_size(json_object_get(shown, "hops")), 2);
    assert_string_equal(json_string_value(json_object_get(
                            json_array_get(json_object_get(shown, "hops"), 0), "event")),
                        "forwarded");
}

static void one_that_moves_often_keeps_its_origin_and_is_still_read(void **state)
{
    CX_AUTO(node_message_free) node_message message = {0};
    CX_AUTO(cx_json_free) json_t *json = json_of("{\"receiver\":\"a\",\"message_id\":\"m\"}");
    CX_AUTO(cx_json_free) json_t *hops = NULL;
    cx_err err;

    (void)state;
    assert_true(node_message_parse(json, "operator/al", false, &message, &err));
    for (int i = 0; i < 10; i++) {
        CX_AUTO(cx_buffer_free) cx_buffer line = {0};
        CX_AUTO(cx_json_free) json_t *sent = NULL;
        char node[24];

        snprintf(node, sizeof node, "node-%d", i);
        message.accepted_at_ms = 1000 * (i + 1);
        node_message_forward(&message, "a", node, 1000 * (i + 1) + 1, &line);
        node_message_free(&message);
        sent = json_loadb((const char *)line.data, line.size, 0, NULL);
        if (!node_message_parse(sent, "node/x", true, &message, &err))
            fail_msg("%s: %s", node, err.message);
    }
    hops = json_loads(message.hops, 0, NULL);
    assert_int_equal(json_array_size(hops), NODE_HOPS_MAX);
    assert_string_equal(cx_json_text_or_empty(json_array_get(hops, 0), "node_id"), "node-0");
    assert_string_equal(cx_json_text_or_empty(json_array_get(hops, 7), "node_id"), "node-9");
    assert_int_equal(node_message_left_ms(&message, "node-9"), 10001);
    assert_int_equal(node_message_left_ms(&message, "node-3"), 4001); /* seven ways back */
    assert_int_equal(node_message_left_ms(&message, "node-2"), 0);
    assert_int_equal(node_message_left_ms(&message, "node-10"), 0);
}

static void hops_of_a_peer_are_checked_too(void **state)
{
    static const char *const rows[] = {
        "1",
        "[1]",
        "[{}]",
        "[{\"node_id\":\"n\",\"event\":\"x\"}]",
        "[{\"node_id\":\"a/b\",\"event\":\"x\",\"at\":\"1\"}]",
        "[{\"node_id\":\"n\",\"event\":\"x\\n\",\"at\":\"1\"}]",
        "[0,0,0,0,0,0,0,0,0]",
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_free) char *text = cx_format("{\"receiver\":\"x\",\"hops\":%s}", rows[i]);
        CX_AUTO(cx_json_free) json_t *json = json_of(text);
        node_message message = {0};
        cx_err err;

        if (node_message_parse(json, "node/n", true, &message, &err))
            fail_msg("taken: %s", text);
    }
}

/* ---- what agents print */

static void an_agents_lines_are_replies_or_messages(void **state)
{
    static const struct {
        const char *line;
        int kind; /* -1: refused */
        bool failure;
    } rows[] = {
        {"{\"in_reply_to\":\"m\"}", NODE_OUTPUT_REPLY, false},
        {"{\"in_reply_to\":\"m\",\"performative\":\"inform\",\"content\":7}", NODE_OUTPUT_REPLY,
         false},
        {"{\"in_reply_to\":\"m\",\"performative\":\"failure\"}", NODE_OUTPUT_REPLY, true},
        {"{\"in_reply_to\":\"m\",\"performative\":\"refuse\"}", NODE_OUTPUT_REPLY, true},
        {"{\"in_reply_to\":\"m\",\"receiver\":\"x\"}", NODE_OUTPUT_REPLY, false},
        {"{\"receiver\":\"x\",\"content\":1}", NODE_OUTPUT_SEND, false},
        {"{\"in_reply_to\":\"\"}", -1, false},
        {"{\"in_reply_to\":1}", -1, false},
        {"{\"in_reply_to\":\"m\",\"performative\":\"Hm!\"}", -1, false},
        {"{\"content\":1}", -1, false},
        {"[]", -1, false},
        {"debug: I am here", -1, false},
        {"{\"in_reply_to\":\"m\"", -1, false},
        {"\xff\xfe", -1, false},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        node_output output = {0};
        cx_err err;
        bool good = node_output_parse(cx_bytes_of(rows[i].line), "agent", &output, &err);

        if (good != (rows[i].kind >= 0) || (good && (int)output.kind != rows[i].kind) ||
            (good && output.failure != rows[i].failure))
            fail_msg("%s", rows[i].line);
        node_output_free(&output);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_spec_gets_its_defaults),
        cmocka_unit_test(what_was_written_reads_as_the_same_spec),
        cmocka_unit_test(a_bad_spec_is_refused_and_the_fault_is_named),
        cmocka_unit_test(a_message_gets_its_defaults),
        cmocka_unit_test(a_bad_message_is_refused),
        cmocka_unit_test(content_over_its_limit_is_too_large),
        cmocka_unit_test(a_delivered_line_is_what_agents_expect),
        cmocka_unit_test(a_forwarded_message_is_read_by_the_peer_with_its_hops),
        cmocka_unit_test(one_that_moves_often_keeps_its_origin_and_is_still_read),
        cmocka_unit_test(hops_of_a_peer_are_checked_too),
        cmocka_unit_test(an_agents_lines_are_replies_or_messages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
