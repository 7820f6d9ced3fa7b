/* Any bytes as a configuration: they are refused with findings, or become a tree whose every value
 * can be asked for; then they are checked as what they claim to be. */
#include <assert.h>
#include <string.h>

#include "config/policy.h"

static size_t walk(const cx_conf_node *node, size_t depth)
{
    size_t values = 1;

    assert(depth <= CX_CONF_DEPTH_MAX);
    assert(node->text != NULL && node->line > 0 && node->column > 0);
    assert(cx_conf_kind_word(node->kind) != NULL);
    for (size_t i = 0; i < node->count; i++) {
        assert(node->kind == CX_CONF_LIST || node->keys[i].name[0] != '\0');
        values += walk(&node->items[i], depth + 1);
    }
    return values;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CX_AUTO(cx_conf_close) cx_conf *conf = NULL;
    CX_AUTO(cx_conf_errors_free) cx_conf_errors errors = {0};
    CX_AUTO(cx_json_free) json_t *json = NULL;
    CX_AUTO(cx_json_free) json_t *listed = NULL;
    cx_err err = {0};

    if (!cx_conf_parse((cx_bytes){data, size}, "fuzz.yaml", &conf, &errors, &err)) {
        assert(err.code == CX_CONFIG && errors.count > 0);
        assert(errors.count <= CX_CONF_ERRORS_MAX);
        listed = cx_conf_errors_to_json(&errors);
        return 0;
    }
    assert(errors.count == 0);
    assert(walk(cx_conf_root(conf), 0) <= CX_CONF_NODES_MAX);
    json = cx_conf_to_json(cx_conf_root(conf));
    assert(json != NULL);
    cx_policy_check_conf(NULL, conf, &errors);
    listed = cx_conf_errors_to_json(&errors);
    assert(json_array_size(listed) == errors.count);
    return 0;
}
