/* Where a backup is restored to: fresh folders beside the old ones, then exchanged. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/text.h"
#include "base/time.h"
#include "restore.h"

enum { MARK_MAX = 64 * 1024, SUFFIX_RANDOM_SIZE = 2 };

const char restore_mark_name[] = ".cx-restore.json";

static const char *const data_components[] = {"agent_registry", "agent_state", "message_queues",
                                              NULL};

static void close_directory(DIR **owner)
{
    if (*owner != NULL)
        closedir(*owner);
    *owner = NULL;
}

/* ---- components and places */

bool restore_is_data(const char *name)
{
    for (size_t i = 0; data_components[i] != NULL; i++)
        if (strcmp(data_components[i], name) == 0)
            return true;
    return false;
}

static bool choose_components(restore_job *job, const cx_list *wanted, cx_err *err)
{
    const cx_manifest *manifest = job->backup->manifest;

    for (size_t i = 0; i < wanted->count; i++) {
        if (cx_manifest_find(manifest, wanted->items[i]) == NULL) {
            cx_fail(err, CX_NOT_FOUND, "backup %s has no component %s", manifest->id,
                    wanted->items[i]);
            return cx_hint(err, "cx-backup show %s", manifest->id);
        }
        cx_list_add(&job->components, wanted->items[i]);
    }
    /* In place, configuration and certificates only when they are asked for: yesterday's would undo
     * what was renewed or revoked since. */
    for (size_t i = 0; wanted->count == 0 && i < manifest->component_count; i++)
        if (job->target != NULL || restore_is_data(manifest->components[i].name))
            cx_list_add(&job->components, manifest->components[i].name);
    return true;
}

static void add_place(restore_job *job, const char *path, const char *prefix, bool is_file,
                      bool is_data)
{
    char *end;
    restore_place *place = &job->places[job->place_count++];

    *place = (restore_place){
        .path = cx_strdup(path), .prefix = prefix, .is_file = is_file, .is_data = is_data};
    /* "/var/lib/caxton/" too has its folder beside it. */
    for (end = place->path + strlen(place->path); end > place->path + 1 && end[-1] == '/'; end--)
        end[-1] = '\0';
}

static bool is_within(const char *path, const char *folder)
{
    size_t size = strlen(folder);

    return strncmp(path, folder, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

/* What is replaced is renamed: that takes a name, and must not carry off what is being read. */
static bool check_target(const restore_job *job, cx_err *err)
{
    const char *name = restore_name(job->places[0].path);
    CX_AUTO(cx_free) char *target = realpath(job->places[0].path, NULL);
    CX_AUTO(cx_free) char *repo = realpath(cx_dest_name(job->backup->repo->dest), NULL);

    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        cx_fail(err, CX_USAGE, "--target: '%s' is no name of a folder", job->target);
        return cx_hint(err, "a folder that is replaced as a whole: name it from outside, like "
                            "/tmp/restored");
    }
    if (target == NULL || repo == NULL || (!is_within(repo, target) && !is_within(target, repo)))
        return true;
    cx_fail(err, CX_INVALID, "--target: replacing %s would damage the repository", job->target);
    return cx_hint(err, "choose a new folder");
}

bool restore_lay_out(restore_job *job, const cx_list *wanted, cx_err *err)
{
    const cx_config *config = job->config;

    job->lock_fd = job->node_lock_fd = -1;
    if (!choose_components(job, wanted, err))
        return false;
    if (job->target != NULL) {
        add_place(job, job->target, "", false, false);
        return check_target(job, err);
    }
    if (cx_list_has(&job->components, "configuration")) {
        add_place(job, config->path[0] != '\0' ? config->path : "/etc/caxton/config.yaml",
                  "config/config.yaml", true, false);
        add_place(job, config->policy_dir, "config/policies", false, false);
    }
    if (cx_list_has(&job->components, "certificates"))
        add_place(job, config->cert_dir, "certs", false, false);
    for (size_t i = 0; data_components[i] != NULL; i++)
        if (cx_list_has(&job->components, data_components[i])) {
            add_place(job, config->data_dir, "", false, true);
            break;
        }
    return true;
}

/* Whoever holds the lock removes its file before it lets go, so that none stays beside the data. One that
 * was opened before and locked after that is nobody's: then the file of that name, if any, is another. */
static bool take_lock(restore_job *job, cx_err *err)
{
    for (;;) {
        CX_AUTO(cx_fd_close) int fd = -1;
        struct stat held, there;

        if (!cx_lock(job->lock, &fd, err))
            return false;
        if (fstat(fd, &held) < 0)
            return cx_fail_errno(err, "stat %s", job->lock);
        if (lstat(job->lock, &there) < 0 || held.st_dev != there.st_dev ||
            held.st_ino != there.st_ino)
            continue;
        job->lock_fd = fd;
        fd = -1;
        return true;
    }
}

static void release_lock(restore_job *job)
{
    if (job->lock_fd >= 0)
        (void)unlink(job->lock);
    cx_fd_close(&job->lock_fd);
    cx_free(&job->lock);
}

void restore_job_close(restore_job *job)
{
    cx_err ignored;

    for (size_t i = 0; i < job->place_count; i++) {
        restore_place *place = &job->places[i];

        /* Not exchanged: nothing of it counts. Else the next run gives the old one its name. */
        if (place->stage != NULL && !place->is_exchanged)
            (void)!cx_remove_tree(place->stage, &ignored);
        cx_free(&place->path);
        cx_free(&place->stage);
        cx_free(&place->old);
    }
    cx_list_free(&job->components);
    cx_list_free(&job->databases);
    cx_fd_close(&job->node_lock_fd);
    release_lock(job);
}

/* ---- names beside a place */

char *restore_parent(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        return cx_strdup(".");
    return slash == path ? cx_strdup("/") : cx_strndup(path, (size_t)(slash - path));
}

const char *restore_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? path : slash + 1;
}

/* "20251123T020000Z-1a2b": sorts by time, and no two runs choose the same. */
static char *make_suffix(void)
{
    uint16_t random;
    CX_AUTO(cx_free) char *id = NULL;

    cx_random(&random, sizeof random);
    id = cx_backup_id(cx_wall_ms(), "x", "x", random);
    return cx_format("%.16s-%04x", id, random);
}

typedef bool each_sibling(const restore_place *place, const char *path, void *arg, cx_err *err);

/* What stands beside the place as NAME.KIND-…. */
static bool visit_siblings(const restore_place *place, const char *kind, each_sibling *each,
                           void *arg, cx_err *err)
{
    CX_AUTO(cx_free) char *parent = restore_parent(place->path);
    CX_AUTO(cx_free) char *start = cx_format("%s.%s-", restore_name(place->path), kind);
    CX_AUTO(close_directory) DIR *directory = opendir(parent);
    CX_AUTO(cx_list_free) cx_list found = {0};

    if (directory == NULL)
        return errno == ENOENT ? true : cx_fail_errno(err, "open folder %s", parent);
    for (const struct dirent *entry; (errno = 0, entry = readdir(directory)) != NULL;)
        if (strncmp(entry->d_name, start, strlen(start)) == 0)
            cx_list_take(&found, cx_path_join(parent, entry->d_name));
    if (errno != 0)
        return cx_fail_errno(err, "read folder %s", parent);
    for (size_t i = 0; i < found.count; i++)
        if (!each(place, found.items[i], arg, err))
            return false;
    return true;
}

/* ---- marks: a folder that holds one with its own name is a stage that was not finished. Once it was
 * exchanged it has another name, and the mark tells where the data came from. */

static bool write_mark(const restore_job *job, const char *stage, cx_err *err)
{
    CX_AUTO(cx_free) char *path = cx_path_join(stage, restore_mark_name);
    CX_AUTO(cx_json_free)
    json_t *mark =
        json_pack("{s:s, s:o, s:o}", "id", job->backup->manifest->id, "stage",
                  cx_json_text(restore_name(stage)), "restored_at", cx_json_time(cx_wall_ms()));
    CX_AUTO(cx_free) char *line = cx_json_line(mark);
    CX_AUTO(cx_free) char *text = cx_format("%s\n", line);

    return cx_replace(path, 0600, cx_bytes_of(text), err);
}

static bool is_unfinished_stage(const char *path)
{
    CX_AUTO(cx_free) char *mark_path = cx_path_join(path, restore_mark_name);
    CX_AUTO(cx_json_free) json_t *mark = NULL;
    cx_err ignored;

    return cx_json_read_file(mark_path, MARK_MAX, &mark, &ignored) &&
           strcmp(cx_json_text_or_empty(mark, "stage"), restore_name(path)) == 0;
}

/* NAME.new-X without a mark of its own is the old data of a run that was killed between the exchange
 * and the last rename: it gets the name that it should have had. */
static bool recover_sibling(const restore_place *place, const char *path, void *arg, cx_err *err)
{
    const char *suffix =
        strrchr(path, '/') + 1 + strlen(restore_name(place->path)) + strlen(".new-");
    CX_AUTO(cx_free) char *old = cx_format("%s.old-%s", place->path, suffix);
    CX_AUTO(cx_free) char *parent = restore_parent(place->path);

    (void)arg;
    if (is_unfinished_stage(path))
        return cx_remove_tree(path, err);
    if (rmdir(path) == 0) /* killed before the mark was written */
        return true;
    if (rename(path, old) < 0)
        return cx_fail_errno(err, "rename %s to %s", path, old);
    return cx_sync_folder(parent, err);
}

/* A fresh folder with its mark. */
static bool make_stage(const restore_job *job, restore_place *place, const char *suffix,
                       cx_err *err)
{
    CX_AUTO(cx_free) char *parent = restore_parent(place->path);
    CX_AUTO(cx_free) char *stage = cx_format("%s.new-%s", place->path, suffix);

    if (!cx_make_folders(parent, 0755, NULL, err))
        return false;
    if (mkdir(stage, 0700) < 0)
        return cx_fail_errno(err, "make folder %s", stage);
    place->stage = CX_TAKE(stage);
    return cx_sync_folder(parent, err) && write_mark(job, place->stage, err);
}

bool restore_make_stages(restore_job *job, cx_err *err)
{
    CX_AUTO(cx_free) char *suffix = make_suffix();
    const restore_place *last = &job->places[job->place_count - 1];
    CX_AUTO(cx_free) char *parent = restore_parent(last->path);

    job->lock = cx_format("%s/.%s.cx-restore.lock", parent, restore_name(last->path));
    if (!cx_make_folders(parent, 0755, NULL, err) || !take_lock(job, err))
        return false;
    for (size_t i = 0; i < job->place_count; i++)
        if (!visit_siblings(&job->places[i], "new", recover_sibling, NULL, err) ||
            !make_stage(job, &job->places[i], suffix, err))
            return false;
    return true;
}

/* ---- exchanging */

static bool lock_node(restore_job *job, const restore_place *place, cx_err *err)
{
    CX_AUTO(cx_free) char *lock = cx_path_join(place->path, "node.lock");

    if (!cx_exists(lock) || cx_lock(lock, &job->node_lock_fd, err))
        return true;
    if (job->target != NULL) {
        cx_wrap(err, "a node runs on %s", place->path);
        return cx_hint(err, "stop it, or choose a folder that no node uses");
    }
    cx_wrap(err, "the node runs");
    return cx_hint(err, "stop it, or give --stop-command and --start-command");
}

static bool sync_parent(const char *path, cx_err *err)
{
    CX_AUTO(cx_free) char *parent = restore_parent(path);

    return cx_sync_folder(parent, err);
}

static bool move(const char *from, const char *to, cx_err *err)
{
    if (rename(from, to) < 0)
        return cx_fail_errno(err, "rename %s to %s", from, to);
    return sync_parent(to, err);
}

/* The old file keeps a second name until the new one has its place. */
static bool swap_file(restore_place *place, const char *old, cx_err *err)
{
    CX_AUTO(cx_free) char *from = cx_path_join(place->stage, restore_name(place->path));

    if (place->existed && link(place->path, old) < 0)
        return cx_fail_errno(err, "link %s to %s", place->path, old);
    return sync_parent(place->path, err) && move(from, place->path, err) &&
           cx_remove_tree(place->stage, err);
}

/* In one step, so that there is never no folder. Where the file system can't do that, old and new are
 * moved one after the other. */
static bool swap_folder(restore_place *place, const char *old, cx_err *err)
{
    if (!place->existed)
        return move(place->stage, place->path, err);
    if (renameat2(AT_FDCWD, place->stage, AT_FDCWD, place->path, RENAME_EXCHANGE) == 0) {
        place->is_exchanged = true;
        return sync_parent(place->path, err) && move(place->stage, old, err);
    }
    if (errno == EBUSY || errno == EXDEV) {
        cx_fail_errno(err, "replace %s", place->path);
        return cx_hint(err,
                       "it is a mount point: restore into a folder in it with --target, stop the "
                       "node, and move the files");
    }
    if (errno != EINVAL && errno != ENOSYS)
        return cx_fail_errno(err, "exchange %s and %s", place->stage, place->path);
    if (!move(place->path, old, err))
        return false;
    if (move(place->stage, place->path, err))
        return true;
    (void)!rename(old, place->path); /* better the old one than none */
    return false;
}

static bool swap_place(restore_place *place, cx_err *err)
{
    const char *suffix = place->stage + strlen(place->path) + strlen(".new-");
    CX_AUTO(cx_free) char *old = cx_format("%s.old-%s", place->path, suffix);

    place->existed = cx_exists(place->path);
    if (place->is_file ? !swap_file(place, old, err) : !swap_folder(place, old, err))
        return false;
    cx_free(&place->stage);
    place->old = place->existed ? CX_TAKE(old) : NULL;
    /* A node's data remembers where it came from; elsewhere the mark has done its work. */
    if (!place->is_data && !place->is_file) {
        CX_AUTO(cx_free) char *mark = cx_path_join(place->path, restore_mark_name);

        return cx_remove_file(mark, err);
    }
    return true;
}

/* The data last: what the node needs to read it is in place by then. */
bool restore_swap(restore_job *job, cx_err *err)
{
    for (size_t i = 0; i < job->place_count; i++) {
        restore_place *place = &job->places[i];

        if (((place->is_data || job->target != NULL) && !lock_node(job, place, err)) ||
            (place->is_used && !restore_carry_over(job, place, err)))
            return false;
    }
    for (size_t i = 0; i < job->place_count; i++)
        if (job->places[i].is_used && !swap_place(&job->places[i], err))
            return false;
    return true;
}

void restore_add_place(restore_job *job, const char *path)
{
    add_place(job, path, "", false, false);
}

static bool note_path(const restore_place *place, const char *path, void *arg, cx_err *err)
{
    (void)place, (void)err;
    cx_list_add(arg, path);
    return true;
}

bool restore_list_old(const restore_job *job, cx_list *paths, cx_err *err)
{
    for (size_t i = 0; i < job->place_count; i++)
        if (!visit_siblings(&job->places[i], "old", note_path, paths, err))
            return false;
    return true;
}

static bool discard(const restore_place *place, const char *path, void *arg, cx_err *err)
{
    size_t *count = arg;

    (void)place;
    (*count)++;
    return cx_remove_tree(path, err);
}

bool restore_discard_old(const restore_job *job, size_t *count, cx_err *err)
{
    for (size_t i = 0; i < job->place_count; i++)
        if (!visit_siblings(&job->places[i], "old", discard, count, err))
            return false;
    return true;
}

bool restore_node_runs(const cx_config *config, bool *runs, cx_err *err)
{
    CX_AUTO(cx_free) char *lock = cx_config_data(config, "node.lock");
    CX_AUTO(cx_fd_close) int fd = -1;

    *runs = false;
    if (!cx_exists(lock) || cx_lock(lock, &fd, err))
        return true;
    *runs = err->code == CX_BUSY;
    return *runs;
}
