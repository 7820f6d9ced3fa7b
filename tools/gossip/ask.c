#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "config/config.h"
#include "gossip.h"
#include "gossip/control.h"

bool gossip_socket(cx_run *run, const char *run_dir, char **path, cx_err *err)
{
    CX_AUTO(cx_config_free) cx_config *config = NULL;

    if (!run_dir) {
        if (!cx_config_load(run->config_path, run->config_is_default, &config, err))
            return false;
        run_dir = config->run_dir;
    }
    *path = cx_path_join(run_dir, "gossip.sock");
    return true;
}

bool gossip_ask(cx_run *run, const char *run_dir, json_t *request, json_t **answer, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *owned = request;
    CX_AUTO(cx_free) char *path = NULL;

    return gossip_socket(run, run_dir, &path, err) &&
           cx_control_once(path, owned, cx_timeout_or(run, GOSSIP_ASK_TIMEOUT_MS), answer, err);
}

bool gossip_parse_tag(const char *text, json_t *tags, cx_err *err)
{
    const char *equals = strchr(text, '=');

    if (!equals)
        return cx_fail(err, CX_USAGE, "tag '%s' is not of the form KEY=VALUE", text);

    CX_AUTO(cx_free) char *key = cx_strndup(text, (size_t)(equals - text));

    if (!cx_check_id("tag", key, err)) {
        err->code = CX_USAGE;
        return false;
    }
    json_object_set_new(tags, key, cx_json_text(equals + 1));
    return true;
}
