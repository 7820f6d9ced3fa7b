#include <string.h>

#include <sodium.h>

#include "base/io.h"
#include "bundle.h"
#include "config/policy.h"

extern char **environ;

enum { SECRET_FILE_MAX = 64 * 1024 };

/* A file that can't be read is none that a bundle could hold. */
static void know_file(const char *path, cx_redactor *redactor)
{
    CX_AUTO(cx_buffer_free) cx_buffer content = {0};
    cx_err ignored;

    if (!cx_read_file(path, SECRET_FILE_MAX, &content, &ignored))
        return;
    cx_redactor_know(redactor, cx_buffer_bytes(&content));
    sodium_memzero(content.data, content.size);
}

/* Of the receivers of alerts: what one answers may hold what it was asked with, and stands in a log. */
static void know_actions(const cx_config *config, cx_redactor *redactor)
{
    CX_AUTO(cx_json_free) json_t *policy = NULL;
    const char *name, *key;
    json_t *action, *value;
    cx_err ignored;

    if (!cx_policy_load("alerts", NULL, config->policy_dir, &policy, &ignored))
        return;
    json_object_foreach (json_object_get(json_object_get(policy, "alerts"), "actions"), name,
                         action) {
        json_object_foreach (action, key, value)
            if (strlen(key) > 5 && strcmp(key + strlen(key) - 5, "_file") == 0 &&
                json_is_string(value))
                know_file(json_string_value(value), redactor);
    }
}

/* Of our environment what is named like a secret. */
static void know_environment(cx_redactor *redactor)
{
    for (char **each = environ; each != NULL && *each != NULL; each++) {
        CX_AUTO(cx_buffer_free) cx_buffer out = {0};
        const char *value = strchr(*each, '=');
        cx_redactions found = {0};

        if (value == NULL)
            continue;
        cx_redact(NULL, cx_bytes_of(*each), &out, &found);
        if (found.total > 0)
            cx_redactor_know(redactor, cx_bytes_of(value + 1));
    }
}

void bundle_know_secrets(const cx_config *config, cx_redactor *redactor)
{
    static const char *const names[] = {"node.key", "operator.key", "gossip.keys", "ca/ca.key"};

    for (size_t i = 0; i < CX_COUNT(names); i++) {
        CX_AUTO(cx_free) char *path = cx_config_cert(config, names[i]);

        know_file(path, redactor);
    }
    know_actions(config, redactor);
    know_environment(redactor);
}
