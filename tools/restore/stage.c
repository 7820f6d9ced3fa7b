/* Filling the stages: what the backup has, and what is carried over from the old data. */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/time.h"
#include "repo/extract.h"
#include "repo/snapshot.h"
#include "repo/walk.h"
#include "restore.h"

enum { COPY_SIZE = 1024 * 1024, EXCEPT_MAX = 16 };

/* What else than a folder of files belongs to one component alone. */
static const struct {
    const char *component;
    const char *file;
    const char *companions;
} databases[] = {{"agent_registry", "registry.db", "registry.db-*"},
                 {"message_queues", "queues.db", "queues.db-*"}};

/* Never carried over: they belong to a process, or to the files as they were. */
static const char *const left_behind[] = {"node.lock", ".cx-backup"};

/* ---- restoring */

struct restoring {
    restore_job *job;
    const char *component;
    cx_extract *extracts[RESTORE_PLACES_MAX];
    cx_extract *current; /* of the entry under way; NULL: it has no place */
    restore_place *place;
    char *path;       /* of the entry below the place */
    bool is_at_start; /* no content came yet */
};

static void free_restoring(struct restoring *restoring)
{
    for (size_t i = 0; i < RESTORE_PLACES_MAX; i++)
        cx_extract_close(&restoring->extracts[i]);
    cx_free(&restoring->path);
}

/* The entry's path below the place; "" for the place itself; NULL when it is none of this place. */
static const char *path_below(const restore_place *place, const char *path)
{
    size_t size = strlen(place->prefix);

    if (place->is_file) /* whatever the configuration was called */
        return strncmp(path, "config/", 7) == 0 && strchr(path + 7, '/') == NULL &&
                       strcmp(path, "config/policies") != 0
                   ? restore_name(place->path)
                   : NULL;
    if (size == 0)
        return path;
    if (strncmp(path, place->prefix, size) != 0 || (path[size] != '/' && path[size] != '\0'))
        return NULL;
    return path[size] == '/' ? path + size + 1 : path + size;
}

static restore_place *find_place(restore_job *job, const char *component, const char *path,
                                 const char **below, size_t *at)
{
    for (*at = 0; *at < job->place_count; (*at)++) {
        restore_place *place = &job->places[*at];

        if (job->target == NULL && place->is_data != restore_is_data(component))
            continue;
        *below = path_below(place, path);
        if (*below != NULL)
            return place;
    }
    return NULL;
}

/* The entry of the folder that a place is. */
static bool set_stage(const restore_place *place, const cx_tar_entry *entry, cx_err *err)
{
    if (geteuid() == 0 && chown(place->stage, (uid_t)entry->uid, (gid_t)entry->gid) < 0)
        return cx_fail_errno(err, "change the owner of %s", place->stage);
    if (chmod(place->stage, entry->mode & 0777) < 0)
        return cx_fail_errno(err, "change the mode of %s", place->stage);
    return true;
}

static bool begin(void *arg, const cx_tar_entry *entry, cx_err *err)
{
    struct restoring *restoring = arg;
    const char *below = NULL;
    size_t at = 0;
    restore_place *place =
        find_place(restoring->job, restoring->component, entry->path, &below, &at);
    cx_tar_entry moved = *entry;

    restoring->current = NULL;
    if (place == NULL)
        return true;
    place->is_used = true;
    if (below[0] == '\0')
        return set_stage(place, entry, err);
    if (strcmp(below, restore_mark_name) == 0) /* of an earlier restore */
        return true;
    moved.path = below;
    cx_free(&restoring->path);
    restoring->path = cx_strdup(below);
    restoring->place = place;
    restoring->current = restoring->extracts[at];
    restoring->is_at_start = entry->kind == CX_TAR_FILE;
    return cx_extract_begin(restoring->current, &moved, err);
}

static bool data(void *arg, cx_bytes piece, cx_err *err)
{
    struct restoring *restoring = arg;

    if (restoring->current == NULL)
        return true;
    if (restoring->is_at_start && cx_snapshot_is_header(piece))
        cx_list_take(&restoring->job->databases,
                     cx_path_join(restoring->place->stage, restoring->path));
    restoring->is_at_start = false;
    return cx_extract_data(restoring->current, piece, err);
}

static bool end(void *arg, cx_err *err)
{
    struct restoring *restoring = arg;

    return restoring->current == NULL || cx_extract_end(restoring->current, err);
}

/* A pattern that names a folder takes all that is in it. */
static bool is_wanted(const cx_content_entry *entry, void *arg)
{
    const char *glob = arg;
    CX_AUTO(cx_free) char *path = cx_strdup(entry->path);

    for (;;) {
        char *slash = strrchr(path, '/');

        if (fnmatch(glob, path, 0) == 0)
            return true;
        if (slash == NULL)
            return false;
        *slash = '\0';
    }
}

static void passed(void *arg, int64_t stored_bytes)
{
    cx_progress *progress = arg;

    cx_progress_set(progress, progress->done + stored_bytes, cx_now_ms());
}

static bool check_databases(const restore_job *job, cx_err *err)
{
    for (size_t i = 0; i < job->databases.count; i++)
        if (!cx_snapshot_check(job->databases.items[i], err))
            return cx_wrap(err, "what was restored");
    return true;
}

bool restore_fill_stages(restore_job *job, cx_err *err)
{
    CX_AUTO(free_restoring) struct restoring restoring = {.job = job};
    cx_content_sink sink = {begin, data, end, &restoring};
    cx_content_spec spec = {
        .repo = job->backup->repo,
        .manifest = job->backup->manifest,
        .index = &job->backup->index,
        .identities = job->backup->identities,
        .filter = job->glob != NULL ? is_wanted : NULL,
        .filter_arg = (void *)(uintptr_t)job->glob,
        .sink = &sink,
        .passed = passed,
        .passed_arg = &job->progress,
    };
    bool any = false;

    for (size_t i = 0; i < job->place_count; i++)
        if (!cx_extract_open(job->places[i].stage, &restoring.extracts[i], err))
            return false;
    for (size_t i = 0; i < job->components.count; i++) {
        restoring.component = job->components.items[i];
        if (!cx_content_read(&spec, cx_manifest_find(spec.manifest, restoring.component), err))
            return false;
    }
    for (size_t i = 0; i < job->place_count; i++) {
        any = any || job->places[i].is_used;
        if (!cx_extract_finish(restoring.extracts[i], err))
            return false;
    }
    if (!any && job->glob != NULL)
        return cx_fail(err, CX_NOT_FOUND, "no path of the backup matches %s", job->glob);
    /* A component may be empty; what is there now is replaced by nothing all the same. */
    for (size_t i = 0; i < job->place_count && !any; i++)
        job->places[i].is_used = job->places[i].is_data;
    return check_databases(job, err);
}

/* ---- carrying over */

static bool is_selected(const restore_job *job, const char *component)
{
    return cx_list_has(&job->components, component);
}

/* Top names of the old folder that the backup replaces, or that nobody wants. */
static void list_exceptions(const restore_job *job, const char *except[EXCEPT_MAX])
{
    size_t count = 0;

    for (size_t i = 0; i < CX_COUNT(left_behind); i++)
        except[count++] = left_behind[i];
    except[count++] = restore_mark_name;
    for (size_t i = 0; i < CX_COUNT(databases) && job->glob == NULL; i++)
        if (is_selected(job, databases[i].component)) {
            except[count++] = databases[i].file;
            except[count++] = databases[i].companions;
        }
    except[count] = NULL;
}

static bool belongs_to_agents(const char *path)
{
    if (strcmp(path, "backup.json") == 0) /* when the last backup was made */
        return false;
    for (size_t i = 0; i < CX_COUNT(databases); i++)
        if (strncmp(path, databases[i].file, strlen(databases[i].file)) == 0)
            return false;
    return true;
}

static bool copy_content(const char *from, cx_extract *extract, int64_t size, cx_err *err)
{
    CX_AUTO(cx_fd_close) int fd = open(from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    CX_AUTO(cx_free) uint8_t *buffer = cx_alloc(COPY_SIZE, 1);

    if (fd < 0)
        return cx_fail_errno(err, "open %s", from);
    while (size > 0) {
        ssize_t got = read(fd, buffer, COPY_SIZE);

        if (got < 0)
            return cx_fail_errno(err, "read %s", from);
        if (got == 0)
            break;
        if (!cx_extract_data(extract, (cx_bytes){buffer, (size_t)got}, err))
            return false;
        size -= got;
    }
    return true;
}

static bool copy_entry(const cx_walk_root *root, const cx_walk_entry *entry, cx_extract *extract,
                       cx_err *err)
{
    CX_AUTO(cx_free) char *from = cx_walk_path(root, entry);
    const cx_identity *identity = &entry->identity;
    cx_tar_entry tar = {
        .kind = entry->kind,
        .path = entry->path,
        .target = entry->target,
        .mode = identity->mode,
        .uid = identity->uid,
        .gid = identity->gid,
        .size = identity->size,
        .mtime_seconds = identity->mtime_ns / 1000000000,
        .mtime_ns = identity->mtime_ns % 1000000000,
    };

    return cx_extract_begin(extract, &tar, err) &&
           (entry->kind != CX_TAR_FILE || copy_content(from, extract, identity->size, err)) &&
           cx_extract_end(extract, err);
}

/* The new folder belongs to whom the old one did; without an old one to whom what is in it does. */
static bool set_owner(const restore_place *place, cx_err *err)
{
    static const char *const samples[] = {"registry.db", "queues.db", "agents"};
    struct stat info;
    bool found = stat(place->path, &info) == 0;

    if (found && chmod(place->stage, info.st_mode & 07777) < 0)
        return cx_fail_errno(err, "change the mode of %s", place->stage);
    for (size_t i = 0; i < CX_COUNT(samples) && !found && place->is_data; i++) {
        CX_AUTO(cx_free) char *sample = cx_path_join(place->stage, samples[i]);

        found = lstat(sample, &info) == 0;
    }
    if (found && geteuid() == 0 && chown(place->stage, info.st_uid, info.st_gid) < 0)
        return cx_fail_errno(err, "change the owner of %s", place->stage);
    return true;
}

bool restore_carry_over(restore_job *job, restore_place *place, cx_err *err)
{
    CX_AUTO(cx_extract_close) cx_extract *extract = NULL;
    CX_AUTO(cx_walk_free) cx_walk walk = {0};
    const char *except[EXCEPT_MAX];
    cx_walk_root root = {
        .path = place->path, .name = "", .except = except, .optional = true, .raw = true};

    if (place->is_file || !set_owner(place, err))
        return place->is_file;
    /* A place that is replaced as a whole keeps nothing. */
    if (!place->is_data && job->glob == NULL)
        return true;
    list_exceptions(job, except);
    if (!cx_walk_run(&root, 1, &walk, err) || !cx_extract_open(place->stage, &extract, err))
        return false;
    for (size_t i = 0; i < walk.count; i++) {
        const cx_walk_entry *entry = &walk.entries[i];
        CX_AUTO(cx_free) char *there = cx_path_join(place->stage, entry->path);

        if (cx_exists(there) || (job->glob == NULL && is_selected(job, "agent_state") &&
                                 belongs_to_agents(entry->path)))
            continue;
        if (!copy_entry(&root, entry, extract, err))
            return cx_wrap(err, "carry over");
    }
    return cx_extract_finish(extract, err);
}
