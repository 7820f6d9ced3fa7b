#include "repo/repo.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/time.h"

enum { REPO_JSON_MAX = 64 * 1024 };

/* ---- opening */

static bool only_folder(cx_dest *dest, const char *prefix, const char *what, const char *option,
                        char **name, cx_err *err)
{
    CX_AUTO(cx_list_free) cx_list names = {0};

    if (!cx_dest_folders(dest, prefix, &names, err))
        return false;
    if (names.count == 1) {
        *name = cx_strdup(names.items[0]);
        return cx_check_id(what, *name, err);
    }
    if (names.count == 0)
        return cx_fail(err, CX_NOT_FOUND, "%s: there is no repository", cx_dest_name(dest));
    cx_fail(err, CX_USAGE, "%s holds more than one %s (%s, %s%s)", cx_dest_name(dest), what,
            names.items[0], names.items[1], names.count > 2 ? ", …" : "");
    return cx_hint(err, "choose one by %s", option);
}

bool cx_repo_open(const char *dest, const char *cluster, const char *node_id, cx_repo **repo,
                  cx_err *err)
{
    CX_AUTO(cx_repo_close) cx_repo *made = cx_alloc(1, sizeof *made);
    CX_AUTO(cx_free) char *prefix = NULL;

    if (!cx_dest_open(dest, &made->dest, err))
        return false;
    if (cluster != NULL) {
        if (!cx_check_id("cluster", cluster, err))
            return false;
        made->cluster = cx_strdup(cluster);
    } else if (!only_folder(made->dest, "", "cluster", "--cluster", &made->cluster, err))
        return false;
    prefix = cx_format("%s/", made->cluster);
    if (node_id != NULL) {
        if (!cx_check_id("node_id", node_id, err))
            return false;
        made->node_id = cx_strdup(node_id);
    } else if (!only_folder(made->dest, prefix, "node", "--node-id", &made->node_id, err))
        return false;
    *repo = CX_TAKE(made);
    return true;
}

void cx_repo_close(cx_repo **owner)
{
    cx_repo *repo = CX_TAKE(*owner);

    if (repo == NULL)
        return;
    cx_dest_close(&repo->dest);
    cx_free(&repo->cluster);
    cx_free(&repo->node_id);
    cx_free(&repo);
}

char *cx_repo_key(const cx_repo *repo, const char *format, ...)
{
    cx_buffer key = {0};
    char rest[CX_DEST_KEY_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(rest, sizeof rest, format, args);
    va_end(args);
    cx_buffer_addf(&key, "%s/%s/%s", repo->cluster, repo->node_id, rest);
    return cx_buffer_take_text(&key);
}

/* ---- repo.json */

static bool read_repo_json(cx_repo *repo, json_t **json, cx_err *err)
{
    CX_AUTO(cx_free) char *key = cx_repo_key(repo, "repo.json");
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    CX_AUTO(cx_json_free) json_t *read = NULL;
    int64_t format = 0;

    if (!cx_dest_get(repo->dest, key, REPO_JSON_MAX, &text, err) ||
        !cx_json_parse(cx_buffer_bytes(&text), REPO_JSON_MAX, key, &read, err) ||
        !cx_json_need_int(read, key, "format", 1, INT32_MAX, &format, err))
        return false;
    if (format > CX_REPO_FORMAT) {
        cx_fail(err, CX_CONFIG, "%s: it has format %" PRId64 ", this program knows up to %d", key,
                format, CX_REPO_FORMAT);
        return cx_hint(err, "a newer release made it: use that release");
    }
    *json = CX_TAKE(read);
    return true;
}

static bool check_format(cx_repo *repo, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *json = NULL;

    if (repo->is_known)
        return true;
    if (!read_repo_json(repo, &json, err) && err->code == CX_CONFIG)
        return false;
    repo->is_known = true;
    return true;
}

/* The key line of a public key's file, which minisign takes as it is (-P). */
static char *sign_key_text(const cx_minisign_public *sign_key)
{
    uint8_t bytes[2 + CX_MINISIGN_ID_SIZE + sizeof sign_key->key] = {'E', 'd'};

    memcpy(bytes + 2, sign_key->id, CX_MINISIGN_ID_SIZE);
    memcpy(bytes + 2 + CX_MINISIGN_ID_SIZE, sign_key->key, sizeof sign_key->key);
    return cx_base64((cx_bytes){bytes, sizeof bytes});
}

bool cx_repo_prepare(cx_repo *repo, const cx_minisign_public *sign_key, int64_t wall_ms,
                     cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *json = NULL;
    CX_AUTO(cx_free) char *key = cx_repo_key(repo, "repo.json");
    CX_AUTO(cx_free) char *sign_text = sign_key_text(sign_key);
    CX_AUTO(cx_free) char *line = NULL;
    CX_AUTO(cx_free) char *text = NULL;

    if (!cx_dest_prepare(repo->dest, err))
        return false;
    if (read_repo_json(repo, &json, err))
        return true;
    if (err->code != CX_NOT_FOUND)
        return false;
    json = json_pack("{s:i, s:s, s:s, s:o, s:s}", "format", CX_REPO_FORMAT, "cluster",
                     repo->cluster, "node_id", repo->node_id, "created_at", cx_json_time(wall_ms),
                     "sign_key", sign_text);
    line = cx_json_line(json);
    text = cx_format("%s\n", line);
    return cx_dest_put(repo->dest, key, cx_bytes_of(text), CX_PUT_REPLACE, err);
}

bool cx_repo_sign_key(cx_repo *repo, cx_minisign_public *sign_key, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *json = NULL;
    const char *text = NULL;

    if (!read_repo_json(repo, &json, err)) {
        if (err->code == CX_NOT_FOUND)
            cx_fail(err, CX_NOT_FOUND, "%s has no repository of node %s of cluster %s",
                    cx_dest_name(repo->dest), repo->node_id, repo->cluster);
        return false;
    }
    return cx_json_need_text(json, "repo.json", "sign_key", &text, err) &&
           cx_minisign_parse_public(cx_bytes_of(text), "repo.json: sign_key", sign_key, err);
}

/* ---- backups */

struct listing {
    cx_stored_backups *backups;
    size_t prefix_size;
};

static cx_stored_backup *find_backup(cx_stored_backups *backups, const char *id)
{
    /* Most listings are in order, so it is the last one. */
    for (size_t i = backups->count; i-- > 0;)
        if (strcmp(backups->items[i].id, id) == 0)
            return &backups->items[i];
    backups->items = cx_realloc(backups->items, backups->count + 1, sizeof *backups->items);
    backups->items[backups->count] = (cx_stored_backup){.id = cx_strdup(id)};
    return &backups->items[backups->count++];
}

/* What has no name of ours is not ours. */
static bool add_object(const cx_object *object, void *arg, cx_err *err)
{
    struct listing *listing = arg;
    const char *id = object->key + listing->prefix_size;
    const char *slash = strchr(id, '/');
    cx_err ignored;
    cx_stored_backup *backup;

    if (slash == NULL)
        return true;

    CX_AUTO(cx_free) char *text = cx_strndup(id, (size_t)(slash - id));
    bool is_signature = strcmp(slash, "/manifest.json.minisig") == 0;

    if (!cx_check_backup_id(text, &ignored))
        return true;
    if (listing->backups->count >= CX_REPO_BACKUPS_MAX)
        return cx_fail(err, CX_TOO_LARGE, "more than %d backups", CX_REPO_BACKUPS_MAX);
    backup = find_backup(listing->backups, text);
    if (is_signature || (!backup->is_complete && object->arrived_ms > backup->arrived_ms))
        backup->arrived_ms = object->arrived_ms;
    backup->is_complete = backup->is_complete || is_signature;
    return true;
}

/* Those that arrived in the same instant: by their ids, which begin with the time. */
static int compare_backups(const void *a, const void *b)
{
    const cx_stored_backup *left = a, *right = b;

    if (left->arrived_ms != right->arrived_ms)
        return left->arrived_ms < right->arrived_ms ? -1 : 1;
    return strcmp(left->id, right->id);
}

bool cx_repo_backups(cx_repo *repo, cx_stored_backups *backups, cx_err *err)
{
    CX_AUTO(cx_free) char *prefix = cx_repo_key(repo, "backups/");
    struct listing listing = {backups, strlen(prefix)};

    if (!check_format(repo, err) || !cx_dest_list(repo->dest, prefix, add_object, &listing, err))
        return false;
    if (backups->count > 1)
        qsort(backups->items, backups->count, sizeof *backups->items, compare_backups);
    return true;
}

void cx_stored_backups_free(cx_stored_backups *backups)
{
    for (size_t i = 0; i < backups->count; i++)
        cx_free(&backups->items[i].id);
    cx_free(&backups->items);
    *backups = (cx_stored_backups){0};
}

/* ---- manifests */

static bool check_signature(cx_repo *repo, const char *key, const cx_minisign_public *sign_key,
                            cx_bytes text, cx_err *err)
{
    CX_AUTO(cx_free) char *signature_key = cx_format("%s.minisig", key);
    CX_AUTO(cx_buffer_free) cx_buffer signature = {0};

    if (!cx_dest_get(repo->dest, signature_key, CX_MINISIGN_FILE_MAX, &signature, err))
        return false;
    return cx_minisign_verify(sign_key, text, cx_buffer_bytes(&signature), NULL, err) ||
           cx_wrap(err, "%s", signature_key);
}

bool cx_repo_manifest(cx_repo *repo, const char *id, const cx_minisign_public *sign_key,
                      cx_manifest **manifest, cx_buffer *text, cx_err *err)
{
    CX_AUTO(cx_free) char *key = NULL;
    CX_AUTO(cx_buffer_free) cx_buffer read = {0};
    CX_AUTO(cx_manifest_free) cx_manifest *parsed = NULL;

    if (!cx_check_backup_id(id, err) || !check_format(repo, err))
        return false;
    key = cx_repo_key(repo, "backups/%s/manifest.json", id);
    if (!cx_dest_get(repo->dest, key, CX_MANIFEST_MAX, &read, err)) {
        if (err->code == CX_NOT_FOUND)
            cx_fail(err, CX_NOT_FOUND, "%s has no backup %s of node %s", cx_dest_name(repo->dest),
                    id, repo->node_id);
        return false;
    }
    /* Nothing is read of a document before it is known whose it is. */
    if ((sign_key != NULL && !check_signature(repo, key, sign_key, cx_buffer_bytes(&read), err)) ||
        !cx_manifest_parse(cx_buffer_bytes(&read), key, &parsed, err))
        return false;
    if (strcmp(parsed->id, id) != 0 || strcmp(parsed->node_id, repo->node_id) != 0 ||
        strcmp(parsed->cluster, repo->cluster) != 0)
        return cx_fail(err, CX_CORRUPT, "%s is the manifest of %s of node %s of cluster %s", key,
                       parsed->id, parsed->node_id, parsed->cluster);
    if (text != NULL)
        cx_buffer_add(text, read.data, read.size);
    *manifest = CX_TAKE(parsed);
    return true;
}

bool cx_repo_put_manifest(cx_repo *repo, const cx_manifest *manifest,
                          const cx_minisign_secret *sign_key, cx_err *err)
{
    CX_AUTO(cx_free) char *key = cx_repo_key(repo, "backups/%s/manifest.json", manifest->id);
    CX_AUTO(cx_free) char *signature_key = cx_format("%s.minisig", key);
    CX_AUTO(cx_free) char *comment = cx_format("cx-backup %s", manifest->id);
    CX_AUTO(cx_json_free) json_t *json = cx_manifest_to_json(manifest);
    CX_AUTO(cx_free) char *line = cx_json_line(json);
    CX_AUTO(cx_free) char *text = cx_format("%s\n", line);
    CX_AUTO(cx_free) char *signature = cx_minisign_sign(sign_key, cx_bytes_of(text), comment);

    return cx_dest_put(repo->dest, key, cx_bytes_of(text), CX_PUT_REPLACE, err) &&
           cx_dest_put(repo->dest, signature_key, cx_bytes_of(signature), CX_PUT_REPLACE, err);
}

/* ---- segments */

struct segment_listing {
    cx_segments *segments;
    size_t prefix_size;
};

static bool add_segment(const cx_object *object, void *arg, cx_err *err)
{
    struct segment_listing *listing = arg;
    uint8_t id[CX_SEGMENT_ID_SIZE];

    (void)err;
    if (cx_segment_of_object(object->key + listing->prefix_size, id)) {
        cx_segment_slot *slot = cx_segments_add(listing->segments, id);

        slot->segment.stored_bytes = object->size;
        slot->mark = object->arrived_ms;
    }
    return true;
}

bool cx_repo_segments(cx_repo *repo, cx_segments **segments, cx_err *err)
{
    CX_AUTO(cx_free) char *prefix = cx_repo_key(repo, "segments/");
    CX_AUTO(cx_segments_close) cx_segments *found = NULL;
    uint64_t salt;

    cx_random(&salt, sizeof salt);
    found = cx_segments_open(salt);

    struct segment_listing listing = {found, strlen(prefix) - strlen("segments/")};

    if (!check_format(repo, err) || !cx_dest_list(repo->dest, prefix, add_segment, &listing, err))
        return false;
    *segments = CX_TAKE(found);
    return true;
}
