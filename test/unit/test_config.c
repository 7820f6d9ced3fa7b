#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "config/address.h"
#include "config/config.h"

/* A folder of this test's own. */
static int make_folder(void **state)
{
    char *folder =
        cx_format("%s/cx-test-config-XXXXXX", getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");

    *state = folder;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    CX_AUTO(cx_free) char *folder = *state;
    cx_err err = {0};

    return cx_remove_tree(folder, &err) ? 0 : -1;
}

static void write_file(const char *path, const char *text)
{
    cx_err err = {0};

    assert_true(cx_replace(path, 0600, cx_bytes_of(text), &err));
}

static bool load(const char *folder, const char *text, cx_config **config, cx_err *err)
{
    CX_AUTO(cx_free) char *path = cx_path_join(folder, "config.yaml");

    write_file(path, text);
    return cx_config_load(path, false, config, err);
}

static void what_is_left_out_has_its_default(void **state)
{
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_free) char *key = NULL;
    cx_err err = {0};

    (void)state;
    assert_true(cx_config_load("/nowhere/config.yaml", true, &config, &err));
    key = cx_config_cert(config, "node.key");
    assert_string_equal(config->path, "");
    assert_string_equal(config->cluster, "caxton");
    assert_true(strlen(config->node_id) > 0);
    assert_string_equal(config->bind_addr, "0.0.0.0:7946");
    assert_string_equal(config->api_addr, "0.0.0.0:8080");
    assert_string_equal(config->data_dir, "/var/lib/caxton");
    assert_string_equal(config->policy_dir, "/etc/caxton/policies");
    assert_string_equal(key, "/etc/caxton/certs/node.key");
    assert_string_equal(config->gossip_profile, "lan");
    assert_int_equal(config->bootstrap_expect, 3);
    assert_int_equal(config->seeds.count, 0);
    assert_int_equal(config->drain_timeout_ms, 60000);
    assert_true(config->encrypt);
    assert_false(cx_address_is_any(config->advertise_addr));
    assert_false(cx_address_is_any(config->api_advertise_addr));
}

static void a_named_file_must_be_there(void **state)
{
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    cx_err err = {0};

    (void)state;
    assert_false(cx_config_load("/nowhere/config.yaml", false, &config, &err));
    assert_int_equal(err.code, CX_NOT_FOUND);
    assert_null(config);
}

static void addresses_are_written_in_full_and_derived_from_each_other(void **state)
{
    static const struct {
        const char *text;
        const char *bind, *advertise, *api, *api_advertise;
    } rows[] = {
        {"bind_addr: 10.0.0.1\napi_addr: 10.0.0.1\n", "10.0.0.1:7946", "10.0.0.1:7946",
         "10.0.0.1:8080", "10.0.0.1:8080"},
        {"bind_addr: 0.0.0.0:9946\nadvertise_addr: 10.0.0.2\napi_addr: 0.0.0.0:9080\n",
         "0.0.0.0:9946", "10.0.0.2:9946", "0.0.0.0:9080", "10.0.0.2:9080"},
        {"bind_addr: '[::1]:9946'\napi_addr: '[::]:9080'\n", "[::1]:9946", "[::1]:9946",
         "[::]:9080", "[::1]:9080"},
        {"bind_addr: 127.0.0.1:1\nadvertise_addr: node-1.example.com:2\napi_addr: 127.0.0.1:3\n"
         "api_advertise_addr: api.example.com\n",
         "127.0.0.1:1", "node-1.example.com:2", "127.0.0.1:3", "api.example.com:3"},
    };

    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_config_free) cx_config *config = NULL;
        cx_err err = {0};

        if (!load(*state, rows[i].text, &config, &err))
            fail_msg("%s: %s", rows[i].text, err.message);
        assert_string_equal(config->bind_addr, rows[i].bind);
        assert_string_equal(config->advertise_addr, rows[i].advertise);
        assert_string_equal(config->api_addr, rows[i].api);
        assert_string_equal(config->api_advertise_addr, rows[i].api_advertise);
    }
}

static void a_wrong_value_is_named_with_its_place(void **state)
{
    static const struct {
        const char *text;
        const char *place; /* behind the file's path */
    } rows[] = {
        {"clustr: x\n", ":1:1: clustr: "},
        {"\ncluster: [x]\n", ":2:10: cluster: "},
        {"cluster: -x\n", ":1:10: cluster: "},
        {"node_id: a/b\n", ":1:10: node_id: "},
        {"bind_addr: 10.0.0.300:1\n", ":1:12: bind_addr: "},
        {"bind_addr: 10.0.0.1:0\n", ":1:12: bind_addr: "},
        {"bind_addr: 10.0.0.1:70000\n", ":1:12: bind_addr: "},
        {"bind_addr: '::1'\n", ":1:12: bind_addr: "},
        {"bind_addr: 'a b:1'\n", ":1:12: bind_addr: "},
        {"bind_addr: -a.example:1\n", ":1:12: bind_addr: "},
        {"bind_addr: a..b:1\n", ":1:12: bind_addr: "},
        {"advertise_addr: 0.0.0.0:1\n", ":1:17: advertise_addr: "},
        {"api_advertise_addr: '[::]:1'\n", ":1:21: api_advertise_addr: "},
        {"data_dir: var/lib\n", ":1:11: data_dir: "},
        {"data_dir: \"/a\\tb\"\n", ":1:11: data_dir: "},
        {"run_dir: /a12345678901234567890123456789012345678901234567890123456789012345678901234567"
         "890/run\n",
         ":1:10: run_dir: "},
        {"bootstrap_expect: 0\n", ":1:19: bootstrap_expect: "},
        {"bootstrap_expect: -3\n", ":1:19: bootstrap_expect: "},
        {"bootstrap_expect: '3'\n", ":1:19: bootstrap_expect: "},
        {"bootstrap_expect: 3.5\n", ":1:19: bootstrap_expect: "},
        {"max_agents: 99999999999999999999\n", ":1:13: max_agents: "},
        {"seeds: 10.0.0.1\n", ":1:8: seeds: "},
        {"seeds:\n  - 10.0.0.1\n  - {a: 1}\n", ":3:5: seeds[1]: "},
        {"seeds: [10.0.0.1:x]\n", ":1:9: seeds[0]: "},
        {"drain_timeout: 60\n", ":1:16: drain_timeout: "},
        {"drain_timeout: 60x\n", ":1:16: drain_timeout: "},
        {"drain_timeout: 2d\n", ":1:16: drain_timeout: "},
        {"message_retention: 1s\n", ":1:20: message_retention: "},
        {"gossip_profile: lann\n", ":1:17: gossip_profile: "},
        {"encrypt: yes\n", ":1:10: encrypt: "},
        {"- a\n", ":1:1: "},
        {"text\n", ":1:1: "},
    };
    CX_AUTO(cx_free) char *path = cx_path_join(*state, "config.yaml");

    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_config_free) cx_config *config = NULL;
        CX_AUTO(cx_free) char *expected = cx_format("%s%s", path, rows[i].place);
        cx_err err = {0};

        if (load(*state, rows[i].text, &config, &err))
            fail_msg("%s was taken", rows[i].text);
        assert_int_equal(err.code, CX_CONFIG);
        if (strncmp(err.message, expected, strlen(expected)) != 0)
            fail_msg("%s: %s", rows[i].text, err.message);
    }
}

static void a_key_without_a_value_is_left_out(void **state)
{
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    cx_err err = {0};

    assert_true(load(*state, "cluster:\nseeds: ~\nencrypt: null\n", &config, &err));
    assert_string_equal(config->cluster, "caxton");
    assert_int_equal(config->seeds.count, 0);
    assert_true(config->encrypt);
}

static void names_may_look_like_numbers(void **state)
{
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    cx_err err = {0};

    assert_true(load(*state, "node_id: 7\ncluster: 1.5\n", &config, &err));
    assert_string_equal(config->node_id, "7");
    assert_string_equal(config->cluster, "1.5");
}

static void what_is_shown_can_be_read_again(void **state)
{
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_config_free) cx_config *again = NULL;
    CX_AUTO(cx_json_free) json_t *shown = NULL;
    CX_AUTO(cx_json_free) json_t *shown_again = NULL;
    CX_AUTO(cx_free) char *text = NULL;
    cx_err err = {0};

    assert_true(
        load(*state, "seeds: [a.example, '[::1]:5']\ndrain_timeout: 1500ms\n", &config, &err));
    shown = cx_config_to_json(config, false);
    text = cx_json_line(shown);
    assert_true(load(*state, text, &again, &err));
    shown_again = cx_config_to_json(again, false);
    assert_true(json_equal(shown, shown_again));
}

static void each_origin_is_told(void **state)
{
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_json_free) json_t *shown = NULL;
    CX_AUTO(cx_free) char *expected = cx_format("%s/config.yaml:2:11", (char *)*state);
    cx_err err = {0};

    assert_true(load(*state, "cluster: x\nseeds:    [a]\n", &config, &err));
    shown = cx_config_to_json(config, true);
    assert_string_equal(cx_json_text_or_empty(json_object_get(shown, "seeds"), "origin"), expected);
    assert_string_equal(cx_json_text_or_empty(json_object_get(shown, "data_dir"), "origin"),
                        "default");
    assert_string_equal(cx_json_text_or_empty(json_object_get(shown, "policy_dir"), "origin"),
                        "derived");
}

static void what_is_written_is_read_back_as_it_was(void **state)
{
    CX_AUTO(cx_free) char *path = cx_path_join(*state, "config.yaml");
    CX_AUTO(cx_json_free)
    json_t *values = json_pack(
        "{s:s, s:s, s:s, s:s, s:[ss], s:i, s:b, s:s, s:n}", "cluster", "on", "node_id", "12",
        "bind_addr", "127.1.2.3:7946", "data_dir", "/var/a: b # \"c\" é", "seeds", "127.1.2.4:1",
        "[::1]:2", "bootstrap_expect", 5, "encrypt", 0, "drain_timeout", "30s", "log_dir");
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    cx_err err = {0};

    assert_true(cx_config_write(path, values, &err));
    if (!cx_config_load(path, false, &config, &err))
        fail_msg("%s", err.message);
    assert_string_equal(config->cluster, "on");
    assert_string_equal(config->node_id, "12");
    assert_string_equal(config->bind_addr, "127.1.2.3:7946");
    assert_string_equal(config->data_dir, "/var/a: b # \"c\" é");
    assert_string_equal(config->log_dir, "/var/log/caxton");
    assert_int_equal(config->seeds.count, 2);
    assert_string_equal(config->seeds.items[1], "[::1]:2");
    assert_int_equal(config->bootstrap_expect, 5);
    assert_int_equal(config->drain_timeout_ms, 30000);
    assert_false(config->encrypt);
}

static void nothing_is_written_that_could_not_be_read(void **state)
{
    CX_AUTO(cx_free) char *path = cx_path_join(*state, "other.yaml");
    CX_AUTO(cx_json_free) json_t *unknown = json_pack("{s:s}", "clutser", "x");
    CX_AUTO(cx_json_free) json_t *wrong = json_pack("{s:s}", "data_dir", "relative");
    cx_err err = {0};

    assert_false(cx_config_write(path, unknown, &err));
    assert_int_equal(err.code, CX_INVALID);
    assert_false(cx_config_write(path, wrong, &err));
    assert_int_equal(err.code, CX_CONFIG);
    assert_false(cx_exists(path));
}

static void this_hosts_own_address_is_one_that_can_be_reached(void **state)
{
    CX_AUTO(cx_free) char *host = cx_address_own_host();
    CX_AUTO(cx_free)
    char *text = strchr(host, ':') != NULL ? cx_format("[%s]:1", host) : cx_format("%s:1", host);
    CX_AUTO(cx_free) char *address = NULL;
    cx_err err = {0};

    (void)state;
    assert_true(cx_address_normal(text, 0, &address, &err));
    assert_string_equal(address, text);
    assert_false(cx_address_is_any(address));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_left_out_has_its_default),
        cmocka_unit_test(a_named_file_must_be_there),
        cmocka_unit_test(addresses_are_written_in_full_and_derived_from_each_other),
        cmocka_unit_test(a_wrong_value_is_named_with_its_place),
        cmocka_unit_test(a_key_without_a_value_is_left_out),
        cmocka_unit_test(names_may_look_like_numbers),
        cmocka_unit_test(what_is_shown_can_be_read_again),
        cmocka_unit_test(each_origin_is_told),
        cmocka_unit_test(what_is_written_is_read_back_as_it_was),
        cmocka_unit_test(nothing_is_written_that_could_not_be_read),
        cmocka_unit_test(this_hosts_own_address_is_one_that_can_be_reached),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
