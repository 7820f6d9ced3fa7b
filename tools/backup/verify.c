/* verify: reads backups back. */
#include "repo/verify.h"

#include <string.h>

#include "backup.h"
#include "base/text.h"
#include "base/time.h"

struct verify_options {
    backup_place place;
    const char *identity;
    const char *trusted_key;
    const char *progress;
    bool latest;
    bool all;
};

static const cx_option options[] = {
    {"latest", CX_FLAG(struct verify_options, latest), NULL, NULL, "the newest one (the default)"},
    {"all", CX_FLAG(struct verify_options, all), NULL, NULL, "every one"},
    {"identity", CX_TEXT(struct verify_options, identity), "FILE", NULL,
     "age identity: check the content, too"},
    {"trusted-key", CX_TEXT(struct verify_options, trusted_key), "FILE", NULL,
     "minisign public key of the node; default: sign.pub of the node's keys, else the one in the "
     "repository, which proves that a backup is whole but not whose it is"},
    BACKUP_PLACE_OPTIONS(struct verify_options, place),
    {"progress", CX_CHOICE(struct verify_options, progress), "auto|json|none", "auto",
     "auto: a bar when stderr is a terminal"},
    {0},
};

static bool choose(cx_run *run, const struct verify_options *option, cx_repo *repo, cx_list *ids,
                   cx_err *err)
{
    CX_AUTO(cx_stored_backups_free) cx_stored_backups stored = {0};

    if (run->arg_count > 0) {
        if (option->all || option->latest)
            return cx_fail(err, CX_USAGE, "verify: an ID, --latest or --all, not two of them");
        for (size_t i = 0; i < run->arg_count; i++)
            cx_list_add(ids, run->args[i]);
        return true;
    }
    if (!cx_repo_backups(repo, &stored, err))
        return false;
    for (size_t i = stored.count; i-- > 0;)
        if (stored.items[i].is_complete && (option->all || ids->count == 0))
            cx_list_add(ids, stored.items[i].id);
    return ids->count > 0 || cx_fail(err, CX_NOT_FOUND, "%s has no backup of node %s",
                                     cx_dest_name(repo->dest), repo->node_id);
}

json_t *backup_verified_to_json(const char *id, const cx_verified *verified)
{
    json_t *problems = json_array();

    for (size_t i = 0; i < verified->problem_count; i++)
        json_array_append_new(
            problems, json_pack("{s:o, s:o}", "object", cx_json_text(verified->problems[i].object),
                                "reason", cx_json_text(verified->problems[i].reason)));
    return json_pack("{s:s, s:b, s:b, s:I, s:I, s:I, s:I, s:o}", "id", id, "ok",
                     verified->problems_total == 0, "content", verified->has_content, "segments",
                     (json_int_t)verified->segments, "files", (json_int_t)verified->files,
                     "read_bytes", (json_int_t)verified->read_bytes, "problem_count",
                     (json_int_t)verified->problems_total, "problems", problems);
}

static int64_t stored_bytes(cx_repo *repo, const char *id)
{
    CX_AUTO(cx_manifest_free) cx_manifest *manifest = NULL;
    int64_t bytes = 0;
    cx_err ignored;

    if (!cx_repo_manifest(repo, id, NULL, &manifest, NULL, &ignored))
        return 0;
    for (size_t i = 0; i < manifest->component_count; i++)
        for (size_t j = 0; j < manifest->components[i].segment_count; j++)
            bytes += manifest->components[i].segments[j].stored_bytes;
    return bytes;
}

static bool verify(cx_run *run, const void *parsed, cx_err *err)
{
    const struct verify_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_repo_close) cx_repo *repo = NULL;
    CX_AUTO(cx_age_identities_free) cx_age_identities *identities = NULL;
    CX_AUTO(cx_list_free) cx_list ids = {0};
    CX_AUTO(cx_segments_close) cx_segments *checked = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;
    json_t *backups = json_array();
    cx_minisign_public key;
    cx_progress progress;
    bool is_trusted = false, all_right = true;
    uint64_t salt;

    document = json_pack("{s:b, s:b, s:o}", "ok", false, "trusted", false, "backups", backups);
    if (!backup_config(run, &config, err) ||
        !backup_open_repo(config, &option->place, &repo, err) ||
        !choose(run, option, repo, &ids, err) ||
        !backup_trusted_key(run, option->trusted_key, repo, &key, &is_trusted, err) ||
        (option->identity != NULL && !cx_age_read_identities(option->identity, &identities, err)))
        return false;
    cx_random(&salt, sizeof salt);
    checked = cx_segments_open(salt);
    progress =
        cx_progress_start(run->quiet ? "none" : option->progress, "verifying",
                          ids.count == 1 ? stored_bytes(repo, ids.items[0]) : 0, cx_now_ms());
    for (size_t i = 0; i < ids.count; i++) {
        CX_AUTO(cx_verified_free) cx_verified verified = {0};
        cx_verify_spec spec = {repo, &key, identities, checked, &progress};

        if (!cx_verify_backup(&spec, ids.items[i], &verified, err))
            return false;
        all_right = all_right && verified.problems_total == 0;
        json_array_append_new(backups, backup_verified_to_json(ids.items[i], &verified));
    }
    cx_progress_end(&progress, cx_now_ms());
    json_object_set_new(document, "ok", json_boolean(all_right));
    json_object_set_new(document, "trusted", json_boolean(is_trusted));
    json_object_set_new(document, "duration_seconds",
                        cx_json_figure((double)(cx_now_ms() - run->started_ms) / 1000));
    run->answer_no = !all_right;
    return cx_emit(run, document, err);
}

const cx_command backup_verify = {
    .name = "verify",
    .arguments = "[ID…]",
    .summary = "read backups back and name every object that is damaged or missing",
    .description =
        "Without an identity: signatures and digests of everything stored. With one: that it "
        "opens and that every file is what the index says. Exit status 1 when something is wrong.",
    .options = options,
    .options_size = sizeof(struct verify_options),
    .run = verify,
};
