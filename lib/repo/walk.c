#include "repo/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "repo/snapshot.h"

static const char *const companions[] = {"-wal", "-shm", "-journal", NULL};

static void close_directory(DIR **owner)
{
    if (*owner != NULL)
        closedir(*owner);
    *owner = NULL;
}

static int64_t nanoseconds(struct timespec time)
{
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static cx_identity identity_from(const struct stat *info)
{
    return (cx_identity){
        .device = info->st_dev,
        .inode = info->st_ino,
        .size = info->st_size,
        .mtime_ns = nanoseconds(info->st_mtim),
        .ctime_ns = nanoseconds(info->st_ctim),
        .mode = info->st_mode & 07777,
        .uid = info->st_uid,
        .gid = info->st_gid,
    };
}

bool cx_identity_of(int fd, const char *path, cx_identity *identity, cx_err *err)
{
    struct stat info;

    if (fstat(fd, &info) < 0)
        return cx_fail_errno(err, "stat %s", path);
    *identity = identity_from(&info);
    return true;
}

bool cx_identity_equal(const cx_identity *a, const cx_identity *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns && a->mode == b->mode &&
           a->uid == b->uid && a->gid == b->gid && a->wal_size == b->wal_size &&
           a->wal_mtime_ns == b->wal_mtime_ns;
}

/* ---- one folder */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool matches(const char *name, const char *pattern)
{
    size_t size = strlen(pattern);

    if (size > 0 && pattern[size - 1] == '*')
        return strncmp(name, pattern, size - 1) == 0;
    return strcmp(name, pattern) == 0;
}

static bool is_left_out(const char *name, const char *const *except)
{
    for (; except != NULL && *except != NULL; except++)
        if (matches(name, *except))
            return true;
    return false;
}

static bool read_names(int fd, const char *path, const char *const *except, cx_list *names,
                       cx_err *err)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    CX_AUTO(close_directory) DIR *directory = copy < 0 ? NULL : fdopendir(copy);
    size_t capacity = 0;

    if (directory == NULL) {
        cx_fd_close(&copy);
        return cx_fail_errno(err, "read folder %s", path);
    }
    for (const struct dirent *entry; (errno = 0, entry = readdir(directory)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            is_left_out(entry->d_name, except))
            continue;
        if (names->count == capacity) {
            capacity = capacity == 0 ? 64 : capacity * 2;
            names->items = cx_realloc(names->items, capacity, sizeof *names->items);
        }
        names->items[names->count++] = cx_strdup(entry->d_name);
    }
    if (errno != 0)
        return cx_fail_errno(err, "read folder %s", path);
    if (names->count > 1)
        qsort(names->items, names->count, sizeof *names->items, compare_names);
    return true;
}

static bool has_name(const cx_list *names, const char *name)
{
    return bsearch(&name, names->items, names->count, sizeof *names->items, compare_names) != NULL;
}

/* "queues.db" of "queues.db-wal", if that is a database here; NULL else. */
static char *database_of(int folder, const cx_list *names, const char *name)
{
    size_t size = strlen(name);

    for (size_t i = 0; companions[i] != NULL; i++) {
        size_t tail = strlen(companions[i]);

        if (size <= tail || strcmp(name + size - tail, companions[i]) != 0)
            continue;

        CX_AUTO(cx_free) char *base = cx_strndup(name, size - tail);

        if (has_name(names, base) && cx_snapshot_is_database(folder, base))
            return CX_TAKE(base);
    }
    return NULL;
}

static void note_database(int folder, const cx_list *names, const char *name, cx_walk_entry *entry)
{
    CX_AUTO(cx_free) char *wal = cx_format("%s-wal", name);
    CX_AUTO(cx_free) char *journal = cx_format("%s-journal", name);
    struct stat info;

    if ((!has_name(names, wal) && !has_name(names, journal)) ||
        !cx_snapshot_is_database(folder, name))
        return;
    entry->is_database = true;
    if (fstatat(folder, wal, &info, AT_SYMLINK_NOFOLLOW) == 0) {
        entry->identity.wal_size = info.st_size;
        entry->identity.wal_mtime_ns = nanoseconds(info.st_mtim);
    }
}

/* ---- the tree */

static bool add_entry(cx_walk *walk, cx_walk_entry entry, cx_err *err)
{
    if (walk->count == walk->capacity) {
        if (walk->count >= CX_WALK_ENTRIES_MAX)
            return cx_fail(err, CX_TOO_LARGE, "more than %d files", CX_WALK_ENTRIES_MAX);
        walk->capacity = walk->capacity == 0 ? 256 : walk->capacity * 2;
        walk->entries = cx_realloc(walk->entries, walk->capacity, sizeof *walk->entries);
    }
    walk->entries[walk->count++] = entry;
    if (entry.kind == CX_TAR_FILE)
        walk->bytes += entry.identity.size;
    return true;
}

static bool read_link(int folder, const char *name, const char *path, cx_walk_entry *entry,
                      cx_err *err)
{
    char target[PATH_MAX];
    ssize_t size = readlinkat(folder, name, target, sizeof target);

    if (size < 0)
        return cx_fail_errno(err, "read the link %s", path);
    if (size == (ssize_t)sizeof target)
        return cx_fail(err, CX_TOO_LARGE, "the link %s has too long a target", path);
    entry->target = cx_strndup(target, (size_t)size);
    return true;
}

struct place { /* a folder of the walk */
    const cx_walk_root *root;
    uint32_t number; /* of the root */
    int depth;
};

static bool walk_folder(cx_walk *walk, struct place place, int fd, const char *name, cx_err *err);

static bool walk_entry(cx_walk *walk, struct place place, int folder, const cx_list *names,
                       const char *name, const char *path, cx_err *err)
{
    struct stat info;
    cx_walk_entry entry = {.root = place.number};

    if (fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? true : cx_fail_errno(err, "stat %s", path);
    entry.identity = identity_from(&info);
    if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode) && !S_ISLNK(info.st_mode)) {
        walk->skipped++;
        return true;
    }
    if (!cx_tar_check_path(path, err))
        return false;
    if (S_ISREG(info.st_mode)) {
        entry.kind = CX_TAR_FILE;
        if (!place.root->raw)
            note_database(folder, names, name, &entry);
    } else if (S_ISLNK(info.st_mode)) {
        entry.kind = CX_TAR_LINK;
        if (!read_link(folder, name, path, &entry, err))
            return false;
    } else {
        entry.kind = CX_TAR_FOLDER;
    }
    entry.path = cx_strdup(path);
    if (!add_entry(walk, entry, err)) {
        cx_free(&entry.path);
        cx_free(&entry.target);
        return false;
    }
    if (entry.kind != CX_TAR_FOLDER)
        return true;

    CX_AUTO(cx_fd_close)
    int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT ? true : cx_fail_errno(err, "open folder %s", path);
    place.depth++;
    return walk_folder(walk, place, fd, path, err);
}

static bool walk_folder(cx_walk *walk, struct place place, int fd, const char *name, cx_err *err)
{
    CX_AUTO(cx_list_free) cx_list names = {0};
    const char *const *except = place.depth == 1 ? place.root->except : NULL;

    if (place.depth > CX_WALK_DEPTH_MAX)
        return cx_fail(err, CX_TOO_LARGE, "%s: more than %d folders in each other", name,
                       CX_WALK_DEPTH_MAX);
    if (!read_names(fd, name[0] == '\0' ? "." : name, except, &names, err))
        return false;
    for (size_t i = 0; i < names.count; i++) {
        CX_AUTO(cx_free)
        char *database = place.root->raw ? NULL : database_of(fd, &names, names.items[i]);
        CX_AUTO(cx_free)
        char *path =
            name[0] == '\0' ? cx_strdup(names.items[i]) : cx_format("%s/%s", name, names.items[i]);

        if (database == NULL && !walk_entry(walk, place, fd, &names, names.items[i], path, err))
            return false;
    }
    return true;
}

/* A file as root: its folder is opened, so that what is beside it is seen. */
static bool walk_file(cx_walk *walk, const cx_walk_root *root, uint32_t number, cx_err *err)
{
    const char *slash = strrchr(root->path, '/');
    CX_AUTO(cx_free)
    char *folder =
        slash == NULL
            ? cx_strdup(".")
            : cx_strndup(root->path, slash == root->path ? 1 : (size_t)(slash - root->path));
    CX_AUTO(cx_fd_close) int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CX_AUTO(cx_list_free) cx_list names = {0};
    const char *name = slash == NULL ? root->path : slash + 1;

    if (fd < 0)
        return cx_fail_errno(err, "open folder %s", folder);
    return read_names(fd, folder, NULL, &names, err) &&
           walk_entry(walk, (struct place){root, number, 1}, fd, &names, name, root->name, err);
}

static bool walk_root(cx_walk *walk, const cx_walk_root *root, uint32_t number, cx_err *err)
{
    struct stat info;

    if (stat(root->path, &info) < 0) {
        if (errno == ENOENT && root->optional)
            return true;
        return cx_fail_errno(err, "%s", root->path);
    }
    if (S_ISREG(info.st_mode))
        return walk_file(walk, root, number, err);

    CX_AUTO(cx_fd_close) int fd = open(root->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return cx_fail_errno(err, "open folder %s", root->path);
    if (root->name[0] != '\0') {
        cx_walk_entry entry = {.kind = CX_TAR_FOLDER,
                               .path = cx_strdup(root->name),
                               .identity = identity_from(&info),
                               .root = number};

        if (!add_entry(walk, entry, err))
            return false;
    }
    return walk_folder(walk, (struct place){root, number, 1}, fd, root->name, err) ||
           cx_wrap(err, "%s", root->path);
}

bool cx_walk_run(const cx_walk_root *roots, size_t count, cx_walk *walk, cx_err *err)
{
    for (size_t i = 0; i < count; i++)
        if (!walk_root(walk, &roots[i], (uint32_t)i, err))
            return false;
    return true;
}

void cx_walk_free(cx_walk *walk)
{
    for (size_t i = 0; i < walk->count; i++) {
        cx_free(&walk->entries[i].path);
        cx_free(&walk->entries[i].target);
    }
    cx_free(&walk->entries);
    *walk = (cx_walk){0};
}

char *cx_walk_path(const cx_walk_root *roots, const cx_walk_entry *entry)
{
    const cx_walk_root *root = &roots[entry->root];
    size_t size = strlen(root->name);

    if (strcmp(entry->path, root->name) == 0)
        return cx_strdup(root->path);
    return cx_path_join(root->path, entry->path + size + (size > 0));
}
