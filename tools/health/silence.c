#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mark.h"
#include "base/text.h"
#include "base/time.h"
#include "watch.h"

static const int64_t for_max_ms = INT64_C(90) * 86400 * 1000;

struct silence_options {
    const char *subject, *reason;
    int64_t for_ms;
};

static const cx_option silence_options[] = {
    {"subject", CX_TEXT(struct silence_options, subject), "NODE", NULL,
     "only about this node (or the cluster, by its name)"},
    {"for", CX_DURATION(struct silence_options, for_ms), "DUR", "2h", "it ends by itself then"},
    {"reason", CX_TEXT(struct silence_options, reason), "TEXT", "", "for whoever wonders why"},
    {0},
};

struct unsilence_options {
    bool force;
};

static const cx_option unsilence_options[] = {
    {"force", CX_FLAG(struct unsilence_options, force), NULL, NULL, "somebody else's, too"},
    {0},
};

/* Who types: the person behind sudo, too. */
static char *owner_name(void)
{
    const char *behind = getenv("SUDO_USER");
    const struct passwd *user = getpwuid(geteuid());

    if (behind != NULL && behind[0] != '\0' && geteuid() == 0)
        return cx_strdup(behind);
    return user != NULL ? cx_strdup(user->pw_name) : cx_format("%u", (unsigned)geteuid());
}

/* ---- silence */

static bool check_name(const char *name, const char *subject, cx_err *err)
{
    if (strcmp(name, "*") != 0 && !cx_check_id("alert", name, err))
        return cx_hint(err, "the name of an alert of alerts.yaml, or '*' for all");
    return subject == NULL || cx_check_id("subject", subject, err);
}

static json_t *new_silence(const struct silence_options *option, const char *name,
                           const cx_mark *mark)
{
    CX_AUTO(cx_free) char *owner = owner_name();
    int64_t wall_ms = cx_wall_ms();
    char id[CX_ULID_SIZE];
    json_t *silence;

    cx_ulid(wall_ms, id);
    silence =
        json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:I}", "id", id, "name", name, "subject",
                  cx_json_text(option->subject), "reason", cx_json_text(option->reason), "owner",
                  cx_json_text(owner), "starts_at", cx_json_time(wall_ms), "ends_at",
                  cx_json_time(wall_ms + option->for_ms), "updated_ms", (json_int_t)wall_ms);
    cx_mark_put(silence, mark);
    return silence;
}

static bool emit(cx_run *run, const json_t *silence, bool changed, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *document = json_pack("{s:b}", "changed", changed);

    json_object_update(document, (json_t *)silence);
    if (run->dry_run)
        json_object_set_new(document, "dry_run", json_true());
    return cx_emit(run, document, err);
}

static bool silence(cx_run *run, const void *parsed, cx_err *err)
{
    const struct silence_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(health_store_close) health_store *store = NULL;
    CX_AUTO(cx_json_free) json_t *made = NULL;
    cx_mark mark;

    if (option->for_ms <= 0 || option->for_ms > for_max_ms)
        return cx_fail(err, CX_USAGE, "--for: more than 0 and at most 90d");
    if (!cx_config_load(run->config_path, run->config_is_default, &config, err) ||
        !check_name(run->args[0], option->subject, err) ||
        !cx_mark_of(getppid() > 1 ? getppid() : getpid(), &mark, err))
        return false;
    made = new_silence(option, run->args[0], &mark);
    if (run->dry_run)
        return emit(run, made, false, err);
    return health_store_open(config->data_dir, false, &store, err) &&
           health_store_put_silence(store, made, NULL, err) && emit(run, made, true, err);
}

const cx_command health_silence = {
    .name = "silence",
    .arguments = "NAME",
    .arguments_min = 1,
    .arguments_max = 1,
    .summary = "keep quiet about an alert for a while",
    .description = "NAME is an alert of alerts.yaml, or '*' for all. The watcher goes on looking "
                   "and nobody is "
                   "told; what still fires when the silence ends is told at once, what ended "
                   "meanwhile is told "
                   "to be over. Works whether or not the watcher runs.",
    .options = silence_options,
    .options_size = sizeof(struct silence_options),
    .changes = true,
    .run = silence,
};

/* ---- unsilence */

static bool may_end(const json_t *found, bool force, cx_err *err)
{
    CX_AUTO(cx_free) char *self = owner_name();
    const char *owner = cx_json_text_or_empty(found, "owner");

    if (force || strcmp(owner, self) == 0)
        return true;
    cx_fail(err, CX_PERMISSION, "the silence is %.64s's: %.128s", owner,
            cx_json_text_or_empty(found, "reason"));
    return cx_hint(err, "--force ends it all the same");
}

static bool unsilence(cx_run *run, const void *parsed, cx_err *err)
{
    const struct unsilence_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(health_store_close) health_store *store = NULL;
    CX_AUTO(cx_json_free) json_t *found = NULL;
    int64_t wall_ms = cx_wall_ms(), ends_ms = 0;

    if (!cx_config_load(run->config_path, run->config_is_default, &config, err) ||
        !health_store_open(config->data_dir, run->dry_run, &store, err) ||
        !health_store_silence(store, run->args[0], &found, err))
        return false;
    if (found == NULL) {
        cx_fail(err, CX_NOT_FOUND, "there is no silence %.64s", run->args[0]);
        return cx_hint(err, "cx-health alerts lists them");
    }
    if (!cx_time_parse(cx_json_text_or_empty(found, "ends_at"), &ends_ms, err))
        return false;
    if (ends_ms <= wall_ms)
        return emit(run, found, false, err);
    if (!may_end(found, option->force, err))
        return false;
    json_object_set_new(found, "ends_at", cx_json_time(wall_ms));
    json_object_set_new(found, "updated_ms", json_integer((json_int_t)wall_ms));
    if (run->dry_run)
        return emit(run, found, false, err);
    return health_store_put_silence(store, found, NULL, err) && emit(run, found, true, err);
}

const cx_command health_unsilence = {
    .name = "unsilence",
    .arguments = "ID",
    .arguments_min = 1,
    .arguments_max = 1,
    .summary = "end a silence now",
    .description = "Only whoever made it, or --force. What still fires is told at once.",
    .options = unsilence_options,
    .options_size = sizeof(struct unsilence_options),
    .changes = true,
    .run = unsilence,
};
