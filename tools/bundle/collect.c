#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/io.h"
#include "base/text.h"
#include "base/time.h"
#include "bundle.h"
#include "seal/age.h"

struct collect_options {
    bool logs, metrics, config, traces;
    int64_t duration_ms, collector_ms, max_size;
    cx_target target;
    const char *output;
    bool obfuscate, no_redaction;
    cx_list encrypt_to;
};

#define OPTIONS struct collect_options
static const cx_option options[] = {
    {"include-logs", CX_FLAG(OPTIONS, logs), NULL, NULL, "logs and audit logs of this host"},
    {"include-metrics", CX_FLAG(OPTIONS, metrics), NULL, NULL, "figures of the nodes"},
    {"include-config", CX_FLAG(OPTIONS, config), NULL, NULL,
     "configuration, policies, certificates"},
    {"include-traces", CX_FLAG(OPTIONS, traces), NULL, NULL, "messages with their hops"},
    {"duration", CX_DURATION(OPTIONS, duration_ms), "DUR", "1h",
     "logs and messages as old as this"},
    CX_TARGET_OPTIONS(OPTIONS, target),
    {"output", CX_TEXT(OPTIONS, output), "FILE", NULL,
     "a .tar.gz or .tar.zst; default caxton-debug-NODE-TIME.tar.gz here"},
    {"obfuscate", CX_FLAG(OPTIONS, obfuscate), NULL, NULL,
     "replace addresses and host names; the map stays beside FILE"},
    {"encrypt-to", CX_LIST(OPTIONS, encrypt_to), "RECIPIENT", NULL, "an age1… that can open it"},
    {"collector-timeout", CX_DURATION(OPTIONS, collector_ms), "DUR", "15s",
     "each collector ends then"},
    {"max-size", CX_SIZE(OPTIONS, max_size), "SIZE", "512M", "of all files before compression"},
    {"no-redaction", CX_FLAG(OPTIONS, no_redaction), NULL, NULL,
     "secrets stay in it; its folder says UNREDACTED"},
    {0},
};

/* In this order; state and the host's system are always part of it. */
static const struct step {
    const char *name;
    bundle_collect_function *collect;
    bool always;
} steps[] = {
    {"state", bundle_collect_state, true},    {"metrics", bundle_collect_metrics, false},
    {"traces", bundle_collect_traces, false}, {"logs", bundle_collect_logs, false},
    {"config", bundle_collect_config, false}, {"system", bundle_collect_system, true},
};

typedef struct making {
    cx_run *run;
    const struct collect_options *option;
    cx_config *config;
    bundle_source source;
    bundle_sink sink;
    cx_age_recipients recipients;
    char *output, *folder;
    bundle_compression compression;
    json_t *collectors;
    bool failed; /* a collector, wholly or in part */
} making;

static void close_making(making *now)
{
    bundle_writer_close(&now->sink.writer);
    cx_redactor_close(&now->sink.redactor);
    bundle_obfuscator_close(&now->sink.obfuscator);
    cx_json_free(&now->sink.files);
    cx_json_free(&now->sink.skipped);
    cx_json_free(&now->collectors);
    cx_json_free(&now->source.absent);
    cx_free(&now->source.silent);
    cx_api_nodes_free(&now->source.nodes);
    cx_api_close(&now->source.api);
    cx_config_free(&now->config);
    cx_free(&now->output);
    cx_free(&now->folder);
}

/* ---- what is wanted */

static bool is_wanted(const struct collect_options *option, const struct step *step)
{
    bool any = option->logs || option->metrics || option->config || option->traces;

    if (step->always || !any)
        return true;
    return (option->logs && strcmp(step->name, "logs") == 0) ||
           (option->metrics && strcmp(step->name, "metrics") == 0) ||
           (option->config && strcmp(step->name, "config") == 0) ||
           (option->traces && strcmp(step->name, "traces") == 0);
}

static bool read_recipients(making *now, cx_err *err)
{
    for (size_t i = 0; i < now->option->encrypt_to.count; i++)
        if (!cx_age_add_recipient(&now->recipients, now->option->encrypt_to.items[i], err))
            return cx_wrap(err, "--encrypt-to");
    return true;
}

/* 20261124T135800Z */
static char *stamp(int64_t wall_ms)
{
    char text[CX_TIME_TEXT_SIZE];
    CX_AUTO(cx_buffer_free) cx_buffer out = {0};

    for (const char *from = cx_time_text(wall_ms / 1000 * 1000, text); *from != '\0'; from++)
        if (*from != '-' && *from != ':')
            cx_buffer_add(&out, from, 1);
    return cx_buffer_take_text(&out);
}

static bool choose_names(making *now, cx_err *err)
{
    CX_AUTO(cx_free) char *time = stamp(now->sink.started_wall_ms);

    now->folder =
        cx_format("caxton-debug-%s-%s%s", now->option->obfuscate ? "node" : now->config->node_id,
                  time, now->sink.redact ? "" : "-UNREDACTED");
    now->sink.folder = now->folder;
    now->output = now->option->output != NULL ? cx_strdup(now->option->output)
                                              : cx_format("%s.tar.gz%s", now->folder,
                                                          now->recipients.count > 0 ? ".age" : "");
    return bundle_compression_of(now->output, &now->compression, err);
}

/* ---- where it is from */

/* A configuration that can't be read is what a bundle may be for: go on with the defaults. */
static bool load_config(making *now, cx_err *err)
{
    now->source.config_path = now->run->config_path;
    if (!cx_config_load(now->run->config_path, true, &now->config, &now->source.config_error) &&
        !cx_config_load("", true, &now->config, err))
        return false;
    now->source.config = now->config;
    return true;
}

static bool find_nodes(making *now, cx_err *err)
{
    bundle_source *source = &now->source;
    const cx_target *target = &now->option->target;
    CX_AUTO(cx_json_free) json_t *cluster = NULL;
    cx_err ignored;

    if (!cx_api_open(now->config, &source->api, &source->api_error))
        return true;
    if (!cx_api_targets(source->api, target, false, &source->nodes, &source->members_error)) {
        if (!target->all || source->members_error.code == CX_USAGE) {
            *err = source->members_error;
            return false;
        }
        /* Who does not tell the members is not asked for them once more. */
        return cx_api_targets(source->api, &(cx_target){0}, false, &source->nodes, err);
    }
    if (target->all &&
        cx_api_cluster(source->api, cx_timeout_within(now->run, source->collector_ms), &cluster,
                       &ignored)) {
        cx_json_free(&source->absent);
        source->absent = cx_api_absent(cluster);
    }
    return true;
}

static void know_host(bundle_obfuscator *obfuscator, const char *address)
{
    CX_AUTO(cx_free) char *host = NULL;
    uint16_t port;
    cx_err ignored;

    if (address != NULL && address[0] != '\0' &&
        cx_parse_host_port(address, 1, &host, &port, &ignored))
        bundle_obfuscator_know(obfuscator, host);
}

static void know_names(making *now)
{
    bundle_obfuscator *obfuscator = now->sink.obfuscator = bundle_obfuscator_open();
    struct utsname name = {0};

    (void)uname(&name);
    bundle_obfuscator_know(obfuscator, name.nodename);
    name.nodename[strcspn(name.nodename, ".")] = '\0';
    bundle_obfuscator_know(obfuscator, name.nodename);
    know_host(obfuscator, now->config->advertise_addr);
    know_host(obfuscator, now->config->api_addr);
    know_host(obfuscator, now->config->api_advertise_addr);
    for (size_t i = 0; i < now->config->seeds.count; i++)
        know_host(obfuscator, now->config->seeds.items[i]);
    for (size_t i = 0; i < now->source.nodes.count; i++)
        know_host(obfuscator, now->source.nodes.items[i].api_addr);
}

static bool prepare(making *now, cx_err *err)
{
    const struct collect_options *option = now->option;

    now->sink.started_wall_ms = cx_wall_ms();
    now->sink.bytes_max = option->max_size;
    now->sink.redact = !option->no_redaction;
    now->sink.files = json_array();
    now->sink.skipped = json_array();
    now->collectors = json_array();
    now->source.absent = json_array();
    now->source.duration_ms = option->duration_ms;
    now->source.since_wall_ms = now->sink.started_wall_ms - option->duration_ms;
    now->source.collector_ms = option->collector_ms;
    if (!read_recipients(now, err) || !load_config(now, err) || !choose_names(now, err) ||
        !find_nodes(now, err))
        return false;
    now->source.silent = cx_alloc(now->source.nodes.count + 1, sizeof(bool));
    now->sink.redactor = cx_redactor_open();
    bundle_know_secrets(now->config, now->sink.redactor);
    if (option->obfuscate)
        know_names(now);
    return true;
}

/* ---- collecting */

/* A collector has its own time, and never more than is left of --timeout. */
static int64_t deadline(const making *now)
{
    int64_t own_ms = now->source.collector_ms;

    if (now->run->timeout_ms > 0 && cx_timeout_or(now->run, own_ms) < own_ms)
        own_ms = cx_timeout_or(now->run, own_ms);
    return cx_now_ms() + own_ms;
}

static bool collect_step(making *now, const struct step *step, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *errors = json_array();
    bundle_collector collector = {.sink = &now->sink,
                                  .name = step->name,
                                  .started_ms = cx_now_ms(),
                                  .deadline_ms = deadline(now),
                                  .errors = errors};
    json_t *result;
    bool ok;

    if (!now->run->quiet && now->run->verbose)
        cx_remark(now->run, "collecting %s", step->name);
    if (!step->collect(&now->source, &collector, err))
        return cx_wrap(err, "collect %s", step->name);
    ok = json_array_size(errors) == 0;
    result = json_pack("{s:s, s:b, s:I, s:I, s:o}", "name", step->name, "ok", ok, "files",
                       (json_int_t)collector.files, "bytes", (json_int_t)collector.bytes,
                       "duration_seconds",
                       cx_json_figure((double)(cx_now_ms() - collector.started_ms) / 1000));
    if (!ok)
        json_object_set(result, "errors", errors);
    now->failed |= !ok;
    json_array_append_new(now->collectors, result);
    return true;
}

static json_t *nodes_json(const bundle_source *source)
{
    json_t *nodes = json_array();

    for (size_t i = 0; i < source->nodes.count; i++)
        json_array_append_new(nodes,
                              json_pack("{s:o, s:o, s:b}", "node_id",
                                        cx_json_text(source->nodes.items[i].node_id), "api_addr",
                                        cx_json_text(source->nodes.items[i].api_addr), "answered",
                                        !source->silent[i]));
    return nodes;
}

static bool is_partial(const making *now)
{
    return now->failed || now->sink.full || json_array_size(now->source.absent) > 0;
}

static json_t *manifest(const making *now)
{
    char duration[CX_TIME_TEXT_SIZE];

    return json_pack(
        "{s:s, s:i, s:o, s:s, s:s, s:s, s:s, s:b, s:b, s:b, s:O, s:o, s:O, s:O, s:O, s:o, s:s}",
        "bundle", now->folder, "format", 1, "created_at", cx_json_time(now->sink.started_wall_ms),
        "version", cx_version, "cluster", now->config->cluster, "node_id", now->config->node_id,
        "duration", cx_duration_text(now->source.duration_ms, duration), "redacted",
        now->sink.redact, "obfuscated", now->sink.obfuscator != NULL, "partial", is_partial(now),
        "collectors", now->collectors, "nodes", nodes_json(&now->source), "absent",
        now->source.absent, "files", now->sink.files, "skipped", now->sink.skipped, "redactions",
        bundle_kinds(&now->sink.redactions), "remark",
        "logs, configuration and system are of the host where the bundle was made: the API tells "
        "none of other hosts");
}

static bool fill(making *now, int fd, cx_err *err)
{
    bundle_collector last = {.sink = &now->sink, .name = "manifest"};
    CX_AUTO(cx_json_free) json_t *document = NULL;

    if (!bundle_writer_open(fd, now->compression, &now->sink.writer, err))
        return false;
    for (size_t i = 0; i < CX_COUNT(steps); i++)
        if (is_wanted(now->option, &steps[i]) && !collect_step(now, &steps[i], err))
            return false;
    document = manifest(now);
    now->sink.bytes_max = INT64_MAX; /* what explains a full bundle always fits */
    return bundle_add_json(&last, "manifest.json", document, err) &&
           bundle_writer_end(now->sink.writer, err);
}

/* ---- publishing */

/* The finished archive, read back: what leaves the host has been looked at as it is. */
static bool is_clean(const making *now, cx_bytes archive, cx_err *err)
{
    CX_AUTO(bundle_check_free) bundle_check check = {0};
    size_t at;
    json_t *found;

    if (!bundle_check_archive(archive, now->output, now->sink.redactor, &check, err))
        return false;
    if (!now->sink.redact || check.secrets.total == 0)
        return true;
    json_array_foreach (check.found, at, found) {
        cx_fail(err, CX_INTERNAL, "the bundle still holds a secret, in %s: not published",
                cx_json_text_or_empty(found, "path"));
        break;
    }
    return cx_hint(err, "this is a fault of cx-bundle; leave that collector out");
}

static bool seal_into(const making *now, cx_bytes archive, int fd, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer sealed = {0};

    return cx_age_seal(&now->recipients, archive, &sealed, err) &&
           cx_write_all(fd, cx_buffer_bytes(&sealed), now->output, err);
}

static bool describe(const making *now, int fd, json_t *document, cx_err *err)
{
    CX_AUTO(bundle_unmap) cx_bytes bytes = {0};
    uint8_t digest[CX_SHA256_SIZE];
    CX_AUTO(cx_free) char *hex = NULL;

    if (!bundle_map(fd, now->output, &bytes, err))
        return false;
    cx_sha256(bytes, digest);
    hex = cx_hex((cx_bytes){digest, sizeof digest});
    json_object_set_new(document, "bytes", json_integer((json_int_t)bytes.size));
    json_object_set_new(document, "sha256", json_string(hex));
    return true;
}

static bool save_map(const making *now, json_t *document, cx_err *err)
{
    CX_AUTO(cx_free) char *path = cx_format("%s.map.json", now->output);
    CX_AUTO(cx_json_free) json_t *map = bundle_obfuscator_map(now->sink.obfuscator);
    CX_AUTO(cx_free) char *text = json_dumps(map, JSON_INDENT(2));

    json_object_set_new(document, "map", cx_json_text(path));
    return cx_replace(path, 0600, cx_bytes_of(text), err);
}

/* With recipients the plain archive exists in memory alone. */
static bool make(making *now, json_t *document, cx_err *err)
{
    CX_AUTO(cx_stage_close) cx_stage *stage = NULL;
    CX_AUTO(cx_fd_close) int memory = -1;
    CX_AUTO(bundle_unmap) cx_bytes archive = {0};
    bool sealed = now->recipients.count > 0;

    if (!cx_stage_open(now->output, 0600, &stage, err))
        return false;
    if (sealed && (memory = memfd_create("bundle", MFD_CLOEXEC)) < 0)
        return cx_fail_errno(err, "memory for the archive");
    if (!fill(now, sealed ? memory : stage->fd, err) ||
        !bundle_map(sealed ? memory : stage->fd, now->output, &archive, err) ||
        !is_clean(now, archive, err) || (sealed && !seal_into(now, archive, stage->fd, err)) ||
        !describe(now, stage->fd, document, err) ||
        (now->sink.obfuscator != NULL && !save_map(now, document, err)))
        return false;
    return cx_stage_commit(stage, err);
}

static void add_results(making *now, json_t *document)
{
    json_object_update_new(
        document, json_pack("{s:b, s:b, s:b, s:b, s:I, s:o, s:O, s:o, s:O, s:O}", "partial",
                            is_partial(now), "redacted", now->sink.redact, "obfuscated",
                            now->sink.obfuscator != NULL, "encrypted", now->recipients.count > 0,
                            "redactions", (json_int_t)now->sink.redactions.total, "redaction_kinds",
                            bundle_kinds(&now->sink.redactions), "collectors", now->collectors,
                            "nodes", nodes_json(&now->source), "absent", now->source.absent,
                            "skipped", now->sink.skipped));
}

static bool collect(cx_run *run, const void *parsed, cx_err *err)
{
    CX_AUTO(close_making) making now = {.run = run, .option = parsed};
    CX_AUTO(cx_json_free) json_t *document = NULL;

    if (!prepare(&now, err))
        return false;
    document = json_pack("{s:b, s:o}", "changed", 1, "output", cx_json_text(now.output));
    if (run->dry_run) {
        json_object_set_new(document, "dry_run", json_true());
        for (size_t i = 0; i < CX_COUNT(steps); i++)
            if (is_wanted(now.option, &steps[i]))
                json_array_append_new(now.collectors, json_pack("{s:s}", "name", steps[i].name));
    } else if (!make(&now, document, err)) {
        return false;
    }
    add_results(&now, document);
    run->answer_no = !run->dry_run && is_partial(&now);
    if (run->table && json_array_size(now.sink.skipped) > 0)
        json_object_set_new(document, "skipped",
                            json_integer((json_int_t)json_array_size(now.sink.skipped)));
    return cx_emit(run, document, err);
}

const cx_command bundle_collect = {
    .name = "collect",
    .summary = "gather logs, figures, configuration, messages and state into one file",
    .description =
        "Of the own node, of --node, or with --all of every alive member in parallel, by the API; "
        "logs, "
        "configuration and the host's figures of this host. Without any --include-… all is "
        "collected; state and system always are. Each collector has --collector-timeout; one that "
        "fails, and a node that does not answer, is named, the rest goes on, and the exit status "
        "is 1. "
        "Secrets are taken out by form, by name, and as far as this host knows them; contents of "
        "messages are left out. The finished file is read back, and with a secret in it it is not "
        "published. An existing --output is replaced.",
    .options = options,
    .options_size = sizeof(struct collect_options),
    .changes = true,
    .run = collect,
};
