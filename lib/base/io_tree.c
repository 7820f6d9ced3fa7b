/* Removing whole trees, whatever stands in them: part of base/io.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/text.h"

enum { TREE_DEPTH_MAX = 32 }; /* folders open at once, with two descriptors each */

static void close_directory(DIR **owner)
{
    if (*owner != NULL)
        closedir(*owner);
    *owner = NULL;
}

struct removal {
    const char *path; /* for messages */
    int top;          /* the folder that is emptied, by which deeper ones are reached */
    struct statx top_info;
};

static bool is_other_file_system(const struct statx *a, const struct statx *b)
{
    if (a->stx_dev_major != b->stx_dev_major || a->stx_dev_minor != b->stx_dev_minor)
        return true;
    return (a->stx_mask & b->stx_mask & STATX_MNT_ID) != 0 && a->stx_mnt_id != b->stx_mnt_id;
}

/* Too deep a folder is moved to the top instead of being entered, so that no depth exhausts the
 * descriptors or the stack; the top is read again when its last entry is gone. */
static bool move_up(struct removal *removal, int folder, const char *name, cx_err *err)
{
    char temp[CX_ULID_SIZE]; /* a name that nothing has */

    cx_ulid(0, temp);
    if (renameat(folder, name, removal->top, temp) < 0)
        return cx_fail_errno(err, "remove %s: move %s", removal->path, name);
    return true;
}

static bool empty_folder(struct removal *removal, int fd, int depth, cx_err *err);

static bool remove_entry(struct removal *removal, int folder, const char *name, int depth,
                         cx_err *err)
{
    struct statx info;

    if (unlinkat(folder, name, 0) == 0 || errno == ENOENT)
        return true;
    if (errno != EISDIR && errno != EPERM)
        return cx_fail_errno(err, "remove %s: %s", removal->path, name);

    int number = errno;
    CX_AUTO(cx_fd_close)
    int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0) {
        if (errno == ENOTDIR)
            errno = number;
        return cx_fail_errno(err, "remove %s: %s", removal->path, name);
    }
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &info) < 0)
        return cx_fail_errno(err, "remove %s: stat %s", removal->path, name);
    if (is_other_file_system(&info, &removal->top_info))
        return cx_fail(err, CX_BUSY, "remove %s: %s is another file system", removal->path, name);
    if (depth == TREE_DEPTH_MAX)
        return move_up(removal, folder, name, err);
    if (!empty_folder(removal, fd, depth + 1, err))
        return false;
    if (unlinkat(folder, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return cx_fail_errno(err, "remove %s: folder %s", removal->path, name);
    return true;
}

/* Removing may hide entries from the reader of a folder, so it is read until it is empty. */
static bool empty_folder(struct removal *removal, int fd, int depth, cx_err *err)
{
    size_t removed;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    CX_AUTO(close_directory) DIR *directory = copy < 0 ? NULL : fdopendir(copy);

    if (directory == NULL) {
        cx_fd_close(&copy);
        return cx_fail_errno(err, "remove %s: read a folder", removal->path);
    }
    do {
        removed = 0;
        rewinddir(directory);
        for (const struct dirent *entry; (errno = 0, entry = readdir(directory)) != NULL;) {
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                continue;
            if (!remove_entry(removal, fd, entry->d_name, depth, err))
                return false;
            removed++;
        }
        if (errno != 0)
            return cx_fail_errno(err, "remove %s: read a folder", removal->path);
    } while (removed > 0);
    return true;
}

bool cx_remove_tree(const char *path, cx_err *err)
{
    struct removal removal = {.path = path};
    CX_AUTO(cx_fd_close) int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0) {
        if (errno == ENOTDIR || errno == ELOOP) /* a file, or itself a link */
            return cx_remove_file(path, err);
        return errno == ENOENT ? true : cx_fail_errno(err, "remove %s", path);
    }
    removal.top = fd;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &removal.top_info) < 0)
        return cx_fail_errno(err, "remove %s: stat", path);
    if (!empty_folder(&removal, fd, 1, err))
        return false;
    if (rmdir(path) < 0 && errno != ENOENT)
        return cx_fail_errno(err, "remove folder %s", path);

    const char *slash = strrchr(path, '/');
    CX_AUTO(cx_free)
    char *parent = slash == NULL || slash == path ? NULL : cx_strndup(path, (size_t)(slash - path));

    return cx_sync_folder(parent != NULL ? parent : slash == NULL ? "." : "/", err);
}
