#include "config/policy.h"

#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "config/config.h"
#include "config/policy_rules.h"
#include "config/share.h"

static const struct policy {
    const char *name;
    const char *root; /* the file's one top-level key */
    cx_policy_reader *read;
} policies[] = {
    {"upgrade", "upgrade_strategy", cx_policy_read_upgrade},
    {"backup", "backup", cx_policy_read_backup},
    {"health", "health_checks", cx_policy_read_health},
    {"alerts", "alerts", cx_policy_read_alerts},
    {"maintenance", "maintenance", cx_policy_read_maintenance},
};

const char *const cx_policy_names[] = {"upgrade", "backup",      "health",
                                       "alerts",  "maintenance", NULL};

static const struct policy *find_policy(const char *name)
{
    for (size_t i = 0; i < CX_COUNT(policies); i++)
        if (strcmp(policies[i].name, name) == 0)
            return &policies[i];
    return NULL;
}

static const struct policy *by_root(const cx_conf *conf)
{
    for (size_t i = 0; i < CX_COUNT(policies); i++)
        if (cx_conf_at(cx_conf_root(conf), policies[i].root) != NULL)
            return &policies[i];
    return NULL;
}

static const struct policy *by_file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash != NULL ? slash + 1 : path;
    CX_AUTO(cx_free) char *name = cx_strndup(base, strcspn(base, "."));

    return find_policy(name);
}

static bool unknown_policy(const char *name, cx_err *err)
{
    const char *nearest = cx_nearest(name, cx_policy_names, CX_COUNT(policies));

    cx_fail(err, CX_USAGE, "unknown policy \"%.64s\"", name);
    return nearest != NULL ? cx_hint(err, "did you mean \"%s\"?", nearest)
                           : cx_hint(err, "one of upgrade, backup, health, alerts, maintenance");
}

/* The document of a policy whose file was read; with findings it is not complete. */
static json_t *read_document(const struct policy *policy, const cx_conf *conf,
                             cx_conf_errors *errors)
{
    const char *known[] = {policy->root, NULL};
    cx_rules rules = {.conf = conf, .errors = errors};
    json_t *document =
        json_pack("{s:s, s:o}", "policy", policy->name, "source", cx_json_text(cx_conf_name(conf)));
    cx_rule_map top = cx_rule_enter(&rules, cx_conf_root(conf), "", known);
    const cx_conf_node *root = cx_conf_root(conf);
    const cx_conf_node *node = cx_conf_at(root, policy->root);
    bool is_empty = root->kind == CX_CONF_NULL || (root->kind == CX_CONF_MAP && root->count == 0);

    (void)top; /* anything else at the top level was blamed there */
    if (is_empty)
        cx_rule_blame(&rules, root, "", NULL, "the top-level key \"%s\" is missing", policy->root);
    else if (node != NULL && node->kind != CX_CONF_MAP)
        cx_rule_blame(&rules, node, policy->root, NULL, "must be a group of keys, not %s",
                      cx_conf_kind_word(node->kind));
    else if (node != NULL)
        json_object_set_new(document, policy->root, policy->read(&rules, node, document));
    return document;
}

static char *find_file(const char *name, const char *file, const char *policy_dir)
{
    CX_AUTO(cx_free) char *base = cx_format("%s.yaml", name);
    CX_AUTO(cx_free) char *own = NULL;
    CX_AUTO(cx_free) char *below = NULL;

    if (file != NULL)
        return cx_strdup(file);
    if (policy_dir != NULL)
        own = cx_path_join(policy_dir, base);
    if (own != NULL && cx_exists(own))
        return CX_TAKE(own);
    below = cx_path_join("policies", base);
    return cx_share_path(below);
}

bool cx_policy_load(const char *name, const char *file, const char *policy_dir, json_t **policy,
                    cx_err *err)
{
    const struct policy *found = find_policy(name);
    CX_AUTO(cx_conf_errors_free) cx_conf_errors errors = {0};
    CX_AUTO(cx_conf_close) cx_conf *conf = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;
    CX_AUTO(cx_free) char *path = NULL;

    if (found == NULL)
        return unknown_policy(name, err);
    path = find_file(name, file, policy_dir);
    if (!cx_conf_read(path, &conf, &errors, err))
        return false;
    document = read_document(found, conf, &errors);
    if (errors.count > 0)
        return cx_conf_fail(&errors, err);
    *policy = CX_TAKE(document);
    return true;
}

bool cx_policy_check(const char *name, const char *file, cx_conf_errors *errors, cx_err *err)
{
    CX_AUTO(cx_conf_close) cx_conf *conf = NULL;
    size_t before = errors->count;

    if (name != NULL && find_policy(name) == NULL)
        return unknown_policy(name, err);
    if (!cx_conf_read(file, &conf, errors, err))
        return errors->count > before; /* a finding, not a file that can't be read */
    cx_policy_check_conf(name, conf, errors);
    return true;
}

void cx_policy_check_conf(const char *name, const cx_conf *conf, cx_conf_errors *errors)
{
    const struct policy *policy = name != NULL ? find_policy(name) : by_root(conf);
    CX_AUTO(cx_json_free) json_t *document = NULL;

    if (policy == NULL)
        policy = by_file_name(cx_conf_name(conf));
    if (policy != NULL)
        document = read_document(policy, conf, errors);
    else
        cx_config_check_conf(conf, errors);
}
