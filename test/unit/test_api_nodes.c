#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "api/client.h"

static void every_form_of_a_node_list_is_understood(void **state)
{
    static const struct {
        const char *name;
        const char *text;
        const char *nodes; /* "id@addr " each */
    } rows[] = {
        {"one object", "{\"node_id\":\"n1\",\"api_addr\":\"127.0.0.1:80\"}", "n1@127.0.0.1:80 "},
        {"members of cx-gossip",
         "{\"members\":[{\"node_id\":\"n1\",\"addr\":\"x:7946\",\"status\":\"alive\","
         "\"tags\":{\"api\":\"10.0.0.1:8080\"}}],\"count\":1}",
         "n1@10.0.0.1:8080 "},
        {"the field goes before the tag",
         "{\"node_id\":\"n1\",\"api_addr\":\"a:1\",\"tags\":{\"api\":\"b:2\"}}", "n1@a:1 "},
        {"nodes of others", "{\"nodes\":[\"n1\",\"n2\"]}", "n1@ n2@ "},
        {"an array", "[{\"node_id\":\"n1\"},{\"api_addr\":\"h:1\"}]", "n1@ @h:1 "},
        {"a text with a colon is an address", "[\"10.0.0.1:80\",\"n2\"]", "@10.0.0.1:80 n2@ "},
        {"lines", "{\"node_id\":\"n1\"}\n\n  \r\n{\"node_id\":\"n2\"}\n", "n1@ n2@ "},
        {"lines without a last newline", "{\"node_id\":\"n1\"}\n\"n2\"", "n1@ n2@ "},
        {"twice the same counts once", "[\"n1\",\"n1\"]", "n1@ "},
        {"nothing", "\n", ""},
        {"an empty list", "{\"members\":[]}", ""},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_api_nodes_free) cx_api_nodes nodes = {0};
        CX_AUTO(cx_buffer_free) cx_buffer seen = {0};
        cx_err err = {0};

        if (!cx_api_nodes_parse(cx_bytes_of(rows[i].text), &nodes, &err))
            fail_msg("%s: %s", rows[i].name, err.message);
        cx_buffer_add_text(&seen, "");
        for (size_t j = 0; j < nodes.count; j++)
            cx_buffer_addf(&seen, "%s@%s ", nodes.items[j].node_id, nodes.items[j].api_addr);
        if (strcmp(seen.data != NULL ? (const char *)seen.data : "", rows[i].nodes) != 0)
            fail_msg("%s: got \"%s\"", rows[i].name, (const char *)seen.data);
    }
}

static void what_names_no_node_is_refused(void **state)
{
    static const struct {
        const char *name;
        const char *text;
    } rows[] = {
        {"no JSON", "node-1"},
        {"a number", "[7]"},
        {"an object without a name", "{\"status\":\"alive\"}"},
        {"an id that is a path", "[\"../etc\"]"},
        {"an id with a line in it", "[\"a\\nb\"]"},
        {"an address with a path", "[\"http://h:1/x\"]"},
        {"a port out of range", "[\"h:99999\"]"},
        {"a list in a list", "[[\"n1\"]]"},
        {"the second line is cut off", "\"n1\"\n{\"node_id\":"},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_api_nodes_free) cx_api_nodes nodes = {0};
        cx_err err = {0};

        if (cx_api_nodes_parse(cx_bytes_of(rows[i].text), &nodes, &err))
            fail_msg("%s: accepted", rows[i].name);
        assert_int_not_equal(err.code, CX_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_a_node_list_is_understood),
        cmocka_unit_test(what_names_no_node_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
