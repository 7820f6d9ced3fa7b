/* kit, kit check: what recovery needs, in one sealed file that is kept elsewhere. */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "backup.h"
#include "base/io.h"
#include "base/text.h"
#include "base/time.h"
#include "config/share.h"
#include "repo/snapshot.h"
#include "repo/walk.h"

enum {
    KIT_MAX = 64 * 1024 * 1024,
    PASSPHRASE_MAX = 1024,
    PASSPHRASE_MIN = 8,
    ROOTS_MAX = 16,
    FORMAT = 1,
};

static const char inventory_name[] = "kit.json";

struct kit_options {
    const char *output;
    const char *passphrase_file;
    const char *identity;
    const char *trusted_key;
    const char *ca_dir;
};

struct check_options {
    const char *passphrase_file;
};

static const cx_option kit_options[] = {
    {"output", CX_TEXT(struct kit_options, output), "FILE", NULL, "the kit"},
    {"passphrase-file", CX_TEXT(struct kit_options, passphrase_file), "FILE", NULL,
     "its first line opens the kit; at least 8 bytes"},
    {"identity", CX_TEXT(struct kit_options, identity), "FILE", NULL,
     "age identity that opens the backups; default: identity.txt of the node's keys"},
    {"trusted-key", CX_TEXT(struct kit_options, trusted_key), "FILE", NULL,
     "minisign public key; default: sign.pub of the node's keys"},
    {"ca-dir", CX_TEXT(struct kit_options, ca_dir), "DIR", NULL,
     "the CA's folder; default: ca in cert_dir, on the host that has it"},
    {0},
};

static const cx_option check_options[] = {
    {"passphrase-file", CX_TEXT(struct check_options, passphrase_file), "FILE", NULL,
     "its first line opens the kit"},
    {0},
};

/* ---- the passphrase */

static bool read_passphrase(const char *path, char **passphrase, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};

    if (path == NULL)
        return cx_fail(err, CX_USAGE, "--passphrase-file is missing");
    if (strcmp(path, "-") == 0 ? !cx_read_file(path, PASSPHRASE_MAX, &text, err)
                               : !cx_read_secret_file(path, PASSPHRASE_MAX, &text, err))
        return false;
    *passphrase = cx_strndup((const char *)text.data, strcspn((const char *)text.data, "\r\n"));
    sodium_memzero(text.data, text.capacity);
    return true;
}

static void wipe(cx_buffer *buffer)
{
    if (buffer->data != NULL)
        sodium_memzero(buffer->data, buffer->capacity);
    cx_buffer_free(buffer);
}

/* ---- making */

struct kit {
    cx_walk_root roots[ROOTS_MAX];
    size_t root_count;
    char *paths[ROOTS_MAX]; /* of the roots; owned */
    json_t *files;          /* the inventory */
    json_t *missing;
    cx_buffer stream;
};

static void free_kit(struct kit *kit)
{
    for (size_t i = 0; i < kit->root_count; i++)
        cx_free(&kit->paths[i]);
    cx_json_free(&kit->files);
    cx_json_free(&kit->missing);
    wipe(&kit->stream);
}

/* Takes the path. What is not on this host is told as missing. */
static void add_root(struct kit *kit, char *path, const char *name, const char *word)
{
    kit->paths[kit->root_count] = path;
    kit->roots[kit->root_count++] = (cx_walk_root){.path = path, .name = name, .optional = true};
    if (word != NULL && !cx_exists(path))
        json_array_append_new(kit->missing, json_string(word));
}

static void lay_out(const cx_run *run, const cx_config *config, const struct kit_options *option,
                    struct kit *kit)
{
    add_root(kit,
             option->identity != NULL ? cx_strdup(option->identity)
                                      : backup_key_path(run, backup_identity_file),
             "identity.txt", "identity");
    add_root(kit,
             option->trusted_key != NULL ? cx_strdup(option->trusted_key)
                                         : backup_key_path(run, backup_trusted_file),
             "sign.pub", "trusted_key");
    add_root(kit, option->ca_dir != NULL ? cx_strdup(option->ca_dir) : cx_config_cert(config, "ca"),
             "ca", "ca");
    add_root(kit, cx_config_cert(config, "gossip.keys"), "gossip.keys", "gossip_keys");
    add_root(kit, cx_strdup(config->path[0] != '\0' ? config->path : run->config_path),
             "config.yaml", "config");
    add_root(kit, cx_strdup(config->policy_dir), "policies", NULL);
    add_root(kit, backup_key_path(run, backup_sign_file), "backup/sign.key", NULL);
    add_root(kit, backup_key_path(run, backup_naming_file), "backup/naming.key", NULL);
    add_root(kit, backup_key_path(run, backup_recipients_file), "backup/recipients.txt", NULL);
    add_root(kit, cx_share_path("restore-by-hand.md"), "restore-by-hand.md", "restore_by_hand");
}

static bool add_content(struct kit *kit, cx_tar_entry *entry, cx_bytes content, cx_err *err)
{
    uint8_t digest[CX_SHA256_SIZE];
    CX_AUTO(cx_free) char *hex = NULL;

    if (content.size > KIT_MAX - kit->stream.size)
        return cx_fail(err, CX_TOO_LARGE, "a kit has at most %d bytes", KIT_MAX);
    entry->size = (int64_t)content.size;
    cx_tar_add_header(entry, &kit->stream);
    cx_buffer_add(&kit->stream, content.data, content.size);
    cx_tar_add_padding(entry->size, &kit->stream);
    cx_sha256(content, digest);
    hex = cx_hex((cx_bytes){digest, sizeof digest});
    json_array_append_new(kit->files,
                          json_pack("{s:o, s:I, s:s}", "path", cx_json_text(entry->path), "size",
                                    (json_int_t)entry->size, "sha256", hex));
    return true;
}

static bool add_file(struct kit *kit, const cx_walk_entry *walked, const char *scratch,
                     cx_tar_entry *entry, cx_err *err)
{
    CX_AUTO(cx_free) char *path = cx_walk_path(kit->roots, walked);
    CX_AUTO(wipe) cx_buffer content = {0};
    bool read;

    /* The CA's state, which a `serve` may be writing. */
    if (walked->is_database) {
        unlink(scratch);
        read =
            cx_snapshot_take(path, scratch, err) && cx_read_file(scratch, KIT_MAX, &content, err);
        unlink(scratch);
    } else {
        read = cx_read_file(path, KIT_MAX, &content, err);
    }
    return read && add_content(kit, entry, cx_buffer_bytes(&content), err);
}

static bool add_files(struct kit *kit, const char *output, cx_err *err)
{
    CX_AUTO(cx_walk_free) cx_walk walk = {0};
    CX_AUTO(cx_free) char *scratch = cx_format("%s.snapshot", output);

    if (!cx_walk_run(kit->roots, kit->root_count, &walk, err))
        return false;
    for (size_t i = 0; i < walk.count; i++) {
        const cx_walk_entry *walked = &walk.entries[i];
        cx_tar_entry entry = {
            .kind = walked->kind,
            .path = walked->path,
            .target = walked->target,
            .mode = walked->identity.mode & 0700, /* secrets all */
            .mtime_seconds = walked->identity.mtime_ns / 1000000000,
        };

        if (walked->kind == CX_TAR_FILE ? !add_file(kit, walked, scratch, &entry, err) : false)
            return false;
        if (walked->kind != CX_TAR_FILE)
            cx_tar_add_header(&entry, &kit->stream);
    }
    return true;
}

static bool add_inventory(struct kit *kit, const cx_config *config, cx_err *err)
{
    CX_AUTO(cx_json_free)
    json_t *inventory = json_pack("{s:i, s:o, s:s, s:s, s:O, s:O}", "format", FORMAT, "created_at",
                                  cx_json_time(cx_wall_ms()), "cluster", config->cluster, "node_id",
                                  config->node_id, "missing", kit->missing, "files", kit->files);
    CX_AUTO(cx_free) char *line = cx_json_line(inventory);
    CX_AUTO(cx_free) char *text = cx_format("%s\n", line);
    cx_tar_entry entry = {.kind = CX_TAR_FILE,
                          .path = inventory_name,
                          .mode = 0600,
                          .mtime_seconds = cx_wall_ms() / 1000};

    return add_content(kit, &entry, cx_bytes_of(text), err);
}

/* ---- opening */

struct opened_file {
    char *path;
    int64_t size;
    uint8_t digest[CX_SHA256_SIZE];
};

struct opened_kit {
    struct opened_file *files;
    size_t count;
    json_t *inventory;
};

static void free_opened(struct opened_kit *opened)
{
    for (size_t i = 0; i < opened->count; i++)
        cx_free(&opened->files[i].path);
    cx_free(&opened->files);
    cx_json_free(&opened->inventory);
}

static bool give_once(void *arg, cx_bytes *piece, cx_err *err)
{
    cx_bytes *rest = arg;

    (void)err;
    *piece = *rest;
    *rest = (cx_bytes){0};
    return true;
}

static bool read_file_entry(cx_tar_reader *tar, const cx_tar_entry *entry,
                            struct opened_kit *opened, cx_err *err)
{
    CX_AUTO(wipe) cx_buffer content = {0};
    struct opened_file *file;

    for (cx_bytes piece;;) {
        if (!cx_tar_content(tar, &piece, err))
            return false;
        if (piece.size == 0)
            break;
        cx_buffer_add(&content, piece.data, piece.size);
    }
    if (strcmp(entry->path, inventory_name) == 0)
        return cx_json_parse(cx_buffer_bytes(&content), KIT_MAX, inventory_name, &opened->inventory,
                             err);
    opened->files = cx_realloc(opened->files, opened->count + 1, sizeof *opened->files);
    file = &opened->files[opened->count++];
    *file = (struct opened_file){.path = cx_strdup(entry->path), .size = entry->size};
    cx_sha256(cx_buffer_bytes(&content), file->digest);
    return true;
}

static const struct opened_file *find_file(const struct opened_kit *opened, const char *path)
{
    for (size_t i = 0; i < opened->count; i++)
        if (strcmp(opened->files[i].path, path) == 0)
            return &opened->files[i];
    return NULL;
}

/* Everything that the inventory names is there, and as it says. */
static bool compare_inventory(const struct opened_kit *opened, cx_err *err)
{
    size_t at;
    const json_t *listed;

    if (opened->inventory == NULL)
        return cx_fail(err, CX_CORRUPT, "the kit has no %s", inventory_name);
    json_array_foreach (json_object_get(opened->inventory, "files"), at, listed) {
        const char *path = cx_json_text_or_empty(listed, "path");
        const struct opened_file *file = find_file(opened, path);
        uint8_t digest[CX_SHA256_SIZE];

        if (!cx_from_hex(cx_json_text_or_empty(listed, "sha256"), digest, sizeof digest, err))
            return false;
        if (file == NULL || memcmp(file->digest, digest, sizeof digest) != 0)
            return cx_fail(err, CX_CORRUPT, "the kit's %s is %s", path,
                           file == NULL ? "missing" : "not what was put in");
    }
    return true;
}

static bool open_kit(const char *path, const char *passphrase, struct opened_kit *opened,
                     cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer sealed = {0};
    CX_AUTO(wipe) cx_buffer stream = {0};
    cx_bytes rest;
    CX_AUTO(cx_tar_close) cx_tar_reader *tar = cx_tar_open(give_once, &rest);

    if (!cx_read_file(path, 2 * KIT_MAX, &sealed, err) ||
        !cx_age_open_passphrase(passphrase, cx_buffer_bytes(&sealed), 2 * KIT_MAX, &stream, err))
        return cx_wrap(err, "%s", path);
    rest = cx_buffer_bytes(&stream);
    for (;;) {
        cx_tar_entry entry;
        bool found = false;

        if (!cx_tar_next(tar, &entry, &found, err))
            return cx_wrap(err, "%s", path);
        if (!found)
            break;
        if (entry.kind == CX_TAR_FILE && !read_file_entry(tar, &entry, opened, err))
            return cx_wrap(err, "%s", path);
    }
    return compare_inventory(opened, err);
}

/* ---- the commands */

/* backup_age warns until there is one. */
static bool write_note(const cx_config *config, const char *output, cx_err *err)
{
    CX_AUTO(cx_free) char *folder = backup_cache_dir(config);
    CX_AUTO(cx_free) char *path = cx_path_join(folder, inventory_name);
    CX_AUTO(cx_json_free)
    json_t *note = json_pack("{s:o, s:o}", "made_at", cx_json_time(cx_wall_ms()), "output",
                             cx_json_text(output));
    CX_AUTO(cx_free) char *line = cx_json_line(note);
    CX_AUTO(cx_free) char *text = cx_format("%s\n", line);

    if (!cx_exists(config->data_dir))
        return true;
    return cx_make_folders(folder, 0700, NULL, err) &&
           cx_replace(path, 0600, cx_bytes_of(text), err);
}

static bool make_kit(const cx_run *run, const cx_config *config, const struct kit_options *option,
                     struct kit *kit, const char *passphrase, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer sealed = {0};
    CX_AUTO(free_opened) struct opened_kit opened = {0};

    lay_out(run, config, option, kit);
    if (!cx_exists(kit->paths[0])) {
        cx_fail(err, CX_NOT_FOUND, "%s: without an identity there is nothing to recover with",
                kit->paths[0]);
        return cx_hint(err, "--identity FILE: identity.txt of cx-backup keygen");
    }
    if (run->dry_run)
        return true;
    if (!add_files(kit, option->output, err) || !add_inventory(kit, config, err))
        return false;
    cx_tar_add_end(&kit->stream);
    return cx_age_seal_passphrase(passphrase, cx_buffer_bytes(&kit->stream), &sealed, err) &&
           cx_replace(option->output, 0600, cx_buffer_bytes(&sealed), err) &&
           open_kit(option->output, passphrase, &opened, err) &&
           write_note(config, option->output, err);
}

static bool kit_run(cx_run *run, const void *parsed, cx_err *err)
{
    const struct kit_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(free_kit) struct kit kit = {.files = json_array(), .missing = json_array()};
    CX_AUTO(cx_free_secret) char *passphrase = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;

    if (option->output == NULL)
        return cx_fail(err, CX_USAGE, "kit: --output is missing");
    if (!read_passphrase(option->passphrase_file, &passphrase, err))
        return false;
    if (strlen(passphrase) < PASSPHRASE_MIN)
        return cx_fail(err, CX_INVALID, "the passphrase has fewer than %d bytes", PASSPHRASE_MIN);
    if (!backup_config(run, &config, err) || !make_kit(run, config, option, &kit, passphrase, err))
        return false;
    document = json_pack("{s:b, s:o, s:b, s:O, s:O}", "changed", !run->dry_run, "output",
                         cx_json_text(option->output), "verified", !run->dry_run, "missing",
                         kit.missing, "files", kit.files);
    if (json_array_size(kit.missing) > 0)
        cx_remark(run, "the kit lacks what is not on this host; `missing` names it");
    return cx_emit(run, document, err);
}

static bool check_run(cx_run *run, const void *parsed, cx_err *err)
{
    const struct check_options *option = parsed;
    CX_AUTO(free_opened) struct opened_kit opened = {0};
    CX_AUTO(cx_free_secret) char *passphrase = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;

    if (!read_passphrase(option->passphrase_file, &passphrase, err) ||
        !open_kit(run->args[0], passphrase, &opened, err))
        return false;
    document = json_pack("{s:b, s:o}", "ok", true, "kit", cx_json_text(run->args[0]));
    json_object_update_missing(document, opened.inventory);
    return cx_emit(run, document, err);
}

const cx_command backup_kit = {
    .name = "kit",
    .summary = "seal what recovery needs into one file, and open it as a test",
    .description =
        "The age identity, the CA's folder, the gossip key ring, configuration, policies, the keys "
        "of the backups, and the page for restoring by hand, as a tar stream that age has sealed "
        "with the passphrase: age -d kit.age | tar -x. Keep it where the cluster is not.",
    .options = kit_options,
    .options_size = sizeof(struct kit_options),
    .changes = true,
    .run = kit_run,
};

const cx_command backup_kit_check = {
    .name = "kit check",
    .arguments = "FILE",
    .arguments_min = 1,
    .arguments_max = 1,
    .summary = "open a recovery kit and compare it with its inventory",
    .options = check_options,
    .options_size = sizeof(struct check_options),
    .run = check_run,
};
