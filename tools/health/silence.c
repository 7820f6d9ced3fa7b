#include "silence.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mark.h"
#include "base/text.h"
#include "base/time.h"
#include "watch.h"

enum { REASON_MAX = 300 }; /* a thousand silences go from watcher to watcher in one request */

const char health_page_owner[] = "dashboard";
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

/* No watcher need have run here. */
static bool open_store(const cx_config *config, cx_health_store **store, cx_err *err)
{
    return cx_make_folders(config->data_dir, 0750, NULL, err) &&
           cx_health_store_open(config->data_dir, false, store, err);
}

/* ---- silence */

static bool check_name(const char *name, const char *subject, cx_err *err)
{
    if (strcmp(name, "*") != 0 && !cx_check_id("alert", name, err))
        return cx_hint(err, "the name of an alert of alerts.yaml, or '*' for all");
    return subject == NULL || cx_check_id("subject", subject, err);
}

bool health_silence_make(const health_silence_wish *wish, json_t **silence, cx_err *err)
{
    int64_t wall_ms = cx_wall_ms();
    char id[CX_ULID_SIZE];
    cx_mark mark;

    if (wish->for_ms <= 0 || wish->for_ms > for_max_ms)
        return cx_fail(err, CX_USAGE, "--for: more than 0 and at most 90d");
    if (strlen(wish->reason) > REASON_MAX)
        return cx_fail(err, CX_TOO_LARGE, "reason: longer than %d bytes", REASON_MAX);
    if (!check_name(wish->name, wish->subject, err) ||
        !cx_mark_of(getppid() > 1 ? getppid() : getpid(), &mark, err))
        return false;
    cx_ulid(wall_ms, id);
    *silence =
        json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:I}", "id", id, "name", wish->name,
                  "subject", cx_json_text(wish->subject), "reason", cx_json_text(wish->reason),
                  "owner", cx_json_text(wish->owner), "starts_at", cx_json_time(wall_ms), "ends_at",
                  cx_json_time(wall_ms + wish->for_ms), "updated_ms", (json_int_t)wall_ms);
    cx_mark_put(*silence, &mark);
    return true;
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
    CX_AUTO(cx_health_store_close) cx_health_store *store = NULL;
    CX_AUTO(cx_json_free) json_t *made = NULL;
    CX_AUTO(cx_free) char *owner = owner_name();
    health_silence_wish wish = {.name = run->args[0],
                                .subject = option->subject,
                                .reason = option->reason,
                                .owner = owner,
                                .for_ms = option->for_ms};

    if (!cx_config_load(run->config_path, run->config_is_default, &config, err) ||
        !health_silence_make(&wish, &made, err))
        return false;
    if (run->dry_run)
        return emit(run, made, false, err);
    return open_store(config, &store, err) && cx_health_store_put_silence(store, made, NULL, err) &&
           emit(run, made, true, err);
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

/* A person's name is theirs alone; "dashboard" stands for who uses any. */
static bool is_owner(const char *self, const char *owner)
{
    size_t size = strlen(self);

    return strcmp(owner, self) == 0 || (strcmp(self, health_page_owner) == 0 &&
                                        strncmp(owner, self, size) == 0 && owner[size] == '@');
}

/* The newer one counts, also where the clock of who made it was ahead of ours. */
static json_int_t after(const json_t *silence, int64_t wall_ms)
{
    json_int_t updated_ms = json_integer_value(json_object_get(silence, "updated_ms"));

    return updated_ms < wall_ms || updated_ms == INT64_MAX ? wall_ms : updated_ms + 1;
}

bool health_silence_ended(cx_health_store *store, const char *id, const char *owner,
                          json_t **silence, bool *over, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *found = NULL;
    int64_t wall_ms = cx_wall_ms(), ends_ms = 0;

    if (!cx_health_store_silence(store, id, &found, err))
        return false;
    if (found == NULL) {
        cx_fail(err, CX_NOT_FOUND, "there is no silence %.64s", id);
        return cx_hint(err, "cx-health alerts lists them");
    }
    if (!cx_time_parse(cx_json_text_or_empty(found, "ends_at"), &ends_ms, err))
        return false;
    *over = ends_ms <= wall_ms;
    if (!*over) {
        if (owner != NULL && !is_owner(owner, cx_json_text_or_empty(found, "owner"))) {
            cx_fail(err, CX_PERMISSION, "the silence is %.64s's: %.128s",
                    cx_json_text_or_empty(found, "owner"), cx_json_text_or_empty(found, "reason"));
            return cx_hint(err, "--force ends it all the same");
        }
        json_object_set_new(found, "ends_at", cx_json_time(wall_ms));
        json_object_set_new(found, "updated_ms", json_integer(after(found, wall_ms)));
    }
    *silence = CX_TAKE(found);
    return true;
}

static bool unsilence(cx_run *run, const void *parsed, cx_err *err)
{
    const struct unsilence_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_health_store_close) cx_health_store *store = NULL;
    CX_AUTO(cx_json_free) json_t *ended = NULL;
    CX_AUTO(cx_free) char *owner = option->force ? NULL : owner_name();
    bool over = false;

    if (!cx_config_load(run->config_path, run->config_is_default, &config, err) ||
        !(run->dry_run ? cx_health_store_open(config->data_dir, true, &store, err)
                       : open_store(config, &store, err)) ||
        !health_silence_ended(store, run->args[0], owner, &ended, &over, err))
        return false;
    if (over || run->dry_run)
        return emit(run, ended, false, err);
    return cx_health_store_put_silence(store, ended, NULL, err) && emit(run, ended, true, err);
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
