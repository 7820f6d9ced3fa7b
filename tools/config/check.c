/* check: everything that is wrong with configuration files and policies. */
#include "base/io.h"
#include "commands.h"
#include "config/policy.h"

/* Without arguments: the configuration, and the policies that stand beside it. A configuration that
 * can't be read has no policies to look for: its own findings come first. */
static void add_own_files(const cx_run *run, cx_list *files)
{
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    cx_err err = {0};

    if (!run->config_is_default || cx_exists(run->config_path))
        cx_list_add(files, run->config_path);
    if (!config_load(run, &config, &err))
        return;
    for (size_t i = 0; cx_policy_names[i] != NULL; i++) {
        CX_AUTO(cx_free) char *base = cx_format("%s.yaml", cx_policy_names[i]);
        CX_AUTO(cx_free) char *path = cx_path_join(config->policy_dir, base);

        if (cx_exists(path))
            cx_list_add(files, path);
    }
}

static bool check(cx_run *run, const void *parsed, cx_err *err)
{
    CX_AUTO(cx_conf_errors_free) cx_conf_errors errors = {0};
    CX_AUTO(cx_list_free) cx_list files = {0};
    CX_AUTO(cx_json_free) json_t *result = NULL;
    json_t *checked = NULL;

    (void)parsed;
    for (size_t i = 0; i < run->arg_count; i++)
        cx_list_add(&files, run->args[i]);
    if (run->arg_count == 0)
        add_own_files(run, &files);
    for (size_t i = 0; i < files.count; i++)
        if (!cx_policy_check(NULL, files.items[i], &errors, err))
            return false;
    checked = json_array();
    for (size_t i = 0; i < files.count; i++)
        json_array_append_new(checked, cx_json_text(files.items[i]));
    run->answer_no = errors.count > 0;
    result = json_pack("{s:b, s:o, s:o}", "ok", errors.count == 0, "errors",
                       cx_conf_errors_to_json(&errors), "files", checked);
    return cx_emit(run, result, err);
}

const cx_command config_check = {
    .name = "check",
    .arguments = "[FILE…|-]",
    .summary = "name everything that is wrong with configuration files and policies",
    .description = "A file with the top-level key of a policy, or with its name (backup.yaml), is "
                   "checked as that policy, any other as a node's configuration. Without FILE: the "
                   "node's configuration and the policies in its policy_dir. Exit 1 when something "
                   "is wrong.",
    .run = check,
};
